//! DICOM series that meet their RT Structure Sets.

use std::fs;
use std::sync::Arc;

use dicom::core::VR;
use dicom::dictionary_std::{tags, uids};
use dicom::object::{InMemDicomObject, open_file};
use transunet::control::Control;
use transunet::data::{Kind, LabelSource};
use transunet::dicom::{Series, SeriesChoice};

use crate::structures::{Region, closed, region, square, structure_set, write_set};
use crate::{Folder, check, dicom, ids, label, loaded, names};

/// A structure set at `path` that is drawn on series `uid` and refers to series `says`.
fn draw(set: &Folder, path: &str, uid: &str, says: &str, regions: &[Region]) {
    let choice = SeriesChoice::Uid(uid.into()).into();
    let series = Arc::new(Series::open(&[set.0.path()], &choice, &mut Control::none()).unwrap());
    fs::create_dir_all(set.at(path).parent().unwrap()).unwrap();
    write_set(structure_set(regions, &series.geometry, says), uids::EXPLICIT_VR_LITTLE_ENDIAN, &set.at(path));
}

/// Two voxels of slice 1 of the phantom's 7 x 5 x 4: (1, 1) and (2, 1).
fn two() -> Vec<crate::structures::Line> {
    vec![closed(1.0, &[[0.5, 0.5], [2.5, 0.5], [2.5, 1.5], [0.5, 1.5]])]
}

#[test]
fn series_meet_their_structure_sets() {
    let set = Folder::new();
    dicom(&set, "p/ct1", "1.2.3.1", None);
    dicom(&set, "p/ct2", "1.2.3.2", Some(("labels/seg.dcm", label(1, "spleen"), 0)));
    let point = region(1, "Isocentre", vec![("POINT", vec![[1.0, 1.0, 1.0]])]);
    draw(&set, "labels/rt.dcm", "1.2.3.1", "1.2.3.1", &[region(6, "liver", two()), point]);
    let listing = set.listing("");
    assert_eq!((listing.kind, &listing.faults), (Kind::Dicom, &vec![]));
    assert!(listing.apart[0].ends_with("labels/rt.dcm: ROI 1 (Isocentre): only POINT"), "{:?}", listing.apart);
    assert_eq!(listing.apart.len(), 1, "{:?}", listing.apart);
    let found = set.open("");
    assert_eq!(ids(&found), [("p/ct1", "P1"), ("p/ct2", "P1")]);
    assert!(matches!(found.cases[0].label, LabelSource::Structures(..)));
    assert_eq!(names(&found), [(1, "spleen"), (2, "liver")], "in the order of the files' values");
    let mut expected = vec![0; 140];
    expected[35 + 7 + 1..35 + 7 + 3].fill(2);
    assert_eq!(loaded(&found.cases[0]), expected);
    // Configured labels are met by name.
    let labels = "labels: [{ value: 1, name: liver }, { value: 2, name: spleen }]";
    assert_eq!(loaded(&set.open(labels).cases[0])[43], 1);
    set.refused(
        "labels: [{ value: 1, name: spleen }]",
        "labels/rt.dcm: segments \"liver\" are not among the data set's",
    );
}

#[test]
fn overlapping_regions_take_the_configured_order() {
    let set = Folder::new();
    dicom(&set, "ct", "1.2.3.1", None);
    draw(
        &set,
        "rt.dcm",
        "1.2.3.1",
        "1.2.3.1",
        &[region(1, "liver", two()), region(2, "body", vec![square(1.0, 0.5, 3.5)])],
    );
    set.refused("", "rt.dcm: ROI \"liver\" and ROI \"body\" overlap at voxel (1, 1, 1)");
    set.refused("overlap: refuse", "overlap at voxel");
    set.refused("kind: nrrd\noverlap: first", "overlap is for kind dicom, and the files are of kind nrrd");
    set.refused("overlap: first", "overlap is first, which is the order of data.labels: say them");
    let counts = |yaml: &str| {
        let labels = loaded(&set.open(yaml).cases[0]);
        [1, 2].map(|value| labels.iter().filter(|&&voxel| voxel == value).count())
    };
    // The order is that of the configuration, not that of the file.
    let labels = |a: &str, b: &str| format!("labels: [{{ value: 1, name: {a} }}, {{ value: 2, name: {b} }}]");
    assert_eq!(counts(&format!("overlap: first\n{}", labels("liver", "body"))), [2, 7]);
    assert_eq!(counts(&format!("overlap: last\n{}", labels("liver", "body"))), [0, 9]);
    assert_eq!(counts(&format!("overlap: first\n{}", labels("body", "liver"))), [9, 0]);
    assert_eq!(counts(&format!("overlap: last\n{}", labels("body", "liver"))), [7, 2]);
    // What is left out overlaps nothing.
    let liver = "labels: [{ value: 1, name: liver }]";
    set.refused(&format!("overlap: last\n{liver}"), "segments \"body\" are not among the data set's labels (liver)");
    assert_eq!(counts(&format!("others: background\n{liver}")), [2, 0]);
    set.refused(
        "others: background\nlabels: [{ value: 1, name: Leber }]",
        "rt.dcm: none of its segments (liver, body) is among the data set's labels (Leber), so all of it would be background",
    );
    set.refused("others: background", "others is background, which are those not in data.labels: say them");
    // The command names the fault and says so by its exit code.
    let (output, out, err) = check(&[&set.0.path().display().to_string()]);
    assert_eq!(output.status.code(), Some(3), "{out}{err}");
    assert!(format!("{out}{err}").contains("ROI \"liver\" and ROI \"body\" overlap at voxel (1, 1, 1)"), "{out}{err}");
}

