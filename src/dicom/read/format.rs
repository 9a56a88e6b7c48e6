//! How the stored pixels of an image become modality values.

use dicom::dictionary_std::tags;

use super::values::{Field, Values};

/// How the stored pixels become modality values.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::dicom) struct PixelFormat {
    pub rows: usize,
    pub columns: usize,
    /// Bits of a stored sample: 8, 16 or 32; `stored` of them up to `high_bit` carry the value.
    pub allocated: u32,
    pub stored: u32,
    pub high_bit: u32,
    pub signed: bool,
    pub slope: f64,
    pub intercept: f64,
}

impl PixelFormat {
    /// PS3.3 C.7.6.3 (image pixel) and C.11.1 (modality LUT).
    pub fn of(values: &Values) -> Field<Self> {
        let rows = values.unsigned(tags::ROWS, "Rows (0028,0010)")? as usize;
        let columns = values.unsigned(tags::COLUMNS, "Columns (0028,0011)")? as usize;
        let samples = values.unsigned(tags::SAMPLES_PER_PIXEL, "SamplesPerPixel (0028,0002)").unwrap_or(1);
        let allocated = values.unsigned(tags::BITS_ALLOCATED, "BitsAllocated (0028,0100)")?;
        let stored = values.unsigned(tags::BITS_STORED, "BitsStored (0028,0101)").unwrap_or(allocated);
        let high_bit = values.unsigned(tags::HIGH_BIT, "HighBit (0028,0102)").unwrap_or(stored.saturating_sub(1));
        let representation = values.unsigned(tags::PIXEL_REPRESENTATION, "PixelRepresentation (0028,0103)")?;
        if rows == 0 || columns == 0 || rows > 0xFFFF || columns > 0xFFFF {
            return Err(format!("the image has {rows} rows and {columns} columns, expected 1 to 65535"));
        }
        if samples != 1 {
            return Err(format!("{samples} samples per pixel, only grey images (1) are read"));
        }
        if !matches!(allocated, 8 | 16 | 32) {
            return Err(format!("BitsAllocated (0028,0100) is {allocated}, expected 8, 16 or 32"));
        }
        if stored == 0 || stored > allocated || high_bit >= allocated || high_bit + 1 < stored {
            return Err(format!(
                "BitsStored {stored} with HighBit {high_bit} does not fit into BitsAllocated {allocated}"
            ));
        }
        if representation > 1 {
            return Err(format!("PixelRepresentation (0028,0103) is {representation}, expected 0 or 1"));
        }
        if values.bytes(tags::MODALITY_LUT_SEQUENCE).is_some() {
            return Err("ModalityLUTSequence (0028,3000) is not read, only RescaleSlope and RescaleIntercept".into());
        }
        let slope = values.number_or(tags::RESCALE_SLOPE, "RescaleSlope (0028,1053)", 1.0)?;
        let intercept = values.number_or(tags::RESCALE_INTERCEPT, "RescaleIntercept (0028,1052)", 0.0)?;
        let signed = representation == 1;
        PixelFormat { rows, columns, allocated, stored, high_bit, signed, slope, intercept }.rescaled(slope, intercept)
    }

    /// Bytes of one uncompressed image.
    pub fn byte_len(&self) -> u64 {
        self.rows as u64 * self.columns as u64 * u64::from(self.allocated / 8)
    }

    /// With another slope and intercept, if they leave an image that f32 can hold.
    pub fn rescaled(self, slope: f64, intercept: f64) -> Field<Self> {
        if slope == 0.0 {
            return Err("RescaleSlope (0028,1053) is 0, which erases the image".into());
        }
        if slope.abs() * 2f64.powi(self.stored as i32) + intercept.abs() > f64::from(f32::MAX) {
            return Err(format!("RescaleSlope {slope} and RescaleIntercept {intercept} lead out of the range of f32"));
        }
        Ok(PixelFormat { slope, intercept, ..self })
    }

    /// Keeps a small file from making the reader allocate a huge image: no codec compresses real images so far.
    pub fn implausible(&self, file_size: u64) -> Option<String> {
        const ALWAYS_FINE: u64 = 16 << 20;
        const MAX_RATIO: u64 = 1024;
        let pixels = self.rows as u64 * self.columns as u64;
        (pixels > ALWAYS_FINE && pixels / MAX_RATIO > file_size)
            .then(|| format!("{} rows x {} columns cannot be in a file of {file_size} bytes", self.rows, self.columns))
    }
}
