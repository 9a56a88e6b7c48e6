//! Files that are cut, damaged or made to harm: an error each, in bounded memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use transunet::Error;
use transunet::weights::{Checkpoint, check, infer_sizes};

use crate::checkpoints::{Described, Zip, legacy, state_dict, text};
use crate::{common, tiny_vit};

/// Counts what the current thread has allocated.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

fn account(bytes: isize) {
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: forwards to the system's allocator and only counts beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        account(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        account(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        account(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        account(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What was allocated at most, beyond what was there, while `work` ran.
fn peak<T>(work: impl FnOnce() -> T) -> (T, isize) {
    let before = NOW.get();
    PEAK.set(before);
    let result = work();
    (result, PEAK.get() - before)
}

/// Opens a file and reads all of it, one tensor at a time, as loading does.
fn load(path: &Path) -> Result<(), Error> {
    let checkpoint = Checkpoint::open(path)?;
    let outcome = check(&checkpoint, &tiny_vit()).and(infer_sizes(&checkpoint).map(drop));
    for name in checkpoint.tensors.keys() {
        checkpoint.read(name)?;
    }
    outcome
}

const MB: isize = 1 << 20;

fn count_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
}

#[test]
fn cut_and_damaged_files_are_errors() {
    count_panics();
    let folder = tempfile::tempdir().unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = move |limit: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % limit
    };
    let (mut most, mut refused, mut passed) = (0, 0, 0);
    for (set, flips) in [
        ("vit/model.pth", 2000),
        ("vit/model.safetensors", 2000),
        ("vit/partial_legacy.pth", 2000),
        ("vit/partial_dataparallel.pth", 2000),
        ("vit/google.npz", 2000),
        ("r50/google.npz", 600),
    ] {
        let Some(golden) = common::golden("damaged files", set) else { return };
        let bytes = std::fs::read(golden).unwrap();
        let path = folder.path().join("file");
        for i in 0..200 {
            // Every short length, then lengths all over.
            let length = if i < 20 { i } else { below(bytes.len()) };
            std::fs::write(&path, &bytes[..length]).unwrap();
            let (result, used) = peak(|| load(&path));
            most = most.max(used);
            assert!(used < 64 * MB, "{set} cut at {length}: {used} bytes");
            match result {
                Err(Error::WeightsFormat(text)) => assert!(text.contains("file: "), "{text}"),
                Err(other) => panic!("{set} cut at {length}: {other}"),
                Ok(()) => panic!("{set} cut at {length} was accepted"),
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let mut put = |at: usize, byte: u8| {
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&[byte]).unwrap();
        };
        for i in 0..flips {
            // Half of the damage in headers and directories.
            let edge = bytes.len().min(12_000);
            let at = match i % 4 {
                0 => below(edge),
                1 => bytes.len() - 1 - below(edge),
                _ => below(bytes.len()),
            };
            put(at, bytes[at] ^ (1 + below(255)) as u8);
            let (result, used) = peak(|| load(&path));
            put(at, bytes[at]);
            most = most.max(used);
            assert!(used < 64 * MB, "{set} damaged at {at}: {used} bytes");
            match result {
                Err(Error::WeightsFormat(_) | Error::WeightsMismatch(_)) => refused += 1,
                Err(other) => panic!("{set} damaged at {at}: {other}"),
                Ok(()) => passed += 1,
            }
        }
    }
    println!("damaged bytes: {refused} refused, {passed} unnoticed; at most {} kB allocated", most / 1024);
    assert_eq!(PANICS.get(), 0, "panics were caught");
}

/// A zip checkpoint of this pickle, with one storage "0" of 4 floats.
fn pth(pickle: &[u8]) -> Vec<u8> {
    let mut zip = Zip::new(Vec::new());
    zip.store("a/data.pkl", pickle);
    zip.store("a/data/0", &[0; 16]);
    zip.finish()
}

fn tensor(shape: &[i64], strides: &[i64], first: i64, stored: i64) -> Vec<u8> {
    let (shape, strides) = (shape.to_vec(), strides.to_vec());
    state_dict(
        &[Described { name: "x", storage: "FloatStorage", key: "0".into(), stored, first, shape, strides }],
        false,
    )
}

