//! The runtime: which device computes, and where diagnostics go.

use std::ffi::CString;
use std::ptr;

use libc::{c_char, c_void};
use log::{Level, LevelFilter};
use serde_json::json;

use crate::device::{self, Device, DeviceChoices, Devices};
use crate::error::{Error, Result};
use crate::ffi::error::transunet_error;
use crate::ffi::guard::{create, release};
use crate::ffi::library::{TRANSUNET_ABI_VERSION, transunet_status};
use crate::ffi::record::{Record, read_or_default};
use crate::ffi::text::{c_text, json_text, optional_text_in, path_in, transunet_text};
use crate::log_sink::Subscription;

/// How much the library says; each level includes those before it.
pub type transunet_log_level = i32;

/// Warnings and errors.
pub const TRANSUNET_LOG_DEFAULT: transunet_log_level = 0;
pub const TRANSUNET_LOG_ERROR: transunet_log_level = 1;
pub const TRANSUNET_LOG_WARN: transunet_log_level = 2;
pub const TRANSUNET_LOG_INFO: transunet_log_level = 3;
/// May name patients' files and identifiers.
pub const TRANSUNET_LOG_DEBUG: transunet_log_level = 4;
/// May name patients' files and identifiers.
pub const TRANSUNET_LOG_TRACE: transunet_log_level = 5;

/// Receives one line of diagnostics: level (TRANSUNET_LOG_ERROR to _TRACE), where it comes from, what it says; both
/// texts are valid during the call only. Called from any thread, one call at a time for each runtime. Must return: no
/// C++ exception, no longjmp. Lines that arise inside the callback itself are dropped.
pub type transunet_log_fn = Option<
    unsafe extern "C-unwind" fn(
        level: transunet_log_level,
        target: *const c_char,
        message: *const c_char,
        user_data: *mut c_void,
    ),
>;

/// Start from TRANSUNET_RUNTIME_OPTIONS_INIT. Zero in a field means its default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct transunet_runtime_options {
    pub struct_size: usize,
    /// Where to compute: "auto" (or NULL), "cpu", "cuda:0", or several GPUs that share the work, "cuda:0,cuda:1". "auto" is
    /// CUDA if usable, else the CPU; transunet_runtime_describe and the log say which and why. What is named fails with
    /// TRANSUNET_STATUS_DEVICE_UNAVAILABLE rather than falls back. Opening a GPU loads NVRTC and, where CUDA_PATH does not
    /// name the CUDA headers, sets it for the process (docs/gpu.md).
    pub device: *const c_char,
    /// Folder where a GPU's compiled kernels and their tuning are kept for later processes, made if need be; NULL =
    /// transunet/kernels in the user's folder for caches. The first runtime that says one decides for the process.
    pub kernel_cache: *const c_char,
    pub log_level: transunet_log_level,
    /// Threads that compute on the CPU; 0 = one for each core. The first runtime decides for the process;
    /// transunet_runtime_describe says what holds.
    pub cpu_threads: u32,
    /// May be NULL.
    pub on_log: transunet_log_fn,
    /// Handed to on_log as it is.
    pub log_user_data: *mut c_void,
}

// SAFETY: repr(C), struct_size first, zeros are the defaults.
unsafe impl Record for transunet_runtime_options {
    const NAME: &'static str = "transunet_runtime_options";
}

/// Open devices and a log callback.
pub struct transunet_runtime {
    pub(super) devices: Devices,
    description: CString,
    _log: Option<Subscription>,
}

/// All devices that this library could use on this machine, as JSON:
/// [{"id":"cpu","name":...,"driver":null,"memory_bytes":...,"unusable":null}, {"id":"cuda:0",...,"unusable":"why"}].
/// Free `*out` with transunet_text_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_device_list(
    out: *mut *mut transunet_text,
    error: *mut *mut transunet_error,
) -> transunet_status {
    create(error, out, || transunet_text::json(&Device::list()))
}

