//! The C API called from Rust, for what a C program cannot provoke: panics, every kind of error, label maps of choice.

mod common;

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use transunet::Error;
use transunet::control::Control;
use transunet::dicom::{Series, SeriesOptions};
use transunet::ffi::*;
use transunet::geometry::Geometry;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::{Code, Label};
use transunet::volume::Volume;

fn text(pointer: *const c_char) -> String {
    assert!(!pointer.is_null());
    unsafe { CStr::from_ptr(pointer) }.to_str().unwrap().to_string()
}

/// Status and message of a failed call; frees the error.
fn failure(call: impl FnOnce(*mut *mut transunet_error) -> transunet_status) -> (transunet_status, String) {
    let mut error = null_mut();
    let status = call(&mut error);
    assert_eq!(status, unsafe { transunet_error_code(error) });
    let message = text(unsafe { transunet_error_message(error) });
    unsafe { transunet_error_free(error) };
    (status, message)
}

unsafe extern "C-unwind" fn panics(_: i32, _: *const c_char, _: *const c_char, _: *mut c_void) {
    panic!("the host's callback");
}

#[test]
fn a_panic_is_one_failed_call() {
    let mut options = transunet_runtime_options {
        struct_size: size_of::<transunet_runtime_options>(),
        device: c"cpu".as_ptr(),
        kernel_cache: std::ptr::null(),
        log_level: TRANSUNET_LOG_INFO,
        cpu_threads: 0,
        on_log: Some(panics),
        log_user_data: null_mut(),
    };
    let mut runtime = null_mut();
    for _ in 0..2 {
        let (status, message) = failure(|error| unsafe { transunet_runtime_create(&options, &mut runtime, error) });
        assert_eq!((status, runtime), (TRANSUNET_STATUS_INTERNAL, null_mut()));
        assert_eq!(message, "internal error: panic: the host's callback");
    }
    options.on_log = None;
    assert_eq!(unsafe { transunet_runtime_create(&options, &mut runtime, null_mut()) }, TRANSUNET_STATUS_OK);
    unsafe { transunet_runtime_free(runtime) };
}

unsafe extern "C-unwind" fn stumbles(_: *const transunet_progress, _: *mut c_void) -> transunet_flow {
    panic!("while reading");
}

#[test]
fn a_panic_in_the_middle_of_reading_leaves_nothing() {
    let Some(folder) = common::data("a_panic_in_the_middle_of_reading_leaves_nothing", "dicom-ct-philips-head-5mm")
    else {
        return;
    };
    let path = c_path(&folder);
    let mut control = transunet_control {
        struct_size: size_of::<transunet_control>(),
        on_progress: Some(stumbles),
        user_data: null_mut(),
        cancel: null(),
    };
    let mut volume = null_mut();
    let (status, message) =
        failure(|error| unsafe { transunet_volume_open(path.as_ptr(), null(), &control, &mut volume, error) });
    assert_eq!((status, volume), (TRANSUNET_STATUS_INTERNAL, null_mut()));
    assert_eq!(message, "internal error: panic: while reading");
    control.on_progress = None;
    assert_eq!(unsafe { transunet_volume_open(path.as_ptr(), null(), &control, &mut volume, null_mut()) }, 0);
    unsafe { transunet_volume_free(volume) };
}

#[test]
fn every_error_has_its_status() {
    let said = || "said".to_string();
    let table = [
        (Error::Argument(said()), 100),
        (Error::Config(said()), 110),
        (Error::io("folder/file", "open", std::io::ErrorKind::NotFound.into()), 200),
        (Error::DicomParse(said()), 210),
        (Error::DicomUnsupported(said()), 211),
        (Error::DicomGeometry(said()), 212),
        (Error::SeriesChoice(said()), 213),
        (Error::VolumeFormat(said()), 220),
        (Error::WeightsFormat(said()), 300),
        (Error::WeightsMismatch(said()), 301),
        (Error::DeviceUnavailable(said()), 400),
        (Error::DeviceLost(said()), 401),
        (Error::OutOfMemory(said()), 402),
        (Error::Cancelled, 500),
        (Error::Diverged(said()), 510),
        (Error::Internal(said()), 900),
    ];
    for (error, status) in table {
        let words = error.to_string();
        let handle = transunet_error::from(error);
        assert_eq!(unsafe { transunet_error_code(&handle) }, status);
        assert_eq!(text(unsafe { transunet_error_message(&handle) }), words);
        assert_ne!(text(transunet_status_name(status)), "UNKNOWN");
    }
    let nul = transunet_error::from(Error::Argument("a\0b".into()));
    assert_eq!(text(unsafe { transunet_error_message(&nul) }), "a\u{FFFD}b");
}

