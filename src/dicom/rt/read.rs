//! Reading an RT Structure Set: its regions, their contours, and what they were drawn on (PS3.3 sections A.19, C.8.8.5,
//! C.8.8.6, C.8.8.8).
//!
//! Contours stay points in the patient until [`Structures::read`] fills them on a grid.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dicom::core::{Tag, VR};
use dicom::dictionary_std::tags;
use dicom::object::InMemDicomObject;
use dicom::object::mem::InMemElement;

use crate::dicom::lookup::{code, items, numbers, required, text, whole};
use crate::dicom::read::file::DicomFile;
use crate::dicom::read::header::Header;
use crate::error::{Error, Result};
use crate::geometry::Vec3;
use crate::labels::Label;

/// Bytes of a data set that is read into memory whole; real ones stay below 100 MiB.
const MOST_BYTES: u64 = 256 << 20;

/// Retired: by how much the contour's points are to be shifted.
const CONTOUR_OFFSET_VECTOR: Tag = Tag(0x3006, 0x0045);

/// A structure set whose regions of interest become labels: a label's value is its region's number, or, where a number is
/// not from 1 to 255, its rank among the labels.
#[derive(Debug)]
pub struct Structures {
    pub path: PathBuf,
    /// Series that it was drawn on.
    pub series_uids: Vec<String>,
    /// SOP instances that it was drawn on.
    pub instance_uids: Vec<String>,
    /// Frames of reference of the points.
    pub frame_of_reference_uids: Vec<String>,
    pub labels: Vec<Label>,
    /// Regions that are no labels, having only points or open contours: "ROI 3 (Isocentre): only POINT".
    pub skipped: Vec<String>,
    /// Of each label.
    pub(in crate::dicom) contours: Vec<Vec<Contour>>,
}

/// A closed line in the patient.
#[derive(Debug)]
pub(in crate::dicom) struct Contour {
    /// Its place in its region's sequence, from 1.
    pub number: usize,
    /// LPS mm.
    pub points: Vec<Vec3>,
    /// Images that it was drawn on, if it names any: SOP instance, and frame of a multi-frame image.
    pub images: Vec<(String, Option<u32>)>,
}

/// What the contours of a region are.
enum Shape {
    Closed(Vec<Contour>),
    /// No areas, but what these geometric types say.
    Open(BTreeSet<String>),
}

impl Structures {
    pub fn open(path: &Path) -> Result<Self> {
        Header::of_object(path, Header::is_structure_set, "an RT Structure Set")?;
        Structures::of(path, &DicomFile::whole(path, MOST_BYTES)?).map_err(|e| e.at(path.display()))
    }

    fn of(path: &Path, object: &InMemDicomObject) -> Result<Self> {
        let regions = regions(object)?;
        let mut drawn: BTreeMap<u32, &InMemDicomObject> = BTreeMap::new();
        for item in items(object, tags::ROI_CONTOUR_SEQUENCE) {
            let number = required(item, tags::REFERENCED_ROI_NUMBER, "ReferencedROINumber")?;
            if !regions.contains_key(&number) {
                let text = format!("contours of ROI {number}, which StructureSetROISequence does not describe");
                return Err(Error::DicomParse(text));
            }
            if drawn.insert(number, item).is_some() {
                return Err(Error::DicomParse(format!("ROIContourSequence (3006,0039) has ROI {number} twice")));
            }
        }
        let mut read = Structures {
            path: path.to_path_buf(),
            series_uids: Vec::new(),
            instance_uids: Vec::new(),
            frame_of_reference_uids: Vec::new(),
            labels: Vec::new(),
            skipped: Vec::new(),
            contours: Vec::new(),
        };
        let fit = regions.keys().all(|number| (1..=255).contains(number));
        let mut frames = BTreeSet::new();
        for (number, region) in regions {
            let name = text(region, tags::ROI_NAME).unwrap_or_else(|| format!("ROI {number}"));
            let place = format!("ROI {number} ({name})");
            let item = drawn.get(&number).copied();
            let contours = match shape(item).map_err(|e| e.at(&place))? {
                Shape::Closed(contours) => contours,
                Shape::Open(types) => {
                    let types: Vec<String> = types.into_iter().collect();
                    read.skipped.push(format!("{place}: only {}", types.join(", ")));
                    continue;
                }
            };
            let value = if fit { number } else { read.labels.len() as u32 + 1 };
            let value = u8::try_from(value)
                .map_err(|_| Error::DicomUnsupported("more than 255 regions, expected at most 255".into()))?;
            frames.extend(text(region, tags::REFERENCED_FRAME_OF_REFERENCE_UID));
            read.labels.push(label(object, value, number, name, item));
            read.contours.push(contours);
        }
        if read.labels.is_empty() {
            let skipped = read.skipped.iter().map(|text| format!("; {text}")).collect::<String>();
            let text = format!("StructureSetROISequence (3006,0020) has no region that could be a label{skipped}");
            return Err(Error::DicomParse(text));
        }
        read.frame_of_reference_uids = frames.into_iter().collect();
        (read.series_uids, read.instance_uids) = references(object);
        Ok(read)
    }

