//! DICOM SEG as labels: every encoding, every pose, voxel for voxel.

mod common;
#[path = "common/phantom.rs"]
mod phantom;
#[path = "dicom_seg_read/refusals.rs"]
mod refusals;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dicom::core::value::DataSetSequence;
use dicom::core::{DataElement, PrimitiveValue, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::object::{FileMetaTableBuilder, InMemDicomObject, open_file};
use phantom::{Phantom, put_number, put_text};
use tempfile::TempDir;
use transunet::control::Control;
use transunet::dicom::{Overlap, Seg, SegOptions, Series, SeriesOptions, common_grid, write_seg};
use transunet::formats::read_labels;
use transunet::geometry::Geometry;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::{Code, Label};
use transunet::volume::Volume;

fn open_series(folder: &Path) -> Series {
    Series::open(&[folder], &SeriesOptions::default(), &mut Control::none()).unwrap()
}

#[test]
fn the_liver_is_where_its_nrrd_says() {
    let Some(set) = common::data("the_liver_is_where_its_nrrd_says", "dicom-seg-liver-ct3") else { return };
    let series = open_series(&set.join("ct"));
    let seg = Seg::open(&set.join("liver.dcm")).unwrap();
    assert_eq!(seg.series_uids, std::slice::from_ref(&series.series_uid));
    let label = &seg.labels[0];
    assert_eq!((label.value, label.name.as_str()), (1, "Liver"));
    assert_eq!(label.type_code().meaning, "Liver");
    let voxels = seg.read(&series.geometry, Overlap::Refuse).unwrap();
    let truth = read_labels(&set.join("liver_seg.nrrd")).unwrap();
    assert!(truth.geometry.matches(&series.geometry, 0.01), "{:?} and {:?}", truth.geometry, series.geometry);
    assert!(voxels.contains(&1));
    assert!(voxels == truth.voxels, "every voxel");
    assert!(common_grid(&[&seg]).unwrap().matches(&series.geometry, 0.01));
}

#[test]
fn files_of_highdicom_agree_with_pydicom() {
    let test = "files_of_highdicom_agree_with_pydicom";
    let Some(set) = common::data(test, "dicom-seg-highdicom") else { return };
    let Some(mut python) = common::peers(test) else { return };
    let names = ["ct_binary", "ct_binary_fractional", "ct_true_fractional", "ct_binary_single_frame"];
    let paths: Vec<PathBuf> = names.iter().map(|name| set.join(format!("seg_image_{name}.dcm"))).collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/read_seg_voxels.py");
    let output = python.arg(script).args(&paths).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected: Vec<Vec<[f64; 4]>> = serde_json::from_slice(&output.stdout).unwrap();
    for (path, expected) in paths.iter().zip(expected) {
        let seg = Seg::open(path).unwrap();
        let grid = common_grid(&[&seg]).unwrap();
        let labels = seg.read(&grid, Overlap::Refuse).unwrap();
        assert_eq!(labels.iter().filter(|&&label| label > 0).count(), expected.len(), "{}", path.display());
        assert!(!expected.is_empty());
        for [segment, x, y, z] in expected {
            let index = grid.index([x, y, z]);
            let [i, j, k] = index.map(|x| x.round() as usize);
            assert!(index.iter().all(|x| (x - x.round()).abs() < 1e-3), "{index:?}");
            assert_eq!(f64::from(labels[(k * grid.size[1] + j) * grid.size[0] + i]), segment, "{}", path.display());
        }
    }
    // The one of a single frame lies on its image.
    let series = Series::open(&[set.join("ct_image.dcm")], &SeriesOptions::default(), &mut Control::none()).unwrap();
    let seg = Seg::open(&paths[3]).unwrap();
    assert_eq!(
        seg.read(&series.geometry, Overlap::Refuse).unwrap(),
        seg.read(&common_grid(&[&seg]).unwrap(), Overlap::Refuse).unwrap()
    );

    let overlap = Seg::open(&set.join("seg_image_ct_binary_overlap.dcm")).unwrap();
    let error = overlap.read(&common_grid(&[&overlap]).unwrap(), Overlap::Refuse).unwrap_err().to_string();
    assert!(error.contains("segment 1 (first segment) and segment 2 (second segment) overlap at voxel ("), "{error}");
}

fn labels() -> Vec<Label> {
    let code = |value: &str, meaning: &str| Some(Code::new(value, "SCT", meaning));
    vec![
        Label {
            name: "Left kidney".into(),
            color: Some([46, 138, 184]),
            kind: code("64033007", "Kidney"),
            modifier: code("7771000", "Left"),
            ..Label::numbered(1)
        },
        Label {
            name: "Läsion".into(),
            category: code("49755003", "Morphologically Altered Structure"),
            kind: code("108369006", "Neoplasm"),
            region: code("10200004", "Liver"),
            ..Label::numbered(2)
        },
        Label { name: "third".into(), ..Label::numbered(3) },
    ]
}

/// A series, a label map with every label, and its SEG.
struct Written {
    folder: TempDir,
    series: Series,
    voxels: Vec<u8>,
}

impl Written {
    fn new(phantom: &Phantom) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("ct")).unwrap();
        phantom.write(&folder.path().join("ct"));
        let series = open_series(&folder.path().join("ct"));
        let mut state = 0x9E37_79B9u64;
        let mut draw = |k: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Slice 1 is empty: its frames are left out.
            if k == 1 { 0 } else { (state >> 60) as u8 % 4 }
        };
        let [columns, rows, slices] = phantom.size;
        let voxels: Vec<u8> = (0..slices * rows * columns).map(|n| draw(n / (rows * columns))).collect();
        let written = Written { folder, series: open_series_again(&series), voxels: voxels.clone() };
        let volume = Volume::from_series(Arc::new(series));
        let algorithm = Algorithm { name: "test".into(), version: "1".into() };
        let map = Labelmap::new(Arc::new(volume), voxels, labels(), algorithm).unwrap();
        write_seg(&map, &written.path(), &SegOptions::default(), &mut Control::none()).unwrap();
        written
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("seg.dcm")
    }

    fn object(&self) -> InMemDicomObject {
        open_file(self.path()).unwrap().into_inner()
    }

    /// Changes the file.
    fn edit(&self, syntax: &str, change: impl FnOnce(&mut InMemDicomObject)) -> Seg {
        self.try_edit(syntax, change).unwrap()
    }

    fn try_edit(&self, syntax: &str, change: impl FnOnce(&mut InMemDicomObject)) -> transunet::Result<Seg> {
        let mut object = self.object();
        change(&mut object);
        let path = self.folder.path().join("edited.dcm");
        let meta = FileMetaTableBuilder::new().transfer_syntax(syntax);
        object.with_meta(meta).unwrap().write_to_file(&path).unwrap();
        Seg::open(&path)
    }

    #[track_caller]
    fn refused(&self, change: impl FnOnce(&mut InMemDicomObject), expected: &str) {
        let seg = self.try_edit(uids::EXPLICIT_VR_LITTLE_ENDIAN, change);
        let error =
            seg.and_then(|seg| seg.read(&self.series.geometry, Overlap::Refuse)).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected:?} is not in\n{error}");
        assert!(error.contains("edited.dcm: "), "{error}");
    }
}