#[test]
fn structure_sets_without_their_one_series_are_faults() {
    let set = Folder::new();
    dicom(&set, "ct1", "1.2.3.1", None);
    draw(&set, "rt.dcm", "1.2.3.1", "1.2.3.9", &[region(1, "liver", two())]);
    set.refused("", "rt.dcm: its series 1.2.3.9 is not in the folder");

    // Without the series' UID its images are looked for.
    let rewrite = |change: &dyn Fn(&mut InMemDicomObject)| {
        let mut object = open_file(set.at("rt.dcm")).unwrap().into_inner();
        change(&mut object);
        write_set(object, uids::EXPLICIT_VR_LITTLE_ENDIAN, &set.at("rt.dcm"));
    };
    draw(&set, "rt.dcm", "1.2.3.1", "1.2.3.1", &[region(1, "liver", two())]);
    rewrite(&|object| _ = object.remove_element(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE));
    assert_eq!(set.open("").cases.len(), 1);
    // Points in another frame of reference than the images.
    rewrite(&|object| {
        object.update_value(tags::STRUCTURE_SET_ROI_SEQUENCE, |value| {
            let region = &mut value.items_mut().unwrap()[0];
            crate::phantom::put_text(region, tags::REFERENCED_FRAME_OF_REFERENCE_UID, VR::UI, "1.2.9");
        });
    });
    set.refused("", "rt.dcm: its points are in frame of reference 1.2.9, and series 1.2.3.1 is in another");

    draw(&set, "rt.dcm", "1.2.3.1", "1.2.3.1", &[region(1, "liver", two())]);
    fs::copy(set.at("rt.dcm"), set.at("again.dcm")).unwrap();
    set.refused("", "2 DICOM SEG or RTSTRUCT objects refer to it, expected one: ");
    fs::remove_file(set.at("again.dcm")).unwrap();
    draw(&set, "rt.dcm", "1.2.3.1", "1.2.3.1", &[region(1, "liver", vec![square(1.4, 0.5, 3.5)])]);
    set.refused("", "case ct1: ");
    set.refused("", "rt.dcm: ROI \"liver\", contour 1: its points lie up to 1.00 mm off slice 1");
    set.refused("", "(data: resample: nearest takes what lies nearest)");
}

#[test]
fn contours_between_slices_are_taken_where_they_are_nearest() {
    let set = Folder::new();
    dicom(&set, "ct", "1.2.3.1", None);
    // Planes 1.25 mm apart, half of the slices' distance, and 0.25 mm off them; the shapes tell which one was taken.
    let at = |k: f64, corners: f64| square(k, 0.5, corners);
    let lines = vec![at(0.6, 1.5), at(1.1, 2.5), at(1.6, 3.5)];
    draw(&set, "rt.dcm", "1.2.3.1", "1.2.3.1", &[region(1, "liver", lines), region(2, "empty", vec![])]);
    set.refused("", "off slice 1");
    let counts = |yaml: &str| -> Vec<usize> {
        let labels = loaded(&set.open(yaml).cases[0]);
        labels.chunks(35).map(|slice| slice.iter().filter(|&&voxel| voxel == 1).count()).collect()
    };
    assert_eq!(
        counts("resample: nearest"),
        [0, 4, 0, 0],
        "slice 2 is 0.4 slices from the last plane, more than half a plane"
    );
    // One contour alone has no thickness; one that is not parallel has no plane.
    draw(&set, "rt.dcm", "1.2.3.1", "1.2.3.1", &[region(1, "liver", vec![at(1.4, 2.5)])]);
    set.refused("resample: nearest", "all contours lie in one plane, and nothing says how thick it is");
    let across = ("CLOSED_PLANAR", vec![[1.0, 1.0, 0.0], [1.0, 3.0, 0.0], [1.0, 3.0, 3.0]]);
    draw(&set, "rt.dcm", "1.2.3.1", "1.2.3.1", &[region(1, "liver", vec![across, at(0.4, 2.5)])]);
    set.refused("resample: nearest", "contour 1: its points lie up to");
}

#[test]
fn a_structure_set_of_another_series_is_met_by_its_frame_of_reference() {
    let set = Folder::new();
    dicom(&set, "ct", "1.2.3.1", None);
    let lines = vec![square(1.0, 0.5, 2.5), square(2.0, 0.5, 2.5)];
    draw(&set, "rt.dcm", "1.2.3.1", "1.2.3.9", &[region(1, "liver", lines)]);
    set.refused("", "its series 1.2.3.9 is not in the folder");
    let labels = loaded(&set.open("resample: nearest").cases[0]);
    assert_eq!(labels.chunks(35).map(|slice| slice.iter().sum::<u8>()).collect::<Vec<_>>(), [0, 4, 4, 0]);
    dicom(&set, "ct2", "1.2.3.2", None);
    set.refused(
        "resample: nearest",
        "1.2.3.9 is not in the folder; 2 series share its frame of reference, expected one",
    );
}
