//! Where a PACS is: addresses of DICOMweb servers and of DIMSE peers, read before any work.

use std::fmt;
use std::str::FromStr;

/// What may be on a PACS: a study, or one series of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub study: String,
    pub series: Option<String>,
}

/// A DICOMweb server (PS3.18): all that stands before `/studies`, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    pub base: String,
}

/// A DIMSE peer (PS3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dimse {
    /// Its application entity title.
    pub title: String,
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    Web(Web),
    Dimse(Dimse),
}

/// A peer that results are sent to, as on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(pub Peer);

/// Images on a peer, as on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub peer: Peer,
    pub content: Content,
}

/// PS3.8 9.1.1: the port that is registered for DICOM.
const DICOM_PORT: u16 = 104;
const SOURCES: &str =
    "expected https://HOST/dicom-web/studies/UID/series/UID or dimse://TITLE@HOST:PORT/STUDY-UID/SERIES-UID";
const TARGETS: &str = "expected https://HOST/dicom-web or dimse://TITLE@HOST:PORT";

/// Whether `text` is an address rather than a file.
pub fn is_address(text: &str) -> bool {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

impl Web {
    /// Scheme, host and port: what a secret is for.
    pub fn origin(&self) -> String {
        let (scheme, rest) = self.base.split_once("://").unwrap_or_default();
        let host = rest.split('/').next().unwrap_or_default();
        format!("{scheme}://{host}").to_ascii_lowercase()
    }

    pub fn is_encrypted(&self) -> bool {
        self.base.starts_with("https://")
    }

    /// Whether it is this very machine, by its name.
    pub fn is_loopback(&self) -> bool {
        let origin = self.origin();
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        host.starts_with("127.0.0.")
            || host.starts_with("[::1]")
            || host == "localhost"
            || host.starts_with("localhost:")
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (peer, path) = parse(text, SOURCES)?;
        let refuse = || format!("{text}: {SOURCES}");
        let (peer, uids) = match peer {
            Peer::Web(Web { base }) => {
                let (before, after) = path.split_once("/studies/").ok_or_else(refuse)?;
                let uids = after.trim_end_matches('/').split("/series/").collect::<Vec<_>>();
                (Peer::Web(Web { base: format!("{base}{before}") }), uids)
            }
            peer => (peer, path.trim_matches('/').split('/').collect()),
        };
        if !uids.iter().all(|uid| is_uid(uid)) {
            return Err(refuse());
        }
        let content = match uids.as_slice() {
            [study] => Content { study: study.to_string(), series: None },
            [study, series] => Content { study: study.to_string(), series: Some(series.to_string()) },
            _ => return Err(refuse()),
        };
        Ok(Source { peer, content })
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (peer, path) = parse(text, TARGETS)?;
        let path = path.trim_end_matches('/');
        match peer {
            Peer::Web(_) if path.contains("/studies/") => {
                Err(format!("{text}: the image says which study it belongs to; {TARGETS}"))
            }
            Peer::Web(Web { base }) => {
                let path = path.strip_suffix("/studies").unwrap_or(path);
                Ok(Target(Peer::Web(Web { base: format!("{base}{path}") })))
            }
            Peer::Dimse(_) if !path.is_empty() => Err(format!("{text}: {TARGETS}")),
            peer => Ok(Target(peer)),
        }
    }
}

/// The peer and what follows it; of a web server the base is scheme, host and port alone.
fn parse(text: &str, expected: &str) -> Result<(Peer, String), String> {
    let refuse = || format!("{text}: {expected}");
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) || !text.is_ascii() {
        return Err(refuse());
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(refuse)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match scheme.to_ascii_lowercase().as_str() {
        scheme @ ("http" | "https") => {
            if authority.contains('@') {
                // The address is not repeated: it holds a secret.
                return Err("the address holds a user or a password, which other users of this machine can see; \
                            put the header's value into the variable TRANSUNET_DICOMWEB_AUTHORIZATION"
                    .into());
            }
            if authority.is_empty() || text.contains(['?', '#']) {
                return Err(refuse());
            }
            Ok((Peer::Web(Web { base: format!("{scheme}://{authority}") }), path.to_owned()))
        }
        "dimse" => {
            let (title, place) = authority.rsplit_once('@').ok_or_else(refuse)?;
            let title = decoded(title)
                .filter(|title| is_title(title))
                .ok_or_else(|| format!("{text}: an application entity title has 1 to 16 characters; {expected}"))?;
            let (host, port) = match place.rsplit_once(':') {
                Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| refuse())?),
                _ => (place, DICOM_PORT),
            };
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            if host.is_empty() || port == 0 {
                return Err(refuse());
            }
            Ok((Peer::Dimse(Dimse { title, host: host.to_owned(), port }), path.to_owned()))
        }
        "dimses" => Err(format!("{text}: DIMSE over TLS is not spoken; {expected}")),
        _ => Err(refuse()),
    }
}

