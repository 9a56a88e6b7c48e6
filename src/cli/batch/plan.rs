//! What is to be done with everything that a tree holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};
use transunet::Error;
use transunet::control::Control;
use transunet::dicom::{Closed, Series, SeriesChoice, SeriesOptions, Tilt, Tree, TreeSeries, read_tree};
use transunet::formats::{VolumeKind, read_volume};
use transunet::volume::Volume;

use super::super::failure::{About, Code, Failure, Outcome};
use super::manifest::{Facts, Fault};
use super::shard::{Shard, hex};

/// A series, a volume file, or something that cannot be told.
pub struct Item {
    pub facts: Facts,
    source: Source,
    pub verdict: Verdict,
}

enum Source {
    Series(Box<TreeSeries>, SeriesOptions),
    File(PathBuf),
}

pub enum Verdict {
    /// To segment, into these formats.
    Work(Vec<String>),
    /// Not to segment, for this reason.
    Skip(String),
    /// It should be segmented and cannot be.
    Refuse(Fault),
}

/// What is chosen, and into what it is segmented.
pub struct Rules<'a> {
    /// Any of them; none chooses all.
    pub series: &'a [SeriesChoice],
    pub tilt: Tilt,
    pub modalities: &'a [String],
    pub series_formats: &'a [String],
    pub file_formats: &'a [String],
    pub shard: Option<Shard>,
}

pub struct Plan {
    /// DICOM series by study, number and UID, then volume files, then what cannot be told, each by path.
    pub items: Vec<Item>,
    /// Files that are no images.
    pub others: usize,
}

impl Plan {
    pub fn of(root: &Path, rules: &Rules, control: &mut Control) -> Outcome<Self> {
        let mine = |key: &str| rules.shard.is_none_or(|shard| shard.has(key));
        let is_volume = |path: &Path| VolumeKind::of(path).is_some();
        let Tree { series, volumes, closed, others } = read_tree(root, is_volume, mine, control).about(Code::Input)?;
        let place = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        let mut items: Vec<Item> = series.into_iter().map(|series| rules.series(series, place)).collect();
        let mine = |path: &Path| mine(&place(path));
        items.extend(volumes.into_iter().filter(|path| mine(path)).map(|path| rules.file(place(&path), path)));
        let closed = closed.into_iter().filter(|closed| mine(&closed.path));
        items.extend(closed.map(|Closed { path, error }| Item {
            facts: file_facts(place(&path), &path),
            source: Source::File(path),
            verdict: Verdict::Refuse(fault(&error)),
        }));
        Ok(Plan { items, others })
    }
}

impl Rules<'_> {
    fn series(&self, series: TreeSeries, place: impl Fn(&Path) -> String) -> Item {
        let uid = &series.series_uid;
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let facts = Facts {
            name: series_name(uid),
            paths: series.folders().into_iter().map(&place).collect(),
            series_uid: text(uid),
            study_uid: text(&series.study_uid),
            modality: text(&series.modality),
            description: text(&series.description),
            images: Some(series.images),
            input: format!("{:016x}", series.fingerprint),
        };
        let verdict = if let Some(reason) = &series.apart {
            Verdict::Skip(reason.clone())
        } else if let (Some(reason), 0) = (&series.broken, series.images) {
            Verdict::Refuse(fault(&Error::DicomParse(reason.clone())))
        } else if let Some(reason) = self.declines(&series) {
            Verdict::Skip(reason)
        } else if let Some(reason) = &series.refusal {
            Verdict::Refuse(fault(&Error::DicomUnsupported(reason.clone())))
        } else if let Some(reason) = &series.broken {
            Verdict::Refuse(fault(&Error::DicomParse(format!("the series is incomplete: {reason}"))))
        } else {
            Verdict::Work(self.series_formats.to_vec())
        };
        let choice = self.choice(&series).cloned().unwrap_or_default();
        let options = SeriesOptions { choice, tilt: self.tilt };
        Item { facts, source: Source::Series(Box::new(series), options), verdict }
    }

    /// Why the rules do not choose a series.
    fn declines(&self, series: &TreeSeries) -> Option<String> {
        if !self.modalities.is_empty() && !self.modalities.iter().any(|one| one.eq_ignore_ascii_case(&series.modality))
        {
            return Some(format!("not chosen: modality {:?}", series.modality));
        }
        if self.series.is_empty() || self.choice(series).is_some() {
            return None;
        }
        let reasons = self.series.iter().map(|choice| choice.against(&series.traits()).join(", "));
        Some(format!("not chosen: {}", reasons.collect::<Vec<_>>().join("; ")))
    }

    /// The first choice that fits a series, which also says which of its volumes is meant.
    fn choice(&self, series: &TreeSeries) -> Option<&SeriesChoice> {
        self.series.iter().find(|choice| choice.fits(&series.traits()))
    }

    fn file(&self, place: String, path: PathBuf) -> Item {
        let verdict = if place.to_lowercase().ends_with(".seg.nrrd") {
            Verdict::Skip("a segmentation, not an image".into())
        } else if !self.series.is_empty() || !self.modalities.is_empty() {
            Verdict::Skip("not chosen: --series and --modality choose DICOM series".into())
        } else if self.file_formats.is_empty() {
            Verdict::Skip("no format: a DICOM SEG refers to DICOM images, and this is none".into())
        } else {
            Verdict::Work(self.file_formats.to_vec())
        };
        Item { facts: file_facts(place, &path), source: Source::File(path), verdict }
    }
}

