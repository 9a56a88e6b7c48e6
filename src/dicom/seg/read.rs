//! Reading a DICOM SEG: its segments, where its frames lie, and what it was made from (PS3.3 sections A.51, C.8.20).
//!
//! Pixels stay in the file until [`Seg::read`] puts them on a grid.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dicom::core::Tag;
use dicom::dictionary_std::tags;
use dicom::object::InMemDicomObject;

use crate::dicom::codes::rgb;
use crate::dicom::lookup::{code, items, length, numbers, required, text, whole};
use crate::dicom::read::header::Header;
use crate::dicom::read::series::data_set;
use crate::error::{Error, Result};
use crate::geometry::Vec3;
use crate::labels::Label;
use crate::receipt::Receipt;

/// A segmentation whose segments become labels: the value of a label is its segment's number.
#[derive(Debug)]
pub struct Seg {
    pub path: PathBuf,
    /// Series that it refers to.
    pub series_uids: Vec<String>,
    /// SOP instances that it refers to.
    pub instance_uids: Vec<String>,
    /// Manufacturer, product and version that it names.
    pub made_by: String,
    /// Parameters of the algorithm, the first segment's.
    parameters: Option<String>,
    /// In order of segment number.
    pub labels: Vec<Label>,
    pub(super) encoding: Encoding,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) frames: Vec<Frame>,
}

/// What a pixel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// One bit: whether it belongs to the frame's segment.
    Binary,
    /// How much or how likely (`probability`) it does, out of `maximum`.
    Fractional { maximum: u16, probability: bool },
    /// The number of its segment, in 8 or 16 bits; `padding` is background besides 0.
    LabelMap { bits: usize, padding: Option<u16> },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub plane: Plane,
    /// Number of its segment; 0 in a label map.
    pub segment: u8,
}

/// Where a frame lies, LPS mm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plane {
    /// Centre of the first pixel.
    pub position: Vec3,
    /// Directions of increasing column and row index.
    pub right: Vec3,
    pub down: Vec3,
    /// Distance of columns, then of rows.
    pub spacing: [f64; 2],
    /// Distance of neighbouring frames, if it is said.
    pub between: Option<f64>,
    pub thickness: Option<f64>,
}

impl Seg {
    /// Reads everything but the pixels.
    pub fn open(path: &Path) -> Result<Self> {
        let header = Header::of_object(path, Header::is_segmentation, "a DICOM SEG")?;
        if let Some(reason) = &header.implausible {
            return Err(Error::DicomParse(format!("{}: {reason}", path.display())));
        }
        Seg::of(path, &data_set(&header)?).map_err(|e| e.at(path.display()))
    }

