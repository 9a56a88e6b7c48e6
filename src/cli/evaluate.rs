//! `transunet evaluate`: how well label maps agree with the truth.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use transunet::config::Compat;
use transunet::control::Control;
use transunet::dicom::{Overlap, Seg, Structures, common_grid, scan};
use transunet::formats::{LabelImage, VolumeKind, read_labels};
use transunet::geometry::Geometry;
use transunet::labels::Label;
use transunet::metrics::{LabelScore, Rules, Summary, scores, summarize};
use transunet::{Error, Result, atomic_file};

use super::Session;
use super::failure::{About, Code, Outcome};
use super::table::{Table, size, spacing};

const EXAMPLES: &str = "\
Examples:
  transunet evaluate liver.seg.nrrd truth.seg.nrrd
  transunet evaluate results/ labelsTs/ --json scores.json --csv scores.csv

Rules: a label that both lack has no score. One that only one of them has scores Dice 0, surface Dice 0, and as HD95 the
diagonal of the grid. --compat transunet-2021 takes those of the original's test program: distances in voxels; Dice 1
and HD95 0 where only the prediction has the label; Dice 0 and HD95 0 where it lacks it.";

/// Compare label maps: Dice, HD95 and surface Dice of each label
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Evaluate {
    /// A label map (.seg.nrrd, .nrrd, .nii, .nii.gz, DICOM SEG or RTSTRUCT as .dcm), or a folder of them
    prediction: PathBuf,
    /// What is true: a label map, or a folder with files of the same names
    truth: PathBuf,
    /// Only these labels, by value
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..))]
    labels: Vec<u8>,
    /// Surfaces this close count as the same for the surface Dice, in mm
    #[arg(long, value_name = "MM", default_value_t = 1.0, value_parser = positive)]
    tolerance: f64,
    /// Follow the original's rules
    #[arg(long, value_name = "RULES", value_parser = compat)]
    compat: Option<Compat>,
    /// Also write all figures here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write one line for each case and label here
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

fn positive(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|x: &f64| *x >= 0.0 && x.is_finite()).ok_or_else(|| "expected mm from 0".into())
}

fn compat(text: &str) -> std::result::Result<Compat, String> {
    if text == "transunet-2021" { Ok(Compat::TransUnet2021) } else { Err("expected transunet-2021".into()) }
}

#[derive(Serialize)]
struct Evaluation {
    rules: &'static str,
    tolerance_mm: f64,
    cases: Vec<CaseScores>,
    labels: Vec<LabelSummary>,
    /// Mean over the labels' mean Dice.
    mean_dice: Option<f64>,
}

#[derive(Serialize)]
struct CaseScores {
    case: String,
    labels: Vec<LabelScore>,
}

#[derive(Serialize)]
struct LabelSummary {
    value: u8,
    name: String,
    dice: Option<Summary>,
    hd95: Option<Summary>,
    surface_dice: Option<Summary>,
}

impl Evaluate {
    pub fn run(&self, session: &Session) -> Outcome {
        let pairs = pairs(&self.prediction, &self.truth).about(Code::Input)?;
        let mut control = session.control();
        let mut names: BTreeMap<u8, Label> = BTreeMap::new();
        let mut cases = Vec::with_capacity(pairs.len());
        for (n, (case, prediction, truth)) in pairs.iter().enumerate() {
            let (labels, found) = self.compare(prediction, truth).about(Code::Input)?;
            for label in labels {
                names.entry(label.value).or_insert(label);
            }
            cases.push(CaseScores { case: case.clone(), labels: found });
            let stage = transunet::control::Stage::Validate;
            control.report(transunet::control::Progress::of(stage, n + 1, pairs.len())).about(Code::Other)?;
        }
        drop(control);
        let evaluation = self.summarized(cases, &names);
        if let Some(path) = &self.json {
            let json = serde_json::to_vec_pretty(&evaluation)
                .map_err(|e| Error::Internal(e.to_string()))
                .about(Code::Output)?;
            atomic_file::write(path, |out| out.write_all(&json)).about(Code::Output)?;
        }
        if let Some(path) = &self.csv {
            atomic_file::write(path, |out| out.write_all(evaluation.csv().as_bytes())).about(Code::Output)?;
        }
        session.print(&evaluation.words());
        Ok(())
    }

