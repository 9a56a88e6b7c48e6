//! DICOM series and the DICOM SEG and RT Structure Set objects that refer to them, in any tree of folders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::claims::ClaimRules;
use super::config::SubjectRule;
use super::listing::Listing;
use super::{Case, DataConfig, ImageSource, LabelSource};
use crate::control::Control;
use crate::dicom::{Scan, Seg, SeriesSummary, Structures, scan};
use crate::error::Result;

pub(super) fn list(config: &DataConfig, folder: &Path, listing: &mut Listing) -> Result<()> {
    let Scan { series, unreadable, .. } = scan(&[folder], &mut Control::none())?;
    listing.faults.extend(unreadable.into_iter().map(|file| file.reason));
    let series: Vec<Arc<SeriesSummary>> = series.into_iter().map(Arc::new).collect();
    // Labels of each series, by its place in the list.
    let mut pairs: BTreeMap<usize, Vec<LabelSource>> = BTreeMap::new();
    let rules = Arc::new(ClaimRules::of(config)?);
    for path in series.iter().flat_map(|series| series.segmentations()) {
        match of_segmentation(path, &series) {
            Ok(n) => pairs.entry(n).or_default().push(LabelSource::Seg(path.into(), rules.clone())),
            Err(fault) => listing.faults.push(fault),
        }
    }
    for path in series.iter().flat_map(|series| series.structures()) {
        match of_structures(path, &series, rules.resamples(), &mut listing.apart) {
            Ok(n) => pairs.entry(n).or_default().push(LabelSource::Structures(path.into(), rules.clone())),
            Err(fault) => listing.faults.push(fault),
        }
    }
    for (n, one) in series.iter().enumerate() {
        if !pairs.contains_key(&n) && !has_labels(one) {
            listing.apart.push(format!("{}: no DICOM SEG or RTSTRUCT refers to it", described(one, folder)));
        }
    }
    pairs.retain(|&n, labels| {
        if labels.len() > 1 {
            let names = labels.iter().map(LabelSource::to_string).collect::<Vec<_>>().join(", ");
            let text = format!(
                "{}: {} DICOM SEG or RTSTRUCT objects refer to it, expected one: {names}",
                described(&series[n], folder),
                labels.len()
            );
            listing.faults.push(text);
        }
        labels.len() == 1
    });
    let ids = ids(&pairs.keys().map(|&n| &*series[n]).collect::<Vec<_>>(), folder);
    for ((n, mut labels), id) in pairs.into_iter().zip(ids) {
        let patient = &series[n].patient_id;
        let usual = || if patient.is_empty() { id.clone() } else { patient.clone() };
        listing.cases.push(Case::new(
            SubjectRule::of(config.subject, &id, usual),
            id,
            ImageSource::Series(series[n].clone()),
            labels.swap_remove(0),
        ));
    }
    Ok(())
}

/// Whether there are labels in DICOM anywhere.
pub(super) fn is_there(folder: &Path) -> bool {
    scan(&[folder], &mut Control::none()).is_ok_and(|found| found.series.iter().any(has_labels))
}

fn has_labels(series: &SeriesSummary) -> bool {
    series.segmentations().chain(series.structures()).next().is_some()
}

/// The series that the SEG at `path` was made on.
fn of_segmentation(path: &Path, series: &[Arc<SeriesSummary>]) -> std::result::Result<usize, String> {
    let seg = Seg::open(path).map_err(|e| e.to_string())?;
    source(path, [&seg.series_uids, &seg.instance_uids], series)
}

