//! Data sets whose texts are decoded once, from the bytes that the file has, each in the character sets stated for it.
//!
//! dicom-parser splits values at bytes 5CH, which are also halves of Chinese characters, writes what it cannot decode as
//! octal numbers with backslashes, and goes on with an item's character set behind the item: here it never decodes text.

use std::collections::BTreeSet;
use std::io::{Read, Seek, Write};

use dicom::core::header::{DataElementHeader, HasLength as _, Header as _, SequenceItemHeader};
use dicom::core::value::{PrimitiveValue, Value};
use dicom::core::{DataElement, Tag, VR};
use dicom::dictionary_std::tags;
use dicom::encoding::TransferSyntax;
use dicom::object::InMemDicomObject;
use dicom::parser::StatefulDecoder;
use dicom::parser::stateful::decode::{self, StatefulDecode};

use super::charset::{Charset, UNKNOWN};

/// The data set that `source` holds in at most `most` bytes, and which of its texts are not all of the character set that is
/// stated for them.
pub(super) fn data_set(
    source: impl Read,
    most: u64,
    syntax: &TransferSyntax,
) -> Result<(InMemDicomObject, BTreeSet<Tag>), Box<dyn std::error::Error>> {
    let decoder = StatefulDecoder::new_with_ts(source, syntax, 0)?;
    let mut object = InMemDicomObject::read_dataset(Undecoded { decoder, most })?;
    let mut unknown = BTreeSet::new();
    decode_texts(&mut object, &Charset::new(""), &mut unknown);
    Ok((object, unknown))
}

/// Value representations that Specific Character Set governs (PS3.5 6.1.2.2).
fn is_text(vr: VR) -> bool {
    matches!(vr, VR::SH | VR::LO | VR::ST | VR::LT | VR::UC | VR::UT | VR::PN)
}

/// Those of them whose values have no delimiter (PS3.5 6.2).
fn is_single(vr: VR) -> bool {
    matches!(vr, VR::ST | VR::LT | VR::UT)
}

/// An item that states no character set has that of the data set around it (PS3.5 7.5.3).
fn decode_texts(object: &mut InMemDicomObject, around: &Charset, unknown: &mut BTreeSet<Tag>) {
    let stated = object.get(tags::SPECIFIC_CHARACTER_SET).and_then(|codes| codes.to_str().ok());
    let charset = stated.map_or_else(|| around.clone(), |codes| Charset::new(&codes));
    let (mut texts, mut sequences) = (Vec::new(), Vec::new());
    for element in object.iter() {
        let (tag, vr) = (element.tag(), element.vr());
        match element.value() {
            Value::Primitive(PrimitiveValue::U8(bytes)) if is_text(vr) => {
                let text = charset.decode(bytes);
                if text.contains(UNKNOWN) {
                    unknown.insert(tag);
                }
                let value = match is_single(vr) {
                    true => PrimitiveValue::from(text),
                    false => PrimitiveValue::Strs(text.split('\\').map(str::to_owned).collect()),
                };
                texts.push(DataElement::new(tag, vr, value));
            }
            Value::Sequence(_) => sequences.push(tag),
            _ => {}
        }
    }
    for text in texts {
        object.put(text);
    }
    for tag in sequences {
        object.update_value(tag, |value| {
            for item in value.items_mut().into_iter().flatten() {
                decode_texts(item, &charset, unknown);
            }
        });
    }
}

/// Reads as the decoder within, but leaves texts as bytes, and refuses values that claim more bytes than there are: the
/// decoder takes memory for all of them before it reads any.
struct Undecoded<D> {
    decoder: D,
    /// Bytes of the whole data set.
    most: u64,
}

impl<D: StatefulDecode> Undecoded<D> {
    /// Whether a value of `length` bytes can follow.
    fn fits(&self, length: u32) -> decode::Result<()> {
        let rest = self.most.saturating_sub(self.decoder.position());
        if u64::from(length) > rest { Err(decode::Error::AllocateValueData { len: length }) } else { Ok(()) }
    }

    fn value_fits(&self, header: &DataElementHeader) -> decode::Result<()> {
        header.length().get().map_or(Ok(()), |length| self.fits(length))
    }
}

impl<D: StatefulDecode> StatefulDecode for Undecoded<D> {
    type Reader = D::Reader;

