//! The affine map by which one scan correlates best with another.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Reject, Scan, VoxelIndex};

use super::coarse;
use super::least_squares::{COLUMNS, Products, UNKNOWNS};
use super::map::{Affine, VoxelMap, voxels_per_mm};
use super::sampler::Sampler;
use super::standardised;

/// Widths of voxels, from coarse to fine.
const LEVELS_MM: [f64; 3] = [8.0, 4.0, 2.0];
/// The most steps of a level.
const STEPS: usize = 40;
/// The share of a scan that must lie in the other at the start, and of that share afterwards.
const LEAST_OVERLAP: f64 = 0.1;
const KEPT_OVERLAP: f64 = 0.5;
/// Samples that are enough to know twelve numbers by.
const ENOUGH: f64 = 200_000.0;
/// The gain in correlation below which a level is done.
const GAIN: f64 = 1e-6;
/// By what factor an affine map may change volumes.
const MOST_VOLUME: f64 = 4.0;
/// Unknowns of a shift, and of a whole map.
const SHIFT: usize = 3;
const WHOLE: usize = UNKNOWNS - 2;

/// A scan that was brought onto another one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aligned {
    /// From places of the fixed scan to those of the moving one.
    pub affine: Affine,
    /// The correlation of intensities where both are, −1 to 1.
    pub correlation: f64,
    /// The share of the fixed scan that the moving one reaches.
    pub overlap: f64,
}

/// The affine map (twelve parameters) from places of `fixed` to places of `moving` by which their intensities correlate
/// best where both are.
///
/// It begins with the best of three shifts: none, the middles of the grids, and the middles of what is bright. Gauss–Newton
/// steps, damped as by Levenberg and Marquardt, then minimise the squared difference of intensities up to a gain and an
/// offset, which is to maximise their correlation, in voxels of about 8, 4 and 2 mm.
///
/// # Errors
/// Those of one of the scans alone: `BAD_GRID`, `TOO_THIN`, `NOT_FINITE`, `FLAT_SCAN`; `NO_OVERLAP` where less than a
/// tenth of `fixed` lies in `moving` however they are shifted; `UNALIKE` where nothing in one correlates with the other.
pub fn align(fixed: &Scan, moving: &Scan) -> Result<Aligned, Reject> {
    let (fixed, moving) = (standardised(fixed)?, standardised(moving)?);
    let mut found: Option<(Affine, f64)> = None;
    let mut before = None;
    for level_mm in LEVELS_MM {
        let factors = [&fixed, &moving].map(|scan| coarse::factors(scan.geometry(), level_mm));
        // Scans that are coarser already are looked at once.
        if before == Some(factors) {
            continue;
        }
        before = Some(factors);
        let level = Level::new(&fixed, &moving, factors)?;
        let (begin, least, free) = match found {
            Some((affine, least)) => (affine, least, &[WHOLE][..]),
            None => {
                let (affine, overlap) = level.begin(&fixed, &moving)?;
                (affine, overlap * KEPT_OVERLAP, &[SHIFT, WHOLE][..])
            }
        };
        let affine = free.iter().fold(begin, |affine, &free| level.climb(affine, free, least));
        found = Some((affine, least));
    }
    let (affine, _) = found.ok_or_else(no_overlap)?;
    let last = Level::new(&fixed, &moving, before.unwrap_or([[1; 3]; 2]))?;
    let products = last.products(&affine);
    let (_, _, correlation) = products.intensities();
    if correlation <= 0.0 {
        let message = format!("scans that are alike expected, a correlation of {correlation:.3} found");
        return Err(Reject::new(
            "UNALIKE",
            message,
            "both must show the same part of a body in one modality",
        ));
    }
    Ok(Aligned { affine, correlation, overlap: products.overlap() })
}

fn no_overlap() -> Reject {
    let message =
        format!("a scan that reaches {:.0} % of the other expected, less found", LEAST_OVERLAP * 100.0);
    Reject::new("NO_OVERLAP", message, "one may show a much smaller part of the body")
}

/// Both scans in voxels of one width.
struct Level {
    fixed: Scan,
    moving: Scan,
    /// The middle of the fixed scan, and half its diagonal: a change of the matrix is told in mm there.
    centre_mm: [f64; 3],
    radius_mm: f64,
    per_mm: [[f64; 3]; 3],
    /// Voxels along H and W from one sample to the next.
    stride: usize,
}

