//! DICOM series read: real ones as pydicom sees them, generated ones as they were made.

mod common;
#[path = "common/phantom.rs"]
mod phantom;
#[path = "common/read_back.rs"]
mod read_back;

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use dicom::core::{DataElement, PrimitiveValue, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::object::InMemDicomObject;
use phantom::{Phantom, put_number, put_text};
use read_back::{as_pydicom_sees_it, check, check_folder, open, voxels};
use transunet::control::{Cancel, Control, Flow, Stage};
use transunet::dicom::{Series, SeriesChoice, SeriesOptions, Tilt, scan};
use transunet::error::Error;

#[test]
fn real_series_are_read_as_pydicom_reads_them() {
    for set in [
        "dicom-ct-philips-head-5mm",
        "dicom-mr-sagittal-HFS",
        "dicom-mr-toshiba-oblique-sag30",
        "dicom-seg-liver-ct3/ct",
        // Tilted by 18.5 degrees: the grid is sheared and its slices are the source's.
        "dicom-ct-philips-tilt-minus18",
    ] {
        if let Some(folder) = common::data(set, set) {
            as_pydicom_sees_it(set, &folder, &SeriesOptions::default());
        }
    }
}

#[test]
fn each_volume_of_a_series_is_read_as_pydicom_reads_it() {
    for (set, key, volumes) in [
        ("dicom-mr-fmri-timepoints", "time", &["1", "2", "3", "4", "5"][..]),
        ("dicom-mr-3plane-localizer", "orientation", &["axial", "coronal", "sagittal"]),
        ("dicom-enhanced-mr-siemens", "time", &["1", "2", "3", "4"]),
    ] {
        let Some(folder) = common::data(set, set) else { continue };
        let mut seen = BTreeSet::new();
        for value in volumes {
            let rule = format!("{key}={value}");
            let options = rule.parse::<SeriesChoice>().unwrap().into();
            as_pydicom_sees_it(&format!("{set}, {rule}"), &folder, &options);
            let series = Series::open(&[&folder], &options, &mut Control::none()).unwrap();
            seen.extend(series.instances.iter().map(|one| (one.sop_instance_uid.clone(), one.frame)));
        }
        let found = scan(&[&folder], &mut Control::none()).unwrap();
        let listed = found.series[0].volumes(Tilt::Keep).unwrap();
        assert_eq!(listed.len(), volumes.len(), "{set}");
        assert_eq!(listed.iter().map(|volume| volume.images).sum::<usize>(), seen.len(), "{set}: each slice once");
        assert!(listed.iter().all(|volume| volume.geometry.is_ok() && volume.rule.starts_with(key)), "{listed:?}");
    }
}

#[test]
fn a_tilted_series_is_resampled_to_a_straight_grid_or_refused() {
    let Some(folder) = common::data("tilt", "dicom-ct-philips-tilt-minus18") else { return };
    let read = |tilt| {
        let options = SeriesOptions { tilt, ..SeriesOptions::default() };
        Series::open(&[&folder], &options, &mut Control::none())
    };
    let (kept, straight) = (read(Tilt::Keep).unwrap(), read(Tilt::Resample).unwrap());
    assert!(kept.geometry.is_sheared() && !kept.resampled);
    assert!((kept.geometry.tilt_degrees() - 18.5).abs() < 0.1);
    assert!(!straight.geometry.is_sheared() && straight.resampled);
    assert!((straight.geometry.spacing[2] - kept.geometry.slice_distance()).abs() < 1e-6);
    let slices = kept.geometry.slices();
    assert_eq!(straight.geometry.slices(), slices);
    // Drift along the rows of 2.5 mm sin(18.5 degrees) a slice; a straight slice has the same values at the same places.
    let drift = (slices - 1) as f64 * 2.5 * 18.5f64.to_radians().sin() / kept.geometry.spacing[1];
    assert_eq!(straight.geometry.rows(), kept.geometry.rows() + drift.ceil() as usize);
    let (mut source, mut shifted) = (vec![0.0; kept.geometry.slice_len()], vec![0.0; straight.geometry.slice_len()]);
    for k in [0, slices / 2, slices - 1] {
        kept.decode_slice(k, &mut source).unwrap();
        straight.decode_slice(k, &mut shifted).unwrap();
        let mut compared = 0;
        for (at, value) in shifted.iter().enumerate() {
            let index = [at % straight.geometry.columns(), at / straight.geometry.columns(), k].map(|n| n as f64);
            let [i, j, depth] = kept.geometry.index(straight.geometry.position(index));
            assert!((depth - k as f64).abs() < 0.01, "{k}: slice {depth}");
            let (row, column) = (j.floor(), i.round());
            if row < 0.0 || row + 1.0 >= kept.geometry.rows() as f64 || (i - column).abs() > 1e-3 {
                continue;
            }
            let pixel = |row: f64| f64::from(source[row as usize * kept.geometry.columns() + column as usize]);
            let expected = pixel(row) + (j - row) * (pixel(row + 1.0) - pixel(row));
            assert!((f64::from(*value) - expected).abs() < 1.0, "slice {k}, pixel {at}: {value}, expected {expected}");
            compared += 1;
        }
        assert!(compared > kept.geometry.slice_len() * 9 / 10, "{compared}");
    }
    let error = read(Tilt::Refuse).unwrap_err().to_string();
    assert!(error.contains("gantry tilt: slices are stacked 18.5 degrees off their normal"), "{error}");
}

#[test]
fn a_dicomdir_means_the_images_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("IMAGES");
    fs::create_dir(&images).unwrap();
    for (n, file) in Phantom::default().write(folder.path()).iter().enumerate() {
        fs::rename(file, images.join(format!("IM{n}"))).unwrap();
    }
    let Some(mut program) = common::program("DICOMDIR", "dcmmkdir") else { return };
    // -W: images of a phantom lack attributes that a medium should have.
    common::run(program.current_dir(&folder).args(["-W", "+I", "+r", "IMAGES"]));
    // A slice that the directory does not name, and media that are mounted in lower case.
    fs::copy(images.join("IM3"), images.join("IM4")).unwrap();
    fs::rename(&images, folder.path().join("images")).unwrap();
    let directory = folder.path().join("DICOMDIR");
    check_folder("DICOMDIR", &Phantom::default(), &directory);
    fs::remove_file(folder.path().join("images/IM3")).unwrap();
    let error = open(&directory).unwrap_err().to_string();
    assert!(error.contains("is incomplete") && error.contains("IM3: cannot open"), "{error}");
    let bytes = fs::read(&directory).unwrap();
    for end in (132..bytes.len()).step_by(7) {
        fs::write(&directory, &bytes[..end]).unwrap();
        let _ = open(&directory);
    }
}

