//! Weights files: original PyTorch checkpoints, Google's npz, safetensors and bundles, all under the original names.

mod bundle;
mod infer;
mod names;
mod npz;
mod pickle;
mod position;
mod pth;
mod source;
mod tensor;
mod zip;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use bundle::{BundleWriter, Precision};
use infer::looks_like;
pub use infer::{infer_architecture, infer_sizes};
pub use names::{check, check_initial, expected, parameters};
pub(crate) use npz::elements_start;
pub use position::{position_embedding, resample_position_embedding};
pub use tensor::{DType, Entry};

use crate::config::{self, ModelConfig};
use crate::error::{Error, Result};
use crate::network::Architecture;
use source::Source;

/// Formats that are told apart by content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PyTorch 1.6 and later: a zip archive.
    Pth,
    /// PyTorch before 1.6: a stream of pickles.
    PthLegacy,
    /// Google's ViT weights; an encoder alone.
    GoogleNpz,
    Safetensors,
    /// Safetensors with a model description inside.
    Bundle,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Pth => "PyTorch checkpoint",
            Kind::PthLegacy => "PyTorch checkpoint (before 1.6)",
            Kind::GoogleNpz => "Google ViT weights (npz)",
            Kind::Safetensors => "safetensors",
            Kind::Bundle => "TransUNet bundle",
        })
    }
}

/// An open weights file: names, shapes and where the elements are. Elements are read when asked for.
#[derive(Debug)]
pub struct Checkpoint {
    pub kind: Kind,
    /// Under the original PyTorch names.
    pub tensors: BTreeMap<String, Entry>,
    /// What the file holds besides tensors of the network: Google's classifier, values that are no tensors.
    pub ignored: Vec<String>,
    /// The YAML document of a bundle.
    pub config: Option<String>,
    /// Attention heads, which Google's files alone show.
    pub heads: Option<usize>,
    /// Size of the file.
    pub bytes: u64,
    path: PathBuf,
}

impl Checkpoint {
    /// Opens a weights file of any known format. Nothing in it is executed, and no elements are read yet.
    pub fn open(path: &Path) -> Result<Self> {
        let source = Source::open(path).map_err(|e| e.at(path.display()))?;
        let parsed = catch_unwind(AssertUnwindSafe(|| Self::parse(&source)));
        parsed.unwrap_or_else(|_| Err(bad("the file is damaged"))).map_err(|e| e.at(path.display()))
    }

