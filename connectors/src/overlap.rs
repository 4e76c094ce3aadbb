//! Labels that are drawn over others: which voxels two labels ask for, counted the same for whatever they come from.

use std::collections::BTreeMap;

/// The voxels that a label took from another one, by the two, and those that no other label had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    shared: BTreeMap<(u16, u16), usize>,
    /// The number of voxels that no other label had, by label.
    alone: Vec<usize>,
}

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
            *self.shared.entry((label, *before)).or_default() += 1;
        }
        let place = usize::from(label);
        if self.alone.len() <= place {
            self.alone.resize(place + 1, 0);
        }
        if let Some(alone) = self.alone.get_mut(place) {
            *alone += voxels.iter().filter(|before| **before == 0).count();
        }
        voxels.fill(label);
    }

    /// The overlaps: the label that has voxels, the one that had them, and how many they are.
    pub fn iter(&self) -> impl Iterator<Item = ((u16, u16), usize)> {
        self.shared.iter().map(|(pair, voxels)| (*pair, *voxels))
    }

    /// The number of voxels that a label got which lie in none of the labels `within`, which were drawn
    /// before it, and the number that it got in all.
    ///
    /// # Examples
    /// ```
    /// use tomoflow_connectors::Overlap;
    /// let (mut overlap, mut voxels) = (Overlap::default(), [1, 1, 0, 2, 0]);
    /// overlap.put(3, &mut voxels[1..4]);
    /// assert_eq!(overlap.outside(3, &[1]), [2, 3]);
    /// assert_eq!(overlap.outside(3, &[1, 2]), [1, 3]);
    /// ```
    pub fn outside(&self, label: u16, within: &[u16]) -> [usize; 2] {
        let alone = self.alone.get(usize::from(label)).copied().unwrap_or_default();
        let of = |inside: bool| -> usize {
            let pairs = self.iter().filter(|((has, had), _)| *has == label && within.contains(had) == inside);
            pairs.map(|(_, voxels)| voxels).sum()
        };
        let outside = alone + of(false);
        [outside, outside + of(true)]
    }
}
