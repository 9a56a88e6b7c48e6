//! Labels on a grid that they were not drawn on: each voxel gets what lies nearest to its centre.

use std::collections::BTreeMap;

use super::overlap::Claims;
use super::rt::fill::{Outline, fill};
use super::rt::read::{Contour, Structures};
use super::seg::grid::common_grid;
use super::seg::read::Seg;
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Vec3, cross, dot, sub};

/// Planes closer than this, in mm, are one.
const SAME_PLANE: f64 = 0.1;
/// Largest distance of a point from its plane, as a share of the planes' distance.
const OFF_PLANE: f64 = 0.1;

impl Seg {
    /// As [`Seg::read`], for frames that lie on a grid of their own: a voxel gets the label of the nearest voxel of that
    /// grid, and none where it lies outside of it.
    pub fn read_nearest(&self, grid: &Geometry, claims: impl Into<Claims>) -> Result<Vec<u8>> {
        let own = common_grid(&[self])?;
        // Few frames may lie far apart: only their slices take memory.
        Ok(nearest(&own, &self.slices(&own, &claims.into())?, grid))
    }
}

fn nearest(own: &Geometry, labels: &BTreeMap<usize, Vec<u8>>, grid: &Geometry) -> Vec<u8> {
    let [columns, rows, slices] = grid.size;
    let index = |i: usize, j: usize, k: usize| own.index(grid.position([i as f64, j as f64, k as f64]));
    let step = sub(index(1, 0, 0), index(0, 0, 0));
    let mut out = Vec::with_capacity(grid.len());
    for (j, k) in (0..slices).flat_map(|k| (0..rows).map(move |j| (j, k))) {
        let first = index(0, j, k);
        out.extend((0..columns).map(|i| {
            // Half way between two voxels, the one of the higher index is taken.
            let at: Vec3 = std::array::from_fn(|axis| (first[axis] + i as f64 * step[axis] + 0.5).floor());
            let within = (0..3).all(|axis| at[axis] >= 0.0 && at[axis] < own.size[axis] as f64);
            let [i, j, k] = at.map(|n| n as usize);
            labels.get(&k).filter(|_| within).map_or(0, |slice| slice[j * own.size[0] + i])
        }));
    }
    out
}

impl Structures {
    /// As [`Structures::read`], for contours in planes that are parallel to the slices of `grid` and lie elsewhere: a slice
    /// shows the contours of the nearest plane within half of the planes' distance, filled at its own pixels' centres.
    pub fn read_nearest(&self, grid: &Geometry, claims: impl Into<Claims>) -> Result<Vec<u8>> {
        self.on_planes(grid, &claims.into()).map_err(|e| e.at(self.path.display()))
    }

    fn on_planes(&self, grid: &Geometry, claims: &Claims) -> Result<Vec<u8>> {
        let planes = Planes::of(self, grid)?;
        let mut out = vec![0; grid.len()];
        for (label, contours) in self.labels.iter().zip(&self.contours) {
            let mut drawn: BTreeMap<i64, Vec<&Contour>> = BTreeMap::new();
            contours
                .iter()
                .for_each(|contour| drawn.entry(planes.number(planes.mean(contour))).or_default().push(contour));
            for k in 0..grid.slices() {
                let height = planes.height(grid.position([0.0, 0.0, k as f64]));
                let Some(contours) = drawn.get(&planes.number(height)) else { continue };
                let outlines: Vec<Outline> =
                    contours.iter().map(|contour| planes.moved(contour, height, k, grid)).collect();
                let slice = &mut out[k * grid.slice_len()..][..grid.slice_len()];
                fill(slice, &outlines, grid, |held| claims.settle(held, label.value))
                    .map_err(|(held, voxel)| self.overlapping(held, label.value, voxel))?;
            }
        }
        Ok(out)
    }
}

/// Parallel planes that contours lie in.
struct Planes {
    origin: Vec3,
    normal: Vec3,
    /// Height of plane 0 over the origin, and the distance of planes, mm.
    lowest: f64,
    step: f64,
}

impl Planes {
    fn of(set: &Structures, grid: &Geometry) -> Result<Self> {
        let [right, down, _] = grid.direction;
        let mut planes = Planes { origin: grid.origin, normal: cross(right, down), lowest: 0.0, step: 0.0 };
        let contours =
            || set.labels.iter().zip(&set.contours).flat_map(|(label, all)| all.iter().map(move |c| (label, c)));
        let mut heights: Vec<f64> = contours().map(|(_, contour)| planes.mean(contour)).collect();
        if !heights.iter().all(|height| height.is_finite()) {
            return Err(Error::DicomGeometry("a contour lies nowhere".into()));
        }
        heights.sort_by(f64::total_cmp);
        let gaps = heights.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > SAME_PLANE);
        planes.lowest = heights.first().copied().unwrap_or(0.0);
        planes.step = gaps.fold(f64::INFINITY, f64::min);
        if planes.step.is_infinite() {
            let text = "all contours lie in one plane, and nothing says how thick it is";
            return Err(Error::DicomGeometry(text.into()));
        }
        for (label, contour) in contours() {
            let place = || format!("{}, contour {}", set.region(label.value), contour.number);
            let off = contour.points.iter().map(|&point| planes.off(planes.height(point))).fold(0.0, f64::max);
            let spread = contour.points.iter().map(|&point| (planes.height(point) - planes.mean(contour)).abs());
            let spread = spread.fold(0.0, f64::max);
            let what = match () {
                () if spread > OFF_PLANE * planes.step => {
                    format!("its points lie up to {spread:.2} mm off a plane parallel to the image's slices")
                }
                () if off > OFF_PLANE * planes.step => {
                    format!("it lies {off:.2} mm off planes that are {:.2} mm apart", planes.step)
                }
                () => continue,
            };
            let allowed = OFF_PLANE * planes.step;
            return Err(Error::DicomGeometry(format!("{}: {what}, expected at most {allowed:.2} mm", place())));
        }
        Ok(planes)
    }

    fn height(&self, point: Vec3) -> f64 {
        dot(sub(point, self.origin), self.normal)
    }

    fn mean(&self, contour: &Contour) -> f64 {
        contour.points.iter().map(|&point| self.height(point)).sum::<f64>() / contour.points.len() as f64
    }

    /// The plane nearest to a height; half way between two, the upper one.
    fn number(&self, height: f64) -> i64 {
        ((height - self.lowest) / self.step + 0.5).floor() as i64
    }

    fn off(&self, height: f64) -> f64 {
        (height - self.lowest - self.number(height) as f64 * self.step).abs()
    }

    /// The contour, moved along the normal to slice `k`, which has this height.
    fn moved(&self, contour: &Contour, height: f64, k: usize, grid: &Geometry) -> Outline {
        let corner = |&point: &Vec3| {
            let lift = height - self.height(point);
            let [i, j, _] = grid.index(std::array::from_fn(|x| point[x] + lift * self.normal[x]));
            [i, j]
        };
        Outline::new(k, contour.points.iter().map(corner))
    }
}
