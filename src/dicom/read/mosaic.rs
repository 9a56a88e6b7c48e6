//! Siemens mosaics: the slices of a volume side by side in one image.
//!
//! Tiles fill a square grid row by row. ImagePositionPatient is that of an image of the mosaic's size around the centre
//! of the first slice; the slices follow each other along the SliceNormalVector of the private CSA header.

use std::sync::Arc;

use super::format::PixelFormat;
use super::header::Header;
use super::slice::{Marks, Slice};
use super::values::Field;
use crate::error::{Error, Result};
use crate::geometry::{Vec3, cross, dot};

/// What the private elements of a mosaic say.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::dicom) struct Mosaic {
    pub tiles: usize,
    /// Direction from each slice to the next, LPS.
    pub normal: Vec3,
}

impl Mosaic {
    /// From CSA Image Header Info (0029,1010).
    pub fn parse(csa: &[u8]) -> Field<Self> {
        let tiles = csa_values(csa, "NumberOfImagesInMosaic").and_then(|values| values.first()?.parse().ok());
        let tiles = tiles.filter(|tiles| (1..=4096).contains(tiles));
        let normal = csa_values(csa, "SliceNormalVector").unwrap_or_default();
        let normal: Option<Vec<f64>> = normal.iter().map(|value| value.parse().ok()).collect();
        let normal = normal.and_then(|normal| Vec3::try_from(normal).ok());
        match (tiles, normal) {
            (Some(tiles), Some(normal)) => Ok(Mosaic { tiles, normal }),
            _ => Err(
                "a Siemens mosaic whose CSA header (0029,1010) does not say how many slices it has and where they lie"
                    .into(),
            ),
        }
    }
}

/// The tiles of `file` as slices.
pub(super) fn slices(file: &Arc<Header>, mosaic: &Field<Mosaic>) -> Result<Vec<Slice>> {
    tiles(file, mosaic).map_err(|reason| Error::DicomUnsupported(format!("{}: {reason}", file.path.display())))
}

fn tiles(file: &Arc<Header>, mosaic: &Field<Mosaic>) -> Field<Vec<Slice>> {
    let mosaic = mosaic.as_ref().map_err(String::clone)?;
    let format = file.format.clone()?;
    let side = (1..).find(|side| side * side >= mosaic.tiles).unwrap_or(1);
    if format.columns % side != 0 || format.rows % side != 0 {
        return Err(format!(
            "a mosaic of {} slices has {side} of them in a row, which {} x {} pixels do not divide into",
            mosaic.tiles, format.columns, format.rows
        ));
    }
    let size = [format.columns / side, format.rows / side];
    let ([a, b, c, d, e, f], [down, across], corner) =
        (file.orientation.clone()?, file.pixel_spacing.clone()?, file.position.clone()?);
    let (row, column) = ([a, b, c], [d, e, f]);
    let along = dot(cross(row, column), mosaic.normal);
    if (along.abs() - 1.0).abs() > 1e-3 {
        return Err(format!(
            "a mosaic with SliceNormalVector {:?}, which is not the normal of ImageOrientationPatient",
            mosaic.normal
        ));
    }
    let between = file.spacing_between_slices.ok_or("a mosaic without SpacingBetweenSlices (0018,0088)")?;
    // Half of what the mosaic is larger than a tile, in mm.
    let right = (format.columns - size[0]) as f64 / 2.0 * across;
    let below = (format.rows - size[1]) as f64 / 2.0 * down;
    let tile = |n: usize| {
        let through = n as f64 * between;
        Slice {
            frame: None,
            tile: Some([n % side * size[0], n / side * size[1]]),
            position: Ok(std::array::from_fn(|x| {
                corner[x] + right * row[x] + below * column[x] + through * mosaic.normal[x]
            })),
            format: Ok(PixelFormat { columns: size[0], rows: size[1], ..format.clone() }),
            marks: Marks { kind: file.marks.kind.replace("\\MOSAIC", ""), ..file.marks.clone() },
            ..Slice::of(file)
        }
    };
    Ok((0..mosaic.tiles).map(tile).collect())
}

/// The texts of one tag of a CSA header, as Siemens' SV10 layout has them: a name of 64 bytes, a count of items, and for
/// each item four numbers, of which the second is its length, before its bytes, padded to a multiple of four.
fn csa_values(csa: &[u8], wanted: &str) -> Option<Vec<String>> {
    let word = |at: usize| Some(u32::from_le_bytes(csa.get(at..at + 4)?.try_into().ok()?) as usize);
    if !csa.starts_with(b"SV10") {
        return None;
    }
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
    };
    let mut at = 16;
    for _ in 0..word(8)?.min(1024) {
        let name = text(csa.get(at..at + 64)?);
        let count = word(at + 76)?.min(1024);
        at += 84;
        let mut values = Vec::new();
        for _ in 0..count {
            let length = word(at + 4)?;
            let value = text(csa.get(at + 16..(at + 16).checked_add(length)?)?);
            at += 16 + length.next_multiple_of(4);
            if !value.is_empty() {
                values.push(value);
            }
        }
        if name == wanted {
            return Some(values);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csa(tags: &[(&str, &[&str])]) -> Vec<u8> {
        let mut bytes = b"SV10\x04\x03\x02\x01".to_vec();
        bytes.extend((tags.len() as u32).to_le_bytes());
        bytes.extend(77u32.to_le_bytes());
        for (name, values) in tags {
            let mut name = name.as_bytes().to_vec();
            name.resize(64, 0);
            bytes.extend(name);
            for word in [values.len() as u32, 0, 0, values.len() as u32, 77] {
                bytes.extend(word.to_le_bytes());
            }
            for value in *values {
                let length = value.len() as u32 + 1;
                for word in [length, length, 77, length] {
                    bytes.extend(word.to_le_bytes());
                }
                bytes.extend(value.as_bytes());
                bytes.resize(bytes.len() + 1 + (length.next_multiple_of(4) - length) as usize, 0);
            }
        }
        bytes
    }

    #[test]
    fn a_csa_header_says_how_many_slices_and_where() {
        let said = csa(&[
            ("EchoLinePosition", &["32"]),
            ("SliceNormalVector", &["0.0", "0.6", "0.8", ""]),
            ("NumberOfImagesInMosaic", &["35  "]),
        ]);
        assert_eq!(Mosaic::parse(&said), Ok(Mosaic { tiles: 35, normal: [0.0, 0.6, 0.8] }));
        for end in 0..said.len() {
            let _ = Mosaic::parse(&said[..end]);
        }
        assert!(Mosaic::parse(&csa(&[("NumberOfImagesInMosaic", &["35"])])).is_err());
        assert!(Mosaic::parse(b"NV10").is_err());
        // A length beyond the end, and one that would wrap.
        let mut wrong = said.clone();
        for byte in &mut wrong[16 + 84 + 4..16 + 84 + 8] {
            *byte = 0xFF;
        }
        assert!(Mosaic::parse(&wrong).is_err());
    }
}
