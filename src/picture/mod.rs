//! A contact sheet: slices of the source with their labels on top, as a PNG for people to look at first.

mod canvas;
mod comparison;

use std::io::{self, Write};
use std::path::Path;

use canvas::{Canvas, Rgb, TEXT_HEIGHT, nearest, resample, shortened, text_width};

use crate::atomic_file;
use crate::error::Result;
use crate::geometry::{Geometry, Vec3};
use crate::labelmap::Labelmap;
use crate::labels::Label;

pub use comparison::comparison;

/// How a contact sheet looks.
#[derive(Debug, Clone, PartialEq)]
pub struct Style {
    /// Modality units that become black and white. `None`: soft tissue for CT, else percentiles of the slices shown.
    pub window: Option<[f32; 2]>,
    /// About how many slices are shown; rows of the sheet are filled.
    pub slices: usize,
    /// Longer side of a slice, pixels.
    pub tile: usize,
    /// Of the labels' areas, 0 to 1; their outlines are opaque.
    pub opacity: f32,
}

impl Default for Style {
    fn default() -> Self {
        Style { window: None, slices: 15, tile: 240, opacity: 0.35 }
    }
}

/// Centre 40, width 400 HU.
const SOFT_TISSUE: [f32; 2] = [-160.0, 240.0];
const PERCENTILES: [f64; 2] = [0.01, 0.995];
/// Hounsfield units of air: a dark end in this range means CT where a file does not name the modality.
const AIR: std::ops::Range<f32> = -1100.0..-900.0;

const PAPER: Rgb = [18, 18, 22];
const INK: Rgb = [235, 235, 240];
const FAINT: Rgb = [150, 150, 160];
const GAP: usize = 6;
const MARGIN: usize = 16;
const LINE: usize = TEXT_HEIGHT + 6;

/// Writes the sheet as PNG; the file appears whole or not at all.
pub fn write_contact_sheet(labelmap: &Labelmap, path: &Path, style: &Style) -> Result<()> {
    let sheet = draw(labelmap, style)?;
    atomic_file::write(path, |mut file| encode(&sheet, &mut file))
}

fn encode(canvas: &Canvas, out: &mut impl Write) -> io::Result<()> {
    let size = |n: usize| u32::try_from(n).map_err(io::Error::other);
    let mut encoder = png::Encoder::new(out, size(canvas.width)?, size(canvas.height)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&canvas.pixels)?;
    Ok(())
}

fn draw(labelmap: &Labelmap, style: &Style) -> Result<Canvas> {
    let geometry = labelmap.geometry();
    let tile = tile_size(geometry, style.tile.max(1));
    let across = tiles_across(style.slices.clamp(1, geometry.slices()), tile);
    let shown = choose_slices(labelmap, style.slices.max(1).next_multiple_of(across));
    let images = shown
        .iter()
        .map(|&k| {
            let mut image = vec![0.0; geometry.slice_len()];
            labelmap.source().read_slice(k, &mut image)?;
            Ok(resample(&image, [geometry.columns(), geometry.rows()], tile))
        })
        .collect::<Result<Vec<_>>>()?;
    let modality = labelmap.source().series().map(|series| series.modality.as_str());
    let window = style.window.unwrap_or_else(|| match modality {
        Some("CT") => SOFT_TISSUE,
        _ => match percentiles(&images) {
            [low, _] if modality.is_none() && AIR.contains(&low) => SOFT_TISSUE,
            range => range,
        },
    });

    let legend = Legend::of(labelmap)?;
    let across = across.min(shown.len());
    let down = shown.len().div_ceil(across);
    let tiles_width = across * tile[0] + (across - 1) * GAP;
    let width = tiles_width.max(520);
    let top = MARGIN + LINE + GAP;
    let legend_top = top + down * (tile[1] + GAP) - GAP + MARGIN;
    let height = legend_top + legend.lines(width) * LINE + MARGIN;
    let mut canvas = Canvas::new(width + 2 * MARGIN, height, PAPER);

    caption(&mut canvas, labelmap, modality, window, width);
    let left = MARGIN + (width - tiles_width) / 2;
    for (n, (&k, image)) in shown.iter().zip(&images).enumerate() {
        let corner = [left + n % across * (tile[0] + GAP), top + n / across * (tile[1] + GAP)];
        draw_slice(&mut canvas, corner, tile, image, window);
        draw_labels(&mut canvas, corner, tile, labelmap, k, style.opacity)?;
        draw_marks(&mut canvas, corner, tile, geometry, k);
    }
    legend.draw(&mut canvas, legend_top, width);
    Ok(canvas)
}

