//! Memory of one forward pass: feature maps whose buffers are used again.

use crate::control::Cancel;
use crate::error::{Error, Result};
use crate::kernels::simd::Isa;
use crate::kernels::simd::maps::Map;
use crate::kernels::simd::norms::Pixels;
use crate::kernels::simd::product::pitch;

/// Buffers that are free.
#[derive(Debug, Default)]
pub struct Arena(Vec<Vec<f32>>);

/// Which of the `free` lengths to take for `len` values: the shortest that has room.
pub fn choose(free: impl Iterator<Item = usize>, len: usize) -> Option<usize> {
    let fitting = free.enumerate().filter(|(_, room)| *room >= len);
    fitting.min_by_key(|(_, room)| *room).map(|(n, _)| n)
}

impl Arena {
    /// In all its buffers.
    pub fn values(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

/// One forward pass.
pub struct Run<'a> {
    pub isa: Isa,
    pub arena: Arena,
    pub cancel: Option<&'a Cancel>,
}

impl Run<'_> {
    /// [`Error::Cancelled`] once the caller asked for it; looked at between layers.
    pub fn check(&self) -> Result<()> {
        match self.cancel {
            Some(cancel) if cancel.is_triggered() => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }

    /// `len` values or more, whatever is in them.
    pub fn buffer(&mut self, len: usize) -> Result<Vec<f32>> {
        let free = &mut self.arena.0;
        if let Some(n) = choose(free.iter().map(Vec::len), len) {
            return Ok(free.swap_remove(n));
        }
        let mut buffer = Vec::new();
        let lacking = |_| Error::OutOfMemory(format!("no memory for a map of {} MiB", len >> 18));
        buffer.try_reserve_exact(len).map_err(lacking)?;
        buffer.resize(len, 0.0);
        Ok(buffer)
    }

    /// A map of which nothing is known yet.
    pub fn feature(&mut self, size: [usize; 2], channels: usize) -> Result<Feature> {
        Ok(Feature { values: self.buffer(size[0] * size[1] * pitch(channels))?, size, channels })
    }

    /// Takes a buffer back.
    pub fn free(&mut self, buffer: Vec<f32>) {
        self.arena.0.push(buffer);
    }
}

/// A map `[height, width, channels]`. Pixels are [`pitch`] of its channels apart; up to the next whole vector they hold zeros.
#[derive(Debug)]
pub struct Feature {
    pub values: Vec<f32>,
    pub size: [usize; 2],
    pub channels: usize,
}

impl Feature {
    pub fn pitch(&self) -> usize {
        pitch(self.channels)
    }

    pub fn pixels(&self) -> Pixels {
        Pixels { count: self.size[0] * self.size[1], channels: self.channels, pitch: self.pitch() }
    }

    pub fn map(&self) -> Map<'_> {
        Map { values: &self.values, size: self.size, channels: self.channels, pitch: self.pitch() }
    }
}
