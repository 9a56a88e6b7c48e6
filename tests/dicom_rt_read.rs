//! RT Structure Sets as labels: known shapes voxel for voxel, random ones as another program fills them, all else refused.

mod common;
#[path = "common/phantom.rs"]
mod phantom;
#[path = "dicom_rt_read/refusals.rs"]
mod refusals;
#[path = "common/structures.rs"]
mod structures;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dicom::core::{DataElement, PrimitiveValue, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::object::InMemDicomObject;
use phantom::{Phantom, decimals, put_text};
use structures::{Line, Region, closed, put_items, region, square, structure_set, texts, write_set};
use tempfile::TempDir;
use transunet::control::Control;
use transunet::dicom::{Overlap, SegOptions, Series, SeriesOptions, Structures, write_structures};
use transunet::geometry::Geometry;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::{Code, Label};
use transunet::volume::Volume;

/// Row and column directions, and how far a slice is shifted along them from the one before, in mm.
type Pose = ([f64; 3], [f64; 3], [f64; 2]);

/// Axial, sagittal, coronal, double oblique, axial with a tilted gantry.
const POSES: [Pose; 5] = [
    ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0]),
    ([0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [0.0, 0.0]),
    ([1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 0.0]),
    ([0.8, 0.36, -0.48], [-0.6, 0.48, -0.64], [0.0, 0.0]),
    ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.3, 0.9]),
];

/// A series of 12 x 9 x 4 voxels, and room for structure sets.
struct Place {
    folder: TempDir,
    grid: Geometry,
}

impl Place {
    fn new((row, column, shift): Pose) -> Self {
        let folder = TempDir::new().unwrap();
        let images = folder.path().join("ct");
        fs::create_dir(&images).unwrap();
        let phantom = Phantom { size: [12, 9, 4], row, column, ..Phantom::default() };
        phantom.write_with(&images, |k, slice| {
            let at = phantom.position([0.0, 0.0, k as f64]);
            let at: [f64; 3] = std::array::from_fn(|x| at[x] + k as f64 * (shift[0] * row[x] + shift[1] * column[x]));
            put_text(slice, tags::IMAGE_POSITION_PATIENT, VR::DS, &decimals(&at));
        });
        let series = Series::open(&[images], &SeriesOptions::default(), &mut Control::none()).unwrap();
        assert_eq!(series.geometry.is_sheared(), shift != [0.0, 0.0]);
        Place { folder, grid: series.geometry }
    }

    fn axial() -> Self {
        Place::new(POSES[0])
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("rt.dcm")
    }

    fn write(&self, regions: &[Region]) -> PathBuf {
        write_set(self.set(regions), uids::EXPLICIT_VR_LITTLE_ENDIAN, &self.path());
        self.path()
    }

    fn set(&self, regions: &[Region]) -> InMemDicomObject {
        structure_set(regions, &self.grid, phantom::SERIES_UID)
    }

    fn read(&self, regions: &[Region], overlap: Overlap) -> transunet::Result<Vec<u8>> {
        Structures::open(&self.write(regions))?.read(&self.grid, overlap)
    }

    fn series(&self) -> Series {
        Series::open(&[self.folder.path().join("ct")], &SeriesOptions::default(), &mut Control::none()).unwrap()
    }

    /// Slice `k` of the labels of one region, a character for each pixel.
    fn drawn(&self, lines: Vec<Line>, k: usize) -> Vec<String> {
        picture(&self.read(&[region(1, "it", lines)], Overlap::Refuse).unwrap(), &self.grid, k)
    }
}

fn picture(labels: &[u8], grid: &Geometry, k: usize) -> Vec<String> {
    let slice = &labels[k * grid.slice_len()..][..grid.slice_len()];
    let row = |row: &[u8]| row.iter().map(|&label| if label == 0 { '.' } else { (b'0' + label) as char }).collect();
    slice.chunks(grid.columns()).map(row).collect()
}

const EMPTY: &str = "............";

