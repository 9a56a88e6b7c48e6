//! Model bundles: one safetensors file, tensors under the original names, the description as YAML in its metadata.
//!
//! Layout: safetensors format README (u64 header length, JSON header, tensors without gaps).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::f16;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::source::{Piece, Source};
use super::tensor::{DType, Entry, product, row_major};
use super::{bad, expected};
use crate::atomic_file;
use crate::config::ModelConfig;
use crate::error::{Error, Result};

/// Key of the YAML document in the metadata.
const DESCRIPTION: &str = "transunet";
const MAX_HEADER: u64 = 16 << 20;

/// Named tensors in the order of the file, and the YAML document, if there is one.
type Contents = (Vec<(String, Entry)>, Option<String>);

pub(super) fn read(source: &Arc<Source>) -> Result<Contents> {
    let length: [u8; 8] = source.peek(0, 8)?.try_into().map_err(|_| bad("the file is truncated"))?;
    let length = u64::from_le_bytes(length);
    if length > source.len().saturating_sub(8) || length > MAX_HEADER {
        return Err(bad(format!(
            "the safetensors header claims {length} bytes in a file of {}, expected at most {MAX_HEADER}: \
             the file is truncated or damaged",
            source.len()
        )));
    }
    let header = source.peek(8, length)?;
    let header: Header =
        serde_json::from_slice(&header).map_err(|e| bad(format!("the safetensors header is damaged: {e}")))?;
    let start = 8 + length;
    let mut end = start;
    let mut tensors = Vec::new();
    for (name, info) in header.tensors {
        let entry = entry(source, start, &info).map_err(|e| e.at(&name))?;
        end = end.max(start.saturating_add(info.data_offsets.1 as u64));
        tensors.push((name, entry));
    }
    if end != source.len() {
        return Err(bad(format!("{} bytes in the file, the header describes {end}", source.len())));
    }
    Ok((tensors, header.metadata.and_then(|mut metadata| metadata.remove(DESCRIPTION))))
}

fn entry(source: &Arc<Source>, start: u64, info: &TensorInfo) -> Result<Entry> {
    let dtype = match info.dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 | Dtype::BOOL => DType::U8,
        other => {
            return Err(bad(format!("element type {other:?}, expected plain floats or integers")));
        }
    };
    let (from, to) = info.data_offsets;
    let claimed = product(info.shape.iter().copied()).and_then(|count| count.checked_mul(dtype.size()));
    if to.checked_sub(from).is_none_or(|bytes| Some(bytes) != claimed) {
        return Err(bad(format!("shape {:?} does not fit bytes {from} to {to}", info.shape)));
    }
    let piece = Piece::plain(source, start.saturating_add(from as u64), (to - from) as u64)?;
    let axes = row_major(&info.shape).ok_or_else(|| bad("the shape is impossible"))?;
    Entry::new(info.shape.clone(), dtype, axes, piece, 0, 0)
}

/// The JSON header. Keeps tensors of one name apart, which a map would merge.
struct Header {
    metadata: Option<HashMap<String, String>>,
    tensors: Vec<(String, TensorInfo)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
                let mut header = Header { metadata: None, tensors: Vec::new() };
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        header.metadata = Some(map.next_value()?);
                    } else {
                        header.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// How many bits a bundle gives to a weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32: what was learned.
    #[default]
    Single,
    /// float16 for matrices and kernels: half the size; rounds by up to 2^-11 of each weight.
    Half,
}

impl Precision {
    /// Biases, norms and running statistics stay float32: they are few, and variances may leave float16's range.
    fn dtype(self, name: &str, shape: &[usize]) -> Dtype {
        match self {
            _ if is_count(name) => Dtype::I64,
            Precision::Half if shape.len() > 1 => Dtype::F16,
            _ => Dtype::F32,
        }
    }
}

/// Writes a bundle tensor by tensor, in any order; the file appears whole or not at all.
///
/// Batch counts (`num_batches_tracked`) are int64 and 0 unless they are given, all else is of the [`Precision`].
#[derive(Debug)]
pub struct BundleWriter {
    path: PathBuf,
    file: NamedTempFile,
    /// Tensors still to come, and their places in the file.
    pending: BTreeMap<String, (TensorInfo, u64)>,
}

impl BundleWriter {
    /// Begins a bundle of all tensors of `config`'s architecture.
    pub fn create(path: &Path, config: &ModelConfig, precision: Precision) -> Result<Self> {
        let tensors = expected(&config.architecture);
        let mut end = 0;
        let mut infos = Vec::with_capacity(tensors.len());
        for (name, shape) in &tensors {
            let dtype = precision.dtype(name, shape);
            let start = end;
            end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
            infos.push((name.clone(), TensorInfo { dtype, shape: shape.clone(), data_offsets: (start, end) }));
        }
        let metadata = HashMap::from([(DESCRIPTION.to_owned(), config.to_yaml()?)]);
        let internal = |e: &dyn fmt::Display| Error::Internal(format!("safetensors header: {e}"));
        let header = Metadata::new(Some(metadata), infos.clone()).map_err(|e| internal(&e))?;
        let mut header = serde_json::to_vec(&header).map_err(|e| internal(&e))?;
        header.resize(header.len().next_multiple_of(8), b' ');

        let failed = |e| Error::io(path, "write", e);
        let mut file = atomic_file::beside(path)?;
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
        file.write_all(&header).map_err(failed)?;
        let data = 8 + header.len() as u64;
        // What is not written reads as zeros.
        file.as_file().set_len(data + end as u64).map_err(failed)?;
        let place = |(name, info): (String, TensorInfo)| {
            let at = data + info.data_offsets.0 as u64;
            (name, (info, at))
        };
        let pending = infos.into_iter().map(place).collect();
        Ok(BundleWriter { path: path.to_owned(), file, pending })
    }

    /// Writes one tensor under its original name, row-major.
    pub fn put(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let Some((TensorInfo { dtype, shape, .. }, at)) = self.pending.remove(name) else {
            return Err(Error::Internal(format!("{name}: written twice, or not part of the architecture")));
        };
        if values.len() != shape.iter().product::<usize>() {
            return Err(Error::Internal(format!("{name}: {} values for shape {shape:?}", values.len())));
        }
        let write = |bytes: &[u8]| {
            let mut file = self.file.as_file();
            file.seek(SeekFrom::Start(at))?;
            file.write_all(bytes)
        };
        let written = match dtype {
            Dtype::I64 => write(&values.iter().flat_map(|x| (x.round() as i64).to_le_bytes()).collect::<Vec<_>>()),
            Dtype::F16 => write(&values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect::<Vec<_>>()),
            _ if cfg!(target_endian = "big") => write(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()),
            _ => write(bytemuck::cast_slice(values)),
        };
        written.map_err(|e| Error::io(&self.path, "write", e))
    }

    /// Puts the file in its place, when no tensor is missing.
    pub fn finish(self) -> Result<()> {
        let missing: Vec<_> = self.pending.keys().filter(|name| !is_count(name)).collect();
        if !missing.is_empty() {
            return Err(Error::Internal(format!("bundle lacks {} tensors: {missing:?}", missing.len())));
        }
        atomic_file::persist(self.file, &self.path)
    }
}

/// Batches seen by a BatchNorm: an int64 scalar that only training could use.
pub(super) fn is_count(name: &str) -> bool {
    name.ends_with(".num_batches_tracked")
}
