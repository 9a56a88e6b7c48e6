//! The original's prepared data: slices in npz and volumes in hdf5.

use super::*;

/// Slices of two cases, image values tell case and slice.
pub fn slices(set: &Folder) {
    for (case, count) in [("case0005", 12), ("case0006", 2)] {
        for n in 0..count {
            let (image, labels) = ([n as f32; 6], [0.0, 0.0, 1.0, 2.0, 0.0, n as f32]);
            write_npz(&set.at(&format!("train_npz/{case}_slice{n:03}.npz")), [2, 3], &image, &labels);
        }
    }
}

#[test]
fn slices_of_prepared_data_become_volumes() {
    let set = Folder::new();
    slices(&set);
    let found = set.open("");
    assert_eq!(ids(&found), [("case0005", "case0005"), ("case0006", "case0006")]);
    assert_eq!((found.placed, found.labels.len()), (false, 11), "labels as they are numbered");
    let (volume, labels) = found.cases[0].load().unwrap();
    assert_eq!((volume.geometry().size, volume.geometry().spacing), ([3, 2, 12], [1.0; 3]));
    let expected: Vec<f32> = (0..12).flat_map(|n| [n as f32; 6]).collect();
    assert_eq!(volume.to_vec().unwrap(), expected);
    assert_eq!(labels[60..66], [0, 0, 1, 2, 0, 10], "slice 10 after slice 9");
    let spaced = set.open("spacing: [0.7, 0.8, 3]");
    assert_eq!(spaced.cases[0].load().unwrap().0.geometry().spacing, [0.7, 0.8, 3.0]);

    set.refused("spacing: [0, 1, 1]", "spacing is [0.0, 1.0, 1.0], expected three distances");
    fs::remove_file(set.at("train_npz/case0005_slice004.npz")).unwrap();
    set.refused("", "train_npz: case0005 has slices 0 to 11 without 4, expected no gaps");
    write_npz(&set.at("train_npz/case0005_slice004.npz"), [3, 2], &[0.0; 6], &[0.0; 6]);
    let labelled = "labels: [{ value: 1, name: a }, { value: 2, name: b }]";
    let error = load_error(&set.open(labelled).cases[0]);
    assert!(error.contains("slice004.npz: image has the shape [3, 2], the slices before it [2, 3]"), "{error}");
    write_npz(&set.at("train_npz/case0005_slice004.npz"), [2, 3], &[f32::NAN; 6], &[0.5; 6]);
    let error = load_error(&set.open(labelled).cases[0]);
    assert!(error.contains("case0005_slice000.npz to case0005_slice011.npz: image: value 24 is NaN"), "{error}");
    write_npz(&set.at("train_npz/case0005_slice4.npz"), [2, 3], &[0.0; 6], &[0.0; 6]);
    set.refused("", "slice 4 of case0005 is there twice");
    fs::remove_file(set.at("train_npz/case0005_slice4.npz")).unwrap();
    set.text("train_npz/odd.npz", "");
    set.refused("", "odd.npz: expected a name such as case0005_slice012.npz");
}

#[test]
fn damaged_arrays_are_errors() {
    let set = Folder::new();
    write_npz(&set.at("train_npz/c_slice0.npz"), [2, 3], &[1.0; 6], &[1.0; 6]);
    let good = fs::read(set.at("train_npz/c_slice0.npz")).unwrap();
    let labelled = "labels: [{ value: 1, name: a }]";
    let mut refused = 0;
    for cut in (0..good.len()).step_by(7) {
        fs::write(set.at("train_npz/c_slice0.npz"), &good[..cut]).unwrap();
        refused += usize::from(set.open(labelled).cases[0].load().is_err());
    }
    assert_eq!(refused, good.len().div_ceil(7), "every cut file is refused");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        fs::write(set.at("train_npz/c_slice0.npz"), bad).unwrap();
        let _ = set.open(labelled).cases[0].load(); // may be right still, must not panic
    }
}

