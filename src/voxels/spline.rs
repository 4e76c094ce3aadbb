//! Cubic B-splines through voxels: the recursive filter that finds their coefficients, and their weights.
//!
//! Beyond its ends a line goes on with its outermost voxel, for ever; SciPy's `mode = "nearest"` does so for
//! twelve voxels, which in 32-bit floats is the same. Coefficients here are a sixth of the usual ones, and the
//! weights six times the usual ones, which spares a multiplication.
//!
//! # Source
//! Unser, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing Magazine 1999.

use super::row::Row;

/// The pole of the cubic B-spline's filter, `sqrt(3) - 2`.
const POLE: f64 = -0.267_949_192_431_122_7;
const Z: f32 = POLE as f32;
/// What the past of a line, which is its first voxel for ever, adds to it.
const FIRST: f32 = (1.0 / (1.0 - POLE)) as f32;
/// The last coefficient, from what the recursion has reached there and from the last voxel.
const LAST_REACHED: f32 = (-POLE / (1.0 - POLE * POLE)) as f32;
const LAST_VOXEL: f32 = (-POLE / (1.0 - POLE) * (1.0 / (1.0 - POLE) - 1.0 / (1.0 - POLE * POLE))) as f32;

/// The weights on coefficients for a position among so many voxels.
pub fn row(voxels: usize, position: f64) -> Row {
    if voxels == 1 {
        return Row::edged(1, [(0, 1.0)]);
    }
    let floor = position.floor();
    let t = position - floor;
    let weights = [
        (1.0 - t).powi(3),
        3.0 * t.powi(3) - 6.0 * t * t + 4.0,
        -3.0 * t.powi(3) + 3.0 * t * t + 3.0 * t + 1.0,
        t.powi(3),
    ];
    let places = (floor as i64 - 1..).zip(weights);
    Row::edged(voxels, places.flat_map(|(place, weight)| folded(voxels as i64 - 1, place, weight)))
}

/// A weight on a coefficient beyond an end, as weights on the two outermost ones.
///
/// There the voxels are the outermost one, `s`, and coefficients tend to it: `c[-j] = s + z^j (c[0] - s)`, where
/// `6 s = c[-1] + 4 c[0] + c[1]`.
fn folded(last: i64, place: i64, weight: f64) -> [(i64, f64); 2] {
    let beyond = (-place).max(place - last);
    if beyond <= 0 {
        return [(place, weight), (place, 0.0)];
    }
    let (end, next) = if place < 0 { (0, 1) } else { (last, last - 1) };
    let decay = POLE.powi(beyond.min(64) as i32);
    let (of_end, of_next) = ((4.0 + POLE) / (5.0 + POLE), 1.0 / (5.0 + POLE));
    [(end, weight * (decay + (1.0 - decay) * of_end)), (next, weight * (1.0 - decay) * of_next)]
}

/// Turns the voxels of `lanes` lines at once, which lie side by side, into coefficients; `load` gives the voxels
/// with an index, in order.
#[inline(always)]
pub fn coefficients(lines: &mut [f32], lanes: usize, mut load: impl FnMut(usize, &mut [f32])) {
    let count = lines.len() / lanes;
    for index in 0..count {
        let (before, after) = lines.split_at_mut(index * lanes);
        let row = &mut after[..lanes];
        load(index, row);
        if index == 0 {
            row.iter_mut().for_each(|value| *value *= FIRST);
            continue;
        }
        let previous = &before[(index - 1) * lanes..][..lanes];
        if index + 1 < count {
            for (value, previous) in row.iter_mut().zip(previous) {
                *value += Z * previous;
            }
        } else {
            for (value, previous) in row.iter_mut().zip(previous) {
                *value = LAST_REACHED * (*value + Z * previous) + LAST_VOXEL * *value;
            }
        }
    }
    for index in (0..count.saturating_sub(1)).rev() {
        let (before, after) = lines.split_at_mut((index + 1) * lanes);
        let (row, next) = (&mut before[index * lanes..][..lanes], &after[..lanes]);
        for (value, next) in row.iter_mut().zip(next) {
            *value = Z * (next - *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The coefficients give the voxels back: `c[i-1] + 4 c[i] + c[i+1]`, whatever the length.
    #[test]
    fn the_spline_goes_through_the_voxels() {
        for count in 2..40 {
            let voxel = |index: usize, lane: usize| ((index * 7 + lane * 3) % 11) as f32 - 4.0;
            let mut lines = vec![0.0; count * 3];
            coefficients(&mut lines, 3, |index, row| {
                row.iter_mut().enumerate().for_each(|(lane, value)| *value = voxel(index, lane));
            });
            for index in 1..count - 1 {
                for lane in 0..3 {
                    let c = |i: usize| lines[i * 3 + lane];
                    let found = c(index - 1) + 4.0 * c(index) + c(index + 1);
                    assert!((found - voxel(index, lane)).abs() < 1e-5, "{count} {index} {found}");
                }
            }
        }
    }
}
