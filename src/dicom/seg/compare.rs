//! A DICOM SEG against the label map that it should hold, pixel by pixel as it is stored.

use std::collections::BTreeSet;

use super::grid::Place;
use super::plan::segments;
use super::read::{Encoding, Seg};
use super::stored::Pixels;
use crate::error::{Error, Result};
use crate::labelmap::Labelmap;
use crate::receipt::differences::{Differences, Marks};

impl Seg {
    /// Whether its pixels are likelihoods, which are compared with the probabilities of a label map.
    pub fn holds_probabilities(&self) -> bool {
        matches!(self.encoding, Encoding::Fractional { probability: true, .. })
    }

    /// The voxels at which this does not say what `labelmap` says, written in the same form. The frames must lie on the label
    /// map's slices; what they leave out is 0.
    pub fn differences(&self, labelmap: &Labelmap) -> Result<Differences> {
        self.compared(labelmap).map_err(|e| e.at(self.path.display()))
    }

    fn compared(&self, labelmap: &Labelmap) -> Result<Differences> {
        let expected = Expected::of(self, labelmap)?;
        let (grid, count) = (labelmap.geometry(), expected.values.len());
        if self.labels.len() != count || self.labels.iter().zip(1..).any(|(label, number)| label.value != number) {
            let text = format!("{} segments, expected 1 to {count} as the model has labels", self.labels.len());
            return Err(Error::DicomParse(text));
        }
        let mut marks = Marks::new(grid.size)?;
        let mut pixels = Pixels::open(self)?;
        let mut stored = vec![0u16; self.rows * self.columns];
        let (mut found, mut wanted) = (vec![0u8; grid.slice_len()], vec![0u8; grid.slice_len()]);
        let mut seen = BTreeSet::new();
        for (n, frame) in self.frames.iter().enumerate() {
            let place = |text: &str| Error::DicomUnsupported(format!("frame {}: {text}", n + 1));
            let at = Place::of(&frame.plane, [self.columns, self.rows], grid)
                .map_err(|e| e.at(format!("frame {}", n + 1)))?;
            if at.right[2] != 0 || at.down[2] != 0 {
                return Err(place("it lies across the image's slices, which is not compared"));
            }
            let k = at.first[2] as usize; // within the grid, as its place was checked
            if !seen.insert((frame.segment, k)) {
                return Err(place("its segment has another frame at this place"));
            }
            pixels.next(&mut stored).map_err(|e| e.at(format!("frame {}", n + 1)))?;
            found.fill(0);
            for (pixel, &value) in stored.iter().enumerate() {
                let [i, j, _] = at.voxel(pixel % self.columns, pixel / self.columns).map(|n| n as usize);
                found[j * grid.columns() + i] = match self.encoding {
                    Encoding::Binary => u8::from(value > 0),
                    Encoding::LabelMap { padding, .. } if Some(value) == padding => 0,
                    // What is no byte is no segment either, and differs from all.
                    _ => u8::try_from(value).unwrap_or(u8::MAX),
                };
            }
            expected.fill(frame.segment, k, &mut wanted)?;
            marks.compare(k, &found, &wanted);
        }
        found.fill(0);
        for (segment, k) in expected.occupied(grid.slices()).filter(|place| !seen.contains(place)) {
            expected.fill(segment, k, &mut wanted)?;
            marks.compare(k, &found, &wanted);
        }
        Ok(marks.count())
    }
}

/// What the frames of a label map hold.
struct Expected<'a> {
    labelmap: &'a Labelmap,
    encoding: Encoding,
    /// Label values of the segments 1, 2, ...
    values: Vec<u8>,
}

impl<'a> Expected<'a> {
    fn of(seg: &Seg, labelmap: &'a Labelmap) -> Result<Self> {
        let values = segments(labelmap)?.iter().map(|label| label.value).collect();
        if seg.holds_probabilities() && labelmap.fractions().is_none() {
            return Err(Error::Argument("it holds probabilities, and the label map has none".into()));
        }
        Ok(Expected { labelmap, encoding: seg.encoding, values })
    }

    /// Segment, 0 in a label map, and slice of the frames that are not empty.
    fn occupied(&self, slices: usize) -> impl Iterator<Item = (u8, usize)> {
        let last = if matches!(self.encoding, Encoding::LabelMap { .. }) { 0 } else { self.values.len() as u8 };
        (last.min(1)..=last)
            .flat_map(move |segment| (0..slices).map(move |k| (segment, k)))
            .filter(|&(segment, k)| self.is_present(segment, k))
    }

    fn is_present(&self, segment: u8, k: usize) -> bool {
        let Some(value) = self.value(segment) else { return !self.labelmap.is_empty(k) };
        match (self.encoding, self.labelmap.fractions()) {
            (Encoding::Fractional { probability: true, .. }, Some(fractions)) => fractions.is_present(value, k),
            _ => self.labelmap.is_present(value, k),
        }
    }

    fn value(&self, segment: u8) -> Option<u8> {
        self.values.get(usize::from(segment).checked_sub(1)?).copied()
    }

    /// `[rows, columns]` of a frame.
    fn fill(&self, segment: u8, k: usize, out: &mut [u8]) -> Result<()> {
        if let (Encoding::Fractional { probability: true, .. }, Some(fractions), Some(value)) =
            (self.encoding, self.labelmap.fractions(), self.value(segment))
        {
            return fractions.read(value, k, out);
        }
        self.labelmap.read_slice(k, out)?;
        let number = |label: u8| self.values.iter().position(|&value| value == label).map_or(0, |n| n as u8 + 1);
        let mut numbers = [0; 256];
        numbers.iter_mut().zip(0..=u8::MAX).for_each(|(to, label)| *to = number(label));
        let full = if matches!(self.encoding, Encoding::Fractional { .. }) { u8::MAX } else { 1 };
        out.iter_mut().for_each(|label| {
            let number = numbers[usize::from(*label)];
            *label = if segment == 0 { number } else { full * u8::from(number == segment) };
        });
        Ok(())
    }
}
