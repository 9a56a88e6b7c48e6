//! The C API as C and C++ programs see it: the header alone, then programs under the address and undefined-behaviour
//! sanitizers against the shared library.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/discs.rs"]
mod discs;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::run;
use tempfile::TempDir;
use transunet::config::ModelConfig;
#[cfg(feature = "cuda")]
use transunet::device::{Device, DeviceInfo};
use transunet::network::{Architecture, initial_values};
use transunet::weights::{self, BundleWriter, Precision};

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-pedantic", "-Werror"];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn header_compiles_alone_and_twice() {
    let folder = TempDir::new().unwrap();
    let source = "#include \"transunet.h\"\n#include \"transunet.h\"\n
        static transunet_control control = TRANSUNET_CONTROL_INIT;
        static transunet_runtime_options runtime = TRANSUNET_RUNTIME_OPTIONS_INIT;
        static transunet_volume_options volume = TRANSUNET_VOLUME_OPTIONS_INIT;
        static transunet_segment_options segment = TRANSUNET_SEGMENT_OPTIONS_INIT;
        static transunet_train_options train = TRANSUNET_TRAIN_OPTIONS_INIT;
        static transunet_seg_options seg = TRANSUNET_SEG_OPTIONS_INIT;
        static transunet_picture_options picture = TRANSUNET_PICTURE_OPTIONS_INIT;
        static transunet_geometry geometry = TRANSUNET_GEOMETRY_INIT;
        static transunet_label_info label = TRANSUNET_LABEL_INFO_INIT;
        size_t used(void);
        size_t used(void) {
            return control.struct_size + runtime.struct_size + volume.struct_size + segment.struct_size
                + train.struct_size + seg.struct_size + picture.struct_size + geometry.struct_size + label.struct_size;
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

/// A program of tests/c, linked with the library under its run-time name.
struct Program {
    folder: TempDir,
}

const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

impl Program {
    /// With the sanitizers. `None`, said aloud, where there is no compiler.
    fn build(source: &str, compiler: &str, standard: &str) -> Option<Self> {
        Program::with(&SANITIZERS, source, compiler, standard)
    }

    fn with(checks: &[&str], source: &str, compiler: &str, standard: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let built = std::env::current_exe().unwrap().parent().unwrap().join("libtransunet.so");
        let library = folder.path().join("libtransunet.so.1");
        symlink(&built, &library).unwrap();
        // A program that loads the library itself must not be linked with it.
        let library = if source == "reload.c" { Path::new("-ldl") } else { &library };
        let mut cc = common::program(source, compiler)?;
        run(cc
            .arg(format!("-std={standard}"))
            .args(WARNINGS)
            .args(["-g", "-O1", "-pthread"])
            .args(checks)
            .arg("-I")
            .arg(root("include"))
            .arg(root("tests/c").join(source))
            .arg(library)
            .arg(format!("-Wl,-rpath,{}", folder.path().display()))
            .arg("-o")
            .arg(folder.path().join("program")));
        Some(Program { folder })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.folder.path().join("program"));
        command.current_dir(self.folder.path());
        command
    }
}

fn passes(source: &str, compiler: &str, standard: &str) {
    if let Some(program) = Program::build(source, compiler, standard) {
        run(&mut program.command());
    }
}

#[test]
fn every_function_keeps_its_contract() {
    passes("contract.c", "cc", "c99");
}

#[test]
fn volumes_from_memory() {
    passes("volume.c", "cc", "c99");
}

#[test]
fn threads_share_handles() {
    passes("threads.c", "cc", "c11");
}

#[test]
fn loads_twice_in_one_process() {
    passes("reload.c", "cc", "c99");
}

#[test]
fn cpp_host() {
    passes("host.cpp", "c++", "c++17");
}

#[test]
fn dicom_series() {
    let test = "dicom_series";
    let [Some(ct), Some(mr), Some(tilted)] =
        ["dicom-ct-philips-head-5mm", "dicom-mr-sagittal-HFS", "dicom-ct-philips-tilt-minus18"]
            .map(|set| common::data(test, set))
    else {
        return;
    };
    let Some(program) = Program::build("dicom.c", "cc", "c99") else { return };
    let several = program.folder.path().join("several");
    fs::create_dir(&several).unwrap();
    for (name, folder) in [("ct", &ct), ("mr", &mr)] {
        let image = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| bytes.get(128..132) == Some(b"DICM"));
        let image = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find(image).unwrap();
        fs::copy(image, several.join(name)).unwrap();
    }
    run(program.command().args([&ct, &several, &tilted]));
}

/// A bundle of the tiny network, untrained, with two labels.
fn tiny_bundle(path: &Path) {
    bundle(path, Architecture::tiny(32, 3));
}

fn bundle(path: &Path, architecture: Architecture) {
    let config = ModelConfig::undescribed(architecture);
    let mut bundle = BundleWriter::create(path, &config, Precision::Single).unwrap();
    for (name, shape) in weights::expected(&config.architecture) {
        // Batch counts, which have no dimensions, start at 0.
        if !shape.is_empty() {
            bundle.put(&name, &initial_values(1, &name, &shape)).unwrap();
        }
    }
    bundle.finish().unwrap();
}

#[test]
fn models_segment_volumes() {
    let Some(program) = Program::build("segment.c", "cc", "c11") else { return };
    let model = program.folder.path().join("tiny.safetensors");
    tiny_bundle(&model);
    run(program.command().arg(&model));
}

