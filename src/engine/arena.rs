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
    pub fn buffer(&mut self, len: usize) -> Vec<f32> {
        let free = &mut self.arena.0;
        let fitting = free.iter().enumerate().filter(|(_, buffer)| buffer.len() >= len);
        match fitting.min_by_key(|(_, buffer)| buffer.len()).map(|(n, _)| n) {
            Some(n) => free.swap_remove(n),
            None => vec![0.0; len],
        }
    }

    /// A map of which nothing is known yet.
    pub fn feature(&mut self, size: [usize; 2], channels: usize) -> Feature {
        Feature { values: self.buffer(size[0] * size[1] * pitch(channels)), size, channels }
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
