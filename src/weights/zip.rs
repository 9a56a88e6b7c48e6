//! The directory of a zip archive: where each member lies, without unpacking any.
//!
//! Source: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to 4.3.16 (end
//! records), 4.5.3 (zip64). Read here because ready-made readers reserve memory for as many members as the end record
//! claims and keep the last of two members with one name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bad;
use super::source::{Piece, Source};
use crate::error::Result;

const MAX_DIRECTORY: u64 = 4 << 20;
/// Deflate cannot do better than 1032 : 1; what claims more is a lie.
const MAX_RATIO: u64 = 1032;
/// Trained weights hardly shrink; some arrays of zeros among them do.
const MAX_TOTAL_RATIO: u64 = 20;
const ALWAYS_FINE: u64 = 16 << 20;

/// Members by name. Two members of one name are refused.
pub(super) fn directory(source: &Arc<Source>) -> Result<BTreeMap<String, Piece>> {
    let (start, size, count) = end_record(source)?;
    if size > MAX_DIRECTORY || start.checked_add(size).is_none_or(|end| end > source.len()) {
        return Err(bad(format!("the zip directory claims {size} bytes at {start}: the file is truncated or damaged")));
    }
    let bytes = source.peek(start, size)?;
    let mut fields = Fields(&bytes);
    let mut members = BTreeMap::new();
    let mut unpacked = 0u64;
    for _ in 0..count {
        let (name, piece) = member(source, &mut fields).ok_or_else(|| bad("the zip directory is damaged"))??;
        if name.ends_with('/') {
            continue;
        }
        unpacked = unpacked.saturating_add(piece.size);
        if members.contains_key(&name) {
            return Err(bad(format!("the zip archive holds {name:?} twice")));
        }
        members.insert(name, piece);
    }
    if unpacked > ALWAYS_FINE && unpacked / MAX_TOTAL_RATIO > source.len() {
        return Err(bad(format!("{unpacked} bytes in a zip archive of {}: a decompression bomb", source.len())));
    }
    Ok(members)
}

/// Offset and size of the central directory, and the number of its members.
fn end_record(source: &Arc<Source>) -> Result<(u64, u64, u64)> {
    const LEN: usize = 22;
    let missing = || bad("the zip directory at the end of the file is missing: the file is truncated");
    let tail_start = source.len().saturating_sub(LEN as u64 + 0xffff);
    let tail = source.peek(tail_start, LEN as u64 + 0xffff)?;
    let at = tail.windows(LEN).rposition(|w| w.starts_with(b"PK\x05\x06")).ok_or_else(missing)?;
    let read = || {
        let mut f = Fields(tail.get(at + 10..)?);
        Some((u64::from(f.u16()?), u64::from(f.u32()?), u64::from(f.u32()?)))
    };
    let (count, size, start) = read().ok_or_else(missing)?;
    if count != 0xffff && size != 0xffff_ffff && start != 0xffff_ffff {
        return Ok((start, size, count));
    }
    let read64 = || {
        let mut locator = Fields(tail.get(at.checked_sub(20)?..)?);
        (locator.u32()? == 0x0706_4b50).then_some(())?;
        locator.take(4)?;
        let record = source.peek(locator.u64()?, 56).ok()?;
        let mut f = Fields(&record);
        (f.u32()? == 0x0606_4b50).then_some(())?;
        f.take(28)?;
        let (count, size, start) = (f.u64()?, f.u64()?, f.u64()?);
        Some((start, size, count))
    };
    // An archive without zip64 records may have exactly these sizes.
    Ok(read64().unwrap_or((start, size, count)))
}

/// The next member of the central directory; `None` where the directory is damaged.
fn member(source: &Arc<Source>, f: &mut Fields) -> Option<Result<(String, Piece)>> {
    (f.u32()? == 0x0201_4b50).then_some(())?;
    f.take(4)?;
    let flags = f.u16()?;
    let method = f.u16()?;
    f.take(4)?;
    let crc32 = f.u32()?;
    let (mut stored, mut size) = (u64::from(f.u32()?), u64::from(f.u32()?));
    let (name_len, extra_len, comment_len) = (f.u16()?, f.u16()?, f.u16()?);
    f.take(8)?;
    let mut header = u64::from(f.u32()?);
    let name = String::from_utf8_lossy(f.take(name_len.into())?).into_owned();
    let mut extra = Fields(f.take(extra_len.into())?);
    f.take(comment_len.into())?;
    while let (Some(id), Some(len)) = (extra.u16(), extra.u16()) {
        let mut field = Fields(extra.take(len.into())?);
        if id == 1 {
            for value in [&mut size, &mut stored, &mut header] {
                if *value == 0xffff_ffff {
                    *value = field.u64()?;
                }
            }
        }
    }
    let piece = || {
        if flags & 1 != 0 {
            return Err(bad(format!("{name:?} in the zip archive is encrypted")));
        }
        let deflated = match method {
            0 => false,
            8 => true,
            other => return Err(bad(format!("{name:?} is packed by zip method {other}, expected stored or deflate"))),
        };
        if !deflated && stored != size {
            return Err(bad(format!("{name:?} is stored in {stored} bytes and claims {size}")));
        }
        if deflated && size / MAX_RATIO > stored {
            return Err(bad(format!("{name:?} claims {size} bytes in {stored} packed ones: a decompression bomb")));
        }
        let local = source.peek(header, 30)?;
        let lengths = || {
            let mut f = Fields(&local);
            (f.u32()? == 0x0403_4b50).then_some(())?;
            f.take(22)?;
            Some(u64::from(f.u16()?) + u64::from(f.u16()?))
        };
        let names = lengths().ok_or_else(|| bad(format!("{name:?}: no zip member where the directory says")))?;
        let piece = Piece::plain(source, header.saturating_add(30 + names), stored).map_err(|e| e.at(&name))?;
        Ok(Piece { size, deflated, crc32: Some(crc32), ..piece })
    };
    Some(piece().map(|piece| (name.clone(), piece)))
}

/// Little-endian fields, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}
