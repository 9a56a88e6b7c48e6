//! Series that hold more than one volume, or images that are part of none: what is chosen, by which rules, and why.

mod common;
#[path = "common/phantom.rs"]
mod phantom;
#[path = "common/read_back.rs"]
mod read_back;

use std::fs;
use std::path::Path;

use dicom::core::{DataElement, PrimitiveValue, Tag, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::object::InMemDicomObject;
use phantom::{Phantom, put_text};
use read_back::{open, voxels};
use transunet::control::Control;
use transunet::dicom::{Series, SeriesChoice, Tilt, scan};
use transunet::error::{Error, Result};

/// Adds the phantom's slices to `folder` as another volume of the same series, told apart by `edit(k, slice)`.
fn add(folder: &Path, volume: usize, phantom: &Phantom, edit: impl Fn(usize, &mut InMemDicomObject)) {
    let place = folder.join(volume.to_string());
    fs::create_dir_all(&place).unwrap();
    phantom.write_with(&place, |k, slice| {
        let count = phantom.size[2];
        let number = volume * count + k + 1;
        put_text(slice, tags::SOP_INSTANCE_UID, VR::UI, &format!("{}.{number}", phantom.series_uid));
        put_text(slice, tags::INSTANCE_NUMBER, VR::IS, &number.to_string());
        edit(k, slice);
    });
}

/// A phantom whose values tell which volume it is.
fn volume(n: usize) -> Phantom {
    Phantom { intercept: 10_000.0 * n as f64, ..Phantom::default() }
}

fn by(folder: &Path, rules: &str) -> Result<Series> {
    Series::open(&[folder], &rules.parse::<SeriesChoice>().unwrap().into(), &mut Control::none())
}

/// Whether the voxels are those of `volume(n)`.
fn is(series: &Series, n: usize) -> bool {
    let phantom = volume(n);
    let [columns, rows, _] = phantom.size;
    voxels(series)
        .iter()
        .enumerate()
        .all(|(at, value)| *value == phantom.value(at % columns, at / columns % rows, at / columns / rows))
}

fn number(tag: Tag, vr: VR, value: impl ToString) -> impl Fn(usize, &mut InMemDicomObject) {
    let text = value.to_string();
    move |_, slice| put_text(slice, tag, vr, &text)
}

#[test]
fn volumes_are_told_apart_by_what_their_images_say() {
    type Mark = Box<dyn Fn(usize) -> Box<dyn Fn(usize, &mut InMemDicomObject)>>;
    let echo_times = ["2.38", "4.76", "11.9"];
    let table: Vec<(&str, Mark, [&str; 3])> = vec![
        (
            "temporal position",
            Box::new(|n| Box::new(number(tags::TEMPORAL_POSITION_IDENTIFIER, VR::IS, n + 4))),
            ["time=1", "time=2", "time=3"],
        ),
        (
            "echo time",
            Box::new(move |n| Box::new(number(tags::ECHO_TIME, VR::DS, echo_times[n]))),
            ["echo=1", "echo=2", "echo=3"],
        ),
        (
            "magnitude, phase and real part",
            Box::new(|n| {
                Box::new(number(tags::IMAGE_TYPE, VR::CS, format!("ORIGINAL\\PRIMARY\\{}\\ND", ["M", "P", "R"][n])))
            }),
            ["type=M", "type=P", "type=R"],
        ),
        (
            "b-value",
            Box::new(|n| {
                Box::new(move |_, slice| {
                    let value = PrimitiveValue::from([0.0, 500.0, 1000.0][n]);
                    slice.put(DataElement::new(tags::DIFFUSION_B_VALUE, VR::FD, value));
                })
            }),
            ["b=0", "b=500", "b>=800"],
        ),
        (
            "acquisition",
            Box::new(|n| Box::new(number(tags::ACQUISITION_NUMBER, VR::IS, n + 1))),
            ["acquisition=1", "acquisition=2", "acquisition=3"],
        ),
        (
            // Every image has a time of its own, as in a dynamic series: the order at each position counts.
            "acquisition time",
            Box::new(|n| {
                Box::new(move |k, slice| {
                    put_text(slice, tags::ACQUISITION_TIME, VR::TM, &format!("1200{:02}.5", 10 * n + 2 * k));
                })
            }),
            ["time=1", "time=2", "time=3"],
        ),
        (
            "trigger time that drifts from slice to slice",
            Box::new(|n| {
                Box::new(move |k, slice| {
                    put_text(slice, tags::TRIGGER_TIME, VR::DS, &format!("{}", 300 * n + 7 * k));
                })
            }),
            ["phase=1", "phase=2", "phase=3"],
        ),
        ("size", Box::new(|_| Box::new(|_, _| {})), ["volume=1", "volume=2", "volume=3"]),
    ];
    for (name, mark, rules) in table {
        let folder = tempfile::tempdir().unwrap();
        for n in [2, 0, 1] {
            let edit = mark(n);
            // Of the volumes of several sizes, each has its own place too, so that only the size divides them.
            let rows = if name == "size" { 5 + n } else { 5 };
            add(folder.path(), n, &Phantom { size: [7, rows, 4], ..volume(n) }, &edit);
        }
        let error = open(folder.path()).unwrap_err();
        let Error::SeriesChoice(text) = &error else { panic!("{name}: {error}") };
        assert!(text.contains("holds 3 volumes"), "{name}: {text}");
        for (n, rule) in rules.into_iter().enumerate() {
            let series = by(folder.path(), rule).unwrap_or_else(|error| panic!("{name}, {rule}: {error}"));
            assert!(name == "size" || is(&series, n), "{name}, {rule}: other voxels");
            assert_eq!(series.geometry.rows(), if name == "size" { 5 + n } else { 5 });
            assert_eq!(series.instances.len(), 4);
        }
        // What the list of volumes offers picks each of them.
        let found = scan(&[folder.path()], &mut Control::none()).unwrap();
        let listed = found.series[0].volumes(Tilt::Keep).unwrap();
        for (n, one) in listed.iter().enumerate() {
            let series = by(folder.path(), &one.rule).unwrap();
            assert!(name == "size" || is(&series, n), "{name}: {}", one.rule);
        }
        let none = by(folder.path(), "volume=4").unwrap_err().to_string();
        assert!(none.contains("no volume of it fits volume=4") && none.contains("volume is 1"), "{none}");
    }
}

#[test]
fn what_nothing_tells_apart_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    add(folder.path(), 0, &volume(0), |_, _| {});
    add(folder.path(), 1, &volume(1), |_, _| {});
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("duplicate positions: 4 positions x 2 images at each"), "{error}");
    // A mark that only some images have tells nothing about the others.
    let folder = tempfile::tempdir().unwrap();
    add(folder.path(), 0, &volume(0), |_, _| {});
    add(folder.path(), 1, &volume(1), |k, slice| {
        if k < 2 {
            put_text(slice, tags::ACQUISITION_TIME, VR::TM, "120000");
        }
    });
    assert!(open(folder.path()).unwrap_err().to_string().contains("duplicate positions"));
    // Two volumes side by side in one series, of the same marks: the step between them is a gap.
    let folder = tempfile::tempdir().unwrap();
    add(folder.path(), 0, &volume(0), |_, _| {});
    add(folder.path(), 1, &Phantom { origin: [-20.5, 31.25, -60.0], ..volume(1) }, |_, _| {});
    assert!(open(folder.path()).unwrap_err().to_string().contains("gap between slices 3"));
}

