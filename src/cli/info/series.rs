//! What a DICOM folder holds: its series, each with what is wrong with it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use transunet::Error;
use transunet::control::Control;
use transunet::dicom::{self, SeriesChoice, SeriesSummary, SeriesVolume, Tilt};
use transunet::geometry::Geometry;

use super::super::failure::{About, Code, Outcome};
use super::super::table::{self, Table, plural};

/// Volumes of one series that are listed in words.
const MOST_VOLUMES: usize = 12;

#[derive(Serialize)]
pub struct Folder {
    path: PathBuf,
    series: Vec<Row>,
    unreadable: Vec<Unreadable>,
    /// Files that are not DICOM.
    other_files: usize,
}

#[derive(Serialize)]
struct Row {
    /// Series Number (0020,0011), which `--series` takes.
    number: Option<i32>,
    series_uid: String,
    study_uid: String,
    modality: String,
    description: String,
    body_part: String,
    /// Whether its images name a contrast agent.
    contrast: bool,
    images: usize,
    /// Columns, rows, slices; of a series that is no volume, of its first image.
    size: [usize; 3],
    spacing_mm: Option<[f64; 3]>,
    /// By how much slices are stacked off their normal, in degrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    tilt: Option<f64>,
    /// The volumes to choose from, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    volumes: Vec<Part>,
    /// Why it cannot be segmented.
    problem: Option<String>,
    /// By the rules that were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    judgement: Option<Judgement>,
}

#[derive(Serialize)]
struct Judgement {
    fits: bool,
    reasons: Vec<String>,
}

/// One of several volumes in a series.
#[derive(Serialize)]
struct Part {
    /// What picks it: `--series number=3,RULE`.
    rule: String,
    description: String,
    images: usize,
    spacing_mm: Option<[f64; 3]>,
    problem: Option<String>,
}

#[derive(Serialize)]
struct Unreadable {
    path: PathBuf,
    reason: String,
}

impl Folder {
    /// `choice` judges the series, if there is one.
    pub fn read(path: &Path, choice: Option<&SeriesChoice>, control: &mut Control) -> Outcome<Self> {
        let scan = dicom::scan(&[path], control).about(Code::Input)?;
        scan.any().about(Code::Input)?;
        Ok(Folder {
            path: path.to_path_buf(),
            series: scan.series.iter().map(|summary| Row::of(summary, choice)).collect(),
            unreadable: scan
                .unreadable
                .into_iter()
                .map(|file| Unreadable { path: file.path, reason: file.reason })
                .collect(),
            other_files: scan.skipped,
        })
    }

    /// The folder as the person named it.
    pub fn called(self, path: &Path) -> Self {
        Folder { path: path.to_path_buf(), ..self }
    }
}

impl Row {
    fn of(summary: &SeriesSummary, choice: Option<&SeriesChoice>) -> Self {
        let words = |error: Error| {
            let text = error.to_string();
            let place = format!("series {}: ", summary.series_uid);
            text.strip_prefix(&place).unwrap_or(&text).to_owned()
        };
        let (mut volumes, problem) = match &summary.refusal {
            Some(reason) => (Vec::new(), Some(reason.clone())),
            None => match summary.volumes(Tilt::Keep) {
                Ok(volumes) => (volumes, None),
                Err(error) => (Vec::new(), Some(words(error))),
            },
        };
        let only = if volumes.len() == 1 { volumes.pop() } else { None };
        let (geometry, problem) = match only.map(|volume| volume.geometry) {
            Some(Ok(geometry)) => (Some(geometry), problem),
            Some(Err(error)) => (None, Some(words(error))),
            None => (None, problem),
        };
        Row {
            number: summary.number,
            series_uid: summary.series_uid.clone(),
            study_uid: summary.study_uid.clone(),
            modality: summary.modality.clone(),
            description: summary.description.clone(),
            body_part: summary.body_part.clone(),
            contrast: summary.contrast,
            images: summary.images,
            size: geometry.as_ref().map_or([summary.columns, summary.rows, summary.images], |geometry| geometry.size),
            tilt: geometry.as_ref().filter(|geometry| geometry.is_sheared()).map(Geometry::tilt_degrees),
            spacing_mm: geometry.map(|geometry| geometry.spacing),
            volumes: volumes.into_iter().map(Part::of).collect(),
            problem,
            judgement: choice.map(|choice| match choice.judge(summary) {
                Ok(reasons) => Judgement { fits: true, reasons },
                Err(reasons) => Judgement { fits: false, reasons },
            }),
        }
    }
}

impl Row {
    /// What comes before the rule of a volume, to choose the series too.
    fn choice(&self) -> String {
        self.number.map_or(String::new(), |number| format!("number={number},"))
    }
}

impl Part {
    fn of(volume: SeriesVolume) -> Self {
        let SeriesVolume { rule, description, images, geometry } = volume;
        let problem = geometry.as_ref().err().map(Error::to_string);
        Part { rule, description, images, spacing_mm: geometry.ok().map(|geometry| geometry.spacing), problem }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = Table::new(
            &["Number", "Modality", "Size", "Spacing (mm)", "Description"],
            &[true, false, false, false, false],
        );
        for row in &self.series {
            let spacing = row.spacing_mm.map_or("-".into(), table::spacing);
            list.row([
                row.number.map_or("-".into(), |number| number.to_string()),
                row.modality.clone(),
                table::size(row.size),
                spacing,
                row.description.clone(),
            ]);
        }
        let lines = list.lines();
        let indent = " ".repeat("Number".len() + 2);
        let (head, rows) = lines.split_at(1);
        writeln!(f, "{}", head.concat())?;
        for (line, row) in rows.iter().zip(&self.series) {
            writeln!(f, "{line}\n{indent}{}", row.series_uid)?;
            if let Some(problem) = &row.problem {
                writeln!(f, "{indent}cannot be segmented: {problem}")?;
            }
            if let Some(Judgement { fits, reasons }) = &row.judgement {
                let verdict = if *fits { "fits" } else { "does not fit" };
                let colon = if reasons.is_empty() { "" } else { ": " };
                writeln!(f, "{indent}{verdict}{colon}{}", reasons.join("; "))?;
            }
            if let Some(tilt) = row.tilt {
                writeln!(f, "{indent}gantry tilt of {tilt:.1} degrees: labels stay on the source slices, see --tilt")?;
            }
            for part in row.volumes.iter().take(MOST_VOLUMES) {
                write!(f, "{indent}{}; --series {}{}", part.description, row.choice(), part.rule)?;
                match &part.problem {
                    Some(problem) => writeln!(f, "\n{indent}  cannot be segmented: {problem}")?,
                    None => writeln!(f)?,
                }
            }
            if row.volumes.len() > MOST_VOLUMES {
                writeln!(f, "{indent}and {} more", row.volumes.len() - MOST_VOLUMES)?;
            }
        }
        if !self.unreadable.is_empty() {
            writeln!(f, "\n{} cannot be read:", plural(self.unreadable.len(), "DICOM file"))?;
            for file in self.unreadable.iter().take(5) {
                writeln!(f, "  {}", file.reason)?;
            }
        }
        if self.other_files > 0 {
            writeln!(f, "\n{} not DICOM", plural(self.other_files, "file"))?;
        }
        Ok(())
    }
}
