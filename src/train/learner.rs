//! One step of learning after another, on any backend; everything that has to survive goes in and out by name.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::resume_unwind;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use super::loss::{Loss, Target};
use super::loss_scale::LossScale;
use super::optimizer::{self, Average, Optimizer, from_vec, to_vec};
use super::pass::TrainingPass;
use super::settings::Recipe;
use super::student::{NETWORK, Student, graph_turn};
use crate::device::memory::AtOnce;
use crate::device::{Devices, GradientWork, Learns};
use crate::error::{Error, Result};
use crate::kernels::channels_first;
use crate::kernels::simd::buffer::Keeper;
use crate::loader::Batch;
use crate::network::{Architecture, Named};
use crate::precision::ComputePrecision;

/// Values of parameters, running statistics and moments by name.
pub type State = BTreeMap<String, Vec<f32>>;

/// Prefixes in a [`State`], besides the student's own names.
const OPTIMIZER: &str = "optimizer/";
const AVERAGE: &str = "average/";
/// Of float16 only.
const LOSS_SCALE: &str = "loss_scale";

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// What was minimised; means over the batches of the step.
    pub loss: f64,
    pub cross_entropy: f64,
    /// Mean of 1 - Dice over the classes.
    pub dice_loss: f64,
    pub rate: f64,
    /// Euclidean norm of the gradients before clipping.
    pub gradient_norm: f64,
    /// Gradients left float16's range: there was no update, and the loss is scaled less from now on.
    pub skipped: bool,
}

/// A network that learns, on its devices.
pub trait Learner: Send {
    /// Update `number` (from 0) of `steps`, from `batches` whose gradients are averaged.
    ///
    /// Nothing changes when loss or gradients are not finite, but the loss scale of float16: then the [`Step`] says so.
    fn step(&mut self, batches: &[Batch], number: u64, steps: u64) -> Result<Step>;

    /// Values of the network under the checkpoint's names, averaged over the steps where the recipe says so.
    fn weights(&self) -> Result<State>;

    /// All that the next step depends on, besides its number.
    fn state(&self) -> Result<State>;
}

/// A learner whose parameters begin as `read(name, shape)` returns. Several devices share the passes of a step.
pub fn begin(
    devices: &Devices,
    architecture: &Architecture,
    recipe: &Recipe,
    read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
) -> Result<Box<dyn Learner>> {
    devices.check_precision(recipe.mixed_precision)?;
    devices.learn(beginning(architecture, recipe, read))
}

/// A learner as another one's [`Learner::state`] was after `steps` steps.
pub fn resume(
    devices: &Devices,
    architecture: &Architecture,
    recipe: &Recipe,
    steps: u64,
    state: State,
) -> Result<Box<dyn Learner>> {
    devices.check_precision(recipe.mixed_precision)?;
    devices.learn(resuming(architecture, recipe, steps, state))
}

/// What [`begin`] does, on any backend.
pub fn beginning<'a>(
    architecture: &'a Architecture,
    recipe: &'a Recipe,
    read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
) -> impl GradientWork<Output = Box<dyn Learner>> {
    Begin { architecture, recipe, steps: 0, state: State::new(), read }
}

/// What [`resume`] does, on any backend.
pub fn resuming<'a>(
    architecture: &'a Architecture,
    recipe: &'a Recipe,
    steps: u64,
    mut state: State,
) -> impl GradientWork<Output = Box<dyn Learner>> {
    let kept = |name: &str| name.starts_with(OPTIMIZER) || name.starts_with(AVERAGE) || name == LOSS_SCALE;
    let rest = state.extract_if(.., |name, _| kept(name)).collect();
    let read = move |name: &str, _: &[usize]| {
        state.remove(name).ok_or_else(|| Error::WeightsMismatch(format!("the checkpoint lacks {name}")))
    };
    Begin { architecture, recipe, steps, state: rest, read }
}

struct Begin<'a, F> {
    architecture: &'a Architecture,
    recipe: &'a Recipe,
    /// Made so far.
    steps: u64,
    /// Of optimizer, average and loss scale.
    state: State,
    read: F,
}