fn open_series_again(series: &Series) -> Series {
    let paths: Vec<&Path> = series.instances.iter().map(|instance| instance.path.as_path()).collect();
    Series::open(&paths, &SeriesOptions::default(), &mut Control::none()).unwrap()
}

fn odd() -> Phantom {
    let (c, s) = (0.8, 0.6);
    Phantom { size: [23, 38, 3], row: [0.0, -1.0, 0.0], column: [c, 0.0, s], ..Phantom::default() }
}

#[test]
fn what_was_written_is_read_again() {
    let poses: [([f64; 3], [f64; 3]); 4] = [
        ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
        ([-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
        ([0.0, 1.0, 0.0], [0.0, 0.0, -1.0]),
        ([0.0, -1.0, 0.0], [0.8, 0.0, 0.6]),
    ];
    for (row, column) in poses {
        for size in [[23, 38, 3], [1, 7, 4], [8, 8, 5], [5, 3, 1]] {
            let written = Written::new(&Phantom { size, row, column, ..Phantom::default() });
            let seg = Seg::open(&written.path()).unwrap();
            assert!(
                seg.read(&written.series.geometry, Overlap::Refuse).unwrap() == written.voxels,
                "{size:?}, {row:?}, {column:?}"
            );
            assert_eq!(seg.series_uids, [phantom::SERIES_UID]);
            assert_eq!(seg.instance_uids.len(), size[2]);
            for (read, label) in seg.labels.iter().zip(labels()) {
                assert_eq!((read.value, &read.name, read.rgb()), (label.value, &label.name, label.rgb()));
                assert_eq!((&read.modifier, &read.region), (&label.modifier, &label.region));
                assert_eq!(read.type_code(), label.type_code());
                assert_eq!(read.category_code(), label.category_code());
            }
        }
    }
}

/// `geometry` with axes permuted and flipped; the same patient positions.
fn turned(geometry: &Geometry, axes: [usize; 3], flipped: [bool; 3]) -> Geometry {
    let mut first = [0.0; 3];
    (0..3).filter(|&n| flipped[n]).for_each(|n| first[axes[n]] = (geometry.size[axes[n]] - 1) as f64);
    let direction = [0, 1, 2].map(|n| geometry.direction[axes[n]].map(|x| if flipped[n] { -x } else { x }));
    let (size, spacing) = (axes.map(|a| geometry.size[a]), axes.map(|a| geometry.spacing[a]));
    Geometry::new(size, spacing, geometry.position(first), direction).unwrap()
}

#[test]
fn frames_find_their_place_on_turned_and_larger_grids() {
    let written = Written::new(&odd());
    let own = &written.series.geometry;
    let seg = Seg::open(&written.path()).unwrap();
    let mut larger = own.clone();
    larger.size = larger.size.map(|n| n + 3);
    larger.origin = own.position([-2.0, -1.0, -3.0]);
    let permutations = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [2, 1, 0], [1, 2, 0], [2, 0, 1]];
    let turned = permutations
        .into_iter()
        .flat_map(|axes| (0..8).map(move |n| turned(own, axes, [n & 1 > 0, n & 2 > 0, n & 4 > 0])));
    for grid in turned.chain([larger]) {
        let labels = seg.read(&grid, Overlap::Refuse).unwrap();
        let mut seen = 0;
        for (at, &label) in labels.iter().enumerate() {
            let [columns, rows, _] = grid.size;
            let position = grid.position([at % columns, at / columns % rows, at / columns / rows].map(|n| n as f64));
            let index = own.index(position).map(|x| x.round());
            let inside = (0..3).all(|n| index[n] >= 0.0 && index[n] < own.size[n] as f64);
            let [i, j, k] = index.map(|x| x as usize);
            let expected = if inside { written.voxels[(k * own.size[1] + j) * own.size[0] + i] } else { 0 };
            assert_eq!(label, expected);
            seen += usize::from(label > 0);
        }
        assert_eq!(seen, written.voxels.iter().filter(|&&label| label > 0).count());
    }
}

#[test]
fn other_grids_get_the_nearest_label() {
    let written = Written::new(&odd());
    let own = &written.series.geometry;
    let seg = Seg::open(&written.path()).unwrap();
    // Finer, coarser and moved by fractions of a voxel, turned by 0.1 rad about the slices' normal.
    let (c, s) = (0.1f64.cos(), 0.1f64.sin());
    let [row, column, normal] = own.direction;
    let mix = |a: f64, b: f64| -> [f64; 3] { std::array::from_fn(|x| a * row[x] + b * column[x]) };
    let spacing = [own.spacing[0] * 0.7, own.spacing[1] * 1.6, own.spacing[2] * 0.45];
    let direction = [mix(c, s), mix(-s, c), normal];
    let grid = Geometry::new([31, 22, 9], spacing, own.position([-3.3, -2.2, -0.9]), direction).unwrap();
    let error = seg.read(&grid, Overlap::Refuse).unwrap_err().to_string();
    assert!(error.contains("do not lie on the image's grid"), "{error}");
    let labels = seg.read_nearest(&grid, Overlap::Refuse).unwrap();
    let mut seen = 0;
    for (at, &label) in labels.iter().enumerate() {
        let position = grid.position([at % 31, at / 31 % 22, at / 31 / 22].map(|n| n as f64));
        let nearest = (0..own.len()).filter(|&n| n / own.slice_len() != 1).map(|n| {
            let index = [n % own.columns(), n / own.columns() % own.rows(), n / own.slice_len()];
            let there = own.position(index.map(|x| x as f64));
            ((0..3).map(|x| (there[x] - position[x]).powi(2)).sum::<f64>(), n)
        });
        let index = own.index(position);
        let inside = (0..3).all(|x| index[x] > -0.5 && index[x] < own.size[x] as f64 - 0.5);
        let between = (index[2] - 1.0).abs() < 0.5;
        let expected = match nearest.min_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((_, n)) if inside && !between => written.voxels[n],
            _ => 0,
        };
        assert_eq!(label, expected, "{index:?}");
        seen += usize::from(label > 0);
    }
    assert!(seen > 300, "{seen}");
}

