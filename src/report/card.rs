//! The model card: what a bundle says about itself, as text.

use super::duration;
use crate::config::{DataFingerprint, ModelConfig};

/// The model card as Markdown, from what the bundle says.
pub fn model_card(config: &ModelConfig) -> String {
    let mut text = format!("# {}\n\n", config.name.as_deref().unwrap_or("TransUNet model"));
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text += &format!("- **{name}**: {value}\n");
        }
    };
    let provenance = config.provenance.as_ref();
    fact("Intended use", config.intended_use.clone());
    fact("Licence", config.licence.clone());
    fact("Labels", Some(config.labels.iter().map(|label| label.name.as_str()).collect::<Vec<_>>().join(", ")));
    fact("Made with", provenance.and_then(|from| from.code_version.clone()));
    if let Some(card) = provenance.and_then(|from| from.training.as_ref()) {
        fact(
            "Data",
            Some(format!(
                "{}: {} training cases, {} validation cases",
                card.data, card.training_cases, card.validation_cases
            )),
        );
        fact("What the data were like", card.fingerprint.as_ref().map(data_in_words));
        fact(
            "Training",
            Some(format!("{} steps in {} on {}, seed {}", card.steps, duration(card.seconds), card.device, card.seed)),
        );
        fact("Run", Some(format!("`{}`", card.run)));
        if !card.validation.is_empty() {
            text +=
                "\n| label | Dice mean | median | worst | HD95 mm | surface Dice 1 mm |\n|---|---|---|---|---|---|\n";
            for figures in &card.validation {
                text += &format!(
                    "| {} | {:.4} | {:.4} | {:.4} | {:.2} | {:.4} |\n",
                    figures.label,
                    figures.dice_mean,
                    figures.dice_median,
                    figures.dice_worst,
                    figures.hd95_mm_mean,
                    figures.surface_dice_1mm_mean
                );
            }
        }
        text += &format!("\n```yaml\n{}```\n", card.recipe);
    }
    text
}

/// Layout, cases, orientations and intensities.
pub(super) fn data_in_words(data: &DataFingerprint) -> String {
    let orientations = match data.orientations.as_slice() {
        [] => "orientation not said".to_owned(),
        some => format!("orientation {}", some.join(", ")),
    };
    let [lowest, low, median, high, highest] = data.intensity;
    format!(
        "{} cases of {} subjects, layout {}, {orientations}; intensities of the median case from {lowest} to {highest}, 99 % \
         of them {low} to {high}, median {median}",
        data.cases, data.subjects, data.layout
    )
}
