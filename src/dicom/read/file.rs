//! Opens a DICOM file and walks its elements up to the pixel data; no length in the file is trusted.
//!
//! The walk is flat (no recursion, no value larger than a header needs is read), so a hostile file costs neither stack nor memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dicom::core::header::HasLength as _;
use dicom::core::{Tag, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::encoding::decode::{self, DecodeFrom};
use dicom::encoding::transfer_syntax::DynDecoder;
use dicom::encoding::{Codec, TransferSyntax, TransferSyntaxIndex};
use dicom::object::InMemDicomObject;
use dicom::transfer_syntax::TransferSyntaxRegistry;

use super::charset::UNKNOWN;
use super::texts;
use crate::error::{Error, Result};

/// PS3.5 7.5: what begins and ends items and sequences.
const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
/// Most headers fit; larger values are skipped by seeking.
const BUFFER: usize = 16 << 10;
/// Sequences within sequences; real files stay below ten.
const MAX_DEPTH: usize = 64;
/// The header values wanted here are numbers, UIDs and short texts.
const MAX_VALUE: u64 = 64 << 10;
/// Deflate never expands by more (zlib's technical details: 1032 to 1).
const MAX_INFLATION: u64 = 1032;

/// The data set's bytes, inflated if the transfer syntax deflates.
enum Bytes {
    Plain(BufReader<File>),
    Inflated(Box<dyn Read>),
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Bytes::Plain(file) => file.read(buffer),
            Bytes::Inflated(stream) => stream.read(buffer),
        }
    }
}

/// Where PixelData (7FE0,0010) lies in the data set's bytes.
#[derive(Debug, Clone, Copy)]
pub(in crate::dicom) struct PixelSpan {
    /// Offset of the element's tag, which ends the header.
    pub element: u64,
    /// Offset of the value.
    pub value: u64,
    /// Claimed length of the value; `None` when encapsulated.
    pub length: Option<u64>,
    pub vr: VR,
}

/// Values of the top level, raw, and the place of the pixels behind them.
#[derive(Debug, Default)]
pub(in crate::dicom) struct Elements {
    pub values: BTreeMap<Tag, Vec<u8>>,
    pub pixels: Option<PixelSpan>,
    /// Offset of the first byte that was not looked at: of the pixels, or of the end.
    pub end: u64,
}

/// An open file; after [`DicomFile::walk`] the next byte is the first of the pixel data's value.
pub(in crate::dicom) struct DicomFile {
    path: PathBuf,
    bytes: Bytes,
    /// Offset of the next byte within the data set's bytes.
    position: u64,
    /// Bytes of the data set: exact for plain files, the most that can come out of deflated ones.
    size: u64,
    /// Bytes of the file itself.
    pub file_size: u64,
    /// When the file was last written, where the system knows.
    pub modified: Option<SystemTime>,
    pub syntax: &'static TransferSyntax,
    /// Media Storage SOP Class UID of the file meta group, empty without one.
    pub media_class: String,
}

