//! DICOM in and out: series become volumes, DICOM SEG and RT Structure Sets labels on them, label maps DICOM SEG.

mod attributes;
mod codes;
mod derived;
mod lookup;
mod nearest;
mod overlap;
mod read;
mod rle;
mod rt;
mod seg;
mod uid;

pub use overlap::{Claims, Overlap};
pub use read::aside::Aside;
pub use read::choice::SeriesChoice;
pub use read::rules::{Judgement, Rule, SeriesTraits};
pub use read::scan::{Scan, SeriesSummary, Unreadable, scan};
pub use read::series::{Instance, PixelSource, Series, SeriesOptions, SeriesVolume};
pub use read::tilt::Tilt;
pub use read::tree::{Closed, Tree, TreeSeries, read_tree};
pub use rt::read::Structures;
pub use rt::write::write_structures;
pub use seg::grid::common_grid;
pub use seg::read::Seg;
pub use seg::write::{SegCompression, SegEncoding, SegOptions, write_seg};
