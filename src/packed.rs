//! A slice of labels in little memory: deflated, and inflated whenever it is asked for.

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};

use crate::error::{Error, Result};

/// Organs shrink a hundredfold and more at any level. Where the network is unsure and labels change every few pixels, this one
/// takes a fifth less than the first; the next one takes twice the time for another sixth.
const LEVEL: Compression = Compression::new(2);

/// One label for each pixel. Noise takes a byte for each pixel and row, and a thousandth more.
#[derive(Debug, Default)]
pub struct PackedSlice {
    /// The rows that are unlike the one before, deflated.
    bytes: Box<[u8]>,
    /// Which rows are like the one before: in a slice that was enlarged every other one.
    repeats: Box<[bool]>,
    pixels: usize,
    /// Bit `value % 64` of word `value / 64`: whether a pixel has it.
    present: [u64; 4],
}

/// Packs one slice after the other, with the same tables of some 300 kB.
#[derive(Debug)]
pub struct Packer {
    deflate: DeflateEncoder<Vec<u8>>,
}

impl Default for Packer {
    fn default() -> Self {
        Packer { deflate: DeflateEncoder::new(Vec::new(), LEVEL) }
    }
}

impl Packer {
    /// `labels` are `[rows, columns]`.
    pub fn pack(&mut self, labels: &[u8], columns: usize) -> Result<PackedSlice> {
        let failed = |error| Error::Internal(format!("labels cannot be packed: {error}"));
        if columns == 0 || !labels.len().is_multiple_of(columns) {
            return Err(Error::Internal(format!("{} labels in rows of {columns}", labels.len())));
        }
        let (mut seen, mut last) = ([false; 256], &[][..]);
        let mut repeats = Vec::with_capacity(labels.len() / columns);
        for row in labels.chunks_exact(columns) {
            repeats.push(row == last);
            if row != last {
                row.iter().for_each(|&label| seen[usize::from(label)] = true);
                self.deflate.write_all(row).map_err(failed)?;
                last = row;
            }
        }
        let mut present = [0; 4];
        for (value, _) in seen.iter().enumerate().filter(|(_, seen)| **seen) {
            present[value / 64] |= 1 << (value % 64);
        }
        let bytes = self.deflate.reset(Vec::new()).map_err(failed)?.into_boxed_slice();
        Ok(PackedSlice { bytes, repeats: repeats.into_boxed_slice(), pixels: labels.len(), present })
    }
}

impl PackedSlice {
    pub fn pixels(&self) -> usize {
        self.pixels
    }

    /// Bytes of memory that it takes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.repeats.len()
    }

    /// Whether a pixel has this value.
    pub fn has(&self, value: u8) -> bool {
        self.present[usize::from(value / 64)] >> (value % 64) & 1 == 1
    }

    /// The values that pixels have, in ascending order.
    pub fn values(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(|&value| self.has(value))
    }

    /// Fills `out`, which must have as many pixels.
    pub fn unpack(&self, out: &mut [u8]) -> Result<()> {
        if out.len() != self.pixels || out.is_empty() {
            return Err(Error::Internal(format!("{} labels into {} pixels", self.pixels, out.len())));
        }
        let columns = self.pixels / self.repeats.len();
        let mut unlike = self.repeats.iter().filter(|repeats| !**repeats).count();
        let inflated = &mut out[..unlike * columns];
        let mut inflate = Decompress::new(false);
        match inflate.decompress(&self.bytes, inflated, FlushDecompress::Finish) {
            Ok(Status::StreamEnd) if inflate.total_out() == inflated.len() as u64 => {}
            other => return Err(Error::Internal(format!("packed labels cannot be read: {other:?}"))),
        }
        // They lie one behind the other at the start: from the last row on, each goes where it belongs.
        for (row, repeats) in self.repeats.iter().enumerate().rev() {
            out.copy_within((unlike - 1) * columns..unlike * columns, row * columns);
            unlike -= usize::from(!repeats);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn noise(pixels: usize, values: usize) -> Vec<u8> {
        let mut random = random::stream(1, "labels", &[]);
        (0..pixels).map(|_| (random.unit() * values as f64) as u8).collect()
    }

    fn unpacked(packed: &PackedSlice) -> Vec<u8> {
        let mut out = vec![0xAA; packed.pixels()];
        packed.unpack(&mut out).unwrap();
        out
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let mut packer = Packer::default();
        let discs: Vec<u8> = (0..300 * 200).map(|at| (at % 300 / 40 + at / 300 / 30) as u8).collect();
        let cases = [
            (vec![0; 512 * 512], 512),
            (vec![255; 1000], 1),
            (vec![255; 1000], 1000),
            (vec![7], 1),
            (vec![1, 2, 1, 2, 3, 3, 1, 2, 1, 2], 2),
            (discs, 300),
            (noise(100_000, 2), 100),
            (noise(100_000, 256), 100),
        ];
        for (labels, columns) in &cases {
            let packed = packer.pack(labels, *columns).unwrap();
            assert!(unpacked(&packed) == *labels, "{} pixels in rows of {columns}", labels.len());
            // A packer forgets what it packed before.
            assert_eq!(packed.bytes, Packer::default().pack(labels, *columns).unwrap().bytes);
        }
    }

    #[test]
    fn areas_take_little_and_noise_hardly_more_than_its_pixels() {
        let mut packer = Packer::default();
        let side = 512;
        let mut size = |labels: &[u8]| packer.pack(labels, side).unwrap().size();
        assert!(size(&vec![3; side * side]) < 1000);
        let ball = |at: usize| u8::from((at % side).abs_diff(200).pow(2) + (at / side).abs_diff(300).pow(2) < 70 * 70);
        assert!(size(&(0..side * side).map(ball).collect::<Vec<_>>()) < 3000);
        // Noise that was enlarged twofold has every other row.
        let coarse = noise(side * side / 4, 256);
        let fine: Vec<u8> = (0..side * side).map(|at| coarse[at / side / 2 * (side / 2) + at % side / 2]).collect();
        assert!(size(&fine) < side * side * 11 / 20, "{} bytes", size(&fine));
        let most = size(&noise(side * side, 256));
        assert!(most <= (side * side + side) * 1001 / 1000, "{most} bytes");
    }

    #[test]
    fn it_knows_the_values_without_unpacking() {
        let packed = Packer::default().pack(&[9, 0, 255, 64, 63, 9], 2).unwrap();
        assert_eq!(packed.values().collect::<Vec<_>>(), [0, 9, 63, 64, 255]);
        assert!(packed.has(255) && !packed.has(1));
    }

    #[test]
    fn wrong_sizes_are_refused() {
        let packed = Packer::default().pack(&[1; 12], 4).unwrap();
        for wrong in [0, 11, 13] {
            assert!(packed.unpack(&mut vec![0; wrong]).is_err(), "{wrong} pixels");
        }
        for wrong in [0, 5, 13] {
            assert!(Packer::default().pack(&[1; 12], wrong).is_err(), "rows of {wrong}");
        }
        // A slice that nobody packed holds nothing.
        assert!(PackedSlice::default().unpack(&mut [0; 12]).is_err());
        assert!(PackedSlice::default().unpack(&mut []).is_err());
    }
}
