//! Labels of several atlases that lie on one grid, put together: by votes, by votes that neighbours' likeness weighs, or by
//! what of the neighbourhood a patch is made of.

mod joint;
mod neighbourhood;
mod sparse;

use rayon::prelude::*;

use super::register::NOWHERE;

pub use joint::{Joint, joint};
pub use sparse::{Sparse, sparse};

/// An atlas on the grid of the scan that is to be labelled.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// Intensities `[D, H, W]`.
    pub scan: Vec<f32>,
    /// Labels, and [`NOWHERE`] where the atlas does not reach.
    pub labels: Vec<u16>,
}

/// The label of the most atlases, of equal ones the lower; background where none reaches.
///
/// # Examples
/// ```
/// use tomoflow::voxels::fusion::{Carried, majority};
/// let atlas = |labels: [u16; 3]| Carried { scan: vec![0.0; 3], labels: labels.to_vec() };
/// assert_eq!(majority(&[atlas([1, 2, 0]), atlas([1, 1, 2]), atlas([2, 2, 1])]), [1, 2, 0]);
/// ```
pub fn majority(atlases: &[Carried]) -> Vec<u16> {
    let Some(first) = atlases.first() else { return Vec::new() };
    (0..first.labels.len())
        .into_par_iter()
        .map_init(Votes::default, |votes, voxel| {
            votes.clear();
            atlases.iter().for_each(|atlas| votes.add(atlas.labels[voxel], 1.0));
            votes.winner().unwrap_or(0)
        })
        .collect()
}

/// How much speaks for each label; there are few of them.
#[derive(Clone, Debug, Default)]
struct Votes(Vec<(u16, f64)>);

impl Votes {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn add(&mut self, label: u16, weight: f64) {
        if label == NOWHERE {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == label) {
            Some((_, votes)) => *votes += weight,
            None => self.0.push((label, weight)),
        }
    }

    /// The label that most speaks for, of equal ones the lower; none where nothing was added.
    fn winner(&self) -> Option<u16> {
        let best = self.0.iter().fold(None, |best: Option<(u16, f64)>, &(label, votes)| match best {
            Some((known, most)) if most > votes || (most == votes && known < label) => best,
            _ => Some((label, votes)),
        });
        best.map(|(label, _)| label)
    }
}

#[cfg(test)]
mod tests;
