//! Layers with packed weights, read from a checkpoint's tensors by their names.

use crate::error::{Error, Result};
use crate::kernels::simd::maps::Map;
use crate::kernels::simd::norms::{Affine, group_norm, layer_norm};
use crate::kernels::simd::product::{Activation, Left, Packed, Windows, multiply};
use crate::kernels::simd::winograd::Winograd;
use crate::kernels::simd::{Isa, WIDEST};

use super::arena::{Feature, Run};

/// Returns the values of a tensor by its name and shape.
pub type Read<'a> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>> + 'a;

/// Reads tensors, each once.
pub struct Reader<'a> {
    pub isa: Isa,
    pub read: &'a mut Read<'a>,
}

impl Reader<'_> {
    /// Values of the tensor called `name`.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let values = (self.read)(name, shape)?;
        let expected = shape.iter().product::<usize>();
        if values.len() == expected {
            Ok(values)
        } else {
            Err(Error::Internal(format!("{name}: {} values, expected {expected}", values.len())))
        }
    }

    /// Weight and bias called `{name}.weight` and `{name}.bias`, zeros up to a whole vector.
    pub fn affine(&mut self, name: &str, width: usize) -> Result<[Vec<f32>; 2]> {
        let mut read = |part: &str| {
            let mut values = self.tensor(&format!("{name}.{part}"), &[width])?;
            values.resize(width.next_multiple_of(WIDEST), 0.0);
            Ok(values)
        };
        Ok([read("weight")?, read("bias")?])
    }
}

/// Which values of a pixel are which input channels: `channels` of each part, parts begin at whole vectors.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    pub channels: [usize; 2],
    /// Where the second part begins.
    pub second: usize,
}

impl Parts {
    pub fn one(channels: usize) -> Self {
        Parts { channels: [channels, 0], second: channels }
    }

    pub fn two(isa: Isa, channels: [usize; 2]) -> Self {
        if channels[1] == 0 {
            return Self::one(channels[0]);
        }
        Parts { channels, second: channels[0].next_multiple_of(isa.lanes()) }
    }

    /// Values of a pixel.
    pub fn len(&self) -> usize {
        self.second + self.channels[1]
    }

    fn channel(&self, place: usize) -> Option<usize> {
        match place.checked_sub(self.second) {
            Some(second) => Some(self.channels[0] + second),
            None => Some(place).filter(|&place| place < self.channels[0]),
        }
    }
}

/// Kernels `[out, in, k, k]` and one bias for each output.
pub struct Kernels {
    pub values: Vec<f32>,
    pub outputs: usize,
    pub inputs: Parts,
    pub side: usize,
    /// May be empty.
    pub bias: Vec<f32>,
}

impl Kernels {
    /// Brings each output's kernel to mean 0 and variance 1 (Qiao et al., arXiv:1903.10520).
    pub fn standardized(mut self) -> Self {
        let count = self.values.len() / self.outputs;
        for kernel in self.values.chunks_exact_mut(count) {
            let mean = kernel.iter().map(|&x| f64::from(x)).sum::<f64>() / count as f64;
            let variance = kernel.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count as f64;
            let root = 1.0 / (variance + 1e-5).sqrt();
            kernel.iter_mut().for_each(|x| *x = ((f64::from(*x) - mean) * root) as f32);
        }
        self
    }

    /// Takes in the batch normalisation called `norm` that follows, by its running statistics.
    fn normalized(mut self, reader: &mut Reader, norm: &str) -> Result<Self> {
        let mut read = |part: &str| reader.tensor(&format!("{norm}.{part}"), &[self.outputs]);
        let (weight, bias) = (read("weight")?, read("bias")?);
        let (mean, variance) = (read("running_mean")?, read("running_var")?);
        let count = self.values.len() / self.outputs;
        self.bias.clear();
        for (n, kernel) in self.values.chunks_exact_mut(count).enumerate() {
            let scale = f64::from(weight[n]) / (f64::from(variance[n]) + 1e-5).sqrt();
            kernel.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
            self.bias.push((f64::from(bias[n]) - f64::from(mean[n]) * scale) as f32);
        }
        Ok(self)
    }
}

/// A convolution with an odd kernel and a padding that keeps the size, divided by the stride.
#[derive(Debug)]
pub enum Convolution {
    Direct { packed: Packed, side: usize, stride: usize },
    Tiles(Winograd),
}

/// Channels from which on transforms pay.
pub const WINOGRAD_CHANNELS: usize = 16;
/// Tiles of 4 x 4 that a map must have: each brings 36 matrices of weights into the cache.
const LARGE_TILES: usize = 28;

/// Sides of the tiles for maps of `size`.
pub fn tile(size: [usize; 2]) -> usize {
    let tiles = size.map(|side| side.div_ceil(4)).iter().product::<usize>();
    if tiles >= LARGE_TILES { 4 } else { 2 }
}

impl Convolution {
    /// `size` is that of the maps to come, as far as is known.
    pub fn new(isa: Isa, kernels: &Kernels, stride: usize, size: [usize; 2]) -> Self {
        let Kernels { values, outputs, inputs, side, bias } = kernels;
        let channels: usize = inputs.channels.iter().sum();
        let area = side * side;
        if *side == 3 && stride == 1 && channels.min(*outputs) >= WINOGRAD_CHANNELS {
            return Convolution::Tiles(Winograd::new(
                isa,
                tile(size),
                [inputs.len(), *outputs],
                bias,
                |place, output| {
                    inputs.channel(place).map_or([0.0; 9], |channel| {
                        let kernel = &values[(output * channels + channel) * 9..][..9];
                        std::array::from_fn(|n| kernel[n])
                    })
                },
            ));
        }
        let packed = Packed::new(isa, [area, inputs.len(), *outputs], bias, |row, output| {
            let (tap, place) = (row / inputs.len(), row % inputs.len());
            inputs.channel(place).map_or(0.0, |channel| values[(output * channels + channel) * area + tap])
        });
        Convolution::Direct { packed, side: *side, stride }
    }

