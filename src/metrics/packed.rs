//! Both label maps to bits, label by label, in one pass over the voxels.

use rayon::prelude::*;

use super::bits::{Bits, WORD};
use super::confusion::Confusion;

/// Rows that one task packs.
const ROWS: usize = 256;

/// 64 voxels of a row that hold a label, in the prediction, in the reference or in both.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Counted over all rows.
    word: usize,
    /// Which voxels: of the prediction and of the reference.
    bits: [u64; 2],
}

/// A prediction and a reference on one grid, taken apart by pairs of labels.
///
/// Only words that hold a label are kept: background costs no memory.
///
/// # Examples
/// ```
/// use tomoflow::metrics::{Confusion, Packed};
/// let (prediction, reference) = ([1, 1, 0, 2], [0, 1, 1, 2]);
/// let packed = Packed::new(&prediction, &reference, [1, 1, 4], &[(1, 1), (2, 2)]).unwrap();
/// assert_eq!(packed.counts(0), Confusion { tp: 1, fp: 1, fn_: 1 });
/// assert_eq!(packed.highest(), [2, 2]);
/// ```
#[derive(Debug)]
pub struct Packed {
    size: [usize; 3],
    counts: Vec<Confusion>,
    highest: [u16; 2],
    /// The pieces by task, then by pair; their words ascend.
    pieces: Vec<Vec<Vec<Piece>>>,
    /// Whether the last pair is of voxels that do not count.
    leaves_out: bool,
}

/// Two volumes and their size do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two masks of {expected} voxels expected, {prediction} and {reference} found")]
pub struct SizeMismatch {
    /// Voxels of the size.
    pub expected: usize,
    /// Voxels of the prediction.
    pub prediction: usize,
    /// Voxels of the reference.
    pub reference: usize,
}

impl Packed {
    /// Takes apart volumes of `[D, H, W]` voxels. A pair is a label of the prediction and one of the
    /// reference; labels are not 0, and none stands twice on one side.
    ///
    /// # Errors
    /// [`SizeMismatch`] when a volume is not of the size.
    pub fn new(
        prediction: &[u16],
        reference: &[u16],
        size: [usize; 3],
        pairs: &[(u16, u16)],
    ) -> Result<Self, SizeMismatch> {
        Self::of_pairs(prediction, reference, size, pairs, None)
    }

