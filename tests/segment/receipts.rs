//! Receipts: what they name, what changes them, and that they go with every file and come back from it.

use std::fs;
use std::sync::Arc;

use transunet::config::{ModelConfig, Provenance};
use transunet::control::Control;
use transunet::device::{Device, DeviceChoice, Devices};
use transunet::dicom::{Seg, SegCompression, SegEncoding, SegOptions, Series, SeriesOptions, write_seg};
use transunet::formats::{self, read_labels};
use transunet::infer::{SegmentOptions, segment};
use transunet::labelmap::Labelmap;
use transunet::model::Model;
use transunet::network::{Architecture, initial_values};
use transunet::receipt::differences::Differences;
use transunet::receipt::{Code, Receipt, Source, digest};
use transunet::volume::Volume;
use transunet::weights::{Checkpoint, Precision};

use crate::phantom::Phantom;
use crate::{cpu, untrained, volume, waves};

fn run(model: &Model, volume: &Arc<Volume>, options: &SegmentOptions) -> Labelmap {
    segment(model, volume, options, &mut Control::none()).unwrap()
}

fn plain(model: &Model, volume: &Arc<Volume>) -> Labelmap {
    run(model, volume, &SegmentOptions::default())
}

#[test]
fn a_models_hash_follows_its_weights_and_its_description() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (model, hash) = (untrained(), untrained().sha256().unwrap());
    assert_eq!((hash.len(), model.sha256().unwrap()), (64, hash.clone()), "the same whenever it is asked for");
    let save = |model: &Model, name: &str, precision| {
        model.save(&at(name), precision).unwrap();
        Model::load(&cpu(), &at(name)).unwrap()
    };
    let loaded = save(&model, "a.safetensors", Precision::Single);
    assert_eq!(loaded.sha256().unwrap(), hash);
    let checkpoint = Checkpoint::open(&at("a.safetensors")).unwrap();
    assert_eq!(Model::sha256_of(&checkpoint, loaded.config()).unwrap(), hash, "on no device");
    assert_eq!(save(&loaded, "b.safetensors", Precision::Single).sha256().unwrap(), hash, "saved twice");
    fs::rename(at("b.safetensors"), at("other name.bin")).unwrap();
    assert_eq!(Model::load(&cpu(), &at("other name.bin")).unwrap().sha256().unwrap(), hash);
    let cpu = || Device::open(DeviceChoice::Cpu).unwrap();
    let two = Devices::new(vec![cpu(), cpu()]).unwrap();
    assert_eq!(Model::load(&two, &at("a.safetensors")).unwrap().sha256().unwrap(), hash, "on two devices");

    let half = save(&model, "half.safetensors", Precision::Half);
    assert_ne!(half.sha256().unwrap(), hash, "rounded weights");
    let note = Provenance { note: Some("x".into()), ..Provenance::default() };
    assert_ne!(loaded.with_provenance(note).sha256().unwrap(), hash, "another description");
    let config = ModelConfig::undescribed(Architecture::tiny(64, 4));
    let one_bit = |name: &str, shape: &[usize]| {
        let mut values = initial_values(3, name, shape);
        if name == "segmentation_head.0.bias" {
            values[1] = f32::from_bits(values[1].to_bits() ^ 1);
        }
        Ok(values)
    };
    let other = Model::with_values(&self::cpu(), config, one_bit).unwrap();
    assert_ne!(other.sha256().unwrap(), hash, "one bit of one weight");
}

