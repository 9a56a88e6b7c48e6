//! What a generated series looks like: everything that is drawn from its seed.

use transunet::dicom::Tilt;
use transunet::random::{Random, stream};

/// What is special about a series, and with it how the library must answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// One even stack.
    Even,
    /// `missing` slices from slice `at` on are not there.
    Gap { at: usize, missing: usize },
    /// Slice `at` lies off its place along the normal, by a part of the spacing.
    Uneven { at: usize, by: f64 },
    /// Each step is longer than the last, by this factor.
    Growing { factor: f64 },
    /// The file of slice `of` lies there twice, byte by byte.
    Copy { of: usize },
    /// Slice `of` has a second image of other pixels at the same position.
    Twin { of: usize, same_uid: bool },
    /// Slice `at` is shifted within its plane, in mm along its rows.
    Shifted { at: usize, by: f64 },
    /// Each slice is shifted against the one before by a part of the spacing along rows and along columns.
    Tilted { by: [f64; 2], treatment: Tilt },
    /// Several stacks in one series, of which one is asked for by a rule, or none.
    Several { by: By, count: usize, asked: Option<usize> },
    /// Another image in the series that is no part of the stack.
    Beside(Extra),
    /// One image differs from the others.
    Odd { at: usize, fault: Fault },
    /// The file of slice `at` ends early.
    Truncated { at: usize },
}

/// What tells stacks of one series apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum By {
    Time,
    Echo,
    B,
    Acquisition,
    Phase,
    Type,
    Orientation,
    /// Only multi-frame images have it.
    Stack,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Extra {
    Localizer,
    SecondaryCapture,
    StructureSet,
}

/// What an image of a stack can have that the others have not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    Rows,
    PixelSpacing,
    Modality,
    FrameOfReference,
    Study,
    NoPosition,
    NoOrientation,
    Palette,
}

/// Files of the series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Layout {
    Single,
    /// Enhanced multi-frame: one file for each stack or for all; position aside, functional groups are shared or per frame.
    Multi {
        together: bool,
        shared: bool,
    },
}

