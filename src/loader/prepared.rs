//! One training case in the network's frame, intensities scaled, slices of their own size.

use std::sync::Arc;

use crate::augment::Sample;
use crate::config::{Compat, ModelConfig};
use crate::error::{Error, Result};
use crate::orient::View;
use crate::placement::Placement;
use crate::preprocess::{Preprocessor, neighbour};
use crate::resize::{Edge, Nearest, Order, Resampler};
use crate::volume::Volume;

/// Slices and labels of a case, in memory.
#[derive(Debug)]
pub struct PreparedCase {
    placement: Placement,
    /// `[k, rows, columns]`.
    images: Vec<f32>,
    labels: Vec<u8>,
    /// Foreground classes on each slice, in ascending order.
    present: Vec<Vec<u8>>,
}

impl PreparedCase {
    /// `labels` `[k, j, i]` on the grid of `volume`, whose preprocessor `preprocessor` is.
    pub fn new(preprocessor: &Preprocessor, volume: &Arc<Volume>, labels: Vec<u8>, classes: usize) -> Result<Self> {
        let view = preprocessor.view();
        if labels.len() != volume.geometry().len() {
            return Err(Error::Internal(format!("{} labels for {:?}", labels.len(), volume.geometry().size)));
        }
        let labels = in_frame(view, &labels)?;
        let mut images = Vec::with_capacity(labels.len());
        for k in 0..preprocessor.slices() {
            images.extend(preprocessor.own_slice(k)?);
        }
        let on_slice = |slice: &[u8]| {
            let mut seen = [false; 256];
            slice.iter().for_each(|&label| seen[usize::from(label)] = true);
            (1..classes.min(256)).filter(|&label| seen[label]).map(|label| label as u8).collect()
        };
        let present = labels.chunks_exact(view.geometry().slice_len()).map(on_slice).collect();
        Ok(PreparedCase { placement: preprocessor.placement(), images, labels, present })
    }

    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Foreground classes on each slice.
    pub fn present(&self) -> &[Vec<u8>] {
        &self.present
    }

    /// Memory that the case takes.
    pub fn bytes(&self) -> u64 {
        5 * self.images.len() as u64
    }

    /// Slice `k` with `context` neighbours on each side, and its labels.
    pub fn slice(&self, k: usize, context: usize) -> Result<Sample> {
        let (len, slices) = (self.placement.own[0] * self.placement.own[1], self.present.len());
        if k >= slices {
            return Err(Error::Internal(format!("slice {k} of {slices}")));
        }
        let channels = (0..2 * context + 1).map(|n| neighbour(k, n, context, slices));
        let pixels = channels.flat_map(|k| &self.images[k * len..(k + 1) * len]).copied().collect();
        Ok(Sample { pixels, labels: self.labels[k * len..(k + 1) * len].to_vec() })
    }

    /// A slice of `size`, this case's or turned, on the canvas as the network's input is made.
    pub(super) fn on_canvas(
        &self,
        sample: &Sample,
        config: &ModelConfig,
        size: [usize; 2],
    ) -> Result<(Sample, [usize; 2])> {
        let edge = match config.compat {
            Some(Compat::TransUnet2021) => Edge::AsScipy,
            None => Edge::Exact,
        };
        let placement = if size == self.placement.own { self.placement } else { self.placement.turned() };
        let count = placement.resampled.iter().product();
        let (mut image, mut classes) = (vec![0.0; count], vec![0; count]);
        let channels = sample.pixels.len() / sample.labels.len();
        let mut out = Sample { pixels: vec![0.0; channels * placement.pixels()], labels: vec![0; placement.pixels()] };
        let resampler = Resampler::new(size, placement.resampled, Order::Cubic, edge)?;
        let each = sample.pixels.chunks_exact(sample.labels.len()).zip(out.pixels.chunks_exact_mut(placement.pixels()));
        for (pixels, out) in each {
            resampler.apply(pixels, &mut image)?;
            placement.place(&image, out);
        }
        Nearest::new(size, placement.resampled, edge)?.apply(&sample.labels, &mut classes)?;
        placement.place(&classes, &mut out.labels);
        Ok((out, placement.canvas))
    }
}

/// Labels of the volume's grid in the view's order.
fn in_frame(view: &View, labels: &[u8]) -> Result<Vec<u8>> {
    let len = view.geometry().slice_len();
    let mut out = vec![0; labels.len()];
    for (k, slice) in out.chunks_exact_mut(len).enumerate() {
        view.gather(k, labels, slice)?;
    }
    Ok(out)
}
