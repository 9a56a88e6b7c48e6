//! Pixel data of one file as modality values.
//!
//! Values are RescaleSlope x stored + RescaleIntercept in f64, then f32. MONOCHROME1 says how to display (low is bright), not what
//! the values mean: they are not inverted (PS3.3 C.7.6.3.1.2).

use dicom::core::VR;
use dicom::encoding::{Codec, Endianness};

use super::codestream;
use super::file::{DicomFile, PixelSpan};
use super::format::PixelFormat;
use super::header::Header;
use super::slice::Slice;
use crate::error::{Error, Result};

/// Fills `out` (`[rows, columns]` of the slice) with the pixels of `slice`.
pub(super) fn decode(slice: &Slice, out: &mut [f32]) -> Result<()> {
    decode_from(slice, out).map_err(|error| error.at(slice.place()))
}

fn decode_from(slice: &Slice, out: &mut [f32]) -> Result<()> {
    let header = &*slice.file;
    let format = slice.format.as_ref().map_err(|reason| Error::DicomParse(reason.clone()))?;
    let Some(span) = header.pixels else {
        return Err(Error::DicomParse("no PixelData (7FE0,0010)".into()));
    };
    let mut file =
        DicomFile::open(&header.path)?.ok_or_else(|| Error::DicomParse("not a DICOM file any more".into()))?;
    if file.file_size != header.file_size {
        let (now, then) = (file.file_size, header.file_size);
        return Err(Error::DicomParse(format!("the file has {now} bytes and had {then} when its header was read")));
    }
    // Of another slice, say, which has the same size: its voxels would go to a wrong place without a word.
    if file.modified != header.modified {
        return Err(Error::DicomParse("the file was written since its header was read".into()));
    }
    file.skip(span.value)?;
    match slice.tile {
        None => stored(&mut file, header, &span, slice.frame, format, out),
        Some([column, row]) => {
            let whole = header.format.as_ref().map_err(|reason| Error::DicomParse(reason.clone()))?;
            let mut mosaic = vec![0.0; whole.rows * whole.columns];
            stored(&mut file, header, &span, None, whole, &mut mosaic)?;
            let lines = mosaic.chunks_exact(whole.columns).skip(row);
            for (out, line) in out.chunks_exact_mut(format.columns).zip(lines) {
                out.copy_from_slice(&line[column..column + format.columns]);
            }
            Ok(())
        }
    }
}

