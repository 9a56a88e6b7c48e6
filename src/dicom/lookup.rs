//! Typed access to the attributes of a parsed data set and of the items in its sequences.

use dicom::core::Tag;
use dicom::dictionary_std::tags;
use dicom::object::InMemDicomObject;

use crate::error::{Error, Result};
use crate::labels::Code;

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

pub(super) fn required(object: &InMemDicomObject, tag: Tag, name: &str) -> Result<u32> {
    whole(object, tag).ok_or_else(|| Error::DicomParse(format!("{name} {tag} is missing or no number")))
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

/// What an item of a code sequence says (PS3.3 section 8.8), `None` without a value.
pub(super) fn code(item: &InMemDicomObject) -> Option<Code> {
    let value = [tags::CODE_VALUE, tags::LONG_CODE_VALUE, tags::URN_CODE_VALUE];
    Some(Code {
        value: value.into_iter().find_map(|tag| text(item, tag))?,
        scheme: text(item, tags::CODING_SCHEME_DESIGNATOR).unwrap_or_default(),
        meaning: text(item, tags::CODE_MEANING).unwrap_or_default(),
    })
}
