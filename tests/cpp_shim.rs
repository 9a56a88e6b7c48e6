//! The C++ side as its users have it: built and installed with CMake, moved to another folder, and then used by programs
//! in C and C++, by hosts that load or run the modules, and by 3D Slicer's own logic.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/discs.rs"]
mod discs;
#[path = "cpp_shim/hosts.rs"]
mod hosts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use common::run;
use tempfile::TempDir;

const MODULES: [&str; 2] = ["TransUNet", "TransUNetTraining"];
const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-pedantic", "-Werror"];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The library that cargo built for this test.
fn library() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join("libtransunet.so")
}

/// `cmake -S cpp_shim`, built in `build`.
fn build(test: &str, build: &Path, more: &[&str]) -> Option<()> {
    run(common::program(test, "cmake")?
        .arg("-S")
        .arg(root("cpp_shim"))
        .arg("-B")
        .arg(build)
        .arg(format!("-DTRANSUNET_LIBRARY={}", library().display()))
        .arg(format!("-DTRANSUNET_COMMAND={}", env!("CARGO_BIN_EXE_transunet")))
        .args(more));
    run(Command::new("cmake").arg("--build").arg(build).arg("--parallel"));
    Some(())
}

/// An install tree that was moved after it was made, and the demo's patient.
struct Installed {
    folder: TempDir,
}

impl Installed {
    fn new(test: &str) -> Option<&'static Installed> {
        static INSTALLED: OnceLock<Option<Installed>> = OnceLock::new();
        let make = || {
            let folder = TempDir::new().unwrap();
            let at = |name: &str| folder.path().join(name);
            build(test, &at("build"), &["-DCMAKE_CXX_FLAGS=-Werror"])?;
            run(Command::new("cmake").arg("--install").arg(at("build")).arg("--prefix").arg(at("first place")));
            fs::remove_dir_all(at("build")).unwrap();
            fs::rename(at("first place"), at("moved")).unwrap();
            run(Command::new(at("moved/bin/transunet")).args(["demo", "--quiet", "--output"]).arg(at("demo")));
            Some(Installed { folder })
        };
        let installed = INSTALLED.get_or_init(make).as_ref();
        if installed.is_none() {
            common::skipped(test, "cmake");
        }
        installed
    }

    fn prefix(&self, path: &str) -> PathBuf {
        self.folder.path().join("moved").join(path)
    }

    fn modules(&self) -> PathBuf {
        self.prefix("lib/transunet/slicer")
    }

    fn demo(&self, path: &str) -> PathBuf {
        self.folder.path().join("demo").join(path)
    }
}

#[test]
fn install_tree_has_its_layout() {
    let test = "install_tree_has_its_layout";
    let Some(installed) = Installed::new(test) else { return };
    for path in [
        "bin/transunet",
        "include/transunet.h",
        "include/transunet/transunet.hpp",
        "lib/libtransunet.so.1",
        "lib/cmake/TransUNet/TransUNetConfig.cmake",
        "lib/cmake/TransUNet/TransUNetConfigVersion.cmake",
        "lib/pkgconfig/transunet.pc",
        "share/transunet/models/phantom.safetensors",
        "share/transunet/plugin_manifest.yaml",
        "share/doc/transunet/LICENSE-MIT",
        "share/doc/transunet/examples/segment.cpp",
    ] {
        assert!(installed.prefix(path).is_file(), "{path} is not installed");
    }
    assert_eq!(fs::read_link(installed.prefix("lib/libtransunet.so")).unwrap(), Path::new("libtransunet.so.1"));
    assert!(!installed.prefix("lib/libtransunet.a").exists());
    let place = root("").display().to_string();
    for file in ["lib/cmake/TransUNet/TransUNetConfig.cmake", "lib/pkgconfig/transunet.pc"] {
        let content = fs::read_to_string(installed.prefix(file)).unwrap();
        assert!(!content.contains(&place) && !content.contains("first place"), "{file}: {content}");
    }
    for module in MODULES {
        let at = |name: String| installed.modules().join(name);
        for name in [module.to_string(), format!("{module}.xml"), format!("lib{module}Lib.so")] {
            assert!(at(name.clone()).is_file(), "{name} is not installed");
        }
        let Some(mut nm) = common::program(test, "nm") else { return };
        let listed = run(nm.args(["-D", "--defined-only", "--format=posix"]).arg(at(format!("lib{module}Lib.so"))));
        let symbols: Vec<String> =
            text(&listed.stdout).lines().map(|line| line.split(' ').next().unwrap().to_string()).collect();
        let mut expected: Vec<String> = ["Height", "Image", "Length", "PixelSize", "Width"]
            .map(|part| format!("ModuleLogo{part}"))
            .into_iter()
            .chain(["ModuleEntryPoint".into(), "XMLModuleDescription".into()])
            .collect();
        expected.sort();
        assert_eq!(symbols, expected, "{module}");
    }
}

