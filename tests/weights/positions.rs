//! Position embeddings are resampled to the grid that is asked for.

use std::path::Path;

use transunet::network::Architecture;
use transunet::weights::{position_embedding, resample_position_embedding};

use crate::checkpoints::write_pth;
use crate::name_weights::tiny_vit;
use crate::{POSITION, common, name_weights, open};

#[test]
fn position_embeddings_are_resampled_as_scipy_does() {
    let grids = [
        [14, 14, 16, 16],
        [14, 14, 20, 20],
        [14, 14, 24, 24],
        [14, 14, 28, 28],
        [14, 14, 32, 32],
        [14, 14, 64, 64],
        [14, 14, 7, 7],
        [14, 14, 10, 18],
        [12, 20, 14, 14],
        [16, 16, 14, 14],
        [4, 4, 14, 9],
        [2, 3, 5, 7],
        [24, 24, 14, 14],
        [3, 3, 1, 1],
        [14, 14, 14, 28],
        // The edge that scipy zeroes.
        [32, 32, 14, 14],
        [14, 14, 24, 384 / 16 + 8],
        [14, 14, 384, 14],
        [7, 7, 44, 44],
    ];
    let hidden = 5;
    let data: Vec<f32> = grids
        .iter()
        .enumerate()
        .flat_map(|(i, g)| name_weights::values(i as u64, 24, "position_embeddings", &[g[0] * g[1], hidden]))
        .collect();
    let Some(mut peer) = common::peers("scipy zoom") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("in"), folder.path().join("out"));
    std::fs::write(&source, bytemuck::cast_slice(&data)).unwrap();
    peer.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/weights.py")).arg("zoom").args([&source, &target]);
    peer.args(grids.map(|g| format!("{},{},{},{},{hidden}", g[0], g[1], g[2], g[3])));
    assert!(peer.status().unwrap().success());
    let scipy = std::fs::read(&target).unwrap();
    let scipy: Vec<f32> = scipy.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let (mut from, mut to, mut most) = (&data[..], &scipy[..], 0.0f32);
    let mut zeroed = 0;
    for [r, c, r2, c2] in grids {
        let (grid, rest) = from.split_at(r * c * hidden);
        let (wanted, rest_to) = to.split_at(r2 * c2 * hidden);
        (from, to) = (rest, rest_to);
        let ours = resample_position_embedding(grid, [r, c], [r2, c2], hidden, true).unwrap();
        for (a, b) in ours.iter().zip(wanted) {
            most = most.max((a - b).abs());
        }
        let last = |values: &[f32]| values[values.len() - hidden..].to_vec();
        let sound = resample_position_embedding(grid, [r, c], [r2, c2], hidden, false).unwrap();
        if r2 > 1 {
            assert_eq!(last(&sound), last(grid), "corners coincide");
        }
        zeroed += usize::from(last(&ours) == [0.0; 5]);
    }
    println!("largest difference to scipy: {most:e}; zeroed corners: {zeroed}");
    assert!(most <= 6e-8, "{most:e}");
    assert!(zeroed > 0, "no case with a zeroed edge");
}

#[test]
fn position_embeddings_fit_the_grid_that_is_asked_for() {
    let Some(golden) = common::golden("position embedding", "r50/google.npz") else { return };
    let npz = open(golden);
    let raw = npz.read(POSITION).unwrap();
    let hidden = 16;
    assert_eq!(position_embedding(&npz, None, [1, 17], false).unwrap(), raw, "case a: as many tokens as they are");
    assert_eq!(position_embedding(&npz, None, [4, 4], false).unwrap(), raw[hidden..], "case b: class token dropped");
    let wide = position_embedding(&npz, None, [5, 7], false).unwrap();
    assert_eq!(wide, resample_position_embedding(&raw[hidden..], [4, 4], [5, 7], hidden, false).unwrap(), "case c");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.pth");
    write_pth(&path, &[(POSITION.into(), vec![1, 6, 2])], |_, _| (0..12).map(|i| i as f32).collect());
    let wide = open(&path);
    assert_eq!(position_embedding(&wide, None, [2, 3], false).unwrap().len(), 12);
    let error = position_embedding(&wide, None, [4, 4], false).unwrap_err().to_string();
    assert!(error.contains("6 tokens are no square grid"), "{error}");
    let known = position_embedding(&wide, Some([2, 3]), [4, 3], false).unwrap();
    assert_eq!(known[..6], [0., 1., 2., 3., 4., 5.]);
    assert_eq!(known.len(), 24);
    assert_eq!(
        wide.read_for(POSITION, &Architecture { image_size: [48, 32], ..tiny_vit() }, false).unwrap(),
        wide.read(POSITION).unwrap()
    );
}
