//! What the library is: versions and the names of statuses.

use std::ffi::CStr;

use libc::c_char;

use crate::error::Error;

/// Generation << 16 | revision. A library serves every program built for the same generation and the same or a lower
/// revision: check `transunet_abi_version() >> 16` and `transunet_abi_version() >= TRANSUNET_ABI_VERSION` at start.
pub const TRANSUNET_ABI_VERSION: u32 = 0x0001_0000;

/// Outcome of a call. Numbers are never reused; treat one that you do not know as a failure.
pub type transunet_status = i32;

/// Success.
pub const TRANSUNET_STATUS_OK: transunet_status = 0;
/// NULL, a bad size, bad UTF-8, an unknown option: the message names the parameter.
pub const TRANSUNET_STATUS_INVALID_ARGUMENT: transunet_status = 100;
/// A description (YAML) was refused: the message names line and key.
pub const TRANSUNET_STATUS_CONFIG: transunet_status = 110;
/// The file system refused.
pub const TRANSUNET_STATUS_IO: transunet_status = 200;
/// Bytes that should be DICOM and are not.
pub const TRANSUNET_STATUS_DICOM_PARSE: transunet_status = 210;
/// Valid DICOM of a kind that is not read: transfer syntax, SOP class, photometric interpretation.
pub const TRANSUNET_STATUS_DICOM_UNSUPPORTED: transunet_status = 211;
/// Slices that form no regular volume: gaps, duplicates, tilt, mixed orientation.
pub const TRANSUNET_STATUS_DICOM_GEOMETRY: transunet_status = 212;
/// Several series fit and none was chosen: the message lists them.
pub const TRANSUNET_STATUS_SERIES_CHOICE: transunet_status = 213;
/// A NRRD or NIfTI file that cannot be read as a volume.
pub const TRANSUNET_STATUS_VOLUME_FORMAT: transunet_status = 220;
/// A weights file that is truncated, corrupt or of an unknown format.
pub const TRANSUNET_STATUS_WEIGHTS_FORMAT: transunet_status = 300;
/// Missing, unexpected or wrongly shaped tensors: the message lists them.
pub const TRANSUNET_STATUS_WEIGHTS_MISMATCH: transunet_status = 301;
/// The requested device is not there or cannot be used: the message says what it lacks.
pub const TRANSUNET_STATUS_DEVICE_UNAVAILABLE: transunet_status = 400;
/// The device failed while in use. Sticky for the runtime; only a new process may recover.
pub const TRANSUNET_STATUS_DEVICE_LOST: transunet_status = 401;
/// Memory ran out, or would have.
pub const TRANSUNET_STATUS_OUT_OF_MEMORY: transunet_status = 402;
/// The caller asked to stop; there is no output.
pub const TRANSUNET_STATUS_CANCELLED: transunet_status = 500;
/// Training produced a loss that is not finite.
pub const TRANSUNET_STATUS_DIVERGED: transunet_status = 510;
/// A bug in the library. The call failed; the process and other handles are sound.
pub const TRANSUNET_STATUS_INTERNAL: transunet_status = 900;

/// The status of an error; a new variant does not compile without one.
pub(super) fn status_of(error: &Error) -> transunet_status {
    match error {
        Error::Argument(_) => TRANSUNET_STATUS_INVALID_ARGUMENT,
        Error::Config(_) => TRANSUNET_STATUS_CONFIG,
        Error::Io { .. } => TRANSUNET_STATUS_IO,
        Error::DicomParse(_) => TRANSUNET_STATUS_DICOM_PARSE,
        Error::DicomUnsupported(_) => TRANSUNET_STATUS_DICOM_UNSUPPORTED,
        Error::DicomGeometry(_) => TRANSUNET_STATUS_DICOM_GEOMETRY,
        Error::SeriesChoice(_) => TRANSUNET_STATUS_SERIES_CHOICE,
        Error::VolumeFormat(_) => TRANSUNET_STATUS_VOLUME_FORMAT,
        Error::WeightsFormat(_) => TRANSUNET_STATUS_WEIGHTS_FORMAT,
        Error::WeightsMismatch(_) => TRANSUNET_STATUS_WEIGHTS_MISMATCH,
        Error::DeviceUnavailable(_) => TRANSUNET_STATUS_DEVICE_UNAVAILABLE,
        Error::DeviceLost(_) => TRANSUNET_STATUS_DEVICE_LOST,
        Error::OutOfMemory(_) => TRANSUNET_STATUS_OUT_OF_MEMORY,
        Error::Cancelled => TRANSUNET_STATUS_CANCELLED,
        Error::Diverged(_) => TRANSUNET_STATUS_DIVERGED,
        Error::Internal(_) => TRANSUNET_STATUS_INTERNAL,
    }
}

/// The ABI version of the loaded library; compare with TRANSUNET_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn transunet_abi_version() -> u32 {
    TRANSUNET_ABI_VERSION
}

/// The version of the loaded library, such as "0.1.0". Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn transunet_version_string() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}

/// The name of a status as the constant has it, without TRANSUNET_STATUS_: "CANCELLED". "UNKNOWN" for a number that
/// this library does not have. Valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn transunet_status_name(status: transunet_status) -> *const c_char {
    name_of(status).as_ptr()
}

fn name_of(status: transunet_status) -> &'static CStr {
    match status {
        TRANSUNET_STATUS_OK => c"OK",
        TRANSUNET_STATUS_INVALID_ARGUMENT => c"INVALID_ARGUMENT",
        TRANSUNET_STATUS_CONFIG => c"CONFIG",
        TRANSUNET_STATUS_IO => c"IO",
        TRANSUNET_STATUS_DICOM_PARSE => c"DICOM_PARSE",
        TRANSUNET_STATUS_DICOM_UNSUPPORTED => c"DICOM_UNSUPPORTED",
        TRANSUNET_STATUS_DICOM_GEOMETRY => c"DICOM_GEOMETRY",
        TRANSUNET_STATUS_SERIES_CHOICE => c"SERIES_CHOICE",
        TRANSUNET_STATUS_VOLUME_FORMAT => c"VOLUME_FORMAT",
        TRANSUNET_STATUS_WEIGHTS_FORMAT => c"WEIGHTS_FORMAT",
        TRANSUNET_STATUS_WEIGHTS_MISMATCH => c"WEIGHTS_MISMATCH",
        TRANSUNET_STATUS_DEVICE_UNAVAILABLE => c"DEVICE_UNAVAILABLE",
        TRANSUNET_STATUS_DEVICE_LOST => c"DEVICE_LOST",
        TRANSUNET_STATUS_OUT_OF_MEMORY => c"OUT_OF_MEMORY",
        TRANSUNET_STATUS_CANCELLED => c"CANCELLED",
        TRANSUNET_STATUS_DIVERGED => c"DIVERGED",
        TRANSUNET_STATUS_INTERNAL => c"INTERNAL",
        _ => c"UNKNOWN",
    }
}

impl Error {
    /// The name of the error's status, as programs know it: "DICOM_GEOMETRY".
    pub fn status_name(&self) -> &'static str {
        name_of(status_of(self)).to_str().unwrap_or("UNKNOWN")
    }
}