#[test]
fn examples_work_against_the_moved_tree() {
    let test = "examples_work_against_the_moved_tree";
    let Some(installed) = Installed::new(test) else { return };
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let sources = installed.prefix("share/doc/transunet/examples");
    run(Command::new("cmake")
        .arg("-S")
        .arg(&sources)
        .arg("-B")
        .arg(at("build"))
        .args(["-DCMAKE_C_FLAGS=-Werror -std=c99", "-DCMAKE_CXX_FLAGS=-Werror"])
        .arg(format!("-DCMAKE_PREFIX_PATH={}", installed.prefix("").display())));
    run(Command::new("cmake").arg("--build").arg(at("build")).arg("--parallel"));

    let mut programs = vec![at("build/segment_c"), at("build/segment_cpp")];
    if let Some(mut pkg_config) = common::program(test, "pkg-config") {
        pkg_config.env("PKG_CONFIG_PATH", installed.prefix("lib/pkgconfig"));
        let flags = text(&run(pkg_config.args(["--cflags", "--libs", "transunet"])).stdout);
        for (compiler, source) in [("cc", "segment.c"), ("c++", "segment.cpp")] {
            let program = at(&source.replace('.', "_by_pkg_config_"));
            run(Command::new(compiler)
                .arg(sources.join(source))
                .args(WARNINGS)
                .args(flags.split_whitespace())
                .arg(format!("-Wl,-rpath,{}", installed.prefix("lib").display()))
                .arg("-o")
                .arg(&program));
            programs.push(program);
        }
    }
    for (n, program) in programs.iter().enumerate() {
        let output = at(&format!("{n}.seg.nrrd"));
        // The model by its id: the library finds what was installed and moved with it.
        let said = run(Command::new(program).arg("phantom").arg(installed.demo("ct")).arg(&output));
        assert!(text(&said.stdout).contains("Liver"), "{program:?}");
        assert!(text(&said.stderr).contains("slice 32 of 32"), "{program:?}");
        let said = Command::new(program).arg("phantom").arg(at("nowhere")).arg(&output).output().unwrap();
        assert!(!said.status.success() && text(&said.stderr).contains("nowhere"), "{program:?}");
    }
    let first = fs::read(at("0.seg.nrrd")).unwrap();
    for (n, program) in programs.iter().enumerate() {
        assert!(first == fs::read(at(&format!("{n}.seg.nrrd"))).unwrap(), "{program:?}");
    }

    run(Command::new(at("build/voxels_c")).arg("phantom"));
    run(Command::new(at("build/voxels_cpp")).arg("phantom").arg(at("v.seg.nrrd")));
    assert!(at("v.seg.nrrd").is_file());

    let set = discs::Set::new();
    let train = |program: &str, run: &str, more: &[&str]| {
        let mut command = Command::new(at("build").join(program));
        command.arg(set.at("data")).arg(at(run)).args(more);
        command
    };
    let said = run(&mut train("train_c", "c", &["1"]));
    assert!(text(&said.stdout).contains("model.safetensors has 2 labels"));
    // Stopped by its flag, then gone on with.
    let said = run(&mut train("train_cpp", "cpp", &["1000", "1"]));
    assert!(text(&said.stdout).starts_with("stopped"), "{}", text(&said.stdout));
    let steps = |said: &Output| text(&said.stderr).lines().filter(|line| line.starts_with("step ")).count();
    assert!(steps(&said) > 1);
    let went_on = run(&mut train("train_cpp", "cpp", &["1000", "1"]));
    assert!(!text(&went_on.stderr).contains("step 0 of"), "{}", text(&went_on.stderr));
}

