//! What a recipe puts into files, and where each of its pixels lies in the patient.

use transunet::dicom::Tilt;
use transunet::geometry::{Vec3, cross};
use transunet::random::stream;

use super::recipe::{Bits, By, Extra, Fault, Kind, Layout, Order, Pose, Recipe, round};

/// One image as it goes into a file, or a frame of one.
#[derive(Debug, Clone)]
pub struct Image {
    pub uid: String,
    /// Its number among the images of the series.
    pub number: Option<usize>,
    /// Which of several stacks it belongs to.
    pub stack: usize,
    pub position: Vec3,
    /// Directions of the row and of the column.
    pub row: Vec3,
    pub column: Vec3,
    /// Distance of columns, then of rows, in mm.
    pub spacing: [f64; 2],
    /// Columns, rows.
    pub size: [usize; 2],
    pub bits: Bits,
    pub slope: f64,
    pub intercept: f64,
    /// Row by row, without slope and intercept.
    pub stored: Vec<i64>,
    pub fault: Option<Fault>,
    pub extra: Option<Extra>,
    /// Its file ends early.
    pub cut: bool,
    /// Its file lies there under a second name.
    pub copied: bool,
}

/// How the library must answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The images of the volume in the order of its slices.
    Read(Vec<usize>),
    /// Each of these is in the message.
    Refused(Vec<&'static str>),
}

#[derive(Debug, Clone)]
pub struct Scene {
    pub images: Vec<Image>,
    pub answer: Answer,
    /// What the library is asked for.
    pub choice: String,
    pub tilt: Tilt,
}

impl Image {
    /// Patient position (LPS, mm) of the centre of pixel (i, j): PS3.3 equation C.7.6.2.1-1.
    pub fn place(&self, i: usize, j: usize) -> Vec3 {
        let (across, down) = (i as f64 * self.spacing[0], j as f64 * self.spacing[1]);
        std::array::from_fn(|x| self.position[x] + across * self.row[x] + down * self.column[x])
    }

    /// Value of pixel `at`, in modality units.
    pub fn value(&self, at: usize) -> f32 {
        (self.slope * self.stored[at] as f64 + self.intercept) as f32
    }
}

pub fn scene(recipe: &Recipe) -> Scene {
    let mut images: Vec<Image> = (0..recipe.size[2]).map(|k| image(recipe, axes(recipe), k)).collect();
    let (mut choice, mut tilt) = (String::new(), Tilt::Keep);
    let answer = match recipe.kind {
        Kind::Several { by, count, asked } => {
            for stack in 1..count {
                let (row, column) = axes(recipe);
                let axes = if by == By::Orientation { (column, cross(row, column)) } else { (row, column) };
                images.extend((0..recipe.size[2]).map(|k| Image { stack, ..image(recipe, axes, k) }));
            }
            for (n, image) in images.iter_mut().enumerate() {
                image.uid += &format!(".{}", image.stack);
                image.stored = stored(image, n);
            }
            match asked {
                Some(asked) => {
                    choice = rule(recipe, by, asked, &images);
                    Answer::Read((asked * recipe.size[2]..(asked + 1) * recipe.size[2]).collect())
                }
                None => Answer::Refused(vec!["volumes; choose one by a rule such as"]),
            }
        }
        Kind::Tilted { treatment, .. } => {
            tilt = treatment;
            match treatment {
                Tilt::Refuse => Answer::Refused(vec!["tilt", "degrees"]),
                Tilt::Keep | Tilt::Resample => Answer::Read((0..images.len()).collect()),
            }
        }
        _ => answer(recipe, &mut images),
    };
    if let Some(ranks) = ranks(recipe.numbers, images.len(), recipe.seed) {
        images.iter_mut().zip(ranks).for_each(|(image, rank)| image.number = Some(rank + 1));
    }
    Scene { images, answer, choice, tilt }
}

