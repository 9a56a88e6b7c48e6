//! Figures of a label map that people look at first: volumes, places and intensities, label by label.

use std::path::Path;

use serde::Serialize;

use crate::atomic_file;
use crate::error::Result;
use crate::geometry::{Geometry, Vec3};
use crate::labelmap::Labelmap;

/// Written as JSON. Lengths in mm, positions in LPS mm, intensities in modality units (HU for CT).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistics {
    /// What was segmented.
    pub source: String,
    pub algorithm: String,
    pub algorithm_version: String,
    pub geometry: Grid,
    pub labels: Vec<LabelStatistics>,
}

/// The grid of the label map.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grid {
    /// Columns, rows, slices.
    pub size: [usize; 3],
    pub spacing_mm: Vec3,
    pub origin_lps_mm: Vec3,
    /// Unit vectors of the three axes.
    pub direction_lps: [Vec3; 3],
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelStatistics {
    pub value: u8,
    pub name: String,
    pub voxels: u64,
    pub volume_ml: f64,
    /// The rest is `None` for a label without voxels.
    pub extent: Option<Extent>,
    /// Mean position of the voxel centres.
    pub centroid_lps_mm: Option<Vec3>,
    pub intensity: Option<Intensity>,
}

/// Smallest box around a label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Extent {
    /// First column, row, slice.
    pub index_min: [usize; 3],
    /// Last column, row, slice.
    pub index_max: [usize; 3],
    /// Patient coordinates of the box along the index axes, from voxel edge to voxel edge.
    pub lps_min_mm: Vec3,
    pub lps_max_mm: Vec3,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Intensity {
    pub mean: f64,
    /// Of the label's voxels as the whole population.
    pub std: f64,
    pub min: f64,
    pub max: f64,
}

/// Measures every label; reads the source slice by slice.
pub fn statistics(labelmap: &Labelmap) -> Result<Statistics> {
    let geometry = labelmap.geometry();
    let mut sums = vec![Sums::default(); 256];
    let (mut labels, mut image) = (vec![0; geometry.slice_len()], vec![0.0; geometry.slice_len()]);
    for k in (0..geometry.slices()).filter(|&k| !labelmap.is_empty(k)) {
        labelmap.read_slice(k, &mut labels)?;
        labelmap.source().read_slice(k, &mut image)?;
        let rows = labels.chunks_exact(geometry.columns()).zip(image.chunks_exact(geometry.columns()));
        for (j, (labels, image)) in rows.enumerate() {
            for (i, (&label, &value)) in labels.iter().zip(image).enumerate() {
                if label != 0 {
                    sums[usize::from(label)].add([i, j, k], f64::from(value));
                }
            }
        }
    }
    let labels = labelmap.labels().iter().map(|label| {
        let sums = &sums[usize::from(label.value)];
        let found = sums.count > 0;
        LabelStatistics {
            value: label.value,
            name: label.name.clone(),
            voxels: sums.count,
            volume_ml: sums.count as f64 * geometry.voxel_volume() / 1000.0,
            extent: found.then(|| sums.extent(geometry)),
            centroid_lps_mm: found.then(|| geometry.position(sums.index_sum.map(|s| s / sums.count as f64))),
            intensity: found.then(|| sums.intensity()),
        }
    });
    Ok(Statistics {
        source: labelmap.source().origin().to_string(),
        algorithm: labelmap.algorithm().name.clone(),
        algorithm_version: labelmap.algorithm().version.clone(),
        geometry: Grid {
            size: geometry.size,
            spacing_mm: geometry.spacing,
            origin_lps_mm: geometry.origin,
            direction_lps: geometry.direction,
        },
        labels: labels.collect(),
    })
}

impl Statistics {
    /// The file appears whole or not at all.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        atomic_file::write(path, |file| {
            serde_json::to_writer_pretty(&mut *file, self)?;
            writeln!(file)
        })
    }
}

/// Running sums of one label.
#[derive(Clone)]
struct Sums {
    count: u64,
    index_sum: Vec3,
    index_min: [usize; 3],
    index_max: [usize; 3],
    mean: f64,
    /// Sum of squared distances from the mean.
    spread: f64,
    min: f64,
    max: f64,
}

impl Default for Sums {
    fn default() -> Self {
        Sums {
            count: 0,
            index_sum: [0.0; 3],
            index_min: [usize::MAX; 3],
            index_max: [0; 3],
            mean: 0.0,
            spread: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl Sums {
    fn add(&mut self, index: [usize; 3], value: f64) {
        self.count += 1;
        for (axis, &at) in index.iter().enumerate() {
            self.index_sum[axis] += at as f64;
            self.index_min[axis] = self.index_min[axis].min(at);
            self.index_max[axis] = self.index_max[axis].max(at);
        }
        // Welford's update keeps the variance exact where the mean is far from zero.
        let from_old = value - self.mean;
        self.mean += from_old / self.count as f64;
        self.spread += from_old * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    fn extent(&self, geometry: &Geometry) -> Extent {
        let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
        for corner in 0..8 {
            let index = std::array::from_fn(|axis| match corner >> axis & 1 {
                0 => self.index_min[axis] as f64 - 0.5,
                _ => self.index_max[axis] as f64 + 0.5,
            });
            for (axis, x) in geometry.position(index).into_iter().enumerate() {
                low[axis] = low[axis].min(x);
                high[axis] = high[axis].max(x);
            }
        }
        Extent { index_min: self.index_min, index_max: self.index_max, lps_min_mm: low, lps_max_mm: high }
    }

    fn intensity(&self) -> Intensity {
        let std = (self.spread / self.count as f64).sqrt();
        Intensity { mean: self.mean, std, min: self.min, max: self.max }
    }
}
