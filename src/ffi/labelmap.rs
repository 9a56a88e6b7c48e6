//! Label maps: the result, as memory or as files.

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::Arc;

use serde_json::json;

use crate::error::{Error, Result};
use crate::ffi::cancel::{control_in, transunet_control};
use crate::ffi::error::transunet_error;
use crate::ffi::guard::{borrow, create, guard, release};
use crate::ffi::label::{LabelTexts, transunet_label_info};
use crate::ffi::library::transunet_status;
use crate::ffi::record::{Record, fill, read_or_default};
use crate::ffi::routes::{self, SegWishes};
use crate::ffi::text::{json_text, optional_text_in, path_in, transunet_text};
use crate::ffi::volume::{geometry_json, transunet_geometry};
use crate::labelmap::Labelmap;

/// One label per voxel on the grid of the volume that was segmented. Immutable.
pub struct transunet_labelmap {
    labelmap: Arc<Labelmap>,
    labels: LabelTexts,
    description: CString,
}

/// What to say in a DICOM SEG. Start from TRANSUNET_SEG_OPTIONS_INIT. Zero in a field means its default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct transunet_seg_options {
    pub struct_size: usize,
    /// Series Description; NULL = "TransUNet segmentation".
    pub series_description: *const c_char,
    /// Content Label: at most 16 of A-Z, 0-9, space and underscore; NULL = "SEGMENTATION".
    pub content_label: *const c_char,
    /// Content Description; NULL = a note that this is not for clinical use.
    pub content_description: *const c_char,
    /// Content Creator's Name; NULL = "TransUNet".
    pub content_creator: *const c_char,
    /// Series Number; 0 = derived from the source's.
    pub series_number: u32,
    /// 1 = equal input gives equal bytes: UIDs and date follow from the content. 0 = new UIDs, the time of writing.
    pub deterministic: i32,
}

// SAFETY: repr(C), struct_size first, zeros are the defaults.
unsafe impl Record for transunet_seg_options {
    const NAME: &'static str = "transunet_seg_options";
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

/// The labels, borrowed: columns fastest, then rows, then slices; 0 is the background. `*out_count` (may be NULL) gets
/// their number. NULL and 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_voxels(
    labelmap: *const transunet_labelmap,
    out_count: *mut usize,
) -> *const u8 {
    let voxels = labelmap.as_ref().map(|labelmap| labelmap.labelmap.voxels());
    if !out_count.is_null() {
        out_count.write(voxels.map_or(0, <[u8]>::len));
    }
    voxels.map_or(ptr::null(), <[u8]>::as_ptr)
}

/// A label map like `labelmap` with other voxels, which are copied: what a person has corrected, to be written or
/// measured. `count` must be the number of voxels, every value 0 or that of a label. Free `*out` with
/// transunet_labelmap_free. Statuses: INVALID_ARGUMENT, OUT_OF_MEMORY.
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
        if count != original.voxels().len() {
            return Err(Error::Argument(format!("count is {count}, expected {}", original.voxels().len())));
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(count).map_err(|_| Error::OutOfMemory(format!("no memory for {count} voxels")))?;
        copy.extend_from_slice(std::slice::from_raw_parts(voxels, count));
        transunet_labelmap::new(Labelmap::new(
            original.source().clone(),
            copy,
            original.labels().to_vec(),
            original.algorithm().clone(),
        )?)
    })
}

/// The label map as JSON, borrowed: {"algorithm":{"name","version"},"source": origin of the volume,"geometry":{...},
/// "labels":[...]}. NULL for NULL.
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
        transunet_text::json(&routes::statistics(&labelmap, &mut control_in(control)?)?)
    })
}

/// Writes the label map as what the name of `path` says: .dcm (DICOM SEG), .seg.nrrd, .nrrd, .nii, .nii.gz. The file
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
        let options = read_or_default(options, "options")?;
        routes::write_seg(&labelmap, path, &wishes(&options)?, &mut control_in(control)?)
    })
}

/// Writes a contact sheet (PNG): slices with their labels in colour. Appears whole or not at all. `control` may be NULL.
/// Statuses: INVALID_ARGUMENT, IO, DICOM_PARSE, CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_write_picture(
    labelmap: *const transunet_labelmap,
    path: *const c_char,
    control: *const transunet_control,
    error: *mut *mut transunet_error,
) -> transunet_status {
    guard(error, || {
        let labelmap = borrow(labelmap, "labelmap")?.labelmap.clone();
        let path = path_in(path, "path")?;
        routes::write_picture(&labelmap, path, &mut control_in(control)?)
    })
}

/// Frees a label map; NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_labelmap_free(labelmap: *mut transunet_labelmap) {
    release(labelmap);
}

unsafe fn wishes<'a>(options: &transunet_seg_options) -> Result<SegWishes<'a>> {
    let series_number = i32::try_from(options.series_number).map_err(|_| {
        Error::Argument(format!("options->series_number is {}, expected at most {}", options.series_number, i32::MAX))
    })?;
    if !(0..=1).contains(&options.deterministic) {
        return Err(Error::Argument(format!("options->deterministic is {}, expected 0 or 1", options.deterministic)));
    }
    Ok(SegWishes {
        series_description: optional_text_in(options.series_description, "options->series_description")?,
        content_label: optional_text_in(options.content_label, "options->content_label")?,
        content_description: optional_text_in(options.content_description, "options->content_description")?,
        content_creator: optional_text_in(options.content_creator, "options->content_creator")?,
        series_number: (series_number > 0).then_some(series_number),
        deterministic: options.deterministic == 1,
    })
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
        }))?;
        Ok(transunet_labelmap { labels: LabelTexts::new(labelmap.labels()), description, labelmap: Arc::new(labelmap) })
    }
}