/// One byte or word for each pixel of each frame of the file: `value(segment, inside)`.
fn widened(object: &InMemDicomObject, value: impl Fn(u8, bool) -> u16) -> Vec<u16> {
    let bytes = object.get(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
    let number = |tag| object.get(tag).unwrap().to_int::<usize>().unwrap();
    let len = number(tags::ROWS) * number(tags::COLUMNS);
    let frames = object.get(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).unwrap().items().unwrap();
    let segment = |n: usize| {
        let group = frames[n].get(tags::SEGMENT_IDENTIFICATION_SEQUENCE).unwrap().items().unwrap();
        group[0].get(tags::REFERENCED_SEGMENT_NUMBER).unwrap().to_int::<u8>().unwrap()
    };
    (0..frames.len() * len).map(|bit| value(segment(bit / len), bytes[bit / 8] >> (bit % 8) & 1 == 1)).collect()
}

fn put_pixels(object: &mut InMemDicomObject, bits: u16, values: &[u16]) {
    for (tag, value) in [(tags::BITS_ALLOCATED, bits), (tags::BITS_STORED, bits), (tags::HIGH_BIT, bits - 1)] {
        put_number(object, tag, value);
    }
    let value = match bits {
        8 => {
            let mut bytes: Vec<u8> = values.iter().map(|&x| x as u8).collect();
            bytes.resize(bytes.len().next_multiple_of(2), 0);
            PrimitiveValue::from(bytes)
        }
        _ => PrimitiveValue::U16(values.iter().copied().collect()),
    };
    object.put(DataElement::new(tags::PIXEL_DATA, if bits == 8 { VR::OB } else { VR::OW }, value));
}

/// Makes fractions of the masks: from half of 200 on a pixel counts.
fn fractional(object: &mut InMemDicomObject) {
    let values = widened(object, |_, inside| if inside { 100 } else { 99 });
    put_text(object, tags::SEGMENTATION_TYPE, VR::CS, "FRACTIONAL");
    put_text(object, tags::SEGMENTATION_FRACTIONAL_TYPE, VR::CS, "PROBABILITY");
    put_number(object, tags::MAXIMUM_FRACTIONAL_VALUE, 200);
    put_pixels(object, 8, &values);
}

/// One frame for each slice of `voxels`, whose values are segment numbers, with the positions of the series.
fn labelmap(object: &mut InMemDicomObject, written: &Written, bits: u16) {
    let geometry = &written.series.geometry;
    put_text(object, tags::SOP_CLASS_UID, VR::UI, uids::LABEL_MAP_SEGMENTATION_STORAGE);
    put_text(object, tags::SEGMENTATION_TYPE, VR::CS, "LABELMAP");
    put_text(object, tags::NUMBER_OF_FRAMES, VR::IS, &geometry.slices().to_string());
    let frames = written.series.instances.iter().map(|instance| {
        let mut position = InMemDicomObject::new_empty();
        put_text(&mut position, tags::IMAGE_POSITION_PATIENT, VR::DS, &phantom::decimals(&instance.position));
        let items = DataSetSequence::from(vec![position]);
        InMemDicomObject::from_element_iter([DataElement::new(tags::PLANE_POSITION_SEQUENCE, VR::SQ, items)])
    });
    let frames = DataSetSequence::from(frames.collect::<Vec<_>>());
    object.put(DataElement::new(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, VR::SQ, frames));
    let values: Vec<u16> = written.voxels.iter().map(|&x| x.into()).collect();
    put_pixels(object, bits, &values);
}

#[test]
fn every_encoding_means_the_same() {
    let written = Written::new(&odd());
    let geometry = &written.series.geometry;
    let same = |seg: Seg, what: &str| assert!(seg.read(geometry, Overlap::Refuse).unwrap() == written.voxels, "{what}");
    for syntax in
        [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN]
    {
        same(written.edit(syntax, |_| ()), syntax);
        same(written.edit(syntax, fractional), syntax);
        same(written.edit(syntax, |object| labelmap(object, &written, 8)), syntax);
        same(written.edit(syntax, |object| labelmap(object, &written, 16)), syntax);
    }
    // Background as another value than 0, and described as a segment of number 0.
    let seg = written.edit(uids::EXPLICIT_VR_LITTLE_ENDIAN, |object| {
        labelmap(object, &written, 8);
        let values: Vec<u16> = written.voxels.iter().map(|&x| if x == 0 { 77 } else { x.into() }).collect();
        put_pixels(object, 8, &values);
        put_number(object, tags::PIXEL_PADDING_VALUE, 77);
        object.update_value(tags::SEGMENT_SEQUENCE, |value| {
            let mut background = value.items().unwrap()[0].clone();
            put_number(&mut background, tags::SEGMENT_NUMBER, 0);
            value.items_mut().unwrap().push(background);
        });
    });
    assert_eq!(seg.labels.len(), 3);
    same(seg, "padding");
}

/// PS3.5 annex G, every run literal.
fn rle(frame: &[u16], bits: u16) -> Vec<u8> {
    let planes: Vec<Vec<u8>> =
        (0..bits / 8).rev().map(|n| frame.iter().map(|x| (x >> (8 * n)) as u8).collect()).collect();
    let packed = planes.iter().map(|plane| {
        let mut out: Vec<u8> =
            plane.chunks(128).flat_map(|run| [run.len() as u8 - 1].into_iter().chain(run.iter().copied())).collect();
        out.resize(out.len().next_multiple_of(2), 0);
        out
    });
    let packed: Vec<Vec<u8>> = packed.collect();
    let mut header = vec![planes.len() as u32];
    let mut offset = 64;
    for plane in &packed {
        header.push(offset);
        offset += plane.len() as u32;
    }
    header.resize(16, 0);
    header.iter().flat_map(|x| x.to_le_bytes()).chain(packed.concat()).collect()
}

fn put_fragments(object: &mut InMemDicomObject, fragments: Vec<Vec<u8>>) {
    let value = dicom::core::value::PixelFragmentSequence::new_fragments(fragments);
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, value));
}

