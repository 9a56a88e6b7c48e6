//! Voxels on disk: scalar types, byte order, gzip; streamed into f32 within bounded memory.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::str::FromStr;

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Scalar {
    pub fn bytes(self) -> usize {
        match self {
            Scalar::U8 | Scalar::I8 => 1,
            Scalar::U16 | Scalar::I16 => 2,
            Scalar::U32 | Scalar::I32 | Scalar::F32 => 4,
            Scalar::U64 | Scalar::I64 | Scalar::F64 => 8,
        }
    }
}

/// How stored numbers become voxels: `value * slope + intercept`, in f64, then rounded to f32.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub size: [usize; 3],
    pub scalar: Scalar,
    pub big_endian: bool,
    pub slope: f64,
    pub intercept: f64,
}

/// Bytes of a file, inflated where they are gzip; knows how many can come out at most.
pub struct Source {
    reader: Box<dyn Read>,
    most: u64,
}

/// Most bytes that one byte of DEFLATE can become (RFC 1951: a 258-byte copy in two bits).
const INFLATION: u64 = 1032;

impl Source {
    /// `len` bytes that come from `reader`.
    pub fn plain(reader: BufReader<File>, len: u64) -> Self {
        Source { reader: Box::new(reader), most: len }
    }

    /// `len` bytes of gzip that come from `reader`.
    pub fn gzip(reader: BufReader<File>, len: u64) -> Self {
        Source { reader: Box::new(MultiGzDecoder::new(reader)), most: len.saturating_mul(INFLATION) }
    }

    /// The next bytes, exactly as many as `out` has.
    pub fn fill(&mut self, out: &mut [u8], what: &str) -> Result<()> {
        self.reader.read_exact(out).map_err(|e| damaged(e, what))?;
        self.most = self.most.saturating_sub(out.len() as u64);
        Ok(())
    }

    pub fn skip(&mut self, bytes: u64, what: &str) -> Result<()> {
        let skipped = io::copy(&mut self.reader.by_ref().take(bytes), &mut io::sink()).map_err(|e| damaged(e, what))?;
        if skipped < bytes {
            return Err(truncated(what));
        }
        self.most = self.most.saturating_sub(bytes);
        Ok(())
    }

    /// All voxels of `layout`, `[k, j, i]`. Refuses sizes that the file cannot hold before it takes memory for them.
    pub fn voxels(mut self, layout: &Layout) -> Result<Vec<f32>> {
        let (count, bytes) = claim(layout.size, layout.scalar.bytes() as u64)?;
        if bytes > self.most {
            return Err(Error::VolumeFormat(format!(
                "truncated: {:?} voxels need {bytes} bytes, the file holds at most {}",
                layout.size, self.most
            )));
        }
        let mut voxels = reserve(count)?;
        let mut block = vec![0; (1 << 18) * layout.scalar.bytes()];
        while voxels.len() < count {
            let wanted = (count - voxels.len()).saturating_mul(layout.scalar.bytes()).min(block.len());
            let bytes = &mut block[..wanted];
            self.reader.read_exact(bytes).map_err(|e| damaged(e, "voxels"))?;
            let start = voxels.len();
            layout.decode(bytes, &mut voxels);
            layout.check_finite(start, &voxels)?;
        }
        // Reads on to the end of a gzip stream, where its checksum is; a longer tail is not ours.
        io::copy(&mut self.reader.take(1 << 20), &mut io::sink()).map_err(|e| damaged(e, "end"))?;
        Ok(voxels)
    }