    /// "ROI "Liver"".
    pub(in crate::dicom) fn region(&self, value: u8) -> String {
        let name = self.labels.iter().find(|label| label.value == value).map_or("", |label| &label.name);
        format!("ROI {name:?}")
    }
}

/// Items of StructureSetROISequence by their ROI number.
fn regions(object: &InMemDicomObject) -> Result<BTreeMap<u32, &InMemDicomObject>> {
    let mut regions = BTreeMap::new();
    for item in items(object, tags::STRUCTURE_SET_ROI_SEQUENCE) {
        let number = required(item, tags::ROI_NUMBER, "ROINumber")?;
        if regions.insert(number, item).is_some() {
            return Err(Error::DicomParse(format!("ROI number {number} is there twice")));
        }
    }
    Ok(regions)
}

/// The contours of an item of ROIContourSequence. A region without any is closed and empty.
fn shape(item: Option<&InMemDicomObject>) -> Result<Shape> {
    let (mut closed, mut open) = (Vec::new(), BTreeSet::new());
    let contours = item.map_or(&[][..], |item| items(item, tags::CONTOUR_SEQUENCE));
    for (item, number) in contours.iter().zip(1..) {
        let at = |error: Error| error.at(format!("contour {number}"));
        match text(item, tags::CONTOUR_GEOMETRIC_TYPE).unwrap_or_default().as_str() {
            "CLOSED_PLANAR" | "CLOSEDPLANAR_XOR" => {
                closed.push(Contour { number, points: points(item).map_err(at)?, images: images(item) });
            }
            kind @ ("POINT" | "OPEN_PLANAR" | "OPEN_NONPLANAR") => {
                open.insert(kind.to_owned());
            }
            other => {
                return Err(at(Error::DicomUnsupported(format!(
                    "ContourGeometricType (3006,0042) is {other:?}, expected CLOSED_PLANAR, CLOSEDPLANAR_XOR, POINT, \
                     OPEN_PLANAR or OPEN_NONPLANAR"
                ))));
            }
        }
    }
    match (closed.is_empty(), open.is_empty()) {
        (_, true) => Ok(Shape::Closed(closed)),
        (true, false) => Ok(Shape::Open(open)),
        (false, false) => {
            let open: Vec<String> = open.into_iter().collect();
            Err(Error::DicomUnsupported(format!("closed contours and {} in one region", open.join(", "))))
        }
    }
}

fn images(item: &InMemDicomObject) -> Vec<(String, Option<u32>)> {
    let image =
        |image| Some((text(image, tags::REFERENCED_SOP_INSTANCE_UID)?, whole(image, tags::REFERENCED_FRAME_NUMBER)));
    items(item, tags::CONTOUR_IMAGE_SEQUENCE).iter().filter_map(image).collect()
}

