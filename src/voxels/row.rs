//! The weights that make one new voxel of a line.

use super::grid::Tap;

/// The weights that make one new voxel, over neighbours from `low` on.
pub struct Row {
    pub(super) low: usize,
    pub(super) weights: Vec<f64>,
}

impl Row {
    /// The row of a value between two voxels, by the share of the second.
    pub(super) fn between(voxels: usize, tap: &Tap) -> Self {
        let share = f64::from(tap.weight);
        Self::edged(voxels, [(i64::from(tap.low), 1.0 - share), (i64::from(tap.high), share)])
    }

    /// Weights by place; beyond the ends the outermost voxel repeats.
    pub fn edged(voxels: usize, weights: impl IntoIterator<Item = (i64, f64)>) -> Self {
        let last = voxels as i64 - 1;
        let inside = |(place, weight): (i64, f64)| (place.clamp(0, last) as usize, weight);
        let weights: Vec<_> = weights.into_iter().map(inside).filter(|(_, weight)| *weight != 0.0).collect();
        let low = weights.iter().map(|(place, _)| *place).min().unwrap_or(0);
        let high = weights.iter().map(|(place, _)| *place).max().unwrap_or(0);
        let mut row = Self { low, weights: vec![0.0; high - low + 1] };
        for (place, weight) in weights {
            row.weights[place - low] += weight;
        }
        row
    }
}
