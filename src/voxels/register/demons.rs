//! Demons: a field of displacements by which one scan becomes another, without folds.

use rayon::prelude::*;
use tomoflow_connectors::{Geometry, Reject, Scan};

use super::coarse;
use super::deformation::Deformation;
use super::gaussian::smooth;
use super::map::Affine;
use super::sampler::Sampler;
use super::standardised;

/// The longest way of a voxel in one iteration, in voxels.
const LONGEST: f64 = 0.5;
/// A level is done when five iterations took less than this share from the squared difference.
const LITTLE: f64 = 1e-3;
const LOOK_BACK: usize = 5;
/// The share of the fixed scan that the moving one must reach.
const LEAST_OVERLAP: f64 = 0.1;
/// The share of voxels that may fold.
const MOST_FOLDS: f64 = 0.01;

/// The square of a slope by voxel, in standard deviations, below which a place counts as level and hardly moves.
const LEVEL: f64 = 0.01;
/// Rounds in which the first gain and offset of a level are found.
const ROUNDS: usize = 5;
/// The residual at which a voxel weighs a quarter, as a share of their root mean square, and the least.
const SPREAD: f64 = 0.5;
const LEAST_SPREAD: f64 = 0.02;

/// How long, and how smooth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demons {
    /// Levels of voxels, each twice as wide as the next.
    pub levels: usize,
    /// The most iterations of a level.
    pub iterations: usize,
    /// The standard deviation by which each change is smoothed, in voxels.
    pub fluid: f64,
    /// The one by which the whole field is, after each change.
    pub diffusion: f64,
}

impl Default for Demons {
    fn default() -> Self {
        Self { levels: 3, iterations: 30, fluid: 1.0, diffusion: 1.5 }
    }
}

/// The field by which `moving` becomes `fixed` behind an affine map between the two.
///
/// Forces are symmetric (by the slopes of both scans), each change is smoothed, put before the field so far and smoothed
/// with it (Vercauteren et al. 2009). Intensities are compared up to a gain and an offset.
///
/// # Errors
/// Those of one of the scans alone, as of [`align`](super::align); `NO_OVERLAP` where the map leads beside the moving scan
/// for nine tenths of the fixed one; `FOLDED` where the field turns a hundredth of the voxels inside out.
pub fn deform(fixed: &Scan, moving: &Scan, affine: &Affine, how: &Demons) -> Result<Deformation, Reject> {
    let (fixed, moving) = (standardised(fixed)?, standardised(moving)?);
    let geometry = fixed.geometry();
    let straight = Deformation::affine(geometry, *affine);
    let reached = straight.reaches(moving.geometry())?;
    let count = reached.iter().filter(|reached| **reached).count();
    if (count as f64) < LEAST_OVERLAP * reached.len() as f64 {
        let share = 100.0 * count as f64 / reached.len() as f64;
        let message = format!("a map that leads into the moving scan expected, {share:.1} % of voxels do");
        return Err(Reject::new("NO_OVERLAP", message, "align the scans first"));
    }
    let moved = straight.scan(&moving)?;
    let inside: Option<Vec<f32>> = (count < reached.len())
        .then(|| reached.iter().map(|&reached| if reached { 1.0 } else { 0.0 }).collect());
    drop(reached);
    let mut field: Option<([Vec<f32>; 3], Geometry)> = None;
    for level in (0..how.levels.max(1)).rev() {
        let factor = 1 << level.min(16);
        let factors = geometry.size.map(|voxels| coarse::within(voxels, factor));
        let grid = coarse::grid(geometry, factors);
        // A level that no axis allows is the next finer one.
        if field.as_ref().is_some_and(|(_, known)| *known == grid) {
            continue;
        }
        let begin = match &field {
            Some((coarser, known)) => finer(coarser, known, &grid),
            None => std::array::from_fn(|_| vec![0.0; grid.voxels()]),
        };
        let shrunk = |voxels: &[f32]| coarse::means(voxels, geometry.size, factors);
        let level = Level {
            fixed: shrunk(fixed.voxels()),
            moving: shrunk(&moved),
            inside: inside.as_deref().map(shrunk),
            size: grid.size,
            spacing_mm: grid.spacing_mm(),
        };
        field = Some((level.run(begin, how), grid));
    }
    let found = Deformation { field: field.map(|(field, _)| field), ..straight };
    let folds = found.folds();
    if folds > MOST_FOLDS {
        let message = format!("a field without folds expected, {:.1} % of voxels are folded", folds * 100.0);
        return Err(Reject::new("FOLDED", message, "smooth it more, or take fewer iterations"));
    }
    Ok(found)
}

