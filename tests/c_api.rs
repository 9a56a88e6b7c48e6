//! The C API as C and C++ programs see it: the header alone, then programs under the address and undefined-behaviour
//! sanitizers against the shared library.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-pedantic", "-Werror"];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs `command`, which must succeed; its output tells why it did not.
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[test]
fn header_compiles_alone_and_twice() {
    let folder = TempDir::new().unwrap();
    let source = "#include \"transunet.h\"\n#include \"transunet.h\"\n
        static transunet_control control = TRANSUNET_CONTROL_INIT;
        static transunet_runtime_options runtime = TRANSUNET_RUNTIME_OPTIONS_INIT;
        static transunet_volume_options volume = TRANSUNET_VOLUME_OPTIONS_INIT;
        static transunet_segment_options segment = TRANSUNET_SEGMENT_OPTIONS_INIT;
        static transunet_seg_options seg = TRANSUNET_SEG_OPTIONS_INIT;
        static transunet_geometry geometry = TRANSUNET_GEOMETRY_INIT;
        static transunet_label_info label = TRANSUNET_LABEL_INFO_INIT;
        size_t used(void);
        size_t used(void) {
            return control.struct_size + runtime.struct_size + volume.struct_size + segment.struct_size
                + seg.struct_size + geometry.struct_size + label.struct_size;
        }\n";
    for (compiler, ending, standards) in
        [("cc", "c", &["c99", "c11", "c17"][..]), ("c++", "cpp", &["c++11", "c++14", "c++17", "c++20"][..])]
    {
        let file = folder.path().join("alone").with_extension(ending);
        fs::write(&file, source).unwrap();
        for standard in standards {
            let Some(mut cc) = common::program("header_compiles_alone_and_twice", compiler) else { break };
            run(cc
                .arg(format!("-std={standard}"))
                .args(WARNINGS)
                .arg("-fsyntax-only")
                .arg("-I")
                .arg(root("include"))
                .arg(&file));
        }
    }
}

/// Compiles `source` with the sanitizers, links it with the library under its run-time name and runs it.
fn sanitized(source: &str, compiler: &str, standard: &str, arguments: &[&Path]) {
    let Some(mut cc) = common::program(source, compiler) else { return };
    let folder = TempDir::new().unwrap();
    let built = std::env::current_exe().unwrap().parent().unwrap().join("libtransunet.so");
    let library = folder.path().join("libtransunet.so.1");
    symlink(&built, &library).unwrap();
    let program = folder.path().join("program");
    run(cc
        .arg(format!("-std={standard}"))
        .args(WARNINGS)
        .args(["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-pthread"])
        .arg("-I")
        .arg(root("include"))
        .arg(root("tests/c").join(source))
        .arg(&library)
        .arg(format!("-Wl,-rpath,{}", folder.path().display()))
        .arg("-o")
        .arg(&program));
    run(Command::new(&program).args(arguments).current_dir(folder.path()));
}

#[test]
fn every_function_keeps_its_contract() {
    sanitized("contract.c", "cc", "c99", &[]);
}

#[test]
fn volumes_from_memory() {
    sanitized("volume.c", "cc", "c99", &[]);
}

#[test]
fn threads_share_handles() {
    sanitized("threads.c", "cc", "c11", &[]);
}

#[test]
fn cpp_host() {
    sanitized("host.cpp", "c++", "c++17", &[]);
}