/// How the patient's axes lie in the image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pose {
    /// One of the 24 right-handed signed permutations of the axes. Slices listed along or against the normal make 48.
    Aligned(usize),
    /// Turned about one axis of the patient, then [`Pose::Aligned`].
    Oblique {
        pose: usize,
        axis: usize,
        degrees: f64,
    },
    DoubleOblique {
        pose: usize,
        degrees: [f64; 3],
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bits {
    pub allocated: u16,
    pub stored: u16,
    pub high: u16,
    pub signed: bool,
    /// Bits that carry no value are not zero.
    pub noise: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Syntax {
    Explicit,
    Implicit,
    BigEndian,
    Deflated,
    Rle,
    JpegLs,
}

/// How a file begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    Preamble,
    /// "DICM" at once.
    Mark,
    /// The file meta group at once.
    Meta,
    /// The data set at once.
    DataSet,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order {
    /// As slice k.
    Along,
    Against,
    Shuffled,
    Nothing,
}

#[derive(Debug, Clone)]
pub struct Recipe {
    pub seed: u64,
    pub kind: Kind,
    pub layout: Layout,
    pub pose: Pose,
    /// Columns, rows, slices.
    pub size: [usize; 3],
    /// Distance of columns, rows, slices in mm, as written.
    pub spacing: [f64; 3],
    pub origin: [f64; 3],
    /// Digits behind the point of ImagePositionPatient and ImageOrientationPatient.
    pub position_digits: usize,
    pub cosine_digits: usize,
    /// Of each slice, and its slope and intercept as written.
    pub bits: Vec<Bits>,
    pub rescale: Vec<[f64; 2]>,
    pub syntax: Syntax,
    pub start: Start,
    pub modality: &'static str,
    pub patient_position: &'static str,
    /// Specific Character Set and a name written in it.
    pub patient: (&'static str, &'static str),
    pub frame_of_reference: bool,
    /// Of file names and of instance numbers.
    pub names: Order,
    pub numbers: Order,
    /// Files lie in folders below the series' own.
    pub nested: bool,
}

const PATIENTS: [(&str, &str); 6] = [
    ("", "Plain^Name"),
    ("ISO_IR 100", "Müller^Jürgen"),
    ("ISO_IR 192", "王^小東"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("ISO_IR 126", "Διονυσιος"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
];

/// The series of `seed`. Kinds take turns, and so do the 24 poses with both directions of listing.
pub fn draw(seed: u64) -> Recipe {
    let random = &mut stream(seed, "series", &[]);
    let turn = seed / KINDS as u64;
    let mut slices = 3 + random.below(6);
    let kind = kind((seed % KINDS as u64) as usize, &mut slices, random);
    let layout = match kind {
        Kind::Several { by: By::Stack, .. } => multi(random),
        Kind::Odd { .. }
        | Kind::Truncated { .. }
        | Kind::Copy { .. }
        | Kind::Twin { .. }
        | Kind::Beside(_)
        | Kind::Several { by: By::Type, .. } => Layout::Single,
        _ if random.happens(0.35) => multi(random),
        _ => Layout::Single,
    };
    let single = layout == Layout::Single;
    let pose = match turn % 4 {
        _ if matches!(kind, Kind::Several { by: By::Orientation, .. }) => Pose::Aligned(random.below(24)),
        0 | 1 => Pose::Aligned((turn / 4 % 24) as usize),
        2 => Pose::Oblique { pose: random.below(24), axis: random.below(3), degrees: angle(random, 45.0) },
        _ => Pose::DoubleOblique { pose: random.below(24), degrees: [0; 3].map(|_| angle(random, 40.0)) },
    };
    let numbers = match turn % 4 {
        0 => Order::Along,
        1 => Order::Against,
        _ if single => of(random, &[Order::Along, Order::Against, Order::Shuffled, Order::Nothing]),
        _ => Order::Shuffled,
    };
    // What JPEG-LS encodes here is grey and one frame; a deflated file that ends early fails in the inflater's words.
    let syntax = match (of(random, &SYNTAXES), &kind) {
        (Syntax::JpegLs, Kind::Odd { fault: Fault::Palette, .. }) => Syntax::Explicit,
        (Syntax::JpegLs, _) if !single => Syntax::Explicit,
        (Syntax::Deflated, Kind::Truncated { .. }) => Syntax::Explicit,
        (syntax, _) => syntax,
    };
    let modality = of(random, &["CT", "MR", "PT"]);
    let tilted = matches!(kind, Kind::Tilted { .. });
    let resampled = matches!(kind, Kind::Tilted { treatment: Tilt::Resample, .. });
    let one = if resampled {
        Bits { allocated: 16, stored: 16, high: 15, signed: false, noise: false }
    } else {
        bits(random, syntax)
    };
    let mixed = single && !resampled && random.happens(0.3);
    let scaled = !resampled && (modality == "PT" || random.happens(0.3));
    let rescale = [of(random, &[1.0, 0.5, 2.0, -1.0, 0.123456]), of(random, &[0.0, -1024.0, 7.25])];
    let own = |random: &mut Random| [decimal(random, 0.05, 3.0, 5), decimal(random, -100.0, 100.0, 2)];
    Recipe {
        seed,
        kind,
        layout,
        pose,
        size: [5 + random.below(8), 5 + random.below(8), slices],
        spacing: [
            decimal(random, 0.3, 2.0, 4),
            decimal(random, 0.3, 2.0, 4),
            decimal(random, if tilted { 2.0 } else { 0.6 }, 6.0, 3),
        ],
        origin: [0; 3].map(|_| decimal(random, -250.0, 250.0, 6)),
        position_digits: if resampled { 9 } else { of(random, &[2, 3, 4, 5, 6, 6, 9, 9]) },
        cosine_digits: if resampled { 12 } else { of(random, &[5, 6, 9, 12]) },
        bits: (0..slices).map(|_| if mixed { bits(random, syntax) } else { one }).collect(),
        rescale: (0..slices).map(|_| if scaled { own(random) } else { rescale }).collect(),
        syntax,
        start: match syntax {
            Syntax::Explicit | Syntax::Implicit if random.happens(0.3) => {
                of(random, &[Start::Mark, Start::Meta, Start::DataSet])
            }
            _ => Start::Preamble,
        },
        modality,
        patient_position: of(random, &["HFS", "FFS", "HFP", "FFP", "HFDL", "HFDR", "FFDL", "FFDR"]),
        patient: of(random, &PATIENTS),
        frame_of_reference: random.happens(0.9),
        names: of(random, &[Order::Along, Order::Against, Order::Shuffled]),
        numbers,
        nested: random.happens(0.2),
    }
}

/// Turns of [`kind`].
pub const KINDS: usize = 29;

fn kind(turn: usize, slices: &mut usize, random: &mut Random) -> Kind {
    let sign = |random: &mut Random| if random.happens(0.5) { -1.0 } else { 1.0 };
    match turn {
        10 => {
            *slices = 5 + random.below(4);
            let missing = 1 + random.below(2);
            // Both ends and at least three slices remain, which are not even.
            Kind::Gap { at: 1 + random.below(*slices - missing - 1), missing }
        }
        11 => Kind::Uneven { at: 1 + random.below(*slices - 2), by: random.between(0.25, 0.45) * sign(random) },
        12 => Kind::Growing { factor: random.between(1.3, 1.6) },
        13 => Kind::Copy { of: random.below(*slices) },
        14 => Kind::Twin { of: random.below(*slices), same_uid: true },
        15 => Kind::Twin { of: random.below(*slices), same_uid: false },
        16 => Kind::Shifted { at: random.below(*slices), by: random.between(1.2, 3.0) * sign(random) },
        17 | 18 => Kind::Odd { at: random.below(*slices), fault: of(random, &FAULTS) },
        19 => Kind::Truncated { at: random.below(*slices) },
        20..=22 => {
            let by = [random.between(0.09, 0.45) * sign(random), random.between(0.09, 0.45) * sign(random)];
            let by = of(random, &[[by[0], 0.0], [0.0, by[1]], by]);
            Kind::Tilted { by, treatment: [Tilt::Keep, Tilt::Resample, Tilt::Refuse][turn - 20] }
        }
        23..=26 => {
            let by = of(random, &STACKS);
            let count = if by == By::Orientation { 2 } else { 2 + random.below(2) };
            let asked = (turn != 26).then(|| random.below(count));
            Kind::Several { by, count, asked }
        }
        27 | 28 => Kind::Beside(of(random, &[Extra::Localizer, Extra::SecondaryCapture, Extra::StructureSet])),
        _ => {
            *slices = 1 + random.below(8);
            Kind::Even
        }
    }
}

const SYNTAXES: [Syntax; 8] = [
    Syntax::Explicit,
    Syntax::Explicit,
    Syntax::Implicit,
    Syntax::Implicit,
    Syntax::BigEndian,
    Syntax::Deflated,
    Syntax::Rle,
    Syntax::JpegLs,
];

const FAULTS: [Fault; 8] = [
    Fault::Rows,
    Fault::PixelSpacing,
    Fault::Modality,
    Fault::FrameOfReference,
    Fault::Study,
    Fault::NoPosition,
    Fault::NoOrientation,
    Fault::Palette,
];

const STACKS: [By; 8] = [By::Time, By::Echo, By::B, By::Acquisition, By::Phase, By::Type, By::Orientation, By::Stack];

fn multi(random: &mut Random) -> Layout {
    Layout::Multi { together: random.happens(0.6), shared: random.happens(0.5) }
}

fn angle(random: &mut Random, most: f64) -> f64 {
    decimal(random, -most, most, 3)
}

fn decimal(random: &mut Random, low: f64, high: f64, digits: usize) -> f64 {
    round(random.between(low, high), digits)
}

fn bits(random: &mut Random, syntax: Syntax) -> Bits {
    let (allocated, stored, high) = match syntax {
        Syntax::JpegLs => of(random, &[(8, 8, 7), (16, 12, 11), (16, 16, 15)]),
        Syntax::Rle => of(random, &[(8, 8, 7), (16, 12, 11), (16, 16, 15), (16, 12, 15)]),
        _ => of(random, &[(8, 8, 7), (16, 12, 11), (16, 16, 15), (16, 10, 9), (16, 12, 15), (32, 24, 23)]),
    };
    let signed = syntax != Syntax::JpegLs && random.happens(0.5);
    Bits { allocated, stored, high, signed, noise: syntax != Syntax::JpegLs && random.happens(0.2) }
}

fn of<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[random.below(choices.len())]
}

/// As a decimal of so many digits says it.
pub fn round(value: f64, digits: usize) -> f64 {
    format!("{value:.digits$}").parse().expect("a number")
}
