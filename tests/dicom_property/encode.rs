//! Samples as bytes of PixelData: words with unused bits, and RLE.

use dicom::core::PrimitiveValue;

use super::recipe::Bits;

/// Stored samples as words in their place among the allocated bits.
pub fn words(stored: &[i64], bits: Bits) -> Vec<u32> {
    let mask = u32::MAX >> (32 - bits.stored);
    let shift = bits.high + 1 - bits.stored;
    let unused = (u32::MAX >> (32 - bits.allocated)) & !(mask << shift);
    let noise = |at: usize| if bits.noise { (at as u32).wrapping_mul(0x9E37_79B9) & unused } else { 0 };
    stored.iter().enumerate().map(|(at, &value)| (value as u32 & mask) << shift | noise(at)).collect()
}

/// Uncompressed, of even length.
pub fn native(words: &[u32], allocated: u16) -> PrimitiveValue {
    match allocated {
        8 => {
            let mut bytes: Vec<u8> = words.iter().map(|&word| word as u8).collect();
            bytes.resize(bytes.len().next_multiple_of(2), 0);
            PrimitiveValue::from(bytes)
        }
        16 => PrimitiveValue::U16(words.iter().map(|&word| word as u16).collect()),
        _ => PrimitiveValue::U32(words.iter().copied().collect()),
    }
}

/// One image as RLE: a segment for each byte of a word, the highest first (PS3.5 annex G).
pub fn rle(words: &[u32], allocated: u16) -> Vec<u8> {
    let planes = u32::from(allocated / 8);
    let segments: Vec<Vec<u8>> = (0..planes)
        .rev()
        .map(|plane| packed(&words.iter().map(|word| (word >> (8 * plane)) as u8).collect::<Vec<_>>()))
        .collect();
    let mut out = planes.to_le_bytes().to_vec();
    let mut offset = 64;
    for segment in &segments {
        out.extend((offset as u32).to_le_bytes());
        offset += segment.len();
    }
    out.resize(64, 0);
    out.extend(segments.concat());
    out
}

/// PackBits: runs of three and more, and what lies between them, of even length.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let run = bytes[at..].iter().take(128).take_while(|&&byte| byte == bytes[at]).count();
        if run > 2 {
            out.extend([(257 - run) as u8, bytes[at]]);
            at += run;
        } else {
            let rest = &bytes[at..bytes.len().min(at + 128)];
            let length = rest.windows(3).position(|three| three == [three[0]; 3]).unwrap_or(rest.len());
            out.push((length - 1) as u8);
            out.extend(&rest[..length]);
            at += length;
        }
    }
    out.resize(out.len().next_multiple_of(2), 0);
    out
}
