//! The terminal: results on stdout; progress, warnings and errors on stderr. Progress shows only to people.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use log::{Level, LevelFilter, Log, Metadata, Record};
use transunet::control::{Flow, Progress, Stage};

/// Progress bars live here, so that messages can step around them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Writes a result. A reader that has gone away, such as `head`, is no error.
pub fn print(text: &str) {
    let mut out = stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush());
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

/// One bar at a time, for the stage that runs; gone when the stage is.
pub struct Stages {
    quiet: bool,
    bar: Option<(Stage, ProgressBar)>,
}

impl Stages {
    pub fn new(quiet: bool) -> Self {
        Stages { quiet: quiet || !stderr().is_terminal(), bar: None }
    }

    pub fn show(&mut self, progress: &Progress) -> Flow {
        if self.quiet {
            return Flow::Continue;
        }
        if self.bar.as_ref().is_none_or(|(stage, _)| *stage != progress.stage) {
            self.clear();
            self.bar = Some((progress.stage, new_bar(progress.stage)));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        }
        Flow::Continue
    }

    fn clear(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        self.clear();
    }
}

fn new_bar(stage: Stage) -> ProgressBar {
    let name = match stage {
        Stage::Read => "reading",
        Stage::Preprocess => "preparing",
        Stage::Infer => "segmenting",
        Stage::Train => "training",
        Stage::Validate => "validating",
        Stage::Write => "writing",
    };
    let style = ProgressStyle::with_template("{prefix:>12.bold} {bar:32.cyan/dim} {pos}/{len}  {elapsed:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = BARS.add(ProgressBar::new(0).with_style(style.progress_chars("━━╌")).with_prefix(name));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
