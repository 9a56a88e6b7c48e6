//! What a model file holds: network, labels, input, origin; or what keeps it from being used.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use transunet::config::{Intensity, ModelConfig, Plane};
use transunet::model::Model;
use transunet::network::Architecture;
use transunet::weights::{Checkpoint, Kind, check};

use super::super::failure::{About, Code, Outcome};
use super::super::table::{self, Table};
use super::{fact, warnings};

#[derive(Serialize)]
pub struct ModelFile {
    path: PathBuf,
    format: String,
    bytes: u64,
    /// Numbers in all tensors of the file.
    parameters: usize,
    tensors: usize,
    /// Of weights and description, as receipts name the model; `None` for files that cannot segment.
    sha256: Option<String>,
    /// `None` for files that cannot segment.
    architecture_in_words: Option<String>,
    #[serde(flatten)]
    config: Option<ModelConfig>,
    /// What the file holds besides the network.
    ignored: Vec<String>,
    warnings: Vec<String>,
    /// Why it cannot segment.
    problem: Option<String>,
}

impl ModelFile {
    pub fn read(path: &Path) -> Outcome<Self> {
        let checkpoint = Checkpoint::open(path).about(Code::Model)?;
        let (usable, mut notes, problem) = match usable(&checkpoint) {
            Ok((config, sha256, notes)) => (Some((config, sha256)), notes, None),
            Err(error) => {
                let (text, place) = (error.to_string(), format!("{}: ", path.display()));
                (None, Vec::new(), Some(text.strip_prefix(&place).unwrap_or(&text).to_owned()))
            }
        };
        notes.extend(warnings());
        let (config, sha256) = usable.unzip();
        Ok(ModelFile {
            path: path.to_path_buf(),
            format: checkpoint.kind.to_string(),
            bytes: checkpoint.bytes,
            parameters: checkpoint.tensors.values().map(|tensor| tensor.shape().iter().product::<usize>()).sum(),
            tensors: checkpoint.tensors.len(),
            sha256,
            architecture_in_words: config.as_ref().map(|config| architecture(&config.architecture)),
            config,
            ignored: checkpoint.ignored,
            warnings: notes,
            problem,
        })
    }
}

/// Description and hash of a model that could segment, and what to know of it.
fn usable(checkpoint: &Checkpoint) -> transunet::Result<(ModelConfig, String, Vec<String>)> {
    if checkpoint.kind == Kind::GoogleNpz {
        let text = "an encoder alone: initial weights for training, not a model that segments";
        return Err(transunet::Error::WeightsMismatch(text.into()));
    }
    let (config, notes) = checkpoint.describe()?;
    check(checkpoint, &config.architecture)?;
    let sha256 = Model::sha256_of(checkpoint, &config)?;
    Ok((config, sha256, notes))
}

impl fmt::Display for ModelFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fact(f, "File", format!("{} ({}, {})", self.path.display(), self.format, table::bytes(self.bytes)))?;
        fact(f, "Parameters", format!("{} in {} tensors", table::count(self.parameters), self.tensors))?;
        if let Some(sha256) = &self.sha256 {
            fact(f, "SHA-256", sha256)?;
        }
        if let Some(config) = &self.config {
            describe(f, config)?;
        }
        if !self.ignored.is_empty() {
            fact(f, "Not used", self.ignored.join(", "))?;
        }
        for warning in &self.warnings {
            writeln!(f, "\nNote: {warning}")?;
        }
        match &self.problem {
            Some(problem) => writeln!(f, "\nCannot segment: {problem}"),
            None => Ok(()),
        }
    }
}

