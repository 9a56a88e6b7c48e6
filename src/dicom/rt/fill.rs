//! Contours of an RT Structure Set as labels on a grid.
//!
//! A pixel belongs to a region if its centre lies inside an odd number of the region's contours in its slice (even-odd rule),
//! so a contour within another is a hole, and a keyhole, whose channel is drawn to and fro, has none. A centre on an edge
//! belongs if the inside is towards higher indices: edges are half-open intervals in i and j.

use std::collections::BTreeMap;

use super::read::{Contour, Structures};
use crate::dicom::overlap::Claims;
use crate::dicom::read::series::{Instance, Series};
use crate::error::{Error, Result};
use crate::geometry::Geometry;

/// Largest distance of a point from the slice that it is drawn on, in slices.
const OFF_SLICE: f64 = 0.1;
/// Points farther off, in voxels, are no places: sums of their indices would lose the fractions.
const FAR: f64 = 1e6;
/// Indices are rounded to this part of a voxel: points are written in decimals, and those on a centre must stay on it.
const PARTS: f64 = 1e5;

impl Structures {
    /// Labels `[k, j, i]` on `grid`, whose slices the contours must lie on, 0 where there is no region.
    ///
    /// Nothing is drawn between contours. What reaches out of a slice is cut off; a contour that lies beside it wholly is
    /// refused, as is one that lies on no slice.
    pub fn read(&self, grid: &Geometry, claims: impl Into<Claims>) -> Result<Vec<u8>> {
        self.on(grid, &[], &claims.into()).map_err(|e| e.at(self.path.display()))
    }

    /// As [`Structures::read`], on the grid of a series. A contour that names its image must lie on that image's slice.
    pub fn read_on(&self, series: &Series, claims: impl Into<Claims>) -> Result<Vec<u8>> {
        let instances = if series.resampled { &[][..] } else { &series.instances };
        self.on(&series.geometry, instances, &claims.into()).map_err(|e| e.at(self.path.display()))
    }

    fn on(&self, grid: &Geometry, instances: &[Instance], claims: &Claims) -> Result<Vec<u8>> {
        let mut out = vec![0; grid.len()];
        for (label, contours) in self.labels.iter().zip(&self.contours) {
            let mut drawn: BTreeMap<usize, Vec<Outline>> = BTreeMap::new();
            for contour in contours {
                let outline = Outline::of(contour, grid)
                    .and_then(|outline| agree(contour, outline.slice, instances).map(|()| outline))
                    .map_err(|e| e.at(format!("{}, contour {}", self.region(label.value), contour.number)))?;
                drawn.entry(outline.slice).or_default().push(outline);
            }
            for (k, outlines) in &drawn {
                let slice = &mut out[k * grid.slice_len()..][..grid.slice_len()];
                fill(slice, outlines, grid, |held| claims.settle(held, label.value))
                    .map_err(|(held, voxel)| self.overlapping(held, label.value, voxel))?;
            }
        }
        Ok(out)
    }

    pub(in crate::dicom) fn overlapping(&self, held: u8, claim: u8, [i, j, k]: [usize; 3]) -> Error {
        Error::DicomUnsupported(format!(
            "{} and {} overlap at voxel ({i}, {j}, {k}), expected one label for each voxel",
            self.region(held),
            self.region(claim)
        ))
    }
}

/// Refuses a contour that names other images than that of the slice it lies on.
fn agree(contour: &Contour, slice: usize, instances: &[Instance]) -> Result<()> {
    let names = |instance: &Instance| {
        contour.images.iter().any(|(uid, frame)| {
            let frames = frame.zip(instance.frame);
            *uid == instance.sop_instance_uid && frames.is_none_or(|(said, own)| said == own)
        })
    };
    let (Some((uid, _)), Some(own)) = (contour.images.first(), instances.get(slice)) else { return Ok(()) };
    if names(own) {
        return Ok(());
    }
    Err(Error::DicomGeometry(match instances.iter().position(names) {
        Some(other) => format!("it lies on slice {slice}, and ContourImageSequence names the image of slice {other}"),
        None => {
            format!("it lies on slice {slice}, and ContourImageSequence names {uid}, which is no image of the volume")
        }
    }))
}

/// A contour in a slice.
pub(in crate::dicom) struct Outline {
    slice: usize,
    /// Corners (i, j).
    corners: Vec<[f64; 2]>,
}

