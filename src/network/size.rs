//! How much the network puts out, for plans of memory.

use super::architecture::{Architecture, PATCH};

/// Values that the layers put out for each pixel of the input.
pub fn values_per_pixel(architecture: &Architecture) -> f64 {
    let mut values = 4.0 * architecture.classes as f64;
    let mut inputs = architecture.head_channels;
    for (stage, (outputs, skip)) in
        architecture.decoder_channels.into_iter().zip(architecture.skip_channels()).enumerate()
    {
        let share = 0.25f64.powi(3 - stage as i32);
        // Upsampled, joined with the skip, and two convolutions with their norms.
        values += share * (2 * inputs + skip + 4 * outputs) as f64;
        inputs = outputs;
    }
    if let Some(stem) = &architecture.stem {
        values += 0.25 * 2.0 * stem.width as f64;
        for (block, units) in stem.units.into_iter().enumerate() {
            let (inner, share) = ((stem.width << block) as f64, 0.25f64.powi(block as i32 + 2));
            // Two inner convolutions, one to four times the width, their norms, the sum.
            values += share * units as f64 * (4.0 * inner + 3.0 * 4.0 * inner);
        }
    }
    let tokens = architecture.grid().iter().product::<usize>();
    let block = 10 * architecture.hidden + 3 * architecture.mlp + 3 * architecture.heads * tokens;
    values + (architecture.layers * block) as f64 / (PATCH * PATCH) as f64
}