#[test]
fn a_file_that_a_dicomdir_names_in_vain_is_missed_by_its_series_alone() {
    let folder = tempfile::tempdir().unwrap();
    let uids = ["1.2.3.71", "1.2.3.72"];
    for (uid, name) in uids.into_iter().zip(["A", "B"]) {
        let images = folder.path().join(name);
        fs::create_dir(&images).unwrap();
        let phantom = Phantom { series_uid: uid.into(), ..Phantom::default() };
        for (n, file) in phantom.write(&images).iter().enumerate() {
            fs::rename(file, images.join(format!("IM{n}"))).unwrap();
        }
    }
    let Some(mut program) = common::program("DICOMDIR of two series", "dcmmkdir") else { return };
    common::run(program.current_dir(&folder).args(["-W", "+I", "+r", "A", "B"]));
    let directory = folder.path().join("DICOMDIR");
    let of = |uid: &str| {
        let choice = SeriesChoice::Uid(uid.into());
        Series::open(&[&directory], &choice.into(), &mut Control::none()).map(|series| series.instances.len())
    };
    assert_eq!(uids.map(|uid| of(uid).unwrap()), [4, 4]);
    // The last slice: without the directory nobody would miss it.
    fs::remove_file(folder.path().join("A/IM3")).unwrap();
    let error = of(uids[0]).unwrap_err().to_string();
    assert!(error.contains("1.2.3.71 is incomplete") && error.contains("IM3: cannot open"), "{error}");
    assert_eq!(of(uids[1]).unwrap(), 4);
    // Where the directory's order does not tell the series, any may miss the file.
    fs::rename(folder.path().join("B/IM0"), folder.path().join("A/IM9")).unwrap();
    fs::rename(folder.path().join("A/IM0"), folder.path().join("B/IM0")).unwrap();
    fs::rename(folder.path().join("A/IM9"), folder.path().join("A/IM0")).unwrap();
    let error = of(uids[1]).unwrap_err().to_string();
    assert!(error.contains("1.2.3.72 is incomplete") && error.contains("IM3: cannot open"), "{error}");
}

