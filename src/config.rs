//! The YAML document that describes a model: in a bundle's metadata, or beside a foreign checkpoint.

mod input;
mod sizes;
mod validate;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use input::Towards;
pub use sizes::Sizes;

use crate::error::{Error, Result};
use crate::labels::Label;
use crate::network::Architecture;
use crate::precision::ComputePrecision;

/// Number of the document's format; a reader refuses higher ones.
pub const FORMAT: u32 = 1;

/// No description is longer.
const MAX_DOCUMENT: u64 = 1 << 20;

/// No document has more lists and maps in brackets, wherever they stand: YAML's reader takes time with the square of how
/// deep those nest, half an hour for a document of nothing else.
const MAX_BRACKETS: usize = 10_000;

/// Everything about a model but its weights. Written with every size spelled out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelConfig {
    pub format: u32,
    /// What people call the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub architecture: Architecture,
    pub input: Input,
    /// Foreground classes, one for each value from 1 to classes - 1.
    pub labels: Vec<Label>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intended_use: Option<String>,
    /// Follow the 2021 code where it errs and the error changes numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<Compat>,
}

/// How a volume becomes input of the network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a map with series, plane, orientation, size, spacing, context and intensity"
)]
pub struct Input {
    /// Rules that choose the series where none is named, such as `modality=CT,thickness<=3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// Which planes of the volume are the network's slices.
    pub plane: Plane,
    /// Where the network's columns, rows and slices point, such as "LPS"; `None` keeps the volume's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orientation: Option<String>,
    /// Height and width that slices are resized to; `None` takes the architecture's image_size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// Rows' and columns' distance in mm that slices are resampled to, then centred on a canvas of `size`, which grows by
    /// multiples of 16 for larger slices; `None` stretches every slice to `size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spacing: Option<[f64; 2]>,
    /// Neighbouring slices on each side that the network sees too, as channels before and after the slice's own; the
    /// first and last slices stand in for those beyond.
    #[serde(skip_serializing_if = "none")]
    pub context: usize,
    pub intensity: Intensity,
}

fn none(count: &usize) -> bool {
    *count == 0
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    /// The planes that were acquired: slice k of the volume.
    #[default]
    Acquisition,
    Axial,
    Coronal,
    Sagittal,
}

/// How modality units become network input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", try_from = "WrittenIntensity")]
pub enum Intensity {
    /// Unchanged.
    #[default]
    None,
    /// Clipped to [low, high] in modality units (HU for CT), scaled to 0..1.
    Window { low: f32, high: f32 },
    /// Clipped to two percentiles (0..100) of the volume, scaled to 0..1.
    Percentile { low: f32, high: f32 },
    /// Mean of the volume subtracted, divided by its standard deviation.
    Zscore,
}

/// As written: one flat map, so that an unknown key is found where it stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map with kind, and low and high where the kind has them")]
struct WrittenIntensity {
    kind: IntensityKind,
    low: Option<f32>,
    high: Option<f32>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum IntensityKind {
    None,
    Window,
    Percentile,
    Zscore,
}

impl TryFrom<WrittenIntensity> for Intensity {
    type Error = &'static str;

