//! A small DICOM series made by the test itself: known voxels on a known grid, with any fault written into it.
#![allow(dead_code)] // each test binary uses its own part

use std::path::{Path, PathBuf};

use dicom::core::{DataElement, PrimitiveValue, Tag, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::object::{FileMetaTableBuilder, InMemDicomObject};

pub const SERIES_UID: &str = "1.2.826.0.1.3680043.10.1.2";

/// How the series looks; `Phantom::default()` is a plain signed CT.
#[derive(Debug, Clone)]
pub struct Phantom {
    /// Columns, rows, slices.
    pub size: [usize; 3],
    /// Distance of voxel centres along columns, rows, slices.
    pub spacing: [f64; 3],
    pub origin: [f64; 3],
    /// Directions of increasing column and row index.
    pub row: [f64; 3],
    pub column: [f64; 3],
    pub allocated: u16,
    pub stored: u16,
    pub signed: bool,
    pub slope: f64,
    pub intercept: f64,
    pub series_uid: String,
    pub transfer_syntax: &'static str,
}

impl Default for Phantom {
    fn default() -> Self {
        Phantom {
            size: [7, 5, 4],
            spacing: [0.75, 1.5, 2.5],
            origin: [-20.5, 31.25, -100.0],
            row: [1.0, 0.0, 0.0],
            column: [0.0, 1.0, 0.0],
            allocated: 16,
            stored: 12,
            signed: true,
            slope: 1.0,
            intercept: -24.0,
            series_uid: SERIES_UID.into(),
            transfer_syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN,
        }
    }
}

impl Phantom {
    /// Stored value of voxel (i, j, k): different everywhere nearby, spread over all stored bits.
    pub fn stored_value(&self, i: usize, j: usize, k: usize) -> i64 {
        let span = 1i64 << self.stored;
        let value = (i * 193 + j * 1571 + k * 4099 + 11) as i64 * 7 % span;
        if self.signed { value - span / 2 } else { value }
    }

    pub fn normal(&self) -> [f64; 3] {
        let ([a, b, c], [d, e, f]) = (self.row, self.column);
        [b * f - c * e, c * d - a * f, a * e - b * d]
    }

    /// Patient position of a voxel, LPS mm.
    pub fn position(&self, index: [f64; 3]) -> [f64; 3] {
        let axes = [self.row, self.column, self.normal()];
        std::array::from_fn(|x| {
            self.origin[x] + (0..3).map(|axis| index[axis] * self.spacing[axis] * axes[axis][x]).sum::<f64>()
        })
    }

    /// Slice `k` with everything that an image needs.
    pub fn slice(&self, k: usize) -> InMemDicomObject {
        let [columns, rows, _] = self.size;
        let mut slice = InMemDicomObject::new_empty();
        let position = self.position([0.0, 0.0, k as f64]);
        let texts = [
            (tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE.to_string()),
            (tags::SOP_INSTANCE_UID, VR::UI, format!("{}.{}", self.series_uid, k + 1)),
            (tags::STUDY_DATE, VR::DA, "20260102".into()),
            (tags::STUDY_TIME, VR::TM, "101500".into()),
            (tags::ACCESSION_NUMBER, VR::SH, String::new()),
            (tags::MODALITY, VR::CS, "CT".into()),
            (tags::MANUFACTURER, VR::LO, "Phantom".into()),
            (tags::REFERRING_PHYSICIAN_NAME, VR::PN, String::new()),
            (tags::SERIES_DESCRIPTION, VR::LO, "phantom".into()),
            (tags::PATIENT_NAME, VR::PN, "Phantom^Test".into()),
            (tags::PATIENT_ID, VR::LO, "P1".into()),
            (tags::PATIENT_BIRTH_DATE, VR::DA, String::new()),
            (tags::PATIENT_SEX, VR::CS, "O".into()),
            (tags::SLICE_THICKNESS, VR::DS, "2".into()),
            (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.826.0.1.3680043.10.1".into()),
            (tags::SERIES_INSTANCE_UID, VR::UI, self.series_uid.clone()),
            (tags::STUDY_ID, VR::SH, "1".into()),
            (tags::SERIES_NUMBER, VR::IS, "3".into()),
            (tags::INSTANCE_NUMBER, VR::IS, (k + 1).to_string()),
            (tags::IMAGE_POSITION_PATIENT, VR::DS, decimals(&position)),
            (tags::IMAGE_ORIENTATION_PATIENT, VR::DS, decimals(&[self.row, self.column].concat())),
            (tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.826.0.1.3680043.10.1.9".into()),
            (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2".into()),
            (tags::PIXEL_SPACING, VR::DS, decimals(&[self.spacing[1], self.spacing[0]])),
            (tags::RESCALE_INTERCEPT, VR::DS, decimals(&[self.intercept])),
            (tags::RESCALE_SLOPE, VR::DS, decimals(&[self.slope])),
        ];
        for (tag, vr, text) in texts {
            put_text(&mut slice, tag, vr, &text);
        }
        for (tag, value) in [
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::ROWS, rows as u16),
            (tags::COLUMNS, columns as u16),
            (tags::BITS_ALLOCATED, self.allocated),
            (tags::BITS_STORED, self.stored),
            (tags::HIGH_BIT, self.stored - 1),
            (tags::PIXEL_REPRESENTATION, u16::from(self.signed)),
        ] {
            put_number(&mut slice, tag, value);
        }
        let samples = (0..rows).flat_map(|j| (0..columns).map(move |i| (i, j)));
        let samples: Vec<i64> = samples.map(|(i, j)| self.stored_value(i, j, k)).collect();
        let mask = (1i64 << self.stored) - 1;
        let value = match self.allocated {
            8 => {
                let mut bytes: Vec<u8> = samples.iter().map(|x| (x & mask) as u8).collect();
                bytes.resize(bytes.len().next_multiple_of(2), 0);
                PrimitiveValue::from(bytes)
            }
            16 => PrimitiveValue::U16(samples.iter().map(|x| (x & mask) as u16).collect()),
            _ => PrimitiveValue::U32(samples.iter().map(|x| (x & mask) as u32).collect()),
        };
        let vr = if self.allocated == 8 { VR::OB } else { VR::OW };
        slice.put(DataElement::new(tags::PIXEL_DATA, vr, value));
        slice
    }

    /// Modality value of voxel (i, j, k).
    pub fn value(&self, i: usize, j: usize, k: usize) -> f32 {
        (self.slope * self.stored_value(i, j, k) as f64 + self.intercept) as f32
    }

    /// Writes the series into `folder` as 0.dcm, 1.dcm, ... in slice order.
    pub fn write(&self, folder: &Path) -> Vec<PathBuf> {
        self.write_with(folder, |_, _| {})
    }

    /// As [`Phantom::write`], each slice first changed by `edit(k, slice)`.
    pub fn write_with(&self, folder: &Path, edit: impl Fn(usize, &mut InMemDicomObject)) -> Vec<PathBuf> {
        let write = |k| {
            let mut slice = self.slice(k);
            edit(k, &mut slice);
            let path = folder.join(format!("{k}.dcm"));
            write_file(slice, self.transfer_syntax, &path);
            path
        };
        (0..self.size[2]).map(write).collect()
    }
}

pub fn write_file(slice: InMemDicomObject, transfer_syntax: &str, path: &Path) {
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(uids::CT_IMAGE_STORAGE)
        .media_storage_sop_instance_uid("1.2.3.4")
        .transfer_syntax(transfer_syntax);
    slice.with_meta(meta).expect("meta group").write_to_file(path).expect("written");
}

pub fn decimals(numbers: &[f64]) -> String {
    numbers.iter().map(f64::to_string).collect::<Vec<_>>().join("\\")
}

pub fn put_text(slice: &mut InMemDicomObject, tag: Tag, vr: VR, text: &str) {
    slice.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
}

pub fn put_number(slice: &mut InMemDicomObject, tag: Tag, value: u16) {
    slice.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
}
