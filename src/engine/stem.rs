//! The convolutional stem of the hybrid, as `network::stem` describes it.

use crate::error::Result;
use crate::kernels::simd::maps::{interleave, pool};
use crate::kernels::simd::norms::{Shortcut, apply};
use crate::kernels::simd::product::{Activation, Left, Packed, Windows, multiply};
use crate::network;

use super::arena::{Feature, Run};
use super::layers::{Convolution, GroupNorm, Kernels, Parts, Reader};

/// Groups of every normalisation but the projections'.
const GROUPS: usize = 32;
const EPSILON: f64 = 1e-6;

#[derive(Debug)]
pub struct Stem {
    channels: usize,
    root: Packed,
    norm: GroupNorm,
    blocks: [Vec<Unit>; 3],
}

#[derive(Debug)]
struct Unit {
    convolutions: [Convolution; 3],
    norms: [GroupNorm; 3],
    projection: Option<(Convolution, GroupNorm)>,
}

impl Unit {
    /// For maps of `size`, with `[inputs, inner, outputs]` channels.
    fn new(reader: &mut Reader, name: &str, channels: [usize; 3], stride: usize, size: [usize; 2]) -> Result<Self> {
        let [inputs, inner, outputs] = channels;
        let half = size.map(|side| side.div_ceil(stride));
        let mut convolution = |part: &str, shape: [usize; 4], stride: usize, size: [usize; 2]| {
            Convolution::standardized(reader, &format!("{name}.{part}"), shape, stride, size)
        };
        let convolutions = [
            convolution("conv1", [inner, inputs, 1, 1], 1, size)?,
            convolution("conv2", [inner, inner, 3, 3], stride, size)?,
            convolution("conv3", [outputs, inner, 1, 1], 1, half)?,
        ];
        let project = inputs != outputs || stride != 1;
        let downsample =
            project.then(|| convolution("downsample", [outputs, inputs, 1, 1], stride, size)).transpose()?;
        let mut norm = |part: &str, channels: usize, groups: usize, epsilon: f64| {
            GroupNorm::new(reader, &format!("{name}.{part}"), channels, groups, epsilon)
        };
        let norms = [
            norm("gn1", inner, GROUPS, EPSILON)?,
            norm("gn2", inner, GROUPS, EPSILON)?,
            norm("gn3", outputs, GROUPS, EPSILON)?,
        ];
        let projection = match downsample {
            // One channel per group and another epsilon, unlike all other norms of the stem.
            Some(downsample) => Some((downsample, norm("gn_proj", outputs, outputs, 1e-5)?)),
            None => None,
        };
        Ok(Unit { convolutions, norms, projection })
    }

    /// `[h, w, inputs]` to `[h', w', outputs]`; the input stays the caller's.
    fn forward(&self, run: &mut Run, x: &Feature) -> Result<Feature> {
        let [first, second, third] = &self.convolutions;
        let mut y = first.forward(run, x.map(), Activation::None)?;
        normalize(run, &mut y, &self.norms[0], Shortcut::None);
        let mut z = second.forward(run, y.map(), Activation::None)?;
        run.free(y.values);
        normalize(run, &mut z, &self.norms[1], Shortcut::None);
        let mut out = third.forward(run, z.map(), Activation::None)?;
        run.free(z.values);
        match &self.projection {
            Some((downsample, norm)) => {
                let shortcut = downsample.forward(run, x.map(), Activation::None)?;
                let affine = norm.of(run, &shortcut);
                normalize(run, &mut out, &self.norms[2], Shortcut::Normed(&shortcut.values, &affine));
                run.free(shortcut.values);
            }
            None => normalize(run, &mut out, &self.norms[2], Shortcut::Plain(&x.values)),
        }
        Ok(out)
    }
}

/// Norm, shortcut, ReLU.
fn normalize(run: &Run, x: &mut Feature, norm: &GroupNorm, shortcut: Shortcut) {
    let affine = norm.of(run, x);
    let of = x.pixels();
    apply(run.isa, &mut x.values, of, &affine, shortcut);
}

impl Stem {
    pub fn new(reader: &mut Reader, of: &network::Stem, channels: usize, image: [usize; 2]) -> Result<Self> {
        let prefix = "transformer.embeddings.hybrid_model";
        let width = of.width;
        let shape = [width, channels, 7, 7];
        let values = reader.tensor(&format!("{prefix}.root.conv.weight"), &shape)?;
        let inputs = Parts::one(channels);
        let kernels = Kernels { values, outputs: width, inputs, side: 7, bias: Vec::new() }.standardized();
        // The seven pixels under a kernel's row are one run of values.
        let root = Packed::new(reader.isa, [7, 7 * channels, width], &[], |row, output| {
            let (y, x, channel) = (row / channels / 7, row / channels % 7, row % channels);
            kernels.values[((output * channels + channel) * 7 + y) * 7 + x]
        });
        let norm = GroupNorm::new(reader, &format!("{prefix}.root.gn"), width, GROUPS, EPSILON)?;
        let mut size = image.map(|side| side / 4 - 1);
        let mut inputs = width;
        let mut block = |index: usize| -> Result<Vec<Unit>> {
            let outputs = (4 * width) << index;
            (0..of.units[index])
                .map(|unit| {
                    let stride = if unit == 0 && index > 0 { 2 } else { 1 };
                    let name = format!("{prefix}.body.block{}.unit{}", index + 1, unit + 1);
                    let built = Unit::new(reader, &name, [inputs, outputs / 4, outputs], stride, size)?;
                    size = size.map(|side| side.div_ceil(stride));
                    inputs = outputs;
                    Ok(built)
                })
                .collect()
        };
        let blocks = [block(0)?, block(1)?, block(2)?];
        Ok(Stem { channels, root, norm, blocks })
    }

    /// Planes `[1 or channels, height, width]`, zeros up to `padded`, to features `[h/16, w/16, 16 width]` and the skips,
    /// deepest first; as many of these as are asked for.
    pub fn forward(
        &self,
        run: &mut Run,
        planes: &[f32],
        size: [usize; 2],
        padded: [usize; 2],
        skips: usize,
    ) -> Result<(Feature, Vec<Feature>)> {
        run.check()?;
        let framed = padded.map(|side| side + 6);
        let mut pixels = run.buffer(framed[0] * framed[1] * self.channels)?;
        interleave(planes, size, self.channels, [3; 2], framed, &mut pixels);
        let mut root = run.feature(padded.map(|side| side / 2), self.root.columns())?;
        let windows = Windows {
            values: &pixels,
            size: framed,
            pitch: self.channels,
            kernel: [7, 1],
            stride: 2,
            padding: [0; 2],
            out: root.size,
        };
        let pitch = root.pitch();
        multiply(&Left::Windows(windows), &self.root, &mut root.values, pitch, false, Activation::None);
        run.free(pixels);
        normalize(run, &mut root, &self.norm, Shortcut::None);
        let mut x = run.feature(root.size.map(|side| (side - 3) / 2 + 1), root.channels)?;
        pool(run.isa, &root.values, root.size, root.channels, pitch, &mut x.values);
        let mut kept = vec![root];
        for (index, block) in self.blocks.iter().enumerate() {
            for (unit, layer) in block.iter().enumerate() {
                let out = layer.forward(run, &x)?;
                let input = std::mem::replace(&mut x, out);
                // What a block begins with is the output of the one before, but for the first, which begins with the pool's.
                if unit == 0 && index > 0 {
                    kept.insert(0, input);
                } else {
                    run.free(input.values);
                }
            }
        }
        kept.drain(skips..).for_each(|unused| run.free(unused.values));
        Ok((x, kept))
    }
}
