//! NRRD and NIfTI files at the edge of what is read and beyond it: each with the message that a person gets.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use transunet::formats::{read_labels, read_volume};

/// A good NIfTI file of 2 x 2 x 2 i16 voxels, 1 mm, sform.
fn nifti() -> Vec<u8> {
    let mut bytes = vec![0; 352];
    let mut put = |at: usize, new: &[u8]| bytes[at..at + new.len()].copy_from_slice(new);
    put(0, &348i32.to_le_bytes());
    for (n, dim) in [3i16, 2, 2, 2, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * n, &dim.to_le_bytes());
    }
    put(70, &4i16.to_le_bytes());
    put(72, &16i16.to_le_bytes());
    for n in 0..8 {
        put(76 + 4 * n, &1f32.to_le_bytes());
    }
    put(108, &352f32.to_le_bytes());
    put(123, &[2]);
    put(254, &1i16.to_le_bytes());
    for n in 0..3 {
        put(280 + 20 * n, &1f32.to_le_bytes());
    }
    put(344, b"n+1\0");
    bytes.extend((0..8i16).flat_map(i16::to_le_bytes));
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn refusal(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let error = read_volume(&path).expect_err("a bad file is refused").to_string();
    let place = format!("{}: ", path.display());
    error.strip_prefix(&place).unwrap_or_else(|| panic!("{error} does not name {place}")).to_string()
}

#[test]
fn bad_nifti_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.nii");
    std::fs::write(&good, nifti()).unwrap();
    let volume = read_volume(&good).unwrap();
    assert_eq!(volume.to_vec().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    assert_eq!(volume.geometry().direction, [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]);

    let i16s = |values: &[i16]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let f32s = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let huge = i16s(&[3, 32767, 32767, 32767]);
    let table: &[(usize, Vec<u8>, &str)] = &[
        (0, 540i32.to_le_bytes().to_vec(), "a NIfTI-2 file, expected NIfTI-1"),
        (0, 349i32.to_le_bytes().to_vec(), "header size 349, expected 348"),
        (344, b"nope".to_vec(), "not a NIfTI-1 file: its magic code is missing"),
        (344, b"ni1\0".to_vec(), "the header of a NIfTI pair (.hdr, .img), expected a single .nii file"),
        (40, i16s(&[0]), "dimensions [0, 2, 2, 2, 1, 1, 1, 1]"),
        (40, i16s(&[8]), "dim[0], the number of dimensions, is not among 1 to 7"),
        (40, i16s(&[2]), "dimensions [2, 2, 2, 2, 1, 1, 1, 1]"),
        (42, i16s(&[0]), "dimensions [3, 0, 2, 2, 1, 1, 1, 1]"),
        (40, i16s(&[3, -2]), "dimensions [3, -2, 2, 2, 1, 1, 1, 1]"),
        (40, i16s(&[4, 2, 2, 2, 3]), "dimensions [4, 2, 2, 2, 3, 1, 1, 1]"),
        (
            40,
            huge.clone(),
            "truncated: [32767, 32767, 32767] voxels need 70362301923326 bytes, the file holds at most 16",
        ),
        (70, i16s(&[32]), "data type 32 (complex numbers), expected one integer or float per voxel"),
        (70, i16s(&[128]), "data type 128 (colours), expected one integer or float per voxel"),
        (70, i16s(&[99]), "data type 99 (unknown), expected one integer or float per voxel"),
        (108, f32s(&[0.0]), "vox_offset 0, expected a whole number from 352 on"),
        (108, f32s(&[f32::NAN]), "vox_offset NaN, expected a whole number from 352 on"),
        (108, f32s(&[4096.0]), "truncated: the file ends within its header"),
        (112, f32s(&[f32::INFINITY]), "scl_slope inf, scl_inter 0, expected finite numbers"),
        (112, f32s(&[1.0, f32::NAN]), "scl_slope 1, scl_inter NaN, expected finite numbers"),
        (
            112,
            f32s(&[f32::MAX]),
            "voxel (0, 1, 0) is inf, expected finite numbers everywhere; replace such voxels first",
        ),
        (123, vec![3], "lengths are in micrometres, expected mm"),
        (254, i16s(&[0]), "neither sform nor qform is set, so the patient's orientation is unknown"),
        (252, i16s(&[1, 0, 0, 0]), ""),
        (280, f32s(&[f32::NAN]), "sform: geometry: spacing [NaN, 1.0, 1.0] mm, expected positive finite numbers"),
        (292, f32s(&[f32::INFINITY]), "sform: geometry: origin [-inf, 0.0, 0.0], expected finite numbers"),
        (280, f32s(&[0.0]), "sform: geometry: spacing [0.0, 1.0, 1.0] mm, expected positive finite numbers"),
        (284, f32s(&[0.5]), "sform: geometry: axes 0 and 1 are not orthogonal (cosine 0.4472)"),
    ];
    for (at, new, message) in table {
        let mut bytes = nifti();
        bytes[*at..at + new.len()].copy_from_slice(new);
        if message.is_empty() {
            std::fs::write(&good, &bytes).unwrap();
            read_volume(&good).unwrap();
            continue;
        }
        let tail = " (first their number), expected one volume of three dimensions";
        let tail = if message.starts_with("dimensions") { tail } else { "" };
        assert_eq!(refusal("x.nii", &bytes), format!("{message}{tail}"));
    }

    let mut quaternion = nifti();
    quaternion[252..256].copy_from_slice(&[1, 0, 0, 0]);
    quaternion[256..260].copy_from_slice(&2f32.to_le_bytes());
    assert_eq!(refusal("x.nii", &quaternion), "qform: quaternion (2, 0, 0) is not a rotation");

    // A few hundred bytes of gzip that claim 64 TiB, cut streams, a wrong checksum.
    let mut bomb = nifti();
    bomb[40..48].copy_from_slice(&huge);
    let refused = refusal("x.nii.gz", &gzip(&bomb));
    assert!(refused.starts_with("truncated: [32767, 32767, 32767] voxels need 70362301923326 bytes"), "{refused}");
    assert_eq!(refusal("x.nii", &nifti()[..200]), "truncated: the file ends within its header");
    assert_eq!(refusal("x.nii", b""), "truncated: the file ends within its header");
    assert_eq!(
        refusal("x.nii", &nifti()[..367]),
        "truncated: [2, 2, 2] voxels need 16 bytes, the file holds at most 15"
    );
    let packed = gzip(&nifti());
    assert_eq!(refusal("x.nii.gz", &packed[..packed.len() - 12]), "truncated: the file ends within its voxels");
    let mut flipped = packed.clone();
    let crc = packed.len() - 8;
    flipped[crc] ^= 1;
    let refused = refusal("x.nii.gz", &flipped);
    assert!(refused.contains("corrupt gzip stream"), "{refused}");
}

