//! What the numbers of a network's last layer are: classes of which each voxel has one, or heads of their own.

use serde::{Deserialize, Serialize};

/// What the numbers of a network's last layer are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// A class for each voxel, the background among them: labels exclude each other.
    #[default]
    Softmax,
    /// A head for each label, which says of every voxel whether it is inside: labels may overlap.
    Sigmoid,
}

impl Activation {
    /// The most labels of heads of their own: what a voxel has is kept as a bit for each.
    pub const MOST_HEADS: usize = 16;

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether labels may overlap.
    pub fn overlaps(self) -> bool {
        self == Self::Sigmoid
    }

    /// The channels of the last layer for so many labels.
    pub fn channels(self, labels: usize) -> usize {
        match self {
            Self::Softmax => labels + 1,
            Self::Sigmoid => labels,
        }
    }
}
