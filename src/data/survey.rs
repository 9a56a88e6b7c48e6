//! What a data set is like, from one pass over it: the fingerprint that reports show, and every pair that does not fit.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::meaning::{Meaning, Union, contiguous};
use super::{Case, Dataset, Kind, Listing, Parts};
use crate::config::{DataFingerprint, LabelShare};
use crate::control::{Control, Progress, Stage};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::labels::Label;
use crate::volume::Volume;

/// Voxels of a case that its percentiles are taken from, evenly spread; minimum and maximum are of all.
const SAMPLE: usize = 1 << 20;

/// All that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Survey {
    pub name: String,
    pub layout: Kind,
    /// Whether the files say where voxels are in the patient.
    pub placed: bool,
    /// Whether the distances of voxels are known, from the files or from the configuration.
    pub spaced: bool,
    pub subjects: usize,
    pub labels: Vec<LabelFacts>,
    /// Voxels without a label.
    pub background: u64,
    /// The cases that could be read.
    pub cases: Vec<CaseFacts>,
    /// What must be put right before training, each naming its file.
    pub faults: Vec<String>,
    /// What is left out and does no harm.
    pub apart: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitFacts>,
    /// All listed cases, those that do not fit included.
    #[serde(skip)]
    pub dataset: Dataset,
}

/// One label over all cases.
#[derive(Debug, Clone, Serialize)]
pub struct LabelFacts {
    #[serde(flatten)]
    pub label: Label,
    pub voxels: u64,
    /// Of all voxels, background included.
    pub share: f64,
    /// Cases that have it.
    pub cases: usize,
}

/// One case.
#[derive(Debug, Clone, Serialize)]
pub struct CaseFacts {
    pub id: String,
    pub subject: String,
    pub image: String,
    pub label: String,
    /// Columns, rows, slices.
    pub size: [usize; 3],
    pub spacing_mm: [f64; 3],
    /// Where the axes point; `None` where the files do not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orientation: Option<String>,
    /// Minimum, 0.5 %, median, 99.5 %, maximum.
    pub intensity: [f32; 5],
    /// Share of the image that its label map covers; the rest counts as background.
    pub covered: f64,
    /// 0.5 % and 99.5 % of the labelled voxels' intensities, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labelled_intensity: Option<[f32; 2]>,
    #[serde(skip)]
    pub geometry: Geometry,
    /// Voxels by label value of the data set.
    pub voxels: BTreeMap<u8, u64>,
}

/// Names of cases.
#[derive(Debug, Clone, Serialize)]
pub struct SplitFacts {
    pub train: Vec<String>,
    pub validation: Vec<String>,
}

/// A case as it was read, its labels still with the file's numbers.
struct Seen {
    facts: CaseFacts,
    counts: BTreeMap<u8, u64>,
    named: Vec<Label>,
}

impl Survey {
    /// Reads every case once, one at a time. Goes on after a case that does not fit; only `control` ends it early.
    /// `ignore` is a value that voxels may have without a label. `split` tells the cases' parts when all fit.
    pub fn of(
        listing: Listing,
        ignore: Option<u8>,
        split: impl FnOnce(&Dataset) -> Result<Option<Parts>>,
        control: &mut Control,
    ) -> Result<Self> {
        let mut faults = listing.faults.clone();
        let count = listing.cases.len();
        let mut seen = Vec::with_capacity(count);
        for (n, case) in listing.cases.iter().enumerate() {
            control.report(Progress::of(Stage::Read, n, count))?;
            match look(case, listing.kind != Kind::Prepared) {
                Ok(one) => seen.push(one),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => faults.push(error.to_string()),
            }
        }
        control.report(Progress::of(Stage::Read, count, count))?;
        let labels = match labels(&listing.stated, &seen) {
            Ok(labels) => labels,
            Err(error) => {
                faults.push(error.to_string());
                Vec::new()
            }
        };
        let meaning = Meaning { labels, ignore };
        let mut cases = Vec::with_capacity(seen.len());
        for one in seen {
            match counted(one, &meaning) {
                Ok(facts) => cases.push(facts),
                Err(error) => faults.push(error.to_string()),
            }
        }
        let apart = listing.apart.clone();
        let layout = listing.kind;
        let dataset = listing.with(meaning.labels).ignoring(ignore);
        let subjects = dataset.cases.iter().map(|case| &case.subject).collect::<BTreeSet<_>>().len();
        let split = split(&dataset).unwrap_or_else(|error| {
            faults.push(error.to_string());
            None
        });
        let ids = |cases: &[usize]| cases.iter().map(|&n| dataset.cases[n].id.clone()).collect();
        let split = split.map(|parts| SplitFacts { train: ids(&parts.train), validation: ids(&parts.validation) });
        let of = |value: u8| cases.iter().filter_map(|case| case.voxels.get(&value)).sum::<u64>();
        let all: u64 = cases.iter().flat_map(|case| case.voxels.values()).sum();
        let labels = dataset.labels.iter().map(|label| LabelFacts {
            label: label.clone(),
            voxels: of(label.value),
            share: of(label.value) as f64 / all.max(1) as f64,
            cases: cases.iter().filter(|case| case.voxels.contains_key(&label.value)).count(),
        });
        Ok(Survey {
            name: dataset.name.clone(),
            layout,
            placed: dataset.placed,
            spaced: dataset.spaced,
            subjects,
            labels: labels.collect(),
            background: of(0),
            cases,
            faults,
            apart,
            split,
            dataset,
        })
    }

