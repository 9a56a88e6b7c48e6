//! What a description must keep to, all faults in one message.

use super::{FORMAT, Input, ModelConfig};
use crate::error::{Error, Result};
use crate::labels::{Code, Label};

/// Longest value of the DICOM representations LO and SH, in characters (PS3.5 table 6.2-1).
const LO: usize = 64;
const SH: usize = 16;
/// Labels are 8-bit.
const MAX_CLASSES: usize = 256;

impl ModelConfig {
    /// Refuses what no model can be; the text lists every fault with its key.
    pub fn validate(&self) -> Result<()> {
        let mut faults = Faults(Vec::new());
        if self.format == 0 || self.format > FORMAT {
            faults.add("format", format!("is {}, expected {FORMAT}", self.format));
        }
        if let Some(name) = &self.name {
            faults.text("name", name, LO);
        }
        if let Err(error) = self.architecture.validate() {
            faults.0.push(error.to_string());
        }
        faults.input(&self.input);
        let channels = self.input_channels();
        if self.input.context > 0 && self.architecture.channels != channels {
            faults.add(
                "input.context",
                format!(
                    "{} slices on each side make {channels} channels, but the network has {}",
                    self.input.context, self.architecture.channels
                ),
            );
        }
        faults.labels(&self.labels, self.architecture.classes);
        if faults.0.is_empty() { Ok(()) } else { Err(Error::Config(faults.0.join("\n"))) }
    }
}

struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, key: &str, text: impl AsRef<str>) {
        self.0.push(format!("{key}: {}", text.as_ref()));
    }

    /// Text that must fit a DICOM attribute of at most `limit` characters.
    fn text(&mut self, key: &str, text: &str, limit: usize) {
        let length = text.chars().count();
        if text.trim().is_empty() {
            self.add(key, "is empty");
        } else if length > limit {
            self.add(key, format!("has {length} characters, expected at most {limit} (DICOM)"));
        } else if text.contains(|c: char| c.is_control() || c == '\\') {
            self.add(key, "has a backslash or control character, which DICOM forbids");
        }
    }

    fn input(&mut self, input: &Input) {
        let frame = input.frame().map(drop);
        for error in [frame, input.intensity.check()].into_iter().filter_map(Result::err) {
            self.0.push(format!("input.{error}"));
        }
        if let Err(error) = input.series_choice() {
            self.add("input.series", error.to_string());
        }
        if let Some(spacing) = input.spacing
            && !spacing.iter().all(|&mm| (1e-3..=1e3).contains(&mm))
        {
            self.add("input.spacing", format!("is {spacing:?}, expected two distances from 0.001 to 1000 mm"));
        }
        if input.context > 16 {
            self.add("input.context", format!("is {}, expected 0 to 16", input.context));
        }
        for side in input.size.into_iter().flatten() {
            if !(1..=4096).contains(&side) {
                self.add("input.size", format!("has {side}, expected 1 to 4096"));
            }
        }
    }

    fn labels(&mut self, labels: &[Label], classes: usize) {
        if classes > MAX_CLASSES {
            self.add("architecture.classes", format!("is {classes}, expected at most {MAX_CLASSES}: labels are 8-bit"));
            return;
        }
        if classes < 2 {
            self.add(
                "architecture.classes",
                format!("is {classes}, expected at least 2: the background and one label"),
            );
            return;
        }
        let mut named = [0usize; MAX_CLASSES];
        for (i, label) in labels.iter().enumerate() {
            let key = format!("labels[{i}]");
            let value = usize::from(label.value);
            if value == 0 || value >= classes {
                self.add(
                    &format!("{key}.value"),
                    format!("is {value}, expected 1 to {} (0 is the background)", classes - 1),
                );
            } else {
                named[value] += 1;
                if named[value] == 2 {
                    self.add(&format!("{key}.value"), format!("{value} is used twice"));
                }
            }
            self.text(&format!("{key}.name"), &label.name, LO);
            for (part, code) in [
                ("category", &label.category),
                ("type", &label.kind),
                ("modifier", &label.modifier),
                ("region", &label.region),
            ] {
                if let Some(code) = code {
                    self.code(&format!("{key}.{part}"), code);
                }
            }
        }
        let unnamed: Vec<_> = (1..classes).filter(|&value| named[value] == 0).map(|value| value.to_string()).collect();
        if !unnamed.is_empty() {
            self.add(
                "labels",
                format!("classes {} have no name; name every class from 1 to {}", unnamed.join(", "), classes - 1),
            );
        }
    }

    fn code(&mut self, key: &str, code: &Code) {
        self.text(&format!("{key} (code value)"), &code.value, SH);
        self.text(&format!("{key} (coding scheme)"), &code.scheme, SH);
        self.text(&format!("{key} (meaning)"), &code.meaning, LO);
    }
}
