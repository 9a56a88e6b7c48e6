//! The work: a volume through a model.

use std::path::PathBuf;

use libc::c_char;

use crate::error::{Error, Result};
use crate::ffi::cancel::{control_in, transunet_control};
use crate::ffi::error::transunet_error;
use crate::ffi::guard::{borrow, create};
use crate::ffi::labelmap::transunet_labelmap;
use crate::ffi::library::transunet_status;
use crate::ffi::model::transunet_model;
use crate::ffi::record::{Record, read_or_default};
use crate::ffi::text::path_in;
use crate::ffi::volume::transunet_volume;
use crate::infer::{self, SegmentOptions};

/// Start from TRANSUNET_SEGMENT_OPTIONS_INIT. Zero in a field means its default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct transunet_segment_options {
    pub struct_size: usize,
    /// Slices per pass of the network; 0 = the library's choice.
    pub batch: usize,
    /// Also writes class probabilities to this file (.nii.gz: float32, one volume per class); NULL = none.
    pub probabilities_path: *const c_char,
    /// 1 = the label map keeps its labels' probabilities for TRANSUNET_SEG_FRACTIONAL, in a file without a name in the
    /// system's folder for temporary files: a byte for each voxel and label. 0 = it does not.
    pub keep_probabilities: i32,
    /// 0.
    pub reserved: i32,
}

// SAFETY: repr(C), struct_size first, zeros are the defaults.
unsafe impl Record for transunet_segment_options {
    const NAME: &'static str = "transunet_segment_options";
}

/// Segments a volume. Blocks; `options` and `control` may be NULL. Several threads may segment with one model. The label
/// map keeps the volume. Free `*out` with transunet_labelmap_free. Cancelled calls leave nothing behind.
/// Statuses: INVALID_ARGUMENT, IO, DICOM_PARSE, DICOM_UNSUPPORTED, VOLUME_FORMAT (a voxel is no finite number), DEVICE_LOST,
/// OUT_OF_MEMORY, CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_segment(
    model: *const transunet_model,
    volume: *const transunet_volume,
    options: *const transunet_segment_options,
    control: *const transunet_control,
    out: *mut *mut transunet_labelmap,
    error: *mut *mut transunet_error,
) -> transunet_status {
    create(error, out, || {
        let model = borrow(model, "model")?.model.clone();
        let volume = borrow(volume, "volume")?.volume.clone();
        let options = options_in(options)?;
        let mut control = control_in(control)?;
        let labelmap = infer::segment(&model, &volume, &options, &mut control)?;
        transunet_labelmap::new(labelmap)
    })
}

unsafe fn options_in(pointer: *const transunet_segment_options) -> Result<SegmentOptions> {
    let record = read_or_default(pointer, "options")?;
    let probabilities = match record.probabilities_path {
        path if path.is_null() => None,
        path => Some(PathBuf::from(path_in(path, "options->probabilities_path")?)),
    };
    if record.batch > 4096 {
        return Err(Error::Argument(format!("options->batch is {}, expected at most 4096", record.batch)));
    }
    let keep_probabilities = match record.keep_probabilities {
        0 => false,
        1 => true,
        other => return Err(Error::Argument(format!("options->keep_probabilities is {other}, expected 0 or 1"))),
    };
    Ok(SegmentOptions { batch: (record.batch > 0).then_some(record.batch), probabilities, keep_probabilities })
}
