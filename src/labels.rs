//! What the classes of a model mean: names, colours and DICOM codes.

use serde::{Deserialize, Serialize};

/// A coded concept, written in YAML as `[value, scheme, meaning]` (DICOM PS3.3 section 8.8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(CodeValue, String, String)", into = "(String, String, String)")]
pub struct Code {
    pub value: String,
    /// Coding scheme designator: "SCT" for SNOMED CT, "DCM", "99LOCAL".
    pub scheme: String,
    pub meaning: String,
}

/// YAML writes SNOMED codes as numbers or strings; both mean the same text.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a code [value, scheme, meaning] whose value is a number or a text")]
enum CodeValue {
    Number(u64),
    Text(String),
}

impl From<(CodeValue, String, String)> for Code {
    fn from((value, scheme, meaning): (CodeValue, String, String)) -> Self {
        let value = match value {
            CodeValue::Number(number) => number.to_string(),
            CodeValue::Text(text) => text,
        };
        Code { value, scheme, meaning }
    }
}

impl From<Code> for (String, String, String) {
    fn from(code: Code) -> Self {
        (code.value, code.scheme, code.meaning)
    }
}

impl Code {
    pub fn new(value: &str, scheme: &str, meaning: &str) -> Self {
        Code { value: value.into(), scheme: scheme.into(), meaning: meaning.into() }
    }
}

/// One foreground class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Class index of the network and value in label maps; 0 is the background and never listed.
    pub value: u8,
    pub name: String,
    /// sRGB; a distinct colour is chosen when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<[u8; 3]>,
    /// Segmented Property Category; "Anatomical Structure" when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Code>,
    /// Segmented Property Type; "Tissue" when absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Code>,
    /// Laterality or another modifier of the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modifier: Option<Code>,
    /// Anatomic region, for findings such as lesions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Code>,
}

impl Label {
    /// A label that says no more than its number: what a foreign checkpoint without a description gets.
    pub fn numbered(value: u8) -> Self {
        Label { value, name: value.to_string(), color: None, category: None, kind: None, modifier: None, region: None }
    }

    /// The colour to draw the label in, sRGB.
    pub fn rgb(&self) -> [u8; 3] {
        self.color.unwrap_or_else(|| distinct_color(self.value))
    }

    pub fn category_code(&self) -> Code {
        self.category.clone().unwrap_or_else(|| Code::new("123037004", "SCT", "Anatomical Structure"))
    }

    pub fn type_code(&self) -> Code {
        self.kind.clone().unwrap_or_else(|| Code::new("85756007", "SCT", "Tissue"))
    }
}

/// Walks the hue circle by the golden angle, so that neighbouring values look different.
fn distinct_color(value: u8) -> [u8; 3] {
    let hue = (f64::from(value) * 137.507_764).rem_euclid(360.0) / 60.0;
    let (low, high) = (0.25, 0.85);
    let ramp = |offset: f64| {
        let x = (hue + offset).rem_euclid(6.0);
        let t = (2.0 - (x - 3.0).abs()).clamp(0.0, 1.0);
        ((low + (high - low) * t) * 255.0).round() as u8
    };
    [ramp(3.0), ramp(1.0), ramp(5.0)]
}
