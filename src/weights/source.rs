//! The file behind a checkpoint: bounded reads of stretches of it, plain or deflated.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::read::DeflateDecoder;

use super::bad;
use crate::error::{Error, Result};

/// An open file. Nothing of it is kept in memory; tensors are read when they are asked for.
#[derive(Debug)]
pub(super) struct Source {
    file: Mutex<File>,
    path: PathBuf,
    len: u64,
}

impl Source {
    pub fn open(path: &Path) -> Result<Arc<Self>> {
        let failed = |e| Error::io(path, "open", e);
        // Before opening: a pipe would block.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(bad("not a file, expected one file with weights"));
        }
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        Ok(Arc::new(Source { file: Mutex::new(file), path: path.to_path_buf(), len: metadata.len() }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Up to `limit` bytes from `offset`; fewer where the file ends.
    pub fn peek(self: &Arc<Self>, offset: u64, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let end = offset.saturating_add(limit).min(self.len);
        let section = Section { source: self.clone(), at: offset.min(end), end };
        self.explain(section.take(limit).read_to_end(&mut bytes))?;
        Ok(bytes)
    }

    /// Turns a failed read into "truncated or damaged" or an I/O error.
    pub fn explain<T>(&self, result: io::Result<T>) -> Result<T> {
        result.map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => bad("the data ends early: the file is truncated"),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => bad(format!("the data is damaged: {e}")),
            _ => Error::io(&self.path, "read", e),
        })
    }
}

/// A stretch of a file as a reader.
#[derive(Debug)]
pub(super) struct Section {
    source: Arc<Source>,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let len = out.len().min(left);
        let Some(out) = out.get_mut(..len).filter(|out| !out.is_empty()) else { return Ok(0) };
        let mut file = self.source.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.at))?;
        let read = file.read(out)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A stretch of bytes in a file, perhaps deflated, perhaps with a checksum.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub source: Arc<Source>,
    /// Where it begins in the file.
    pub offset: u64,
    /// Bytes it takes in the file.
    pub stored: u64,
    /// Bytes it has when unpacked.
    pub size: u64,
    pub deflated: bool,
    /// Of the unpacked bytes.
    pub crc32: Option<u32>,
}

impl Piece {
    /// Plain bytes `offset .. offset + size`, which must lie in the file.
    pub fn plain(source: &Arc<Source>, offset: u64, size: u64) -> Result<Self> {
        match offset.checked_add(size) {
            Some(end) if end <= source.len() => {
                Ok(Piece { source: source.clone(), offset, stored: size, size, deflated: false, crc32: None })
            }
            _ => Err(bad(format!(
                "{size} bytes at {offset} are beyond the end of the file ({} bytes): it is truncated or damaged",
                source.len()
            ))),
        }
    }

    /// The unpacked bytes from `start` on.
    pub fn reader(&self, start: u64) -> Result<Box<dyn Read>> {
        let start = start.min(self.size);
        let skip = if self.deflated { 0 } else { start };
        let section = Section { source: self.source.clone(), at: self.offset + skip, end: self.offset + self.stored };
        if !self.deflated {
            return Ok(Box::new(section));
        }
        let mut unpacked = DeflateDecoder::new(section).take(self.size);
        self.source.explain(io::copy(&mut unpacked.by_ref().take(start), &mut io::sink()))?;
        Ok(Box::new(unpacked))
    }
}
