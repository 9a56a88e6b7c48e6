//! Distances between the surfaces of two masks, in mm.
//!
//! A mask's surface is those of its voxels that have a neighbour outside of it, or outside of the grid.

use super::distance::squared_distances;

/// Voxels of one structure, `[k, j, i]`.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    /// Columns, rows, slices. An axis of one voxel counts as absent: the mask is an image.
    pub size: [usize; 3],
    /// mm.
    pub spacing: [f64; 3],
    /// What a neighbour shares with a voxel: 1 a face, 2 also an edge, 3 also a corner.
    pub connectivity: usize,
}

/// Distances from every surface voxel of one mask to the other mask's surface, both ways.
#[derive(Debug, Clone)]
pub struct SurfaceDistances {
    /// From the first mask's surface, ascending.
    pub forth: Vec<f64>,
    /// From the second mask's surface, ascending.
    pub back: Vec<f64>,
}

impl SurfaceDistances {
    /// `None` where a mask is empty.
    pub fn new(a: &[bool], b: &[bool], grid: Grid) -> Option<Self> {
        // Nothing beyond the box around both masks can be nearest; the margin keeps what lies within apart from the
        // border of the grid, where alone the outside counts.
        let (a, b, grid) = cropped(a, b, grid)?;
        let (a, b) = (surface(&a, grid), surface(&b, grid));
        if !a.contains(&true) || !b.contains(&true) {
            return None;
        }
        let from = |own: &[bool], other: &[bool]| {
            let distances = squared_distances(other, grid.size, grid.spacing);
            let mut found: Vec<f64> =
                own.iter().zip(&distances).filter(|&(&there, _)| there).map(|(_, d)| d.sqrt()).collect();
            found.sort_by(f64::total_cmp);
            found
        };
        Some(SurfaceDistances { forth: from(&a, &b), back: from(&b, &a) })
    }

    /// Hausdorff distance: the farthest surface voxel.
    pub fn hd(&self) -> f64 {
        let last = |distances: &[f64]| distances.last().copied().unwrap_or(0.0);
        last(&self.forth).max(last(&self.back))
    }

    /// 95th percentile of the distances of both ways together, linear between neighbours.
    pub fn hd95(&self) -> f64 {
        let mut all = [self.forth.as_slice(), &self.back].concat();
        all.sort_by(f64::total_cmp);
        let place = 0.95 * (all.len() - 1) as f64;
        let (low, part) = (place.floor() as usize, place.fract());
        let high = all[(low + 1).min(all.len() - 1)];
        all[low] + (high - all[low]) * part
    }

    /// Mean distance from the first surface to the second.
    pub fn asd(&self) -> f64 {
        mean(&self.forth)
    }

    /// Mean of the distances of both ways together.
    pub fn assd(&self) -> f64 {
        mean(&[self.forth.as_slice(), &self.back].concat())
    }

    /// Share of both surfaces that lies within `tolerance` mm of the other (after Nikolov et al., arXiv:1809.04430; counted
    /// in surface voxels, not in area).
    pub fn surface_dice(&self, tolerance: f64) -> f64 {
        let near = |distances: &[f64]| distances.partition_point(|&d| d <= tolerance);
        (near(&self.forth) + near(&self.back)) as f64 / (self.forth.len() + self.back.len()) as f64
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The box around both masks with a margin of one voxel where the grid has one.
fn cropped(a: &[bool], b: &[bool], grid: Grid) -> Option<(Vec<bool>, Vec<bool>, Grid)> {
    let [columns, rows, slices] = grid.size;
    let (mut low, mut high) = (grid.size, [0; 3]);
    for k in 0..slices {
        for j in 0..rows {
            let start = (k * rows + j) * columns;
            let there = |i: &usize| a[start + i] || b[start + i];
            if let Some(first) = (0..columns).find(there) {
                let last = (0..columns).rfind(there).unwrap_or(first);
                low = [low[0].min(first), low[1].min(j), low[2].min(k)];
                high = [high[0].max(last + 1), high[1].max(j + 1), high[2].max(k + 1)];
            }
        }
    }
    if high[0] == 0 {
        return None;
    }
    let low = low.map(|x| x.saturating_sub(1));
    let high: [usize; 3] = std::array::from_fn(|n| (high[n] + 1).min(grid.size[n]));
    let size: [usize; 3] = std::array::from_fn(|n| high[n] - low[n]);
    let cut = |mask: &[bool]| {
        let mut out = Vec::with_capacity(size.iter().product());
        for k in low[2]..high[2] {
            for j in low[1]..high[1] {
                let start = (k * rows + j) * columns;
                out.extend_from_slice(&mask[start + low[0]..start + high[0]]);
            }
        }
        out
    };
    Some((cut(a), cut(b), Grid { size, ..grid }))
}

fn surface(mask: &[bool], grid: Grid) -> Vec<bool> {
    let [columns, rows, _] = grid.size;
    let range = |a: usize| if grid.size[a] == 1 { 0..=0 } else { -1..=1isize };
    let mut offsets = Vec::new();
    for k in range(2) {
        for j in range(1) {
            for i in range(0) {
                if (1..=grid.connectivity).contains(&(i.abs() + j.abs() + k.abs()).unsigned_abs()) {
                    offsets.push([i, j, k]);
                }
            }
        }
    }
    let inside = |index: [usize; 3]| {
        offsets.iter().all(|offset| {
            let mut at = [0; 3];
            for a in 0..3 {
                match index[a].checked_add_signed(offset[a]).filter(|&x| x < grid.size[a]) {
                    Some(x) => at[a] = x,
                    None => return false,
                }
            }
            mask[(at[2] * rows + at[1]) * columns + at[0]]
        })
    };
    let place = |at: usize| [at % columns, at / columns % rows, at / columns / rows];
    mask.iter().enumerate().map(|(at, &there)| there && !inside(place(at))).collect()
}
