//! What a released program relies on: exported symbols, struct layout, numbers, the library's run-time name.
//! `TRANSUNET_BLESS=1` rewrites tests/golden; a changed or lost line of a release needs a new ABI generation.

#![cfg(target_os = "linux")]

mod common;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn library() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join("libtransunet.so")
}

fn text_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn compare(golden: &str, now: &str) {
    let path = root("tests/golden").join(golden);
    if std::env::var_os("TRANSUNET_BLESS").is_some() {
        fs::write(&path, now).unwrap();
    }
    let frozen = fs::read_to_string(&path).unwrap_or_default();
    let only =
        |a: &str, b: &str| a.lines().filter(|line| !b.lines().any(|l| l == *line)).collect::<Vec<_>>().join("\n");
    assert!(
        frozen == now,
        "tests/golden/{golden} differs.\nonly frozen:\n{}\nonly now:\n{}",
        only(&frozen, now),
        only(now, &frozen)
    );
}

/// The header without its comments.
fn header() -> String {
    let text = fs::read_to_string(root("include/transunet.h")).unwrap();
    let mut bare = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("/*") {
        bare.push_str(before);
        rest = after.split_once("*/").unwrap().1;
    }
    bare + rest
}

/// Where it stands in docs/reliability.md, and nowhere else.
#[test]
fn unsafe_code_is_where_the_docs_say() {
    let allowing = |path: &Path| fs::read_to_string(path).unwrap().contains("allow(unsafe_code)");
    let mut found = Vec::new();
    let mut folders = vec![root("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if allowing(&path) {
                found.push(path.strip_prefix(root("")).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let docs = fs::read_to_string(root("docs/reliability.md")).unwrap();
    assert!(fs::read_to_string(root("src/lib.rs")).unwrap().contains("#![deny(unsafe_code)]"));
    assert!(found.contains(&"src/ffi/mod.rs".into()), "{found:?}");
    for place in found {
        let module = place.strip_suffix("/mod.rs").unwrap_or(&place);
        assert!(docs.contains(&format!("`{module}`")), "{place} is not in the list");
        let inside = module == "src/ffi" || module.starts_with("src/kernels/");
        assert!(inside, "{place}: unsafe code belongs to src/ffi and src/kernels");
    }
}

#[test]
fn only_the_api_is_exported() {
    let Some(mut nm) = common::program("only_the_api_is_exported", "nm") else { return };
    let listing = text_of(nm.args(["-D", "--defined-only", "--format=posix"]).arg(library()));
    let mut symbols: Vec<&str> = listing.lines().filter_map(|line| line.split(' ').next()).collect();
    symbols.sort_unstable();
    compare("symbols.txt", &(symbols.join("\n") + "\n"));
    let header = header();
    for symbol in symbols {
        assert!(header.contains(&format!("{symbol}(")), "{symbol} is exported, but not in the header");
    }
    let declared = header.matches("TRANSUNET_API\n").count() + header.matches("\nTRANSUNET_API ").count();
    assert!(
        declared >= listing.lines().count(),
        "{declared} functions are declared, {} exported",
        listing.lines().count()
    );
}

/// Of the programs in tests/c and the calls in tests/ffi.rs.
#[test]
fn every_function_is_tested() {
    let mut tests = fs::read_to_string(root("tests/ffi.rs")).unwrap();
    for entry in fs::read_dir(root("tests/c")).unwrap() {
        tests += &fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    for symbol in fs::read_to_string(root("tests/golden/symbols.txt")).unwrap().lines() {
        assert!(tests.contains(&format!("{symbol}(")), "no test calls {symbol}");
    }
}

#[test]
fn run_time_name_has_the_generation() {
    let Some(mut readelf) = common::program("run_time_name_has_the_generation", "readelf") else { return };
    let generation = transunet::ffi::TRANSUNET_ABI_VERSION >> 16;
    let dynamic = text_of(readelf.arg("-d").arg(library()));
    assert!(dynamic.contains(&format!("[libtransunet.so.{generation}]")), "{dynamic}");
}

#[test]
fn every_status_has_its_name() {
    let mut seen = 0;
    for line in header().lines() {
        let Some(("#define", rest)) = line.split_once(' ') else { continue };
        let Some((name, number)) = rest.strip_prefix("TRANSUNET_STATUS_").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        // SAFETY: the library's names are static C strings.
        let said = unsafe { std::ffi::CStr::from_ptr(transunet::ffi::transunet_status_name(number.parse().unwrap())) };
        assert_eq!(said.to_str().unwrap(), name);
        seen += 1;
    }
    assert!(seen >= 17, "{seen} statuses");
}

/// Sizes and offsets as the C compiler sees them, and every number of the header.
#[test]
#[cfg(target_pointer_width = "64")]
fn layout_and_numbers_are_frozen() {
    let Some(mut cc) = common::program("layout_and_numbers_are_frozen", "cc") else { return };
    let header = header();
    let mut program = String::from("#include <stdio.h>\n#include \"transunet.h\"\nint main(void) {\n");
    for line in header.lines() {
        if let Some((name, value)) = line.strip_prefix("#define ").and_then(|rest| rest.split_once(' '))
            && value.parse::<i64>().is_ok()
            && !name.starts_with("TRANSUNET_VERSION_")
        {
            writeln!(program, "printf(\"{name} %lld\\n\", (long long)({name}));").unwrap();
        }
    }
    for item in header.split("typedef struct ").skip(1) {
        let Some((name, rest)) = item.split_once(" {") else { continue };
        if name.contains(';') {
            continue;
        }
        writeln!(program, "printf(\"{name} %zu\\n\", sizeof({name}));").unwrap();
        for field in rest.split_once('}').unwrap().0.split(';').map(str::trim).filter(|field| !field.is_empty()) {
            let declared = field.split('[').next().unwrap();
            let field = declared.rsplit([' ', '*']).next().unwrap();
            writeln!(
                program,
                "printf(\"{name}.{field} %zu %zu\\n\", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));"
            )
            .unwrap();
        }
    }
    program.push_str("return 0;\n}\n");
    let folder = tempfile::tempdir().unwrap();
    let (source, binary) = (folder.path().join("layout.c"), folder.path().join("layout"));
    fs::write(&source, program).unwrap();
    text_of(cc.arg("-std=c99").arg("-I").arg(root("include")).arg(&source).arg("-o").arg(&binary));
    compare("layout.txt", &text_of(&mut Command::new(&binary)));
}
