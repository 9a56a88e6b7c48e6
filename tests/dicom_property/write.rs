//! Files of a scene: single-frame images.

use std::fs;
use std::path::{Path, PathBuf};

use dicom::core::value::PixelFragmentSequence;
use dicom::core::{DataElement, Tag, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::encoding::TransferSyntaxIndex as _;
use dicom::object::{FileMetaTableBuilder, InMemDicomObject};
use dicom::pixeldata::Transcode as _;
use dicom::transfer_syntax::TransferSyntaxRegistry;

use super::encode::{native, rle, words};
use super::multi;
use super::recipe::{By, Extra, Fault, Kind, Layout, Recipe, Start, Syntax};
use super::scene::{Image, Scene, TYPES, files, ranks};
use crate::phantom::{decimals, put_number, put_text};

/// Writes all files below `folder`; the path of each image and the number of its frame.
pub fn write(recipe: &Recipe, scene: &Scene, folder: &Path) -> Vec<(PathBuf, Option<u32>)> {
    let files = files(recipe, &scene.images);
    let names = ranks(recipe.names, files.len(), recipe.seed + 1).expect("names");
    let mut places = vec![(PathBuf::new(), None); scene.images.len()];
    for (file, name) in files.iter().zip(names) {
        let folder = if recipe.nested { folder.join((name % 3).to_string()) } else { folder.to_path_buf() };
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name:03}.dcm"));
        let first = &scene.images[file[0]];
        match recipe.layout {
            Layout::Single => save(recipe, single(recipe, first), first.bits.signed, class(recipe, first), &path),
            Layout::Multi { .. } => {
                let frames: Vec<&Image> = file.iter().map(|&n| &scene.images[n]).collect();
                save(recipe, multi::object(recipe, &frames), true, multi::class(recipe), &path);
            }
        }
        if first.copied {
            fs::copy(&path, folder.join("copy")).unwrap();
        }
        if first.cut {
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - 17]).unwrap();
        }
        for (&n, number) in file.iter().zip(1..) {
            places[n] = (path.clone(), matches!(recipe.layout, Layout::Multi { .. }).then_some(number));
        }
    }
    places
}

/// What every image of the series says.
pub fn common(recipe: &Recipe, image: &Image) -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    let root = "1.2.826.0.1.3680043.10.2";
    let other = |fault, usual: String, odd: String| if image.fault == Some(fault) { odd } else { usual };
    let (charset, patient) = recipe.patient;
    if !charset.is_empty() {
        put_text(&mut object, tags::SPECIFIC_CHARACTER_SET, VR::CS, charset);
    }
    let frame_of_reference = if recipe.frame_of_reference { format!("{root}.9") } else { String::new() };
    for (tag, vr, text) in [
        (tags::SOP_INSTANCE_UID, VR::UI, image.uid.clone()),
        (tags::STUDY_DATE, VR::DA, "20260102".into()),
        (tags::STUDY_TIME, VR::TM, "101500".into()),
        (tags::ACCESSION_NUMBER, VR::SH, String::new()),
        (tags::MODALITY, VR::CS, other(Fault::Modality, recipe.modality.into(), "XX".into())),
        (tags::MANUFACTURER, VR::LO, "Generator".into()),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN, String::new()),
        (tags::PATIENT_NAME, VR::PN, patient.into()),
        (tags::PATIENT_ID, VR::LO, format!("P{}", recipe.seed)),
        (tags::PATIENT_BIRTH_DATE, VR::DA, String::new()),
        (tags::PATIENT_SEX, VR::CS, "O".into()),
        (tags::PATIENT_POSITION, VR::CS, recipe.patient_position.into()),
        (tags::STUDY_INSTANCE_UID, VR::UI, other(Fault::Study, format!("{root}.1"), format!("{root}.2"))),
        (tags::SERIES_INSTANCE_UID, VR::UI, format!("{root}.{}", recipe.seed + 1)),
        (tags::STUDY_ID, VR::SH, "1".into()),
        (tags::SERIES_NUMBER, VR::IS, "3".into()),
        (tags::FRAME_OF_REFERENCE_UID, VR::UI, other(Fault::FrameOfReference, frame_of_reference, format!("{root}.8"))),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, other(Fault::Palette, "MONOCHROME2".into(), "PALETTE COLOR".into())),
    ] {
        put_text(&mut object, tag, vr, &text);
    }
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, image.size[1] as u16),
        (tags::COLUMNS, image.size[0] as u16),
        (tags::BITS_ALLOCATED, image.bits.allocated),
        (tags::BITS_STORED, image.bits.stored),
        (tags::HIGH_BIT, image.bits.high),
        (tags::PIXEL_REPRESENTATION, u16::from(image.bits.signed)),
    ] {
        put_number(&mut object, tag, value);
    }
    object
}

fn class(recipe: &Recipe, image: &Image) -> &'static str {
    match (image.extra, recipe.modality) {
        (Some(Extra::SecondaryCapture), _) => uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        (Some(Extra::StructureSet), _) => uids::RT_STRUCTURE_SET_STORAGE,
        (_, "CT") => uids::CT_IMAGE_STORAGE,
        (_, "MR") => uids::MR_IMAGE_STORAGE,
        _ => uids::POSITRON_EMISSION_TOMOGRAPHY_IMAGE_STORAGE,
    }
}

