//! Typed access to the raw values of a header, a reason where one is not what it must be.

use std::collections::BTreeMap;

use dicom::core::Tag;
use dicom::dictionary_std::tags;
use dicom::encoding::Endianness;

use super::charset::Charset;

/// A value, or why there is none; the reason matters only if the value is needed.
pub(in crate::dicom) type Field<T> = std::result::Result<T, String>;

/// Typed access to raw values.
pub(in crate::dicom) struct Values<'a> {
    raw: &'a BTreeMap<Tag, Vec<u8>>,
    endianness: Endianness,
    charset: Charset,
}

impl<'a> Values<'a> {
    pub fn new(raw: &'a BTreeMap<Tag, Vec<u8>>, endianness: Endianness) -> Self {
        let codes = raw.get(&tags::SPECIFIC_CHARACTER_SET).map(|value| String::from_utf8_lossy(value).into_owned());
        let charset = Charset::new(codes.as_deref().unwrap_or_default());
        Values { raw, endianness, charset }
    }

    pub fn bytes(&self, tag: Tag) -> Option<&'a [u8]> {
        self.raw.get(&tag).map(Vec::as_slice)
    }

    /// The text, empty if absent; what the character set cannot decode is replaced, never an error.
    pub fn text(&self, tag: Tag) -> String {
        let Some(raw) = self.bytes(tag) else {
            return String::new();
        };
        let text = self.charset.decode(raw);
        text.trim_matches(|c: char| c.is_whitespace() || c == '\0').chars().filter(|c| !c.is_control()).collect()
    }

    pub fn integer(&self, tag: Tag) -> Option<i32> {
        self.text(tag).split('\\').next()?.trim().parse().ok()
    }

    /// A positive length in mm, if there is a sane one. SpacingBetweenSlices may be negative where it also means a direction.
    pub fn length(&self, tag: Tag) -> Option<f64> {
        let [length] = self.numbers(tag, "").ok()?;
        Some(length.abs()).filter(|length| *length > 0.0)
    }

    /// Exactly `N` finite decimal numbers.
    pub fn numbers<const N: usize>(&self, tag: Tag, name: &str) -> Field<[f64; N]> {
        let text = self.text(tag);
        if text.is_empty() {
            return Err(format!("{name} is missing"));
        }
        let numbers: Option<Vec<f64>> =
            text.split('\\').map(|part| part.trim().parse().ok().filter(|x: &f64| x.is_finite())).collect();
        numbers
            .and_then(|numbers| numbers.try_into().ok())
            .ok_or_else(|| format!("{name} is {text:?}, expected {N} number{}", if N == 1 { "" } else { "s" }))
    }

    /// A finite FD, which is binary.
    pub fn double(&self, tag: Tag) -> Option<f64> {
        let bytes: [u8; 8] = self.bytes(tag)?.try_into().ok()?;
        let double =
            if self.endianness == Endianness::Big { f64::from_be_bytes(bytes) } else { f64::from_le_bytes(bytes) };
        double.is_finite().then_some(double)
    }

    /// An unsigned short (or a longer integer where writers err).
    pub fn unsigned(&self, tag: Tag, name: &str) -> Field<u32> {
        let raw = self.bytes(tag).unwrap_or_default();
        let big = self.endianness == Endianness::Big;
        match *raw {
            [a, b] if big => Ok(u16::from_be_bytes([a, b]).into()),
            [a, b] => Ok(u16::from_le_bytes([a, b]).into()),
            [a, b, c, d] if big => Ok(u32::from_be_bytes([a, b, c, d])),
            [a, b, c, d] => Ok(u32::from_le_bytes([a, b, c, d])),
            [] => Err(format!("{name} is missing")),
            _ => Err(format!("{name} has {} bytes, expected 2", raw.len())),
        }
    }

    pub fn number_or(&self, tag: Tag, name: &str, default: f64) -> Field<f64> {
        if self.text(tag).is_empty() {
            return Ok(default);
        }
        self.numbers::<1>(tag, name).map(|[x]| x)
    }
}