    /// Scores of one pair, and the labels that it has.
    fn compare(&self, prediction: &Path, truth: &Path) -> Result<(Vec<Label>, Vec<LabelScore>)> {
        let (ours, theirs) = read_pair(prediction, truth)?;
        let (a, b) = (&ours.geometry, &theirs.geometry);
        let near = a.spacing.iter().copied().fold(f64::INFINITY, f64::min) * 0.01;
        if !a.matches(b, near) {
            return Err(Error::VolumeFormat(format!(
                "{} and {} lie on different grids: {} voxels of {} mm from {:?}, and {} voxels of {} mm from {:?}",
                prediction.display(),
                truth.display(),
                size(a.size),
                spacing(a.spacing),
                a.origin,
                size(b.size),
                spacing(b.spacing),
                b.origin
            )));
        }
        let mut there = [false; 256];
        ours.voxels.iter().chain(&theirs.voxels).for_each(|&value| there[usize::from(value)] = true);
        let named = |value: u8| {
            let known = theirs.labels.iter().chain(&ours.labels).find(|label| label.value == value);
            known.cloned().unwrap_or_else(|| Label::numbered(value))
        };
        let wanted = |value: &u8| {
            if self.labels.is_empty() { there[usize::from(*value)] } else { self.labels.contains(value) }
        };
        let labels: Vec<Label> = (1..=255).filter(wanted).map(named).collect();
        let rules = if self.compat.is_some() { Rules::TransUnet2021 } else { Rules::Standard };
        let found = scores(&ours.voxels, &theirs.voxels, b, &labels, rules, self.tolerance)?;
        Ok((labels, found))
    }

    fn summarized(&self, cases: Vec<CaseScores>, names: &BTreeMap<u8, Label>) -> Evaluation {
        let labels: Vec<LabelSummary> = names
            .values()
            .map(|label| {
                let of = |figure: fn(&LabelScore) -> Option<f64>| {
                    let all = cases.iter().flat_map(|case| &case.labels).filter(|score| score.value == label.value);
                    summarize(all.filter_map(figure))
                };
                LabelSummary {
                    value: label.value,
                    name: label.name.clone(),
                    dice: of(|score| score.dice),
                    hd95: of(|score| score.hd95),
                    surface_dice: of(|score| score.surface_dice),
                }
            })
            .collect();
        let means: Vec<f64> = labels.iter().filter_map(|label| label.dice.map(|dice| dice.mean)).collect();
        Evaluation {
            rules: if self.compat.is_some() { "transunet-2021" } else { "standard" },
            tolerance_mm: self.tolerance,
            cases,
            mean_dice: summarize(means).map(|summary| summary.mean),
            labels,
        }
    }
}

impl Evaluation {
    fn csv(&self) -> String {
        let mut text = String::from("case,label,name,dice,hd95,surface_dice,voxels_prediction,voxels_truth\n");
        let number = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
        for case in &self.cases {
            for score in &case.labels {
                let name = self.labels.iter().find(|label| label.value == score.value).map_or("", |label| &label.name);
                let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
                text.push_str(&format!(
                    "{},{},{},{},{},{},{},{}\n",
                    quoted(&case.case),
                    score.value,
                    quoted(name),
                    number(score.dice),
                    number(score.hd95),
                    number(score.surface_dice),
                    score.voxels[0],
                    score.voxels[1]
                ));
            }
        }
        text
    }

    fn words(&self) -> String {
        let unit = if self.rules == "standard" { "mm" } else { "voxels" };
        let figure = |x: Option<f64>, digits: usize| x.map_or("-".into(), |x| format!("{x:.digits$}"));
        let hd95 = format!("HD95 {unit}");
        let mut lines = Vec::new();
        let name = |value: u8| self.labels.iter().find(|label| label.value == value).map_or("", |label| &label.name);
        let mut table = Table::new(
            &["case", "label", "Dice", &hd95, "surface Dice", "voxels", "truth"],
            &[false, false, true, true, true, true, true],
        );
        for case in &self.cases {
            for score in &case.labels {
                table.row([
                    case.case.clone(),
                    name(score.value).to_owned(),
                    figure(score.dice, 4),
                    figure(score.hd95, 2),
                    figure(score.surface_dice, 4),
                    score.voxels[0].to_string(),
                    score.voxels[1].to_string(),
                ]);
            }
        }
        lines.extend(table.lines());
        if self.cases.len() > 1 {
            lines.push(String::new());
            let mut table = Table::new(
                &["label", "cases", "Dice mean", "median", "worst", &format!("{hd95} mean"), "worst", "surface Dice"],
                &[false, true, true, true, true, true, true, true],
            );
            for label in &self.labels {
                table.row([
                    label.name.clone(),
                    label.dice.map_or(0, |dice| dice.cases).to_string(),
                    figure(label.dice.map(|dice| dice.mean), 4),
                    figure(label.dice.map(|dice| dice.median), 4),
                    figure(label.dice.map(|dice| dice.lowest), 4),
                    figure(label.hd95.map(|hd95| hd95.mean), 2),
                    figure(label.hd95.map(|hd95| hd95.highest), 2),
                    figure(label.surface_dice.map(|dice| dice.mean), 4),
                ]);
            }
            lines.extend(table.lines());
        }
        lines.push(format!("mean Dice {}", figure(self.mean_dice, 4)));
        lines.join("\n")
    }
}

/// Labels as a file has them: on a grid, or to be put on one.
enum Labels {
    Map(LabelImage),
    Seg(Seg),
    Structures(Structures),
}