/// A field on a finer grid of the same scan, in its voxels.
fn finer(coarser: &[Vec<f32>; 3], known: &Geometry, grid: &Geometry) -> [Vec<f32>; 3] {
    let (from, to) = (grid.spacing_mm(), known.spacing_mm());
    let place = Deformation::affine(grid, Affine::IDENTITY);
    std::array::from_fn(|axis| {
        let ratio = (to[axis] / from[axis]) as f32;
        let voxels = Scan::new(known.clone(), coarser[axis].clone()).ok();
        let mut fine = voxels.and_then(|voxels| place.scan(&voxels).ok()).unwrap_or_default();
        fine.resize(grid.voxels(), 0.0);
        fine.iter_mut().for_each(|value| *value *= ratio);
        fine
    })
}

/// What makes the moving scan's intensities the fixed one's.
#[derive(Clone, Copy, Debug)]
struct Fit {
    gain: f64,
    offset: f64,
}

/// Both scans on one grid.
struct Level {
    fixed: Vec<f32>,
    moving: Vec<f32>,
    /// 1 where the moving scan reaches; none where it reaches everywhere.
    inside: Option<Vec<f32>>,
    size: [usize; 3],
    spacing_mm: [f64; 3],
}

impl Level {
    fn run(&self, mut field: [Vec<f32>; 3], how: &Demons) -> [Vec<f32>; 3] {
        let voxels = self.fixed.len();
        let (mut moved, mut sum, mut between) = (vec![0.0; voxels], vec![0.0; voxels], Vec::new());
        let mut change: [Vec<f32>; 3] = std::array::from_fn(|_| vec![0.0; voxels]);
        let mut next: [Vec<f32>; 3] = std::array::from_fn(|_| vec![0.0; voxels]);
        let mut known: Vec<f64> = Vec::with_capacity(how.iterations);
        let mut fit = Fit { gain: 1.0, offset: 0.0 };
        for iteration in 0..how.iterations {
            self.warp(&field, &mut moved);
            fit = self.intensities(&moved, if iteration == 0 { ROUNDS } else { 1 }, fit);
            let (gain, offset) = (fit.gain as f32, fit.offset as f32);
            moved.par_iter_mut().for_each(|value| *value = gain * *value + offset);
            sum.par_iter_mut()
                .zip(&self.fixed)
                .zip(&moved)
                .for_each(|((sum, fixed), moved)| *sum = fixed + moved);
            let difference = self.forces(&field, &moved, &sum, &mut change);
            known.push(difference);
            let earlier = known.len().checked_sub(LOOK_BACK + 1).map(|at| known[at]);
            if earlier.is_some_and(|earlier| difference > earlier * (1.0 - LITTLE)) {
                break;
            }
            for axis in &mut change {
                smooth(axis, &mut between, self.size, how.fluid);
            }
            self.compose(&field, &change, &mut next);
            for (axis, next) in field.iter_mut().zip(&mut next) {
                smooth(next, &mut between, self.size, how.diffusion);
                std::mem::swap(axis, next);
            }
        }
        field
    }

