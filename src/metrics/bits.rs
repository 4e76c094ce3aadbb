//! Masks as bits: 64 voxels of a row in one word, with empty voxels all around.

use rayon::prelude::*;

/// Empty slices, rows and words on each side, so that a neighbour is looked at without asking whether it is
/// there.
pub(super) const MARGIN: [usize; 3] = [12, 16, 1];
/// Voxels in a word.
pub(super) const WORD: usize = 64;

/// A box of voxels, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    /// Slices, rows, and words of a row, without the margin.
    size: [usize; 3],
    words: Vec<u64>,
}

impl Bits {
    /// Nothing in a box of so many slices, rows, and words a row.
    pub fn empty(size: [usize; 3]) -> Self {
        let [depth, height, width] = [0, 1, 2].map(|axis| size[axis] + 2 * MARGIN[axis]);
        Self { size, words: vec![0; depth * height * width] }
    }

    /// Slices, rows, and words of a row.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// All words, with the margin.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Words from one slice, and from one row, to the next.
    pub fn strides(&self) -> [usize; 2] {
        let row = self.size[2] + 2 * MARGIN[2];
        [(self.size[1] + 2 * MARGIN[1]) * row, row]
    }

    /// Where a row begins, with its margin.
    pub fn start(&self, slice: usize, row: usize) -> usize {
        let [of_slice, of_row] = self.strides();
        (slice + MARGIN[0]) * of_slice + (row + MARGIN[1]) * of_row
    }

    /// The words of a row.
    pub fn row(&self, slice: usize, row: usize) -> &[u64] {
        &self.words[self.start(slice, row) + MARGIN[2]..][..self.size[2]]
    }

    /// The words of a row, to be written.
    pub fn row_mut(&mut self, slice: usize, row: usize) -> &mut [u64] {
        let start = self.start(slice, row) + MARGIN[2];
        &mut self.words[start..][..self.size[2]]
    }

    /// Slice, row and column of every voxel that is set, of the rows `rows` (slice by slice), in order.
    pub fn voxels(&self, rows: std::ops::Range<usize>) -> impl Iterator<Item = [usize; 3]> + '_ {
        let height = self.size[1].max(1);
        rows.map(move |row| (row / height, row % height)).flat_map(move |(slice, row)| {
            let words = self.row(slice, row).iter().enumerate().filter(|(_, word)| **word != 0);
            words.flat_map(move |(index, word)| {
                Ones(*word).map(move |bit| [slice, row, index * WORD + bit as usize])
            })
        })
    }

    /// Those with a neighbour, of six, that is not there and is none of `others`, in a box of the same size.
    pub fn surface_beside(&self, others: &Self) -> Self {
        let both = Self {
            size: self.size,
            words: self.words.iter().zip(&others.words).map(|(a, b)| a | b).collect(),
        };
        let mut surface = both.surface();
        surface.words.iter_mut().zip(&self.words).for_each(|(word, own)| *word &= own);
        surface
    }

    /// Those with a neighbour, of six, that is not there.
    pub fn surface(&self) -> Self {
        let mut output = Self::empty(self.size);
        let [of_slice, of_row] = self.strides();
        let slices = output.words.par_chunks_exact_mut(of_slice).enumerate();
        slices.skip(MARGIN[0]).take(self.size[0]).for_each(|(slice, words)| {
            for row in MARGIN[1]..MARGIN[1] + self.size[1] {
                let start = slice * of_slice + row * of_row;
                let at = |start: usize| &self.words[start..][..of_row];
                let here = at(start);
                if here.iter().all(|word| *word == 0) {
                    continue;
                }
                let beside = [start - of_row, start + of_row, start - of_slice, start + of_slice].map(at);
                for (word, out) in
                    words[row * of_row..][..of_row].iter_mut().enumerate().skip(1).take(self.size[2])
                {
                    let left = here[word] << 1 | here[word - 1] >> 63;
                    let right = here[word] >> 1 | here[word + 1] << 63;
                    let inside = beside.iter().fold(left & right, |inside, row| inside & row[word]);
                    *out = here[word] & !inside;
                }
            }
        });
        output
    }

    /// How many voxels are set, and the sums of their slices, rows and columns.
    pub fn moments(&self) -> (u64, [u64; 3]) {
        let [depth, height, _] = self.size;
        let of_row = |index: usize| {
            let (slice, row) = (index / height, index % height);
            let (mut count, mut columns) = (0, 0);
            for (index, word) in self.row(slice, row).iter().enumerate().filter(|(_, word)| **word != 0) {
                let ones = u64::from(word.count_ones());
                count += ones;
                columns += ones * (index * WORD) as u64 + sum_of_places(*word);
            }
            (count, [count * slice as u64, count * row as u64, columns])
        };
        let add =
            |a: (u64, [u64; 3]), b: (u64, [u64; 3])| (a.0 + b.0, [0, 1, 2].map(|axis| a.1[axis] + b.1[axis]));
        (0..depth * height).into_par_iter().with_min_len(256).map(of_row).reduce(Default::default, add)
    }
}

/// The places of the bits of a word, ascending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ones(pub(crate) u64);

impl Iterator for Ones {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let place = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (place < u64::BITS).then_some(place)
    }
}

/// The sum of the places of a word's bits: a place is a sum of powers of two, each counted at once.
fn sum_of_places(word: u64) -> u64 {
    const WITH_POWER: [u64; 6] = [
        0xaaaa_aaaa_aaaa_aaaa,
        0xcccc_cccc_cccc_cccc,
        0xf0f0_f0f0_f0f0_f0f0,
        0xff00_ff00_ff00_ff00,
        0xffff_0000_ffff_0000,
        0xffff_ffff_0000_0000,
    ];
    let powers = WITH_POWER.iter().enumerate();
    powers.map(|(power, places)| u64::from((word & places).count_ones()) << power).sum()
}
