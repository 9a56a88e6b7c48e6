//! DICOM in and out: series become volumes, label maps become DICOM SEG.

mod choice;
mod codestream;
mod file;
mod header;
mod order;
mod pixels;
mod rle;
mod scan;
mod series;

pub use choice::SeriesChoice;
pub use scan::{Scan, SeriesSummary, Unreadable, scan};
pub use series::{Instance, Series};
