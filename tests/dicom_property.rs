//! Generated series: thousands of them, from seeds. Each is read in the right place, and other programs find the labels that
//! we write where the source's pixels are; or it is refused with the reason.
//!
//! `TRANSUNET_PROPERTY_SEED=17 cargo test --release --test dicom_property` runs one series alone and keeps its files.

mod common;
#[path = "common/phantom.rs"]
mod phantom;
#[path = "dicom_property"]
mod property {
    pub mod encode;
    pub mod multi;
    pub mod recipe;
    pub mod scene;
    pub mod verify;
    pub mod write;
}

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use property::recipe::{KINDS, Pose, Recipe, draw};
use property::scene::scene;
use property::verify::verify;
use property::write::write;
use rayon::prelude::*;
use serde_json::Value;

const SERIES: u64 = 2900;

/// What peers must find in the labels of a series, `None` if it is refused as it must be.
fn tried(recipe: &Recipe, root: &Path) -> Result<Option<Value>, String> {
    let folder = root.join(format!("series-{}", recipe.seed));
    let seg = root.join(format!("{}.dcm", recipe.seed));
    let run = || {
        let scene = scene(recipe);
        let places = write(recipe, &scene, &folder);
        verify(recipe, &scene, &places, &folder, &seg)
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!("panicked: {}", text.or(panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default()))
    })
}

fn told(seed: u64, message: &str) -> String {
    format!("seed {seed}: {message}\n  {:?}\n  again: TRANSUNET_PROPERTY_SEED={seed}", draw(seed))
}

#[test]
fn labels_lie_where_the_pixels_do_or_the_reason_is_given() {
    let alone: Option<u64> = std::env::var("TRANSUNET_PROPERTY_SEED").ok().map(|seed| seed.parse().expect("a seed"));
    let seeds: Vec<u64> = alone.map_or_else(|| (0..SERIES).collect(), |seed| vec![seed]);
    let root = tempfile::tempdir().unwrap();
    let answers: Vec<(u64, Result<Option<Value>, String>)> = seeds
        .par_iter()
        .map(|&seed| {
            let answer = tried(&draw(seed), root.path());
            if alone.is_none() {
                let _ = fs::remove_dir_all(root.path().join(format!("series-{seed}")));
            }
            (seed, answer)
        })
        .collect();
    let mut cases = Vec::new();
    let mut failures: Vec<String> = Vec::new();
    let mut refused = 0;
    for (seed, answer) in answers {
        match answer {
            Ok(Some(case)) => cases.push(case),
            Ok(None) => refused += 1,
            Err(message) => failures.push(told(seed, &message)),
        }
    }
    println!("{} series: {} read, {refused} refused, {} failed", seeds.len(), cases.len(), failures.len());
    if let Some(mut python) = common::peers("labels_lie_where_the_pixels_do_or_the_reason_is_given") {
        let list = root.path().join("cases.json");
        fs::write(&list, serde_json::to_vec(&cases).unwrap()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/check_places.py");
        let output = common::run(python.arg(script).arg(&list));
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.split_once(' ').and_then(|(seed, message)| Some((seed.parse().ok()?, message))) {
                Some((seed, message)) => failures.push(told(seed, message)),
                None => println!("{line}"),
            }
        }
    }
    if alone.is_some() {
        println!("files are kept in {}", root.keep().display());
    }
    let shown = failures.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {} series:\n{shown}", failures.len(), seeds.len());
}

/// The generator reaches what it is there for.
#[test]
fn all_poses_and_kinds_occur() {
    let mut poses: BTreeMap<(usize, String), usize> = BTreeMap::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for recipe in (0..SERIES).map(draw) {
        if let Pose::Aligned(pose) = recipe.pose {
            *poses.entry((pose, format!("{:?}", recipe.numbers))).or_default() += 1;
        }
        let kind = format!("{:?}", recipe.kind);
        let kind = kind.split([' ', '(']).next().unwrap_or_default();
        let detail = format!("{:?} {:?} {:?}", recipe.layout, recipe.syntax, recipe.start);
        for name in [kind.to_string()].into_iter().chain(detail.split(' ').map(str::to_string)) {
            *kinds.entry(name).or_default() += 1;
        }
    }
    for pose in 0..24 {
        for order in ["Along", "Against"] {
            let count = poses.get(&(pose, order.to_string())).copied().unwrap_or(0);
            assert!(count >= KINDS / 2, "pose {pose} listed {order}: {count} series");
        }
    }
    for kind in [
        "Even",
        "Gap",
        "Uneven",
        "Growing",
        "Copy",
        "Twin",
        "Shifted",
        "Tilted",
        "Several",
        "Beside",
        "Odd",
        "Truncated",
    ] {
        assert!(kinds.get(kind).is_some_and(|&count| count >= 50), "{kind}: {kinds:?}");
    }
    for kind in ["Single", "Multi", "BigEndian", "Deflated", "Rle", "JpegLs", "Implicit", "Mark", "Meta", "DataSet"] {
        assert!(kinds.get(kind).is_some_and(|&count| count >= 50), "{kind}: {kinds:?}");
    }
    println!("{kinds:?}");
}
