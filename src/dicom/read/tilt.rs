//! Gantry tilt: slices stacked off their normal, kept as they lie, resampled to a straight grid, or refused.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::geometry::{Geometry, Vec3, dot, norm};

/// What becomes of a tilted series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tilt {
    /// The grid is sheared, and labels lie on the source slices.
    #[default]
    Keep,
    /// Each slice is shifted within its plane, by linear interpolation, onto a straight grid that has room for all.
    Resample,
    Refuse,
}

impl Tilt {
    pub const NAMES: [&str; 3] = ["keep", "resample", "refuse"];

    /// The grid of slices that would make `straight` if each was not `step` from the one before (LPS mm).
    pub(super) fn applied(self, straight: Geometry, step: Vec3) -> Result<(Geometry, Option<Shear>)> {
        let [row, column, normal] = straight.direction;
        let along = |axis| dot(step, axis);
        let angle = along(row).hypot(along(column)).atan2(along(normal)).to_degrees();
        match self {
            Tilt::Keep => {
                let distance = norm(step);
                let [across, down, _] = straight.spacing;
                let direction = [row, column, step.map(|x| x / distance)];
                let grid = Geometry::sheared(straight.size, [across, down, distance], straight.origin, direction)
                    .map_err(|error| Error::DicomGeometry(error.to_string()))?;
                Ok((grid, None))
            }
            Tilt::Resample => {
                let drift = [along(row) / straight.spacing[0], along(column) / straight.spacing[1]];
                let shear = Shear::new([straight.columns(), straight.rows()], straight.slices(), drift);
                log::info!("gantry tilt of {angle:.1} degrees: slices are shifted onto a straight grid");
                let corner = straight.position([-shear.before[0], -shear.before[1], 0.0]);
                let size = [shear.grid[0], shear.grid[1], straight.slices()];
                Geometry::new(size, straight.spacing, corner, straight.direction)
                    .map(|grid| (grid, Some(shear)))
                    .map_err(|error| Error::DicomGeometry(error.to_string()))
            }
            Tilt::Refuse => Err(Error::DicomGeometry(format!(
                "gantry tilt: slices are stacked {angle:.1} degrees off their normal, which is not wanted"
            ))),
        }
    }
}

impl FromStr for Tilt {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "keep" => Ok(Tilt::Keep),
            "resample" => Ok(Tilt::Resample),
            "refuse" => Ok(Tilt::Refuse),
            _ => Err(Error::Argument(format!("tilt {text:?}, expected {}", Tilt::NAMES.join(", ")))),
        }
    }
}

/// How the slices of a tilted series come onto a straight grid.
#[derive(Debug, Clone)]
pub(in crate::dicom) struct Shear {
    /// Columns and rows of a source slice.
    pub source: [usize; 2],
    /// Columns and rows of the grid.
    grid: [usize; 2],
    /// Columns and rows of the grid before the first of slice 0; whole numbers, so that slice 0 is not interpolated.
    before: [f64; 2],
    /// Columns and rows from the first pixel of a slice to that of the next.
    drift: [f64; 2],
}

impl Shear {
    fn new(source: [usize; 2], slices: usize, drift: [f64; 2]) -> Self {
        let whole = drift.map(|drift| drift * (slices - 1) as f64);
        let before = whole.map(|whole| (-whole.min(0.0)).ceil());
        let after = whole.map(|whole| whole.max(0.0).ceil() as usize);
        let grid = std::array::from_fn(|axis| source[axis] + before[axis] as usize + after[axis]);
        Shear { source, grid, before, drift }
    }

    /// Fills `out` (`[rows, columns]` of the grid) with slice `k`, whose pixels are `source`. Where the slice does not
    /// reach, its lowest value stands: air in CT, no signal in MR.
    pub fn shift(&self, k: usize, source: &[f32], out: &mut [f32]) {
        out.fill(source.iter().copied().fold(f32::INFINITY, f32::min));
        let first: [f64; 2] = std::array::from_fn(|axis| self.before[axis] + k as f64 * self.drift[axis]);
        let [columns, rows] = self.source;
        for (row, line) in out.chunks_exact_mut(self.grid[0]).enumerate() {
            let Some((above, below, down)) = between(row as f64 - first[1], rows) else { continue };
            for (column, out) in line.iter_mut().enumerate() {
                let Some((left, right, across)) = between(column as f64 - first[0], columns) else { continue };
                let at = |row: usize| {
                    let (left, right) =
                        (f64::from(source[row * columns + left]), f64::from(source[row * columns + right]));
                    left + across * (right - left)
                };
                let (above, below) = (at(above), at(below));
                *out = (above + down * (below - above)) as f32;
            }
        }
    }
}

/// The pixels on both sides of `at` in a line of `count`, and how far it is from the first to the second.
fn between(at: f64, count: usize) -> Option<(usize, usize, f64)> {
    // Rounding must not lose the outermost pixels.
    const ROUNDING: f64 = 1e-6;
    let last = (count - 1) as f64;
    if at < -ROUNDING || at > last + ROUNDING {
        return None;
    }
    let at = at.clamp(0.0, last);
    let first = at.floor();
    Some((first as usize, (first as usize + 1).min(count - 1), at - first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_edge_stays_straight() {
        // A plane across the slices: pixel value = position along the rows, in mm, of a stack that drifts by 0.25 columns.
        let straight = Geometry::new(
            [4, 2, 5],
            [2.0, 1.0, 3.0],
            [10.0, 0.0, 0.0],
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        )
        .unwrap();
        for step in [0.5, -0.5] {
            let (grid, shear) = Tilt::Resample.applied(straight.clone(), [step, 0.0, 3.0]).unwrap();
            assert_eq!(grid.size, [5, 2, 5]);
            let shear = shear.unwrap();
            for k in 0..5 {
                let slice: Vec<f32> =
                    (0..8).map(|at| (10.0 + k as f64 * step + (at % 4) as f64 * 2.0) as f32).collect();
                let mut out = [0.0; 10];
                shear.shift(k, &slice, &mut out);
                let lowest = slice[0];
                for (at, value) in out.into_iter().enumerate() {
                    let position = grid.position([(at % 5) as f64, 0.0, k as f64])[0] as f32;
                    let reached = position >= lowest && position <= slice[3];
                    assert_eq!(value, if reached { position } else { lowest }, "{step} {k} {at}");
                }
            }
            let (kept, none) = Tilt::Keep.applied(straight.clone(), [step, 0.0, 3.0]).unwrap();
            assert!(none.is_none() && kept.is_sheared());
            assert_eq!(kept.position([0.0, 0.0, 4.0]), [10.0 + 4.0 * step, 0.0, 12.0]);
            assert!((kept.slice_distance() - 3.0).abs() < 1e-12);
        }
    }
}
