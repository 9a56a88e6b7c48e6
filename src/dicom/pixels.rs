//! Pixel data of one file as modality values.
//!
//! Values are RescaleSlope x stored + RescaleIntercept in f64, then f32. MONOCHROME1 says how to display (low is bright), not what
//! the values mean: they are not inverted (PS3.3 C.7.6.3.1.2).

use std::path::Path;

use dicom::core::VR;
use dicom::encoding::{Codec, Endianness};

use super::codestream;
use super::file::{DicomFile, PixelSpan};
use super::header::{Header, PixelFormat};
use crate::error::{Error, Result};

/// Fills `out` (`[rows, columns]`) with the image of the single-frame file at `path`.
pub(super) fn decode(path: &Path, rows: usize, columns: usize, out: &mut [f32]) -> Result<()> {
    let (header, file) = match Header::read(path) {
        Ok(Some(read)) => read,
        Ok(None) => return Err(Error::DicomParse(format!("{}: not a DICOM file", path.display()))),
        Err(broken) => return Err(broken.error),
    };
    decode_from(&header, file, rows, columns, out).map_err(|error| error.at(path.display()))
}

fn decode_from(header: &Header, mut file: DicomFile, rows: usize, columns: usize, out: &mut [f32]) -> Result<()> {
    let format = header.format.as_ref().map_err(|reason| Error::DicomParse(reason.clone()))?;
    if (format.rows, format.columns) != (rows, columns) || out.len() != rows * columns {
        return Err(Error::DicomGeometry(format!(
            "the image has {} rows and {} columns, expected {rows} and {columns}",
            format.rows, format.columns
        )));
    }
    if let Some(reason) = &header.implausible {
        return Err(Error::DicomParse(reason.clone()));
    }
    let Some(span) = header.pixels else {
        return Err(Error::DicomParse("no PixelData (7FE0,0010)".into()));
    };
    let syntax = file.syntax;
    match (span.length, syntax.codec()) {
        (Some(_), Codec::None | Codec::Dataset(_)) => {
            let mut data = native(&mut file, &span, format)?;
            let order = syntax.endianness();
            // PS3.5 8.1.1: 8-bit samples in 16-bit big-endian words are swapped in pairs.
            if order == Endianness::Big && format.allocated == 8 && span.vr == VR::OW {
                data.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
            }
            rescale(&data, order, format, out);
        }
        (None, Codec::EncapsulatedPixelData(..)) => {
            let stream = fragments(&mut file)?;
            let (data, format) = codestream::decode(syntax, stream, format)?;
            rescale(&data, Endianness::Little, &format, out);
        }
        (None, _) => {
            return Err(Error::DicomParse(format!("PixelData is encapsulated, but {} is not", syntax.name())));
        }
        (Some(_), _) => {
            return Err(Error::DicomParse(format!("PixelData is not encapsulated, as {} demands", syntax.name())));
        }
    }
    Ok(())
}

/// Uncompressed samples, of exactly the length that the format implies (but for one byte that makes it even).
fn native(file: &mut DicomFile, span: &PixelSpan, format: &PixelFormat) -> Result<Vec<u8>> {
    let expected = format.byte_len();
    let length = span.length.unwrap_or(0);
    let shape = format!("{} rows x {} columns x {} bits", format.rows, format.columns, format.allocated);
    if length != expected && length != expected + expected % 2 {
        return Err(Error::DicomParse(format!("PixelData has {length} bytes, expected {expected} for {shape}")));
    }
    file.take(length)
}

/// The fragments of one encapsulated image, joined. The first item is the offset table, of no use for a single frame.
fn fragments(file: &mut DicomFile) -> Result<Vec<u8>> {
    let stream = items(file)?.into_iter().skip(1).flatten().collect::<Vec<u8>>();
    if stream.is_empty() {
        return Err(Error::DicomParse("PixelData is empty".into()));
    }
    Ok(stream)
}

/// The items of encapsulated pixel data: the offset table, then the fragments (PS3.5 A.4).
pub(super) fn items(file: &mut DicomFile) -> Result<Vec<Vec<u8>>> {
    const ITEM: [u8; 4] = [0xFE, 0xFF, 0x00, 0xE0];
    const END: [u8; 4] = [0xFE, 0xFF, 0xDD, 0xE0];
    let mut items: Vec<Vec<u8>> = Vec::new();
    while file.remaining() >= 8 {
        let head = file.take(8)?;
        let (tag, length) = head.split_at(4);
        if tag == END {
            break;
        }
        if tag != ITEM {
            let count = items.len();
            return Err(Error::DicomParse(format!("fragment {count} of PixelData does not begin with an item tag")));
        }
        let length = u64::from(u32::from_le_bytes(length.try_into().unwrap_or_default()));
        if length > file.remaining() {
            let (count, rest) = (items.len(), file.remaining());
            return Err(Error::DicomParse(format!(
                "truncated, fragment {count} of PixelData claims {length} bytes and {rest} follow"
            )));
        }
        items.push(file.take(length)?);
    }
    Ok(items)
}

/// Stored samples to modality values. Bits above HighBit (old overlays) are ignored, the sign is that of BitsStored.
fn rescale(data: &[u8], order: Endianness, format: &PixelFormat, out: &mut [f32]) {
    let big = order == Endianness::Big;
    match format.allocated {
        8 => fill(out, data.iter().map(|&byte| u32::from(byte)), format),
        16 => {
            let word = |pair: &[u8]| {
                let pair = [pair[0], pair[1]];
                u32::from(if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
            };
            fill(out, data.chunks_exact(2).map(word), format);
        }
        _ => {
            let word = |four: &[u8]| {
                let four = [four[0], four[1], four[2], four[3]];
                if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
            };
            fill(out, data.chunks_exact(4).map(word), format);
        }
    }
}

fn fill(out: &mut [f32], words: impl Iterator<Item = u32>, format: &PixelFormat) {
    let (up, down) = (31 - format.high_bit, 32 - format.stored);
    let (slope, intercept) = (format.slope, format.intercept);
    for (out, word) in out.iter_mut().zip(words) {
        let word = word << up;
        let stored = if format.signed { f64::from(word as i32 >> down) } else { f64::from(word >> down) };
        *out = (slope * stored + intercept) as f32;
    }
}