    fn lines<'a>(&self, field: &'a [Vec<f32>; 3], line: usize) -> [&'a [f32]; 3] {
        let width = self.size[2];
        [0, 1, 2].map(|axis| &field[axis][line * width..][..width])
    }

    /// The moving scan where the field leads.
    fn warp(&self, field: &[Vec<f32>; 3], out: &mut [f32]) {
        let [_, height, width] = self.size;
        let sampler = Sampler { voxels: &self.moving, size: self.size };
        out.par_chunks_exact_mut(width).enumerate().for_each(|(line, out)| {
            let (slice, row) = ((line / height) as f64, (line % height) as f64);
            let [by_d, by_h, by_w] = self.lines(field, line);
            for (column, out) in out.iter_mut().enumerate() {
                *out = sampler.clamped([
                    slice + f64::from(by_d[column]),
                    row + f64::from(by_h[column]),
                    column as f64 + f64::from(by_w[column]),
                ]);
            }
        });
    }

    /// The gain and offset by which the moved scan is most like the fixed one where the two are alike already: what does not
    /// lie together yet must not decide, since all of the rest would then be pushed. Voxels weigh `(1 + (r / s)²)⁻²` for the
    /// residual r by the gain and offset so far.
    fn intensities(&self, moved: &[f32], rounds: usize, known: Fit) -> Fit {
        let fitted = |known: Fit, spread: f64| {
            let [n, f, m, both, square, _] = self.sums(moved, known, spread);
            let gain = (both - f * m / n.max(1.0)) / (square - m * m / n.max(1.0));
            // Scans that go against each other, or nothing to compare: as they are.
            if !(gain.is_finite() && gain > 0.1 && gain < 10.0) {
                return known;
            }
            Fit { gain, offset: (f - gain * m) / n.max(1.0) }
        };
        (0..rounds).fold(known, |known, _| {
            let [n, .., squares] = self.sums(moved, known, f64::INFINITY);
            fitted(known, SPREAD * (squares / n.max(1.0)).sqrt().max(LEAST_SPREAD))
        })
    }

    /// Weights, intensities, their products and squared residuals, summed over voxels that lie in both scans.
    fn sums(&self, moved: &[f32], known: Fit, spread: f64) -> [f64; 6] {
        let area = self.size[1] * self.size[2];
        let slices = self.fixed.par_chunks_exact(area).zip(moved.par_chunks_exact(area)).enumerate();
        let per_square = if spread.is_finite() { 1.0 / (spread * spread) } else { 0.0 };
        let slices: Vec<[f64; 6]> = slices
            .map(|(slice, (fixed, moved))| {
                let inside = self.inside.as_ref().map(|inside| &inside[slice * area..][..area]);
                let mut sums = [0.0; 6];
                for (index, (&f, &m)) in fixed.iter().zip(moved).enumerate() {
                    if inside.is_some_and(|inside| inside[index] < 0.5) {
                        continue;
                    }
                    let (f, m) = (f64::from(f), f64::from(m));
                    let residual = f - known.gain * m - known.offset;
                    let square = residual * residual;
                    let weight = (1.0 + square * per_square).powi(-2);
                    let terms = [1.0, f, m, f * m, m * m, square].map(|term| weight * term);
                    sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
                }
                sums
            })
            .collect();
        slices.iter().fold([0.0; 6], |mut all, slice| {
            all.iter_mut().zip(slice).for_each(|(sum, of)| *sum += of);
            all
        })
    }

    /// The change that each voxel asks for, and the mean squared difference. `sum` is both scans together, whose slope is
    /// that of both.
    fn forces(&self, field: &[Vec<f32>; 3], moved: &[f32], sum: &[f32], change: &mut [Vec<f32>; 3]) -> f64 {
        let [depth, height, width] = self.size;
        let area = height * width;
        let per_mm = self.spacing_mm.map(|mm| (1.0 / mm) as f32);
        // |J|² + difference² / K with K so that no change is longer than `LONGEST` voxels on the mean.
        let mean_square = self.spacing_mm.iter().map(|mm| mm * mm).sum::<f64>() / 3.0;
        let by_difference = (1.0 / (mean_square * LONGEST * LONGEST)) as f32;
        let level = (LEVEL / mean_square) as f32;
        let inside = self.inside.as_ref().map(|voxels| Sampler { voxels, size: self.size });
        let [by_d, by_h, by_w] = change;
        let planes = by_d.par_chunks_exact_mut(area).zip(by_h.par_chunks_exact_mut(area));
        let planes = planes.zip(by_w.par_chunks_exact_mut(area)).enumerate();
        let sums: Vec<(f64, u64)> = planes
            .map(|(slice, ((by_d, by_h), by_w))| {
                let plane = |slice: usize| &sum[slice * area..][..area];
                let (here, above, below) =
                    (plane(slice), plane(slice.saturating_sub(1)), plane((slice + 1).min(depth - 1)));
                let of_ends =
                    |low: usize, high: usize| if high > low { 1.0 / (high - low) as f32 } else { 0.0 };
                let share_d = of_ends(slice.saturating_sub(1), (slice + 1).min(depth - 1)) * per_mm[0];
                let (mut squares, mut count) = (0.0, 0);
                for row in 0..height {
                    let (up, down) = (row.saturating_sub(1), (row + 1).min(height - 1));
                    let share_h = of_ends(up, down) * per_mm[1];
                    for column in 0..width {
                        let at = row * width + column;
                        let voxel = slice * area + at;
                        let outside = inside.as_ref().is_some_and(|inside| {
                            let by = [0, 1, 2].map(|axis| f64::from(field[axis][voxel]));
                            let index = [slice as f64, row as f64, column as f64];
                            inside.clamped([0, 1, 2].map(|axis| index[axis] + by[axis])) < 0.5
                        });
                        if outside {
                            (by_d[at], by_h[at], by_w[at]) = (0.0, 0.0, 0.0);
                            continue;
                        }
                        let (left, right) = (column.saturating_sub(1), (column + 1).min(width - 1));
                        let slope = [
                            (below[at] - above[at]) * share_d,
                            (here[down * width + column] - here[up * width + column]) * share_h,
                            (here[row * width + right] - here[row * width + left])
                                * (of_ends(left, right) * per_mm[2]),
                        ];
                        let difference = self.fixed[voxel] - moved[voxel];
                        squares += f64::from(difference * difference);
                        count += 1;
                        let steep = slope[0] * slope[0] + slope[1] * slope[1] + slope[2] * slope[2];
                        let under = steep + difference * difference * by_difference + level;
                        let factor = 2.0 * difference / under;
                        by_d[at] = factor * slope[0] * per_mm[0];
                        by_h[at] = factor * slope[1] * per_mm[1];
                        by_w[at] = factor * slope[2] * per_mm[2];
                    }
                }
                (squares, count)
            })
            .collect();
        let (squares, count) = sums.iter().fold((0.0, 0), |all, slice| (all.0 + slice.0, all.1 + slice.1));
        squares / (count.max(1)) as f64
    }

    /// The change first, then the field: `change(x) + field(x + change(x))`.
    fn compose(&self, field: &[Vec<f32>; 3], change: &[Vec<f32>; 3], next: &mut [Vec<f32>; 3]) {
        let [_, height, width] = self.size;
        let samplers = [0, 1, 2].map(|axis| Sampler { voxels: &field[axis], size: self.size });
        let [by_d, by_h, by_w] = next;
        let lines = by_d.par_chunks_exact_mut(width).zip(by_h.par_chunks_exact_mut(width));
        lines.zip(by_w.par_chunks_exact_mut(width)).enumerate().for_each(|(line, ((by_d, by_h), by_w))| {
            let (slice, row) = ((line / height) as f64, (line % height) as f64);
            let change = self.lines(change, line);
            for column in 0..width {
                let by = [0, 1, 2].map(|axis| change[axis][column]);
                let at = [slice + f64::from(by[0]), row + f64::from(by[1]), column as f64 + f64::from(by[2])];
                by_d[column] = by[0] + samplers[0].clamped(at);
                by_h[column] = by[1] + samplers[1].clamped(at);
                by_w[column] = by[2] + samplers[2].clamped(at);
            }
        });
    }
}