fn npy(shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn npz(member: Vec<u8>) -> Vec<u8> {
    let mut zip = Zip::new(Vec::new());
    zip.store("embedding/bias.npy", &member);
    zip.finish()
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn hostile_files_are_refused_by_name() {
    count_panics();
    let zeros = vec![0u8; 256 << 20];
    let bomb = |name: &str, claim: Option<u32>| {
        let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        let whole = [npy("(67108864,)", b""), zeros.clone()].concat();
        packer.write_all(&whole).unwrap();
        let packed = packer.finish().unwrap();
        let mut zip = Zip::new(Vec::new());
        zip.add(name, 8, &packed, claim.unwrap_or(whole.len() as u32), crc32fast::hash(&whole));
        zip.finish()
    };
    let call = |module: &str, name: &str| format!("\x02c{module}\n{name}\n(").into_bytes();
    let system = |module: &str, name: &str| {
        [b"\x80".to_vec(), call(module, name), text("echo harm > /tmp/harm"), b"tR.".to_vec()].concat()
    };
    let stack_global = [b"\x80\x04".to_vec(), text("builtins"), text("exec"), b"\x93.".to_vec()].concat();
    let twice = {
        let one = |name: &'static str| Described::dense(name, "FloatStorage", 0, &[4]);
        state_dict(&[one("x"), one("x")], false)
    };
    let both_members = {
        let mut zip = Zip::new(Vec::new());
        for _ in 0..2 {
            zip.store("embedding/bias.npy", &npy("(1,)", &[0; 4]));
        }
        zip.finish()
    };
    let big_endian = {
        let mut zip = Zip::new(Vec::new());
        zip.store("a/data.pkl", &tensor(&[4], &[1], 0, 4));
        zip.store("a/byteorder", b"big");
        zip.store("a/data/0", &[0; 16]);
        zip.finish()
    };
    let wrong_crc = {
        let mut zip = Zip::new(Vec::new());
        zip.store("a/data.pkl", &tensor(&[4], &[1], 0, 4));
        zip.add("a/data/0", 0, &[1; 16], 16, 12345);
        zip.finish()
    };
    let other = |storage| state_dict(&[Described::dense("x", storage, 0, &[4])], false);
    let entry = |shape: &str, offsets: &str, dtype: &str| {
        format!("{{\"x\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}")
    };
    let x = entry("[4]", "[0,16]", "F32");
    let many_files = [&[0; 1 << 16][..], b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0"].concat();
    let deep = |open: &[u8], n: usize| [b"\x80\x02".to_vec(), open.repeat(n)].concat();
    let huge_text = [&b"\x80\x02X\xff\xff\xff\x7f"[..], b"abc"].concat();
    let doubling = {
        // A tuple of ten references to the tuple before, a hundred deep: 10^100 values when copied.
        let mut p = b"\x80\x02)q\0".to_vec();
        for _ in 0..100 {
            p.extend([b"(".to_vec(), b"h\0".repeat(10), b"tq\0".to_vec()].concat());
        }
        [p, b".".to_vec()].concat()
    };
    let copies = {
        let pairs = b"(NNt".repeat(10_000);
        let calls = b"h\0h\x01R0".repeat(200_000);
        [b"\x80\x02ccollections\nOrderedDict\nq\0](".to_vec(), pairs, b"e\x85q\x01".to_vec(), calls, b".".to_vec()]
            .concat()
    };
    let cycle = b"\x80\x02}q\0X\x05\0\0\0modelh\0s.".to_vec();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "empty"),
        ("text", b"hello, these are no weights".to_vec(), "unknown format"),
        ("html", b"<!DOCTYPE html><html>Not found".to_vec(), "unknown format"),
        ("Keras", b"\x89HDF\r\n\x1a\n".to_vec(), "HDF5 file, as Keras writes"),
        ("gzip", b"\x1f\x8b\x08\0".to_vec(), "gzip"),
        ("bare pickle", b"\x80\x04}.".to_vec(), "a pickle that torch.save did not write"),
        (
            "plain zip",
            {
                let mut z = Zip::new(Vec::new());
                z.store("readme.txt", b"hi");
                z.finish()
            },
            "readme.txt",
        ),
        ("os.system", pth(&system("os", "system")), "asks for os.system"),
        ("posix.system", pth(&system("posix", "system")), "nothing was executed"),
        ("eval", pth(&system("builtins", "eval")), "builtins.eval"),
        ("STACK_GLOBAL", pth(&stack_global), "builtins.exec"),
        ("legacy os.system", legacy(&system("os", "system"), &[]), "asks for os.system"),
        (
            "whole model",
            pth(&system("networks.vit_seg_modeling", "VisionTransformer")),
            "save model.state_dict() instead",
        ),
        ("numpy", pth(&system("numpy.core.multiarray", "_reconstruct")), "_reconstruct"),
        ("INST", pth(b"\x80\x02(ios\nsystem\n."), "operation 0x69"),
        ("no tensors", pth(b"\x80\x02}X\x05\0\0\0epochK\x03s."), "no tensors found"),
        ("a number", pth(b"\x80\x02K\x03."), "no tensors found"),
        ("empty pickle", pth(b""), "ends early"),
        ("no STOP", pth(b"\x80\x02}"), "ends early"),
        ("underflow", pth(b"\x80\x02R."), "takes more than it has put"),
        ("pop of a mark", pth(b"\x80\x02](a."), "takes more than it has put"),
        ("empty memo", pth(b"\x80\x02h\x07."), "memo slot 7 is empty"),
        (
            "unknown storage kind",
            pth(b"\x80\x02(X\x06\0\0\0moduleccollections\nOrderedDict\nNNNtQ."),
            "outside data of kind \"module\"",
        ),
        ("million marks", pth(&deep(b"(", 1 << 20)), "ends early"),
        ("million lists", pth(&deep(b"]", 1 << 20)), "far more than a state_dict needs"),
        ("nested tuples", pth(&[deep(b")\x85", 100_000), b".".to_vec()].concat()), "no tensors found"),
        (
            "long chain",
            pth(&[b"\x80\x02)".to_vec(), b"\x85".repeat(200_000), b".".to_vec()].concat()),
            "no tensors found",
        ),
        ("many operations", pth(&deep(b"N0", 4 << 20)), "far more than a state_dict needs"),
        ("huge text", pth(&huge_text), "far more than a state_dict needs"),
        ("doubling tuples", pth(&doubling), "no tensors found"),
        ("copied items", pth(&copies), "copies more items"),
        ("cycle", pth(&cycle), "no tensors found"),
        ("huge shape", pth(&tensor(&[1 << 40], &[1], 0, 1 << 40)), "storage 0 holds 4 elements"),
        ("overflowing shape", pth(&tensor(&[1 << 40, 1 << 40], &[1, 1], 0, 4)), "does not fit"),
        ("expanded", pth(&tensor(&[1 << 40], &[0], 0, 4)), "does not fit in the 4 elements"),
        ("beyond the storage", pth(&tensor(&[4], &[1], 1, 4)), "does not fit"),
        ("wide strides", pth(&tensor(&[2, 2], &[i64::MAX, 1], 0, 4)), "does not fit"),
        ("negative size", pth(&tensor(&[-4], &[1], 0, 4)), "a tensor has a size of -4"),
        ("negative offset", pth(&tensor(&[4], &[1], -1, 4)), "size of -1"),
        ("shape without strides", pth(&tensor(&[2, 2], &[1], 0, 4)), "strides [1]"),
        (
            "missing storage",
            {
                let mut z = Zip::new(Vec::new());
                z.store("a/data.pkl", &tensor(&[4], &[1], 0, 4));
                z.finish()
            },
            "x: storage 0 is missing",
        ),
        ("two of a name", pth(&twice), "holds tensor \"x\" twice"),
        ("big-endian", big_endian, "big-endian"),
        ("checksum", wrong_crc, "checksum"),
        ("complex", pth(&other("ComplexFloatStorage")), "complex or quantised"),
        ("quantised", pth(&other("QInt8Storage")), "complex or quantised"),
        ("legacy storage size", legacy(&tensor(&[4], &[1], 0, 4), &[("0", i64::MAX, &[0; 16])]), "impossible size"),
        ("legacy negative", legacy(&tensor(&[4], &[1], 0, 4), &[("0", -1, &[0; 16])]), "impossible size"),
        ("legacy cut", legacy(&tensor(&[4], &[1], 0, 4), &[("0", 4, &[0; 12])]), "truncated"),
        (
            "legacy unknown storage",
            legacy(&tensor(&[4], &[1], 0, 4), &[("1", 4, &[0; 16])]),
            "storage 1 belongs to no tensor",
        ),
        (
            "legacy short storage",
            legacy(&tensor(&[4], &[1], 0, 4), &[("0", 2, &[0; 16])]),
            "storage 0 holds 2 elements",
        ),
        ("zip bomb", bomb("embedding/bias.npy", None), "decompression bomb"),
        ("lying bomb", bomb("embedding/bias.npy", Some(4_000_000_000)), "decompression bomb"),
        ("pickle bomb", bomb("a/data.pkl", None), "decompression bomb"),
        ("two members", both_members, "twice"),
        ("many members", [b"PK\x03\x04".to_vec(), many_files].concat(), "directory is damaged"),
        ("npz shape", npz(npy("(1000000000000,)", &[0; 4])), "does not fit in the 1 elements"),
        ("npz overflow", npz(npy("(99999999999, 99999999999)", &[0; 4])), "shape is impossible"),
        (
            "npz objects",
            npz(npy("(1,)", &[0; 4]).iter().map(|&b| if b == b'f' { b'O' } else { b }).collect()),
            "not a NumPy array",
        ),
        ("npz nesting", npz(npy(&"(".repeat(3000), &[])), "plain array"),
        (
            "npz header",
            npz([&b"\x93NUMPY\x02\0\xff\xff\xff\xff"[..], &[b' '; 100]].concat()),
            "a NumPy header of 4294967295 bytes",
        ),
        (
            "npz big-endian",
            npz(npy("(1,)", &[0; 4]).iter().map(|&b| if b == b'<' { b'>' } else { b }).collect()),
            "big-endian",
        ),
        (
            "npz wrong axes",
            {
                let mut z = Zip::new(Vec::new());
                z.store("conv_root/kernel.npy", &npy("(1,)", &[0; 4]));
                z.finish()
            },
            "does not fit its name",
        ),
        (
            "safetensors 2^60",
            [&(1u64 << 60).to_le_bytes()[..], b"{}"].concat(),
            "header claims 1152921504606846976 bytes",
        ),
        ("safetensors JSON", safetensors("{\"x\":", &[]), "header is damaged"),
        ("safetensors nesting", safetensors(&format!("{{\"x\":{}", "[".repeat(100_000)), &[]), "header is damaged"),
        (
            "safetensors twice",
            safetensors(&format!("{},{}", &x[..x.len() - 1], &x[1..]), &[0; 16]),
            "tensor \"x\" twice",
        ),
        ("safetensors beyond", safetensors(&entry("[8]", "[0,32]", "F32"), &[0; 16]), "beyond the end"),
        ("safetensors shape", safetensors(&entry("[5]", "[0,16]", "F32"), &[0; 16]), "shape [5] does not fit"),
        (
            "safetensors overflow",
            safetensors(&entry("[4294967296,4294967296]", "[0,16]", "F32"), &[0; 16]),
            "does not fit",
        ),
        ("safetensors backwards", safetensors(&entry("[4]", "[16,0]", "F32"), &[0; 16]), "does not fit"),
        ("safetensors type", safetensors(&entry("[4]", "[0,4]", "F8_E4M3"), &[0; 4]), "F8_E4M3"),
        ("safetensors rest", safetensors(&x, &[0; 20]), "the header describes"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (name, bytes, part) in cases {
        let path = folder.path().join("file.pth");
        std::fs::write(&path, &bytes).unwrap();
        let start = std::time::Instant::now();
        let (result, used) = peak(|| load(&path));
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Err(Error::WeightsFormat(text))
                if text.contains(part) && text.contains("file.pth: ") && text.len() < 600 => {}
            Err(error) => wrong.push(format!("{name}: {error} (wanted {part:?})")),
            Ok(()) => wrong.push(format!("{name}: accepted")),
        }
        if used > 64 * MB || seconds > 2.0 {
            wrong.push(format!("{name}: {} MB allocated, {seconds:.1} s", used / MB));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(PANICS.get(), 0, "panics were caught");
    assert!(!Path::new("/tmp/harm").exists());
}

#[test]
fn what_is_no_file_is_an_io_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Checkpoint::open(&folder.path().join("nothing.pth")), Err(Error::Io { .. })));
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("not a file"), "{error}");
}
