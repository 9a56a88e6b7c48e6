//! What the header of one image says: identity, geometry and the format of its pixels.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dicom::core::Tag;
use dicom::dictionary_std::{tags, uids};
use dicom::encoding::Endianness;

use super::charset::Charset;
use super::file::{DicomFile, Elements, PixelSpan};
use super::mosaic::Mosaic;
use super::slice::Marks;
use crate::error::Error;
use crate::geometry::Vec3;

/// A value, or why there is none; the reason matters only if the value is needed.
pub(in crate::dicom) type Field<T> = std::result::Result<T, String>;

/// Private element of Siemens, behind the creator "SIEMENS CSA HEADER".
const CSA_IMAGE_HEADER: Tag = Tag(0x0029, 0x1010);

/// Elements that [`Header`] is made of.
const WANTED: [Tag; 43] = [
    tags::SPECIFIC_CHARACTER_SET,
    tags::IMAGE_TYPE,
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::MODALITY,
    tags::SERIES_DESCRIPTION,
    tags::PATIENT_ID,
    tags::SLICE_THICKNESS,
    tags::SPACING_BETWEEN_SLICES,
    tags::STUDY_INSTANCE_UID,
    tags::SERIES_INSTANCE_UID,
    tags::SERIES_NUMBER,
    tags::INSTANCE_NUMBER,
    tags::IMAGE_POSITION_PATIENT,
    tags::IMAGE_ORIENTATION_PATIENT,
    tags::FRAME_OF_REFERENCE_UID,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::PIXEL_SPACING,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::MODALITY_LUT_SEQUENCE,
    tags::BODY_PART_EXAMINED,
    tags::CONTRAST_BOLUS_AGENT,
    tags::ECHO_TIME,
    tags::TRIGGER_TIME,
    tags::DIFFUSION_B_VALUE,
    tags::TEMPORAL_POSITION_IDENTIFIER,
    tags::FRAME_REFERENCE_TIME,
    tags::ACQUISITION_NUMBER,
    tags::ACQUISITION_DATE_TIME,
    tags::ACQUISITION_DATE,
    tags::ACQUISITION_TIME,
    tags::CONTENT_DATE,
    tags::CONTENT_TIME,
    CSA_IMAGE_HEADER,
];

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
    fn implausible(&self, file_size: u64) -> Option<String> {
        const ALWAYS_FINE: u64 = 16 << 20;
        const MAX_RATIO: u64 = 1024;
        let pixels = self.rows as u64 * self.columns as u64;
        (pixels > ALWAYS_FINE && pixels / MAX_RATIO > file_size)
            .then(|| format!("{} rows x {} columns cannot be in a file of {file_size} bytes", self.rows, self.columns))
    }
}

/// The header of one file.
#[derive(Debug, Clone)]
pub(in crate::dicom) struct Header {
    pub path: PathBuf,
    pub sop_class_uid: String,
    pub sop_instance_uid: String,
    pub study_uid: String,
    pub series_uid: String,
    pub frame_of_reference_uid: String,
    pub modality: String,
    pub patient_id: String,
    pub description: String,
    pub body_part: String,
    /// Whether the image names a contrast agent.
    pub contrast: bool,
    pub image_type: String,
    pub series_number: Option<i32>,
    pub instance_number: Option<i32>,
    pub frames: i64,
    pub photometric: String,
    pub position: Field<Vec3>,
    /// Cosines of the row and of the column direction.
    pub orientation: Field<[f64; 6]>,
    /// Distance of rows, then of columns, in mm.
    pub pixel_spacing: Field<[f64; 2]>,
    pub spacing_between_slices: Option<f64>,
    pub slice_thickness: Option<f64>,
    pub format: Field<PixelFormat>,
    pub pixels: Option<PixelSpan>,
    /// Why PixelData cannot be what the header says.
    pub implausible: Option<String>,
    pub marks: Marks,
    /// Of an image whose type says that it is a mosaic.
    pub mosaic: Option<Field<Mosaic>>,
    /// Bytes of the file.
    pub file_size: u64,
}

/// A file that is DICOM and cannot be used, with the series it belongs to if that much was readable.
pub(in crate::dicom) struct Broken {
    pub error: Error,
    pub series_uid: Option<String>,
}