fn single(recipe: &Recipe, image: &Image) -> InMemDicomObject {
    let mut object = common(recipe, image);
    put_text(&mut object, tags::SOP_CLASS_UID, VR::UI, class(recipe, image));
    put_text(&mut object, tags::RESCALE_SLOPE, VR::DS, &image.slope.to_string());
    put_text(&mut object, tags::RESCALE_INTERCEPT, VR::DS, &image.intercept.to_string());
    if let Some(number) = image.number {
        put_text(&mut object, tags::INSTANCE_NUMBER, VR::IS, &number.to_string());
    }
    let mut kind = "ORIGINAL\\PRIMARY\\AXIAL".to_string();
    if image.extra == Some(Extra::Localizer) {
        kind = "ORIGINAL\\PRIMARY\\LOCALIZER".into();
    }
    if let Kind::Several { by, .. } = recipe.kind {
        let rank = image.stack + 1;
        match by {
            By::Time => put_text(&mut object, tags::TEMPORAL_POSITION_IDENTIFIER, VR::IS, &rank.to_string()),
            By::Echo => put_text(&mut object, tags::ECHO_TIME, VR::DS, &(7.5 * rank as f64).to_string()),
            By::B => put(&mut object, tags::DIFFUSION_B_VALUE, VR::FD, 500.0 * rank as f64),
            By::Acquisition => put_text(&mut object, tags::ACQUISITION_NUMBER, VR::IS, &rank.to_string()),
            By::Phase => put_text(&mut object, tags::TRIGGER_TIME, VR::DS, &(40.5 * rank as f64).to_string()),
            By::Type => kind = format!("ORIGINAL\\PRIMARY\\{}", TYPES[image.stack]),
            By::Orientation | By::Stack => {}
        }
    }
    put_text(&mut object, tags::IMAGE_TYPE, VR::CS, &kind);
    if !matches!(image.extra, Some(Extra::SecondaryCapture | Extra::StructureSet)) {
        plane(recipe, image, &mut object);
    }
    let words = words(&image.stored, image.bits);
    if recipe.syntax == Syntax::Rle {
        let fragments = PixelFragmentSequence::new_fragments(vec![rle(&words, image.bits.allocated)]);
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
    } else {
        put_pixels(&mut object, &words, image.bits.allocated);
    }
    object
}

fn plane(recipe: &Recipe, image: &Image, object: &mut InMemDicomObject) {
    let fixed = |values: &[f64], digits: usize| {
        values.iter().map(|value| format!("{value:.digits$}")).collect::<Vec<_>>().join("\\")
    };
    if image.fault != Some(Fault::NoPosition) {
        let position = fixed(&image.position, recipe.position_digits);
        put_text(object, tags::IMAGE_POSITION_PATIENT, VR::DS, &position);
    }
    if image.fault != Some(Fault::NoOrientation) {
        let orientation = fixed(&[image.row, image.column].concat(), recipe.cosine_digits);
        put_text(object, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, &orientation);
    }
    put_text(object, tags::PIXEL_SPACING, VR::DS, &decimals(&[image.spacing[1], image.spacing[0]]));
    put_text(object, tags::SLICE_THICKNESS, VR::DS, &recipe.spacing[2].to_string());
}

pub fn put_pixels(object: &mut InMemDicomObject, words: &[u32], allocated: u16) {
    let vr = if allocated == 8 { VR::OB } else { VR::OW };
    object.put(DataElement::new(tags::PIXEL_DATA, vr, native(words, allocated)));
}

pub fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: impl Into<dicom::core::PrimitiveValue>) {
    object.put(DataElement::new(tag, vr, value.into()));
}

fn save(recipe: &Recipe, object: InMemDicomObject, plain: bool, class: &str, path: &Path) {
    #[allow(deprecated)] // retired, and still found in archives
    let syntax = match recipe.syntax {
        Syntax::Explicit => uids::EXPLICIT_VR_LITTLE_ENDIAN,
        Syntax::Implicit => uids::IMPLICIT_VR_LITTLE_ENDIAN,
        Syntax::BigEndian => uids::EXPLICIT_VR_BIG_ENDIAN,
        Syntax::Deflated => uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        Syntax::Rle => uids::RLE_LOSSLESS,
        Syntax::JpegLs => uids::EXPLICIT_VR_LITTLE_ENDIAN,
    };
    let uid = object.element(tags::SOP_INSTANCE_UID).unwrap().to_str().unwrap().into_owned();
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(class)
        .media_storage_sop_instance_uid(uid)
        .transfer_syntax(syntax);
    let mut file = object.with_meta(meta).expect("meta group");
    if recipe.syntax == Syntax::JpegLs && !plain && class != uids::RT_STRUCTURE_SET_STORAGE {
        let to = TransferSyntaxRegistry.get(uids::JPEGLS_LOSSLESS).expect("JPEG-LS");
        file.transcode(to).expect("encoded");
    }
    file.write_to_file(path).expect("written");
    if recipe.start != Start::Preamble {
        let bytes = fs::read(path).unwrap();
        let group = u32::from_le_bytes(bytes[140..144].try_into().unwrap()) as usize;
        let cut = match recipe.start {
            Start::Preamble => 0,
            Start::Mark => 128,
            Start::Meta => 132,
            Start::DataSet => 144 + group,
        };
        fs::write(path, &bytes[cut..]).unwrap();
    }
}
