//! Training and validation cases, split by subject.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Dataset;
use super::lists::Lists;
use crate::error::{Error, Result};
use crate::random;

/// How cases are split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "split: expected a file, fold and of, or validation and seed")]
pub enum Split {
    /// nnU-Net's splits_final.json or `{"train": [...], "validation": [...]}`, by case; `fold` of the first kind.
    File(FileSplit),
    /// Subjects are shuffled by `seed` and cut into `of` parts; part `fold` (from 0) validates.
    Fold(FoldSplit),
    /// This share of the subjects, drawn by `seed`, validates.
    Share(ShareSplit),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSplit {
    pub file: PathBuf,
    #[serde(default)]
    pub fold: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoldSplit {
    pub fold: usize,
    pub of: usize,
    #[serde(default)]
    pub seed: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareSplit {
    pub validation: f64,
    #[serde(default)]
    pub seed: u64,
}

impl Default for Split {
    fn default() -> Self {
        Split::Share(ShareSplit { validation: 0.2, seed: 0 })
    }
}

/// Indices of cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    pub train: Vec<usize>,
    pub validation: Vec<usize>,
}

#[derive(Deserialize)]
struct Written {
    train: Vec<String>,
    #[serde(alias = "val")]
    validation: Vec<String>,
}

impl Split {
    /// `base` is what a relative file is relative to: the data set's folder.
    pub fn apply(&self, dataset: &Dataset, base: &Path) -> Result<Parts> {
        let parts = match self {
            Split::File(split) => from_file(&base.join(&split.file), split.fold, dataset)?,
            Split::Fold(split) => {
                if split.of < 2 || split.fold >= split.of {
                    return Err(Error::Config(format!(
                        "split: fold {} of {}, expected 2 or more folds, counted from 0",
                        split.fold, split.of
                    )));
                }
                by_subject(dataset, split.seed, |n, _| n % split.of == split.fold)
            }
            Split::Share(split) => {
                if !(0.0..1.0).contains(&split.validation) {
                    return Err(Error::Config(format!(
                        "split: validation is {}, expected 0 to below 1",
                        split.validation
                    )));
                }
                by_subject(dataset, split.seed, |n, count| {
                    let most = (split.validation * count as f64).ceil() as usize;
                    n < most.min(count.saturating_sub(1))
                })
            }
        };
        if parts.train.is_empty() {
            return Err(Error::Argument("the split leaves no case to train with".into()));
        }
        Ok(parts)
    }
}

/// `validates(n, of)` for subject n of the shuffled ones.
fn by_subject(dataset: &Dataset, seed: u64, validates: impl Fn(usize, usize) -> bool) -> Parts {
    let mut subjects: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (n, case) in dataset.cases.iter().enumerate() {
        subjects.entry(&case.subject).or_default().push(n);
    }
    let mut subjects: Vec<_> = subjects.into_values().collect();
    random::stream(seed, "split", &[]).shuffle(&mut subjects);
    let count = subjects.len();
    let mut parts = Parts { train: Vec::new(), validation: Vec::new() };
    for (n, cases) in subjects.into_iter().enumerate() {
        if validates(n, count) { &mut parts.validation } else { &mut parts.train }.extend(cases);
    }
    parts.train.sort_unstable();
    parts.validation.sort_unstable();
    parts
}

fn from_file(path: &Path, fold: usize, dataset: &Dataset) -> Result<Parts> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    let refuse = |text: String| Error::Config(format!("{}: {text}", path.display()));
    let whole: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
    let one = match whole {
        serde_json::Value::Array(mut folds) if fold < folds.len() => folds.swap_remove(fold),
        serde_json::Value::Array(folds) => {
            return Err(refuse(format!("fold {fold} of {}, counted from 0", folds.len())));
        }
        other => other,
    };
    let written: Written = serde_json::from_value(one).map_err(|e| refuse(e.to_string()))?;
    by_case(&written.train, &written.validation, dataset).map_err(|e| e.at(path.display()))
}

/// The split of the lists that come with prepared data.
pub(super) fn from_lists(lists: &Lists, dataset: &Dataset) -> Result<Parts> {
    let place = lists.folder.display();
    if !lists.faults.is_empty() {
        return Err(Error::Config(format!("{place}: {}", lists.faults.join("; "))));
    }
    let parts = by_case(&lists.train, &lists.validation, dataset).map_err(|e| e.at(&place))?;
    if parts.train.is_empty() {
        return Err(Error::Config(format!("{place}: the lists leave no case to train with")));
    }
    let left = dataset.cases.len() - parts.train.len() - parts.validation.len();
    if left > 0 {
        log::warn!("{place}: {left} cases are in no list and not used");
    }
    Ok(parts)
}

/// Refuses unknown cases, and subjects on both sides.
fn by_case(train: &[String], validation: &[String], dataset: &Dataset) -> Result<Parts> {
    let places: BTreeMap<&str, usize> =
        dataset.cases.iter().enumerate().map(|(n, case)| (case.id.as_str(), n)).collect();
    let find = |ids: &[String]| -> (Vec<usize>, Vec<String>) {
        let unknown = ids.iter().filter(|id| !places.contains_key(id.as_str())).cloned().collect();
        (ids.iter().filter_map(|id| places.get(id.as_str()).copied()).collect(), unknown)
    };
    let ((train, mut unknown), (validation, more)) = (find(train), find(validation));
    unknown.extend(more);
    if !unknown.is_empty() {
        return Err(Error::Config(format!("{} cases are not in the data set: {}", unknown.len(), unknown.join(", "))));
    }
    let subjects =
        |cases: &[usize]| -> BTreeSet<&str> { cases.iter().map(|&n| dataset.cases[n].subject.as_str()).collect() };
    let both: Vec<_> = subjects(&train).intersection(&subjects(&validation)).map(|s| (*s).to_owned()).collect();
    if !both.is_empty() {
        return Err(Error::Config(format!("subjects that train and validate: {}", both.join(", "))));
    }
    Ok(Parts { train, validation })
}
