//! What fuzzing begins with: small files of every kind that is read. The corpus also has what libFuzzer found from them, so
//! making them again changes nothing but these.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use dicom::core::Tag;
use dicom::core::value::PixelFragmentSequence;
use dicom::core::{DataElement, PrimitiveValue, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::encoding::TransferSyntaxIndex;
use dicom::object::open_file;
use dicom::pixeldata::Transcode;
use dicom::transfer_syntax::TransferSyntaxRegistry;
use npyz::WriterBuilder as _;
use transunet::control::Control;
use transunet::dicom::{SegCompression, SegEncoding, SegOptions, Series, SeriesOptions, write_seg};
use transunet::formats::write_labels;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::{Code, Label};
use transunet::volume::Volume;
use transunet::weights::DType;

use crate::phantom::{Phantom, put_number, put_text};
use crate::structures::{region, square, structure_set, write_set};
use crate::targets;

/// Hands each seed to `keep`: its target, its name, its bytes.
pub fn write(mut keep: impl FnMut(&str, &str, &[u8])) {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path(), &mut keep);
    labels(folder.path(), &mut keep);
    weights(folder.path(), &mut keep);
    documents(&mut keep);
}

type Keep<'a> = &'a mut dyn FnMut(&str, &str, &[u8]);

fn labelmap(source: Arc<Volume>) -> Labelmap {
    let code = Code { value: "64033007".into(), scheme: "SCT".into(), meaning: "Kidney".into() };
    let kidney = Label { name: "Kidney".into(), kind: Some(code), color: Some([200, 10, 10]), ..Label::numbered(1) };
    let voxels = (0..source.geometry().len()).map(|at| (at / 3 % 5 % 3) as u8).collect::<Vec<_>>();
    let algorithm = Algorithm { name: "seeds".into(), version: "1".into() };
    Labelmap::new(source, voxels, vec![kidney, Label::numbered(2)], algorithm).unwrap()
}