impl Header {
    /// Reads `path` up to its pixel data, at which the returned file stands. `None`: not DICOM, or a DICOMDIR.
    pub fn read(path: &Path) -> std::result::Result<Option<(Self, DicomFile)>, Broken> {
        let unknown = |error| Broken { error, series_uid: None };
        let Some(mut file) = DicomFile::open(path).map_err(unknown)? else {
            return Ok(None);
        };
        if file.media_class == uids::MEDIA_STORAGE_DIRECTORY_STORAGE {
            return Ok(None);
        }
        let mut elements = Elements::default();
        let walked = file.walk(&WANTED, &mut elements);
        let values = Values::new(&elements.values, file.syntax.endianness());
        let series_uid = values.text(tags::SERIES_INSTANCE_UID);
        let known = |error| Broken { error, series_uid: Some(series_uid.clone()).filter(|uid| !uid.is_empty()) };
        walked.map_err(known)?;
        if series_uid.is_empty() {
            let text = format!("{}: no SeriesInstanceUID (0020,000E), expected in every image", path.display());
            return Err(unknown(Error::DicomParse(text)));
        }
        let header = Header::of(path, &values, series_uid, &elements.pixels, &file);
        Ok(Some((header, file)))
    }

    fn of(path: &Path, values: &Values, series_uid: String, pixels: &Option<PixelSpan>, file: &DicomFile) -> Self {
        let class = values.text(tags::SOP_CLASS_UID);
        let format = values.pixel_format();
        let implausible = match (&format, pixels.as_ref().and_then(|span| span.length)) {
            (_, Some(length)) if length > file.remaining() => {
                Some(format!("truncated, PixelData claims {length} bytes and {} follow", file.remaining()))
            }
            (Ok(format), _) => format.implausible(file.file_size),
            (Err(_), _) => None,
        };
        Header {
            path: path.to_path_buf(),
            sop_class_uid: if class.is_empty() { file.media_class.clone() } else { class },
            sop_instance_uid: values.text(tags::SOP_INSTANCE_UID),
            study_uid: values.text(tags::STUDY_INSTANCE_UID),
            series_uid,
            frame_of_reference_uid: values.text(tags::FRAME_OF_REFERENCE_UID),
            modality: values.text(tags::MODALITY),
            patient_id: values.text(tags::PATIENT_ID),
            description: values.text(tags::SERIES_DESCRIPTION),
            body_part: values.text(tags::BODY_PART_EXAMINED),
            contrast: !values.text(tags::CONTRAST_BOLUS_AGENT).is_empty(),
            image_type: values.text(tags::IMAGE_TYPE),
            series_number: values.integer(tags::SERIES_NUMBER),
            instance_number: values.integer(tags::INSTANCE_NUMBER),
            frames: values.integer(tags::NUMBER_OF_FRAMES).unwrap_or(1).into(),
            photometric: values.text(tags::PHOTOMETRIC_INTERPRETATION),
            position: values.numbers(tags::IMAGE_POSITION_PATIENT, "ImagePositionPatient (0020,0032)"),
            orientation: values.numbers(tags::IMAGE_ORIENTATION_PATIENT, "ImageOrientationPatient (0020,0037)"),
            pixel_spacing: values.numbers(tags::PIXEL_SPACING, "PixelSpacing (0028,0030)"),
            spacing_between_slices: values.length(tags::SPACING_BETWEEN_SLICES),
            slice_thickness: values.length(tags::SLICE_THICKNESS),
            format,
            pixels: *pixels,
            implausible,
            marks: Marks::of(values),
            mosaic: values.mosaic(),
            file_size: file.file_size,
        }
    }

    /// Whether this is a DICOM SEG, of masks or of label maps.
    pub fn is_segmentation(&self) -> bool {
        matches!(self.sop_class_uid.as_str(), uids::SEGMENTATION_STORAGE | uids::LABEL_MAP_SEGMENTATION_STORAGE)
    }

    /// Whether this is an RT Structure Set, which has no pixels.
    pub fn is_structure_set(&self) -> bool {
        self.sop_class_uid == uids::RT_STRUCTURE_SET_STORAGE
    }

