//! What a DICOM folder holds: its series, each with what is wrong with it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use transunet::control::Control;
use transunet::dicom::{self, Series, SeriesChoice, SeriesSummary};

use super::super::failure::{About, Code, Outcome};
use super::super::table::{self, Table, plural};

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
    images: usize,
    /// Columns, rows, slices; of a series that is no volume, of its first image.
    size: [usize; 3],
    spacing_mm: Option<[f64; 3]>,
    /// Why it cannot be segmented.
    problem: Option<String>,
}

#[derive(Serialize)]
struct Unreadable {
    path: PathBuf,
    reason: String,
}

impl Folder {
    pub fn read(path: &Path, control: &mut Control) -> Outcome<Self> {
        let scan = dicom::scan(&[path], control).about(Code::Input)?;
        if scan.series.is_empty() {
            scan.choose(&SeriesChoice::Only).about(Code::Input)?;
        }
        Ok(Folder {
            path: path.to_path_buf(),
            series: scan.series.iter().map(Row::of).collect(),
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
    fn of(summary: &SeriesSummary) -> Self {
        let opened = match &summary.refusal {
            Some(reason) => Err(reason.clone()),
            None => Series::from_summary(summary).map_err(|error| {
                let text = error.to_string();
                let place = format!("series {}: ", summary.series_uid);
                text.strip_prefix(&place).unwrap_or(&text).to_owned()
            }),
        };
        let geometry = opened.as_ref().ok().map(|series| &series.geometry);
        Row {
            number: summary.number,
            series_uid: summary.series_uid.clone(),
            study_uid: summary.study_uid.clone(),
            modality: summary.modality.clone(),
            description: summary.description.clone(),
            images: summary.images,
            size: geometry.map_or([summary.columns, summary.rows, summary.images], |geometry| geometry.size),
            spacing_mm: geometry.map(|geometry| geometry.spacing),
            problem: opened.err(),
        }
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