fn images(folder: &Path, keep: Keep) {
    let plain = Phantom { size: [6, 5, 2], signed: false, ..Phantom::default() };
    for (k, path) in plain.write(folder).iter().enumerate() {
        keep("dicom", &format!("slice-{k}.dcm"), &fs::read(path).unwrap());
    }
    let one = Phantom { size: [6, 5, 3], signed: false, ..Phantom::default() };
    let path = folder.join("one.dcm");
    let mut put = |name: &str, phantom: &Phantom, edit: &dyn Fn(&mut dicom::object::InMemDicomObject)| {
        let mut slice = phantom.slice(2);
        edit(&mut slice);
        crate::phantom::write_file(slice, phantom.transfer_syntax, &path);
        let bytes = fs::read(&path).unwrap();
        keep("dicom", name, &bytes);
        keep("series", name, &bytes);
    };
    put("third.dcm", &one, &|_| {});
    #[allow(deprecated)] // retired, and still found in archives
    let big_endian = uids::EXPLICIT_VR_BIG_ENDIAN;
    for (name, syntax) in [
        ("implicit.dcm", uids::IMPLICIT_VR_LITTLE_ENDIAN),
        ("big-endian.dcm", big_endian),
        ("deflated.dcm", uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
    ] {
        put(name, &Phantom { transfer_syntax: syntax, ..one.clone() }, &|_| {});
    }
    put("bytes.dcm", &Phantom { allocated: 8, stored: 8, ..one.clone() }, &|_| {});
    put("words.dcm", &Phantom { allocated: 32, stored: 32, signed: true, ..one.clone() }, &|_| {});
    put("oblique.dcm", &Phantom { row: [0.8, 0.6, 0.0], column: [-0.6, 0.8, 0.0], ..one.clone() }, &|_| {});
    put("frames.dcm", &Phantom { size: [6, 10, 3], ..one.clone() }, &|slice| {
        put_text(slice, tags::SOP_CLASS_UID, VR::UI, uids::ENHANCED_CT_IMAGE_STORAGE);
        put_text(slice, tags::NUMBER_OF_FRAMES, VR::IS, "2");
        put_number(slice, tags::ROWS, 5);
    });
    put("texts.dcm", &one, &|slice| {
        put_text(slice, tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO 2022 IR 6\\ISO 2022 IR 87\\ISO 2022 IR 149");
        slice.put(DataElement::new(
            tags::PATIENT_NAME,
            VR::PN,
            PrimitiveValue::from("Yamada^Tarou=\u{1b}$B;3ED\u{1b}(B^"),
        ));
        put_text(slice, tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\LOCALIZER");
    });
    put("unknown.dcm", &one, &|slice| {
        slice.put(DataElement::new(Tag(0x0009, 0x0010), VR::LO, PrimitiveValue::from("SEEDS")));
        slice.put(DataElement::new(Tag(0x0009, 0x1001), VR::UN, PrimitiveValue::from(vec![1u8; 40])));
    });

    for (name, uid) in [
        ("jpeg-ls.dcm", uids::JPEGLS_LOSSLESS),
        ("jpeg-xl.dcm", uids::JPEGXL_LOSSLESS),
        ("deflated-frame.dcm", uids::DEFLATED_IMAGE_FRAME_COMPRESSION),
        ("encapsulated.dcm", uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN),
    ] {
        crate::phantom::write_file(one.slice(2), one.transfer_syntax, &path);
        let mut image = open_file(&path).unwrap();
        image.transcode(TransferSyntaxRegistry.get(uid).unwrap()).unwrap();
        image.write_to_file(&path).unwrap();
        keep("dicom", name, &fs::read(&path).unwrap());
    }
    // Two planes of bytes, each line a run of its own (PS3.5 annex G).
    let mut rle = one.slice(2);
    let mut stream: Vec<u8> = [2u32, 64, 64 + 10].into_iter().chain([0; 13]).flat_map(u32::to_le_bytes).collect();
    stream.extend([[251, 7]; 10].concat());
    put_number(&mut rle, tags::BITS_STORED, 16);
    put_number(&mut rle, tags::HIGH_BIT, 15);
    rle.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PixelFragmentSequence::new_fragments(vec![stream])));
    crate::phantom::write_file(rle, uids::RLE_LOSSLESS, &path);
    keep("dicom", "rle.dcm", &fs::read(&path).unwrap());
    fs::remove_file(path).unwrap();
}

/// Labels on the two slices, as all that they can be read from.
fn labels(folder: &Path, keep: Keep) {
    let series = Arc::new(Series::open(&[folder], &SeriesOptions::default(), &mut Control::none()).unwrap());
    let labels = labelmap(Arc::new(Volume::from_series(series.clone())));
    let path = folder.join("labels");
    for (name, encoding, compression) in [
        ("binary.dcm", SegEncoding::Binary, SegCompression::None),
        ("fractional-rle.dcm", SegEncoding::Fractional, SegCompression::Rle),
        ("label-map.dcm", SegEncoding::LabelMap, SegCompression::None),
        ("binary-deflated.dcm", SegEncoding::Binary, SegCompression::Deflate),
    ] {
        let options = SegOptions { encoding, compression, deterministic: true, ..SegOptions::default() };
        write_seg(&labels, &path, &options, &mut Control::none()).unwrap();
        let bytes = fs::read(&path).unwrap();
        keep("labels", name, &bytes);
        keep("dicom", name, &bytes);
    }
    let regions = [
        region(1, "Kidney", vec![square(0.0, 0.5, 3.5), square(1.0, 1.0, 3.0), square(1.0, 1.5, 2.0)]),
        region(7, "Point", vec![("POINT", vec![[1.0, 1.0, 0.0]])]),
    ];
    let set = structure_set(&regions, &series.geometry, &series.series_uid);
    for (name, syntax) in [
        ("structures.dcm", uids::EXPLICIT_VR_LITTLE_ENDIAN),
        ("structures-implicit.dcm", uids::IMPLICIT_VR_LITTLE_ENDIAN),
    ] {
        write_set(set.clone(), syntax, &path);
        keep("labels", name, &fs::read(&path).unwrap());
    }
    for (target, name) in
        [("nrrd", "labels.seg.nrrd"), ("nrrd", "labels.nrrd"), ("nifti", "labels.nii"), ("nifti", "labels.nii.gz")]
    {
        let path = folder.join(name);
        write_labels(&labels, &path).unwrap();
        keep(target, name, &fs::read(&path).unwrap());
    }
    let header = "NRRD0005\ntype: short\ndimension: 3\nspace: RAS\nsizes: 2 2 2\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n\
        kinds: domain domain domain\nendian: big\nencoding: ENCODING\nspace origin: (1,2,3)\n";
    let [raw, ascii] = ["raw", "ascii"].map(|encoding| header.replace("ENCODING", encoding));
    keep("nrrd", "raw.nrrd", &[raw.as_bytes(), b"\n", &[0, 5].repeat(8)].concat());
    keep("nrrd", "text.nrrd", &[ascii.as_bytes(), b"\n1 2 3 4 5 6 7 8\n"].concat());
    keep("nrrd", "detached.nhdr", format!("{raw}byte skip: -1\ndata file: data.raw\n").as_bytes());
    keep("nrrd", "list.nhdr", format!("{raw}line skip: 0\ndata file: LIST\ndata.raw\ndata.raw\n").as_bytes());
    keep("nrrd", "pattern.nhdr", format!("{raw}data file: data%d.raw 1 2 1\n").as_bytes());
}

/// Pickles and arrays without their archives, and bundles whose only tensors are small.
fn weights(folder: &Path, keep: Keep) {
    use targets::weights::zip::{Described, Zip, legacy, state_dict, state_dict_of_python_2};
    let tensors = [
        Described::dense("segmentation_head.0.weight", "FloatStorage", 0, &[2, 4, 1, 1]),
        Described::dense("bias", "HalfStorage", 1, &[4]),
        Described { strides: vec![1, 2], ..Described::dense("turned", "FloatStorage", 0, &[2, 3]) },
    ];
    let pickle = state_dict(&tensors, false);
    keep("pth", "pickle", &pickle);
    let old = [Described::dense("a", "FloatStorage", 0, &[2, 2]), Described::dense("b", "LongStorage", 1, &[1])];
    let storages: [(&str, i64, &[u8]); 2] = [("0", 4, &[0x3f; 16]), ("1", 1, &[7; 8])];
    keep("pth", "legacy.pth", &legacy(&state_dict(&old, true), &storages));
    keep("pth", "python2.pth", &legacy(&state_dict_of_python_2(&old), &storages));
    let mut archive = Zip::new(Vec::new());
    archive.store("archive/data.pkl", &pickle);
    archive.deflate("archive/data/0", &[0x3f; 32]);
    archive.store("archive/data/1", &[0x3c; 8]);
    keep("pth", "archive.pth", &archive.finish());
    let mut large = Zip::new(Vec::new());
    large.large = true;
    large.store("a/data.pkl", &pickle);
    keep("pth", "zip64.pth", &large.finish());

    let mut array = Vec::new();
    let mut writer =
        npyz::WriteOptions::<f32>::new().default_dtype().shape(&[2, 3]).writer(&mut array).begin_nd().unwrap();
    writer.extend((0..6u8).map(f32::from)).unwrap();
    writer.finish().unwrap();
    keep("npz", "floats.npy", &array);
    let mut array = Vec::new();
    let mut writer =
        npyz::WriteOptions::<u8>::new().default_dtype().shape(&[1, 2, 2]).writer(&mut array).begin_nd().unwrap();
    writer.extend(0..4u8).unwrap();
    writer.finish().unwrap();
    keep("npz", "bytes.npy", &array);
    let mut archive = Zip::new(Vec::new());
    archive.deflate("image.npy", &array);
    archive.store("label.npy", &array);
    keep("npz", "archive.npz", &archive.finish());

    let tensor =
        |dtype: DType, end: usize| format!(r#"{{"dtype":"{dtype:?}","shape":[2,2],"data_offsets":[0,{end}]}}"#);
    for (name, dtype, end) in [("f32.safetensors", DType::F32, 16), ("bf16.safetensors", DType::BF16, 8)] {
        let header = format!(r#"{{"__metadata__":{{"transunet":"format: 1\n"}},"a":{}}}"#, tensor(dtype, end));
        keep(
            "bundle",
            name,
            &[&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0x3f; 16][..end]].concat(),
        );
    }
    let path = folder.join("tiny.safetensors");
    targets::api::set_up::tiny_bundle(&path);
    keep("bundle", "tiny.safetensors", &fs::read(path).unwrap());
}

fn documents(keep: Keep) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, file) in [("manifest.yaml", "plugin_manifest.yaml"), ("training.yaml", "models/hippocampus.yaml")] {
        keep("yaml", name, &fs::read(root.join(file)).unwrap());
    }
    for (name, text) in [
        (
            "model.yaml",
            "format: 1\nname: m\narchitecture: { preset: r50-vit-b16, image_size: 224, classes: 3 }\ninput:\n  plane: axial\n  \
             orientation: LPS\n  spacing: [1, 1]\n  context: 1\n  intensity: { kind: window, low: -125, high: 275 }\nlabels:\n  \
             - { value: 1, name: Aorta, color: [216, 108, 54], type: [15825003, SCT, Aorta] }\n  - { value: 2, name: B }\n\
             compat: transunet-2021\n",
        ),
        (
            "sizes.yaml",
            "architecture: { image_size: [32, 32], classes: 2, stem: { width: 32, units: [1, 1, 1] }, hidden: 64, heads: 4, layers: 2, mlp: 128, head_channels: 64, decoder_channels: [64, 32, 16, 16], skips: 3, channels: 1 }\n",
        ),
        (
            "data.yaml",
            "folder: x\nkind: dicom\noverlap: first\nothers: background\nresample: nearest\nsubject: { parts: 1 }\nlabels:\n  - { value: 1, name: A }\n",
        ),
        (
            "settings.yaml",
            "data: { folder: d }\noutput: o\nsteps: 10\n---\nepochs: 2\noptimizer: { kind: adamw, rate: 0.001 }\nschedule: { kind: poly }\n",
        ),
        (
            "dataset.json",
            r#"{"name": "N", "channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1, "ignore": 2}, "numTraining": 1, "file_ending": ".nii.gz"}"#,
        ),
        (
            "decathlon.json",
            r#"{"name": "N", "labels": {"0": "background", "1": "a"}, "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]}"#,
        ),
        ("rules", "modality=MR|CT,description=t1,slices>=20,number!=3,volume=2,time=1"),
        ("anchors.yaml", "a: &a [1, 2]\nb: *a\nc: !!str 1\n? complex\n: - |\n    text\n"),
    ] {
        keep("yaml", name, text.as_bytes());
    }
    keep("api", "first", &[7, 0, 0, 0, 0, 100]);
    keep("api", "all", &(0..=255).collect::<Vec<u8>>());
    let mut random = 1u64;
    for name in ["a", "b", "c", "d"] {
        let next = |_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 56) as u8
        };
        keep("api", name, &(0..200).map(next).collect::<Vec<u8>>());
    }
}
