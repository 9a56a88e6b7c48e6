//! DICOM in and out: series become volumes, label maps become DICOM SEG.

mod attributes;
mod choice;
mod codes;
mod codestream;
mod file;
mod header;
mod order;
mod pixels;
mod rle;
mod scan;
mod seg;
mod seg_grid;
mod seg_pixels;
mod seg_read;
mod series;
mod tree;
mod uid;

pub use choice::{SeriesChoice, SeriesTraits};
pub use scan::{Scan, SeriesSummary, Unreadable, scan};
pub use seg::{SegCompression, SegEncoding, SegOptions, write_seg};
pub use seg_grid::common_grid;
pub use seg_read::Seg;
pub use series::{Instance, Series};
pub use tree::{Closed, Tree, TreeSeries, read_tree};
