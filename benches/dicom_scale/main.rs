//! Our side of `compare.py`: makes a long series, reads its headers, decodes it, writes a DICOM SEG. Each call is one process.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dicom::core::{DataElement, PrimitiveValue, Tag, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::encoding::TransferSyntaxIndex as _;
use dicom::object::{FileMetaTableBuilder, InMemDicomObject};
use dicom::pixeldata::Transcode as _;
use dicom::transfer_syntax::TransferSyntaxRegistry;
use rayon::prelude::*;
use serde_json::{Value, json};
use transunet::control::Control;
use transunet::dicom::{SegOptions, Series, SeriesOptions, scan, write_seg};
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::Label;
use transunet::random;
use transunet::volume::Volume;

const SIDE: usize = 512;
const LABELS: usize = 8;
const ROOT: &str = "1.2.826.0.1.3680043.10.3";

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let began = Instant::now();
    let mut answer = match words[..] {
        ["make", folder, slices, syntax] => make(Path::new(folder), slices.parse()?, syntax)?,
        ["metadata", folder] => metadata(Path::new(folder))?,
        ["decode", folder] => decode(Path::new(folder))?,
        ["write", folder, out] => write(Path::new(folder), Path::new(out))?,
        _ => {
            println!("benches/dicom_scale/run measures long series against pydicom and highdicom");
            return Ok(());
        }
    };
    answer["seconds"] = json!(began.elapsed().as_secs_f64());
    println!("{answer}");
    Ok(())
}

fn open(folder: &Path) -> transunet::Result<Series> {
    let scan = scan(&[folder.join("series")], &mut Control::none())?;
    Series::from_summary(&scan.series[0], &SeriesOptions::default())
}

fn metadata(folder: &Path) -> Result<Value, Box<dyn Error>> {
    let series = open(folder)?;
    let last = series.instances.last().map(|instance| instance.position);
    Ok(json!({ "check": [series.instances.len(), series.geometry.spacing[2], series.instances[0].position, last] }))
}

fn decode(folder: &Path) -> Result<Value, Box<dyn Error>> {
    let volume = Volume::from_series(Arc::new(open(folder)?));
    let mut sum = 0.0;
    volume.for_each_slice(|_, slice| {
        sum += slice.iter().map(|&value| f64::from(value)).sum::<f64>();
        Ok(())
    })?;
    Ok(json!({ "check": sum }))
}

fn write(folder: &Path, out: &Path) -> Result<Value, Box<dyn Error>> {
    let volume = Arc::new(Volume::from_series(Arc::new(open(folder)?)));
    let labels = (1..=LABELS as u8).map(Label::numbered).collect();
    let algorithm = Algorithm { name: "benchmark".into(), version: "1".into() };
    let labelmap = Labelmap::new(volume, fs::read(folder.join("labels.raw"))?, labels, algorithm)?;
    write_seg(&labelmap, out, &SegOptions::default(), &mut Control::none())?;
    Ok(json!({}))
}

/// `series/0000.dcm` and so on: a body of soft gradients with a scanner's noise in air; `labels.raw`: eight balls.
fn make(folder: &Path, slices: usize, syntax: &str) -> Result<Value, Box<dyn Error>> {
    fs::create_dir_all(folder.join("series"))?;
    let made: Result<Vec<()>, String> =
        (0..slices).into_par_iter().map(|k| slice(folder, k, syntax).map_err(|error| error.to_string())).collect();
    made?;
    let balls: Vec<[f64; 4]> = (0..LABELS)
        .map(|n| {
            let angle = n as f64 * 0.785;
            let depth = (n as f64 + 0.5) / LABELS as f64;
            [256.0 + 120.0 * angle.cos(), 256.0 + 120.0 * angle.sin(), depth * slices as f64, 45.0]
        })
        .collect();
    let mut labels = vec![0u8; slices * SIDE * SIDE];
    labels.par_chunks_exact_mut(SIDE * SIDE).enumerate().for_each(|(k, slice)| {
        for (label, [x, y, z, radius]) in (1..).zip(&balls) {
            // Stretched along the patient: a ball of each label lies in three tenths of the slices.
            let depth = (k as f64 - z) * radius / (0.15 * slices as f64);
            for (at, voxel) in slice.iter_mut().enumerate() {
                let (i, j) = ((at % SIDE) as f64, (at / SIDE) as f64);
                if (i - x).powi(2) + (j - y).powi(2) + depth.powi(2) < radius.powi(2) {
                    *voxel = label;
                }
            }
        }
    });
    fs::write(folder.join("labels.raw"), labels)?;
    Ok(json!({}))
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
    file.write_to_file(folder.join(format!("series/{k:04}.dcm")))?;
    Ok(())
}
