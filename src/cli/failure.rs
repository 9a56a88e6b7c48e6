//! From an error to what the person gets: an exit code, a message and what to do next.

use std::fmt;
use std::io;

use transunet::Error;

pub const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  out of memory, or a fault of transunet
    2  the command line was not understood
    3  the input was refused (DICOM, volume file, choice of series)
    4  the model was refused
    5  the device is not available or failed
    6  an output cannot be written
    7  some series of a batch failed; its manifest says which and why
    8  voxels are not those that `transunet verify` makes again
  130  cancelled (Ctrl-C); no unfinished file is left";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Other = 1,
    Usage = 2,
    Input = 3,
    Model = 4,
    Device = 5,
    Output = 6,
    Series = 7,
    Differs = 8,
    Cancelled = 130,
}

/// Why the command stops.
#[derive(Debug)]
pub struct Failure {
    pub code: Code,
    message: String,
    hint: Option<String>,
    /// Name of the library's status for it.
    status: &'static str,
    /// Whatever is tried next will fail too: no device, no room on the disk.
    lasting: bool,
}

pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn new(code: Code, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let status = Error::Argument(String::new()).status_name();
        Failure { code, message: message.into(), hint: Some(hint.into()), status, lasting: false }
    }

    /// The failure with another hint, if it has any.
    pub fn with_hint(self, hint: &str) -> Self {
        Failure { hint: self.hint.map(|_| hint.into()), ..self }
    }

    pub fn message(&self) -> &str {
        self.message.trim_end()
    }

    pub fn status(&self) -> &'static str {
        self.status
    }

    /// Whether it ends a run of many, rather than one piece of its work.
    pub fn ends_run(&self) -> bool {
        self.lasting || self.code == Code::Cancelled
    }

    /// A bug: something panicked.
    pub fn panicked(what: &str) -> Self {
        Failure::from_error(Error::Internal(what.into()), Code::Other)
    }

    /// `part` is what the failing call was about, for errors that do not say it themselves.
    fn from_error(error: Error, part: Code) -> Self {
        let code = match &error {
            Error::Argument(_) | Error::Config(_) | Error::Io { .. } => part,
            Error::DicomParse(_)
            | Error::DicomUnsupported(_)
            | Error::DicomGeometry(_)
            | Error::SeriesChoice(_)
            | Error::VolumeFormat(_) => Code::Input,
            Error::WeightsFormat(_) | Error::WeightsMismatch(_) => Code::Model,
            Error::DeviceUnavailable(_) | Error::DeviceLost(_) => Code::Device,
            Error::Cancelled => Code::Cancelled,
            Error::OutOfMemory(_) | Error::Diverged(_) | Error::Internal(_) => Code::Other,
        };
        let lasting = match &error {
            Error::DeviceUnavailable(_) | Error::DeviceLost(_) => true,
            Error::Io { source, .. } => code == Code::Output && lasting(source.kind()),
            _ => false,
        };
        let hint = hint(&error, code).map(Into::into);
        Failure { code, hint, message: error.to_string(), status: error.status_name(), lasting }
    }
}

/// What stands in the way of every output.
fn lasting(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem)
}

fn hint(error: &Error, code: Code) -> Option<&'static str> {
    Some(match error {
        Error::Cancelled => return None,
        Error::SeriesChoice(_) => {
            "choose one with --series and its UID, its number or rules such as modality=CT,description=TEXT; `transunet info INPUT` lists them"
        }
        Error::DicomGeometry(_) => "`transunet info INPUT` says what each series lacks; pass the files of one volume",
        Error::DicomUnsupported(_) => "`transunet info INPUT` lists what is there; choose another series with --series",
        Error::DicomParse(_) => "check that the files are DICOM images and were copied completely",
        Error::VolumeFormat(_) => "check that the file is complete; 3D Slicer can write it anew as .nrrd or .nii.gz",
        Error::WeightsFormat(_) => {
            "expected a bundle, .pth, .npz or .safetensors; check that the file was copied completely"
        }
        Error::WeightsMismatch(_) => {
            "`transunet info FILE` shows what the file holds; NAME.yaml beside it can say its sizes"
        }
        Error::DeviceUnavailable(_) => "`transunet devices` says what is usable here; `--device cpu` always works",
        Error::DeviceLost(_) => "run the command again; `--device cpu` avoids the device",
        Error::OutOfMemory(_) => {
            "fewer slices at once need less memory: `--batch 1`, in training `batch: 1` of the configuration"
        }
        Error::Config(_) => "correct the YAML document at the place that the message names",
        Error::Diverged(_) => "after correcting the configuration, train into another folder",
        Error::Internal(_) => "this is a fault of transunet; please report it with the command line and this message",
        Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
            "make room on the disk, then run it again"
        }
        Error::Argument(_) | Error::Io { .. } => match code {
            Code::Input => "INPUT is a DICOM folder, DICOM files, or one .nii, .nii.gz or .nrrd file",
            Code::Model => {
                "--model takes a bundle, .pth, .npz or .safetensors file, or a name that `transunet models` lists"
            }
            Code::Output => "choose a folder that exists and that you may write to",
            _ => "`transunet help` shows the commands and examples",
        },
    })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = console::style("error:").red().bold().for_stderr();
        write!(f, "{error} {}", self.message())?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {} {hint}", console::style("hint:").cyan().for_stderr()),
            None => Ok(()),
        }
    }
}

/// Says what a call of the library was about.
pub trait About<T> {
    fn about(self, part: Code) -> Outcome<T>;
}

impl<T> About<T> for transunet::Result<T> {
    fn about(self, part: Code) -> Outcome<T> {
        self.map_err(|error| Failure::from_error(error, part))
    }
}
