//! The model and the images that a receipt names, among those that are there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use transunet::catalog::{self, Catalog};
use transunet::control::Control;
use transunet::device::Devices;
use transunet::dicom::{Series, SeriesOptions, Tilt, scan};
use transunet::formats::{VolumeKind, read_volume};
use transunet::model::Model;
use transunet::precision::ComputePrecision;
use transunet::receipt::{Receipt, Source};
use transunet::volume::Volume;
use transunet::weights::{Checkpoint, check};

use super::super::failure::{About, Code, Failure, Outcome};
use super::super::home;

/// UIDs that a message names.
const NAMED: usize = 3;

/// The model with the receipt's hash: `given`, one of a folder, or an installed one.
pub fn model(given: Option<&Path>, made: &Receipt, devices: &Devices, precision: ComputePrecision) -> Outcome<Model> {
    let listed = |catalog: Catalog| catalog.models.into_iter().map(|model| model.path).collect::<Vec<_>>();
    let candidates = match given {
        None => Catalog::installed(home().as_deref()).map(listed),
        Some(folder) if folder.is_dir() => Catalog::of_folder(folder).map(listed),
        Some(model) => catalog::find(model, home().as_deref()).map(|path| vec![path]),
    };
    let mut others = Vec::new();
    for path in candidates.about(Code::Model)? {
        let sha256 = sha256(&path).about(Code::Model)?;
        if sha256 == made.model.sha256 {
            let model = Model::load_with(devices, &path, precision).about(Code::Model)?;
            model.warnings().iter().for_each(|warning| log::warn!("{warning}"));
            return Ok(model);
        }
        others.push(format!("{} has SHA-256 {sha256:.16}", path.display()));
    }
    let name = made.model.name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
    let found = if others.is_empty() { "no model was found".into() } else { others.join(", ") };
    Err(Failure::new(
        Code::Model,
        format!("the result was made by the model with SHA-256 {:.16}{name}; {found}", made.model.sha256),
        "--model takes the file, or a folder that holds it; a changed description counts as another model",
    ))
}

fn sha256(path: &Path) -> transunet::Result<String> {
    let checkpoint = Checkpoint::open(path)?;
    let (config, _) = checkpoint.describe()?;
    check(&checkpoint, &config.architecture)?;
    Model::sha256_of(&checkpoint, &config)
}

/// The receipt's images, from `paths`.
pub fn volume(paths: &[PathBuf], made: &Receipt, control: &mut Control) -> Outcome<Volume> {
    match &made.source.series_uid {
        Some(uid) => series(paths, uid, made, control),
        None => file(paths, made),
    }
}

fn refuse<T>(text: String, hint: &str) -> Outcome<T> {
    Err(Failure::new(Code::Input, text, hint))
}

fn series(paths: &[PathBuf], uid: &str, made: &Receipt, control: &mut Control) -> Outcome<Volume> {
    let found = scan(paths, control).about(Code::Input)?;
    let places = || paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let Some(summary) = found.series.iter().find(|series| series.series_uid == uid) else {
        return refuse(
            format!("{}: series {uid}, which the result was made from, is not there", places()),
            "pass the folder of its images",
        );
    };
    let wanted: BTreeSet<&str> = made.source.instances.iter().map(String::as_str).collect();
    let there: BTreeSet<&str> = summary.images().map(|(uid, _)| uid).collect();
    let missing: Vec<&str> = wanted.difference(&there).copied().collect();
    if !missing.is_empty() {
        let more = if missing.len() > NAMED { ", ..." } else { "" };
        return refuse(
            format!(
                "{}: {} of {} images that the result was made from are missing: {}{more}",
                places(),
                missing.len(),
                wanted.len(),
                missing[..missing.len().min(NAMED)].join(", ")
            ),
            "pass all images of the series",
        );
    }
    let files: Vec<&Path> = summary.images().filter(|(uid, _)| wanted.contains(uid)).map(|(_, path)| path).collect();
    let tilt: Tilt = made.settings.tilt.as_deref().map_or(Ok(Tilt::default()), str::parse).about(Code::Input)?;
    let chosen = scan(&files, control).about(Code::Input)?;
    for summary in &chosen.series {
        for volume in summary.volumes(tilt).about(Code::Input)? {
            let choice = volume.rule.parse().about(Code::Input)?;
            let series = Series::from_summary(summary, &SeriesOptions { choice, tilt }).about(Code::Input)?;
            let volume = Volume::from_series(Arc::new(series));
            if Source::of(&volume).sha256 == made.source.sha256 {
                return Ok(volume);
            }
        }
    }
    refuse(
        format!("{}: the images of series {uid} make other slices than those that the result was made from", places()),
        "positions or frames of the images were changed",
    )
}

fn file(paths: &[PathBuf], made: &Receipt) -> Outcome<Volume> {
    let [path] = paths else {
        return refuse("the result was made from a volume file".into(), "pass that file alone");
    };
    if VolumeKind::of(path).is_none() || path.is_dir() {
        return refuse(
            format!("{}: the result was made from a volume file", path.display()),
            "pass that .nrrd, .nhdr, .nii or .nii.gz file",
        );
    }
    let volume = read_volume(path).about(Code::Input)?;
    let sha256 = Source::of(&volume).sha256;
    if sha256 != made.source.sha256 {
        return refuse(
            format!(
                "{}: its voxels or its grid have SHA-256 {sha256:.16}, the result was made from {:.16}",
                path.display(),
                made.source.sha256
            ),
            "pass the very volume that was segmented",
        );
    }
    Ok(volume)
}
