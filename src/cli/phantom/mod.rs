//! A made-up abdomen in CT with its true labels: what the demo segments, and images to learn from without patients.
//!
//! A phantom is a pure function of its seed: only arithmetic and square roots are used, which every machine rounds alike.

mod anatomy;
mod dicom;
mod image;

use transunet::geometry::Geometry;
use transunet::labels::{Code, Label};

pub use dicom::write_series;

use anatomy::Body;

/// Columns, rows, slices.
const SIZE: [usize; 3] = [128, 128, 32];
/// Millimetres.
const SPACING: [f64; 3] = [2.8, 2.8, 6.0];
/// Standard deviation, HU.
const NOISE: f64 = 12.0;

pub struct Phantom {
    pub seed: u64,
    pub geometry: Geometry,
    /// HU, `[k, j, i]`.
    pub voxels: Vec<i16>,
    /// Values of [`labels`], `[k, j, i]`.
    pub truth: Vec<u8>,
}

impl Phantom {
    pub fn new(seed: u64) -> transunet::Result<Self> {
        let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let center = |axis: usize| -SPACING[axis] * (SIZE[axis] - 1) as f64 / 2.0;
        let geometry = Geometry::new(SIZE, SPACING, [center(0), center(1), center(2)], axes)?;

        let mut random = Random::new(seed);
        let body = Body::new(&mut random);
        let (mut voxels, mut truth) = (Vec::with_capacity(geometry.len()), Vec::with_capacity(geometry.len()));
        for k in 0..SIZE[2] {
            for j in 0..SIZE[1] {
                for i in 0..SIZE[0] {
                    let (hu, label) = body.at(geometry.position([i as f64, j as f64, k as f64]));
                    voxels.push((hu + NOISE * random.normal()).round().clamp(-1024.0, 3071.0) as i16);
                    truth.push(label);
                }
            }
        }
        Ok(Phantom { seed, geometry, voxels, truth })
    }
}

/// What the labels mean. Codes: DICOM PS3.16 annex L.
pub fn labels() -> Vec<Label> {
    let (left, right) = (Code::new("7771000", "SCT", "Left"), Code::new("24028007", "SCT", "Right"));
    let label = |value, name: &str, color, code, meaning, modifier| Label {
        name: name.into(),
        color: Some(color),
        kind: Some(Code::new(code, "SCT", meaning)),
        modifier,
        ..Label::numbered(value)
    };
    vec![
        label(1, "Aorta", [216, 108, 54], "15825003", "Aorta", None),
        label(2, "Left kidney", [46, 138, 184], "64033007", "Kidney", Some(left)),
        label(3, "Right kidney", [102, 178, 216], "64033007", "Kidney", Some(right)),
        label(4, "Liver", [40, 140, 40], "10200004", "Liver", None),
        label(5, "Spleen", [200, 80, 150], "78961009", "Spleen", None),
        label(6, "Vertebral column", [240, 220, 130], "421060004", "Vertebral column", None),
    ]
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Uniform in 0..1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in -1..1.
    fn signed(&mut self) -> f64 {
        2.0 * self.uniform() - 1.0
    }

    /// Nearly normal, mean 0, deviation 1: four uniform numbers of variance 1/3 each.
    fn normal(&mut self) -> f64 {
        (self.signed() + self.signed() + self.signed() + self.signed()) * 0.75f64.sqrt()
    }
}
