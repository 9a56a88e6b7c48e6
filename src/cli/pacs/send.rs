//! Results on their way to a PACS, and `transunet send`, which does it again.

use std::path::{Path, PathBuf};

use serde::Serialize;
use transunet::control::{Control, Stage};

use super::super::Session;
use super::super::failure::{Code, Failure, Outcome};
use super::address::{Peer, Target};
use super::object::Object;
use super::trouble::{Result, Trouble};
use super::{Access, Connection, line, store, stow};

const EXAMPLES: &str = "\
Examples:
  transunet send organs.dcm --to dimse://ARCHIVE@10.0.0.7:104
  transunet send organs.dcm --to https://pacs.example/dicom-web --ca-file hospital.pem

Files are sent as they are. Exit code 0: all of them are stored; 6: some are not, and why.";

/// Send DICOM files to a PACS
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Send {
    /// DICOM files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where to: https://HOST/dicom-web (STOW-RS) or dimse://TITLE@HOST:PORT (C-STORE); may be given more than once
    #[arg(long, required = true, value_name = "ADDRESS")]
    to: Vec<String>,
    #[command(flatten)]
    connection: Connection,
    /// Print JSON instead of words
    #[arg(long)]
    json: bool,
}

impl Send {
    pub fn run(&self, session: &Session) -> Outcome {
        let targets = targets(&self.to)?;
        for file in &self.files {
            Object::read(file).map_err(|trouble| trouble.into_failure(Code::Input))?;
        }
        let access = self.connection.access(targets.iter().map(|target| &target.0))?;
        let mut control = session.control();
        let sent = Sending { targets: &targets, access: &access }.send(&self.files, &mut control);
        drop(control);
        let stored = sent.iter().filter_map(Sent::to_words).collect::<Vec<_>>().join("\n");
        let text = if self.json { super::super::info::render(&List(&sent), true) } else { stored };
        if !text.is_empty() {
            session.print(&text);
        }
        verdict(&sent)
    }
}

#[derive(Serialize)]
struct List<'a>(&'a [Sent]);

impl std::fmt::Display for List<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().filter_map(Sent::to_words).try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Reads addresses to send to.
pub fn targets(texts: &[String]) -> Outcome<Vec<Target>> {
    let target = |text: &String| {
        let refuse = |message: String| Failure::new(Code::Usage, message, "docs/hosts/pacs.md has examples");
        text.parse().map_err(refuse)
    };
    texts.iter().map(target).collect()
}

/// Where results go.
#[derive(Clone, Copy)]
pub struct Sending<'a> {
    pub targets: &'a [Target],
    pub access: &'a Access,
}

/// What became of one file at one peer.
#[derive(Debug, Clone, Serialize)]
pub struct Sent {
    pub file: PathBuf,
    pub to: String,
    pub sop_instance_uid: String,
    pub state: State,
    /// The peer's warning, or why it is not stored.
    pub message: Option<String>,
    #[serde(skip)]
    hint: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Stored,
    Failed,
    /// The person stopped it before or while it was sent.
    Cancelled,
}

impl Sent {
    /// One line, unless the error tells it.
    pub fn to_words(&self) -> Option<String> {
        let Sent { file, to, message, .. } = self;
        let warning = message.as_ref().map_or(String::new(), |text| format!(" ({text})"));
        (self.state == State::Stored).then(|| format!("stored {} at {to}{warning}", file.display()))
    }
}

impl Sending<'_> {
    /// Sends each file to each peer; a peer that fails keeps none of the others from it.
    pub fn send(&self, files: &[PathBuf], control: &mut Control) -> Vec<Sent> {
        let pairs = self.targets.iter().flat_map(|target| files.iter().map(move |file| (file, target)));
        pairs.map(|(file, target)| self.one(file, target, control)).collect()
    }

    fn one(&self, file: &Path, target: &Target, control: &mut Control) -> Sent {
        let (object, begun) = (Object::read(file), control.check().is_ok());
        let uid = object.as_ref().map_or(String::new(), |object| object.instance_uid.clone());
        let sent = match object {
            Ok(_) if !begun => Err(Trouble::Cancelled),
            Ok(object) => self.transfer(object, target, control),
            Err(trouble) => Err(trouble),
        };
        let (state, message, hint) = match sent {
            Ok(warning) => (State::Stored, warning, ""),
            Err(Trouble::Cancelled) if !begun => (State::Cancelled, Some("cancelled before it was sent".into()), ""),
            Err(Trouble::Cancelled) => {
                (State::Cancelled, Some("stopped on the way; the peer may have stored it all the same".into()), "")
            }
            Err(Trouble::Peer { message, hint }) => (State::Failed, Some(message), hint),
            Err(Trouble::Disk(error)) => (State::Failed, Some(error.to_string()), "is the file still there?"),
        };
        let to = target.to_string();
        Sent { file: file.to_path_buf(), to, sop_instance_uid: uid, state, message, hint }
    }

    fn transfer(&self, object: Object, target: &Target, control: &mut Control) -> Result<Option<String>> {
        let (peer, access) = (target.0.clone(), self.access.clone());
        let patience = access.patience;
        let sent = line::apart(Stage::Write, patience, control, move |line| match &peer {
            Peer::Web(web) => stow::send(web, &object, &access.to_web(web), line),
            Peer::Dimse(peer) => store::send(peer, &access.calling, patience, &object, line),
        });
        sent.unwrap_or_else(|failure| Err(Trouble::peer(failure.message(), "this is a fault of transunet")))
    }
}

/// The failure of a sending whose files are not all stored.
pub fn verdict(sent: &[Sent]) -> Outcome {
    let unsent: Vec<_> = sent.iter().filter(|sent| sent.state != State::Stored).collect();
    let Some(first) = unsent.first() else { return Ok(()) };
    let line = |sent: &&Sent| {
        let reason = sent.message.as_deref().unwrap_or_default();
        format!("{} is not stored at {}: {reason}", sent.file.display(), sent.to)
    };
    let message = unsent.iter().map(line).collect::<Vec<_>>().join("\n");
    if unsent.iter().any(|sent| sent.state == State::Cancelled) {
        let again = format!("`transunet send {} --to {}` sends it", first.file.display(), first.to);
        return Err(Failure::new(Code::Cancelled, message, again));
    }
    let hint = format!("{}; `transunet send {} --to {}` tries again", first.hint, first.file.display(), first.to);
    Err(Failure::new(Code::Output, message, hint.trim_start_matches("; ").to_owned()))
}
