//! Which series of a folder is meant, and which volume of it; what to say when that is not clear.

use std::fmt::{self, Display, Write as _};
use std::str::FromStr;

use super::aside::Aside;
use super::rules::{Rule, SeriesTraits};
use super::scan::{Scan, SeriesSummary};
use super::slice::Slice;
use super::stack::Stack;
use crate::error::{Error, Result};

/// Picks one series and one volume of it. Parsed from text: empty, a UID, a Series Number, or rules that must all fit, such
/// as `modality=MR,description=t1,slices>=20` or `number=3,time=2`.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum SeriesChoice {
    /// There must be only one.
    #[default]
    Only,
    /// Series Instance UID.
    Uid(String),
    Rules(Vec<Rule>),
}

impl FromStr for SeriesChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(SeriesChoice::Only);
        }
        if text.parse::<i32>().is_ok() {
            return Ok(SeriesChoice::Rules(vec![format!("number={text}").parse()?]));
        }
        if text.chars().all(|c| c.is_ascii_digit() || c == '.') {
            return Ok(SeriesChoice::Uid(text.to_string()));
        }
        let rules: Result<Vec<Rule>> = text.split(',').map(str::parse).collect();
        let rules = rules.map_err(|error| {
            Error::Argument(format!(
                "series choice {text:?}: {error}; expected a series UID, a series number, or rules such as \
                 modality=CT,description=TEXT,slices>=20"
            ))
        })?;
        Ok(SeriesChoice::Rules(rules))
    }
}

impl Display for SeriesChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            SeriesChoice::Only => f.write_str("the only series"),
            SeriesChoice::Uid(uid) => f.write_str(uid),
            SeriesChoice::Rules(rules) => f.write_str(&rules.iter().map(Rule::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

impl SeriesChoice {
    /// What speaks against a series, as far as it is known before its images are compared.
    pub fn against(&self, series: &SeriesTraits) -> Vec<String> {
        match self {
            SeriesChoice::Only => Vec::new(),
            SeriesChoice::Uid(uid) if series.series_uid == *uid => Vec::new(),
            SeriesChoice::Uid(_) => vec!["another UID".into()],
            SeriesChoice::Rules(rules) => rules.iter().filter_map(|rule| rule.judge(series).err()).collect(),
        }
    }

    pub fn fits(&self, series: &SeriesTraits) -> bool {
        self.against(series).is_empty()
    }

    /// What speaks for a series (`Ok`), or against it and all of its volumes.
    pub fn judge(&self, series: &SeriesSummary) -> std::result::Result<Vec<String>, Vec<String>> {
        let against = self.against(&series.traits());
        if !against.is_empty() {
            return Err(against);
        }
        let SeriesChoice::Rules(rules) = self else { return Ok(Vec::new()) };
        let mut reasons: Vec<String> = rules.iter().filter_map(|rule| rule.judge(&series.traits()).ok()).collect();
        // What keeps a series from being read is told when it is.
        if let Ok((stacks, _)) = series.stacks() {
            let fitting = stacks.iter().find(|stack| self.against_stack(stack).is_empty());
            match (fitting, stacks.first()) {
                (Some(stack), _) => reasons.extend(rules.iter().filter_map(|rule| rule.judge_stack(stack).ok())),
                (None, Some(first)) => return Err(self.against_stack(first)),
                (None, None) => {}
            }
        }
        reasons.retain(|reason| !reason.is_empty());
        Ok(reasons)
    }

    /// What speaks against a volume of a series that fits.
    pub(super) fn against_stack(&self, stack: &Stack) -> Vec<String> {
        match self {
            SeriesChoice::Only | SeriesChoice::Uid(_) => Vec::new(),
            SeriesChoice::Rules(rules) => rules.iter().filter_map(|rule| rule.judge_stack(stack).err()).collect(),
        }
    }

    /// The one volume of `series` that is meant, and the images that are no part of any.
    pub(super) fn pick(&self, series: &SeriesSummary) -> Result<(Stack, Vec<Aside>)> {
        let (stacks, aside) = series.stacks()?;
        let uid = &series.series_uid;
        let (mut fitting, others): (Vec<Stack>, Vec<Stack>) =
            stacks.into_iter().partition(|stack| self.against_stack(stack).is_empty());
        match fitting.len() {
            1 => Ok((fitting.swap_remove(0), aside)),
            0 => {
                let line = |stack: &Stack| format!("{}: {}", described(stack), self.against_stack(stack).join("; "));
                let lines: Vec<String> = others.iter().map(line).collect();
                let text = format!("series {uid}: no volume of it fits {self}; it holds:\n  {}", lines.join("\n  "));
                Err(Error::SeriesChoice(text))
            }
            count => {
                let lines: Vec<String> = fitting.iter().map(described).collect();
                let text = format!(
                    "series {uid} holds {count} volumes; choose one by a rule such as {}:\n  {}",
                    rule_for(&fitting[0], &fitting),
                    lines.join("\n  ")
                );
                Err(Error::SeriesChoice(text))
            }
        }
    }
}

/// A volume that was chosen, and the images of its series that are no part of any.
pub(in crate::dicom) type Chosen<'a> = (&'a SeriesSummary, (Stack, Vec<Aside>));

/// The one series and volume that `choice` means.
pub(super) fn choose<'a>(scan: &'a Scan, choice: &SeriesChoice) -> Result<Chosen<'a>> {
    if let SeriesChoice::Rules(_) = choice {
        for series in scan.series.iter().filter(|series| series.refusal.is_none()) {
            log::info!("series {}{}", series.series_uid, verdict(series, choice));
        }
    }
    let fitting: Vec<_> = scan.series.iter().filter(|series| choice.fits(&series.traits())).collect();
    let readable: Vec<_> = fitting.iter().copied().filter(|series| series.refusal.is_none()).collect();
    match (readable.as_slice(), fitting.as_slice()) {
        ([one], _) => Ok((one, choice.pick(one)?)),
        ([], []) if scan.series.is_empty() => Err(nothing(scan)),
        ([], []) => Err(Error::SeriesChoice(format!("no series fits {choice}; found:\n{}", judged(scan, choice)))),
        ([], [one]) => {
            let reason = one.refusal.as_deref().unwrap_or_default();
            Err(Error::DicomUnsupported(format!("series {} ({}): {reason}", one.series_uid, one.modality)))
        }
        ([], _) => Err(Error::DicomUnsupported(format!(
            "no series can be read as a volume; found:\n{}",
            table(fitting.iter().copied())
        ))),
        (several, _) => among(scan, several, choice),
    }
}