/// Pixels of one image or frame of `file`, which stands at the value of PixelData.
fn stored(
    file: &mut DicomFile,
    header: &Header,
    span: &PixelSpan,
    frame: Option<u32>,
    format: &PixelFormat,
    out: &mut [f32],
) -> Result<()> {
    let frames = header.frames.max(1) as u64;
    let before = u64::from(frame.map_or(0, |frame| frame - 1));
    if out.len() != format.rows * format.columns {
        return Err(Error::Internal(format!("{} pixels for {} x {}", out.len(), format.rows, format.columns)));
    }
    let syntax = file.syntax;
    match (span.length, syntax.codec()) {
        (Some(_), Codec::None | Codec::Dataset(_)) => {
            let mut data = native(file, span, format, frames, before)?;
            let order = syntax.endianness();
            // PS3.5 8.1.1: 8-bit samples in 16-bit big-endian words are swapped in pairs.
            if order == Endianness::Big && format.allocated == 8 && span.vr == VR::OW {
                if frames > 1 {
                    return Err(Error::DicomUnsupported("several 8-bit frames in big-endian words".into()));
                }
                data.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
            }
            rescale(&data, order, format, out);
        }
        (None, Codec::EncapsulatedPixelData(..)) => {
            let stream = if frames == 1 { joined(file)? } else { fragment(file, frames, before)? };
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

/// Uncompressed samples of the frame that has `before` others before it. PixelData must have exactly the length that the
/// format implies (but for one byte that makes it even).
fn native(file: &mut DicomFile, span: &PixelSpan, format: &PixelFormat, frames: u64, before: u64) -> Result<Vec<u8>> {
    let one = format.byte_len();
    let expected = one.saturating_mul(frames);
    let length = span.length.unwrap_or(0);
    if length != expected && length != expected + expected % 2 {
        let shape = format!("{} rows x {} columns x {} bits", format.rows, format.columns, format.allocated);
        let shape = if frames > 1 { format!("{frames} frames of {shape}") } else { shape };
        return Err(Error::DicomParse(format!("PixelData has {length} bytes, expected {expected} for {shape}")));
    }
    file.skip(one * before)?;
    // The last frame keeps the byte that makes the length even, which 8-bit samples in words need.
    file.take(if before + 1 == frames { length - one * before } else { one })
}

/// The fragments of one encapsulated image, joined. The first item is the offset table, of no use for a single frame.
fn joined(file: &mut DicomFile) -> Result<Vec<u8>> {
    let stream = items(file)?.into_iter().skip(1).flatten().collect::<Vec<u8>>();
    if stream.is_empty() {
        return Err(Error::DicomParse("PixelData is empty".into()));
    }
    Ok(stream)
}

/// The compressed stream of the frame that has `before` others before it: fragments from where the offset table says to
/// where the next frame begins, or, without a table, one fragment for each frame (PS3.5 A.4).
fn fragment(file: &mut DicomFile, frames: u64, before: u64) -> Result<Vec<u8>> {
    let table = item_length(file, 0)?.ok_or_else(|| Error::DicomParse("PixelData has no offset table".into()))?;
    let table = file.take(table)?;
    let offsets: Vec<u64> = table.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word).into()).collect();
    let (start, end) = match offsets.len() as u64 {
        0 => (None, None),
        count if count == frames => (Some(offsets[before as usize]), offsets.get(before as usize + 1).copied()),
        count => return Err(Error::DicomParse(format!("the offset table has {count} frames, expected {frames}"))),
    };
    let (mut at, mut stream) = (0, Vec::new());
    let mut count = 0;
    while let Some(length) = item_length(file, count + 1)? {
        let wanted = match start {
            None => count == before,
            Some(start) => at >= start && end.is_none_or(|end| at < end),
        };
        if wanted {
            stream.extend(file.take(length)?);
        } else {
            file.skip(length)?;
        }
        at += 8 + length;
        count += 1;
    }
    if start.is_none() && count != frames {
        return Err(Error::DicomParse(format!("{count} fragments for {frames} frames, and no offset table")));
    }
    if stream.is_empty() {
        return Err(Error::DicomParse("no pixels of this frame".into()));
    }
    Ok(stream)
}

/// Length of the item that follows; `None` at the end of the sequence. `count` items came before.
fn item_length(file: &mut DicomFile, count: u64) -> Result<Option<u64>> {
    const ITEM: [u8; 4] = [0xFE, 0xFF, 0x00, 0xE0];
    const END: [u8; 4] = [0xFE, 0xFF, 0xDD, 0xE0];
    if file.remaining() < 8 {
        return Ok(None);
    }
    let head = file.take(8)?;
    let (tag, length) = head.split_at(4);
    if tag == END {
        return Ok(None);
    }
    if tag != ITEM {
        return Err(Error::DicomParse(format!("fragment {count} of PixelData does not begin with an item tag")));
    }
    let length = u64::from(u32::from_le_bytes(length.try_into().unwrap_or_default()));
    if length > file.remaining() {
        let rest = file.remaining();
        return Err(Error::DicomParse(format!(
            "truncated, fragment {count} of PixelData claims {length} bytes and {rest} follow"
        )));
    }
    Ok(Some(length))
}

/// The items of encapsulated pixel data: the offset table, then the fragments (PS3.5 A.4).
pub(in crate::dicom) fn items(file: &mut DicomFile) -> Result<Vec<Vec<u8>>> {
    let mut items: Vec<Vec<u8>> = Vec::new();
    while let Some(length) = item_length(file, items.len() as u64)? {
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
