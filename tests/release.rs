//! The release archive: what it contains, that it works where it is unpacked, and what may be in it. The long build for
//! other distributions is not part of the tests; scripts/release checks its outcome.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::run;
use sha2::{Digest, Sha256};
use spdx::{Expression, ParseMode};
use tempfile::TempDir;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn library() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join("libtransunet.so")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Packs what cargo built for this test into `output`; the bytes of the archive.
fn pack(output: &Path) -> Vec<u8> {
    let licences = output.join("licences.md");
    fs::create_dir_all(output).unwrap();
    fs::write(&licences, "stands in for the licences\n").unwrap();
    let said = run(Command::new(root("scripts/release"))
        .arg("--library")
        .arg(library())
        .arg("--command")
        .arg(env!("CARGO_BIN_EXE_transunet"))
        .arg("--licences")
        .arg(&licences)
        .arg("--output")
        .arg(output)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .env("XZ_OPT", "-0"));
    assert!(text(&said.stdout).contains(" kB  lib/libtransunet.so.1\n"), "{}", text(&said.stdout));
    fs::read(output.join(archive())).unwrap()
}

fn name() -> String {
    format!("transunet-{}-linux-x86_64", env!("CARGO_PKG_VERSION"))
}

fn archive() -> String {
    format!("{}.tar.xz", name())
}

#[test]
fn archive_works_where_it_is_unpacked() {
    let test = "archive_works_where_it_is_unpacked";
    if ["cmake", "objdump", "xz"].map(|name| common::program(test, name).is_none()).contains(&true) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bytes = pack(&at("packed"));
    assert!(bytes == pack(&at("again")), "the same sources give other bytes");
    let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(fs::read_to_string(at("packed/SHA256SUMS")).unwrap(), format!("{sum}  {}\n", archive()));
    let left: Vec<_> = fs::read_dir(at("packed")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");

    fs::create_dir(at("else where")).unwrap();
    run(Command::new("tar").arg("-xf").arg(at("packed").join(archive())).arg("-C").arg(at("else where")));
    for made in ["packed", "again"] {
        fs::remove_dir_all(at(made)).unwrap();
    }
    let prefix = at("else where").join(name());
    for file in [
        "include/transunet.h",
        "include/transunet/transunet.hpp",
        "lib/transunet/slicer/TransUNet",
        "lib/transunet/slicer/TransUNet.xml",
        "lib/transunet/slicer/libTransUNetLib.so",
        "lib/transunet/slicer/libTransUNetTrainingLib.so",
        "lib/pkgconfig/transunet.pc",
        "share/transunet/plugin_manifest.yaml",
        "share/doc/transunet/README.md",
        "share/doc/transunet/THIRD-PARTY-LICENCES.md",
    ] {
        assert!(prefix.join(file).is_file(), "{file} is not in the archive");
    }
    let library = prefix.join("lib/libtransunet.so");
    assert_eq!(fs::read_link(&library).unwrap(), Path::new("libtransunet.so.1"));
    let made = fs::metadata(&library).unwrap().modified().unwrap();
    assert_eq!(made.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_700_000_000);

    // The command, the library and a module find the models beside them; a program finds all by CMake.
    let command = prefix.join("bin/transunet");
    run(Command::new(&command).args(["demo", "--quiet", "--output"]).arg(at("demo")));
    let ours = at("command.seg.nrrd");
    run(Command::new(&command).arg("segment").arg(at("demo/ct")).args(["--model", "phantom", "--output"]).arg(&ours));
    run(Command::new("cmake")
        .arg("-S")
        .arg(prefix.join("share/doc/transunet/examples"))
        .arg("-B")
        .arg(at("build"))
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())));
    run(Command::new("cmake").arg("--build").arg(at("build")).args(["--target", "segment_cpp"]));
    let theirs = at("program.seg.nrrd");
    run(Command::new(at("build/segment_cpp")).arg("phantom").arg(at("demo/ct")).arg(&theirs));
    assert!(fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(), "the program and the command disagree");
    let from_module = at("module.seg.nrrd");
    run(Command::new(prefix.join("lib/transunet/slicer/TransUNet"))
        .arg("--dicom_folder")
        .arg(at("demo/ct"))
        .args(["--model", "phantom", "--output_labels"])
        .arg(&from_module));
    assert!(fs::read(&ours).unwrap() == fs::read(&from_module).unwrap(), "the module and the command disagree");
}

#[test]
fn library_needs_no_library_of_cpp() {
    let test = "library_needs_no_library_of_cpp";
    if common::program(test, "objdump").is_none() {
        return;
    }
    let needs = |libraries: &str, versions: &str| {
        let output = Command::new(root("packaging/needs")).args([libraries, versions]).arg(library()).output().unwrap();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    let (fits, said) = needs("libc.so.6 libm.so.6 libgcc_s.so.1 ld-linux-x86-64.so.2", "GLIBC_2.99 GCC_99");
    assert!(fits && said.contains("libtransunet.so: "), "{said}");
    // And what is too much is told.
    let (fits, said) = needs("libm.so.6 libgcc_s.so.1 ld-linux-x86-64.so.2", "GLIBC_2.99 GCC_99");
    assert!(!fits && said.contains("needs libc.so.6; allowed are libm.so.6"), "{said}");
    let (fits, said) = needs("libc.so.6 libm.so.6 libgcc_s.so.1 ld-linux-x86-64.so.2", "GLIBC_2.9 GCC_99");
    assert!(!fits && said.contains("the newest allowed is GLIBC_2.9"), "{said}");
    let (fits, said) = needs("libc.so.6 libm.so.6 libgcc_s.so.1 ld-linux-x86-64.so.2", "GLIBC_2.99");
    assert!(!fits && said.contains("needs GCC_"), "{said}");
}

/// The strings of the array `name` in `toml`.
fn array<'a>(toml: &'a str, name: &str) -> Vec<&'a str> {
    let (_, after) = toml.split_once(&format!("{name} = [")).unwrap();
    after.split_once(']').unwrap().0.split('"').skip(1).step_by(2).collect()
}

#[test]
fn licences_of_dependencies_are_accepted() {
    let about = fs::read_to_string(root("packaging/about.toml")).unwrap();
    let accepted = array(&about, "\naccepted");
    assert!(accepted.contains(&"MIT") && !accepted.iter().any(|licence| licence.contains("GPL")), "{accepted:?}");
    let tree = run(Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--target", "x86_64-unknown-linux-gnu"])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"])
        .current_dir(root("")));
    let tree = text(&tree.stdout);
    let mut packages: Vec<(&str, &str)> = tree.lines().filter_map(|line| line.split_once('|')).collect();
    packages.sort_unstable();
    packages.dedup();
    assert!(packages.len() > 100, "{tree}");
    let mut refused = Vec::new();
    for (package, licence) in packages {
        let name = package.split(' ').next().unwrap();
        let own = if about.contains(&format!("\n[{name}]\n")) {
            array(about.split_once(&format!("\n[{name}]\n")).unwrap().1, "accepted")
        } else {
            Vec::new()
        };
        let fits = Expression::parse_mode(licence, ParseMode::LAX).is_ok_and(|expression| {
            expression.evaluate(|one| {
                let one = one.to_string();
                accepted.contains(&one.as_str()) || own.contains(&one.as_str())
            })
        });
        if !fits {
            refused.push(format!("{package}: {licence}"));
        }
    }
    assert!(refused.is_empty(), "packaging/about.toml does not accept\n{}", refused.join("\n"));
}