    /// The same, where voxels of the label `ignored` in both volumes do not count: they are of no pair, and where a mask
    /// ends at them it has no surface.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn leaving_out(
        prediction: &[u16],
        reference: &[u16],
        size: [usize; 3],
        pairs: &[(u16, u16)],
        ignored: u16,
    ) -> Result<Self, SizeMismatch> {
        let all: Vec<(u16, u16)> = pairs.iter().copied().chain([(ignored, ignored)]).collect();
        Self::of_pairs(prediction, reference, size, &all, Some(ignored))
    }

    fn of_pairs(
        prediction: &[u16],
        reference: &[u16],
        size: [usize; 3],
        pairs: &[(u16, u16)],
        ignored: Option<u16>,
    ) -> Result<Self, SizeMismatch> {
        let expected = size.iter().product();
        if prediction.len() != expected || reference.len() != expected {
            return Err(SizeMismatch { expected, prediction: prediction.len(), reference: reference.len() });
        }
        let tables =
            [Table::new(pairs.iter().map(|pair| pair.0)), Table::new(pairs.iter().map(|pair| pair.1))];
        let width = size[2].max(1);
        let parts: Vec<TaskPack> = prediction
            .par_chunks(width * ROWS)
            .zip(reference.par_chunks(width * ROWS))
            .enumerate()
            .map(|(index, volumes)| {
                let mut part = TaskPack::new(pairs.len(), ignored);
                let first = index * ROWS * width.div_ceil(WORD);
                part.pack([volumes.0, volumes.1], width, first, &tables);
                part
            })
            .collect();
        let (counts, leaves_out) = (vec![Confusion::ZERO; pairs.len()], ignored.is_some());
        let mut packed = Self { size, counts, highest: [0; 2], pieces: Vec::new(), leaves_out };
        for part in parts {
            packed.counts.iter_mut().zip(&part.counts).for_each(|(all, counts)| *all += counts);
            packed.highest = [0, 1].map(|side| packed.highest[side].max(part.highest[side]));
            packed.pieces.push(part.pieces);
        }
        Ok(packed)
    }

    /// The counts of a pair, by its place.
    pub fn counts(&self, pair: usize) -> Confusion {
        self.counts[pair]
    }

    /// The highest label of the prediction, and of the reference, in a pair or not, but for one that does not count.
    pub fn highest(&self) -> [u16; 2] {
        self.highest
    }

    /// The centres of mass of a pair's masks, in voxels along `[D, H, W]`; `None` when either is empty.
    pub fn centres(&self, pair: usize) -> Option<[[f64; 3]; 2]> {
        let (masks, low) = self.masks(pair);
        let centre = |mask: &Bits| {
            let (voxels, sums) = mask.moments();
            (voxels > 0).then(|| [0, 1, 2].map(|axis| low[axis] as f64 + sums[axis] as f64 / voxels as f64))
        };
        Some([centre(&masks[0])?, centre(&masks[1])?])
    }

    /// The masks of a pair within the box around both, and the slice, row and column where it begins.
    pub(super) fn masks(&self, pair: usize) -> ([Bits; 2], [usize; 3]) {
        let (masks, low) = self.boxed(pair, None);
        let [prediction, reference, _] = masks;
        ([prediction, reference], low)
    }

    /// The masks of a pair and the voxels that do not count within a box around both masks, with room for their
    /// neighbours; none where all voxels count.
    pub(super) fn masks_beside_ignored(&self, pair: usize) -> Option<[Bits; 3]> {
        let last = self.counts.len().checked_sub(1).filter(|_| self.leaves_out)?;
        Some(self.boxed(pair, Some(last)).0)
    }

    /// The masks of a pair within the box around both, those of another pair's prediction in the same box, which is larger
    /// by one to each side then, and where it begins.
    fn boxed(&self, pair: usize, other: Option<usize>) -> ([Bits; 3], [usize; 3]) {
        let of_row = self.size[2].div_ceil(WORD).max(1);
        let place = |word: usize| {
            let row = word / of_row;
            [row / self.size[1], row % self.size[1], word % of_row]
        };
        let pieces_of = |pair: usize| self.pieces.iter().flat_map(move |of_task| &of_task[pair]);
        let pieces = || pieces_of(pair);
        let (mut low, mut high) = ([usize::MAX; 3], [0; 3]);
        for piece in pieces() {
            let at = place(piece.word);
            low = [0, 1, 2].map(|axis| low[axis].min(at[axis]));
            high = [0, 1, 2].map(|axis| high[axis].max(at[axis] + 1));
        }
        if other.is_some() && high[0] > 0 {
            let most = [self.size[0], self.size[1], of_row];
            low = low.map(|place| place.saturating_sub(1));
            high = [0, 1, 2].map(|axis| (high[axis] + 1).min(most[axis]));
        }
        let size = [0, 1, 2].map(|axis| high[axis].saturating_sub(low[axis]));
        let mut masks =
            [Bits::empty(size), Bits::empty(size), Bits::empty(if other.is_some() { size } else { [0; 3] })];
        for piece in pieces() {
            let [slice, row, word] = place(piece.word);
            for (mask, bits) in masks.iter_mut().zip(piece.bits) {
                mask.row_mut(slice - low[0], row - low[1])[word - low[2]] = bits;
            }
        }
        for piece in other.into_iter().flat_map(pieces_of) {
            let at = place(piece.word);
            if (0..3).all(|axis| (low[axis]..high[axis]).contains(&at[axis])) {
                masks[2].row_mut(at[0] - low[0], at[1] - low[1])[at[2] - low[2]] = piece.bits[0];
            }
        }
        let low = low.map(|place| if place == usize::MAX { 0 } else { place });
        (masks, [low[0], low[1], low[2] * WORD])
    }
}

/// A table from a label to the place of its pair.
struct Table(Vec<usize>);

impl Table {
    const NONE: usize = usize::MAX;

    fn new(labels: impl Iterator<Item = u16>) -> Self {
        let mut table = Vec::new();
        for (place, label) in labels.enumerate() {
            let label = usize::from(label);
            table.resize(table.len().max(label + 1), Self::NONE);
            table[label] = place;
        }
        Self(table)
    }

    fn find(&self, label: u16) -> Option<usize> {
        self.0.get(usize::from(label)).copied().filter(|place| *place != Self::NONE)
    }
}

/// What one task packs.
struct TaskPack {
    counts: Vec<Confusion>,
    highest: [u16; 2],
    pieces: Vec<Vec<Piece>>,
    ignored: Option<u16>,
}

impl TaskPack {
    fn new(pairs: usize, ignored: Option<u16>) -> Self {
        let counts = vec![Confusion::ZERO; pairs];
        Self { counts, highest: [0; 2], pieces: vec![Vec::new(); pairs], ignored }
    }

    fn pack(&mut self, volumes: [&[u16]; 2], width: usize, first: usize, tables: &[Table; 2]) {
        let mut word = first;
        let rows = volumes[0].chunks_exact(width).zip(volumes[1].chunks_exact(width));
        for (prediction, reference) in rows {
            let mut sides = [prediction.chunks_exact(WORD), reference.chunks_exact(WORD)];
            while let (Some(a), Some(b)) = (sides[0].next(), sides[1].next()) {
                if let (Ok(a), Ok(b)) = (a.try_into(), b.try_into()) {
                    self.add(word, [a, b], tables);
                }
                word += 1;
            }
            let rests = [sides[0].remainder(), sides[1].remainder()];
            if !rests[0].is_empty() {
                let [a, b] = rests.map(|rest| {
                    let mut voxels = [0; WORD];
                    voxels[..rest.len()].copy_from_slice(rest);
                    voxels
                });
                self.add(word, [&a, &b], tables);
                word += 1;
            }
        }
        for (counts, pieces) in self.counts.iter_mut().zip(&self.pieces) {
            *counts = pieces.iter().map(Piece::counts).sum();
        }
    }

