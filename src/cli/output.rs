//! What is written: checked before any work begins, written at its end.

use std::path::{Path, PathBuf};

use transunet::Error;
use transunet::control::{Control, Progress, Stage};
use transunet::dicom::{SegEncoding, write_seg, write_structures};
use transunet::formats::{OutputKind, check_grid, write_labels};
use transunet::labelmap::Labelmap;
use transunet::picture::{Style, write_contact_sheet};
use transunet::volume::Volume;

use super::failure::{About, Code, Failure, Outcome};
use super::input::Input;
use super::seg::SegForm;

#[derive(clap::Args, Default)]
pub struct Output {
    #[arg(long = "output", short = 'o', required = true, value_name = "FILE")]
    pub labels: Vec<PathBuf>,
    #[arg(long, value_name = "FILE.nii.gz")]
    pub probabilities: Option<PathBuf>,
    #[arg(long, value_name = "FILE.png")]
    pub picture: Option<PathBuf>,
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,
    #[command(flatten)]
    pub seg: SegForm,
    #[arg(long)]
    pub deterministic: bool,
    /// The folder that the files will be in, where they are written elsewhere first.
    #[arg(skip)]
    pub destination: Option<PathBuf>,
}

impl Output {
    /// All files that will be written.
    fn paths(&self) -> Vec<&Path> {
        let others = [&self.probabilities, &self.picture, &self.report];
        self.labels.iter().chain(others.into_iter().flatten()).map(PathBuf::as_path).collect()
    }

    /// Where all files will be in the end.
    pub fn places(&self) -> Vec<PathBuf> {
        let place = |path: &Path| match (&self.destination, path.file_name()) {
            (Some(folder), Some(name)) => folder.join(name),
            _ => path.to_path_buf(),
        };
        self.paths().into_iter().map(place).collect()
    }

    /// Refuses now what could not be written later.
    pub fn check(&self, input: &Input, model: &Path) -> Outcome {
        for path in &self.labels {
            let kind = OutputKind::of(path).about(Code::Usage)?;
            if let (true, Some(volume)) = (kind.refers_to_dicom(), input.volume_file()) {
                return Err(Failure::new(
                    Code::Usage,
                    format!(
                        "{}: a DICOM object refers to DICOM images, and {} is none",
                        path.display(),
                        volume.display()
                    ),
                    "name the output .seg.nrrd or .nii.gz, or segment the DICOM series itself",
                ));
            }
        }
        self.seg.check(self.writes_seg())?;
        let named = |path: &Option<PathBuf>, endings: &[&str]| match path {
            Some(path) if !endings.iter().any(|ending| path.to_string_lossy().to_lowercase().ends_with(ending)) => {
                let text = format!("{}: expected a name that ends in {}", path.display(), endings.join(" or "));
                Err(Failure::new(Code::Usage, text, "`transunet segment --help` lists what can be written"))
            }
            _ => Ok(()),
        };
        named(&self.probabilities, &[".nii.gz", ".nii"])?;
        named(&self.picture, &[".png"])?;
        named(&self.report, &[".json"])?;

        let sources: Vec<_> = input.paths().iter().map(PathBuf::as_path).chain([model]).filter_map(real).collect();
        let mut targets = Vec::new();
        for path in self.paths() {
            let target = place(path)?;
            let conflict = if sources.contains(&target) {
                "it is also read"
            } else if targets.contains(&target) {
                "two outputs have this name"
            } else {
                targets.push(target);
                continue;
            };
            return Err(Failure::new(Code::Usage, format!("{}: {conflict}", path.display()), "choose another name"));
        }
        Ok(())
    }

    /// The DICOM files, where they will be in the end.
    pub fn dicom(&self) -> Vec<PathBuf> {
        let is_dicom = |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("dcm"));
        self.places().into_iter().filter(is_dicom).collect()
    }

    fn writes_seg(&self) -> bool {
        self.labels.iter().any(|path| OutputKind::of(path).is_ok_and(|kind| kind == OutputKind::DicomSeg))
    }

    /// Whether a DICOM SEG will tell how likely each label is.
    pub fn needs_probabilities(&self) -> bool {
        self.seg.encoding() == SegEncoding::Fractional && self.writes_seg()
    }

    /// Refuses a volume whose grid some of the files could not hold.
    pub fn check_grid(&self, volume: &Volume) -> Outcome {
        for path in self.labels.iter().chain(&self.probabilities) {
            if !OutputKind::of(path).about(Code::Usage)?.refers_to_dicom() {
                check_grid(volume.geometry(), path).about(Code::Input)?;
            }
        }
        Ok(())
    }

    /// Writes all but probabilities and report.
    pub fn write(&self, labelmap: &Labelmap, control: &mut Control) -> Outcome {
        let seg = self.seg.options(self.deterministic);
        let total = self.labels.len() + usize::from(self.picture.is_some());
        for (done, path) in self.labels.iter().enumerate() {
            control.report(Progress::of(Stage::Write, done, total)).about(Code::Output)?;
            match OutputKind::of(path).about(Code::Usage)? {
                OutputKind::DicomSeg => write_seg(labelmap, path, &seg, control),
                OutputKind::RtStruct => write_structures(labelmap, path, &seg, control),
                OutputKind::SegNrrd | OutputKind::Nrrd | OutputKind::Nifti => write_labels(labelmap, path),
            }
            .about(Code::Output)?;
        }
        if let Some(path) = &self.picture {
            control.report(Progress::of(Stage::Write, total - 1, total)).about(Code::Output)?;
            write_contact_sheet(labelmap, path, &Style::default()).about(Code::Output)?;
        }
        control.report(Progress::of(Stage::Write, total, total)).about(Code::Output)
    }
}

fn real(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// The full path that `path` will have; its folder must be there and take files.
fn place(path: &Path) -> Outcome<PathBuf> {
    let refuse = |source| Error::io(path, "write", source);
    if path.is_dir() {
        return Err(refuse(std::io::ErrorKind::IsADirectory.into())).about(Code::Output);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(refuse).about(Code::Output)?;
    tempfile::tempfile_in(&folder).map_err(refuse).about(Code::Output)?;
    Ok(folder.join(path.file_name().unwrap_or_default()))
}
