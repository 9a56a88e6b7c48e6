//! The pixels of a DICOM SEG, frame by frame: native, or RLE compressed with a table of offsets.

use std::io::{self, Write};
use std::path::Path;

use dicom::dictionary_std::tags;

use super::plan::{Frame, Plan, Values};
use super::write::{SEQUENCE_END, UNDEFINED_LENGTH, element, io_error, item};
use crate::control::{Control, Progress, Stage};
use crate::dicom::rle;
use crate::error::Result;
use crate::labelmap::Labelmap;

/// Where the frames of a plan come from.
pub struct Pixels<'a> {
    pub labelmap: &'a Labelmap,
    pub plan: &'a Plan<'a>,
}

impl Pixels<'_> {
    /// The whole Pixel Data element, uncompressed.
    pub fn write_native(&self, out: &mut impl Write, path: &Path, control: &mut Control) -> Result<()> {
        let failed = io_error(path);
        // The plan has checked that the length fits.
        let length = self.plan.native_bytes().next_multiple_of(2);
        out.write_all(&element(tags::PIXEL_DATA, *b"OB", length as u32)).map_err(&failed)?;
        let frames = &self.plan.frames;
        let (mut packer, mut pixels) = (BitPacker::default(), vec![0; self.labelmap.geometry().slice_len()]);
        for (done, frame) in frames.iter().enumerate() {
            control.report(Progress::of(Stage::Write, done, frames.len()))?;
            if let (Values::Mask, Some(segment)) = (self.plan.values, frame.segment) {
                self.labelmap.read_slice(frame.slice, &mut pixels)?;
                packer.pack(&pixels, self.plan.segments[segment].value);
                packer.drain_to(out).map_err(&failed)?;
            } else {
                self.fill(frame, &mut pixels)?;
                out.write_all(&pixels).map_err(&failed)?;
            }
        }
        if matches!(self.plan.values, Values::Mask) {
            packer.finish(out).map_err(&failed)?;
        } else {
            out.write_all(&[0][..(self.plan.native_bytes() % 2) as usize]).map_err(&failed)?;
        }
        control.report(Progress::of(Stage::Write, frames.len(), frames.len()))
    }

    /// Pixel Data in one fragment for each frame (PS3.5 section A.4.2), which are compressed twice: first to know their
    /// places, which come before them.
    pub fn write_rle(&self, out: &mut impl Write, path: &Path, control: &mut Control) -> Result<()> {
        let failed = io_error(path);
        let frames = &self.plan.frames;
        let [columns, rows, _] = self.labelmap.geometry().size;
        let mut pixels = vec![0; columns * rows];
        let mut lengths = Vec::with_capacity(frames.len());
        let total = 2 * frames.len();
        for (done, frame) in frames.iter().enumerate() {
            control.report(Progress::of(Stage::Write, done, total))?;
            self.fill(frame, &mut pixels)?;
            lengths.push(rle::encode(&pixels, columns).len() as u32);
        }
        out.write_all(&encapsulation(&lengths)).map_err(&failed)?;
        for ((done, frame), length) in frames.iter().enumerate().zip(lengths) {
            control.report(Progress::of(Stage::Write, frames.len() + done, total))?;
            self.fill(frame, &mut pixels)?;
            let written = out.write_all(&item(length));
            written.and_then(|()| out.write_all(&rle::encode(&pixels, columns))).map_err(&failed)?;
        }
        out.write_all(&SEQUENCE_END).map_err(&failed)?;
        control.report(Progress::of(Stage::Write, total, total))
    }

    /// One byte for each pixel of a frame.
    fn fill(&self, frame: &Frame, out: &mut [u8]) -> Result<()> {
        let mut bytes = [0; 256];
        match (self.plan.values, frame.segment) {
            (Values::Probability(fractions), Some(segment)) => {
                return fractions.read(self.plan.segments[segment].value, frame.slice, out);
            }
            (Values::Numbers, _) => {
                for (label, number) in self.plan.segments.iter().zip(1..) {
                    bytes[usize::from(label.value)] = number;
                }
            }
            (_, Some(segment)) => bytes[usize::from(self.plan.segments[segment].value)] = 255,
            (_, None) => {}
        }
        self.labelmap.read_slice(frame.slice, out)?;
        out.iter_mut().for_each(|pixel| *pixel = bytes[usize::from(*pixel)]);
        Ok(())
    }
}

