//! Labels that are drawn over others: which voxels two labels ask for, counted the same for whatever they come from.

use std::collections::BTreeMap;

/// Voxels that a label took from another one, by the two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlap(BTreeMap<(u16, u16), usize>);

impl Overlap {
    /// Gives voxels to a label, and counts those that another label had.
    ///
    /// # Examples
    /// ```
    /// use tomoflow_connectors::Overlap;
    /// let (mut overlap, mut voxels) = (Overlap::default(), [0, 1, 1, 2]);
    /// overlap.put(2, &mut voxels[1..]);
    /// assert_eq!(voxels, [0, 2, 2, 2]);
    /// assert_eq!(overlap.iter().collect::<Vec<_>>(), [((2, 1), 2)]);
    /// ```
    pub fn put(&mut self, label: u16, voxels: &mut [u16]) {
        for before in voxels.iter().filter(|before| **before != 0 && **before != label) {
            *self.0.entry((label, *before)).or_default() += 1;
        }
        voxels.fill(label);
    }

    /// The label that has voxels, the one that had them, and how many they are.
    pub fn iter(&self) -> impl Iterator<Item = ((u16, u16), usize)> {
        self.0.iter().map(|(pair, voxels)| (*pair, *voxels))
    }
}
