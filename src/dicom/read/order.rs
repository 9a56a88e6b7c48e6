//! Slices in order on one grid, or the reason why they do not form one.
//!
//! Frame: PS3.3 C.7.6.2.1.1. Slices are ordered by the projection of their position on cross(row, column).

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::slice::Slice;
use super::tilt::{Shear, Tilt};
use super::values::Field;
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Vec3, cross, dot, norm, sub};

/// Slices nearer than this lie at the same position: no scanner steps so finely, and positions are written in decimals.
pub(super) const SAME_POSITION: f64 = 0.001;
/// Positions rounded to a tenth of a millimetre stray by 0.05 mm from an even grid; a little more is let pass.
const ROUNDING: f64 = 0.06;
/// Cosines written with four decimals differ by no more.
pub(super) const SAME_COSINE: f64 = 1e-4;
/// Pixel spacings that differ by no more than this share are one.
pub(super) const SAME_SPACING: f64 = 1e-4;
/// Tilt below this is rounding of positions and cosines, in degrees.
const SMALLEST_TILT: f64 = 0.05;

/// Position along the normal must be this near to the even grid, in mm.
///
/// 1 % of the spacing, or rounding; never so much that a missing slice could hide.
fn tolerance(spacing: f64) -> f64 {
    (0.01 * spacing).max(ROUNDING).min(0.1 * spacing)
}

/// Sorts `slices` along their normal and returns their grid, and how they become one if they are resampled.
pub(super) fn arrange(slices: &mut [Slice], tilt: Tilt) -> Result<(Geometry, Option<Shear>)> {
    let refuse = |text: String| Err(Error::DicomGeometry(text));
    same_in_all(slices)?;
    let Some(first) = slices.first() else {
        return refuse("no slices".into());
    };
    let (row, column) = axes(required(first, &first.orientation)?).map_err(|error| error.at(first.place()))?;
    // Cosines are rounded: without this a stack would be longer than it is by their error, slice by slice.
    let normal = cross(row, column);
    let normal = normal.map(|x| x / norm(normal));
    let [row_spacing, column_spacing] = required(first, &first.pixel_spacing)?;
    if !(row_spacing > 0.0 && column_spacing > 0.0) {
        return refuse(format!(
            "{}: PixelSpacing (0028,0030) is {row_spacing}\\{column_spacing}, expected two positive numbers",
            first.place()
        ));
    }
    let format = required(first, &first.format)?;
    for slice in slices.iter() {
        required(slice, &slice.position)?;
    }
    let along = |slice: &Slice| dot(slice.position.clone().unwrap_or_default(), normal);
    let number = |slice: &Slice| (slice.file.instance_number, slice.frame);
    slices.sort_by(|a, b| along(a).total_cmp(&along(b)).then_with(|| number(a).cmp(&number(b))));
    let depths: Vec<f64> = slices.iter().map(along).collect();
    no_duplicates(slices, &depths)?;
    let spacing = match depths.len() {
        1 => single_slice_spacing(&slices[0]),
        _ => even_spacing(slices, &depths)?,
    };
    let positions: Vec<Vec3> = slices.iter().map(|slice| slice.position.clone().unwrap_or_default()).collect();
    let size = [format.columns, format.rows, slices.len()];
    // PS3.3 10.7.1.3: the second value of PixelSpacing is the distance of columns, along the row direction.
    let pixel = [column_spacing, row_spacing];
    let straight = Geometry::new(size, [pixel[0], pixel[1], spacing], positions[0], [row, column, normal])
        .map_err(|error| Error::DicomGeometry(error.to_string()))?;
    match askew(slices, &positions, normal, row_spacing.min(column_spacing))? {
        None => Ok((straight, None)),
        Some(step) => tilt.applied(straight, step),
    }
}

fn required<T: Clone>(slice: &Slice, field: &Field<T>) -> Result<T> {
    field.clone().map_err(|reason| Error::DicomGeometry(format!("{}: {reason}", slice.place())))
}

