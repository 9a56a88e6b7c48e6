//! One slice that a volume can be made of: a single-frame image, a frame of a multi-frame one, or a tile of a mosaic.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::Arc;

use dicom::dictionary_std::tags;

use super::format::PixelFormat;
use super::header::Header;
use super::values::{Field, Values};
use crate::geometry::Vec3;

/// What tells the slices of one series apart, each with its own name in the rules of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Columns x rows.
    Size,
    /// The plane of the patient that is nearest: axial, coronal, sagittal.
    Orientation,
    /// Pixel spacing in mm.
    Spacing,
    /// Stack ID (0020,9056) of a multi-frame image.
    Stack,
    /// ImageType (0008,0008) behind its second value: M or P, a phase of contrast, a map.
    Type,
    /// Rank of the echo time.
    Echo,
    /// Diffusion b-value in s/mm2.
    B,
    /// Rank of the trigger delay within the heart's cycle.
    Phase,
    /// Rank of the temporal position.
    Time,
    /// Acquisition Number (0020,0012).
    Acquisition,
}

impl Key {
    pub const ALL: [Key; 10] = [
        Key::Size,
        Key::Orientation,
        Key::Spacing,
        Key::Stack,
        Key::Type,
        Key::Echo,
        Key::B,
        Key::Phase,
        Key::Time,
        Key::Acquisition,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Key::Size => "size",
            Key::Orientation => "orientation",
            Key::Spacing => "spacing",
            Key::Stack => "stack",
            Key::Type => "type",
            Key::Echo => "echo",
            Key::B => "b",
            Key::Phase => "phase",
            Key::Time => "time",
            Key::Acquisition => "acquisition",
        }
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an image or frame says of its part in a measurement.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::dicom) struct Marks {
    /// Values of ImageType or FrameType behind the second, joined by backslashes.
    pub kind: String,
    pub stack: String,
    /// In ms.
    pub echo_time: Option<f64>,
    /// In s/mm2.
    pub b: Option<f64>,
    /// In ms after the trigger.
    pub trigger: Option<f64>,
    /// Index or offset of the temporal position.
    pub time: Option<f64>,
    pub acquisition: Option<f64>,
    /// Date and time as DICOM writes them, which sort as text.
    pub acquired: String,
}

#[derive(Debug, Clone)]
pub(in crate::dicom) struct Slice {
    pub file: Arc<Header>,
    /// Number of the frame in a multi-frame file, from 1.
    pub frame: Option<u32>,
    /// First column and row of its tile in a mosaic.
    pub tile: Option<[usize; 2]>,
    pub position: Field<Vec3>,
    /// Cosines of the row and of the column direction.
    pub orientation: Field<[f64; 6]>,
    /// Distance of rows, then of columns, in mm.
    pub pixel_spacing: Field<[f64; 2]>,
    pub spacing_between_slices: Option<f64>,
    pub thickness: Option<f64>,
    pub format: Field<PixelFormat>,
    pub marks: Marks,
    /// Value of each key, once the slices of a series have been compared.
    pub names: BTreeMap<Key, String>,
}

impl Slice {
    /// Of a single-frame image.
    pub fn of(file: &Arc<Header>) -> Self {
        Slice {
            frame: None,
            tile: None,
            position: file.position.clone(),
            orientation: file.orientation.clone(),
            pixel_spacing: file.pixel_spacing.clone(),
            spacing_between_slices: file.spacing_between_slices,
            thickness: file.slice_thickness,
            format: file.format.clone(),
            marks: file.marks.clone(),
            names: BTreeMap::new(),
            file: file.clone(),
        }
    }

    /// The value of `key`, empty where the slice has none.
    pub fn name(&self, key: Key) -> &str {
        self.names.get(&key).map_or("", String::as_str)
    }

    /// "/a/b.dcm" or "/a/b.dcm, frame 3".
    pub fn place(&self) -> String {
        match (self.frame, self.tile) {
            (Some(frame), _) => format!("{}, frame {frame}", self.file.path.display()),
            (None, Some([column, row])) => {
                format!("{}, tile at column {column} and row {row}", self.file.path.display())
            }
            (None, None) => self.file.path.display().to_string(),
        }
    }
}

impl Marks {
    /// Of a single-frame image.
    pub fn of(values: &Values) -> Self {
        let number = |tag| values.numbers::<1>(tag, "").ok().map(|[number]| number);
        let first = |tags: &[dicom::core::Tag]| {
            tags.iter().map(|tag| values.text(*tag)).find(|text| !text.is_empty()).unwrap_or_default()
        };
        let dated = values.text(tags::ACQUISITION_DATE_TIME);
        Marks {
            kind: behind_second(&values.text(tags::IMAGE_TYPE)),
            stack: String::new(),
            echo_time: number(tags::ECHO_TIME),
            b: values.double(tags::DIFFUSION_B_VALUE),
            trigger: number(tags::TRIGGER_TIME),
            // A PET series gives the time of each of its frames, and no index (PS3.3 C.8.9.4).
            time: number(tags::TEMPORAL_POSITION_IDENTIFIER).or(number(tags::FRAME_REFERENCE_TIME)),
            acquisition: number(tags::ACQUISITION_NUMBER),
            acquired: if dated.is_empty() {
                first(&[tags::ACQUISITION_DATE, tags::CONTENT_DATE])
                    + &first(&[tags::ACQUISITION_TIME, tags::CONTENT_TIME])
            } else {
                dated
            },
        }
    }
}

/// The values of an ImageType that say more than whence the pixels come.
pub(super) fn behind_second(image_type: &str) -> String {
    image_type.split('\\').skip(2).map(str::trim).collect::<Vec<_>>().join("\\")
}