/// Slice `k` of a stack in the plane of `row` and `column`.
fn image(recipe: &Recipe, (row, column): (Vec3, Vec3), k: usize) -> Image {
    let normal = cross(row, column);
    let depth = recipe.spacing[2] * step(&recipe.kind, k);
    let aside = match recipe.kind {
        Kind::Shifted { at, by } if at == k => [by, 0.0],
        Kind::Tilted { by, .. } => by.map(|by| by * depth),
        _ => [0.0; 2],
    };
    let place = |x: usize| recipe.origin[x] + depth * normal[x] + aside[0] * row[x] + aside[1] * column[x];
    let mut image = Image {
        uid: format!("1.2.826.0.1.3680043.10.2.{}.{}", recipe.seed + 1, k + 1),
        number: None,
        stack: 0,
        position: std::array::from_fn(|x| round(place(x), recipe.position_digits)),
        row,
        column,
        spacing: [recipe.spacing[0], recipe.spacing[1]],
        size: [recipe.size[0], recipe.size[1]],
        bits: recipe.bits[k],
        slope: recipe.rescale[k][0],
        intercept: recipe.rescale[k][1],
        stored: Vec::new(),
        fault: None,
        extra: None,
        cut: recipe.kind == Kind::Truncated { at: k },
        copied: recipe.kind == Kind::Copy { of: k },
    };
    if let Kind::Odd { at, fault } = recipe.kind
        && at == k
    {
        image.fault = Some(fault);
        match fault {
            Fault::Rows => image.size[1] += 1,
            Fault::PixelSpacing => image.spacing[0] = round(1.01 * image.spacing[0], 4),
            _ => {}
        }
    }
    image.stored = match recipe.kind {
        Kind::Tilted { treatment: Tilt::Resample, .. } => ramp(&image, k),
        _ => stored(&image, k),
    };
    image
}

/// Takes away and adds what the kind says.
fn answer(recipe: &Recipe, images: &mut Vec<Image>) -> Answer {
    let all = Answer::Read((0..images.len()).collect());
    match recipe.kind {
        Kind::Gap { at, missing } => {
            images.drain(at..at + missing);
            Answer::Refused(vec!["gap between slices", "seem to be missing"])
        }
        Kind::Uneven { .. } | Kind::Growing { .. } => Answer::Refused(vec!["gap between slices", "expected"]),
        Kind::Twin { of, same_uid } => {
            let mut twin = images[of].clone();
            twin.stored = stored(&twin, 100 + of);
            if same_uid {
                images.push(twin);
                return Answer::Refused(vec!["different images with one SOPInstanceUID"]);
            }
            twin.uid += ".1";
            images.push(twin);
            Answer::Refused(vec!["duplicate positions", "1 of"])
        }
        Kind::Shifted { .. } => Answer::Refused(vec!["within its plane", "expected at most"]),
        Kind::Beside(extra) => {
            let uid = format!("{}.9", images[0].uid);
            let (row, column) = (images[0].column, cross(images[0].row, images[0].column));
            images.push(Image { uid, row, column, extra: Some(extra), ..images[0].clone() });
            all
        }
        Kind::Odd { fault, .. } => Answer::Refused(match fault {
            Fault::Rows | Fault::PixelSpacing => vec!["holds 2 volumes; choose one by a rule"],
            Fault::Modality => vec!["2 modalities"],
            Fault::FrameOfReference => vec!["2 frames of reference"],
            Fault::Study => vec!["2 studies"],
            Fault::NoPosition => vec!["ImagePositionPatient", "missing"],
            Fault::NoOrientation => vec!["ImageOrientationPatient", "missing"],
            Fault::Palette => vec!["PALETTE COLOR"],
        }),
        Kind::Truncated { .. } => Answer::Refused(vec!["truncated"]),
        Kind::Even | Kind::Copy { .. } | Kind::Tilted { .. } | Kind::Several { .. } => all,
    }
}

/// The rule that means stack `asked`.
fn rule(recipe: &Recipe, by: By, asked: usize, images: &[Image]) -> String {
    let rank = asked + 1;
    match by {
        By::Time => format!("time={rank}"),
        By::Echo => format!("echo={rank}"),
        By::B => format!("b={}", 500 * rank),
        By::Acquisition => format!("acquisition={rank}"),
        By::Phase => format!("phase={rank}"),
        By::Type => format!("type={}", TYPES[asked]),
        By::Stack => format!("stack={rank}"),
        By::Orientation => {
            let image = &images[asked * recipe.size[2]];
            let normal = cross(image.row, image.column).map(f64::abs);
            let axis = (0..3).find(|&axis| normal[axis] > 0.9).expect("an axis of the patient");
            format!("orientation={}", ["sagittal", "coronal", "axial"][axis])
        }
    }
}

