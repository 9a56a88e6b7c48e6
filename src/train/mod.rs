//! Training: from labelled cases to a bundle.

pub mod checkpoint;
pub mod config;
pub mod finish;
pub mod learner;
pub mod loss;
pub mod loss_scale;
pub mod memory;
pub mod optimizer;
pub mod pass;
pub mod plan;
pub mod run;
pub mod settings;
pub mod student;
pub mod validate;