    /// All voxels of `layout`, written as decimal numbers between blanks.
    pub fn text_voxels(self, layout: &Layout) -> Result<Vec<f32>> {
        let (count, bytes) = claim(layout.size, 2)?;
        if bytes - 1 > self.most {
            return Err(Error::VolumeFormat(format!(
                "truncated: {:?} numbers need {} bytes, the file holds at most {}",
                layout.size,
                bytes - 1,
                self.most
            )));
        }
        let mut voxels = reserve(count)?;
        let mut word = String::new();
        for byte in BufReader::new(self.reader).bytes().chain([Ok(b' ')]) {
            let byte = byte.map_err(|e| damaged(e, "voxels"))?;
            if !byte.is_ascii_whitespace() {
                word.push(char::from(byte));
                if word.len() > 64 {
                    return Err(Error::VolumeFormat(format!("voxel {}: {word:?} is not a number", voxels.len())));
                }
                continue;
            }
            if !word.is_empty() {
                let value = f64::from_str(&word)
                    .map_err(|_| Error::VolumeFormat(format!("voxel {}: {word:?} is not a number", voxels.len())))?;
                voxels.push((value * layout.slope + layout.intercept) as f32);
                word.clear();
                layout.check_finite(voxels.len() - 1, &voxels)?;
                if voxels.len() == count {
                    return Ok(voxels);
                }
            }
        }
        Err(Error::VolumeFormat(format!("truncated: {} numbers, {:?} voxels need {count}", voxels.len(), layout.size)))
    }
}

impl Layout {
    fn decode(&self, bytes: &[u8], voxels: &mut Vec<f32>) {
        let (slope, intercept) = (self.slope, self.intercept);
        macro_rules! decode {
            ($($scalar:ident $type:ty),*) => {
                match self.scalar {
                    $(Scalar::$scalar => {
                        const N: usize = size_of::<$type>();
                        let (words, _) = bytes.as_chunks::<N>();
                        let scale = |value: $type| (value as f64 * slope + intercept) as f32;
                        if self.big_endian {
                            voxels.extend(words.iter().map(|&word| scale(<$type>::from_be_bytes(word))));
                        } else {
                            voxels.extend(words.iter().map(|&word| scale(<$type>::from_le_bytes(word))));
                        }
                    })*
                }
            };
        }
        decode!(U8 u8, I8 i8, U16 u16, I16 i16, U32 u32, I32 i32, U64 u64, I64 i64, F32 f32, F64 f64);
    }

    /// Refuses NaN, infinity and what is too large for f32 among the voxels from `start` on.
    fn check_finite(&self, start: usize, voxels: &[f32]) -> Result<()> {
        let Some(at) = voxels[start..].iter().position(|v| !v.is_finite()) else { return Ok(()) };
        let (at, [columns, rows, _]) = (start + at, self.size);
        let (i, j, k) = (at % columns, at / columns % rows, at / columns / rows);
        Err(Error::VolumeFormat(format!(
            "voxel ({i}, {j}, {k}) is {}, expected finite numbers everywhere; replace such voxels first",
            voxels[at]
        )))
    }
}

/// Number of voxels and bytes that a header claims.
fn claim(size: [usize; 3], bytes_each: u64) -> Result<(usize, u64)> {
    size.iter()
        .try_fold(1u64, |n, &s| n.checked_mul(s as u64))
        .and_then(|count| Some((usize::try_from(count).ok()?, count.checked_mul(bytes_each)?)))
        .filter(|&(count, _)| count > 0)
        .ok_or_else(|| Error::VolumeFormat(format!("size {size:?}, expected positive numbers that fit in memory")))
}

fn reserve(count: usize) -> Result<Vec<f32>> {
    let mut voxels = Vec::new();
    voxels
        .try_reserve_exact(count)
        .map_err(|_| Error::OutOfMemory(format!("{count} voxels need {} MB", count.saturating_mul(4) >> 20)))?;
    Ok(voxels)
}

pub fn truncated(what: &str) -> Error {
    Error::VolumeFormat(format!("truncated: the file ends within its {what}"))
}

fn damaged(error: io::Error, what: &str) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => truncated(what),
        _ => Error::VolumeFormat(format!("cannot read the {what}: {error}")),
    }
}

/// Opens `path` for reading; the length of a thing that is no regular file is refused.
pub fn open(path: &Path) -> Result<(BufReader<File>, u64)> {
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let about = file.metadata().map_err(|e| Error::io(path, "open", e))?;
    if !about.is_file() {
        return Err(Error::VolumeFormat("not a file".into()));
    }
    Ok((BufReader::with_capacity(1 << 18, file), about.len()))
}