impl DicomFile {
    /// `None` if the file is not DICOM. Files without preamble, and without meta group, are read too.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let refuse = |source| Error::io(path, "read", source);
        let metadata = fs::metadata(path).map_err(|source| Error::io(path, "open", source))?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let mut file =
            BufReader::with_capacity(BUFFER, File::open(path).map_err(|source| Error::io(path, "open", source))?);
        let head = file.fill_buf().map_err(refuse)?;
        let start = match head {
            _ if head.get(128..132) == Some(b"DICM") => 132,
            _ if head.starts_with(b"DICM") => 4,
            _ if starts_like_elements(head) => 0,
            _ => return Ok(None),
        };
        file.seek_relative(start).map_err(refuse)?;
        let meta = Meta::read(&mut file).map_err(|source| parse_error(path, "the file meta group", &source))?;
        let consumed = start as u64 + meta.length;
        let uid = match &meta.syntax {
            Some(uid) => uid.as_str(),
            None if next_has_vr(&mut file).map_err(refuse)? => uids::EXPLICIT_VR_LITTLE_ENDIAN,
            None => uids::IMPLICIT_VR_LITTLE_ENDIAN,
        };
        let Some(syntax) = TransferSyntaxRegistry.get(uid) else {
            return Err(Error::DicomUnsupported(format!("{}: transfer syntax {uid} is not known", path.display())));
        };
        let (file_size, modified) = (metadata.len(), metadata.modified().ok());
        let size = file_size.saturating_sub(consumed);
        let (bytes, size) = match syntax.codec() {
            Codec::Dataset(Some(adapter)) => {
                (Bytes::Inflated(adapter.adapt_reader(Box::new(file))), size.saturating_mul(MAX_INFLATION))
            }
            Codec::Dataset(None) => {
                let name = syntax.name();
                return Err(Error::DicomUnsupported(format!(
                    "{}: transfer syntax {name} ({uid}) is not read",
                    path.display()
                )));
            }
            Codec::None | Codec::EncapsulatedPixelData(..) => (Bytes::Plain(file), size),
        };
        let media_class = meta.class;
        let path = path.to_path_buf();
        Ok(Some(DicomFile { path, bytes, position: 0, size, file_size, modified, syntax, media_class }))
    }

    /// Bytes that can still follow.
    pub fn remaining(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }

    /// Reads exactly `count` bytes; memory grows with what is there, not with what is asked for.
    pub fn take(&mut self, count: u64) -> Result<Vec<u8>> {
        let capacity = count.min(self.remaining()).min(64 << 20);
        let mut value = Vec::with_capacity(usize::try_from(capacity).unwrap_or(0));
        let got = (&mut self.bytes).take(count).read_to_end(&mut value);
        let got = got.map_err(|source| self.broken("its data", &source))? as u64;
        self.position += got;
        if got < count {
            return Err(Error::DicomParse(format!(
                "{}: truncated, {count} bytes expected and {got} found",
                self.path.display()
            )));
        }
        Ok(value)
    }

    /// Collects the `wanted` top-level values before the pixel data. `into` keeps what was found if this fails.
    pub fn walk(&mut self, wanted: &[Tag], into: &mut Elements) -> Result<()> {
        let decoders = Decoders::of(self.syntax)?;
        let mut open: Vec<Container> = Vec::new();
        loop {
            while open.last().is_some_and(|container| container.end.is_some_and(|end| self.position >= end)) {
                open.pop();
            }
            let element = self.position;
            let implicit = open.iter().any(|container| container.implicit);
            let header = match decoders.choose(implicit).decode_header(&mut self.bytes) {
                Ok((header, read)) => {
                    self.position += read as u64;
                    header
                }
                Err(error) => {
                    let at_end = matches!(self.bytes, Bytes::Inflated(_)) || self.position == self.size;
                    if open.is_empty() && at_end && is_end(&error) {
                        into.end = element;
                        return Ok(());
                    }
                    return Err(self.broken(&format!("the element at byte {element} of the data set"), &error));
                }
            };
            let (tag, vr) = (header.tag, header.vr);
            let length = header.length().get().map(u64::from);
            if open.is_empty() && tag >= tags::FLOAT_PIXEL_DATA && tag != ITEM {
                if tag == tags::PIXEL_DATA {
                    into.pixels = Some(PixelSpan { element, value: self.position, length, vr });
                }
                into.end = element;
                return Ok(());
            }
            if let Some(length) = length
                && length > self.remaining()
            {
                let rest = self.remaining();
                return Err(Error::DicomParse(format!(
                    "{}: truncated, element {tag} claims {length} bytes and {rest} follow",
                    self.path.display()
                )));
            }
            let end = length.map(|length| self.position + length);
            match (tag, length) {
                (ITEM, Some(length)) if open.last().is_some_and(|container| container.fragments) => {
                    self.skip(length)?;
                }
                (ITEM, _) => open.push(Container { end, fragments: false, implicit: false }),
                (ITEM_END | SEQUENCE_END, _) => {
                    open.pop();
                }
                (_, None) => {
                    if open.is_empty() && wanted.contains(&tag) {
                        into.values.insert(tag, Vec::new());
                    }
                    // PS3.5 6.2.2 note 2: UN of undefined length holds implicit VR little endian.
                    open.push(Container { end, fragments: matches!(vr, VR::OB | VR::OW), implicit: vr == VR::UN });
                }
                (_, Some(_)) if vr == VR::SQ => {
                    if open.is_empty() && wanted.contains(&tag) {
                        into.values.insert(tag, Vec::new());
                    }
                    open.push(Container { end, fragments: false, implicit: false });
                }
                (_, Some(length)) if open.is_empty() && wanted.contains(&tag) && length <= MAX_VALUE => {
                    let value = self.take(length)?;
                    into.values.insert(tag, value);
                }
                (_, Some(length)) => self.skip(length)?,
            }
            if open.len() > MAX_DEPTH {
                return Err(Error::DicomParse(format!(
                    "{}: sequences are nested deeper than {MAX_DEPTH} levels",
                    self.path.display()
                )));
            }
        }
    }

    /// All that lies before the pixels in the file at `path`, of at most `most` bytes. It is walked first: that refuses what
    /// the parser would trust, such as nesting that takes all of the stack.
    pub fn whole(path: &Path, most: u64) -> Result<InMemDicomObject> {
        let open = || {
            let gone = || Error::DicomParse(format!("{}: not a DICOM file any more", path.display()));
            DicomFile::open(path)?.ok_or_else(gone)
        };
        let mut file = open()?;
        if file.file_size > most {
            let text = format!("{}: {} bytes, expected at most {most}", path.display(), file.file_size);
            return Err(Error::DicomUnsupported(text));
        }
        let mut walked = Elements::default();
        file.walk(&[], &mut walked)?;
        open()?.parsed(walked.end.min(most))
    }

    /// As [`DicomFile::into_data_set`]; an error where the parser panics on what the walk let pass.
    pub fn parsed(self, end: u64) -> Result<InMemDicomObject> {
        let path = self.path.clone();
        catch_unwind(AssertUnwindSafe(|| self.into_data_set(end)))
            .unwrap_or_else(|_| Err(Error::DicomParse(format!("{}: the data set is corrupt", path.display()))))
    }

    /// The first `end` bytes of the data set of a file that was just opened and walked that far before.
    fn into_data_set(self, end: u64) -> Result<InMemDicomObject> {
        let inflated = TransferSyntaxRegistry.get(uids::EXPLICIT_VR_LITTLE_ENDIAN);
        let plain = match self.bytes {
            Bytes::Inflated(_) => inflated.unwrap_or(self.syntax),
            Bytes::Plain(_) => self.syntax,
        };
        let most = end.min(self.size);
        let (object, unknown) = texts::data_set(BufReader::new(self.bytes.take(end)), most, plain)
            .map_err(|error| parse_error(&self.path, "the data set", &*error))?;
        if !unknown.is_empty() {
            let tags: Vec<String> = unknown.iter().map(Tag::to_string).collect();
            let (path, tags) = (self.path.display(), tags.join(" "));
            log::warn!("{path}: {tags}: bytes not of the character set that the file states are replaced by {UNKNOWN}");
        }
        Ok(object)
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: u64) -> Result<()> {
        let skipped = match &mut self.bytes {
            Bytes::Plain(file) => file.seek_relative(i64::try_from(count).unwrap_or(i64::MAX)),
            // Where a deflated stream ends is not known before: a value that claims more must not get memory for it.
            Bytes::Inflated(stream) => io::copy(&mut stream.take(count), &mut io::sink())
                .and_then(|got| if got == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }),
        };
        skipped.map_err(|source| self.broken("its data", &source))?;
        self.position += count;
        Ok(())
    }

    fn broken(&self, what: &str, error: &(dyn std::error::Error + 'static)) -> Error {
        parse_error(&self.path, what, error)
    }
}

