//! Contact sheets and statistics: what people look at first.

mod common;

use std::path::Path;
use std::sync::Arc;

use transunet::formats::{read_labels, read_volume};
use transunet::geometry::Geometry;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::Label;
use transunet::picture::{Style, write_contact_sheet};
use transunet::statistics::statistics;
use transunet::volume::Volume;

fn algorithm() -> Algorithm {
    Algorithm { name: "TransUNet tiny".into(), version: "0.1".into() }
}

fn label(value: u8, name: &str, color: [u8; 3]) -> Label {
    Label { name: name.into(), color: Some(color), ..Label::numbered(value) }
}

/// Columns, rows and RGB pixels of a PNG.
fn decode(path: &Path) -> (usize, usize, Vec<u8>) {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgb);
    (info.width as usize, info.height as usize, pixels)
}

fn count(pixels: &[u8], color: [u8; 3]) -> usize {
    pixels.chunks_exact(3).filter(|pixel| *pixel == color).count()
}

/// A grey ramp with a block of label 1 in slices 4 and 5, columns 2..6, rows 1..3; label 2 is nowhere.
fn block(geometry: Geometry) -> Labelmap {
    let [columns, rows, _] = geometry.size;
    let index = |at: usize| (at % columns, at / columns % rows, at / columns / rows);
    let image = (0..geometry.len()).map(|at| (index(at).0 * 10 + index(at).2) as f32).collect();
    let inside = |(i, j, k)| (2..6).contains(&i) && (1..3).contains(&j) && (4..6).contains(&k);
    let voxels: Vec<u8> = (0..geometry.len()).map(|at| u8::from(inside(index(at)))).collect();
    let volume = Volume::from_memory(geometry, image, "memory").unwrap();
    let labels = vec![label(1, "Block", [250, 10, 20]), label(2, "Nowhere", [10, 250, 20])];
    Labelmap::new(Arc::new(volume), voxels, labels, algorithm()).unwrap()
}

/// Axes permuted, i to the right, k towards the feet.
fn tall() -> Geometry {
    let direction = [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]];
    Geometry::new([10, 5, 8], [1.0, 4.0, 2.5], [30.0, -10.0, 100.0], direction).unwrap()
}

#[test]
fn figures_of_a_block() {
    let found = statistics(&block(tall())).unwrap();
    assert_eq!((found.source.as_str(), found.geometry.size), ("memory", [10, 5, 8]));
    let [block, nowhere] = found.labels.as_slice() else { panic!("{:?}", found.labels) };
    assert_eq!((block.value, block.name.as_str(), block.voxels), (1, "Block", 16));
    assert!((block.volume_ml - 16.0 * 10.0 / 1000.0).abs() < 1e-12);
    let extent = block.extent.as_ref().unwrap();
    assert_eq!((extent.index_min, extent.index_max), ([2, 1, 4], [5, 2, 5]));
    // Columns 2..=5 at x = 28..25, rows 1..=2 at y = -6..-2, slices 4..=5 at z = 90..87.5, half a voxel on each side.
    assert_eq!((extent.lps_min_mm, extent.lps_max_mm), ([24.5, -8.0, 86.25], [28.5, 0.0, 91.25]));
    assert_eq!(block.centroid_lps_mm, Some([26.5, -4.0, 88.75]));
    // Values 24, 34, 44, 54 and the same + 1.
    let intensity = block.intensity.as_ref().unwrap();
    assert!((intensity.mean - 39.5).abs() < 1e-12 && (intensity.std - 125.25f64.sqrt()).abs() < 1e-12, "{intensity:?}");
    assert_eq!((intensity.min, intensity.max), (24.0, 55.0));
    assert_eq!((nowhere.voxels, nowhere.volume_ml), (0, 0.0));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    found.write_json(&path).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(json["labels"][0]["voxels"], 16);
    assert_eq!(json["labels"][0]["centroid_lps_mm"][1], -4.0);
    for key in ["extent", "centroid_lps_mm", "intensity"] {
        assert!(json["labels"][1][key].is_null(), "{key}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn small_spread_far_from_zero() {
    let geometry = tall();
    let image = (0..geometry.len()).map(|at| 1.0e6 + (at % 2) as f32).collect();
    let volume = Volume::from_memory(geometry.clone(), image, "memory").unwrap();
    let map = Labelmap::new(Arc::new(volume), vec![1; geometry.len()], vec![Label::numbered(1)], algorithm()).unwrap();
    let intensity = statistics(&map).unwrap().labels.remove(0).intensity.unwrap();
    assert!((intensity.mean - 1_000_000.5).abs() < 1e-9 && (intensity.std - 0.5).abs() < 1e-9, "{intensity:?}");
}

#[test]
fn a_sheet_shows_labels_in_true_proportions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.png");
    let style = Style { slices: 1, tile: 200, opacity: 1.0, ..Style::default() };
    write_contact_sheet(&block(tall()), &path, &style).unwrap();
    let (width, height, pixels) = decode(&path);
    let red = |x: usize, y: usize| pixels[3 * (y * width + x)..][..3] == [250, 10, 20];
    let places = || (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).filter(|&(x, y)| red(x, y));
    let swatch = 14 * 14;
    // 10 x 20 mm of voxels in a tile of 100 x 200 pixels: the block is 4 of 10 columns wide and 2 of 5 rows high.
    assert_eq!(places().count() - swatch, 40 * 80);
    let left = places().map(|(x, _)| x).min().unwrap();
    assert!(left < width / 2);
    assert_eq!(count(&pixels, [10, 250, 20]), 0, "a label that was not found has no swatch");
}

#[test]
fn outlines_are_opaque_and_areas_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.png");
    let style = Style { slices: 1, tile: 200, opacity: 0.0, ..Style::default() };
    write_contact_sheet(&block(tall()), &path, &style).unwrap();
    let (.., pixels) = decode(&path);
    assert_eq!(count(&pixels, [250, 10, 20]) - 14 * 14, 2 * 40 + 2 * 78);
}

