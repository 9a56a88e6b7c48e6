//! Typed access to the attributes of a parsed data set and of the items in its sequences.

use dicom::core::Tag;
use dicom::object::InMemDicomObject;

use crate::error::{Error, Result};

/// Items of a sequence, none if it is absent.
pub(super) fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object.get(tag).and_then(|element| element.items()).unwrap_or_default()
}

/// The text, `None` if it is absent or blank.
pub(super) fn text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let text = object.get(tag)?.to_str().ok()?;
    Some(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()).filter(|text| !text.is_empty())
}

pub(super) fn whole(object: &InMemDicomObject, tag: Tag) -> Option<u32> {
    object.get(tag)?.to_int().ok()
}

/// A finite number.
pub(super) fn number(object: &InMemDicomObject, tag: Tag) -> Option<f64> {
    object.get(tag)?.to_float64().ok().filter(|number: &f64| number.is_finite())
}

/// A length in mm, if there is a sane one.
pub(super) fn length(object: &InMemDicomObject, tag: Tag) -> Option<f64> {
    Some(number(object, tag)?.abs()).filter(|length| *length > 0.0)
}

/// Exactly `N` finite numbers.
pub(super) fn numbers<const N: usize>(object: &InMemDicomObject, tag: Tag, name: &str) -> Result<[f64; N]> {
    let numbers = object.get(tag).and_then(|element| element.to_multi_float64().ok()).unwrap_or_default();
    let finite = numbers.iter().all(|x| x.is_finite());
    let numbers = numbers.try_into().ok().filter(|_| finite);
    numbers.ok_or_else(|| Error::DicomParse(format!("{name} {tag}: expected {N} numbers")))
}
