//! Each call of the header with arguments that are drawn.

use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};

use transunet::ffi::*;

use super::arguments::{Choices, Record, pointer};
use super::check::{json, made, status, text};
use super::session::Session;

pub type Call = fn(&mut Session, &mut Choices);

/// Those that lead further stand here more often.
pub const CALLS: &[Call] = &[
    volume_open,
    volume_open,
    volume_open_files,
    volume_from_memory,
    volume_from_memory,
    volume_look,
    volume_read_slice,
    segment,
    segment,
    segment,
    labelmap_look,
    labelmap_read_slice,
    labelmap_with_voxels,
    labelmap_with_voxels,
    labelmap_write,
    labelmap_write,
    labelmap_write_dicom_seg,
    labelmap_write_picture,
    labelmap_statistics,
    runtime_create,
    model_load,
    model_save,
    model_look,
    cancel_create,
    cancel_look,
    free,
    free,
    library,
    models_list,
    series_list,
    train,
];

const READING: [transunet_status; 8] = [
    TRANSUNET_STATUS_IO,
    TRANSUNET_STATUS_DICOM_PARSE,
    TRANSUNET_STATUS_DICOM_UNSUPPORTED,
    TRANSUNET_STATUS_DICOM_GEOMETRY,
    TRANSUNET_STATUS_SERIES_CHOICE,
    TRANSUNET_STATUS_VOLUME_FORMAT,
    TRANSUNET_STATUS_OUT_OF_MEMORY,
    TRANSUNET_STATUS_CANCELLED,
];
const PIXELS: [transunet_status; 3] =
    [TRANSUNET_STATUS_IO, TRANSUNET_STATUS_DICOM_PARSE, TRANSUNET_STATUS_DICOM_UNSUPPORTED];
const COMPUTING: [transunet_status; 7] = [
    TRANSUNET_STATUS_IO,
    TRANSUNET_STATUS_DICOM_PARSE,
    TRANSUNET_STATUS_DICOM_UNSUPPORTED,
    TRANSUNET_STATUS_VOLUME_FORMAT,
    TRANSUNET_STATUS_DEVICE_LOST,
    TRANSUNET_STATUS_OUT_OF_MEMORY,
    TRANSUNET_STATUS_CANCELLED,
];
const LOADING: [transunet_status; 7] = [
    TRANSUNET_STATUS_CONFIG,
    TRANSUNET_STATUS_IO,
    TRANSUNET_STATUS_WEIGHTS_FORMAT,
    TRANSUNET_STATUS_WEIGHTS_MISMATCH,
    TRANSUNET_STATUS_DEVICE_LOST,
    TRANSUNET_STATUS_OUT_OF_MEMORY,
    TRANSUNET_STATUS_CANCELLED,
];
const TRAINING: [transunet_status; 10] = [
    TRANSUNET_STATUS_CONFIG,
    TRANSUNET_STATUS_IO,
    TRANSUNET_STATUS_VOLUME_FORMAT,
    TRANSUNET_STATUS_DICOM_PARSE,
    TRANSUNET_STATUS_WEIGHTS_FORMAT,
    TRANSUNET_STATUS_WEIGHTS_MISMATCH,
    TRANSUNET_STATUS_DEVICE_LOST,
    TRANSUNET_STATUS_OUT_OF_MEMORY,
    TRANSUNET_STATUS_DIVERGED,
    TRANSUNET_STATUS_CANCELLED,
];
const LISTING: [transunet_status; 3] = [TRANSUNET_STATUS_IO, TRANSUNET_STATUS_DICOM_PARSE, TRANSUNET_STATUS_CANCELLED];
const WRITING: [transunet_status; 2] = [TRANSUNET_STATUS_IO, TRANSUNET_STATUS_CANCELLED];
const MEASURING: [transunet_status; 3] =
    [TRANSUNET_STATUS_IO, TRANSUNET_STATUS_DICOM_PARSE, TRANSUNET_STATUS_CANCELLED];

