//! Compressed images of one frame, decoded by the codecs that are registered for their transfer syntaxes.
//!
//! The codecs trust the sizes in their streams, so those are compared with the header before a codec allocates, and a panic inside a
//! codec is an error here.

use std::borrow::Cow;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dicom::dictionary_std::uids;
use dicom::encoding::adapters::{PixelDataObject, RawPixelData};
use dicom::encoding::{Codec, TransferSyntax};

use super::file::causes;
use super::format::PixelFormat;
use crate::dicom::rle;
use crate::error::{Error, Result};

/// Decodes `stream` into little-endian samples and says how they are laid out.
pub(in crate::dicom) fn decode(
    syntax: &TransferSyntax,
    stream: Vec<u8>,
    format: &PixelFormat,
) -> Result<(Vec<u8>, PixelFormat)> {
    let name = syntax.name();
    let mut format = format.clone();
    let data = match syntax.uid() {
        uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN => stream,
        uids::DEFLATED_IMAGE_FRAME_COMPRESSION => inflate(&stream, &format)?,
        uids::JPEGXL_LOSSLESS | uids::JPEGXLJPEG_RECOMPRESSION | uids::JPEGXL => jpeg_xl(&stream, &format)?,
        uids::RLE_LOSSLESS => rle::decode(&stream, &format)?,
        uid => {
            let declared = match uid {
                uids::JPEG2000_LOSSLESS
                | uids::JPEG2000
                | uids::JPEG2000MC_LOSSLESS
                | uids::JPEG2000MC
                | uids::HTJ2K_LOSSLESS
                | uids::HTJ2K_LOSSLESS_RPCL
                | uids::HTJ2K => jpeg_2000_size(&stream),
                _ => jpeg_size(&stream),
            };
            let declared = declared.ok_or_else(|| Error::DicomParse(format!("no {name} stream in PixelData")))?;
            if format.allocated > 16 {
                return Err(Error::DicomUnsupported(format!("{name} with BitsAllocated 32, expected 8 or 16")));
            }
            declared.check(&format)?;
            if declared.cosine && declared.precision > 8 {
                let bits = declared.precision;
                return Err(Error::DicomUnsupported(format!(
                    "{name}: lossy JPEG of {bits} bits is not read, only of 8"
                )));
            }
            if declared.wavelet && declared.precision < format.stored {
                // Signed samples are stored with the precision of the stream.
                (format.stored, format.high_bit) = (declared.precision, declared.precision - 1);
            }
            let wide = format.allocated;
            // A stream of at most 8 bits decodes to bytes, whatever the header allocates.
            format.allocated = if declared.precision <= 8 { 8 } else { 16 };
            let data = run(syntax, stream, &format)?;
            if format.allocated < wide { widen(data, &mut format) } else { data }
        }
    };
    let expected = format.byte_len();
    let length = data.len() as u64;
    if length != expected && !(expected % 2 == 1 && length == expected + 1) {
        return Err(Error::DicomParse(format!("{name} stream holds {length} bytes of pixels, expected {expected}")));
    }
    Ok((data, format))
}

/// Bytes to 16-bit words.
fn widen(data: Vec<u8>, format: &mut PixelFormat) -> Vec<u8> {
    format.allocated = 16;
    data.into_iter().flat_map(|byte| [byte, 0]).collect()
}

/// What the stream itself says of its image.
struct Declared {
    rows: u64,
    columns: u64,
    components: u32,
    precision: u32,
    /// JPEG with cosine transform: lossy.
    cosine: bool,
    /// JPEG 2000.
    wavelet: bool,
}

impl Declared {
    fn check(&self, format: &PixelFormat) -> Result<()> {
        let found = (self.rows, self.columns, self.components);
        let expected = (format.rows as u64, format.columns as u64, 1);
        if found != expected {
            return Err(Error::DicomParse(format!(
                "the compressed image has {} rows, {} columns and {} components, the header says {} rows, {} columns and 1",
                found.0, found.1, found.2, expected.0, expected.1
            )));
        }
        if self.precision == 0 || self.precision > format.allocated {
            return Err(Error::DicomParse(format!(
                "the compressed image has {} bits, expected at most BitsAllocated {}",
                self.precision, format.allocated
            )));
        }
        Ok(())
    }
}

/// The frame header of JPEG (ITU-T T.81 B.2.2) and JPEG-LS (T.87 C.2.2).
fn jpeg_size(stream: &[u8]) -> Option<Declared> {
    let mut rest = stream.strip_prefix(&[0xFF, 0xD8])?;
    loop {
        let (&marker, after) = rest.split_first()?;
        if marker != 0xFF {
            return None;
        }
        let skipped = after.iter().take_while(|&&byte| byte == 0xFF).count();
        let (&marker, after) = after.get(skipped..)?.split_first()?;
        let length = usize::from(u16::from_be_bytes(*after.first_chunk()?));
        match marker {
            0xC4 | 0xC8 | 0xCC => {}
            0xC0..=0xCF | 0xF7 => {
                let [_, _, precision, y1, y0, x1, x0, components] = *after.first_chunk()?;
                return Some(Declared {
                    rows: u16::from_be_bytes([y1, y0]).into(),
                    columns: u16::from_be_bytes([x1, x0]).into(),
                    components: components.into(),
                    precision: precision.into(),
                    cosine: marker <= 0xC2,
                    wavelet: false,
                });
            }
            0xD9 | 0xDA => return None,
            _ => {}
        }
        rest = after.get(length..)?;
    }
}