/// What comes before the first fragment: Pixel Data with the Basic Offset Table, or with an empty one after an Extended
/// Offset Table where 32 bits do not reach (PS3.5 section A.4, PS3.3 section C.7.6.3.1.8).
fn encapsulation(lengths: &[u32]) -> Vec<u8> {
    let offsets: Vec<u64> =
        lengths.iter().scan(0, |next, &length| Some(std::mem::replace(next, *next + 8 + u64::from(length)))).collect();
    let mut out = Vec::new();
    let reached = offsets.last().is_none_or(|&last| last <= u64::from(u32::MAX));
    if !reached {
        let lengths: Vec<u64> = lengths.iter().map(|&length| length.into()).collect();
        for (tag, table) in [(tags::EXTENDED_OFFSET_TABLE, &offsets), (tags::EXTENDED_OFFSET_TABLE_LENGTHS, &lengths)] {
            out.extend(element(tag, *b"OV", 8 * table.len() as u32));
            table.iter().for_each(|value| out.extend(value.to_le_bytes()));
        }
    }
    let basic = if reached { offsets.as_slice() } else { &[] };
    out.extend(element(tags::PIXEL_DATA, *b"OB", UNDEFINED_LENGTH));
    out.extend(item(4 * basic.len() as u32));
    basic.iter().for_each(|&offset| out.extend((offset as u32).to_le_bytes()));
    out
}

/// Joins the masks of all frames bit by bit: first pixel in the lowest bit, no padding between frames (PS3.5 section
/// 8.1.1).
#[derive(Default)]
struct BitPacker {
    /// Whole bytes that wait to be written.
    ready: Vec<u8>,
    partial: u8,
    /// Bits in `partial`, 0..8.
    used: u32,
    written: usize,
}

impl BitPacker {
    /// Appends one bit for each pixel: whether it has `value`.
    fn pack(&mut self, pixels: &[u8], value: u8) {
        let missing = if self.used == 0 { 0 } else { 8 - self.used as usize };
        let (head, body) = pixels.split_at(missing.min(pixels.len()));
        for &pixel in head {
            self.push(pixel == value);
        }
        let (bytes, tail) = body.as_chunks::<8>();
        self.ready.extend(
            bytes.iter().map(|byte| {
                byte.iter().enumerate().fold(0, |bits, (bit, &pixel)| bits | u8::from(pixel == value) << bit)
            }),
        );
        for &pixel in tail {
            self.push(pixel == value);
        }
    }

    fn push(&mut self, bit: bool) {
        self.partial |= u8::from(bit) << self.used;
        self.used += 1;
        if self.used == 8 {
            self.ready.push(self.partial);
            (self.partial, self.used) = (0, 0);
        }
    }

    fn drain_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.ready)?;
        self.written += self.ready.len();
        self.ready.clear();
        Ok(())
    }

    /// Fills the last byte with zero bits and the value to an even length.
    fn finish(mut self, out: &mut impl Write) -> io::Result<()> {
        if self.used > 0 {
            self.ready.push(self.partial);
        }
        if (self.written + self.ready.len()) % 2 == 1 {
            self.ready.push(0);
        }
        self.drain_to(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_joined_without_padding() {
        let mut packer = BitPacker::default();
        let mut out = Vec::new();
        packer.pack(&[1, 0, 1], 1);
        packer.pack(&[2, 1, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 1], 2);
        packer.drain_to(&mut out).unwrap();
        packer.pack(&[3], 3);
        packer.finish(&mut out).unwrap();
        assert_eq!(out, [0b1110_1101, 0b0111_1011, 0b0000_0001, 0]);
    }

    #[test]
    fn offsets_beyond_32_bits_get_the_extended_table() {
        let element = |text: &[u8]| [&[0xE0, 0x7F][..], text].concat();
        let pixel_data = element(&[0x10, 0, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        let near = [pixel_data.as_slice(), &[0xFE, 0xFF, 0, 0xE0, 8, 0, 0, 0], &[0, 0, 0, 0], &[18, 0, 0, 0]].concat();
        assert_eq!(encapsulation(&[10, 6]), near);

        let length = 0xFFFF_FFF0u32;
        // The last offset still fits.
        assert!(encapsulation(&[length, 2]).starts_with(&pixel_data));
        let table = encapsulation(&[length, 2, 4]);
        let expected = [
            element(&[0x01, 0, b'O', b'V', 0, 0, 24, 0, 0, 0]),
            [0u64, 0xFFFF_FFF8, 0x1_0000_0002].map(u64::to_le_bytes).concat(),
            element(&[0x02, 0, b'O', b'V', 0, 0, 24, 0, 0, 0]),
            [u64::from(length), 2, 4].map(u64::to_le_bytes).concat(),
            pixel_data,
            vec![0xFE, 0xFF, 0, 0xE0, 0, 0, 0, 0],
        ];
        assert_eq!(table, expected.concat());
    }
}
