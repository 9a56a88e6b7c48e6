//! Finds DICOM files, reads their headers and groups them by series.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use walkdir::{DirEntry, WalkDir};

use super::aside::{self, Aside};
use super::choice::{self, Chosen, SeriesChoice};
use super::header::{Broken, Header};
use super::rules::SeriesTraits;
use super::series::complete;
use super::slice::Slice;
use super::stack::{self, Stack};
use super::{directory, mosaic, multiframe};
use crate::control::{Control, Progress, Stage};
use crate::error::{Error, Result};

/// Headers between two progress events; enough to keep all cores busy.
pub(super) const BATCH: usize = 64;

/// What a folder or a list of files holds.
#[derive(Debug)]
pub struct Scan {
    /// By study, series number and UID.
    pub series: Vec<SeriesSummary>,
    /// DICOM files that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Files that are not DICOM.
    pub skipped: usize,
}

/// One series as its headers describe it.
#[derive(Debug)]
pub struct SeriesSummary {
    pub study_uid: String,
    pub series_uid: String,
    pub modality: String,
    /// Empty if there is none.
    pub patient_id: String,
    pub description: String,
    pub body_part: String,
    /// Whether its images name a contrast agent.
    pub contrast: bool,
    pub number: Option<i32>,
    /// Files of the series.
    pub images: usize,
    /// Of the first image, 0 if it has none.
    pub rows: usize,
    pub columns: usize,
    /// Why no image of it can be read as a slice, such as "a segmentation"; `None` for a series to choose from.
    pub refusal: Option<String>,
    pub(super) headers: Vec<Arc<Header>>,
}

impl SeriesSummary {
    /// SOP Instance UID and file of each image.
    pub fn images(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.headers.iter().map(|header| (header.sop_instance_uid.as_str(), header.path.as_path()))
    }
}

/// A DICOM file that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    pub path: PathBuf,
    pub reason: String,
    /// The series that it belongs to, if that much was readable.
    pub series_uid: Option<String>,
    /// Given by the caller or named by a DICOMDIR, not found in a folder.
    pub(super) named: bool,
}

/// Reads the headers of `paths`: folders (any nesting, any names; hidden files and DICOMDIR are skipped) and files. A
/// DICOMDIR given by its own path stands for the images that it names.
pub fn scan<P: AsRef<Path>>(paths: &[P], control: &mut Control) -> Result<Scan> {
    let mut files = Vec::new();
    // Files that must be readable: those given by the caller or named by a directory, with the series it puts them in.
    let mut named: BTreeMap<PathBuf, Option<String>> =
        paths.iter().map(|path| (path.as_ref().to_path_buf(), None)).collect();
    for path in paths {
        match directory_files(path.as_ref())? {
            Some(listed) => {
                files.extend(listed.iter().map(|one| one.path.clone()));
                named.extend(listed.into_iter().map(|one| (one.path, one.series_uid)));
            }
            None => {
                for file in walk(path.as_ref())? {
                    files.push(file?);
                }
            }
        }
    }
    let mut groups: BTreeMap<String, Vec<Arc<Header>>> = BTreeMap::new();
    let mut scan = Scan { series: Vec::new(), unreadable: Vec::new(), skipped: 0 };
    let mut in_order = true;
    control.report(Progress::of(Stage::Read, 0, files.len()))?;
    for (batch, chunk) in files.chunks(BATCH).enumerate() {
        for (path, header) in chunk.iter().zip(headers(chunk)) {
            match header {
                Ok(Some((header, _))) => {
                    let said = named.get(path).and_then(|uid| uid.as_ref());
                    in_order &= said.is_none_or(|uid| *uid == header.series_uid);
                    groups.entry(header.series_uid.clone()).or_default().push(header.into());
                }
                Ok(None) => scan.skipped += 1,
                Err(broken) => {
                    log::warn!("a DICOM file cannot be read");
                    log::debug!("{}", broken.error);
                    let (path, reason, named) = (path.clone(), broken.error.to_string(), named.contains_key(path));
                    scan.unreadable.push(Unreadable { path, reason, series_uid: broken.series_uid, named });
                }
            }
        }
        control.report(Progress::of(Stage::Read, batch * BATCH + chunk.len(), files.len()))?;
    }
    // A directory in whose order all other files are found tells the series of a missing one, which alone is incomplete then.
    for missing in scan.unreadable.iter_mut().filter(|file| in_order && file.named && file.series_uid.is_none()) {
        missing.series_uid = named.remove(&missing.path).flatten();
        missing.named = missing.series_uid.is_none();
    }
    scan.series = groups.into_values().filter_map(SeriesSummary::of).collect();
    scan.series.sort_by(|a, b| (&a.study_uid, a.number, &a.series_uid).cmp(&(&b.study_uid, b.number, &b.series_uid)));
    if let ([file], true) = (files.as_slice(), scan.series.is_empty()) {
        return Err(match scan.unreadable.pop() {
            Some(unreadable) => Error::DicomParse(unreadable.reason),
            None => Error::DicomParse(format!("{}: not a DICOM file", file.display())),
        });
    }
    Ok(scan)
}

impl Scan {
    /// Refuses a scan that found no series, with what it found instead.
    pub fn any(&self) -> Result<()> {
        if self.series.is_empty() { Err(choice::nothing(self)) } else { Ok(()) }
    }

