//! Training: a configuration in, a model out.

use std::path::{Path, PathBuf};

use libc::c_char;

use crate::atomic_file::folder_of;
use crate::error::{Error, Result};
use crate::ffi::cancel::{control_in, transunet_control};
use crate::ffi::error::transunet_error;
use crate::ffi::guard::{borrow, create};
use crate::ffi::library::transunet_status;
use crate::ffi::model::transunet_model;
use crate::ffi::record::{Record, read_or_default};
use crate::ffi::runtime::transunet_runtime;
use crate::ffi::text::{optional_text_in, path_in};
use crate::model::Model;
use crate::train::config::TrainConfig;
use crate::train::run;

/// Start from TRANSUNET_TRAIN_OPTIONS_INIT. Zero in a field means its default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct transunet_train_options {
    pub struct_size: usize,
    /// The folder of the data, instead of the configuration's; NULL = the configuration's.
    pub data_folder: *const c_char,
    /// The folder that the run writes to, instead of the configuration's; NULL = the configuration's.
    pub output_folder: *const c_char,
    /// YAML whose keys replace the configuration's, such as "preset: tiny\nepochs: 20"; NULL = none.
    pub settings: *const c_char,
    /// 1: go on from the output folder's checkpoint. 0: refuse a folder that has one.
    pub resume: i32,
    /// 0.
    pub reserved: i32,
}

// SAFETY: repr(C), struct_size first, zeros are the defaults.
unsafe impl Record for transunet_train_options {
    const NAME: &'static str = "transunet_train_options";
}

/// Trains as the YAML file at `config_path` says. NULL = all that is not in options->settings is planned from the data;
/// options must then give the folders of data and output, there or in the settings. Blocks, for hours; `options` and
/// `control` may be NULL. Progress events of stage TRAIN count steps and carry epoch, loss and the latest validation's Dice. Once steps are made, cancelling stops
/// the run after its step and is no failure: its checkpoint, report and model are written, and it can be resumed. `*out`
/// is the model, also written as model.safetensors into the output folder. Free it with transunet_model_free.
/// Statuses: INVALID_ARGUMENT, CONFIG, IO, VOLUME_FORMAT, DICOM_PARSE, WEIGHTS_FORMAT, WEIGHTS_MISMATCH, DEVICE_LOST,
/// OUT_OF_MEMORY, DIVERGED, CANCELLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_train(
    runtime: *const transunet_runtime,
    config_path: *const c_char,
    options: *const transunet_train_options,
    control: *const transunet_control,
    out: *mut *mut transunet_model,
    error: *mut *mut transunet_error,
) -> transunet_status {
    create(error, out, || {
        let devices = borrow(runtime, "runtime")?.devices.clone();
        let path = if config_path.is_null() { None } else { Some(path_in(config_path, "config_path")?) };
        let (options, [data, output]) = options_in(options)?;
        let settings = optional_text_in(options.settings, "options->settings")?;
        let mut control = control_in(control)?;
        let config = TrainConfig::layered(path, settings, data.as_deref(), output.as_deref())?;
        let mut plan = config.resolve(path.map_or(Path::new(""), folder_of), &devices, &mut control)?;
        plan.command = format!("transunet_train({path:?}, {:?})", settings.unwrap_or_default());
        let outcome = run::run(&plan, &devices, options.resume != 0, &mut (), &mut control)?;
        transunet_model::new(Model::load(&devices, &outcome.bundle)?)
    })
}

/// The options, and the folders of data and output where they are given.
unsafe fn options_in(
    pointer: *const transunet_train_options,
) -> Result<(transunet_train_options, [Option<PathBuf>; 2])> {
    let record = read_or_default(pointer, "options")?;
    if !(0..=1).contains(&record.resume) {
        return Err(Error::Argument(format!("options->resume is {}, expected 0 or 1", record.resume)));
    }
    let folder = |path: *const c_char, name: &str| -> Result<Option<PathBuf>> {
        if path.is_null() { Ok(None) } else { Ok(Some(Path::to_path_buf(path_in(path, name)?))) }
    };
    let data = folder(record.data_folder, "options->data_folder")?;
    let output = folder(record.output_folder, "options->output_folder")?;
    Ok((record, [data, output]))
}