/// Opens the devices. `options` may be NULL for the defaults. Free `*out` with transunet_runtime_free.
/// Statuses: INVALID_ARGUMENT, IO, DEVICE_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_runtime_create(
    options: *const transunet_runtime_options,
    out: *mut *mut transunet_runtime,
    error: *mut *mut transunet_error,
) -> transunet_status {
    create(error, out, || {
        let options = read_or_default(options, "options")?;
        let choices =
            optional_text_in(options.device, "options->device")?.map_or(Ok(DeviceChoices::default()), str::parse);
        let choices = choices.map_err(|reason| Error::Argument(format!("options->device: {reason}")))?;
        if options.cpu_threads > MAX_THREADS {
            return Err(Error::Argument(format!(
                "options->cpu_threads is {}, expected at most {MAX_THREADS}",
                options.cpu_threads
            )));
        }
        let log = subscribe(&options)?;
        if !options.kernel_cache.is_null() {
            device::keep_kernels_in(path_in(options.kernel_cache, "options->kernel_cache")?)?;
        }
        let threads = device::cpu_threads(options.cpu_threads as usize);
        let devices = Devices::open(&choices)?;
        let description = json_text(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "abi_version": TRANSUNET_ABI_VERSION,
            "devices": devices.infos(),
            "fallback": devices.fallback(),
            "cpu_threads": threads,
            "kernel_cache": device::kernel_cache(),
        }))?;
        Ok(transunet_runtime { devices, description, _log: log })
    })
}

/// The runtime as JSON, borrowed: {"version","abi_version","devices":[{"id","name","driver","memory_bytes","unusable"}],
/// "fallback": why "auto" did not take a GPU or null,"cpu_threads","kernel_cache"}. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_runtime_describe(runtime: *const transunet_runtime) -> *const c_char {
    runtime.as_ref().map_or(ptr::null(), |runtime| runtime.description.as_ptr())
}

/// Frees a runtime; models loaded with it live on. Waits for a running on_log, which is never called again (unless
/// called from within on_log itself). NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn transunet_runtime_free(runtime: *mut transunet_runtime) {
    release(runtime);
}

fn subscribe(options: &transunet_runtime_options) -> Result<Option<Subscription>> {
    let level = match options.log_level {
        TRANSUNET_LOG_DEFAULT | TRANSUNET_LOG_WARN => LevelFilter::Warn,
        TRANSUNET_LOG_ERROR => LevelFilter::Error,
        TRANSUNET_LOG_INFO => LevelFilter::Info,
        TRANSUNET_LOG_DEBUG => LevelFilter::Debug,
        TRANSUNET_LOG_TRACE => LevelFilter::Trace,
        level => return Err(Error::Argument(format!("options->log_level is {level}, expected 0 to 5"))),
    };
    let Some(on_log) = options.on_log else { return Ok(None) };
    let listener = Listener { on_log, user_data: options.log_user_data };
    Ok(Some(Subscription::new(level, move |level, target, message| listener.tell(level, target, message))))
}

/// More than any machine has cores; each takes memory for its stack.
const MAX_THREADS: u32 = 4096;

struct Listener {
    on_log: unsafe extern "C-unwind" fn(transunet_log_level, *const c_char, *const c_char, *mut c_void),
    user_data: *mut c_void,
}

// SAFETY: the header demands a callback that any thread may call with its user_data.
unsafe impl Send for Listener {}
unsafe impl Sync for Listener {}

impl Listener {
    fn tell(&self, level: Level, target: &str, message: &str) {
        let (target, message) = (c_text(target), c_text(message));
        // `log` numbers its levels from Error = 1 to Trace = 5, as the header does.
        let level = level as transunet_log_level;
        // SAFETY: see above; a Subscription calls it until the runtime is freed.
        unsafe { (self.on_log)(level, target.as_ptr(), message.as_ptr(), self.user_data) }
    }
}
