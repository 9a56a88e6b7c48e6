//! RT Structure Sets in and out (PS3.3 A.19).

pub(super) mod fill;
mod outline;
pub(super) mod read;
pub(super) mod write;
