//! The YAML description of a model: what is accepted, what is written back, and what a mistake is answered with.

use transunet::config::{Compat, Intensity, ModelConfig, Plane, Sizes, beside, read_document};
use transunet::network::{Architecture, Stem};

const FULL: &str = "
format: 1
name: Abdomen
architecture: { preset: r50-vit-b16, image_size: 224, channels: 3, classes: 3, skips: 2 }
input:
  plane: axial
  orientation: LPS
  size: [224, 256]
  intensity: { kind: window, low: -125, high: 275 }
labels:
  - { value: 2, name: Left kidney, type: [64033007, SCT, Kidney], modifier: ['7771000', SCT, Left] }
  - { value: 1, name: Aorta, color: [216, 108, 54], category: [123037004, SCT, Anatomical Structure], type: [15825003, SCT, Aorta] }
provenance: { source: a test }
licence: CC0
intended_use: research
compat: transunet-2021
";

#[test]
fn a_full_document_is_read() {
    let config = ModelConfig::from_yaml(FULL, "model.yaml").unwrap();
    assert_eq!(config.architecture, Architecture { skips: 2, ..Architecture::r50_vit_b16(224, 3) });
    assert_eq!(config.input.plane, Plane::Axial);
    assert_eq!(config.input_size(), [224, 256]);
    assert_eq!(config.input.intensity, Intensity::Window { low: -125.0, high: 275.0 });
    assert_eq!(
        config.labels.iter().map(|l| &l.name[..]).collect::<Vec<_>>(),
        ["Aorta", "Left kidney"],
        "in order of value"
    );
    assert_eq!(config.labels[1].modifier.as_ref().unwrap().value, "7771000");
    assert_eq!(config.labels[1].type_code().value, "64033007");
    assert_eq!(config.compat, Some(Compat::TransUnet2021));
}

#[test]
fn what_is_written_is_read_back_equal() {
    let documents = [
        FULL.to_owned(),
        "architecture: { preset: vit-b16, classes: 2 }".to_owned(),
        "architecture: { preset: tiny, image_size: [64, 96], classes: 4 }\ninput: { intensity: { kind: percentile, low: 0.5, high: 99.5 } }".to_owned(),
        "architecture: { preset: small, stem: null, classes: 2, heads: 16 }\ninput: { plane: coronal, intensity: { kind: zscore } }".to_owned(),
        "name: 'yes: #1 \"quoted\" é'\narchitecture: { preset: tiny }\nlabels: [{ value: 1, name: 'null' }]".to_owned(),
    ];
    for document in documents {
        let config = ModelConfig::from_yaml(&document, "first").unwrap();
        let written = config.to_yaml().unwrap();
        let again = ModelConfig::from_yaml(&written, "second").unwrap();
        assert_eq!(config, again, "{written}");
        assert_eq!(written, again.to_yaml().unwrap(), "canonical");
    }
}

#[test]
fn sizes_left_out_come_from_the_preset_the_labels_or_the_weights() {
    let tiny = ModelConfig::from_yaml(
        "architecture: { preset: tiny }\nlabels: [{ value: 1, name: A }, { value: 2, name: B }]",
        "x",
    );
    assert_eq!(tiny.unwrap().architecture, Architecture::tiny(224, 3), "classes from the labels");

    let weights = Architecture { hidden: 16, heads: 1, ..Architecture::tiny(64, 4) };
    let seen = Sizes { heads: None, ..Sizes::from(weights.clone()) };
    let heads = ModelConfig::for_checkpoint(Some(("architecture: { heads: 2 }", "x.yaml")), &seen).unwrap();
    assert_eq!(heads.architecture, Architecture { heads: 2, ..weights.clone() });
    assert_eq!(heads.labels.iter().map(|l| &l.name[..]).collect::<Vec<_>>(), ["1", "2", "3"]);

    let no_stem =
        ModelConfig::for_checkpoint(Some(("architecture: { stem: ~, skips: 0, heads: 4 }", "x.yaml")), &seen).unwrap();
    assert_eq!(no_stem.architecture.stem, None);
    let stem = ModelConfig::for_checkpoint(
        Some(("architecture: { stem: { width: 64, units: [1, 2, 3] }, heads: 4, image_size: 96 }", "x.yaml")),
        &seen,
    );
    let stem = stem.unwrap().architecture;
    assert_eq!((stem.stem, stem.image_size), (Some(Stem { width: 64, units: [1, 2, 3] }), [96, 96]));

    let labels_alone = "labels: [{ value: 1, name: A }, { value: 2, name: B }, { value: 3, name: C }]";
    let known = Sizes { heads: Some(4), ..seen.clone() };
    assert_eq!(ModelConfig::for_checkpoint(Some((labels_alone, "x")), &known).unwrap().labels[2].name, "C");
    for empty in ["", "# nothing yet\n", "---\n"] {
        let config = ModelConfig::for_checkpoint(Some((empty, "x")), &known).unwrap();
        assert_eq!(config, ModelConfig::undescribed(Architecture { heads: 4, ..weights.clone() }), "{empty:?}");
    }

    let error = ModelConfig::for_checkpoint(None, &seen).unwrap_err().to_string();
    assert!(error.contains("heads not given and cannot be seen") && error.contains("heads: ..."), "{error}");
}