fn volume_options(session: &Session, choices: &mut Choices) -> Option<Record> {
    let series = choices.maybe(&session.files.rules);
    let tilt = choices.maybe(&session.files.tilts);
    choices.sized(transunet_volume_options { struct_size: 0, series, tilt })
}

fn volume_open(session: &mut Session, choices: &mut Choices) {
    let path = choices.one_of(&session.files.inputs);
    let options = volume_options(session, choices);
    let volume = session.controlled(choices, false, |choices, control| {
        made("transunet_volume_open", &READING, choices, |out, error| unsafe {
            transunet_volume_open(path, pointer(&options), control, out, error)
        })
    });
    session.volumes.extend(volume);
}

fn volume_open_files(session: &mut Session, choices: &mut Choices) {
    let count = usize::from(choices.byte() % 5);
    let paths: Vec<*const c_char> = (0..count).map(|_| choices.one_of(&session.files.slices)).collect();
    let list = if choices.once_in(16) { null() } else { paths.as_ptr() };
    let options = volume_options(session, choices);
    let volume = session.controlled(choices, false, |choices, control| {
        made("transunet_volume_open_files", &READING, choices, |out, error| unsafe {
            transunet_volume_open_files(list, count, pointer(&options), control, out, error)
        })
    });
    session.volumes.extend(volume);
}

fn series_list(session: &mut Session, choices: &mut Choices) {
    let path = choices.one_of(&session.files.inputs);
    let list = session.controlled(choices, false, |choices, control| {
        made("transunet_series_list", &LISTING, choices, |out, error| unsafe {
            transunet_series_list(path, control, out, error)
        })
    });
    read(list, "transunet_series_list");
}

/// Reads a text of JSON, and frees it.
fn read(made: Option<*mut transunet_text>, name: &str) {
    let Some(made) = made else { return };
    unsafe {
        let data = transunet_text_data(made);
        assert_eq!(text(name, data).len(), transunet_text_size(made));
        json(name, data);
        transunet_text_free(made);
    }
}

fn volume_from_memory(session: &mut Session, choices: &mut Choices) {
    let [columns, rows, slices] = [0; 3].map(|_| choices.number());
    let mut geometry = transunet_geometry {
        struct_size: 0,
        columns,
        rows,
        slices,
        reserved: 0,
        spacing: [1.0; 3],
        origin: [0.0; 3],
        direction: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
    };
    if choices.once_in(2) {
        geometry.spacing = [0; 3].map(|_| choices.length());
    }
    if choices.once_in(3) {
        geometry.origin = [0; 3].map(|_| choices.length());
    }
    if choices.once_in(4) {
        geometry.direction[usize::from(choices.byte() % 9)] = choices.length();
    }
    let voxel_type = choices.pick(&[1, 2, 3, 4, 5, 6, 7, 8, 0, 9, -1, i32::MAX]);
    let size = [1, 1, 1, 2, 2, 4, 4, 4, 8][usize::try_from(voxel_type).unwrap_or(0).min(8)];
    let all = [columns, rows, slices].iter().try_fold(size, |all, &n| usize::checked_mul(all, n as usize));
    // The caller's memory is there as far as it says; a size that no memory has is one that cannot fit the grid.
    let said = match (all, choices.byte()) {
        (Some(all), 0..=223) if all <= 1 << 16 => all,
        (_, byte) => usize::from(byte),
    };
    let seed = choices.byte();
    let voxels: Vec<u8> = (0..said).map(|at| seed.wrapping_mul(at as u8)).collect();
    let memory = if choices.once_in(16) { null() } else { voxels.as_ptr().cast() };
    let geometry = choices.sized(geometry);
    let volume =
        made("transunet_volume_from_memory", &[TRANSUNET_STATUS_OUT_OF_MEMORY], choices, |out, error| unsafe {
            transunet_volume_from_memory(memory, said, voxel_type, pointer(&geometry), out, error)
        });
    session.volumes.extend(volume);
}