/// Row and column direction, checked to be unit vectors at a right angle.
fn axes(orientation: [f64; 6]) -> Result<(Vec3, Vec3)> {
    let [a, b, c, d, e, f] = orientation;
    let (row, column) = ([a, b, c], [d, e, f]);
    let unit = |v: Vec3| (norm(v) - 1.0).abs() <= 1e-3;
    if !unit(row) || !unit(column) || dot(row, column).abs() > 1e-3 {
        return Err(Error::DicomGeometry(format!(
            "ImageOrientationPatient (0020,0037) is {orientation:?}, expected two unit vectors at a right angle"
        )));
    }
    Ok((row, column))
}

/// What every image of a volume shares.
fn same_in_all(slices: &[Slice]) -> Result<()> {
    let near = |a: &[f64], b: &[f64], tolerance: f64| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance);
    for slice in slices {
        required(slice, &slice.orientation)?;
        required(slice, &slice.pixel_spacing)?;
        required(slice, &slice.format)?;
    }
    let equal = |a: &String, b: &String| a == b;
    uniform(slices, "studies", |slice| slice.file.study_uid.clone(), equal)?;
    uniform(slices, "modalities", |slice| slice.file.modality.clone(), equal)?;
    uniform(slices, "photometric interpretations", |slice| slice.file.photometric.clone(), equal)?;
    let sizes = |slice: &Slice| slice.format.as_ref().map_or((0, 0), |format| (format.columns, format.rows));
    uniform(slices, "image sizes", sizes, |a, b| a == b)?;
    let orientations = |slice: &Slice| slice.orientation.clone().unwrap_or_default();
    uniform(slices, "orientations", orientations, |a, b| near(a, b, SAME_COSINE))?;
    let spacings = |slice: &Slice| slice.pixel_spacing.clone().unwrap_or_default();
    uniform(slices, "pixel spacings", spacings, |a, b| near(a, b, SAME_SPACING * a[0].abs().max(a[1].abs())))?;
    uniform(slices, "frames of reference", |slice| slice.file.frame_of_reference_uid.clone(), equal)
}

/// Refuses slices that differ in `key`, with each value, how many have it and one of them.
fn uniform<K: Debug>(
    slices: &[Slice],
    what: &str,
    key: impl Fn(&Slice) -> K,
    same: impl Fn(&K, &K) -> bool,
) -> Result<()> {
    let mut kinds: Vec<(K, usize, &Slice)> = Vec::new();
    for slice in slices {
        let value = key(slice);
        match kinds.iter_mut().find(|(known, ..)| same(known, &value)) {
            Some((_, count, _)) => *count += 1,
            None => kinds.push((value, 1, slice)),
        }
    }
    if kinds.len() <= 1 {
        return Ok(());
    }
    let shown = kinds.iter().take(4).map(|(value, count, slice)| format!("{count} x {value:?} ({})", slice.place()));
    let shown = shown.collect::<Vec<_>>().join(", ");
    Err(Error::DicomGeometry(format!("mixed series with {} {what}: {shown}; expected one", kinds.len())))
}

fn no_duplicates(slices: &[Slice], depths: &[f64]) -> Result<()> {
    // Index of the position of each slice.
    let mut position = 0;
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    let mut pair = None;
    for k in 0..depths.len() {
        if k > 0 && depths[k] - depths[k - 1] > SAME_POSITION {
            position += 1;
        } else if k > 0 {
            pair = pair.or(Some((&slices[k - 1], &slices[k])));
        }
        *counts.entry(position).or_default() += 1;
    }
    let Some((a, b)) = pair else {
        return Ok(());
    };
    let times = counts.values().copied().max().unwrap_or(1);
    let shape = if counts.len() == 1 {
        format!("{times} images at one position")
    } else if counts.values().all(|&count| count == times) {
        format!("{} positions x {times} images at each", counts.len())
    } else {
        let crowded = counts.values().filter(|&&count| count > 1).count();
        format!("{crowded} of {} positions have more than one image", counts.len())
    };
    let kind = if a.file.sop_instance_uid == b.file.sop_instance_uid {
        "copies of one instance"
    } else {
        "several time points, echoes, phases or series in one"
    };
    Err(Error::DicomGeometry(format!(
        "duplicate positions: {shape} ({kind}), such as {} and {}; expected one image at each position",
        a.place(),
        b.place()
    )))
}