#[test]
fn odd_volumes_get_a_sheet() {
    let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.png");
    for (size, spacing) in [
        ([1, 1, 1], [1.0; 3]),
        ([300, 1, 2], [1.0; 3]),
        ([1, 300, 40], [1.0; 3]),
        ([7, 900, 3], [0.01, 5.0, 1.0]),
        ([64, 64, 1], [1.0, 1.0, 1e6]),
    ] {
        let geometry = Geometry::new(size, spacing, [0.0; 3], axes).unwrap();
        for (value, labels) in [(0, 0), (1, 1), (255, 255)] {
            let voxels = vec![value; geometry.len()];
            let image = vec![f32::MAX; geometry.len()];
            let volume = Volume::from_memory(geometry.clone(), image, "memory").unwrap();
            let name = "a very long name of a structure that nobody would write on a sheet, é, 肝";
            let labels = (1..=labels).map(|v| Label { name: name.into(), ..Label::numbered(v) }).collect();
            let map = Labelmap::new(Arc::new(volume), voxels, labels, algorithm()).unwrap();
            let extremes = Style { slices: 2, tile: 16, window: Some([-f32::MAX, f32::MAX]), ..Style::default() };
            let nothing = Style { slices: 0, tile: 0, opacity: 9.0, window: Some([1.0, 1.0]) };
            for style in [Style::default(), extremes, nothing] {
                write_contact_sheet(&map, &path, &style).unwrap();
                let (width, height, _) = decode(&path);
                assert!((500..6000).contains(&width) && height < 6000, "{size:?}: {width} x {height}");
            }
        }
    }
}

/// Real images; with `TRANSUNET_KEEP` the sheets stay in that folder for people to look at.
#[test]
fn sheets_of_real_images() {
    let folder = tempfile::tempdir().unwrap();
    let keep = std::env::var_os("TRANSUNET_KEEP").map_or(folder.path().to_path_buf(), Into::into);
    let names = [
        ("totalseg-example", "example_ct_sm.nii.gz", "example_seg.nii.gz"),
        ("totalseg-example", "example_mr_sm.nii.gz", "example_seg_mr.nii.gz"),
        ("msd-hippocampus", "imagesTr/hippocampus_001.nii.gz", "labelsTr/hippocampus_001.nii.gz"),
    ];
    for (n, (set, image, truth)) in names.into_iter().enumerate() {
        let Some(data) = common::data("sheets_of_real_images", set) else { return };
        let volume = Arc::new(read_volume(&data.join(image)).unwrap());
        let truth = read_labels(&data.join(truth)).unwrap();
        assert!(truth.geometry.matches(volume.geometry(), 0.01));
        let labels = (1..=120).map(|v| Label { name: format!("Structure {v}"), ..Label::numbered(v) }).collect();
        let map = Labelmap::new(volume, truth.voxels, labels, algorithm()).unwrap();
        let path = keep.join(format!("sheet{n}.png"));
        write_contact_sheet(&map, &path, &Style::default()).unwrap();
        let (width, height, _) = decode(&path);
        assert!(width > 500 && height > 500, "{width} x {height}");
        statistics(&map).unwrap().write_json(&keep.join(format!("figures{n}.json"))).unwrap();
    }
}
