//! Resampling of slices, equal to scipy.ndimage.zoom (mode "constant", no grid mode) of order 0, 1 and 3.
//!
//! Output pixel i of an axis samples the input at `fl(i * fl((in - 1) / (out - 1)))`: first and last pixels coincide and
//! nothing is averaged when shrinking. Order 3 is the interpolating cubic B-spline with mirrored ends. All sums are in f64.

use crate::error::{Error, Result};

/// Longest side of a slice, before or after; bounds what a description can make us allocate.
const LONGEST: usize = 1 << 14;
/// Lines of an axis that are filtered together: one cache line of f64.
const LANES: usize = 8;
type Lanes = [f64; LANES];

/// What becomes of a last row or column whose coordinate exceeds the input's last pixel by rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// It is the input's last row or column.
    Exact,
    /// It is zero, as scipy fills it. Happens for some pairs of sizes, 512 to 224 among them.
    AsScipy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Linear,
    Cubic,
}

/// Resamples float slices of one size to another; made once, used for every slice.
#[derive(Debug, Clone)]
pub struct Resampler {
    from: [usize; 2],
    to: [usize; 2],
    rows: Axis,
    columns: Axis,
}

impl Resampler {
    /// Sizes are `[rows, columns]`.
    pub fn new(from: [usize; 2], to: [usize; 2], order: Order, edge: Edge) -> Result<Self> {
        check_sizes(from, to)?;
        let axis = |a: usize| Axis::new(from[a], to[a], order, edge);
        Ok(Resampler { from, to, rows: axis(0), columns: axis(1) })
    }

    /// What resamples slices and puts them at `offset` on a canvas of zeros.
    pub fn matrices(&self, canvas: [usize; 2], offset: [usize; 2]) -> Matrices {
        let axis = |axis: &Axis, a: usize| {
            let mut matrix = vec![0.0; canvas[a] * self.from[a]];
            axis.fill_matrix(self.from[a], &mut matrix[offset[a] * self.from[a]..]);
            matrix
        };
        Matrices { from: self.from, to: canvas, rows: axis(&self.rows, 0), columns: axis(&self.columns, 1) }
    }

    /// Fills `out` from `image`, both row by row. Equal sizes copy.
    pub fn apply(&self, image: &[f32], out: &mut [f32]) -> Result<()> {
        check_lengths(self.from, image.len(), self.to, out.len())?;
        if self.from == self.to {
            out.copy_from_slice(image);
            return Ok(());
        }
        let ([rows, width], [height, columns]) = (self.from, self.to);
        let mut line = vec![[0.0; LANES]; rows.max(width)];
        let mut halfway = vec![0.0f64; height * width]; // [rows of out, columns of image]

        for column in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - column);
            let line = &mut line[..rows];
            for (cell, row) in line.iter_mut().zip(image.chunks_exact(width)) {
                for (x, &pixel) in cell.iter_mut().zip(&row[column..column + lanes]) {
                    *x = f64::from(pixel);
                }
            }
            self.rows.resample(line, |row, values| {
                halfway[row * width + column..][..lanes].copy_from_slice(&values[..lanes]);
            });
        }
        for row in (0..height).step_by(LANES) {
            let lanes = LANES.min(height - row);
            let line = &mut line[..width];
            for (lane, pixels) in halfway[row * width..].chunks_exact(width).take(lanes).enumerate() {
                for (cell, &pixel) in line.iter_mut().zip(pixels) {
                    cell[lane] = pixel;
                }
            }
            self.columns.resample(line, |column, values| {
                for (lane, &value) in values[..lanes].iter().enumerate() {
                    out[(row + lane) * columns + column] = value as f32;
                }
            });
        }
        Ok(())
    }
}

/// The same as two products, for devices that are good at those: `rows` times a slice times `columns` transposed is the slice
/// resampled and placed.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrices {
    pub from: [usize; 2],
    pub to: [usize; 2],
    /// `[to[0], from[0]]`
    pub rows: Vec<f32>,
    /// `[to[1], from[1]]`
    pub columns: Vec<f32>,
}

/// Resamples labels by the nearest pixel.
#[derive(Debug, Clone)]
pub struct Nearest {
    from: [usize; 2],
    to: [usize; 2],
    rows: Vec<Option<usize>>,
    columns: Vec<Option<usize>>,
}

impl Nearest {
    /// Sizes are `[rows, columns]`.
    pub fn new(from: [usize; 2], to: [usize; 2], edge: Edge) -> Result<Self> {
        check_sizes(from, to)?;
        let axis = |a: usize| nearest_indices(from[a], to[a], edge);
        Ok(Nearest { from, to, rows: axis(0), columns: axis(1) })
    }

