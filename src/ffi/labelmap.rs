//! Label maps: the result, as memory or as files.

use std::ffi::CString;
use std::ptr;
use std::sync::{Arc, OnceLock};

use libc::c_char;
use serde_json::json;

use crate::dicom::{self, SegCompression, SegEncoding, SegOptions};
use crate::error::{Error, Result};
use crate::ffi::cancel::{control_in, transunet_control};
use crate::ffi::error::transunet_error;
use crate::ffi::guard::{borrow, create, guard, release};
use crate::ffi::label::{LabelTexts, transunet_label_info};
use crate::ffi::library::transunet_status;
use crate::ffi::record::{Record, fill, read_or_default};
use crate::ffi::routes;
use crate::ffi::text::{json_text, optional_text_in, path_in, transunet_text};
use crate::ffi::volume::{geometry_json, slice_out, transunet_geometry};
use crate::labelmap::Labelmap;
use crate::picture::{Style, write_contact_sheet};
use crate::statistics::statistics;

/// One label per voxel on the grid of the volume that was segmented. Immutable.
pub struct transunet_labelmap {
    labelmap: Arc<Labelmap>,
    /// All labels, once somebody has asked for them.
    voxels: OnceLock<Vec<u8>>,
    labels: LabelTexts,
    description: CString,
}

/// What a pixel of a DICOM SEG says.
pub type transunet_seg_encoding = i32;

/// One bit: whether it belongs to the frame's segment. What every reader takes.
pub const TRANSUNET_SEG_BINARY: transunet_seg_encoding = 0;
/// How likely it belongs to the frame's segment, out of 255, if the label map was segmented with
/// transunet_segment_options.keep_probabilities; else 255 or 0.
pub const TRANSUNET_SEG_FRACTIONAL: transunet_seg_encoding = 1;
/// The number of its segment (Label Map Segmentation Storage, DICOM Supplement 243): small; for readers of 2024 and later.
pub const TRANSUNET_SEG_LABELMAP: transunet_seg_encoding = 2;

/// How the pixels of a DICOM SEG are stored.
pub type transunet_seg_compression = i32;

/// Explicit VR Little Endian.
pub const TRANSUNET_SEG_UNCOMPRESSED: transunet_seg_compression = 0;
/// RLE Lossless; not with TRANSUNET_SEG_BINARY.
pub const TRANSUNET_SEG_RLE: transunet_seg_compression = 1;
/// Deflated Explicit VR Little Endian.
pub const TRANSUNET_SEG_DEFLATE: transunet_seg_compression = 2;

/// What to say in a DICOM SEG. Start from TRANSUNET_SEG_OPTIONS_INIT. Zero in a field means its default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct transunet_seg_options {
    pub struct_size: usize,
    /// Series Description; NULL = the library's choice.
    pub series_description: *const c_char,
    /// Content Label: at most 16 of A-Z, 0-9, space and underscore; NULL = the library's choice.
    pub content_label: *const c_char,
    /// Content Description; NULL = the library's choice.
    pub content_description: *const c_char,
    /// Content Creator's Name; NULL = left empty.
    pub content_creator: *const c_char,
    /// Series Number; 0 = derived from the source's.
    pub series_number: u32,
    /// 1 = equal input gives equal bytes: UIDs and date follow from the content. 0 = new UIDs, the time of writing.
    pub deterministic: i32,
    pub encoding: transunet_seg_encoding,
    pub compression: transunet_seg_compression,
}

// SAFETY: repr(C), struct_size first, zeros are the defaults.
unsafe impl Record for transunet_seg_options {
    const NAME: &'static str = "transunet_seg_options";
}

/// How to draw a contact sheet. Start from TRANSUNET_PICTURE_OPTIONS_INIT. Zero in a field means its default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct transunet_picture_options {
    pub struct_size: usize,
    /// Modality units that are drawn black and white; both 0 = found from the volume.
    pub window_low: f64,
    pub window_high: f64,
    /// Of the labels' areas, up to 1; 0 = the library's choice.
    pub opacity: f64,
    /// About how many slices to show.
    pub slices: u32,
    /// Longer side of a slice in pixels.
    pub tile: u32,
}