    fn of(path: &Path, object: &InMemDicomObject) -> Result<Self> {
        let encoding = encoding(object)?;
        let labels = labels(object)?;
        let count = whole(object, tags::NUMBER_OF_FRAMES).unwrap_or(1);
        let (rows, columns) = (required(object, tags::ROWS, "Rows")?, required(object, tags::COLUMNS, "Columns")?);
        if rows == 0 || columns == 0 {
            return Err(Error::DicomParse(format!("frames of {rows} rows and {columns} columns")));
        }
        let shared = items(object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
        let own = items(object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
        if own.len() != count as usize {
            return Err(Error::DicomParse(format!("{count} frames, and functional groups for {}", own.len())));
        }
        let frame = |(n, own): (usize, &InMemDicomObject)| {
            Frame::of(own, shared, encoding, &labels).map_err(|e| e.at(format!("frame {}", n + 1)))
        };
        let frames = own.iter().enumerate().map(frame).collect::<Result<Vec<_>>>()?;
        let references = items(object, tags::REFERENCED_SERIES_SEQUENCE);
        let mut instances: BTreeSet<String> = BTreeSet::new();
        let of_series = references.iter().flat_map(|series| items(series, tags::REFERENCED_INSTANCE_SEQUENCE));
        let of_frames = own
            .iter()
            .chain(shared)
            .flat_map(|group| items(group, tags::DERIVATION_IMAGE_SEQUENCE))
            .flat_map(|derivation| items(derivation, tags::SOURCE_IMAGE_SEQUENCE));
        instances.extend(of_series.chain(of_frames).filter_map(|one| text(one, tags::REFERENCED_SOP_INSTANCE_UID)));
        Ok(Seg {
            path: path.to_path_buf(),
            series_uids: references.iter().filter_map(|series| text(series, tags::SERIES_INSTANCE_UID)).collect(),
            instance_uids: instances.into_iter().collect(),
            made_by: [tags::MANUFACTURER, tags::MANUFACTURER_MODEL_NAME, tags::SOFTWARE_VERSIONS]
                .iter()
                .filter_map(|&tag| text(object, tag))
                .collect::<Vec<_>>()
                .join(" "),
            parameters: items(object, tags::SEGMENT_SEQUENCE)
                .first()
                .and_then(|segment| items(segment, tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE).first())
                .and_then(|algorithm| text(algorithm, tags::ALGORITHM_PARAMETERS)),
            labels,
            encoding,
            rows: rows as usize,
            columns: columns as usize,
            frames,
        })
    }

    /// The receipt of the segmentation; `None` in other programs' objects and in corrected ones.
    pub fn receipt(&self) -> Result<Option<Receipt>> {
        let Some(text) = &self.parameters else { return Ok(None) };
        let receipt = Receipt::from_text(text, self.series_uids.first().cloned(), self.instance_uids.clone());
        receipt.map_err(|e| e.at(self.path.display()))
    }

    /// "segment 2 (Liver)".
    pub(super) fn segment(&self, number: u8) -> String {
        let name = self.labels.iter().find(|label| label.value == number).map_or("", |label| &label.name);
        format!("segment {number} ({name})")
    }
}

impl Frame {
    fn of(
        own: &InMemDicomObject,
        shared: Option<&InMemDicomObject>,
        encoding: Encoding,
        labels: &[Label],
    ) -> Result<Self> {
        let group = |tag: Tag, name: &str| {
            let found = items(own, tag).first().or_else(|| items(shared?, tag).first());
            found.ok_or_else(|| Error::DicomParse(format!("no {name}, neither its own nor shared")))
        };
        let measures = group(tags::PIXEL_MEASURES_SEQUENCE, "PixelMeasuresSequence (0028,9110)")?;
        let orientation = group(tags::PLANE_ORIENTATION_SEQUENCE, "PlaneOrientationSequence (0020,9116)")?;
        let position = group(tags::PLANE_POSITION_SEQUENCE, "PlanePositionSequence (0020,9113)")?;
        let [rows, columns] = numbers(measures, tags::PIXEL_SPACING, "PixelSpacing")?;
        let [a, b, c, d, e, f] = numbers(orientation, tags::IMAGE_ORIENTATION_PATIENT, "ImageOrientationPatient")?;
        let plane = Plane {
            position: numbers(position, tags::IMAGE_POSITION_PATIENT, "ImagePositionPatient")?,
            right: [a, b, c],
            down: [d, e, f],
            spacing: [columns, rows],
            between: length(measures, tags::SPACING_BETWEEN_SLICES),
            thickness: length(measures, tags::SLICE_THICKNESS),
        };
        if !(rows > 0.0 && columns > 0.0) {
            return Err(Error::DicomGeometry(format!("PixelSpacing is {rows} x {columns} mm, expected more than 0")));
        }
        if matches!(encoding, Encoding::LabelMap { .. }) {
            return Ok(Frame { plane, segment: 0 });
        }
        let identification = group(tags::SEGMENT_IDENTIFICATION_SEQUENCE, "SegmentIdentificationSequence (0062,000A)")?;
        let number = required(identification, tags::REFERENCED_SEGMENT_NUMBER, "ReferencedSegmentNumber")?;
        match labels.iter().find(|label| u32::from(label.value) == number) {
            Some(label) => Ok(Frame { plane, segment: label.value }),
            None => {
                Err(Error::DicomParse(format!("it shows segment {number}, which SegmentSequence does not describe")))
            }
        }
    }
}

fn encoding(object: &InMemDicomObject) -> Result<Encoding> {
    let kind = text(object, tags::SEGMENTATION_TYPE).unwrap_or_default();
    let bits = required(object, tags::BITS_ALLOCATED, "BitsAllocated")?;
    let samples = whole(object, tags::SAMPLES_PER_PIXEL).unwrap_or(1);
    let photometric = text(object, tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
    let encoding = match (kind.as_str(), bits) {
        ("BINARY", 1) => Encoding::Binary,
        ("FRACTIONAL", 8) => {
            let maximum = required(object, tags::MAXIMUM_FRACTIONAL_VALUE, "MaximumFractionalValue")?;
            let probability =
                text(object, tags::SEGMENTATION_FRACTIONAL_TYPE).is_some_and(|kind| kind == "PROBABILITY");
            Encoding::Fractional { maximum: maximum.clamp(1, 255) as u16, probability }
        }
        ("LABELMAP", 8 | 16) => {
            let padding = whole(object, tags::PIXEL_PADDING_VALUE).and_then(|value| u16::try_from(value).ok());
            Encoding::LabelMap { bits: bits as usize, padding }
        }
        ("BINARY" | "FRACTIONAL" | "LABELMAP", _) => {
            return Err(Error::DicomUnsupported(format!("a {kind} segmentation with BitsAllocated {bits}")));
        }
        _ => {
            let text = format!("SegmentationType {kind:?}, expected BINARY, FRACTIONAL or LABELMAP");
            return Err(Error::DicomUnsupported(text));
        }
    };
    let palette = photometric == "PALETTE COLOR" && kind == "LABELMAP";
    if samples != 1 || !(photometric == "MONOCHROME2" || palette) {
        return Err(Error::DicomUnsupported(format!(
            "a {kind} segmentation of {samples} samples per pixel, {photometric:?}, expected 1 and MONOCHROME2"
        )));
    }
    Ok(encoding)
}

fn labels(object: &InMemDicomObject) -> Result<Vec<Label>> {
    let mut labels: Vec<Label> = Vec::new();
    for segment in items(object, tags::SEGMENT_SEQUENCE) {
        let number = required(segment, tags::SEGMENT_NUMBER, "SegmentNumber")?;
        let value = u8::try_from(number)
            .map_err(|_| Error::DicomUnsupported(format!("segment number {number}, expected at most 255")))?;
        // Number 0 describes the background of a label map.
        if value == 0 {
            continue;
        }
        if labels.iter().any(|other| other.value == value) {
            return Err(Error::DicomParse(format!("segment number {value} is there twice")));
        }
        let kind = items(segment, tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE).first();
        let code_of = |tag| items(segment, tag).first().and_then(code);
        let modifier = |item| items(item, tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE).first();
        let lab = segment.get(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE);
        let lab = lab.and_then(|lab| lab.to_multi_int::<u16>().ok()).and_then(|lab| lab.try_into().ok());
        labels.push(Label {
            value,
            name: text(segment, tags::SEGMENT_LABEL).unwrap_or_else(|| format!("Segment {value}")),
            color: lab.map(rgb),
            category: code_of(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE),
            kind: kind.and_then(code),
            modifier: kind.and_then(modifier).and_then(code),
            region: code_of(tags::ANATOMIC_REGION_SEQUENCE),
        });
    }
    if labels.is_empty() {
        return Err(Error::DicomParse("SegmentSequence (0062,0002) describes no segment".into()));
    }
    labels.sort_by_key(|label| label.value);
    Ok(labels)
}
