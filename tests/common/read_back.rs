//! Reads DICOM back in tests: decoded voxels, against the phantom they came from or against pydicom.
#![allow(dead_code)] // each test binary uses its own part

use std::fs;
use std::path::Path;
use std::time::Instant;

use dicom::object::InMemDicomObject;
use transunet::control::Control;
use transunet::dicom::{Instance, Series, SeriesOptions};
use transunet::error::Result;

use crate::common;
use crate::phantom::Phantom;

pub fn open(path: &Path) -> Result<Series> {
    Series::open(&[path], &SeriesOptions::default(), &mut Control::none())
}

pub fn voxels(series: &Series) -> Vec<f32> {
    let mut voxels = vec![f32::NAN; series.geometry.len()];
    for (k, slice) in voxels.chunks_exact_mut(series.geometry.slice_len()).enumerate() {
        series.decode_slice(k, slice).unwrap_or_else(|error| panic!("slice {k}: {error}"));
    }
    voxels
}

pub fn bits(voxels: &[f32]) -> Vec<u32> {
    voxels.iter().map(|x| x.to_bits()).collect()
}

/// Compares a series with what pydicom reads from the same files.
pub fn as_pydicom_sees_it(test: &str, folder: &Path, options: &SeriesOptions) {
    let Some(mut python) = common::peers(test) else {
        return;
    };
    let start = Instant::now();
    let series = Series::open(&[folder], options, &mut Control::none()).expect(test);
    let opened = start.elapsed().as_secs_f64() * 1e3 / series.instances.len() as f64;
    let out = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/read_series.py");
    let wanted = out.path().join("wanted.txt");
    let frame = |instance: &Instance| instance.frame.unwrap_or(0);
    let line = |instance: &Instance| format!("{} {}\n", instance.sop_instance_uid, frame(instance));
    fs::write(&wanted, series.instances.iter().map(line).collect::<String>()).unwrap();
    python.arg(script).arg(out.path()).arg(&series.series_uid).arg(wanted).arg(folder);
    let run = python.output().expect("python");
    assert!(run.status.success(), "{test}: {}", String::from_utf8_lossy(&run.stderr));

    let start = Instant::now();
    let ours = voxels(&series);
    let decoded = start.elapsed().as_secs_f64() * 1e3 / series.instances.len() as f64;
    let theirs = fs::read(out.path().join("voxels.f32")).unwrap();
    let theirs: Vec<f32> = theirs.chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect();
    assert_eq!(ours.len(), theirs.len(), "{test}: voxel count");
    let differing = ours.iter().zip(&theirs).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    assert_eq!(differing, 0, "{test}: differing voxels");
    assert!(ours.iter().any(|x| *x != ours[0]), "{test}: a flat image proves nothing");

    let grid = &series.geometry;
    let [columns, rows, slices] = grid.size;
    let text = fs::read_to_string(out.path().join("series.txt")).unwrap();
    assert_eq!(text.lines().count(), slices);
    let mut farthest: f64 = 0.0;
    for (k, line) in text.lines().enumerate() {
        let mut fields = line.split(' ');
        assert_eq!(fields.next(), Some(series.instances[k].sop_instance_uid.as_str()), "{test}: order at {k}");
        assert_eq!(fields.next(), Some(frame(&series.instances[k]).to_string().as_str()), "{test}: frame at {k}");
        let numbers: Vec<f64> = fields.map(|x| x.parse().unwrap()).collect();
        let last = [(columns - 1) as f64, (rows - 1) as f64, 0.0];
        let within_slice = transunet::geometry::sub(grid.position(last), grid.origin);
        let from_grid = grid.position([last[0], last[1], k as f64]);
        for x in 0..3 {
            let position = series.instances[k].position[x];
            assert!((position - numbers[x]).abs() <= 1e-6, "{test}: position of slice {k}");
            assert!((position + within_slice[x] - numbers[3 + x]).abs() <= 1e-6, "{test}: far corner of slice {k}");
            farthest = farthest.max((from_grid[x] - numbers[3 + x]).abs());
        }
    }
    // What rounding of positions in the file can amount to.
    assert!(farthest <= 0.06, "{test}: the even grid is {farthest} mm off");
    println!(
        "{test}: {slices} slices, {} voxels equal, even grid within {farthest:.2e} mm; \
         {opened:.2} ms a file to open, {decoded:.2} ms a slice to decode",
        ours.len()
    );
}

/// Writes the phantom, reads it back and compares every voxel and the place of every corner.
pub fn check(name: &str, phantom: &Phantom, edit: impl Fn(usize, &mut InMemDicomObject)) -> Series {
    let folder = tempfile::tempdir().unwrap();
    phantom.write_with(folder.path(), edit);
    check_folder(name, phantom, folder.path())
}

pub fn check_folder(name: &str, phantom: &Phantom, folder: &Path) -> Series {
    let series = open(folder).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(series.geometry.size, phantom.size, "{name}");
    for axis in 0..3 {
        assert!((series.geometry.spacing[axis] - phantom.spacing[axis]).abs() < 1e-9, "{name}: spacing");
    }
    let [columns, rows, slices] = phantom.size;
    for corner in 0..8 {
        let at = |axis: usize| if corner >> axis & 1 == 1 { (phantom.size[axis] - 1) as f64 } else { 0.0 };
        let index = [at(0), at(1), at(2)];
        let apart = transunet::geometry::sub(series.geometry.position(index), phantom.position(index));
        assert!(transunet::geometry::norm(apart) < 1e-6, "{name}: corner {index:?} is off by {apart:?}");
    }
    let read = voxels(&series);
    for k in 0..slices {
        for j in 0..rows {
            for i in 0..columns {
                let (got, expected) = (read[(k * rows + j) * columns + i], phantom.value(i, j, k));
                assert_eq!(got.to_bits(), expected.to_bits(), "{name}: voxel {i} {j} {k}: {got}, expected {expected}");
            }
        }
    }
    series
}
