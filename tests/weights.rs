//! Weights files: golden and forged ones are read exactly, wrong and hostile ones are refused with a reason.

#[path = "common/checkpoints.rs"]
mod checkpoints;
mod common;
#[path = "weights/hostile.rs"]
mod hostile;
#[path = "common/name_weights.rs"]
mod name_weights;
#[path = "weights/positions.rs"]
mod positions;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use checkpoints::{Described, Zip, legacy, state_dict, state_dict_of_python_2, write_pth};
use name_weights::{tiny_r50, tiny_vit};
use sha2::{Digest, Sha256};
use transunet::Error;
use transunet::config::{ModelConfig, Sizes};
use transunet::labels::Label;
use transunet::network::Architecture;
use transunet::weights::{
    BundleWriter, Checkpoint, DType, Kind, Precision, check, check_initial, expected, infer_architecture, infer_sizes,
    position_embedding,
};

const POSITION: &str = "transformer.embeddings.position_embeddings";

struct Row {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    sha256: String,
}

fn table(path: &Path) -> Vec<Row> {
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let shape = match columns[2] {
            "scalar" => vec![],
            text => text.split('x').map(|n| n.parse().unwrap()).collect(),
        };
        Row { name: columns[0].into(), dtype: columns[1].into(), shape, sha256: columns.last().unwrap().to_string() }
    };
    std::fs::read_to_string(path).unwrap().lines().skip(1).map(row).collect()
}

