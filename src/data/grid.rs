//! Labels on their image's grid: the same grid, or one that is part of it.

use crate::error::{Error, Result};
use crate::formats::LabelImage;
use crate::geometry::Geometry;

/// Largest distance of corresponding voxels, as a share of the smallest spacing.
const APART: f64 = 0.05;

/// `labels` on the grid of `image`. Segmentations may be cropped; then everything around is background.
pub fn placed(labels: LabelImage, image: &Geometry) -> Result<Vec<u8>> {
    let own = &labels.geometry;
    let allowed = APART * image.spacing.iter().copied().fold(f64::INFINITY, f64::min);
    let first = image.index(own.position([0.0; 3]));
    let offset = first.map(|x| x.round());
    let far = |corner: [f64; 3]| {
        let (a, b) = (own.position(corner), image.position([0, 1, 2].map(|n| corner[n] + offset[n])));
        (0..3).map(|n| (a[n] - b[n]).powi(2)).sum::<f64>().sqrt()
    };
    let last = own.size.map(|count| (count - 1) as f64);
    let corners = (0..8).map(|n| [0, 1, 2].map(|a| if n >> a & 1 == 1 { last[a] } else { 0.0 }));
    let worst = corners.map(far).fold(0.0, f64::max);
    let within = (0..3).all(|n| offset[n] >= 0.0 && offset[n] as usize + own.size[n] <= image.size[n]);
    if worst > allowed || !within {
        return Err(Error::VolumeFormat(format!(
            "the label map does not lie on the image's grid: image {}; labels {}; farthest voxels {worst:.3} mm apart, \
             expected at most {allowed:.3}",
            described(image),
            described(own)
        )));
    }
    if own.size == image.size {
        return Ok(labels.voxels);
    }
    let mut out = vec![0; image.len()];
    let [left, top, front] = offset.map(|x| x as usize);
    for (n, row) in labels.voxels.chunks_exact(own.size[0]).enumerate() {
        let (j, k) = (n % own.size[1] + top, n / own.size[1] + front);
        let start = (k * image.size[1] + j) * image.size[0] + left;
        out[start..start + row.len()].copy_from_slice(row);
    }
    Ok(out)
}

pub(super) fn described(geometry: &Geometry) -> String {
    let list = |values: [f64; 3]| values.map(|x| format!("{x:.3}")).join(" x ");
    let size = geometry.size.map(|x| x.to_string()).join(" x ");
    format!(
        "{size} voxels of {} mm from ({}) mm, axes {}",
        list(geometry.spacing),
        geometry.origin.map(|x| format!("{x:.2}")).join(", "),
        geometry.letters()
    )
}
