//! DICOM in and out: series become volumes, label maps become DICOM SEG.

mod aside;
mod attributes;
mod choice;
mod codes;
mod codestream;
mod file;
mod header;
mod lookup;
mod mosaic;
mod multiframe;
mod order;
mod pixels;
mod rle;
mod rules;
mod scan;
mod seg;
mod seg_grid;
mod seg_pixels;
mod seg_read;
mod series;
mod slice;
mod stack;
mod tilt;
mod tree;
mod uid;

pub use aside::Aside;
pub use choice::SeriesChoice;
pub use rules::{Judgement, Rule, SeriesTraits};
pub use scan::{Scan, SeriesSummary, Unreadable, scan};
pub use seg::{SegCompression, SegEncoding, SegOptions, write_seg};
pub use seg_grid::common_grid;
pub use seg_read::Seg;
pub use series::{Instance, PixelSource, Series, SeriesOptions, SeriesVolume};
pub use tilt::Tilt;
pub use tree::{Closed, Tree, TreeSeries, read_tree};