/// Of several series whose headers fit, the one that has a volume that fits.
fn among<'a>(scan: &'a Scan, several: &[&'a SeriesSummary], choice: &SeriesChoice) -> Result<Chosen<'a>> {
    let left: Vec<&SeriesSummary> = several.iter().copied().filter(|series| choice.judge(series).is_ok()).collect();
    match left.as_slice() {
        [one] => Ok((one, choice.pick(one)?)),
        [] => Err(Error::SeriesChoice(format!("no series fits {choice}; found:\n{}", judged(scan, choice)))),
        left => Err(Error::SeriesChoice(format!(
            "{} series fit; choose one by its UID{}:\n{}",
            left.len(),
            example(left),
            judged(scan, choice)
        ))),
    }
}

pub(super) fn nothing(scan: &Scan) -> Error {
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
    let rules = [
        Some(format!("modality={}", first.modality)),
        Some(format!("description={}", first.description)).filter(|rule| !rule.contains(['|', '*', ','])),
        first.number.map(|number| format!("number={number}")),
    ];
    let alone = |rule: &SeriesChoice| !others.iter().any(|other| rule.fits(&other.traits()));
    rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.parse().ok())
        .find(alone)
        .map(|rule: SeriesChoice| format!(" or by a rule such as {rule}"))
        .unwrap_or_default()
}

/// The rule that means `stack` alone among `all` volumes of its series.
pub(super) fn rule_for(stack: &Stack, all: &[Stack]) -> String {
    let single = stack.marks.iter().find(|(key, value)| {
        // Commas and bars have a meaning in rules.
        let sayable = !value.is_empty() && !value.contains([',', '|']);
        sayable && !all.iter().any(|other| other.number != stack.number && other.name(*key) == Some(value.as_str()))
    });
    single.map_or_else(|| format!("volume={}", stack.number), |(key, value)| format!("{key}={value}"))
}

/// "volume 2: 10 slices of 64x64, axial (time=2)".
pub(super) fn described(stack: &Stack) -> String {
    let count = stack.slices.len();
    let size = stack.slices.first().map_or("", |slice: &Slice| slice.name(super::slice::Key::Size));
    let plane = stack.name(super::slice::Key::Orientation).unwrap_or("no orientation");
    let marks = stack.marks.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ");
    let marks = if marks.is_empty() { String::new() } else { format!(" ({marks})") };
    let slices = if count == 1 { "slice" } else { "slices" };
    format!("volume {}: {count} {slices} of {size}, {plane}{marks}", stack.number)
}

/// One line per series, with what speaks against it.
fn judged(scan: &Scan, choice: &SeriesChoice) -> String {
    let verdict = |series: &SeriesSummary| match &series.refusal {
        Some(_) => String::new(),
        None => verdict(series, choice),
    };
    scan.series.iter().map(|series| format!("{}{}", line(series), verdict(series))).collect::<Vec<_>>().join("\n")
}

/// ": fits", or what speaks against a series or all of its volumes.
fn verdict(series: &SeriesSummary, choice: &SeriesChoice) -> String {
    match choice.judge(series) {
        _ if *choice == SeriesChoice::Only => String::new(),
        Ok(reasons) if reasons.is_empty() => ": fits".into(),
        Ok(reasons) => format!(": fits, {}", reasons.join("; ")),
        Err(reasons) => format!(": {}", reasons.join("; ")),
    }
}

/// One line per series.
fn table<'a>(series: impl IntoIterator<Item = &'a SeriesSummary>) -> String {
    series.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

fn line(one: &SeriesSummary) -> String {
    let number = one.number.map_or("-".into(), |number| number.to_string());
    let mut text = format!(
        "  {}  {:<3} number {number}, {} images of {}x{}, {:?}",
        one.series_uid, one.modality, one.images, one.columns, one.rows, one.description
    );
    if let Some(reason) = &one.refusal {
        let _ = write!(text, ": {reason}");
    }
    text
}
