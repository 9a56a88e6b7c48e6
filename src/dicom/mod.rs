//! DICOM in and out: series become volumes, label maps become DICOM SEG.

mod attributes;
mod codes;
mod seg;
mod seg_frames;
mod seg_header;
mod series;
mod uid;

pub use seg::{SegOptions, write_seg};
pub use series::{Instance, Series};
