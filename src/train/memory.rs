//! What a run takes of memory, known before it begins, and a batch that fits into what there is.

use rayon::current_num_threads;

use super::settings::{OptimizerSettings, Recipe};
use crate::data::CaseFacts;
use crate::engine;
use crate::error::{Error, Result};
use crate::infer::plan::{PROCESS, THREAD};
use crate::kernels::simd::Isa;
use crate::loader::AHEAD;
use crate::memory::{capacity, check};
use crate::network::{Architecture, PATCH, values_per_pixel};
use crate::weights;

/// Outputs of layers that a step on a CPU holds at once, gradients and what kernels need in passing included: tiny takes
/// 1.34, small 1.32 and base 1.25 times what they put out.
const ON_CPU: f64 = 1.3;
/// The same on a GPU, rather too much: small takes 1.15 and base 0.8 times.
const ON_GPU: f64 = 1.2;
/// Bytes that graph, records and the allocator's rests take, besides [`PROCESS`].
const TRAINING: u64 = 16 << 20;
/// Share of the memory that a batch is planned for.
const SHARE: [u64; 2] = [3, 4];

/// The data of a run, as far as memory goes.
#[derive(Debug, Clone, Copy)]
pub struct Data {
    /// Voxels of all training cases, and of the largest case.
    voxels: u64,
    largest: u64,
    /// Bytes that prepared cases may have.
    cache: u64,
    validates: bool,
}

impl Data {
    pub fn new<'a>(
        train: &[&CaseFacts],
        all: impl Iterator<Item = &'a CaseFacts>,
        cache: u64,
        validates: bool,
    ) -> Self {
        let voxels = |case: &CaseFacts| case.geometry.len() as u64;
        let largest = all.map(voxels).max().unwrap_or(0);
        Data { voxels: train.iter().map(|case| voxels(case)).sum(), largest, cache, validates }
    }

    /// Prepared cases, 5 bytes a voxel, and one more that is read.
    fn bytes(&self) -> u64 {
        (5 * self.voxels).min(self.cache) + 9 * self.largest
    }
}

/// Splits the batch into passes that fit into the memory: fewer slices each, more of them, the same update but for Dice and
/// the statistics of batch normalisation, which are each pass's own. It is planned by what the machine and the process's limits
/// allow at any time, so that a run that is resumed is the same run. `gpu` is what a GPU has.
pub fn batch(recipe: Recipe, architecture: &Architecture, data: &Data, gpu: Option<u64>) -> Result<Recipe> {
    let Some(most) = gpu.or_else(capacity) else { return Ok(recipe) };
    split(recipe, most / SHARE[1] * SHARE[0], |recipe| match gpu {
        Some(_) => gpu_bytes(architecture, recipe),
        None => peak_bytes(architecture, recipe, data),
    })
    .map_err(|e| e.at(format!("slices of {:?} pixels", architecture.image_size)))
}

/// Refuses a run that does not fit into the memory that is there now.
pub fn check_room(planned: u64) -> Result<()> {
    check("the run", planned, "free some memory, raise the limit, or say a smaller batch, preset or input")
}

fn split(recipe: Recipe, most: u64, bytes: impl Fn(&Recipe) -> u64) -> Result<Recipe> {
    let mut planned = recipe;
    loop {
        let needed = bytes(&planned);
        if needed <= most {
            return Ok(planned);
        }
        if planned.batch == 1 {
            return Err(Error::OutOfMemory(format!(
                "one slice a pass needs about {} MiB, and {} MiB may be used: take a smaller preset, input or cache",
                needed.div_ceil(1 << 20),
                most >> 20
            )));
        }
        let passes = (2..=planned.batch).find(|n| planned.batch.is_multiple_of(*n)).unwrap_or(planned.batch);
        planned = Recipe { batch: planned.batch / passes, accumulate: planned.accumulate * passes, ..planned };
    }
}

/// Bytes at the peak of a process that does nothing but this run, on a CPU.
pub fn peak_bytes(architecture: &Architecture, recipe: &Recipe, data: &Data) -> u64 {
    let held = copies(recipe) * weight_bytes(architecture);
    // What a step gives back leaves holes that all does not fit into.
    let pause = validation_bytes(architecture, data).max(held) / 16 * 17;
    let process = PROCESS + TRAINING + THREAD * current_num_threads() as u64;
    process + data.bytes() + held + step_bytes(architecture, recipe).max(pause)
}

/// Bytes of the weights as they are saved.
fn weight_bytes(architecture: &Architecture) -> u64 {
    4 * weights::expected(architecture).iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum::<u64>()
}

/// Copies of the weights that a run holds from step to step: the weights, their moments, their average.
fn copies(recipe: &Recipe) -> u64 {
    let moments = match recipe.optimizer {
        OptimizerSettings::Sgd { .. } => 1,
        OptimizerSettings::AdamW { .. } => 2,
    };
    1 + moments + u64::from(recipe.average.is_some())
}

