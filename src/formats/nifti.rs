//! NIfTI-1 single files (`.nii`, `.nii.gz`). Their world is RAS in mm, ours is LPS.
//!
//! Layout and rules: nifti1.h of the NIfTI-1.1 standard (nifti.nimh.nih.gov).

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;

use flate2::write::GzEncoder;
use nifti::{Endianness, NiftiHeader};

use super::scalar::{Layout, Scalar, Source, open, truncated};
use super::{COMPRESSION, Scan, grid, lower_name, write_voxels};
use crate::atomic_file;
use crate::error::{Error, Result};
use crate::geometry::{Geometry, Vec3, cross, dot, norm};
use crate::labelmap::Labelmap;
use crate::receipt::KEY;

const HEADER: usize = 348;
/// Header, then four bytes that say "no extension".
pub const VOXEL_OFFSET: usize = 352;
/// Size and code before the bytes of an extension.
const EXTENSION: usize = 8;
/// The offset is an f32, which holds whole numbers up to here.
const MOST_BEFORE_VOXELS: usize = 1 << 24;
/// NIFTI_ECODE_COMMENT: plain text.
const COMMENT: u32 = 6;

pub fn read(path: &Path) -> Result<Scan> {
    let (mut reader, len) = open(path)?;
    let compressed = reader.fill_buf().map_err(|e| Error::io(path, "read", e))?.starts_with(&[0x1f, 0x8b]);
    let mut source = if compressed { Source::gzip(reader, len) } else { Source::plain(reader, len) };
    let mut bytes = [0; HEADER];
    source.fill(&mut bytes, "header")?;
    let header = parse(&bytes)?;
    let size = size(&header)?;
    let geometry = grid_of(&header, size)?;
    let (slope, intercept) = scaling(&header)?;
    let big_endian = header.endianness == Endianness::Big;
    let layout = Layout { size, scalar: scalar(&header)?, big_endian, slope, intercept };
    let mut between = vec![0; (voxel_offset(&header)? - HEADER as u64) as usize]; // at most 16 MiB
    source.fill(&mut between, "header")?;
    let keys = comments(&between, big_endian);
    Ok(Scan { geometry, voxels: source.voxels(&layout)?, keys })
}

/// `KEY:=value` of the extensions, after the header, that are comments.
fn comments(bytes: &[u8], big_endian: bool) -> BTreeMap<String, String> {
    let number = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap_or_default();
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    let mut keys = BTreeMap::new();
    let Some((&[1, ..], mut rest)) = bytes.split_at_checked(VOXEL_OFFSET - HEADER) else { return keys };
    while rest.len() > EXTENSION {
        let (size, code) = (number(&rest[..4]) as usize, number(&rest[4..8]));
        if size <= EXTENSION || size > rest.len() {
            break;
        }
        let text = String::from_utf8_lossy(&rest[EXTENSION..size]);
        if let (COMMENT, Some((key, value))) = (code, text.trim_end_matches('\0').split_once(":=")) {
            keys.insert(key.to_owned(), value.to_owned());
        }
        rest = &rest[size..];
    }
    keys
}

fn refuse<T>(text: String) -> Result<T> {
    Err(Error::VolumeFormat(text))
}

fn parse(bytes: &[u8; HEADER]) -> Result<NiftiHeader> {
    let first = [bytes[0], bytes[1], bytes[2], bytes[3]];
    let sizes = [i32::from_le_bytes(first), i32::from_be_bytes(first)];
    if sizes.contains(&540) {
        return refuse("a NIfTI-2 file, expected NIfTI-1".into());
    }
    match &bytes[344..] {
        b"n+1\0" => {}
        b"ni1\0" => return refuse("the header of a NIfTI pair (.hdr, .img), expected a single .nii file".into()),
        _ => return refuse("not a NIfTI-1 file: its magic code is missing".into()),
    }
    let header = NiftiHeader::from_reader(&bytes[..]).map_err(|_| truncated("header"))?;
    if !sizes.contains(&(HEADER as i32)) {
        return refuse(format!("header size {}, expected {HEADER}", header.sizeof_hdr));
    }
    // The crate takes the byte order from dim[0], so a bad one looks like the other order.
    if header.sizeof_hdr != HEADER as i32 {
        return refuse("dim[0], the number of dimensions, is not among 1 to 7".into());
    }
    Ok(header)
}