    fn try_from(written: WrittenIntensity) -> std::result::Result<Self, Self::Error> {
        use IntensityKind as Kind;
        Ok(match (written.kind, written.low, written.high) {
            (Kind::None, None, None) => Intensity::None,
            (Kind::Zscore, None, None) => Intensity::Zscore,
            (Kind::Window, Some(low), Some(high)) => Intensity::Window { low, high },
            (Kind::Percentile, Some(low), Some(high)) => Intensity::Percentile { low, high },
            (Kind::None | Kind::Zscore, ..) => return Err("intensity: kinds none and zscore take no low and high"),
            _ => return Err("intensity: kinds window and percentile need low and high"),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compat {
    #[serde(rename = "transunet-2021")]
    TransUnet2021,
}

/// Where a model comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provenance {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How it was trained, by this library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingCard>,
}

/// What a trained model says about its training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingCard {
    /// Name of the data set.
    pub data: String,
    pub training_cases: usize,
    pub validation_cases: usize,
    /// SHA-256 of everything that the weights depend on: settings, sizes, names of the cases.
    pub run: String,
    pub seed: u64,
    /// Updates up to these weights.
    pub steps: u64,
    /// Seconds of the run, validations included.
    pub seconds: f64,
    pub device: String,
    /// What passes computed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed_precision: Option<ComputePrecision>,
    /// What the data were like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<DataFingerprint>,
    /// Recipe in short, as `key: value` lines.
    pub recipe: String,
    /// Figures on the validation cases; labels that both label maps lack are not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation: Vec<ValidationFigures>,
}

/// What training data are like, over all cases. Triples are lowest, median and highest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFingerprint {
    pub layout: String,
    pub cases: usize,
    pub subjects: usize,
    /// Where the axes of the volumes point, such as "LPS"; none where the files do not say it.
    pub orientations: Vec<String>,
    /// Of columns, rows, slices.
    pub size: [[usize; 3]; 3],
    /// Between columns, rows, slices.
    pub spacing_mm: [[f64; 3]; 3],
    /// Minimum, 0.5 %, median, 99.5 % and maximum: the median case's.
    pub intensity: [f32; 5],
    pub labels: Vec<LabelShare>,
}

/// How often a label occurs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelShare {
    pub label: String,
    /// Of all voxels.
    pub share: f64,
    pub cases: usize,
}

/// One label's figures over the validation cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationFigures {
    pub label: String,
    pub dice_mean: f64,
    pub dice_median: f64,
    pub dice_worst: f64,
    pub hd95_mm_mean: f64,
    /// Share of the surfaces within 1 mm.
    pub surface_dice_1mm_mean: f64,
}

/// The document as people write it: sizes may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map with keys such as architecture, input and labels")]
struct Document {
    format: Option<u32>,
    name: Option<String>,
    architecture: Sizes,
    input: Input,
    labels: Vec<Label>,
    provenance: Option<Provenance>,
    licence: Option<String>,
    intended_use: Option<String>,
    compat: Option<Compat>,
}

impl Document {
    fn parse(text: &str) -> Result<Self> {
        if text.len() as u64 > MAX_DOCUMENT {
            return Err(Error::Config(format!("{} bytes, expected at most {MAX_DOCUMENT}", text.len())));
        }
        // The number first: a newer document may have keys that are unknown here.
        #[derive(Deserialize)]
        struct Format {
            format: Option<u64>,
        }
        if let Ok(Format { format: Some(format) }) = from_yaml(text)
            && format > u64::from(FORMAT)
        {
            return Err(Error::Config(format!(
                "format: {format} was made by a newer version of TransUNet; this one reads up to {FORMAT}"
            )));
        }
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Document::default());
        }
        from_yaml(text)
    }

    fn into_config(mut self, inferred: &Sizes) -> Result<ModelConfig> {
        let from_labels = (!self.labels.is_empty()).then(|| self.labels.len() + 1);
        let sizes = self.architecture.with_preset()?;
        let side = sizes.preset.is_some().then_some([224; 2]);
        let defaults = Sizes { classes: from_labels, image_size: side, ..Sizes::default() };
        let architecture = sizes.or(inferred.clone()).or(defaults).complete()?;
        if self.labels.is_empty() {
            self.labels = numbered(architecture.classes);
        }
        let mut config = ModelConfig {
            format: self.format.unwrap_or(FORMAT),
            name: self.name,
            architecture,
            input: self.input,
            labels: self.labels,
            provenance: self.provenance,
            licence: self.licence,
            intended_use: self.intended_use,
            compat: self.compat,
        };
        config.validate()?;
        config.labels.sort_by_key(|label| label.value);
        Ok(config)
    }
}

/// Labels 1 to `classes` - 1 without names of their own.
fn numbered(classes: usize) -> Vec<Label> {
    (1..classes.min(256)).map(|value| Label::numbered(value as u8)).collect()
}

