//! The plugin's manifest: what hosts are told about TransUNet, its modules, parameters and models.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::config;
use crate::error::{Error, Result};

/// The document, as it is also installed for hosts to read.
pub const DOCUMENT: &str = include_str!("../plugin_manifest.yaml");

/// Number of the document's format.
pub const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub id: String,
    pub title: String,
    /// Of the library.
    pub version: String,
    pub abi: Abi,
    /// Where hosts list the modules.
    pub category: String,
    pub description: String,
    pub intended_use: String,
    pub citation: String,
    pub licence: String,
    pub contributors: Vec<String>,
    /// DICOM's names.
    pub modalities: Vec<String>,
    /// File name of the shared library on each platform.
    pub libraries: BTreeMap<String, String>,
    pub models: Models,
    pub modules: Vec<Module>,
}

/// As in `TRANSUNET_ABI_VERSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abi {
    pub generation: u32,
    pub revision: u32,
}

/// Models to choose from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Models {
    /// Environment variable with folders to search first.
    pub variable: String,
    /// Folders to search then, from that of the library or the command.
    pub folders: Vec<String>,
    /// Models that are installed with the library.
    pub bundled: Vec<BundledModel>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundledModel {
    /// Its file's name without the ending.
    pub id: String,
    pub title: String,
    pub modality: String,
}

/// What a host offers as one module: segmenting, or training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Name of its files in 3D Slicer.
    pub id: String,
    pub title: String,
    /// Function of the C API.
    pub entry_point: String,
    /// Subcommand of `transunet`.
    pub command: String,
    pub description: String,
    pub groups: Vec<Group>,
}

impl Module {
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.groups.iter().flat_map(|group| &group.parameters)
    }
}

/// Parameters that stand together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub label: String,
    pub help: String,
    /// Folded away at first.
    #[serde(default)]
    pub advanced: bool,
    pub parameters: Vec<Parameter>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// In 3D Slicer also its flag: `--name`.
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Of files and folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Endings of file names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endings: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Smallest and largest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<[i64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// What the default stands for, where a host cannot leave the parameter out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unset: Option<String>,
    pub label: String,
    pub help: String,
    /// The option or place of the command, if it has it: `--series`, `INPUT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(default = "yes")]
    pub slicer: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An image, as a file.
    Volume,
    /// A label map or segmentation, as a file.
    Labels,
    File,
    Folder,
    /// The id of a model to choose from.
    Model,
    Choice,
    Integer,
    Number,
    Text,
    /// On or off; off when it is not mentioned.
    Switch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Input,
    Output,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Integer(i64),
    Text(String),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Integer(number) => number.fmt(f),
            Value::Text(text) => text.fmt(f),
        }
    }
}

/// The manifest of this library.
pub fn manifest() -> Result<&'static Manifest> {
    static MANIFEST: OnceLock<std::result::Result<Manifest, String>> = OnceLock::new();
    let parsed = MANIFEST.get_or_init(|| Manifest::parse(DOCUMENT, "plugin_manifest.yaml").map_err(|e| e.to_string()));
    parsed.as_ref().map_err(|text| Error::Internal(text.clone()))
}

impl Manifest {
    /// Reads and checks a document; `place` names it in messages.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let manifest: Manifest = config::parse(text, place)?;
        manifest.check().map_err(|text| Error::Config(format!("{place}: {text}")))?;
        Ok(manifest)
    }

    fn check(&self) -> std::result::Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("format: {}, expected {FORMAT}", self.format));
        }
        let mut ids = BTreeSet::new();
        if let Some(module) = self.modules.iter().find(|module| !ids.insert(&module.id)) {
            return Err(format!("modules: {} is there twice", module.id));
        }
        for module in &self.modules {
            let mut names = BTreeSet::new();
            for parameter in module.parameters() {
                let at = |text: String| format!("module {}, parameter {}: {text}", module.id, parameter.name);
                if !names.insert(&parameter.name) {
                    return Err(at("is there twice".into()));
                }
                parameter.check(&self.models).map_err(at)?;
            }
        }
        Ok(())
    }
}

impl Parameter {
    fn check(&self, models: &Models) -> std::result::Result<(), String> {
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return Err("expected a name of a-z and _".into());
        }
        let files = matches!(self.kind, Kind::Volume | Kind::Labels | Kind::File | Kind::Folder);
        if files != self.direction.is_some() {
            return Err("direction is for files and folders, and all of them have one".into());
        }
        if self.range.is_some() != matches!(self.kind, Kind::Integer | Kind::Number) {
            return Err("range is for numbers, and all of them have one".into());
        }
        if self.choices.is_empty() == (self.kind == Kind::Choice) {
            return Err("choices are for the type choice, which has some".into());
        }
        let fits = match (&self.default, self.kind) {
            (None, Kind::Choice | Kind::Model | Kind::Integer | Kind::Number) => false,
            (None, _) => true,
            (Some(Value::Text(text)), Kind::Choice) => self.choices.contains(text),
            (Some(Value::Text(text)), Kind::Model) => models.bundled.iter().any(|model| model.id == *text),
            (Some(Value::Integer(number)), Kind::Integer | Kind::Number) => {
                self.range.is_some_and(|[low, high]| (low..=high).contains(number))
            }
            _ => false,
        };
        if !fits {
            let default = self.default.as_ref().map_or("none".into(), ToString::to_string);
            return Err(format!("default is {default}, which is not one of its values"));
        }
        if !self.slicer && self.command.is_none() {
            return Err("is for no host".into());
        }
        Ok(())
    }

    /// The option's name without dashes, or the placeholder of an argument, in the command.
    pub fn command_name(&self) -> Option<&str> {
        self.command.as_deref().map(|name| name.trim_start_matches('-'))
    }
}
