//! TransUNet for medical images: DICOM series in, DICOM SEG out, one native library with a C API.
//!
//! Layers, each sees only those below it: `ffi` and the command; [`infer`] and [`model`]; [`engine`], [`network`], [`dicom`];
//! [`volume`], [`labelmap`], [`geometry`], [`config`], [`control`], [`error`].
#![deny(unsafe_code)]

pub mod atomic_file;
pub mod augment;
pub mod catalog;
pub mod config;
pub mod control;
pub mod data;
pub mod device;
pub mod dicom;
pub mod engine;
pub mod error;
pub mod ffi;
pub mod formats;
pub mod fractions;
pub mod geometry;
pub mod infer;
pub mod intensity;
pub mod journal;
pub mod kernels;
pub mod labelmap;
pub mod labels;
pub mod loader;
mod log_sink;
pub mod manifest;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod network;
pub mod orient;
pub mod packed;
pub mod panics;
pub mod picture;
pub mod placement;
pub mod precision;
pub mod preprocess;
mod probabilities;
pub mod random;
pub mod receipt;
pub mod report;
pub mod resize;
pub mod statistics;
pub mod train;
pub mod volume;
pub mod weights;

pub use error::{Error, Result};
