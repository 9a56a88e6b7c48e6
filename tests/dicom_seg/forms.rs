//! Every form of a DICOM SEG says the same of every voxel.

use transunet::dicom::{Overlap, Seg, SegCompression, SegEncoding};
use transunet::fractions::{Fractions, FractionsWriter};

use super::*;

const ENCODINGS: [SegEncoding; 3] = [SegEncoding::Binary, SegEncoding::Fractional, SegEncoding::LabelMap];
const COMPRESSIONS: [SegCompression; 3] = [SegCompression::None, SegCompression::Rle, SegCompression::Deflate];

/// All that DICOM has.
fn forms() -> impl Iterator<Item = SegOptions> {
    let all = ENCODINGS.into_iter().flat_map(|encoding| COMPRESSIONS.map(|compression| (encoding, compression)));
    all.filter(|form| *form != (SegEncoding::Binary, SegCompression::Rle)).map(|(encoding, compression)| SegOptions {
        encoding,
        compression,
        ..deterministic()
    })
}

fn one_slice() -> Labelmap {
    let empty = vec![0; 23 * 38 * 2];
    labelmap_of(made_series(5), [empty.clone(), vec![7; 23 * 38], empty].concat(), labels())
}

/// Label maps in each form, and ones with probabilities.
pub fn cases(root: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for options in forms() {
        let name = |what: &str| root.join(format!("{}-{}-{what}", options.encoding, options.compression));
        let mut write = |what: &str, labelmap: &Labelmap| {
            write_case(&name(what), labelmap, &options);
            folders.push(name(what));
        };
        write("random", &random_labelmap(made_series(3)));
        write("gaps", &random_labelmap(made_series(9)));
        write("empty", &labelmap_of(made_series(4), vec![0; 23 * 38 * 4], labels()));
        write("one-slice", &one_slice());
        if options.encoding == SegEncoding::Fractional {
            let (fractions, expected) = random_fractions(&made_series(9).geometry);
            write("probabilities", &random_labelmap(made_series(9)).with_fractions(fractions).unwrap());
            fs::write(name("probabilities").join("fractions.raw"), expected).unwrap();
        }
    }
    folders
}

/// Probabilities of `labels()`, and what pixels say of them: `[label, k, j, i]`. Slice 2 has none worth a pixel, and
/// label 9 in none.
fn random_fractions(geometry: &Geometry) -> (Fractions, Vec<u8>) {
    let mut writer = FractionsWriter::create(geometry).unwrap();
    let (mut state, mut expected) = (7u64, Vec::new());
    for value in 1..=200 {
        let probabilities: Vec<f32> = (0..geometry.len())
            .map(|at| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let least = value == 9 || at / geometry.slice_len() == 2;
                (state >> 40) as f32 / (1u64 << 24) as f32 * if least { 0.5 / 256.0 } else { 1.0 }
            })
            .collect();
        writer.write(&probabilities).unwrap();
        if [3, 7, 9, 200].contains(&value) {
            expected.extend(probabilities.iter().map(|p| (255.0 * p + 0.5).floor() as u8));
        }
    }
    (writer.finish(), expected)
}

#[test]
fn every_form_is_read_as_the_same_labels() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("seg.dcm");
    let mut seen = Vec::new();
    for labelmap in [random_labelmap(made_series(3)), random_labelmap(made_series(9)), one_slice()] {
        for options in forms() {
            write_seg(&labelmap, &path, &options, &mut Control::none()).unwrap();
            let seg = Seg::open(&path).unwrap();
            let names: Vec<_> = seg.labels.iter().map(|label| label.value).collect();
            assert_eq!(names, [1, 2, 3, 4], "empty segments are described too");
            let values = [0, 3, 7, 9, 200];
            let read = seg.read(labelmap.geometry(), Overlap::Refuse).unwrap();
            let read: Vec<u8> = read.iter().map(|&number| values[usize::from(number)]).collect();
            assert!(read == labelmap.to_vec().unwrap(), "{} {}", options.encoding, options.compression);
            seen.push(open_file(&path).unwrap().meta().media_storage_sop_instance_uid.clone());
        }
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "objects share UIDs");
}

#[test]
fn every_form_repeats_byte_for_byte_when_deterministic() {
    let root = tempfile::tempdir().unwrap();
    for options in forms() {
        let write = |name: &str, labelmap: &Labelmap| {
            let path = root.path().join(name);
            write_seg(labelmap, &path, &options, &mut Control::none()).unwrap();
            fs::read(path).unwrap()
        };
        let plain = || random_labelmap(made_series(9));
        let likely = || plain().with_fractions(random_fractions(&made_series(9).geometry).0).unwrap();
        assert!(write("a", &plain()) == write("b", &plain()));
        assert!(write("a", &likely()) == write("b", &likely()));
        let same = write("a", &plain()) == write("b", &likely());
        assert_eq!(same, options.encoding != SegEncoding::Fractional, "probabilities matter to FRACTIONAL alone");
    }
}

