//! NRRD files (`.nrrd`, `.nhdr` with voxels in a file beside it).

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Component, Path};

use flate2::write::GzEncoder;

use super::nrrd_header::{self, Encoding, Header};
use super::scalar::{Layout, Source, open, truncated};
use super::{COMPRESSION, Scan, grid, write_voxels};
use crate::atomic_file;
use crate::error::{Error, Result};
use crate::labelmap::Labelmap;

pub fn read(path: &Path) -> Result<Scan> {
    let (mut reader, len) = open(path)?;
    let header = nrrd_header::read(&mut reader)?;
    let (size, affine) = header.grid()?;
    let geometry = grid(size, affine, "space directions")?;
    let (scalar, encoding) = (header.scalar()?, header.encoding()?);
    let big_endian = header.big_endian(scalar, encoding)?;
    let layout = Layout { size, scalar, big_endian, slope: 1.0, intercept: 0.0 };
    let (reader, len) = match detached(&header)? {
        Some(name) => open(&atomic_file::folder_of(path).join(name)).map_err(|e| e.at(name.display()))?,
        None => (reader, len.saturating_sub(header.len)),
    };
    let (reader, len, skip) = skipped(&header, encoding, reader, len, &layout)?;
    let mut source = match encoding {
        Encoding::Gzip => Source::gzip(reader, len),
        Encoding::Raw | Encoding::Text => Source::plain(reader, len),
    };
    source.skip(skip, "byte skip")?;
    let voxels = match encoding {
        Encoding::Text => source.text_voxels(&layout)?,
        Encoding::Raw | Encoding::Gzip => source.voxels(&layout)?,
    };
    Ok(Scan { geometry, voxels, keys: header.keys })
}

/// The file that holds the voxels. It stays in or below the header's folder: a header from elsewhere must not choose
/// which files of this machine are read.
fn detached(header: &Header) -> Result<Option<&Path>> {
    let Some(name) = header.field("data file").or_else(|| header.field("datafile")) else { return Ok(None) };
    if name.starts_with("LIST") || name.contains('%') {
        return Err(Error::VolumeFormat(format!("data file: {name:?}, expected one file; several are not read")));
    }
    let path = Path::new(name);
    if path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(Error::VolumeFormat(format!(
            "data file: {name:?} leaves the folder of the header, expected a file beside it"
        )));
    }
    Ok(Some(path))
}

/// Applies "line skip" to the stored bytes: gives the reader, what is left in it, and how many inflated bytes "byte skip"
/// leaves out.
fn skipped(
    header: &Header,
    encoding: Encoding,
    mut reader: BufReader<File>,
    mut len: u64,
    layout: &Layout,
) -> Result<(BufReader<File>, u64, u64)> {
    let lines = header.number(["line skip", "lineskip"])?;
    for _ in 0..lines {
        let skipped = reader.skip_until(b'\n').map_err(|e| Error::VolumeFormat(format!("cannot read: {e}")))?;
        if skipped == 0 {
            return Err(truncated("line skip"));
        }
        len = len.saturating_sub(skipped as u64);
    }
    match header.number(["byte skip", "byteskip"])? {
        // The voxels end where the file ends.
        -1 if encoding == Encoding::Raw => {
            let bytes = layout.size.iter().try_fold(layout.scalar.bytes() as u64, |n, &s| n.checked_mul(s as u64));
            let start = bytes.and_then(|bytes| len.checked_sub(bytes)).ok_or_else(|| truncated("voxels"))?;
            let start = i64::try_from(start).map_err(|_| truncated("voxels"))?;
            reader.seek(SeekFrom::Current(start)).map_err(|e| Error::VolumeFormat(format!("cannot read: {e}")))?;
            Ok((reader, len - start.unsigned_abs(), 0))
        }
        skip => match u64::try_from(skip) {
            Ok(skip) => Ok((reader, len, skip)),
            Err(_) => Err(Error::VolumeFormat(format!("byte skip: {skip}, expected 0 or more, or -1 with raw voxels"))),
        },
    }
}

/// Writes labels as gzip-encoded bytes, with `keys` in the header.
pub fn write_labels(labelmap: &Labelmap, keys: Vec<(String, String)>, path: &Path) -> Result<()> {
    let header = label_header(labelmap, &keys);
    atomic_file::write(path, |file| {
        file.write_all(header.as_bytes())?;
        let mut gzip = GzEncoder::new(file, COMPRESSION);
        write_voxels(labelmap, &mut gzip)?;
        gzip.finish().map(drop)
    })
}

fn label_header(labelmap: &Labelmap, keys: &[(String, String)]) -> String {
    let geometry = labelmap.geometry();
    let [columns, rows, slices] = geometry.size;
    // Rust prints the shortest text that reads back as the same number.
    let vector = |[x, y, z]: [f64; 3]| format!("({x},{y},{z})");
    let axis = |n: usize| vector(geometry.direction[n].map(|d| d * geometry.spacing[n]));
    let mut text = String::new();
    let _ = write!(
        text,
        "NRRD0004\n\
         # Format: http://teem.sourceforge.net/nrrd/format.html\n\
         type: unsigned char\n\
         dimension: 3\n\
         space: left-posterior-superior\n\
         sizes: {columns} {rows} {slices}\n\
         space directions: {} {} {}\n\
         kinds: domain domain domain\n\
         encoding: gzip\n\
         space origin: {}\n",
        axis(0),
        axis(1),
        axis(2),
        vector(geometry.origin)
    );
    for (key, value) in keys {
        let _ = writeln!(text, "{key}:={}", nrrd_header::escape(value));
    }
    text.push('\n');
    text
}
