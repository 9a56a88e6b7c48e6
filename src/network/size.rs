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

/// Multiplications, each with an addition, that a pass makes for each pixel of the input.
pub fn products_per_pixel(architecture: &Architecture) -> f64 {
    let mut products = 0.0;
    let mut channels = architecture.channels;
    let tokens = architecture.grid().iter().product::<usize>();
    let patch = if let Some(stem) = &architecture.stem {
        products += 0.25 * (49 * channels * stem.width) as f64;
        channels = stem.width;
        for (block, units) in stem.units.into_iter().enumerate() {
            let (inner, share) = (stem.width << block, 0.25f64.powi(block as i32 + 2));
            // The first unit works on what comes in before its stride, which blocks but the first have.
            let before = if block == 0 { share } else { 4.0 * share };
            products += before * (channels * inner) as f64 + share * (channels * 4 * inner) as f64;
            products += share * (units * (9 * inner * inner + 4 * inner * inner)) as f64;
            products += share * ((units - 1) * 4 * inner * inner) as f64;
            channels = 4 * inner;
        }
        channels
    } else {
        channels * PATCH * PATCH
    };
    let (hidden, mlp) = (architecture.hidden, architecture.mlp);
    let token = patch * hidden
        + architecture.layers * (4 * hidden * hidden + 2 * hidden * mlp + 2 * tokens * hidden)
        + 9 * hidden * architecture.head_channels;
    products += token as f64 / (PATCH * PATCH) as f64;
    let mut inputs = architecture.head_channels;
    for (stage, (outputs, skip)) in
        architecture.decoder_channels.into_iter().zip(architecture.skip_channels()).enumerate()
    {
        products += 0.25f64.powi(3 - stage as i32) * (9 * (inputs + skip + outputs) * outputs) as f64;
        inputs = outputs;
    }
    products + (9 * inputs * architecture.classes) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_network_makes_29_giga_products_a_slice() {
        let products = products_per_pixel(&Architecture::r50_vit_b16(224, 9)) * 224.0 * 224.0;
        assert!((products / 29.2e9 - 1.0).abs() < 0.01, "{products:e}");
        let vit = products_per_pixel(&Architecture::vit_b16(224, 9));
        assert!(vit * 224.0 * 224.0 > 0.5 * products);
    }
}
