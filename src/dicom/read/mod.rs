//! From files to series: which images belong together, in which order, and what their voxels are.

pub(super) mod aside;
pub(super) mod charset;
pub(super) mod choice;
pub(super) mod codestream;
pub(super) mod directory;
pub(super) mod file;
pub(super) mod format;
pub(super) mod header;
pub(super) mod mosaic;
pub(super) mod multiframe;
pub(super) mod order;
pub(super) mod pixels;
pub(super) mod rules;
pub(super) mod scan;
pub(super) mod series;
pub(super) mod slice;
pub(super) mod stack;
pub(super) mod texts;
pub(super) mod tilt;
pub(super) mod tree;
pub(super) mod values;