impl Item {
    pub fn is_work(&self) -> bool {
        matches!(self.verdict, Verdict::Work(_))
    }

    /// Why it failed. Its line names the series, so that the message need not.
    pub fn fault(&self, failure: &Failure) -> Fault {
        let message = failure.message();
        let place = format!("series {}: ", self.facts.series_uid.as_deref().unwrap_or_default());
        Fault {
            status: failure.status().into(),
            message: message.strip_prefix(&place).unwrap_or(message).into(),
            ends_run: failure.ends_run(),
        }
    }

    /// Reads a volume file, or the headers of a series.
    pub fn open(&self, control: &mut Control) -> Outcome<Arc<Volume>> {
        let volume = match &self.source {
            Source::File(path) => read_volume(path),
            Source::Series(series, options) => Series::open(&series.paths().collect::<Vec<_>>(), options, control)
                .map(|series| Volume::from_series(Arc::new(series))),
        };
        volume.map(Arc::new).about(Code::Input)
    }
}

fn fault(error: &Error) -> Fault {
    Fault { status: error.status_name().into(), message: error.to_string(), ends_run: false }
}

fn file_facts(place: String, path: &Path) -> Facts {
    // As for make: contents are not read only to see whether they changed.
    let state = std::fs::metadata(path).ok().map(|metadata| {
        let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        (metadata.len(), changed.unwrap_or_default().as_nanos())
    });
    Facts {
        name: file_name(&place),
        paths: vec![place],
        series_uid: None,
        study_uid: None,
        modality: None,
        description: None,
        images: None,
        input: short_hash(&format!("{state:?}")),
    }
}

/// The UID, where it is one and so safe as a name.
fn series_name(uid: &str) -> String {
    let safe = uid.len() <= 64 && uid.starts_with(|c: char| c.is_ascii_digit());
    if safe && uid.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return uid.to_owned();
    }
    format!("series-{}", short_hash(uid))
}

/// What people know of the file's name, and a hash of its place, which tells files of one name apart.
fn file_name(place: &str) -> String {
    let name = place.rsplit('/').next().unwrap_or(place);
    let lower = name.to_ascii_lowercase();
    let ending = [".nii.gz", ".nii", ".nrrd", ".nhdr", ".dcm"].into_iter().find(|ending| lower.ends_with(ending));
    let stem = &name[..name.len() - ending.map_or(0, str::len)];
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let stem: String = stem.chars().take(40).map(safe).collect();
    format!("{}-{}", stem.trim_matches('-'), short_hash(place)).trim_start_matches('-').to_owned()
}

/// 80 bits: among a million names two are alike once in a trillion trees.
fn short_hash(text: &str) -> String {
    hex(&Sha256::digest(text)[..10])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_tell_places_apart() {
        assert_eq!(series_name("1.2.840.113619.2"), "1.2.840.113619.2");
        let long = "1".repeat(65);
        for odd in ["", "..", ".", "../etc", "1.2/3", "1.2 ", "a", "1.2\u{661}", &long] {
            let name = series_name(odd);
            assert!(name.starts_with("series-") && name.len() == 27, "{odd:?}: {name}");
        }
        let places =
            ["a/t1.nii.gz", "b/t1.nii.gz", "b/T1.nii.gz", "b/t1.nii", "b/t1.nrrd", "Ä ö/../é.nii", ".nii", "-.nii"];
        let names: std::collections::BTreeSet<String> = places.iter().map(|place| file_name(place)).collect();
        assert_eq!(names.len(), places.len());
        for name in names {
            assert!(
                name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) && !name.starts_with('-'),
                "{name}"
            );
        }
        assert!(file_name("b/t1.nii.gz").starts_with("t1-"));
        assert!(file_name(&format!("{}.nii", "x".repeat(250))).len() < 64);
    }
}
