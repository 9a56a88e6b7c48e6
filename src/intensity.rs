//! From modality units to network input: clipped and scaled by figures of the description or of the volume.

use crate::config::Intensity;
use crate::error::{Error, Result};
use crate::volume::Volume;

/// `(clamp(x, low, high) - offset) * factor`, computed in f64.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    low: f64,
    high: f64,
    offset: f64,
    factor: f64,
}

impl Scaling {
    const NONE: Scaling = Scaling { low: f64::NEG_INFINITY, high: f64::INFINITY, offset: 0.0, factor: 1.0 };

    /// Measures `volume` where `intensity` needs it; calls `tick` after each slice, [`passes`] times over the volume.
    pub fn fit(intensity: Intensity, volume: &Volume, tick: &mut dyn FnMut() -> Result<()>) -> Result<Self> {
        intensity.check()?;
        match intensity {
            Intensity::None => Ok(Scaling::NONE),
            Intensity::Window { low, high } => Ok(Scaling::to_unit(low.into(), high.into())),
            Intensity::Percentile { low, high } => {
                let [low, high] = percentiles([low, high], volume, tick)?;
                if low >= high {
                    log::warn!("both percentiles of the volume are {low}: the network sees zeros");
                }
                Ok(Scaling::to_unit(low, high.max(low)))
            }
            Intensity::Zscore => zscore(volume, tick),
        }
    }

    /// [low, high] becomes [0, 1]; an empty range becomes 0.
    fn to_unit(low: f64, high: f64) -> Self {
        let range = high - low;
        Scaling { low, high, offset: low, factor: if range > 0.0 { range.recip() } else { 1.0 } }
    }

    pub fn apply(&self, voxels: &mut [f32]) {
        for x in voxels {
            *x = ((f64::from(*x).clamp(self.low, self.high) - self.offset) * self.factor) as f32;
        }
    }
}

/// How often [`Scaling::fit`] reads the whole volume.
pub fn passes(intensity: Intensity) -> usize {
    match intensity {
        Intensity::None | Intensity::Window { .. } => 0,
        Intensity::Percentile { .. } => 2,
        Intensity::Zscore => 1,
    }
}

/// Refuses NaN and infinity; `index` gives the voxel (i, j, k) of an offset into `voxels`.
pub fn check_finite(voxels: &[f32], index: impl Fn(usize) -> [usize; 3]) -> Result<()> {
    match voxels.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let [i, j, k] = index(at);
            Err(Error::VolumeFormat(format!(
                "slice {k}: voxel in column {i}, row {j} is {}, expected a finite number",
                voxels[at]
            )))
        }
    }
}

fn for_each_slice(
    volume: &Volume,
    tick: &mut dyn FnMut() -> Result<()>,
    mut measure: impl FnMut(&[f32]),
) -> Result<()> {
    let columns = volume.geometry().columns();
    volume.for_each_slice(|k, slice| {
        check_finite(slice, |at| [at % columns, at / columns, k])?;
        measure(slice);
        tick()
    })
}

/// Mean and standard deviation (of the population) of all voxels, slice by slice: Chan, Golub, LeVeque, Algorithms for
/// computing the sample variance, Am. Stat. 37(3), 1983. A constant volume becomes 0.
fn zscore(volume: &Volume, tick: &mut dyn FnMut() -> Result<()>) -> Result<Scaling> {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for_each_slice(volume, tick, |slice| {
        let n = slice.len() as f64;
        let own_mean = slice.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let own_squares = slice.iter().map(|&x| (f64::from(x) - own_mean).powi(2)).sum::<f64>();
        let step = own_mean - mean;
        squares += own_squares + step * step * count * n / (count + n);
        count += n;
        mean += step * n / count;
        low = slice.iter().copied().fold(low, f32::min);
        high = slice.iter().copied().fold(high, f32::max);
    })?;
    if low == high {
        log::warn!("all voxels of the volume are {low}: the network sees zeros");
        return Ok(Scaling { offset: low.into(), ..Scaling::NONE });
    }
    Ok(Scaling { offset: mean, factor: (squares / count).sqrt().recip(), ..Scaling::NONE })
}

/// Exact percentiles of all voxels, interpolated linearly between neighbours as numpy does.
fn percentiles(percents: [f32; 2], volume: &Volume, tick: &mut dyn FnMut() -> Result<()>) -> Result<[f64; 2]> {
    let last = volume.geometry().len() - 1;
    // 99.9 as it was written, not its nearest f32: a volume has more voxels than f32 has digits.
    let places = percents.map(|p| p.to_string().parse::<f64>().unwrap_or(p.into()) / 100.0 * last as f64);
    let below = places.map(|place| (place.floor() as usize).min(last));
    let [a, b] = below;
    let values = order_statistics([a, (a + 1).min(last), b, (b + 1).min(last)], volume, tick)?.map(f64::from);
    Ok(std::array::from_fn(|n| {
        let (low, high, part) = (values[2 * n], values[2 * n + 1], places[n] - below[n] as f64);
        low + (high - low) * part
    }))
}

/// The voxels of four ranks (0-based, in ascending order of value) by counting: the upper halves of all voxels first,
/// then the lower halves of those that share the upper half of a sought one. 2.5 MiB whatever the volume.
fn order_statistics(ranks: [usize; 4], volume: &Volume, tick: &mut dyn FnMut() -> Result<()>) -> Result<[f32; 4]> {
    let mut upper = vec![0; 1 << 16];
    for_each_slice(volume, tick, |slice| slice.iter().for_each(|&x| upper[usize::from(halves(x).0)] += 1))?;
    let bins = ranks.map(|rank| locate(&upper, rank));

    let mut lower: [_; 4] = std::array::from_fn(|_| vec![0; 1 << 16]);
    for_each_slice(volume, tick, |slice| {
        for &x in slice {
            let (bin, rest) = halves(x);
            for (counts, _) in lower.iter_mut().zip(&bins).filter(|(_, sought)| sought.0 == bin) {
                counts[usize::from(rest)] += 1;
            }
        }
    })?;
    Ok(std::array::from_fn(|n| {
        let (bin, rank) = bins[n];
        whole(bin, locate(&lower[n], rank).0)
    }))
}

/// The bin that holds the value of rank `rank`, and that value's rank within it.
fn locate(counts: &[usize], mut rank: usize) -> (u16, usize) {
    for (bin, &count) in counts.iter().enumerate() {
        if rank < count {
            return (bin as u16, rank);
        }
        rank -= count;
    }
    (u16::MAX, 0)
}

/// A float as two halves of an integer that sorts as the float does.
fn halves(x: f32) -> (u16, u16) {
    let bits = x.to_bits();
    let key = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    ((key >> 16) as u16, key as u16)
}

/// Inverse of [`halves`].
fn whole(upper: u16, lower: u16) -> f32 {
    let key = u32::from(upper) << 16 | u32::from(lower);
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}