#[test]
fn a_time_point_that_lacks_slices_is_refused_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..3 {
        add(folder.path(), n, &volume(n), number(tags::TEMPORAL_POSITION_IDENTIFIER, VR::IS, n + 1));
    }
    fs::remove_file(folder.path().join("1/2.dcm")).unwrap();
    assert!(is(&by(folder.path(), "time=1").unwrap(), 0));
    assert!(is(&by(folder.path(), "time=3").unwrap(), 2));
    let error = by(folder.path(), "time=2").unwrap_err().to_string();
    assert!(error.contains("1 slices seem to be missing"), "{error}");
}

#[test]
fn images_that_are_no_part_of_the_volume_are_left_out_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let files = volume(0).write(folder.path());
    let extra = |name: &str, edit: &dyn Fn(&mut InMemDicomObject)| {
        let mut image = volume(0).slice(1);
        put_text(&mut image, tags::SOP_INSTANCE_UID, VR::UI, &format!("1.2.3.{}", name.len()));
        edit(&mut image);
        phantom::write_file(image, uids::EXPLICIT_VR_LITTLE_ENDIAN, &folder.path().join(name));
    };
    extra("localizer", &|image| {
        put_text(image, tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\LOCALIZER");
        put_text(image, tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\0\\-1");
    });
    extra("capture", &|image| {
        put_text(image, tags::SOP_CLASS_UID, VR::UI, uids::SECONDARY_CAPTURE_IMAGE_STORAGE);
        image.remove_element(tags::IMAGE_POSITION_PATIENT);
    });
    extra("structures", &|image| put_text(image, tags::SOP_CLASS_UID, VR::UI, uids::RT_STRUCTURE_SET_STORAGE));
    fs::copy(&files[2], folder.path().join("copy of 2")).unwrap();
    let series = open(folder.path()).unwrap();
    assert!(is(&series, 0));
    let told = |name: &str, reason: &str| {
        let aside = series.aside.iter().find(|aside| aside.path.ends_with(name)).expect(name);
        assert!(aside.reason.contains(reason), "{name}: {}", aside.reason);
    };
    assert_eq!(series.aside.len(), 4, "{:?}", series.aside);
    told("localizer", "a localizer");
    told("capture", "Secondary Capture without a place");
    told("structures", "an RT structure set");
    told("copy of 2", "a copy of");
    // The same UID with other pixels is no copy.
    let mut other = volume(1).slice(2);
    put_text(&mut other, tags::SERIES_INSTANCE_UID, VR::UI, phantom::SERIES_UID);
    phantom::write_file(other, uids::EXPLICIT_VR_LITTLE_ENDIAN, &folder.path().join("copy of 2"));
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("different images with one SOPInstanceUID") && error.contains("2.dcm"), "{error}");
}

