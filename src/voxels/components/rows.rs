//! Rows of a label map as bits, 64 voxels in a word: what is no background, and where runs of one label begin.

use std::ops::Range;

use rayon::prelude::*;
use tomoflow_connectors::pages;

use crate::metrics::Ones;

/// Voxels in a word.
const WORD: usize = 64;
/// Rows that one task packs.
const ROWS: usize = 64;

/// 64 voxels of a row.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    /// Voxels that are not 0.
    filled: u64,
    /// Those of them that do not go on what lies before: the first ones of runs.
    starts: u64,
    /// Runs that begin in the row's earlier words.
    before: u64,
}

impl From<[u64; 3]> for Word {
    fn from([filled, starts, before]: [u64; 3]) -> Self {
        Self { filled, starts, before }
    }
}

impl Word {
    /// The last voxels of runs; `next` is the word behind.
    fn ends(self, next: Self) -> u64 {
        let goes_on = |word: Self| word.filled & !word.starts;
        self.filled & !(goes_on(self) >> 1 | goes_on(next) << (WORD - 1))
    }

    /// Runs of the row that begin up to a place of this word, that place included.
    fn rank(self, place: u32) -> usize {
        let up_to = u64::MAX >> (WORD as u32 - 1 - place);
        self.before as usize + (self.starts & up_to).count_ones() as usize
    }
}

/// All rows of a label map.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    width: usize,
    /// The words are arrays, since memory of zeros comes untouched then.
    words: Vec<[u64; 3]>,
    /// The runs before each row, and all.
    runs: Vec<usize>,
    seen: Seen,
}

/// The bits that are set in any label, and those that are not set in any: of one label no bit is both.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    set: u16,
    unset: u16,
}

impl Seen {
    fn or(self, other: Self) -> Self {
        Self { set: self.set | other.set, unset: self.unset | other.unset }
    }
}

impl Rows {
    /// The rows of a volume, each of `width` voxels, at least one.
    pub fn new(labels: &[u16], width: usize) -> Self {
        let (rows, of_row) = (labels.len() / width, width.div_ceil(WORD));
        let mut words = vec![[0; 3]; rows * of_row];
        pages::large(&mut words);
        let mut runs = vec![0; rows + 1];
        let all = runs[1..].par_chunks_mut(ROWS).zip(words.par_chunks_mut(ROWS * of_row));
        let tasks = all.zip(labels.par_chunks(ROWS * width)).map(|((runs, words), labels)| {
            let each = words.chunks_exact_mut(of_row).zip(labels.chunks_exact(width));
            let mut seen = Seen::default();
            for (runs, (words, labels)) in runs.iter_mut().zip(each) {
                *runs = pack(labels, words, &mut seen);
            }
            seen
        });
        let seen = tasks.reduce(Seen::default, Seen::or);
        let mut before = 0;
        for runs in &mut runs {
            before += *runs;
            *runs = before;
        }
        Self { width, words, runs, seen }
    }

    /// Whether no two labels differ but for the background.
    pub fn has_one_label(&self) -> bool {
        self.seen.set & self.seen.unset == 0
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.runs.len().saturating_sub(1)
    }

    /// Voxels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Runs in the rows before this one; of the row past the last, in all.
    pub fn runs_before(&self, row: usize) -> usize {
        self.runs.get(row).copied().unwrap_or_default()
    }

    fn words(&self, row: usize) -> &[[u64; 3]] {
        let of_row = self.width.div_ceil(WORD);
        &self.words[row * of_row..][..of_row]
    }

    /// The voxels of each run of a row, in order.
    pub fn runs(&self, row: usize) -> impl Iterator<Item = Range<usize>> {
        let words = if self.runs_before(row) == self.runs_before(row + 1) { &[] } else { self.words(row) };
        places(words.iter().map(|word| word[1])).map(move |start| {
            let length = length(words, start, self.width);
            let start = row * self.width + start;
            start..start + length
        })
    }

