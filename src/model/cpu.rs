//! A network on the CPU, by the engine, with where its weights come from.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::{Classified, Form, Network};
use crate::control::Cancel;
use crate::engine::{Engine, loaded_bytes, pass_bytes};
use crate::error::{Error, Result};
use crate::kernels::simd::Isa;
use crate::kernels::simd::maps::Map;
use crate::kernels::simd::parallel;
use crate::memory;
use crate::network::Architecture;
use crate::receipt::digest;
use crate::weights::{Checkpoint, parameters};

#[derive(Debug)]
pub(super) struct OnCpu {
    architecture: Architecture,
    origin: Origin,
    engine: OnceLock<Engine>,
}

/// The weights as they are saved; the engine's are folded and packed, a GPU's may be rounded.
#[derive(Debug)]
pub(super) enum Origin {
    /// Read again where they are asked for, so that they are not held twice; `sums` show whether the file still has them.
    File {
        checkpoint: Arc<Checkpoint>,
        compat: bool,
        sums: BTreeMap<String, u32>,
    },
    Values(BTreeMap<String, Vec<f32>>),
}

impl Origin {
    /// The tensors of a checkpoint that fits `architecture`, to `work`, which reads each once; `digests` get them too.
    pub fn of_file<T>(
        checkpoint: Arc<Checkpoint>,
        architecture: &Architecture,
        compat: bool,
        digests: &mut digest::Weights,
        work: impl FnOnce(&mut dyn FnMut(&str, &[usize]) -> Result<Vec<f32>>) -> Result<T>,
    ) -> Result<(Self, T)> {
        let mut sums = BTreeMap::new();
        let made = work(&mut |name, _| {
            let values = checkpoint.read_for(name, architecture, compat)?;
            sums.insert(name.to_owned(), sum(&values));
            digests.add(name, &values);
            Ok(values)
        })?;
        Ok((Origin::File { checkpoint, compat, sums }, made))
    }

    /// Shows every parameter and running statistic, one at a time.
    pub fn visit(&self, architecture: &Architecture, show: &mut dyn FnMut(&str, &[f32]) -> Result<()>) -> Result<()> {
        parameters(architecture).into_iter().try_for_each(|(name, _)| show(&name, &self.read(&name, architecture)?))
    }

    fn read(&self, name: &str, architecture: &Architecture) -> Result<Vec<f32>> {
        match self {
            Origin::File { checkpoint, compat, sums } => {
                let values = checkpoint.read_for(name, architecture, *compat)?;
                if sums.get(name) != Some(&sum(&values)) {
                    return Err(Error::WeightsFormat(format!(
                        "{}: {name} is not what it was when the model was loaded: the file was written over since",
                        checkpoint.path().display()
                    )));
                }
                Ok(values)
            }
            Origin::Values(values) => {
                values.get(name).cloned().ok_or_else(|| Error::Internal(format!("{name} is missing")))
            }
        }
    }
}

/// Refuses weights that do not fit into the memory there is.
fn check_room(architecture: &Architecture) -> Result<()> {
    let bytes = loaded_bytes(architecture, Isa::fastest());
    memory::check("loading the model", bytes, "free some memory, raise the limit or take a smaller model")
}

fn sum(values: &[f32]) -> u32 {
    crc32fast::hash(bytemuck::cast_slice(values))
}

impl OnCpu {
    /// The network of a checkpoint that fits `architecture`.
    pub fn load(
        architecture: Architecture,
        checkpoint: Arc<Checkpoint>,
        compat: bool,
        digests: &mut digest::Weights,
    ) -> Result<Self> {
        check_room(&architecture)?;
        let (origin, engine) = Origin::of_file(checkpoint, &architecture, compat, digests, |read| {
            Engine::new(&architecture, Isa::fastest(), read)
        })?;
        Ok(OnCpu { architecture, origin, engine: engine.into() })
    }

    /// The network of values that `read(name, shape)` returns; packed once it is used, since many are only saved.
    pub fn with_values(
        architecture: Architecture,
        mut read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let mut values = BTreeMap::new();
        for (name, shape) in parameters(&architecture) {
            let tensor = read(&name, &shape)?;
            let expected = shape.iter().product::<usize>();
            if tensor.len() != expected {
                return Err(Error::Internal(format!("{name}: {} values, expected {expected}", tensor.len())));
            }
            values.insert(name, tensor);
        }
        Ok(OnCpu { architecture, origin: Origin::Values(values), engine: OnceLock::new() })
    }

