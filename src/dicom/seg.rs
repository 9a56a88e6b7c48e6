//! Writing a label map as DICOM SEG: one BINARY object with a segment for each label (PS3.3 section A.51).
//!
//! The pixel data is the last attribute, so it is streamed behind the data set frame by frame. Other encodings of the
//! same plan (FRACTIONAL, LABELMAP) differ in the segmentation attributes and in what follows the data set.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use dicom::core::VR;
use dicom::core::chrono::{Local, NaiveDate, NaiveDateTime, NaiveTime};
use dicom::dictionary_std::{tags, uids};
use dicom::object::{FileMetaTableBuilder, InMemDicomObject};
use sha2::{Digest, Sha256};

use super::attributes::copied;
use super::codes::check_code;
use super::seg_header;
use super::series::Series;
use super::uid::Uids;
use crate::atomic_file;
use crate::control::{Control, Progress, Stage};
use crate::error::{Error, Result};
use crate::labelmap::{Algorithm, Labelmap};
use crate::labels::Label;

/// Identifies this library as the writer of a file (PS3.10 section 7.1).
const IMPLEMENTATION_CLASS_UID: &str = "2.25.172323721873350084821594611290352974032";

/// Largest pixel data of an uncompressed object: an even 32-bit length that is not "undefined" (PS3.5 section 7.1.1).
const MAX_PIXEL_BYTES: usize = 0xFFFF_FFFE;

/// What the caller decides about the object.
#[derive(Debug, Clone, PartialEq)]
pub struct SegOptions {
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

/// One frame: where `segments[segment]` shows in slice `slice` of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub segment: usize,
    pub slice: usize,
    /// 1-based rank of the slice among the slices that have frames.
    pub position: u32,
}

/// All that decides the content of the object but its pixels.
pub(super) struct Plan<'a> {
    pub series: &'a Series,
    /// In order of label value; segment number n is `segments[n - 1]`.
    pub segments: Vec<&'a Label>,
    pub algorithm: &'a Algorithm,
    pub options: &'a SegOptions,
    pub uids: Uids,
    pub created: NaiveDateTime,
    /// Ordered by segment, then position.
    pub frames: Vec<Frame>,
}

/// Writes `labelmap` to `path` as a DICOM SEG that refers to the label map's source images. The file appears complete
/// or not at all.
///
/// Frames without a voxel are left out; every label is described, found or not.
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
    let plan = plan(labelmap, series, options)?;
    let head = encode_head(seg_header::object(&plan)?, path)?;

    let write_error = |source| Error::io(path, "write", source);
    let mut out = BufWriter::new(atomic_file::beside(path)?);
    out.write_all(&head).map_err(write_error)?;
    let bits = plan.frames.len() * labelmap.geometry().slice_len();
    out.write_all(&pixel_data_header(bits)).map_err(write_error)?;
    let mut packer = BitPacker::default();
    for (done, frame) in plan.frames.iter().enumerate() {
        control.report(Progress::of(Stage::Write, done, plan.frames.len()))?;
        packer.pack(labelmap.slice(frame.slice), plan.segments[frame.segment].value);
        packer.drain_to(&mut out).map_err(write_error)?;
    }
    packer.finish(&mut out).map_err(write_error)?;
    control.report(Progress::of(Stage::Write, plan.frames.len(), plan.frames.len()))?;
    let file = out.into_inner().map_err(|error| write_error(error.into_error()))?;
    atomic_file::persist(file, path)
}

fn plan<'a>(labelmap: &'a Labelmap, series: &'a Series, options: &'a SegOptions) -> Result<Plan<'a>> {
    let geometry = labelmap.geometry();
    if series.instances.len() != geometry.slices() {
        return Err(Error::Internal(format!(
            "{} source images for {} slices of labels",
            series.instances.len(),
            geometry.slices()
        )));
    }
    for (axis, size) in [("columns", geometry.columns()), ("rows", geometry.rows())] {
        if size > usize::from(u16::MAX) {
            return Err(Error::Argument(format!("{size} {axis}, a DICOM image has at most {}", u16::MAX)));
        }
    }
    check_options(options)?;
    let segments = segments(labelmap)?;
    let frames = frames(labelmap, &segments);
    let bytes = frames.len().checked_mul(geometry.slice_len()).map(|bits| bits.div_ceil(8));
    if bytes.is_none_or(|bytes| bytes > MAX_PIXEL_BYTES) {
        return Err(Error::Argument(format!(
            "{} frames of {} x {} pixels exceed the 4 GiB of a DICOM file; write .seg.nrrd instead",
            frames.len(),
            geometry.columns(),
            geometry.rows()
        )));
    }
    let uids =
        if options.deterministic { Uids::Derived(fingerprint(labelmap, series, options)?) } else { Uids::Random };
    let created = options
        .created
        .unwrap_or_else(|| if options.deterministic { study_time(series) } else { Local::now().naive_local() });
    Ok(Plan { series, segments, algorithm: labelmap.algorithm(), options, uids, created, frames })
}

