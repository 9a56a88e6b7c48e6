//! Text in character sets that change within it: ISO 2022 code extensions (PS3.5 section 6.1.2.5).

use dicom::core::Tag;
use dicom::core::value::{DataSetSequence, PrimitiveValue, Value};
use dicom::core::{DataElement, VR};
use dicom::dictionary_std::tags;
use dicom::encoding::text::{SpecificCharacterSet, TextCodec};
use dicom::object::InMemDicomObject;
use dicom::object::mem::InMemElement;
use encoding_rs::{EUC_JP, EUC_KR, Encoding, GBK, ISO_2022_JP, ISO_8859_15, SHIFT_JIS, WINDOWS_1254};

/// The character sets of a data set.
#[derive(Debug, Clone)]
pub(super) struct Charset {
    /// Of text before any escape.
    first: SpecificCharacterSet,
    /// Instead of `first`, which parsers take for the default: Turkish and Latin alphabet no. 9.
    instead: Option<&'static Encoding>,
    /// Whether escapes may lead to others.
    extended: bool,
}

/// What the bytes above 127 are.
#[derive(Clone, Copy)]
enum Upper {
    /// As the first character set has them.
    First,
    Of(&'static Encoding),
    Single(&'static str),
}

/// What the bytes below 128 are.
#[derive(Clone, Copy, PartialEq)]
enum Lower {
    Ascii,
    /// JIS X 0208 and JIS X 0212, two bytes a character.
    Jis0208,
    Jis0212,
}

impl Charset {
    /// From the value of Specific Character Set (0008,0005).
    pub fn new(codes: &str) -> Self {
        let mut codes = codes.split('\\').map(|code| code.trim_matches([' ', '\0']));
        let code = codes.next().unwrap_or_default();
        let instead = match code {
            "ISO_IR 148" | "ISO 2022 IR 148" => Some(WINDOWS_1254),
            "ISO_IR 203" | "ISO 2022 IR 203" => Some(ISO_8859_15),
            _ => None,
        };
        let first = SpecificCharacterSet::from_code(code).unwrap_or_default();
        Charset { first, instead, extended: codes.next().is_some() }
    }

    /// The text of `bytes`; what the character set cannot decode is replaced.
    pub fn decode(&self, bytes: &[u8]) -> String {
        if !(self.extended && bytes.contains(&0x1B)) {
            return self.upper(bytes, Upper::First);
        }
        let (mut lower, mut upper, mut text) = (Lower::Ascii, Upper::First, String::new());
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some((set, length)) = escape(rest) {
                match set {
                    Set::Lower(set) => lower = set,
                    Set::Upper(set) => upper = set,
                }
                rest = &rest[length..];
                continue;
            }
            // Component and value delimiters bring back what was at the beginning.
            if lower == Lower::Ascii && matches!(rest[0], b'^' | b'=' | b'\\' | b'\r' | b'\n' | b'\t' | 0x0C) {
                text.push(rest[0].into());
                (upper, rest) = (Upper::First, &rest[1..]);
                continue;
            }
            let high = rest[0] >= 0x80;
            let more = |byte: &u8| {
                (*byte >= 0x80) == high
                    && *byte != 0x1B
                    && !(!high && lower == Lower::Ascii && b"^=\\\r\n\t\x0C".contains(byte))
            };
            let length = rest.iter().position(|byte| !more(byte)).unwrap_or(rest.len()).max(1);
            let (run, after) = rest.split_at(length);
            text += &if high { self.upper(run, upper) } else { lower_run(run, lower) };
            rest = after;
        }
        text
    }

    fn upper(&self, run: &[u8], set: Upper) -> String {
        match set {
            Upper::Of(encoding) => encoding.decode_without_bom_handling(run).0.into_owned(),
            Upper::Single(code) => {
                let codec = SpecificCharacterSet::from_code(code).unwrap_or_default();
                codec.decode(run).unwrap_or_else(|_| String::from_utf8_lossy(run).into_owned())
            }
            Upper::First => match self.instead {
                Some(encoding) => encoding.decode_without_bom_handling(run).0.into_owned(),
                None => self.first.decode(run).unwrap_or_else(|_| String::from_utf8_lossy(run).into_owned()),
            },
        }
    }

    /// Puts right the texts of a data set that was parsed as if its first character set were the only one.
    pub fn put_right(&self, object: &mut InMemDicomObject) {
        if !self.extended && self.instead.is_none() {
            return;
        }
        let wrong: Vec<InMemElement> = object.iter().filter_map(|element| self.corrected(element)).collect();
        wrong.into_iter().for_each(|element| {
            object.put(element);
        });
    }

    fn corrected(&self, element: &InMemElement) -> Option<InMemElement> {
        let (tag, vr): (Tag, VR) = (element.header().tag, element.header().vr);
        match element.value() {
            Value::Primitive(PrimitiveValue::Str(text)) => {
                Some(DataElement::new(tag, vr, PrimitiveValue::from(self.again(text)?)))
            }
            Value::Primitive(PrimitiveValue::Strs(texts)) if texts.iter().any(|text| self.again(text).is_some()) => {
                let again = texts.iter().map(|text| self.again(text).unwrap_or_else(|| text.clone())).collect();
                Some(DataElement::new(tag, vr, PrimitiveValue::Strs(again)))
            }
            Value::Sequence(sequence) => {
                let mut items = sequence.items().to_vec();
                for item in &mut items {
                    // An item may state its own character set.
                    let own = item.get(tags::SPECIFIC_CHARACTER_SET).and_then(|codes| codes.to_str().ok());
                    own.map_or_else(|| self.clone(), |codes| Charset::new(&codes)).put_right(item);
                }
                Some(DataElement::new(tag, vr, DataSetSequence::from(items)))
            }
            _ => None,
        }
    }

    /// A text that was parsed wrong, from the bytes that the first character set made it of.
    fn again(&self, text: &str) -> Option<String> {
        if !text.contains('\u{1B}') && (text.is_ascii() || self.instead.is_none()) {
            return None;
        }
        // The default character set stands for bytes as they are.
        let plain: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        let bytes = plain.or_else(|| self.first.encode(text).ok())?;
        Some(self.decode(&bytes))
    }
}

enum Set {
    Lower(Lower),
    Upper(Upper),
}

/// The set that an escape sequence at the beginning of `bytes` brings (PS3.3 tables C.12-3 and C.12-4), and its length; one
/// that is not known is passed over.
fn escape(bytes: &[u8]) -> Option<(Set, usize)> {
    let [0x1B, rest @ ..] = bytes else { return None };
    let single = |code| Set::Upper(Upper::Single(code));
    Some(match rest {
        [b'(', b'B' | b'J', ..] => (Set::Lower(Lower::Ascii), 3),
        [b'$', b'B', ..] => (Set::Lower(Lower::Jis0208), 3),
        [b'$', b'(', b'D', ..] => (Set::Lower(Lower::Jis0212), 4),
        [b'$', b')', b'C', ..] => (Set::Upper(Upper::Of(EUC_KR)), 4),
        [b'$', b')', b'A', ..] => (Set::Upper(Upper::Of(GBK)), 4),
        [b')', b'I', ..] => (Set::Upper(Upper::Of(SHIFT_JIS)), 3),
        [b'-', b'A', ..] => (single("ISO_IR 100"), 3),
        [b'-', b'B', ..] => (single("ISO_IR 101"), 3),
        [b'-', b'C', ..] => (single("ISO_IR 109"), 3),
        [b'-', b'D', ..] => (single("ISO_IR 110"), 3),
        [b'-', b'F', ..] => (single("ISO_IR 126"), 3),
        [b'-', b'G', ..] => (single("ISO_IR 127"), 3),
        [b'-', b'H', ..] => (single("ISO_IR 138"), 3),
        [b'-', b'L', ..] => (single("ISO_IR 144"), 3),
        [b'-', b'T', ..] => (single("ISO_IR 166"), 3),
        [b'-', b'M', ..] => (Set::Upper(Upper::Of(WINDOWS_1254)), 3),
        [b'-', b'b', ..] => (Set::Upper(Upper::Of(ISO_8859_15)), 3),
        _ => (Set::Lower(Lower::Ascii), 1),
    })
}

fn lower_run(run: &[u8], set: Lower) -> String {
    let decoded =
        |encoding: &'static Encoding, bytes: &[u8]| encoding.decode_without_bom_handling(bytes).0.into_owned();
    match set {
        Lower::Ascii => String::from_utf8_lossy(run).into_owned(),
        Lower::Jis0208 => decoded(ISO_2022_JP, &[b"\x1B$B", run].concat()),
        // EUC-JP has it behind 8FH, with the high bits set.
        Lower::Jis0212 => {
            let bytes: Vec<u8> =
                run.chunks(2).flat_map(|pair| [&[0x0F][..], pair].concat()).map(|b| b | 0x80).collect();
            decoded(EUC_JP, &bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of PS3.5 annexes H, I and K.
    #[test]
    fn names_of_the_standards_examples() {
        for (codes, bytes, name) in [
            (
                "\\ISO 2022 IR 87",
                &b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B=\x1B$B$d$^$@\x1B(B^\x1B$B$?$m$&\x1B(B"[..],
                "Yamada^Tarou=山田^太郎=やまだ^たろう",
            ),
            (
                "ISO 2022 IR 13\\ISO 2022 IR 87",
                b"\xD4\xCF\xC0\xDE^\xC0\xDB\xB3=\x1B$B;3ED\x1B(J^\x1B$BB@O:\x1B(J=\x1B$B$d$^$@\x1B(J^\x1B$B$?$m$&\x1B(J",
                "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
            ),
            (
                "\\ISO 2022 IR 149",
                b"Hong^Gildong=\x1B$)C\xFB\xF3^\x1B$)C\xD1\xCE\xD4\xD7=\x1B$)C\xC8\xAB^\x1B$)C\xB1\xE6\xB5\xBF",
                "Hong^Gildong=洪^吉洞=홍^길동",
            ),
            ("\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1B$)A\xD5\xC5^\x1B$)A\xD0\xA1\xB6\xAB=", "Zhang^XiaoDong=张^小东="),
            ("\\ISO 2022 IR 144", b"Buc^\x1B-L\xBB\xEE\xDA", "Buc^Люк"),
            ("ISO_IR 100", b"Buc^J\xE9r\xF4me", "Buc^Jérôme"),
            ("ISO_IR 148", b"\xDEahin^\xD6mer \xDD\xF0", "Şahin^Ömer İğ"),
            ("ISO_IR 203", b"\xA4 \xBC", "€ Œ"),
            ("ISO_IR 192", "Wang^XiaoDong=王^小東".as_bytes(), "Wang^XiaoDong=王^小東"),
            ("\\ISO 2022 IR 87", b"cut \x1B", "cut "),
            ("\\ISO 2022 IR 87", b"odd \x1B$B;", "odd \u{FFFD}"),
        ] {
            assert_eq!(Charset::new(codes).decode(bytes), name, "{codes}");
        }
    }
}