    /// Whether the image says that it serves to plan others: ImageType's third value (PS3.3 C.8.2.1.1.1).
    pub fn is_localizer(&self) -> bool {
        self.image_type.split('\\').nth(2).is_some_and(|part| part.trim() == "LOCALIZER")
    }

    /// An image of several frames, by its class.
    pub fn is_multi_frame(&self) -> bool {
        matches!(
            self.sop_class_uid.as_str(),
            uids::ENHANCED_CT_IMAGE_STORAGE
                | uids::ENHANCED_MR_IMAGE_STORAGE
                | uids::ENHANCED_PET_IMAGE_STORAGE
                | uids::ENHANCED_MR_COLOR_IMAGE_STORAGE
                | uids::LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE
                | uids::LEGACY_CONVERTED_ENHANCED_MR_IMAGE_STORAGE
                | uids::LEGACY_CONVERTED_ENHANCED_PET_IMAGE_STORAGE
        )
    }

    /// Why this could never be a part of a volume, whatever is read one day.
    pub fn no_image(&self) -> Option<String> {
        let class = self.sop_class_uid.as_str();
        let placed = self.position.is_ok() && self.orientation.is_ok() && self.pixel_spacing.is_ok();
        let reason = match class {
            uids::CT_IMAGE_STORAGE | uids::MR_IMAGE_STORAGE | uids::POSITRON_EMISSION_TOMOGRAPHY_IMAGE_STORAGE => None,
            uids::SECONDARY_CAPTURE_IMAGE_STORAGE if placed => None,
            uids::SECONDARY_CAPTURE_IMAGE_STORAGE => Some("Secondary Capture without a place in the patient"),
            _ if self.is_segmentation() => Some("a segmentation, not an image"),
            _ if self.is_structure_set() => Some("an RT structure set, not an image"),
            _ if self.is_multi_frame() => None,
            _ => Some("not a CT, MR or PET image"),
        }?;
        let class = if class.is_empty() { "no SOP class".into() } else { format!("SOP class {class}") };
        Some(format!("{reason} ({class})"))
    }

    /// Why this is not a slice of a volume, if so.
    pub fn refusal(&self) -> Option<String> {
        match self.no_image() {
            Some(reason) => Some(reason),
            None if !self.is_multi_frame() && self.frames > 1 => {
                let class = &self.sop_class_uid;
                Some(format!(
                    "{} frames in an image of SOP class {class}, which says of none where it lies",
                    self.frames
                ))
            }
            None if !self.photometric.starts_with("MONOCHROME") => {
                Some(format!("photometric interpretation {:?}, only MONOCHROME1 and 2 are read", self.photometric))
            }
            None => None,
        }
    }
}

/// Typed access to raw values.
pub(in crate::dicom) struct Values<'a> {
    raw: &'a BTreeMap<Tag, Vec<u8>>,
    endianness: Endianness,
    charset: Charset,
}

impl<'a> Values<'a> {
    fn new(raw: &'a BTreeMap<Tag, Vec<u8>>, endianness: Endianness) -> Self {
        let codes = raw.get(&tags::SPECIFIC_CHARACTER_SET).map(|value| String::from_utf8_lossy(value).into_owned());
        let charset = Charset::new(codes.as_deref().unwrap_or_default());
        Values { raw, endianness, charset }
    }

    /// The text, empty if absent; what the character set cannot decode is replaced, never an error.
    pub fn text(&self, tag: Tag) -> String {
        let Some(raw) = self.raw.get(&tag) else {
            return String::new();
        };
        let text = self.charset.decode(raw);
        text.trim_matches(|c: char| c.is_whitespace() || c == '\0').chars().filter(|c| !c.is_control()).collect()
    }

    fn integer(&self, tag: Tag) -> Option<i32> {
        self.text(tag).split('\\').next()?.trim().parse().ok()
    }

    /// A positive length in mm, if there is a sane one. SpacingBetweenSlices may be negative where it also means a direction.
    fn length(&self, tag: Tag) -> Option<f64> {
        let [length] = self.numbers(tag, "").ok()?;
        Some(length.abs()).filter(|length| *length > 0.0)
    }

