//! Training: from labelled cases to a bundle.

pub mod loss;
pub mod optimizer;
pub mod pass;
pub mod settings;
pub mod student;
