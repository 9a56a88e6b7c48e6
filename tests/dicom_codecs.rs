//! Every compression that hospitals use, decoded to the bits that went in.

mod common;
#[path = "common/phantom.rs"]
mod phantom;
#[path = "common/read_back.rs"]
mod read_back;

use std::fs;
use std::path::{Path, PathBuf};

use dicom::core::value::PixelFragmentSequence;
use dicom::core::{DataElement, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::encoding::TransferSyntaxIndex;
use dicom::object::open_file;
use dicom::pixeldata::Transcode;
use dicom::transfer_syntax::TransferSyntaxRegistry;
use phantom::Phantom;
use read_back::{bits, check_folder, open, voxels};
use transunet::control::Control;
use transunet::dicom::scan;
use transunet::error::Error;

#[test]
fn one_image_in_every_codec_decodes_to_the_same_bits() {
    let Some(folder) = common::data("codecs", "dicom-codecs-mr-one-image") else {
        return;
    };
    let found = scan(&[&folder], &mut Control::none()).unwrap();
    assert_eq!(found.series[0].images, 9);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !matches!(open(path), Err(Error::DicomParse(text)) if text.contains("not a DICOM file")));
    files.sort();
    assert_eq!(files.len(), 9);
    let decoded: Vec<_> = files.iter().map(|path| bits(&voxels(&open(path).unwrap()))).collect();
    for (path, image) in files.iter().zip(&decoded) {
        assert_eq!(image.len(), 35 * 64 * 64);
        assert!(*image == decoded[0], "{} differs", path.display());
    }
    as_pydicom_cuts_it("codecs, first file", &files[0]);
    let error = open(&folder).unwrap_err().to_string();
    assert!(error.contains("35 positions x 9 images at each"), "{error}");
}

/// The tiles of a mosaic, of which pydicom knows nothing, are those that numpy cuts out of its image.
fn as_pydicom_cuts_it(test: &str, file: &Path) {
    let Some(mut python) = common::peers(test) else { return };
    let out = tempfile::NamedTempFile::new().unwrap();
    const SCRIPT: &str = "import sys, numpy, pydicom; image = pydicom.dcmread(sys.argv[1]).pixel_array; \
        tiles = image.reshape(6, 64, 6, 64).swapaxes(1, 2).reshape(36, 64, 64)[:35]; \
        tiles.astype('<f4').tofile(sys.argv[2])";
    let run = python.arg("-c").arg(SCRIPT).arg(file).arg(out.path()).output().expect("python");
    assert!(run.status.success(), "{test}: {}", String::from_utf8_lossy(&run.stderr));
    let theirs = fs::read(out.path()).unwrap();
    let ours: Vec<u8> = voxels(&open(file).unwrap()).iter().flat_map(|x| x.to_le_bytes()).collect();
    assert!(ours == theirs, "{test}");
}

#[test]
fn compressed_series_equal_their_originals() {
    let plain = Phantom { size: [16, 12, 2], signed: false, ..Phantom::default() };
    let deep = Phantom { stored: 16, ..plain.clone() };
    let bytes = Phantom { allocated: 8, stored: 8, ..plain.clone() };
    let syntaxes = [
        uids::JPEGLS_LOSSLESS,
        uids::JPEGXL_LOSSLESS,
        uids::DEFLATED_IMAGE_FRAME_COMPRESSION,
        uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN,
    ];
    for (name, phantom) in [("12 in 16", &plain), ("16", &deep), ("8", &bytes)] {
        for uid in syntaxes {
            let folder = tempfile::tempdir().unwrap();
            for path in phantom.write(folder.path()) {
                let mut image = open_file(&path).unwrap();
                image.transcode(TransferSyntaxRegistry.get(uid).unwrap()).unwrap_or_else(|e| panic!("{uid}: {e}"));
                image.write_to_file(&path).unwrap();
            }
            check_folder(&format!("{name} as {uid}"), phantom, folder.path());
        }
    }
}

/// Streams by another encoder: signed samples, and codecs that have no encoder here.
#[test]
fn streams_of_dcmtk_equal_their_originals() {
    let plain = Phantom { size: [16, 12, 2], ..Phantom::default() };
    let kinds = [
        ("signed 12 in 16", plain.clone()),
        ("signed 16", Phantom { stored: 16, ..plain.clone() }),
        ("unsigned 16", Phantom { stored: 16, signed: false, ..plain.clone() }),
        ("unsigned 8", Phantom { allocated: 8, stored: 8, signed: false, ..plain.clone() }),
        ("unsigned 8 in 16", Phantom { stored: 8, signed: false, ..plain.clone() }),
        ("signed 8 in 16", Phantom { stored: 8, ..plain.clone() }),
    ];
    for (encoder, flag) in [("dcmcjpeg", "+el"), ("dcmcjpeg", "+e1"), ("dcmcjpls", "+el"), ("dcmcrle", "+ff")] {
        for (name, phantom) in &kinds {
            let folder = tempfile::tempdir().unwrap();
            let test = format!("{name} by {encoder} {flag}");
            for path in phantom.write(folder.path()) {
                let Some(mut program) = common::program(&test, encoder) else {
                    return;
                };
                let run = program.arg(flag).arg(&path).arg(&path).output().unwrap();
                assert!(run.status.success(), "{test}: {}", String::from_utf8_lossy(&run.stderr));
            }
            check_folder(&test, phantom, folder.path());
        }
    }
}

