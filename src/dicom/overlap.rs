//! Which label a voxel gets that several segments or regions claim.

use serde::{Deserialize, Serialize};

/// What becomes of a voxel that belongs to more than one label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    #[default]
    Refuse,
    /// The label of the lowest rank has it.
    First,
    /// The label of the highest rank has it.
    Last,
}

impl Overlap {
    /// As a configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Overlap::Refuse => "refuse",
            Overlap::First => "first",
            Overlap::Last => "last",
        }
    }
}

/// Which segments or regions of an object count, in which order.
#[derive(Debug, Clone)]
pub struct Claims {
    overlap: Overlap,
    /// By value in the file; what has none is left out.
    ranks: [Option<u8>; 256],
}

impl Claims {
    pub fn new(overlap: Overlap, ranks: [Option<u8>; 256]) -> Self {
        Claims { overlap, ranks }
    }

    /// The label of a voxel that has label `held` (0: none) and is claimed by `claim`; `None`: refused.
    pub(super) fn settle(&self, held: u8, claim: u8) -> Option<u8> {
        let rank = |value: u8| self.ranks[usize::from(value)];
        let Some(ours) = rank(claim) else { return Some(held) };
        let Some(theirs) = rank(held).filter(|_| held != 0 && held != claim) else { return Some(claim) };
        let wins = match self.overlap {
            Overlap::Refuse => return None,
            Overlap::First => ours < theirs,
            Overlap::Last => ours > theirs,
        };
        Some(if wins { claim } else { held })
    }
}

/// Everything counts, in the order of the file's values.
impl From<Overlap> for Claims {
    fn from(overlap: Overlap) -> Self {
        Claims { overlap, ranks: std::array::from_fn(|value| Some(value as u8)) } // an index below 256
    }
}
