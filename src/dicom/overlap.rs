//! Which label a voxel gets that several segments or regions claim.

use serde::{Deserialize, Serialize};

/// What becomes of a voxel that belongs to more than one label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    #[default]
    Refuse,
    /// The label of the lowest value has it.
    First,
    /// The label of the highest value has it.
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

    /// The label of a voxel that has label `held` (0: none) and is claimed by `claim`; `None`: refused.
    pub(super) fn settle(self, held: u8, claim: u8) -> Option<u8> {
        match self {
            _ if held == 0 || held == claim => Some(claim),
            Overlap::Refuse => None,
            Overlap::First => Some(held.min(claim)),
            Overlap::Last => Some(held.max(claim)),
        }
    }
}
