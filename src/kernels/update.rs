//! Updates of parameters in place, and norms of gradients, in one pass over the memory each.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::simd::Isa;

/// Values of a task.
const STRETCH: usize = 64 << 10;

/// `moved = momentum * moved + gradient + decay * value`, then `value -= rate * moved`; the gradient becomes `moved` where there
/// was none.
pub fn sgd(
    mut value: FlexTensor,
    mut gradient: FlexTensor,
    moved: Option<FlexTensor>,
    [momentum, decay, rate]: [f32; 3],
) -> [FlexTensor; 2] {
    let isa = Isa::fastest();
    let values = value.storage_mut::<f32>().par_chunks_mut(STRETCH);
    match moved {
        Some(mut moved) => {
            let stretches = values.zip(moved.storage_mut::<f32>().par_chunks_mut(STRETCH));
            stretches.zip(gradient.storage::<f32>().par_chunks(STRETCH)).for_each(|((values, moved), gradient)| {
                isa.compiled(|| {
                    for ((value, moved), gradient) in values.iter_mut().zip(moved).zip(gradient) {
                        *moved = *moved * momentum + (gradient + *value * decay);
                        *value -= *moved * rate;
                    }
                });
            });
            [value, moved]
        }
        None => {
            values.zip(gradient.storage_mut::<f32>().par_chunks_mut(STRETCH)).for_each(|(values, moved)| {
                isa.compiled(|| {
                    for (value, moved) in values.iter_mut().zip(moved) {
                        *moved += *value * decay;
                        *value -= *moved * rate;
                    }
                });
            });
            [value, gradient]
        }
    }
}

/// Sum of squares, of stretches in f32 and across them in f64.
pub fn squared(values: &FlexTensor) -> f64 {
    const LANES: usize = 64;
    const RUN: usize = 2048;
    let isa = Isa::fastest();
    let sums: Vec<f64> = (values.storage::<f32>().par_chunks(STRETCH))
        .map(|values| {
            isa.compiled(|| {
                let mut total = 0.0;
                for run in values.chunks(RUN) {
                    let mut lanes = [0.0f32; LANES];
                    for values in run.chunks(LANES) {
                        lanes.iter_mut().zip(values).for_each(|(lane, x)| *lane += x * x);
                    }
                    total += lanes.iter().map(|&x| f64::from(x)).sum::<f64>();
                }
                total
            })
        })
        .collect();
    sums.into_iter().sum()
}
