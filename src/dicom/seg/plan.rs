//! What a DICOM SEG will hold, decided and checked before a byte is written.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::write::{SegCompression, SegEncoding, SegOptions};
use crate::dicom::codes::check_code;
use crate::dicom::derived::Derived;
use crate::dicom::read::series::Series;
use crate::dicom::rle;
use crate::error::{Error, Result};
use crate::fractions::Fractions;
use crate::labelmap::Labelmap;
use crate::labels::Label;

/// Largest value of an element or item: an even 32-bit length that is not "undefined" (PS3.5 section 7.1.1).
const MAX_BYTES: u64 = 0xFFFF_FFFE;

/// One frame: slice `slice` of the source, all of it or where `segments[segment]` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// `None` in a LABELMAP.
    pub segment: Option<usize>,
    pub slice: usize,
    /// 1-based rank of the slice among the slices that have frames.
    pub position: u32,
}

/// What the values of pixels are.
#[derive(Clone, Copy)]
pub enum Values<'a> {
    /// A bit.
    Mask,
    /// 0 or 255.
    Occupancy,
    /// 0 to 255.
    Probability(&'a Fractions),
    /// Segment numbers.
    Numbers,
}

impl Values<'_> {
    pub fn bits(&self) -> u16 {
        if matches!(self, Values::Mask) { 1 } else { 8 }
    }
}

/// All that decides the content of the object but its pixels.
pub struct Plan<'a> {
    pub made: Derived<'a>,
    /// In order of label value; segment number n is `segments[n - 1]`.
    pub segments: Vec<&'a Label>,
    pub options: &'a SegOptions,
    pub values: Values<'a>,
    /// Ordered by segment, then position.
    pub frames: Vec<Frame>,
}

impl<'a> Plan<'a> {
    pub fn new(labelmap: &'a Labelmap, series: &'a Arc<Series>, options: &'a SegOptions) -> Result<Self> {
        options.check()?;
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
        let segments = segments(labelmap)?;
        let values = match (options.encoding, labelmap.fractions()) {
            (SegEncoding::Binary, _) => Values::Mask,
            (SegEncoding::LabelMap, _) => Values::Numbers,
            (SegEncoding::Fractional, Some(fractions)) => Values::Probability(fractions),
            (SegEncoding::Fractional, None) => Values::Occupancy,
        };
        let frames = frames(labelmap, &segments, values);
        let fingerprint = options.deterministic.then(|| fingerprint(labelmap, series, options, values)).transpose()?;
        let made = Derived::new(series, labelmap, fingerprint, options.created);
        let plan = Plan { made, segments, options, values, frames };
        plan.check_size()?;
        Ok(plan)
    }

    /// Native pixels are one value, whatever deflate makes of them; each RLE frame is one.
    fn check_size(&self) -> Result<()> {
        let geometry = &self.made.series.geometry;
        let (columns, rows) = (geometry.columns(), geometry.rows());
        let (bytes, what) = match self.options.compression {
            SegCompression::Rle => (rle::most_bytes(columns, rows), "one frame".to_string()),
            SegCompression::None | SegCompression::Deflate => {
                (self.native_bytes(), format!("{} frames", self.frames.len()))
            }
        };
        if bytes > MAX_BYTES {
            return Err(Error::Argument(format!(
                "{what} of {columns} x {rows} pixels would take {bytes} bytes, and a DICOM file holds at most {MAX_BYTES} \
                 in one value; write labelmap with rle, or .seg.nrrd instead"
            )));
        }
        Ok(())
    }

    /// Bytes of all frames, uncompressed.
    pub fn native_bytes(&self) -> u64 {
        let pixels = (self.frames.len() as u64).saturating_mul(self.made.series.geometry.slice_len() as u64);
        pixels.saturating_mul(self.values.bits().into()).div_ceil(8)
    }

    /// Whether the frames are one upright stack without a gap: Dimension Organization Type 3D (PS3.3 section C.7.6.17.3).
    pub fn one_stack(&self) -> bool {
        let one_channel = self.segments.len() == 1 || matches!(self.values, Values::Numbers);
        let contiguous = self.frames.windows(2).all(|pair| pair[1].slice == pair[0].slice + 1);
        one_channel && contiguous && self.frames.len() > 1 && !self.made.series.geometry.is_sheared()
    }
}

/// The labels in order of value, each once and writable.
pub fn segments(labelmap: &Labelmap) -> Result<Vec<&Label>> {
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
fn frames(labelmap: &Labelmap, segments: &[&Label], values: Values) -> Vec<Frame> {
    let present = |label: &Label, k: usize| match values {
        Values::Probability(fractions) => fractions.is_present(label.value, k),
        _ => labelmap.is_present(label.value, k),
    };
    let occupied = |k: usize| segments.iter().any(|label| present(label, k));
    let mut slices: Vec<usize> = (0..labelmap.geometry().slices()).filter(|&k| occupied(k)).collect();
    let numbers = matches!(values, Values::Numbers);
    let empty = slices.is_empty();
    if empty {
        slices.push(0);
    }
    if numbers || empty {
        let frame = |(slice, position)| Frame { segment: (!numbers).then_some(0), slice, position };
        return slices.into_iter().zip(1..).map(frame).collect();
    }
    let mut frames = Vec::new();
    for (segment, label) in segments.iter().enumerate() {
        for (slice, position) in slices.iter().copied().zip(1..) {
            if present(label, slice) {
                frames.push(Frame { segment: Some(segment), slice, position });
            }
        }
    }
    frames
}

/// Hash of everything that derived UIDs must tell apart.
fn fingerprint(labelmap: &Labelmap, series: &Series, options: &SegOptions, values: Values) -> Result<[u8; 32]> {
    let algorithm = labelmap.algorithm();
    let instances: Vec<_> =
        series.instances.iter().map(|instance| (&instance.sop_instance_uid, instance.frame)).collect();
    let words = (
        (env!("CARGO_PKG_VERSION"), &series.series_uid, instances, labelmap.labels(), labelmap.geometry().size),
        (&algorithm.name, &algorithm.version, &options.series_description, options.series_number),
        (&options.content_label, &options.content_description, &options.content_creator),
        (options.created.map(|created| created.to_string()), series.resampled),
        (options.encoding.to_string(), options.compression.to_string(), labelmap.receipt()),
    );
    let words = serde_json::to_vec(&words).map_err(|error| Error::Internal(error.to_string()))?;
    let mut hash = Sha256::new().chain_update(words);
    labelmap.for_each_slice(|_, labels| hash.update(labels))?;
    if let Values::Probability(fractions) = values {
        hash.update(fractions.digest());
    }
    Ok(hash.finalize().into())
}