fn check_options(options: &SegOptions) -> Result<()> {
    let label = &options.content_label;
    let fits = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ' || c == '_';
    if label.trim().is_empty() || label.len() > 16 || !label.chars().all(fits) {
        return Err(Error::Argument(format!(
            "content label {label:?}, expected 1 to 16 of A-Z, 0-9, space and underscore"
        )));
    }
    Ok(())
}

/// The labels in order of value, each once and writable.
fn segments(labelmap: &Labelmap) -> Result<Vec<&Label>> {
    let mut segments: Vec<&Label> = labelmap.labels().iter().collect();
    segments.sort_by_key(|label| label.value);
    if segments.is_empty() {
        return Err(Error::Argument("the label map has no labels, a DICOM SEG needs at least one".into()));
    }
    if segments[0].value == 0 {
        return Err(Error::Argument(format!(
            "label 0 ({}) is the background, it cannot be a segment",
            segments[0].name
        )));
    }
    if let Some(pair) = segments.windows(2).find(|pair| pair[0].value == pair[1].value) {
        return Err(Error::Argument(format!(
            "label value {} is listed twice ({}, {})",
            pair[0].value, pair[0].name, pair[1].name
        )));
    }
    for label in &segments {
        let place = |part: &str| format!("label {} ({}), {part}", label.value, label.name);
        check_code(&label.category_code(), &place("category"))?;
        check_code(&label.type_code(), &place("type"))?;
        for (part, code) in [("modifier", &label.modifier), ("region", &label.region)] {
            if let Some(code) = code {
                check_code(code, &place(part))?;
            }
        }
    }
    Ok(segments)
}

/// The frames that have voxels. A label map without any gets one empty frame of the first segment, since Number of
/// Frames is at least 1 (PS3.3 section C.7.6.6) and readers refuse an object without pixel data.
fn frames(labelmap: &Labelmap, segments: &[&Label]) -> Vec<Frame> {
    let present: Vec<[bool; 256]> = (0..labelmap.geometry().slices())
        .map(|k| {
            let mut present = [false; 256];
            for &value in labelmap.slice(k) {
                present[usize::from(value)] = true;
            }
            present
        })
        .collect();
    let occupied = |k: usize| segments.iter().any(|label| present[k][usize::from(label.value)]);
    let slices: Vec<usize> = (0..present.len()).filter(|&k| occupied(k)).collect();
    if slices.is_empty() {
        return vec![Frame { segment: 0, slice: 0, position: 1 }];
    }
    let mut frames = Vec::new();
    for (segment, label) in segments.iter().enumerate() {
        for (slice, position) in slices.iter().copied().zip(1..) {
            if present[slice][usize::from(label.value)] {
                frames.push(Frame { segment, slice, position });
            }
        }
    }
    frames
}

/// Hash of everything that derived UIDs must tell apart.
fn fingerprint(labelmap: &Labelmap, series: &Series, options: &SegOptions) -> Result<[u8; 32]> {
    let algorithm = labelmap.algorithm();
    let instances: Vec<&str> = series.instances.iter().map(|instance| instance.sop_instance_uid.as_str()).collect();
    let words = (
        (env!("CARGO_PKG_VERSION"), &series.series_uid, instances, labelmap.labels(), labelmap.geometry().size),
        (&algorithm.name, &algorithm.version, &options.series_description, options.series_number),
        (&options.content_label, &options.content_description, &options.content_creator),
        options.created.map(|created| created.to_string()),
    );
    let words = serde_json::to_vec(&words).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(Sha256::new().chain_update(words).chain_update(labelmap.voxels()).finalize().into())
}

