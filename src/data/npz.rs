//! One array of a NumPy archive (.npz); nothing in the file is trusted.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use npyz::npz::{NpzArchive, file_name_from_array_name};
use npyz::{DType, Deserialize, NpyFile, Order, TypeChar};

use super::source::Array;
use crate::error::{Error, Result};
use crate::weights::elements_start;

/// Bytes of the largest array; a slice of 512 x 512 in f64 has 2 MiB.
const LARGEST: u64 = 1 << 30;
/// Deflate never expands by more.
const MAX_RATIO: u64 = 1032;

/// The array `name` of the archive at `path`.
pub(super) fn read(path: &Path, name: &str) -> Result<Array> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, "open", e))?;
    catch_unwind(AssertUnwindSafe(|| unguarded(path, metadata.len(), name)))
        .unwrap_or_else(|_| Err(Error::VolumeFormat("the .npz file is damaged".into())))
}

fn unguarded(path: &Path, file_size: u64, name: &str) -> Result<Array> {
    let refuse = |text: String| Error::VolumeFormat(format!("{name}: {text}"));
    let mut archive =
        NpzArchive::open(path).map_err(|e| Error::VolumeFormat(format!("not a .npz file, or damaged: {e}")))?;
    let mut member = archive
        .zip_archive()
        .by_name(&file_name_from_array_name(name))
        .map_err(|e| refuse(format!("no such array in the .npz file: {e}")))?;
    let size = member.size();
    if size > LARGEST || size / MAX_RATIO > file_size {
        return Err(refuse(format!("{size} bytes cannot be in a file of {file_size}")));
    }
    let mut bytes = Vec::new();
    member.by_ref().take(size).read_to_end(&mut bytes).map_err(|e| refuse(format!("damaged: {e}")))?;
    elements_start(&bytes).map_err(refuse)?;
    let file = NpyFile::new(&bytes[..]).map_err(|e| refuse(format!("not a NumPy array: {e}")))?;
    if file.order() != Order::C {
        return Err(refuse("Fortran order, expected C order".into()));
    }
    let shape: Vec<usize> = file.shape().iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
    let count = shape.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
    if count.is_none_or(|count| count > bytes.len()) {
        return Err(refuse(format!("shape {shape:?} does not fit into {} bytes", bytes.len())));
    }
    let DType::Plain(kind) = file.dtype() else {
        return Err(refuse("records, expected integers or floats".into()));
    };
    let values = match (kind.type_char(), kind.size_field()) {
        (TypeChar::Bool, 1) => values(file, |x: bool| f32::from(u8::from(x))),
        (TypeChar::Float, 4) => values(file, |x: f32| x),
        (TypeChar::Float, 8) => values(file, |x: f64| x as f32),
        (TypeChar::Uint, 1) => values(file, |x: u8| f32::from(x)),
        (TypeChar::Uint, 2) => values(file, |x: u16| f32::from(x)),
        (TypeChar::Uint, 4) => values(file, |x: u32| x as f32),
        (TypeChar::Uint, 8) => values(file, |x: u64| x as f32),
        (TypeChar::Int, 1) => values(file, |x: i8| f32::from(x)),
        (TypeChar::Int, 2) => values(file, |x: i16| f32::from(x)),
        (TypeChar::Int, 4) => values(file, |x: i32| x as f32),
        (TypeChar::Int, 8) => values(file, |x: i64| x as f32),
        _ => return Err(refuse(format!("values of type {kind}, expected integers or floats"))),
    };
    Ok(Array { shape, values: values.map_err(|e| refuse(format!("damaged: {e}")))? })
}

fn values<T: Deserialize>(file: NpyFile<&[u8]>, number: impl Fn(T) -> f32) -> std::io::Result<Vec<f32>> {
    let data = file.data::<T>().map_err(std::io::Error::other)?;
    data.map(|value| value.map(&number)).collect()
}