/// The first three dimensions; all further ones must be 1.
fn size(header: &NiftiHeader) -> Result<[usize; 3]> {
    // The standard stores signed 16-bit numbers.
    let dims = header.dim.map(|dim| dim as i16);
    let [count, i, j, k, rest @ ..] = dims;
    let used = rest.iter().take(usize::from(count.clamp(3, 7).unsigned_abs()) - 3);
    if !(3..=7).contains(&count) || [i, j, k].iter().any(|&n| n < 1) || used.into_iter().any(|&n| n != 1) {
        return refuse(format!("dimensions {dims:?} (first their number), expected one volume of three dimensions"));
    }
    Ok([i, j, k].map(|n| n as usize))
}

fn scalar(header: &NiftiHeader) -> Result<Scalar> {
    Ok(match header.datatype {
        2 => Scalar::U8,
        4 => Scalar::I16,
        8 => Scalar::I32,
        16 => Scalar::F32,
        64 => Scalar::F64,
        256 => Scalar::I8,
        512 => Scalar::U16,
        768 => Scalar::U32,
        1024 => Scalar::I64,
        1280 => Scalar::U64,
        other => {
            let name = match other {
                1 => "one bit per voxel",
                32 | 1792 | 2048 => "complex numbers",
                128 | 2304 => "colours",
                1536 => "128-bit floats",
                _ => "unknown",
            };
            return refuse(format!("data type {other} ({name}), expected one integer or float per voxel"));
        }
    })
}

/// scl_slope and scl_inter; a slope of 0 means "not scaled".
fn scaling(header: &NiftiHeader) -> Result<(f64, f64)> {
    let (slope, intercept) = (f64::from(header.scl_slope), f64::from(header.scl_inter));
    if slope == 0.0 || slope.is_nan() {
        return Ok((1.0, 0.0));
    }
    if !slope.is_finite() || !intercept.is_finite() {
        return refuse(format!("scl_slope {slope}, scl_inter {intercept}, expected finite numbers"));
    }
    Ok((slope, intercept))
}

fn voxel_offset(header: &NiftiHeader) -> Result<u64> {
    let offset = header.vox_offset;
    if !(VOXEL_OFFSET as f32..=MOST_BEFORE_VOXELS as f32).contains(&offset) || offset.fract() != 0.0 {
        return refuse(format!("vox_offset {offset}, expected a whole number from {VOXEL_OFFSET} on"));
    }
    Ok(offset as u64)
}

/// sform if its code is set, else qform. With neither the patient's orientation is not known, and not guessed.
fn grid_of(header: &NiftiHeader, size: [usize; 3]) -> Result<Geometry> {
    if let unit @ (1 | 3) = header.xyzt_units & 7 {
        let unit = if unit == 1 { "metres" } else { "micrometres" };
        return refuse(format!("lengths are in {unit}, expected mm"));
    }
    let (ras, source) = if header.sform_code > 0 {
        ([header.srow_x, header.srow_y, header.srow_z].map(|row| row.map(f64::from)), "sform")
    } else if header.qform_code > 0 {
        (qform(header)?, "qform")
    } else {
        return refuse("neither sform nor qform is set, so the patient's orientation is unknown".into());
    };
    grid(size, flip_ras_lps(ras), source)
}

/// RAS to LPS and back: x and y change sign, without making a negative zero.
fn flip_ras_lps([x, y, z]: [[f64; 4]; 3]) -> [[f64; 4]; 3] {
    [x.map(|v| 0.0 - v), y.map(|v| 0.0 - v), z]
}

