//! The network while it learns: with heads on the decoder's stages, gradients and parameters by name.

use std::collections::BTreeMap;

use burn::module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, backend};

use crate::device::Backend;
use crate::error::Result;
use crate::network::{Architecture, Named, Place, TransUNet, fill, layers::Conv2d, values};

/// The network and, for deep supervision, a 3x3 head on each decoder stage but the last.
#[derive(Module, Debug)]
pub struct Student<B: backend::Backend> {
    pub network: TransUNet<B>,
    /// For stages 0, 1, 2 at 1/8, 1/4, 1/2 of the input; empty without deep supervision.
    pub supervision: Vec<Conv2d<B>>,
}

/// Prefix of the network's own names.
pub const NETWORK: &str = "network.";

impl<B: backend::Backend> Student<B> {
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

impl Student<Backend> {
    /// Gives every parameter and running statistic the values that `read(name, shape)` returns.
    pub fn filled(self, read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>) -> Result<Self> {
        fill(self, read)
    }

    /// Every parameter and running statistic by name, without gradients.
    pub fn values(&self) -> Named {
        values(&self.valid())
    }

    /// Parameters whose name `frozen` picks get no gradients.
    pub fn freeze(self, frozen: impl Fn(&str) -> bool) -> Self {
        self.map(&mut Freezer { frozen, place: Place::default() })
    }

    /// The gradients of `loss` `[1]` by name of parameter, on the plain device.
    pub fn gradients(&self, loss: &Tensor<Backend, 1>) -> Named {
        let mut collector = Collector { gradients: loss.backward(), place: Place::default(), found: BTreeMap::new() };
        self.visit(&mut collector);
        collector.found
    }

    /// Replaces each parameter that has a gradient by `update(name, value, gradient)`, all flattened.
    pub fn updated(
        self,
        gradients: Named,
        update: impl FnMut(&str, Tensor<Backend, 1>, Tensor<Backend, 1>) -> Tensor<Backend, 1>,
    ) -> Self {
        self.map(&mut Updater { gradients, update, place: Place::default() })
    }
}

struct Freezer<F> {
    frozen: F,
    place: Place,
}

impl<F: Fn(&str) -> bool> ModuleMapper<Backend> for Freezer<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<Backend, D>>) -> Param<Tensor<Backend, D>> {
        let frozen = (self.frozen)(&self.place.original_name());
        if frozen { param.set_require_grad(false) } else { param }
    }
}

struct Collector {
    gradients: <Backend as AutodiffBackend>::Gradients,
    place: Place,
    found: Named,
}

impl ModuleVisitor<Backend> for Collector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Backend, D>>) {
        if !param.is_require_grad() {
            return;
        }
        if let Some(gradient) = param.val().grad_remove(&mut self.gradients) {
            let count = gradient.shape().num_elements();
            self.found.insert(self.place.original_name(), gradient.reshape([count]));
        }
    }
}

struct Updater<F> {
    gradients: Named,
    update: F,
    place: Place,
}

impl<F> ModuleMapper<Backend> for Updater<F>
where
    F: FnMut(&str, Tensor<Backend, 1>, Tensor<Backend, 1>) -> Tensor<Backend, 1>,
{
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<Backend, D>>) -> Param<Tensor<Backend, D>> {
        let name = self.place.original_name();
        let Some(gradient) = self.gradients.remove(&name) else { return param };
        let (id, value, mapper) = param.consume();
        let shape = value.dims();
        let count = shape.iter().product::<usize>();
        let value = (self.update)(&name, value.inner().reshape([count]), gradient);
        let value = Tensor::from_inner(value.reshape(shape)).require_grad();
        Param::from_mapped_value(id, value, mapper)
    }
}