impl Level {
    fn new(fixed: &Scan, moving: &Scan, factors: [[usize; 3]; 2]) -> Result<Self, Reject> {
        let bad = || Reject::new("BAD_GRID", "axes that span space expected", "");
        let fixed = coarse::scan(fixed, factors[0]).ok_or_else(bad)?;
        let moving = coarse::scan(moving, factors[1]).ok_or_else(bad)?;
        let geometry = fixed.geometry();
        let centre_mm = middle(&fixed);
        let corner = geometry.to_patient(VoxelIndex([0.0; 3])).0;
        let radius_mm =
            (0..3).map(|i| (corner[i] - centre_mm[i]).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        let per_mm = voxels_per_mm(moving.geometry()).ok_or_else(bad)?;
        let stride = (geometry.voxels() as f64 / ENOUGH).sqrt().ceil().max(1.0) as usize;
        Ok(Self { fixed, moving, centre_mm, radius_mm, per_mm, stride })
    }

    /// The shift to begin with, and the share of the fixed scan that lies in the moving one by it.
    fn begin(&self, fixed: &Scan, moving: &Scan) -> Result<(Affine, f64), Reject> {
        let between = |of: fn(&Scan) -> [f64; 3]| {
            let (from, to) = (of(fixed), of(moving));
            Affine::shift([0, 1, 2].map(|i| to[i] - from[i]))
        };
        let starts = [Affine::IDENTITY, between(middle), between(centre_of_mass)];
        let judged = starts.into_iter().filter_map(|start| {
            let products = self.products(&start);
            let enough = products.overlap() >= LEAST_OVERLAP && products.samples > 10 * COLUMNS as u64;
            enough.then(|| (start, products.overlap(), products.intensities().2))
        });
        // Of equal ones the first.
        let best = judged.fold(None, |best: Option<(Affine, f64, f64)>, next| match best {
            Some(best) if best.2 >= next.2 => Some(best),
            _ => Some(next),
        });
        best.map(|(start, overlap, _)| (start, overlap)).ok_or_else(no_overlap)
    }

    /// Steps as long as they raise the correlation.
    fn climb(&self, begin: Affine, free: usize, least_overlap: f64) -> Affine {
        let mut here = begin;
        let mut products = self.products(&here);
        let mut correlation = products.intensities().2;
        let mut damping = 1e-3;
        for _ in 0..STEPS {
            let Some(step) = products.step(free, damping) else { break };
            let next = self.moved(&here, &step);
            let there = self.products(&next);
            let found = there.intensities().2;
            let volume = next.determinant();
            let allowed =
                there.overlap() >= least_overlap && (1.0 / MOST_VOLUME..MOST_VOLUME).contains(&volume);
            if allowed && found > correlation {
                let gain = found - correlation;
                (here, products, correlation) = (next, there, found);
                damping = (damping * 0.1).max(1e-9);
                if gain < GAIN {
                    break;
                }
            } else if damping > 1e3 {
                break;
            } else {
                damping *= 10.0;
            }
        }
        here
    }

    /// A map after a step: a shift in mm, then the change of the matrix in mm at half the diagonal.
    fn moved(&self, affine: &Affine, step: &[f64]) -> Affine {
        let mut moved = *affine;
        let at = |index: usize| step.get(index).copied().unwrap_or(0.0);
        for i in 0..3 {
            moved.offset_mm[i] += at(i);
            for j in 0..3 {
                let change = at(3 + 3 * i + j) / self.radius_mm;
                moved.matrix[i][j] += change;
                moved.offset_mm[i] -= change * self.centre_mm[j];
            }
        }
        moved
    }

    /// What least squares need of all samples that lie in both scans.
    fn products(&self, affine: &Affine) -> Products {
        let Some(map) = VoxelMap::through(self.fixed.geometry(), affine, self.moving.geometry()) else {
            return Products::new();
        };
        let [depth, ..] = self.fixed.size();
        let slices: Vec<Products> =
            (0..depth).into_par_iter().map(|slice| self.products_of(slice, &map)).collect();
        slices.iter().fold(Products::new(), |mut all, slice| {
            all.merge(slice);
            all
        })
    }

    fn products_of(&self, slice: usize, map: &VoxelMap) -> Products {
        let [_, height, width] = self.fixed.size();
        let geometry = self.fixed.geometry();
        let moving = Sampler { voxels: self.moving.voxels(), size: self.moving.size() };
        let plane = self.fixed.slice(slice);
        let mut products = Products::new();
        for row in (slice % self.stride..height).step_by(self.stride) {
            for column in ((slice + row) % self.stride..width).step_by(self.stride) {
                products.looked_at += 1;
                let index = [slice as f64, row as f64, column as f64];
                let position = map.at(index);
                if !moving.holds(position) {
                    continue;
                }
                let (value, slope) = moving.slope(position);
                let place = geometry.to_patient(VoxelIndex(index)).0;
                let mut columns = [0.0; COLUMNS];
                for i in 0..3 {
                    let by_mm: f64 = (0..3).map(|axis| f64::from(slope[axis]) * self.per_mm[axis][i]).sum();
                    columns[i] = by_mm;
                    for j in 0..3 {
                        columns[3 + 3 * i + j] = by_mm * (place[j] - self.centre_mm[j]) / self.radius_mm;
                    }
                }
                columns[UNKNOWNS - 2] = f64::from(value);
                columns[UNKNOWNS - 1] = 1.0;
                columns[UNKNOWNS] = f64::from(plane[row * width + column]);
                products.add(&columns);
            }
        }
        products
    }
}

/// The middle of a scan's grid, in mm.
fn middle(scan: &Scan) -> [f64; 3] {
    let last = scan.size().map(|voxels| (voxels - 1) as f64 / 2.0);
    scan.geometry().to_patient(VoxelIndex(last)).0
}

/// The middle of a scan's intensities above their mean, which is 0, in mm.
fn centre_of_mass(scan: &Scan) -> [f64; 3] {
    let [depth, height, width] = scan.size();
    let of_slice = |slice: usize| {
        let mut sums = [0.0; 4];
        for (index, &value) in scan.slice(slice).iter().enumerate() {
            let weight = f64::from(value.max(0.0));
            let at = [slice as f64, (index / width) as f64, (index % width) as f64];
            sums[0] += weight;
            (0..3).for_each(|axis| sums[axis + 1] += weight * at[axis]);
        }
        sums
    };
    let slices: Vec<[f64; 4]> = (0..depth).into_par_iter().map(of_slice).collect();
    let mut sums = [0.0; 4];
    slices.iter().for_each(|slice| (0..4).for_each(|i| sums[i] += slice[i]));
    if sums[0].is_nan() || sums[0] <= 0.0 || height == 0 {
        return middle(scan);
    }
    scan.geometry().to_patient(VoxelIndex([0, 1, 2].map(|axis| sums[axis + 1] / sums[0]))).0
}