/// A struct to be filled, in memory that ends where it says; what lies behind the library's part stays as it was.
fn filled<T: Copy>(
    name: &str,
    empty: T,
    choices: &mut Choices,
    call: impl FnOnce(*mut T, *mut *mut transunet_error) -> transunet_status,
) -> bool {
    let mut record = choices.sized(empty);
    let before = record.as_ref().map(|record| record.0.clone());
    let out = record.as_mut().map_or(null_mut(), |record| record.0.as_mut_ptr().cast());
    let status = status(name, &[], choices, |error| call(out, error));
    if let (Some(record), Some(before)) = (record, before) {
        let known = size_of::<T>().min(record.0.len());
        assert_eq!(record.0[..size_of::<usize>()], before[..size_of::<usize>()], "{name}: struct_size");
        assert_eq!(record.0[known..], before[known..], "{name}: what the caller has behind");
    }
    status == TRANSUNET_STATUS_OK
}

/// The grid of a volume; empty where it is NULL.
fn size_of_volume(volume: *const transunet_volume) -> [usize; 3] {
    let mut geometry = empty_geometry();
    unsafe { transunet_volume_geometry(volume, &mut geometry, null_mut()) };
    [geometry.columns, geometry.rows, geometry.slices].map(|n| n as usize)
}

fn empty_geometry() -> transunet_geometry {
    transunet_geometry {
        struct_size: size_of::<transunet_geometry>(),
        columns: 0,
        rows: 0,
        slices: 0,
        reserved: 0,
        spacing: [0.0; 3],
        origin: [0.0; 3],
        direction: [0.0; 9],
    }
}

fn volume_look(session: &mut Session, choices: &mut Choices) {
    let volume = session.volume(choices);
    let filled = filled("transunet_volume_geometry", empty_geometry(), choices, |out, error| unsafe {
        transunet_volume_geometry(volume, out, error)
    });
    assert!(!(filled && volume.is_null()));
    let said = unsafe { transunet_volume_describe(volume) };
    assert_eq!(said.is_null(), volume.is_null());
    if !said.is_null() {
        json("transunet_volume_describe", said);
    }
}

fn volume_read_slice(session: &mut Session, choices: &mut Choices) {
    let volume = session.volume(choices);
    let [columns, rows, _] = size_of_volume(volume);
    let count = if choices.once_in(4) { choices.number() as usize % 5000 } else { columns * rows };
    let mut pixels = vec![0f32; count];
    let out = if choices.once_in(16) { null_mut() } else { pixels.as_mut_ptr() };
    let slice = choices.number();
    status("transunet_volume_read_slice", &PIXELS, choices, |error| unsafe {
        transunet_volume_read_slice(volume, slice, out, count, error)
    });
}

fn segment(session: &mut Session, choices: &mut Choices) {
    let (model, volume) = (session.model(choices), session.volume(choices));
    let probabilities_path = if choices.once_in(4) { choices.one_of(&session.files.outputs) } else { null() };
    let options = transunet_segment_options {
        struct_size: 0,
        batch: choices.number() as usize,
        probabilities_path,
        keep_probabilities: choices.pick(&[0, 1, 1, 2, -1]),
        reserved: 0,
    };
    let options = choices.sized(options);
    let labelmap = session.controlled(choices, false, |choices, control| {
        made("transunet_segment", &COMPUTING, choices, |out, error| unsafe {
            transunet_segment(model, volume, pointer(&options), control, out, error)
        })
    });
    session.labelmaps.extend(labelmap);
}

fn empty_label() -> transunet_label_info {
    let none = transunet_code { value: null(), scheme: null(), meaning: null() };
    transunet_label_info {
        struct_size: 0,
        value: 0,
        rgb: [0; 3],
        reserved: 0,
        name: null(),
        category: none,
        r#type: none,
        modifier: none,
        region: none,
    }
}

