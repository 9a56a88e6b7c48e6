//! One source for what hosts are told: plugin_manifest.yaml agrees with the library, the command and the models, and the
//! files made from it are current. `TRANSUNET_BLESS=1` rewrites them.

mod common;
#[path = "manifest/slicer_module.rs"]
mod slicer_module;

use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use transunet::config;
use transunet::ffi::{TRANSUNET_ABI_VERSION, transunet_plugin_manifest};
use transunet::manifest::{DOCUMENT, Manifest, manifest};
use transunet::weights::Checkpoint;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn current(path: &str, text: &str) {
    let path = root(path);
    if std::env::var_os("TRANSUNET_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{} is not what plugin_manifest.yaml makes: TRANSUNET_BLESS=1 cargo test --release --test manifest",
        path.display()
    );
}

#[test]
fn modules_of_slicer_are_current() {
    let manifest = manifest().unwrap();
    for module in &manifest.modules {
        let xml = slicer_module::xml(manifest, module);
        current(&format!("cpp_shim/slicer/{}.xml", module.id), &xml);
        current(&format!("cpp_shim/slicer/{}.module.inc", module.id), &slicer_module::include(module, &xml));
    }
}

#[test]
fn says_what_the_library_is() {
    let manifest = manifest().unwrap();
    assert_eq!(manifest.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest.licence, env!("CARGO_PKG_LICENSE"));
    assert_eq!(manifest.abi.generation << 16 | manifest.abi.revision, TRANSUNET_ABI_VERSION);
    assert_eq!(manifest.libraries["linux"], format!("libtransunet.so.{}", manifest.abi.generation));
    let symbols = fs::read_to_string(root("tests/golden/symbols.txt")).unwrap();
    for module in &manifest.modules {
        assert!(symbols.lines().any(|symbol| symbol == module.entry_point), "{} is no function", module.entry_point);
    }
}

#[test]
fn names_the_bundled_models() {
    let bundled = &manifest().unwrap().models.bundled;
    let mut files: Vec<PathBuf> = fs::read_dir(root("models")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
    assert_eq!(files.len(), bundled.len(), "{files:?}");
    for model in bundled {
        let checkpoint = Checkpoint::open(&root("models").join(&model.id).with_extension("safetensors")).unwrap();
        assert_eq!(Some(&model.title), checkpoint.describe().unwrap().0.name.as_ref());
    }
}

/// MONAI Deploy's description of the application: its options are parameters of the segmentation module.
#[test]
fn monai_deploy_is_told_the_same() {
    let text = fs::read_to_string(root("hosts/monai_deploy/app.yaml")).unwrap();
    let app: Value = config::parse(&text, "app.yaml").unwrap();
    let manifest = manifest().unwrap();
    assert_eq!(app["application"]["title"], json!(manifest.title));
    assert_eq!(app["application"]["version"], json!(manifest.version));
    let module = manifest.modules.iter().find(|module| module.command == "segment").unwrap();
    for (name, value) in app["transunet"].as_object().unwrap() {
        // Which series are taken is the application's own rule.
        if name == "modality" {
            continue;
        }
        let parameter = module.parameters().find(|parameter| parameter.name == *name);
        let default = &parameter.unwrap_or_else(|| panic!("{name} is no parameter")).default;
        assert_eq!(*value, default.as_ref().map_or(json!(""), |default| json!(default)), "{name}");
    }
}

#[test]
fn c_hosts_read_it_as_json() {
    // SAFETY: the text is static.
    let text = unsafe { CStr::from_ptr(transunet_plugin_manifest()) }.to_str().unwrap();
    let read: Manifest = serde_json::from_str(text).unwrap();
    assert_eq!(&read, manifest().unwrap());
}

/// Every argument of the command's modules is the manifest's, with its help; a PACS is the command's alone.
#[test]
fn the_command_says_the_same() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for module in &manifest().unwrap().modules {
        let output = Command::new(env!("CARGO_BIN_EXE_transunet")).args(["help", &module.command]).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        let (arguments, _) = help.split_once("Examples:").unwrap();
        let arguments = arguments.split("\nPACS:\n").next().unwrap();
        let mut shared = 0;
        for parameter in module.parameters() {
            let Some(name) = &parameter.command else { continue };
            shared += 1;
            assert!(arguments.contains(name.as_str()), "{} has no {name}", module.command);
            assert!(words(arguments).contains(&words(&parameter.help)), "{} {name}: other help", module.command);
        }
        let starts = |line: &&str| line.trim_start().starts_with(['-', '<', '[']) && line.starts_with("  ");
        let listed = arguments.lines().filter(starts).filter(|line| !line.starts_with("           ")).count();
        assert_eq!(listed, shared + 3, "{}: quiet, verbose and help apart", module.command);
    }
}