    /// A standardised convolution called `{name}.weight` of `shape` `[out, in, k, k]`, without bias.
    pub fn standardized(
        reader: &mut Reader,
        name: &str,
        shape: [usize; 4],
        stride: usize,
        size: [usize; 2],
    ) -> Result<Self> {
        let [outputs, inputs, side, _] = shape;
        let values = reader.tensor(&format!("{name}.weight"), &shape)?;
        let kernels = Kernels { values, outputs, inputs: Parts::one(inputs), side, bias: Vec::new() };
        Ok(Self::new(reader.isa, &kernels.standardized(), stride, size))
    }

    /// A 3x3 convolution called `{name}.0` with the batch normalisation `{name}.1`.
    pub fn normalized(
        reader: &mut Reader,
        name: &str,
        inputs: [usize; 2],
        outputs: usize,
        size: [usize; 2],
    ) -> Result<Self> {
        let values = reader.tensor(&format!("{name}.0.weight"), &[outputs, inputs[0] + inputs[1], 3, 3])?;
        let inputs = Parts::two(reader.isa, inputs);
        let kernels = Kernels { values, outputs, inputs, side: 3, bias: Vec::new() };
        Ok(Self::new(reader.isa, &kernels.normalized(reader, &format!("{name}.1"))?, 1, size))
    }

    fn outputs(&self) -> usize {
        match self {
            Convolution::Direct { packed, .. } => packed.columns(),
            Convolution::Tiles(winograd) => winograd.outputs(),
        }
    }

    pub fn forward(&self, run: &mut Run, x: Map, activation: Activation) -> Result<Feature> {
        run.check()?;
        let (size, channels) = (x.size, self.outputs());
        let (packed, side, stride) = match self {
            Convolution::Tiles(winograd) => {
                let mut out = run.feature(size, channels)?;
                let pitch = out.pitch();
                winograd.convolve(x, &mut out.values, pitch, activation);
                return Ok(out);
            }
            Convolution::Direct { packed, side, stride } => (packed, *side, *stride),
        };
        let mut out = run.feature(size.map(|side| side.div_ceil(stride)), channels)?;
        let left = if side == 1 && stride == 1 {
            Left::Rows { values: x.values, rows: size[0] * size[1], pitch: x.pitch }
        } else {
            let (kernel, padding) = ([side; 2], [side / 2; 2]);
            Left::Windows(Windows { values: x.values, size, pitch: x.pitch, kernel, stride, padding, out: out.size })
        };
        let pitch = out.pitch();
        multiply(&left, packed, &mut out.values, pitch, false, activation);
        Ok(out)
    }
}

/// Group normalisation.
#[derive(Debug)]
pub struct GroupNorm {
    affine: [Vec<f32>; 2],
    groups: usize,
    epsilon: f64,
}

impl GroupNorm {
    pub fn new(reader: &mut Reader, name: &str, channels: usize, groups: usize, epsilon: f64) -> Result<Self> {
        Ok(GroupNorm { affine: reader.affine(name, channels)?, groups, epsilon })
    }

    /// What normalises `x`.
    pub fn of(&self, run: &Run, x: &Feature) -> Affine {
        let [weight, bias] = &self.affine;
        group_norm(run.isa, &x.values, x.pixels(), self.groups, self.epsilon, weight, bias)
    }
}

/// Layer normalisation, epsilon 1e-6 as in ViT.
#[derive(Debug)]
pub struct LayerNorm([Vec<f32>; 2]);

impl LayerNorm {
    pub fn new(reader: &mut Reader, name: &str, width: usize) -> Result<Self> {
        Ok(LayerNorm(reader.affine(name, width)?))
    }

    pub fn forward(&self, run: &mut Run, x: &Feature) -> Result<Feature> {
        run.check()?;
        let mut out = run.feature(x.size, x.channels)?;
        let [weight, bias] = &self.0;
        layer_norm(run.isa, &x.values, x.pixels(), 1e-6, weight, bias, &mut out.values);
        Ok(out)
    }
}

/// An affine map of rows.
#[derive(Debug)]
pub struct Linear(pub Packed);

impl Linear {
    /// Weight `[out, in]` and bias under `{name}`.
    pub fn new(reader: &mut Reader, name: &str, [inputs, outputs]: [usize; 2]) -> Result<Self> {
        let weight = reader.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = reader.tensor(&format!("{name}.bias"), &[outputs])?;
        let packed = Packed::new(reader.isa, [1, inputs, outputs], &bias, |row, column| weight[column * inputs + row]);
        Ok(Linear(packed))
    }

    pub fn forward(&self, run: &mut Run, x: &Feature, activation: Activation) -> Result<Feature> {
        run.check()?;
        let mut out = run.feature(x.size, self.0.columns())?;
        self.write(x, &mut out, false, activation);
        Ok(out)
    }

    /// Adds the product to `out`.
    pub fn add_to(&self, run: &Run, x: &Feature, out: &mut Feature) -> Result<()> {
        run.check()?;
        self.write(x, out, true, Activation::None);
        Ok(())
    }

    fn write(&self, x: &Feature, out: &mut Feature, add: bool, activation: Activation) {
        let rows = x.size[0] * x.size[1];
        let pitch = out.pitch();
        let left = Left::Rows { values: &x.values, rows, pitch: x.pitch() };
        multiply(&left, &self.0, &mut out.values, pitch, add, activation);
    }
}
