//! Writes checkpoints as PyTorch does, honest and hostile ones, since no torch is at hand.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// A zip archive, written member by member.
pub struct Zip<W: Write> {
    out: W,
    at: u32,
    directory: Vec<u8>,
    count: u16,
    /// Directory in zip64 form, as for more than 4 GB.
    pub large: bool,
}

impl Zip<BufWriter<File>> {
    pub fn create(path: &Path) -> Self {
        Zip::new(BufWriter::new(File::create(path).unwrap()))
    }
}

impl<W: Write> Zip<W> {
    pub fn new(out: W) -> Self {
        Zip { out, at: 0, directory: Vec::new(), count: 0, large: false }
    }

    pub fn store(&mut self, name: &str, data: &[u8]) {
        self.add(name, 0, data, data.len() as u32, crc32fast::hash(data));
    }

    pub fn deflate(&mut self, name: &str, data: &[u8]) {
        let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(data).unwrap();
        self.add(name, 8, &packer.finish().unwrap(), data.len() as u32, crc32fast::hash(data));
    }

    /// A member that may lie about its size and checksum.
    pub fn add(&mut self, name: &str, method: u16, stored: &[u8], size: u32, crc32: u32) {
        let fields = |sizes: [u32; 2], extra: u16| {
            let mut fields = Vec::new();
            for half in [20, 0, method, 0, 0] {
                fields.extend(half.to_le_bytes());
            }
            for word in [crc32, sizes[0], sizes[1]] {
                fields.extend(word.to_le_bytes());
            }
            fields.extend((name.len() as u16).to_le_bytes());
            fields.extend(extra.to_le_bytes());
            fields
        };
        let sizes = [stored.len() as u32, size];
        let (shown, extra) = if self.large { ([u32::MAX; 2], 28) } else { (sizes, 0) };
        self.directory.extend(b"PK\x01\x02\x14\0");
        self.directory.extend(fields(shown, extra));
        self.directory.extend([0; 10]);
        self.directory.extend(if self.large { u32::MAX } else { self.at }.to_le_bytes());
        self.directory.extend(name.as_bytes());
        if self.large {
            self.directory.extend([1, 0, 24, 0]);
            for value in [size, sizes[0], self.at] {
                self.directory.extend(u64::from(value).to_le_bytes());
            }
        }
        let fields = fields(sizes, 0);
        for part in [b"PK\x03\x04", &fields[..], name.as_bytes(), stored] {
            self.out.write_all(part).unwrap();
            self.at += part.len() as u32;
        }
        self.count += 1;
    }

    pub fn finish(mut self) -> W {
        self.out.write_all(&self.directory).unwrap();
        if self.large {
            let (size, start) = (self.directory.len() as u64, u64::from(self.at));
            let count = u64::from(self.count);
            self.out.write_all(b"PK\x06\x06").unwrap();
            self.out.write_all(&44u64.to_le_bytes()).unwrap();
            self.out.write_all(&[0; 12]).unwrap();
            for value in [count, count, size, start] {
                self.out.write_all(&value.to_le_bytes()).unwrap();
            }
            self.out.write_all(b"PK\x06\x07\0\0\0\0").unwrap();
            self.out.write_all(&(start + size).to_le_bytes()).unwrap();
            self.out.write_all(&1u32.to_le_bytes()).unwrap();
            self.out.write_all(b"PK\x05\x06\0\0\0\0").unwrap();
            self.out.write_all(&[0xff; 12]).unwrap();
            self.out.write_all(&[0, 0]).unwrap();
            self.out.flush().unwrap();
            return self.out;
        }
        self.out.write_all(b"PK\x05\x06\0\0\0\0").unwrap();
        self.out.write_all(&self.count.to_le_bytes()).unwrap();
        self.out.write_all(&self.count.to_le_bytes()).unwrap();
        self.out.write_all(&(self.directory.len() as u32).to_le_bytes()).unwrap();
        self.out.write_all(&self.at.to_le_bytes()).unwrap();
        self.out.write_all(&[0, 0]).unwrap();
        self.out.flush().unwrap();
        self.out
    }
}