#[test]
fn compressed_frames_are_read() {
    let written = Written::new(&odd());
    let len = written.series.geometry.slice_len();
    for bits in [8, 16] {
        let seg = written.edit(uids::RLE_LOSSLESS, |object| {
            labelmap(object, &written, bits);
            let values: Vec<u16> = written.voxels.iter().map(|&x| x.into()).collect();
            put_fragments(object, values.chunks(len).map(|frame| rle(frame, bits)).collect());
        });
        assert!(seg.read(&written.series.geometry, Overlap::Refuse).unwrap() == written.voxels, "{bits} bits");
    }
    let seg = written.edit(uids::JPEG_BASELINE8_BIT, |object| {
        labelmap(object, &written, 8);
        put_fragments(object, vec![vec![0; 10]; 3]);
    });
    let error = seg.read(&written.series.geometry, Overlap::Refuse).unwrap_err().to_string();
    assert!(error.contains("frame 1: no JPEG Baseline"), "{error}");
    let seg = written.edit(uids::RLE_LOSSLESS, |object| {
        labelmap(object, &written, 8);
        put_fragments(object, vec![vec![0; 10]; 5]);
    });
    let error = seg.read(&written.series.geometry, Overlap::Refuse).unwrap_err().to_string();
    assert!(error.contains("3 frames in 5 fragments, and the offset table names 0"), "{error}");
    let seg = written.edit("1.2.840.10008.1.2.2", |_| ());
    let error = seg.read(&written.series.geometry, Overlap::Refuse).unwrap_err().to_string();
    assert!(error.contains("transfer syntax Explicit VR Big Endian (1.2.840.10008.1.2.2) is not read"), "{error}");
}
