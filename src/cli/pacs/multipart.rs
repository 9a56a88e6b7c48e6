//! Bodies of several parts (RFC 2046 5.1), read as they come: memory is bounded whatever their sizes.

use std::io::{self, ErrorKind, Read, Write};

use memchr::memmem;

/// Bytes asked for at once.
const CHUNK: usize = 128 << 10;
/// Lines before a part; DICOMweb needs three.
const LONGEST_HEAD: usize = 16 << 10;

pub struct Parts<R> {
    source: R,
    /// Read and not yet used.
    ahead: Vec<u8>,
    delimiter: Vec<u8>,
    /// The delimiter behind the part (or before the first) is still to come.
    within: bool,
    ended: bool,
}

impl<R: Read> Parts<R> {
    pub fn new(source: R, boundary: &str) -> Self {
        // The first delimiter may stand at the very beginning.
        let ahead = b"\r\n".to_vec();
        Parts { source, ahead, delimiter: [b"\r\n--", boundary.as_bytes()].concat(), within: true, ended: false }
    }

    /// Goes to the next part, over what was not read of this one: its head, or `None` behind the last.
    pub fn next(&mut self) -> io::Result<Option<String>> {
        if self.ended {
            return Ok(None);
        }
        if self.within {
            self.copy(&mut io::sink())?;
        }
        while self.ahead.len() < 2 {
            self.fill()?;
        }
        if self.ahead.starts_with(b"--") {
            self.ended = true;
            return Ok(None);
        }
        loop {
            // What follows the boundary on its line is white space; a part may have no head.
            if let Some(end) = memmem::find(&self.ahead, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.ahead[..end]).trim().to_owned();
                self.ahead.drain(..end + 4);
                // An empty body may share its line end with the delimiter.
                self.ahead.splice(..0, *b"\r\n");
                self.within = true;
                return Ok(Some(head));
            }
            if self.ahead.len() > LONGEST_HEAD {
                return Err(io::Error::new(ErrorKind::InvalidData, "the head of a part has no end"));
            }
            self.fill()?;
        }
    }

    /// Writes the rest of the part to `out`, up to and over the delimiter behind it.
    fn copy(&mut self, out: &mut dyn Write) -> io::Result<u64> {
        let mut written = 0;
        loop {
            if let Some(at) = memmem::find(&self.ahead, &self.delimiter) {
                out.write_all(&self.ahead[..at])?;
                self.ahead.drain(..at + self.delimiter.len());
                self.within = false;
                return Ok(written + at as u64);
            }
            let sure = self.ahead.len().saturating_sub(self.delimiter.len() - 1);
            out.write_all(&self.ahead[..sure])?;
            self.ahead.drain(..sure);
            written += sure as u64;
            self.fill()?;
        }
    }

    /// Writes the part, whose head was just read, to `out`; returns its length.
    pub fn body(&mut self, out: &mut dyn Write) -> io::Result<u64> {
        let mut rest = Behind { out, skip: 2 };
        Ok(self.copy(&mut rest)?.saturating_sub(2))
    }

    fn fill(&mut self) -> io::Result<()> {
        let had = self.ahead.len();
        self.ahead.resize(had + CHUNK, 0);
        let got = loop {
            match self.source.read(&mut self.ahead[had..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                got => break got,
            }
        };
        self.ahead.truncate(had + *got.as_ref().unwrap_or(&0));
        match got? {
            0 => Err(io::Error::new(ErrorKind::UnexpectedEof, "it ends within a part")),
            _ => Ok(()),
        }
    }
}

/// Passes on all but the first `skip` bytes.
struct Behind<'a> {
    out: &'a mut dyn Write,
    skip: usize,
}

impl Write for Behind<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.out.write_all(&bytes[skipped..])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The parameter `name` of a header such as `multipart/related; type="application/dicom"; boundary=x`.
pub fn parameter(header: &str, name: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (key, value) = rest.split_once('=')?;
        let value = value.trim_start();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value.trim().to_owned());
        }
        rest = after.split_once(';')?.1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(into.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn read(bytes: &[u8], drop: usize) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut parts = Parts::new(Drops(bytes, drop), "b0");
        let mut found = Vec::new();
        while let Some(head) = parts.next()? {
            let mut body = Vec::new();
            let length = parts.body(&mut body)?;
            assert_eq!(length, body.len() as u64);
            found.push((head, body));
        }
        Ok(found)
    }

    #[test]
    fn parts_come_as_they_were_sent() {
        let body = b"preamble\r\n--b0\r\nContent-Type: application/dicom\r\n\r\n\r\n--b1 \r\n--b\r\n--b0\r\n\r\n\r\n--b0 \r\nA: 1\r\nB: 2\r\n\r\n\0\r\n\r\n--b0--\r\nepilogue";
        for drop in [1, 2, 3, 7, 1000] {
            let parts = read(body, drop).unwrap();
            let expected: [(&str, &[u8]); 3] =
                [("Content-Type: application/dicom", b"\r\n--b1 \r\n--b"), ("", b""), ("A: 1\r\nB: 2", b"\0\r\n")];
            assert_eq!(parts, expected.map(|(head, body)| (head.to_owned(), body.to_vec())), "{drop} bytes at a time");
        }
        assert!(read(b"--b0--", 1).unwrap().is_empty());
    }

    #[test]
    fn a_body_that_ends_early_is_an_error() {
        let whole = b"--b0\r\nA: 1\r\n\r\nbytes\r\n--b0--";
        assert_eq!(read(whole, 1000).unwrap().len(), 1);
        for end in 0..whole.len() {
            let error = read(&whole[..end], 5).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "after {end} bytes");
        }
        let endless = [&b"--b0\r\n"[..], &[b'x'; 1 << 20]].concat();
        assert_eq!(read(&endless, 4096).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn parameters_of_a_header() {
        let header = "Multipart/Related; type=\"application/dicom; x=1\"; Boundary=\"a b\"; start=q";
        assert_eq!(parameter(header, "boundary").as_deref(), Some("a b"));
        assert_eq!(parameter(header, "start").as_deref(), Some("q"));
        assert_eq!(parameter(header, "type").as_deref(), Some("application/dicom; x=1"));
        assert_eq!(parameter("multipart/related; boundary=abc", "boundary").as_deref(), Some("abc"));
        assert_eq!(parameter("multipart/related; boundary=\"abc", "boundary"), None);
        assert_eq!(parameter("multipart/related", "boundary"), None);
    }
}
