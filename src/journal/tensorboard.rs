//! TensorBoard's event file: records framed with masked CRC-32C, each one protocol-buffer message `Event`.
//!
//! Written here because the one crate for it panics where a write fails. Sources: tensorflow/core/util/event.proto,
//! framework/summary.proto, lib/io/record_writer.cc (names and numbers of fields, and the mask).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{StepRow, ValidationRow};
use crate::error::{Error, Result};

/// One file for a run; a resumed run writes its earlier rows anew.
const NAME: &str = "events.out.tfevents.0.transunet";

pub(super) struct Events {
    path: PathBuf,
    out: BufWriter<File>,
    /// The first failure to write; [`Events::flush`] tells it.
    failure: Option<std::io::Error>,
}

impl Events {
    pub fn begin(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let file = File::create(&path).map_err(|e| Error::io(&path, "create", e))?;
        let mut events = Events { path, out: BufWriter::new(file), failure: None };
        // Field 3: file_version.
        let mut message = wall_time();
        bytes(&mut message, 3, b"brain.Event:2");
        events.record(&message);
        Ok(events)
    }

    pub fn step(&mut self, row: &StepRow) {
        let values = [
            ("train/loss", row.loss),
            ("train/cross_entropy", row.cross_entropy),
            ("train/dice_loss", row.dice_loss),
            ("train/rate", row.rate),
            ("train/gradient_norm", row.gradient_norm),
        ];
        self.scalars(row.step, values.into_iter().map(|(tag, value)| (tag.to_owned(), value)));
    }

    pub fn validation(&mut self, row: &ValidationRow, labels: &[String]) {
        let each = labels.iter().zip(&row.dice).filter_map(|(label, dice)| Some((format!("dice/{label}"), (*dice)?)));
        self.scalars(row.step, each.chain([("dice/mean".to_owned(), row.mean_dice)]));
    }

    pub fn flush(&mut self) -> Result<()> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.out.flush(),
        }
        .map_err(|e| Error::io(&self.path, "write", e))
    }

    fn scalars(&mut self, step: u64, values: impl Iterator<Item = (String, f64)>) {
        // Event: 1 wall_time, 2 step, 5 summary. Summary: 1 value. Value: 1 tag, 2 simple_value.
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut one = Vec::new();
            bytes(&mut one, 1, tag.as_bytes());
            one.push(2 << 3 | 5);
            one.extend((value as f32).to_le_bytes());
            bytes(&mut summary, 1, &one);
        }
        let mut message = wall_time();
        message.push(2 << 3);
        varint(&mut message, step);
        bytes(&mut message, 5, &summary);
        self.record(&message);
    }

    fn record(&mut self, message: &[u8]) {
        let length = (message.len() as u64).to_le_bytes();
        let parts = [&length[..], &masked(&length), message, &masked(message)];
        let written = parts.into_iter().try_for_each(|part| self.out.write_all(part));
        if let Err(failure) = written {
            self.failure.get_or_insert(failure);
        }
    }
}

/// Field 1, a double: seconds since 1970.
fn wall_time() -> Vec<u8> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    let mut message = vec![1 << 3 | 1];
    message.extend(seconds.to_le_bytes());
    message
}

/// A field of bytes, text or a message.
fn bytes(message: &mut Vec<u8>, field: u8, value: &[u8]) {
    message.push(field << 3 | 2);
    varint(message, value.len() as u64);
    message.extend(value);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn masked(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
