//! Update rules: SGD with momentum as PyTorch computes it, AdamW; learning rates over the run; a moving average of weights.

use std::collections::BTreeMap;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::settings::{OptimizerSettings, Schedule};
use super::student::Student;
use crate::device::Learns;
use crate::kernels::Kernels;
use crate::network::Named;

/// What an update rule remembers, by "kind/parameter".
#[derive(Debug)]
pub struct Optimizer<B: Learns> {
    settings: OptimizerSettings,
    /// Momentum, or first and second moments.
    pub state: Named<B::InnerBackend>,
    /// Updates made so far.
    pub updates: u64,
}

impl<B: Learns> Optimizer<B> {
    pub fn new(settings: OptimizerSettings) -> Self {
        Optimizer { settings, state: BTreeMap::new(), updates: 0 }
    }

    /// One update of all parameters that have a gradient.
    pub fn update(&mut self, student: Student<B>, gradients: Named<B::InnerBackend>, rate: f64) -> Student<B> {
        self.updates += 1;
        let updates = self.updates;
        let (settings, state) = (self.settings, &mut self.state);
        student.updated(gradients, |name, value, gradient| match settings {
            OptimizerSettings::Sgd { momentum, weight_decay, .. } => {
                let key = format!("momentum/{name}");
                let factors = [momentum, weight_decay, rate];
                let [value, moved] = B::InnerBackend::sgd(value, gradient, state.remove(&key), factors);
                state.insert(key, moved);
                value
            }
            OptimizerSettings::AdamW { beta1, beta2, weight_decay, .. } => {
                let mean = average(state, format!("first/{name}"), gradient.clone(), beta1);
                let square = average(state, format!("second/{name}"), gradient.square(), beta2);
                let corrected = |beta: f64| 1.0 - beta.powf(updates as f64);
                let step = (mean / corrected(beta1)) / ((square / corrected(beta2)).sqrt() + 1e-8);
                let decay = if decays(name) { 1.0 - rate * weight_decay } else { 1.0 };
                value * decay - step * rate
            }
        })
    }
}

/// Moves the average `key` towards `now`; it starts at 0.
fn average<B: Backend>(state: &mut Named<B>, key: String, now: Tensor<B, 1>, keep: f64) -> Tensor<B, 1> {
    let now = now * (1.0 - keep);
    let moved = match state.remove(&key) {
        Some(old) => old * keep + now,
        None => now,
    };
    state.insert(key, moved.clone());
    moved
}

/// AdamW shrinks matrices and kernels, not biases, norms and positions.
fn decays(name: &str) -> bool {
    // The decoder's norms are the second of two layers.
    let norm =
        name.contains("norm.") || name.contains(".gn") || (name.contains("decoder.") && name.ends_with(".1.weight"));
    name.ends_with("weight") && !norm
}

/// Euclidean norm of all gradients together.
pub fn norm<B: Kernels>(gradients: &Named<B>) -> f64 {
    B::norm_of(gradients.values().cloned().collect())
}

/// Sum of two sets of gradients of the same parameters.
pub fn add<B: Backend>(sum: Option<Named<B>>, gradients: Named<B>) -> Named<B> {
    let Some(mut sum) = sum else { return gradients };
    for (name, gradient) in gradients {
        let total = match sum.remove(&name) {
            Some(old) => old + gradient,
            None => gradient,
        };
        sum.insert(name, total);
    }
    sum
}

/// All gradients times `factor`.
pub fn scale<B: Backend>(gradients: Named<B>, factor: f64) -> Named<B> {
    gradients.into_iter().map(|(name, gradient)| (name, gradient * factor)).collect()
}

/// Updates of a warm-up: fewer once lost an organ for good, in a run of 400 with 20.
const LEAST_WARMUP: u64 = 60;

impl Schedule {
    /// Learning rate of update `step` of `steps`, counted from 0.
    pub fn rate(self, base: f64, step: u64, steps: u64) -> f64 {
        let share = |step: u64, steps: u64| step as f64 / steps.max(1) as f64;
        match self {
            Schedule::Constant => base,
            Schedule::Poly { power, late } => {
                // The 2021 code sets the rate after its step from the count before it.
                let step = if late { step.saturating_sub(1) } else { step };
                base * (1.0 - share(step, steps)).powf(power)
            }
            Schedule::Cosine { warmup, floor } => {
                let least = if warmup > 0.0 { LEAST_WARMUP.min(steps / 4) } else { 0 };
                let warm = ((warmup * steps as f64).round() as u64).clamp(least, steps);
                if step < warm {
                    return base * share(step + 1, warm);
                }
                let part = share(step - warm, steps - warm);
                let low = base * floor;
                low + (base - low) * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
            }
        }
    }
}

/// Exponential moving average of weights and running statistics.
#[derive(Debug)]
pub struct Average<B: Backend> {
    keep: f64,
    pub values: Named<B>,
}

impl<B: Backend> Average<B> {
    pub fn new(keep: f64, values: Named<B>) -> Self {
        Average { keep, values }
    }

    /// After update `updates` (from 1): the first ones count more, so that the start is soon forgotten.
    pub fn update(&mut self, now: Named<B>, updates: u64) {
        let keep = self.keep.min((1.0 + updates as f64) / (10.0 + updates as f64));
        for (name, now) in now {
            let moved = match self.values.remove(&name) {
                Some(old) => old * keep + now * (1.0 - keep),
                None => now,
            };
            self.values.insert(name, moved);
        }
    }
}

/// Values of a flattened tensor.
pub fn to_vec<B: Backend>(tensor: Tensor<B, 1>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// A flattened tensor of `values`.
pub fn from_vec<B: Backend>(values: Vec<f32>, device: &B::Device) -> Tensor<B, 1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
