//! Every series below a folder, found in one pass that keeps no headers: for trees of any size.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::header::Header;
use super::rules::SeriesTraits;
use super::scan::{BATCH, headers, walk};
use crate::control::{Control, Progress, Stage};
use crate::error::{Error, Result};

/// What a tree holds.
#[derive(Debug, Default)]
pub struct Tree {
    /// By study, series number and UID.
    pub series: Vec<TreeSeries>,
    /// Files that the caller takes for volumes, by path.
    pub volumes: Vec<PathBuf>,
    /// DICOM files that name no series, and folders that cannot be listed.
    pub closed: Vec<Closed>,
    /// Files that are none of these.
    pub others: usize,
}

/// A place whose content cannot be told.
#[derive(Debug)]
pub struct Closed {
    pub path: PathBuf,
    pub error: Error,
}

/// One series: the first of its images speaks for it.
#[derive(Debug)]
pub struct TreeSeries {
    pub study_uid: String,
    pub series_uid: String,
    pub modality: String,
    pub description: String,
    pub body_part: String,
    /// Whether its images name a contrast agent.
    pub contrast: bool,
    pub number: Option<i32>,
    /// Readable files of the series.
    pub images: usize,
    /// Why no volume is to be expected of it: a segmentation, a report, a localizer.
    pub apart: Option<String>,
    /// Why its images cannot be read as slices, such as "multi-frame".
    pub refusal: Option<String>,
    /// What a file of it lacks, so that the series is incomplete.
    pub broken: Option<String>,
    /// Changes with the set of its images and their sizes, not with their order or place.
    pub fingerprint: u64,
    localizers: usize,
    rank: Rank,
    /// Names by folder: some ten bytes a file are all that is kept of it.
    files: Vec<(Arc<Path>, Vec<Box<OsStr>>)>,
}

/// How well a file speaks for its series; the least is best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Slice,
    Image,
    Other,
    Unread,
}

/// Walks `root` once: any nesting, any names; hidden files and DICOMDIR are passed over. Files that `is_volume` takes are
/// not opened. Of a series that `keep` (which gets its UID) declines nothing is kept.
pub fn read_tree(
    root: &Path,
    is_volume: impl Fn(&Path) -> bool,
    keep: impl Fn(&str) -> bool,
    control: &mut Control,
) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut series = Groups::default();
    let mut pending = Vec::with_capacity(BATCH);
    let mut done = 0;
    let mut files = walk(root)?;
    loop {
        let file = files.next();
        let last = file.is_none();
        match file {
            Some(Ok(path)) if is_volume(&path) => {
                done += 1;
                tree.volumes.push(path);
            }
            Some(Ok(path)) => pending.push(path),
            Some(Err(error @ Error::Io { .. })) => {
                let path = if let Error::Io { path, .. } = &error { path.clone() } else { root.to_path_buf() };
                tree.closed.push(Closed { path, error });
            }
            Some(Err(error)) => return Err(error),
            None => {}
        }
        if pending.len() == BATCH || last {
            for (path, header) in pending.iter().zip(headers(&pending)) {
                match header {
                    Ok(Some((header, bytes))) if keep(&header.series_uid) => {
                        series.of(&header.series_uid).add(header, bytes)
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => tree.others += 1,
                    Err(broken) => match broken.series_uid {
                        Some(uid) if keep(&uid) => series.of(&uid).add_broken(broken.error.to_string()),
                        Some(_) => {}
                        None => tree.closed.push(Closed { path: path.clone(), error: broken.error }),
                    },
                }
            }
            done += pending.len();
            pending.clear();
            // How many there are shows at the end.
            control.report(Progress::of(Stage::Read, done, 0))?;
        }
        if last {
            break;
        }
    }
    tree.series = series.0.into_values().map(TreeSeries::finished).collect();
    tree.series.sort_by(|a, b| (&a.study_uid, a.number, &a.series_uid).cmp(&(&b.study_uid, b.number, &b.series_uid)));
    Ok(tree)
}

/// Series by their UID.
#[derive(Default)]
struct Groups(BTreeMap<String, TreeSeries>);

impl Groups {
    fn of(&mut self, uid: &str) -> &mut TreeSeries {
        self.0.entry(uid.to_owned()).or_insert_with(|| TreeSeries {
            study_uid: String::new(),
            series_uid: uid.to_owned(),
            modality: String::new(),
            description: String::new(),
            body_part: String::new(),
            contrast: false,
            number: None,
            images: 0,
            apart: None,
            refusal: None,
            broken: None,
            fingerprint: 0,
            localizers: 0,
            rank: Rank::Unread,
            files: Vec::new(),
        })
    }
}

impl TreeSeries {
    /// Files, in the order of the walk.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.files.iter().flat_map(|(folder, names)| names.iter().map(|name| folder.join(&**name)))
    }

    /// Folders that hold files of the series, each once, in the order of the walk.
    pub fn folders(&self) -> Vec<&Path> {
        let mut folders: Vec<&Path> = Vec::new();
        for (folder, _) in &self.files {
            if !folders.contains(&&**folder) {
                folders.push(folder);
            }
        }
        folders
    }

    pub fn traits(&self) -> SeriesTraits<'_> {
        let TreeSeries { series_uid, modality, description, number, body_part, contrast, .. } = self;
        SeriesTraits { series_uid, modality, description, number: *number, body_part, contrast: *contrast }
    }

    fn add(&mut self, header: Header, bytes: u64) {
        self.images += 1;
        self.localizers += usize::from(header.is_localizer());
        let digest = Sha256::new().chain_update(&header.sop_instance_uid).chain_update(bytes.to_le_bytes()).finalize();
        let number = digest.iter().take(8).fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        self.fingerprint = self.fingerprint.wrapping_add(number);
        let (apart, refusal) = (header.no_image(), header.refusal());
        let rank = match (&apart, &refusal) {
            (None, None) => Rank::Slice,
            (None, Some(_)) => Rank::Image,
            (Some(_), _) => Rank::Other,
        };
        let Header { path, study_uid, modality, description, body_part, contrast, series_number, .. } = header;
        self.contrast |= contrast;
        if rank < self.rank {
            (self.study_uid, self.modality) = (study_uid, modality);
            (self.description, self.body_part) = (description, body_part);
            (self.number, self.apart, self.refusal, self.rank) = (series_number, apart, refusal, rank);
        }
        let (folder, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().map(OsString::from));
        let name = name.unwrap_or_default().into_boxed_os_str();
        match self.files.last_mut() {
            Some((last, names)) if **last == *folder => names.push(name),
            _ => self.files.push((folder.into(), vec![name])),
        }
    }

    fn add_broken(&mut self, reason: String) {
        self.broken.get_or_insert(reason);
    }

    fn finished(mut self) -> Self {
        if self.images > 0 && self.localizers == self.images {
            self.apart.get_or_insert("a localizer (ImageType), not a volume".into());
        }
        self.files.iter_mut().for_each(|(_, names)| names.shrink_to_fit());
        self.files.shrink_to_fit();
        self
    }
}
