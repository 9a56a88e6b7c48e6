//! What a run found and how: as JSON for programs, as a table for people.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use transunet::device::DeviceInfo;
use transunet::labelmap::Labelmap;
use transunet::model::Model;
use transunet::precision::ComputePrecision;
use transunet::receipt::Receipt;
use transunet::statistics::{Statistics, statistics};
use transunet::{Result, atomic_file};

use super::pacs::Sent;
use super::table::{Table, plural};
use super::terminal;

#[derive(Serialize)]
pub struct Report {
    /// Version of this library.
    transunet: &'static str,
    model: PathBuf,
    devices: Vec<DeviceInfo>,
    /// Why a GPU was not taken.
    device_fallback: Option<String>,
    /// What the network computed with.
    precision: ComputePrecision,
    /// What its training computed with, where the model says it.
    training_precision: Option<ComputePrecision>,
    /// Modality of the series; `None` for a volume file.
    modality: Option<String>,
    #[serde(flatten)]
    pub statistics: Statistics,
    /// What the labels were made with and from, for `transunet verify`.
    receipt: Option<Receipt>,
    pub outputs: Vec<PathBuf>,
    /// What became of outputs that were sent to a PACS.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<Sent>,
    pub seconds: Seconds,
    /// Of this process, where the system says it.
    peak_memory_bytes: Option<u64>,
    warnings: Vec<String>,
}

/// How long each part took.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Seconds {
    pub read: f64,
    pub load_model: f64,
    pub segment: f64,
    pub write: f64,
    /// Unless nothing was to be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<f64>,
    pub total: f64,
}

/// Measures one part after the other.
pub struct Clock {
    start: Instant,
    last: Instant,
}

impl Clock {
    pub fn start() -> Self {
        let now = Instant::now();
        Clock { start: now, last: now }
    }

    /// Seconds since the last lap.
    pub fn lap(&mut self) -> f64 {
        let seconds = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        seconds
    }

    pub fn total(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

impl Report {
    pub fn new(labelmap: &Labelmap, model: &Model, path: &Path, outputs: Vec<PathBuf>) -> Result<Self> {
        let devices = model.devices();
        Ok(Report {
            transunet: env!("CARGO_PKG_VERSION"),
            model: path.to_path_buf(),
            devices: devices.infos(),
            device_fallback: devices.fallback().map(Into::into),
            precision: model.precision(),
            training_precision: model.config().training_precision(),
            modality: labelmap.source().series().map(|series| series.modality.clone()),
            statistics: statistics(labelmap)?,
            receipt: labelmap.receipt().cloned(),
            outputs,
            sent: Vec::new(),
            seconds: Seconds::default(),
            peak_memory_bytes: None,
            warnings: Vec::new(),
        })
    }

    /// Completes the report with what is known only at the end.
    pub fn finish(&mut self, seconds: Seconds) {
        self.seconds = seconds;
        self.peak_memory_bytes = peak_memory();
        self.warnings = terminal::warnings();
    }

    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_else(|e| format!("{{\"error\": \"{e}\"}}"));
        text.push('\n');
        text
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        atomic_file::write(path, |out| out.write_all(self.to_json().as_bytes()))
    }

    /// Label, volume, mean; then files and times.
    pub fn to_words(&self) -> String {
        let mean = if self.modality.as_deref() == Some("CT") { "mean HU" } else { "mean" };
        let mut labels = Table::new(&["Label", "ml", mean], &[false, true, true]);
        for label in &self.statistics.labels {
            let mean = label.intensity.as_ref().map_or("-".into(), |intensity| format!("{:.1}", intensity.mean));
            labels.row([label.name.clone(), format!("{:.1}", label.volume_ml), mean]);
        }
        let mut lines = labels.lines();
        lines.push(String::new());
        for path in &self.outputs {
            lines.push(format!("wrote {}", path.display()));
        }
        lines.extend(self.sent.iter().filter_map(Sent::to_words));
        let Seconds { read, load_model, segment, write, total, send: _ } = self.seconds;
        lines.push(format!(
            "{} in {total:.1} s on {} (model {load_model:.1}, read {read:.1}, segment {segment:.1}, write {write:.1})",
            plural(self.statistics.geometry.size[2], "slice"),
            self.devices.iter().map(|device| device.id.as_str()).collect::<Vec<_>>().join(","),
        ));
        lines.join("\n")
    }
}

/// Linux: the high-water mark of resident memory.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