impl<F: FnMut(&str, &[usize]) -> Result<Vec<f32>>> GradientWork for Begin<'_, F> {
    type Output = Box<dyn Learner>;

    fn run<B: Learns>(mut self, devices: &[B::Device]) -> Result<Box<dyn Learner>> {
        let recipe = self.recipe.clone();
        let device = &devices[0];
        let mut student =
            Student::<B>::new(self.architecture, recipe.loss.deep_supervision, device).filled(self.read)?;
        if recipe.freeze_encoder {
            student = student.freeze(is_encoder);
        }
        let scale = match (recipe.mixed_precision, self.state.remove(LOSS_SCALE)) {
            (ComputePrecision::F16, Some(values)) => Some(LossScale::from_values(&values)?),
            (ComputePrecision::F16, None) => Some(LossScale::default()),
            _ => None,
        };
        let mut optimizer = Optimizer::new(recipe.optimizer);
        optimizer.updates = self.steps.saturating_sub(scale.map_or(0, |scale| scale.skipped()));
        let plain = student.plain_device();
        let mut averaged = BTreeMap::new();
        for (name, values) in self.state {
            let tensor = from_vec(values, &plain);
            if let Some(name) = name.strip_prefix(OPTIMIZER) {
                optimizer.state.insert(name.into(), tensor);
            } else if let Some(name) = name.strip_prefix(AVERAGE) {
                averaged.insert(name.into(), tensor);
            }
        }
        let average = recipe
            .average
            .map(|keep| Average::new(keep, if averaged.is_empty() { student.values() } else { averaged }));
        let classes = self.architecture.classes;
        let mut replicas = Vec::new();
        for device in &devices[1..] {
            let kept: State = student.values().into_iter().map(|(name, value)| (name, to_vec(value))).collect();
            let read = |name: &str, _: &[usize]| Ok(kept.get(name).cloned().unwrap_or_default());
            let replica = Student::<B>::new(self.architecture, recipe.loss.deep_supervision, device).filled(read)?;
            let replica = if recipe.freeze_encoder { replica.freeze(is_encoder) } else { replica };
            replicas.push(Replica { student: Some(replica), device: device.clone(), at_once: AtOnce::all() });
        }
        replicas.insert(0, Replica { student: Some(student), device: device.clone(), at_once: AtOnce::all() });
        Ok(Box::new(OnDevices { replicas, optimizer, average, scale, recipe, classes, memory: Keeper::new() }))
    }
}

fn is_encoder(name: &str) -> bool {
    name.starts_with("network.transformer.")
}

/// The network on one device.
struct Replica<B: Learns> {
    /// Always there between steps.
    student: Option<Student<B>>,
    device: B::Device,
    at_once: AtOnce,
}

/// What every pass of a step is made with.
struct Passes<'a> {
    recipe: &'a Recipe,
    classes: usize,
    /// What the loss is multiplied by before its gradients are taken.
    factor: Option<f64>,
    /// Number of the step's first pass in the run; tells passes apart.
    first: u64,
    batches: &'a [Batch],
}

/// Sums over passes: gradients; loss, cross-entropy and loss of Dice.
type Sums<B> = (Option<Named<B>>, [f64; 3]);

impl<B: Learns> Replica<B> {
    fn student(&self) -> Result<&Student<B>> {
        self.student.as_ref().ok_or_else(|| Error::Internal("the network was lost in a failed step".into()))
    }

    /// Loss of one batch, by pass `number` of the run, of whose slices it begins with the one `at`.
    fn loss(&self, batch: Batch, number: u64, at: usize, passes: &Passes) -> Result<Loss<B>> {
        let student = self.student()?;
        let recipe = passes.recipe;
        let ([height, width], count) = (batch.size, batch.slices.len());
        let mut pass = TrainingPass {
            seed: recipe.seed,
            number,
            dropout: recipe.dropout,
            drop_path: recipe.drop_path,
            batch_statistics: !recipe.freeze_statistics,
            keep_stages: recipe.loss.deep_supervision,
            masks: (at as u64) << 32, // each part of a batch has its own
            ..TrainingPass::plain()
        };
        let images = TensorData::new(batch.images, [count, batch.channels, height, width]);
        let images = Tensor::from_data(images, (&self.device, recipe.mixed_precision.dtype()));
        let logits = student.network.forward_with(images, &mut pass);
        let target = Target::new(&batch.labels, [count, height, width], passes.classes, &recipe.loss);
        let stages = pass.stages.drain(..).zip(&student.supervision);
        let stages = stages.map(|(x, head)| channels_first(head.forward(x.cast(DType::F32)))).collect();
        Ok(Loss::new(logits, &target, &recipe.loss).with_stages(stages, &target, &recipe.loss))
    }

