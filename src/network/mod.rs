//! The network: hybrid ViT encoder, cascaded decoder with skips, segmentation head.

mod architecture;

pub use architecture::{Architecture, PATCH, Stem};