fn sha256(values: &[f32], dtype: &str) -> String {
    let bytes: Vec<u8> = match dtype {
        "int64" => values.iter().flat_map(|&x| (x as i64).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    };
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The golden weights of one tensor.
fn values(seed: u64, bits: u32, name: &str, shape: &[usize]) -> Vec<f32> {
    if name.ends_with("num_batches_tracked") { vec![7.0] } else { name_weights::values(seed, bits, name, shape) }
}

fn open(path: impl AsRef<Path>) -> Checkpoint {
    Checkpoint::open(path.as_ref()).unwrap()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn write_bundle(path: &Path, config: &ModelConfig, mut read: impl FnMut(&str, &[usize]) -> Vec<f32>) {
    let mut writer = BundleWriter::create(path, config, Precision::Single).unwrap();
    for (name, shape) in expected(&config.architecture) {
        writer.put(&name, &read(&name, &shape)).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn names_shapes_and_order_are_the_originals() {
    for (file, architecture, rows) in [
        ("r50/state_dict.tsv", tiny_r50(), 185),
        ("vit/state_dict.tsv", tiny_vit(), 93),
        ("r50_b16_state_dict.tsv", Architecture::r50_vit_b16(224, 9), 409),
        ("vit_b16_state_dict.tsv", Architecture::vit_b16(224, 9), 253),
    ] {
        let Some(path) = common::golden("names of all tensors", file) else { return };
        let golden: Vec<_> = table(&path).into_iter().map(|row| (row.name, row.shape)).collect();
        assert_eq!(golden, expected(&architecture), "{file}");
        if rows > 200 {
            assert_eq!(golden.len(), rows, "{file}");
        }
    }
}

#[test]
fn golden_weights_are_the_generators() {
    for (file, seed, bits) in
        [("r50/state_dict.tsv", 1, 4), ("vit/state_dict.tsv", 101, 4), ("r50_b16_state_dict.tsv", 1, 24)]
    {
        let Some(path) = common::golden("generator", file) else { return };
        for row in table(&path) {
            assert_eq!(
                sha256(&values(seed, bits, &row.name, &row.shape), &row.dtype),
                row.sha256,
                "{file} {}",
                row.name
            );
        }
    }
}

#[test]
fn the_same_weights_are_read_from_every_format() {
    let Some(golden) = common::golden("formats", "vit") else { return };
    let (pth, safetensors) = (open(golden.join("model.pth")), open(golden.join("model.safetensors")));
    assert_eq!((pth.kind, safetensors.kind), (Kind::Pth, Kind::Safetensors));
    assert_eq!(pth.bytes, std::fs::metadata(golden.join("model.pth")).unwrap().len());
    let rows = table(&golden.join("state_dict.tsv"));
    assert_eq!((pth.tensors.len(), safetensors.tensors.len()), (rows.len(), rows.len()));
    for row in &rows {
        for file in [&pth, &safetensors] {
            let entry = file.entry(&row.name).unwrap();
            assert_eq!((entry.shape(), entry.dtype().to_string()), (&row.shape[..], row.dtype.clone()), "{}", row.name);
            assert_eq!(sha256(&file.read(&row.name).unwrap(), &row.dtype), row.sha256, "{} {}", file.kind, row.name);
        }
    }
    check(&pth, &tiny_vit()).unwrap();

    for (file, kind) in [("partial_legacy.pth", Kind::PthLegacy), ("partial_dataparallel.pth", Kind::Pth)] {
        let partial = open(golden.join(file));
        assert_eq!(partial.kind, kind);
        assert!(!partial.tensors.is_empty());
        for name in partial.tensors.keys() {
            assert_eq!(partial.read(name).unwrap(), pth.read(name).unwrap(), "{file} {name}");
        }
    }
}

#[test]
fn googles_arrays_become_the_originals_tensors() {
    for (set, seed, architecture) in [("vit", 101, tiny_vit()), ("r50", 1, tiny_r50())] {
        let Some(golden) = common::golden("npz", set) else { return };
        let npz = open(golden.join("google.npz"));
        assert_eq!(npz.kind, Kind::GoogleNpz);
        assert_eq!(npz.heads, Some(2));
        let mut ignored = npz.ignored.clone();
        ignored.sort();
        assert_eq!(ignored, ["cls", "head/bias", "head/kernel", "pre_logits/bias", "pre_logits/kernel"]);
        let transformer: Vec<_> =
            expected(&architecture).into_iter().filter(|(name, _)| name.starts_with("transformer.")).collect();
        assert_eq!(npz.tensors.len(), transformer.len());
        for (name, shape) in transformer {
            let wanted = values(seed, 4, &name, &shape);
            let read = if name == POSITION {
                assert_eq!(npz.entry(&name).unwrap().shape(), [1, 17, architecture.hidden], "class token and grid");
                position_embedding(&npz, None, [4, 4], false).unwrap()
            } else {
                assert_eq!(npz.entry(&name).unwrap().shape(), shape, "{name}");
                npz.read(&name).unwrap()
            };
            assert!(read == wanted, "{set} {name}");
        }
        check_initial(&npz, &architecture).unwrap();
        let sizes = infer_sizes(&npz).unwrap();
        assert_eq!((sizes.hidden, sizes.heads, sizes.image_size), (Some(architecture.hidden), Some(2), Some([64; 2])));
        assert_eq!((sizes.stem, sizes.classes), (Some(architecture.stem.clone()), None));
        let error = infer_architecture(&npz).unwrap_err().to_string();
        assert!(error.contains("encoder alone") && error.contains("initial weights"), "{error}");
        let error = check(&npz, &architecture).unwrap_err().to_string();
        assert!(error.contains("encoder alone") && error.contains("decoder.conv_more.0.weight"), "{error}");
    }
}

#[test]
fn googles_arrays_may_have_a_prefix_and_column_order() {
    let folder = tempfile::tempdir().unwrap();
    // fc1 [in 2, out 3]: numpy saves a transposed array in Fortran order.
    let array = |descr: &str, fortran: bool, shape: &str, data: &[u8]| {
        let order = if fortran { "True" } else { "False" };
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
        while (header.len() + 11) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
    };
    let floats = |values: &[f32]| bytemuck::cast_slice::<f32, u8>(values).to_vec();
    let name = "opt/target/Transformer/encoderblock_0/MlpBlock_3/Dense_0";
    let mut zip = Zip::new(Vec::new());
    zip.store(&format!("{name}/kernel.npy"), &array("<f4", true, "(2, 3)", &floats(&[1., 2., 3., 4., 5., 6.])));
    zip.deflate(&format!("{name}/bias.npy"), &array("<f8", false, "(3,)", bytemuck::cast_slice(&[0.5f64, 1.5, 2.5])));
    let path = write(folder.path(), "a.npz", &zip.finish());
    let npz = open(&path);
    let fc1 = "transformer.encoder.layer.0.ffn.fc1";
    // Column order of [2, 3] is row order of its transpose.
    assert_eq!(npz.read(&format!("{fc1}.weight")).unwrap(), [1., 2., 3., 4., 5., 6.]);
    assert_eq!(npz.entry(&format!("{fc1}.weight")).unwrap().shape(), [3, 2]);
    assert_eq!(npz.read(&format!("{fc1}.bias")).unwrap(), [0.5, 1.5, 2.5]);
}

/// Views, shared storages, other element types, wrappers and prefixes, in both PyTorch formats.
#[test]
fn tensors_may_be_views_of_shared_storages_of_any_float_type() {
    let folder = tempfile::tempdir().unwrap();
    let ramp: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let halves: Vec<u8> = [1.0f32, -2.5, 65504.0].iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
    let brains: Vec<u8> = [1.0f32, -2.5, 3e38].iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect();
    let view = |name, shape: &[i64], strides: &[i64], first| Described {
        name,
        storage: "FloatStorage",
        key: "0".into(),
        stored: 24,
        first,
        shape: shape.to_vec(),
        strides: strides.to_vec(),
    };
    let tensors = [
        view("module.whole", &[2, 3, 4], &[12, 4, 1], 0),
        view("module.tail", &[4], &[1], 20),
        view("module.transposed", &[4, 6], &[1, 4], 0),
        view("module.column", &[3], &[8], 1),
        view("module.swapped", &[2, 2, 2], &[1, 12, 4], 3),
        view("module.none", &[0, 5], &[5, 1], 0),
        Described::dense("module.half", "HalfStorage", 1, &[3]),
        Described::dense("module.brain", "BFloat16Storage", 2, &[3]),
        Described::dense("module.double", "DoubleStorage", 3, &[1, 2]),
        Described::dense("module.count", "LongStorage", 4, &[]),
        Described::dense("module.int", "IntStorage", 5, &[2]),
        Described::dense("module.byte", "ByteStorage", 6, &[3]),
    ];
    let doubles: Vec<u8> = [0.1f64, 1e300].iter().flat_map(|x| x.to_le_bytes()).collect();
    let ints: Vec<u8> = [-1i32, 1 << 20].iter().flat_map(|x| x.to_le_bytes()).collect();
    let long = 7i64.to_le_bytes();
    let storages: [(&str, i64, &[u8]); 7] = [
        ("0", 24, bytemuck::cast_slice(&ramp)),
        ("1", 3, &halves),
        ("2", 3, &brains),
        ("3", 2, &doubles),
        ("4", 1, &long),
        ("5", 2, &ints),
        ("6", 3, &[0, 1, 255]),
    ];
    let mut files = vec![
        write(folder.path(), "legacy.pth", &legacy(&state_dict(&tensors, true), &storages)),
        write(folder.path(), "python2.pth", &legacy(&state_dict_of_python_2(&tensors), &storages)),
    ];
    for (deflated, large) in [(false, false), (true, false), (false, true)] {
        let mut zip = Zip::new(Vec::new());
        zip.large = large;
        // Wrapped in {"epoch": 3, "model": {"state_dict": ...}}, as training scripts do.
        let inner = state_dict(&tensors, false);
        let wrapped = [
            b"\x80\x02}(".to_vec(),
            checkpoints::text("epoch"),
            b"K\x03".to_vec(),
            checkpoints::text("model"),
            b"}".to_vec(),
            checkpoints::text("state_dict"),
            inner[2..inner.len() - 1].to_vec(),
            b"su.".to_vec(),
        ]
        .concat();
        zip.store("any name/data.pkl", &wrapped);
        for (key, _, data) in storages {
            let member = format!("any name/data/{key}");
            if deflated { zip.deflate(&member, data) } else { zip.store(&member, data) }
        }
        files.push(write(folder.path(), &format!("zip{deflated}{large}.bin"), &zip.finish()));
    }
    for file in files {
        let checkpoint = open(&file);
        let read = |name: &str| checkpoint.read(name).unwrap();
        assert_eq!(read("whole"), ramp);
        assert_eq!(read("tail"), [20., 21., 22., 23.]);
        let transposed: Vec<f32> = (0..4).flat_map(|i| (0..6).map(move |j| (j * 4 + i) as f32)).collect();
        assert_eq!(read("transposed"), transposed);
        assert_eq!(read("column"), [1., 9., 17.]);
        assert_eq!(read("swapped"), [3., 7., 15., 19., 4., 8., 16., 20.]);
        assert_eq!(read("none"), [0.0; 0]);
        assert_eq!(read("half"), [1.0, -2.5, 65504.0]);
        assert_eq!(read("brain"), [1.0, -2.5, half::bf16::from_f32(3e38).to_f32()]);
        assert_eq!(read("double"), [0.1, f32::INFINITY]);
        assert_eq!(read("count"), [7.0]);
        assert_eq!(read("int"), [-1.0, 1048576.0]);
        assert_eq!(read("byte"), [0.0, 1.0, 255.0]);
        assert_eq!(checkpoint.entry("half").unwrap().dtype(), DType::F16);
    }
}

#[test]
fn sizes_are_inferred_from_names_and_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    let cases = [
        tiny_r50(),
        tiny_vit(),
        Architecture { skips: 0, ..tiny_r50() },
        Architecture { skips: 1, channels: 1, ..tiny_r50() },
        Architecture { skips: 2, image_size: [96; 2], classes: 2, ..tiny_r50() },
        Architecture { channels: 4, hidden: 64, heads: 1, ..tiny_vit() },
        Architecture { heads: 1, ..Architecture::tiny(64, 3) },
        Architecture { heads: 4, ..Architecture::small(32, 3) },
    ];
    for architecture in cases {
        write_pth(&path, &expected(&architecture), |_, shape| vec![0.0; shape.iter().product()]);
        let checkpoint = open(&path);
        if architecture.hidden % 64 == 0 {
            assert_eq!(infer_architecture(&checkpoint).unwrap(), architecture);
        } else {
            let error = infer_architecture(&checkpoint).unwrap_err().to_string();
            assert!(error.contains("heads not given and cannot be seen in the weights"), "{error}");
            let sizes = infer_sizes(&checkpoint).unwrap();
            assert_eq!(Sizes { heads: Some(2), ..sizes }.complete().unwrap(), architecture);
        }
        check(&checkpoint, &architecture).unwrap();
    }
}

#[test]
fn a_checkpoint_is_described_by_the_document_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epoch_149.pth");
    write_pth(&path, &expected(&tiny_r50()), |_, shape| vec![0.0; shape.iter().product()]);
    let error = open(&path).describe().unwrap_err().to_string();
    assert!(error.contains("heads") && error.contains("YAML"), "{error}");
    write(folder.path(), "epoch_149.yaml", b"architecture: { heads: 2 }\ninput: { plane: axial }");
    let (config, warnings) = open(&path).describe().unwrap();
    assert_eq!(config.architecture, tiny_r50());
    assert!(warnings.is_empty());
    write(folder.path(), "epoch_149.yaml", b"architecture: { heads: 2 }\nlabels: [{ value: 1, name: A }]");
    let error = open(&path).describe().unwrap_err().to_string();
    assert!(error.contains("epoch_149.yaml: labels: classes 2, 3 have no name"), "{error}");

    let path = folder.path().join("alone.pth");
    let architecture = Architecture { heads: 1, ..Architecture::tiny(64, 3) };
    write_pth(&path, &expected(&architecture), |_, shape| vec![0.0; shape.iter().product()]);
    let (config, warnings) = open(&path).describe().unwrap();
    assert_eq!(config, ModelConfig::undescribed(architecture));
    assert!(warnings.len() == 1 && warnings[0].contains("alone.yaml"), "{warnings:?}");
}

#[test]
fn all_differences_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pth");
    let zeros = |_: &str, shape: &[usize]| vec![0.0; shape.iter().product()];
    let names = |list: Vec<(String, Vec<usize>)>, test: &dyn Fn(&str) -> bool| -> Vec<_> {
        list.into_iter().filter(|(name, _)| test(name)).collect()
    };

    // Batch counts are optional; a position embedding of another grid is resampled.
    write_pth(&path, &names(expected(&tiny_vit()), &|name| !name.ends_with("num_batches_tracked")), zeros);
    check(&open(&path), &tiny_vit()).unwrap();
    check(&open(&path), &Architecture { image_size: [128, 96], ..tiny_vit() }).unwrap();

    let mut list = names(expected(&tiny_vit()), &|name| !name.contains("layer.1.attn"));
    list.push(("extra.weight".into(), vec![2]));
    list[1].1 = vec![8, 1, 16, 16];
    write_pth(&path, &list, zeros);
    let error = check(&open(&path), &tiny_vit()).unwrap_err();
    assert!(matches!(error, Error::WeightsMismatch(_)));
    let text = error.to_string();
    assert!(text.contains("8 missing, 1 unexpected, 1 of wrong shape (of 93 expected)"), "{text}");
    for part in ["query", "key", "value", "out"] {
        assert!(text.contains(&format!("transformer.encoder.layer.1.attn.{part}.weight [8, 8]")), "{text}");
        assert!(text.contains(&format!("transformer.encoder.layer.1.attn.{part}.bias [8]")), "{text}");
    }
    assert!(text.contains("extra.weight [2]"), "{text}");
    assert!(
        text.contains(
            "transformer.embeddings.patch_embeddings.weight: [8, 1, 16, 16] in the file, expected [8, 3, 16, 16]"
        ),
        "{text}"
    );

    // Weights of another network say whose they may be.
    for (tensors, guess) in [
        (vec!["conv_blocks_context.0.blocks.0.conv.weight", "seg_outputs.0.weight"], "nnU-Net"),
        (vec!["patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "cls_token"], "timm"),
        (vec!["conv_blocks_context.0.blocks.0.conv.weight", "transformer.encoder.encoder_norm.weight"], "3D-TransUNet"),
        (vec!["swin_unet.patch_embed.proj.weight"], "Swin"),
        (vec!["layer1.0.conv1.weight", "fc.weight"], "torchvision ResNet"),
        (vec!["something.weight"], "patch_embeddings.weight is missing"),
    ] {
        let list: Vec<_> = tensors.iter().map(|name| (name.to_string(), vec![2])).collect();
        write_pth(&path, &list, zeros);
        let error = infer_architecture(&open(&path)).unwrap_err().to_string();
        assert!(error.contains(guess), "{error}");
    }
}

#[test]
fn a_bundle_is_read_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut config = ModelConfig::undescribed(tiny_r50());
    config.name = Some("Résumé".into());
    config.labels = (1..4).map(|v| Label { name: format!("organ {v}"), ..Label::numbered(v) }).collect();
    write_bundle(&path, &config, |name, shape| values(1, 4, name, shape));
    let first = std::fs::read(&path).unwrap();
    write_bundle(&path, &config, |name, shape| values(1, 4, name, shape));
    assert!(first == std::fs::read(&path).unwrap(), "the same model gives the same bytes");

    let bundle = open(&path);
    assert_eq!(bundle.kind, Kind::Bundle);
    let (read, warnings) = bundle.describe().unwrap();
    assert_eq!((read, warnings.len()), (config.clone(), 0));
    check(&bundle, &config.architecture).unwrap();
    for (name, shape) in expected(&config.architecture) {
        assert_eq!(bundle.read(&name).unwrap(), values(1, 4, &name, &shape), "{name}");
    }

    // Nothing is left when it fails, and an earlier file stays.
    let mut writer = BundleWriter::create(&path, &config, Precision::Single).unwrap();
    assert!(writer.put("decoder.nothing", &[1.0]).is_err());
    assert!(writer.put("segmentation_head.0.bias", &[1.0]).is_err());
    assert!(writer.finish().unwrap_err().to_string().contains("lacks"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(first == std::fs::read(&path).unwrap());
    let error =
        BundleWriter::create(&folder.path().join("no/where.safetensors"), &config, Precision::Single).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");

    let Some(mut peer) = common::peers("safetensors package") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/weights.py");
    let out = peer.arg(script).arg("bundle").arg(&path).output().unwrap();
    let out = String::from_utf8(out.stdout).unwrap();
    let mut lines = out.lines();
    let yaml: String = Sha256::digest(config.to_yaml().unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(lines.next().unwrap(), format!("metadata transunet:{yaml}"));
    let theirs: BTreeMap<&str, Vec<&str>> =
        lines.map(|line| line.split(' ').collect::<Vec<_>>()).map(|row| (row[0], row[1..].to_vec())).collect();
    let Some(golden) = common::golden("safetensors package", "r50/state_dict.tsv") else { return };
    let rows = table(&golden);
    assert_eq!(theirs.len(), rows.len());
    for row in rows {
        let shape: Vec<_> = row.shape.iter().map(usize::to_string).collect();
        let shape = if shape.is_empty() { "scalar".to_owned() } else { shape.join("x") };
        assert_eq!(theirs[&row.name[..]], [&row.dtype[..], &shape, &row.sha256], "{}", row.name);
    }
}