impl ModelConfig {
    /// Parses and validates a document that says every size, if only by a preset; `place` names it in messages.
    pub fn from_yaml(text: &str, place: &str) -> Result<Self> {
        Self::for_checkpoint(Some((text, place)), &Sizes::default())
    }

    /// The description of a checkpoint: `yaml` (text and its place) where it speaks, else the sizes that its weights show.
    /// Without labels they are numbered, without intensity it stays unchanged.
    pub fn for_checkpoint(yaml: Option<(&str, &str)>, inferred: &Sizes) -> Result<Self> {
        match yaml {
            Some((text, place)) => {
                let document = Document::parse(text).and_then(|document| document.into_config(inferred));
                document.map_err(|e| e.at(place))
            }
            None => Document::default().into_config(inferred),
        }
    }

    pub fn to_yaml(&self) -> Result<String> {
        serde_yaml::to_string(self).map_err(|e| Error::Internal(format!("model description: {e}")))
    }

    /// A description for a checkpoint that has none: labels 1..n, intensity unchanged.
    pub fn undescribed(architecture: Architecture) -> Self {
        let labels = numbered(architecture.classes);
        ModelConfig {
            format: FORMAT,
            name: None,
            architecture,
            input: Input::default(),
            labels,
            provenance: None,
            licence: None,
            intended_use: None,
            compat: None,
        }
    }

    /// Channels of the network's input: the slice and its neighbours.
    pub fn input_channels(&self) -> usize {
        2 * self.input.context + 1
    }

    /// What its training computed with, where the model says it.
    pub fn training_precision(&self) -> Option<ComputePrecision> {
        self.provenance.as_ref()?.training.as_ref()?.mixed_precision
    }

    /// Height and width of the slices that the network sees.
    pub fn input_size(&self) -> [usize; 2] {
        self.input.size.unwrap_or(self.architecture.image_size)
    }
}

/// The description beside a foreign checkpoint, if there is one: NAME.yaml for NAME.pth.
pub fn beside(checkpoint: &Path) -> Option<PathBuf> {
    ["yaml", "yml"].map(|extension| checkpoint.with_extension(extension)).into_iter().find(|path| path.is_file())
}

/// Writes a document of another kind.
pub fn to_yaml<T: Serialize>(value: &T) -> Result<String> {
    serde_yaml::to_string(value).map_err(|e| Error::Internal(format!("YAML: {e}")))
}

/// Parses a document of another kind; `place` names it in messages.
pub fn parse<T: serde::de::DeserializeOwned>(text: &str, place: &str) -> Result<T> {
    from_yaml(text).map_err(|e| e.at(place))
}

fn from_yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    let brackets = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if brackets > MAX_BRACKETS {
        return Err(Error::Config(format!("{brackets} opening brackets, expected at most {MAX_BRACKETS}")));
    }
    serde_yaml::from_str(text).map_err(|e| Error::Config(e.to_string()))
}

/// Parses documents of another kind as one: the keys of each replace those of the ones before. Of keys that are
/// `alternatives` one replaces all.
pub fn layered<T: serde::de::DeserializeOwned>(layers: &[(String, String)], alternatives: &[&[&str]]) -> Result<T> {
    let mut merged = serde_yaml::Mapping::new();
    for (text, place) in layers {
        let layer: Option<serde_yaml::Mapping> = parse(text, place)?;
        for (key, value) in layer.unwrap_or_default() {
            let rivals = alternatives.iter().filter(|keys| keys.iter().any(|k| key.as_str() == Some(k)));
            rivals.flat_map(|keys| keys.iter()).for_each(|k| drop(merged.remove(k)));
            merged.insert(key, value);
        }
    }
    let place = layers.iter().map(|(_, place)| place.as_str()).collect::<Vec<_>>().join(" and ");
    serde_yaml::from_value(serde_yaml::Value::Mapping(merged)).map_err(|e| Error::Config(e.to_string()).at(place))
}

/// Reads a document of reasonable size.
pub fn read_document(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    match file.take(MAX_DOCUMENT + 1).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
            Err(Error::Config(format!("{}: not UTF-8 text, expected YAML", path.display())))
        }
        Err(e) => Err(Error::io(path, "read", e)),
    }
}
