//! The form of a DICOM SEG.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use transunet::dicom::{SegCompression, SegEncoding, SegOptions};

use super::failure::{About, Code, Failure, Outcome};

#[derive(clap::Args, Default, Clone, Copy)]
pub struct SegForm {
    #[arg(long = "seg-type", value_name = "TYPE", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(SegEncoding::NAMES).try_map(|name| name.parse::<SegEncoding>()))]
    encoding: Option<SegEncoding>,
    #[arg(long = "seg-compression", value_name = "HOW", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(SegCompression::NAMES).try_map(|name| name.parse::<SegCompression>()))]
    compression: Option<SegCompression>,
}

impl SegForm {
    pub fn encoding(&self) -> SegEncoding {
        self.encoding.unwrap_or_default()
    }

    pub fn compression(&self) -> SegCompression {
        self.compression.unwrap_or_default()
    }

    pub fn options(&self, deterministic: bool) -> SegOptions {
        SegOptions {
            encoding: self.encoding(),
            compression: self.compression(),
            deterministic,
            ..SegOptions::default()
        }
    }

    /// Refuses forms that DICOM has not, and ones for a run that writes no DICOM SEG (unless `written`).
    pub fn check(&self, written: bool) -> Outcome {
        self.options(false).check().about(Code::Usage)?;
        if written {
            return Ok(());
        }
        let given = [(self.encoding.is_some(), "--seg-type"), (self.compression.is_some(), "--seg-compression")];
        match given.iter().find(|(given, _)| *given) {
            Some((_, name)) => Err(Failure::new(
                Code::Usage,
                format!("{name}: no DICOM SEG is written"),
                "name an output .dcm, or leave the option out",
            )),
            None => Ok(()),
        }
    }
}
