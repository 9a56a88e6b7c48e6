//! The models that come with the project do what their cards say, whatever way the images lie.

mod common;

use std::path::Path;
use std::sync::Arc;

use transunet::config::{ModelConfig, TrainingCard};
use transunet::control::Control;
use transunet::data::{Listing, Survey};
use transunet::device::Devices;
use transunet::dicom::{Series, SeriesOptions};
use transunet::geometry::Geometry;
use transunet::infer::{SegmentOptions, segment};
use transunet::labelmap::Labelmap;
use transunet::metrics::dice_of_labels;
use transunet::model::Model;
use transunet::network::Architecture;
use transunet::report::model_card;
use transunet::train::config::TrainConfig;
use transunet::volume::Volume;
use transunet::weights::{Checkpoint, Precision, expected};

fn model(name: &str) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
    Model::load(&Devices::cpu(), &path).unwrap()
}

fn card(model: &Model) -> TrainingCard {
    model.config().provenance.clone().unwrap().training.unwrap()
}

fn labels(model: &Model, volume: &Arc<Volume>) -> Labelmap {
    segment(model, volume, &SegmentOptions::default(), &mut Control::none()).unwrap()
}

/// Voxels and mean position (LPS mm) of a label.
fn extent(labelmap: &Labelmap, value: u8) -> (usize, [f64; 3]) {
    let geometry = labelmap.geometry();
    let [columns, rows, _] = geometry.size;
    let (mut count, mut sum) = (0, [0.0; 3]);
    for (at, _) in labelmap.to_vec().unwrap().iter().enumerate().filter(|&(_, &label)| label == value) {
        let index = [at % columns, at / columns % rows, at / columns / rows];
        let position = geometry.position(index.map(|x| x as f64));
        count += 1;
        (0..3).for_each(|a| sum[a] += position[a]);
    }
    (count, sum.map(|x| x / count as f64))
}

#[test]
fn the_hippocampus_model_scores_on_cases_it_did_not_train_with() {
    let Some(folder) = common::data("hippocampus model", "msd-hippocampus") else { return };
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/hippocampus.yaml");
    let mut config = TrainConfig::read(&config).unwrap();
    config.redirect(Some(&folder), None).unwrap();
    let listing = Listing::find(&config.data, Path::new("")).unwrap();
    let survey = Survey::of(listing, None, |_| Ok(None), &mut Control::none()).unwrap();
    survey.check().unwrap();
    let dataset = survey.dataset;
    let parts = dataset.parts(config.split.as_ref(), &folder).unwrap();
    assert_eq!((parts.train.len(), parts.validation.len()), (183, 31));
    let model = model("hippocampus.safetensors");
    assert_eq!(model.config().labels, dataset.labels);

    let mut sums = [0.0; 2];
    for &case in &parts.validation {
        let (volume, truth) = dataset.cases[case].load().unwrap();
        let dice = dice_of_labels(&labels(&model, &volume).to_vec().unwrap(), &truth, &dataset.labels);
        (0..2).for_each(|label| sums[label] += dice[label].unwrap());
    }
    let means = sums.map(|sum| sum / parts.validation.len() as f64);
    println!("validation Dice: anterior {:.4}, posterior {:.4}", means[0], means[1]);
    assert!(means[0] >= 0.87 && means[1] >= 0.85, "{means:?}");
    for (figures, mean) in card(&model).validation.iter().zip(means) {
        assert!(
            (figures.dice_mean - mean).abs() < 2e-3,
            "{}: {mean}, the card says {}",
            figures.label,
            figures.dice_mean
        );
    }
}

/// The network learned from RAS volumes; the series is LPS.
#[test]
fn the_hippocampus_model_finds_its_way_in_a_dicom_series() {
    let Some(folder) = common::data("hippocampus model in DICOM", "dicom-mr-study1-hippocrop") else { return };
    let series = Series::open(&[folder.join("HippoCrop")], &SeriesOptions::default(), &mut Control::none()).unwrap();
    let volume = Arc::new(Volume::from_series(Arc::new(series)));
    let model = model("hippocampus.safetensors");
    let found = labels(&model, &volume);
    let ((anterior, front), (posterior, back)) = (extent(&found, 1), extent(&found, 2));
    println!("anterior {anterior} voxels at {front:?}, posterior {posterior} at {back:?}");
    // In the 214 labelled volumes anterior has 1054 to 2477 voxels of 1 mm, posterior 993 to 2169, 13.6 mm apart or more.
    assert!((1000..2500).contains(&anterior) && (950..2200).contains(&posterior), "{anterior} and {posterior} voxels");
    assert!(back[1] - front[1] > 13.0, "anterior lies {} mm before posterior", back[1] - front[1]);

    // The same voxels stored the other way round in all three directions.
    let geometry = volume.geometry();
    let far = geometry.position(geometry.size.map(|count| (count - 1) as f64));
    let direction = geometry.direction.map(|axis| axis.map(|x| -x));
    let turned = Geometry::new(geometry.size, geometry.spacing, far, direction).unwrap();
    let mut voxels = volume.to_vec().unwrap();
    voxels.reverse();
    let again = labels(&model, &Arc::new(Volume::from_memory(turned, voxels, "turned").unwrap()));
    let mut back = again.to_vec().unwrap();
    back.reverse();
    assert!(back == found.to_vec().unwrap(), "a turned volume gets other labels");
}

#[test]
fn half_precision_halves_a_model_and_rounds_no_vector() {
    let folder = tempfile::tempdir().unwrap();
    let config = ModelConfig::undescribed(Architecture::tiny(64, 3));
    let model = Model::untrained(&Devices::cpu(), config.clone(), 3).unwrap();
    let at = |name: &str| folder.path().join(name);
    let (single, half) = (at("single.safetensors"), at("half.safetensors"));
    model.save(&single, Precision::Single).unwrap();
    model.save(&half, Precision::Half).unwrap();
    let [single_len, half_len] = [&single, &half].map(|path| std::fs::metadata(path).unwrap().len());
    assert!(half_len * 10 < single_len * 6, "{half_len} of {single_len} bytes");
    let [single, half] = [&single, &half].map(|path| Checkpoint::open(path).unwrap());
    for (name, shape) in expected(&config.architecture) {
        let (exact, rounded) = (single.read(&name).unwrap(), half.read(&name).unwrap());
        if shape.len() < 2 {
            assert!(exact == rounded, "{name}");
            continue;
        }
        // Below 2^-14 float16 has steps of 2^-24.
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= (a.abs() / 2048.0).max(f32::powi(2.0, -25));
        assert!(exact.iter().zip(&rounded).all(close), "{name}");
    }
}

#[test]
fn the_cards_are_complete() {
    for name in ["hippocampus", "phantom"] {
        let model = model(&format!("{name}.safetensors"));
        let card = card(&model);
        assert!(card.training_cases > 0 && card.steps > 0 && !card.recipe.is_empty(), "{name}");
        assert_eq!(card.validation.len(), model.config().labels.len(), "{name}");
        assert!(model.config().licence.is_some() && model.config().intended_use.is_some(), "{name}");

        let text = model_card(model.config());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("models/{name}.md"));
        if std::env::var_os("TRANSUNET_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "models/{name}.md is not the bundle's card; TRANSUNET_BLESS=1 writes it");
    }
}
