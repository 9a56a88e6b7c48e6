//! One tensor of a checkpoint: shape, element type, and where its elements lie; read when asked for.

use std::fmt;

use half::{bf16, f16};

use super::bad;
use super::source::Piece;
use crate::error::Result;

/// Element types that are read, all little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    /// Also truth values.
    U8,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::BF16 | DType::I16 => 2,
            DType::I8 | DType::U8 => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F64 => "float64",
            DType::F32 => "float32",
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            DType::I64 => "int64",
            DType::I32 => "int32",
            DType::I16 => "int16",
            DType::I8 => "int8",
            DType::U8 => "uint8",
        })
    }
}

/// One axis of the stored elements: how many, and how many elements apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    pub len: usize,
    pub stride: usize,
}

/// A tensor that is still in the file.
#[derive(Debug, Clone)]
pub struct Entry {
    shape: Vec<usize>,
    dtype: DType,
    /// Stored axes in the order of `shape`, which may merge neighbours: [heads, 64] becomes [768].
    axes: Vec<Axis>,
    piece: Piece,
    /// Bytes of the piece before its elements.
    skip: u64,
    /// First element, counted from there.
    first: usize,
}

/// Product of `sizes`, unless it overflows.
pub(super) fn product(sizes: impl IntoIterator<Item = usize>) -> Option<usize> {
    sizes.into_iter().try_fold(1usize, usize::checked_mul)
}

/// Axes of a row-major array.
pub(super) fn row_major(shape: &[usize]) -> Option<Vec<Axis>> {
    let mut stride = 1usize;
    let mut axes = Vec::with_capacity(shape.len());
    for &len in shape.iter().rev() {
        axes.push(Axis { len, stride });
        stride = stride.checked_mul(len)?;
    }
    axes.reverse();
    Some(axes)
}

impl Entry {
    /// Checks that every element lies in `piece`, so that reading allocates no more than what is there.
    pub(super) fn new(
        shape: Vec<usize>,
        dtype: DType,
        axes: Vec<Axis>,
        piece: Piece,
        skip: u64,
        first: usize,
    ) -> Result<Self> {
        let entry = Entry { shape, dtype, axes, piece, skip, first };
        let held = entry.piece.size.saturating_sub(skip) / dtype.size() as u64;
        let fits = || {
            let count = product(entry.shape.iter().copied())?;
            (product(entry.axes.iter().map(|axis| axis.len))? == count).then_some(())?;
            let end = if count == 0 { first } else { first.checked_add(entry.extent()?)? };
            (end as u64 <= held && count as u64 <= held).then_some(())
        };
        fits().ok_or_else(|| {
            bad(format!("shape {:?} from element {first} does not fit in the {held} elements stored", entry.shape))
        })?;
        Ok(entry)
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of the elements as they are stored.
    pub fn bytes(&self) -> u64 {
        self.count() as u64 * self.dtype.size() as u64
    }

    /// Elements from the first to the last, gaps included.
    fn extent(&self) -> Option<usize> {
        self.axes
            .iter()
            .try_fold(1usize, |sum, axis| sum.checked_add(axis.len.saturating_sub(1).checked_mul(axis.stride)?))
    }

    fn is_row_major(&self) -> bool {
        let mut stride = 1;
        self.axes.iter().rev().filter(|axis| axis.len != 1).all(|axis| {
            let dense = axis.stride == stride;
            stride *= axis.len;
            dense
        })
    }

    /// The elements in row-major order, converted to f32.
    pub fn read_f32(&self) -> Result<Vec<f32>> {
        if self.count() == 0 {
            return Ok(Vec::new());
        }
        let extent = self.extent().ok_or_else(|| bad("element count overflows"))?;
        let stored = self.decode(extent)?;
        Ok(if self.is_row_major() { stored } else { self.gather(&stored) })
    }

    /// `count` elements from the first on, in the order of the file. Checks the checksum where they are all there is.
    fn decode(&self, count: usize) -> Result<Vec<f32>> {
        let source = &self.piece.source;
        let (first, bytes) = (self.first as u64 * self.dtype.size() as u64, count as u64 * self.dtype.size() as u64);
        let checksum = self.piece.crc32.filter(|_| first == 0 && self.skip + bytes == self.piece.size);
        let mut crc = crc32fast::Hasher::new();
        let mut reader = if checksum.is_some() {
            let mut reader = self.piece.reader(0)?;
            let mut header = vec![0; self.skip as usize];
            source.explain(reader.read_exact(&mut header))?;
            crc.update(&header);
            reader
        } else {
            self.piece.reader(self.skip + first)?
        };

        let mut out = vec![0f32; count];
        if self.dtype == DType::F32 {
            let raw: &mut [u8] = bytemuck::cast_slice_mut(&mut out);
            source.explain(reader.read_exact(raw))?;
            if checksum.is_some() {
                crc.update(raw);
            }
            if cfg!(target_endian = "big") {
                out.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits().swap_bytes()));
            }
        } else {
            let size = self.dtype.size();
            let mut buffer = vec![0; 8192 * size];
            for part in out.chunks_mut(8192) {
                let raw = &mut buffer[..part.len() * size];
                source.explain(reader.read_exact(raw))?;
                if checksum.is_some() {
                    crc.update(raw);
                }
                convert(self.dtype, raw, part);
            }
        }
        if checksum.is_some_and(|expected| expected != crc.finalize()) {
            return Err(bad("the checksum in the archive does not fit the data: the file is damaged"));
        }
        Ok(out)
    }

    /// Walks the axes, the last one in the inner loop.
    fn gather(&self, stored: &[f32]) -> Vec<f32> {
        let Some((last, outer)) = self.axes.split_last() else { return stored.to_vec() };
        let mut out = Vec::with_capacity(self.count());
        let mut index = vec![0usize; outer.len()];
        loop {
            let start: usize = index.iter().zip(outer).map(|(i, axis)| i * axis.stride).sum();
            out.extend((0..last.len).map(|i| stored[start + i * last.stride]));
            let Some(axis) = (0..outer.len()).rev().find(|&axis| index[axis] + 1 < outer[axis].len) else { return out };
            index[axis] += 1;
            index[axis + 1..].fill(0);
        }
    }
}

fn convert(dtype: DType, raw: &[u8], out: &mut [f32]) {
    fn each<const N: usize>(raw: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
        let (elements, _) = raw.as_chunks::<N>();
        for (x, bytes) in out.iter_mut().zip(elements) {
            *x = value(*bytes);
        }
    }
    match dtype {
        DType::F64 => each(raw, out, |b| f64::from_le_bytes(b) as f32),
        DType::F32 => each(raw, out, f32::from_le_bytes),
        DType::F16 => each(raw, out, |b| f16::from_le_bytes(b).to_f32()),
        DType::BF16 => each(raw, out, |b| bf16::from_le_bytes(b).to_f32()),
        DType::I64 => each(raw, out, |b| i64::from_le_bytes(b) as f32),
        DType::I32 => each(raw, out, |b| i32::from_le_bytes(b) as f32),
        DType::I16 => each(raw, out, |b| i16::from_le_bytes(b).into()),
        DType::I8 => each(raw, out, |b| i8::from_le_bytes(b).into()),
        DType::U8 => each(raw, out, |b| u8::from_le_bytes(b).into()),
    }
}
