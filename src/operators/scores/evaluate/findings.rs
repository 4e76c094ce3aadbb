//! What was found out about one label, from which every figure is made.

use serde::Deserialize;

use super::lesions::Lesions;
use super::thirds::{End, Third, Thirds};
use crate::metrics::{Confusion, SurfaceDistances};

/// What was found out about one label.
#[derive(Debug)]
pub struct Findings {
    /// The counts of voxels.
    pub counts: Confusion,
    /// The volume of a voxel.
    pub voxel_mm3: f64,
    /// Distances between the surfaces; none where a mask is empty, or nobody asked.
    pub distances: Option<SurfaceDistances>,
    /// The tolerance of the surface Dice.
    pub tolerance_mm: f64,
    /// The distance between the centres of mass; none where a mask is empty, or nobody asked.
    pub centres_mm: Option<f64>,
    /// The lesions, which are components; none where nobody asked.
    pub lesions: Option<Lesions>,
    /// Base and apex; none where the truth is empty, or nobody asked.
    pub thirds: Option<Thirds>,
    /// What a second observer reaches, where that was said.
    pub observer: Option<Observer>,
}

impl Findings {
    pub(super) fn ml(&self, voxels: i64) -> Option<f64> {
        Some(voxels as f64 * self.voxel_mm3 / 1000.0)
    }

    pub(super) fn surfaces(&self, figure: impl Fn(&SurfaceDistances) -> f64) -> Option<f64> {
        self.distances.as_ref().map(figure)
    }

    pub(super) fn third(&self, end: End, figure: impl Fn(&Third) -> Option<f64>) -> Option<f64> {
        self.thirds.as_ref().and_then(|thirds| figure(thirds.at(end)))
    }

    pub(super) fn lesions(&self, figure: impl Fn(&Lesions) -> Option<f64>) -> Option<f64> {
        self.lesions.as_ref().and_then(figure)
    }
}

/// What a second observer reaches on a part of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Reached {
    /// Dice, below 1.
    pub dice: f64,
    /// The relative volume error, as a share.
    pub rve: f64,
    /// The mean distance between the surfaces, both ways pooled.
    pub assd_mm: f64,
    /// The larger of the two 95th percentiles.
    pub hd95_mm: f64,
}

/// What a second observer reaches.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Observer {
    /// What the observer reaches on the whole structure.
    pub whole: Reached,
    /// What the observer reaches on its cranial third.
    pub base: Reached,
    /// What the observer reaches on its caudal third.
    pub apex: Reached,
}