    /// Passes `at`, `at + apart`, ... A batch for which memory does not suffice goes on in parts: the same update, but for
    /// Dice and the statistics of batch normalisation, which are each part's own and move with what was tried, too.
    fn passes(&self, at: usize, apart: usize, passes: &Passes) -> Result<Sums<B::InnerBackend>> {
        let (mut sum, mut losses) = (None, [0.0; 3]);
        for (batch, pass) in passes.batches.iter().zip(passes.first..).skip(at).step_by(apart) {
            let slices = batch.slices.len();
            let work = |part: Range<usize>| {
                let share = part.len() as f64 / slices as f64;
                let (gradients, parts) = self.pass(batch.part(&part), pass, part.start, share, passes)?;
                sum = Some(optimizer::add(sum.take(), gradients));
                losses.iter_mut().zip(parts).for_each(|(total, part)| *total += share * part);
                Ok(())
            };
            self.at_once.halving(slices, work, || B::memory_cleanup(&self.device))?;
        }
        Ok((sum, losses))
    }

    /// Gradients of `share` of a pass' loss; loss, cross-entropy and loss of Dice.
    fn pass(
        &self,
        batch: Batch,
        number: u64,
        at: usize,
        share: f64,
        passes: &Passes,
    ) -> Result<(Named<B::InnerBackend>, [f64; 3])> {
        let (loss, gradients) = {
            let _turn = graph_turn();
            let loss = self.loss(batch, number, at, passes)?;
            let factor = share * passes.factor.unwrap_or(1.0);
            let lifted = if factor == 1.0 { loss.total.clone() } else { loss.total.clone() * factor };
            let gradients = self.student()?.gradients(&lifted)?;
            (loss, gradients)
        };
        let parts = [loss.total, loss.cross_entropy, loss.dice];
        Ok((gradients, parts.map(|value| value.into_data().iter::<f64>().sum::<f64>())))
    }
}

/// Pass n of a step is that of device `n % devices`. The first device sums their gradients and updates; the others take its
/// parameters. Running statistics are those of the first device's passes.
struct OnDevices<B: Learns> {
    /// At least one.
    replicas: Vec<Replica<B>>,
    optimizer: Optimizer<B>,
    average: Option<Average<B::InnerBackend>>,
    /// Of float16.
    scale: Option<LossScale>,
    recipe: Recipe,
    classes: usize,
    /// Of steps on a CPU.
    memory: Keeper,
}

impl<B: Learns> OnDevices<B> {
    fn student(&self) -> Result<&Student<B>> {
        self.replicas[0].student()
    }

    /// Sums over all passes, on the first device.
    fn passes(&mut self, batches: &[Batch], number: u64) -> Result<Sums<B::InnerBackend>> {
        let first = number * batches.len() as u64;
        let factor = self.scale.map(|scale| scale.factor());
        let passes = Passes { recipe: &self.recipe, classes: self.classes, factor, first, batches };
        let apart = self.replicas.len();
        if apart == 1 {
            return self.replicas[0].passes(0, 1, &passes);
        }
        let passes = &passes;
        let sums: Vec<Result<Sums<B::InnerBackend>>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (self.replicas.iter_mut().enumerate())
                .map(|(at, replica)| scope.spawn(move || replica.passes(at, apart, passes)))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        let (mut sum, mut losses) = (None, [0.0; 3]);
        for found in sums {
            let (gradients, parts) = found?;
            if let Some(gradients) = gradients {
                sum = Some(optimizer::add(sum, moved(gradients, &self.student()?.plain_device())));
            }
            losses.iter_mut().zip(parts).for_each(|(total, part)| *total += part);
        }
        Ok((sum, losses))
    }

    /// Gives the first device's parameters of these names, which an update has changed, to the others.
    fn share(&mut self, learned: &BTreeSet<String>) -> Result<()> {
        let [first, others @ ..] = &mut self.replicas[..] else { return Ok(()) };
        if others.is_empty() {
            return Ok(());
        }
        let mut values = first.student()?.values();
        values.retain(|name, _| learned.contains(name));
        for replica in others {
            let student = replica.student.take().ok_or_else(|| Error::Internal("no network".into()))?;
            let device = student.plain_device();
            replica.student = Some(student.updated(moved(values.clone(), &device), |_, _, shared| shared));
        }
        Ok(())
    }
}

fn moved<B: Backend>(named: Named<B>, device: &B::Device) -> Named<B> {
    named.into_iter().map(|(name, tensor)| (name, tensor.to_device(device))).collect()
}

