//! The module and the Segment Editor effect for 3D Slicer: their logic with the real MRML library, their panel with
//! stand-ins for Qt, the extension's package with a stand-in for Slicer's build system.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/hosts.rs"]
mod hosts;

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use hosts::{demo, library, root, run};
use tempfile::TempDir;

/// Runs a script of tests/peers/panel, which ends with an error where a check fails.
#[track_caller]
fn passes(test: &str, script: &str, arguments: &[&OsStr]) {
    let Some(mut python) = common::peers(test) else { return };
    run(python
        .arg(root("tests/peers/panel").join(script))
        .args(arguments)
        .env("TRANSUNET_LIBRARY", library())
        .env("TRANSUNET_MODELS", root("models")));
}

#[track_caller]
fn logic(check: &str) {
    passes(check, "logic.py", &[check.as_ref(), demo().as_ref()]);
}

#[test]
fn every_pose_lands_in_its_place() {
    logic("places");
}

#[test]
fn names_colours_codes_and_figures_are_the_patients() {
    logic("truth");
}

#[test]
fn a_preview_is_the_results_slice() {
    let test = "a_preview_is_the_results_slice";
    let Some(data) = common::data(test, "msd-hippocampus/imagesTr/hippocampus_001.nii.gz") else { return };
    passes(test, "logic.py", &["previews".as_ref(), demo().as_ref(), data.as_ref()]);
}

#[test]
fn a_preview_is_where_the_views_cross() {
    logic("views");
}

#[test]
fn cancelled_work_leaves_the_scene_alone() {
    logic("cancel");
}

#[test]
fn a_second_run_replaces_the_first() {
    logic("again");
}

#[test]
fn transforms_are_followed_or_refused() {
    logic("transforms");
}

#[test]
fn what_cannot_be_segmented_is_refused() {
    logic("refusals");
}

#[test]
fn a_missing_gpu_is_said() {
    let list = run(Command::new(env!("CARGO_BIN_EXE_transunet")).arg("devices"));
    if list.contains("cuda:") && !list.contains("cannot be used") {
        return; // there is one
    }
    logic("gpu");
}

#[test]
fn all_voxel_types_are_taken() {
    logic("types");
}

#[test]
fn dicom_volumes_give_dicom_seg() {
    logic("dicom");
}

#[test]
fn panel_and_effect_run() {
    passes("panel_and_effect_run", "application.py", &[demo().as_ref()]);
}

/// Slicer's build system as far as the extension uses it: the scripted module's files must exist, and are installed.
const SLICER: &str = r#"
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer/qt-scripted-modules)
set(Slicer_INSTALL_CLIMODULES_BIN_DIR lib/Slicer/cli-modules)
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/Use.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/End.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/End.cmake")
"#;
const USE: &str = r#"
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(module "" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(script ${module_SCRIPTS})
    get_filename_component(folder "${script}" DIRECTORY)
    install(FILES "${script}" DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/${folder}")
  endforeach()
endmacro()
"#;

#[test]
fn the_extension_is_packed() {
    let test = "the_extension_is_packed";
    let Some(cmake) = common::program(test, "cmake") else { return };
    let Some(mut python) = common::peers(test) else { return };
    let cmake = || Command::new(cmake.get_program());
    let folder = TempDir::new().unwrap();
    let at = |path: &str| folder.path().join(path);
    for (path, text) in [
        ("slicer/SlicerConfig.cmake", SLICER),
        ("slicer/Use.cmake", USE),
        ("slicer/End.cmake", ""),
        ("tree/lib/transunet/slicer/TransUNet", ""),
        ("tree/lib/transunet/slicer/TransUNet.xml", ""),
        ("tree/lib/transunet/slicer/TransUNetInteractive.py", "a copy that must not become a CLI module"),
    ] {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), text).unwrap();
    }
    for (from, to) in [
        (library(), "tree/lib/libtransunet.so.1"),
        (root("hosts/python/transunet.py"), "tree/lib/transunet/python/transunet.py"),
        (root("models/phantom.safetensors"), "tree/share/transunet/models/phantom.safetensors"),
    ] {
        fs::create_dir_all(at(to).parent().unwrap()).unwrap();
        fs::copy(from, at(to)).unwrap();
    }
    let mut configure = cmake();
    configure.arg("-S").arg(root("hosts/slicer")).arg("-B").arg(at("build"));
    configure.arg(format!("-DSlicer_DIR={}", at("slicer").display()));
    configure.arg(format!("-DTRANSUNET_PREFIX={}", at("tree").display()));
    let refused = configure.output().unwrap();
    assert!(!refused.status.success() && hosts::said(&refused).contains("set TRANSUNET_HOMEPAGE"));
    run(configure.arg("-DTRANSUNET_HOMEPAGE=https://example.org/transunet"));
    run(cmake().arg("--install").arg(at("build")).arg("--prefix").arg(at("package")));

    let entry = fs::read(at("build/TransUNet.json")).unwrap();
    let entry: serde_json::Value = serde_json::from_slice(&entry).unwrap();
    assert_eq!(entry["category"], "Segmentation");
    assert_eq!(entry["scm_url"], "https://example.org/transunet");
    let modules: Vec<_> = fs::read_dir(at("package/lib/Slicer/cli-modules"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(modules.len(), 2, "{modules:?}");

    // The packed module finds its library and models, with nothing set.
    let text = run(python
        .args(["-c", "from TransUNetInteractiveLib.logic import Logic; print(Logic().models())"])
        .current_dir(at("package/lib/Slicer/qt-scripted-modules"))
        .env_remove("TRANSUNET_LIBRARY")
        .env_remove("TRANSUNET_MODELS"));
    assert!(text.contains("('phantom', 'TransUNet demo'"), "{text}");
}
