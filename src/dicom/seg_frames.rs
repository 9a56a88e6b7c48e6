//! Frames of a DICOM SEG: dimensions, shared and per-frame functional groups (PS3.3 sections C.7.6.16 and C.7.6.17).

use dicom::core::{DataElement, PrimitiveValue, VR};
use dicom::dictionary_std::tags;
use dicom::object::InMemDicomObject;
use dicom::object::mem::InMemElement;

use super::attributes::{copied, decimals, item, long_string, sequence, text, unsigned};
use super::codes::{code_sequence, dcm};
use super::seg::{Frame, Plan};
use super::series::Instance;
use crate::error::Result;

/// Dimensions and functional groups of all frames.
pub fn elements(plan: &Plan) -> Result<Vec<InMemElement>> {
    let organization = plan.uids.make("dimensions")?;
    let dimension = |pointer, group, label| {
        item([
            text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, &organization),
            DataElement::new(tags::DIMENSION_INDEX_POINTER, VR::AT, PrimitiveValue::from(pointer)),
            DataElement::new(tags::FUNCTIONAL_GROUP_POINTER, VR::AT, PrimitiveValue::from(group)),
            long_string(tags::DIMENSION_DESCRIPTION_LABEL, label),
        ])
    };
    let by_segment =
        dimension(tags::REFERENCED_SEGMENT_NUMBER, tags::SEGMENT_IDENTIFICATION_SEQUENCE, "Referenced Segment Number");
    let by_position =
        dimension(tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE, "Image Position (Patient)");
    Ok(vec![
        sequence(
            tags::DIMENSION_ORGANIZATION_SEQUENCE,
            vec![item([text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, &organization)])],
        ),
        sequence(tags::DIMENSION_INDEX_SEQUENCE, vec![by_segment, by_position]),
        text(tags::NUMBER_OF_FRAMES, VR::IS, plan.frames.len().to_string()),
        sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared(plan)]),
        sequence(
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
            plan.frames.iter().map(|frame| per_frame(plan, frame)).collect(),
        ),
    ])
}

fn shared(plan: &Plan) -> InMemDicomObject {
    let geometry = &plan.series.geometry;
    let [right, down, _] = geometry.direction;
    // The slices of a mask may be thinner than their distance, as those of its source.
    let thickness = copied(&plan.series.header, tags::SLICE_THICKNESS)
        .and_then(|element| element.to_float64().ok())
        .filter(|thickness| thickness.is_finite() && *thickness > 0.0)
        .unwrap_or(geometry.slice_distance());
    item([
        sequence(
            tags::PIXEL_MEASURES_SEQUENCE,
            vec![item([
                decimals(tags::SLICE_THICKNESS, &[thickness]),
                decimals(tags::SPACING_BETWEEN_SLICES, &[geometry.slice_distance()]),
                // Distance of rows, then distance of columns (PS3.3 section 10.7.1.3).
                decimals(tags::PIXEL_SPACING, &[geometry.spacing[1], geometry.spacing[0]]),
            ])],
        ),
        sequence(
            tags::PLANE_ORIENTATION_SEQUENCE,
            vec![item([decimals(tags::IMAGE_ORIENTATION_PATIENT, &[right, down].concat())])],
        ),
    ])
}

fn per_frame(plan: &Plan, frame: &Frame) -> InMemDicomObject {
    let source = &plan.series.instances[frame.slice];
    let number = frame.segment as u16 + 1; // at most 255 labels
    item([
        sequence(
            tags::FRAME_CONTENT_SEQUENCE,
            vec![item([DataElement::new(
                tags::DIMENSION_INDEX_VALUES,
                VR::UL,
                PrimitiveValue::from([u32::from(number), frame.position]),
            )])],
        ),
        sequence(tags::PLANE_POSITION_SEQUENCE, vec![item([decimals(tags::IMAGE_POSITION_PATIENT, &source.position)])]),
        sequence(tags::DERIVATION_IMAGE_SEQUENCE, vec![derivation(source)]),
        sequence(
            tags::SEGMENT_IDENTIFICATION_SEQUENCE,
            vec![item([unsigned(tags::REFERENCED_SEGMENT_NUMBER, number)])],
        ),
    ])
}

/// CID 7203 and CID 7202: a segmentation of a source image.
fn derivation(source: &Instance) -> InMemDicomObject {
    let mut image = reference(source);
    image.put(code_sequence(
        tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE,
        &dcm("121322", "Source image for image processing operation"),
    ));
    image.put(text(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES"));
    item([
        sequence(tags::SOURCE_IMAGE_SEQUENCE, vec![image]),
        code_sequence(tags::DERIVATION_CODE_SEQUENCE, &dcm("113076", "Segmentation")),
    ])
}

/// SOP Instance Reference Macro (PS3.3 section 10.8).
pub fn reference(source: &Instance) -> InMemDicomObject {
    item([
        text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, &source.sop_class_uid),
        text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, &source.sop_instance_uid),
    ])
}