    /// Exactly `N` finite decimal numbers.
    pub fn numbers<const N: usize>(&self, tag: Tag, name: &str) -> Field<[f64; N]> {
        let text = self.text(tag);
        if text.is_empty() {
            return Err(format!("{name} is missing"));
        }
        let numbers: Option<Vec<f64>> =
            text.split('\\').map(|part| part.trim().parse().ok().filter(|x: &f64| x.is_finite())).collect();
        numbers
            .and_then(|numbers| numbers.try_into().ok())
            .ok_or_else(|| format!("{name} is {text:?}, expected {N} number{}", if N == 1 { "" } else { "s" }))
    }

    /// A finite FD, which is binary.
    pub fn double(&self, tag: Tag) -> Option<f64> {
        let bytes: [u8; 8] = self.raw.get(&tag)?.as_slice().try_into().ok()?;
        let double =
            if self.endianness == Endianness::Big { f64::from_be_bytes(bytes) } else { f64::from_le_bytes(bytes) };
        double.is_finite().then_some(double)
    }

    /// An unsigned short (or a longer integer where writers err).
    fn unsigned(&self, tag: Tag, name: &str) -> Field<u32> {
        let raw = self.raw.get(&tag).map(Vec::as_slice).unwrap_or_default();
        let big = self.endianness == Endianness::Big;
        match *raw {
            [a, b] if big => Ok(u16::from_be_bytes([a, b]).into()),
            [a, b] => Ok(u16::from_le_bytes([a, b]).into()),
            [a, b, c, d] if big => Ok(u32::from_be_bytes([a, b, c, d])),
            [a, b, c, d] => Ok(u32::from_le_bytes([a, b, c, d])),
            [] => Err(format!("{name} is missing")),
            _ => Err(format!("{name} has {} bytes, expected 2", raw.len())),
        }
    }

    fn number_or(&self, tag: Tag, name: &str, default: f64) -> Field<f64> {
        if self.text(tag).is_empty() {
            return Ok(default);
        }
        self.numbers::<1>(tag, name).map(|[x]| x)
    }

    fn mosaic(&self) -> Option<Field<Mosaic>> {
        let mosaic = self.text(tags::IMAGE_TYPE).split('\\').any(|part| part.trim() == "MOSAIC");
        mosaic.then(|| Mosaic::parse(self.raw.get(&CSA_IMAGE_HEADER).map(Vec::as_slice).unwrap_or_default()))
    }

    /// PS3.3 C.7.6.3 (image pixel) and C.11.1 (modality LUT).
    fn pixel_format(&self) -> Field<PixelFormat> {
        let rows = self.unsigned(tags::ROWS, "Rows (0028,0010)")? as usize;
        let columns = self.unsigned(tags::COLUMNS, "Columns (0028,0011)")? as usize;
        let samples = self.unsigned(tags::SAMPLES_PER_PIXEL, "SamplesPerPixel (0028,0002)").unwrap_or(1);
        let allocated = self.unsigned(tags::BITS_ALLOCATED, "BitsAllocated (0028,0100)")?;
        let stored = self.unsigned(tags::BITS_STORED, "BitsStored (0028,0101)").unwrap_or(allocated);
        let high_bit = self.unsigned(tags::HIGH_BIT, "HighBit (0028,0102)").unwrap_or(stored.saturating_sub(1));
        let representation = self.unsigned(tags::PIXEL_REPRESENTATION, "PixelRepresentation (0028,0103)")?;
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
        if self.raw.contains_key(&tags::MODALITY_LUT_SEQUENCE) {
            return Err("ModalityLUTSequence (0028,3000) is not read, only RescaleSlope and RescaleIntercept".into());
        }
        let slope = self.number_or(tags::RESCALE_SLOPE, "RescaleSlope (0028,1053)", 1.0)?;
        let intercept = self.number_or(tags::RESCALE_INTERCEPT, "RescaleIntercept (0028,1052)", 0.0)?;
        let signed = representation == 1;
        PixelFormat { rows, columns, allocated, stored, high_bit, signed, slope, intercept }.rescaled(slope, intercept)
    }
}
