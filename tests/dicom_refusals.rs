//! What is not read: series that form no volume and files that are broken, each with the message that the user gets.

mod common;
#[path = "common/phantom.rs"]
mod phantom;

use std::fs;
use std::path::Path;

use dicom::core::value::PixelFragmentSequence;
use dicom::core::{DataElement, PrimitiveValue, Tag, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::object::{InMemDicomObject, open_file};
use phantom::{Phantom, put_number, put_text};
use transunet::control::Control;
use transunet::dicom::{Series, SeriesOptions, scan};
use transunet::error::{Error, Result};

fn open(path: &Path) -> Result<Series> {
    Series::open(&[path], &SeriesOptions::default(), &mut Control::none())
}

/// Opens and decodes all of it.
fn read(path: &Path) -> Result<Vec<f32>> {
    let series = open(path)?;
    let mut slice = vec![0.0; series.geometry.slice_len()];
    for k in 0..series.geometry.slices() {
        series.decode_slice(k, &mut slice)?;
    }
    Ok(slice)
}

fn refused(name: &str, path: &Path, parts: &[&str]) -> Error {
    let error = match read(path) {
        Ok(_) => panic!("{name}: was read, expected {parts:?}"),
        Err(error) => error,
    };
    for part in parts {
        assert!(error.to_string().contains(part), "{name}: {part:?} is not in: {error}");
    }
    error
}

#[test]
fn real_series_that_are_no_volume_are_refused() {
    for (set, parts) in [
        ("dicom-mr-3plane-localizer", &["holds 3 volumes", "orientation=", "7 slices"][..]),
        ("dicom-mr-fmri-timepoints", &["holds 5 volumes", "such as time=1", "10 slices of 64x64, axial (time=5)"]),
        ("dicom-enhanced-mr-siemens", &["holds 4 volumes", "such as time=1", "6 slices of 64x64, axial"]),
        ("dicom-codecs-mr-one-image", &["duplicate positions", "35 positions x 9 images at each"]),
    ] {
        if let Some(folder) = common::data(set, set) {
            let error = refused(set, &folder, parts);
            println!("{set}: {error}");
        }
    }
}

type Edit = Box<dyn Fn(usize, &mut InMemDicomObject)>;

/// An edit of one slice of the phantom.
fn at(slice: usize, edit: impl Fn(&mut InMemDicomObject) + 'static) -> Edit {
    Box::new(move |k, data| {
        if k == slice {
            edit(data);
        }
    })
}

fn text_at(slice: usize, tag: Tag, text: &'static str) -> Edit {
    at(slice, move |data| put_text(data, tag, VR::LO, text))
}

fn moved(slice: usize, by: [f64; 3]) -> Edit {
    at(slice, move |data| {
        let position = data.element(tags::IMAGE_POSITION_PATIENT).unwrap().to_str().unwrap();
        let position: Vec<f64> = position.split('\\').zip(by).map(|(x, d)| x.parse::<f64>().unwrap() + d).collect();
        put_text(data, tags::IMAGE_POSITION_PATIENT, VR::DS, &phantom::decimals(&position));
    })
}

fn without(slice: usize, tag: Tag) -> Edit {
    at(slice, move |data| {
        data.remove_element(tag);
    })
}

#[test]
fn faulty_series_are_refused_with_the_reason() {
    let all = |edit: fn(usize, &mut InMemDicomObject)| -> Edit { Box::new(edit) };
    let table: Vec<(&str, Edit, &[&str])> = vec![
        (
            "gap",
            at(3, |_| {}),
            &["gap between slices 2", "5.0000 mm, expected 2.5000 mm", "1 slices seem to be missing"],
        ),
        ("uneven", moved(2, [0.0, 0.0, 0.3]), &["gap between slices", "expected 2.5000 mm", "not even"]),
        ("duplicate", moved(2, [0.0, 0.0, -2.5]), &["duplicate positions", "1 of 3 positions"]),
        ("shifted in plane", moved(2, [0.4, 0.0, 0.0]), &["slice 2", "shifted by 0.400 mm"]),
        (
            "unevenly sheared",
            all(|k, data| moved(k, [0.0, [0.0, 1.0, 2.5, 3.0][k], 0.0])(k, data)),
            &["slice 2", "0.500 mm off the even tilt of 21.8 degrees"],
        ),
        ("size", at(1, |data| put_number(data, tags::ROWS, 4)), &["holds 2 volumes", "size=7x5"]),
        ("pixel spacing", text_at(1, tags::PIXEL_SPACING, "1.5\\0.8"), &["holds 2 volumes", "spacing="]),
        (
            "orientation",
            text_at(1, tags::IMAGE_ORIENTATION_PATIENT, "0\\1\\0\\0\\0\\-1"),
            &["holds 2 volumes", "orientation=axial", "sagittal"],
        ),
        ("modality", text_at(1, tags::MODALITY, "MR"), &["2 modalities"]),
        ("photometric", text_at(1, tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1"), &["2 photometric"]),
        ("frame of reference", text_at(1, tags::FRAME_OF_REFERENCE_UID, "1.2"), &["2 frames of reference"]),
        ("study", text_at(1, tags::STUDY_INSTANCE_UID, "1.2"), &["2 studies"]),
        ("no position", without(1, tags::IMAGE_POSITION_PATIENT), &["1.dcm: ImagePositionPatient", "missing"]),
        ("no orientation", without(1, tags::IMAGE_ORIENTATION_PATIENT), &["1.dcm: ImageOrientationPatient", "missing"]),
        ("no spacing", without(1, tags::PIXEL_SPACING), &["1.dcm: PixelSpacing", "missing"]),
        ("no rows", without(1, tags::ROWS), &["1.dcm: Rows (0028,0010) is missing"]),
        ("no sign", without(1, tags::PIXEL_REPRESENTATION), &["PixelRepresentation (0028,0103) is missing"]),
        ("no pixels", without(1, tags::PIXEL_DATA), &["1.dcm: no PixelData (7FE0,0010)"]),
        (
            "skewed axes",
            all(|_, data| put_text(data, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0.1\\0.995\\0")),
            &["expected two unit vectors at a right angle"],
        ),
        (
            "zero spacing",
            all(|_, data| put_text(data, tags::PIXEL_SPACING, VR::DS, "0\\1")),
            &["PixelSpacing", "expected two positive numbers"],
        ),
        ("NaN position", text_at(1, tags::IMAGE_POSITION_PATIENT, "0\\nan\\0"), &["expected 3 numbers", "nan"]),
        ("garbage spacing", text_at(1, tags::PIXEL_SPACING, "wide"), &["PixelSpacing (0028,0030) is \"wide\""]),
        ("two coordinates", text_at(1, tags::IMAGE_POSITION_PATIENT, "0\\1"), &["expected 3 numbers"]),
        ("garbage slope", text_at(1, tags::RESCALE_SLOPE, "steep"), &["RescaleSlope", "steep"]),
        ("absurd slope", text_at(1, tags::RESCALE_SLOPE, "1e300"), &["RescaleSlope", "out of the range"]),
        ("zero slope", text_at(1, tags::RESCALE_SLOPE, "0"), &["RescaleSlope (0028,1053) is 0"]),
        ("odd bits", at(1, |data| put_number(data, tags::BITS_ALLOCATED, 12)), &["BitsAllocated (0028,0100) is 12"]),
        ("too many bits", at(1, |data| put_number(data, tags::BITS_STORED, 17)), &["BitsStored 17", "does not fit"]),
        ("colour", all(|_, data| put_text(data, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB")), &["\"RGB\", only"]),
        (
            "palette",
            all(|_, data| put_text(data, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "PALETTE COLOR")),
            &["PALETTE COLOR", "only MONOCHROME"],
        ),
        ("samples", at(1, |data| put_number(data, tags::SAMPLES_PER_PIXEL, 3)), &["3 samples per pixel"]),
        (
            "frames",
            all(|_, data| put_text(data, tags::NUMBER_OF_FRAMES, VR::IS, "3")),
            &["3 frames in an image of SOP class"],
        ),
        (
            "secondary capture",
            all(|_, data| {
                put_text(data, tags::SOP_CLASS_UID, VR::UI, uids::SECONDARY_CAPTURE_IMAGE_STORAGE);
                data.remove_element(tags::IMAGE_POSITION_PATIENT);
            }),
            &["Secondary Capture without a place in the patient"],
        ),
        (
            "short pixels",
            at(1, |data| {
                data.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::from(vec![0u8; 20])));
            }),
            &["1.dcm: PixelData has 20 bytes, expected 70 for 5 rows x 7 columns x 16 bits"],
        ),
    ];
    for (name, edit, parts) in table {
        let folder = tempfile::tempdir().unwrap();
        let files = Phantom::default().write_with(folder.path(), edit);
        if name == "gap" {
            fs::remove_file(&files[2]).unwrap();
            Phantom { size: [7, 5, 6], ..Phantom::default() }.write(folder.path());
            fs::remove_file(folder.path().join("3.dcm")).unwrap();
        }
        refused(name, folder.path(), parts);
    }
}

#[test]
fn broken_files_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let plain = fs::read(&Phantom::default().write(folder.path())[0]).unwrap();
    let find = |bytes: &[u8], element: &[u8]| bytes.windows(element.len()).position(|w| w == element).unwrap();
    let pixels = find(&plain, &[0xE0, 0x7F, 0x10, 0x00]);
    let changed = |place: usize, with: &[u8]| {
        let mut bytes = plain.clone();
        bytes[place..place + with.len()].copy_from_slice(with);
        bytes
    };
    let rows = find(&plain, &[0x28, 0, 0x10, 0, b'U', b'S']);
    let columns = find(&plain, &[0x28, 0, 0x11, 0, b'U', b'S']);
    let mut huge = changed(rows + 8, &[0xFF, 0xFF]);
    huge[columns + 8..columns + 10].copy_from_slice(&[0xFF, 0xFF]);
    let syntax = find(&plain, b"1.2.840.10008.1.2.1\0");
    let description = find(&plain, &[0x08, 0, 0x3E, 0x10]);
    let mut nested = plain[..pixels].to_vec();
    for _ in 0..100_000 {
        nested.extend([0x09, 0x30, 0x10, 0x10, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        nested.extend([0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
    }
    let table: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("empty", Vec::new(), &["not a DICOM file"]),
        ("text", b"Dear radiologist, please find attached".repeat(20), &["not a DICOM file"]),
        ("preamble only", plain[..132].to_vec(), &["truncated, the file ends within the file meta group"]),
        ("header cut", plain[..pixels - 30].to_vec(), &["truncated", "element"]),
        (
            "header cut within a tag",
            plain[..rows + 3].to_vec(),
            &["truncated, the file ends within the element at byte"],
        ),
        ("cut before the pixels", plain[..pixels].to_vec(), &["no PixelData"]),
        ("pixels cut", plain[..plain.len() - 9].to_vec(), &["truncated, PixelData claims 70 bytes and 61 follow"]),
        ("huge image", huge, &["65535 rows x 65535 columns cannot be in a file of"]),
        ("huge length", changed(pixels + 8, &[0xF0, 0xFF, 0xFF, 0xFF]), &["PixelData claims 4294967280 bytes"]),
        ("huge element", changed(description + 6, &[0xFF, 0xFF]), &["(0008,103E) claims 65535 bytes"]),
        (
            "unknown syntax",
            changed(syntax, b"1.2.840.10008.9.9.9\0"),
            &["transfer syntax 1.2.840.10008.9.9.9 is not known"],
        ),
        (
            "video syntax",
            changed(syntax - 2, &{
                let mut text = vec![20, 0];
                text.extend(b"1.2.840.10008.1.2.5\0");
                text
            }),
            &["not encapsulated"],
        ),
        ("deep nesting", nested, &["nested deeper than 64 levels"]),
    ];
    for (name, bytes, parts) in table {
        let path = folder.path().join("broken.dcm");
        fs::write(&path, bytes).unwrap();
        let error = refused(name, &path, parts);
        assert!(error.to_string().contains("broken.dcm"), "{name}: no file name in {error}");
    }
    refused("missing", &folder.path().join("nowhere"), &["nowhere", "cannot open"]);
    let empty = tempfile::tempdir().unwrap();
    refused("empty folder", empty.path(), &["no DICOM image found"]);
}

#[test]
fn a_broken_file_of_the_series_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let files = Phantom::default().write(folder.path());
    let bytes = fs::read(&files[3]).unwrap();
    let pixels = bytes.windows(4).position(|w| w == [0xE0, 0x7F, 0x10, 0x00]).unwrap();
    fs::write(&files[3], &bytes[..pixels - 5]).unwrap();
    refused("last slice cut", folder.path(), &["is incomplete", "3.dcm"]);
    let error = Series::open(&files, &SeriesOptions::default(), &mut Control::none()).unwrap_err();
    assert!(error.to_string().contains("is incomplete"), "{error}");
    // A file that belongs to no known series is listed and passed over.
    fs::write(&files[3], &bytes[..200]).unwrap();
    let error = Series::open(&files, &SeriesOptions::default(), &mut Control::none()).unwrap_err();
    assert!(error.to_string().contains("3.dcm: truncated"), "named by the caller: {error}");
    assert_eq!(open(folder.path()).unwrap().instances.len(), 3);
    let found = scan(&[folder.path()], &mut Control::none()).unwrap();
    assert!(found.unreadable[0].path.ends_with("3.dcm") && found.unreadable[0].reason.contains("3.dcm"));
}

/// The codecs meet streams that are cut off, empty, of another size, or noise.
#[test]
fn broken_streams_are_refused() {
    let Some(set) = common::data("broken streams", "dicom-codecs-mr-one-image") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.dcm");
    let mut compressed = 0;
    for file in fs::read_dir(&set).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(image) = open_file(&file) else { continue };
        let Some(stream) = image.element(tags::PIXEL_DATA).unwrap().fragments().map(|all| all.concat()) else {
            continue;
        };
        compressed += 1;
        let with = |stream: Vec<u8>, rows: u16| {
            let mut image = image.clone();
            let fragments = PixelFragmentSequence::new_fragments(vec![stream]);
            image.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
            put_number(&mut image, tags::ROWS, rows);
            image.write_to_file(&path).unwrap();
        };
        let name = file.display().to_string();
        with(stream.clone(), 384);
        read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        with(stream[..stream.len() / 2].to_vec(), 384);
        refused(&format!("{name} cut"), &path, &["broken.dcm", "decode"]);
        with(stream.clone(), 383);
        refused(&format!("{name} larger than its header"), &path, &["383"]);
        with(stream.clone(), 385);
        refused(&format!("{name} a little smaller than its header"), &path, &["385"]);
        with(stream.clone(), 65535);
        refused(&format!("{name} smaller than its header"), &path, &["broken.dcm"]);
        with(vec![0; 2], 384);
        refused(&format!("{name} empty"), &path, &["broken.dcm"]);
        // Whatever noise does, it does not panic, hang or grow.
        let mut random = 1u64;
        for _ in 0..20 {
            let mut noisy = stream.clone();
            for _ in 0..8 {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (random >> 33) as usize % noisy.len();
                noisy[at] = (random >> 20) as u8;
            }
            with(noisy, 384);
            let _ = read(&path);
        }
    }
    assert!(compressed >= 5, "{compressed}");
}

/// Headers with flipped bytes give a volume or an error, never a panic.
#[test]
fn mutated_headers_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mutated.dcm");
    let mut random = 7u64;
    let mut next = || {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) as usize
    };
    let mut sources = Vec::new();
    for set in [
        "dicom-mr-sagittal-HFS",
        "dicom-mr-toshiba-oblique-sag30",
        "dicom-seg-liver-ct3/ct",
        "dicom-mr-3plane-localizer",
        "dicom-enhanced-mr-siemens",
        "dicom-codecs-mr-one-image",
    ] {
        if let Some(set) = common::data("mutated headers", set) {
            let mut files: Vec<_> = fs::read_dir(set).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            sources.extend(files.iter().find(|file| open(file).is_ok()).map(|file| fs::read(file).unwrap()));
        }
    }
    for source in &sources {
        let pixels = source.windows(4).rposition(|w| w == [0xE0, 0x7F, 0x10, 0x00]).unwrap();
        for _ in 0..150 {
            let mut bytes = source.clone();
            for _ in 0..1 + next() % 8 {
                let at = 132 + next() % (pixels - 132);
                bytes[at] = next() as u8;
            }
            fs::write(&path, &bytes).unwrap();
            let _ = read(&path);
        }
    }
    for transfer_syntax in
        [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN]
    {
        let phantom = Phantom { transfer_syntax, size: [3, 3, 1], ..Phantom::default() };
        let plain = fs::read(&phantom.write(folder.path())[0]).unwrap();
        for _ in 0..500 {
            let mut bytes = plain.clone();
            for _ in 0..1 + next() % 4 {
                let at = 128 + next() % (bytes.len() - 128);
                bytes[at] = next() as u8;
            }
            fs::write(&path, &bytes).unwrap();
            let _ = read(&path);
        }
    }
}