fn c_path(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

/// Statuses that only files of the wrong kind provoke.
#[test]
fn wrong_files_have_their_statuses() {
    let mut runtime = null_mut();
    assert_eq!(unsafe { transunet_runtime_create(null(), &mut runtime, null_mut()) }, TRANSUNET_STATUS_OK);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (file, expected) in [
        ("vit/model.pth", TRANSUNET_STATUS_CONFIG),
        ("r50/google.npz", TRANSUNET_STATUS_WEIGHTS_MISMATCH),
        ("ops/ops.json", TRANSUNET_STATUS_WEIGHTS_FORMAT),
    ] {
        let path = c_path(&golden.join(file));
        let mut model = null_mut();
        let (status, message) =
            failure(|error| unsafe { transunet_model_load(runtime, path.as_ptr(), null(), null(), &mut model, error) });
        assert_eq!((status, model), (expected, null_mut()), "{file}: {message}");
    }
    unsafe { transunet_runtime_free(runtime) };

    let Some(folder) = common::data("wrong_files_have_their_statuses", "dicom-seg-liver-ct3") else { return };
    let path = c_path(&folder.join("liver.dcm"));
    let mut volume = null_mut();
    let (status, message) =
        failure(|error| unsafe { transunet_volume_open(path.as_ptr(), null(), null(), &mut volume, error) });
    assert_eq!((status, volume), (TRANSUNET_STATUS_DICOM_UNSUPPORTED, null_mut()), "{message}");
}

/// Two labels on 3 x 2 x 2 voxels of 2 mm.
fn labelmap() -> *mut transunet_labelmap {
    let geometry =
        Geometry::new([3, 2, 2], [2.0; 3], [1.0, 2.0, 3.0], [[1., 0., 0.], [0., 1., 0.], [0., 0., 1.]]).unwrap();
    let volume = Arc::new(Volume::from_memory(geometry, vec![0.0; 12], "memory").unwrap());
    let mut kidney = Label::numbered(3);
    kidney.name = "Left\0kidney".into();
    kidney.color = Some([1, 2, 3]);
    kidney.kind = Some(Code::new("64033007", "SCT", "Kidney"));
    kidney.modifier = Some(Code::new("7771000", "SCT", "Left"));
    let algorithm = Algorithm { name: "test".into(), version: "1".into() };
    let voxels = vec![0, 1, 0, 3, 3, 0, 0, 0, 0, 0, 1, 0];
    let labelmap = Labelmap::new(volume, voxels, vec![Label::numbered(1), kidney], algorithm).unwrap();
    Box::into_raw(Box::new(transunet_labelmap::new(labelmap).unwrap()))
}

fn empty_info() -> transunet_label_info {
    let none = transunet_code { value: null(), scheme: null(), meaning: null() };
    transunet_label_info {
        struct_size: size_of::<transunet_label_info>(),
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

#[test]
fn label_maps_show_voxels_grid_and_labels() {
    let labelmap = labelmap();
    let mut count = 0;
    let voxels = unsafe { transunet_labelmap_voxels(labelmap, &mut count) };
    assert_eq!(unsafe { std::slice::from_raw_parts(voxels, count) }, [0, 1, 0, 3, 3, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(unsafe { transunet_labelmap_voxels(labelmap, null_mut()) }, voxels);

    let mut geometry: transunet_geometry = unsafe { std::mem::zeroed() };
    geometry.struct_size = size_of::<transunet_geometry>();
    assert_eq!(unsafe { transunet_labelmap_geometry(labelmap, &mut geometry, null_mut()) }, 0);
    assert_eq!([geometry.columns, geometry.rows, geometry.slices], [3, 2, 2]);
    assert_eq!((geometry.spacing, geometry.origin), ([2.0; 3], [1.0, 2.0, 3.0]));

    assert_eq!(unsafe { transunet_labelmap_label_count(labelmap) }, 2);
    let mut info = empty_info();
    assert_eq!(unsafe { transunet_labelmap_label(labelmap, 1, &mut info, null_mut()) }, 0);
    assert_eq!((info.value, info.rgb, text(info.name).as_str()), (3, [1, 2, 3], "Left\u{FFFD}kidney"));
    assert_eq!([text(info.category.value), text(info.r#type.meaning)], ["123037004", "Kidney"]);
    assert_eq!((text(info.modifier.meaning).as_str(), info.region.value), ("Left", null()));
    let (status, message) = failure(|error| unsafe { transunet_labelmap_label(labelmap, 2, &mut info, error) });
    assert_eq!((status, message.as_str()), (100, "index is 2, there are 2 labels, counted from 0"));
    assert_eq!((info.value, info.name), (0, null()));

    let description: serde_json::Value =
        serde_json::from_str(&text(unsafe { transunet_labelmap_describe(labelmap) })).unwrap();
    assert_eq!(description["algorithm"]["name"], "test");
    assert_eq!(description["labels"][1]["value"], 3);
    assert_eq!(description["geometry"]["size"], serde_json::json!([3, 2, 2]));
    unsafe { transunet_labelmap_free(labelmap) };
}

#[test]
fn a_label_map_takes_corrected_voxels() {
    let original = labelmap();
    let mut corrected = null_mut();
    let with = |voxels: &[u8], out: *mut *mut transunet_labelmap, error: *mut *mut transunet_error| unsafe {
        transunet_labelmap_with_voxels(original, voxels.as_ptr(), voxels.len(), out, error)
    };
    for (voxels, expected) in [
        (vec![0; 11], "count is 11, expected 12"),
        (vec![2; 12], "voxel 0 has label 2, which is not among the 2 labels"),
    ] {
        let (status, message) = failure(|error| with(&voxels, &mut corrected, error));
        assert_eq!((status, message.as_str(), corrected), (100, expected, null_mut()));
    }
    let (_, message) =
        failure(|error| unsafe { transunet_labelmap_with_voxels(original, null(), 12, &mut corrected, error) });
    assert_eq!(message, "voxels is NULL");
    assert_eq!(with(&[3; 12], &mut corrected, null_mut()), 0);
    unsafe { transunet_labelmap_free(original) };
    let mut count = 0;
    let voxels = unsafe { transunet_labelmap_voxels(corrected, &mut count) };
    assert_eq!(unsafe { std::slice::from_raw_parts(voxels, count) }, [3; 12]);
    assert_eq!(unsafe { transunet_labelmap_label_count(corrected) }, 2);
    unsafe { transunet_labelmap_free(corrected) };
}

#[test]
fn writers_refuse_bad_paths_and_options() {
    let labelmap = labelmap();
    let path = |text: &str| CString::new(text).unwrap();
    let write = |name: &str, expected: &str| {
        let path = path(name);
        let (status, message) =
            failure(|error| unsafe { transunet_labelmap_write(labelmap, path.as_ptr(), null(), error) });
        assert_eq!(status, TRANSUNET_STATUS_INVALID_ARGUMENT, "{message}");
        assert!(message.contains(expected), "{message}");
    };
    write("", "path is empty");
    write("out.stl", "does not say what to write");
    write("out.dcm", "DICOM");
    let any = path("out.dcm");
    for (status, message, expected) in [
        failure(|e| unsafe { transunet_labelmap_write(labelmap, null(), null(), e) }),
        failure(|e| unsafe { transunet_labelmap_write_picture(labelmap, null(), null(), null(), e) }),
        failure(|e| unsafe { transunet_labelmap_write_dicom_seg(labelmap, null(), null(), null(), e) }),
    ]
    .map(|(status, message)| (status, message, "path is NULL"))
    {
        assert_eq!((status, message.as_str()), (100, expected));
    }
    type Change = fn(&mut transunet_seg_options);
    let changes: [(Change, &str); 7] = [
        (|options| options.struct_size = 8, "options->struct_size is 8"),
        (|options| options.series_number = 1 << 31, "options->series_number is 2147483648"),
        (|options| options.deterministic = 2, "options->deterministic is 2"),
        (|options| options.encoding = 3, "options->encoding is 3, expected 0, 1 or 2"),
        (|options| options.compression = -1, "options->compression is -1, expected 0, 1 or 2"),
        (|options| options.compression = TRANSUNET_SEG_RLE, "DICOM"),
        (|options| options.content_label = c"\xFF".as_ptr(), "options->content_label is not valid UTF-8"),
    ];
    for (change, expected) in changes {
        let mut options: transunet_seg_options = unsafe { std::mem::zeroed() };
        options.struct_size = size_of::<transunet_seg_options>();
        change(&mut options);
        let (status, message) =
            failure(|e| unsafe { transunet_labelmap_write_dicom_seg(labelmap, any.as_ptr(), &options, null(), e) });
        assert_eq!(status, 100);
        assert!(message.contains(expected), "{message}");
    }
    let (status, message) =
        failure(|e| unsafe { transunet_labelmap_write_dicom_seg(labelmap, any.as_ptr(), null(), null(), e) });
    assert_eq!(status, 100);
    assert!(message.contains("DICOM"), "{message}");
    unsafe { transunet_labelmap_free(labelmap) };
}

/// A box of label 1 in a CT series.
fn labelmap_of_series(folder: &Path) -> *mut transunet_labelmap {
    let series = Series::open(&[folder], &SeriesOptions::default(), &mut Control::none()).unwrap();
    let volume = Arc::new(Volume::from_series(Arc::new(series)));
    let [columns, rows, slices] = volume.geometry().size;
    let mut voxels = vec![0; columns * rows * slices];
    for k in 2..5 {
        for j in 100..150 {
            let start = (k * rows + j) * columns + 100;
            voxels[start..start + 50].fill(1);
        }
    }
    let algorithm = Algorithm { name: "test".into(), version: "1".into() };
    let labelmap = Labelmap::new(volume, voxels, vec![Label::numbered(1)], algorithm).unwrap();
    Box::into_raw(Box::new(transunet_labelmap::new(labelmap).unwrap()))
}

#[test]
fn label_maps_are_written_and_measured() {
    let Some(ct) = common::data("label_maps_are_written_and_measured", "dicom-ct-philips-head-5mm") else { return };
    let labelmap = labelmap_of_series(&ct);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);

    for (name, magic, at) in [
        ("out.dcm", &b"DICM"[..], 128),
        ("out.seg.nrrd", b"NRRD", 0),
        ("out.nrrd", b"NRRD", 0),
        ("out.nii.gz", b"\x1f\x8b", 0),
        ("out.nii", b"n+1\0", 344),
    ] {
        let path = c_path(&file(name));
        assert_eq!(unsafe { transunet_labelmap_write(labelmap, path.as_ptr(), null(), null_mut()) }, 0, "{name}");
        assert!(std::fs::read(file(name)).unwrap()[at..].starts_with(magic), "{name}");
    }

    let mut options: transunet_seg_options = unsafe { std::mem::zeroed() };
    options.struct_size = size_of::<transunet_seg_options>();
    options.series_description = c"Box of the test".as_ptr();
    options.series_number = 77;
    options.deterministic = 1;
    let twice = ["first", "second"].map(|name| {
        let path = c_path(&file(name));
        let written =
            unsafe { transunet_labelmap_write_dicom_seg(labelmap, path.as_ptr(), &options, null(), null_mut()) };
        assert_eq!(written, 0);
        std::fs::read(file(name)).unwrap()
    });
    assert!(twice[0] == twice[1], "deterministic objects differ");
    assert!(twice[0].windows(15).any(|bytes| bytes == b"Box of the test"));
    options.encoding = TRANSUNET_SEG_LABELMAP;
    options.compression = TRANSUNET_SEG_RLE;
    let path = c_path(&file("labelmap.dcm"));
    let written = unsafe { transunet_labelmap_write_dicom_seg(labelmap, path.as_ptr(), &options, null(), null_mut()) };
    assert_eq!(written, 0);
    assert!(std::fs::read(file("labelmap.dcm")).unwrap().windows(8).any(|bytes| bytes == b"LABELMAP"));
    options.content_label = c"lower case".as_ptr();
    let bad = c_path(&file("bad.dcm"));
    let (status, message) =
        failure(|e| unsafe { transunet_labelmap_write_dicom_seg(labelmap, bad.as_ptr(), &options, null(), e) });
    assert_eq!(status, 100, "{message}");
    assert!(!file("bad.dcm").exists());

    let mut statistics = null_mut();
    assert_eq!(unsafe { transunet_labelmap_statistics(labelmap, null(), &mut statistics, null_mut()) }, 0);
    let figures: serde_json::Value = serde_json::from_str(&text(unsafe { transunet_text_data(statistics) })).unwrap();
    assert_eq!(figures["labels"][0]["voxels"], 3 * 50 * 50);
    unsafe { transunet_text_free(statistics) };

    let picture = c_path(&file("sheet.png"));
    let mut style: transunet_picture_options = unsafe { std::mem::zeroed() };
    style.struct_size = size_of::<transunet_picture_options>();
    (style.slices, style.tile, style.window_low, style.window_high) = (4, 64, 0.0, 80.0);
    assert_eq!(unsafe { transunet_labelmap_write_picture(labelmap, picture.as_ptr(), &style, null(), null_mut()) }, 0);
    assert!(std::fs::read(file("sheet.png")).unwrap().starts_with(b"\x89PNG"));
    type Change = fn(&mut transunet_picture_options);
    let changes: [(Change, &str); 4] = [
        (|style| style.opacity = 1.5, "options->opacity is 1.5"),
        (|style| style.opacity = f64::NAN, "options->opacity is NaN"),
        (|style| style.window_low = 80.0, "expected a rising window"),
        (|style| style.tile = 5000, "expected at most 10000 and 4096"),
    ];
    for (change, expected) in changes {
        let mut bad = style;
        change(&mut bad);
        let (status, message) =
            failure(|e| unsafe { transunet_labelmap_write_picture(labelmap, picture.as_ptr(), &bad, null(), e) });
        assert_eq!(status, 100);
        assert!(message.contains(expected), "{message}");
    }

    let mut cancel = null_mut();
    assert_eq!(unsafe { transunet_cancel_create(&mut cancel, null_mut()) }, 0);
    unsafe { transunet_cancel_trigger(cancel) };
    let control = transunet_control {
        struct_size: size_of::<transunet_control>(),
        on_progress: None,
        user_data: null_mut(),
        cancel,
    };
    let late = c_path(&file("late.dcm"));
    for (status, _) in [
        failure(|e| unsafe { transunet_labelmap_write(labelmap, late.as_ptr(), &control, e) }),
        failure(|e| unsafe { transunet_labelmap_write_dicom_seg(labelmap, late.as_ptr(), null(), &control, e) }),
        failure(|e| unsafe { transunet_labelmap_write_picture(labelmap, late.as_ptr(), null(), &control, e) }),
        failure(|e| unsafe { transunet_labelmap_statistics(labelmap, &control, &mut null_mut(), e) }),
    ] {
        assert_eq!(status, TRANSUNET_STATUS_CANCELLED);
    }
    assert!(!file("late.dcm").exists());
    unsafe { transunet_cancel_free(cancel) };
    unsafe { transunet_labelmap_free(labelmap) };
}
