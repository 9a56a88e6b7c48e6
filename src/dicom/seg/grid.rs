//! Where the frames of a DICOM SEG lie on a grid: the source series', or one that their own positions make.

use super::read::{Plane, Seg};
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Vec3, cross, dot, norm, sub};

/// Largest distance of corresponding pixels, as a share of the smallest spacing.
const APART: f64 = 0.05;
/// Frames of a grid of its own; real ones have fewer.
const MOST_SLICES: usize = 1 << 14;

/// The voxel of a frame's first pixel, and the steps from a pixel to the next in its row and in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub first: [isize; 3],
    pub right: [isize; 3],
    pub down: [isize; 3],
}

impl Place {
    /// Of a frame of `size` columns and rows. Refuses one that does not lie on the grid, or not within it.
    pub fn of(plane: &Plane, [columns, rows]: [usize; 2], grid: &Geometry) -> Result<Self> {
        let position = |i: f64, j: f64| -> Vec3 {
            let (x, y) = (i * plane.spacing[0], j * plane.spacing[1]);
            std::array::from_fn(|n| plane.position[n] + x * plane.right[n] + y * plane.down[n])
        };
        let first = grid.index(plane.position);
        let right = sub(grid.index(position(1.0, 0.0)), first);
        let down = sub(grid.index(position(0.0, 1.0)), first);
        let whole = |v: Vec3| v.map(|x| x.round() as isize);
        let place = Place { first: whole(first), right: whole(right), down: whole(down) };
        let corners = [(0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)];
        let off = |(i, j): (usize, usize)| {
            let voxel = place.voxel(i, j).map(|n| n as f64);
            norm(sub(grid.position(voxel), position(i as f64, j as f64)))
        };
        let worst = corners.into_iter().map(off).fold(0.0, f64::max);
        let allowed = APART * grid.spacing.iter().copied().fold(f64::INFINITY, f64::min);
        let (across, along) = (axis(place.right), axis(place.down));
        let Some((across, along)) = across.zip(along).filter(|(a, b)| a != b && worst <= allowed) else {
            return Err(Error::DicomGeometry(format!(
                "{columns} x {rows} pixels of {} x {} mm at ({}) mm do not lie on the image's grid (voxels of {} mm, first \
                 at ({}) mm): a pixel to the right is ({}) voxels, a pixel down ({}), and a corner is {worst:.3} mm off, \
                 expected at most {allowed:.3}",
                number(plane.spacing[0]),
                number(plane.spacing[1]),
                list(plane.position),
                grid.spacing.map(number).join(" x "),
                list(grid.origin),
                list(right),
                list(down)
            )));
        };
        let through = 3 - across - along;
        let apart = if through == 2 { grid.slice_distance() } else { grid.spacing[through] };
        if let Some(between) = plane.between
            && grid.size[through] > 1
            && (between - apart).abs() > APART * apart
        {
            return Err(Error::DicomGeometry(format!(
                "SpacingBetweenSlices is {} mm, the image's voxels are {} mm apart",
                number(between),
                number(apart)
            )));
        }
        for (i, j) in corners {
            let voxel = place.voxel(i, j);
            if (0..3).any(|n| voxel[n] < 0 || voxel[n] as usize >= grid.size[n]) {
                return Err(Error::DicomGeometry(format!(
                    "pixel ({i}, {j}) is voxel {voxel:?} of an image of {:?} voxels",
                    grid.size
                )));
            }
        }
        Ok(place)
    }

    /// The voxel of pixel (column `i`, row `j`).
    pub fn voxel(&self, i: usize, j: usize) -> [isize; 3] {
        // A file's position may be anywhere.
        let along = |step: isize, count: usize| step.saturating_mul(count as isize);
        std::array::from_fn(|n| {
            self.first[n].saturating_add(along(self.right[n], i)).saturating_add(along(self.down[n], j))
        })
    }
}

/// The axis that a step of one voxel follows, either way.
fn axis(step: [isize; 3]) -> Option<usize> {
    let axis = step.iter().position(|&n| n != 0)?;
    (step.iter().map(|n| n.abs()).sum::<isize>() == 1).then_some(axis)
}

/// The grid that the frames of `segs` lie on: all parallel, one over the other, evenly spaced but for frames left out.
pub fn common_grid(segs: &[&Seg]) -> Result<Geometry> {
    let refuse = |seg: &Seg, text: String| Error::DicomGeometry(format!("{}: {text}", seg.path.display()));
    let Some((seg, plane)) = segs.iter().find_map(|seg| Some((seg, seg.frames.first()?.plane))) else {
        return Err(Error::DicomGeometry("no frames".into()));
    };
    let normal = cross(plane.right, plane.down);
    let allowed = APART * plane.spacing[0].min(plane.spacing[1]);
    let mut heights = Vec::new();
    for other in segs {
        for (n, frame) in other.frames.iter().enumerate() {
            let own = frame.plane;
            let offset = sub(own.position, plane.position);
            let aside = dot(offset, plane.right).hypot(dot(offset, plane.down));
            let turned = norm(sub(own.right, plane.right)).max(norm(sub(own.down, plane.down)));
            let scaled = (0..2).any(|a| (own.spacing[a] - plane.spacing[a]).abs() > 1e-3 * plane.spacing[a]);
            if aside > allowed || turned > 1e-3 || scaled || (other.rows, other.columns) != (seg.rows, seg.columns) {
                let text = format!("frame {} does not lie over the first one of {}", n + 1, seg.path.display());
                return Err(refuse(other, text));
            }
            heights.push(dot(offset, normal));
        }
    }
    heights.sort_by(f64::total_cmp);
    let (lowest, highest) = (heights[0], heights[heights.len() - 1]);
    let gaps = heights.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 1e-3);
    let smallest = gaps.fold(f64::INFINITY, f64::min);
    let step = plane.between.filter(|step| *step <= smallest * (1.0 + APART));
    let step = step.or(Some(smallest).filter(|step| step.is_finite())).or(plane.between).or(plane.thickness);
    let step = step.ok_or_else(|| refuse(seg, "one frame, and nothing says how thick it is".into()))?;
    let last = ((highest - lowest) / step).round();
    if !(0.0..MOST_SLICES as f64).contains(&last) {
        let text = format!("frames {step:.3} mm apart fill {last} slices, expected at most {MOST_SLICES}");
        return Err(refuse(seg, text));
    }
    let count = last as usize + 1;
    for height in &heights {
        let off = ((height - lowest) / step).round() * step - (height - lowest);
        if off.abs() > APART * step {
            let text = format!("frames {step:.3} mm apart, but one lies {off:.3} mm off that grid");
            return Err(refuse(seg, text));
        }
    }
    let origin = std::array::from_fn(|n| plane.position[n] + lowest * normal[n]);
    let [columns, rows] = plane.spacing;
    Geometry::new([seg.columns, seg.rows, count], [columns, rows, step], origin, [plane.right, plane.down, normal])
        .map_err(|e| refuse(seg, e.to_string()))
}

fn number(x: f64) -> String {
    format!("{}", (x * 1000.0).round() / 1000.0)
}

fn list(values: Vec3) -> String {
    values.map(number).join(", ")
}
