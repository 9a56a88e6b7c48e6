//! Every failure of the library: what went wrong, where, and what was expected instead.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, Error>;

/// One variant per C status (see `ffi::status_of`); the text is for people.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A caller passed something unusable: null, a bad size, an unknown option.
    #[error("{0}")]
    Argument(String),
    /// A YAML document was refused; the text names line and key.
    #[error("{0}")]
    Config(String),
    /// The file system refused.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        path: PathBuf,
        /// Verb phrase that completes "cannot ...", such as "open" or "write".
        action: &'static str,
        source: io::Error,
    },
    /// Bytes that should be DICOM and are not.
    #[error("{0}")]
    DicomParse(String),
    /// Valid DICOM of a kind that is not read: transfer syntax, SOP class, photometric interpretation.
    #[error("{0}")]
    DicomUnsupported(String),
    /// A series whose slices do not form one regular volume.
    #[error("{0}")]
    DicomGeometry(String),
    /// Several series fit and none was chosen; the text lists them.
    #[error("{0}")]
    SeriesChoice(String),
    /// A NRRD or NIfTI file that cannot be read as a volume.
    #[error("{0}")]
    VolumeFormat(String),
    /// A weights file that is truncated, corrupt or of an unknown format.
    #[error("{0}")]
    WeightsFormat(String),
    /// Missing, unexpected or wrongly shaped tensors; the text lists all of them.
    #[error("{0}")]
    WeightsMismatch(String),
    /// The requested device is not there.
    #[error("{0}")]
    DeviceUnavailable(String),
    /// The device failed while in use; only a new process may recover.
    #[error("{0}")]
    DeviceLost(String),
    /// Memory ran out, or would have.
    #[error("{0}")]
    OutOfMemory(String),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// Training produced a loss that is not finite.
    #[error("{0}")]
    Diverged(String),
    /// A bug in this library.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// An I/O error of `action` (completes "cannot ...") on `path`.
    pub fn io(path: impl AsRef<Path>, action: &'static str, source: io::Error) -> Self {
        Error::Io { path: path.as_ref().to_path_buf(), action, source }
    }

    /// Says where the error happened: `"slice 41"` turns `message` into `slice 41: message`.
    /// Leaves errors that already name their place (I/O) or need none (cancelled) as they are.
    #[must_use]
    pub fn at(mut self, place: impl Display) -> Self {
        if let Some(text) = self.text_mut() {
            *text = format!("{place}: {text}");
        }
        self
    }

    fn text_mut(&mut self) -> Option<&mut String> {
        match self {
            Error::Argument(text)
            | Error::Config(text)
            | Error::DicomParse(text)
            | Error::DicomUnsupported(text)
            | Error::DicomGeometry(text)
            | Error::SeriesChoice(text)
            | Error::VolumeFormat(text)
            | Error::WeightsFormat(text)
            | Error::WeightsMismatch(text)
            | Error::DeviceUnavailable(text)
            | Error::DeviceLost(text)
            | Error::OutOfMemory(text)
            | Error::Diverged(text)
            | Error::Internal(text) => Some(text),
            Error::Io { .. } | Error::Cancelled => None,
        }
    }
}
