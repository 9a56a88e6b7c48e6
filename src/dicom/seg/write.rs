//! Writing a label map as DICOM SEG: one object with a segment for each label (PS3.3 section A.51).
//!
//! All forms carry the same segments under the same numbers, on the same slices, with the same references:
//!
//! | form                        | a pixel is                                         | frames                     |
//! |-----------------------------|----------------------------------------------------|----------------------------|
//! | BINARY                      | one bit: whether it belongs to the frame's segment | each segment in each slice |
//! | FRACTIONAL, probabilities   | round(255 p) of the frame's segment                | each segment in each slice |
//! | FRACTIONAL, of labels alone | 255 or 0: whether it belongs to the segment        | each segment in each slice |
//! | LABELMAP                    | the number of its segment, 0 for none              | each slice                 |
//!
//! Frames in which every pixel is 0 are left out. BINARY, LABELMAP and FRACTIONAL of labels alone say the same of every
//! voxel. Probabilities say more: the label is the most probable class, the background included, which may be less than
//! half sure, so that no threshold turns them into the labels. Compression changes no pixel in any form.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::str::FromStr;

use dicom::core::chrono::NaiveDateTime;
use dicom::dictionary_std::{tags, uids};
use dicom::object::{FileMetaTableBuilder, InMemDicomObject};
use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::pixels::Pixels;
use super::plan::Plan;
use super::{frames, header};
use crate::atomic_file;
use crate::control::Control;
use crate::dicom::derived::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION};
use crate::error::{Error, Result};
use crate::labelmap::Labelmap;

/// What a pixel says: Segmentation Type (0062,0001).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SegEncoding {
    /// What every reader of DICOM SEG takes.
    #[default]
    Binary,
    /// Class probabilities where the label map has them, else whether a voxel has the label.
    Fractional,
    /// Label Map Segmentation Storage (Supplement 243), for readers of 2024 and later: the smallest.
    LabelMap,
}

/// How pixels are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SegCompression {
    /// Explicit VR Little Endian.
    #[default]
    None,
    /// RLE Lossless (PS3.5 annex G), each frame by itself. Not for BINARY.
    Rle,
    /// Deflated Explicit VR Little Endian (PS3.5 section A.5): the whole data set, pixels included.
    Deflate,
}

/// What the caller decides about the object.
#[derive(Debug, Clone, PartialEq)]
pub struct SegOptions {
    pub encoding: SegEncoding,
    pub compression: SegCompression,
    pub series_description: String,
    /// `None` = the source's number times 100 plus 1, or 1001 when the source has none.
    pub series_number: Option<i32>,
    /// Code string: at most 16 of A-Z, 0-9, space and underscore.
    pub content_label: String,
    pub content_description: String,
    /// Person name (`Family^Given`) of who asked for it; may be empty.
    pub content_creator: String,
    /// Derive all UIDs from the content, so that equal input gives equal bytes; otherwise they are random.
    pub deterministic: bool,
    /// Content date and time. `None` = now, or the study's date and time when `deterministic`.
    pub created: Option<NaiveDateTime>,
}

impl Default for SegOptions {
    fn default() -> Self {
        SegOptions {
            encoding: SegEncoding::default(),
            compression: SegCompression::default(),
            series_description: "TransUNet segmentation".into(),
            series_number: None,
            content_label: "SEGMENTATION".into(),
            content_description: "Research use only, not for clinical use".into(),
            content_creator: String::new(),
            deterministic: false,
            created: None,
        }
    }
}

impl SegOptions {
    /// Refuses what no label map could be written with.
    pub fn check(&self) -> Result<()> {
        // PS3.5 table 8.2.2-1 allows RLE for 8 and 16 bits. Readers that take single bits nevertheless disagree whether
        // runs are of bytes of eight pixels or of pixels.
        if (self.encoding, self.compression) == (SegEncoding::Binary, SegCompression::Rle) {
            return Err(Error::Argument(
                "a BINARY segmentation cannot be RLE compressed: DICOM defines RLE Lossless for 8 and 16 bits, not for \
                 single bits; take deflate, or labelmap with rle"
                    .into(),
            ));
        }
        let label = &self.content_label;
        let fits = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ' || c == '_';
        if label.trim().is_empty() || label.len() > 16 || !label.chars().all(fits) {
            return Err(Error::Argument(format!(
                "content label {label:?}, expected 1 to 16 of A-Z, 0-9, space and underscore"
            )));
        }
        Ok(())
    }
}

impl SegEncoding {
    /// In the order of the variants.
    pub const NAMES: [&str; 3] = ["binary", "fractional", "labelmap"];
}

impl SegCompression {
    /// In the order of the variants.
    pub const NAMES: [&str; 3] = ["none", "rle", "deflate"];

    fn transfer_syntax(self) -> &'static str {
        match self {
            SegCompression::None => uids::EXPLICIT_VR_LITTLE_ENDIAN,
            SegCompression::Rle => uids::RLE_LOSSLESS,
            SegCompression::Deflate => uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        }
    }
}

impl FromStr for SegEncoding {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let all = [SegEncoding::Binary, SegEncoding::Fractional, SegEncoding::LabelMap];
        named(name, SegEncoding::NAMES, all, "type")
    }
}

impl FromStr for SegCompression {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let all = [SegCompression::None, SegCompression::Rle, SegCompression::Deflate];
        named(name, SegCompression::NAMES, all, "compression")
    }
}

fn named<T>(name: &str, names: [&str; 3], all: [T; 3], what: &str) -> Result<T> {
    let found = names.iter().zip(all).find(|(known, _)| **known == name);
    found
        .map(|(_, value)| value)
        .ok_or_else(|| Error::Argument(format!("DICOM SEG {what} {name:?}, expected {}", names.join(", "))))
}