#[test]
fn a_series_of_localizers_is_itself_a_volume() {
    let folder = tempfile::tempdir().unwrap();
    volume(0).write_with(folder.path(), |_, slice| {
        put_text(slice, tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\LOCALIZER");
    });
    assert!(is(&open(folder.path()).unwrap(), 0));
}

#[test]
fn rules_choose_a_series_and_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let series = |uid: &str, slices: usize, thickness: &str, edits: &[(Tag, VR, &str)]| {
        let place = folder.path().join(uid);
        fs::create_dir(&place).unwrap();
        let phantom = Phantom { series_uid: uid.into(), size: [7, 5, slices], ..Phantom::default() };
        phantom.write_with(&place, |_, slice| {
            put_text(slice, tags::SLICE_THICKNESS, VR::DS, thickness);
            for (tag, vr, text) in edits {
                put_text(slice, *tag, *vr, text);
            }
        });
    };
    let described = |text| (tags::SERIES_DESCRIPTION, VR::LO, text);
    let body = |text| (tags::BODY_PART_EXAMINED, VR::CS, text);
    let agent = (tags::CONTRAST_BOLUS_AGENT, VR::LO, "Iomeprol");
    series("1.1", 3, "5", &[described("Scout"), body("ABDOMEN")]);
    series("1.2", 9, "5", &[described("Abdomen native 5.0"), body("ABDOMEN")]);
    series("1.3", 9, "5", &[described("Abdomen venous 5.0"), body("ABDOMEN"), agent]);
    series("1.4", 18, "2", &[described("Abdomen venous 2.0"), body("ABDOMEN"), agent]);
    series("1.5", 9, "5", &[described("Chest venous 5.0"), body("CHEST"), agent]);
    for (rules, uid) in [
        ("contrast=yes,thickness<=3", "1.4"),
        ("contrast=yes,body=abdomen,slices<=10", "1.3"),
        ("description=venous,description!=abdomen", "1.5"),
        ("contrast=no,slices>=5", "1.2"),
        ("description=scout|topogram", "1.1"),
        ("description=abdomen*2.0", "1.4"),
        ("orientation=axial,slices>=12,distance<=2.5", "1.4"),
        ("size=7x5,slices=18", "1.4"),
    ] {
        assert_eq!(by(folder.path(), rules).unwrap_or_else(|e| panic!("{rules}: {e}")).series_uid, uid, "{rules}");
    }
    let error = by(folder.path(), "contrast=yes,thickness<=1").unwrap_err().to_string();
    for part in [
        "no series fits contrast=yes,thickness<=1",
        "\"Scout\": contrast is \"no\", expected contrast=yes",
        "\"Abdomen venous 2.0\": thickness is 2, expected thickness<=1",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    let error = by(folder.path(), "body=abdomen,contrast=yes").unwrap_err().to_string();
    for part in ["2 series fit", "\"Abdomen venous 2.0\": fits, body is \"ABDOMEN\"; contrast is \"yes\"", "\"Chest"] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}
