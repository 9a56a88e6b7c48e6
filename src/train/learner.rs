//! One step of learning after another, on any backend; everything that has to survive goes in and out by name.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};

use super::loss::{Loss, Target};
use super::optimizer::{self, Average, Optimizer, from_vec, to_vec};
use super::pass::TrainingPass;
use super::settings::Recipe;
use super::student::{NETWORK, Student};
use crate::device::{Device, GradientWork, Learns};
use crate::error::{Error, Result};
use crate::kernels::channels_first;
use crate::kernels::simd::buffer::Keeper;
use crate::loader::Batch;
use crate::network::Architecture;

/// Values of parameters, running statistics and moments by name.
pub type State = BTreeMap<String, Vec<f32>>;

/// Prefixes in a [`State`], besides the student's own names.
const OPTIMIZER: &str = "optimizer/";
const AVERAGE: &str = "average/";

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
}

/// A network that learns, on its device.
pub trait Learner: Send {
    /// Update `number` (from 0) of `steps`, from `batches` whose gradients are averaged.
    ///
    /// Nothing changes when loss or gradients are not finite: then the [`Step`] says so.
    fn step(&mut self, batches: &[Batch], number: u64, steps: u64) -> Result<Step>;

    /// Values of the network under the checkpoint's names, averaged over the steps where the recipe says so.
    fn weights(&self) -> Result<State>;

    /// All that the next step depends on, besides its number.
    fn state(&self) -> Result<State>;
}

/// A learner whose parameters begin as `read(name, shape)` returns.
pub fn begin(
    device: &Device,
    architecture: &Architecture,
    recipe: &Recipe,
    read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
) -> Result<Box<dyn Learner>> {
    device.learn(Begin { architecture, recipe, updates: 0, state: State::new(), read })
}

/// A learner as another one's [`Learner::state`] was after `updates` steps.
pub fn resume(
    device: &Device,
    architecture: &Architecture,
    recipe: &Recipe,
    updates: u64,
    mut state: State,
) -> Result<Box<dyn Learner>> {
    let kept = |name: &str| name.starts_with(OPTIMIZER) || name.starts_with(AVERAGE);
    let rest = state.extract_if(.., |name, _| kept(name)).collect();
    let read = |name: &str, _: &[usize]| {
        state.remove(name).ok_or_else(|| Error::WeightsMismatch(format!("the checkpoint lacks {name}")))
    };
    device.learn(Begin { architecture, recipe, updates, state: rest, read })
}

struct Begin<'a, F> {
    architecture: &'a Architecture,
    recipe: &'a Recipe,
    updates: u64,
    /// Of optimizer and average.
    state: State,
    read: F,
}

impl<F: FnMut(&str, &[usize]) -> Result<Vec<f32>>> GradientWork for Begin<'_, F> {
    type Output = Box<dyn Learner>;

    fn run<B: Learns>(self, device: &B::Device) -> Result<Box<dyn Learner>> {
        let recipe = self.recipe.clone();
        let mut student =
            Student::<B>::new(self.architecture, recipe.loss.deep_supervision, device).filled(self.read)?;
        if recipe.freeze_encoder {
            student = student.freeze(|name| name.starts_with("network.transformer."));
        }
        let mut optimizer = Optimizer::new(recipe.optimizer);
        optimizer.updates = self.updates;
        let plain = student.values().first_key_value().map(|(_, value)| value.device()).unwrap_or_default();
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
        Ok(Box::new(OnDevice {
            student: Some(student),
            optimizer,
            average,
            recipe,
            classes,
            device: device.clone(),
            memory: Keeper::new(),
        }))
    }
}

struct OnDevice<B: Learns> {
    /// Always there between steps.
    student: Option<Student<B>>,
    optimizer: Optimizer<B>,
    average: Option<Average<B::InnerBackend>>,
    recipe: Recipe,
    classes: usize,
    device: B::Device,
    /// Of steps on a CPU.
    memory: Keeper,
}

impl<B: Learns> OnDevice<B> {
    fn student(&self) -> Result<&Student<B>> {
        self.student.as_ref().ok_or_else(|| Error::Internal("the network was lost in a failed step".into()))
    }

    /// Loss and gradients of one batch; `number` tells the passes of the run apart.
    fn loss(&self, batch: &Batch, number: u64) -> Result<Loss<B>> {
        let student = self.student()?;
        let recipe = &self.recipe;
        let ([height, width], count) = (batch.size, batch.slices.len());
        let mut pass = TrainingPass {
            seed: recipe.seed,
            number,
            dropout: recipe.dropout,
            drop_path: recipe.drop_path,
            batch_statistics: !recipe.freeze_statistics,
            keep_stages: recipe.loss.deep_supervision,
            ..TrainingPass::plain()
        };
        let images = TensorData::new(batch.images.clone(), [count, batch.channels, height, width]);
        let logits = student.network.forward_with(Tensor::from_data(images, &self.device), &mut pass);
        let target = Target::new(&batch.labels, [count, height, width], self.classes, &recipe.loss);
        let stages =
            pass.stages.drain(..).zip(&student.supervision).map(|(x, head)| channels_first(head.forward(x))).collect();
        Ok(Loss::new(logits, &target, &recipe.loss).with_stages(stages, &target, &recipe.loss))
    }
}

impl<B: Learns> Learner for OnDevice<B> {
    fn step(&mut self, batches: &[Batch], number: u64, steps: u64) -> Result<Step> {
        self.memory.turn();
        let (mut sum, mut losses) = (None, [0.0; 3]);
        let share = 1.0 / batches.len() as f64;
        for (batch, part) in batches.iter().zip(0..) {
            let loss = self.loss(batch, number * batches.len() as u64 + part)?;
            let gradients = self.student()?.gradients(&loss.total);
            sum = Some(optimizer::add(sum, gradients));
            for (total, value) in losses.iter_mut().zip([loss.total, loss.cross_entropy, loss.dice]) {
                *total += share * value.into_data().iter::<f64>().sum::<f64>();
            }
        }
        let mut gradients = sum.unwrap_or_default();
        if batches.len() > 1 {
            gradients = optimizer::scale(gradients, share);
        }
        let norm = optimizer::norm(&gradients);
        let [loss, cross_entropy, dice_loss] = losses;
        let rate = self.recipe.schedule.rate(self.recipe.optimizer.rate(), number, steps);
        let step = Step { loss, cross_entropy, dice_loss, rate, gradient_norm: norm };
        if !loss.is_finite() || !norm.is_finite() {
            return Ok(step);
        }
        if let Some(most) = self.recipe.clip
            && norm > most
        {
            gradients = optimizer::scale(gradients, most / norm);
        }
        let student = self.student.take().ok_or_else(|| Error::Internal("no network".into()))?;
        let student = self.optimizer.update(student, gradients, rate);
        if let Some(average) = &mut self.average {
            average.update(student.values(), self.optimizer.updates);
        }
        self.student = Some(student);
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
        if let Some(average) = &self.average {
            let values = average.values.iter().map(|(name, value)| (format!("{AVERAGE}{name}"), value.clone()));
            state.extend(values.map(|(name, value)| (name, to_vec(value))));
        }
        Ok(state)
    }
}
