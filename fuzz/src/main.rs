//! One target under libFuzzer: that which TRANSUNET_FUZZ names. scripts/fuzz builds and starts it.
#![no_main]

mod targets;

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::abort;

use targets::Target;

thread_local! {
    // libFuzzer gives every input to one thread.
    static TARGET: RefCell<Target> = RefCell::new(chosen());
}

fn chosen() -> Target {
    let name = std::env::var("TRANSUNET_FUZZ").unwrap_or_default();
    targets::target(&name).unwrap_or_else(|| panic!("TRANSUNET_FUZZ is {name:?}, expected one of {:?}", targets::NAMES))
}

fn run(bytes: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| TARGET.with_borrow_mut(|target| target(bytes))));
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        eprintln!("a panic reached the caller: {}", text.unwrap_or("no message"));
        abort();
    }
}

libfuzzer_sys::fuzz_target!(
    init: targets::watch(|panic| {
        eprintln!("{panic}\n{}", Backtrace::force_capture());
        abort();
    }),
    |bytes: &[u8]| run(bytes)
);