    /// Refuses data that do not fit, with all that is wrong; logs what is left out.
    pub fn check(&self) -> Result<()> {
        self.apart.iter().for_each(|apart| log::info!("left out: {apart}"));
        match self.faults.as_slice() {
            [] => Ok(()),
            [fault] => Err(Error::VolumeFormat(fault.clone())),
            faults => {
                Err(Error::VolumeFormat(format!("{} faults in the data:\n  {}", faults.len(), faults.join("\n  "))))
            }
        }
    }

    /// The survey in short, without names of cases.
    pub fn fingerprint(&self) -> DataFingerprint {
        let spread = |of: &dyn Fn(&CaseFacts) -> f64| {
            let mut values: Vec<f64> = self.cases.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            [0, values.len() / 2, values.len().saturating_sub(1)].map(|n| values.get(n).copied().unwrap_or(0.0))
        };
        let mut orientations: Vec<String> = self.cases.iter().filter_map(|case| case.orientation.clone()).collect();
        orientations.sort_unstable();
        orientations.dedup();
        DataFingerprint {
            layout: self.layout.name().into(),
            cases: self.cases.len(),
            subjects: self.subjects,
            orientations,
            size: std::array::from_fn(|a| spread(&|case| case.size[a] as f64).map(|count| count as usize)),
            spacing_mm: std::array::from_fn(|a| spread(&|case| case.spacing_mm[a])),
            intensity: std::array::from_fn(|n| spread(&|case| case.intensity[n].into())[1] as f32),
            labels: self
                .labels
                .iter()
                .map(|facts| LabelShare { label: facts.label.name.clone(), share: facts.share, cases: facts.cases })
                .collect(),
        }
    }
}

fn look(case: &Case, placed: bool) -> Result<Seen> {
    let (volume, labels, covered) = case.read()?;
    let mut counts = [0u64; 256];
    labels.voxels.iter().for_each(|&value| counts[usize::from(value)] += 1);
    let counts = (0..=255u8).zip(counts).filter(|&(_, count)| count > 0).collect();
    let geometry = volume.geometry();
    let facts = CaseFacts {
        id: case.id.clone(),
        subject: case.subject.clone(),
        image: case.image.to_string(),
        label: case.label.to_string(),
        size: geometry.size,
        spacing_mm: geometry.spacing,
        orientation: placed.then(|| geometry.letters()),
        intensity: intensity(&volume).map_err(|e| e.at(case))?,
        covered,
        labelled_intensity: labelled_intensity(&volume, &labels.voxels).map_err(|e| e.at(case))?,
        geometry: geometry.clone(),
        voxels: BTreeMap::new(),
    };
    Ok(Seen { facts, counts, named: labels.labels })
}

/// Minimum, 0.5 %, median, 99.5 %, maximum, slice by slice.
fn intensity(volume: &Volume) -> Result<[f32; 5]> {
    let geometry = volume.geometry();
    // An odd step does not walk along one column.
    let step = geometry.len().div_ceil(SAMPLE) | 1;
    let mut slice = vec![0.0; geometry.slice_len()];
    let mut sample = Vec::with_capacity(geometry.len() / step + 1);
    let (mut lowest, mut highest) = (f32::INFINITY, f32::NEG_INFINITY);
    for k in 0..geometry.slices() {
        volume.read_slice(k, &mut slice)?;
        for (n, &value) in (k * slice.len()..).zip(&slice) {
            (lowest, highest) = (lowest.min(value), highest.max(value));
            if n % step == 0 {
                sample.push(value);
            }
        }
    }
    let last = sample.len() - 1;
    let mut at = |part: f64| *sample.select_nth_unstable_by((last as f64 * part).round() as usize, f32::total_cmp).1;
    Ok([lowest, at(0.005), at(0.5), at(0.995), highest])
}

/// 0.5 % and 99.5 % of the intensities under a label.
fn labelled_intensity(volume: &Volume, labels: &[u8]) -> Result<Option<[f32; 2]>> {
    let len = volume.geometry().slice_len();
    let mut slice = vec![0.0; len];
    let mut labelled = Vec::new();
    for (k, labels) in labels.chunks_exact(len).enumerate().filter(|(_, labels)| labels.iter().any(|&label| label > 0))
    {
        volume.read_slice(k, &mut slice)?;
        labelled.extend(slice.iter().zip(labels).filter(|&(_, &label)| label > 0).map(|(&value, _)| value));
    }
    let Some(last) = labelled.len().checked_sub(1) else { return Ok(None) };
    let mut at = |part: f64| *labelled.select_nth_unstable_by((last as f64 * part) as usize, f32::total_cmp).1;
    Ok(Some([at(0.005), at(0.995)]))
}

fn labels(stated: &[Label], seen: &[Seen]) -> Result<Vec<Label>> {
    if !stated.is_empty() {
        return Ok(stated.to_vec());
    }
    let mut union = Union::default();
    for one in seen {
        let largest = one.counts.keys().last().copied().unwrap_or(0);
        union.add(&one.facts.label, &one.named, largest);
    }
    contiguous(union.labels()?)
}

/// The counts by the data set's values.
fn counted(one: Seen, meaning: &Meaning) -> Result<CaseFacts> {
    let Seen { mut facts, counts, named } = one;
    let place = |e: Error, facts: &CaseFacts| e.at(format!("case {}: {}", facts.id, facts.label));
    let table = meaning.table(&named).map_err(|e| place(e, &facts))?;
    for (value, count) in counts {
        let known = table[usize::from(value)];
        let found = || match count {
            1 => format!("a voxel has label {value}"),
            count => format!("{count} voxels have label {value}"),
        };
        let known = known.ok_or_else(|| place(meaning.outside(&found(), &named), &facts))?;
        *facts.voxels.entry(known).or_default() += count;
    }
    Ok(facts)
}
