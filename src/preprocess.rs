//! Between a volume and the network: plane and orientation, intensity, size; labels and probabilities take the way back.
//!
//! Intensity comes before resizing, as in the original: the cubic resize may overshoot [0, 1] and stays unclipped.

use std::sync::Arc;

use crate::config::{Compat, ModelConfig};
use crate::control::{Control, Progress, Stage};
use crate::error::{Error, Result};
use crate::intensity::{self, Scaling};
use crate::orient::View;
use crate::placement::Placement;
use crate::resize::{Edge, Matrices, Nearest, Order, Resampler};
use crate::volume::Volume;

/// Turns slices of one volume into network input and the network's output into voxels of the volume's grid.
#[derive(Debug)]
pub struct Preprocessor {
    view: View,
    scaling: Scaling,
    placement: Placement,
    context: usize,
    input: Resampler,
    labels: Nearest,
    probabilities: Resampler,
}

impl Preprocessor {
    /// Reads the volume first where orientation or intensity needs all of it; reports those slices as
    /// [`Stage::Preprocess`].
    pub fn new(config: &ModelConfig, volume: &Arc<Volume>, control: &mut Control) -> Result<Self> {
        let input = &config.input;
        input.intensity.check()?;
        let total =
            View::slices_read_first(input, volume)? + intensity::passes(input.intensity) * volume.geometry().slices();
        let mut done = 0;
        let mut tick = || {
            done += 1;
            control.report(Progress::of(Stage::Preprocess, done, total))
        };
        let view = View::new(input, volume, &mut tick)?;
        let scaling = Scaling::fit(input.intensity, view.volume(), &mut tick)?;

        let edge = match config.compat {
            Some(Compat::TransUnet2021) => Edge::AsScipy,
            None => Edge::Exact,
        };
        let placement = Placement::new(config, view.geometry())?;
        let (own, size) = (placement.own, placement.resampled);
        Ok(Preprocessor {
            scaling,
            placement,
            context: input.context,
            input: Resampler::new(own, size, Order::Cubic, edge)?,
            labels: Nearest::new(size, own, edge)?,
            probabilities: Resampler::new(size, own, Order::Linear, edge)?,
            view,
        })
    }

    /// How many slices the network sees.
    pub fn slices(&self) -> usize {
        self.view.geometry().slices()
    }

    /// Height and width of the network's slices.
    pub fn size(&self) -> [usize; 2] {
        self.placement.canvas
    }

    /// Where slices lie on the canvas.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// The volume in the network's frame, before resizing.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Network slice `k` in its own size, intensity scaled.
    pub fn own_slice(&self, k: usize) -> Result<Vec<f32>> {
        let mut pixels = vec![0.0; self.view.geometry().slice_len()];
        self.view.slice(k, &mut pixels)?;
        let columns = self.view.geometry().columns();
        intensity::check_finite(&pixels, |at| self.view.source_index([at % columns, at / columns, k]))?;
        self.scaling.apply(&mut pixels);
        Ok(pixels)
    }

    /// Channels of a network slice.
    pub fn channels(&self) -> usize {
        2 * self.context + 1
    }

    /// Fills `out`, `[channels, h, w]`, with network slice `k` and its neighbours; 0 around them. May be called from several
    /// threads at once.
    pub fn slice(&self, k: usize, out: &mut [f32]) -> Result<()> {
        self.fill(k, self.placement.pixels(), out, |pixels, out| self.prepare(&pixels, out))
    }

    /// The same before [`Preprocessor::matrices`]: `[channels, rows, columns]` of the slices' own size.
    pub fn own_slices(&self, k: usize, out: &mut [f32]) -> Result<()> {
        self.fill(k, self.placement.own.iter().product(), out, |pixels, out| {
            out.copy_from_slice(&pixels);
            Ok(())
        })
    }

    /// What makes of slices in their own size those that the network sees, for devices that resize themselves; nothing where
    /// both are the same.
    pub fn matrices(&self) -> Option<Matrices> {
        let Placement { own, canvas, offset, .. } = self.placement;
        (own != canvas).then(|| self.input.matrices(canvas, offset))
    }

    fn fill(
        &self,
        k: usize,
        len: usize,
        out: &mut [f32],
        put: impl Fn(Vec<f32>, &mut [f32]) -> Result<()>,
    ) -> Result<()> {
        if out.len() != self.channels() * len {
            return Err(Error::Internal(format!(
                "slice into {} values, expected {}",
                out.len(),
                self.channels() * len
            )));
        }
        if k >= self.slices() {
            return Err(Error::Internal(format!("slice {k} of {}", self.slices())));
        }
        for (n, out) in out.chunks_exact_mut(len).enumerate() {
            put(self.own_slice(neighbour(k, n, self.context, self.slices()))?, out)?;
        }
        Ok(())
    }

    /// The second half of [`Preprocessor::slice`]: `pixels` of the slice's own size, resized and placed.
    pub fn prepare(&self, pixels: &[f32], out: &mut [f32]) -> Result<()> {
        if self.placement.resampled == self.placement.canvas {
            return self.input.apply(pixels, out);
        }
        let mut resampled = vec![0.0; self.placement.resampled.iter().product()];
        self.input.apply(pixels, &mut resampled)?;
        self.placement.place(&resampled, out);
        Ok(())
    }

    /// Puts the labels `[h, w]` of network slice `k` in their place in `target`, the voxels of its [`View::block`].
    pub fn place_labels(&self, k: usize, labels: &[u8], target: &mut [u8]) -> Result<()> {
        let mut pixels = vec![0; self.view.geometry().slice_len()];
        self.labels.apply(&self.placement.cut(labels), &mut pixels)?;
        self.view.place(k, &pixels, target)
    }

    /// Puts one class's probabilities `[h, w]` of network slice `k`, resized linearly, in their place in `target`, the voxels
    /// of its [`View::block`].
    pub fn place_probabilities(&self, k: usize, probabilities: &[f32], target: &mut [f32]) -> Result<()> {
        let mut pixels = vec![0.0; self.view.geometry().slice_len()];
        self.probabilities.apply(&self.placement.cut(probabilities), &mut pixels)?;
        self.view.place(k, &pixels, target)
    }
}

/// The slice that is channel `n` of slice `k`, of `slices`.
pub(crate) fn neighbour(k: usize, n: usize, context: usize, slices: usize) -> usize {
    (k + n).saturating_sub(context).min(slices - 1)
}
