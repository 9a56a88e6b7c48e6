//! Where a slice lies on the network's canvas: stretched over all of it, or resampled to a spacing and centred.

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::network::PATCH;

/// Sizes are `[rows, columns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The slice's own size.
    pub own: [usize; 2],
    /// The slice as it lies on the canvas.
    pub resampled: [usize; 2],
    pub canvas: [usize; 2],
    /// Row and column of the canvas where the slice begins.
    pub offset: [usize; 2],
}

/// Longest side of a canvas.
const LONGEST: usize = 4096;

impl Placement {
    /// For slices of `geometry`, which is in the network's frame.
    pub fn new(config: &ModelConfig, geometry: &Geometry) -> Result<Self> {
        let own = [geometry.rows(), geometry.columns()];
        let size = config.input_size();
        let Some(spacing) = config.input.spacing else {
            return Ok(Placement { own, resampled: size, canvas: size, offset: [0; 2] });
        };
        let apart = [geometry.spacing[1], geometry.spacing[0]];
        // First and last pixels keep their places: n pixels span n - 1 distances.
        let resampled: [usize; 2] =
            std::array::from_fn(|a| ((own[a] - 1) as f64 * apart[a] / spacing[a]).round() as usize + 1);
        if resampled.iter().any(|&side| side > LONGEST) {
            return Err(Error::Argument(format!(
                "slices of {}x{} pixels, {} x {} mm apart, become {}x{} at the model's spacing of {} x {} mm, expected at \
                 most {LONGEST} each way",
                own[0], own[1], apart[0], apart[1], resampled[0], resampled[1], spacing[0], spacing[1]
            )));
        }
        let canvas: [usize; 2] = std::array::from_fn(|a| size[a].max(resampled[a].next_multiple_of(PATCH)));
        Ok(Placement { own, resampled, canvas, offset: std::array::from_fn(|a| (canvas[a] - resampled[a]) / 2) })
    }

    /// The same for slices whose rows and columns are exchanged.
    pub fn turned(&self) -> Self {
        let turn = |[a, b]: [usize; 2]| [b, a];
        if self.resampled == self.canvas {
            return Placement { own: turn(self.own), ..*self };
        }
        let (resampled, canvas) = (turn(self.resampled), turn(self.canvas));
        Placement { own: turn(self.own), resampled, canvas, offset: turn(self.offset) }
    }

    /// Pixels of the canvas.
    pub fn pixels(&self) -> usize {
        self.canvas[0] * self.canvas[1]
    }

    /// Puts `slice`, of the resampled size, on a canvas full of zeros.
    pub fn place<T: Copy + Default>(&self, slice: &[T], canvas: &mut [T]) {
        canvas.fill(T::default());
        for (row, pixels) in slice.chunks_exact(self.resampled[1]).enumerate() {
            let start = (self.offset[0] + row) * self.canvas[1] + self.offset[1];
            canvas[start..start + pixels.len()].copy_from_slice(pixels);
        }
    }

    /// Inverse of [`Placement::place`].
    pub fn cut<T: Copy>(&self, canvas: &[T]) -> Vec<T> {
        let rows = canvas.chunks_exact(self.canvas[1]).skip(self.offset[0]).take(self.resampled[0]);
        rows.flat_map(|row| &row[self.offset[1]..self.offset[1] + self.resampled[1]]).copied().collect()
    }

    /// Row and column of the slice, with fractions, under a place on the canvas.
    pub fn source(&self, canvas: [f64; 2]) -> [f64; 2] {
        std::array::from_fn(|a| {
            let last = self.resampled[a].saturating_sub(1).max(1) as f64;
            (canvas[a] - self.offset[a] as f64) * (self.own[a] - 1) as f64 / last
        })
    }
}
