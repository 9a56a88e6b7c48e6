//! The terminal: results on stdout, warnings and errors on stderr, neither across the progress bars.

use std::cell::RefCell;
use std::io::{Write, stderr, stdout};
use std::sync::{LazyLock, Mutex, PoisonError};

use indicatif::MultiProgress;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Progress bars live here, so that messages can step around them.
pub static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
/// Warnings that were shown, each once.
static SHOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// Warnings of this thread's work.
    static WARNINGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Writes a result. A reader that has gone away, such as `head`, is no error.
pub fn print(text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    BARS.suspend(|| {
        let mut out = stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush());
    });
}

/// Writes a message for the person.
pub fn message(text: &str) {
    BARS.suspend(|| {
        let _ = writeln!(stderr(), "{text}");
    });
}

/// Warnings of this thread's work so far, each once.
pub fn warnings() -> Vec<String> {
    WARNINGS.with_borrow(Vec::clone)
}

/// Begins work whose warnings are its own.
pub fn forget_warnings() {
    WARNINGS.with_borrow_mut(Vec::clear);
}

/// Sends log records to stderr: the library's warnings always, more with each `-v`, other libraries' from `-vv` on.
pub fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    if log::set_boxed_logger(Box::new(Stderr { everyone: verbose >= 2 })).is_ok() {
        log::set_max_level(level);
    }
}

/// Whether `text` is new to `list`.
fn add_once(list: &mut Vec<String>, text: &str) -> bool {
    let new = !list.iter().any(|known| known == text);
    if new {
        list.push(text.to_owned());
    }
    new
}

struct Stderr {
    everyone: bool,
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // The finest records of network libraries hold what goes over the wire: secrets and patients.
        let others = self.everyone && metadata.level() <= Level::Debug;
        others || metadata.target().starts_with("transunet")
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        let level = match record.level() {
            Level::Error => console::style("error:").red().bold(),
            Level::Warn => console::style("warning:").yellow().bold(),
            Level::Info => console::style("info:").cyan(),
            Level::Debug | Level::Trace => console::style("debug:").dim(),
        };
        if record.level() == Level::Warn {
            WARNINGS.with_borrow_mut(|warnings| add_once(warnings, &text));
            if !add_once(&mut SHOWN.lock().unwrap_or_else(PoisonError::into_inner), &text) {
                return;
            }
        }
        message(&format!("{} {text}", level.for_stderr()));
    }

    fn flush(&self) {}
}
