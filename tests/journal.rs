//! The figures of a run on disk: exact, trimmed on resume, readable by others.

use tempfile::TempDir;
use transunet::journal::{History, Journal};
use transunet::labels::Label;
use transunet::train::learner::Step;
use transunet::train::validate::Validation;

fn labels() -> Vec<Label> {
    ["Liver", "Kidney, left"]
        .iter()
        .zip(1..)
        .map(|(name, n)| Label { name: (*name).into(), ..Label::numbered(n) })
        .collect()
}

fn step(n: u64) -> Step {
    let x = 1.0 / (n as f64 + 0.3);
    Step {
        loss: x,
        cross_entropy: x * 1.1,
        dice_loss: x / 3.0,
        rate: 1e-3 * x,
        gradient_norm: x.sqrt(),
        skipped: false,
    }
}

fn validation(n: u64) -> Validation {
    Validation { cases: Vec::new(), labels: vec![Some(0.7 + n as f64 / 300.0), None], mean_dice: 0.7 }
}

fn fill(journal: &mut Journal, steps: std::ops::RangeInclusive<u64>) {
    for n in steps {
        journal.step(n, n as f64 / 7.0, &step(n), 0.25).unwrap();
        if n % 4 == 0 {
            journal.validation(n, n as f64 / 7.0, &validation(n), n == 4).unwrap();
        }
    }
    journal.flush().unwrap();
}

#[test]
fn rows_read_back_exactly_and_resuming_drops_what_came_later() {
    let folder = TempDir::new().unwrap();
    let mut journal = Journal::open(folder.path(), &labels(), None).unwrap();
    fill(&mut journal, 1..=10);
    let whole = journal.history().clone();
    drop(journal);
    assert_eq!(History::read(folder.path(), 100).unwrap(), whole);

    // Killed in the middle of a line.
    let path = folder.path().join("metrics.csv");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 9]).unwrap();
    let mut journal = Journal::open(folder.path(), &labels(), Some(6)).unwrap();
    assert_eq!((journal.history().steps.len(), journal.history().validations.len()), (6, 1));
    fill(&mut journal, 7..=10);
    assert_eq!(*journal.history(), whole);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "the same file as without the interruption");

    let lines: Vec<serde_json::Value> = std::fs::read_to_string(folder.path().join("metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 12);
    assert_eq!(lines[4]["kind"], "validation");
    assert_eq!(lines[4]["dice"]["Liver"], 0.7 + 4.0 / 300.0);
    assert!(lines[4]["dice"]["Kidney, left"].is_null());
}

#[test]
fn a_damaged_line_is_named() {
    let folder = TempDir::new().unwrap();
    let mut journal = Journal::open(folder.path(), &labels(), None).unwrap();
    fill(&mut journal, 1..=3);
    let path = folder.path().join("metrics.csv");
    let text = std::fs::read_to_string(&path).unwrap().replace("\n2,", "\ntwo,");
    std::fs::write(&path, text).unwrap();
    let error = Journal::open(folder.path(), &labels(), Some(3)).err().unwrap().to_string();
    assert!(error.contains("metrics.csv: line 3 is damaged"), "{error}");
}

#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut journal = Journal::open(folder.path(), &labels(), None).unwrap();
    drop(journal);
    let path = folder.path().join("events.out.tfevents.0.transunet");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let error = match Journal::open(folder.path(), &labels(), None) {
        Ok(opened) => {
            journal = opened;
            journal.step(1, 0.1, &step(1), 0.1).unwrap();
            journal.flush().unwrap_err()
        }
        Err(error) => error,
    };
    assert!(error.to_string().contains("events.out.tfevents.0.transunet: cannot write"), "{error}");
}

/// TensorBoard's framing and fields, read by the rules and not by our code.
#[test]
fn tensorboard_finds_the_scalars() {
    let folder = TempDir::new().unwrap();
    let mut journal = Journal::open(folder.path(), &labels(), None).unwrap();
    fill(&mut journal, 1..=4);
    let bytes = std::fs::read(folder.path().join("events.out.tfevents.0.transunet")).unwrap();
    // CRC-32C bit by bit (Castagnoli, reversed polynomial 82F63B78).
    let crc = |data: &[u8]| -> u32 {
        !data.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
        })
    };
    let masked = |data: &[u8]| crc(data).rotate_right(15).wrapping_add(0xa282_ead8);
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, mut records) = (0, Vec::new());
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        assert_eq!(word(at + 8), masked(&bytes[at..at + 8]));
        let record = &bytes[at + 12..at + 12 + length];
        assert_eq!(word(at + 12 + length), masked(record));
        records.push(record);
        at += 16 + length;
    }
    assert_eq!(records.len(), 6, "version, four steps, one validation");
    let holds = |record: &[u8], text: &str| record.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(records[0], "brain.Event:2"));
    for tag in ["train/loss", "train/rate", "train/gradient_norm"] {
        assert!(records[1..5].iter().all(|record| holds(record, tag)), "{tag}");
    }
    assert!(holds(records[5], "dice/Liver") && holds(records[5], "dice/mean") && !holds(records[5], "Kidney"));
    // Step 3: field 2, varint 3; its loss as a float after the tag.
    assert_eq!(&records[3][9..11], [0x10, 3]);
    let loss = (step(3).loss as f32).to_le_bytes();
    assert!(records[3].windows(4).any(|window| window == loss));
}