    fn parse(source: &Arc<Source>) -> Result<Self> {
        let (mut config, mut heads) = (None, None);
        let (kind, (tensors, ignored)) = match Format::of(source)? {
            Format::Zip => {
                let members = zip::directory(source)?;
                let is_pickle = |name: &&String| *name == "data.pkl" || name.ends_with("/data.pkl");
                if let Some(pickle) = members.keys().find(is_pickle) {
                    (Kind::Pth, pth::read_zip(&members, pickle)?)
                } else if members.keys().any(|name| name.ends_with(".npy")) {
                    let found;
                    (found, heads) = npz::read(&members)?;
                    (Kind::GoogleNpz, found)
                } else {
                    let names: Vec<_> = members.keys().take(5).collect();
                    return Err(bad(format!("a zip archive without data.pkl or NumPy arrays; it holds {names:?}")));
                }
            }
            Format::Legacy => (Kind::PthLegacy, pth::read_legacy(source)?),
            Format::Safetensors => {
                let tensors;
                (tensors, config) = bundle::read(source)?;
                (if config.is_some() { Kind::Bundle } else { Kind::Safetensors }, (tensors, Vec::new()))
            }
        };
        let tensors = by_name(tensors)?;
        Ok(Checkpoint { kind, tensors, ignored, config, heads, bytes: source.len(), path: source.path().into() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensor called `name`.
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        self.tensors
            .get(name)
            .ok_or_else(|| Error::WeightsMismatch(format!("{}: {name} is missing", self.path.display())))
    }

    /// Elements of the tensor called `name`, row-major, converted to f32.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        self.entry(name)?.read_f32().map_err(|e| e.at(name).at(self.path.display()))
    }

    /// Elements of the tensor called `name` for a network of architecture `a`: as [`Checkpoint::read`], but the position
    /// embedding is brought to the grid of `a`.
    pub fn read_for(&self, name: &str, a: &Architecture, compat: bool) -> Result<Vec<f32>> {
        if name != names::POSITION {
            return self.read(name);
        }
        position_embedding(self, Some(a.grid()), a.grid(), compat).map_err(|e| e.at(self.path.display()))
    }

    /// The description of the model: from the bundle, or from `NAME.yaml` beside the file completed by what the weights
    /// show, or from the weights alone. Also says what the caller should know.
    pub fn describe(&self) -> Result<(ModelConfig, Vec<String>)> {
        let mut warnings = Vec::new();
        let sizes = infer_sizes(self)?;
        let place = self.path.display().to_string();
        let config = match (&self.config, config::beside(&self.path)) {
            (Some(yaml), _) => ModelConfig::for_checkpoint(Some((yaml, &format!("{place} (description)"))), &sizes)?,
            (None, Some(file)) => {
                let yaml = config::read_document(&file)?;
                ModelConfig::for_checkpoint(Some((&yaml, &file.display().to_string())), &sizes)?
            }
            (None, None) => {
                infer_architecture(self)?;
                warnings.push(format!(
                    "{place}: no description beside the weights; labels are numbered, intensities are used as they are. \
                     Write {} to say more",
                    self.path.with_extension("yaml").display()
                ));
                ModelConfig::for_checkpoint(None, &sizes).map_err(|e| e.at(&place))?
            }
        };
        Ok((config, warnings))
    }
}

/// Prefixes that `nn.DataParallel` and `torch.compile` put before every name.
const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

/// Strips such prefixes, and refuses two tensors of one name.
fn by_name(mut list: Vec<(String, Entry)>) -> Result<BTreeMap<String, Entry>> {
    let common = |list: &[(String, Entry)]| {
        PREFIXES.into_iter().find(|prefix| !list.is_empty() && list.iter().all(|(name, _)| name.starts_with(prefix)))
    };
    while let Some(prefix) = common(&list) {
        list.iter_mut().for_each(|(name, _)| drop(name.drain(..prefix.len())));
    }
    let mut tensors = BTreeMap::new();
    for (name, entry) in list {
        if tensors.contains_key(&name) {
            return Err(bad(format!("the file holds tensor {name:?} twice")));
        }
        tensors.insert(name, entry);
    }
    Ok(tensors)
}

enum Format {
    Zip,
    Legacy,
    Safetensors,
}

impl Format {
    /// Tells formats apart by their first bytes, never by the name of the file.
    fn of(source: &Arc<Source>) -> Result<Self> {
        let head = source.peek(0, 512)?;
        if head.starts_with(b"PK\x03\x04") {
            return Ok(Format::Zip);
        }
        if head.starts_with(pth::LEGACY_MAGIC) {
            return Ok(Format::Legacy);
        }
        if head.get(8) == Some(&b'{') {
            return Ok(Format::Safetensors);
        }
        let guess = match &head[..] {
            [] => "the file is empty".to_owned(),
            [0x89, b'H', b'D', b'F', ..] => "an HDF5 file, as Keras writes; its weights cannot be read yet".to_owned(),
            [0x80, ..] => "a pickle that torch.save did not write".to_owned(),
            [0x1f, 0x8b, ..] => "a gzip file; unpack it first".to_owned(),
            [b'P', b'K', ..] => "an empty or damaged zip archive".to_owned(),
            _ if head.get(257..262) == Some(b"ustar") => {
                "a tar archive, as torch wrote before 0.2 or for other use".to_owned()
            }
            _ => format!("an unknown format (first bytes {:02x?})", &head[..head.len().min(8)]),
        };
        Err(bad(format!("{guess}; expected .pth, .npz or .safetensors weights")))
    }
}

fn bad(text: impl Into<String>) -> Error {
    Error::WeightsFormat(text.into())
}