/// Many segmentations at once, handles freed meanwhile, and `cancels` at random moments; on two models.
fn under_stress(models: [&Path; 2], cancels: usize) {
    let Some(program) = Program::build("stress.c", "cc", "c11") else { return };
    let empty = program.folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let output = run(program.command().current_dir(empty).args(models).arg(cancels.to_string()));
    println!("{}: {}", models[0].display(), String::from_utf8_lossy(&output.stdout));
}

#[test]
fn threads_free_and_cancel_at_any_time() {
    let folder = TempDir::new().unwrap();
    let tiny = folder.path().join("tiny.safetensors");
    tiny_bundle(&tiny);
    under_stress([&root("models/phantom.safetensors"), &tiny], 50);
}

/// `cargo test --release --test c_api -- --ignored --nocapture a_thousand_cancels`
#[test]
#[ignore = "minutes; docs/reliability.md has the figures"]
fn a_thousand_cancels() {
    let small = root("models/phantom.safetensors");
    under_stress([&small, &root("models/hippocampus.safetensors")], 1000);
    let folder = TempDir::new().unwrap();
    let full = folder.path().join("full.safetensors");
    bundle(&full, Architecture::r50_vit_b16(224, 9));
    under_stress([&full, &small], 60);
}

/// The sanitizers see the programs, Valgrind the library too: memory that is read and was never written, or is lost.
#[test]
fn valgrind_finds_nothing() {
    let Some(valgrind) = common::program("valgrind_finds_nothing", "valgrind") else { return };
    for source in ["contract.c", "volume.c", "threads.c", "segment.c", "reload.c"] {
        let Some(program) = Program::with(&[], source, "cc", "c11") else { return };
        let mut command = Command::new(valgrind.get_program());
        command
            .args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite"])
            .arg("--errors-for-leak-kinds=definite")
            .arg(program.folder.path().join("program"))
            .current_dir(program.folder.path());
        if source == "segment.c" {
            let model = program.folder.path().join("tiny.safetensors");
            tiny_bundle(&model);
            command.arg(model);
        }
        run(&mut command);
    }
}

#[test]
fn models_are_trained() {
    let Some(program) = Program::build("train.c", "cc", "c99") else { return };
    let set = discs::Set::new();
    run(program
        .command()
        .arg(set.config("out", ""))
        .arg(set.at("data"))
        .args([set.at("elsewhere"), set.at("planned")]));
}

/// Drivers, NVRTC and headers that are absent, refuse, or do not go together: an error or the CPU, never a crash.
#[cfg(feature = "cuda")]
#[test]
fn broken_cuda_never_ends_the_process() {
    let without = |device: DeviceInfo| device.unusable.is_some_and(|reason| reason.contains("no NVIDIA driver"));
    if !Device::list().into_iter().any(without) {
        return; // the fakes would mix with the real ones
    }
    let Some(program) = Program::build("device.c", "cc", "c99") else { return };
    let folder = program.folder.path();
    let fake = |name: &str, defines: &[&str]| {
        let place = folder.join(name);
        fs::create_dir_all(&place).unwrap();
        let library = if defines.is_empty() { "libnvrtc.so" } else { "libcuda.so" };
        let mut cc = common::program("fake_cuda.c", "cc").unwrap();
        run(cc
            .args(["-shared", "-fPIC", "-o"])
            .arg(place.join(library))
            .args(defines)
            .arg(root("tests/c/fake_cuda.c")));
        place
    };
    let headers = folder.join("toolkit");
    fs::create_dir_all(headers.join("include/crt")).unwrap();
    fs::write(headers.join("include/cuda_runtime.h"), "").unwrap();
    fs::write(headers.join("include/crt/mma.h"), "").unwrap();
    let nowhere = folder.join("nowhere");

    let none = folder.join("none");
    let refuses = fake("refuses", &["-DCARDS=1", "-DINIT_RESULT=999"]);
    let empty = fake("empty", &["-DCARDS=0", "-DINIT_RESULT=0"]);
    let ancient = fake("ancient", &["-DCARDS=1", "-DINIT_RESULT=0", "-DANCIENT"]);
    let bare = fake("bare", &["-DCARDS=2", "-DINIT_RESULT=0"]);
    let compiling = fake("compiling", &["-DCARDS=2", "-DINIT_RESULT=0"]);
    fake("compiling", &[]);
    let full = fake("full", &["-DCARDS=1", "-DINIT_RESULT=0", "-DFULL"]);
    fake("full", &[]);
    for (libraries, toolkit, reason) in [
        (&none, &nowhere, "no NVIDIA driver"),
        (&refuses, &nowhere, "cuInit: DriverError(CUDA_ERROR_UNKNOWN, "),
        (&empty, &nowhere, "sees no card"),
        (&ancient, &nowhere, "the NVIDIA driver is too old: "),
        (&bare, &nowhere, "NVRTC is not found"),
        (&compiling, &nowhere, "the CUDA headers (cuda_runtime.h, crt/mma.h) are not found"),
        // All is there and nothing works: what a mismatch of driver and toolkit looks like.
        (&compiling, &headers, "cuda:0 failed"),
        (&full, &headers, "CUDA_ERROR_OUT_OF_MEMORY"),
    ] {
        let output = run(program.command().arg(reason).env("LD_LIBRARY_PATH", libraries).env("CUDA_PATH", toolkit));
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(printed.is_empty(), "{reason}: {printed}");
    }
}
