//! The C API: opaque handles, status codes, sized structs. Rust programs use the crate itself.
//!
//! An exported function is: guard, convert, call, convert. The header (`include/transunet.h`) is generated from these
//! files in the order of the modules below; its first page (`cbindgen.toml`) states the rules for callers.
#![allow(unsafe_code)] // the one place where C's pointers become references
#![allow(unsafe_op_in_unsafe_fn)] // every function here is unsafe as a whole: it trusts its caller's pointers
#![allow(non_camel_case_types)] // names are those of the header
#![allow(clippy::missing_safety_doc)] // the contract of all functions stands once, on the header's first page

mod library;

mod error;

mod text;

mod runtime;

mod cancel;

mod label;

mod model;

mod volume;

mod segment;

mod labelmap;

mod train;

mod plugin;

pub(crate) mod cuda_probe;
#[cfg(feature = "cuda")]
mod cuda_toolkit;
mod guard;
mod record;
mod routes;

pub use cancel::*;
pub use error::*;
pub use label::*;
pub use labelmap::*;
pub use library::*;
pub use model::*;
pub use plugin::*;
pub use runtime::*;
pub use segment::*;
pub use text::*;
pub use train::*;
pub use volume::*;

/// The header lets threads share handles; raw pointers would not notice if a type forbade it.
const _: () = {
    const fn shared_by_threads<T: Send + Sync>() {}
    shared_by_threads::<transunet_error>();
    shared_by_threads::<transunet_text>();
    shared_by_threads::<transunet_runtime>();
    shared_by_threads::<transunet_cancel>();
    shared_by_threads::<transunet_model>();
    shared_by_threads::<transunet_volume>();
    shared_by_threads::<transunet_labelmap>();
};
