//! Inference on the CPU: the network with its weights folded and packed once, on the vector kernels.
//!
//! The same numbers as `network`, up to rounding; that one is for GPUs, for training, and what this is tested against.

mod arena;
mod decoder;
mod layers;
mod plan;
mod stem;
mod transformer;

use std::sync::{Mutex, PoisonError};

use crate::control::Cancel;
use crate::error::Result;
use crate::kernels::simd::Isa;
use crate::kernels::simd::maps::{Map, interleave, taps};
use crate::kernels::simd::product::{Activation, Left, Packed, Windows, multiply, pitch};
use crate::network::{Architecture, PATCH};

pub use plan::{loaded_bytes, pass_bytes, thread_bytes};

use arena::{Arena, Run};
use decoder::Decoder;
use layers::Reader;
use stem::Stem;
use transformer::Encoder;

/// A network that is ready to run. Shared freely between threads.
#[derive(Debug)]
pub struct Engine {
    isa: Isa,
    channels: usize,
    hidden: usize,
    skips: usize,
    /// `None` embeds patches of the image itself.
    stem: Option<Stem>,
    embedding: Packed,
    /// Of the `grid`, `[tokens, hidden]`.
    positions: Vec<f32>,
    grid: [usize; 2],
    encoder: Encoder,
    decoder: Decoder,
    /// Memory of passes that are over.
    arenas: Mutex<Vec<Arena>>,
}

impl Engine {
    /// The network of values that `read(name, shape)` returns, each asked for once.
    pub fn new(of: &Architecture, isa: Isa, mut read: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>) -> Result<Self> {
        let reader = &mut Reader { isa, read: &mut read };
        let hidden = of.hidden;
        let stem = match &of.stem {
            Some(stem) => Some(Stem::new(reader, stem, of.channels, of.image_size)?),
            None => None,
        };
        let name = "transformer.embeddings.patch_embeddings";
        // A row of a patch is one run of values.
        let (inputs, side) = match &of.stem {
            Some(stem) => (16 * stem.width, 1),
            None => (of.channels, PATCH),
        };
        let weight = reader.tensor(&format!("{name}.weight"), &[hidden, inputs, side, side])?;
        let bias = reader.tensor(&format!("{name}.bias"), &[hidden])?;
        let embedding = Packed::new(isa, [side, side * inputs, hidden], &bias, |row, output| {
            let (y, x, channel) = (row / inputs / side, row / inputs % side, row % inputs);
            weight[((output * inputs + channel) * side + y) * side + x]
        });
        drop(weight);
        let grid = of.grid();
        let shape = [1, grid[0] * grid[1], hidden];
        Ok(Engine {
            isa,
            channels: of.channels,
            hidden,
            skips: of.skips,
            stem,
            embedding,
            positions: reader.tensor("transformer.embeddings.position_embeddings", &shape)?,
            grid,
            encoder: Encoder::new(reader, of)?,
            decoder: Decoder::new(reader, of)?,
            arenas: Mutex::default(),
        })
    }

