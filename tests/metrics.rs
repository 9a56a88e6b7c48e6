//! Metrics against medpy's figures, and the rules for absent labels.

mod common;

use serde_json::Value;
use transunet::geometry::Geometry;
use transunet::labels::Label;
use transunet::metrics::{Grid, Overlap, Rules, SurfaceDistances, scores, squared_distances, summarize};

const AXES: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

fn mask(indices: &Value, count: usize) -> Vec<bool> {
    let mut mask = vec![false; count];
    indices.as_array().unwrap().iter().for_each(|at| mask[at.as_u64().unwrap() as usize] = true);
    mask
}

/// numpy's order of axes to ours; images get one slice.
fn reversed<T: Copy>(values: &[T], one: T) -> [T; 3] {
    let mut all = values.iter().rev().copied().collect::<Vec<_>>();
    all.resize(3, one);
    [all[0], all[1], all[2]]
}

#[test]
fn all_cases_of_medpy_agree() {
    let Some(folder) = common::golden("metrics", "metrics") else { return };
    let figures: Value = serde_json::from_slice(&std::fs::read(folder.join("metrics.json")).unwrap()).unwrap();
    let cases = figures["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 22);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let shape: Vec<usize> =
            case["shape"].as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect();
        let size = reversed(&shape, 1);
        let spacing = match case["voxelspacing"].as_array() {
            Some(spacing) => reversed(&spacing.iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>(), 1.0),
            None => [1.0; 3],
        };
        let connectivity = case["connectivity"].as_u64().unwrap() as usize;
        let count = shape.iter().product();
        let (a, b) = (mask(&case["pred"], count), mask(&case["gt"], count));
        let overlap = Overlap::new(&a, &b);
        let distances = SurfaceDistances::new(&a, &b, Grid { size, spacing, connectivity });
        let of = |f: fn(&SurfaceDistances) -> f64| distances.as_ref().map(f);
        for (key, ours) in [
            ("dc", overlap.dice()),
            ("jc", overlap.jaccard()),
            ("hd", of(SurfaceDistances::hd)),
            ("hd95", of(SurfaceDistances::hd95)),
            ("asd", of(SurfaceDistances::asd)),
            ("assd", of(SurfaceDistances::assd)),
        ] {
            match (ours, case.get(key).and_then(Value::as_f64)) {
                (Some(ours), Some(golden)) => {
                    assert!((ours - golden).abs() < 1e-6, "{name}: {key} is {ours}, expected {golden}");
                }
                // Where medpy fails on an empty mask it has no figures, overlap included, from then on.
                (ours, None) => assert!(ours.is_none() || case["hd95"].is_null(), "{name}: {key} is {ours:?}"),
                (None, golden) => panic!("{name}: no {key}, expected {golden:?}"),
            }
        }
        if let Some(pair) = case["transunet_percase"].as_array() {
            let geometry = Geometry::new(size, [2.0; 3], [0.0; 3], AXES).unwrap();
            let bytes = |mask: &[bool]| mask.iter().map(|&there| u8::from(there)).collect::<Vec<_>>();
            let score =
                scores(&bytes(&a), &bytes(&b), &geometry, &[Label::numbered(1)], Rules::TransUnet2021, 1.0).unwrap()[0];
            let ours = [score.dice.unwrap(), score.hd95.unwrap()];
            for (ours, golden) in ours.iter().zip(pair) {
                assert!((ours - golden.as_f64().unwrap()).abs() < 1e-6, "{name}: 2021: {ours}, expected {golden}");
            }
        }
    }
}

#[test]
fn distances_are_exact() {
    // Against every pair, on an uneven grid.
    let (size, spacing) = ([5, 4, 3], [0.7, 1.1, 3.0]);
    let to: Vec<bool> = (0..60).map(|n| [3, 17, 44].contains(&n)).collect();
    let place = |n: usize| [n % 5, n / 5 % 4, n / 20];
    let found = squared_distances(&to, size, spacing);
    for (n, found) in found.iter().enumerate() {
        let distance = |m: &usize| -> f64 {
            (0..3).map(|a| ((place(n)[a] as f64 - place(*m)[a] as f64) * spacing[a]).powi(2)).sum()
        };
        let expected = [3, 17, 44].iter().map(distance).fold(f64::INFINITY, f64::min);
        assert!((found - expected).abs() < 1e-9, "voxel {n}: {found}, expected {expected}");
    }
    assert!(squared_distances(&[false; 8], [2, 2, 2], [1.0; 3]).iter().all(|d| d.is_infinite()));
}

#[test]
fn absent_labels_count_as_stated() {
    let geometry = Geometry::new([4, 3, 1], [1.0, 2.0, 5.0], [0.0; 3], AXES).unwrap();
    let labels = [Label::numbered(1), Label::numbered(2), Label::numbered(3)];
    let mut prediction = vec![0; 12];
    let mut truth = vec![0; 12];
    prediction[5] = 1;
    truth[5] = 1;
    prediction[0] = 2;
    let found = scores(&prediction, &truth, &geometry, &labels, Rules::Standard, 1.0).unwrap();
    assert_eq!((found[0].dice, found[0].hd95, found[0].surface_dice), (Some(1.0), Some(0.0), Some(1.0)));
    let diagonal = (9.0f64 + 16.0).sqrt();
    assert_eq!((found[1].dice, found[1].hd95, found[1].surface_dice), (Some(0.0), Some(diagonal), Some(0.0)));
    assert_eq!((found[2].dice, found[2].hd95, found[2].surface_dice), (None, None, None));
    assert_eq!(found[1].voxels, [1, 0]);
    assert!(scores(&prediction[1..], &truth, &geometry, &labels, Rules::Standard, 1.0).is_err());
    let summary = summarize(found.iter().filter_map(|score| score.dice)).unwrap();
    assert_eq!((summary.cases, summary.mean, summary.lowest, summary.highest), (2, 0.5, 0.0, 1.0));
}

#[test]
fn surface_dice_is_in_mm() {
    // Two planes two voxels apart, 1.5 mm each.
    let plane = |at: usize| -> Vec<bool> { (0..125).map(|n| n % 5 == at).collect() };
    let grid = Grid { size: [5; 3], spacing: [1.5, 1.0, 1.0], connectivity: 1 };
    let distances = SurfaceDistances::new(&plane(1), &plane(3), grid).unwrap();
    assert_eq!((distances.surface_dice(2.9), distances.surface_dice(3.0), distances.hd()), (0.0, 1.0, 3.0));
}
