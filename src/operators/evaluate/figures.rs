//! Every figure that `evaluate` knows, in one table: its name, its unit, what it needs and how it is made.

use serde::Deserialize;

use super::lesions::{Lesions, Size};
use crate::metrics::{Confusion, State, SurfaceDistances};

/// One figure.
#[derive(Debug)]
pub struct Figure {
    /// The word in `metrics`.
    pub name: &'static str,
    /// `1`, `mm` or `ml`.
    pub unit: &'static str,
    /// What stands for it where it has no value.
    pub kind: Kind,
    /// What has to be found out for it.
    pub needs: Needs,
    /// By its formula; `None` where it has no value.
    of: fn(&Findings) -> Option<f64>,
}

/// What is best and what is worst of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1 is perfect, 0 the worst.
    Share,
    /// A share of what not every case has: nothing stands for it.
    ShareOfSome,
    /// 0 is perfect; nothing is the worst.
    Error,
    /// As an error, in mm.
    Distance,
    /// Neither good nor bad, and always there.
    Amount,
}

/// What a figure is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Counts of voxels alone.
    Counts,
    /// Distances between surfaces, on a grid with right angles.
    Surfaces,
    /// Centres of mass.
    Centres,
    /// Connected components.
    Lesions,
}

/// What was found out about one label.
#[derive(Debug)]
pub struct Findings {
    /// Voxels.
    pub counts: Confusion,
    /// The volume of one.
    pub voxel_mm3: f64,
    /// Distances between the surfaces; none where a mask is empty, or nobody asked.
    pub distances: Option<SurfaceDistances>,
    /// The tolerance of the surface Dice.
    pub tolerance_mm: f64,
    /// How far the centres of mass lie apart; none where a mask is empty, or nobody asked.
    pub centres_mm: Option<f64>,
    /// Components; none where nobody asked.
    pub lesions: Option<Lesions>,
}

impl Findings {
    fn ml(&self, voxels: i64) -> Option<f64> {
        Some(voxels as f64 * self.voxel_mm3 / 1000.0)
    }

    fn surfaces(&self, figure: impl Fn(&SurfaceDistances) -> f64) -> Option<f64> {
        self.distances.as_ref().map(figure)
    }

    fn lesions(&self, figure: impl Fn(&Lesions) -> Option<f64>) -> Option<f64> {
        self.lesions.as_ref().and_then(figure)
    }
}

/// All of them, in the order of the reference.
pub const FIGURES: &[Figure] = &{
    use Kind::{Amount, Distance, Error, Share, ShareOfSome};
    use Needs::{Centres, Counts, Lesions as Parts, Surfaces};
    use Size::{Large, Medium, Small};
    [
        figure("dice", "1", Share, Counts, |found| found.counts.dice()),
        figure("iou", "1", Share, Counts, |found| found.counts.iou()),
        figure("precision", "1", Share, Counts, |found| found.counts.precision()),
        figure("recall", "1", Share, Counts, |found| found.counts.recall()),
        figure("rve", "1", Error, Counts, |found| found.counts.relative_volume_error()),
        figure("assd", "mm", Distance, Surfaces, |found| found.surfaces(SurfaceDistances::assd_mm)),
        figure("asd_pred_to_ref", "mm", Distance, Surfaces, |found| {
            found.surfaces(SurfaceDistances::from_prediction_mean_mm)
        }),
        figure("asd_ref_to_pred", "mm", Distance, Surfaces, |found| {
            found.surfaces(SurfaceDistances::from_reference_mean_mm)
        }),
        figure("hd", "mm", Distance, Surfaces, |found| found.surfaces(SurfaceDistances::hausdorff_mm)),
        figure("hd95", "mm", Distance, Surfaces, |found| found.surfaces(SurfaceDistances::hausdorff_95_mm)),
        figure("nsd", "1", Share, Surfaces, |found| {
            found.surfaces(|distances| distances.surface_dice(found.tolerance_mm))
        }),
        figure("centre_mm", "mm", Distance, Centres, |found| found.centres_mm),
        figure("volume_ml", "ml", Amount, Counts, |found| found.ml(found.counts.predicted())),
        figure("volume_ref_ml", "ml", Amount, Counts, |found| found.ml(found.counts.reference())),
        figure("lesion_recall", "1", Share, Parts, |found| found.lesions(|parts| parts.recall(None))),
        figure("lesion_precision", "1", Share, Parts, |found| found.lesions(Lesions::precision)),
        figure("lesion_f1", "1", Share, Parts, |found| found.lesions(Lesions::f1)),
        figure("lesion_dice", "1", Share, Parts, |found| found.lesions(|parts| parts.dice(None))),
        figure("lesion_recall_small", "1", ShareOfSome, Parts, |found| {
            found.lesions(|parts| parts.recall(Some(Small)))
        }),
        figure("lesion_recall_medium", "1", ShareOfSome, Parts, |found| {
            found.lesions(|parts| parts.recall(Some(Medium)))
        }),
        figure("lesion_recall_large", "1", ShareOfSome, Parts, |found| {
            found.lesions(|parts| parts.recall(Some(Large)))
        }),
        figure("lesion_dice_small", "1", ShareOfSome, Parts, |found| {
            found.lesions(|parts| parts.dice(Some(Small)))
        }),
        figure("lesion_dice_medium", "1", ShareOfSome, Parts, |found| {
            found.lesions(|parts| parts.dice(Some(Medium)))
        }),
        figure("lesion_dice_large", "1", ShareOfSome, Parts, |found| {
            found.lesions(|parts| parts.dice(Some(Large)))
        }),
    ]
};

/// The words of the table, in its order.
pub const NAMES: [&str; FIGURES.len()] = {
    let mut names = [""; FIGURES.len()];
    let mut place = 0;
    while place < names.len() {
        names[place] = FIGURES[place].name;
        place += 1;
    }
    names
};

const fn figure(
    name: &'static str,
    unit: &'static str,
    kind: Kind,
    needs: Needs,
    of: fn(&Findings) -> Option<f64>,
) -> Figure {
    Figure { name, unit, kind, needs, of }
}

impl Figure {
    /// The figure of this word.
    pub fn named(name: &str) -> Option<&'static Self> {
        FIGURES.iter().find(|figure| figure.name == name)
    }

    /// By its formula, or what stands for it in a volume with this diagonal.
    pub fn value(&self, found: &Findings, empty: Empty, diagonal_mm: f64) -> Option<f64> {
        (self.of)(found).or_else(|| empty.value(self.kind, found.counts.state(), diagonal_mm))
    }
}

/// What stands for a figure without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// Nothing.
    Nan,
    /// 1 for agreement, 0 for none.
    OneZero,
    /// As `OneZero`, and the worst there can be where there is no 0.
    Penalty,
}

impl Empty {
    fn value(self, kind: Kind, state: State, diagonal_mm: f64) -> Option<f64> {
        match (self, kind, state) {
            (Self::Nan, _, _) | (_, Kind::ShareOfSome | Kind::Amount, _) => None,
            (_, Kind::Share, State::BothEmpty) => Some(1.0),
            (_, Kind::Share, _) | (_, _, State::BothEmpty) => Some(0.0),
            (Self::OneZero, _, _) => None,
            (Self::Penalty, Kind::Error, _) => Some(1.0),
            (Self::Penalty, Kind::Distance, _) => Some(diagonal_mm),
        }
    }
}