fn labelmap_look(session: &mut Session, choices: &mut Choices) {
    let labelmap = session.labelmap(choices);
    let count = unsafe { transunet_labelmap_label_count(labelmap) };
    let index = if choices.once_in(8) { usize::MAX } else { choices.number() as usize };
    let label = filled("transunet_labelmap_label", empty_label(), choices, |out, error| unsafe {
        transunet_labelmap_label(labelmap, index, out, error)
    });
    assert!(!label || index < count);
    filled("transunet_labelmap_geometry", empty_geometry(), choices, |out, error| unsafe {
        transunet_labelmap_geometry(labelmap, out, error)
    });
    let said = unsafe { transunet_labelmap_describe(labelmap) };
    assert_eq!(said.is_null(), labelmap.is_null());
    if !said.is_null() {
        json("transunet_labelmap_describe", said);
    }
}

/// All labels of a label map; none where it is NULL.
fn voxels<'a>(labelmap: *const transunet_labelmap) -> &'a [u8] {
    let mut count = usize::MAX;
    unsafe {
        let voxels = transunet_labelmap_voxels(labelmap, &mut count);
        assert_eq!(voxels.is_null(), count == 0);
        if count == 0 { &[] } else { std::slice::from_raw_parts(voxels, count) }
    }
}

fn labelmap_read_slice(session: &mut Session, choices: &mut Choices) {
    let labelmap = session.labelmap(choices);
    let mut geometry = empty_geometry();
    unsafe { transunet_labelmap_geometry(labelmap, &mut geometry, null_mut()) };
    let (all, len) = (voxels(labelmap), geometry.columns as usize * geometry.rows as usize);
    let count = if choices.once_in(4) { choices.number() as usize % 5000 } else { len };
    let mut labels = vec![255; count];
    let out = if choices.once_in(16) { null_mut() } else { labels.as_mut_ptr() };
    let slice = choices.number();
    let status = status("transunet_labelmap_read_slice", &[], choices, |error| unsafe {
        transunet_labelmap_read_slice(labelmap, slice, out, count, error)
    });
    if status == TRANSUNET_STATUS_OK {
        assert_eq!(labels, all[slice as usize * len..][..len]);
    }
}

fn labelmap_with_voxels(session: &mut Session, choices: &mut Choices) {
    let labelmap = session.labelmap(choices);
    let mut labels = voxels(labelmap).to_vec();
    if choices.once_in(8) {
        labels.truncate(choices.number() as usize);
    }
    let most = if choices.once_in(4) { 255 } else { 3 };
    for _ in 0..choices.byte() % 8 {
        let at = usize::from(choices.byte()) * 7;
        if let Some(label) = labels.get_mut(at) {
            *label = choices.byte() % most;
        }
    }
    let data = if choices.once_in(16) { null() } else { labels.as_ptr() };
    let count = labels.len();
    let changed = made("transunet_labelmap_with_voxels", &[], choices, |out, error| unsafe {
        transunet_labelmap_with_voxels(labelmap, data, count, out, error)
    });
    if let Some(changed) = changed {
        assert_eq!(voxels(changed), labels);
        session.labelmaps.push(changed);
    }
}

fn labelmap_write(session: &mut Session, choices: &mut Choices) {
    let (labelmap, path) = (session.labelmap(choices), choices.one_of(&session.files.outputs));
    session.controlled(choices, false, |choices, control| {
        status("transunet_labelmap_write", &WRITING, choices, |error| unsafe {
            transunet_labelmap_write(labelmap, path, control, error)
        })
    });
}

fn labelmap_write_dicom_seg(session: &mut Session, choices: &mut Choices) {
    let (labelmap, path) = (session.labelmap(choices), choices.one_of(&session.files.outputs));
    let options = transunet_seg_options {
        struct_size: 0,
        series_description: choices.maybe(&[]),
        content_label: choices.maybe(&session.files.content_labels),
        content_description: choices.maybe(&[]),
        content_creator: choices.maybe(&[]),
        series_number: choices.number(),
        deterministic: choices.pick(&[0, 1, 1, 2]),
        encoding: choices.pick(&[0, 1, 2, 3, -1]),
        compression: choices.pick(&[0, 1, 2, 3, i32::MIN]),
    };
    let options = choices.sized(options);
    session.controlled(choices, false, |choices, control| {
        status("transunet_labelmap_write_dicom_seg", &WRITING, choices, |error| unsafe {
            transunet_labelmap_write_dicom_seg(labelmap, path, pointer(&options), control, error)
        })
    });
}

