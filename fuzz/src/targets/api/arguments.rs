//! Arguments drawn from the bytes of an input: numbers, texts, and structs of any size that their memory allows.

use std::ffi::{CString, c_char};
use std::ptr::null;

/// The rest of an input, and the texts that were made of it: they stay until the sequence has ended.
pub struct Choices<'a> {
    rest: &'a [u8],
    texts: Vec<CString>,
}

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Choices { rest: bytes, texts: Vec::new() }
    }

    /// The next byte, if there is one.
    pub fn next(&mut self) -> Option<u8> {
        self.rest.split_off_first().copied()
    }

    /// The next byte; 0 where the input has ended.
    pub fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()].clone()
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: u8) -> bool {
        self.byte() % n == n - 1
    }

    /// Small numbers more often than others.
    pub fn number(&mut self) -> u32 {
        match self.byte() {
            byte @ 0..=239 => u32::from(byte % 16),
            byte => [17, 64, 255, 256, 4095, 4096, 65_535, 65_536, 1 << 24, 1 << 31, u32::MAX - 1, u32::MAX]
                [usize::from(byte - 240) % 12],
        }
    }

    pub fn length(&mut self) -> f64 {
        const ODD: [f64; 12] =
            [0.0, -1.0, 1e-9, 1e-3, 1e3, 1e9, 1e300, -1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324];
        match self.byte() {
            byte @ 0..=199 => f64::from(1 + byte % 40) / 8.0,
            byte => ODD[usize::from(byte - 200) % ODD.len()],
        }
    }

    /// A text made of the input's bytes.
    pub fn text(&mut self) -> *const c_char {
        let count = usize::from(self.byte() % 24).min(self.rest.len());
        let (text, rest) = self.rest.split_at(count);
        self.rest = rest;
        let text: Vec<u8> = text.iter().copied().filter(|&byte| byte != 0).collect();
        self.texts.push(CString::new(text).expect("no NUL is left"));
        self.texts.last().map_or(null(), |text| text.as_ptr())
    }

    /// NULL, a text made of the input's bytes, or one of `texts`, if there are any.
    pub fn maybe(&mut self, texts: &[CString]) -> *const c_char {
        match self.byte() % 4 {
            0 | 1 => null(),
            2 if !texts.is_empty() => self.one_of(texts),
            _ => self.text(),
        }
    }

    /// One of `texts`; sometimes none, an empty one, a long one, or one that is no UTF-8.
    pub fn one_of(&mut self, texts: &[CString]) -> *const c_char {
        const LONG: &[u8; 4097] = &{
            let mut text = [b'x'; 4097];
            text[4096] = 0;
            text
        };
        match self.byte() {
            255 => null(),
            254 => c"".as_ptr(),
            253 => c"\xff\xfe".as_ptr(),
            252 => LONG.as_ptr().cast(),
            byte => texts[usize::from(byte) % texts.len()].as_ptr(),
        }
    }

    /// `record`, whose first field is struct_size, in memory of just the size that the field then says: its own, a smaller
    /// or a larger one. `None` stands for NULL.
    pub fn sized<T: Copy>(&mut self, record: T) -> Option<Record> {
        let own = size_of::<T>();
        let size = match self.byte() {
            0..=31 => return None,
            32..=223 => own,
            224..=239 => usize::from(self.byte()) % own,
            _ => own + usize::from(self.byte()),
        };
        let mut memory = vec![0xAA; size.max(size_of::<usize>())];
        let kept = own.min(memory.len());
        // SAFETY: both have `kept` bytes, and any bytes will do where the library reads the memory.
        unsafe { std::ptr::copy_nonoverlapping((&raw const record).cast::<u8>(), memory.as_mut_ptr(), kept) };
        memory[..size_of::<usize>()].copy_from_slice(&size.to_ne_bytes());
        Some(Record(memory))
    }
}

/// A struct in the caller's memory, which ends where it says.
pub struct Record(pub Vec<u8>);

/// What the library is given for `record`.
pub fn pointer<T>(record: &Option<Record>) -> *const T {
    record.as_ref().map_or(null(), |record| record.0.as_ptr().cast())
}
