//! Segmentations that cannot be labels of the image are refused with the reason; damaged files are errors.

use std::fs;

use dicom::core::{DataElement, PrimitiveValue, Tag, VR};
use dicom::dictionary_std::tags;
use dicom::object::InMemDicomObject;
use transunet::dicom::{Overlap, Seg};

use crate::phantom::{self, Phantom, put_number, put_text};
use crate::{Written, labelmap, odd, put_pixels};

/// Changes the first item of a sequence in the first frame's or the shared groups.
fn in_group(object: &mut InMemDicomObject, groups: Tag, group: Tag, mut change: impl FnMut(&mut InMemDicomObject)) {
    object.update_value(groups, |value| {
        value.items_mut().unwrap()[0].update_value(group, |value| change(&mut value.items_mut().unwrap()[0]));
    });
}

#[test]
fn what_cannot_be_labels_of_the_image_is_refused() {
    let written = Written::new(&Phantom { size: [7, 5, 4], spacing: [0.75, 1.5, 2.5], ..Phantom::default() });
    let (shared, own) = (tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    let moved = |by: [f64; 3]| {
        let position = written.series.geometry.position([0.0; 3]);
        let text = phantom::decimals(&[0, 1, 2].map(|n| position[n] + by[n]));
        move |object: &mut InMemDicomObject| {
            in_group(object, own, tags::PLANE_POSITION_SEQUENCE, |item| {
                put_text(item, tags::IMAGE_POSITION_PATIENT, VR::DS, &text)
            })
        }
    };
    let measures = |tag, text: &'static str| {
        move |object: &mut InMemDicomObject| {
            in_group(object, shared, tags::PIXEL_MEASURES_SEQUENCE, |item| put_text(item, tag, VR::DS, text))
        }
    };
    written.refused(
        moved([0.3, 0.0, 0.0]),
        "frame 1: 7 x 5 pixels of 0.75 x 1.5 mm at (-20.2, 31.25, -100) mm do not lie on",
    );
    written.refused(moved([0.0, 0.0, 1.25]), "a corner is 1.250 mm off, expected at most 0.038");
    written
        .refused(moved([0.75, 0.0, 0.0]), "frame 1: pixel (6, 0) is voxel [7, 0, 0] of an image of [7, 5, 4] voxels");
    written.refused(moved([0.0, 0.0, -2.5]), "is voxel [0, 0, -1]");
    written.refused(measures(tags::PIXEL_SPACING, "1.5\\1.5"), "a pixel to the right is (2, 0, 0) voxels");
    written.refused(measures(tags::PIXEL_SPACING, "1.5\\0.8"), "a corner is 0.300 mm off");
    written.refused(
        measures(tags::SPACING_BETWEEN_SLICES, "5"),
        "SpacingBetweenSlices is 5 mm, the image's voxels are 2.5",
    );
    written.refused(measures(tags::PIXEL_SPACING, "0\\1"), "PixelSpacing is 0 x 1 mm, expected more than 0");
    written.refused(
        |object| {
            in_group(object, shared, tags::PLANE_ORIENTATION_SEQUENCE, |item| {
                put_text(item, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "0.8\\0.6\\0\\-0.6\\0.8\\0")
            })
        },
        "a pixel to the right is (0.8, 0.3, 0) voxels",
    );
    // The frames of segment 2 say that they show segment 1, whose pixels others are.
    written.refused(
        |object| {
            object.update_value(own, |value| {
                for frame in value.items_mut().unwrap() {
                    frame.update_value(tags::SEGMENT_IDENTIFICATION_SEQUENCE, |value| {
                        let item = &mut value.items_mut().unwrap()[0];
                        let number = item.get(tags::REFERENCED_SEGMENT_NUMBER).unwrap().to_int::<u16>().unwrap();
                        put_number(item, tags::REFERENCED_SEGMENT_NUMBER, number.min(2));
                    });
                }
            });
            let bytes = object.get(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().len();
            object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(vec![0xFFu8; bytes])));
        },
        "segment 1 (Left kidney) and segment 2 (Läsion) overlap at voxel (0, 0, 0), expected one label for each voxel",
    );
    written.refused(
        |object| {
            in_group(object, own, tags::SEGMENT_IDENTIFICATION_SEQUENCE, |item| {
                put_number(item, tags::REFERENCED_SEGMENT_NUMBER, 9)
            })
        },
        "frame 1: it shows segment 9, which SegmentSequence does not describe",
    );
    written.refused(
        |object| {
            in_group(object, own, tags::SEGMENT_IDENTIFICATION_SEQUENCE, |item| *item = InMemDicomObject::new_empty())
        },
        "ReferencedSegmentNumber (0062,000B) is missing",
    );
    written.refused(
        |object| {
            object.update_value(tags::SEGMENT_SEQUENCE, |value| {
                put_number(&mut value.items_mut().unwrap()[0], tags::SEGMENT_NUMBER, 300)
            });
        },
        "segment number 300, expected at most 255",
    );
    written.refused(
        |object| {
            object.update_value(tags::SEGMENT_SEQUENCE, |value| {
                put_number(&mut value.items_mut().unwrap()[0], tags::SEGMENT_NUMBER, 2)
            });
        },
        "segment number 2 is there twice",
    );
    written.refused(
        |object| put_text(object, tags::NUMBER_OF_FRAMES, VR::IS, "5"),
        "5 frames, and functional groups for 9",
    );
    written.refused(
        |object| put_number(object, tags::ROWS, 4),
        "PixelData has 40 bytes, expected 32 for 9 frames of 4 rows",
    );
    written
        .refused(|object| put_text(object, tags::SEGMENTATION_TYPE, VR::CS, "SURFACE"), "SegmentationType \"SURFACE\"");
    written.refused(|object| put_number(object, tags::BITS_ALLOCATED, 8), "a BINARY segmentation with BitsAllocated 8");
    written.refused(
        |object| put_text(object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB"),
        "a BINARY segmentation of 1 samples per pixel, \"RGB\"",
    );
    written.refused(
        |object| {
            labelmap(object, &written, 16);
            let values: Vec<u16> = written.voxels.iter().map(|&x| if x == 3 { 300 } else { x.into() }).collect();
            put_pixels(object, 16, &values);
        },
        "a pixel is 300, which is the number of no segment",
    );
    let error = Seg::open(&written.folder.path().join("ct/0.dcm")).unwrap_err().to_string();
    assert!(error.contains("ct/0.dcm: SOP class \"1.2.840.10008.5.1.4.1.1.2\", expected a DICOM SEG"), "{error}");
}

#[test]
fn damaged_files_are_errors() {
    let written = Written::new(&odd());
    let good = fs::read(written.path()).unwrap();
    let path = written.folder.path().join("bad.dcm");
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Seg::open(&path).and_then(|seg| seg.read(&written.series.geometry, Overlap::Refuse))
    };
    for cut in (0..good.len()).step_by(97) {
        assert!(read(&good[..cut]).is_err(), "{cut} of {} bytes", good.len());
    }
    for at in (132..good.len()).step_by(5) {
        let mut bad = good.clone();
        bad[at] ^= 0x95;
        let _ = read(&bad); // right, wrong or refused, but no panic
    }
}
