//! Pixels of a DICOM SEG as labels on a grid.

use std::collections::BTreeMap;

use dicom::encoding::{Codec, Endianness};

use super::grid::Place;
use super::read::{Encoding, Seg};
use crate::dicom::overlap::Claims;
use crate::dicom::read::codestream;
use crate::dicom::read::file::{DicomFile, PixelSpan};
use crate::dicom::read::format::PixelFormat;
use crate::dicom::read::header::Header;
use crate::dicom::read::pixels::items;
use crate::error::{Error, Result};
use crate::geometry::Geometry;

/// Puts a pixel's segment into the slice that it lies in.
type Settle<'a> = dyn FnMut(&mut [u8]) -> Result<()> + 'a;

impl Seg {
    /// Labels `[k, j, i]` on `grid`, which the frames must lie on: segment numbers, 0 where no frame shows a segment.
    ///
    /// A pixel of a FRACTIONAL segmentation counts from half of the maximum on.
    pub fn read(&self, grid: &Geometry, claims: impl Into<Claims>) -> Result<Vec<u8>> {
        let mut all = vec![0; grid.len()];
        let len = grid.slice_len();
        self.draw(grid, &claims.into(), |k, settle| settle(&mut all[k * len..][..len]))?;
        Ok(all)
    }

    /// The slices of `grid` that frames lie in, as [`Seg::read`] has them; the others show nothing.
    pub(in crate::dicom) fn slices(&self, grid: &Geometry, claims: &Claims) -> Result<BTreeMap<usize, Vec<u8>>> {
        let mut slices: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        self.draw(grid, claims, |k, settle| settle(slices.entry(k).or_insert_with(|| vec![0; grid.slice_len()])))?;
        Ok(slices)
    }

    /// Shows every labelled pixel to `at(k, settle)`, which lets `settle` change slice `k`.
    fn draw(&self, grid: &Geometry, claims: &Claims, at: impl FnMut(usize, &mut Settle) -> Result<()>) -> Result<()> {
        self.on(grid, claims, at).map_err(|e| e.at(self.path.display()))
    }