impl<B: Learns> Learner for OnDevices<B> {
    fn step(&mut self, batches: &[Batch], number: u64, steps: u64) -> Result<Step> {
        self.memory.turn();
        let share = 1.0 / batches.len() as f64;
        let statistics = self.student()?.statistics();
        let factor = self.scale.map_or(1.0, |scale| scale.factor());
        let (sum, losses) = self.passes(batches, number)?;
        let mut gradients = sum.unwrap_or_default();
        if share / factor != 1.0 {
            gradients = optimizer::scale(gradients, share / factor);
        }
        let norm = optimizer::norm(&gradients);
        let [loss, cross_entropy, dice_loss] = losses.map(|sum| share * sum);
        let rate = self.recipe.schedule.rate(self.recipe.optimizer.rate(), number, steps);
        let mut step = Step { loss, cross_entropy, dice_loss, rate, gradient_norm: norm, skipped: false };
        if !loss.is_finite() || !norm.is_finite() {
            // The passes have moved them.
            let first = &mut self.replicas[0].student;
            *first = first.take().map(|student| student.updated(statistics, |_, _, before| before));
            step.skipped = self.scale.as_mut().is_some_and(LossScale::shrink);
            return Ok(step);
        }
        if let Some(scale) = &mut self.scale {
            scale.keep();
        }
        if let Some(most) = self.recipe.clip
            && norm > most
        {
            gradients = optimizer::scale(gradients, most / norm);
        }
        let learned = gradients.keys().cloned().collect();
        let student = self.replicas[0].student.take().ok_or_else(|| Error::Internal("no network".into()))?;
        let student = self.optimizer.update(student, gradients, rate);
        if let Some(average) = &mut self.average {
            average.update(student.values(), self.optimizer.updates);
        }
        self.replicas[0].student = Some(student);
        self.share(&learned)?;
        Ok(step)
    }

    fn weights(&self) -> Result<State> {
        // What is done with them needs memory of its own.
        self.memory.clear();
        let named = match &self.average {
            Some(average) => average.values.clone(),
            None => self.student()?.values(),
        };
        let own = named.into_iter().filter_map(|(name, value)| Some((name.strip_prefix(NETWORK)?.to_owned(), value)));
        Ok(own.map(|(name, value)| (name, to_vec(value))).collect())
    }

    fn state(&self) -> Result<State> {
        self.memory.clear();
        let mut state: State =
            self.student()?.values().into_iter().map(|(name, value)| (name, to_vec(value))).collect();
        let moments = self.optimizer.state.iter().map(|(name, value)| (format!("{OPTIMIZER}{name}"), value.clone()));
        state.extend(moments.map(|(name, value)| (name, to_vec(value))));
        state.extend(self.scale.map(|scale| (LOSS_SCALE.to_owned(), scale.to_values())));
        if let Some(average) = &self.average {
            let values = average.values.iter().map(|(name, value)| (format!("{AVERAGE}{name}"), value.clone()));
            state.extend(values.map(|(name, value)| (name, to_vec(value))));
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use burn_autodiff::Autodiff;
    use burn_flex::Flex;

    use super::*;
    use crate::network::initial_values;
    use crate::train::settings::{LossSettings, Preset};

    #[test]
    fn a_batch_in_parts_has_the_gradients_of_the_whole() {
        let of = Architecture { hidden: 16, heads: 2, layers: 1, mlp: 16, ..Architecture::tiny(32, 3) };
        let loss = LossSettings { dice: 0.0, cross_entropy: 1.0, ..LossSettings::default() };
        let recipe = Recipe { loss, dropout: 0.0, freeze_statistics: true, ..Preset::Tiny.recipe() };
        let pixels = 32 * 32;
        let batch = |seed: usize| Batch {
            images: (0..5 * pixels).map(|at| ((at + seed) as f32 * 0.37).sin()).collect(),
            channels: 1,
            labels: (0..5 * pixels).map(|at| ((at + seed) / 100 % 3) as u8).collect(),
            size: [32; 2],
            slices: (0..5).map(|n| (seed, n)).collect(),
        };
        let batches = [batch(1), batch(2)];
        let passes = Passes { recipe: &recipe, classes: 3, factor: Some(2.0), first: 0, batches: &batches };
        let sums = |at_once| {
            let device = Default::default();
            let read = |name: &str, shape: &[usize]| Ok(initial_values(3, name, shape));
            let student = Student::<Autodiff<Flex>>::new(&of, true, &device).filled(read).unwrap();
            let replica = Replica { student: Some(student), device, at_once };
            let (gradients, losses) = replica.passes(0, 1, &passes).unwrap();
            (gradients.unwrap().into_iter().map(|(name, x)| (name, to_vec(x))).collect::<State>(), losses)
        };
        let (whole, expected) = sums(AtOnce::all());
        let (parts, losses) = sums(AtOnce::of(2));
        assert!((losses[0] - expected[0]).abs() < 1e-5 && expected[0] > 1.0, "{losses:?}, expected {expected:?}");
        for (name, expected) in &whole {
            let largest = expected.iter().fold(1e-3f32, |most, x| most.max(x.abs()));
            let apart = parts[name].iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-4 * largest, "{name}: {apart} of {largest}");
        }
    }
}
