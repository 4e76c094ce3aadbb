//! Joint label fusion: atlases that err together count less (Wang et al., TPAMI 2013).

use rayon::prelude::*;

use super::neighbourhood::{FLAT, Neighbourhood};
use super::{Carried, Votes, majority};

/// How atlases are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Joint {
    /// The radius of a patch along `[D, H, W]`, in voxels.
    pub patch: [usize; 3],
    /// How far an atlas's patch may lie from the voxel's place.
    pub search: [usize; 3],
    /// What is added to the diagonal.
    pub alpha: f64,
    /// The power of what two atlases err together.
    pub beta: f64,
}

/// What atlases say of the patch around one voxel: the place of each one's patch, and its weight.
type Said = Vec<(u32, f32)>;

/// The label of each voxel that most speaks for, of equal ones the lower: every patch that holds the voxel votes, each
/// atlas by its weight there. The intensities of a patch are compared after its mean and deviation. Where neither atlases nor
/// the places that are searched hold two labels, their label stands.
pub fn joint(target: &[f32], size: [usize; 3], atlases: &[Carried], how: &Joint) -> Vec<u16> {
    let agreed = majority(atlases);
    let near = Neighbourhood::new(target, size, atlases, how.patch, how.search);
    let undecided = near.undecided();
    let said: Vec<Option<Said>> = undecided
        .par_iter()
        .enumerate()
        .map(|(voxel, undecided)| undecided.then(|| of_patch(&near, near.place(voxel), how)))
        .collect();
    let [depth, height, width] = size;
    (0..agreed.len())
        .into_par_iter()
        .map_init(Votes::default, |votes, voxel| {
            votes.clear();
            let at = [voxel / (height * width), voxel / width % height, voxel % width];
            let range = |axis: usize, voxels: usize| {
                at[axis].saturating_sub(how.patch[axis])..(at[axis] + how.patch[axis] + 1).min(voxels)
            };
            let here = near.place(voxel);
            for d in range(0, depth) {
                for h in range(1, height) {
                    for w in range(2, width) {
                        let centre = (d * height + h) * width + w;
                        let Some(said) = &said[centre] else {
                            votes.add(agreed[voxel], 1.0);
                            continue;
                        };
                        let by = here as isize - near.place(centre) as isize;
                        for (labels, &(place, weight)) in near.labels.iter().zip(said) {
                            votes.add(labels[(place as usize).wrapping_add_signed(by)], f64::from(weight));
                        }
                    }
                }
            }
            votes.winner().unwrap_or(agreed[voxel])
        })
        .collect()
}

/// The best place of each atlas's patch, of equally good ones the nearest, and the atlases' weights.
fn of_patch(near: &Neighbourhood, place: usize, how: &Joint) -> Said {
    let places: Vec<usize> = near.atlases.iter().map(|atlas| best_place(near, place, atlas)).collect();
    let ours = scaled(
        &near.target.voxels,
        &near.patch,
        place,
        near.target.mean[place],
        near.target.deviation[place],
    );
    let differences: Vec<Vec<f64>> = near
        .atlases
        .iter()
        .zip(&places)
        .map(|(atlas, &at)| {
            let theirs = scaled(&atlas.voxels, &near.patch, at, atlas.mean[at], atlas.deviation[at]);
            ours.iter().zip(theirs).map(|(ours, theirs)| (ours - theirs).abs()).collect()
        })
        .collect();
    let weights = weights(&differences, how.alpha, how.beta);
    places.into_iter().zip(weights).map(|(place, weight)| (place as u32, weight as f32)).collect()
}

fn best_place(near: &Neighbourhood, place: usize, atlas: &super::neighbourhood::Volume) -> usize {
    let mut best = (place, f64::NEG_INFINITY);
    for &by in &near.search {
        let other = place.wrapping_add_signed(by);
        let found = near.correlation(place, atlas, other);
        if found > best.1 {
            best = (other, found);
        }
    }
    best.0
}

/// A patch after its mean and deviation; one that is flat is 0 everywhere.
fn scaled(voxels: &[f32], patch: &[isize], place: usize, mean: f32, deviation: f32) -> Vec<f64> {
    let scale = if f64::from(deviation) < FLAT { 0.0 } else { 1.0 / f64::from(deviation) };
    let value = |&by: &isize| f64::from(voxels[place.wrapping_add_signed(by)] - mean) * scale;
    patch.iter().map(value).collect()
}

/// The weights of atlases whose patches differ so, by voxel, from the scan's: `(M + αI)⁻¹ 1`, none below 0, together 1,
/// with `M_ij = (Σ |d_i| |d_j| / (n − 1))^β`.
pub(super) fn weights(differences: &[Vec<f64>], alpha: f64, beta: f64) -> Vec<f64> {
    let count = differences.len();
    let least = differences.first().map_or(1, |patch| patch.len().saturating_sub(1).max(1)) as f64;
    let mut rows = vec![vec![1.0; count + 1]; count];
    for i in 0..count {
        for j in 0..=i {
            let products = differences[i].iter().zip(&differences[j]).map(|(a, b)| a.abs() * b.abs());
            let together = (products.sum::<f64>() / least).powf(beta);
            (rows[i][j], rows[j][i]) = (together, together);
        }
        rows[i][i] += alpha;
    }
    let mut weights = solve(rows);
    weights.iter_mut().for_each(|weight| *weight = weight.max(0.0));
    let total: f64 = weights.iter().sum();
    if total > 0.0 && total.is_finite() {
        weights.iter().map(|weight| weight / total).collect()
    } else {
        vec![1.0 / count.max(1) as f64; count]
    }
}

/// Gauss's elimination of a matrix that is symmetric and definite, the right side behind it.
fn solve(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let count = rows.len();
    for column in 0..count {
        let pivot = rows[column].clone();
        for row in rows.iter_mut().skip(column + 1) {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(&pivot).skip(column).for_each(|(value, pivot)| *value -= factor * pivot);
        }
    }
    let mut found = vec![0.0; count];
    for row in (0..count).rev() {
        let known: f64 = (row + 1..count).map(|other| rows[row][other] * found[other]).sum();
        found[row] = (rows[row][count] - known) / rows[row][row];
    }
    found
}