/// Up to `most` slices, evenly spread over those that have labels; over all when none or too few have.
fn choose_slices(labelmap: &Labelmap, most: usize) -> Vec<usize> {
    let slices = labelmap.geometry().slices();
    let labelled: Vec<usize> = (0..slices).filter(|&k| !labelmap.is_empty(k)).collect();
    let (Some(&first), Some(&last)) = (labelled.first(), labelled.last()) else {
        return spread(slices, most);
    };
    if labelled.len() >= most {
        return spread(labelled.len(), most).into_iter().map(|n| labelled[n]).collect();
    }
    // All labelled slices with their neighbours on both sides as far as there is room.
    let room = most.saturating_sub(last - first + 1);
    if last - first + 1 > most {
        return labelled;
    }
    let start = first.saturating_sub(room / 2).min(slices.saturating_sub(most));
    (start..slices.min(start + most)).collect()
}

/// `most` of the numbers below `count`, evenly spread, the middles of equal parts.
fn spread(count: usize, most: usize) -> Vec<usize> {
    let parts = most.min(count);
    (0..parts).map(|n| nearest(n, count, parts)).collect()
}

/// Width and height of a tile in true proportions.
fn tile_size(geometry: &Geometry, longer: usize) -> [usize; 2] {
    let width = geometry.columns() as f64 * geometry.spacing[0];
    let height = geometry.rows() as f64 * geometry.spacing[1];
    // A line of text must fit even on a very narrow slice.
    [width, height]
        .map(|side| ((longer as f64 * side / width.max(height)).round() as usize).clamp(64.min(longer), longer))
}

/// Tiles in a row, so that the sheet is about half as wide again as high.
fn tiles_across(count: usize, [width, height]: [usize; 2]) -> usize {
    let across = (1.5 * count as f64 * height as f64 / width as f64).sqrt().round() as usize;
    across.clamp(1, count)
}

fn percentiles(images: &[Vec<f32>]) -> [f32; 2] {
    let mut values: Vec<f32> = images.iter().flatten().copied().filter(|value| value.is_finite()).collect();
    if values.is_empty() {
        return [0.0, 1.0];
    }
    let last = values.len() - 1;
    PERCENTILES.map(|part| *values.select_nth_unstable_by((last as f64 * part) as usize, f32::total_cmp).1)
}

fn caption(canvas: &mut Canvas, labelmap: &Labelmap, modality: Option<&str>, [low, high]: [f32; 2], width: usize) {
    let shown = format!("{} {} to {}", modality.unwrap_or("window"), brief(low), brief(high));
    let shown = shortened(&shown, width);
    let right = text_width(&shown);
    canvas.text(MARGIN + width - right, MARGIN, &shown, FAINT);
    let name = shortened(&labelmap.algorithm().name, width.saturating_sub(right + MARGIN));
    canvas.text(MARGIN, MARGIN, &name, INK);
}

