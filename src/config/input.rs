//! What the network's input is made of: the frame that slices are seen in, and ranges of intensity.

use super::{Input, Intensity, Plane};
use crate::dicom::SeriesChoice;
use crate::error::{Error, Result};

/// A direction of the patient: axis of LPS (0 left, 1 posterior, 2 superior) and whether towards its negative end.
pub type Towards = (usize, bool);

impl Input {
    /// Which series is meant where none is named.
    pub fn series_choice(&self) -> Result<SeriesChoice> {
        self.series.as_deref().unwrap_or_default().parse()
    }

    /// Where the network's columns, rows and slices point; `None` keeps the volume's axes.
    ///
    /// Without an orientation a plane is seen as radiologists see it, with slices along the right-handed normal: axial LPS,
    /// coronal LIP, sagittal PIR. `plane: acquisition` with an orientation is that orientation.
    pub fn frame(&self) -> Result<Option<[Towards; 3]>> {
        let (usual, through) = match self.plane {
            Plane::Acquisition => (None, None),
            Plane::Axial => (Some("LPS"), Some(("axial", 2, "S or I"))),
            Plane::Coronal => (Some("LIP"), Some(("coronal", 1, "A or P"))),
            Plane::Sagittal => (Some("PIR"), Some(("sagittal", 0, "L or R"))),
        };
        let Some(letters) = self.orientation.as_deref().or(usual) else { return Ok(None) };
        let axes = parse(letters)?;
        if let Some((plane, axis, expected)) = through
            && axes[2].0 != axis
        {
            return Err(Error::Config(format!(
                "orientation {letters:?} has its slices towards {}, expected {expected} for the {plane} plane",
                &letters[2..]
            )));
        }
        Ok(Some(axes))
    }
}

fn parse(letters: &str) -> Result<[Towards; 3]> {
    let towards = |letter| match letter {
        'L' => Some((0, false)),
        'R' => Some((0, true)),
        'P' => Some((1, false)),
        'A' => Some((1, true)),
        'S' => Some((2, false)),
        'I' => Some((2, true)),
        _ => None,
    };
    let axes: Option<Vec<Towards>> = letters.chars().map(towards).collect();
    match axes.as_deref() {
        Some(&[a, b, c]) if a.0 != b.0 && b.0 != c.0 && a.0 != c.0 => Ok([a, b, c]),
        _ => Err(Error::Config(format!(
            "orientation {letters:?}, expected three letters for columns, rows and slices, one each of L or R, P or A, \
             S or I, such as \"LPS\""
        ))),
    }
}

impl Intensity {
    /// Refuses ranges that cannot be.
    pub fn check(self) -> Result<()> {
        let refuse = |text: String| Err(Error::Config(format!("intensity: {text}")));
        match self {
            Intensity::Window { low, high } if !(low < high && low.is_finite() && high.is_finite()) => {
                refuse(format!("window from {low} to {high}, expected finite numbers, low below high"))
            }
            Intensity::Percentile { low, high } if !(0.0 <= low && low < high && high <= 100.0) => {
                refuse(format!("percentiles {low} and {high}, expected 0 <= low < high <= 100"))
            }
            _ => Ok(()),
        }
    }
}
