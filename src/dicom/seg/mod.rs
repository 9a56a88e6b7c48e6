//! DICOM SEG in and out (PS3.3 A.51).

mod compare;
mod frames;
pub(super) mod grid;
mod header;
mod pixels;
pub(super) mod plan;
pub(super) mod read;
mod stored;
pub(super) mod write;