fn labelmap_write_picture(session: &mut Session, choices: &mut Choices) {
    let (labelmap, path) = (session.labelmap(choices), choices.one_of(&session.files.outputs));
    // Those of the usual size would take most of the time.
    let any_size = choices.once_in(16);
    let options = transunet_picture_options {
        struct_size: size_of::<transunet_picture_options>(),
        window_low: if choices.once_in(2) { choices.length() } else { 0.0 },
        window_high: if choices.once_in(2) { choices.length() } else { 0.0 },
        opacity: if choices.once_in(2) { choices.length() } else { 0.0 },
        slices: if any_size { choices.number() } else { 2 },
        tile: if any_size { choices.number() } else { 16 },
    };
    let record = choices.sized(options);
    let options = if any_size { pointer(&record) } else { &raw const options };
    session.controlled(choices, false, |choices, control| {
        status("transunet_labelmap_write_picture", &MEASURING, choices, |error| unsafe {
            transunet_labelmap_write_picture(labelmap, path, options, control, error)
        })
    });
}

fn labelmap_statistics(session: &mut Session, choices: &mut Choices) {
    let labelmap = session.labelmap(choices);
    let found = session.controlled(choices, false, |choices, control| {
        made("transunet_labelmap_statistics", &MEASURING, choices, |out, error| unsafe {
            transunet_labelmap_statistics(labelmap, control, out, error)
        })
    });
    read(found, "transunet_labelmap_statistics");
}

unsafe extern "C-unwind" fn log(level: i32, target: *const c_char, message: *const c_char, _: *mut c_void) {
    assert!((TRANSUNET_LOG_ERROR..=TRANSUNET_LOG_TRACE).contains(&level));
    text("on_log", target);
    text("on_log", message);
}

fn runtime_create(session: &mut Session, choices: &mut Choices) {
    let options = transunet_runtime_options {
        struct_size: 0,
        device: choices.maybe(&session.files.devices),
        kernel_cache: if choices.once_in(4) { choices.one_of(&session.files.outputs) } else { null() },
        log_level: choices.pick(&[0, 1, 2, 3, 4, 5, 6, -1]),
        cpu_threads: choices.number(),
        on_log: if choices.once_in(2) { Some(log) } else { None },
        log_user_data: null_mut(),
    };
    let options = choices.sized(options);
    let opening = [TRANSUNET_STATUS_IO, TRANSUNET_STATUS_DEVICE_UNAVAILABLE];
    let runtime = made("transunet_runtime_create", &opening, choices, |out, error| unsafe {
        transunet_runtime_create(pointer(&options), out, error)
    });
    if let Some(runtime) = runtime {
        json("transunet_runtime_describe", unsafe { transunet_runtime_describe(runtime) });
        session.runtimes.push(runtime);
    }
}

fn model_load(session: &mut Session, choices: &mut Choices) {
    let (runtime, path) = (session.runtime(choices), choices.one_of(&session.files.models));
    let precision = choices.pick(&[0, 0, 0, 1, 2, 3, -1]);
    let options = choices.sized(transunet_model_options { struct_size: 0, precision, reserved: 0 });
    let model = session.controlled(choices, false, |choices, control| {
        made("transunet_model_load", &LOADING, choices, |out, error| unsafe {
            transunet_model_load(runtime, path, pointer(&options), control, out, error)
        })
    });
    session.models.extend(model);
}

fn model_save(session: &mut Session, choices: &mut Choices) {
    let (model, path) = (session.model(choices), choices.one_of(&session.files.outputs));
    let saving = [TRANSUNET_STATUS_IO, TRANSUNET_STATUS_DEVICE_LOST];
    status("transunet_model_save", &saving, choices, |error| unsafe { transunet_model_save(model, path, error) });
}

