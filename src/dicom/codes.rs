//! Coded concepts and colours as DICOM writes them.

use dicom::core::{Tag, VR};
use dicom::dictionary_std::tags;
use dicom::object::InMemDicomObject;
use dicom::object::mem::InMemElement;

use super::attributes::{LONG_STRING, item, long_string, one_line, sequence, text};
use crate::error::{Error, Result};
use crate::geometry::{cross, dot};
use crate::labels::Code;

/// Longest Code Value and Coding Scheme Designator (SH).
const SHORT_STRING: usize = 16;

/// A code of the DICOM controlled terminology (PS3.16 annex D).
pub fn dcm(value: &str, meaning: &str) -> Code {
    Code::new(value, "DCM", meaning)
}

/// A code sequence of one item.
pub fn code_sequence(tag: Tag, code: &Code) -> InMemElement {
    sequence(tag, vec![code_item(code)])
}

/// Code Sequence Macro (PS3.3 section 8.8).
pub fn code_item(code: &Code) -> InMemDicomObject {
    let value = if code.value.len() <= SHORT_STRING {
        text(tags::CODE_VALUE, VR::SH, &code.value)
    } else {
        text(tags::LONG_CODE_VALUE, VR::UC, &code.value)
    };
    item([
        value,
        text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, &code.scheme),
        long_string(tags::CODE_MEANING, &code.meaning),
    ])
}

/// Refuses a code that cannot be written; `what` names it in the message.
pub fn check_code(code: &Code, what: &str) -> Result<()> {
    let refuse = |text: String| Err(Error::Argument(format!("{what}: {text}")));
    for (part, value) in [("value", &code.value), ("scheme", &code.scheme), ("meaning", &code.meaning)] {
        if value.trim().is_empty() {
            return refuse(format!("the code's {part} is empty, expected [value, scheme, meaning]"));
        }
    }
    for (part, value) in [("value", &code.value), ("scheme", &code.scheme)] {
        if one_line(value, usize::MAX) != *value {
            return refuse(format!(
                "the code's {part} {value:?} has spaces around it, a backslash or a control character"
            ));
        }
    }
    if code.scheme.len() > SHORT_STRING {
        return refuse(format!("coding scheme {:?} has more than {SHORT_STRING} characters", code.scheme));
    }
    if code.meaning.len() > LONG_STRING {
        log::warn!("{what}: meaning {:?} is cut to {LONG_STRING} bytes", code.meaning);
    }
    Ok(())
}

/// sRGB to XYZ of the D50 white point of the ICC profile connection space (IEC 61966-2-1, Bradford adaptation).
const RGB_TO_XYZ_D50: [[f64; 3]; 3] =
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]];

/// Recommended Display CIELab Value of an sRGB colour (PS3.3 section C.10.7.1.1): L* 0..100 and a*, b* -128..127,
/// each over 0..65535.
pub fn cielab(rgb: [u8; 3]) -> [u16; 3] {
    let linear = rgb.map(|channel| {
        let x = f64::from(channel) / 255.0;
        if x <= 0.04045 { x / 12.92 } else { ((x + 0.055) / 1.055).powf(2.4) }
    });
    // The row sums are the white point, so that greys have a* = b* = 0.
    let [x, y, z] = RGB_TO_XYZ_D50.map(|row| {
        let white: f64 = row.iter().sum();
        compress(row.iter().zip(linear).map(|(m, v)| m * v).sum::<f64>() / white)
    });
    let (l, a, b) = (116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z));
    [l * 655.35, (a + 128.0) * 257.0, (b + 128.0) * 257.0].map(|v| v.round().clamp(0.0, 65535.0) as u16)
}

/// The sRGB colour nearest to a Recommended Display CIELab Value: inverse of [`cielab`].
pub fn rgb(lab: [u16; 3]) -> [u8; 3] {
    let [l, a, b] = lab.map(f64::from);
    let y = (l / 655.35 + 16.0) / 116.0;
    let scaled = [y + (a / 257.0 - 128.0) / 500.0, y, y - (b / 257.0 - 128.0) / 200.0].map(expand);
    let rows = RGB_TO_XYZ_D50;
    let xyz: [f64; 3] = std::array::from_fn(|n| scaled[n] * rows[n].iter().sum::<f64>());
    // Cramer's rule: the channels are the solution of rows * channels = xyz.
    let columns: [[f64; 3]; 3] = std::array::from_fn(|c| std::array::from_fn(|r| rows[r][c]));
    let volume = |[a, b, c]: [[f64; 3]; 3]| dot(cross(a, b), c);
    let channel = |n: usize| {
        let mut replaced = columns;
        replaced[n] = xyz;
        let x = volume(replaced) / volume(columns);
        let x = if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 };
        (x * 255.0).round().clamp(0.0, 255.0) as u8
    };
    std::array::from_fn(channel)
}

/// Inverse of [`compress`].
fn expand(t: f64) -> f64 {
    if t > 6.0 / 29.0 { t.powi(3) } else { (116.0 * t - 16.0) * 27.0 / 24389.0 }
}

/// The cube root of CIELab with its linear part near black.
fn compress(t: f64) -> f64 {
    if t > 216.0 / 24389.0 { t.cbrt() } else { (24389.0 / 27.0 * t + 16.0) / 116.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_the_eight_abdominal_organs() {
        for (rgb, lab) in [
            ([216, 108, 54], [38191, 43356, 45556]),
            ([54, 216, 119], [50317, 17854, 42017]),
            ([46, 138, 184], [35220, 28855, 24552]),
            ([34, 102, 136], [26347, 29645, 26354]),
            ([40, 140, 40], [33523, 21441, 43769]),
            ([60, 150, 80], [36330, 22659, 40218]),
            ([50, 170, 60], [40292, 19841, 44458]),
            ([180, 70, 160], [31359, 46535, 26063]),
            ([0, 0, 0], [0, 32896, 32896]),
            ([255, 255, 255], [65535, 32896, 32896]),
        ] {
            assert_eq!(cielab(rgb), lab, "{rgb:?}");
            assert_eq!(super::rgb(lab), rgb, "back");
        }
    }

    #[test]
    fn bad_codes_are_refused_with_the_reason() {
        for (code, expected) in [
            (Code::new("", "SCT", "Liver"), "label 1, type: the code's value is empty"),
            (Code::new("1", " ", "Liver"), "label 1, type: the code's scheme is empty"),
            (Code::new("1", "SCT", ""), "label 1, type: the code's meaning is empty"),
            (Code::new("1\\2", "SCT", "Liver"), "label 1, type: the code's value \"1\\\\2\" has"),
            (
                Code::new("1", "A-LONG-SCHEME-NAME", "Liver"),
                "label 1, type: coding scheme \"A-LONG-SCHEME-NAME\" has more",
            ),
        ] {
            let message = check_code(&code, "label 1, type").unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
