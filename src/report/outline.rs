//! The outline of a mask as an SVG path along pixel edges.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A corner between pixels: column and row.
type Corner = (usize, usize);

/// Draws closed loops around the pixels of a mask, in pixel units; the mask lies to the right of each step.
pub(super) fn outline(mask: &[bool], columns: usize) -> String {
    let mut out = String::new();
    for corners in loops(edges(mask, columns)) {
        for (index, (column, row)) in corners.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(out, "{}{column} {row}", if index == 0 { 'M' } else { 'L' });
        }
        out.push('Z');
    }
    out
}

/// The edges between a pixel of the mask and one outside, from corner to corner, clockwise.
fn edges(mask: &[bool], columns: usize) -> BTreeMap<Corner, Vec<Corner>> {
    let mut edges: BTreeMap<Corner, Vec<Corner>> = BTreeMap::new();
    if columns == 0 {
        return edges;
    }
    let set = |row: Option<usize>, column: Option<usize>| match (row, column) {
        (Some(row), Some(column)) if column < columns => {
            mask.get(row * columns + column).copied().unwrap_or(false)
        }
        _ => false,
    };
    for (index, _) in mask.iter().enumerate().filter(|(_, inside)| **inside) {
        let (r, c) = (index / columns, index % columns);
        let sides = [
            (set(r.checked_sub(1), Some(c)), (c, r), (c + 1, r)),
            (set(Some(r), Some(c + 1)), (c + 1, r), (c + 1, r + 1)),
            (set(Some(r + 1), Some(c)), (c + 1, r + 1), (c, r + 1)),
            (set(Some(r), c.checked_sub(1)), (c, r + 1), (c, r)),
        ];
        for (inside, from, to) in sides {
            if !inside {
                edges.entry(from).or_default().push(to);
            }
        }
    }
    edges
}

/// Edges chained to loops, without the corners at which nothing turns.
fn loops(mut edges: BTreeMap<Corner, Vec<Corner>>) -> Vec<Vec<Corner>> {
    let mut found = Vec::new();
    while let Some((&start, _)) = edges.first_key_value() {
        let mut corners: Vec<Corner> = Vec::new();
        let mut at = start;
        while let Some(next) = step(&mut edges, at, corners.last().copied()) {
            let turns = corners.last().is_none_or(|&before| direction(before, at) != direction(at, next));
            if turns {
                corners.push(at);
            }
            at = next;
        }
        found.push(corners);
    }
    found
}

/// The next corner from `at`, whose edge is used up. Where two pixels touch at a corner only, the sharp
/// turn is taken, so that each keeps an outline of its own.
fn step(edges: &mut BTreeMap<Corner, Vec<Corner>>, at: Corner, before: Option<Corner>) -> Option<Corner> {
    let leaving = edges.get_mut(&at)?;
    let right = before.map(|before| {
        let (dc, dr) = direction(before, at);
        (-dr, dc)
    });
    let index = leaving.iter().position(|&to| Some(direction(at, to)) == right).unwrap_or(0);
    let next = leaving.swap_remove(index);
    if leaving.is_empty() {
        edges.remove(&at);
    }
    Some(next)
}

fn direction(from: Corner, to: Corner) -> (i8, i8) {
    let sign = |from: usize, to: usize| to.cmp(&from) as i8;
    (sign(from.0, to.0), sign(from.1, to.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn loops_around_pixels() {
        assert_eq!(outline(&[true, true, false, false], 2), "M0 0L2 0L2 1L0 1Z");
        // Pixels that touch at a corner give two loops.
        assert_eq!(outline(&[true, false, false, true], 2), "M0 0L1 0L1 1L0 1ZM1 1L2 1L2 2L1 2Z");
        assert_eq!(outline(&[], 0), "");
    }

    /// Pixels inside by the even-odd rule, which asks the path alone.
    fn inside(path: &str, columns: usize, rows: usize) -> Vec<bool> {
        let mut vertical = Vec::new();
        for corners in path.split('Z').filter(|text| !text.is_empty()) {
            let corners: Vec<Corner> = corners
                .split(['M', 'L'])
                .filter(|text| !text.is_empty())
                .map(|text| text.split_once(' ').unwrap())
                .map(|(column, row)| (column.parse().unwrap(), row.parse().unwrap()))
                .collect();
            for (index, &from) in corners.iter().enumerate() {
                let to = corners[(index + 1) % corners.len()];
                assert!((from.0 == to.0) != (from.1 == to.1), "{path}");
                vertical.extend((from.0 == to.0).then_some((from.0, from.1.min(to.1), from.1.max(to.1))));
            }
        }
        let crossed = |row, column| {
            vertical.iter().filter(|&&(at, top, bottom)| at <= column && top <= row && row < bottom).count()
                % 2
                == 1
        };
        (0..rows * columns).map(|index| crossed(index / columns, index % columns)).collect()
    }

    proptest! {
        #[test]
        fn the_outline_holds_the_mask(columns in 1usize..9, bits in proptest::collection::vec(any::<bool>(), 0..70)) {
            let rows = bits.len() / columns;
            let mask = &bits[..rows * columns];
            prop_assert_eq!(inside(&outline(mask, columns), columns, rows), mask);
        }
    }
}