    /// The one series that `choice` means, and its volume; otherwise the message lists what there is to choose from.
    pub(super) fn choose(&self, choice: &SeriesChoice) -> Result<Chosen<'_>> {
        let (chosen, volume) = choice::choose(self, choice)?;
        for broken in &self.unreadable {
            if broken.named || broken.series_uid.as_ref() == Some(&chosen.series_uid) {
                let text = format!("series {} is incomplete: {}", chosen.series_uid, broken.reason);
                return Err(Error::DicomParse(text));
            }
        }
        Ok((chosen, volume))
    }
}

impl SeriesSummary {
    /// Files, in the order of their names.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.headers.iter().map(|header| header.path.as_path())
    }

    /// Files of the series that are DICOM SEG objects.
    pub fn segmentations(&self) -> impl Iterator<Item = &Path> {
        self.headers.iter().filter(|header| header.is_segmentation()).map(|header| header.path.as_path())
    }

    /// Files of the series that are RT Structure Sets.
    pub fn structures(&self) -> impl Iterator<Item = &Path> {
        self.headers.iter().filter(|header| header.is_structure_set()).map(|header| header.path.as_path())
    }

    /// Whether an image of the series lies in another frame of reference than `uid`; not one that names none.
    pub fn is_outside(&self, uid: &str) -> bool {
        self.headers.iter().map(|header| &header.frame_of_reference_uid).any(|own| !own.is_empty() && own != uid)
    }

    /// Whether all images of the series lie in frame of reference `uid`.
    pub fn is_within(&self, uid: &str) -> bool {
        self.headers.iter().all(|header| header.frame_of_reference_uid == uid)
    }

    /// Whether an image of the series has this SOP Instance UID.
    pub fn has_instance(&self, uid: &str) -> bool {
        self.headers.iter().any(|header| header.sop_instance_uid == uid)
    }

    pub fn traits(&self) -> SeriesTraits<'_> {
        let SeriesSummary { series_uid, modality, description, number, body_part, contrast, .. } = self;
        SeriesTraits { series_uid, modality, description, number: *number, body_part, contrast: *contrast }
    }

    /// The volumes of the series, and the images that are no part of any.
    pub(super) fn stacks(&self) -> Result<(Vec<Stack>, Vec<Aside>)> {
        let (headers, aside) = aside::put(&self.headers)?;
        let mut slices = Vec::with_capacity(headers.len());
        for header in &headers {
            if header.is_multi_frame() {
                slices.extend(multiframe::slices(header)?);
            } else if let Some(mosaic) = &header.mosaic {
                slices.extend(mosaic::slices(header, mosaic)?);
            } else {
                slices.push(Slice::of(header));
            }
        }
        complete(&slices)?;
        Ok((stack::divide(slices), aside))
    }

    fn of(headers: Vec<Arc<Header>>) -> Option<Self> {
        let first = headers.iter().find(|header| header.refusal().is_none()).or(headers.first())?;
        let (rows, columns) = first.format.as_ref().map_or((0, 0), |format| (format.rows, format.columns));
        Some(SeriesSummary {
            study_uid: first.study_uid.clone(),
            series_uid: first.series_uid.clone(),
            modality: first.modality.clone(),
            patient_id: first.patient_id.clone(),
            description: first.description.clone(),
            body_part: first.body_part.clone(),
            contrast: headers.iter().any(|header| header.contrast),
            number: first.series_number,
            images: headers.len(),
            rows,
            columns,
            refusal: first.refusal(),
            headers,
        })
    }
}

/// What a DICOMDIR that is given by its path names.
fn directory_files(path: &Path) -> Result<Option<Vec<directory::Listed>>> {
    let metadata = std::fs::metadata(path).map_err(|source| Error::io(path, "open", source))?;
    if metadata.is_file() { directory::files(path) } else { Ok(None) }
}

/// The header of each of `files` and the bytes of the file; `None`: not DICOM.
pub(super) fn headers(files: &[PathBuf]) -> Vec<std::result::Result<Option<(Header, u64)>, Broken>> {
    let read = |path: &PathBuf| Ok(Header::read(path)?.map(|(header, file)| (header, file.file_size)));
    files.par_iter().map(read).collect()
}

/// The files at `path`, in the order of their names, listed as the walk goes on.
pub(super) fn walk(path: &Path) -> Result<impl Iterator<Item = Result<PathBuf>>> {
    // Fails for a path that is not there; the walk itself passes over what has gone since.
    std::fs::metadata(path).map_err(|source| Error::io(path, "open", source))?;
    let root = path.to_path_buf();
    let visible = |entry: &DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(name.starts_with('.') || name.eq_ignore_ascii_case("DICOMDIR"))
    };
    let walk = WalkDir::new(path).follow_links(true).sort_by_file_name().into_iter().filter_entry(visible);
    Ok(walk.filter_map(move |entry| match entry {
        // A named file of any kind is tried; in a folder, only regular ones.
        Ok(entry) if entry.file_type().is_file() || (entry.depth() == 0 && !entry.file_type().is_dir()) => {
            Some(Ok(entry.into_path()))
        }
        Ok(_) => None,
        // A link that leads nowhere or in a circle leaves nothing to read; a folder that is closed to us may hold slices.
        Err(error) if error.loop_ancestor().is_some() => None,
        Err(error) if error.io_error().is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound) => None,
        Err(error) => {
            let place = error.path().unwrap_or(&root).to_path_buf();
            let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other("cannot be listed"));
            Some(Err(Error::io(place, "read", source)))
        }
    }))
}
