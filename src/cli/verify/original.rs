//! The result that is verified: a segmentation with its receipt, or a report, which has the receipt alone.

use std::path::Path;

use transunet::dicom::Seg;
use transunet::formats::{LabelImage, VolumeKind, read_labels};
use transunet::labelmap::Labelmap;
use transunet::receipt::Receipt;
use transunet::receipt::differences::Differences;
use transunet::{Error, Result};

use super::super::failure::{About, Code, Failure, Outcome};

pub struct Original<'a> {
    path: &'a Path,
    kind: Kind,
}

enum Kind {
    Seg(Seg),
    Labels(LabelImage),
    Report(serde_json::Value),
}

impl<'a> Original<'a> {
    /// The name says the format, as for everything that is read.
    pub fn read(path: &'a Path) -> Outcome<Self> {
        let is_report = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
        let kind = if is_report {
            report(path).map(Kind::Report)
        } else if VolumeKind::of(path).is_some() {
            read_labels(path).map(Kind::Labels)
        } else {
            Seg::open(path).map(Kind::Seg)
        };
        let kind = kind.about(Code::Input).map_err(|failure| {
            failure.with_hint(
                "RESULT is a DICOM SEG, .seg.nrrd, .nrrd, .nii.gz, .nii or .json file that `transunet segment` wrote",
            )
        })?;
        Ok(Original { path, kind })
    }

    /// Refuses a result that no network of this program made.
    pub fn receipt(&self) -> Outcome<Receipt> {
        let receipt = match &self.kind {
            Kind::Seg(seg) => seg.receipt(),
            Kind::Labels(labels) => {
                let receipt = labels.receipt.as_deref().map(Receipt::from_json).transpose();
                receipt.map_err(|e| e.at(self.path.display()))
            }
            Kind::Report(report) => match report.get("receipt").filter(|receipt| !receipt.is_null()) {
                Some(receipt) => {
                    Receipt::from_json(&receipt.to_string()).map(Some).map_err(|e| e.at(self.path.display()))
                }
                None => Ok(None),
            },
        };
        let made_by = match &self.kind {
            Kind::Seg(seg) if !seg.made_by.is_empty() => format!(" (it names {} as its maker)", seg.made_by),
            _ => String::new(),
        };
        receipt.about(Code::Input)?.ok_or_else(|| {
            Failure::new(
                Code::Input,
                format!("{}: no receipt of a segmentation by transunet{made_by}", self.path.display()),
                "another program made it, or a person has corrected it: there is nothing to make again",
            )
        })
    }

    pub fn holds_probabilities(&self) -> bool {
        matches!(&self.kind, Kind::Seg(seg) if seg.holds_probabilities())
    }

    /// `None` of a report.
    pub fn differences(&self, labelmap: &Labelmap) -> Outcome<Option<Differences>> {
        let differences = match &self.kind {
            Kind::Seg(seg) => seg.differences(labelmap).map(Some),
            Kind::Labels(labels) if !labels.geometry.matches(labelmap.geometry(), SAME_PLACE) => {
                let text = format!("{}: its grid is not the image's", self.path.display());
                return Err(Failure::new(Code::Differs, text, "the file was changed after it was written"));
            }
            Kind::Labels(labels) => Differences::of_labels(&labels.voxels, labelmap).map(Some),
            Kind::Report(_) => Ok(None),
        };
        differences.about(Code::Input)
    }
}

/// mm; NIfTI rounds positions to float32.
const SAME_PLACE: f64 = 1e-2;

fn report(path: &Path) -> Result<serde_json::Value> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, "read", source))?;
    serde_json::from_str(&text).map_err(|e| Error::VolumeFormat(format!("{}: not a report: {e}", path.display())))
}
