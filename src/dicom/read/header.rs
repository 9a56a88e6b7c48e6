//! What the header of one image says: identity, geometry and the format of its pixels.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dicom::core::Tag;
use dicom::dictionary_std::{tags, uids};

use super::file::{DicomFile, Elements, PixelSpan};
use super::format::PixelFormat;
use super::mosaic::Mosaic;
use super::slice::Marks;
use super::values::{Field, Values};
use crate::error::{Error, Result};
use crate::geometry::Vec3;

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
    pub modified: Option<SystemTime>,
}

/// A file that is DICOM and cannot be used, with the series it belongs to if that much was readable.
pub(in crate::dicom) struct Broken {
    pub error: Error,
    pub series_uid: Option<String>,
}

impl Header {
    /// The header of a file that must be `what`, "a DICOM SEG", which `is` tells.
    pub fn of_object(path: &Path, is: impl Fn(&Header) -> bool, what: &str) -> Result<Self> {
        let header = match Header::read(path) {
            Ok(Some((header, _))) => header,
            Ok(None) => return Err(Error::DicomParse(format!("{}: not a DICOM file", path.display()))),
            Err(broken) => return Err(broken.error),
        };
        if !is(&header) {
            let text = format!("{}: SOP class {:?}, expected {what}", path.display(), header.sop_class_uid);
            return Err(Error::DicomUnsupported(text));
        }
        Ok(header)
    }

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
        let format = PixelFormat::of(values);
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
            mosaic: mosaic(values),
            file_size: file.file_size,
            modified: file.modified,
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

fn mosaic(values: &Values) -> Option<Field<Mosaic>> {
    let mosaic = values.text(tags::IMAGE_TYPE).split('\\').any(|part| part.trim() == "MOSAIC");
    mosaic.then(|| Mosaic::parse(values.bytes(CSA_IMAGE_HEADER).unwrap_or_default()))
}