/// PS3.5 6.2: value representation AE.
pub fn is_title(text: &str) -> bool {
    let trimmed = text.trim_matches(' ');
    !trimmed.is_empty() && text.len() <= 16 && text.chars().all(|c| (' '..='~').contains(&c) && c != '\\')
}

/// PS3.5 9.1.
fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// `%20` and the like undone.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut decoded = parts.next()?.to_owned();
    for part in parts {
        let code = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        decoded.push(code.into());
        decoded.push_str(&part[2..]);
    }
    Some(decoded)
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Web(web) => f.write_str(&web.base),
            Peer::Dimse(Dimse { title, host, port }) => {
                let title = title.replace('%', "%25").replace(' ', "%20");
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "dimse://{title}@{open}{host}{close}:{port}")
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_images() {
        let source: Source = "https://pacs.example:8443/dicom-web/studies/1.2/series/1.3".parse().unwrap();
        assert_eq!(source.peer, Peer::Web(Web { base: "https://pacs.example:8443/dicom-web".into() }));
        assert_eq!(source.content, Content { study: "1.2".into(), series: Some("1.3".into()) });
        let source: Source = "dimse://MY%20PACS@[::1]:11112/1.2/".parse().unwrap();
        assert_eq!(source.peer, Peer::Dimse(Dimse { title: "MY PACS".into(), host: "::1".into(), port: 11112 }));
        assert_eq!(source.peer.to_string(), "dimse://MY%20PACS@[::1]:11112");
        assert_eq!(source.content, Content { study: "1.2".into(), series: None });
        let source: Source = "dimse://PACS@10.0.0.7/1.2/1.3".parse().unwrap();
        assert_eq!(source.peer.to_string(), "dimse://PACS@10.0.0.7:104");
        for refused in [
            "https://pacs.example/dicom-web",
            "https://pacs.example/dicom-web/studies/1.2/series/abc",
            "https://pacs.example/dicom-web/studies/1.2/series/1.3/instances/1.4",
            "https://pacs.example/dicom-web/studies/1.2?x=1",
            "dimse://PACS@host:104",
            "dimse://PACS@host:104/1.2/1.3/1.4",
            "dimse://host:104/1.2/1.3",
            "dimse://SEVENTEENLETTERSS@host:104/1.2/1.3",
            "dimse://PACS@host:0/1.2/1.3",
            "ftp://host/studies/1.2",
        ] {
            assert!(refused.parse::<Source>().is_err_and(|text| text.contains("expected")), "{refused}");
        }
    }

    #[test]
    fn addresses_of_targets() {
        for text in ["https://h/dicom-web", "https://h/dicom-web/", "https://h/dicom-web/studies"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), "https://h/dicom-web");
        }
        assert_eq!("dimse://P@h".parse::<Target>().unwrap().to_string(), "dimse://P@h:104");
        for refused in ["https://h/dicom-web/studies/1.2", "dimse://P@h:104/1.2", "pacs", "dimses://P@h:2762"] {
            assert!(refused.parse::<Target>().is_err(), "{refused}");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        let refusal = "https://me:secret@h/dicom-web".parse::<Target>().unwrap_err();
        assert!(refusal.contains("TRANSUNET_DICOMWEB_AUTHORIZATION") && !refusal.contains("secret"), "{refusal}");
    }

    #[test]
    fn what_a_secret_is_for() {
        let web = |base: &str| Web { base: base.into() };
        assert_eq!(web("https://PACS.example:8443/a/b").origin(), "https://pacs.example:8443");
        assert!(web("http://127.0.0.1:8042/x").is_loopback() && web("http://localhost").is_loopback());
        assert!(!web("http://127.example").is_encrypted() && !web("http://localhost.example/").is_loopback());
    }

    #[test]
    fn files_are_no_addresses() {
        assert!(is_address("https://h/x") && is_address("ftp://h") && !is_address("ct/") && !is_address("://"));
    }
}
