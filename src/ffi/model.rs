//! Models: load, save, and what they say of themselves.

use std::ffi::CString;
use std::ptr;
use std::sync::Arc;

use libc::c_char;
use serde_json::json;

use crate::catalog;
use crate::error::{Error, Result};
use crate::ffi::cancel::{control_in, transunet_control};
use crate::ffi::error::transunet_error;
use crate::ffi::guard::{borrow, create, guard, release};
use crate::ffi::label::{LabelTexts, transunet_label_info};
use crate::ffi::library::transunet_status;
use crate::ffi::plugin::home;
use crate::ffi::record::{Record, fill, read_or_default};
use crate::ffi::runtime::transunet_runtime;
use crate::ffi::text::{json_text, path_in};
use crate::model::Model;
use crate::precision::ComputePrecision;
use crate::weights::Precision;

/// What matrices and kernels are multiplied in.
pub type transunet_precision = i32;

/// float32.
pub const TRANSUNET_PRECISION_F32: transunet_precision = 0;
/// bfloat16: half the memory, 8 significant bits, the range of float32. On GPUs only, as is float16.
pub const TRANSUNET_PRECISION_BF16: transunet_precision = 1;
/// float16: half the memory, 11 significant bits, numbers up to 65504.
pub const TRANSUNET_PRECISION_F16: transunet_precision = 2;

/// Start from TRANSUNET_MODEL_OPTIONS_INIT. Zero in a field means its default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct transunet_model_options {
    pub struct_size: usize,
    /// What the network computes with; norms, exponentials and logits are float32 with any of them.
    pub precision: transunet_precision,
    /// 0.
    pub reserved: i32,
}

// SAFETY: repr(C), struct_size first, zeros are the defaults.
unsafe impl Record for transunet_model_options {
    const NAME: &'static str = "transunet_model_options";
}

/// Weights on a device with their description and labels. Immutable.
pub struct transunet_model {
    pub(super) model: Arc<Model>,
    labels: LabelTexts,
    description: CString,
}

/// Loads a bundle (.safetensors) or a foreign checkpoint (.pth, .npz, .safetensors, described by the .yaml beside it if
/// there is one). `model` is its path, a folder with one bundle, or the id of an installed model (transunet_models_list).
/// `options` and `control` may be NULL. The model keeps what it needs of the runtime. Free `*out` with transunet_model_free.
/// A precision that the device does not compute in is INVALID_ARGUMENT.
/// Statuses: INVALID_ARGUMENT, CONFIG, IO, WEIGHTS_FORMAT, WEIGHTS_MISMATCH, DEVICE_LOST, OUT_OF_MEMORY, CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_model_load(
    runtime: *const transunet_runtime,
    model: *const c_char,
    options: *const transunet_model_options,
    control: *const transunet_control,
    out: *mut *mut transunet_model,
    error: *mut *mut transunet_error,
) -> transunet_status {
    create(error, out, || {
        let devices = borrow(runtime, "runtime")?.devices.clone();
        let model = path_in(model, "model")?;
        let precision = precision_in(options)?;
        control_in(control)?;
        transunet_model::new(Model::load_with(&devices, &catalog::find(model, home().as_deref())?, precision)?)
    })
}

/// Writes the model as a bundle; the file appears whole or not at all. Statuses: INVALID_ARGUMENT, IO, DEVICE_LOST.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_model_save(
    model: *const transunet_model,
    path: *const c_char,
    error: *mut *mut transunet_error,
) -> transunet_status {
    guard(error, || {
        let model = borrow(model, "model")?.model.clone();
        let path = path_in(path, "path")?;
        model.save(path, Precision::Single)
    })
}

/// The model as JSON, borrowed: its description ("name","architecture","input","labels","provenance","licence",
/// "intended_use", ... as in the bundle) with "devices": where it runs, "precision": what it computes with ("f32", "bf16",
/// "f16"), "sha256": of weights and description, and "warnings": what to know before using it.
/// NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_model_describe(model: *const transunet_model) -> *const c_char {
    model.as_ref().map_or(ptr::null(), |model| model.description.as_ptr())
}

/// Number of foreground labels; the background is not counted. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_model_label_count(model: *const transunet_model) -> usize {
    model.as_ref().map_or(0, |model| model.labels.len())
}

/// Fills `*out` with label `index` (from 0, in order of value); set its struct_size first (TRANSUNET_LABEL_INFO_INIT).
/// Texts are borrowed from the model. Statuses: INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_model_label(
    model: *const transunet_model,
    index: usize,
    out: *mut transunet_label_info,
    error: *mut *mut transunet_error,
) -> transunet_status {
    guard(error, || fill(out, || borrow(model, "model")?.labels.info(index)))
}

/// Frees a model; calls that run with it go on, label maps made with it live on. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_model_free(model: *mut transunet_model) {
    release(model);
}

unsafe fn precision_in(options: *const transunet_model_options) -> Result<ComputePrecision> {
    match read_or_default(options, "options")?.precision {
        TRANSUNET_PRECISION_F32 => Ok(ComputePrecision::F32),
        TRANSUNET_PRECISION_BF16 => Ok(ComputePrecision::Bf16),
        TRANSUNET_PRECISION_F16 => Ok(ComputePrecision::F16),
        other => Err(Error::Argument(format!("options->precision is {other}, expected a TRANSUNET_PRECISION_ number"))),
    }
}

impl transunet_model {
    pub(super) fn new(model: Model) -> Result<Self> {
        let config = model.config();
        let mut description = serde_json::to_value(config).map_err(|e| Error::Internal(format!("JSON: {e}")))?;
        description["devices"] = json!(model.devices().infos());
        description["precision"] = json!(model.precision());
        description["sha256"] = json!(model.sha256()?);
        description["warnings"] = json!(model.warnings());
        let description = json_text(&description)?;
        Ok(transunet_model { labels: LabelTexts::new(&config.labels), description, model: Arc::new(model) })
    }
}
