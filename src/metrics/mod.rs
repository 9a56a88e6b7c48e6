//! How well two label maps agree: overlap, and distances of surfaces in mm.

mod distance;
mod scores;
mod surface;

pub use distance::squared_distances;
pub use scores::{LabelScore, Rules, Summary, scores, summarize};
pub use surface::{Grid, SurfaceDistances};

use crate::labels::Label;

/// Voxels of two masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    pub first: u64,
    pub second: u64,
    pub both: u64,
}

impl Overlap {
    pub fn new(a: &[bool], b: &[bool]) -> Self {
        let count = |mask: &[bool]| mask.iter().filter(|&&there| there).count() as u64;
        let both = a.iter().zip(b).filter(|&(&a, &b)| a && b).count() as u64;
        Overlap { first: count(a), second: count(b), both }
    }

    /// `2 |A and B| / (|A| + |B|)`; `None` where both are empty.
    pub fn dice(&self) -> Option<f64> {
        let sum = self.first + self.second;
        (sum > 0).then(|| 2.0 * self.both as f64 / sum as f64)
    }

    /// `|A and B| / |A or B|`; `None` where both are empty.
    pub fn jaccard(&self) -> Option<f64> {
        let union = self.first + self.second - self.both;
        (union > 0).then(|| self.both as f64 / union as f64)
    }
}

/// Overlap of each label, in one pass.
pub fn overlaps(prediction: &[u8], truth: &[u8], labels: &[Label]) -> Vec<Overlap> {
    let mut counts = [[0u64; 3]; 256];
    for (&a, &b) in prediction.iter().zip(truth) {
        counts[usize::from(a)][0] += 1;
        counts[usize::from(b)][1] += 1;
        counts[usize::from(a)][2] += u64::from(a == b);
    }
    let overlap = |label: &Label| {
        let [first, second, both] = counts[usize::from(label.value)];
        Overlap { first, second, both }
    };
    labels.iter().map(overlap).collect()
}

/// Dice of each label; `None` where both lack it.
pub fn dice_of_labels(prediction: &[u8], truth: &[u8], labels: &[Label]) -> Vec<Option<f64>> {
    overlaps(prediction, truth, labels).iter().map(Overlap::dice).collect()
}