/// What a step takes besides: gradients, the layers' outputs, batches that wait.
fn step_bytes(architecture: &Architecture, recipe: &Recipe) -> u64 {
    let pixels = architecture.image_size.iter().product::<usize>();
    let tokens = architecture.grid().iter().product::<usize>();
    // Of attention's scores, which count three times, the CPU's kernels keep one.
    let scores = (2 * architecture.layers * architecture.heads * tokens) as f64 / (PATCH * PATCH) as f64;
    let outputs = 4.0 * ON_CPU * (values_per_pixel(architecture) - scores) * (pixels * recipe.batch) as f64;
    let waiting = (AHEAD + 2) * recipe.batch * pixels * (4 * architecture.channels + 1);
    // Gradients of several passes: their sum so far, the next, and the sum of both.
    let gradients = if recipe.accumulate > 1 { 3 } else { 1 };
    gradients * weight_bytes(architecture) + outputs as u64 + waiting as u64
}

/// What a validation takes besides: the weights to save, the engine and a pass of it, a case.
fn validation_bytes(architecture: &Architecture, data: &Data) -> u64 {
    if !data.validates {
        return weight_bytes(architecture);
    }
    let isa = Isa::fastest();
    let pass = engine::pass_bytes(architecture, isa, 1, architecture.image_size);
    let threads = current_num_threads() as u64 * engine::thread_bytes(architecture, isa);
    weight_bytes(architecture) + engine::loaded_bytes(architecture, isa) + pass + threads + 7 * data.largest
}

/// About what a step takes on a GPU, rather too much; validations and checkpoints take main memory.
fn gpu_bytes(architecture: &Architecture, recipe: &Recipe) -> u64 {
    let pixels = architecture.image_size.iter().product::<usize>() * recipe.batch;
    let outputs = 4.0 * ON_GPU * values_per_pixel(architecture) * pixels as f64;
    (copies(recipe) + 1) * weight_bytes(architecture) + outputs as u64
}

#[cfg(test)]
mod tests {
    use super::super::settings::Preset;
    use super::*;

    const DATA: Data = Data { voxels: 1 << 24, largest: 1 << 22, cache: 1 << 30, validates: true };

    #[test]
    fn batches_are_split_until_they_fit() {
        let architecture = Architecture::r50_vit_b16(224, 9);
        let recipe = Preset::Base.recipe();
        let bytes = |batch| gpu_bytes(&architecture, &Recipe { batch, ..recipe.clone() });
        let fit = |most| split(recipe.clone(), most, |recipe| gpu_bytes(&architecture, recipe));
        assert_eq!(fit(bytes(24)).unwrap(), recipe);
        let halved = fit(bytes(24) - 1).unwrap();
        assert_eq!((halved.batch, halved.accumulate), (12, 2));
        let least = fit(bytes(1)).unwrap();
        assert_eq!((least.batch, least.accumulate), (1, 24));
        assert!(matches!(fit(bytes(1) - 1), Err(Error::OutOfMemory(_))));
        let planned = batch(recipe.clone(), &architecture, &DATA, Some(bytes(6) * 4 / 3 + 4)).unwrap();
        assert_eq!((planned.batch, planned.accumulate), (6, 4));
    }

    #[test]
    fn validations_and_checkpoints_have_to_fit_too() {
        let architecture = Architecture::r50_vit_b16(224, 9);
        let one = |recipe: Recipe| Recipe { batch: 1, ..recipe };
        // The engine is what weighs for one, the copy of the moments for the other.
        let recipe = one(Preset::Base.recipe());
        let (held, fixed) = (2 * weight_bytes(&architecture), PROCESS + TRAINING + DATA.bytes());
        let peak = peak_bytes(&architecture, &recipe, &DATA);
        assert!(peak >= fixed + held + validation_bytes(&architecture, &DATA));
        assert!(validation_bytes(&architecture, &DATA) > step_bytes(&architecture, &recipe));
        let unseen = Data { validates: false, ..DATA };
        assert!(peak_bytes(&architecture, &recipe, &unseen) < peak);
        let recipe = one(Preset::Small.recipe());
        let held = 4 * weight_bytes(&architecture);
        assert!(peak_bytes(&architecture, &recipe, &DATA) >= fixed + 2 * held);
        assert!(held > validation_bytes(&architecture, &DATA));
    }

    #[test]
    fn what_prepared_cases_take_is_bounded() {
        assert_eq!(DATA.bytes(), (5 << 24) + (9 << 22));
        assert_eq!(Data { cache: 1 << 20, ..DATA }.bytes(), (1 << 20) + (9 << 22));
    }
}