/// dcm2niix 1.0.20220720 on the same file: columns of its affine in RAS mm, rows flipped.
#[test]
fn a_mosaic_is_the_volume_that_dcm2niix_makes_of_it() {
    let Some(folder) = common::data("mosaic", "dicom-codecs-mr-one-image") else { return };
    let series = open(&folder.join("1.dcm")).unwrap();
    assert_eq!(series.geometry.size, [64, 64, 35]);
    for (index, ras) in [
        ([0.0, 63.0, 0.0], [104.0, -58.684_310_9, -84.798_034_7]),
        ([1.0, 63.0, 0.0], [104.0 - 3.25, -58.684_310_9, -84.798_034_7]),
        ([0.0, 62.0, 0.0], [104.0, -58.684_310_9 + 3.230_990_65, -84.798_034_7 + 0.350_997_895]),
        ([0.0, 63.0, 34.0], [104.0, -58.684_310_9 - 34.0 * 0.388_797_671, -84.798_034_7 + 34.0 * 3.578_943_25]),
    ] {
        let [x, y, z] = series.geometry.position(index);
        for (ours, theirs) in [-x, -y, z].into_iter().zip(ras) {
            assert!((ours - theirs).abs() < 1e-4, "{index:?}: {ours} and {theirs}");
        }
    }
}

#[test]
fn series_of_one_study_are_chosen_by_uid_or_rule() {
    let Some(folder) = common::data("two series", "dicom-mr-study1-hippocrop") else {
        return;
    };
    let found = scan(&[&folder], &mut Control::none()).unwrap();
    let [ref a, ref b] = found.series[..] else { panic!("{found:?}") };
    for series in [a, b] {
        as_pydicom_sees_it(&series.description, &folder, &SeriesChoice::Uid(series.series_uid.clone()).into());
    }
    let error = open(&folder).unwrap_err();
    let Error::SeriesChoice(text) = error else { panic!("{error}") };
    for part in [&a.series_uid, &b.series_uid, "HippoCrop", "T1post", "22 images", "32 images", "choose one"] {
        assert!(text.contains(part), "{part} not in {text}");
    }
    let by_rule =
        |rule: &str| Series::open(&[&folder], &rule.parse::<SeriesChoice>().unwrap().into(), &mut Control::none());
    assert_eq!(by_rule("description=hippo").unwrap().instances.len(), 32);
    assert_eq!(by_rule("modality=MR,number=12").unwrap().instances.len(), 22);
    assert!(matches!(by_rule("modality=CT"), Err(Error::SeriesChoice(text)) if text.contains("no series fits")));
    assert!(matches!("modality".parse::<SeriesChoice>(), Err(Error::Argument(_))));
}

#[test]
fn segmentations_beside_the_images_are_listed_and_not_offered() {
    let Some(folder) = common::data("images beside a SEG", "dicom-seg-liver-ct3") else {
        return;
    };
    let found = scan(&[&folder], &mut Control::none()).unwrap();
    assert!(found.series.iter().any(|series| series.modality == "SEG" && series.refusal.is_some()));
    assert!(found.skipped >= 1);
    assert_eq!(open(&folder).unwrap().modality, "CT");
}