#[test]
fn holes_parts_and_keyholes_are_filled_in_every_pose() {
    for pose in POSES {
        let place = Place::new(pose);
        // A square with a hole, in which is an island; another part beside it.
        let hole = vec![
            square(2.0, 0.5, 7.5),
            square(2.0, 1.5, 6.5),
            square(2.0, 2.5, 4.5),
            closed(2.0, &[[9.5, 0.5], [9.5, 2.5], [10.5, 2.5], [10.5, 0.5]]),
        ];
        let expected = [
            EMPTY,
            ".1111111..1.",
            ".1.....1..1.",
            ".1.11..1....",
            ".1.11..1....",
            ".1.....1....",
            ".1.....1....",
            ".1111111....",
            EMPTY,
        ];
        assert_eq!(place.drawn(hole, 2), expected, "{pose:?}");
        // A keyhole: one line, through a slanted channel to the hole and back.
        let ring = closed(
            0.0,
            &[
                [0.5, 0.5],
                [2.9, 2.7],
                [2.9, 4.5],
                [5.5, 4.5],
                [5.5, 2.7],
                [2.9, 2.7],
                [0.5, 0.5],
                [7.5, 0.5],
                [7.5, 6.5],
                [0.5, 6.5],
            ],
        );
        let expected = [
            EMPTY,
            ".1111111....",
            ".1111111....",
            ".11...11....",
            ".11...11....",
            ".1111111....",
            ".1111111....",
            EMPTY,
            EMPTY,
        ];
        assert_eq!(place.drawn(vec![ring], 0), expected, "{pose:?}");
    }
}

#[test]
fn centres_on_edges_belong_on_one_side() {
    let place = Place::axial();
    // Two squares that share an edge on centres meet without gap or overlap; each is as large as it is drawn.
    let regions = [region(1, "left", vec![square(1.0, 1.0, 4.0)]), {
        region(2, "right", vec![closed(1.0, &[[4.0, 1.0], [7.0, 1.0], [7.0, 4.0], [4.0, 4.0]])])
    }];
    let labels = place.read(&regions, Overlap::Refuse).unwrap();
    assert_eq!(picture(&labels, &place.grid, 1)[..5], [EMPTY, ".111222.....", ".111222.....", ".111222.....", EMPTY]);
    // Either sense, and a diamond whose corners and edges are on centres.
    let diamond = [[4.0, 1.0], [7.0, 4.0], [4.0, 7.0], [1.0, 4.0]];
    let mut other = diamond;
    other.reverse();
    let filled = place.drawn(vec![closed(3.0, &diamond)], 3);
    assert_eq!(filled, place.drawn(vec![closed(3.0, &other)], 3));
    assert_eq!(filled.concat().matches('1').count(), 18, "half of the square around it");
    // What reaches out of the slice is cut off.
    let around = closed(3.0, &[[-3.0, -9.0], [30.0, -9.0], [30.0, 1.5], [-3.0, 1.5]]);
    assert_eq!(place.drawn(vec![around], 3)[..3], ["111111111111", "111111111111", EMPTY]);
}

/// Star polygons about random centres: simple, with random corners.
fn stars(place: &Place, state: &mut u64) -> Vec<Region> {
    let mut draw = |low: f64, high: f64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (*state >> 11) as f64 / (1u64 << 53) as f64 * (high - low)
    };
    let [columns, rows, slices] = place.grid.size.map(|n| n as f64);
    let mut star = |k: f64| {
        let (i, j) = (draw(1.0, columns - 2.0), draw(1.0, rows - 2.0));
        let corners: Vec<[f64; 2]> = (0..13)
            .map(|n| {
                let (angle, radius) = (f64::from(n) * std::f64::consts::TAU / 13.0, draw(0.5, 6.0));
                [i + radius * angle.cos(), j + radius * angle.sin()]
            })
            .collect();
        closed(k, &corners)
    };
    ["a", "b", "c"]
        .into_iter()
        .zip([7, 2, 30])
        .map(|(name, number)| {
            // Two or three in a slice cross each other; the last slice has none.
            let lines = (0..7).map(|n| star(f64::from(n) % (slices - 1.0))).collect();
            region(number, name, lines)
        })
        .collect()
}

#[test]
fn random_shapes_are_filled_as_another_program_fills_them() {
    let test = "random_shapes_are_filled_as_another_program_fills_them";
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/read_structures.py");
    let mut state = 0x9E37_79B9;
    for pose in POSES {
        let Some(mut python) = common::peers(test) else { return };
        let place = Place::new(pose);
        let regions = stars(&place, &mut state);
        let path = place.write(&regions);
        let output = common::run(python.arg(&script).arg(&path).arg(place.folder.path().join("ct")));
        let found: Vec<[f64; 4]> = serde_json::from_slice(&output.stdout).unwrap();
        for region in regions {
            let mut expected = vec![0; place.grid.len()];
            for [_, x, y, z] in found.iter().filter(|voxel| voxel[0] == f64::from(region.number)) {
                let [i, j, k] = place.grid.index([*x, *y, *z]).map(|x| x.round() as usize);
                expected[(k * place.grid.rows() + j) * place.grid.columns() + i] = region.number as u8;
            }
            assert!(expected.iter().filter(|&&voxel| voxel > 0).count() > 40, "{pose:?}: next to nothing is drawn");
            // One region at a time, since they overlap.
            let name = region.name;
            assert!(place.read(&[region], Overlap::Refuse).unwrap() == expected, "{pose:?}, {name}");
        }
    }
}

