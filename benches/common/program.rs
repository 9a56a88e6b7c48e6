//! What all benchmark programs do alike: words in, lines of JSON out.

use std::io::{Write, stdout};

/// The arguments of the program, without the `--bench` that Cargo adds.
pub fn arguments() -> Vec<String> {
    std::env::args().skip(1).filter(|argument| argument != "--bench").collect()
}

/// Answers in one line.
pub fn tell(answer: &serde_json::Value) -> std::io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{answer}")?;
    out.flush()
}
