//! Elastic displacements: random on a coarse grid, and smooth between.

use rand_chacha::ChaCha8Rng;

use super::Window;
use crate::operators::samples::augment::random::normal;

/// Random displacements on a coarse grid, with cubic B-splines between.
#[derive(Clone, Debug, PartialEq)]
pub struct Elastic {
    /// The distance between grid points, in mm.
    grid_mm: f64,
    /// The number of grid points along `[D, H, W]`; one along an axis that nothing moves along.
    points: [usize; 3],
    /// Displacements `[D, H, W, 3]` in mm.
    moved_mm: Vec<[f64; 3]>,
}

/// The most grid points along an axis: finer ones are noise, and fill memory.
const MOST_POINTS: f64 = 64.0;

impl Elastic {
    /// Displacements of standard deviation `sigma_mm` at points `grid_mm` apart, for a window; within its slices
    /// alone where `flat`.
    pub fn draw(sigma_mm: f64, grid_mm: f64, window: &Window, flat: bool, rng: &mut ChaCha8Rng) -> Self {
        let lengths = [0, 1, 2].map(|axis| window.size[axis] as f64 * window.spacing_mm[axis]);
        let longest = lengths.into_iter().fold(0.0, f64::max);
        let grid_mm = grid_mm.max(longest / MOST_POINTS);
        // A cubic spline reaches one point before and two behind.
        let mut points = lengths.map(|mm| (mm / grid_mm).ceil() as usize + 3);
        if flat {
            points[0] = 1;
        }
        let moves = |axis: usize| !(flat && axis == 0);
        let mut draw = |axis: usize| if moves(axis) { normal(rng) * sigma_mm } else { 0.0 };
        let moved_mm = (0..points.iter().product()).map(|_| [draw(0), draw(1), draw(2)]).collect();
        Self { grid_mm, points, moved_mm }
    }

    /// The longest way that anything goes along an axis, in mm.
    pub(super) fn farthest(&self, axis: usize) -> f64 {
        self.moved_mm.iter().map(|moved| moved[axis].abs()).fold(0.0, f64::max)
    }

    pub(super) fn over(&self, window: &Window) -> Lattice<'_> {
        let taps = [0, 1, 2].map(|axis| {
            let step = window.spacing_mm[axis] / self.grid_mm;
            let tap = |index: usize| match self.points[axis] {
                1 => (0, [1.0, 0.0, 0.0, 0.0]),
                points => {
                    let at = index as f64 * step;
                    let first = (at as usize).min(points.saturating_sub(4));
                    (first, spline(at - first as f64))
                }
            };
            (0..window.size[axis]).map(tap).collect()
        });
        Lattice { elastic: self, taps }
    }
}

/// The weights of four neighbouring points, at a share of the way from the second to the third.
fn spline(t: f64) -> [f64; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [1.0 - 3.0 * t + 3.0 * t2 - t3, 4.0 - 6.0 * t2 + 3.0 * t3, 1.0 + 3.0 * (t + t2 - t3), t3]
        .map(|weight| weight / 6.0)
}

/// The first of four points, and their weights.
type Tap = (usize, [f64; 4]);

/// Displacements, with the weights for each voxel of a window.
pub(super) struct Lattice<'e> {
    elastic: &'e Elastic,
    taps: [Vec<Tap>; 3],
}

/// Displacements along a row of voxels.
pub(super) struct Row<'l> {
    points: Vec<[f64; 3]>,
    taps: &'l [Tap],
}

impl Lattice<'_> {
    /// Those of the voxels of one row.
    pub(super) fn line(&self, [d, h]: [usize; 2]) -> Row<'_> {
        let [_, rows, columns] = self.elastic.points;
        let ((first_d, by_d), (first_h, by_h)) = (self.taps[0][d], self.taps[1][h]);
        let mut points = vec![[0.0; 3]; columns];
        for (i, a) in by_d.into_iter().enumerate().filter(|(_, weight)| *weight != 0.0) {
            for (j, b) in by_h.into_iter().enumerate().filter(|(_, weight)| *weight != 0.0) {
                let from = ((first_d + i) * rows + first_h + j) * columns;
                for (sum, point) in points.iter_mut().zip(&self.elastic.moved_mm[from..]) {
                    for axis in 0..3 {
                        sum[axis] += a * b * point[axis];
                    }
                }
            }
        }
        Row { points, taps: &self.taps[2] }
    }
}

impl Row<'_> {
    pub(super) fn at(&self, w: usize) -> [f64; 3] {
        let (first, weights) = self.taps[w];
        let mut moved = [0.0; 3];
        for (point, weight) in self.points[first..].iter().zip(weights) {
            for axis in 0..3 {
                moved[axis] += weight * point[axis];
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn displacements_are_smooth_and_stay_in_the_plane_where_flat() {
        let window = Window { start: [0; 3], size: [8, 40, 40], spacing_mm: [2.0, 1.0, 1.0] };
        let draw = |flat| Elastic::draw(3.0, 10.0, &window, flat, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(draw(false), draw(false));
        let elastic = draw(true);
        let lattice = elastic.over(&window);
        let (mut largest, mut step) = (0.0f64, 0.0f64);
        for (d, h) in (0..8).flat_map(|d| (0..40).map(move |h| (d, h))) {
            let row = lattice.line([d, h]);
            for w in 0..40 {
                assert_eq!(row.at(w)[0], 0.0);
                largest = largest.max(row.at(w)[1].abs());
                let next = row.at((w + 1).min(39));
                step = step.max((next[1] - row.at(w)[1]).abs());
            }
        }
        assert!((0.5..12.0).contains(&largest) && step < largest / 3.0, "{largest} mm, steps of {step} mm");
        // The weights of a spline sum to 1: a displacement alike everywhere is kept.
        let alike = Elastic { moved_mm: vec![[1.0, 2.0, -3.0]; elastic.moved_mm.len()], ..elastic };
        let moved = alike.over(&window).line([7, 39]).at(39);
        assert!(moved.iter().zip([1.0, 2.0, -3.0]).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}
