//! RLE lossless (PS3.5 annex G): the bytes of the samples in planes, most significant first, each packed by itself.
//! Read for samples of any size, written for those of one byte.
//!
//! Decoded here because the registered codec panics on streams that are too short and accepts ones that are too long.

use super::read::format::PixelFormat;
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

/// Longest literal or run.
const LONGEST: usize = 128;

/// The stream of an image of one byte for each pixel; its length is even.
pub(super) fn encode(pixels: &[u8], columns: usize) -> Vec<u8> {
    let mut stream = vec![0; HEADER];
    stream[0] = 1;
    stream[4] = HEADER as u8;
    // Neither runs nor literals cross rows (PS3.5 section G.3.1).
    pixels.chunks(columns).for_each(|row| pack(row, &mut stream));
    if stream.len() % 2 == 1 {
        stream.push(0);
    }
    stream
}

/// Most bytes that [`encode`] makes of an image: literals alone.
pub(super) fn most_bytes(columns: usize, rows: usize) -> u64 {
    let packed = (columns + columns.div_ceil(LONGEST)) as u64 * rows as u64;
    HEADER as u64 + packed.next_multiple_of(2)
}

/// PS3.5 G.3.1: runs of three and more become two bytes; two equal bytes do not interrupt a literal.
fn pack(row: &[u8], out: &mut Vec<u8>) {
    let mut rest = row;
    let mut literal = row;
    let mut literals = 0;
    while let Some((&first, _)) = rest.split_first() {
        let run = rest.iter().take(LONGEST).take_while(|&&byte| byte == first).count();
        if run >= 3 || (run == 2 && literals == 0) {
            flush(&literal[..literals], out);
            out.extend([(1 - run as i32) as u8, first]);
            literals = 0;
            literal = &rest[run..];
        } else {
            literals += run;
        }
        rest = &rest[run..];
    }
    flush(&literal[..literals], out);
}

fn flush(literal: &[u8], out: &mut Vec<u8>) {
    for part in literal.chunks(LONGEST) {
        out.push(part.len() as u8 - 1);
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(rows: usize, columns: usize) -> PixelFormat {
        PixelFormat { rows, columns, allocated: 8, stored: 8, high_bit: 7, signed: false, slope: 1.0, intercept: 0.0 }
    }

    #[test]
    fn packed_bytes_are_those_of_the_standard() {
        let pack = |row: &[u8]| {
            let mut out = Vec::new();
            super::pack(row, &mut out);
            out
        };
        assert_eq!(pack(&[7; 128]), [0x81, 7]);
        assert_eq!(pack(&[7; 129]), [0x81, 7, 0, 7]);
        assert_eq!(pack(&[7; 131]), [0x81, 7, 0xFE, 7]);
        assert_eq!(pack(&[1, 2, 2, 3, 3, 3]), [2, 1, 2, 2, 0xFE, 3]);
        assert_eq!(pack(&[2, 2, 1]), [0xFF, 2, 0, 1]);
        assert_eq!(pack(&[]), [0; 0]);
        let rising: Vec<u8> = (0..=255).chain([0, 0]).collect();
        let packed = pack(&rising);
        assert_eq!((packed[0], packed[129], packed[258]), (127, 127, 1));
        assert_eq!(packed.len(), 258 + 3);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut state = 1u32;
        for (columns, rows, spread) in [(1, 1, 1), (3, 5, 2), (512, 7, 1), (300, 4, 2), (257, 3, 9), (129, 2, 255)] {
            let mut value = 0u8;
            let pixels: Vec<u8> = (0..columns * rows)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if state >> 28 < 6 || spread == 255 {
                        value = ((state >> 16) % spread) as u8;
                    }
                    value
                })
                .collect();
            let stream = encode(&pixels, columns);
            assert!(stream.len().is_multiple_of(2) && stream.len() as u64 <= most_bytes(columns, rows));
            assert!(decode(&stream, &format(rows, columns)).unwrap() == pixels, "{columns} x {rows}");
        }
    }
}
