//! Inputs that fuzzing kept, among them all that it found faults with, given to the same targets again: no panic, no call that
//! breaks its promise. scripts/fuzz mutates them under the address sanitizer.

#[path = "common/phantom.rs"]
mod phantom;
#[path = "fuzzed/seeds.rs"]
mod seeds;
#[path = "common/structures.rs"]
mod structures;
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use std::backtrace::Backtrace;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dicom::dictionary_std::uids;
use dicom::object::{FileMetaTableBuilder, InMemDicomObject};
use transunet::config::ModelConfig;
use transunet::control::Control;
use transunet::dicom::{Structures, scan};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Panics of the library while an input was tried, those that it caught too.
static FAULTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[test]
fn kept_inputs_are_read_or_refused() {
    targets::watch(|panic| {
        let mut faults = FAULTS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        faults.push(format!("{panic}\n{}", Backtrace::capture()));
    });
    let mut failures = Vec::new();
    for name in targets::NAMES {
        let mut target = targets::target(name).expect(name);
        let mut files: Vec<PathBuf> =
            fs::read_dir(corpus(name)).expect(name).map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name}");
        for file in &files {
            let bytes = fs::read(file).unwrap();
            let outcome = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
            let faults = std::mem::take(&mut *FAULTS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
            if outcome.is_err() || !faults.is_empty() {
                failures.push(format!("{}: {}", file.display(), faults.join("\n")));
            }
        }
        println!("{name}: {} inputs", files.len());
    }
    let _ = std::panic::take_hook();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Data sets end at the pixels for us. What lies behind is walked by nothing, so nothing may parse it: nesting there would
/// take all of the stack.
#[test]
fn what_lies_behind_the_pixels_is_not_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.dcm");
    let mut nested = Vec::new();
    for _ in 0..100_000 {
        nested.extend(b"\xE3\x7F\x10\x10SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF");
    }
    let structures = fs::read(corpus("labels").join("structures.dcm")).unwrap();
    fs::write(&path, [&structures[..], &nested].concat()).unwrap();
    assert_eq!(Structures::open(&path).unwrap().labels.len(), 1);

    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(uids::MEDIA_STORAGE_DIRECTORY_STORAGE)
        .media_storage_sop_instance_uid("1.2.3.4")
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    InMemDicomObject::new_empty().with_meta(meta).unwrap().write_to_file(&path).unwrap();
    let directory = fs::read(&path).unwrap();
    fs::write(&path, [&directory[..], &nested].concat()).unwrap();
    assert!(scan(&[&path], &mut Control::none()).unwrap().series.is_empty());
}

/// A description of a model may come with it from anywhere; loading must not take half an hour.
#[test]
fn brackets_without_end_are_refused_at_once() {
    let began = Instant::now();
    for text in ["[".repeat(1 << 19), "{a: ".repeat(1 << 18), "[\"]\",".repeat(1 << 17)] {
        let error = ModelConfig::from_yaml(&text, "model").unwrap_err().to_string();
        assert!(error.contains("opening brackets, expected at most 10000"), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// Makes the inputs that a corpus begins with: `cargo test --release --test fuzzed -- --ignored`.
#[test]
#[ignore = "writes into fuzz/corpus"]
fn seeds_are_made() {
    for name in targets::NAMES {
        fs::create_dir_all(corpus(name)).unwrap();
    }
    seeds::write(|target, name, bytes| fs::write(corpus(target).join(name), bytes).unwrap());
}