// SAFETY: repr(C), struct_size first, zeros are the defaults.
unsafe impl Record for transunet_picture_options {
    const NAME: &'static str = "transunet_picture_options";
}

/// Fills `*out` with the grid; set its struct_size first (TRANSUNET_GEOMETRY_INIT). Statuses: INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_geometry(
    labelmap: *const transunet_labelmap,
    out: *mut transunet_geometry,
    error: *mut *mut transunet_error,
) -> transunet_status {
    guard(error, || fill(out, || borrow(labelmap, "labelmap")?.labelmap.geometry().try_into()))
}

/// All labels, borrowed until the label map is freed: columns fastest, then rows, then slices; 0 is the background.
/// `*out_count` (may be NULL) gets their number. A label map holds its slices packed: the first call unpacks them into
/// memory of the label map, a byte for each voxel, which stays until it is freed; later calls return the same pointer.
/// transunet_labelmap_read_slice needs no such memory. NULL and 0 for NULL, and where there is no memory for them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_voxels(
    labelmap: *const transunet_labelmap,
    out_count: *mut usize,
) -> *const u8 {
    let mut voxels: &[u8] = &[];
    guard(ptr::null_mut(), || {
        voxels = borrow(labelmap, "labelmap")?.voxels()?;
        Ok(())
    });
    if !out_count.is_null() {
        out_count.write(voxels.len());
    }
    if voxels.is_empty() { ptr::null() } else { voxels.as_ptr() }
}

/// Reads slice `slice` into `out`: rows * columns labels, row by row; `count` is the number of bytes at `out`. Nothing is
/// promised about `out` on failure. Statuses: INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_read_slice(
    labelmap: *const transunet_labelmap,
    slice: u32,
    out: *mut u8,
    count: usize,
    error: *mut *mut transunet_error,
) -> transunet_status {
    guard(error, || {
        let labelmap = borrow(labelmap, "labelmap")?.labelmap.clone();
        let out = slice_out(labelmap.geometry(), slice, out, count)?;
        labelmap.read_slice(slice as usize, out)
    })
}

/// A label map like `labelmap` with other voxels, which are copied: what a person has corrected, to be written or
/// measured. It has no probabilities. `count` must be the number of voxels, every value 0 or that of a label. Free `*out` with
/// transunet_labelmap_free. Statuses: INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_with_voxels(
    labelmap: *const transunet_labelmap,
    voxels: *const u8,
    count: usize,
    out: *mut *mut transunet_labelmap,
    error: *mut *mut transunet_error,
) -> transunet_status {
    create(error, out, || {
        let original = borrow(labelmap, "labelmap")?.labelmap.clone();
        if voxels.is_null() {
            return Err(Error::Argument("voxels is NULL".into()));
        }
        if count != original.geometry().len() {
            return Err(Error::Argument(format!("count is {count}, expected {}", original.geometry().len())));
        }
        transunet_labelmap::new(Labelmap::new(
            original.source().clone(),
            std::slice::from_raw_parts(voxels, count),
            original.labels().to_vec(),
            original.algorithm().clone(),
        )?)
    })
}

/// The label map as JSON, borrowed: {"algorithm":{"name","version"},"source": origin of the volume,"geometry":{...},
/// "labels":[...],"receipt": what it was made with and from (model, code, settings with precision, source, SHA-256 of the
/// labels; docs/receipts.md), null once a person has corrected it}. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_describe(labelmap: *const transunet_labelmap) -> *const c_char {
    labelmap.as_ref().map_or(ptr::null(), |labelmap| labelmap.description.as_ptr())
}

