//! PyTorch checkpoints: zip archives (torch 1.6 and later) and the older stream of pickles.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, Read};
use std::sync::Arc;

use super::bad;
use super::pickle::{Id, Pickle, Tensor, Value};
use super::source::{Piece, Source};
use super::tensor::{Axis, Entry};
use crate::error::Result;

/// Start of the older format: protocol 2, then the number 0x1950a86a20f9469cfc6c.
pub(super) const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";

/// Keys under which training scripts keep the state_dict, the likeliest first.
const WRAPPERS: [&str; 9] =
    ["state_dict", "model_state_dict", "model", "net", "network", "network_weights", "module", "weights", "params"];

/// Named tensors in the order of the file, and names of what is none.
pub(super) type Found = (Vec<(String, Entry)>, Vec<String>);

/// `members` is the directory of the archive, `pickle` the name of its data.pkl.
pub(super) fn read_zip(members: &BTreeMap<String, Piece>, pickle: &str) -> Result<Found> {
    let stem = pickle.strip_suffix("data.pkl").unwrap_or_default();
    if let Some(order) = members.get(&format!("{stem}byteorder")) {
        let mut text = Vec::new();
        order.source.explain(order.reader(0)?.take(16).read_to_end(&mut text))?;
        if text != b"little" {
            return Err(bad("the tensors are big-endian, expected little-endian"));
        }
    }
    let piece = members.get(pickle).ok_or_else(|| bad("data.pkl is missing"))?;
    let pickle = Pickle::parse(&mut BufReader::new(piece.reader(0)?)).map_err(|e| e.at("data.pkl"))?;
    collect(&pickle, |key| members.get(&format!("{stem}data/{key}")).cloned())
}

pub(super) fn read_legacy(source: &Arc<Source>) -> Result<Found> {
    let whole = Piece::plain(source, 0, source.len())?;
    let mut reader = Counted { reader: BufReader::new(whole.reader(0)?), at: 0 };
    for part in ["magic number", "protocol"] {
        Pickle::parse(&mut reader).map_err(|e| e.at(part))?;
    }
    let system = Pickle::parse(&mut reader).map_err(|e| e.at("system information"))?;
    if let Value::Dict(pairs) = system.root() {
        let is_big = |(key, value): &(Id, Id)| {
            *system.get(*key) == Value::Text("little_endian".into()) && *system.get(*value) == Value::Bool(false)
        };
        if pairs.iter().any(is_big) {
            return Err(bad("the tensors are big-endian, expected little-endian"));
        }
    }
    let object = Pickle::parse(&mut reader).map_err(|e| e.at("state_dict"))?;
    let keys = Pickle::parse(&mut reader).map_err(|e| e.at("storage keys"))?;
    let Value::List(ids) = keys.root() else { return Err(bad("the list of storages is missing")) };

    let sizes: HashMap<&str, usize> =
        object.storages().map(|storage| (storage.key.as_str(), storage.dtype.size())).collect();
    let mut at = reader.at;
    let mut pieces = HashMap::new();
    for id in ids {
        let Value::Text(key) = keys.get(*id) else { return Err(bad("a storage key is not a text")) };
        let size = *sizes.get(key.as_str()).ok_or_else(|| bad(format!("storage {key} belongs to no tensor")))?;
        let count: [u8; 8] = source.peek(at, 8)?.try_into().map_err(|_| bad("the file is truncated"))?;
        let bytes = u64::from_le_bytes(count).checked_mul(size as u64);
        let bytes = bytes.ok_or_else(|| bad(format!("storage {key} has an impossible size")))?;
        let piece = Piece::plain(source, at.saturating_add(8), bytes).map_err(|e| e.at(format!("storage {key}")))?;
        at = piece.offset + bytes;
        if pieces.insert(key.as_str(), piece).is_some() {
            return Err(bad(format!("storage {key} is listed twice")));
        }
    }
    collect(&object, |key| pieces.get(key).cloned())
}

/// Finds the state_dict in what was pickled and turns its tensors into entries.
fn collect(pickle: &Pickle, piece: impl Fn(&str) -> Option<Piece>) -> Result<Found> {
    let (mut tensors, mut others) = (Vec::new(), Vec::new());
    for (key, value) in state_dict(pickle)? {
        let Value::Text(name) = pickle.get(*key) else { continue };
        match pickle.get(*value) {
            Value::Tensor(tensor) => {
                let entry = entry(tensor, &piece).map_err(|e| e.at(name))?;
                tensors.push((name.clone(), entry));
            }
            _ => others.push(name.clone()),
        }
    }
    Ok((tensors, others))
}

fn entry(tensor: &Tensor, piece: &impl Fn(&str) -> Option<Piece>) -> Result<Entry> {
    let Tensor { storage, first, shape, strides } = tensor;
    let piece = piece(&storage.key).ok_or_else(|| bad(format!("storage {} is missing", storage.key)))?;
    let first = storage.first.checked_add(*first).ok_or_else(|| bad("its offset is impossible"))?;
    let end = storage.first.checked_add(storage.count);
    let held = piece.size / storage.dtype.size() as u64;
    if end.is_none_or(|end| end as u64 > held) {
        return Err(bad(format!("storage {} holds {held} elements, expected {}", storage.key, storage.count)));
    }
    let axes = shape.iter().zip(strides).map(|(&len, &stride)| Axis { len, stride }).collect();
    Entry::new(shape.clone(), storage.dtype, axes, piece, 0, first)
}

/// The pairs of the first dictionary that holds tensors: the root, or what is wrapped in it.
fn state_dict(pickle: &Pickle) -> Result<&[(Id, Id)]> {
    let mut level = pickle.root();
    for _ in 0..4 {
        let Value::Dict(pairs) = level else { break };
        if pairs.iter().any(|(_, value)| matches!(pickle.get(*value), Value::Tensor(_))) {
            return Ok(pairs);
        }
        let inner = |key: &&str| {
            let wrapped = pairs.iter().find(|(id, _)| matches!(pickle.get(*id), Value::Text(text) if text == key))?;
            let value = pickle.get(wrapped.1);
            matches!(value, Value::Dict(_)).then_some(value)
        };
        match WRAPPERS.iter().find_map(inner) {
            Some(inner) => level = inner,
            None => break,
        }
    }
    let keys: Vec<&str> = match pickle.root() {
        Value::Dict(pairs) => pairs.iter().take(20).filter_map(|(key, _)| pickle.get(*key).text()).collect(),
        _ => Vec::new(),
    };
    Err(bad(format!("no tensors found, expected a state_dict; the file holds {keys:?}")))
}

/// Counts what was read, since tensors follow right behind the pickles.
struct Counted<R> {
    reader: R,
    at: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(out)?;
        self.at += read as u64;
        Ok(read)
    }
}
