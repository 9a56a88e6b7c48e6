//! What a NIfTI or NRRD file holds: an image and its range, or labels and their volumes.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use transunet::formats::{read_labels, read_volume};
use transunet::geometry::Geometry;

use super::super::failure::{About, Code, Outcome};
use super::super::table::{self, Table};
use super::fact;

/// Whole numbers with at most this many different values are taken for labels.
const MOST_LABELS: usize = 64;

#[derive(Serialize)]
pub struct VolumeFile {
    path: PathBuf,
    /// Columns, rows, slices.
    size: [usize; 3],
    spacing_mm: [f64; 3],
    origin_lps_mm: [f64; 3],
    direction_lps: [[f64; 3]; 3],
    #[serde(flatten)]
    content: Content,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    Image { min: f64, max: f64, mean: f64 },
    Labels(Vec<LabelRow>),
}

#[derive(Serialize)]
struct LabelRow {
    value: u8,
    name: Option<String>,
    voxels: usize,
    volume_ml: f64,
}

impl VolumeFile {
    pub fn read(path: &Path) -> Outcome<Self> {
        let volume = read_volume(path).about(Code::Input)?;
        let voxels = volume.to_vec().about(Code::Input)?;
        let geometry = volume.geometry();
        let content = match labels(path, &voxels, geometry)? {
            Some(labels) => Content::Labels(labels),
            None => image(&voxels),
        };
        Ok(VolumeFile {
            path: path.to_path_buf(),
            size: geometry.size,
            spacing_mm: geometry.spacing,
            origin_lps_mm: geometry.origin,
            direction_lps: geometry.direction,
            content,
        })
    }
}

fn image(voxels: &[f32]) -> Content {
    let (min, max) = voxels.iter().fold((f32::MAX, f32::MIN), |(min, max), &v| (min.min(v), max.max(v)));
    let mean = voxels.iter().copied().map(f64::from).sum::<f64>() / voxels.len() as f64;
    Content::Image { min: min.into(), max: max.into(), mean }
}

/// The labels of the file, if it looks like a label map.
fn labels(path: &Path, voxels: &[f32], geometry: &Geometry) -> Outcome<Option<Vec<LabelRow>>> {
    let mut counts = [0usize; 256];
    for &voxel in voxels {
        let value = voxel as u8;
        if f32::from(value) != voxel {
            return Ok(None);
        }
        counts[usize::from(value)] += 1;
    }
    if counts.iter().filter(|&&count| count > 0).count() > MOST_LABELS {
        return Ok(None);
    }
    let known = read_labels(path).about(Code::Input)?.labels;
    let rows = (1..=u8::MAX).filter_map(|value| {
        let voxels = counts[usize::from(value)];
        let name = known.iter().find(|label| label.value == value).map(|label| label.name.clone());
        let volume_ml = voxels as f64 * geometry.voxel_volume() / 1000.0;
        (voxels > 0 || name.is_some()).then_some(LabelRow { value, name, voxels, volume_ml })
    });
    Ok(Some(rows.collect()))
}

impl fmt::Display for VolumeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.content {
            Content::Image { .. } => "image",
            Content::Labels(_) => "label map",
        };
        fact(f, "File", format!("{} ({kind})", self.path.display()))?;
        fact(f, "Size", table::size(self.size))?;
        fact(f, "Spacing", format!("{} mm", table::spacing(self.spacing_mm)))?;
        fact(f, "Origin", format!("{} mm (LPS)", self.origin_lps_mm.map(|x| format!("{x:.1}")).join(", ")))?;
        fact(f, "Axes", self.direction_lps.map(axis).join(", "))?;
        match &self.content {
            Content::Image { min, max, mean } => fact(f, "Values", format!("{min} to {max}, mean {mean:.1}")),
            Content::Labels(rows) => {
                let mut list = Table::new(&["Value", "Label", "Voxels", "ml"], &[true, false, true, true]);
                for row in rows {
                    let name = row.name.clone().unwrap_or("-".into());
                    list.row([row.value.to_string(), name, row.voxels.to_string(), format!("{:.1}", row.volume_ml)]);
                }
                writeln!(f, "\n{}", list.lines().join("\n"))
            }
        }
    }
}

/// Where an axis points, such as "left" or "left (oblique)".
fn axis(direction: [f64; 3]) -> String {
    const TOWARDS: [[&str; 2]; 3] = [["left", "right"], ["posterior", "anterior"], ["superior", "inferior"]];
    let strongest = (0..3).max_by(|&a, &b| direction[a].abs().total_cmp(&direction[b].abs())).unwrap_or(0);
    let name = TOWARDS[strongest][usize::from(direction[strongest] < 0.0)];
    if direction[strongest].abs() > 0.999 { name.into() } else { format!("{name} (oblique)") }
}
