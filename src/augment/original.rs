//! The original's augmentation, on slices of their own size.

use super::Sample;
use crate::random::Random;

/// Rows and columns.
type Size = [usize; 2];

/// Half of the slices turned by right angles, then mirrored; a quarter rotated by -20 to 19 degrees. Returns the new size,
/// which right angles may exchange.
pub(crate) fn augment(sample: Sample, size: Size, random: &mut Random) -> (Sample, Size) {
    if random.unit() > 0.5 {
        let (quarters, axis) = (random.below(4), random.below(2));
        let channels = sample.pixels.chunks_exact(sample.labels.len());
        let pixels = channels.flat_map(|slice| turn(slice, size, quarters, axis).0).collect();
        let (labels, turned) = turn(&sample.labels, size, quarters, axis);
        return (Sample { pixels, labels }, turned);
    }
    if random.unit() > 0.5 {
        let angle = random.below(40) as f64 - 20.0;
        let channels = sample.pixels.chunks_exact(sample.labels.len());
        let pixels = channels.flat_map(|slice| rotate(slice, size, angle)).collect();
        return (Sample { pixels, labels: rotate(&sample.labels, size, angle) }, size);
    }
    (sample, size)
}

/// `quarters` right angles counter-clockwise, then mirrored along `axis` (0 rows, 1 columns): numpy's rot90, then flip.
pub fn turn<T: Copy>(image: &[T], [rows, columns]: Size, quarters: usize, axis: usize) -> (Vec<T>, Size) {
    let (height, width) = if quarters % 2 == 1 { (columns, rows) } else { (rows, columns) };
    let mut out = Vec::with_capacity(image.len());
    for y in 0..height {
        for x in 0..width {
            let (y, x) = if axis == 0 { (height - 1 - y, x) } else { (y, width - 1 - x) };
            let (row, column) = match quarters % 4 {
                0 => (y, x),
                1 => (x, columns - 1 - y),
                2 => (rows - 1 - y, columns - 1 - x),
                _ => (rows - 1 - x, y),
            };
            out.push(image[row * columns + column]);
        }
    }
    (out, [height, width])
}

/// Rotated by `angle` degrees about the centre, nearest pixel, 0 outside: scipy.ndimage.rotate with order 0 and the same
/// shape.
pub fn rotate<T: Copy + Default>(image: &[T], [rows, columns]: Size, angle: f64) -> Vec<T> {
    let (sin, cos) = angle.to_radians().sin_cos();
    let center = [(rows as f64 - 1.0) / 2.0, (columns as f64 - 1.0) / 2.0];
    // scipy adds the products of matrix and index to an offset that brings the centre back.
    let offset = [center[0] - (cos * center[0] + sin * center[1]), center[1] - (-sin * center[0] + cos * center[1])];
    let mut out = Vec::with_capacity(image.len());
    for y in 0..rows {
        for x in 0..columns {
            let at = [cos * y as f64 + sin * x as f64 + offset[0], -sin * y as f64 + cos * x as f64 + offset[1]];
            let inside = at[0] >= 0.0 && at[0] <= (rows - 1) as f64 && at[1] >= 0.0 && at[1] <= (columns - 1) as f64;
            let pixel = || image[(at[0] + 0.5).floor() as usize * columns + (at[1] + 0.5).floor() as usize];
            out.push(if inside { pixel() } else { T::default() });
        }
    }
    out
}