/// A sequence, an item or encapsulated data that has begun and not ended.
struct Container {
    /// Offset of the first byte behind it; `None`: a delimiter ends it.
    end: Option<u64>,
    /// Its items hold bytes, not elements.
    fragments: bool,
    implicit: bool,
}

struct Decoders {
    main: DynDecoder<Bytes>,
    implicit: DynDecoder<Bytes>,
}

impl Decoders {
    fn of(syntax: &TransferSyntax) -> Result<Self> {
        let implicit: DynDecoder<Bytes> = Box::new(decode::default_reader());
        match syntax.decoder_for() {
            Some(main) => Ok(Decoders { main, implicit }),
            None => Err(Error::DicomUnsupported(format!("transfer syntax {} is not read", syntax.uid()))),
        }
    }

    fn choose(&self, implicit: bool) -> &DynDecoder<Bytes> {
        if implicit { &self.implicit } else { &self.main }
    }
}

/// What matters of the file meta group (PS3.10 7.1).
#[derive(Default)]
struct Meta {
    length: u64,
    syntax: Option<String>,
    class: String,
}

impl Meta {
    /// Reads elements while they are of group 2; the stated group length is often wrong and not needed.
    fn read(file: &mut BufReader<File>) -> io::Result<Self> {
        let decoder = decode::file_header_decoder();
        let mut meta = Meta::default();
        loop {
            let (header, read) = DecodeFrom::decode_header(&decoder, file).map_err(io::Error::other)?;
            if header.tag.group() != 2 {
                file.seek_relative(-(read as i64))?;
                return Ok(meta);
            }
            let length =
                header.length().get().ok_or_else(|| io::Error::other(format!("{} has no length", header.tag)))?;
            meta.length += read as u64 + u64::from(length);
            if matches!(header.tag, tags::TRANSFER_SYNTAX_UID | tags::MEDIA_STORAGE_SOP_CLASS_UID) && length <= 128 {
                let mut value = vec![0; length as usize];
                file.read_exact(&mut value)?;
                let value = String::from_utf8_lossy(&value).trim_matches([' ', '\0']).to_string();
                if header.tag == tags::TRANSFER_SYNTAX_UID {
                    meta.syntax = Some(value);
                } else {
                    meta.class = value;
                }
            } else {
                file.seek_relative(i64::from(length))?;
            }
        }
    }
}