/// Voxel to RAS from the quaternion (method 2 of nifti1.h).
fn qform(header: &NiftiHeader) -> Result<[[f64; 4]; 3]> {
    let [b, c, d] = [header.quatern_b, header.quatern_c, header.quatern_d].map(f64::from);
    let rest = 1.0 - (b * b + c * c + d * d);
    // Rounding of the f32 fields may leave a half turn slightly too long.
    if !(-1e-6..=1.0).contains(&rest) {
        return refuse(format!("qform: quaternion ({b}, {c}, {d}) is not a rotation"));
    }
    let a = rest.max(0.0).sqrt();
    let rotation = [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
        [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
        [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ];
    let handedness = if header.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
    let [dx, dy, dz] = [header.pixdim[1], header.pixdim[2], header.pixdim[3]].map(|d| f64::from(d).abs());
    let origin = [header.quatern_x, header.quatern_y, header.quatern_z].map(f64::from);
    Ok(std::array::from_fn(|row| {
        let [x, y, z] = rotation[row];
        [x * dx, y * dy, z * dz * handedness, origin[row]]
    }))
}

/// What the voxels of a written file are.
#[derive(Clone, Copy)]
pub enum Content {
    /// u8, one label per voxel.
    Labels,
    /// f32, this many volumes one after another.
    Probabilities(usize),
}

/// The first [`VOXEL_OFFSET`] bytes of a file on `geometry`, little endian, with sform and qform.
pub fn header(geometry: &Geometry, content: Content) -> Result<Vec<u8>> {
    let dim = |n: usize| {
        i16::try_from(n).map_err(|_| Error::Argument(format!("NIfTI: size {n}, the format ends at {}", i16::MAX)))
    };
    let [columns, rows, slices] = geometry.size;
    let (dimensions, volumes, datatype, bits, intent, name) = match content {
        Content::Labels => (3, 1, 2, 8, 1002, "labels"), // NIFTI_INTENT_LABEL
        Content::Probabilities(classes) => (4, classes, 16, 32, 0, "class probabilities"),
    };
    let ras = flip_ras_lps(geometry.affine());
    let (quaternion, handedness) = quaternion(&ras);

    let mut bytes = Bytes([0; VOXEL_OFFSET]);
    bytes.put(0, (HEADER as i32).to_le_bytes());
    for (n, value) in
        [dimensions, dim(columns)?, dim(rows)?, dim(slices)?, dim(volumes)?, 1, 1, 1].into_iter().enumerate()
    {
        bytes.put(40 + 2 * n, value.to_le_bytes());
    }
    bytes.put(68, i16::to_le_bytes(intent));
    bytes.put(70, i16::to_le_bytes(datatype));
    bytes.put(72, i16::to_le_bytes(bits));
    let [dx, dy, dz] = geometry.spacing;
    bytes.floats(76, &[handedness, dx, dy, dz, 1.0, 1.0, 1.0, 1.0]);
    bytes.floats(108, &[VOXEL_OFFSET as f64, 1.0, 0.0]); // vox_offset, scl_slope, scl_inter
    bytes.put(123, [2]); // xyzt_units: mm
    bytes.text(148, "TransUNet");
    bytes.put(252, i16::to_le_bytes(1)); // qform_code: scanner
    bytes.put(254, i16::to_le_bytes(1)); // sform_code: scanner
    bytes.floats(256, &quaternion);
    bytes.floats(268, &[ras[0][3], ras[1][3], ras[2][3]]);
    bytes.floats(280, ras.as_flattened());
    bytes.text(328, &name[..name.len().min(15)]);
    bytes.text(344, "n+1");
    Ok(bytes.0.to_vec())
}

/// A header in the making; every place is a constant of the format.
struct Bytes([u8; VOXEL_OFFSET]);

impl Bytes {
    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.0[at..at + N].copy_from_slice(&bytes);
    }

    fn floats(&mut self, at: usize, values: &[f64]) {
        for (n, &value) in values.iter().enumerate() {
            self.put(at + 4 * n, (value as f32).to_le_bytes());
        }
    }

    fn text(&mut self, at: usize, text: &str) {
        self.0[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
}

/// (b, c, d) of the rotation in `affine`, and -1 where its third axis must be turned round to make it one.
fn quaternion(affine: &[[f64; 4]; 3]) -> (Vec3, f64) {
    let column = |axis: usize| unit([affine[0][axis], affine[1][axis], affine[2][axis]]);
    let (x, z) = (column(0), column(2));
    // Exactly orthogonal, which a geometry is only within 1e-3.
    let y = unit(std::array::from_fn(|n| column(1)[n] - dot(column(1), x) * x[n]));
    let third = cross(x, y);
    let handedness = if dot(third, z) < 0.0 { -1.0 } else { 1.0 };
    // Entry (row, column) of the rotation.
    let r = |row: usize, column: usize| [x, y, third][column][row];
    // Shepperd's method: divides by the largest of the four components.
    let (xx, yy, zz) = (r(0, 0), r(1, 1), r(2, 2));
    let squares = [1.0 + xx + yy + zz, 1.0 + xx - yy - zz, 1.0 - xx + yy - zz, 1.0 - xx - yy + zz];
    let largest = (0..4).fold(0, |best, n| if squares[n] > squares[best] { n } else { best });
    let double = squares[largest].sqrt();
    let (ax, ay, az) = (r(2, 1) - r(1, 2), r(0, 2) - r(2, 0), r(1, 0) - r(0, 1));
    let (xy, xz, yz) = (r(0, 1) + r(1, 0), r(0, 2) + r(2, 0), r(1, 2) + r(2, 1));
    let [a, b, c, d] = match largest {
        0 => [double * double, ax, ay, az],
        1 => [ax, double * double, xy, xz],
        2 => [ay, xy, double * double, yz],
        _ => [az, xz, yz, double * double],
    }
    .map(|v| v / (2.0 * double));
    // The file leaves `a` out and takes it as positive.
    let sign = if a < 0.0 { -1.0 } else { 1.0 };
    ([b * sign, c * sign, d * sign], handedness)
}

fn unit(v: Vec3) -> Vec3 {
    let length = norm(v);
    v.map(|x| x / length)
}

/// Writes labels, with a receipt as a comment behind the header.
pub fn write_labels(labelmap: &Labelmap, receipt: Option<&str>, path: &Path) -> Result<()> {
    let mut header = header(labelmap.geometry(), Content::Labels)?;
    if let Some(receipt) = receipt {
        let text = format!("{KEY}:={receipt}");
        let size = (EXTENSION + text.len()).next_multiple_of(16);
        let offset = Some(VOXEL_OFFSET + size).filter(|&offset| offset <= MOST_BEFORE_VOXELS);
        let offset = offset.ok_or_else(|| Error::Argument(format!("NIfTI: a receipt of {} bytes", text.len())))?;
        header[108..112].copy_from_slice(&(offset as f32).to_le_bytes());
        header[HEADER] = 1;
        header.extend((size as u32).to_le_bytes());
        header.extend(COMMENT.to_le_bytes());
        header.extend(text.as_bytes());
        header.resize(offset, 0);
    }
    atomic_file::write(path, |file| {
        if is_gzip(path) {
            let mut gzip = GzEncoder::new(file, COMPRESSION);
            gzip.write_all(&header)?;
            write_voxels(labelmap, &mut gzip)?;
            gzip.finish().map(drop)
        } else {
            file.write_all(&header)?;
            write_voxels(labelmap, file)
        }
    })
}

pub fn is_gzip(path: &Path) -> bool {
    lower_name(path).ends_with(".gz")
}
