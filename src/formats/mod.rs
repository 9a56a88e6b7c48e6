//! Volumes and label maps in NRRD and NIfTI files.
//!
//! Reading never guesses where voxels are: a file that does not say is refused with the reason. Voxels become f32 in
//! modality units; NaN and infinity are refused, since a network turns one of them into a wrong label for a whole slice.

mod nifti;
mod nrrd;
mod nrrd_header;
mod probabilities;
mod scalar;
mod segments;

use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;

use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::labelmap::Labelmap;
use crate::labels::Label;
use crate::receipt::{KEY, Receipt};
use crate::volume::Volume;

pub use probabilities::ProbabilityWriter;

/// What the name of an input says about its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeKind {
    Nrrd,
    Nifti,
}

impl VolumeKind {
    /// `None` for names that are not volumes' (DICOM files may have any name).
    pub fn of(path: &Path) -> Option<Self> {
        let name = lower_name(path);
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        if ends(&[".nrrd", ".nhdr"]) {
            Some(VolumeKind::Nrrd)
        } else if ends(&[".nii", ".nii.gz"]) {
            Some(VolumeKind::Nifti)
        } else {
            None
        }
    }

    fn required(path: &Path) -> Result<Self> {
        VolumeKind::of(path).ok_or_else(|| {
            Error::Argument(format!(
                "{}: not the name of a volume, expected .nrrd, .nhdr, .nii or .nii.gz",
                path.display()
            ))
        })
    }
}

/// Reads a scalar volume; the format follows from the name.
pub fn read_volume(path: &Path) -> Result<Volume> {
    let scan = read_scan(path)?;
    Volume::from_memory(scan.geometry, scan.voxels, path.display().to_string())
}

/// A label image from a file: ground truth for training, or a segmentation to compare with.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelImage {
    pub geometry: Geometry,
    /// `[k, j, i]`, columns fastest.
    pub voxels: Vec<u8>,
    /// What a `.seg.nrrd` says about its labels, by value; empty for other files.
    pub labels: Vec<Label>,
    /// Receipt of the segmentation, as it is written; `None` in other programs' files.
    pub receipt: Option<String>,
}

/// Reads a label image: whole numbers from 0 to 255.
pub fn read_labels(path: &Path) -> Result<LabelImage> {
    let scan = read_scan(path)?;
    let voxels = whole_labels(scan.voxels, scan.geometry.size).map_err(|e| e.at(path.display()))?;
    let labels = segments::parse(&scan.keys).map_err(|e| e.at(path.display()))?;
    let receipt = scan.keys.get(KEY).cloned();
    Ok(LabelImage { geometry: scan.geometry, voxels, labels, receipt })
}

/// Voxels `[k, j, i]` of a grid of `size` as labels: whole numbers from 0 to 255.
pub(crate) fn whole_labels(voxels: Vec<f32>, size: [usize; 3]) -> Result<Vec<u8>> {
    let [columns, rows, _] = size;
    let label = |(at, value): (usize, f32)| {
        let label = value as u8;
        if f32::from(label) == value {
            return Ok(label);
        }
        let (i, j, k) = (at % columns, at / columns % rows, at / columns / rows);
        Err(Error::VolumeFormat(format!("voxel ({i}, {j}, {k}) is {value}, expected a label from 0 to 255")))
    };
    voxels.into_iter().enumerate().map(label).collect()
}

/// What a file holds.
struct Scan {
    geometry: Geometry,
    voxels: Vec<f32>,
    /// Free-text keys of a NRRD, and the receipt of a NIfTI file.
    keys: nrrd_header::Keys,
}

fn read_scan(path: &Path) -> Result<Scan> {
    match VolumeKind::required(path)? {
        VolumeKind::Nrrd => nrrd::read(path),
        VolumeKind::Nifti => nifti::read(path),
    }
    .map_err(|e| e.at(path.display()))
}

/// What the name of an output asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// `.dcm`
    DicomSeg,
    /// `.rtstruct.dcm`
    RtStruct,
    /// `.seg.nrrd`: Slicer's segmentation, with names, colours and codes.
    SegNrrd,
    /// `.nrrd`: label numbers only.
    Nrrd,
    /// `.nii`, `.nii.gz`: label numbers only.
    Nifti,
}