/// The series that the structure set at `path` was drawn on; if labels are resampled and that is not there, the one other
/// in its frame of reference. What of it are no labels goes to `apart`.
fn of_structures(
    path: &Path,
    series: &[Arc<SeriesSummary>],
    resamples: bool,
    apart: &mut Vec<String>,
) -> std::result::Result<usize, String> {
    let structures = Structures::open(path).map_err(|e| e.to_string())?;
    let n = source(path, [&structures.series_uids, &structures.instance_uids], series).or_else(|fault| {
        let [uid] = &structures.frame_of_reference_uids[..] else { return Err(fault) };
        let shares = |one: &SeriesSummary| one.refusal.is_none() && one.is_within(uid);
        let sharing: Vec<usize> = (0..series.len()).filter(|&n| shares(&series[n])).collect();
        match (resamples, &sharing[..]) {
            (true, &[n]) => Ok(n),
            (true, others) => {
                Err(format!("{fault}; {} series share its frame of reference, expected one", others.len()))
            }
            (false, _) => Err(fault),
        }
    })?;
    let place = path.display();
    if let Some(uid) = structures.frame_of_reference_uids.iter().find(|uid| series[n].is_outside(uid)) {
        let of = &series[n].series_uid;
        return Err(format!("{place}: its points are in frame of reference {uid}, and series {of} is in another"));
    }
    apart.extend(structures.skipped.iter().map(|region| format!("{place}: {region}")));
    Ok(n)
}

/// The one series that an object at `path` refers to, by the series' UID or, where none is there, by its images'.
fn source(
    path: &Path,
    [series_uids, instance_uids]: [&[String]; 2],
    series: &[Arc<SeriesSummary>],
) -> std::result::Result<usize, String> {
    let find = |uid: &str| series.iter().position(|series| series.series_uid == uid);
    let by_instance = |uid: &str| series.iter().position(|series| series.has_instance(uid));
    let mut found: BTreeSet<usize> = series_uids.iter().filter_map(|uid| find(uid)).collect();
    if found.is_empty() {
        found = instance_uids.iter().filter_map(|uid| by_instance(uid)).collect();
    }
    let place = path.display();
    match (found.len(), series_uids) {
        (1, _) => found.into_iter().next().ok_or_else(String::new),
        (0, []) if instance_uids.is_empty() => Err(format!("{place}: refers to no series")),
        (0, []) => Err(format!("{place}: the images that it refers to are not in the folder")),
        (0, uids) => Err(format!("{place}: its series {} is not in the folder", uids.join(", "))),
        (count, _) => Err(format!("{place}: refers to {count} series, expected one")),
    }
}

/// A name for each series: its folder, if no other has the same; else patient and series number; else also the UID.
fn ids(series: &[&SeriesSummary], folder: &Path) -> Vec<String> {
    let count = |names: &[String], name: &str| names.iter().filter(|other| *other == name).count();
    let folders: Vec<String> = series.iter().map(|series| common_folder(series, folder)).collect();
    let numbers: Vec<String> = series
        .iter()
        .map(|series| {
            let number = series.number.map_or(String::new(), |number| format!("-{number}"));
            format!("{}{number}", if series.patient_id.is_empty() { "series" } else { &series.patient_id })
        })
        .collect();
    let named = |n: usize| match (&folders[n], &numbers[n]) {
        (folder, _) if !folder.is_empty() && count(&folders, folder) == 1 => folder.clone(),
        (_, number) if count(&numbers, number) == 1 && count(&folders, number) == 0 => number.clone(),
        (_, number) => format!("{number}-{}", series[n].series_uid),
    };
    (0..series.len()).map(named).collect()
}

/// The deepest folder that has all files of the series, below `folder`.
fn common_folder(series: &SeriesSummary, folder: &Path) -> String {
    let mut common: Option<Vec<String>> = None;
    for path in series.paths() {
        let place = path.parent().and_then(|parent| parent.strip_prefix(folder).ok()).unwrap_or(Path::new(""));
        let parts: Vec<String> = place.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        common = Some(match common {
            None => parts,
            Some(before) => before.into_iter().zip(parts).take_while(|(a, b)| a == b).map(|(a, _)| a).collect(),
        });
    }
    common.unwrap_or_default().join("/")
}

fn described(series: &SeriesSummary, folder: &Path) -> String {
    let place = common_folder(series, folder);
    let place = if place.is_empty() { String::new() } else { format!(" in {place}") };
    let number = series.number.map_or(String::new(), |number| format!(", number {number}"));
    format!(
        "series {}{place} ({}{number}, {} images, {:?})",
        series.series_uid, series.modality, series.images, series.description
    )
}