/// JPEG 2000 by OpenJPEG, signed too (where the stream, not the header, says how wide a sample is).
#[test]
fn streams_of_openjpeg_equal_their_originals() {
    let plain = Phantom { size: [64, 48, 2], ..Phantom::default() };
    for (name, phantom) in [
        ("signed 12 in 16", plain.clone()),
        ("signed 16", Phantom { stored: 16, ..plain.clone() }),
        ("unsigned 16", Phantom { stored: 16, signed: false, ..plain.clone() }),
        ("signed 8", Phantom { allocated: 8, stored: 8, ..plain.clone() }),
        ("unsigned 8 in 16", Phantom { stored: 8, signed: false, ..plain.clone() }),
    ] {
        let test = format!("{name} as JPEG 2000");
        let Some(mut python) = common::peers(&test) else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let files = phantom.write(folder.path());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/compress.py");
        let run = python.arg(script).arg(uids::JPEG2000_LOSSLESS).args(&files).output().expect("python");
        assert!(run.status.success(), "{test}: {}", String::from_utf8_lossy(&run.stderr));
        check_folder(&test, &phantom, folder.path());
    }
}

/// High-throughput JPEG 2000 (PS3.5 A.4.6) by OpenJPH.
#[test]
fn streams_of_openjph_equal_their_originals() {
    let plain = Phantom { size: [64, 48, 2], signed: false, ..Phantom::default() };
    for (name, phantom) in [
        ("unsigned 12 in 16", plain.clone()),
        ("unsigned 16", Phantom { stored: 16, ..plain.clone() }),
        ("unsigned 8", Phantom { allocated: 8, stored: 8, ..plain.clone() }),
    ] {
        let test = format!("{name} as HTJ2K");
        let folder = tempfile::tempdir().unwrap();
        let [columns, rows, slices] = phantom.size;
        for k in 0..slices {
            let Some(mut encoder) = common::program(&test, "ojph_compress") else { return };
            let (grey, stream) = (folder.path().join("slice.pgm"), folder.path().join("slice.j2c"));
            let mut bytes = format!("P5 {columns} {rows} {}\n", (1 << phantom.stored) - 1).into_bytes();
            for (i, j) in (0..rows).flat_map(|j| (0..columns).map(move |i| (i, j))) {
                let value = phantom.stored_value(i, j, k) as u16;
                bytes.extend(&value.to_be_bytes()[if phantom.allocated == 8 { 1 } else { 0 }..]);
            }
            fs::write(&grey, bytes).unwrap();
            common::run(encoder.args(["-reversible", "true", "-i"]).arg(&grey).arg("-o").arg(&stream));
            let mut slice = phantom.slice(k);
            let fragments = PixelFragmentSequence::new_fragments(vec![fs::read(&stream).unwrap()]);
            slice.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
            phantom::write_file(slice, uids::HTJ2K_LOSSLESS, &folder.path().join(format!("{k}.dcm")));
            fs::remove_file(grey).and(fs::remove_file(stream)).unwrap();
        }
        check_folder(&test, &phantom, folder.path());
    }
}

/// JPEG baseline loses a little; it must lose the same as in another decoder.
#[test]
fn jpeg_baseline_is_decoded_as_dcmtk_decodes_it() {
    let (Some(mut encoder), Some(mut decoder)) =
        (common::program("JPEG baseline", "dcmcjpeg"), common::program("JPEG baseline", "dcmdjpeg"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let phantom = Phantom { size: [32, 24, 1], allocated: 8, stored: 8, signed: false, ..Phantom::default() };
    let path = &phantom.write(folder.path())[0];
    let plain = folder.path().join("plain.dcm");
    assert!(encoder.args(["+eb", "+q", "90"]).arg(path).arg(path).status().unwrap().success());
    assert!(decoder.arg(path).arg(&plain).status().unwrap().success());
    let (ours, theirs) = (voxels(&open(path).unwrap()), voxels(&open(&plain).unwrap()));
    let farthest = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(farthest <= 2.0, "{farthest}");
}

/// 12-bit lossy JPEG: no decoder here, and the message says so.
#[test]
fn jpeg_extended_with_12_bits_is_refused_clearly() {
    let Some(mut encoder) = common::program("JPEG extended", "dcmcjpeg") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let phantom = Phantom { size: [32, 24, 1], signed: false, ..Phantom::default() };
    let path = &phantom.write(folder.path())[0];
    assert!(encoder.arg("+ee").arg(path).arg(path).status().unwrap().success());
    let series = open(path).unwrap();
    let error = series.decode_slice(0, &mut vec![0.0; 32 * 24]).unwrap_err();
    println!("{error}");
    assert!(matches!(error, Error::DicomUnsupported(_)), "{error:?}");
}
