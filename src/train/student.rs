//! The network while it learns: with heads on the decoder's stages, gradients and parameters by name.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::device::Learns;
use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::network::{Architecture, Named, Place, TransUNet, fill, layers::Conv2d, values};

/// The network and, for deep supervision, a 3x3 head on each decoder stage but the last.
#[derive(Module, Debug)]
pub struct Student<B: Backend> {
    pub network: TransUNet<B>,
    /// For stages 0, 1, 2 at 1/8, 1/4, 1/2 of the input; empty without deep supervision.
    pub supervision: Vec<Conv2d<B>>,
}

/// Prefix of the network's own names.
pub const NETWORK: &str = "network.";

impl<B: Kernels> Student<B> {
    /// Without values.
    pub fn new(architecture: &Architecture, supervised: bool, device: &B::Device) -> Self {
        let heads = if supervised { 3 } else { 0 };
        let supervision = architecture.decoder_channels[..heads].iter();
        Student {
            network: TransUNet::new(architecture, device),
            supervision: supervision
                .map(|&channels| Conv2d::new([architecture.classes, channels, 3, 3], true, 1, 1, device))
                .collect(),
        }
    }
}

/// To be held from the first tensor of a pass to its gradients. burn-autodiff 0.21 tidies after each backward pass among the
/// graphs of all threads, and takes nodes out of those that are being built: gradients were missing without a word. On GPUs
/// threads thus take turns in launching, not in computing.
pub fn graph_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Learns> Student<B> {
    /// Gives every parameter and running statistic the values that `read(name, shape)` returns.
    pub fn filled(self, read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>) -> Result<Self> {
        fill(self, read)
    }

    /// Every parameter and running statistic by name, without gradients.
    pub fn values(&self) -> Named<B::InnerBackend> {
        values(&self.valid())
    }

    /// Where they are.
    pub fn plain_device(&self) -> burn::tensor::Device<B::InnerBackend> {
        self.values().first_key_value().map(|(_, value)| value.device()).unwrap_or_default()
    }

    /// Running statistics by name.
    pub fn statistics(&self) -> Named<B::InnerBackend> {
        self.values().into_iter().filter(|(name, _)| name.contains(".running_")).collect()
    }

    /// Parameters whose name `frozen` picks get no gradients.
    pub fn freeze(self, frozen: impl Fn(&str) -> bool) -> Self {
        self.map(&mut Freezer { frozen, place: Place::default() })
    }

    /// The gradients of `loss` `[1]` by name of parameter, on the plain device.
    pub fn gradients(&self, loss: &Tensor<B, 1>) -> Result<Named<B::InnerBackend>> {
        let (gradients, place) = (loss.backward(), Place::default());
        let mut collector = Collector { gradients, place, found: BTreeMap::new(), missing: Vec::new() };
        self.visit(&mut collector);
        match collector.missing[..] {
            [] => Ok(collector.found),
            _ => Err(Error::Internal(format!("no gradient of {}", collector.missing.join(", ")))),
        }
    }

    /// Replaces each parameter or running statistic that has a gradient, or another tensor of its size, by
    /// `update(name, value, gradient)`, all flattened.
    pub fn updated(
        self,
        gradients: Named<B::InnerBackend>,
        update: impl FnMut(&str, Tensor<B::InnerBackend, 1>, Tensor<B::InnerBackend, 1>) -> Tensor<B::InnerBackend, 1>,
    ) -> Self {
        self.map(&mut Updater { gradients, update, place: Place::default() })
    }
}

struct Freezer<F> {
    frozen: F,
    place: Place,
}

impl<B: Backend, F: Fn(&str) -> bool> ModuleMapper<B> for Freezer<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let frozen = (self.frozen)(&self.place.original_name());
        if frozen { param.set_require_grad(false) } else { param }
    }
}

struct Collector<B: Learns> {
    gradients: B::Gradients,
    place: Place,
    found: Named<B::InnerBackend>,
    missing: Vec<String>,
}

impl<B: Learns> ModuleVisitor<B> for Collector<B> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if !param.is_require_grad() {
            return;
        }
        let name = self.place.original_name();
        match param.val().grad_remove(&mut self.gradients) {
            Some(gradient) => {
                let count = gradient.shape().num_elements();
                self.found.insert(name, gradient.reshape([count]));
            }
            None => self.missing.push(name),
        }
    }
}

struct Updater<B: Learns, F> {
    gradients: Named<B::InnerBackend>,
    update: F,
    place: Place,
}

impl<B: Learns, F> ModuleMapper<B> for Updater<B, F>
where
    F: FnMut(&str, Tensor<B::InnerBackend, 1>, Tensor<B::InnerBackend, 1>) -> Tensor<B::InnerBackend, 1>,
{
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let name = self.place.original_name();
        let Some(gradient) = self.gradients.remove(&name) else { return param };
        let (id, value, mapper) = param.consume();
        let (shape, learns) = (value.dims(), value.is_require_grad());
        let count = shape.iter().product::<usize>();
        let value = (self.update)(&name, value.inner().reshape([count]), gradient);
        let value = Tensor::from_inner(value.reshape(shape)).set_require_grad(learns);
        Param::from_mapped_value(id, value, mapper)
    }
}