fn describe(f: &mut fmt::Formatter<'_>, config: &ModelConfig) -> fmt::Result {
    fact(f, "Network", architecture(&config.architecture))?;
    fact(f, "Input", input(config))?;
    let provenance = config.provenance.as_ref();
    let facts = [
        ("Name", config.name.as_ref()),
        ("Source", provenance.and_then(|from| from.source.as_ref())),
        ("Made with", provenance.and_then(|from| from.code_version.as_ref())),
        ("Note", provenance.and_then(|from| from.note.as_ref())),
        ("Licence", config.licence.as_ref()),
        ("Intended use", config.intended_use.as_ref()),
    ];
    for (label, text) in facts {
        if let Some(text) = text {
            fact(f, label, text)?;
        }
    }
    if let Some(card) = provenance.and_then(|from| from.training.as_ref()) {
        let cases = format!("{} ({} cases, {} to validate)", card.data, card.training_cases, card.validation_cases);
        fact(f, "Trained on", cases)?;
        fact(
            f,
            "Training",
            format!("{} steps in {:.0} min on {}, seed {}", card.steps, card.seconds / 60.0, card.device, card.seed),
        )?;
        for figures in &card.validation {
            let text = format!(
                "Dice {:.4}, worst case {:.4}, HD95 {:.2} mm: {}",
                figures.dice_mean, figures.dice_worst, figures.hd95_mm_mean, figures.label
            );
            fact(f, "Validation", text)?;
        }
    }
    let mut labels = Table::new(&["Value", "Label", "Colour", "Code"], &[true, false, false, false]);
    for label in &config.labels {
        let [r, g, b] = label.rgb();
        let code = match (&label.kind, &label.modifier) {
            (Some(kind), Some(modifier)) => {
                format!("{} {} {}, {}", kind.value, kind.scheme, kind.meaning, modifier.meaning)
            }
            (Some(kind), None) => format!("{} {} {}", kind.value, kind.scheme, kind.meaning),
            (None, _) => "-".into(),
        };
        labels.row([label.value.to_string(), label.name.clone(), format!("#{r:02x}{g:02x}{b:02x}"), code]);
    }
    writeln!(f, "\n{}", labels.lines().join("\n"))
}

/// "TransUNet R50-ViT-B_16: 12 layers of width 768, 3 skips, 9 classes, 224 x 224 pixels".
fn architecture(a: &Architecture) -> String {
    let published = Architecture::PRESETS.into_iter().find(|name| {
        Architecture::preset(name, PROBE_SIZE, a.classes).is_some_and(|preset| {
            *a == Architecture { image_size: a.image_size, channels: a.channels, dropout: a.dropout, ..preset }
        })
    });
    let name = match published {
        Some("r50-vit-b16") => "TransUNet R50-ViT-B_16",
        Some("vit-b16") => "TransUNet ViT-B_16",
        Some("r50-vit-l16") => "TransUNet R50-ViT-L_16",
        Some("vit-l16") => "TransUNet ViT-L_16",
        Some("small") => "TransUNet small",
        Some("tiny") => "TransUNet tiny",
        _ => "TransUNet of its own sizes",
    };
    let stem = match &a.stem {
        Some(stem) => format!("ResNet stem of {} units", stem.units.iter().sum::<usize>()),
        None => "no stem".into(),
    };
    format!(
        "{name}: {stem}, {} of width {}, {}, {} with background, trained at {} x {}",
        table::plural(a.layers, "layer"),
        a.hidden,
        table::plural(a.skips, "skip"),
        if a.classes == 1 { "1 class".into() } else { format!("{} classes", a.classes) },
        a.image_size[1],
        a.image_size[0],
    )
}

/// Any size that presets accept; it does not take part in the comparison.
const PROBE_SIZE: usize = 224;

fn input(config: &ModelConfig) -> String {
    let plane = match config.input.plane {
        Plane::Acquisition => "slices as acquired",
        Plane::Axial => "axial slices",
        Plane::Coronal => "coronal slices",
        Plane::Sagittal => "sagittal slices",
    };
    let intensity = match config.input.intensity {
        Intensity::None => "intensities as they are".into(),
        Intensity::Window { low, high } => format!("intensities from {low} to {high}"),
        Intensity::Percentile { low, high } => format!("intensities from percentile {low} to {high}"),
        Intensity::Zscore => "intensities by mean and deviation".into(),
    };
    let [height, width] = config.input_size();
    let size = match config.input.spacing {
        Some([rows, columns]) => format!("resampled to {columns} x {rows} mm on a canvas of {width} x {height}"),
        None => format!("resized to {width} x {height}"),
    };
    format!("{plane}, {size}, {intensity}, {}", table::plural(config.architecture.channels, "channel"))
}
