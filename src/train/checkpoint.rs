//! A run's state on disk: one safetensors file that appears whole or not at all.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::learner::State;
use crate::atomic_file;
use crate::error::{Error, Result};

/// Key of the JSON document in the metadata.
const DOCUMENT: &str = "transunet-training";

/// Where a run stands. Random numbers and the order of the data are functions of the seed and of `step`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Updates made.
    pub step: u64,
    /// The latest update whose weights were validated; 0 for none.
    pub validated: u64,
    /// Seconds of training and validating so far.
    pub seconds: f64,
    /// The best validation so far.
    pub best: Option<Best>,
    /// SHA-256 of everything that the run depends on: settings, sizes, data.
    pub run: String,
    /// SHA-256 of the tensors, in the order of the file.
    pub tensors: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    pub step: u64,
    /// Mean over labels and cases.
    pub dice: f64,
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// SHA-256 of names and values.
pub fn digest(state: &State) -> String {
    let mut hash = Sha256::new();
    for (name, values) in state {
        hash.update(name.as_bytes());
        hash.update(bytes(values));
    }
    hex(&hash.finalize())
}

/// As lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Replaces the checkpoint at `path`; a failure leaves the earlier one as it was.
pub fn save(path: &Path, state: &State, standing: &Standing) -> Result<()> {
    let internal = |e: &dyn std::fmt::Display| Error::Internal(format!("checkpoint header: {e}"));
    let document = serde_json::to_string(standing).map_err(|e| internal(&e))?;
    let mut end = 0;
    let mut infos = Vec::with_capacity(state.len());
    for (name, values) in state {
        let start = end;
        end += 4 * values.len();
        infos.push((
            name.clone(),
            TensorInfo { dtype: Dtype::F32, shape: vec![values.len()], data_offsets: (start, end) },
        ));
    }
    let metadata = HashMap::from([(DOCUMENT.to_owned(), document)]);
    let header = Metadata::new(Some(metadata), infos).map_err(|e| internal(&e))?;
    let mut header = serde_json::to_vec(&header).map_err(|e| internal(&e))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    atomic_file::write(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        state.values().try_for_each(|values| out.write_all(&bytes(values)))
    })
}

/// The checkpoint at `path`; damage is found by its hash.
pub fn load(path: &Path) -> Result<(State, Standing)> {
    let data = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    read(&data).map_err(|text| {
        Error::WeightsFormat(format!("{}: not a complete checkpoint of a training run: {text}", path.display()))
    })
}

/// Whether there is a checkpoint at `path`.
pub fn exists(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io(path, "open", e)),
    }
}

fn read(data: &[u8]) -> std::result::Result<(State, Standing), String> {
    let (_, metadata) = SafeTensors::read_metadata(data).map_err(|e| e.to_string())?;
    let document = metadata.metadata().as_ref().and_then(|map| map.get(DOCUMENT)).ok_or("it says nothing of a run")?;
    let standing: Standing = serde_json::from_str(document).map_err(|e| e.to_string())?;
    let file = SafeTensors::deserialize(data).map_err(|e| e.to_string())?;
    let mut state = State::new();
    for (name, view) in file.iter() {
        let (values, rest) = view.data().as_chunks::<4>();
        if view.dtype() != Dtype::F32 || !rest.is_empty() {
            return Err(format!("{name} is {:?}, expected F32", view.dtype()));
        }
        state.insert(name.into(), values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect());
    }
    if digest(&state) != standing.tensors {
        return Err("its tensors do not have the hash that it states".into());
    }
    Ok((state, standing))
}