impl fmt::Display for SegEncoding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(SegEncoding::NAMES[*self as usize])
    }
}

impl fmt::Display for SegCompression {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(SegCompression::NAMES[*self as usize])
    }
}

/// Writes `labelmap` to `path` as a DICOM SEG that refers to the label map's source images. The file appears complete
/// or not at all.
///
/// Frames without a voxel are left out; every label is described, found or not. Beside the label map, memory holds a
/// frame and its header at a time.
pub fn write_seg(labelmap: &Labelmap, path: &Path, options: &SegOptions, control: &mut Control) -> Result<()> {
    let series = labelmap.source().series().ok_or_else(|| {
        Error::Argument(format!(
            "{}: a DICOM SEG refers to the DICOM images it was made from, and this label map was made from {}; \
             write .seg.nrrd or .nii.gz instead",
            path.display(),
            labelmap.source().origin()
        ))
    })?;
    control.check()?;
    let plan = Plan::new(labelmap, series, options)?;
    let pixels = Pixels { labelmap, plan: &plan };
    let head = header::object(&plan)?;

    let mut out = BufWriter::with_capacity(1 << 18, atomic_file::beside(path)?);
    write_meta(&mut out, &head, options.compression, path)?;
    match options.compression {
        SegCompression::None => {
            write_data_set(&mut out, &plan, &head, path)?;
            pixels.write_native(&mut out, path, control)?;
        }
        SegCompression::Rle => {
            write_data_set(&mut out, &plan, &head, path)?;
            pixels.write_rle(&mut out, path, control)?;
        }
        SegCompression::Deflate => {
            let mut deflated = DeflateEncoder::new(&mut out, Compression::default());
            write_data_set(&mut deflated, &plan, &head, path)?;
            pixels.write_native(&mut deflated, path, control)?;
            let finished = deflated.try_finish().map(|()| deflated.total_out());
            drop(deflated);
            // A stream of odd length gets a zero byte (PS3.5 section A.5).
            let padded = finished.and_then(|length| out.write_all(&[0][..(length % 2) as usize]));
            padded.map_err(|source| Error::io(path, "write", source))?;
        }
    }
    let file = out.into_inner().map_err(|error| Error::io(path, "write", error.into_error()))?;
    atomic_file::persist(file, path)
}

/// Preamble and file meta group.
fn write_meta(out: &mut impl Write, head: &InMemDicomObject, compression: SegCompression, path: &Path) -> Result<()> {
    let uid = |tag| head.get(tag).and_then(|element| element.to_str().ok()).unwrap_or_default();
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(uid(tags::SOP_CLASS_UID))
        .media_storage_sop_instance_uid(uid(tags::SOP_INSTANCE_UID))
        .transfer_syntax(compression.transfer_syntax())
        .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
        .implementation_version_name(IMPLEMENTATION_VERSION);
    let mut bytes = [0; 128].to_vec();
    bytes.extend(b"DICM");
    let meta = meta.build().map_err(|error| refusal(&error, path))?;
    meta.write(&mut bytes).map_err(|error| refusal(&error, path))?;
    out.write_all(&bytes).map_err(|source| Error::io(path, "write", source))
}

/// The data set up to the pixels: `head`, then the functional groups of each frame, encoded one by one.
fn write_data_set(out: &mut impl Write, plan: &Plan, head: &InMemDicomObject, path: &Path) -> Result<()> {
    let failed = |source| Error::io(path, "write", source);
    out.write_all(&encoded(head, path)?).map_err(failed)?;
    let begin = element(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, *b"SQ", UNDEFINED_LENGTH);
    out.write_all(&begin).map_err(failed)?;
    for frame in &plan.frames {
        let groups = encoded(&frames::per_frame(plan, frame), path)?;
        out.write_all(&item(groups.len() as u32)).and_then(|()| out.write_all(&groups)).map_err(failed)?;
    }
    out.write_all(&SEQUENCE_END).map_err(failed)
}

fn encoded(object: &InMemDicomObject, path: &Path) -> Result<Vec<u8>> {
    let syntax = dicom::transfer_syntax::entries::EXPLICIT_VR_LITTLE_ENDIAN.erased();
    let mut bytes = Vec::new();
    object.write_dataset_with_ts(&mut bytes, &syntax).map_err(|error| refusal(&error, path))?;
    Ok(bytes)
}

fn refusal(error: &dyn std::error::Error, path: &Path) -> Error {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Error::Internal(format!("{}: cannot encode the DICOM SEG: {error}{cause}", path.display()))
}

pub(super) const UNDEFINED_LENGTH: u32 = u32::MAX;
/// Sequence Delimitation Item (PS3.5 section 7.5).
pub(super) const SEQUENCE_END: [u8; 8] = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];

/// Tag, VR, reserved bytes and length of an element with a long value, in Explicit VR Little Endian (PS3.5 section
/// 7.1.2).
pub(super) fn element(tag: dicom::core::Tag, vr: [u8; 2], length: u32) -> [u8; 12] {
    let mut header = [0; 12];
    header[0..2].copy_from_slice(&tag.group().to_le_bytes());
    header[2..4].copy_from_slice(&tag.element().to_le_bytes());
    header[4..6].copy_from_slice(&vr);
    header[8..12].copy_from_slice(&length.to_le_bytes());
    header
}

/// Tag and length of an item of a sequence or of encapsulated pixels.
pub(super) fn item(length: u32) -> [u8; 8] {
    let [a, b, c, d] = length.to_le_bytes();
    [0xFE, 0xFF, 0x00, 0xE0, a, b, c, d]
}

/// Names the file in an error of its output.
pub(super) fn io_error(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::io(path, "write", source)
}
