//! Which series of a folder is meant, and what to say when that is not clear.

use std::fmt::{self, Display, Write as _};
use std::str::FromStr;

use super::scan::{Scan, SeriesSummary};
use crate::error::{Error, Result};

/// Picks one series. Parsed from text: empty, a UID, a Series Number, or rules such as
/// `modality=MR,description=t1,number=3`.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum SeriesChoice {
    /// There must be only one.
    #[default]
    Only,
    /// Series Instance UID.
    Uid(String),
    /// All that are given must fit.
    Rule {
        /// Equal, ignoring case.
        modality: Option<String>,
        /// Part of the description, ignoring case.
        description: Option<String>,
        /// Series Number (0020,0011).
        number: Option<i32>,
    },
}

impl FromStr for SeriesChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(SeriesChoice::Only);
        }
        if let Ok(number) = text.parse() {
            return Ok(SeriesChoice::Rule { modality: None, description: None, number: Some(number) });
        }
        if text.chars().all(|c| c.is_ascii_digit() || c == '.') {
            return Ok(SeriesChoice::Uid(text.to_string()));
        }
        let (mut modality, mut description, mut number) = (None, None, None);
        for rule in text.split(',') {
            let refuse = || {
                Error::Argument(format!(
                    "series choice {text:?}: expected a series UID, a series number, or rules such as modality=CT,description=TEXT,number=3"
                ))
            };
            let (key, value) = rule.split_once('=').ok_or_else(refuse)?;
            let value = value.trim().to_string();
            match key.trim() {
                "modality" => modality = Some(value),
                "description" => description = Some(value),
                "number" => number = Some(value.parse().map_err(|_| refuse())?),
                _ => return Err(refuse()),
            }
        }
        Ok(SeriesChoice::Rule { modality, description, number })
    }
}

impl Display for SeriesChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            SeriesChoice::Only => f.write_str("the only series"),
            SeriesChoice::Uid(uid) => f.write_str(uid),
            SeriesChoice::Rule { modality, description, number } => {
                let modality = modality.as_ref().map(|modality| format!("modality={modality}"));
                let description = description.as_ref().map(|description| format!("description={description}"));
                let number = number.map(|number| format!("number={number}"));
                f.write_str(&[modality, description, number].into_iter().flatten().collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub struct SeriesTraits<'a> {
    pub series_uid: &'a str,
    pub modality: &'a str,
    pub description: &'a str,
    pub number: Option<i32>,
}

impl SeriesChoice {
    pub fn fits(&self, series: SeriesTraits) -> bool {
        match self {
            SeriesChoice::Only => true,
            SeriesChoice::Uid(uid) => series.series_uid == *uid,
            SeriesChoice::Rule { modality, description, number } => {
                modality.as_ref().is_none_or(|modality| series.modality.eq_ignore_ascii_case(modality))
                    && description
                        .as_ref()
                        .is_none_or(|part| series.description.to_lowercase().contains(&part.to_lowercase()))
                    && number.is_none_or(|number| series.number == Some(number))
            }
        }
    }
}

/// See [`Scan::choose`].
pub(super) fn choose<'a>(scan: &'a Scan, choice: &SeriesChoice) -> Result<&'a SeriesSummary> {
    let fitting: Vec<_> = scan.series.iter().filter(|series| choice.fits(series.traits())).collect();
    let readable: Vec<_> = fitting.iter().copied().filter(|series| series.refusal.is_none()).collect();
    match (readable.as_slice(), fitting.as_slice()) {
        ([one], _) => Ok(one),
        ([], []) if scan.series.is_empty() => Err(nothing(scan)),
        ([], []) => Err(Error::SeriesChoice(format!("no series fits {choice}; found:\n{}", table(&scan.series)))),
        ([], [one]) => {
            let reason = one.refusal.as_deref().unwrap_or_default();
            Err(Error::DicomUnsupported(format!("series {} ({}): {reason}", one.series_uid, one.modality)))
        }
        ([], _) => Err(Error::DicomUnsupported(format!(
            "no series can be read as a volume; found:\n{}",
            table(fitting.iter().copied())
        ))),
        (several, _) => Err(Error::SeriesChoice(format!(
            "{} series fit; choose one by its UID{}:\n{}",
            several.len(),
            example(several),
            table(several.iter().copied())
        ))),
    }
}

fn nothing(scan: &Scan) -> Error {
    let mut text = format!("no DICOM image found; {} other files were skipped", scan.skipped);
    if let Some(first) = scan.unreadable.first() {
        let _ = write!(text, ", {} cannot be read, such as {}", scan.unreadable.len(), first.reason);
    }
    Error::DicomParse(text)
}

/// A rule that fits the first of `series` only, if there is a simple one.
fn example(series: &[&SeriesSummary]) -> String {
    let Some((first, others)) = series.split_first() else {
        return String::new();
    };
    let (modality, description) = (first.modality.clone(), first.description.clone());
    [
        SeriesChoice::Rule { modality: Some(modality), description: None, number: None },
        SeriesChoice::Rule { modality: None, description: Some(description), number: None },
        SeriesChoice::Rule { modality: None, description: None, number: first.number },
    ]
    .iter()
    .find(|rule| !others.iter().any(|other| rule.fits(other.traits())))
    .map(|rule| format!(" or by a rule such as {rule}"))
    .unwrap_or_default()
}

/// One line per series.
fn table<'a>(series: impl IntoIterator<Item = &'a SeriesSummary>) -> String {
    let mut text = String::new();
    for one in series {
        let number = one.number.map_or("-".into(), |number| number.to_string());
        let _ = write!(
            text,
            "  {}  {:<3} number {number}, {} images of {}x{}, {:?}",
            one.series_uid, one.modality, one.images, one.columns, one.rows, one.description
        );
        if let Some(reason) = &one.refusal {
            let _ = write!(text, ": {reason}");
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}
