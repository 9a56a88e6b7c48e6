//! The frames of an enhanced multi-frame image as slices (PS3.3 sections C.7.6.16, A.36, A.38, A.56).

use std::collections::BTreeMap;
use std::sync::Arc;

use dicom::core::Tag;
use dicom::dictionary_std::tags;
use dicom::object::InMemDicomObject;

use super::header::Header;
use super::series::data_set;
use super::slice::{Marks, Slice, behind_second};
use super::values::Field;
use crate::dicom::lookup::{items, length, number, numbers, text, whole};
use crate::error::{Error, Result};

/// Every frame of `file`, in the file's order.
pub(super) fn slices(file: &Arc<Header>) -> Result<Vec<Slice>> {
    let object = data_set(file)?;
    let own = items(&object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    if i64::try_from(own.len()) != Ok(file.frames) {
        return Err(Error::DicomParse(format!(
            "{}: {} frames, and PerFrameFunctionalGroupsSequence (5200,9230) describes {}",
            file.path.display(),
            file.frames,
            own.len()
        )));
    }
    let shared = items(&object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
    Ok(own.iter().zip(1..).map(|(own, number)| Groups { own, shared }.slice(file, number)).collect())
}

/// Functional groups of one frame: its own before the shared ones.
struct Groups<'a> {
    own: &'a InMemDicomObject,
    shared: Option<&'a InMemDicomObject>,
}

impl Groups<'_> {
    fn slice(&self, file: &Arc<Header>, number: u32) -> Slice {
        let measures = self.group(tags::PIXEL_MEASURES_SEQUENCE);
        Slice {
            frame: Some(number),
            tile: None,
            position: self.numbers(tags::PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT, "ImagePositionPatient"),
            orientation: self.numbers(
                tags::PLANE_ORIENTATION_SEQUENCE,
                tags::IMAGE_ORIENTATION_PATIENT,
                "ImageOrientationPatient",
            ),
            pixel_spacing: self.numbers(tags::PIXEL_MEASURES_SEQUENCE, tags::PIXEL_SPACING, "PixelSpacing"),
            spacing_between_slices: measures.and_then(|group| length(group, tags::SPACING_BETWEEN_SLICES)),
            thickness: measures.and_then(|group| length(group, tags::SLICE_THICKNESS)),
            format: match self.group(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE) {
                Some(group) => self.rescaled(file, group),
                None => file.format.clone(),
            },
            marks: self.marks(file),
            names: BTreeMap::new(),
            file: file.clone(),
        }
    }

    fn group(&self, tag: Tag) -> Option<&InMemDicomObject> {
        items(self.own, tag).first().or_else(|| items(self.shared?, tag).first())
    }

    fn numbers<const N: usize>(&self, group: Tag, tag: Tag, name: &str) -> Field<[f64; N]> {
        let group =
            self.group(group).ok_or_else(|| format!("no functional group {group}, neither its own nor shared"))?;
        numbers(group, tag, name).map_err(|error| error.to_string())
    }

    fn rescaled(&self, file: &Header, group: &InMemDicomObject) -> Field<super::format::PixelFormat> {
        let value = |tag, name: &str, usual: f64| match group.get(tag) {
            None => Ok(usual),
            Some(_) => number(group, tag).ok_or_else(|| format!("{name} {tag}: expected a number")),
        };
        let slope = value(tags::RESCALE_SLOPE, "RescaleSlope", 1.0)?;
        let intercept = value(tags::RESCALE_INTERCEPT, "RescaleIntercept", 0.0)?;
        file.format.clone()?.rescaled(slope, intercept)
    }

    fn marks(&self, file: &Header) -> Marks {
        let number_in = |group, tag| self.group(group).and_then(|group| number(group, tag));
        let content = self.group(tags::FRAME_CONTENT_SEQUENCE);
        let in_content = |tag| content.and_then(|group| text(group, tag));
        let kinds =
            [tags::MR_IMAGE_FRAME_TYPE_SEQUENCE, tags::CT_IMAGE_FRAME_TYPE_SEQUENCE, tags::PET_FRAME_TYPE_SEQUENCE];
        let kind = kinds.into_iter().find_map(|tag| self.group(tag));
        let complex = kind.and_then(|group| text(group, tags::COMPLEX_IMAGE_COMPONENT));
        let kind = kind.and_then(|group| group.get(tags::FRAME_TYPE)?.to_multi_str().ok().map(|kind| kind.join("\\")));
        let kind = kind.map_or_else(|| file.marks.kind.clone(), |kind| behind_second(&kind));
        let indexed = content.and_then(|group| whole(group, tags::TEMPORAL_POSITION_INDEX)).map(f64::from);
        Marks {
            kind: [Some(kind), complex].into_iter().flatten().collect::<Vec<_>>().join("\\"),
            stack: in_content(tags::STACK_ID).unwrap_or_default(),
            echo_time: number_in(tags::MR_ECHO_SEQUENCE, tags::EFFECTIVE_ECHO_TIME).or(file.marks.echo_time),
            b: number_in(tags::MR_DIFFUSION_SEQUENCE, tags::DIFFUSION_B_VALUE).or(file.marks.b),
            trigger: number_in(tags::CARDIAC_SYNCHRONIZATION_SEQUENCE, tags::NOMINAL_CARDIAC_TRIGGER_DELAY_TIME)
                .or(file.marks.trigger),
            time: indexed
                .or_else(|| number_in(tags::TEMPORAL_POSITION_SEQUENCE, tags::TEMPORAL_POSITION_TIME_OFFSET))
                .or(file.marks.time),
            acquisition: content
                .and_then(|group| whole(group, tags::FRAME_ACQUISITION_NUMBER))
                .map(f64::from)
                .or(file.marks.acquisition),
            acquired: in_content(tags::FRAME_ACQUISITION_DATE_TIME)
                .or_else(|| in_content(tags::FRAME_REFERENCE_DATE_TIME))
                .unwrap_or_else(|| file.marks.acquired.clone()),
        }
    }
}