fn model_look(session: &mut Session, choices: &mut Choices) {
    let model = session.model(choices);
    let count = unsafe { transunet_model_label_count(model) };
    let index = if choices.once_in(8) { usize::MAX } else { choices.number() as usize };
    let label = filled("transunet_model_label", empty_label(), choices, |out, error| unsafe {
        transunet_model_label(model, index, out, error)
    });
    assert!(!label || index < count);
    let said = unsafe { transunet_model_describe(model) };
    assert_eq!(said.is_null(), model.is_null());
    if !said.is_null() {
        json("transunet_model_describe", said);
    }
}

fn cancel_create(session: &mut Session, choices: &mut Choices) {
    let cancel =
        made("transunet_cancel_create", &[], choices, |out, error| unsafe { transunet_cancel_create(out, error) });
    session.cancels.extend(cancel);
}

fn cancel_look(session: &mut Session, choices: &mut Choices) {
    let cancel = session.cancel(choices);
    unsafe {
        if choices.once_in(2) {
            transunet_cancel_trigger(cancel);
            assert_eq!(transunet_cancel_is_triggered(cancel) == 1, !cancel.is_null());
        }
        assert!((0..=1).contains(&transunet_cancel_is_triggered(cancel)));
    }
}

/// Frees a handle, or NULL as each kind.
fn free(session: &mut Session, choices: &mut Choices) {
    if choices.once_in(8) {
        unsafe {
            transunet_error_free(null_mut());
            transunet_text_free(null_mut());
            transunet_labelmap_free(null_mut());
            transunet_volume_free(null_mut());
            transunet_model_free(null_mut());
            transunet_runtime_free(null_mut());
            transunet_cancel_free(null_mut());
        }
    } else {
        session.free_one(choices);
    }
}

fn library(_: &mut Session, choices: &mut Choices) {
    assert_eq!(transunet_abi_version(), TRANSUNET_ABI_VERSION);
    text("transunet_version_string", transunet_version_string());
    text("transunet_status_name", transunet_status_name(choices.number().cast_signed()));
    text("transunet_plugin_manifest", transunet_plugin_manifest());
    let devices =
        made("transunet_device_list", &[], choices, |out, error| unsafe { transunet_device_list(out, error) });
    read(devices, "transunet_device_list");
    unsafe {
        assert_eq!(transunet_error_code(null()), TRANSUNET_STATUS_OK);
        assert_eq!(text("transunet_error_message", transunet_error_message(null())), "");
        assert!(transunet_text_data(null()).is_null() && transunet_text_size(null()) == 0);
        assert!(transunet_runtime_describe(null()).is_null());
    }
}

fn models_list(session: &mut Session, choices: &mut Choices) {
    let folder = if choices.once_in(4) { null() } else { choices.one_of(&session.files.inputs) };
    let list = made("transunet_models_list", &[TRANSUNET_STATUS_IO], choices, |out, error| unsafe {
        transunet_models_list(folder, out, error)
    });
    read(list, "transunet_models_list");
}

/// Trains up to the first event, which comes once the data are read: all else takes longer than the rest of a sequence. Texts
/// made of the input say nothing of folders, which are given beside them then.
fn train(session: &mut Session, choices: &mut Choices) {
    let runtime = session.runtime(choices);
    let files = session.files;
    let settings = choices.maybe(&files.settings);
    let config = if choices.once_in(8) { null() } else { choices.one_of(&files.configurations) };
    let options = transunet_train_options {
        struct_size: size_of::<transunet_train_options>(),
        data_folder: choices.one_of(&files.data),
        output_folder: choices.one_of(&files.runs),
        settings,
        resume: choices.pick(&[0, 0, 1, 2]),
        reserved: 0,
    };
    let folders = !options.data_folder.is_null() && !options.output_folder.is_null();
    if settings.is_null() || folders {
        let model = session.controlled(choices, true, |choices, control| {
            made("transunet_train", &TRAINING, choices, |out, error| unsafe {
                transunet_train(runtime, config, &options, control, out, error)
            })
        });
        session.models.extend(model);
    }
}
