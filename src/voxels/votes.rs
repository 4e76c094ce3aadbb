//! Labels between voxels by a linear vote: each label interpolated on its own, and the largest share wins.

use rayon::prelude::*;

use super::grid::Tap;

/// Shares that differ by less are equal: weights are 32-bit floats.
const EQUAL: f64 = 1e-6;

/// The winning labels. Of equal shares the nearest voxel's label wins, or else the lowest.
///
/// Where all eight neighbours agree, which is nearly everywhere, nothing is counted.
pub fn linear(labels: &[u16], size: [usize; 3], taps: &[Vec<Tap>; 3]) -> Vec<u16> {
    let [slices, rows, columns] = taps;
    let [_, height, width] = size;
    let mut output = vec![0; slices.len() * rows.len() * columns.len()];
    let scratch = || vec![false; width];
    output.par_chunks_exact_mut(columns.len()).enumerate().for_each_init(scratch, |agree, (line, out)| {
        let (slice, row) = (&slices[line / rows.len()], &rows[line % rows.len()]);
        let source =
            |slice: u32, row: u32| &labels[(slice as usize * height + row as usize) * width..][..width];
        let neighbours = [
            source(slice.low, row.low),
            source(slice.low, row.high),
            source(slice.high, row.low),
            source(slice.high, row.high),
        ];
        let first = neighbours[0][0];
        if neighbours.iter().all(|row| all(row, first)) {
            out.fill(first);
            return;
        }
        let [a, b, c, d] = neighbours;
        for (column, agree) in agree.iter_mut().enumerate() {
            *agree = (a[column] == b[column]) & (a[column] == c[column]) & (a[column] == d[column]);
        }
        for (out, column) in out.iter_mut().zip(columns) {
            let (low, high) = (column.low as usize, column.high as usize);
            *out = if agree[low] && agree[high] && a[low] == a[high] {
                a[low]
            } else {
                winner(&neighbours, [slice, row, column])
            };
        }
    });
    output
}

fn all(row: &[u16], label: u16) -> bool {
    row.chunks(64).all(|chunk| chunk.iter().fold(true, |same, found| same & (*found == label)))
}

fn winner(rows: &[&[u16]; 4], taps: [&Tap; 3]) -> u16 {
    let share = |axis: usize, far: bool| {
        let weight = f64::from(taps[axis].weight);
        if far { weight } else { 1.0 - weight }
    };
    let far = |corner: usize, axis: usize| corner >> (2 - axis) & 1 == 1;
    let votes: [(u16, f64); 8] = std::array::from_fn(|corner| {
        let column = if far(corner, 2) { taps[2].high } else { taps[2].low };
        let shares = [0, 1, 2].map(|axis| share(axis, far(corner, axis)));
        (rows[corner >> 1][column as usize], shares.iter().product())
    });
    let score = |label: u16| -> f64 {
        votes.iter().filter(|(voted, _)| *voted == label).map(|(_, share)| share).sum()
    };
    let most = votes.iter().map(|(label, _)| score(*label)).fold(0.0, f64::max);
    let nearest = (0..3).fold(0, |corner, axis| corner << 1 | usize::from(taps[axis].weight >= 0.5));
    let nearest = votes[nearest].0;
    let leads = |label: u16| score(label) >= most - EQUAL;
    if leads(nearest) {
        return nearest;
    }
    votes.iter().map(|(label, _)| *label).filter(|label| leads(*label)).min().unwrap_or(nearest)
}