#[test]
fn a_receipt_names_all_that_changes_voxels_and_nothing_else() {
    let (model, source) = (untrained(), waves([50, 40, 7]));
    let labelmap = plain(&model, &source);
    let receipt = labelmap.receipt().unwrap();
    assert_eq!(receipt.model.sha256, model.sha256().unwrap());
    assert_eq!(receipt.code, Code::here());
    assert_eq!(receipt.code.version, env!("CARGO_PKG_VERSION"));
    let of = |revision: Option<&str>| Code { version: "0.1.0".into(), revision: revision.map(Into::into) }.words();
    assert_eq!((of(None), of(Some("0123456789abcdef"))), ("0.1.0".into(), "0.1.0+0123456789ab".into()));
    assert_eq!((receipt.settings.device.as_str(), receipt.settings.precision.to_string().as_str()), ("cpu", "f32"));
    assert!(receipt.settings.instructions.is_some());
    assert_eq!(receipt.labels_sha256, digest::slices(&labelmap.to_vec().unwrap(), 50 * 40));
    assert!(receipt.source.series_uid.is_none() && receipt.source.instances.is_empty());

    let batched = SegmentOptions { batch: Some(3), ..SegmentOptions::default() };
    assert_eq!(run(&model, &source, &batched).receipt(), Some(receipt), "batches change nothing on a CPU");
    let mut voxels = source.to_vec().unwrap();
    voxels[77] += 1e-3;
    let other = volume([50, 40, 7], voxels.clone());
    assert_ne!(Source::of(&other), receipt.source);
    let mut grid = source.geometry().clone();
    grid.origin[1] += 1e-6;
    let moved = Volume::from_memory(grid, source.to_vec().unwrap(), "elsewhere").unwrap();
    assert_ne!(Source::of(&moved), receipt.source);

    let json = receipt.to_json().unwrap();
    assert_eq!(Receipt::from_json(&json).unwrap(), *receipt);
    let newer = json.replace("\"format\":1", "\"format\":2,\"more\":0");
    let refused = Receipt::from_json(&newer).unwrap_err().to_string();
    assert!(refused.contains("format 2 of a newer version"), "{refused}");
    assert!(Receipt::from_json("{\"format\":1}").unwrap_err().to_string().contains("damaged"));
    let text = receipt.to_text();
    assert_eq!(
        Receipt::from_text(&text, None, Vec::new()).unwrap().unwrap(),
        Receipt { model: transunet::receipt::ModelId { name: None, ..receipt.model.clone() }, ..receipt.clone() }
    );
    assert!(Receipt::from_text("threshold=3,mode=fast", None, Vec::new()).unwrap().is_none(), "another program's");
    for (part, damage) in [("receipt=1", "receipt=x"), ("receipt=1", "receipt=9"), ("precision=f32", "precision=f8")] {
        assert!(Receipt::from_text(&text.replace(part, damage), None, Vec::new()).is_err(), "{damage}");
    }
    assert!(Receipt::from_text("receipt=1,version=1", None, Vec::new()).is_err());
}

#[test]
fn volume_files_carry_the_receipt_and_read_as_before() {
    let labelmap = plain(&untrained(), &waves([50, 40, 7]));
    let bare = {
        let labels = labelmap.labels().to_vec();
        Labelmap::new(labelmap.source().clone(), labelmap.to_vec().unwrap(), labels, labelmap.algorithm().clone())
    };
    let bare = bare.unwrap();
    assert!(bare.receipt().is_none(), "labels that a person gives");
    let folder = tempfile::tempdir().unwrap();
    for name in ["l.nii", "l.nii.gz", "l.nrrd", "l.seg.nrrd"] {
        let path = folder.path().join(name);
        formats::write_labels(&labelmap, &path).unwrap();
        let read = read_labels(&path).unwrap();
        assert_eq!(Receipt::from_json(&read.receipt.unwrap()).unwrap(), *labelmap.receipt().unwrap(), "{name}");
        assert_eq!(Differences::of_labels(&read.voxels, &labelmap).unwrap().voxels, 0, "{name}");
        formats::write_labels(&bare, &path).unwrap();
        let read = read_labels(&path).unwrap();
        assert!(read.receipt.is_none() && read.voxels == labelmap.to_vec().unwrap(), "{name}");
    }
    // A NIfTI extension that lies about its size, or holds other text, is no receipt and no fault.
    let path = folder.path().join("x.nii");
    formats::write_labels(&labelmap, &path).unwrap();
    let good = fs::read(&path).unwrap();
    for (at, byte) in [(348, 0), (355, 255), (356, 4), (360, b'?')] {
        let mut bytes = good.clone();
        bytes[at] = byte;
        fs::write(&path, bytes).unwrap();
        let read = read_labels(&path).unwrap();
        assert!(read.receipt.is_none() && read.voxels == labelmap.to_vec().unwrap(), "byte {at}");
    }
}

