//! `transunet models`: models to choose from.

use std::fmt;
use std::path::PathBuf;

use transunet::catalog::Catalog;

use super::failure::{About, Code, Outcome};
use super::table::Table;
use super::{Session, home};

/// List the models that can be called by name
#[derive(clap::Args)]
#[command(after_help = "\
Models are looked for in the folders of the variable TRANSUNET_MODELS (as in PATH), then beside the program.
Examples:
  transunet models
  transunet models /data/models --json
  transunet segment ct/ --model phantom --output organs.dcm")]
pub struct Models {
    /// The models of this folder instead
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Print JSON instead of words
    #[arg(long)]
    json: bool,
}

impl Models {
    pub fn run(&self, session: &Session) -> Outcome {
        let catalog = match &self.folder {
            Some(folder) => Catalog::of_folder(folder),
            None => Catalog::installed(home().as_deref()),
        };
        session.print(&super::info::render(&Found(catalog.about(Code::Input)?), self.json));
        Ok(())
    }
}

#[derive(serde::Serialize)]
struct Found(Catalog);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found(Catalog { folders, models, unreadable }) = self;
        let mut list = Table::new(&["Model", "Dice", "Labels"], &[false, true, false]);
        for model in models {
            let dice = model.validation.iter().map(|figures| figures.dice_mean).sum::<f64>();
            let dice = (!model.validation.is_empty()).then(|| format!("{:.3}", dice / model.validation.len() as f64));
            list.row([model.id.clone(), dice.unwrap_or_else(|| "-".into()), model.labels.join(", ")]);
        }
        list.lines().into_iter().try_for_each(|line| writeln!(f, "{line}"))?;
        for file in unreadable {
            writeln!(f, "cannot be read: {}", file.reason)?;
        }
        let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        writeln!(f, "searched: {}", if folders.is_empty() { "no folder".into() } else { folders.join(", ") })
    }
}