#[test]
fn order_comes_from_positions_whatever_the_files_are_called() {
    let phantom = Phantom::default();
    let folder = tempfile::tempdir().unwrap();
    let files = phantom.write(folder.path());
    fs::create_dir_all(folder.path().join("deep/er")).unwrap();
    for (file, name) in files.iter().zip(["z", "deep/a.ima", "deep/er/IM_0001", "b"]) {
        fs::rename(file, folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("notes.txt"), "not an image").unwrap();
    fs::write(folder.path().join("DICOMDIR"), "an index").unwrap();
    fs::write(folder.path().join(".hidden"), "hidden").unwrap();
    let series = check_folder("renamed", &phantom, folder.path());
    assert_eq!(series.description, "phantom");
    assert_eq!(series.header.element(tags::PATIENT_ID).unwrap().to_str().unwrap(), "P1");
    assert!(series.header.element(tags::PIXEL_DATA).is_err());
    assert_eq!(scan(&[folder.path()], &mut Control::none()).unwrap().skipped, 1);

    // Numbered against the positions, and stacked downwards.
    let reversed =
        |k: usize, slice: &mut InMemDicomObject| put_text(slice, tags::INSTANCE_NUMBER, VR::IS, &(9 - k).to_string());
    check("reversed numbers", &phantom, reversed);

    // A list of files, and one file alone.
    let list = tempfile::tempdir().unwrap();
    let mut files = phantom.write(list.path());
    files.reverse();
    let series = Series::open(&files, &SeriesOptions::default(), &mut Control::none()).unwrap();
    assert_eq!(series.instances.len(), 4);
    let one = open(&files[0]).unwrap();
    assert_eq!((one.geometry.size, one.geometry.spacing[2]), ([7, 5, 1], 2.0));
}

#[test]
fn grids_keep_their_place() {
    let (c, s) = (30f64.to_radians().cos(), 30f64.to_radians().sin());
    let oblique = Phantom { row: [c, s, 0.0], column: [0.0, 0.0, -1.0], ..Phantom::default() };
    check("oblique coronal", &oblique, |_, _| {});
    let sagittal = Phantom { row: [0.0, 1.0, 0.0], column: [0.0, 0.0, -1.0], ..Phantom::default() };
    check("sagittal", &sagittal, |_, _| {});
    let flipped = Phantom { row: [-1.0, 0.0, 0.0], column: [0.0, 1.0, 0.0], ..Phantom::default() };
    check("normal towards the feet", &flipped, |_, _| {});
    let thin = Phantom { spacing: [0.1, 0.2, 0.05], size: [3, 3, 9], ..Phantom::default() };
    check("thin", &thin, |_, _| {});
    // Positions rounded to a tenth of a millimetre.
    let rounded = Phantom { spacing: [0.5, 0.5, 1.25], size: [3, 3, 30], origin: [0.0; 3], ..Phantom::default() };
    let folder = tempfile::tempdir().unwrap();
    rounded.write_with(folder.path(), |k, slice| {
        put_text(slice, tags::IMAGE_POSITION_PATIENT, VR::DS, &format!("0\\0\\{:.1}", k as f64 * 1.25));
    });
    let spacing = open(folder.path()).unwrap().geometry.spacing[2];
    assert!((spacing - 1.25).abs() < 2e-3, "{spacing}");
}

#[test]
fn stored_bits_become_modality_values() {
    let plain = Phantom::default();
    let formats: [(&str, Phantom); 8] = [
        ("signed 12 in 16", plain.clone()),
        ("unsigned 12 in 16", Phantom { signed: false, ..plain.clone() }),
        ("signed 16", Phantom { stored: 16, ..plain.clone() }),
        ("unsigned 16, slope", Phantom { stored: 16, signed: false, slope: 0.123456, intercept: 7.5, ..plain.clone() }),
        ("unsigned 8, odd", Phantom { allocated: 8, stored: 8, signed: false, ..plain.clone() }),
        ("signed 8", Phantom { allocated: 8, stored: 8, ..plain.clone() }),
        ("signed 32", Phantom { allocated: 32, stored: 32, slope: 1e-6, ..plain.clone() }),
        ("unsigned 10 in 16", Phantom { stored: 10, signed: false, slope: -2.0, ..plain.clone() }),
    ];
    #[allow(deprecated)] // retired, and still found in archives
    let big_endian = uids::EXPLICIT_VR_BIG_ENDIAN;
    let syntaxes = [
        uids::EXPLICIT_VR_LITTLE_ENDIAN,
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
        big_endian,
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    ];
    for (name, phantom) in &formats {
        for transfer_syntax in syntaxes {
            let phantom = Phantom { transfer_syntax, ..phantom.clone() };
            check(&format!("{name}, {transfer_syntax}"), &phantom, |_, _| {});
        }
    }
    // Overlay planes in the bits above BitsStored do not reach the values.
    check("overlay bits", &plain, |_, slice| {
        let words = slice.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap();
        let words = words.into_iter().enumerate().map(|(n, word)| word | if n % 3 == 0 { 0xA000 } else { 0 });
        slice.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.collect())));
    });
    // HighBit may leave unused bits below.
    check("value in the upper bits", &plain, |_, slice| {
        let words = slice.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap();
        let words = words.into_iter().map(|word| word << 4 | 5);
        slice.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.collect())));
        put_number(slice, tags::HIGH_BIT, 15);
    });
    check("MONOCHROME1 keeps its values", &plain, |_, slice| {
        put_text(slice, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME1");
    });
    // Slope and intercept of each slice, as PET has them.
    let folder = tempfile::tempdir().unwrap();
    plain.write_with(folder.path(), |k, slice| {
        put_text(slice, tags::RESCALE_SLOPE, VR::DS, &format!("{}", 0.5 + k as f64));
        put_text(slice, tags::SOP_CLASS_UID, VR::UI, uids::POSITRON_EMISSION_TOMOGRAPHY_IMAGE_STORAGE);
    });
    let read = voxels(&open(folder.path()).unwrap());
    for k in 0..4 {
        let expected = (0.5 + k as f64) * plain.stored_value(2, 3, k) as f64 - 24.0;
        assert_eq!(read[(k * 5 + 3) * 7 + 2], expected as f32, "slope of slice {k}");
    }
}