impl OutputKind {
    /// Whether it is a DICOM object, which refers to the images of a series and takes slices as they lie.
    pub fn refers_to_dicom(self) -> bool {
        matches!(self, OutputKind::DicomSeg | OutputKind::RtStruct)
    }

    pub fn of(path: &Path) -> Result<Self> {
        let name = lower_name(path);
        const KINDS: [(&str, OutputKind); 6] = [
            (".rtstruct.dcm", OutputKind::RtStruct),
            (".dcm", OutputKind::DicomSeg),
            (".seg.nrrd", OutputKind::SegNrrd),
            (".nrrd", OutputKind::Nrrd),
            (".nii.gz", OutputKind::Nifti),
            (".nii", OutputKind::Nifti),
        ];
        KINDS.iter().find(|(ending, _)| name.ends_with(ending)).map(|&(_, kind)| kind).ok_or_else(|| {
            Error::Argument(format!(
                "{}: the name does not say what to write, expected .dcm (DICOM SEG), .rtstruct.dcm (RT Structure Set), .seg.nrrd \
                 (Slicer segmentation), .nrrd, .nii.gz or .nii (label numbers)",
                path.display()
            ))
        })
    }
}

/// Refuses a sheared grid, as of a tilted gantry, in a format whose readers take axes for orthogonal.
pub fn check_grid(geometry: &Geometry, path: &Path) -> Result<()> {
    if geometry.is_sheared() {
        return Err(Error::DicomGeometry(format!(
            "{}: the slices are stacked askew (gantry tilt), which readers of this format put in the wrong place; read the \
             series with tilt \"resample\", or write a DICOM SEG",
            path.display()
        )));
    }
    Ok(())
}

/// Writes a label map as `.seg.nrrd`, `.nrrd`, `.nii.gz` or `.nii`, as the name says; the file appears whole or not at all.
pub fn write_labels(labelmap: &Labelmap, path: &Path) -> Result<()> {
    let kind = OutputKind::of(path)?;
    if !kind.refers_to_dicom() {
        check_grid(labelmap.geometry(), path)?;
    }
    let receipt = labelmap.receipt().map(Receipt::to_json).transpose()?;
    let keys = |mut keys: Vec<(String, String)>| {
        keys.extend(receipt.as_ref().map(|receipt| (KEY.to_owned(), receipt.clone())));
        keys
    };
    match kind {
        OutputKind::SegNrrd => nrrd::write_labels(labelmap, keys(segments::describe(labelmap)), path),
        OutputKind::Nrrd => nrrd::write_labels(labelmap, keys(Vec::new()), path),
        OutputKind::Nifti => nifti::write_labels(labelmap, receipt.as_deref(), path),
        OutputKind::DicomSeg | OutputKind::RtStruct => Err(Error::Argument(format!(
            "{}: a DICOM object needs the source series and is written by another function, expected .seg.nrrd, .nrrd, \
             .nii.gz or .nii",
            path.display()
        ))),
    }
}

/// Writes all labels, `[k, j, i]`.
fn write_voxels(labelmap: &Labelmap, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let geometry = labelmap.geometry();
    let mut labels = vec![0; geometry.slice_len()];
    for k in 0..geometry.slices() {
        labelmap.read_slice(k, &mut labels).map_err(io::Error::other)?;
        out.write_all(&labels)?;
    }
    Ok(())
}

/// Label maps shrink by a factor of 100 at any level; a low one is quick.
const COMPRESSION: Compression = Compression::new(3);

fn lower_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// A grid from a file: `affine` maps voxel indices to LPS mm; `source` names the fields it came from.
fn grid(size: [usize; 3], affine: [[f64; 4]; 3], source: &str) -> Result<Geometry> {
    Geometry::from_affine(size, affine).map_err(|e| match e {
        Error::Argument(text) => Error::VolumeFormat(format!("{source}: {text}")),
        other => other,
    })
}