    /// What it computes with.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// `pixels` `[b, 1 or channels, h, w]`; shows each image's logits `[h, w, classes]`. Any h and w: they are padded with
    /// zeros to multiples of 16 to the right and below, and the logits show that many rows and columns more. `cancel` stops
    /// it between two layers.
    ///
    /// An image gives the same bits in every batch, with any number of threads.
    pub fn forward(
        &self,
        pixels: &[f32],
        shape: [usize; 4],
        cancel: Option<&Cancel>,
        mut show: impl FnMut(usize, Map) + Send,
    ) -> Result<()> {
        let mut arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        let arena = arenas.pop().unwrap_or_default();
        drop(arenas);
        let mut run = Run { isa: self.isa, arena, cancel };
        // On a thread of the pool, so that no layer has to wait for one to wake up.
        let result = rayon::scope(|_| self.pass(&mut run, pixels, shape, &mut show));
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner).push(run.arena);
        result
    }

    /// Bytes that wait for the next pass.
    pub fn kept_bytes(&self) -> u64 {
        let arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        arenas.iter().map(|arena| 4 * arena.values() as u64).sum()
    }

    fn pass(
        &self,
        run: &mut Run,
        pixels: &[f32],
        [images, channels, height, width]: [usize; 4],
        show: &mut impl FnMut(usize, Map),
    ) -> Result<()> {
        let size = [height, width];
        let padded = size.map(|side| side.next_multiple_of(PATCH));
        let grid = padded.map(|side| side / PATCH);
        let count = grid[0] * grid[1];
        let mut tokens = run.feature([images * count, 1], self.hidden)?;
        let apart = pitch(self.hidden);
        let positions = self.positions(grid);
        let mut skips = Vec::with_capacity(images);
        for (planes, tokens) in
            pixels.chunks_exact(channels * height * width).zip(tokens.values.chunks_exact_mut(count * apart))
        {
            // Positions first, patches are added.
            for (token, position) in tokens.chunks_exact_mut(apart).zip(positions.chunks_exact(self.hidden)) {
                token[..self.hidden].copy_from_slice(position);
                token[self.hidden..].fill(0.0);
            }
            skips.push(self.embed(run, planes, size, padded, tokens)?);
        }
        let encoded = self.encoder.forward(run, tokens, images)?;
        for (image, skips) in skips.into_iter().enumerate() {
            let values = &encoded.values[image * count * apart..];
            let map = Map { values, size: grid, channels: self.hidden, pitch: apart };
            let logits = self.decoder.forward(run, map, skips)?;
            show(image, logits.map());
            run.free(logits.values);
        }
        run.free(encoded.values);
        Ok(())
    }

    /// Adds one image's patches to `tokens`; returns its skips.
    fn embed(
        &self,
        run: &mut Run,
        planes: &[f32],
        size: [usize; 2],
        padded: [usize; 2],
        tokens: &mut [f32],
    ) -> Result<Vec<arena::Feature>> {
        let out = padded.map(|side| side / PATCH);
        let apart = pitch(self.hidden);
        match &self.stem {
            Some(stem) => {
                let (features, skips) = stem.forward(run, planes, size, padded, self.skips)?;
                run.check()?;
                let left = Left::Rows { values: &features.values, rows: out[0] * out[1], pitch: features.pitch() };
                multiply(&left, &self.embedding, tokens, apart, true, Activation::None);
                run.free(features.values);
                Ok(skips)
            }
            None => {
                let mut values = run.buffer(padded[0] * padded[1] * self.channels)?;
                interleave(planes, size, self.channels, [0; 2], padded, &mut values);
                let windows = Windows {
                    values: &values,
                    size: padded,
                    pitch: self.channels,
                    kernel: [PATCH, 1],
                    stride: PATCH,
                    padding: [0; 2],
                    out,
                };
                multiply(&Left::Windows(windows), &self.embedding, tokens, apart, true, Activation::None);
                run.free(values);
                Ok(Vec::new())
            }
        }
    }

    /// The position embedding for `grid`, interpolated where it differs from the trained one.
    fn positions(&self, grid: [usize; 2]) -> std::borrow::Cow<'_, [f32]> {
        if grid == self.grid {
            return (&self.positions).into();
        }
        let [rows, columns] = [0, 1].map(|side| taps(self.grid[side], grid[side]));
        let mut out = Vec::with_capacity(grid[0] * grid[1] * self.hidden);
        for &(low, down) in &rows {
            for &(left, share) in &columns {
                let high = (low + 1).min(self.grid[0] - 1);
                let right = (left + 1).min(self.grid[1] - 1);
                let place = |row: usize, column: usize| {
                    &self.positions[(row * self.grid[1] + column) * self.hidden..][..self.hidden]
                };
                let (upper, lower) = ([place(low, left), place(low, right)], [place(high, left), place(high, right)]);
                out.extend((0..self.hidden).map(|c| {
                    let near = upper[0][c] * (1.0 - down) + lower[0][c] * down;
                    let far = upper[1][c] * (1.0 - down) + lower[1][c] * down;
                    near * (1.0 - share) + far * share
                }));
            }
        }
        out.into()
    }
}
