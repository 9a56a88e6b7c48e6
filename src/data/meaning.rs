//! What the numbers in label files mean: by name where a file names its segments, else by value.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::error::{Error, Result};
use crate::formats::LabelImage;
use crate::labels::Label;

/// Name of a segment that does not count, in files that name theirs.
pub const IGNORE: &str = "ignore";

/// The labels of a data set.
#[derive(Debug, Default)]
pub struct Meaning {
    /// Foreground classes 1 to n.
    pub labels: Vec<Label>,
    /// A value that no class has, and that does not count.
    pub ignore: Option<u8>,
}

/// The data set's value for each value of a file; `None` where it has none.
pub type Table = [Option<u8>; 256];

impl Meaning {
    /// For a file that names its segments `named`, or none.
    pub fn table(&self, named: &[Label]) -> Result<Table> {
        let mut table = [None; 256];
        table[0] = Some(0);
        if named.is_empty() {
            for value in self.labels.iter().map(|label| label.value).chain(self.ignore) {
                table[usize::from(value)] = Some(value);
            }
            return Ok(table);
        }
        let mut unknown = Vec::new();
        for segment in named {
            let name = segment.name.trim();
            let known = self.labels.iter().find(|label| label.name.trim() == name).map(|label| label.value);
            let known = known.or(self.ignore.filter(|_| name == IGNORE));
            if known.is_none() {
                unknown.push(format!("{name:?}"));
            }
            table[usize::from(segment.value)] = known;
        }
        if !unknown.is_empty() {
            return Err(Error::VolumeFormat(format!(
                "segments {} are not among the data set's labels ({})",
                unknown.join(", "),
                self.names()
            )));
        }
        Ok(table)
    }

    /// The voxels of `image` with the data set's values.
    pub fn apply(&self, image: LabelImage) -> Result<Vec<u8>> {
        let table = self.table(&image.labels)?;
        let [columns, rows, _] = image.geometry.size;
        let mut voxels = image.voxels;
        for (at, voxel) in voxels.iter_mut().enumerate() {
            *voxel = table[usize::from(*voxel)].ok_or_else(|| {
                let (i, j, k) = (at % columns, at / columns % rows, at / columns / rows);
                self.outside(&format!("voxel ({i}, {j}, {k}) has label {voxel}"), &image.labels)
            })?;
        }
        Ok(voxels)
    }

    /// The error for a value that [`Meaning::table`] does not know; `found` says where it is.
    pub fn outside(&self, found: &str, named: &[Label]) -> Error {
        let expected = match named {
            [] => format!("0 to {} ({})", self.labels.len(), self.names()),
            _ => "a segment of the file".into(),
        };
        Error::VolumeFormat(format!("{found}, expected {expected}"))
    }

    fn names(&self) -> String {
        self.labels.iter().map(|label| label.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Labels that nobody states: those of all files together.
#[derive(Debug, Default)]
pub struct Union {
    named: BTreeMap<String, Label>,
    /// The first file that names its segments.
    names: Option<String>,
    /// The largest value of a file that names none, and that file.
    largest: Option<(u8, String)>,
}

impl Union {
    /// `largest` is the largest value of a file that names no segments.
    pub fn add(&mut self, file: &impl Display, named: &[Label], largest: u8) {
        if named.is_empty() {
            if largest > self.largest.as_ref().map_or(0, |(value, _)| *value) {
                self.largest = Some((largest, file.to_string()));
            }
            return;
        }
        self.names.get_or_insert_with(|| file.to_string());
        for label in named {
            let name = label.name.trim().to_owned();
            let known = self.named.entry(name.clone()).or_insert_with(|| Label { name, ..label.clone() });
            known.value = known.value.min(label.value);
        }
    }

    /// Values 1 to n, in the order of the files' values, then of names.
    pub fn labels(self) -> Result<Vec<Label>> {
        match (self.names, self.largest) {
            (Some(named), Some((value, other))) => Err(Error::Config(format!(
                "{named} names its segments and {other} (label {value}) does not: say what the labels are (data.labels)"
            ))),
            (None, largest) => Ok((1..=largest.map_or(0, |(value, _)| value)).map(Label::numbered).collect()),
            (Some(_), None) => {
                let mut labels: Vec<Label> = self.named.into_values().collect();
                labels.sort_by(|a, b| (a.value, &a.name).cmp(&(b.value, &b.name)));
                if labels.len() > 255 {
                    return Err(Error::Config(format!("{} labels, expected at most 255", labels.len())));
                }
                for (label, value) in labels.iter_mut().zip(1..) {
                    label.value = value;
                }
                Ok(labels)
            }
        }
    }
}

/// Refuses labels that are not 1 to n, or two of one name.
pub fn contiguous(mut labels: Vec<Label>) -> Result<Vec<Label>> {
    labels.sort_by_key(|label| label.value);
    let values: Vec<_> = labels.iter().map(|label| label.value).collect();
    if labels.is_empty() || values.iter().zip(1..).any(|(&value, n)| value != n) {
        return Err(Error::Config(format!("labels {values:?}, expected 1 to n without gaps")));
    }
    for (n, label) in labels.iter().enumerate() {
        if let Some(other) = labels[..n].iter().find(|other| other.name.trim() == label.name.trim()) {
            return Err(Error::Config(format!("labels {} and {} are both {:?}", other.value, label.value, label.name)));
        }
    }
    Ok(labels)
}
