//! The data set of a DICOM SEG before its frames: patient and study as in the source, then what was made, with what.

use dicom::core::{DataElement, PrimitiveValue, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::object::InMemDicomObject;
use dicom::object::mem::InMemElement;

use super::frames;
use super::plan::{Plan, Values};
use crate::dicom::attributes::{
    LONG_STRING, SHORT_TEXT, copied, copied_or_empty, empty, item, long_string, one_line, sequence, text, unsigned,
};
use crate::dicom::codes::{cielab, code_item, code_sequence, dcm};
use crate::dicom::derived::{MANUFACTURER, NOTICE, distinct, reference};
use crate::error::Result;
use crate::labels::Label;

/// The whole data set but the functional groups of each frame and the pixels.
pub fn object(plan: &Plan) -> Result<InMemDicomObject> {
    let mut elements = plan.made.patient_and_study();
    elements.extend(series(plan)?);
    elements.extend(plan.made.equipment());
    elements.extend(instance(plan)?);
    elements.extend(segmentation(plan)?);
    elements.extend(frames::elements(plan)?);
    Ok(item(elements))
}

/// Series, frame of reference and the references to all source images (PS3.3 sections C.7.3.1, C.7.4.1, C.12.2).
fn series(plan: &Plan) -> Result<Vec<InMemElement>> {
    let source = plan.made.series;
    let references = distinct(&source.instances).map(reference).collect();
    Ok(vec![
        text(tags::MODALITY, VR::CS, "SEG"),
        text(tags::SERIES_INSTANCE_UID, VR::UI, plan.made.uids.make("series")?),
        text(tags::SERIES_NUMBER, VR::IS, plan.made.series_number(plan.options.series_number, 1)),
        text(tags::SERIES_DATE, VR::DA, plan.made.date()),
        text(tags::SERIES_TIME, VR::TM, plan.made.time()),
        long_string(tags::SERIES_DESCRIPTION, &plan.options.series_description),
        text(tags::FRAME_OF_REFERENCE_UID, VR::UI, plan.made.frame_of_reference()),
        copied_or_empty(&source.header, tags::POSITION_REFERENCE_INDICATOR, VR::LO),
        sequence(
            tags::REFERENCED_SERIES_SEQUENCE,
            vec![item([
                text(tags::SERIES_INSTANCE_UID, VR::UI, &source.series_uid),
                sequence(tags::REFERENCED_INSTANCE_SEQUENCE, references),
            ])],
        ),
    ])
}

/// SOP Common, General Image and Image Pixel modules (PS3.3 sections C.12.1, C.7.6.1, C.8.20.2).
fn instance(plan: &Plan) -> Result<Vec<InMemElement>> {
    let header = &plan.made.series.header;
    let geometry = &plan.made.series.geometry;
    let sop_class = match plan.values {
        Values::Numbers => uids::LABEL_MAP_SEGMENTATION_STORAGE,
        _ => uids::SEGMENTATION_STORAGE,
    };
    let bits = plan.values.bits();
    let mut elements = vec![
        text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
        text(tags::SOP_CLASS_UID, VR::UI, sop_class),
        text(tags::SOP_INSTANCE_UID, VR::UI, plan.made.uids.make("instance")?),
        text(tags::INSTANCE_NUMBER, VR::IS, "1"),
        text(tags::INSTANCE_CREATION_DATE, VR::DA, plan.made.date()),
        text(tags::INSTANCE_CREATION_TIME, VR::TM, plan.made.time()),
        text(tags::CONTENT_DATE, VR::DA, plan.made.date()),
        text(tags::CONTENT_TIME, VR::TM, plan.made.time()),
        text(tags::CONTENT_QUALIFICATION, VR::CS, "RESEARCH"),
        text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY"),
        unsigned(tags::SAMPLES_PER_PIXEL, 1),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        unsigned(tags::ROWS, geometry.rows() as u16),
        unsigned(tags::COLUMNS, geometry.columns() as u16),
        unsigned(tags::BITS_ALLOCATED, bits),
        unsigned(tags::BITS_STORED, bits),
        unsigned(tags::HIGH_BIT, bits - 1),
        unsigned(tags::PIXEL_REPRESENTATION, 0),
    ];
    // Masks carry no text, but those of an image that does could follow it. Nothing is said of recognizable features:
    // the mask of a head shows a face.
    let says = |tag, value: &str| {
        copied(header, tag).and_then(|element| Some(element.to_str().ok()?.trim() == value)).unwrap_or(false)
    };
    if !says(tags::BURNED_IN_ANNOTATION, "YES") {
        elements.push(text(tags::BURNED_IN_ANNOTATION, VR::CS, "NO"));
    }
    // Once lossy, always lossy (PS3.3 section C.7.6.1.1.5).
    if says(tags::LOSSY_IMAGE_COMPRESSION, "01") {
        elements.push(text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "01"));
        let how = [tags::LOSSY_IMAGE_COMPRESSION_RATIO, tags::LOSSY_IMAGE_COMPRESSION_METHOD];
        elements.extend(how.into_iter().filter_map(|tag| copied(header, tag)));
    } else {
        elements.push(text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00"));
    }
    Ok(elements)
}

/// Segmentation Image module (PS3.3 section C.8.20.2).
fn segmentation(plan: &Plan) -> Result<Vec<InMemElement>> {
    let options = plan.options;
    let creator = one_line(&options.content_creator, LONG_STRING);
    let segments: Result<Vec<_>> =
        plan.segments.iter().zip(1..).map(|(label, number)| segment(plan, label, number)).collect();
    let (kind, overlap, more) = match plan.values {
        Values::Mask => ("BINARY", "NO", vec![]),
        Values::Occupancy => ("FRACTIONAL", "NO", fractional("OCCUPANCY")),
        // Several segments may be likely in one place.
        Values::Probability(_) => ("FRACTIONAL", "UNDEFINED", fractional("PROBABILITY")),
        // The value of the background, which is no segment.
        Values::Numbers => ("LABELMAP", "NO", vec![unsigned(tags::PIXEL_PADDING_VALUE, 0)]),
    };
    let mut elements = vec![
        text(tags::SEGMENTATION_TYPE, VR::CS, kind),
        text(tags::SEGMENTS_OVERLAP, VR::CS, overlap),
        text(tags::CONTENT_LABEL, VR::CS, options.content_label.trim()),
        long_string(tags::CONTENT_DESCRIPTION, &options.content_description),
        if creator.is_empty() {
            empty(tags::CONTENT_CREATOR_NAME, VR::PN)
        } else {
            text(tags::CONTENT_CREATOR_NAME, VR::PN, creator)
        },
        sequence(tags::SEGMENT_SEQUENCE, segments?),
    ];
    elements.extend(more);
    Ok(elements)
}

fn fractional(kind: &str) -> Vec<InMemElement> {
    vec![
        text(tags::SEGMENTATION_FRACTIONAL_TYPE, VR::CS, kind),
        unsigned(tags::MAXIMUM_FRACTIONAL_VALUE, u8::MAX.into()),
    ]
}

fn segment(plan: &Plan, label: &Label, number: u16) -> Result<InMemDicomObject> {
    let name = match one_line(&label.name, LONG_STRING) {
        name if name.is_empty() => format!("Label {}", label.value),
        name => name,
    };
    let mut kind = code_item(&label.type_code());
    if let Some(modifier) = &label.modifier {
        kind.put(code_sequence(tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE, modifier));
    }
    let description = format!("Label value {}: {}. {NOTICE}", label.value, one_line(&label.name, SHORT_TEXT / 2));
    let mut segment = item([
        unsigned(tags::SEGMENT_NUMBER, number),
        long_string(tags::SEGMENT_LABEL, &name),
        text(tags::SEGMENT_DESCRIPTION, VR::ST, description),
        text(tags::SEGMENT_ALGORITHM_TYPE, VR::CS, "AUTOMATIC"),
        long_string(tags::SEGMENT_ALGORITHM_NAME, plan.made.algorithm_name()),
        sequence(tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE, vec![algorithm(plan)]),
        code_sequence(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, &label.category_code()),
        sequence(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, vec![kind]),
        DataElement::new(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, VR::US, PrimitiveValue::from(cielab(label.rgb()))),
        text(tags::TRACKING_ID, VR::UT, format!("{name} (label {})", label.value)),
        text(tags::TRACKING_UID, VR::UI, plan.made.uids.make(&format!("tracking {}", label.value))?),
    ]);
    if let Some(region) = &label.region {
        segment.put(code_sequence(tags::ANATOMIC_REGION_SEQUENCE, region));
    }
    Ok(segment)
}

/// Algorithm Identification Macro (PS3.3 section 10.16); family of CID 7162.
fn algorithm(plan: &Plan) -> InMemDicomObject {
    let mut algorithm = item([
        code_sequence(tags::ALGORITHM_FAMILY_CODE_SEQUENCE, &dcm("123110", "Artificial Intelligence")),
        long_string(tags::ALGORITHM_NAME, plan.made.algorithm_name()),
        long_string(tags::ALGORITHM_VERSION, plan.made.version()),
        long_string(tags::ALGORITHM_SOURCE, MANUFACTURER),
    ]);
    if let Some(receipt) = plan.made.receipt {
        algorithm.put(text(tags::ALGORITHM_PARAMETERS, VR::LT, receipt.to_text()));
    }
    algorithm
}
