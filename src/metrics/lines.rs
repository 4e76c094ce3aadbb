//! Exact distances of voxels that are far from everything: by lower envelopes along rows, made once for all
//! voxels of a row and only for slices that can hold the nearest.
//!
//! # Source
//! Felzenszwalb and Huttenlocher, Distance transforms of sampled functions, 2012.

use rayon::prelude::*;

use super::bits::{Bits, WORD};

/// A voxel that looked in vain nearby.
#[derive(Clone, Copy, Debug)]
pub(super) struct Far {
    /// Slice, row and column.
    pub voxel: [usize; 3],
    /// Which one of the asked it is.
    pub place: usize,
    /// The least squared distance found so far, in mm².
    pub squared_mm: f64,
}

/// The voxels that distances are measured to, by columns.
pub(super) struct Lines {
    spacing_mm: [f64; 3],
    rows: usize,
    slices: Vec<Slice>,
}

impl Lines {
    /// To these voxels.
    pub fn new(to: &Bits, spacing_mm: [f64; 3]) -> Self {
        let [depth, rows, _] = to.size();
        let slices = (0..depth).into_par_iter().map(|slice| Slice::new(to, slice)).collect();
        Self { spacing_mm, rows, slices }
    }

    /// Lowers every distance to that of the nearest voxel.
    pub fn measure(&self, mut asked: Vec<Far>) -> Vec<Far> {
        asked.par_sort_unstable_by_key(|one| (one.voxel[1], one.place));
        asked.par_chunk_by_mut(|a, b| a.voxel[1] == b.voxel[1]).for_each_init(
            || vec![Envelope::default(); self.slices.len()],
            |envelopes, of_row| {
                envelopes.iter_mut().for_each(|envelope| envelope.made = false);
                of_row.iter_mut().for_each(|one| self.nearest(one, envelopes));
            },
        );
        asked
    }

    /// Walks the slices outward until none can hold anything nearer.
    fn nearest(&self, one: &mut Far, envelopes: &mut [Envelope]) {
        let [slice, row, column] = one.voxel;
        for away in 0..self.slices.len() {
            let across = away as f64 * self.spacing_mm[0];
            let across = across * across;
            if across >= one.squared_mm {
                break;
            }
            let below = slice.checked_sub(away);
            let above = (away > 0).then_some(slice + away);
            for slice in below.into_iter().chain(above) {
                let (Some(columns), Some(envelope)) = (self.slices.get(slice), envelopes.get_mut(slice))
                else {
                    continue;
                };
                if !envelope.made {
                    envelope.make(columns.heights(row, self.rows), self.spacing_mm);
                }
                one.squared_mm = one.squared_mm.min(envelope.squared_mm(column, across, self.spacing_mm));
            }
        }
    }
}

/// One slice, with bits along its columns.
struct Slice {
    /// The columns that hold a voxel.
    columns: Vec<usize>,
    /// The words of each of them.
    words: Vec<u64>,
}

impl Slice {
    fn new(to: &Bits, slice: usize) -> Self {
        let [_, rows, width] = to.size();
        let of_column = rows.div_ceil(WORD);
        let mut all = vec![0; width * WORD * of_column];
        let mut any = vec![0; width];
        for row in 0..rows {
            any.iter_mut().zip(to.row(slice, row)).for_each(|(any, word)| *any |= word);
        }
        for [_, row, column] in to.voxels(slice * rows..(slice + 1) * rows) {
            all[column * of_column + row / WORD] |= 1 << (row % WORD);
        }
        let filled = |column: &usize| any[column / WORD] >> (column % WORD) & 1 == 1;
        let columns: Vec<usize> = (0..width * WORD).filter(filled).collect();
        let words =
            columns.iter().flat_map(|column| &all[column * of_column..][..of_column]).copied().collect();
        Self { columns, words }
    }

    /// Each column that holds a voxel, and how many rows the nearest is away.
    fn heights(&self, row: usize, rows: usize) -> impl Iterator<Item = (usize, usize)> {
        let columns = self.words.chunks_exact(rows.div_ceil(WORD).max(1));
        self.columns
            .iter()
            .zip(columns)
            .filter_map(move |(column, words)| Some((*column, nearest_bit(words, row)?)))
    }
}

/// How far the nearest bit is.
fn nearest_bit(words: &[u64], place: usize) -> Option<usize> {
    let (word, bit) = (place / WORD, place % WORD);
    let here = words.get(word)?;
    let after = match here >> bit {
        0 => {
            let next = words[word + 1..].iter().enumerate().find(|(_, word)| **word != 0);
            next.map(|(words, next)| words * WORD + WORD - bit + next.trailing_zeros() as usize)
        }
        rest => Some(rest.trailing_zeros() as usize),
    };
    let before = match here << (WORD - 1 - bit) {
        0 => {
            let next = words[..word].iter().rev().enumerate().find(|(_, word)| **word != 0);
            next.map(|(words, next)| words * WORD + bit + 1 + next.leading_zeros() as usize)
        }
        rest => Some(rest.leading_zeros() as usize),
    };
    after.into_iter().chain(before).min()
}

/// The lower envelope of parabolas along a row of one slice.
#[derive(Clone, Debug, Default)]
struct Envelope {
    made: bool,
    /// The column that each stands on, and how many rows away it has its voxel.
    feet: Vec<(usize, usize)>,
    /// From which column on each is the lowest.
    from: Vec<f64>,
}

impl Envelope {
    fn make(&mut self, heights: impl Iterator<Item = (usize, usize)>, spacing_mm: [f64; 3]) {
        self.made = true;
        self.feet.clear();
        self.from.clear();
        let rows_by_columns = (spacing_mm[1] / spacing_mm[2]).powi(2);
        heights.for_each(|foot| self.add(foot, rows_by_columns));
    }

    fn add(&mut self, foot: (usize, usize), rows_by_columns: f64) {
        while let (Some(&other), Some(&from)) = (self.feet.last(), self.from.last()) {
            // Whole numbers up to the last step, so that next to nothing is rounded away.
            let higher = (foot.1 * foot.1) as f64 - (other.1 * other.1) as f64;
            let apart = 2.0 * (foot.0 - other.0) as f64;
            let meet = (foot.0 + other.0) as f64 / 2.0 + higher * rows_by_columns / apart;
            if meet > from {
                self.feet.push(foot);
                self.from.push(meet);
                return;
            }
            self.feet.pop();
            self.from.pop();
        }
        self.feet.push(foot);
        self.from.push(f64::NEG_INFINITY);
    }

    /// The squared distance of a column `across` mm² away; infinite above an empty slice.
    fn squared_mm(&self, column: usize, across: f64, spacing_mm: [f64; 3]) -> f64 {
        let lowest = self.from.partition_point(|from| *from <= column as f64);
        let Some(&(foot, rows)) = lowest.checked_sub(1).and_then(|lowest| self.feet.get(lowest)) else {
            return f64::INFINITY;
        };
        let (up, along) = (rows as f64 * spacing_mm[1], column.abs_diff(foot) as f64 * spacing_mm[2]);
        across + up * up + along * along
    }
}
