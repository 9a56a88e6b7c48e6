//! RLE lossless (PS3.5 annex G): the bytes of the samples in planes, most significant first, each packed by itself.
//!
//! Decoded here because the registered codec panics on streams that are too short and accepts ones that are too long.

use super::header::PixelFormat;
use crate::error::{Error, Result};

/// The header: segment count and 15 offsets.
const HEADER: usize = 64;
/// Bytes that may follow the last run of a segment: padding to an even (or, by some writers, fourfold) length.
const PADDING: usize = 3;
/// Two bytes become at most 128.
const MAX_EXPANSION: usize = 64;

/// Little-endian samples of one image.
pub(super) fn decode(stream: &[u8], format: &PixelFormat) -> Result<Vec<u8>> {
    let broken = |reason: String| Error::DicomParse(format!("the RLE stream cannot be decoded: {reason}"));
    let planes = format.allocated as usize / 8;
    let pixels = format.rows * format.columns;
    let offset = |n: usize| {
        let bytes = stream.get(n * 4..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes) as usize)
    };
    let segments = offset(0).filter(|_| stream.len() >= HEADER).unwrap_or(0);
    if segments != planes {
        return Err(broken(format!("it has {segments} segments, expected {planes}")));
    }
    if pixels > stream.len().saturating_mul(MAX_EXPANSION) {
        return Err(broken(format!("{} bytes cannot hold {pixels} pixels", stream.len())));
    }
    let mut data = vec![0; pixels * planes];
    for plane in 0..planes {
        let end = if plane + 1 < planes { offset(plane + 2) } else { Some(stream.len()) };
        let segment = offset(plane + 1).zip(end).and_then(|(start, end)| stream.get(start..end));
        let bytes = segment.and_then(|segment| unpack(segment, pixels));
        let bytes = bytes.ok_or_else(|| {
            let (rows, columns) = (format.rows, format.columns);
            broken(format!("segment {plane} does not hold the {rows} x {columns} pixels of the header, or is cut off"))
        })?;
        for (sample, byte) in data.chunks_exact_mut(planes).zip(bytes) {
            sample[planes - 1 - plane] = byte;
        }
    }
    Ok(data)
}

/// PS3.5 G.3.2; `None` unless there are exactly `expected` bytes.
fn unpack(mut segment: &[u8], expected: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(expected);
    while bytes.len() < expected {
        let (&control, rest) = segment.split_first()?;
        let control = control as i8;
        let (literal, used) = match control {
            0.. => (rest.get(..control as usize + 1)?, control as usize + 1),
            i8::MIN => (&[][..], 0),
            _ => {
                let run = control.unsigned_abs() as usize + 1;
                bytes.resize(bytes.len() + run, *rest.first()?);
                (&[][..], 1)
            }
        };
        bytes.extend_from_slice(literal);
        segment = &rest[used..];
    }
    (bytes.len() == expected && segment.len() <= PADDING).then_some(bytes)
}