    /// Fills `out` from `labels`, both row by row.
    pub fn apply<T: Copy + Default>(&self, labels: &[T], out: &mut [T]) -> Result<()> {
        check_lengths(self.from, labels.len(), self.to, out.len())?;
        for (row, out) in self.rows.iter().zip(out.chunks_exact_mut(self.to[1])) {
            let source = row.map(|row| &labels[row * self.from[1]..][..self.from[1]]);
            for (column, out) in self.columns.iter().zip(out) {
                *out = source.zip(*column).map_or(T::default(), |(row, column)| row[column]);
            }
        }
        Ok(())
    }
}

/// For each of `to` output pixels the input pixel that it shows; `None` is filled with zero.
pub fn nearest_indices(from: usize, to: usize, edge: Edge) -> Vec<Option<usize>> {
    (0..to).map(|i| coordinate(i, from, to, edge).map(|at| (at + 0.5).floor() as usize)).collect()
}

/// Where output pixel `i` samples the input, at most `from - 1`; `None` where scipy fills with zero.
fn coordinate(i: usize, from: usize, to: usize, edge: Edge) -> Option<f64> {
    let last = (from - 1) as f64;
    let step = if to > 1 { last / (to - 1) as f64 } else { 1.0 };
    let at = i as f64 * step;
    match edge {
        Edge::Exact => Some(at.min(last)),
        Edge::AsScipy => (at <= last).then_some(at),
    }
}

#[derive(Debug, Clone, Copy)]
struct Tap {
    index: usize,
    weight: f64,
}

/// Weights of one axis.
#[derive(Debug, Clone)]
struct Axis {
    order: Order,
    /// Two (linear) or four (cubic) for each output pixel; none if the axis keeps its size.
    taps: Vec<Tap>,
}

impl Axis {
    fn new(from: usize, to: usize, order: Order, edge: Edge) -> Self {
        let mut taps = Vec::new();
        if from != to {
            for i in 0..to {
                let at = coordinate(i, from, to, edge);
                let kept = if at.is_some() { 1.0 } else { 0.0 };
                let at = at.unwrap_or(0.0);
                let scaled = |tap: Tap| Tap { weight: kept * tap.weight, ..tap };
                match order {
                    Order::Linear => {
                        let (low, part) = (at.floor() as isize, at - at.floor());
                        for (index, weight) in [(low, 1.0 - part), (low + 1, part)] {
                            taps.push(scaled(Tap { index: mirrored(index, from), weight }));
                        }
                    }
                    Order::Cubic => taps.extend(cubic_taps(at, from).map(scaled)),
                }
            }
        }
        Axis { order, taps }
    }

    /// Fills rows of `from` weights, one for each output pixel: what becomes of lines that are 1 in one place.
    fn fill_matrix(&self, from: usize, matrix: &mut [f32]) {
        for first in (0..from).step_by(LANES) {
            let lanes = LANES.min(from - first);
            let mut line = vec![[0.0; LANES]; from];
            line[first..first + lanes].iter_mut().enumerate().for_each(|(lane, cell)| cell[lane] = 1.0);
            self.resample(&mut line, |i, values| {
                for (weight, &value) in matrix[i * from + first..][..lanes].iter_mut().zip(values) {
                    *weight = value as f32;
                }
            });
        }
    }

    /// Hands each output pixel of eight lines to `put`; `line` is used up.
    fn resample(&self, line: &mut [Lanes], mut put: impl FnMut(usize, &Lanes)) {
        if self.taps.is_empty() {
            return line.iter().enumerate().for_each(|(i, values)| put(i, values));
        }
        let support = match self.order {
            Order::Linear => 2,
            Order::Cubic => {
                spline_coefficients(line);
                4
            }
        };
        for (i, taps) in self.taps.chunks_exact(support).enumerate() {
            let mut sum = [0.0; LANES];
            for tap in taps {
                add_scaled(&mut sum, tap.weight, &line[tap.index]);
            }
            put(i, &sum);
        }
    }
}

/// A slice as a cubic B-spline through its pixels, to be sampled anywhere between them.
#[derive(Debug, Clone)]
pub struct Spline {
    size: [usize; 2],
    coefficients: Vec<f64>,
}