const FORMS: [(SegEncoding, SegCompression); 8] = [
    (SegEncoding::Binary, SegCompression::None),
    (SegEncoding::Binary, SegCompression::Deflate),
    (SegEncoding::Fractional, SegCompression::None),
    (SegEncoding::Fractional, SegCompression::Rle),
    (SegEncoding::Fractional, SegCompression::Deflate),
    (SegEncoding::LabelMap, SegCompression::None),
    (SegEncoding::LabelMap, SegCompression::Rle),
    (SegEncoding::LabelMap, SegCompression::Deflate),
];

#[test]
fn every_form_of_dicom_seg_carries_the_receipt_and_shows_every_voxel_that_differs() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    fs::create_dir(&images).unwrap();
    Phantom { size: [33, 27, 5], ..Phantom::default() }.write(&images);
    let series = Series::open(&[&images], &SeriesOptions::default(), &mut Control::none()).unwrap();
    let uids: Vec<String> = series.instances.iter().map(|slice| slice.sop_instance_uid.clone()).collect();
    let source = Arc::new(Volume::from_series(Arc::new(series)));
    let config = "architecture: { preset: tiny, image_size: 64, classes: 4 }\ninput: { intensity: { kind: zscore } }\n";
    let model = Model::untrained(&cpu(), ModelConfig::from_yaml(config, "test").unwrap(), 3).unwrap();
    let keep = SegmentOptions { keep_probabilities: true, ..SegmentOptions::default() };
    let likely = run(&model, &source, &keep);
    let sure = plain(&model, &source);
    let receipt = sure.receipt().unwrap();
    assert_eq!(likely.receipt(), Some(receipt));
    assert_eq!(receipt.source.instances, uids);
    assert!(receipt.source.series_uid.is_some() && receipt.settings.tilt.as_deref() == Some("keep"));

    let voxels = sure.to_vec().unwrap();
    assert!((1..4).all(|label| voxels.contains(&label)), "all labels are there");
    let len = 33 * 27;
    let places = [3 * len + 2 * 33 + 1, 3 * len + 2 * 33 + 2, 5 * len - 1];
    let mut edited = voxels.clone();
    places.iter().for_each(|&at| edited[at] = (edited[at] + 1) % 4);
    let path = folder.path().join("s.dcm");
    for (encoding, compression) in FORMS {
        let form = format!("{encoding} {compression}");
        let options = SegOptions { encoding, compression, ..SegOptions::default() };
        let write = |labelmap: &Labelmap| {
            write_seg(labelmap, &path, &options, &mut Control::none()).unwrap();
            Seg::open(&path).unwrap()
        };
        let seg = write(if encoding == SegEncoding::Fractional { &likely } else { &sure });
        let read = seg.receipt().unwrap().unwrap();
        assert_eq!((&read.model.sha256, &read.settings), (&receipt.model.sha256, &receipt.settings), "{form}");
        assert_eq!((&read.source.sha256, &read.code), (&receipt.source.sha256, &receipt.code), "{form}");
        let mut known = uids.clone();
        known.sort();
        assert_eq!(read.source.instances, known, "{form}");
        assert_eq!(seg.differences(&likely).unwrap().voxels, 0, "{form}");
        assert_eq!(seg.holds_probabilities(), encoding == SegEncoding::Fractional);
        if seg.holds_probabilities() {
            assert!(seg.differences(&sure).is_err(), "labels alone do not tell");
        }
        let of = |voxels: Vec<u8>| {
            let labels = sure.labels().to_vec();
            let map = Labelmap::new(source.clone(), voxels, labels, sure.algorithm().clone()).unwrap();
            write(&map.with_receipt(receipt.clone())).differences(&sure).unwrap()
        };
        assert_eq!(of(voxels.clone()).voxels, 0, "{form}");
        let found = of(edited.clone());
        let last = [32, 26, 4];
        assert_eq!((found.voxels, found.slices), (3, 2), "{form}: {found:?}");
        assert_eq!((found.first, found.within), (Some([1, 2, 3]), Some([[1, 2, 3], last])), "{form}");
        // Frames that are all missing.
        let labelled = voxels.iter().filter(|&&label| label > 0).count();
        assert_eq!(of(vec![0; voxels.len()]).voxels, labelled, "{form}");
    }
    // One likelihood that is a little other.
    let options = SegOptions { encoding: SegEncoding::Fractional, ..SegOptions::default() };
    write_seg(&likely, &path, &options, &mut Control::none()).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() - 2;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(Seg::open(&path).unwrap().differences(&likely).unwrap().voxels, 1);
}