    fn read_value(&mut self, header: &DataElementHeader) -> decode::Result<PrimitiveValue> {
        self.value_fits(header)?;
        if is_text(header.vr()) { self.decoder.read_value_bytes(header) } else { self.decoder.read_value(header) }
    }

    fn read_value_preserved(&mut self, header: &DataElementHeader) -> decode::Result<PrimitiveValue> {
        self.value_fits(header)?;
        if is_text(header.vr()) {
            self.decoder.read_value_bytes(header)
        } else {
            self.decoder.read_value_preserved(header)
        }
    }

    fn read_value_bytes(&mut self, header: &DataElementHeader) -> decode::Result<PrimitiveValue> {
        self.value_fits(header)?;
        self.decoder.read_value_bytes(header)
    }

    fn decode_header(&mut self) -> decode::Result<DataElementHeader> {
        self.decoder.decode_header()
    }

    fn decode_item_header(&mut self) -> decode::Result<SequenceItemHeader> {
        self.decoder.decode_item_header()
    }

    fn read_to_vec(&mut self, length: u32, vec: &mut Vec<u8>) -> decode::Result<()> {
        self.fits(length)?;
        self.decoder.read_to_vec(length, vec)
    }

    fn read_u32_to_vec(&mut self, length: u32, vec: &mut Vec<u32>) -> decode::Result<()> {
        self.fits(length)?;
        self.decoder.read_u32_to_vec(length, vec)
    }

    fn read_to<W: Write>(&mut self, length: u32, out: W) -> decode::Result<()> {
        self.decoder.read_to(length, out)
    }

    fn skip_bytes(&mut self, length: u32) -> decode::Result<()> {
        self.decoder.skip_bytes(length)
    }

    fn seek(&mut self, position: u64) -> decode::Result<()>
    where
        Self::Reader: Seek,
    {
        self.decoder.seek(position)
    }

    fn position(&self) -> u64 {
        self.decoder.position()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom::dictionary_std::uids;
    use dicom::encoding::TransferSyntaxIndex as _;
    use dicom::transfer_syntax::TransferSyntaxRegistry;

    fn element(group: u16, number: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut bytes = [group.to_le_bytes(), number.to_le_bytes()].concat();
        bytes.extend(vr);
        if vr == b"SQ" {
            bytes.extend([0, 0]);
            bytes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        } else {
            bytes.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
        }
        bytes.extend(value);
        bytes
    }

    fn item(content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        [&b"\xFE\xFF\0\xE0"[..], &length, content].concat()
    }

    #[test]
    fn items_have_their_own_character_set_or_that_around_them() {
        let name = |bytes: &[u8]| element(0x0010, 0x0010, b"PN", bytes);
        let own = [element(0x0008, 0x0005, b"CS", b"ISO_IR 144"), name(b"\xBB\xEE\xDA ")].concat();
        let items = [item(&own), item(&name(b"J\xF6rg"))].concat();
        let bytes = [
            element(0x0008, 0x0005, b"CS", b"ISO_IR 100"),
            element(0x0008, 0x1030, b"LO", b"\xE4\\\xF6\\"),
            element(0x0010, 0x1002, b"SQ", &items),
            element(0x0010, 0x4000, b"LT", b"a\\\xFC "),
            element(0x0040, 0xA160, b"CS", b"A\\B "),
        ]
        .concat();
        let syntax = TransferSyntaxRegistry.get(uids::EXPLICIT_VR_LITTLE_ENDIAN).unwrap();
        let (object, unknown) = data_set(&bytes[..], bytes.len() as u64, syntax).unwrap();
        assert!(unknown.is_empty());
        let values = |tag| object.get(tag).unwrap().value().to_multi_str().unwrap().into_owned();
        assert_eq!(values(tags::STUDY_DESCRIPTION), ["ä", "ö", ""]);
        assert_eq!(values(tags::PATIENT_COMMENTS), ["a\\ü"]);
        assert_eq!(values(tags::TEXT_VALUE), ["A", "B"]);
        let items = object.get(tags::OTHER_PATIENT_I_DS_SEQUENCE).unwrap().items().unwrap();
        let names = items.iter().map(|item| item.get(tags::PATIENT_NAME).unwrap().to_str().unwrap());
        assert!(names.eq(["Люк", "Jörg"]));
    }
}
