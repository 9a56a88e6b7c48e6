//! Frames of a DICOM SEG: dimensions, shared and per-frame functional groups (PS3.3 sections C.7.6.16 and C.7.6.17).

use dicom::core::{DataElement, PrimitiveValue, VR};
use dicom::dictionary_std::tags;
use dicom::object::InMemDicomObject;
use dicom::object::mem::InMemElement;

use super::plan::{Frame, Plan};
use crate::dicom::attributes::{copied, decimals, item, long_string, sequence, text, unsigned};
use crate::dicom::codes::{code_sequence, dcm};
use crate::dicom::derived::reference;
use crate::error::Result;

/// Dimensions and shared functional groups.
pub fn elements(plan: &Plan) -> Result<Vec<InMemElement>> {
    let organization = plan.made.uids.make("dimensions")?;
    let dimension = |pointer, group, label| {
        item([
            text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, &organization),
            DataElement::new(tags::DIMENSION_INDEX_POINTER, VR::AT, PrimitiveValue::from(pointer)),
            DataElement::new(tags::FUNCTIONAL_GROUP_POINTER, VR::AT, PrimitiveValue::from(group)),
            long_string(tags::DIMENSION_DESCRIPTION_LABEL, label),
        ])
    };
    let mut dimensions = Vec::new();
    if plan.frames.iter().any(|frame| frame.segment.is_some()) {
        let group = tags::SEGMENT_IDENTIFICATION_SEQUENCE;
        dimensions.push(dimension(tags::REFERENCED_SEGMENT_NUMBER, group, "Referenced Segment Number"));
    }
    let group = tags::PLANE_POSITION_SEQUENCE;
    dimensions.push(dimension(tags::IMAGE_POSITION_PATIENT, group, "Image Position (Patient)"));
    let mut elements = vec![
        sequence(
            tags::DIMENSION_ORGANIZATION_SEQUENCE,
            vec![item([text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, &organization)])],
        ),
        sequence(tags::DIMENSION_INDEX_SEQUENCE, dimensions),
        text(tags::NUMBER_OF_FRAMES, VR::IS, plan.frames.len().to_string()),
        sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared(plan)]),
    ];
    if plan.one_stack() {
        elements.push(text(tags::DIMENSION_ORGANIZATION_TYPE, VR::CS, "3D"));
    }
    Ok(elements)
}

fn shared(plan: &Plan) -> InMemDicomObject {
    let series = plan.made.series;
    let geometry = &series.geometry;
    let [right, down, _] = geometry.direction;
    let distance = geometry.slice_distance();
    // The slices of a mask may be thinner than their distance, as those of its source.
    let thickness = copied(&series.header, tags::SLICE_THICKNESS)
        .and_then(|element| element.to_float64().ok())
        .filter(|thickness| thickness.is_finite() && *thickness > 0.0 && !series.resampled)
        .unwrap_or(distance);
    item([
        sequence(
            tags::PIXEL_MEASURES_SEQUENCE,
            vec![item([
                decimals(tags::SLICE_THICKNESS, &[thickness]),
                decimals(tags::SPACING_BETWEEN_SLICES, &[distance]),
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

/// The functional groups of one frame.
pub fn per_frame(plan: &Plan, frame: &Frame) -> InMemDicomObject {
    let number = frame.segment.map(|segment| segment as u16 + 1); // at most 255 labels
    let indices: Vec<u32> = number.map(u32::from).into_iter().chain([frame.position]).collect();
    let mut groups = item([
        sequence(
            tags::FRAME_CONTENT_SEQUENCE,
            vec![item([DataElement::new(
                tags::DIMENSION_INDEX_VALUES,
                VR::UL,
                PrimitiveValue::U32(indices.into_iter().collect()),
            )])],
        ),
        sequence(
            tags::PLANE_POSITION_SEQUENCE,
            vec![item([decimals(tags::IMAGE_POSITION_PATIENT, &plan.made.position(frame.slice))])],
        ),
    ]);
    groups.put(derivation(plan, frame));
    if let Some(number) = number {
        groups.put(sequence(
            tags::SEGMENT_IDENTIFICATION_SEQUENCE,
            vec![item([unsigned(tags::REFERENCED_SEGMENT_NUMBER, number)])],
        ));
    }
    groups
}

/// CID 7203 and CID 7202: a segmentation of a source image.
fn derivation(plan: &Plan, frame: &Frame) -> InMemElement {
    let source = &plan.made.series.instances[frame.slice];
    let mut image = reference(source);
    if let Some(number) = source.frame {
        image.put(text(tags::REFERENCED_FRAME_NUMBER, VR::IS, number.to_string()));
    }
    let purpose = dcm("121322", "Source image for image processing operation");
    image.put(code_sequence(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &purpose));
    // Whether the same pixel of source and segmentation lies in the same place.
    let preserved = if plan.made.pixels_coincide(frame.slice) { "YES" } else { "NO" };
    image.put(text(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, preserved));
    let how = item([
        sequence(tags::SOURCE_IMAGE_SEQUENCE, vec![image]),
        code_sequence(tags::DERIVATION_CODE_SEQUENCE, &dcm("113076", "Segmentation")),
    ]);
    sequence(tags::DERIVATION_IMAGE_SEQUENCE, vec![how])
}