/// Three significant figures where there are decimals or many digits.
fn brief(value: f32) -> String {
    let decimals = match value.abs() {
        1e6.. => return format!("{value:.2e}"),
        0.0 | 100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

fn draw_slice(canvas: &mut Canvas, [left, top]: [usize; 2], [width, _]: [usize; 2], image: &[f32], window: [f32; 2]) {
    let [low, high] = window;
    let range = (high - low).max(f32::MIN_POSITIVE);
    for (n, value) in image.iter().enumerate() {
        let grey = ((value - low) / range * 255.0).clamp(0.0, 255.0) as u8;
        canvas.blend(left + n % width, top + n / width, [grey; 3], 1.0);
    }
}

fn draw_labels(
    canvas: &mut Canvas,
    [left, top]: [usize; 2],
    [width, height]: [usize; 2],
    labelmap: &Labelmap,
    k: usize,
    opacity: f32,
) -> Result<()> {
    let (geometry, labels) = (labelmap.geometry(), labelmap.slice(k)?);
    let mut colors = [[0; 3]; 256];
    for label in labelmap.labels() {
        colors[usize::from(label.value)] = label.rgb();
    }
    let at = |x: usize, y: usize| {
        let (i, j) = (nearest(x, geometry.columns(), width), nearest(y, geometry.rows(), height));
        labels[j * geometry.columns() + i]
    };
    for y in 0..height {
        for x in 0..width {
            let label = at(x, y);
            if label == 0 {
                continue;
            }
            let sides = [
                at(x.saturating_sub(1), y),
                at((x + 1).min(width - 1), y),
                at(x, y.saturating_sub(1)),
                at(x, (y + 1).min(height - 1)),
            ];
            let opacity = if sides.iter().any(|&side| side != label) { 1.0 } else { opacity };
            canvas.blend(left + x, top + y, colors[usize::from(label)], opacity);
        }
    }
    Ok(())
}

/// Slice number, and where the left and the upper side of the image point in the patient.
fn draw_marks(
    canvas: &mut Canvas,
    [left, top]: [usize; 2],
    [width, height]: [usize; 2],
    geometry: &Geometry,
    k: usize,
) {
    canvas.text_on_image(left + 4, top + 2, &format!("{}/{}", k + 1, geometry.slices()), INK);
    let away = |axis: usize| side(geometry.direction[axis].map(|d| -d));
    canvas.text_on_image(left + 4, top + (height.saturating_sub(TEXT_HEIGHT)) / 2, away(0), FAINT);
    canvas.text_on_image(left + (width.saturating_sub(text_width("A"))) / 2, top + 2, away(1), FAINT);
}

/// The letter of the patient's side that `direction` (LPS) points to most.
fn side(direction: Vec3) -> &'static str {
    let axis = (0..3).fold(0, |best, n| if direction[n].abs() > direction[best].abs() { n } else { best });
    match (axis, direction[axis] > 0.0) {
        (0, true) => "L",
        (0, false) => "R",
        (1, true) => "P",
        (1, false) => "A",
        (_, true) => "S",
        (_, false) => "I",
    }
}

/// Labels that were found, with their volumes; the others only by number.
struct Legend<'a> {
    entries: Vec<(&'a Label, String)>,
    note: Option<String>,
    /// With the space to the next column.
    entry_width: usize,
}

impl<'a> Legend<'a> {
    const SWATCH: usize = 14;
    const APART: usize = 28;

    fn of(labelmap: &'a Labelmap) -> Result<Self> {
        let mut counts = [0u64; 256];
        labelmap.for_each_slice(|_, labels| labels.iter().for_each(|&label| counts[usize::from(label)] += 1))?;
        let (found, missing): (Vec<_>, Vec<_>) =
            labelmap.labels().iter().partition(|label| counts[usize::from(label.value)] > 0);
        let millilitres =
            |label: &Label| counts[usize::from(label.value)] as f64 * labelmap.geometry().voxel_volume() / 1000.0;
        let entries: Vec<_> = found
            .iter()
            .map(|&label| {
                let volume = millilitres(label);
                let decimals = if volume < 10.0 { 2 } else { 0 };
                (label, format!("{volume:.decimals$} ml"))
            })
            .collect();
        let widest = |width: fn(&(&Label, String)) -> usize| entries.iter().map(width).max().unwrap_or(0);
        let name = widest(|(label, _)| text_width(&label.name)).min(240);
        let volume = widest(|(_, volume)| text_width(volume));
        let note = (!missing.is_empty()).then(|| match missing.as_slice() {
            [one] => format!("not found: {}", one.name),
            _ => format!("{} of {} labels not found", missing.len(), labelmap.labels().len()),
        });
        Ok(Legend { entries, note, entry_width: Self::SWATCH + 8 + name + 16 + volume + Self::APART })
    }

    fn columns(&self, width: usize) -> usize {
        ((width + Self::APART) / self.entry_width).max(1)
    }

    fn lines(&self, width: usize) -> usize {
        self.entries.len().div_ceil(self.columns(width)) + usize::from(self.note.is_some())
    }

    fn draw(&self, canvas: &mut Canvas, top: usize, width: usize) {
        // Labels run down the columns, in order of value.
        let lines = self.entries.len().div_ceil(self.columns(width)).max(1);
        for (n, (label, volume)) in self.entries.iter().enumerate() {
            let (x, y) = (MARGIN + n / lines * self.entry_width, top + n % lines * LINE);
            canvas.fill(x, y + (TEXT_HEIGHT - Self::SWATCH) / 2, Self::SWATCH, Self::SWATCH, label.rgb());
            let right = x + self.entry_width - Self::APART - text_width(volume);
            let left = x + Self::SWATCH + 8;
            canvas.text(left, y, &shortened(&label.name, right - left - 16), INK);
            canvas.text(right, y, volume, FAINT);
        }
        if let Some(note) = &self.note {
            canvas.text(MARGIN, top + self.entries.len().div_ceil(self.columns(width)) * LINE, note, FAINT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        let shown = [0.0, -1000.0, 0.12345, 12.0, f32::MAX, -f32::MAX, f32::INFINITY].map(brief);
        assert_eq!(shown, ["0", "-1000", "0.1235", "12", "3.40e38", "-3.40e38", "inf"]);
    }
}