#[test]
fn overlapping_regions_are_refused_or_settled_by_order() {
    let place = Place::axial();
    // In the file the one of the higher number comes first.
    let regions = || {
        [
            region(9, "Tumour", vec![square(1.0, 2.5, 5.5)]),
            region(4, "Liver", vec![square(1.0, 0.5, 3.5), square(2.0, 0.5, 3.5)]),
        ]
    };
    let error = place.read(&regions(), Overlap::Refuse).unwrap_err().to_string();
    let expected =
        "rt.dcm: ROI \"Liver\" and ROI \"Tumour\" overlap at voxel (3, 3, 1), expected one label for each voxel";
    assert!(error.ends_with(expected), "{error}");
    let rows = |overlap| picture(&place.read(&regions(), overlap).unwrap(), &place.grid, 1)[2..5].to_vec();
    assert_eq!(rows(Overlap::First), [".444........", ".44499......", "...999......"]);
    assert_eq!(rows(Overlap::Last), [".444........", ".44999......", "...999......"]);
}

#[test]
fn regions_are_described_and_those_without_areas_left_out() {
    let place = Place::axial();
    let mut set = place.set(&[
        region(12, "Empty", vec![]),
        region(3, "Isocentre", vec![("POINT", vec![[1.0, 1.0, 1.3]])]),
        region(5, "Leber", vec![("CLOSEDPLANAR_XOR", square(1.0, 0.5, 2.5).1)]),
        region(
            4,
            "Wire",
            vec![
                ("OPEN_PLANAR", vec![[1.0, 1.0, 1.0], [2.0, 1.0, 1.0]]),
                ("OPEN_NONPLANAR", vec![[1.0, 1.0, 0.0], [2.0, 1.0, 2.6]]),
            ],
        ),
    ]);
    let mut code = texts(&[
        (tags::CODE_VALUE, VR::SH, "10200004"),
        (tags::CODING_SCHEME_DESIGNATOR, VR::SH, "SCT"),
        (tags::CODE_MEANING, VR::LO, "Liver"),
    ]);
    put_items(
        &mut code,
        tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE,
        vec![texts(&[
            (tags::CODE_VALUE, VR::SH, "7771000"),
            (tags::CODING_SCHEME_DESIGNATOR, VR::SH, "SCT"),
            (tags::CODE_MEANING, VR::LO, "Left"),
        ])],
    );
    let mut observed = texts(&[(tags::REFERENCED_ROI_NUMBER, VR::IS, "5")]);
    put_items(&mut observed, tags::RTROI_IDENTIFICATION_CODE_SEQUENCE, vec![code]);
    put_items(&mut set, tags::RTROI_OBSERVATIONS_SEQUENCE, vec![observed]);
    for syntax in
        [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN]
    {
        write_set(set.clone(), syntax, &place.path());
        let read = Structures::open(&place.path()).unwrap();
        assert_eq!(read.skipped, ["ROI 3 (Isocentre): only POINT", "ROI 4 (Wire): only OPEN_NONPLANAR, OPEN_PLANAR"]);
        let [liver, empty] = &read.labels[..] else { panic!("{:?}", read.labels) };
        assert_eq!((liver.value, liver.name.as_str(), liver.color), (5, "Leber", Some([5, 128, 0])));
        assert_eq!(liver.kind, Some(Code::new("10200004", "SCT", "Liver")));
        assert_eq!(liver.modifier, Some(Code::new("7771000", "SCT", "Left")));
        assert_eq!((empty.value, empty.name.as_str(), &empty.color, &empty.kind), (12, "Empty", &None, &None));
        assert_eq!(read.series_uids, [phantom::SERIES_UID]);
        assert_eq!(read.instance_uids, [1, 2, 3, 4].map(|n| format!("{}.{n}", phantom::SERIES_UID)));
        assert_eq!(read.frame_of_reference_uids, ["1.2.826.0.1.3680043.10.1.9"]);
        let labels = read.read(&place.grid, Overlap::Refuse).unwrap();
        assert_eq!((labels.iter().filter(|&&x| x == 5).count(), labels.iter().max()), (4, Some(&5)), "{syntax}");
    }
}