/// Number of foreground labels, whether or not a voxel has them. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_label_count(labelmap: *const transunet_labelmap) -> usize {
    labelmap.as_ref().map_or(0, |labelmap| labelmap.labels.len())
}

/// Fills `*out` with label `index` (from 0, in order of value); set its struct_size first (TRANSUNET_LABEL_INFO_INIT).
/// Texts are borrowed from the label map. Statuses: INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_label(
    labelmap: *const transunet_labelmap,
    index: usize,
    out: *mut transunet_label_info,
    error: *mut *mut transunet_error,
) -> transunet_status {
    guard(error, || fill(out, || borrow(labelmap, "labelmap")?.labels.info(index)))
}

/// Volumes (ml), extents and mean intensity of the labels, as JSON. Free `*out` with transunet_text_free.
/// `control` may be NULL. Statuses: INVALID_ARGUMENT, IO, DICOM_PARSE, CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_statistics(
    labelmap: *const transunet_labelmap,
    control: *const transunet_control,
    out: *mut *mut transunet_text,
    error: *mut *mut transunet_error,
) -> transunet_status {
    create(error, out, || {
        let labelmap = borrow(labelmap, "labelmap")?.labelmap.clone();
        control_in(control)?;
        transunet_text::json(&statistics(&labelmap)?)
    })
}

/// Writes the label map as what the name of `path` says: .dcm (DICOM SEG), .rtstruct.dcm (RT Structure Set), .seg.nrrd, .nrrd, .nii, .nii.gz. The file
/// appears whole or not at all. `control` may be NULL. Statuses: INVALID_ARGUMENT (another ending, or DICOM SEG of a
/// volume that is not DICOM), IO, CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_write(
    labelmap: *const transunet_labelmap,
    path: *const c_char,
    control: *const transunet_control,
    error: *mut *mut transunet_error,
) -> transunet_status {
    guard(error, || {
        let labelmap = borrow(labelmap, "labelmap")?.labelmap.clone();
        let path = path_in(path, "path")?;
        routes::write_labelmap(&labelmap, path, &mut control_in(control)?)
    })
}

/// Writes a DICOM SEG that refers to the series that was segmented, whatever the name of `path`. `options` and `control`
/// may be NULL. The file appears whole or not at all. Statuses: INVALID_ARGUMENT (also: the volume was not DICOM), IO,
/// CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_write_dicom_seg(
    labelmap: *const transunet_labelmap,
    path: *const c_char,
    options: *const transunet_seg_options,
    control: *const transunet_control,
    error: *mut *mut transunet_error,
) -> transunet_status {
    guard(error, || {
        let labelmap = borrow(labelmap, "labelmap")?.labelmap.clone();
        let path = path_in(path, "path")?;
        let options = seg_options_in(options)?;
        dicom::write_seg(&labelmap, path, &options, &mut control_in(control)?)
    })
}

/// Writes a contact sheet (PNG): slices with their labels in colour. The file appears whole or not at all. `options` and
/// `control` may be NULL.
/// Statuses: INVALID_ARGUMENT, IO, DICOM_PARSE, CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_write_picture(
    labelmap: *const transunet_labelmap,
    path: *const c_char,
    options: *const transunet_picture_options,
    control: *const transunet_control,
    error: *mut *mut transunet_error,
) -> transunet_status {
    guard(error, || {
        let labelmap = borrow(labelmap, "labelmap")?.labelmap.clone();
        let path = path_in(path, "path")?;
        let style = style_in(options)?;
        control_in(control)?;
        write_contact_sheet(&labelmap, path, &style)
    })
}

/// Frees a label map; NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_free(labelmap: *mut transunet_labelmap) {
    release(labelmap);
}

