//! The data set of a DICOM SEG before its frames: patient and study as in the source, then what was made, with what.

use dicom::core::{DataElement, PrimitiveValue, Tag, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::object::InMemDicomObject;
use dicom::object::mem::InMemElement;
use sha2::{Digest, Sha256};

use super::frames;
use super::plan::{Plan, Values};
use crate::dicom::attributes::{
    LONG_STRING, SHORT_TEXT, copied, copied_or_empty, empty, item, long_string, one_line, sequence, text, unsigned,
};
use crate::dicom::codes::{cielab, code_item, code_sequence, dcm};
use crate::dicom::uid::derived;
use crate::error::Result;
use crate::labels::Label;

const MANUFACTURER: &str = "TransUNet";
const NOTICE: &str = "Research use only, not for clinical use.";

/// The whole data set but the functional groups of each frame and the pixels.
pub fn object(plan: &Plan) -> Result<InMemDicomObject> {
    let mut elements = patient_and_study(plan);
    elements.extend(series(plan)?);
    elements.extend(equipment(plan));
    elements.extend(instance(plan)?);
    elements.extend(segmentation(plan)?);
    elements.extend(frames::elements(plan)?);
    Ok(item(elements))
}

/// Optional attributes that describe the patient and the study (PS3.3 sections C.7.1.1, C.7.1.4, C.7.2.1, C.7.2.2).
/// Whatever a de-identified source says or leaves out stays so.
const PATIENT_AND_STUDY: [Tag; 30] = [
    tags::ISSUER_OF_PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE,
    tags::OTHER_PATIENT_I_DS_SEQUENCE,
    tags::OTHER_PATIENT_NAMES,
    tags::PATIENT_BIRTH_TIME,
    tags::QUALITY_CONTROL_SUBJECT,
    tags::PATIENT_COMMENTS,
    tags::PATIENT_SPECIES_DESCRIPTION,
    tags::PATIENT_SPECIES_CODE_SEQUENCE,
    tags::PATIENT_BREED_DESCRIPTION,
    tags::PATIENT_BREED_CODE_SEQUENCE,
    tags::BREED_REGISTRATION_SEQUENCE,
    tags::RESPONSIBLE_PERSON,
    tags::RESPONSIBLE_PERSON_ROLE,
    tags::RESPONSIBLE_ORGANIZATION,
    tags::ADMITTING_DIAGNOSES_DESCRIPTION,
    tags::PATIENT_AGE,
    tags::PATIENT_SIZE,
    tags::PATIENT_WEIGHT,
    tags::PATIENT_SEX_NEUTERED,
    tags::STUDY_DESCRIPTION,
    tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
    tags::PHYSICIANS_OF_RECORD,
    tags::NAME_OF_PHYSICIANS_READING_STUDY,
    tags::CONSULTING_PHYSICIAN_NAME,
    tags::REFERRING_PHYSICIAN_IDENTIFICATION_SEQUENCE,
    tags::PROCEDURE_CODE_SEQUENCE,
    tags::REASON_FOR_PERFORMED_PROCEDURE_CODE_SEQUENCE,
    tags::REFERENCED_STUDY_SEQUENCE,
    tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED,
];

fn patient_and_study(plan: &Plan) -> Vec<InMemElement> {
    let header = &plan.series.header;
    let mut elements: Vec<InMemElement> = [
        (tags::PATIENT_NAME, VR::PN),
        (tags::PATIENT_ID, VR::LO),
        (tags::PATIENT_BIRTH_DATE, VR::DA),
        (tags::PATIENT_SEX, VR::CS),
        (tags::STUDY_DATE, VR::DA),
        (tags::STUDY_TIME, VR::TM),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
        (tags::STUDY_ID, VR::SH),
        (tags::ACCESSION_NUMBER, VR::SH),
    ]
    .map(|(tag, vr)| copied_or_empty(header, tag, vr))
    .into();
    elements.push(text(tags::STUDY_INSTANCE_UID, VR::UI, &plan.series.study_uid));
    elements.extend(PATIENT_AND_STUDY.iter().filter_map(|&tag| copied(header, tag)));
    // Group 0012 is the clinical trial and the de-identification; what it says of the source series is not ours. An
    // attribute without value is kept: some are required and may be empty.
    let of_series = [
        tags::CLINICAL_TRIAL_SERIES_ID,
        tags::CLINICAL_TRIAL_SERIES_DESCRIPTION,
        tags::ISSUER_OF_CLINICAL_TRIAL_SERIES_ID,
    ];
    for element in header.iter() {
        let tag = element.header().tag;
        if tag.group() == 0x0012 && tag.element() != 0 && !of_series.contains(&tag) {
            elements.push(copied_or_empty(header, tag, element.header().vr));
        }
    }
    elements
}

/// Series, frame of reference and the references to all source images (PS3.3 sections C.7.3.1, C.7.4.1, C.12.2).
fn series(plan: &Plan) -> Result<Vec<InMemElement>> {
    let source = plan.series;
    let number = plan.options.series_number.unwrap_or_else(|| {
        let number = copied(&source.header, tags::SERIES_NUMBER).and_then(|element| element.to_int::<i32>().ok());
        number.filter(|n| (1..10_000_000).contains(n)).map_or(1001, |n| n * 100 + 1)
    });
    // An image without a frame of reference gets one of its own, the same for all results of its series.
    let frame_of_reference = match source.frame_of_reference_uid.as_str() {
        "" => derived(&format!("frame of reference of {}", source.series_uid)),
        uid => uid.to_string(),
    };
    let references = frames::distinct(&source.instances).map(frames::instance).collect();
    Ok(vec![
        text(tags::MODALITY, VR::CS, "SEG"),
        text(tags::SERIES_INSTANCE_UID, VR::UI, plan.uids.make("series")?),
        text(tags::SERIES_NUMBER, VR::IS, number.to_string()),
        text(tags::SERIES_DATE, VR::DA, date(plan)),
        text(tags::SERIES_TIME, VR::TM, time(plan)),
        long_string(tags::SERIES_DESCRIPTION, &plan.options.series_description),
        text(tags::FRAME_OF_REFERENCE_UID, VR::UI, frame_of_reference),
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

/// This library, and the scanner and this library as contributors (PS3.3 sections C.7.5.1, C.7.5.2, C.12.1).
fn equipment(plan: &Plan) -> Vec<InMemElement> {
    let algorithm = plan.algorithm;
    let model = algorithm_name(plan);
    // Software has no serial number: results with the same one came from the same model and version.
    let digest = Sha256::new().chain_update(&algorithm.name).chain_update("\n").chain_update(&algorithm.version);
    let serial: String = digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let ours = vec![
        long_string(tags::MANUFACTURER, MANUFACTURER),
        long_string(tags::MANUFACTURER_MODEL_NAME, model),
        long_string(tags::DEVICE_SERIAL_NUMBER, &serial),
        long_string(tags::SOFTWARE_VERSIONS, version(plan)),
    ];
    let mut processing = item(ours.iter().cloned());
    processing.put(code_sequence(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &dcm("109102", "Processing Equipment")));
    processing.put(text(tags::CONTRIBUTION_DATE_TIME, VR::DT, format!("{}{}", date(plan), time(plan))));
    processing.put(text(tags::CONTRIBUTION_DESCRIPTION, VR::ST, format!("Automatic segmentation. {NOTICE}")));
    let contributors = scanner(&plan.series.header).into_iter().chain([processing]).collect();
    let mut elements = ours;
    elements.push(sequence(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, contributors));
    elements
}

/// The machine that made the source images, where they name it.
fn scanner(header: &InMemDicomObject) -> Option<InMemDicomObject> {
    let manufacturer = copied(header, tags::MANUFACTURER)?;
    let optional = [
        tags::MANUFACTURER_MODEL_NAME,
        tags::DEVICE_SERIAL_NUMBER,
        tags::SOFTWARE_VERSIONS,
        tags::INSTITUTION_NAME,
        tags::STATION_NAME,
    ];
    let mut scanner = item(optional.into_iter().filter_map(|tag| copied(header, tag)));
    scanner.put(manufacturer);
    scanner.put(code_sequence(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &dcm("109101", "Acquisition Equipment")));
    Some(scanner)
}

/// SOP Common, General Image and Image Pixel modules (PS3.3 sections C.12.1, C.7.6.1, C.8.20.2).
fn instance(plan: &Plan) -> Result<Vec<InMemElement>> {
    let header = &plan.series.header;
    let geometry = &plan.series.geometry;
    let sop_class = match plan.values {
        Values::Numbers => uids::LABEL_MAP_SEGMENTATION_STORAGE,
        _ => uids::SEGMENTATION_STORAGE,
    };
    let bits = plan.values.bits();
    let mut elements = vec![
        text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
        text(tags::SOP_CLASS_UID, VR::UI, sop_class),
        text(tags::SOP_INSTANCE_UID, VR::UI, plan.uids.make("instance")?),
        text(tags::INSTANCE_NUMBER, VR::IS, "1"),
        text(tags::INSTANCE_CREATION_DATE, VR::DA, date(plan)),
        text(tags::INSTANCE_CREATION_TIME, VR::TM, time(plan)),
        text(tags::CONTENT_DATE, VR::DA, date(plan)),
        text(tags::CONTENT_TIME, VR::TM, time(plan)),
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
        long_string(tags::SEGMENT_ALGORITHM_NAME, algorithm_name(plan)),
        sequence(tags::SEGMENTATION_ALGORITHM_IDENTIFICATION_SEQUENCE, vec![algorithm(plan)]),
        code_sequence(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, &label.category_code()),
        sequence(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, vec![kind]),
        DataElement::new(tags::RECOMMENDED_DISPLAY_CIE_LAB_VALUE, VR::US, PrimitiveValue::from(cielab(label.rgb()))),
        text(tags::TRACKING_ID, VR::UT, format!("{name} (label {})", label.value)),
        text(tags::TRACKING_UID, VR::UI, plan.uids.make(&format!("tracking {}", label.value))?),
    ]);
    if let Some(region) = &label.region {
        segment.put(code_sequence(tags::ANATOMIC_REGION_SEQUENCE, region));
    }
    Ok(segment)
}

/// Algorithm Identification Macro (PS3.3 section 10.16); family of CID 7162.
fn algorithm(plan: &Plan) -> InMemDicomObject {
    item([
        code_sequence(tags::ALGORITHM_FAMILY_CODE_SEQUENCE, &dcm("123110", "Artificial Intelligence")),
        long_string(tags::ALGORITHM_NAME, algorithm_name(plan)),
        long_string(tags::ALGORITHM_VERSION, version(plan)),
        long_string(tags::ALGORITHM_SOURCE, MANUFACTURER),
    ])
}

fn algorithm_name<'a>(plan: &'a Plan) -> &'a str {
    match plan.algorithm.name.trim() {
        "" => MANUFACTURER,
        name => name,
    }
}

fn version<'a>(plan: &'a Plan) -> &'a str {
    match plan.algorithm.version.trim() {
        "" => env!("CARGO_PKG_VERSION"),
        version => version,
    }
}

fn date(plan: &Plan) -> String {
    plan.created.format("%Y%m%d").to_string()
}

fn time(plan: &Plan) -> String {
    plan.created.format("%H%M%S").to_string()
}