#[test]
fn files_without_preamble_or_meta_group_are_read() {
    for (name, transfer_syntax, cut) in [
        ("no preamble", uids::EXPLICIT_VR_LITTLE_ENDIAN, 128),
        ("no preamble and no mark", uids::EXPLICIT_VR_LITTLE_ENDIAN, 132),
        ("data set alone, implicit", uids::IMPLICIT_VR_LITTLE_ENDIAN, 0),
        ("data set alone, explicit", uids::EXPLICIT_VR_LITTLE_ENDIAN, 0),
    ] {
        let phantom = Phantom { transfer_syntax, ..Phantom::default() };
        let folder = tempfile::tempdir().unwrap();
        for path in phantom.write(folder.path()) {
            let bytes = fs::read(&path).unwrap();
            let group_length = u32::from_le_bytes(bytes[140..144].try_into().unwrap()) as usize;
            let cut = if cut == 0 { 144 + group_length } else { cut };
            fs::write(&path, &bytes[cut..]).unwrap();
        }
        check_folder(name, &phantom, folder.path());
    }
}

/// Texts of a file come out as its bytes say, once, and what is not of the stated set is marked, never taken for another.
#[test]
fn texts_in_any_character_set_are_kept() {
    for (charset, bytes, expected) in [
        ("ISO_IR 192", "Schädel^王".as_bytes(), "Schädel^王"),
        ("ISO_IR 100", b"Sch\xE4del", "Schädel"),
        ("", b"plain", "plain"),
        // A Chinese character whose second byte is that of the backslash.
        ("GB18030", b"Wang^\x8F\x5C", "Wang^廫"),
        ("\\ISO 2022 IR 87", b"Yamada=\x1B$B;3ED\x1B(B", "Yamada=山田"),
        ("", b"Sch\xE4del", "Sch\u{FFFD}del"),
        ("NO SUCH SET", b"Sch\xE4del", "Sch\u{FFFD}del"),
        ("ISO_IR 192", b"Sch\xE4del^J\xF6rg", "Sch\u{FFFD}del^J\u{FFFD}rg"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        Phantom::default().write_with(folder.path(), |_, slice| {
            put_text(slice, tags::SPECIFIC_CHARACTER_SET, VR::CS, charset);
            // Bytes as they are: UN is not recoded on writing.
            for tag in [tags::SERIES_DESCRIPTION, tags::PATIENT_NAME] {
                slice.put(DataElement::new(tag, VR::UN, PrimitiveValue::from(bytes)));
            }
        });
        for path in fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
            let mut file = fs::read(&path).unwrap();
            for element in [*b"\x08\0\x3E\x10LO", *b"\x10\0\x10\0PN"] {
                let at = file.windows(6).position(|w| w[..4] == element[..4] && w[4..] == *b"UN").unwrap();
                let length = [file[at + 8], file[at + 9]];
                file.splice(at + 4..at + 12, element[4..].iter().copied().chain(length));
            }
            fs::write(&path, file).unwrap();
        }
        let series = open(folder.path()).unwrap_or_else(|error| panic!("{charset}: {error}"));
        assert_eq!(series.description, expected, "{charset}");
        let name = series.header.get(tags::PATIENT_NAME).unwrap();
        assert_eq!(name.value().multiplicity(), 1, "{charset}");
        assert_eq!(name.to_str().unwrap(), expected, "{charset}");
    }
}

#[test]
fn a_scan_reports_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    Phantom { size: [2, 2, 150], ..Phantom::default() }.write(folder.path());
    let mut events = Vec::new();
    let mut control = Control::none().on_progress(|event| {
        events.push((event.stage, event.done, event.total));
        Flow::Continue
    });
    scan(&[folder.path()], &mut control).unwrap();
    drop(control);
    assert_eq!(events.last(), Some(&(Stage::Read, 150, 150)));
    assert!(events.len() > 2);
    let cancel = Cancel::default();
    cancel.trigger();
    let stopped = scan(&[folder.path()], &mut Control::none().with_cancel(&cancel));
    assert!(matches!(stopped, Err(Error::Cancelled)));
}

/// The metadata pass takes at most a millisecond a file on a warm cache (debug builds are not held to it).
#[test]
fn headers_are_read_quickly() {
    let folder = tempfile::tempdir().unwrap();
    Phantom { size: [512, 512, 100], ..Phantom::default() }.write(folder.path());
    scan(&[folder.path()], &mut Control::none()).unwrap();
    let start = Instant::now();
    scan(&[folder.path()], &mut Control::none()).unwrap();
    let each = start.elapsed().as_secs_f64() * 1e3 / 100.0;
    println!("{each:.3} ms a header");
    assert!(cfg!(debug_assertions) || each < 1.0, "{each} ms a header");
}
