//! Makes a long CT series for benchmarks: a body of soft gradients with a scanner's noise in air.

use std::error::Error;
use std::fs;
use std::path::Path;

use dicom::core::{DataElement, PrimitiveValue, Tag, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::encoding::TransferSyntaxIndex as _;
use dicom::object::{FileMetaTableBuilder, InMemDicomObject};
use dicom::pixeldata::Transcode as _;
use dicom::transfer_syntax::TransferSyntaxRegistry;
use rayon::prelude::*;
use transunet::random;

/// Rows and columns of a slice.
pub const SIDE: usize = 512;
const ROOT: &str = "1.2.826.0.1.3680043.10.3";

/// `folder/0000.dcm` and so on, in this transfer syntax.
pub fn make(folder: &Path, slices: usize, syntax: &str) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let made: Result<Vec<()>, String> =
        (0..slices).into_par_iter().map(|k| slice(folder, k, syntax).map_err(|error| error.to_string())).collect();
    made?;
    Ok(())
}

fn slice(folder: &Path, k: usize, syntax: &str) -> Result<(), Box<dyn Error>> {
    let uid = format!("{ROOT}.{}", k + 10);
    let mut image = InMemDicomObject::new_empty();
    let mut text = |tag: Tag, vr: VR, value: &str| {
        image.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    };
    text(tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE);
    text(tags::SOP_INSTANCE_UID, VR::UI, &uid);
    text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\AXIAL");
    text(tags::STUDY_DATE, VR::DA, "20260101");
    text(tags::STUDY_TIME, VR::TM, "120000");
    text(tags::ACCESSION_NUMBER, VR::SH, "");
    text(tags::MODALITY, VR::CS, "CT");
    text(tags::MANUFACTURER, VR::LO, "Generator");
    text(tags::REFERRING_PHYSICIAN_NAME, VR::PN, "");
    text(tags::PATIENT_NAME, VR::PN, "Long^Series");
    text(tags::PATIENT_ID, VR::LO, "L1");
    text(tags::PATIENT_BIRTH_DATE, VR::DA, "");
    text(tags::PATIENT_SEX, VR::CS, "O");
    text(tags::STUDY_INSTANCE_UID, VR::UI, &format!("{ROOT}.1"));
    text(tags::SERIES_INSTANCE_UID, VR::UI, &format!("{ROOT}.2"));
    text(tags::FRAME_OF_REFERENCE_UID, VR::UI, &format!("{ROOT}.3"));
    text(tags::STUDY_ID, VR::SH, "1");
    text(tags::SERIES_NUMBER, VR::IS, "1");
    text(tags::INSTANCE_NUMBER, VR::IS, &(k + 1).to_string());
    text(tags::SLICE_THICKNESS, VR::DS, "0.5");
    text(tags::PIXEL_SPACING, VR::DS, "0.75\\0.75");
    text(tags::IMAGE_POSITION_PATIENT, VR::DS, &format!("-192\\-192\\{}", k as f64 * 0.5));
    text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0");
    text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    text(tags::RESCALE_INTERCEPT, VR::DS, "-1024");
    text(tags::RESCALE_SLOPE, VR::DS, "1");
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, SIDE as u16),
        (tags::COLUMNS, SIDE as u16),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 12),
        (tags::HIGH_BIT, 11),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        image.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    let mut noise = random::stream(k as u64, "noise", &[]);
    let words = (0..SIDE * SIDE).map(|at| {
        let (x, y) = ((at % SIDE) as f64 - 256.0, (at / SIDE) as f64 - 256.0);
        let inside = (x / 200.0).powi(2) + (y / 140.0).powi(2) < 1.0;
        let tissue = if inside { 1060.0 + 40.0 * (x / 37.0).sin() * (y / 53.0 + k as f64 / 71.0).cos() } else { 20.0 };
        (tissue + noise.between(-12.0, 12.0)) as u16
    });
    image.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.collect())));
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .media_storage_sop_class_uid(uids::CT_IMAGE_STORAGE)
        .media_storage_sop_instance_uid(&uid);
    let mut file = image.with_meta(meta)?;
    if syntax != uids::EXPLICIT_VR_LITTLE_ENDIAN {
        file.transcode(TransferSyntaxRegistry.get(syntax).ok_or("an unknown transfer syntax")?)?;
    }
    file.write_to_file(folder.join(format!("{k:04}.dcm")))?;
    Ok(())
}
