//! Images of a series that are no part of its volumes: localizers, screen captures, reports, copies of other images.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::header::Header;
use crate::error::{Error, Result};

/// An image that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    pub path: PathBuf,
    pub reason: String,
}

/// The images of `headers` that volumes are made of, and the others.
pub(super) fn put(headers: &[Arc<Header>]) -> Result<(Vec<Arc<Header>>, Vec<Aside>)> {
    let mut aside = Vec::new();
    let image = |header: &&Arc<Header>| header.no_image().is_none();
    let localizers = headers.iter().filter(image).all(|header| header.is_localizer());
    let mut kept: Vec<Arc<Header>> = Vec::with_capacity(headers.len());
    let mut instances: BTreeMap<&str, &Arc<Header>> = BTreeMap::new();
    let mut first_refusal = None;
    for header in headers {
        let mut leave = |reason: String| aside.push(Aside { path: header.path.clone(), reason });
        if let Some(reason) = header.no_image() {
            first_refusal.get_or_insert((header, reason.clone()));
            leave(reason);
        } else if header.is_localizer() && !localizers {
            leave("a localizer (ImageType)".into());
        } else if let Some(reason) = header.refusal() {
            return Err(Error::DicomUnsupported(format!("{}: {reason}", header.path.display())));
        } else if let Some(other) = instances.get(header.sop_instance_uid.as_str()) {
            if !same_bytes(&header.path, &other.path)? {
                return Err(Error::DicomGeometry(format!(
                    "{} and {} are different images with one SOPInstanceUID (0008,0018), {}",
                    other.path.display(),
                    header.path.display(),
                    header.sop_instance_uid
                )));
            }
            leave(format!("a copy of {}", other.path.display()));
        } else {
            if !header.sop_instance_uid.is_empty() {
                instances.insert(&header.sop_instance_uid, header);
            }
            kept.push(header.clone());
        }
    }
    match (kept.is_empty(), first_refusal) {
        (true, Some((header, reason))) => Err(Error::DicomUnsupported(format!("{}: {reason}", header.path.display()))),
        _ => Ok((kept, aside)),
    }
}

fn same_bytes(one: &Path, other: &Path) -> Result<bool> {
    let open = |path: &Path| {
        let file = File::open(path).map_err(|source| Error::io(path, "open", source))?;
        let length = file.metadata().map_err(|source| Error::io(path, "open", source))?.len();
        Ok::<_, Error>((BufReader::with_capacity(64 << 10, file), length))
    };
    let ((a, a_length), (b, b_length)) = (open(one)?, open(other)?);
    if a_length != b_length {
        return Ok(false);
    }
    let (mut a, mut b) = (a.bytes(), b.bytes());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ok(true),
            (Some(Ok(a)), Some(Ok(b))) if a == b => {}
            (Some(Err(source)), _) => return Err(Error::io(one, "read", source)),
            (_, Some(Err(source))) => return Err(Error::io(other, "read", source)),
            _ => return Ok(false),
        }
    }
}