#[test]
fn what_was_written_is_read_again() {
    let mut state = 7u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % 7).saturating_sub(3) as u8
    };
    let names = ["left", "right", "Läsion"];
    let labels: Vec<Label> =
        (1..).zip(names).map(|(value, name)| Label { name: name.into(), ..Label::numbered(value) }).collect();
    for pose in POSES {
        let place = Place::new(pose);
        let volume = Arc::new(Volume::from_series(Arc::new(place.series())));
        let voxels: Vec<u8> = (0..place.grid.len()).map(|_| draw()).collect();
        assert!([0, 1, 2, 3].iter().all(|value| voxels.contains(value)));
        let algorithm = Algorithm { name: "test".into(), version: "1".into() };
        let map = Labelmap::new(volume, voxels.clone(), labels.clone(), algorithm).unwrap();
        write_structures(&map, &place.path(), &SegOptions::default(), &mut Control::none()).unwrap();
        let read = Structures::open(&place.path()).unwrap();
        assert!(read.labels.iter().map(|label| label.name.as_str()).eq(names));
        assert_eq!(read.series_uids, [phantom::SERIES_UID]);
        assert!(read.read(&place.grid, Overlap::Refuse).unwrap() == voxels, "{pose:?}");
    }
}

#[test]
fn contours_lie_on_the_image_that_they_name() {
    let place = Place::axial();
    let series = place.series();
    let rename = |uid: &str| {
        let mut set = place.set(&[region(300, "Liver", vec![square(1.0, 0.5, 2.5)])]);
        set.update_value(tags::ROI_CONTOUR_SEQUENCE, |value| {
            value.items_mut().unwrap()[0].update_value(tags::CONTOUR_SEQUENCE, |value| {
                value.items_mut().unwrap()[0].update_value(tags::CONTOUR_IMAGE_SEQUENCE, |value| {
                    let image = &mut value.items_mut().unwrap()[0];
                    put_text(image, tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, uid);
                });
            });
        });
        write_set(set, uids::EXPLICIT_VR_LITTLE_ENDIAN, &place.path());
        Structures::open(&place.path()).unwrap().read_on(&series, Overlap::Refuse)
    };
    let labels = rename(&series.instances[1].sop_instance_uid).unwrap();
    assert_eq!((labels.iter().filter(|&&x| x > 0).count(), labels.iter().max()), (4, Some(&1)), "300 is no value");
    let error = rename(&series.instances[3].sop_instance_uid).unwrap_err().to_string();
    let expected = "ROI \"Liver\", contour 1: it lies on slice 1, and ContourImageSequence names the image of slice 3";
    assert!(error.ends_with(expected), "{error}");
    let error = rename("1.2.3").unwrap_err().to_string();
    assert!(error.ends_with("names 1.2.3, which is no image of the volume"), "{error}");
}

#[test]
fn contours_too_long_for_their_vr_are_read() {
    let place = Place::axial();
    let fine = place.drawn(vec![square(1.0, 0.5, 4.5)], 1);
    // 8000 points on the border of the same square, as UN since a DS of explicit VR has no room for them.
    let side = |n: u32| 0.5 + f64::from(n) * 4.0 / 2000.0;
    let corners: Vec<[f64; 2]> = (0..8000)
        .map(|n| match (n / 2000, n % 2000) {
            (0, n) => [side(n), 0.5],
            (1, n) => [4.5, side(n)],
            (2, n) => [side(2000 - n), 4.5],
            (_, n) => [0.5, side(2000 - n)],
        })
        .collect();
    let mut set = place.set(&[region(1, "it", vec![closed(1.0, &corners)])]);
    set.update_value(tags::ROI_CONTOUR_SEQUENCE, |value| {
        value.items_mut().unwrap()[0].update_value(tags::CONTOUR_SEQUENCE, |value| {
            let contour = &mut value.items_mut().unwrap()[0];
            let text = contour.element(tags::CONTOUR_DATA).unwrap().to_str().unwrap().into_owned();
            assert!(text.len() > 1 << 16);
            let bytes = PrimitiveValue::from(format!("{text} ").into_bytes());
            contour.put(DataElement::new(tags::CONTOUR_DATA, VR::UN, bytes));
        });
    });
    write_set(set, uids::EXPLICIT_VR_LITTLE_ENDIAN, &place.path());
    let labels = Structures::open(&place.path()).unwrap().read(&place.grid, Overlap::Refuse).unwrap();
    assert_eq!(picture(&labels, &place.grid, 1), fine);
}