#[test]
fn lists_of_prepared_data_are_the_usual_split() {
    let set = Folder::new();
    slices(&set);
    let train: String = (0..12).map(|n| format!("case0005_slice{n:03}\n")).collect();
    set.text("lists/lists_Synapse/train.txt", &train);
    set.text("lists/lists_Synapse/test_vol.txt", "case0006\n");
    let parts = |set: &Folder, split: Option<&Split>| {
        set.open("").parts(split, set.0.path()).map(|parts| (parts.train, parts.validation)).map_err(|e| e.to_string())
    };
    assert_eq!(parts(&set, None).unwrap(), (vec![0], vec![1]));
    let other: Split = serde_yaml::from_str("{ fold: 0, of: 2, seed: 3 }").unwrap();
    let folds = [0, 1].map(|fold| serde_yaml::from_str(&format!("{{ fold: {fold}, of: 2, seed: 3 }}")).unwrap());
    let mut validated: Vec<usize> =
        folds.iter().flat_map(|split: &Split| parts(&set, Some(split)).unwrap().1).collect();
    validated.sort_unstable();
    assert_eq!(validated, [0, 1], "a stated split goes before the lists");

    set.text("lists/lists_Synapse/train.txt", &train["case0005_slice000\n".len()..]);
    let error = parts(&set, None).unwrap_err();
    assert!(error.ends_with("train.txt: slices 0 of case0005 are there and not listed"), "{error}");
    set.text("lists/lists_Synapse/train.txt", &format!("{train}case0005_slice099\n"));
    let error = parts(&set, None).unwrap_err();
    assert!(error.ends_with("train.txt: slices 99 of case0005 are listed and not there"), "{error}");
    assert!(parts(&set, Some(&other)).is_ok(), "lists that are not used do no harm");
    set.text("lists/lists_Synapse/train.txt", &train);
    set.text("lists/lists_Synapse/test_vol.txt", "case0006.npy.h5\ncase0008\n");
    let error = parts(&set, None).unwrap_err();
    assert!(error.ends_with("1 cases are not in the data set: case0008"), "{error}");
    set.text("lists/lists_Synapse/test_vol.txt", "case0005\n");
    let error = parts(&set, None).unwrap_err();
    assert!(error.ends_with("subjects that train and validate: case0005"), "{error}");
    set.text("train.txt", "case0005\n");
    let error = parts(&set, None).unwrap_err();
    assert!(error.contains("lists in several folders"), "{error}");
    fs::remove_dir_all(set.at("lists")).unwrap();
    assert_eq!(parts(&set, None).unwrap(), (vec![0], vec![]), "a list in the folder itself, of whole cases");
}

#[test]
fn volumes_in_hdf5_have_no_place_in_the_patient() {
    let Some(acdc) = common::data("volumes_in_hdf5", "acdc-cine-mr/volumes") else { return };
    let set = Folder::new();
    for name in ["patient001_frame01.h5", "patient001_frame12.h5", "patient007_frame01.h5"] {
        fs::copy(acdc.join(name), set.at(name)).unwrap();
    }
    let found = set.open("");
    assert_eq!(
        ids(&found),
        [
            ("patient001_frame01", "patient001"),
            ("patient001_frame12", "patient001"),
            ("patient007_frame01", "patient007")
        ]
    );
    assert_eq!(names(&found), [(1, "1"), (2, "2"), (3, "3")]);
    assert_eq!(set.open("subject: { characters: 10 }").cases[2].subject, "patient007");
    let (volume, labels) = found.cases[0].load().unwrap();
    let pixels = volume.to_vec().unwrap();
    let ends = pixels.iter().fold((1.0f32, 0.0f32), |(low, high), &x| (low.min(x), high.max(x)));
    assert_eq!((ends, labels.iter().max()), ((0.0, 1.0), Some(&3)), "as its README says");

    // Planned input: slices as stored.
    let yaml = format!("data: {{ folder: {} }}\noutput: run\npreset: tiny\n", set.0.path().display());
    set.text("train.yaml", &yaml);
    let device = Devices::cpu();
    let config = TrainConfig::read(&set.at("train.yaml")).unwrap();
    let run = config.resolve(set.0.path(), &device, &mut Control::none()).unwrap();
    let input = &run.model.input;
    assert_eq!((input.plane, &input.orientation), (transunet::config::Plane::Acquisition, &None));
    assert_eq!((input.spacing, run.model.input_size()), (None, [112, 112]), "slices of any spacing fill the canvas");
    set.text("train.yaml", &yaml.replace("data: {", "data: { spacing: [1.5, 1.5, 10],"));
    let config = TrainConfig::read(&set.at("train.yaml")).unwrap();
    let run = config.resolve(set.0.path(), &device, &mut Control::none()).unwrap();
    assert!(run.model.input.spacing.is_some());

    let good = fs::read(set.at("patient007_frame01.h5")).unwrap();
    let labelled = "labels: [{ value: 1, name: a }, { value: 2, name: b }, { value: 3, name: c }]";
    for cut in [0, 8, 100, 2000, good.len() / 2] {
        fs::write(set.at("patient007_frame01.h5"), &good[..cut]).unwrap();
        let error = load_error(&set.open(labelled).cases[2]);
        assert!(error.contains("patient007_frame01.h5: "), "{error}");
    }
    // The structure is in the first kilobytes.
    for at in (0..2048).step_by(5) {
        let mut bad = good.clone();
        bad[at] ^= 0xA5;
        fs::write(set.at("patient007_frame01.h5"), bad).unwrap();
        let _ = set.open(labelled).cases[2].load(); // an error or not, but no panic and no end of memory
    }
}