/// What people write wrong, and parts of the answer.
#[test]
fn mistakes_are_answered_with_place_and_remedy() {
    let tiny = |rest: &str| format!("architecture: {{ preset: tiny, classes: 3 }}\n{rest}");
    let labels = |rest: &str| format!("architecture: {{ preset: tiny, classes: 3 }}\nlabels:\n{rest}");
    let ab = "  - { value: 1, name: A }\n  - { value: 2, name: B";
    let cases: Vec<(String, &[&str])> = vec![
        ("architecture: [".into(), &["line 1"]),
        ("just text".into(), &["expected"]),
        ("format: 2\nfuture: yes".into(), &["made by a newer version", "up to 1"]),
        ("format: 0\narchitecture: { preset: tiny, classes: 2 }".into(), &["format: is 0"]),
        ("format: one".into(), &["format", "line 1"]),
        (tiny("label: []"), &["unknown field `label`", "`labels`", "line 2"]),
        (tiny("name: a\nname: b"), &["duplicate", "name"]),
        ("architecture: { preset: huge, classes: 2 }".into(), &["preset", "huge", "r50-vit-b16", "tiny"]),
        ("architecture: { preset: tiny, clases: 2 }".into(), &["architecture", "unknown field `clases`", "`classes`", "line 1"]),
        ("architecture: { preset: tiny }".into(), &["classes not given"]),
        ("architecture: { hidden: 8 }".into(), &["image_size, channels, classes, stem, heads"]),
        ("architecture: { preset: tiny, classes: two }".into(), &["architecture.classes", "line 1", "two"]),
        ("architecture: { preset: tiny, classes: 2, image_size: big }".into(), &["image_size", "a number or [height, width]"]),
        ("architecture: { preset: tiny, classes: 2, image_size: 100 }".into(), &["image_size has 100", "multiple of 16"]),
        ("architecture: { preset: tiny, classes: 2, heads: 5 }".into(), &["hidden 64 is not a multiple of heads 5"]),
        ("architecture: { preset: tiny, classes: 300 }".into(), &["classes: is 300", "8-bit"]),
        ("architecture: { preset: tiny, classes: 1 }".into(), &["classes: is 1", "background"]),
        ("architecture: { preset: vit-b16, classes: 2, skips: 1 }".into(), &["skips is 1"]),
        ("architecture: { preset: tiny, classes: -2 }".into(), &["classes", "line 1"]),
        ("architecture: { preset: tiny, classes: 99999999999999999999 }".into(), &["classes", "line 1"]),
        (tiny("input: { plane: oblique }"), &["input.plane", "oblique", "`axial`", "line 2"]),
        (tiny("input: { orientation: LRS }"), &["input.orientation", "LRS", "one each of L or R"]),
        (tiny("input: { orientation: LP }"), &["input.orientation", "three letters"]),
        (tiny("input: { orientation: lps }"), &["input.orientation", "such as \"LPS\""]),
        (tiny("input: { size: [0, 64] }"), &["input.size", "has 0"]),
        (tiny("input: { size: 64 }"), &["input.size", "line 2"]),
        (tiny("input: { intensity: { kind: window, low: 5, high: 5 } }"), &["input.intensity", "low below high"]),
        (tiny("input: { intensity: { kind: window, low: .nan, high: 5 } }"), &["input.intensity", "finite"]),
        (tiny("input: { intensity: { kind: percentile, low: 1, high: 101 } }"), &["percentiles 1 and 101"]),
        (tiny("input: { intensity: { kind: window, low: 5 } }"), &["intensity", "need low and high", "line 2"]),
        (tiny("input: { intensity: { kind: windows, low: 5, high: 6 } }"), &["windows", "`window`", "`percentile`", "line 2"]),
        (tiny("input: { intensity: { kind: zscore, low: 5 } }"), &["intensity", "take no low and high"]),
        (tiny("input: { intensity: { kind: window, low: 1, hihg: 6 } }"), &["unknown field `hihg`", "line 2"]),
        (tiny("compat: monai"), &["compat", "monai", "transunet-2021"]),
        (tiny("provenance: { sourse: x }"), &["provenance", "unknown field `sourse`", "`source`"]),
        (tiny("name: ''"), &["name: is empty"]),
        (tiny(&format!("name: {}", "x".repeat(65))), &["name: has 65 characters", "at most 64"]),
        (labels("  - { value: 1, name: A }\n"), &["labels: classes 2 have no name"]),
        (labels(&format!("{ab} }}\n  - {{ value: 2, name: C }}")), &["labels[2].value: 2 is used twice"]),
        (labels(&format!("{ab} }}\n  - {{ value: 3, name: C }}")), &["labels[2].value: is 3, expected 1 to 2"]),
        (labels(&format!("{ab} }}\n  - {{ value: 0, name: C }}")), &["labels[2].value: is 0", "background"]),
        (labels(&format!("{ab} }}\n  - {{ value: 256, name: C }}")), &["labels[2].value", "256", "line 5"]),
        (labels("  - { value: 1, nam: A }"), &["labels[0]", "unknown field `nam`", "`name`", "line 3"]),
        (labels("  - { value: 1 }"), &["labels[0]", "missing field `name`", "line 3"]),
        (labels(&format!("{ab}, color: [1, 2, 300] }}")), &["labels[1].color", "300", "line 4"]),
        (labels(&format!("{ab}, color: [1, 2] }}")), &["labels[1].color", "line 4"]),
        (labels(&format!("{ab}, type: [1, SCT] }}")), &["labels[1].type", "line 4"]),
        (labels(&format!("{ab}, type: [[1], SCT, X] }}")), &["labels[1].type", "a number or a text"]),
        (labels(&format!("{ab}, type: [12345678901234567, SCT, X] }}")), &["labels[1].type (code value)", "at most 16"]),
        (labels(&format!("{ab}, type: [1, '', X] }}")), &["labels[1].type (coding scheme): is empty"]),
        (labels(&format!("{ab}, region: [1, SCT, {}] }}", "x".repeat(65))), &["labels[1].region (meaning): has 65"]),
        (labels("  - { value: 1, name: 'a\\b' }\n  - { value: 2, name: B }"), &["labels[0].name", "backslash"]),
        // Several faults at once are all told.
        (
            "name: ' '\narchitecture: { preset: tiny, classes: 2, heads: 5 }\ninput: { orientation: X }\nlabels: [{ value: 9, name: '' }]".into(),
            &["name: is empty", "heads 5", "input.orientation", "labels[0].value: is 9", "labels[0].name", "classes 1 have no name"],
        ),
        // An alias bomb.
        (
            format!(
                "a0: &a0 [x,x,x,x,x,x,x,x,x]\n{}",
                (1..12).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(","))).collect::<String>()
            ),
            &["unknown field `a0`"],
        ),
        ("[".repeat(100_000), &["opening brackets"]),
        ("#".repeat(2 << 20), &["expected at most 1048576"]),
    ];
    let mut wrong = Vec::new();
    for (document, parts) in &cases {
        let shown: String = document.chars().take(160).collect();
        match ModelConfig::from_yaml(document, "model.yaml") {
            Ok(_) => wrong.push(format!("accepted: {shown}")),
            Err(error) => {
                let text = error.to_string();
                if !text.starts_with("model.yaml: ")
                    || parts.iter().any(|part| !text.contains(part))
                    || text.len() > 1000
                {
                    wrong.push(format!("{shown}\n  -> {text}\n  wanted {parts:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_description_of_a_checkpoint_stands_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("epoch_149.pth");
    assert_eq!(beside(&weights), None);
    let description = folder.path().join("epoch_149.yaml");
    std::fs::write(&description, FULL).unwrap();
    assert_eq!(beside(&weights), Some(description.clone()));
    assert_eq!(read_document(&description).unwrap(), FULL);
    std::fs::write(&description, [0xff, 0xfe]).unwrap();
    assert!(read_document(&description).unwrap_err().to_string().contains("not UTF-8"));
}