    fn add(&mut self, word: usize, voxels: [&[u16; WORD]; 2], tables: &[Table; 2]) {
        for side in [0, 1] {
            // Most voxels are background.
            if voxels[side].iter().fold(0, |any, label| any | label) == 0 {
                continue;
            }
            let mut rest = !equal(voxels[side], 0);
            while rest != 0 {
                let label = voxels[side][rest.trailing_zeros() as usize];
                let here = equal(voxels[side], label);
                rest &= !here;
                if self.ignored != Some(label) {
                    self.highest[side] = self.highest[side].max(label);
                }
                let Some(place) = tables[side].find(label) else { continue };
                match self.pieces[place].last_mut() {
                    Some(piece) if piece.word == word => piece.bits[side] = here,
                    _ => {
                        let mut bits = [0; 2];
                        bits[side] = here;
                        self.pieces[place].push(Piece { word, bits });
                    }
                }
            }
        }
    }
}

impl Piece {
    fn counts(&self) -> Confusion {
        let [a, b] = self.bits;
        let count = |bits: u64| i64::from(bits.count_ones());
        Confusion { tp: count(a & b), fp: count(a & !b), fn_: count(b & !a) }
    }
}

/// Which voxels are of this label.
fn equal(voxels: &[u16; WORD], label: u16) -> u64 {
    /// Moves the lowest bit of each of eight bytes to the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mut bytes = [0; WORD];
    bytes.iter_mut().zip(voxels).for_each(|(byte, voxel)| *byte = u8::from(*voxel == label));
    let (eights, _) = bytes.as_chunks::<8>();
    let gather = |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56;
    eights.iter().rev().fold(0, |bits, eight| bits << 8 | gather(eight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_are_counted_by_pair() {
        let prediction = [0, 1, 1, 2, 9, 2];
        let reference = [0, 3, 0, 3, 1, 1];
        let packed = Packed::new(&prediction, &reference, [1, 2, 3], &[(1, 3), (2, 1)]).unwrap();
        let counts = Confusion { tp: 1, fp: 1, fn_: 1 };
        assert_eq!((packed.counts(0), packed.counts(1), packed.highest()), (counts, counts, [9, 3]));
    }

    #[test]
    fn centres_of_mass() {
        let mut prediction = vec![0; 2 * 3 * 200];
        // Columns 0 and 130 of row 1 in slice 0, and column 131 of row 2 in slice 1.
        [200, 330, 600 + 400 + 131].iter().for_each(|voxel| prediction[*voxel] = 1);
        let mut reference = vec![0; prediction.len()];
        reference[600 + 199] = 1;
        let packed = Packed::new(&prediction, &reference, [2, 3, 200], &[(1, 1), (2, 2)]).unwrap();
        let expected = [[1.0 / 3.0, 4.0 / 3.0, 87.0], [1.0, 0.0, 199.0]];
        assert_eq!((packed.centres(0), packed.centres(1)), (Some(expected), None));
    }

    #[test]
    fn a_size_that_does_not_fit_is_named() {
        let error = Packed::new(&[0; 4], &[0; 6], [1, 2, 3], &[]).unwrap_err();
        assert_eq!(error, SizeMismatch { expected: 6, prediction: 4, reference: 6 });
        assert_eq!(Packed::new(&[], &[], [0, 5, 5], &[(1, 1)]).unwrap().counts(0), Confusion::ZERO);
    }

    proptest! {
        #[test]
        fn one_pass_is_as_many_passes(
            voxels in proptest::collection::vec((0..4u16, 0..4u16), 600),
            width in 1..300usize,
        ) {
            let size = [1, voxels.len() / width, width];
            let within = voxels[..size[1] * width].iter().copied();
            let (prediction, reference): (Vec<u16>, Vec<u16>) = within.clone().unzip();
            let packed = Packed::new(&prediction, &reference, size, &[(1, 1), (2, 2), (3, 3)]).unwrap();
            for label in 1..4_u16 {
                let pair = usize::from(label) - 1;
                let count = |a: bool, b: bool| {
                    within.clone().filter(|(p, r)| ((*p == label), (*r == label)) == (a, b)).count() as i64
                };
                let expected = Confusion { tp: count(true, true), fp: count(true, false), fn_: count(false, true) };
                prop_assert_eq!(packed.counts(pair), expected);
                let ([mask, _], [slice, row, column]) = packed.masks(pair);
                let found: Vec<usize> = mask
                    .voxels(0..mask.size()[0] * mask.size()[1])
                    .map(|[d, h, w]| ((d + slice) * size[1] + h + row) * width + w + column)
                    .collect();
                let expected: Vec<usize> = (0..prediction.len()).filter(|&i| prediction[i] == label).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
