//! Linker settings of the shared library: its name at run time, and no symbols but its own.

use std::env;

/// Generation of the ABI: the high half of `TRANSUNET_ABI_VERSION` (tests/abi.rs compares them).
const GENERATION: u32 = 1;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let arguments = match os.as_str() {
        // Some dependencies export C symbols of their own (openjp2: opj_*), which must not meet those of the host.
        // Worker threads outlive dlclose, so the code stays.
        "linux" => vec![
            format!("-Wl,-soname,libtransunet.so.{GENERATION}"),
            "-Wl,--exclude-libs,ALL".into(),
            "-Wl,-z,nodelete".into(),
        ],
        "macos" => vec![format!("-Wl,-install_name,@rpath/libtransunet.{GENERATION}.dylib")],
        _ => Vec::new(),
    };
    for argument in arguments {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
}
