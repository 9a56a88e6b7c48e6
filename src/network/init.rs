//! Values of an untrained network, a pure function of seed and parameter name.
//!
//! Distributions as in the original: PyTorch's default for convolutions and attention, Xavier-uniform for the MLPs,
//! positions at zero; biases start at zero.

use crate::random;

/// Values of the parameter `name`; the same seed, name and shape give the same values on every machine.
pub fn initial_values(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let norm_weight = shape.len() == 1 && name.ends_with("weight");
    if norm_weight || name.ends_with("running_var") {
        return vec![1.0; count];
    }
    if shape.len() <= 1 || name.ends_with("position_embeddings") {
        return vec![0.0; count];
    }
    let (inputs, outputs) = (shape[1..].iter().product::<usize>() as f64, shape[0] as f64);
    let bound = if name.contains(".ffn.") { (6.0 / (inputs + outputs)).sqrt() } else { 1.0 / inputs.sqrt() };
    let mut random = random::stream(seed, name, &[]);
    let uniform = move || f64::from(random.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0;
    std::iter::repeat_with(uniform).map(|u| (u * bound) as f32).take(count).collect()
}