#[test]
fn faults_are_named_with_line_and_key() {
    for (from, to, expected) in [
        ("title: TransUNet\n", "title: TransUNet\ncolour: red\n", "unknown field `colour`"),
        ("format: 1", "format: 2", "format: 2, expected 1"),
        ("type: volume", "type: image", "unknown variant `image`"),
        ("contributors: [", "contributors: x #", "invalid type: string \"x\", expected a sequence at line"),
        ("name: series", "name: model", "module TransUNet, parameter model: is there twice"),
        ("default: auto", "default: gpu", "default is gpu, which is not one of its values"),
        ("default: hippocampus", "default: liver", "default is liver"),
        ("            range: [0, 1024]\n", "", "range is for numbers, and all of them have one"),
        ("            direction: input\n", "", "direction is for files and folders"),
        ("            choices: [auto, cpu, cuda]\n", "", "choices are for the type choice"),
        ("name: series", "name: Series", "expected a name of a-z and _"),
        ("id: TransUNetTraining", "id: TransUNet", "TransUNet is there twice"),
    ] {
        assert!(DOCUMENT.contains(from), "{from}");
        let error = Manifest::parse(&DOCUMENT.replacen(from, to, 1), "manifest.yaml").unwrap_err().to_string();
        assert!(error.starts_with("manifest.yaml: ") && error.contains(expected), "{error}");
    }
    let unknown = Manifest::parse(&DOCUMENT.replacen("category:", "kategory:", 1), "m").unwrap_err().to_string();
    assert!(unknown.contains("line"), "{unknown}");
}

#[test]
fn models_are_found_by_name() {
    let folder = TempDir::new().unwrap();
    let models = folder.path().join("share/transunet/models");
    let bin = folder.path().join("bin");
    fs::create_dir_all(&models).unwrap();
    fs::create_dir_all(&bin).unwrap();
    let command = bin.join("transunet");
    fs::copy(env!("CARGO_BIN_EXE_transunet"), &command).unwrap();
    fs::copy(root("models/phantom.safetensors"), models.join("phantom.safetensors")).unwrap();
    fs::write(models.join("broken.safetensors"), "no").unwrap();
    let run = |model: &str, variable: &str| {
        let mut run = Command::new(&command);
        run.args(["segment", "nothing.nii", "-o", "out.nii", "--model", model]).current_dir(folder.path());
        fs::write(folder.path().join("nothing.nii"), "").unwrap();
        String::from_utf8(run.env("TRANSUNET_MODELS", variable).output().unwrap().stderr).unwrap()
    };
    // The model is found first: what is refused is the volume.
    assert!(run("phantom", "").contains("nothing.nii"), "{}", run("phantom", ""));
    let unknown = run("liver", "");
    assert!(unknown.contains("liver: neither a file nor an installed model; installed: phantom"), "{unknown}");
    assert!(run("hippocampus", root("models").to_str().unwrap()).contains("nothing.nii"));
    let several = run(root("models").to_str().unwrap(), "");
    assert!(several.contains("a folder with 2 bundles (hippocampus, phantom), expected one"), "{several}");
    assert!(run("share/transunet/models", "").contains("nothing.nii"));
    // The folder of a training run holds one model, beside what the run goes on from.
    for name in ["model", "best", "checkpoint"] {
        fs::create_dir_all(folder.path().join("run")).unwrap();
        let copy = folder.path().join("run").join(name).with_extension("safetensors");
        fs::copy(root("models/phantom.safetensors"), copy).unwrap();
    }
    assert!(run("run", "").contains("nothing.nii"), "{}", run("run", ""));
    assert!(run("absent.safetensors", "").contains("absent.safetensors: cannot open"));
}
