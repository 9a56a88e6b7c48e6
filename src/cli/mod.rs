//! The command line: what can be said, and what happens around every command.

mod batch;
mod computing;
mod data;
mod demo;
mod devices;
mod evaluate;
mod failure;
mod info;
mod input;
mod models;
mod output;
mod pacs;
mod phantom;
mod progress;
mod report;
mod seg;
mod segment;
mod table;
mod terminal;
mod train;
mod verify;
mod work;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use signal_hook::consts::TERM_SIGNALS;
use signal_hook::iterator::Signals;
use transunet::control::{Cancel, Control, Progress};
use transunet::manifest::manifest;
use transunet::panics;

use failure::{Code, EXIT_CODES, Failure, Outcome};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Cyan.on_default().bold())
    .usage(AnsiColor::Cyan.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .error(AnsiColor::Red.on_default().bold());

const EXAMPLES: &str = "\
Examples:
  transunet demo                                    try it: nothing else is needed
  transunet info ct/                                which series a folder holds
  transunet segment ct/ --model organs.safetensors --output organs.dcm

Research use only, not for clinical use.";

/// Segments medical images with TransUNet: DICOM series in, DICOM SEG out
#[derive(Parser)]
#[command(name = "transunet", version, styles = STYLES, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    talk: Talk,
}

#[derive(Subcommand)]
enum Command {
    Segment(Box<segment::Segment>),
    Batch(batch::Batch),
    Train(train::Train),
    Evaluate(evaluate::Evaluate),
    Verify(verify::Verify),
    Data(data::Data),
    Info(info::Info),
    Send(pacs::Send),
    Models(models::Models),
    Devices(devices::Devices),
    Demo(demo::Demo),
}

#[derive(Args)]
struct Talk {
    /// No progress and no results on the terminal, only warnings and errors
    #[arg(long, short, global = true, display_order = 100)]
    quiet: bool,
    /// Say more about what happens; repeat for still more
    #[arg(long, short, global = true, action = ArgAction::Count, display_order = 101)]
    verbose: u8,
}

/// What every command needs to know about the run.
struct Session {
    quiet: bool,
    cancel: Cancel,
}

impl Session {
    /// Shows progress to people and obeys Ctrl-C.
    fn control(&self) -> Control<'static> {
        let mut stages = progress::Stages::new(self.quiet);
        let (cancel, mut tidying, quiet) = (self.cancel.clone(), false, self.quiet);
        let show = move |event: &Progress| {
            // After a stop nothing is told but the tidying.
            if cancel.is_triggered() && !tidying && !quiet {
                tidying = true;
                terminal::message(
                    "Stopping: the model is saved and scored. Ctrl-C again leaves at once, with the model.",
                );
            }
            stages.show(event)
        };
        Control::none().on_progress(show).with_cancel(&self.cancel)
    }

    /// Prints a result.
    fn print(&self, text: &str) {
        if !self.quiet {
            terminal::print(text);
        }
    }
}

impl Command {
    fn run(&self, session: &Session) -> Outcome {
        match self {
            Command::Segment(segment) => segment.run(session),
            Command::Batch(batch) => batch.run(session),
            Command::Train(train) => train.run(session),
            Command::Evaluate(evaluate) => evaluate.run(session),
            Command::Verify(verify) => verify.run(session),
            Command::Data(data) => data.run(session),
            Command::Info(info) => info.run(session),
            Command::Send(send) => send.run(session),
            Command::Models(models) => models.run(session),
            Command::Devices(devices) => devices.run(session),
            Command::Demo(demo) => demo.run(session),
        }
    }
}

pub fn main() -> ExitCode {
    let line = read_line(std::env::args_os());
    terminal::log_to_stderr(line.talk.verbose);
    panics::quiet();
    let session = Session { quiet: line.talk.quiet, cancel: Cancel::default() };
    stop_on_signals(session.cancel.clone());
    match caught(|| line.command.run(&session)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::message(&failure.to_string());
            ExitCode::from(failure.code as u8)
        }
    }
}

/// What `work` gives; a panic in it is a failure.
fn caught<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let panicked = |_| Err(Failure::panicked(&panics::latest()));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}

/// Reads a command line; prints what is wrong with it, or the help that it asks for, and ends the program.
fn read_line(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> CommandLine {
    let command = described(CommandLine::command());
    let mut found = command.get_matches_from(words);
    CommandLine::from_arg_matches_mut(&mut found).unwrap_or_else(|error| error.exit())
}

/// The command with help from the manifest for arguments that have none of their own.
fn described(mut command: clap::Command) -> clap::Command {
    let modules = manifest().map(|manifest| manifest.modules.as_slice()).unwrap_or_default();
    // A batch segments.
    let like = |name: &str| if name == "batch" { "segment" } else { name }.to_owned();
    let names: Vec<String> = command.get_subcommands().map(|subcommand| subcommand.get_name().to_owned()).collect();
    for name in names {
        let Some(module) = modules.iter().find(|module| module.command == like(&name)) else { continue };
        let help = |argument: &str| {
            let parameter = module.parameters().find(|parameter| parameter.command_name() == Some(argument))?;
            let unset = parameter.unset.as_ref().map_or(String::new(), |unset| format!(" [default: {unset}]"));
            Some(parameter.help.clone() + &unset)
        };
        command = command.mut_subcommand(name, |subcommand| {
            subcommand.mut_args(|argument| {
                let written = argument.get_long().map(str::to_owned);
                let placeholder = || Some(argument.get_value_names()?.first()?.to_string());
                match written.or_else(placeholder).and_then(|name| help(&name)) {
                    Some(text) if argument.get_help().is_none() => argument.help(text),
                    _ => argument,
                }
            })
        });
    }
    command
}

/// The folder of this program, near which models are installed.
fn home() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.canonicalize().ok()?.parent()?.to_path_buf())
}

/// The first Ctrl-C (or `kill`) stops tidily, the second at once.
fn stop_on_signals(cancel: Cancel) {
    let watch = |mut signals: Signals| {
        std::thread::spawn(move || {
            for _ in signals.forever() {
                if cancel.is_triggered() {
                    pacs::remove_all();
                    std::process::exit(Code::Cancelled as i32);
                }
                cancel.trigger();
            }
        })
    };
    if let Err(error) = Signals::new(TERM_SIGNALS).map(watch) {
        log::info!("Ctrl-C will not stop tidily: {error}");
    }
}
