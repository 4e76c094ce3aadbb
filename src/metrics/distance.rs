//! Exact Euclidean distances on anisotropic voxels, only where they are asked for.
//!
//! Surfaces that are compared mostly lie close: each voxel looks at the rows around it, nearest first, until
//! none can hold anything nearer ([`Near`]). What finds nothing close by is measured along whole rows
//! ([`Lines`]), whose cost does not grow with the distance.

use rayon::prelude::*;

use super::bits::{Bits, MARGIN, WORD};
use super::lines::{Far, Lines};

/// Rows that a voxel looks at before it is far from everything.
const MOST_ROWS: usize = 256;
/// Columns to each side that it looks at: half a word.
const REACH: usize = WORD / 2;
/// Rows of the box that one task asks for.
const ROWS: usize = 64;

/// How far each voxel of `from`, in order, lies from the nearest one of `to`, in mm: infinite where there is
/// none. Both boxes are of one size.
pub(super) fn distances_mm(from: &Bits, to: &Bits, spacing_mm: [f64; 3]) -> Vec<f64> {
    let near = Near::new(to, spacing_mm);
    let rows = from.size()[0] * from.size()[1];
    let tasks: Vec<(Vec<f64>, Vec<Far>)> = (0..rows.div_ceil(ROWS))
        .into_par_iter()
        .map(|task| {
            let (mut squared, mut far) = (Vec::new(), Vec::new());
            for voxel in from.voxels(task * ROWS..rows.min((task + 1) * ROWS)) {
                let found = near.squared_mm(voxel);
                if found > near.complete {
                    far.push(Far { voxel, place: squared.len(), squared_mm: found });
                }
                squared.push(found);
            }
            (squared, far)
        })
        .collect();
    let mut all = Vec::with_capacity(tasks.iter().map(|task| task.0.len()).sum());
    let mut far = Vec::new();
    for (squared, of_task) in tasks {
        far.extend(of_task.into_iter().map(|one| Far { place: one.place + all.len(), ..one }));
        all.extend(squared);
    }
    if !far.is_empty() {
        for one in Lines::new(to, spacing_mm).measure(far) {
            all[one.place] = one.squared_mm;
        }
    }
    all.par_iter_mut().with_min_len(1 << 14).for_each(|squared| *squared = squared.sqrt());
    all
}

/// A row beside a voxel's own.
struct Beside {
    /// Words from the voxel's row to this one.
    words: isize,
    /// How far away it is, in mm².
    squared_mm: f64,
}

/// Finds the nearest voxel among those that are close.
struct Near<'a> {
    to: &'a Bits,
    /// Nearest first.
    rows: Vec<Beside>,
    /// Squared distances along a row by columns, in mm²; infinite from `REACH` on.
    columns: [f64; WORD],
    /// What is not farther than this was found for sure.
    complete: f64,
}

impl<'a> Near<'a> {
    fn new(to: &'a Bits, spacing_mm: [f64; 3]) -> Self {
        let square = |count: usize, mm: f64| (count as f64 * mm) * (count as f64 * mm);
        let [of_slice, of_row] = to.strides().map(|stride| stride as isize);
        let mut rows = Vec::new();
        for slice in -(MARGIN[0] as isize)..=MARGIN[0] as isize {
            for row in -(MARGIN[1] as isize)..=MARGIN[1] as isize {
                let squared_mm =
                    square(slice.unsigned_abs(), spacing_mm[0]) + square(row.unsigned_abs(), spacing_mm[1]);
                rows.push(Beside { words: slice * of_slice + row * of_row, squared_mm });
            }
        }
        rows.sort_by(|a, b| a.squared_mm.total_cmp(&b.squared_mm));
        let beyond = [square(MARGIN[0] + 1, spacing_mm[0]), square(MARGIN[1] + 1, spacing_mm[1])];
        let beyond = beyond.into_iter().chain(rows.get(MOST_ROWS).map(|row| row.squared_mm));
        let complete = beyond.fold(square(REACH, spacing_mm[2]), f64::min);
        rows.truncate(MOST_ROWS);
        rows.retain(|row| row.squared_mm < complete);
        let mut columns = [f64::INFINITY; WORD];
        columns[..REACH].iter_mut().enumerate().for_each(|(count, mm)| *mm = square(count, spacing_mm[2]));
        Self { to, rows, columns, complete }
    }

    /// The squared distance to the nearest voxel; when that is above `complete`, there may be a nearer one.
    fn squared_mm(&self, [slice, row, column]: [usize; 3]) -> f64 {
        let words = self.to.words();
        // The window begins half a word before the voxel.
        let first = MARGIN[2] * WORD + column - REACH;
        let (start, shift) = ((self.to.start(slice, row) + first / WORD) as isize, first % WORD);
        let mut best = f64::INFINITY;
        for beside in &self.rows {
            if beside.squared_mm >= best {
                break;
            }
            let at = (start + beside.words) as usize;
            let window = words[at] >> shift | words[at + 1] << 1 << (WORD - 1 - shift);
            let after = (window >> REACH).trailing_zeros().min(REACH as u32);
            let before = (window as u32).leading_zeros() + 1;
            best = best.min(beside.squared_mm + self.columns[after.min(before) as usize % WORD]);
        }
        best
    }
}