    fn engine(&self) -> Result<&Engine> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        check_room(&self.architecture)?;
        let read = |name: &str, _: &[usize]| self.origin.read(name, &self.architecture);
        let engine = Engine::new(&self.architecture, Isa::fastest(), read)?;
        Ok(self.engine.get_or_init(|| engine))
    }
}

impl Network for OnCpu {
    fn classify(
        &self,
        pixels: Vec<f32>,
        Form { shape, resize }: Form,
        probabilities: bool,
        cancel: Option<&Cancel>,
    ) -> Result<Classified> {
        if resize.is_some() {
            return Err(Error::Internal("a CPU gets slices of the network's size".into()));
        }
        let [images, _, height, width] = shape;
        let (plane, classes) = (height * width, self.architecture.classes);
        let mut labels = vec![0; images * plane];
        let mut shares = vec![0.0; if probabilities { images * classes * plane } else { 0 }];
        self.engine()?.forward(&pixels, shape, cancel, |image, logits| {
            classes_of(logits, width, &mut labels[image * plane..(image + 1) * plane]);
            if probabilities {
                shares_of(logits, width, plane, &mut shares[image * classes * plane..][..classes * plane]);
            }
        })?;
        Ok(Classified { labels, probabilities: probabilities.then_some(shares) })
    }

    fn logits(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>> {
        let [images, _, height, width] = shape;
        let plane = height * width;
        let mut out = vec![0.0; images * self.architecture.classes * plane];
        self.engine()?.forward(&pixels, shape, None, |image, logits| {
            let planes = out.chunks_exact_mut(plane).skip(image * self.architecture.classes);
            for (class, out) in planes.take(self.architecture.classes).enumerate() {
                for (n, out) in out.iter_mut().enumerate() {
                    *out = pixel(logits, n / width, n % width)[class];
                }
            }
        })?;
        Ok(out)
    }

    fn compiles(&self, _form: Form) -> bool {
        false
    }

    fn instructions(&self) -> Result<Option<&'static str>> {
        Ok(Some(self.engine()?.isa().name()))
    }

    fn pass_bytes(&self, images: usize, size: [usize; 2]) -> u64 {
        let (architecture, isa) = (&self.architecture, Isa::fastest());
        let maps = pass_bytes(architecture, isa, images, size);
        match self.engine.get() {
            Some(engine) => maps.saturating_sub(engine.kept_bytes()),
            None => maps + loaded_bytes(architecture, isa),
        }
    }

    fn visit(&self, show: &mut dyn FnMut(&str, &[f32]) -> Result<()>) -> Result<()> {
        self.origin.visit(&self.architecture, show)
    }
}

/// Logits of a pixel.
fn pixel<'a>(logits: Map<'a>, row: usize, column: usize) -> &'a [f32] {
    &logits.values[(row * logits.size[1] + column) * logits.pitch..][..logits.channels]
}

/// The class of each pixel of rows of `width`: that of the largest logit, the first of equals.
fn classes_of(logits: Map, width: usize, labels: &mut [u8]) {
    for (n, label) in labels.iter_mut().enumerate() {
        let logits = pixel(logits, n / width, n % width);
        let mut best = 0;
        for (class, logit) in logits.iter().enumerate() {
            if *logit > logits[best] {
                best = class;
            }
        }
        *label = best as u8;
    }
}

/// Softmax of each pixel, `[classes, rows, width]`.
fn shares_of(logits: Map, width: usize, plane: usize, out: &mut [f32]) {
    // Largest logit and sum of exponentials of each pixel, then plane by plane.
    let mut sums = vec![0.0; 2 * plane];
    parallel::chunks(&mut sums, 2 * width, |row, sums| {
        for (column, sum) in sums.chunks_exact_mut(2).enumerate() {
            let logits = pixel(logits, row, column);
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            sum.copy_from_slice(&[most, logits.iter().map(|logit| (logit - most).exp()).sum()]);
        }
    });
    parallel::chunks(out, plane, |class, out| {
        for (n, (share, sum)) in out.iter_mut().zip(sums.chunks_exact(2)).enumerate() {
            *share = (pixel(logits, n / width, n % width)[class] - sum[0]).exp() / sum[1];
        }
    });
}
