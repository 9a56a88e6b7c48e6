//! `include/transunet.h` is what cbindgen makes of src/ffi. `TRANSUNET_BLESS=1` writes it.

use std::fs;
use std::path::Path;

#[test]
fn header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    // The version stands in Cargo.toml only.
    let [major, minor, patch] =
        [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")];
    let macros = format!(
        "\n#define TRANSUNET_VERSION_MAJOR {major}\n#define TRANSUNET_VERSION_MINOR {minor}\n#define TRANSUNET_VERSION_PATCH {patch}\n\n"
    );
    config.after_includes = Some(macros + config.after_includes.as_deref().unwrap_or_default().trim_start());
    let mut made = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("src/ffi/mod.rs"))
        .generate()
        .expect("src/ffi parses")
        .write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let path = root.join("include/transunet.h");
    if std::env::var_os("TRANSUNET_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "include/transunet.h is out of date; run TRANSUNET_BLESS=1 cargo test --release --test header and commit it"
    );
}
