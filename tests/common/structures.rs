//! RT Structure Sets made by the test itself, drawn in the index space of a phantom series.
#![allow(dead_code)] // each test binary uses its own part

use std::path::Path;

use dicom::core::value::DataSetSequence;
use dicom::core::{DataElement, PrimitiveValue, Tag, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::object::{FileMetaTableBuilder, InMemDicomObject};
use transunet::geometry::Geometry;

use crate::phantom::put_text;

/// A contour: its type, and its points (i, j, k).
pub type Line = (&'static str, Vec<[f64; 3]>);

/// A region of interest; those without lines have no item in ROIContourSequence.
pub struct Region {
    pub number: u32,
    pub name: &'static str,
    pub lines: Vec<Line>,
}

/// A closed contour in slice `k`.
pub fn closed(k: f64, corners: &[[f64; 2]]) -> Line {
    ("CLOSED_PLANAR", corners.iter().map(|&[i, j]| [i, j, k]).collect())
}

pub fn square(k: f64, low: f64, high: f64) -> Line {
    closed(k, &[[low, low], [high, low], [high, high], [low, high]])
}

pub fn region(number: u32, name: &'static str, lines: Vec<Line>) -> Region {
    Region { number, name, lines }
}

/// A structure set of `regions` on `grid` that refers to series `uid`, whose instances are `uid`.1, `uid`.2, ... in order of k.
pub fn structure_set(regions: &[Region], grid: &Geometry, uid: &str) -> InMemDicomObject {
    let mut set = InMemDicomObject::new_empty();
    for (tag, vr, text) in [
        (tags::SOP_CLASS_UID, VR::UI, uids::RT_STRUCTURE_SET_STORAGE),
        (tags::SOP_INSTANCE_UID, VR::UI, "1.2.826.0.1.3680043.10.7.1"),
        (tags::MODALITY, VR::CS, "RTSTRUCT"),
        (tags::PATIENT_NAME, VR::PN, "Phantom^Test"),
        (tags::PATIENT_ID, VR::LO, "P1"),
        (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.826.0.1.3680043.10.1"),
        (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.826.0.1.3680043.10.7"),
        (tags::STRUCTURE_SET_LABEL, VR::SH, "test"),
    ] {
        put_text(&mut set, tag, vr, text);
    }
    let image = |k: usize| {
        texts(&[
            (tags::REFERENCED_SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE),
            (tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, &format!("{uid}.{}", k + 1)),
        ])
    };
    let mut series = texts(&[(tags::SERIES_INSTANCE_UID, VR::UI, uid)]);
    put_items(&mut series, tags::CONTOUR_IMAGE_SEQUENCE, (0..grid.size[2]).map(image).collect());
    let mut study = InMemDicomObject::new_empty();
    put_items(&mut study, tags::RT_REFERENCED_SERIES_SEQUENCE, vec![series]);
    let mut frame = texts(&[(tags::FRAME_OF_REFERENCE_UID, VR::UI, "1.2.826.0.1.3680043.10.1.9")]);
    put_items(&mut frame, tags::RT_REFERENCED_STUDY_SEQUENCE, vec![study]);
    put_items(&mut set, tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE, vec![frame]);
    let described = |region: &Region| {
        texts(&[
            (tags::ROI_NUMBER, VR::IS, &region.number.to_string()),
            (tags::REFERENCED_FRAME_OF_REFERENCE_UID, VR::UI, "1.2.826.0.1.3680043.10.1.9"),
            (tags::ROI_NAME, VR::LO, region.name),
        ])
    };
    put_items(&mut set, tags::STRUCTURE_SET_ROI_SEQUENCE, regions.iter().map(described).collect());
    let contour = |(kind, points): &Line| {
        let data: Vec<String> =
            points.iter().flat_map(|&index| grid.position(index)).map(|x| format!("{x:.7}")).collect();
        let mut contour = texts(&[
            (tags::CONTOUR_GEOMETRIC_TYPE, VR::CS, kind),
            (tags::NUMBER_OF_CONTOUR_POINTS, VR::IS, &points.len().to_string()),
            (tags::CONTOUR_DATA, VR::DS, &data.join("\\")),
        ]);
        let slice = points.first().map_or(0.0, |point| point[2]).round().clamp(0.0, grid.size[2] as f64 - 1.0);
        put_items(&mut contour, tags::CONTOUR_IMAGE_SEQUENCE, vec![image(slice as usize)]);
        contour
    };
    let drawn = |region: &Region| {
        let color = format!("{}\\128\\0", region.number % 256);
        let mut drawn = texts(&[
            (tags::ROI_DISPLAY_COLOR, VR::IS, &color),
            (tags::REFERENCED_ROI_NUMBER, VR::IS, &region.number.to_string()),
        ]);
        put_items(&mut drawn, tags::CONTOUR_SEQUENCE, region.lines.iter().map(contour).collect());
        drawn
    };
    let with_lines = regions.iter().filter(|region| !region.lines.is_empty());
    put_items(&mut set, tags::ROI_CONTOUR_SEQUENCE, with_lines.map(drawn).collect());
    set
}

pub fn texts(elements: &[(Tag, VR, &str)]) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    elements.iter().for_each(|&(tag, vr, text)| put_text(&mut item, tag, vr, text));
    item
}

pub fn put_items(object: &mut InMemDicomObject, tag: Tag, items: Vec<InMemDicomObject>) {
    object.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// Writes numbers as one decimal string.
pub fn put_decimals(object: &mut InMemDicomObject, tag: Tag, text: &str) {
    object.put(DataElement::new(tag, VR::DS, PrimitiveValue::from(text)));
}

pub fn write_set(set: InMemDicomObject, transfer_syntax: &str, path: &Path) {
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(uids::RT_STRUCTURE_SET_STORAGE)
        .media_storage_sop_instance_uid("1.2.826.0.1.3680043.10.7.1")
        .transfer_syntax(transfer_syntax);
    set.with_meta(meta).expect("meta group").write_to_file(path).expect("written");
}
