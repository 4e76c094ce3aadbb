//! Sparse matching: a patch is made of a few patches of atlases, whose labels then speak for its middle.

use rayon::prelude::*;

use super::neighbourhood::{FLAT, Neighbourhood};
use super::{Carried, Votes, majority};

/// Rounds over all weights, and the change below which they are done.
const ROUNDS: usize = 200;
const DONE: f64 = 1e-6;

/// How patches are matched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sparse {
    /// The radius of a patch along `[D, H, W]`, in voxels.
    pub patch: [usize; 3],
    /// How far an atlas's patch may lie from the voxel's place.
    pub search: [usize; 3],
    /// The patches that take part, those that correlate best.
    pub candidates: usize,
    /// The weight of |β|.
    pub l1: f64,
    /// Half the weight of |β|².
    pub l2: f64,
}

/// The label of each voxel for which the weights of atlases' patches say most, of equal ones the lower: the weights β ≥ 0
/// minimise `½ |f − F β|² + l1 |β| + ½ l2 |β|²` for the scan's patch f and the atlases' patches F, each after its mean and of
/// length 1. Where nothing is to be decided, or no patch is like the scan's, the label of most atlases stands.
pub fn sparse(target: &[f32], size: [usize; 3], atlases: &[Carried], how: &Sparse) -> Vec<u16> {
    let agreed = majority(atlases);
    let near = Neighbourhood::new(target, size, atlases, how.patch, how.search);
    let undecided = near.undecided();
    agreed
        .into_par_iter()
        .zip(undecided)
        .enumerate()
        .map_init(Votes::default, |votes, (voxel, (agreed, undecided))| {
            if !undecided {
                return agreed;
            }
            votes.clear();
            for (label, weight) in matched(&near, near.place(voxel), how) {
                votes.add(label, weight);
            }
            votes.winner().unwrap_or(agreed)
        })
        .collect()
}

/// The labels in the middle of the patches that the scan's is made of, each with its weight.
fn matched(near: &Neighbourhood, place: usize, how: &Sparse) -> Vec<(u16, f64)> {
    let mut likely: Vec<(f64, usize, usize)> = Vec::with_capacity(near.atlases.len() * near.search.len());
    for (number, atlas) in near.atlases.iter().enumerate() {
        for &by in &near.search {
            let other = place.wrapping_add_signed(by);
            let found = near.correlation(place, atlas, other);
            if found > how.l1 {
                likely.push((found, number, other));
            }
        }
    }
    // In their order among equals: atlas by atlas, the nearest first.
    likely.sort_by(|a, b| b.0.total_cmp(&a.0));
    likely.truncate(how.candidates.max(1));
    let patches: Vec<Vec<f32>> = likely.iter().map(|&(_, atlas, other)| patch(near, atlas, other)).collect();
    let towards: Vec<f64> = likely.iter().map(|(found, ..)| *found).collect();
    let weights = weights(&patches, &towards, how);
    let label =
        |(&(_, atlas, other), weight): (&(f64, usize, usize), f64)| (near.labels[atlas][other], weight);
    likely.iter().zip(weights).filter(|(_, weight)| *weight > 0.0).map(label).collect()
}

/// An atlas's patch after its mean and of length 1.
fn patch(near: &Neighbourhood, atlas: usize, place: usize) -> Vec<f32> {
    let volume = &near.atlases[atlas];
    let length = (near.patch.len() as f64).sqrt() * f64::from(volume.deviation[place]).max(FLAT);
    let scale = (1.0 / length) as f32;
    let value = |&by: &isize| (volume.voxels[place.wrapping_add_signed(by)] - volume.mean[place]) * scale;
    near.patch.iter().map(value).collect()
}

/// The weights, one after the other brought to its best until none moves; `towards` is how alike each patch and the scan's
/// are.
pub(super) fn weights(patches: &[Vec<f32>], towards: &[f64], how: &Sparse) -> Vec<f64> {
    let count = patches.len();
    let alike = |a: &[f32], b: &[f32]| f64::from(a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>());
    let gram: Vec<Vec<f64>> = patches.iter().map(|a| patches.iter().map(|b| alike(a, b)).collect()).collect();
    let mut weights = vec![0.0; count];
    for _ in 0..ROUNDS {
        let mut moved = 0.0_f64;
        for i in 0..count {
            let others: f64 = (0..count).filter(|&j| j != i).map(|j| gram[i][j] * weights[j]).sum();
            let best = ((towards[i] - others - how.l1) / (gram[i][i] + how.l2)).max(0.0);
            moved = moved.max((best - weights[i]).abs());
            weights[i] = best;
        }
        if moved < DONE {
            break;
        }
    }
    weights
}
