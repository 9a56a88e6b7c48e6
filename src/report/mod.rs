//! The report of a training run: one HTML file that needs nothing else.

mod card;
mod curve;
mod html;

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::atomic_file;
use crate::config::{LabelShare, ModelConfig};
use crate::error::Result;
use crate::journal::History;
use crate::labels::Label;
use crate::metrics::{LabelScore, summarize};
use card::data_in_words;
pub use card::model_card;
use curve::{Scale, Series, chart};
use html::{STYLE, escaped, table};

/// What a report tells.
#[derive(Debug)]
pub struct Report<'a> {
    pub model: &'a ModelConfig,
    pub history: &'a History,
    /// The saved model's scores on the validation cases.
    pub cases: &'a [CaseResult],
    /// The settings as YAML.
    pub settings: String,
    /// The command that makes the run again.
    pub command: String,
    pub finished: bool,
}

/// A validation case.
#[derive(Debug, Clone)]
pub struct CaseResult {
    pub id: String,
    pub scores: Vec<LabelScore>,
    /// PNG of the slices that differ most, for the worst and best cases.
    pub picture: Option<Vec<u8>>,
}

impl CaseResult {
    /// Mean over the labels that have a score.
    pub fn mean_dice(&self) -> Option<f64> {
        summarize(self.scores.iter().filter_map(|score| score.dice)).map(|summary| summary.mean)
    }
}

