//! Text in the character sets of DICOM, with the code extensions of ISO 2022 (PS3.5 section 6.1).

use encoding_rs::{
    EUC_JP, EUC_KR, Encoding, GB18030, GBK, ISO_2022_JP, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6,
    ISO_8859_7, ISO_8859_8, ISO_8859_15, SHIFT_JIS, UTF_8, WINDOWS_874, WINDOWS_1254,
};

/// What stands for bytes that are of no character of their set.
pub(super) const UNKNOWN: char = char::REPLACEMENT_CHARACTER;

/// The character sets of a data set.
#[derive(Debug, Clone)]
pub(in crate::dicom) struct Charset {
    /// Of text before any escape.
    first: Upper,
    /// Whether escapes may lead to others.
    extended: bool,
}

/// What the bytes above 127 are; in encodings of several bytes a character, those between them too.
#[derive(Debug, Clone, Copy)]
enum Upper {
    /// None: the default repertoire, and sets that DICOM does not know.
    Nothing,
    Latin1,
    Of(&'static Encoding),
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
        let first = Upper::named(codes.next().unwrap_or_default());
        Charset { first, extended: codes.next().is_some() }
    }

    /// The text of `bytes`, a whole value with its delimiters; [`UNKNOWN`] stands for what is not of the character set.
    pub fn decode(&self, bytes: &[u8]) -> String {
        if !(self.extended && bytes.contains(&0x1B)) {
            return self.first.decode(bytes);
        }
        let (mut lower, mut upper, mut text) = (Lower::Ascii, self.first, String::new());
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
            if lower == Lower::Ascii && DELIMITERS.contains(&rest[0]) {
                text.push(rest[0].into());
                (upper, rest) = (self.first, &rest[1..]);
                continue;
            }
            let high = rest[0] >= 0x80;
            let more = |byte: &u8| {
                (*byte >= 0x80) == high
                    && *byte != 0x1B
                    && !(!high && lower == Lower::Ascii && DELIMITERS.contains(byte))
            };
            let length = rest.iter().position(|byte| !more(byte)).unwrap_or(rest.len()).max(1);
            let (run, after) = rest.split_at(length);
            text += &if high { upper.decode(run) } else { lower.decode(run) };
            rest = after;
        }
        text
    }
}

/// PS3.5 6.1.2.5.3: what ends the effect of escapes.
const DELIMITERS: &[u8] = b"^=\\\r\n\t\x0C";

impl Upper {
    /// Of a defined term (PS3.3 tables C.12-2 to C.12-5); files also have it with other separators.
    fn named(code: &str) -> Self {
        let code = code.replace(['_', '-'], " ");
        match code.strip_prefix("ISO 2022 IR ").or(code.strip_prefix("ISO IR ")).unwrap_or(&code) {
            "100" => Upper::Latin1,
            "101" => Upper::Of(ISO_8859_2),
            "109" => Upper::Of(ISO_8859_3),
            "110" => Upper::Of(ISO_8859_4),
            "144" => Upper::Of(ISO_8859_5),
            "127" => Upper::Of(ISO_8859_6),
            "126" => Upper::Of(ISO_8859_7),
            "138" => Upper::Of(ISO_8859_8),
            "148" => Upper::Of(WINDOWS_1254),
            "203" => Upper::Of(ISO_8859_15),
            "166" => Upper::Of(WINDOWS_874),
            "13" => Upper::Of(SHIFT_JIS),
            "149" => Upper::Of(EUC_KR),
            "58" | "GBK" | "GB2312" => Upper::Of(GBK),
            "192" => Upper::Of(UTF_8),
            "GB18030" => Upper::Of(GB18030),
            _ => Upper::Nothing,
        }
    }

    fn decode(self, bytes: &[u8]) -> String {
        match self {
            Upper::Nothing => bytes.iter().map(|&b| if b.is_ascii() { char::from(b) } else { UNKNOWN }).collect(),
            Upper::Latin1 => encoding_rs::mem::decode_latin1(bytes).into_owned(),
            Upper::Of(encoding) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
        }
    }
}

impl Lower {
    fn decode(self, run: &[u8]) -> String {
        match self {
            Lower::Ascii => Upper::Nothing.decode(run),
            Lower::Jis0208 => Upper::Of(ISO_2022_JP).decode(&[b"\x1B$B", run].concat()),
            // EUC-JP has it behind 8FH, with the high bits set.
            Lower::Jis0212 => {
                let pairs = run.chunks(2).flat_map(|pair| [&[0x0F][..], pair].concat());
                Upper::Of(EUC_JP).decode(&pairs.map(|b| b | 0x80).collect::<Vec<u8>>())
            }
        }
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
    let named = |code| (Set::Upper(Upper::named(code)), 3);
    Some(match rest {
        [b'(', b'B' | b'J', ..] => (Set::Lower(Lower::Ascii), 3),
        [b'$', b'B', ..] => (Set::Lower(Lower::Jis0208), 3),
        [b'$', b'(', b'D', ..] => (Set::Lower(Lower::Jis0212), 4),
        [b'$', b')', b'C', ..] => (Set::Upper(Upper::Of(EUC_KR)), 4),
        [b'$', b')', b'A', ..] => (Set::Upper(Upper::Of(GBK)), 4),
        [b')', b'I', ..] => named("ISO_IR 13"),
        [b'-', b'A', ..] => named("ISO_IR 100"),
        [b'-', b'B', ..] => named("ISO_IR 101"),
        [b'-', b'C', ..] => named("ISO_IR 109"),
        [b'-', b'D', ..] => named("ISO_IR 110"),
        [b'-', b'F', ..] => named("ISO_IR 126"),
        [b'-', b'G', ..] => named("ISO_IR 127"),
        [b'-', b'H', ..] => named("ISO_IR 138"),
        [b'-', b'L', ..] => named("ISO_IR 144"),
        [b'-', b'T', ..] => named("ISO_IR 166"),
        [b'-', b'M', ..] => named("ISO_IR 148"),
        [b'-', b'b', ..] => named("ISO_IR 203"),
        _ => (Set::Lower(Lower::Ascii), 1),
    })
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
            ("GB18030", b"Wang^\x8F\x5C\xB6\xAB\\next", "Wang^\u{5EEB}东\\next"),
            ("GBK", b"\xCD\xF5^\xD0\xA1\xB6\xAB", "王^小东"),
            ("ISO_IR 166", b"\xB9\xD2\xC2", "นาย"),
            ("ISO-IR 100", b"Sch\xE4del", "Schädel"),
            // Not of the set that is stated, or of none.
            ("ISO_IR 192", b"M\xFCller^J\xF6rg", "M\u{FFFD}ller^J\u{FFFD}rg"),
            ("", b"M\xFCller", "M\u{FFFD}ller"),
            ("NO SUCH SET", b"M\xFCller", "M\u{FFFD}ller"),
            ("\\ISO 2022 IR 87", b"cut \x1B", "cut "),
            ("\\ISO 2022 IR 87", b"odd \x1B$B;", "odd \u{FFFD}"),
        ] {
            assert_eq!(Charset::new(codes).decode(bytes), name, "{codes}");
        }
    }
}