/// Third values of ImageType.
pub const TYPES: [&str; 3] = ["M", "P", "ADC"];

/// Slices of one file, in the order in which they are written.
pub fn files(recipe: &Recipe, images: &[Image]) -> Vec<Vec<usize>> {
    let all: Vec<usize> = (0..images.len()).collect();
    match recipe.layout {
        Layout::Single => all.into_iter().map(|n| vec![n]).collect(),
        Layout::Multi { together, .. } => {
            let stacks = images.iter().map(|image| image.stack + 1).max().unwrap_or(1);
            let in_file = |n: &usize, file: usize| together || images[*n].stack == file;
            let mut files: Vec<Vec<usize>> = (0..if together { 1 } else { stacks })
                .map(|file| all.iter().copied().filter(|n| in_file(n, file)).collect())
                .collect();
            files.iter_mut().for_each(|file| file.sort_by_key(|&n| images[n].number));
            files
        }
    }
}

/// Place of slice `k` along the normal, in spacings.
fn step(kind: &Kind, k: usize) -> f64 {
    let k_ = k as f64;
    match *kind {
        Kind::Uneven { at, by } if at == k => k_ + by,
        Kind::Growing { factor } => (factor.powi(k as i32) - 1.0) / (factor - 1.0),
        _ => k_,
    }
}

/// The row's and the column's direction as they are written.
fn axes(recipe: &Recipe) -> (Vec3, Vec3) {
    let (pose, turns): (usize, Vec<(usize, f64)>) = match recipe.pose {
        Pose::Aligned(pose) => (pose, Vec::new()),
        Pose::Oblique { pose, axis, degrees } => (pose, vec![(axis, degrees)]),
        Pose::DoubleOblique { pose, degrees } => (pose, degrees.into_iter().enumerate().collect()),
    };
    // Six directions for the row, then four at right angles to it for the column.
    let (axis, other) = (pose / 8, pose % 4 / 2);
    let unit = |axis: usize, negative: bool| {
        let mut unit = [0.0; 3];
        unit[axis] = if negative { -1.0 } else { 1.0 };
        unit
    };
    let row = unit(axis, pose / 4 % 2 == 1);
    let column = unit((axis + 1 + other) % 3, pose % 2 == 1);
    let written = |direction: Vec3| {
        let turned = turns.iter().fold(direction, |direction, &(axis, degrees)| turned(direction, axis, degrees));
        turned.map(|cosine| round(cosine, recipe.cosine_digits) + 0.0)
    };
    (written(row), written(column))
}

fn turned(direction: Vec3, axis: usize, degrees: f64) -> Vec3 {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (a, b) = ((axis + 1) % 3, (axis + 2) % 3);
    let mut turned = direction;
    turned[a] = cos * direction[a] - sin * direction[b];
    turned[b] = sin * direction[a] + cos * direction[b];
    turned
}

/// Different everywhere nearby, spread over all stored bits.
fn stored(image: &Image, k: usize) -> Vec<i64> {
    let span = 1i64 << image.bits.stored;
    let half = if image.bits.signed { span / 2 } else { 0 };
    let (columns, rows) = (image.size[0], image.size[1]);
    let pixels = (0..rows).flat_map(|j| (0..columns).map(move |i| (i, j)));
    pixels.map(|(i, j)| (i * 193 + j * 1571 + k * 4099 + 11) as i64 * 7919 % span - half).collect()
}

/// Linear in i and j, so that linear interpolation between pixels is exact.
fn ramp(image: &Image, k: usize) -> Vec<i64> {
    let (columns, rows) = (image.size[0] as i64, image.size[1] as i64);
    (0..rows).flat_map(|j| (0..columns).map(move |i| 37 * i + 611 * j + 4001 * k as i64 + 5)).collect()
}

/// What stands in place of each of `count` things in order; `None` if nothing does.
pub fn ranks(order: Order, count: usize, seed: u64) -> Option<Vec<usize>> {
    let mut ranks: Vec<usize> = (0..count).collect();
    match order {
        Order::Along => {}
        Order::Against => ranks.reverse(),
        Order::Shuffled => stream(seed, "order", &[count as u64]).shuffle(&mut ranks),
        Order::Nothing => return None,
    }
    Some(ranks)
}
