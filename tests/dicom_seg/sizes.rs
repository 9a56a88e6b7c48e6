//! How large the forms are, and how long and how much memory they take.

use std::time::Instant;

use transunet::dicom::{Overlap, Seg, SegCompression, SegEncoding};
use transunet::fractions::FractionsWriter;

use super::*;

/// Centre and half axes in mm, LPS, and label: about an adult's abdomen. Later ones cover earlier ones.
const ORGANS: [([f64; 3], [f64; 3], u8); 9] = [
    ([-75.0, -15.0, 50.0], [75.0, 75.0, 75.0], 1), // liver
    ([-5.0, -45.0, 60.0], [60.0, 35.0, 40.0], 1),
    ([95.0, 35.0, 60.0], [25.0, 45.0, 50.0], 2),   // spleen
    ([62.0, 45.0, 0.0], [27.0, 27.0, 55.0], 3),    // left kidney
    ([-62.0, 45.0, -15.0], [27.0, 27.0, 55.0], 4), // right kidney
    ([60.0, -50.0, 55.0], [45.0, 35.0, 55.0], 5),  // stomach
    ([15.0, -15.0, 10.0], [70.0, 14.0, 18.0], 6),  // pancreas
    ([-45.0, -70.0, 10.0], [17.0, 20.0, 30.0], 7), // gallbladder
    ([10.0, 35.0, 0.0], [11.0, 11.0, 1e6], 8),     // aorta
];

fn organ(p: Vec3) -> u8 {
    let within =
        |(center, radii): (Vec3, Vec3)| (0..3).map(|n| ((p[n] - center[n]) / radii[n]).powi(2)).sum::<f64>() < 1.0;
    ORGANS.iter().rev().find(|(center, radii, _)| within((*center, *radii))).map_or(0, |(.., label)| *label)
}

/// Eight organs on 512 x 512 x `slices` voxels of 0.78 x 0.78 mm that cover 250 mm.
fn abdomen(slices: usize) -> Labelmap {
    let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let step = 250.0 / slices as f64;
    let geometry = Geometry::new([512, 512, slices], [0.78, 0.78, step], [-200.0, -200.0, -125.0], axes).unwrap();
    let mut voxels = Vec::with_capacity(geometry.len());
    for k in 0..slices {
        for j in 0..512 {
            voxels.extend((0..512).map(|i| organ(geometry.position([i as f64, j as f64, k as f64]))));
        }
    }
    labelmap_of(series_on(geometry), voxels, (1..9).map(Label::numbered).collect())
}

fn series_on(geometry: Geometry) -> Series {
    let mut series = made_series(geometry.slices());
    for (k, image) in series.instances.iter_mut().enumerate() {
        image.position = geometry.position([0.0, 0.0, k as f64]);
    }
    series.geometry = geometry;
    series
}

#[test]
fn a_label_map_with_rle_is_a_twentieth_of_binary() {
    let labelmap = abdomen(100);
    let root = tempfile::tempdir().unwrap();
    let size = |encoding, compression| {
        let path = root.path().join("seg.dcm");
        let options = SegOptions { encoding, compression, ..deterministic() };
        write_seg(&labelmap, &path, &options, &mut Control::none()).unwrap();
        assert!(
            Seg::open(&path).unwrap().read(labelmap.geometry(), Overlap::Refuse).unwrap() == labelmap.to_vec().unwrap()
        );
        fs::metadata(path).unwrap().len()
    };
    let binary = size(SegEncoding::Binary, SegCompression::None);
    let label_map = size(SegEncoding::LabelMap, SegCompression::Rle);
    println!("BINARY {binary} bytes, LABELMAP with RLE {label_map} bytes: {:.1}", binary as f64 / label_map as f64);
    assert!(20 * label_map <= binary, "{label_map} of {binary} bytes");
}

#[test]
fn what_does_not_fit_is_refused_before_writing() {
    let root = tempfile::tempdir().unwrap();
    let mut series = made_series(5);
    series.geometry.size = [2048, 2048, 5];
    let voxels = (0..series.geometry.len()).map(|at| (at % 256) as u8).collect();
    let labelmap = labelmap_of(series, voxels, (1..=255).map(Label::numbered).collect());
    let path = root.path().join("seg.dcm");
    for compression in [SegCompression::None, SegCompression::Deflate] {
        let options = SegOptions { encoding: SegEncoding::Fractional, compression, ..deterministic() };
        let error = write_seg(&labelmap, &path, &options, &mut Control::none()).unwrap_err().to_string();
        let expected = "1275 frames of 2048 x 2048 pixels would take 5347737600 bytes, and a DICOM file holds at most \
                        4294967294 in one value; write labelmap with rle, or .seg.nrrd instead";
        assert_eq!(error, expected);
    }
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
}

/// Peak resident memory of this process since the last call, bytes.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let peak = line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024;
    fs::write("/proc/self/clear_refs", "5").ok()?;
    Some(peak)
}

#[test]
#[ignore = "a measurement: cargo test --release --test dicom_seg sizes -- --ignored --nocapture"]
fn forms_of_eight_organs_on_three_hundred_slices() {
    let labelmap = abdomen(300);
    // As sure as a network is: soft edges a few voxels wide.
    let mut fractions = FractionsWriter::create(labelmap.geometry()).unwrap();
    let voxels = labelmap.to_vec().unwrap();
    for label in 1..9u8 {
        let soft = |at: usize| {
            let near = (at.saturating_sub(3)..voxels.len().min(at + 4)).filter(|&n| voxels[n] == label).count();
            near as f32 / 7.0
        };
        fractions.write(&(0..voxels.len()).map(soft).collect::<Vec<f32>>()).unwrap();
    }
    let copy = labelmap_of(series_on(labelmap.geometry().clone()), voxels, labelmap.labels().to_vec());
    let likely = copy.with_fractions(fractions.finish()).unwrap();
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("seg.dcm");
    println!("| type | compression | MB | s | memory beside the label maps, MB |");
    for (name, labelmap, encoding, compression) in [
        ("binary", &labelmap, SegEncoding::Binary, SegCompression::None),
        ("binary", &labelmap, SegEncoding::Binary, SegCompression::Deflate),
        ("fractional", &likely, SegEncoding::Fractional, SegCompression::None),
        ("fractional", &likely, SegEncoding::Fractional, SegCompression::Rle),
        ("fractional", &likely, SegEncoding::Fractional, SegCompression::Deflate),
        ("labelmap", &labelmap, SegEncoding::LabelMap, SegCompression::None),
        ("labelmap", &labelmap, SegEncoding::LabelMap, SegCompression::Rle),
        ("labelmap", &labelmap, SegEncoding::LabelMap, SegCompression::Deflate),
    ] {
        let options = SegOptions { encoding, compression, ..SegOptions::default() };
        peak_memory();
        let before = peak_memory();
        let start = Instant::now();
        write_seg(labelmap, &path, &options, &mut Control::none()).unwrap();
        let (seconds, after) = (start.elapsed().as_secs_f64(), peak_memory());
        let more = after.zip(before).map_or("-".into(), |(a, b)| format!("{:.1}", a.saturating_sub(b) as f64 / 1e6));
        let size = fs::metadata(&path).unwrap().len() as f64 / 1e6;
        println!("| {name} | {compression} | {size:.2} | {seconds:.2} | {more} |");
    }
}
