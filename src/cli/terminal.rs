//! The terminal: results on stdout, warnings and errors on stderr, neither across the progress bars.

use std::io::{Write, stderr, stdout};
use std::sync::{LazyLock, Mutex, PoisonError};

use indicatif::MultiProgress;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Progress bars live here, so that messages can step around them.
pub static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

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

/// Warnings so far, each once.
pub fn warnings() -> Vec<String> {
    WARNINGS.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

struct Stderr {
    everyone: bool,
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.everyone || metadata.target().starts_with("transunet")
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
            let mut seen = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.contains(&text) {
                return;
            }
            seen.push(text.clone());
        }
        message(&format!("{} {text}", level.for_stderr()));
    }

    fn flush(&self) {}
}
