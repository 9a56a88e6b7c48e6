//! Documents that people write: the plugin's manifest, descriptions of models, training configurations, dataset.json, and
//! rules that choose a series.

use std::fs;
use std::path::Path;

use transunet::config::{self, ModelConfig, Sizes};
use transunet::data::{DataConfig, Kind, Listing};
use transunet::dicom::SeriesChoice;
use transunet::manifest::Manifest;
use transunet::train::config::TrainConfig;

use super::{Place, Target};

/// One document, read as each kind.
pub(super) fn yaml() -> Target {
    let place = Place::new();
    for (folder, file) in [("imagesTr", "a_0000.nii.gz"), ("labelsTr", "a.nii.gz")] {
        let folder = place.path().join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(file), b"").expect("a file");
    }
    let nnunet = DataConfig { kind: Some(Kind::NnUnet), ..DataConfig::default() };
    Box::new(move |bytes| {
        let path = place.put("dataset.json", bytes);
        let _ = config::read_document(&path);
        let _ = Listing::find(&nnunet, place.path());
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let _ = Manifest::parse(text, "manifest");
        if let Ok(model) = ModelConfig::for_checkpoint(Some((text, "model")), &Sizes::default()) {
            again(&model);
        }
        let _ = config::parse::<DataConfig>(text, "data");
        let (document, settings) = text.split_once("\n---\n").unwrap_or((text, ""));
        let path = place.put("train.yaml", document.as_bytes());
        let folder = Some(Path::new("folder"));
        let _ = TrainConfig::layered(Some(&path), Some(settings), folder, folder);
        if text.len() < 256
            && let Ok(choice) = text.parse::<SeriesChoice>()
        {
            let _ = choice.to_string();
        }
    })
}

/// A description that was accepted is written so that it is accepted again, as the same.
fn again(model: &ModelConfig) {
    let text = model.to_yaml().expect("a description is written");
    let read = ModelConfig::from_yaml(&text, "again").unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(read.to_yaml().expect("written"), text);
}
