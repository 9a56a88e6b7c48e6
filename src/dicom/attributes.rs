//! Building data elements: text that fits its value representation, decimals, sequences.

use dicom::core::value::{DataSetSequence, Value};
use dicom::core::{DataElement, PrimitiveValue, Tag, VR};
use dicom::dictionary_std::tags;
use dicom::object::InMemDicomObject;
use dicom::object::mem::InMemElement;

/// Longest Long String (LO). The standard counts characters (PS3.5 section 6.2), some validators bytes: we stay below both.
pub const LONG_STRING: usize = 64;
/// Longest Short Text (ST).
pub const SHORT_TEXT: usize = 1024;

pub fn text(tag: Tag, vr: VR, value: impl Into<String>) -> InMemElement {
    DataElement::new(tag, vr, PrimitiveValue::from(value.into()))
}

/// A Long String: cut to 64 bytes, without the backslash that would split it.
pub fn long_string(tag: Tag, value: &str) -> InMemElement {
    text(tag, VR::LO, one_line(value, LONG_STRING))
}

/// An attribute that must be present and may be empty (type 2).
pub fn empty(tag: Tag, vr: VR) -> InMemElement {
    DataElement::new(tag, vr, PrimitiveValue::Empty)
}

pub fn unsigned(tag: Tag, value: u16) -> InMemElement {
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

pub fn decimals(tag: Tag, values: &[f64]) -> InMemElement {
    text(tag, VR::DS, values.iter().map(|&value| decimal(value)).collect::<Vec<_>>().join("\\"))
}

pub fn item(elements: impl IntoIterator<Item = InMemElement>) -> InMemDicomObject {
    InMemDicomObject::from_element_iter(elements)
}

pub fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> InMemElement {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

/// Text without control characters or backslashes, at most `limit` bytes.
pub fn one_line(value: &str, limit: usize) -> String {
    let plain: String = value
        .chars()
        .map(|c| match c {
            '\\' => '/',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    let plain = plain.trim();
    plain[..plain.floor_char_boundary(limit)].trim_end().to_string()
}

/// A Decimal String: the shortest text that means exactly `value`, or the most precise one of 16 characters
/// (PS3.5 section 6.2).
pub fn decimal(value: f64) -> String {
    const LIMIT: usize = 16;
    let exact = (value + 0.0).to_string(); // adding 0 turns -0 into 0
    if exact.len() <= LIMIT {
        return exact;
    }
    if value.abs() >= 1e14 {
        return format!("{value:.8e}");
    }
    let point = exact.find('.').unwrap_or(exact.len());
    let rounded = format!("{value:.*}", LIMIT.saturating_sub(point + 1));
    let trimmed = rounded.trim_end_matches('0').trim_end_matches('.');
    if matches!(trimmed, "-0" | "") { "0".into() } else { trimmed.into() }
}

/// A copy of an attribute of `source`, unless it is absent or empty. A sequence's items lose their own
/// Specific Character Set: all text is written as UTF-8.
pub fn copied(source: &InMemDicomObject, tag: Tag) -> Option<InMemElement> {
    let element = source.get(tag)?;
    match element.value() {
        Value::Primitive(value) => {
            let blank = value.multiplicity() == 0 || value.to_str().trim_matches([' ', '\0']).is_empty();
            (!blank).then(|| element.clone())
        }
        Value::Sequence(items) if items.items().is_empty() => None,
        Value::Sequence(items) => Some(sequence(tag, items.items().iter().map(utf8_item).collect())),
        Value::PixelSequence(_) => None,
    }
}

/// [`copied`], or the attribute with no value.
pub fn copied_or_empty(source: &InMemDicomObject, tag: Tag, vr: VR) -> InMemElement {
    copied(source, tag).unwrap_or_else(|| empty(tag, vr))
}

fn utf8_item(source: &InMemDicomObject) -> InMemDicomObject {
    item(source.iter().filter(|element| element.header().tag != tags::SPECIFIC_CHARACTER_SET).map(|element| {
        match element.value() {
            Value::Sequence(items) => sequence(element.header().tag, items.items().iter().map(utf8_item).collect()),
            _ => element.clone(),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_fit_and_stay_precise() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (-235.199997, "-235.199997"),
            (1.0 / 3.0, "0.33333333333333"),
            (-1.0 / 3.0, "-0.3333333333333"),
            (-81.599998474121, "-81.599998474121"),
            (-123_456.123_456_789, "-123456.12345679"),
            (1e-20, "0"),
            (-1e-20, "0"),
            (99.999_999_999_999_99, "100"),
            (1.5e300, "1.50000000e300"),
            (-1.5e300, "-1.50000000e300"),
        ] {
            assert_eq!(decimal(value), expected, "{value}");
            assert!(decimal(value).len() <= 16);
        }
    }

    #[test]
    fn text_is_one_short_line() {
        assert_eq!(one_line(" a\\b\nc ", 64), "a/b c");
        assert_eq!(one_line(&"é€".repeat(80), LONG_STRING), "é€".repeat(12) + "é");
    }
}
