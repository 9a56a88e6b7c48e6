//! An RGB raster with just what a contact sheet needs: boxes, text, and images resampled to tiles.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

pub type Rgb = [u8; 3];

/// Height of a line of text, pixels.
pub const TEXT_HEIGHT: usize = RasterHeight::Size16 as usize;

#[derive(Debug)]
pub struct Canvas {
    pub width: usize,
    pub height: usize,
    /// `[y, x, rgb]`
    pub pixels: Vec<u8>,
}

impl Canvas {
    pub fn new(width: usize, height: usize, color: Rgb) -> Self {
        Canvas { width, height, pixels: color.repeat(width * height) }
    }

    /// Mixes `color` into a pixel; what lies outside is ignored.
    pub fn blend(&mut self, x: usize, y: usize, color: Rgb, opacity: f32) {
        if x < self.width && y < self.height {
            let at = 3 * (y * self.width + x);
            for (old, new) in self.pixels[at..at + 3].iter_mut().zip(color) {
                *old = (f32::from(*old) * (1.0 - opacity) + f32::from(new) * opacity).round() as u8;
            }
        }
    }

    pub fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, color: Rgb) {
        for y in y..y + height {
            for x in x..x + width {
                self.blend(x, y, color, 1.0);
            }
        }
    }

    /// Draws one line with its upper left corner at (x, y). Letters that the font lacks become question marks.
    pub fn text(&mut self, x: usize, y: usize, text: &str, color: Rgb) {
        for (n, letter) in text.chars().enumerate() {
            let raster = |letter| get_raster(letter, FontWeight::Regular, RasterHeight::Size16);
            let Some(glyph) = raster(letter).or_else(|| raster('?')) else { continue };
            for (dy, row) in glyph.rows().enumerate() {
                for (dx, &coverage) in row.iter().enumerate() {
                    self.blend(x + n * glyph.width() + dx, y + dy, color, f32::from(coverage) / 255.0);
                }
            }
        }
    }

    /// Text over an image, with a dark rim that keeps it readable.
    pub fn text_on_image(&mut self, x: usize, y: usize, text: &str, color: Rgb) {
        for (dx, dy) in [(0, 1), (2, 1), (1, 0), (1, 2)] {
            self.text((x + dx).saturating_sub(1), (y + dy).saturating_sub(1), text, [0; 3]);
        }
        self.text(x, y, text, color);
    }
}

/// Width of a line of text, pixels.
pub fn text_width(text: &str) -> usize {
    text.chars().count() * get_raster_width(FontWeight::Regular, RasterHeight::Size16)
}

/// At most `width` pixels of text, with a mark where it was cut.
pub fn shortened(text: &str, width: usize) -> String {
    let letters = width / text_width("m");
    if text.chars().count() <= letters {
        return text.to_string();
    }
    text.chars().take(letters.saturating_sub(2)).chain("..".chars()).collect()
}

/// Resamples `[rows, columns]` to `[height, width]`: linear when it grows, area-weighted when it shrinks.
pub fn resample(image: &[f32], [columns, rows]: [usize; 2], [width, height]: [usize; 2]) -> Vec<f32> {
    let (across, down) = (taps(columns, width), taps(rows, height));
    let mut narrow = Vec::with_capacity(width * rows);
    for row in image.chunks_exact(columns) {
        narrow.extend(across.iter().map(|(first, weights)| {
            weights.iter().zip(&row[*first..]).map(|(weight, value)| weight * value).sum::<f32>()
        }));
    }
    let mut out = Vec::with_capacity(width * height);
    for (first, weights) in &down {
        out.extend((0..width).map(|x| {
            weights.iter().enumerate().map(|(n, weight)| weight * narrow[(first + n) * width + x]).sum::<f32>()
        }));
    }
    out
}

/// For every output pixel the first input pixel and the weights from there on: a triangle as wide as the step.
fn taps(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let step = from as f32 / to as f32;
    let reach = step.max(1.0);
    (0..to)
        .map(|n| {
            let centre = (n as f32 + 0.5) * step - 0.5;
            let first = (centre - reach).ceil().max(0.0) as usize;
            let last = ((centre + reach).floor() as usize).min(from - 1);
            let mut weights: Vec<f32> =
                (first..=last).map(|at| (1.0 - (at as f32 - centre).abs() / reach).max(0.0)).collect();
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
            (first, weights)
        })
        .collect()
}

/// Input pixel whose area holds the centre of output pixel `n`.
pub fn nearest(n: usize, from: usize, to: usize) -> usize {
    ((2 * n + 1) * from / (2 * to)).min(from - 1)
}