/// A good NRRD header of 2 x 2 x 2 bytes without its last, blank line.
const NRRD: &str = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nspace: left-posterior-superior\n\
                    space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\n";

#[test]
fn bad_nrrd_files_are_refused() {
    let table: &[(&str, &str, &str)] = &[
        ("NRRD0004", "NRRD0009", "not a NRRD file: it does not begin with NRRD0001 to NRRD0005"),
        ("type: uint8\n", "", "the field \"type\" is missing"),
        ("uint8", "block", "type: \"block\", expected an integer or float type"),
        ("uint8", "short", "the field \"endian\" is missing"),
        ("uint8", "short\nendian: middle", "endian: \"middle\", expected little or big"),
        ("dimension: 3", "dimension: 2", "dimension: \"2\", expected a volume of 3"),
        ("sizes: 2 2 2", "sizes: 2 2", "sizes: 2 of them, dimension says 3"),
        ("sizes: 2 2 2", "sizes: 2 0 2", "sizes: \"2 0 2\", expected positive whole numbers"),
        ("sizes: 2 2 2", "sizes: 2 -2 2", "sizes: \"2 -2 2\", expected positive whole numbers"),
        (
            "sizes: 2 2 2",
            "sizes: 4294967295 4294967295 4294967295",
            "space directions: geometry: size [4294967295, 4294967295, 4294967295] is too large to address",
        ),
        (
            "sizes: 2 2 2",
            "sizes: 99999 99999 999",
            "truncated: [99999, 99999, 999] voxels need 9989800200999 bytes, the file holds at most 8",
        ),
        (
            "space: left-posterior-superior\n",
            "",
            "the field \"space\" is missing, so the patient's orientation is unknown; expected left-posterior-superior or \
             right-anterior-superior",
        ),
        (
            "space: left-posterior-superior",
            "space: scanner-xyz",
            "space: \"scanner-xyz\" does not say where the patient is, expected left-posterior-superior, \
             right-anterior-superior or left-anterior-superior",
        ),
        ("space origin: (0,0,0)\n", "", "the field \"space origin\" is missing"),
        ("space origin: (0,0,0)", "space origin: (0,0)", "space origin: \"(0,0)\", expected vectors such as (1,0,0)"),
        (
            "(1,0,0) (0,1,0)",
            "(1,0,0) none",
            "sizes: [2, 2, 2] with 2 values per voxel, expected one volume of one number per voxel",
        ),
        ("(1,0,0) (0,1,0)", "(1,0,0)", "space directions: 2 for 3 axes"),
        (
            "(1,0,0)",
            "(nan,0,0)",
            "space directions: geometry: spacing [NaN, 1.0, 1.0] mm, expected positive finite numbers",
        ),
        ("(1,0,0)", "(1,1,0)", "space directions: geometry: axes 0 and 1 are not orthogonal (cosine 0.7071)"),
        (
            "encoding: raw",
            "encoding: raw\nspace units: \"m\" \"m\" \"m\"",
            "space units: \"m\" \"m\" \"m\", expected \"mm\"",
        ),
        ("encoding: raw", "encoding: bzip2", "encoding: \"bzip2\", expected raw, gzip or ascii"),
        ("encoding: raw", "encoding: gzip", "truncated: the file ends within its voxels"),
        ("encoding: raw", "encoding: gzip\n\nno gzip at all", "cannot read the voxels: invalid gzip header"),
        ("encoding: raw", "encoding: ascii\n\n0 1 2 3 x 5 6 7", "voxel 4: \"x\" is not a number"),
        ("encoding: raw", "encoding: raw\nbyte skip: -2", "byte skip: -2, expected 0 or more, or -1 with raw voxels"),
        ("encoding: raw", "encoding: raw\nline skip: 99999999999", "truncated: the file ends within its line skip"),
        (
            "encoding: raw",
            "encoding: raw\ndata file: ../x.raw",
            "data file: \"../x.raw\" leaves the folder of the header, expected a file beside it",
        ),
        (
            "encoding: raw",
            "encoding: raw\ndata file: /etc/passwd",
            "data file: \"/etc/passwd\" leaves the folder of the header, expected a file beside it",
        ),
        (
            "encoding: raw",
            "encoding: raw\ndata file: LIST",
            "data file: \"LIST\", expected one file; several are not read",
        ),
        ("encoding: raw", "encoding: raw\nencoding: raw", "header line 9: \"encoding\" for a second time"),
        ("encoding: raw", "what", "header line 8: \"what\", expected \"field: value\" or \"key:=value\""),
    ];
    for (from, to, message) in table {
        assert!(NRRD.contains(from), "{from}");
        let bytes = format!("{}\nabcdefgh", NRRD.replacen(from, to, 1));
        assert_eq!(refusal("x.nrrd", bytes.as_bytes()), *message, "{to}");
    }
    assert_eq!(
        refusal("x.nrrd", format!("{NRRD}\nabc").as_bytes()),
        "truncated: [2, 2, 2] voxels need 8 bytes, the file holds at most 3"
    );
    let nan = format!("{}\n0 1 2 3 4 nan 6 7", NRRD.replace("raw", "ascii").replace("uint8", "float"));
    assert_eq!(
        refusal("x.nrrd", nan.as_bytes()),
        "voxel (1, 0, 1) is NaN, expected finite numbers everywhere; replace such voxels first"
    );
    let endless = [b"NRRD0004\n".as_slice(), &vec![b'x'; 17 << 20]].concat();
    assert_eq!(refusal("x.nrrd", &endless), "the header has no end within 16 MB");
    let error = read_volume(Path::new("x.mha")).unwrap_err().to_string();
    assert_eq!(error, "x.mha: not the name of a volume, expected .nrrd, .nhdr, .nii or .nii.gz");
    let error = read_volume(Path::new("/nowhere.nrrd")).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere.nrrd: cannot open: "), "{error}");
}

