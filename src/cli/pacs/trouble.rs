//! Why a peer did not do what was asked, in words for people.

use std::error::Error as StdError;

use transunet::Error;

use super::super::failure::{About, Code, Failure};

#[derive(Debug)]
pub enum Trouble {
    /// The person stopped it.
    Cancelled,
    /// The peer, or the way to it.
    Peer { message: String, hint: &'static str },
    /// This machine's disk.
    Disk(Error),
}

pub type Result<T, E = Trouble> = std::result::Result<T, E>;

impl Trouble {
    pub fn peer(message: impl Into<String>, hint: &'static str) -> Self {
        Trouble::Peer { message: message.into(), hint }
    }

    /// Says which peer it was.
    pub fn at(self, peer: impl std::fmt::Display) -> Self {
        match self {
            Trouble::Peer { message, hint } => Trouble::Peer { message: format!("{peer}: {message}"), hint },
            other => other,
        }
    }

    pub fn into_failure(self, code: Code) -> Failure {
        match self {
            Trouble::Cancelled => failure(Error::Cancelled, code),
            Trouble::Peer { message, hint } => Failure::new(code, message, hint),
            Trouble::Disk(error @ Error::Io { .. }) => failure(error, code)
                .with_hint("images of a PACS pass through the folder that TMPDIR names; there must be room for them"),
            Trouble::Disk(error) => failure(error, code),
        }
    }
}

fn failure(error: Error, code: Code) -> Failure {
    match Err::<(), _>(error).about(code) {
        Err(failure) => failure,
        Ok(()) => Failure::panicked("an error is none"),
    }
}

/// Text of a peer on one line, without what could steer a terminal.
pub fn tame(text: &str) -> String {
    const LONGEST: usize = 300;
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// The message of an error with those of its causes, each once.
pub fn causes(error: &dyn StdError) -> String {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        next = cause.source();
    }
    tame(&texts.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_steer_the_terminal() {
        assert_eq!(tame("no\r\n \x1b[31mroom\0"), "no [31mroom");
        assert_eq!(tame(&"ä".repeat(400)).chars().count(), 301);
    }
}
