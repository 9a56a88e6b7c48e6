//! The text in front of a NRRD's voxels: `field: value` and `key:=value` lines up to a blank one.
//!
//! Rules: teem.sourceforge.net/nrrd/format.html. What is not said there is refused, not guessed.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};

use super::scalar::Scalar;
use crate::error::{Error, Result};
use crate::geometry::Vec3;

/// `key:=value` lines, unescaped.
pub type Keys = BTreeMap<String, String>;

/// No honest header comes near: 117 segments with codes take 80 kB.
const LONGEST: u64 = 16 << 20;

/// The lines of a header, not yet understood.
#[derive(Debug, Default)]
pub struct Header {
    fields: BTreeMap<String, String>,
    pub keys: Keys,
    /// Bytes up to and with the blank line.
    pub len: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Raw,
    Gzip,
    Text,
}

fn refuse<T>(text: String) -> Result<T> {
    Err(Error::VolumeFormat(text))
}

/// Reads up to the blank line, or the end of a header whose voxels are in another file.
pub fn read(reader: &mut impl BufRead) -> Result<Header> {
    let mut header = Header::default();
    let mut reader = reader.take(LONGEST);
    let mut number = 0;
    loop {
        let mut line = Vec::new();
        let read = reader.read_until(b'\n', &mut line).map_err(|e| Error::VolumeFormat(format!("cannot read: {e}")))?;
        header.len += read as u64;
        number += 1;
        if reader.limit() == 0 {
            return refuse(format!("the header has no end within {} MB", LONGEST >> 20));
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches(['\n', '\r']);
        if number == 1 {
            if !matches!(line.strip_prefix("NRRD000"), Some("1" | "2" | "3" | "4" | "5")) {
                return refuse("not a NRRD file: it does not begin with NRRD0001 to NRRD0005".into());
            }
        } else if line.is_empty() {
            return Ok(header);
        } else if !line.starts_with('#') {
            header.add(line).map_err(|e| e.at(format!("header line {number}")))?;
        }
    }
}

impl Header {
    fn add(&mut self, line: &str) -> Result<()> {
        if let Some((key, value)) = line.split_once(":=").filter(|(key, _)| !key.contains(": ")) {
            self.keys.insert(key.to_string(), unescape(value));
        } else if let Some((field, value)) = line.split_once(": ") {
            let field = field.to_ascii_lowercase();
            if self.fields.insert(field.clone(), value.trim().to_string()).is_some() {
                return refuse(format!("\"{field}\" for a second time"));
            }
        } else {
            let start: String = line.chars().take(40).collect();
            return refuse(format!("{start:?}, expected \"field: value\" or \"key:=value\""));
        }
        Ok(())
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    fn required(&self, name: &str) -> Result<&str> {
        self.field(name).ok_or_else(|| Error::VolumeFormat(format!("the field \"{name}\" is missing")))
    }

    /// A field of one whole number, 0 when absent.
    pub fn number(&self, names: [&str; 2]) -> Result<i64> {
        let Some(text) = names.iter().find_map(|name| self.field(name)) else { return Ok(0) };
        text.parse().map_err(|_| Error::VolumeFormat(format!("{}: {text:?}, expected a whole number", names[0])))
    }

    pub fn scalar(&self) -> Result<Scalar> {
        let name = self.required("type")?;
        Ok(match name.to_ascii_lowercase().as_str() {
            "uchar" | "unsigned char" | "uint8" | "uint8_t" => Scalar::U8,
            "signed char" | "int8" | "int8_t" => Scalar::I8,
            "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => Scalar::U16,
            "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => Scalar::I16,
            "uint" | "unsigned int" | "uint32" | "uint32_t" => Scalar::U32,
            "int" | "signed int" | "int32" | "int32_t" => Scalar::I32,
            "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => Scalar::U64,
            "longlong"
            | "long long"
            | "long long int"
            | "signed long long"
            | "signed long long int"
            | "int64"
            | "int64_t" => Scalar::I64,
            "float" => Scalar::F32,
            "double" => Scalar::F64,
            _ => return refuse(format!("type: {name:?}, expected an integer or float type")),
        })
    }

    pub fn encoding(&self) -> Result<Encoding> {
        let name = self.required("encoding")?;
        Ok(match name.to_ascii_lowercase().as_str() {
            "raw" => Encoding::Raw,
            "gz" | "gzip" => Encoding::Gzip,
            "txt" | "text" | "ascii" => Encoding::Text,
            _ => return refuse(format!("encoding: {name:?}, expected raw, gzip or ascii")),
        })
    }

    /// Byte order; a single byte or text has none.
    pub fn big_endian(&self, scalar: Scalar, encoding: Encoding) -> Result<bool> {
        if scalar.bytes() == 1 || encoding == Encoding::Text {
            return Ok(false);
        }
        let name = self.required("endian")?;
        match name.to_ascii_lowercase().as_str() {
            "little" => Ok(false),
            "big" => Ok(true),
            _ => refuse(format!("endian: {name:?}, expected little or big")),
        }
    }

    /// Size and voxel-to-LPS matrix.
    pub fn grid(&self) -> Result<([usize; 3], [[f64; 4]; 3])> {
        let sizes = self.sizes()?;
        let signs = self.signs()?;
        self.check_units()?;
        let directions = vectors(self.required("space directions")?).map_err(|e| e.at("space directions"))?;
        if directions.len() != sizes.len() {
            return refuse(format!("space directions: {} for {} axes", directions.len(), sizes.len()));
        }
        let mut axes = Vec::new();
        for (&size, direction) in sizes.iter().zip(&directions) {
            match direction {
                Some(direction) => axes.push((size, *direction)),
                None if size == 1 => {}
                None => {
                    return refuse(format!(
                        "sizes: {sizes:?} with {size} values per voxel, expected one volume of one number per voxel"
                    ));
                }
            }
        }
        let &[(columns, i), (rows, j), (slices, k)] = axes.as_slice() else {
            return refuse(format!("{} axes in space, expected 3", axes.len()));
        };
        let origin = vectors(self.required("space origin")?).map_err(|e| e.at("space origin"))?;
        let &[Some(origin)] = origin.as_slice() else {
            return refuse("space origin: expected one vector".into());
        };
        // Adding zero turns a negative zero into a plain one.
        let affine =
            std::array::from_fn(|row| [i[row], j[row], k[row], origin[row]].map(|value| value * signs[row] + 0.0));
        Ok(([columns, rows, slices], affine))
    }

    fn sizes(&self) -> Result<Vec<usize>> {
        let dimension = self.required("dimension")?;
        if !["3", "4"].contains(&dimension) {
            return refuse(format!("dimension: {dimension:?}, expected a volume of 3"));
        }
        let text = self.required("sizes")?;
        let sizes: Vec<usize> = text
            .split_whitespace()
            .map(|word| word.parse().ok().filter(|&n| n > 0))
            .collect::<Option<_>>()
            .ok_or_else(|| Error::VolumeFormat(format!("sizes: {text:?}, expected positive whole numbers")))?;
        if sizes.len().to_string() != dimension {
            return refuse(format!("sizes: {} of them, dimension says {dimension}", sizes.len()));
        }
        Ok(sizes)
    }

    /// What turns the file's space into LPS, axis by axis.
    fn signs(&self) -> Result<Vec3> {
        let Some(space) = self.field("space") else {
            return refuse(
                "the field \"space\" is missing, so the patient's orientation is unknown; expected \
                 left-posterior-superior or right-anterior-superior"
                    .into(),
            );
        };
        match space.to_ascii_lowercase().as_str() {
            "left-posterior-superior" | "lps" => Ok([1.0, 1.0, 1.0]),
            "right-anterior-superior" | "ras" => Ok([-1.0, -1.0, 1.0]),
            "left-anterior-superior" | "las" => Ok([1.0, -1.0, 1.0]),
            _ => refuse(format!(
                "space: {space:?} does not say where the patient is, expected left-posterior-superior, \
                 right-anterior-superior or left-anterior-superior"
            )),
        }
    }

    fn check_units(&self) -> Result<()> {
        let Some(units) = self.field("space units") else { return Ok(()) };
        let known = ["mm", "millimeter", "millimeters", "millimetre", ""];
        if units.split('"').map(str::trim).all(|unit| known.contains(&unit.to_ascii_lowercase().as_str())) {
            return Ok(());
        }
        refuse(format!("space units: {units}, expected \"mm\""))
    }
}

/// `(1,0,0) none (0,1,0)`: vectors in space, `None` for an axis outside it.
fn vectors(text: &str) -> Result<Vec<Option<Vec3>>> {
    let mut rest = text.trim();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let wrong = || Error::VolumeFormat(format!("{text:?}, expected vectors such as (1,0,0)"));
        if let Some(after) = rest.strip_prefix("none") {
            found.push(None);
            rest = after.trim_start();
            continue;
        }
        let (inside, after) = rest.strip_prefix('(').and_then(|r| r.split_once(')')).ok_or_else(wrong)?;
        let numbers: Vec<f64> =
            inside.split(',').map(|word| word.trim().parse().ok()).collect::<Option<_>>().ok_or_else(wrong)?;
        found.push(Some(numbers.try_into().map_err(|_| wrong())?));
        rest = after.trim_start();
    }
    Ok(found)
}

/// `\n` and `\\` in the value of a key.
fn unescape(value: &str) -> String {
    let mut out = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('\\') => out.push('\\'),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            _ => out.push(c),
        }
    }
    out
}

/// The inverse of [`unescape`].
pub fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "")
}
