//! A made-up CT image (DICOM PS3.3 A.3): the phantom's slices, and those of the benchmarks, which include this file.

use ::dicom::core::{DataElement, PrimitiveValue, Tag, VR, dicom_value};
use ::dicom::dictionary_std::{tags, uids};
use ::dicom::object::{DefaultDicomObject, FileMetaTableBuilder, InMemDicomObject};
use sha2::{Digest, Sha256};
use transunet::geometry::Geometry;
use transunet::{Error, Result};

/// Stored values are HU less this, 12 bits.
pub const INTERCEPT: i16 = -1024;

/// Slice `k` of the series of `seed`, uncompressed.
pub fn image(seed: u64, geometry: &Geometry, k: usize, stored: Vec<u16>) -> Result<DefaultDicomObject> {
    let uid = uid(seed, &format!("image {k}"));
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .media_storage_sop_class_uid(uids::CT_IMAGE_STORAGE)
        .media_storage_sop_instance_uid(&uid);
    let image = attributes(seed, geometry, k, &uid, stored).with_meta(meta);
    image.map_err(|e| Error::Internal(format!("image {k}: {e}")))
}

fn attributes(seed: u64, geometry: &Geometry, k: usize, uid_of_image: &str, stored: Vec<u16>) -> InMemDicomObject {
    let [columns, rows] = [geometry.columns(), geometry.rows()].map(|n| n as u16);
    let position = geometry.position([0.0, 0.0, k as f64]);
    let mut image = InMemDicomObject::new_empty();
    let mut text = |tag: Tag, vr: VR, value: &str| {
        image.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    };
    text(tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE);
    text(tags::SOP_INSTANCE_UID, VR::UI, uid_of_image);
    text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\AXIAL");
    for (tag, vr) in [
        (tags::ACCESSION_NUMBER, VR::SH),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
        (tags::PATIENT_BIRTH_DATE, VR::DA),
        (tags::POSITION_REFERENCE_INDICATOR, VR::LO),
    ] {
        text(tag, vr, "");
    }
    for tag in [tags::STUDY_DATE, tags::SERIES_DATE, tags::ACQUISITION_DATE, tags::CONTENT_DATE] {
        text(tag, VR::DA, "20260101");
    }
    for tag in [tags::STUDY_TIME, tags::SERIES_TIME, tags::ACQUISITION_TIME, tags::CONTENT_TIME] {
        text(tag, VR::TM, "120000");
    }
    text(tags::STUDY_ID, VR::SH, "1");
    text(tags::MODALITY, VR::CS, "CT");
    text(tags::BODY_PART_EXAMINED, VR::CS, "ABDOMEN");
    text(tags::MANUFACTURER, VR::LO, "TransUNet");
    text(tags::MANUFACTURER_MODEL_NAME, VR::LO, "phantom");
    text(tags::DEVICE_SERIAL_NUMBER, VR::LO, "1");
    text(tags::SOFTWARE_VERSIONS, VR::LO, env!("CARGO_PKG_VERSION"));
    text(tags::STUDY_DESCRIPTION, VR::LO, "TransUNet demo");
    text(tags::SERIES_DESCRIPTION, VR::LO, "Synthetic abdomen");
    text(tags::PATIENT_NAME, VR::PN, "Phantom^TransUNet");
    text(tags::PATIENT_ID, VR::LO, &format!("PHANTOM-{seed}"));
    text(tags::PATIENT_SEX, VR::CS, "O");
    text(tags::PATIENT_POSITION, VR::CS, "HFS");
    text(tags::STUDY_INSTANCE_UID, VR::UI, &uid(seed, "study"));
    text(tags::SERIES_INSTANCE_UID, VR::UI, &uid(seed, "series"));
    text(tags::FRAME_OF_REFERENCE_UID, VR::UI, &uid(seed, "frame of reference"));
    text(tags::SERIES_NUMBER, VR::IS, "1");
    text(tags::ACQUISITION_NUMBER, VR::IS, "1");
    text(tags::INSTANCE_NUMBER, VR::IS, &(k + 1).to_string());
    text(tags::KVP, VR::DS, "120");
    text(tags::SLICE_THICKNESS, VR::DS, &geometry.spacing[2].to_string());
    text(tags::PIXEL_SPACING, VR::DS, &decimals(&[geometry.spacing[1], geometry.spacing[0]]));
    text(tags::IMAGE_POSITION_PATIENT, VR::DS, &decimals(&position));
    text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &decimals(geometry.direction[..2].as_flattened()));
    text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    text(tags::RESCALE_INTERCEPT, VR::DS, &INTERCEPT.to_string());
    text(tags::RESCALE_SLOPE, VR::DS, "1");
    text(tags::RESCALE_TYPE, VR::LO, "HU");
    text(tags::WINDOW_CENTER, VR::DS, "40");
    text(tags::WINDOW_WIDTH, VR::DS, "400");
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows),
        (tags::COLUMNS, columns),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 12),
        (tags::HIGH_BIT, 11),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        image.put(DataElement::new(tag, VR::US, dicom_value!(U16, [value])));
    }
    image.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(stored.into())));
    image
}

/// Decimal strings, each at most 16 characters (PS3.5 6.2).
fn decimals(values: &[f64]) -> String {
    values.iter().map(|value| ((value * 1e6).round() / 1e6).to_string()).collect::<Vec<_>>().join("\\")
}

/// A UID from a hash, below the root for UUIDs (PS3.5 B.2).
fn uid(seed: u64, what: &str) -> String {
    let hash = Sha256::digest(format!("transunet phantom {seed} {what}"));
    let number = hash.iter().take(16).fold(0u128, |number, &byte| number << 8 | u128::from(byte));
    format!("2.25.{number}")
}