#[test]
fn voxels_at_the_end_of_a_file_and_below_the_header() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("below")).unwrap();
    let path = folder.path().join("x.nrrd");
    let expected: Vec<f32> = (b'a'..=b'h').map(f32::from).collect();
    for (field, head) in [("byte skip: -1", "#!?"), ("byte skip: 3", "#!?"), ("line skip: 2", "one\ntwo\n")] {
        std::fs::write(&path, format!("{NRRD}{field}\n\n{head}abcdefgh")).unwrap();
        assert_eq!(read_volume(&path).unwrap().to_vec().unwrap(), expected, "{field}");
    }
    std::fs::write(folder.path().join("below/x.raw"), "abcdefgh").unwrap();
    let path = folder.path().join("x.nhdr");
    std::fs::write(&path, format!("{NRRD}data file: ./below/x.raw\n")).unwrap();
    assert_eq!(read_volume(&path).unwrap().to_vec().unwrap(), expected);
}

#[test]
fn label_images_must_hold_labels() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.nrrd");
    for (voxels, message) in [
        ("0 1 2 3 4 5 6 2.5", "voxel (1, 1, 1) is 2.5, expected a label from 0 to 255"),
        ("0 -1 2 3 4 5 6 7", "voxel (1, 0, 0) is -1, expected a label from 0 to 255"),
        ("0 1 256 3 4 5 6 7", "voxel (0, 1, 0) is 256, expected a label from 0 to 255"),
    ] {
        std::fs::write(&path, format!("{}\n{voxels}", NRRD.replace("raw", "ascii").replace("uint8", "float"))).unwrap();
        assert_eq!(read_labels(&path).unwrap_err().to_string(), format!("{}: {message}", path.display()));
    }
}