/// Slice distance by least squares over all positions, each of which must fit.
fn even_spacing(slices: &[Slice], depths: &[f64]) -> Result<f64> {
    let count = depths.len() as f64;
    let (centre, mean) = ((count - 1.0) / 2.0, depths.iter().sum::<f64>() / count);
    let moments = depths.iter().enumerate().map(|(k, depth)| {
        let offset = k as f64 - centre;
        (offset * (depth - mean), offset * offset)
    });
    let (product, square) = moments.fold((0.0, 0.0), |sum, moment| (sum.0 + moment.0, sum.1 + moment.1));
    let spacing = product / square;
    let stray = |k: usize| (depths[k] - mean - (k as f64 - centre) * spacing).abs();
    if (0..depths.len()).all(|k| stray(k) <= tolerance(spacing)) {
        return Ok(spacing);
    }
    let mut steps: Vec<f64> = depths.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let odd = |usual: f64| {
        let differs = |k: &usize| (depths[k + 1] - depths[*k] - usual).abs() > 0.5 * tolerance(usual);
        (0..depths.len() - 1).find(differs).unwrap_or(0)
    };
    steps.sort_by(f64::total_cmp);
    let usual = steps[(steps.len() - 1) / 2];
    let k = odd(usual);
    let step = depths[k + 1] - depths[k];
    let missing = step / usual - 1.0;
    let guess = if missing > 0.5 && (missing - missing.round()).abs() < 0.05 {
        format!("{} slices seem to be missing", missing.round())
    } else {
        "the spacing is not even".into()
    };
    Err(Error::DicomGeometry(format!(
        "gap between slices {k} ({}) and {} ({}): {step:.4} mm, expected {usual:.4} mm within {:.4} mm; {guess}",
        slices[k].place(),
        k + 1,
        slices[k + 1].place(),
        tolerance(usual)
    )))
}

fn single_slice_spacing(slice: &Slice) -> f64 {
    slice.spacing_between_slices.or(slice.thickness).unwrap_or_else(|| {
        log::warn!("single slice without SpacingBetweenSlices and SliceThickness: 1 mm is assumed");
        1.0
    })
}

/// The step from one slice to the next if they are stacked askew in even steps. Slices that stray otherwise are refused.
fn askew(slices: &[Slice], positions: &[Vec3], normal: Vec3, pixel: f64) -> Result<Option<Vec3>> {
    let from_first = |k: usize| sub(positions[k], positions[0]);
    let aside = |offset: Vec3| sub(offset, normal.map(|n| n * dot(offset, normal)));
    let allowed = ROUNDING.max(0.1 * pixel).min(0.5 * pixel);
    let last = positions.len() - 1;
    let strays = |k: &usize, step: Vec3| norm(aside(sub(from_first(*k), step.map(|x| x * *k as f64)))) > allowed;
    let Some(first_astray) = (0..=last).find(|k| strays(k, [0.0; 3])) else {
        return Ok(None);
    };
    let step = from_first(last).map(|x| x / last as f64);
    let angle = norm(aside(step)).atan2(dot(step, normal)).to_degrees();
    let uneven = (0..=last).find(|k| strays(k, step));
    let (k, text) = match uneven {
        None if angle > SMALLEST_TILT => return Ok(Some(step)),
        None => (first_astray, format!("shifted by {:.3} mm", norm(aside(from_first(first_astray))))),
        Some(_) if angle <= SMALLEST_TILT => {
            (first_astray, format!("shifted by {:.3} mm", norm(aside(from_first(first_astray)))))
        }
        Some(k) => {
            let off = norm(aside(sub(from_first(k), step.map(|x| x * k as f64))));
            (k, format!("{off:.3} mm off the even tilt of {angle:.1} degrees that the first and the last slice make"))
        }
    };
    Err(Error::DicomGeometry(format!(
        "slice {k} ({}) is {text} within its plane, expected at most {allowed:.3} mm",
        slices[k].place()
    )))
}