impl Spline {
    /// Of `slice`, `[rows, columns]` of `size`.
    pub fn new(slice: &[f32], size: [usize; 2]) -> Self {
        let [rows, columns] = size;
        let mut coefficients: Vec<f64> = slice.iter().map(|&x| x.into()).collect();
        for (count, stride, lines, apart) in [(rows, columns, columns, 1), (columns, 1, rows, columns)] {
            let mut cells = vec![[0.0; LANES]; count];
            for first in (0..lines).step_by(LANES) {
                let lanes = LANES.min(lines - first);
                for (i, cell) in cells.iter_mut().enumerate() {
                    for (lane, x) in cell[..lanes].iter_mut().enumerate() {
                        *x = coefficients[i * stride + (first + lane) * apart];
                    }
                }
                spline_coefficients(&mut cells);
                for (i, cell) in cells.iter().enumerate() {
                    for (lane, x) in cell[..lanes].iter().enumerate() {
                        coefficients[i * stride + (first + lane) * apart] = *x;
                    }
                }
            }
        }
        Spline { size, coefficients }
    }

    /// The value at row and column `at`, which lie within the slice.
    pub fn at(&self, at: [f64; 2]) -> f32 {
        let (rows, columns) = (cubic_taps(at[0], self.size[0]), cubic_taps(at[1], self.size[1]));
        let mut sum = 0.0;
        for row in &rows {
            let line = &self.coefficients[row.index * self.size[1]..][..self.size[1]];
            sum += row.weight * columns.iter().map(|tap| tap.weight * line[tap.index]).sum::<f64>();
        }
        sum as f32
    }
}

/// The four pixels of a line of `len` that a cubic B-spline at `at` is made of.
fn cubic_taps(at: f64, len: usize) -> [Tap; 4] {
    let (left, right) = (at - at.floor(), 1.0 - (at - at.floor()));
    let inner = |x: f64| (x * x * (x - 2.0) * 3.0 + 4.0) / 6.0;
    let weights = [right.powi(3) / 6.0, inner(left), inner(right), left.powi(3) / 6.0];
    std::array::from_fn(|n| Tap { index: mirrored(at.floor() as isize + n as isize - 1, len), weight: weights[n] })
}

/// Index of a line of `len` pixels continued by mirroring at the centres of its end pixels.
fn mirrored(index: isize, len: usize) -> usize {
    let last = len as isize - 1;
    if last == 0 {
        return 0;
    }
    let at = index.rem_euclid(2 * last);
    at.min(2 * last - at) as usize
}

/// Replaces pixels by the coefficients of the cubic B-spline through them, mirrored at the ends.
/// Unser, Aldroubi, Eden: B-spline signal processing II, IEEE Trans. Signal Process. 41(2), 1993: one causal and one
/// anticausal recursion.
fn spline_coefficients(line: &mut [Lanes]) {
    const POLE: f64 = -0.267_949_192_431_122_7; // sqrt(3) - 2
    const GAIN: f64 = 6.0; // (1 - POLE) * (1 - 1 / POLE)
    const HORIZON: usize = 40; // POLE^40 is 1e-23, below the precision of f64
    let n = line.len();
    if n < 2 {
        return;
    }
    // Once from end to end; no function of the C library, whose last bit is the machine's.
    let around = POLE.powi(n as i32 - 1);
    let mut first = line[0];
    add_scaled(&mut first, around, &line[n - 1]);
    let mut power = POLE;
    for i in 1..(n - 1).min(HORIZON) {
        add_scaled(&mut first, power, &line[i]);
        add_scaled(&mut first, power * around, &line[n - 1 - i]);
        power *= POLE;
    }
    line[0] = first.map(|x| x * GAIN / (1.0 - around * around));

    let mut previous = line[0];
    for cell in &mut line[1..] {
        for (x, p) in cell.iter_mut().zip(&mut previous) {
            *x = GAIN * *x + POLE * *p;
            *p = *x;
        }
    }
    let mut last = line[n - 1];
    add_scaled(&mut last, POLE, &line[n - 2]);
    let mut next = last.map(|x| x * POLE / (POLE * POLE - 1.0));
    line[n - 1] = next;
    for cell in line[..n - 1].iter_mut().rev() {
        for (x, next) in cell.iter_mut().zip(&mut next) {
            *x = POLE * (*next - *x);
            *next = *x;
        }
    }
}

fn add_scaled(sum: &mut Lanes, weight: f64, values: &Lanes) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += weight * value;
    }
}

fn check_sizes(from: [usize; 2], to: [usize; 2]) -> Result<()> {
    if from.iter().chain(&to).all(|side| (1..=LONGEST).contains(side)) {
        return Ok(());
    }
    Err(Error::Argument(format!(
        "slices of {}x{} pixels cannot be resized to {}x{}: expected sides of 1 to {LONGEST}",
        from[0], from[1], to[0], to[1]
    )))
}

fn check_lengths(from: [usize; 2], pixels: usize, to: [usize; 2], out: usize) -> Result<()> {
    if pixels == from[0] * from[1] && out == to[0] * to[1] {
        return Ok(());
    }
    Err(Error::Internal(format!("resize of {pixels} pixels into {out}, expected {from:?} into {to:?}")))
}
