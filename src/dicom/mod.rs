//! DICOM in and out: series become volumes, label maps become DICOM SEG.

mod series;

pub use series::{Instance, Series};