    fn on(
        &self,
        grid: &Geometry,
        claims: &Claims,
        mut slice: impl FnMut(usize, &mut Settle) -> Result<()>,
    ) -> Result<()> {
        let places = self.frames.iter().enumerate().map(|(n, frame)| {
            Place::of(&frame.plane, [self.columns, self.rows], grid).map_err(|e| e.at(format!("frame {}", n + 1)))
        });
        let places: Vec<Place> = places.collect::<Result<_>>()?;
        let mut known = [false; 256];
        self.labels.iter().for_each(|label| known[usize::from(label.value)] = true);
        let mut pixels = Pixels::open(self)?;
        let mut values = vec![0u16; self.rows * self.columns];
        for (n, (frame, place)) in self.frames.iter().zip(&places).enumerate() {
            pixels.next(&mut values).map_err(|e| e.at(format!("frame {}", n + 1)))?;
            for (at, &value) in values.iter().enumerate() {
                let segment = match self.encoding {
                    Encoding::Binary => frame.segment * u8::from(value > 0),
                    Encoding::Fractional { maximum, .. } => frame.segment * u8::from(2 * value >= maximum),
                    Encoding::LabelMap { padding, .. } if Some(value) == padding => 0,
                    Encoding::LabelMap { .. } => {
                        let segment = u8::try_from(value).ok().filter(|&value| value == 0 || known[usize::from(value)]);
                        segment.ok_or_else(|| {
                            let text =
                                format!("frame {}: a pixel is {value}, which is the number of no segment", n + 1);
                            Error::DicomParse(text)
                        })?
                    }
                };
                if segment == 0 {
                    continue;
                }
                let voxel = place.voxel(at % self.columns, at / self.columns);
                let [i, j, k] = voxel.map(|n| n as usize); // within the grid, as its place was checked
                slice(k, &mut |slice| {
                    let label = &mut slice[j * grid.size[0] + i];
                    *label = claims.settle(*label, segment).ok_or_else(|| {
                        Error::DicomUnsupported(format!(
                            "{} and {} overlap at voxel ({i}, {j}, {k}), expected one label for each voxel",
                            self.segment(*label),
                            self.segment(segment)
                        ))
                    })?;
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

/// Frames, one after the other.
pub(super) enum Pixels {
    /// Packed without gaps; a byte that two frames share is kept.
    Native { file: Box<DicomFile>, bits: usize, held: Option<u8>, used: usize },
    /// Compressed frames, the next one last.
    Streams { file: Box<DicomFile>, bits: usize, streams: Vec<Vec<u8>>, format: PixelFormat },
}

impl Pixels {
    pub fn open(seg: &Seg) -> Result<Self> {
        let (header, mut file) = match Header::read(&seg.path) {
            Ok(Some(read)) => read,
            Ok(None) => return Err(Error::DicomParse("not a DICOM file any more".into())),
            Err(broken) => return Err(broken.error),
        };
        let Some(span) = header.pixels else {
            return Err(Error::DicomParse("no PixelData (7FE0,0010)".into()));
        };
        let bits = match seg.encoding {
            Encoding::Binary => 1,
            Encoding::Fractional { .. } => 8,
            Encoding::LabelMap { bits, .. } => bits,
        };
        let syntax = file.syntax;
        match (syntax.codec(), span.length) {
            (Codec::None | Codec::Dataset(_), Some(length)) if syntax.endianness() == Endianness::Little => {
                check_length(seg, bits, length)?;
                Ok(Pixels::Native { file: Box::new(file), bits, held: None, used: 0 })
            }
            (Codec::EncapsulatedPixelData(..), None) => {
                let mut streams = streams(&mut file, &span, seg.frames.len())?;
                streams.reverse();
                Ok(Pixels::Streams { file: Box::new(file), bits, streams, format: format(seg, bits) })
            }
            _ => Err(Error::DicomUnsupported(format!(
                "a segmentation in transfer syntax {} ({}) is not read",
                syntax.name(),
                syntax.uid()
            ))),
        }
    }

    /// Fills `out` with the next frame.
    pub fn next(&mut self, out: &mut [u16]) -> Result<()> {
        match self {
            Pixels::Native { file, bits, held, used } => {
                let needed = (*used + out.len() * *bits).div_ceil(8);
                let mut bytes: Vec<u8> = held.take().into_iter().collect();
                bytes.extend(file.take((needed - bytes.len()) as u64)?);
                unpack(&bytes, *bits, *used, out);
                *used = (*used + out.len() * *bits) % 8;
                *held = bytes.last().copied().filter(|_| *used > 0);
            }
            Pixels::Streams { file, bits, streams, format } => {
                let stream = streams.pop().ok_or_else(|| Error::DicomParse("no pixels".into()))?;
                let (bytes, found) = codestream::decode(file.syntax, stream, format)?;
                // A codec may give fewer bits than were allocated.
                unpack(&bytes, if *bits == 1 { 1 } else { found.allocated as usize }, 0, out);
            }
        }
        Ok(())
    }
}

/// `bits` for each pixel, the first in the lowest bit, from bit `first` on; words are little-endian.
fn unpack(bytes: &[u8], bits: usize, first: usize, out: &mut [u16]) {
    match bits {
        1 => out.iter_mut().zip(first..).for_each(|(out, bit)| *out = u16::from(bytes[bit / 8] >> (bit % 8) & 1)),
        8 => out.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = byte.into()),
        _ => out.iter_mut().zip(bytes.as_chunks().0).for_each(|(out, &word)| *out = u16::from_le_bytes(word)),
    }
}

/// Native pixels have exactly the length that their header implies, but for one byte that makes it even.
fn check_length(seg: &Seg, bits: usize, length: u64) -> Result<()> {
    let all =
        [seg.rows, seg.columns, bits].iter().fold(seg.frames.len() as u64, |all, &n| all.saturating_mul(n as u64));
    let expected = all.div_ceil(8);
    if length != expected && length != expected + expected % 2 {
        return Err(Error::DicomParse(format!(
            "PixelData has {length} bytes, expected {expected} for {} frames of {} rows x {} columns x {bits} bits",
            seg.frames.len(),
            seg.rows,
            seg.columns
        )));
    }
    Ok(())
}

/// Samples of a compressed frame. One-bit frames are compressed as rows of bytes that hold eight pixels each.
fn format(seg: &Seg, bits: usize) -> PixelFormat {
    let (rows, columns, allocated) = match bits {
        1 => (1, (seg.rows * seg.columns).div_ceil(8), 8),
        _ => (seg.rows, seg.columns, bits as u32),
    };
    let (stored, high_bit) = (allocated, allocated - 1);
    PixelFormat { rows, columns, allocated, stored, high_bit, signed: false, slope: 1.0, intercept: 0.0 }
}

/// The compressed stream of each frame: one fragment each, or what the offset table says (PS3.5 section A.4).
fn streams(file: &mut DicomFile, span: &PixelSpan, frames: usize) -> Result<Vec<Vec<u8>>> {
    debug_assert!(span.length.is_none());
    let mut items = items(file)?;
    let fragments = items.split_off(1.min(items.len()));
    if fragments.len() == frames {
        return Ok(fragments);
    }
    let table: Vec<usize> =
        items.concat().as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes) as usize).collect();
    let mut streams: Vec<Vec<u8>> = Vec::new();
    let mut offset = 0;
    for fragment in &fragments {
        if table.contains(&offset) {
            streams.push(Vec::new());
        }
        offset += fragment.len() + 8;
        if let Some(stream) = streams.last_mut() {
            stream.extend_from_slice(fragment);
        }
    }
    if streams.len() != frames {
        return Err(Error::DicomParse(format!(
            "{frames} frames in {} fragments, and the offset table names {}",
            fragments.len(),
            streams.len()
        )));
    }
    Ok(streams)
}
