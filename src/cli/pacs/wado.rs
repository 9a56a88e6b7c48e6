//! WADO-RS (PS3.18 10.4): the instances of a series or study, as they are stored, each to a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use transunet::Error;
use ureq::http::StatusCode;

use super::address::{Content, Web};
use super::line::Line;
use super::multipart::Parts;
use super::trouble::{Result, Trouble, causes, tame};
use super::web::{Access, Server, kind, refused};

/// As stored, whatever the compression; some servers know only the form with the type alone.
const ACCEPT: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";

/// Fetches `content` into files of `folder`; returns how many.
pub fn fetch(web: &Web, content: &Content, access: &Access, folder: &Path, line: &Line) -> Result<usize> {
    let server = Server::new(web, access)?;
    let series = content.series.as_ref().map_or(String::new(), |series| format!("/series/{series}"));
    let mut response = server.get(&format!("/studies/{}{series}", content.study), ACCEPT)?;
    line.alive()?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NO_CONTENT => return Ok(0),
        StatusCode::PARTIAL_CONTENT => {
            let hint = "the server has images that it does not hand out as they are stored; ask who runs it";
            return Err(Trouble::peer("the server hands out only some of the images (HTTP status 206)", hint));
        }
        _ => return Err(refused(response)),
    }
    let (kind, boundary) = kind(&response);
    let mut body = response.body_mut().as_reader();
    match (kind.as_str(), boundary) {
        ("multipart/related", Some(boundary)) => {
            let mut parts = Parts::new(body, &boundary);
            let mut count = 0;
            loop {
                let incomplete = |error: io::Error| broken_off(&error, count);
                match parts.next().map_err(incomplete)? {
                    None => return Ok(count),
                    Some(_) => receive(folder, count, line, |out| parts.body(out).map(|_| ()))?,
                }
                count += 1;
                line.tell(count as u64, 0)?;
            }
        }
        ("application/dicom", _) => {
            receive(folder, 0, line, |out| io::copy(&mut body, out).map(|_| ()))?;
            Ok(1)
        }
        (kind, _) => Err(Trouble::peer(
            format!("the answer is {:?}, expected multipart/related with DICOM instances", tame(kind)),
            "is the part before /studies that of a DICOMweb server?",
        )),
    }
}

fn broken_off(error: &io::Error, count: usize) -> Trouble {
    let text = causes(error);
    let hint = match text.contains("timeout") {
        true => "--timeout SECONDS waits longer",
        false => "the connection broke or the server gave up; try again",
    };
    Trouble::peer(format!("the answer broke off within image {}: {text}", count + 1), hint)
}

/// Fills the file of image `count` (from 0).
fn receive(
    folder: &Path,
    count: usize,
    line: &Line,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let mut file = Arriving::new(folder, count, line)?;
    let filled = fill(&mut file);
    file.finish(filled).map_err(|error| broken_off(&error, count))?
}

/// A file that is being fetched; keeps apart what the disk and what the peer did.
pub struct Arriving<'a> {
    out: BufWriter<File>,
    path: std::path::PathBuf,
    line: &'a Line,
    trouble: Option<Trouble>,
}

impl<'a> Arriving<'a> {
    /// File number `count` of `folder`: no name is taken from a peer.
    pub fn new(folder: &Path, count: usize, line: &'a Line) -> Result<Self> {
        line.check()?;
        let path = folder.join(format!("{:06}.dcm", count + 1));
        let file = File::create_new(&path).map_err(|error| Trouble::Disk(Error::io(&path, "create", error)))?;
        Ok(Arriving { out: BufWriter::with_capacity(1 << 18, file), path, line, trouble: None })
    }

    /// `filled` says how the source ended; its own error is the outer one.
    pub fn finish(mut self, filled: io::Result<()>) -> io::Result<Result<()>> {
        if let Some(trouble) = self.trouble.take() {
            return Ok(Err(trouble));
        }
        filled?;
        Ok(self.out.flush().map_err(|error| Trouble::Disk(Error::io(&self.path, "write", error))))
    }
}

impl Write for Arriving<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stopped = self.line.alive().err();
        let written = self.out.write(bytes);
        self.trouble = match (stopped, &written) {
            (Some(trouble), _) => Some(trouble),
            (None, Err(error)) => {
                let error = io::Error::new(error.kind(), error.to_string());
                Some(Trouble::Disk(Error::io(&self.path, "write", error)))
            }
            (None, Ok(_)) => return written,
        };
        Err(io::Error::other("not written"))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
