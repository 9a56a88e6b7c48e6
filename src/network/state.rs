//! Values in and out of the network by the names that the original's checkpoints use.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use crate::error::{Error, Result};
use crate::precision::ComputePrecision;

/// Where a walk through the modules is, in the checkpoint's words.
#[derive(Debug, Default)]
pub struct Place {
    /// Field or index, and the container that it belongs to ("Struct:Body", "Vec"), from the outside in.
    path: Vec<(String, String)>,
}

impl Place {
    pub fn enter(&mut self, name: &str, container: &str) {
        self.path.push((name.to_string(), container.to_string()));
    }

    pub fn exit(&mut self) {
        self.path.pop();
    }

    /// Whether the parameter that the walk has reached is a field of the struct `name`.
    fn is_in(&self, name: &str) -> bool {
        self.path.last().is_some_and(|(_, container)| container.strip_prefix("Struct:") == Some(name))
    }

    /// Name of the parameter that the walk has reached. The original numbers the stem's units from 1 and the layers of
    /// its sequences from 0; the rest is alike.
    pub fn original_name(&self) -> String {
        let mut parts: Vec<String> = Vec::with_capacity(self.path.len() + 1);
        let mut owner = "";
        for (name, container) in &self.path {
            parts.push(match (container.as_str(), name.as_str()) {
                ("Struct:ConvNorm", "conv") => "0".into(),
                ("Struct:ConvNorm", "norm") => "1".into(),
                ("Vec", index) if owner == "Struct:Body" => {
                    format!("unit{}", index.parse::<usize>().map_or(0, |index| index + 1))
                }
                (_, name) => name.into(),
            });
            if name == "segmentation_head" {
                parts.push("0".into());
            }
            owner = container;
        }
        parts.join(".")
    }
}

/// Flattened tensors by their names.
pub type Named<B> = BTreeMap<String, Tensor<B, 1>>;

/// Gives every parameter and running statistic the values that `read(name, shape)` returns, one at a time.
/// The first failure ends it.
pub fn fill<B: Backend, M: Module<B>>(module: M, read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>) -> Result<M> {
    fill_in(module, ComputePrecision::F32, read)
}

/// As [`fill`], with matrices and kernels rounded to `precision`. Vectors stay float32, and so do kernels that are
/// standardised before they are used: their scale means nothing and may leave float16's range.
pub fn fill_in<B: Backend, M: Module<B>>(
    module: M,
    precision: ComputePrecision,
    read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
) -> Result<M> {
    let mut filler = Filler { read, precision, place: Place::default(), failure: None };
    let module = module.map(&mut filler);
    match filler.failure {
        Some(failure) => Err(failure),
        None => Ok(module),
    }
}

struct Filler<F> {
    read: F,
    precision: ComputePrecision,
    place: Place,
    failure: Option<Error>,
}

impl<B: Backend, F: FnMut(&str, &[usize]) -> Result<Vec<f32>>> ModuleMapper<B> for Filler<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.failure.is_some() {
            return param;
        }
        let name = self.place.original_name();
        let shape = param.lazy_shape();
        let values = (self.read)(&name, &shape).and_then(|values| {
            let expected = shape.num_elements();
            if values.len() == expected {
                Ok(values)
            } else {
                Err(Error::Internal(format!("{name}: {} values, expected {expected}", values.len())))
            }
        });
        match values {
            Ok(values) => {
                let id = param.id;
                let rounded = D > 1 && !self.place.is_in("StdConv2d");
                let dtype = if rounded { self.precision } else { ComputePrecision::F32 }.dtype();
                let tensor = Tensor::from_data(TensorData::new(values, shape), (&param.lazy_device(), dtype));
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.failure = Some(error);
                param
            }
        }
    }
}

/// Every parameter and running statistic by name, flattened; shares the network's memory.
pub fn values<B: Backend, M: Module<B>>(module: &M) -> Named<B> {
    let mut collector = Collector { place: Place::default(), values: BTreeMap::new() };
    module.visit(&mut collector);
    collector.values
}

struct Collector<B: Backend> {
    place: Place,
    values: Named<B>,
}

impl<B: Backend> ModuleVisitor<B> for Collector<B> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let tensor = param.val();
        let count = tensor.shape().num_elements();
        self.values.insert(self.place.original_name(), tensor.reshape([count]));
    }
}