/// A program of tests/cpp under the address and undefined-behaviour sanitizers.
fn sanitized(test: &str, source: &str, folder: &Path, more: &[&str]) -> Option<Command> {
    let soname = folder.join("libtransunet.so.1");
    if !soname.exists() {
        std::os::unix::fs::symlink(library(), &soname).unwrap();
    }
    let program = folder.join(source.replace(".cpp", ""));
    run(common::program(test, "c++")?
        .arg("-std=c++17")
        .args(WARNINGS)
        .args(SANITIZERS)
        .arg("-pthread")
        .args([root("include"), root("cpp_shim/include")].map(|folder| format!("-I{}", folder.display())))
        .arg(root("tests/cpp").join(source))
        .arg(&soname)
        .arg(format!("-Wl,-rpath,{}", folder.display()))
        .args(more)
        .arg("-o")
        .arg(&program));
    let mut command = Command::new(program);
    command.current_dir(folder);
    Some(command)
}

const SANITIZERS: [&str; 4] = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

#[test]
fn wrapper_keeps_its_promises() {
    let test = "wrapper_keeps_its_promises";
    let Some(installed) = Installed::new(test) else { return };
    let folder = TempDir::new().unwrap();
    let Some(mut program) = sanitized(test, "wrapper.cpp", folder.path(), &[]) else { return };
    let set = discs::Set::new();
    run(program
        .arg(installed.demo("model.safetensors"))
        .arg(installed.demo("ct"))
        .arg(set.config("out", ""))
        .arg(folder.path()));
}

#[test]
fn header_may_be_in_many_files_of_a_program() {
    let folder = TempDir::new().unwrap();
    for standard in ["c++17", "c++20"] {
        let Some(mut cc) = common::program("header_may_be_in_many_files_of_a_program", "c++") else { return };
        for (name, more) in [("a.cpp", "int b();\nint main() { return b(); }\n"), ("b.cpp", "int b() { return 0; }\n")]
        {
            let head = "#include <transunet/transunet.hpp>\n#include <transunet/transunet.hpp>\n";
            let use_it = "[[maybe_unused]] static auto used() { return transunet::devices(); }\n";
            fs::write(folder.path().join(name), format!("{head}{use_it}{more}")).unwrap();
        }
        run(cc
            .arg(format!("-std={standard}"))
            .args(WARNINGS)
            .args(["-Wconversion", "-Wshadow", "-Wold-style-cast"])
            .args([root("include"), root("cpp_shim/include")].map(|folder| format!("-I{}", folder.display())))
            .args(["a.cpp", "b.cpp"])
            .arg(library())
            .args(["-o", "program"])
            .current_dir(folder.path()));
    }
}

#[test]
fn modules_are_good_guests() {
    let test = "modules_are_good_guests";
    let Some(installed) = Installed::new(test) else { return };
    let folder = TempDir::new().unwrap();
    let modules = folder.path().join("build");
    // The modules too are built with the sanitizers, which the host brings.
    let flags = format!("-DCMAKE_CXX_FLAGS={}", SANITIZERS.join(" "));
    if build(test, &modules, &["-DCMAKE_BUILD_TYPE=None", &flags]).is_none() {
        return;
    }
    let Some(mut host) = sanitized(test, "host.cpp", folder.path(), &["-ldl"]) else { return };
    let set = discs::Set::new();
    let work = folder.path().join("work");
    fs::create_dir(&work).unwrap();
    let output = run(host
        .arg(modules.join("slicer"))
        .arg(installed.demo("model.safetensors"))
        .arg(installed.demo("ct"))
        .arg(set.config("out", ""))
        .arg(&work));
    assert_eq!(text(&output.stdout), "", "modules in a host print nothing");
    print!("{}", text(&output.stderr));
}
