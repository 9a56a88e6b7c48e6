//! One array of an HDF5 file. The only file that knows the HDF5 crate; nothing in the file is trusted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use half::f16;
use hdf5_reader::{Datatype, FileStorage, Hdf5File, OpenOptions};

use super::source::Array;
use crate::error::{Error, Result};

/// Bytes of the largest array: 1,000 slices of 1024 x 1024 in f32.
const LARGEST: usize = 4 << 30;
/// Deflate never expands by more.
const MAX_RATIO: u64 = 1032;

/// The data set `name` of the file at `path`.
pub(super) fn read(path: &Path, name: &str) -> Result<Array> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, "open", e))?;
    catch_unwind(AssertUnwindSafe(|| unguarded(path, metadata.len(), name)))
        .unwrap_or_else(|_| Err(Error::VolumeFormat("the HDF5 file is damaged".into())))
}

fn unguarded(path: &Path, file_size: u64, name: &str) -> Result<Array> {
    let refuse = |error: hdf5_reader::error::Error| Error::VolumeFormat(format!("{name}: {error}"));
    // Not mapped into memory: a file that shrinks meanwhile would end the process.
    let storage = FileStorage::open(path).map_err(refuse)?;
    let options = OpenOptions::default().with_max_read_bytes(LARGEST).with_max_chunk_bytes(LARGEST);
    let file = Hdf5File::from_storage_with_options(Arc::new(storage), options).map_err(refuse)?;
    let set = file.dataset(name).map_err(refuse)?;
    let bytes = set.raw_byte_len().map_err(refuse)?;
    if bytes > LARGEST || bytes as u64 / MAX_RATIO > file_size {
        return Err(Error::VolumeFormat(format!("{name}: {bytes} bytes cannot be in a file of {file_size}")));
    }
    let shape = set.shape().iter().map(|&n| n as usize).collect();
    let convert = converter(set.dtype()).ok_or_else(|| {
        Error::VolumeFormat(format!("{name}: values of type {:?}, expected integers or floats", set.dtype()))
    })?;
    let values = convert(&set.read_native_bytes().map_err(refuse)?);
    Ok(Array { shape, values })
}

type Converter = fn(&[u8]) -> Vec<f32>;

/// From native bytes to numbers.
fn converter(kind: &Datatype) -> Option<Converter> {
    Some(match *kind {
        Datatype::FloatingPoint { size: 2, .. } => |bytes| numbers(bytes, |b| f16::from_ne_bytes(b).to_f32()),
        Datatype::FloatingPoint { size: 4, .. } => |bytes| numbers(bytes, f32::from_ne_bytes),
        Datatype::FloatingPoint { size: 8, .. } => |bytes| numbers(bytes, |b| f64::from_ne_bytes(b) as f32),
        Datatype::FixedPoint { size: 1, signed: false, .. } => |bytes| numbers(bytes, |[b]| f32::from(b)),
        Datatype::FixedPoint { size: 1, signed: true, .. } => {
            |bytes| numbers(bytes, |b| f32::from(i8::from_ne_bytes(b)))
        }
        Datatype::FixedPoint { size: 2, signed: false, .. } => {
            |bytes| numbers(bytes, |b| f32::from(u16::from_ne_bytes(b)))
        }
        Datatype::FixedPoint { size: 2, signed: true, .. } => {
            |bytes| numbers(bytes, |b| f32::from(i16::from_ne_bytes(b)))
        }
        Datatype::FixedPoint { size: 4, signed: false, .. } => |bytes| numbers(bytes, |b| u32::from_ne_bytes(b) as f32),
        Datatype::FixedPoint { size: 4, signed: true, .. } => |bytes| numbers(bytes, |b| i32::from_ne_bytes(b) as f32),
        Datatype::FixedPoint { size: 8, signed: false, .. } => |bytes| numbers(bytes, |b| u64::from_ne_bytes(b) as f32),
        Datatype::FixedPoint { size: 8, signed: true, .. } => |bytes| numbers(bytes, |b| i64::from_ne_bytes(b) as f32),
        _ => return None,
    })
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| number(chunk)).collect()
}