/// Whether bytes without the DICM mark begin with elements of group 2 or 8, little endian.
fn starts_like_elements(head: &[u8]) -> bool {
    let [group, 0, element, high, a, b, c, d, ..] = *head else {
        return false;
    };
    let known = matches!(group, 2 | 8) && high == 0 && element <= 0x20;
    let length = u32::from_le_bytes([a, b, c, d]);
    known && (VR::from_binary([a, b]).is_some() || length <= 256)
}

/// Whether the next element states its VR.
fn next_has_vr(file: &mut BufReader<File>) -> io::Result<bool> {
    let mut head = [0; 6];
    file.read_exact(&mut head)?;
    file.seek_relative(-6)?;
    Ok(VR::from_binary([head[4], head[5]]).is_some())
}

fn is_end(error: &decode::Error) -> bool {
    matches!(error, decode::Error::ReadHeaderTag { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof)
}

fn parse_error(path: &Path, what: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    let path = path.display();
    if ended(error) {
        return Error::DicomParse(format!("{path}: truncated, the file ends within {what}"));
    }
    Error::DicomParse(format!("{path}: cannot read {what}: {}", causes(error)))
}

/// Whether an error comes from the end of the file.
fn ended(error: &(dyn std::error::Error + 'static)) -> bool {
    let at_end = |error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
    error.downcast_ref::<io::Error>().is_some_and(at_end) || error.source().is_some_and(ended)
}

/// The message of an error with those of its causes.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