#[test]
fn the_header_says_what_pixels_are() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("seg.dcm");
    let object = |labelmap: &Labelmap, encoding| {
        write_seg(labelmap, &path, &SegOptions { encoding, ..deterministic() }, &mut Control::none()).unwrap();
        open_file(&path).unwrap().into_inner()
    };
    let text = |object: &InMemDicomObject, tag| {
        object.get(tag).map(|element| element.to_str().unwrap().trim_end_matches([' ', '\0']).to_string())
    };
    let plain = random_labelmap(made_series(9));
    let likely = random_labelmap(made_series(9)).with_fractions(random_fractions(plain.geometry()).0).unwrap();
    for (labelmap, encoding, [kind, overlap, bits], fractional, padding) in [
        (&plain, SegEncoding::Binary, ["BINARY", "NO", "1"], None, None),
        (&plain, SegEncoding::Fractional, ["FRACTIONAL", "NO", "8"], Some("OCCUPANCY"), None),
        (&likely, SegEncoding::Fractional, ["FRACTIONAL", "UNDEFINED", "8"], Some("PROBABILITY"), None),
        (&likely, SegEncoding::LabelMap, ["LABELMAP", "NO", "8"], None, Some("0")),
    ] {
        let object = object(labelmap, encoding);
        let says = |tag| text(&object, tag);
        assert_eq!(says(tags::SEGMENTATION_TYPE).as_deref(), Some(kind));
        assert_eq!(says(tags::SEGMENTS_OVERLAP).as_deref(), Some(overlap));
        assert_eq!(says(tags::BITS_ALLOCATED).as_deref(), Some(bits));
        assert_eq!(says(tags::SEGMENTATION_FRACTIONAL_TYPE).as_deref(), fractional);
        assert_eq!(says(tags::MAXIMUM_FRACTIONAL_VALUE).as_deref(), fractional.map(|_| "255"));
        assert_eq!(says(tags::PIXEL_PADDING_VALUE).as_deref(), padding);
    }
    // One upright stack without gaps is said to be one.
    for (labelmap, encoding, organization) in [
        (labelmap_of(made_series(4), vec![7; 23 * 38 * 4], labels()), SegEncoding::LabelMap, Some("3D")),
        (labelmap_of(made_series(4), vec![7; 23 * 38 * 4], labels()), SegEncoding::Binary, None),
        (labelmap_of(made_series(4), vec![1; 23 * 38 * 4], vec![Label::numbered(1)]), SegEncoding::Binary, Some("3D")),
        (
            labelmap_of(made_series(3), [vec![7; 23 * 38], vec![0; 23 * 38], vec![7; 23 * 38]].concat(), labels()),
            SegEncoding::LabelMap,
            None,
        ),
        (one_slice(), SegEncoding::LabelMap, None),
    ] {
        let said = text(&object(&labelmap, encoding), tags::DIMENSION_ORGANIZATION_TYPE);
        assert_eq!(said.as_deref(), organization);
    }
}

#[test]
fn rle_of_single_bits_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let options = SegOptions { compression: SegCompression::Rle, ..deterministic() };
    let path = root.path().join("seg.dcm");
    let error = write_seg(&one_slice(), &path, &options, &mut Control::none()).unwrap_err();
    assert!(error.to_string().contains("not for single bits; take deflate, or labelmap with rle"), "{error}");
    assert!(!path.exists());
    for encoding in ENCODINGS {
        assert_eq!(encoding.to_string().parse::<SegEncoding>().unwrap(), encoding);
    }
    for compression in COMPRESSIONS {
        assert_eq!(compression.to_string().parse::<SegCompression>().unwrap(), compression);
    }
    let error = "zip".parse::<SegCompression>().unwrap_err().to_string();
    assert_eq!(error, "DICOM SEG compression \"zip\", expected none, rle, deflate");
}

#[test]
fn cancelling_any_form_leaves_what_was_there() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("seg.dcm");
    fs::write(&path, "earlier").unwrap();
    for options in forms() {
        let mut control =
            Control::none().on_progress(move |progress| if progress.done == 4 { Flow::Cancel } else { Flow::Continue });
        let written = write_seg(&random_labelmap(made_series(9)), &path, &options, &mut control);
        assert!(matches!(written.unwrap_err(), Error::Cancelled));
        assert_eq!(fs::read(&path).unwrap(), b"earlier");
    }
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
}

#[test]
fn what_others_compress_is_read() {
    let test = "what_others_compress_is_read";
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("seg.dcm");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/compress.py");
    // OpenJPEG takes no smaller images.
    let mut series = made_series(9);
    series.geometry.size = [64, 83, 9];
    let labelmap = random_labelmap(series);
    for encoding in [SegEncoding::Fractional, SegEncoding::LabelMap] {
        for syntax in [uids::JPEGLS_LOSSLESS, uids::JPEG2000_LOSSLESS, uids::RLE_LOSSLESS] {
            write_seg(&labelmap, &path, &SegOptions { encoding, ..deterministic() }, &mut Control::none()).unwrap();
            let Some(mut python) = common::peers(test) else { return };
            common::run(python.arg(&script).arg(syntax).arg(&path));
            assert_eq!(open_file(&path).unwrap().meta().transfer_syntax(), syntax);
            let numbers = Seg::open(&path).unwrap().read(labelmap.geometry(), Overlap::Refuse).unwrap();
            let values = numbers.iter().map(|&number| [0, 3, 7, 9, 200][usize::from(number)]);
            assert!(values.eq(labelmap.to_vec().unwrap()), "{encoding} {syntax}");
        }
    }
}
