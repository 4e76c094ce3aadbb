//! Labels that are drawn over others: which voxels two labels ask for, counted the same for whatever they come from.

use std::collections::BTreeMap;

/// The voxels that a label took from another one, by the two, and those that no other label had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    shared: BTreeMap<(u16, u16), usize>,
    /// The number of voxels that no other label had, by label.
    alone: Vec<usize>,
    /// What becomes of a voxel that has the second when the first is put onto it, where both stay.
    joins: BTreeMap<(u16, u16), u16>,
    /// What two values that are not the same have in common.
    common: BTreeMap<(u16, u16), u16>,
}

impl Overlap {
    /// Nothing yet, of labels that may share voxels: a voxel that has the second when the first is put onto it becomes what
    /// `joins` says of both, a value that stands for them. `common` says what two such values have in common.
    ///
    /// # Examples
    /// ```
    /// use tomoflow_connectors::Overlap;
    /// let mut overlap = Overlap::keeping([((2, 1), 3)].into(), [((1, 3), 1), ((2, 3), 2)].into());
    /// let mut voxels = [0, 1, 1, 3];
    /// overlap.put(2, &mut voxels[1..3]);
    /// assert_eq!(voxels, [0, 3, 3, 3]);
    /// assert!(overlap.keeps((2, 1)) && !overlap.keeps((1, 2)));
    /// assert_eq!([overlap.both(1, 3), overlap.both(1, 1), overlap.both(1, 2)], [1, 1, 0]);
    /// ```
    pub fn keeping(joins: BTreeMap<(u16, u16), u16>, common: BTreeMap<(u16, u16), u16>) -> Self {
        Self { joins, common, ..Self::default() }
    }

    /// Whether a voxel stays the second's as well when the first is put onto it.
    pub fn keeps(&self, pair: (u16, u16)) -> bool {
        self.joins.contains_key(&pair)
    }

    /// Returns what two values have in common, 0 for nothing.
    pub fn both(&self, one: u16, other: u16) -> u16 {
        if one == other { one } else { self.common.get(&(one, other)).copied().unwrap_or(0) }
    }

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
        // A voxel that stays as it is had the label before.
        let others = |before: &&u16| {
            **before != 0 && **before != label && self.joins.get(&(label, **before)) != Some(*before)
        };
        for before in voxels.iter().filter(others) {
            *self.shared.entry((label, *before)).or_default() += 1;
        }
        let place = usize::from(label);
        if self.alone.len() <= place {
            self.alone.resize(place + 1, 0);
        }
        if let Some(alone) = self.alone.get_mut(place) {
            *alone += voxels.iter().filter(|before| **before == 0).count();
        }
        if self.joins.is_empty() {
            return voxels.fill(label);
        }
        for voxel in voxels {
            *voxel = self.joins.get(&(label, *voxel)).copied().unwrap_or(label);
        }
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
