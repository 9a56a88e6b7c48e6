//! What DICOMweb servers are shown to let us in: each server its own, from the environment and from nowhere else.

use std::collections::BTreeSet;
use std::env::{self, VarError};

use ureq::http::HeaderValue;

use super::address::is_address;
use super::web::AUTHORIZATION;

/// Values of the header `Authorization` by origin: scheme, host and port.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Vec<(String, HeaderValue)>);

impl Secrets {
    /// `origins` are the servers that the command names.
    pub fn of_environment(origins: &BTreeSet<String>) -> Result<Self, String> {
        match env::var(AUTHORIZATION) {
            Ok(text) if !origins.is_empty() => Secrets::read(&text, origins),
            Err(VarError::NotUnicode(_)) => Err(format!("{AUTHORIZATION} is not text")),
            _ => Ok(Secrets::default()),
        }
    }

    /// One value for the only server, or lines of an origin and its value. Never says a value.
    fn read(text: &str, origins: &BTreeSet<String>) -> Result<Self, String> {
        let secret = |value: &str| {
            let value = HeaderValue::from_str(value.trim());
            let mut value = value.map_err(|_| format!("{AUTHORIZATION} has characters that no header can hold"))?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        };
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let named: Vec<_> =
            lines.iter().filter_map(|line| line.split_once(' ').filter(|(who, _)| is_address(who))).collect();
        match (lines.len(), named.len(), origins.iter().collect::<Vec<_>>().as_slice()) {
            (0, ..) => Ok(Secrets::default()),
            (1, 0, [origin]) => Ok(Secrets(vec![(origin.to_string(), secret(lines[0])?)])),
            (1, 0, servers) => {
                let servers: Vec<_> = servers.iter().map(|server| server.as_str()).collect();
                Err(format!(
                    "{AUTHORIZATION} is for one server, and the command names {}; expected a line \"{} VALUE\" for each that wants one",
                    servers.join(" and "),
                    servers.first().unwrap_or(&"https://HOST")
                ))
            }
            (all, named_lines, _) if all == named_lines => {
                let entry =
                    |(who, value): (&str, &str)| Ok((who.trim_end_matches('/').to_ascii_lowercase(), secret(value)?));
                Ok(Secrets(named.into_iter().map(entry).collect::<Result<_, String>>()?))
            }
            _ => Err(format!("{AUTHORIZATION} has several lines; expected \"https://HOST VALUE\" in each")),
        }
    }

    pub fn of(&self, origin: &str) -> Option<HeaderValue> {
        self.0.iter().find(|(known, _)| known == origin).map(|(_, value)| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_sees_its_own() {
        let (a, b) = ("https://a.example", "https://b.example:8443");
        let of = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
        let one = Secrets::read("Bearer x\n", &of(&[a])).unwrap();
        assert_eq!(one.of(a).unwrap(), "Bearer x");
        assert!(one.of(b).is_none());
        let refusal = Secrets::read("Bearer hidden", &of(&[a, b])).unwrap_err();
        assert!(refusal.contains(a) && refusal.contains(b) && !refusal.contains("hidden"), "{refusal}");
        let both = Secrets::read("https://A.example Bearer x\nhttps://b.example:8443/ Basic y", &of(&[a, b])).unwrap();
        assert_eq!(
            (both.of(a).unwrap(), both.of(b).unwrap()),
            (HeaderValue::from_static("Bearer x"), HeaderValue::from_static("Basic y"))
        );
        for bad in ["Bearer x\nBearer hidden", "Bearer \x01hidden", "https://a.example x\nhidden"] {
            let refusal = Secrets::read(bad, &of(&[a])).unwrap_err();
            assert!(!refusal.contains("hidden"), "{refusal}");
        }
        assert!(!format!("{one:?}").contains("Bearer"), "{one:?}");
        assert!(Secrets::read(" \n", &of(&[a, b])).unwrap().of(a).is_none());
    }
}