/// A tensor as the pickle describes it.
pub struct Described<'a> {
    pub name: &'a str,
    /// "FloatStorage", ...
    pub storage: &'a str,
    pub key: String,
    /// Elements of the storage.
    pub stored: i64,
    pub first: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

impl<'a> Described<'a> {
    /// A whole storage, row-major.
    pub fn dense(name: &'a str, storage: &'a str, key: usize, shape: &[usize]) -> Self {
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        let stored = shape.iter().product();
        Described { name, storage, key: key.to_string(), stored, first: 0, shape, strides }
    }
}

pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

pub fn int(value: i64) -> Vec<u8> {
    [&[0x8a, 8], &value.to_le_bytes()[..]].concat()
}

fn ints(values: &[i64]) -> Vec<u8> {
    [b"(".to_vec(), values.iter().flat_map(|&v| int(v)).collect(), b"t".to_vec()].concat()
}

/// A tensor of a CUDA model; `legacy` files name a view of its storage, or none.
fn rebuilt(t: &Described, legacy: bool) -> Vec<u8> {
    let mut p = b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    p.extend(text("storage"));
    p.extend(format!("ctorch\n{}\n", t.storage).as_bytes());
    p.extend([text(&t.key), text("cuda:0"), int(t.stored)].concat());
    if legacy {
        p.push(b'N');
    }
    p.extend(b"tQ");
    p.extend([int(t.first), ints(&t.shape), ints(&t.strides)].concat());
    p.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    p
}

/// The state_dict of `tensors` with `_metadata`, as torch pickles it.
pub fn state_dict(tensors: &[Described], legacy: bool) -> Vec<u8> {
    let mut p = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    for t in tensors {
        p.extend(text(t.name));
        p.extend(rebuilt(t, legacy));
    }
    p.extend(b"u}");
    p.extend(text("_metadata"));
    p.extend(b"ccollections\nOrderedDict\n)Rsb.");
    p
}

/// The same from Python 2: byte strings, and all items handed to OrderedDict at once.
pub fn state_dict_of_python_2(tensors: &[Described]) -> Vec<u8> {
    let mut p = b"\x80\x02ccollections\nOrderedDict\n(](".to_vec();
    for t in tensors {
        p.extend([b"](U", &[t.name.len() as u8][..], t.name.as_bytes()].concat());
        p.extend(rebuilt(t, true));
        p.push(b'e');
    }
    p.extend(b"etR.");
    p
}

/// A zip checkpoint of float32 tensors, one storage each; `element` makes them.
pub fn write_pth(path: &Path, tensors: &[(String, Vec<usize>)], mut elements: impl FnMut(&str, &[usize]) -> Vec<f32>) {
    let storage = |name: &str| if name.ends_with("num_batches_tracked") { "LongStorage" } else { "FloatStorage" };
    let described: Vec<_> = tensors
        .iter()
        .enumerate()
        .map(|(key, (name, shape))| Described::dense(name, storage(name), key, shape))
        .collect();
    let mut zip = Zip::create(path);
    zip.store("archive/data.pkl", &state_dict(&described, false));
    zip.store("archive/byteorder", b"little");
    for (key, (name, shape)) in tensors.iter().enumerate() {
        let values = elements(name, shape);
        let member = format!("archive/data/{key}");
        match storage(name) {
            "LongStorage" => {
                let raw: Vec<u8> = values.iter().flat_map(|&x| (x as i64).to_le_bytes()).collect();
                zip.store(&member, &raw);
            }
            _ => zip.store(&member, bytemuck::cast_slice(&values)),
        }
    }
    zip.store("archive/version", b"3\n");
    zip.finish();
}

/// A stream of pickles as torch wrote before 1.6: (storage key, elements, bytes).
pub fn legacy(state_dict: &[u8], storages: &[(&str, i64, &[u8])]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    file.extend(b"\x80\x02}(");
    file.extend([text("protocol_version"), b"M\xe9\x03".to_vec(), text("little_endian"), b"\x88u.".to_vec()].concat());
    file.extend(state_dict);
    file.extend(b"\x80\x02](");
    file.extend(storages.iter().flat_map(|(key, ..)| text(key)));
    file.extend(b"e.");
    for (_, count, data) in storages {
        file.extend(count.to_le_bytes());
        file.extend(*data);
    }
    file
}