fn points(item: &InMemDicomObject) -> Result<Vec<Vec3>> {
    let shift = item.get(CONTOUR_OFFSET_VECTOR).map(|_| numbers(item, CONTOUR_OFFSET_VECTOR, "ContourOffsetVector"));
    if let Some(shift) = shift.transpose()?
        && shift != [0.0; 3]
    {
        return Err(Error::DicomUnsupported(format!("ContourOffsetVector (3006,0045) is {shift:?}, expected none")));
    }
    let data = item.get(tags::CONTOUR_DATA).and_then(decimals).unwrap_or_default();
    let (points, rest) = data.as_chunks::<3>();
    if !rest.is_empty() || !data.iter().all(|x| x.is_finite()) {
        let count = data.len();
        return Err(Error::DicomParse(format!(
            "ContourData (3006,0050): {count} numbers, expected three for each point"
        )));
    }
    if let Some(said) = whole(item, tags::NUMBER_OF_CONTOUR_POINTS).filter(|&said| said as usize != points.len()) {
        let count = points.len();
        return Err(Error::DicomParse(format!(
            "ContourData (3006,0050) has {count} points, {said} are said to be there"
        )));
    }
    if points.len() < 3 {
        let count = points.len();
        return Err(Error::DicomParse(format!("a closed contour of {count} points, expected at least 3")));
    }
    Ok(points.to_vec())
}

/// Decimal strings, also those that an explicit VR with its 64 KiB has no room for: PS3.5 section 6.2.2 calls them UN.
fn decimals(element: &InMemElement) -> Option<Vec<f64>> {
    if element.vr() != VR::UN {
        return element.to_multi_float64().ok();
    }
    let bytes = element.to_bytes().ok()?;
    let text = std::str::from_utf8(&bytes).ok()?.trim_end_matches([' ', '\0']);
    text.split('\\').map(|number| number.trim().parse().ok()).collect()
}

/// `drawn` is the region's item of ROIContourSequence.
fn label(object: &InMemDicomObject, value: u8, number: u32, name: String, drawn: Option<&InMemDicomObject>) -> Label {
    let color = drawn.and_then(|item| item.get(tags::ROI_DISPLAY_COLOR)?.to_multi_int::<u8>().ok());
    let observed = items(object, tags::RTROI_OBSERVATIONS_SEQUENCE)
        .iter()
        .find(|item| whole(item, tags::REFERENCED_ROI_NUMBER) == Some(number));
    let kind = observed.and_then(|item| items(item, tags::RTROI_IDENTIFICATION_CODE_SEQUENCE).first());
    let modifier = kind.and_then(|kind| items(kind, tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE).first());
    Label {
        name,
        color: color.and_then(|color| color.try_into().ok()),
        kind: kind.and_then(code),
        modifier: modifier.and_then(code),
        ..Label::numbered(value)
    }
}

/// Series and SOP instances that the structure set and its contours refer to.
fn references(object: &InMemDicomObject) -> (Vec<String>, Vec<String>) {
    let series: Vec<&InMemDicomObject> = items(object, tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE)
        .iter()
        .flat_map(|frame| items(frame, tags::RT_REFERENCED_STUDY_SEQUENCE))
        .flat_map(|study| items(study, tags::RT_REFERENCED_SERIES_SEQUENCE))
        .collect();
    let contours =
        items(object, tags::ROI_CONTOUR_SEQUENCE).iter().flat_map(|region| items(region, tags::CONTOUR_SEQUENCE));
    let images = series.iter().copied().chain(contours).flat_map(|item| items(item, tags::CONTOUR_IMAGE_SEQUENCE));
    let instances: BTreeSet<String> =
        images.filter_map(|image| text(image, tags::REFERENCED_SOP_INSTANCE_UID)).collect();
    let series: BTreeSet<String> = series.iter().filter_map(|one| text(one, tags::SERIES_INSTANCE_UID)).collect();
    (series.into_iter().collect(), instances.into_iter().collect())
}
