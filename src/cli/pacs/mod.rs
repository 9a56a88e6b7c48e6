//! Images from a PACS and results to it. Nothing is connected to but what an address on the command line names.

mod address;
mod association;
mod folder;
mod get;
mod line;
mod multipart;
mod object;
mod secret;
mod send;
mod status;
mod store;
mod stow;
mod trouble;
mod wado;
mod web;

use std::path::{Path, PathBuf};
use std::time::Duration;

use transunet::control::{Control, Stage};

use super::failure::{Code, Failure, Outcome};
pub use address::{Peer, Source, Target, is_address};
pub use folder::{Folder, remove_all};
use secret::Secrets;
pub use send::{Send, Sending, Sent, targets, verdict};
use trouble::Trouble;

const HEADING: &str = "PACS";
/// For the help of commands that take addresses.
pub const HELP: &str = "\
Addresses of a PACS:
  https://HOST/dicom-web/studies/UID/series/UID   DICOMweb; without /series/UID the whole study
  dimse://TITLE@HOST:PORT/STUDY-UID/SERIES-UID    C-GET; without the series CT, MR and PET of the study
  https://HOST/dicom-web, dimse://TITLE@HOST:PORT  to send to: STOW-RS, C-STORE
The variable TRANSUNET_DICOMWEB_AUTHORIZATION holds what a DICOMweb server wants to see, such as
\"Bearer TOKEN\". docs/hosts/pacs.md says more.";

/// How peers are spoken to.
#[derive(clap::Args, Debug, Clone)]
pub struct Connection {
    /// Title of this side (application entity) towards a DIMSE peer
    #[arg(long, value_name = "TITLE", default_value = "TRANSUNET", value_parser = title, help_heading = HEADING)]
    calling: String,
    /// Give a peer up when nothing comes from it for so long
    #[arg(long, value_name = "SECONDS", default_value = "60", help_heading = HEADING,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,
    /// Trust the certificates (PEM) in this file as authorities, beside the system's
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    ca_file: Option<PathBuf>,
}

fn title(text: &str) -> Result<String, String> {
    let expected = "an application entity title has 1 to 16 characters of ASCII";
    address::is_title(text).then(|| text.to_owned()).ok_or_else(|| expected.into())
}

/// A connection with all that it needs to be known beforehand.
#[derive(Debug, Clone)]
pub struct Access {
    calling: String,
    patience: Duration,
    /// PEM.
    authorities: Option<Vec<u8>>,
    secrets: Secrets,
}

impl Connection {
    /// `peers` are all that will be spoken to.
    pub fn access<'a>(&self, peers: impl IntoIterator<Item = &'a Peer>) -> Outcome<Access> {
        let origins = peers.into_iter().filter_map(|peer| match peer {
            Peer::Web(web) => Some(web.origin()),
            Peer::Dimse(_) => None,
        });
        let usage = |message| {
            Failure::new(Code::Usage, message, "`transunet segment --help` shows addresses and how to be let in")
        };
        Ok(Access {
            calling: self.calling.clone(),
            patience: Duration::from_secs(self.timeout.into()),
            authorities: self.ca_file.as_deref().map(web::authorities).transpose().map_err(usage)?,
            secrets: Secrets::of_environment(&origins.collect()).map_err(usage)?,
        })
    }
}

impl Access {
    fn to_web(&self, web: &address::Web) -> web::Access {
        let secret = self.secrets.of(&web.origin());
        web::Access { patience: self.patience, authorities: self.authorities.clone(), secret }
    }
}

/// Reads the address of images.
pub fn source(text: &str) -> Outcome<Source> {
    text.parse().map_err(|message: String| Failure::new(Code::Usage, message, "docs/hosts/pacs.md has examples"))
}

/// Fetches what `source` names into files of `folder`.
pub fn fetch(source: &Source, access: &Access, folder: &Path, control: &mut Control) -> Outcome {
    let name = source.peer.to_string();
    let Source { peer, content } = source.clone();
    let (access, into) = (access.clone(), folder.to_path_buf());
    let patience = access.patience;
    let fetched = line::apart(Stage::Read, patience, control, move |line| match &peer {
        Peer::Web(web) => wado::fetch(web, &content, &access.to_web(web), &into, line),
        Peer::Dimse(peer) => get::fetch(peer, &access.calling, patience, &content, &into, line),
    })?;
    match fetched.map_err(|trouble| trouble.at(&name).into_failure(Code::Input))? {
        0 => {
            let what = match &source.content.series {
                Some(series) => format!("series {series} of study {}", source.content.study),
                None => format!("study {}", source.content.study),
            };
            let nothing = Trouble::peer(format!("there are no images of {what}"), "check the UIDs, study first");
            Err(nothing.at(&name).into_failure(Code::Input))
        }
        _ => Ok(()),
    }
}