impl Outline {
    pub fn new(slice: usize, corners: impl Iterator<Item = [f64; 2]>) -> Self {
        Outline { slice, corners: corners.map(|corner| corner.map(|x| (x * PARTS).round() / PARTS)).collect() }
    }

    fn of(contour: &Contour, grid: &Geometry) -> Result<Self> {
        let refuse = |text: String| Err(Error::DicomGeometry(text));
        let indices: Vec<[f64; 3]> = contour.points.iter().map(|&point| grid.index(point)).collect();
        // So written that what is no number is refused too.
        if !indices.iter().flatten().all(|index| index.abs() < FAR) {
            return refuse(format!("a point lies more than {FAR:e} voxels away"));
        }
        let depth = indices.iter().map(|index| index[2]).sum::<f64>() / indices.len() as f64;
        let slice = depth.round();
        let off = indices.iter().map(|index| (index[2] - slice).abs()).fold(0.0, f64::max);
        if off > OFF_SLICE {
            let mm = |slices: f64| slices * grid.slice_distance();
            return refuse(format!(
                "its points lie up to {:.2} mm off slice {slice}, expected at most {:.2} mm: it is not drawn on the image's \
                 slices",
                mm(off),
                mm(OFF_SLICE)
            ));
        }
        let [columns, rows, slices] = grid.size.map(|n| n as f64);
        if slice < 0.0 || slice >= slices {
            let beyond = if slice < 0.0 { -slice } else { slice - slices + 1.0 };
            return refuse(format!(
                "it lies {:.2} mm beyond the image's slices, at slice {slice} of 0 to {}",
                beyond * grid.slice_distance(),
                slices - 1.0
            ));
        }
        let outline = Outline::new(slice as usize, indices.iter().map(|&[i, j, _]| [i, j]));
        let corners = &outline.corners;
        for (axis, size, name) in [(0, columns, "columns"), (1, rows, "rows")] {
            let lowest = corners.iter().map(|corner| corner[axis]).fold(f64::INFINITY, f64::min);
            let highest = corners.iter().map(|corner| corner[axis]).fold(f64::NEG_INFINITY, f64::max);
            if highest < -0.5 || lowest > size - 0.5 {
                return refuse(format!(
                    "it lies beside the image: its {name} are {lowest:.1} to {highest:.1}, the image's 0 to {}",
                    size - 1.0
                ));
            }
        }
        Ok(outline)
    }
}

/// Gives the pixels of `slice` within `outlines` what `settle` makes of the label that they have; fails with that label and
/// the voxel where there is nothing to be made.
pub(in crate::dicom) fn fill(
    slice: &mut [u8],
    outlines: &[Outline],
    grid: &Geometry,
    settle: impl Fn(u8) -> Option<u8>,
) -> std::result::Result<(), (u8, [usize; 3])> {
    let k = outlines.first().map_or(0, |outline| outline.slice);
    for (n, (held, inside)) in slice.iter_mut().zip(filled(outlines, grid)).enumerate() {
        if inside {
            *held = settle(*held).ok_or((*held, [n % grid.columns(), n / grid.columns(), k]))?;
        }
    }
    Ok(())
}

/// Whether each pixel `[j, i]` of a slice is inside an odd number of `outlines`.
fn filled(outlines: &[Outline], grid: &Geometry) -> Vec<bool> {
    let [columns, rows, _] = grid.size;
    // First whether an odd number of edges crosses the row between a pixel's centre and its left neighbour's.
    let mut inside = vec![false; columns * rows];
    for Outline { corners, .. } in outlines {
        let next = corners.iter().cycle().skip(1);
        for (&a, &b) in corners.iter().zip(next) {
            // Upwards whichever way the edge is drawn, so that both sides of a keyhole's channel round alike.
            let ([x0, y0], [x1, y1]) = if a[1] <= b[1] { (a, b) } else { (b, a) };
            // Rows with y0 <= j < y1: a corner on a row counts for one of its two edges, or for both or none at a peak.
            let first = y0.ceil().max(0.0) as usize;
            let behind = (y1.ceil().max(0.0) as usize).min(rows);
            for j in first..behind {
                let x = x0 + (j as f64 - y0) / (y1 - y0) * (x1 - x0);
                let i = x.ceil().max(0.0) as usize;
                if i < columns {
                    inside[j * columns + i] ^= true;
                }
            }
        }
    }
    for row in inside.chunks_exact_mut(columns) {
        let mut odd = false;
        for pixel in row {
            odd ^= *pixel;
            *pixel = odd;
        }
    }
    inside
}
