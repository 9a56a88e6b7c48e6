//! Rows of matrices as products read and write them: whole vectors, without competing for the same lines of a cache.

use std::ops::Deref;

use super::simd::buffer::Buffer;
use super::simd::product::pitch;
use super::simd::{Isa, parallel};

/// Rows that a task copies.
const STRETCH: usize = 64;

/// Values of somebody else, or made from them.
pub enum Values<'a> {
    Lent(&'a [f32]),
    Own(Buffer),
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Values::Lent(values) => values,
            Values::Own(buffer) => buffer,
        }
    }
}

/// Rows of `columns`, and their distance.
pub fn spaced(rows: &[f32], columns: usize) -> (Values<'_>, usize) {
    let pitch = pitch(columns);
    if pitch == columns {
        return (Values::Lent(rows), pitch);
    }
    let mut wide = Buffer::any(rows.len() / columns * pitch);
    parallel::chunks(&mut wide, STRETCH * pitch, |n, wide| {
        let rows = rows[n * STRETCH * columns..].chunks_exact(columns);
        for (wide, row) in wide.chunks_exact_mut(pitch).zip(rows) {
            wide[..columns].copy_from_slice(row);
            wide[columns..].fill(0.0);
        }
    });
    (Values::Own(wide), pitch)
}

/// `count` rows of `columns` that `work` writes as whole vectors, at the distance that it is told.
pub fn written(isa: Isa, count: usize, columns: usize, work: impl FnOnce(&mut [f32], usize)) -> Buffer {
    let pitch = columns.next_multiple_of(isa.lanes());
    let mut wide = Buffer::any(count * pitch);
    work(&mut wide, pitch);
    if pitch == columns {
        return wide;
    }
    let mut out = Buffer::any(count * columns);
    parallel::chunks(&mut out, STRETCH * columns, |n, out| {
        let wide = wide[n * STRETCH * pitch..].chunks_exact(pitch);
        out.chunks_exact_mut(columns).zip(wide).for_each(|(out, wide)| out.copy_from_slice(&wide[..columns]));
    });
    out
}