/// Date and time of the study, which do not change between runs; midnight of 1900-01-01 where the source has none.
fn study_time(series: &Series) -> NaiveDateTime {
    let text = |tag| copied(&series.header, tag).and_then(|element| Some(element.to_str().ok()?.trim().to_string()));
    let date = text(tags::STUDY_DATE).and_then(|date| NaiveDate::parse_from_str(&date, "%Y%m%d").ok());
    let time = text(tags::STUDY_TIME).and_then(|time| NaiveTime::parse_from_str(time.get(..6)?, "%H%M%S").ok());
    NaiveDateTime::new(date.or(NaiveDate::from_ymd_opt(1900, 1, 1)).unwrap_or_default(), time.unwrap_or_default())
}

/// Preamble, file meta group and data set up to the pixel data.
fn encode_head(object: InMemDicomObject, path: &Path) -> Result<Vec<u8>> {
    let version = concat!("TRANSUNET_", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
        .implementation_version_name(version);
    let refuse = |error: &dyn std::error::Error| {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Error::Internal(format!("{}: cannot encode the DICOM SEG: {error}{cause}", path.display()))
    };
    let mut head = Vec::new();
    object.with_meta(meta).map_err(|error| refuse(&error))?.write_all(&mut head).map_err(|error| refuse(&error))?;
    Ok(head)
}

/// Tag, VR, reserved bytes and length of the pixel data in Explicit VR Little Endian (PS3.5 section 7.1.2).
fn pixel_data_header(bits: usize) -> [u8; 12] {
    let mut header = [0; 12];
    header[0..2].copy_from_slice(&tags::PIXEL_DATA.group().to_le_bytes());
    header[2..4].copy_from_slice(&tags::PIXEL_DATA.element().to_le_bytes());
    header[4..6].copy_from_slice(&VR::OB.to_bytes());
    // `plan` has checked that the length fits.
    let length = bits.div_ceil(8).next_multiple_of(2) as u32;
    header[8..12].copy_from_slice(&length.to_le_bytes());
    header
}

/// Joins the masks of all frames bit by bit: first pixel in the lowest bit, no padding between frames (PS3.5 section
/// 8.1.1).
#[derive(Default)]
struct BitPacker {
    /// Whole bytes that wait to be written.
    ready: Vec<u8>,
    partial: u8,
    /// Bits in `partial`, 0..8.
    used: u32,
    written: usize,
}

impl BitPacker {
    /// Appends one bit for each pixel: whether it has `value`.
    fn pack(&mut self, pixels: &[u8], value: u8) {
        let missing = if self.used == 0 { 0 } else { 8 - self.used as usize };
        let (head, body) = pixels.split_at(missing.min(pixels.len()));
        for &pixel in head {
            self.push(pixel == value);
        }
        let (bytes, tail) = body.as_chunks::<8>();
        self.ready.extend(
            bytes.iter().map(|byte| {
                byte.iter().enumerate().fold(0, |bits, (bit, &pixel)| bits | u8::from(pixel == value) << bit)
            }),
        );
        for &pixel in tail {
            self.push(pixel == value);
        }
    }

    fn push(&mut self, bit: bool) {
        self.partial |= u8::from(bit) << self.used;
        self.used += 1;
        if self.used == 8 {
            self.ready.push(self.partial);
            (self.partial, self.used) = (0, 0);
        }
    }

    fn drain_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.ready)?;
        self.written += self.ready.len();
        self.ready.clear();
        Ok(())
    }

    /// Fills the last byte with zero bits and the value to an even length.
    fn finish(mut self, out: &mut impl Write) -> io::Result<()> {
        if self.used > 0 {
            self.ready.push(self.partial);
        }
        if (self.written + self.ready.len()) % 2 == 1 {
            self.ready.push(0);
        }
        self.drain_to(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_joined_without_padding() {
        let mut packer = BitPacker::default();
        let mut out = Vec::new();
        packer.pack(&[1, 0, 1], 1);
        packer.pack(&[2, 1, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 1], 2);
        packer.drain_to(&mut out).unwrap();
        packer.pack(&[3], 3);
        packer.finish(&mut out).unwrap();
        assert_eq!(out, [0b1110_1101, 0b0111_1011, 0b0000_0001, 0]);
    }
}