impl Labels {
    fn open(path: &Path) -> Result<Self> {
        if VolumeKind::of(path).is_some() {
            return Ok(Labels::Map(read_labels(path)?));
        }
        let found = scan(&[path], &mut Control::none())?;
        if found.series.iter().any(|series| series.structures().next().is_some()) {
            return Ok(Labels::Structures(Structures::open(path)?));
        }
        Ok(Labels::Seg(Seg::open(path)?))
    }

    fn on(self, grid: &Geometry) -> Result<LabelImage> {
        let (voxels, labels) = match self {
            Labels::Map(map) => return Ok(map),
            Labels::Seg(seg) => (seg.read(grid, Overlap::Refuse)?, seg.labels),
            Labels::Structures(set) => (set.read(grid, Overlap::Refuse)?, set.labels),
        };
        Ok(LabelImage { geometry: grid.clone(), voxels, labels, receipt: None })
    }
}

/// Both label maps; a DICOM SEG or RT Structure Set on the other's grid, two SEG on the one that their frames make.
fn read_pair(prediction: &Path, truth: &Path) -> Result<(LabelImage, LabelImage)> {
    let (ours, theirs) = (Labels::open(prediction)?, Labels::open(truth)?);
    let grid = match (&ours, &theirs) {
        (Labels::Map(map), _) | (_, Labels::Map(map)) => map.geometry.clone(),
        (Labels::Seg(a), Labels::Seg(b)) => common_grid(&[a, b])?,
        (Labels::Seg(seg), _) | (_, Labels::Seg(seg)) => common_grid(&[seg])?,
        (Labels::Structures(_), Labels::Structures(_)) => {
            return Err(Error::VolumeFormat(format!(
                "{} and {}: RT Structure Sets have no grid, expected one of them as DICOM SEG, .seg.nrrd, .nrrd or .nii.gz",
                prediction.display(),
                truth.display()
            )));
        }
    };
    let (mut ours, theirs) = (ours.on(&grid)?, theirs.on(&grid)?);
    renumber(&mut ours, &theirs).map_err(|e| e.at(prediction.display()))?;
    Ok((ours, theirs))
}

/// Labels of the same name get the same value: a DICOM SEG counts its segments, whatever their values were.
fn renumber(ours: &mut LabelImage, theirs: &LabelImage) -> Result<()> {
    let mut table: [u8; 256] = std::array::from_fn(|value| value as u8); // an index below 256
    for label in &mut ours.labels {
        let named = theirs.labels.iter().find(|other| other.name.trim() == label.name.trim());
        let value = named.map_or(label.value, |other| other.value);
        table[usize::from(label.value)] = value;
        label.value = value;
    }
    for (n, label) in ours.labels.iter().enumerate() {
        if let Some(other) = ours.labels[..n].iter().find(|other| other.value == label.value) {
            return Err(Error::VolumeFormat(format!(
                "labels {:?} and {:?} both have the value {} in the truth's numbers, expected the truth's names",
                other.name, label.name, label.value
            )));
        }
    }
    ours.voxels.iter_mut().for_each(|voxel| *voxel = table[usize::from(*voxel)]);
    Ok(())
}

/// Case, prediction, truth.
type Pair = (String, PathBuf, PathBuf);

fn pairs(prediction: &Path, truth: &Path) -> Result<Vec<Pair>> {
    match (prediction.is_dir(), truth.is_dir()) {
        (false, false) => Ok(vec![(stem(prediction), prediction.into(), truth.into())]),
        (true, true) => {
            let (mut ours, theirs) = (label_maps(prediction)?, label_maps(truth)?);
            let mut pairs = Vec::new();
            let mut alone = Vec::new();
            for (case, truth) in theirs {
                match ours.remove(&case) {
                    Some(prediction) => pairs.push((case, prediction, truth)),
                    None => alone.push(truth.display().to_string()),
                }
            }
            alone.extend(ours.values().map(|path| path.display().to_string()));
            if !alone.is_empty() {
                return Err(Error::Argument(format!(
                    "{} files have no partner of the same name: {}",
                    alone.len(),
                    alone.join(", ")
                )));
            }
            if pairs.is_empty() {
                return Err(Error::Argument(format!("{}: no label maps in the folder", truth.display())));
            }
            Ok(pairs)
        }
        _ => Err(Error::Argument(format!(
            "{} and {}: expected two label maps or two folders",
            prediction.display(),
            truth.display()
        ))),
    }
}

fn label_maps(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, "read", e))? {
        let path = entry.map_err(|e| Error::io(folder, "read", e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if (VolumeKind::of(&path).is_some() || name.ends_with(".dcm")) && !name.starts_with('.') {
            found.insert(stem(&path), path);
        }
    }
    Ok(found)
}

/// The name without its extensions.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let endings = [".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".rtstruct.dcm", ".dcm"];
    endings.into_iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name).to_owned()
}