unsafe fn seg_options_in(pointer: *const transunet_seg_options) -> Result<SegOptions> {
    let record = read_or_default(pointer, "options")?;
    let number = i32::try_from(record.series_number).map_err(|_| {
        Error::Argument(format!("options->series_number is {}, expected at most {}", record.series_number, i32::MAX))
    })?;
    let mut options = SegOptions { series_number: (number > 0).then_some(number), ..SegOptions::default() };
    for (field, wish, name) in [
        (&mut options.series_description, record.series_description, "options->series_description"),
        (&mut options.content_label, record.content_label, "options->content_label"),
        (&mut options.content_description, record.content_description, "options->content_description"),
        (&mut options.content_creator, record.content_creator, "options->content_creator"),
    ] {
        if let Some(wish) = optional_text_in(wish, name)? {
            *field = wish.to_string();
        }
    }
    options.deterministic = match record.deterministic {
        0 => false,
        1 => true,
        other => return Err(Error::Argument(format!("options->deterministic is {other}, expected 0 or 1"))),
    };
    options.encoding = match record.encoding {
        TRANSUNET_SEG_BINARY => SegEncoding::Binary,
        TRANSUNET_SEG_FRACTIONAL => SegEncoding::Fractional,
        TRANSUNET_SEG_LABELMAP => SegEncoding::LabelMap,
        other => return Err(Error::Argument(format!("options->encoding is {other}, expected 0, 1 or 2"))),
    };
    options.compression = match record.compression {
        TRANSUNET_SEG_UNCOMPRESSED => SegCompression::None,
        TRANSUNET_SEG_RLE => SegCompression::Rle,
        TRANSUNET_SEG_DEFLATE => SegCompression::Deflate,
        other => return Err(Error::Argument(format!("options->compression is {other}, expected 0, 1 or 2"))),
    };
    Ok(options)
}

unsafe fn style_in(pointer: *const transunet_picture_options) -> Result<Style> {
    let record = read_or_default(pointer, "options")?;
    let mut style = Style::default();
    let count = |value: u32, default: usize| if value == 0 { default } else { value as usize };
    (style.slices, style.tile) = (count(record.slices, style.slices), count(record.tile, style.tile));
    if style.slices > 10_000 || style.tile > 4096 {
        return Err(Error::Argument(format!(
            "options->slices is {} and options->tile {}, expected at most 10000 and 4096",
            record.slices, record.tile
        )));
    }
    if record.opacity != 0.0 {
        if !(0.0..=1.0).contains(&record.opacity) {
            return Err(Error::Argument(format!("options->opacity is {}, expected 0 to 1", record.opacity)));
        }
        style.opacity = record.opacity as f32;
    }
    let (low, high) = (record.window_low, record.window_high);
    if (low, high) != (0.0, 0.0) {
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(Error::Argument(format!(
                "options->window_low is {low} and options->window_high {high}, expected a rising window or two zeros"
            )));
        }
        style.window = Some([low as f32, high as f32]);
    }
    Ok(style)
}

impl transunet_labelmap {
    /// What `transunet_segment` hands out; for Rust programs that pass a label map of their own to C.
    pub fn new(labelmap: Labelmap) -> Result<Self> {
        let algorithm = labelmap.algorithm();
        let description = json_text(&json!({
            "algorithm": { "name": algorithm.name, "version": algorithm.version },
            "source": labelmap.source().origin(),
            "geometry": geometry_json(labelmap.geometry()),
            "labels": labelmap.labels(),
            "receipt": labelmap.receipt(),
        }))?;
        let (labels, voxels) = (LabelTexts::new(labelmap.labels()), OnceLock::new());
        Ok(transunet_labelmap { labels, description, voxels, labelmap: Arc::new(labelmap) })
    }

    /// All labels, which stay unpacked from now on.
    fn voxels(&self) -> Result<&[u8]> {
        // Of two threads that come first at once both unpack them, and one keeps its own.
        if self.voxels.get().is_none() {
            let voxels = self.labelmap.to_vec()?;
            self.voxels.get_or_init(|| voxels);
        }
        Ok(self.voxels.get().map_or(&[], Vec::as_slice))
    }
}
