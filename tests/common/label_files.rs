//! Small images and label files on one grid, made by the test itself.
#![allow(dead_code)] // each test binary uses its own part

use std::path::Path;
use std::sync::Arc;

use npyz::WriterBuilder as _;
use npyz::npz::NpzWriter;
use transunet::formats::write_labels;
use transunet::geometry::Geometry;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::Label;
use transunet::volume::Volume;

/// Columns, rows, slices.
pub const SIZE: [usize; 3] = [5, 4, 3];
pub const COUNT: usize = 60;

/// LPS axes, 1 x 1 x 2 mm.
pub fn grid() -> Geometry {
    let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    Geometry::new(SIZE, [1.0, 1.0, 2.0], [0.0; 3], axes).unwrap()
}

pub fn label(value: u8, name: &str) -> Label {
    Label { name: name.into(), ..Label::numbered(value) }
}

/// A label map in the format that the name of `path` says.
pub fn write_on(grid: Geometry, path: &Path, labels: &[Label], voxels: Vec<u8>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let source = Volume::from_memory(grid, vec![0.0; voxels.len()], "test").unwrap();
    let algorithm = Algorithm { name: "test".into(), version: "1".into() };
    write_labels(&Labelmap::new(Arc::new(source), voxels, labels.to_vec(), algorithm).unwrap(), path).unwrap();
}

/// Any voxels, as an image or as labels without names.
pub fn write(path: &Path, voxels: Vec<u8>) {
    write_on(grid(), path, &(1..=255).map(Label::numbered).collect::<Vec<_>>(), voxels);
}

/// Zeros, but for `value` at each of `places`.
pub fn voxels(marked: &[(usize, u8)]) -> Vec<u8> {
    let mut voxels = vec![0; COUNT];
    marked.iter().for_each(|&(at, value)| voxels[at] = value);
    voxels
}

/// A slice of the original's training data: f32 image and label.
pub fn write_npz(path: &Path, shape: [u64; 2], image: &[f32], label: &[f32]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut npz = NpzWriter::create(path).unwrap();
    for (name, values) in [("image", image), ("label", label)] {
        let array = npz.array::<f32>(name, Default::default()).unwrap();
        let mut array = array.default_dtype().shape(&shape).begin_nd().unwrap();
        array.extend(values.iter().copied()).unwrap();
        array.finish().unwrap();
    }
}