/// The SIZ segment of JPEG 2000 (ITU-T T.800 A.5.1), in a bare codestream or a file.
fn jpeg_2000_size(stream: &[u8]) -> Option<Declared> {
    const START: [u8; 4] = [0xFF, 0x4F, 0xFF, 0x51];
    let start = stream.windows(4).take(4096).position(|bytes| bytes == START)?;
    let segment = stream.get(start + 4..)?;
    let long = |at: usize| Some(u64::from(u32::from_be_bytes(*segment.get(at..)?.first_chunk()?)));
    let (xr, yr) = (*segment.get(39)?, *segment.get(40)?);
    if (xr, yr) != (1, 1) {
        return None;
    }
    Some(Declared {
        rows: long(8)?.checked_sub(long(16)?)?,
        columns: long(4)?.checked_sub(long(12)?)?,
        components: u16::from_be_bytes(*segment.get(36..)?.first_chunk()?).into(),
        precision: u32::from(segment.get(38)? & 0x7F) + 1,
        cosine: false,
        wavelet: true,
    })
}

/// One frame as its codec sees it.
#[derive(Debug)]
struct Frame<'a> {
    syntax: &'a str,
    stream: Vec<u8>,
    format: &'a PixelFormat,
}

impl PixelDataObject for Frame<'_> {
    fn transfer_syntax_uid(&self) -> &str {
        self.syntax
    }
    fn rows(&self) -> Option<u16> {
        self.format.rows.try_into().ok()
    }
    fn cols(&self) -> Option<u16> {
        self.format.columns.try_into().ok()
    }
    fn samples_per_pixel(&self) -> Option<u16> {
        Some(1)
    }
    fn bits_allocated(&self) -> Option<u16> {
        self.format.allocated.try_into().ok()
    }
    fn bits_stored(&self) -> Option<u16> {
        self.format.stored.try_into().ok()
    }
    fn photometric_interpretation(&self) -> Option<&str> {
        Some("MONOCHROME2")
    }
    fn number_of_frames(&self) -> Option<u32> {
        Some(1)
    }
    fn number_of_fragments(&self) -> Option<u32> {
        Some(1)
    }
    fn fragment(&self, fragment: usize) -> Option<Cow<'_, [u8]>> {
        (fragment == 0).then_some(Cow::Borrowed(&self.stream))
    }
    fn offset_table(&self) -> Option<Cow<'_, [u32]>> {
        None
    }
    fn raw_pixel_data(&self) -> Option<RawPixelData> {
        Some(RawPixelData {
            fragments: [self.stream.clone()].into_iter().collect(),
            offset_table: [].into_iter().collect(),
        })
    }
}

fn run(syntax: &TransferSyntax, stream: Vec<u8>, format: &PixelFormat) -> Result<Vec<u8>> {
    let Codec::EncapsulatedPixelData(Some(codec), _) = syntax.codec() else {
        return Err(Error::DicomUnsupported(format!(
            "transfer syntax {} ({}) is not read",
            syntax.name(),
            syntax.uid()
        )));
    };
    let frame = Frame { syntax: syntax.uid(), stream, format };
    let mut data = Vec::new();
    caught(syntax.name(), || {
        codec.decode_frame(&frame, 0, &mut data).map_err(|error| broken(syntax.name(), &causes(&error)))
    })?;
    Ok(data)
}

fn caught<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(broken(name, "corrupt or cut off")))
}

fn broken(name: &str, reason: &str) -> Error {
    Error::DicomParse(format!("the {name} stream cannot be decoded: {reason}"))
}

/// PS3.5 A.4.13; never inflates more than the image needs.
fn inflate(stream: &[u8], format: &PixelFormat) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    flate2::read::DeflateDecoder::new(stream)
        .take(format.byte_len() + 2)
        .read_to_end(&mut data)
        .map_err(|error| broken("deflated", &error.to_string()))?;
    Ok(data)
}

/// Decoded here and not by the registered codec, which stretches samples of less than 16 bits to the full range.
fn jpeg_xl(stream: &[u8], format: &PixelFormat) -> Result<Vec<u8>> {
    let refuse = |reason: &str| broken("JPEG XL", reason);
    caught("JPEG XL", || {
        // Modular decoding keeps several 32-bit planes; 64 bytes a pixel and a fixed part are ample.
        let limit =
            usize::try_from(format.byte_len().saturating_mul(64)).unwrap_or(usize::MAX).saturating_add(64 << 20);
        let image = jxl_oxide::JxlImage::builder()
            .alloc_tracker(jxl_oxide::AllocTracker::with_limit(limit))
            .read(stream)
            .map_err(|error| refuse(&error.to_string()))?;
        let declared = Declared {
            rows: image.height().into(),
            columns: image.width().into(),
            components: image.pixel_format().channels() as u32,
            precision: image.image_header().metadata.bit_depth.bits_per_sample(),
            cosine: false,
            wavelet: false,
        };
        declared.check(format)?;
        if declared.precision > 16 {
            return Err(refuse("more than 16 bits"));
        }
        if !image.is_loading_done() || image.num_loaded_keyframes() == 0 {
            return Err(refuse("cut off"));
        }
        let frame = image.render_frame(0).map_err(|error| refuse(&error.to_string()))?;
        let mut samples = vec![0f32; format.rows * format.columns];
        if frame.stream().write_to_buffer(&mut samples) != samples.len() {
            return Err(refuse("cut off"));
        }
        // Samples span 0..1.
        let top = ((1u64 << declared.precision) - 1) as f64;
        let words = samples.iter().map(|sample| (f64::from(*sample) * top).round() as u16);
        Ok(match format.allocated {
            8 => words.map(|word| word as u8).collect(),
            _ => words.flat_map(u16::to_le_bytes).collect(),
        })
    })
}