    /// Calls `touch` with the runs of two rows that touch, each pair once, and a voxel of each: `here` lies
    /// behind `there`. With `diagonal`, also those that only touch when one is longer by a voxel.
    pub fn touching(
        &self,
        here: usize,
        there: usize,
        diagonal: bool,
        mut touch: impl FnMut([usize; 2], [usize; 2]),
    ) {
        let runs = [self.runs_before(here), self.runs_before(there)];
        if runs[0] == self.runs_before(here + 1) || runs[1] == self.runs_before(there + 1) {
            return;
        }
        let offsets = [here * self.width, there * self.width];
        let words = [self.words(here), self.words(there)];
        let at = |row: &[[u64; 3]], index: usize| Word::from(row.get(index).copied().unwrap_or_default());
        let mut ended = 0;
        for index in 0..words[0].len() {
            let [a, b] = words.map(|row| at(row, index));
            let next = if diagonal { words.map(|row| at(row, index + 1)) } else { Default::default() };
            let ends = if diagonal { b.ends(next[1]) } else { 0 };
            let ended_before = std::mem::replace(&mut ended, ends >> (WORD - 1));
            if a.filled == 0 {
                continue;
            }
            let voxels = |place: u32| offsets.map(|offset| offset + index * WORD + place as usize);
            // Runs that overlap touch where the later one of both begins.
            for place in Ones(a.starts & b.filled | b.starts & a.filled) {
                touch([runs[0] + a.rank(place) - 1, runs[1] + b.rank(place) - 1], voxels(place));
            }
            if !diagonal {
                continue;
            }
            // Runs that only touch do so where one ends beside where the other begins.
            let begins_after = b.starts >> 1 | next[1].starts << (WORD - 1);
            for place in Ones(a.ends(next[0]) & begins_after) {
                let [x, y] = voxels(place);
                touch([runs[0] + a.rank(place) - 1, runs[1] + b.rank(place)], [x, y + 1]);
            }
            for place in Ones(a.starts & (ends << 1 | ended_before)) {
                let [x, y] = voxels(place);
                let begun = b.rank(place) - (b.starts >> place & 1) as usize;
                touch([runs[0] + a.rank(place) - 1, runs[1] + begun - 1], [x, y - 1]);
            }
        }
    }
}

/// Packs a row into its words, which are 0 before, and counts its runs.
fn pack(row: &[u16], words: &mut [[u64; 3]], seen: &mut Seen) -> usize {
    let (blocks, rest) = row.as_chunks::<WORD>();
    let mut padded = [0; WORD];
    padded[..rest.len()].copy_from_slice(rest);
    let blocks = blocks.iter().chain((!rest.is_empty()).then_some(&padded));
    let (mut previous, mut runs) = (0, 0);
    for (block, word) in blocks.zip(words) {
        // Most of a mask is background, or the inside of something.
        if block.iter().fold(0, |any, &label| any | (label ^ previous)) == 0 {
            if runs > 0 {
                *word = [if previous == 0 { 0 } else { u64::MAX }, 0, runs as u64];
            }
            continue;
        }
        *seen = block.iter().fold(*seen, |seen, &label| {
            let unset = if label == 0 { 0 } else { !label };
            seen.or(Seen { set: label, unset })
        });
        let filled = bits(|place| block[place] != 0);
        let differs = bits(|place| block[place] != if place == 0 { previous } else { block[place - 1] });
        *word = [filled, filled & differs, runs as u64];
        runs += word[1].count_ones() as usize;
        previous = block[WORD - 1];
    }
    runs
}

/// A bit for each place of a block.
#[inline(always)]
fn bits(is_set: impl Fn(usize) -> bool) -> u64 {
    let mut bytes = [0; WORD];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from(is_set(place));
    }
    // Eight bytes of 0 or 1 become the highest eight bits of a product.
    let (bytes, _) = bytes.as_chunks::<8>();
    let gathered =
        bytes.iter().map(|bytes| u64::from_le_bytes(*bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56);
    gathered.rev().fold(0, |word, byte| word << 8 | byte)
}

/// How long the run is that begins at a place of a row.
fn length(words: &[[u64; 3]], start: usize, width: usize) -> usize {
    let stops = |index: usize| words.get(index).map(|word| !word[0] | word[1]);
    let (mut index, place) = ((start + 1) / WORD, (start + 1) % WORD);
    let mut stop = stops(index).map(|stops| stops >> place << place);
    while let Some(0) = stop {
        index += 1;
        stop = stops(index);
    }
    let end = stop.map_or(width, |stop| index * WORD + stop.trailing_zeros() as usize);
    end.min(width) - start
}

/// The places of all bits that are set in words that follow each other.
fn places(words: impl Iterator<Item = u64>) -> impl Iterator<Item = usize> {
    words.enumerate().flat_map(|(index, word)| Ones(word).map(move |place| index * WORD + place as usize))
}