impl Report<'_> {
    /// Writes the page; it appears whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let page = self.page();
        atomic_file::write(path, |out| out.write_all(page.as_bytes()))
    }

    fn page(&self) -> String {
        let name = escaped(self.model.name.as_deref().unwrap_or("TransUNet"));
        let mut page = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{name}: training</title><style>{STYLE}</style>\
             </head><body><h1>{name}</h1>"
        );
        page += &self.headline();
        page += "<h2>Curves</h2><div class=\"curves\">";
        page += &self.curves();
        page += "</div>";
        if !self.cases.is_empty() {
            page += "<h2>Labels</h2>";
            page += &self.labels();
            page += &self.pictures();
            page += "<h2>Cases</h2>";
            page += &self.every_case();
        }
        page += &self.data();
        page += &format!("<h2>The run again</h2><pre>{}</pre>", escaped(&self.command));
        if let Some(card) = self.model.provenance.as_ref().and_then(|from| from.training.as_ref()) {
            page += &format!("<p class=\"sub\">Settings and cases have the SHA-256 {}</p>", escaped(&card.run));
        }
        page += &format!(
            "<details><summary>All settings, sizes planned from the data, and cases</summary><pre>{}</pre></details>",
            escaped(&self.settings)
        );
        page += &format!(
            "<footer>TransUNet {}. Validation on whole volumes; a label that prediction and truth both lack is not \
             counted, one that only one of them has scores Dice 0 and the diagonal of the volume as HD95. Research use \
             only.</footer></body></html>",
            env!("CARGO_PKG_VERSION")
        );
        page
    }

    fn headline(&self) -> String {
        let card = self.model.provenance.as_ref().and_then(|from| from.training.as_ref());
        let mut text = match card {
            Some(card) => format!(
                "<p class=\"sub\">{} &middot; {} cases to train with, {} to validate &middot; {}{}</p>",
                escaped(&card.data),
                card.training_cases,
                card.validation_cases,
                escaped(&card.device),
                if self.finished { "" } else { " &middot; stopped before its end" }
            ),
            None => String::new(),
        };
        text += "<div class=\"cards\">";
        let mut fact =
            |value: String, name: &str| text += &format!("<div><b>{value}</b><span>{}</span></div>", escaped(name));
        let dice = summarize(
            self.model
                .labels
                .iter()
                .filter_map(|label| summarize(self.of(label, |score| score.dice)).map(|summary| summary.mean)),
        );
        if let Some(dice) = dice {
            fact(format!("{:.4}", dice.mean), "mean Dice");
        }
        if let Some(best) = self.history.validations.iter().rfind(|row| row.best) {
            fact(best.step.to_string(), "best step");
        }
        if let Some(row) = self.history.steps.last() {
            fact(row.step.to_string(), "steps");
            fact(format!("{:.1}", row.epoch), "epochs");
            fact(format!("{:.4}", row.loss), "last loss");
        }
        if let Some(card) = card {
            fact(duration(card.seconds), "time");
        }
        text + "</div>"
    }

    fn data(&self) -> String {
        let card = self.model.provenance.as_ref().and_then(|from| from.training.as_ref());
        let Some(fingerprint) = card.and_then(|card| card.fingerprint.as_ref()) else { return String::new() };
        let mut text = format!("<h2>Data</h2><p class=\"sub\">{}</p>", escaped(&data_in_words(fingerprint)));
        let number = |x: f64| format!("{:.3}", x).trim_end_matches('0').trim_end_matches('.').to_owned();
        let spread = |name: &str, values: [f64; 3]| [name.to_owned()].into_iter().chain(values.map(number)).collect();
        let axes = ["columns", "rows", "slices"].into_iter().enumerate();
        let sizes = axes.clone().map(|(a, name)| spread(name, fingerprint.size[a].map(|count| count as f64)));
        let spacings = axes.map(|(a, name)| spread(&format!("{name} apart, mm"), fingerprint.spacing_mm[a]));
        let rows: Vec<Vec<String>> = sizes.chain(spacings).collect();
        text += &table(&["over the cases", "lowest", "median", "highest"], rows.into_iter());
        let row = |label: &LabelShare| {
            vec![escaped(&label.label), format!("{:.3} %", 100.0 * label.share), label.cases.to_string()]
        };
        text + &table(&["label", "of all voxels", "cases that have it"], fingerprint.labels.iter().map(row))
    }

    fn of(&self, label: &Label, figure: fn(&LabelScore) -> Option<f64>) -> Vec<f64> {
        let scores = self.cases.iter().flat_map(|case| &case.scores).filter(|score| score.value == label.value);
        scores.filter_map(figure).collect()
    }

    fn curves(&self) -> String {
        let steps = |name: &str, color: &str, value: fn(&crate::journal::StepRow) -> f64| Series {
            name: name.into(),
            color: color.into(),
            points: self.history.steps.iter().map(|row| (row.step as f64, value(row))).collect(),
        };
        let loss = [
            steps("loss", "#4c78d8", |row| row.loss),
            steps("cross-entropy", "#e08a3c", |row| row.cross_entropy),
            steps("1 - Dice", "#3fa36b", |row| row.dice_loss),
        ];
        let mut text = chart("Loss", &loss, Scale::Logarithmic);
        let dice: Vec<Series> = (self.model.labels.iter().enumerate())
            .map(|(n, label)| {
                let rows = self.history.validations.iter();
                let [r, g, b] = label.rgb();
                Series {
                    name: label.name.clone(),
                    color: format!("rgb({r},{g},{b})"),
                    points: rows.filter_map(|row| Some((row.step as f64, (*row.dice.get(n)?)?))).collect(),
                }
            })
            .collect();
        text += &chart("Dice on the validation cases", &dice, Scale::Share);
        text += &chart("Learning rate", &[steps("", "#8a63c9", |row| row.rate)], Scale::Linear);
        text + &chart("Norm of the gradients", &[steps("", "#c9547a", |row| row.gradient_norm)], Scale::Logarithmic)
    }

    fn labels(&self) -> String {
        let figure = |values: Vec<f64>, digits: usize| {
            summarize(values).map_or(["-".into(), "-".into(), "-".into(), "-".into()], |s| {
                [s.mean, s.median, s.lowest, s.highest].map(|x| format!("{x:.digits$}"))
            })
        };
        let rows = self.model.labels.iter().map(|label| {
            let [mean, median, worst, _] = figure(self.of(label, |score| score.dice), 4);
            let [hd95, _, _, far] = figure(self.of(label, |score| score.hd95), 2);
            let [surface, ..] = figure(self.of(label, |score| score.surface_dice), 4);
            vec![swatch(label), mean, median, worst, hd95, far, surface]
        });
        let head = ["label", "Dice mean", "median", "worst", "HD95 mm mean", "worst", "surface Dice (1 mm)"];
        table(&head, rows)
    }

    fn every_case(&self) -> String {
        let mut head = vec!["case", "mean"];
        head.extend(self.model.labels.iter().map(|label| label.name.as_str()));
        let number = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.4}"));
        let rows = self.cases.iter().map(|case| {
            let mut row = vec![escaped(&case.id), number(case.mean_dice())];
            row.extend(self.model.labels.iter().map(|label| {
                number(case.scores.iter().find(|score| score.value == label.value).and_then(|score| score.dice))
            }));
            row
        });
        table(&head, rows)
    }

    fn pictures(&self) -> String {
        let mut shown: Vec<&CaseResult> = self.cases.iter().filter(|case| case.picture.is_some()).collect();
        shown.sort_by(|a, b| a.mean_dice().unwrap_or(0.0).total_cmp(&b.mean_dice().unwrap_or(0.0)));
        if shown.is_empty() {
            return String::new();
        }
        let mut text = String::from(
            "<h2>Worst and best cases</h2><p class=\"sub legend\">The slices that differ most, worst case first. White outlines: \
             the truth. Colours, the model: ",
        );
        self.model.labels.iter().for_each(|label| text += &format!("<span>{}</span>", swatch(label)));
        text += "</p><div class=\"pictures\">";
        for case in shown {
            let png = STANDARD.encode(case.picture.as_deref().unwrap_or_default());
            let dice = case.mean_dice().map_or("-".into(), |dice| format!("{dice:.4}"));
            text += &format!(
                "<figure><figcaption>{}: Dice {dice}</figcaption><img alt=\"\" src=\"data:image/png;base64,{png}\"></figure>",
                escaped(&case.id)
            );
        }
        text + "</div>"
    }
}

/// A label's name beside its colour.
fn swatch(label: &Label) -> String {
    let [r, g, b] = label.rgb();
    format!("<i class=\"swatch\" style=\"background:rgb({r},{g},{b})\"></i>{}", escaped(&label.name))
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
