//! Structure sets that cannot be labels of the image are refused with the reason; damaged files are errors.

use std::fs;

use dicom::core::{DataElement, PrimitiveValue, Tag, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::object::InMemDicomObject;
use transunet::dicom::{Overlap, Structures};

use crate::phantom::put_text;
use crate::structures::{Line, Region, closed, put_decimals, region, square, write_set};
use crate::{POSES, Place};

#[track_caller]
fn refused(place: &Place, lines: Vec<Line>, expected: &str) {
    let error = place.read(&[region(1, "Liver", lines)], Overlap::Refuse).expect_err(expected).to_string();
    assert!(error.contains(expected) && error.contains("rt.dcm: "), "{expected:?} is not in\n{error}");
}

#[test]
fn contours_that_lie_on_no_slice_are_refused() {
    let place = Place::axial();
    let fine = || square(0.0, 0.5, 2.5);
    refused(
        &place,
        vec![fine(), square(1.2, 0.5, 2.5)],
        "ROI \"Liver\", contour 2: its points lie up to 0.50 mm off slice 1, expected at most 0.25 mm",
    );
    assert!(place.read(&[region(1, "Liver", vec![square(1.05, 0.5, 2.5)])], Overlap::Refuse).unwrap().contains(&1));
    refused(
        &place,
        vec![square(4.0, 0.5, 2.5)],
        "contour 1: it lies 2.50 mm beyond the image's slices, at slice 4 of 0 to 3",
    );
    refused(&place, vec![square(-2.0, 0.5, 2.5)], "it lies 5.00 mm beyond the image's slices, at slice -2 of 0 to 3");
    refused(
        &place,
        vec![square(1.0, 20.0, 22.0)],
        "it lies beside the image: its columns are 20.0 to 22.0, the image's 0 to 11",
    );
    refused(
        &place,
        vec![closed(1.0, &[[1.0, -4.0], [3.0, -4.0], [2.0, -1.0]])],
        "it lies beside the image: its rows are -4.0 to -1.0, the image's 0 to 8",
    );
    // A plane across the slices.
    let across = ("CLOSED_PLANAR", vec![[2.0, 1.0, 0.0], [2.0, 5.0, 0.0], [2.0, 5.0, 3.0], [2.0, 1.0, 3.0]]);
    refused(&place, vec![across], "contour 1: its points lie up to 5.00 mm off slice 2");
    // Contours of the other poses.
    let sagittal = Place::new(POSES[1]);
    sagittal.write(&[region(1, "Liver", vec![fine()])]);
    let error = Structures::open(&sagittal.path()).unwrap().read(&place.grid, Overlap::Refuse).unwrap_err().to_string();
    assert!(error.contains("contour 1: its points lie up to"), "{error}");
}

#[test]
fn contours_that_are_no_areas_are_refused() {
    let place = Place::axial();
    let line = |kind, points: &[[f64; 2]]| (kind, closed(1.0, points).1);
    let two = [[1.0, 1.0], [2.0, 2.0]];
    refused(
        &place,
        vec![square(1.0, 0.5, 2.5), line("CLOSED_PLANAR", &two)],
        "ROI 1 (Liver): contour 2: a closed contour of 2 points, expected at least 3",
    );
    refused(
        &place,
        vec![square(1.0, 0.5, 2.5), line("OPEN_PLANAR", &two)],
        "ROI 1 (Liver): closed contours and OPEN_PLANAR in one region",
    );
    refused(&place, vec![line("SPLINE", &two)], "contour 1: ContourGeometricType (3006,0042) is \"SPLINE\", expected");
    refused(&place, vec![line("POINT", &two[..1])], "has no region that could be a label; ROI 1 (Liver): only POINT");
    let many: Vec<Region> = (1..=256).map(|number| region(number, "x", vec![])).collect();
    let error = place.read(&many, Overlap::Refuse).unwrap_err().to_string();
    assert!(error.ends_with("more than 255 regions, expected at most 255"), "{error}");
    assert!(place.read(&many[1..], Overlap::Refuse).unwrap().iter().all(|&voxel| voxel == 0));
}

/// Changes the first item of a sequence.
fn within(object: &mut InMemDicomObject, sequence: Tag, mut change: impl FnMut(&mut InMemDicomObject)) {
    object.update_value(sequence, |value| change(&mut value.items_mut().unwrap()[0]));
}

#[test]
fn contradictions_in_the_file_are_refused() {
    let place = Place::axial();
    let regions = [region(1, "Liver", vec![square(1.0, 0.5, 2.5)]), region(2, "Spleen", vec![square(2.0, 0.5, 2.5)])];
    let refused = |change: &dyn Fn(&mut InMemDicomObject), expected: &str| {
        let mut set = place.set(&regions);
        change(&mut set);
        write_set(set, uids::EXPLICIT_VR_LITTLE_ENDIAN, &place.path());
        let read = Structures::open(&place.path()).and_then(|set| set.read(&place.grid, Overlap::Refuse));
        let error = read.expect_err(expected).to_string();
        assert!(error.contains(expected) && error.contains("rt.dcm"), "{expected:?} is not in\n{error}");
    };
    let contour = |set: &mut InMemDicomObject, change: &dyn Fn(&mut InMemDicomObject)| {
        within(set, tags::ROI_CONTOUR_SEQUENCE, |item| within(item, tags::CONTOUR_SEQUENCE, |item| change(item)));
    };
    let number = |sequence, tag, text: &'static str| {
        move |set: &mut InMemDicomObject| within(set, sequence, |item| put_text(item, tag, VR::IS, text))
    };
    let data = |text: &'static str| {
        move |set: &mut InMemDicomObject| contour(set, &|item| put_decimals(item, tags::CONTOUR_DATA, text))
    };
    refused(&data("1\\2\\3\\4"), "ROI 1 (Liver): contour 1: ContourData (3006,0050): 4 numbers, expected three for");
    let unknown = |text: &'static str| {
        move |set: &mut InMemDicomObject| {
            contour(set, &|item| _ = item.put(DataElement::new(tags::CONTOUR_DATA, VR::UN, PrimitiveValue::from(text))))
        }
    };
    refused(&unknown("1\\2\\3\\4"), "4 numbers, expected three for");
    refused(&data("1\\2\\3\\4\\5\\six"), "contour 1: ContourData (3006,0050)");
    refused(&data("1\\2\\3\\4\\5\\6\\7\\8\\9"), "has 3 points, 4 are said to be there");
    refused(
        &data("1e300\\2\\3\\4\\5\\1e300\\7\\8\\9\\1\\1\\1e308"),
        "ROI \"Liver\", contour 1: a point lies more than 1e6 voxels away",
    );
    refused(
        &|set| contour(set, &|item| put_decimals(item, Tag(0x3006, 0x0045), "0\\0\\2")),
        "ContourOffsetVector (3006,0045) is [0.0, 0.0, 2.0], expected none",
    );
    refused(&number(tags::STRUCTURE_SET_ROI_SEQUENCE, tags::ROI_NUMBER, "2"), "ROI number 2 is there twice");
    refused(&number(tags::STRUCTURE_SET_ROI_SEQUENCE, tags::ROI_NUMBER, ""), "ROINumber (3006,0022) is missing");
    refused(&number(tags::ROI_CONTOUR_SEQUENCE, tags::REFERENCED_ROI_NUMBER, "2"), "has ROI 2 twice");
    refused(&number(tags::ROI_CONTOUR_SEQUENCE, tags::REFERENCED_ROI_NUMBER, "7"), "contours of ROI 7, which");
    refused(&|set| _ = set.remove_element(tags::STRUCTURE_SET_ROI_SEQUENCE), "which StructureSetROISequence does not");
    refused(&|set| put_text(set, tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE), "expected an RT Structure Set");
}

#[test]
fn damaged_files_are_errors() {
    let place = Place::axial();
    place.write(&[region(1, "Liver", vec![square(1.0, 0.5, 2.5), square(2.0, 0.5, 2.5)])]);
    let whole = fs::read(place.path()).unwrap();
    let open = |bytes: &[u8]| {
        fs::write(place.path(), bytes).unwrap();
        Structures::open(&place.path()).and_then(|set| set.read(&place.grid, Overlap::Refuse))
    };
    let labels = open(&whole).unwrap();
    assert!(labels.contains(&1));
    for end in (140..whole.len()).step_by(37) {
        let error = open(&whole[..end]).map(|labels| labels.len()).expect_err(&format!("{end} bytes")).to_string();
        assert!(error.contains("rt.dcm"), "{end}: {error}");
    }
    // Any byte may be anything: an answer or an error, never a panic.
    for at in 132..whole.len() {
        for byte in [0x00, 0x5C, 0xFF, whole[at].wrapping_add(1)] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            if let Ok(labels) = open(&bytes) {
                assert_eq!(labels.len(), place.grid.len());
            }
        }
    }
    assert!(open(b"no DICOM at all").unwrap_err().to_string().ends_with("rt.dcm: not a DICOM file"));
}
