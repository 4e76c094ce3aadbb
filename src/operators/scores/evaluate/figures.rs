//! Every figure that `evaluate` knows, in one table: its name, its unit, what it needs and how it is made.

use serde::Deserialize;

use super::findings::Findings;
use super::lesions::{Lesions, Size};
use super::promise12::{self, PERFECT, Scored};
use super::thirds::{End, Third};
use crate::fields::text::joined;
use crate::metrics::{Emptiness, SurfaceDistances};

/// One figure.
#[derive(Debug)]
pub struct Figure {
    /// The word in `metrics`.
    pub name: &'static str,
    /// The description of the figure, for the reference.
    pub is: &'static str,
    /// The unit: `1`, `mm`, `ml` or `points`.
    pub unit: &'static str,
    /// The kind of figure, by which something stands for it where it has no value.
    pub kind: FigureKind,
    /// The findings that it is made from.
    pub needs: Needs,
    /// The end of the structure that the figure is of; none for the whole.
    pub end: Option<End>,
    /// The figure's formula, which gives `None` where it has no value.
    of: fn(&Findings) -> Option<f64>,
}

/// What is best and what is worst of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FigureKind {
    /// 1 is perfect, 0 the worst.
    Share,
    /// A share of what not every case has: nothing stands for it.
    ShareOfSome,
    /// 0 is perfect; nothing is the worst.
    Error,
    /// An error, in mm.
    Distance,
    /// 100 is perfect, 0 the worst.
    Points,
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
    /// Both ends of a structure, and distances between their surfaces.
    Thirds,
    /// Distances, both ends, and what a second observer reaches.
    Observer,
}

impl Needs {
    /// Whether distances between surfaces have to be measured.
    pub fn surfaces(self) -> bool {
        matches!(self, Self::Surfaces | Self::Thirds | Self::Observer)
    }

    /// Whether structures have to be cut.
    pub fn thirds(self) -> bool {
        matches!(self, Self::Thirds | Self::Observer)
    }
}

/// All figures, in the order of the reference.
pub const FIGURES: &[Figure] = &{
    use End::{Apex, Base};
    use FigureKind::{Amount, Distance, Error, Share, ShareOfSome};
    use Needs::{Centres, Counts, Lesions as Parts, Surfaces};
    use Size::{Large, Medium, Small};
    [
        figure("dice", "2·tp / (2·tp + fp + fn)", "1", Share, Counts, |found| found.counts.dice()),
        figure("iou", "tp / (tp + fp + fn)", "1", Share, Counts, |found| found.counts.iou()),
        figure("precision", "tp / (tp + fp)", "1", Share, Counts, |found| found.counts.precision()),
        figure("recall", "tp / (tp + fn)", "1", Share, Counts, |found| found.counts.recall()),
        figure("rve", "abs(V_pred − V_ref) / V_ref", "1", Error, Counts, |found| {
            found.counts.relative_volume_error()
        }),
        figure(
            "assd",
            "mean distance between the two surfaces, over both directions together",
            "mm",
            Distance,
            Surfaces,
            |found| found.surfaces(SurfaceDistances::assd_mm),
        ),
        figure(
            "asd_pred_to_ref",
            "mean distance from the prediction's surface to the truth's",
            "mm",
            Distance,
            Surfaces,
            |found| found.surfaces(SurfaceDistances::from_prediction_mean_mm),
        ),
        figure(
            "asd_ref_to_pred",
            "mean distance from the truth's surface to the prediction's",
            "mm",
            Distance,
            Surfaces,
            |found| found.surfaces(SurfaceDistances::from_reference_mean_mm),
        ),
        figure(
            "hd",
            "the Hausdorff distance: the largest distance between the surfaces, in either direction",
            "mm",
            Distance,
            Surfaces,
            |found| found.surfaces(SurfaceDistances::hausdorff_mm),
        ),
        figure(
            "hd95",
            "the larger of the 95th percentiles of these distances in the two directions",
            "mm",
            Distance,
            Surfaces,
            |found| found.surfaces(SurfaceDistances::hausdorff_95_mm),
        ),
        figure(
            "nsd",
            "normalised surface Dice: the share of both surfaces that lies within `tolerance_mm` of the other",
            "1",
            Share,
            Surfaces,
            |found| found.surfaces(|distances| distances.surface_dice(found.tolerance_mm)),
        ),
        figure("centre_mm", "distance between the centres of mass", "mm", Distance, Centres, |found| {
            found.centres_mm
        }),
        figure("volume_ml", "volume of the prediction", "ml", Amount, Counts, |found| {
            found.ml(found.counts.predicted())
        }),
        figure("volume_ref_ml", "volume of the truth", "ml", Amount, Counts, |found| {
            found.ml(found.counts.reference())
        }),
        figure("lesion_recall", "lesions found / lesions of the truth", "1", Share, Parts, |found| {
            found.lesions(|parts| parts.recall(None))
        }),
        figure(
            "lesion_precision",
            "lesions found / (lesions found + parts of the prediction that belong to no lesion)",
            "1",
            Share,
            Parts,
            |found| found.lesions(Lesions::precision),
        ),
        figure("lesion_f1", "the harmonic mean of these two", "1", Share, Parts, |found| {
            found.lesions(Lesions::f1)
        }),
        figure(
            "lesion_dice",
            "mean Dice of the lesions of the truth, 0 for a lesion that was missed",
            "1",
            Share,
            Parts,
            |found| found.lesions(|parts| parts.dice(None)),
        ),
        figure(
            "lesion_recall_small",
            "`lesion_recall` of lesions smaller than 15 mm",
            "1",
            ShareOfSome,
            Parts,
            |found| found.lesions(|parts| parts.recall(Some(Small))),
        ),
        figure(
            "lesion_recall_medium",
            "`lesion_recall` of lesions from 15 to 30 mm",
            "1",
            ShareOfSome,
            Parts,
            |found| found.lesions(|parts| parts.recall(Some(Medium))),
        ),
        figure(
            "lesion_recall_large",
            "`lesion_recall` of lesions larger than 30 mm",
            "1",
            ShareOfSome,
            Parts,
            |found| found.lesions(|parts| parts.recall(Some(Large))),
        ),
        figure(
            "lesion_dice_small",
            "`lesion_dice` of lesions smaller than 15 mm",
            "1",
            ShareOfSome,
            Parts,
            |found| found.lesions(|parts| parts.dice(Some(Small))),
        ),
        figure(
            "lesion_dice_medium",
            "`lesion_dice` of lesions from 15 to 30 mm",
            "1",
            ShareOfSome,
            Parts,
            |found| found.lesions(|parts| parts.dice(Some(Medium))),
        ),
        figure(
            "lesion_dice_large",
            "`lesion_dice` of lesions larger than 30 mm",
            "1",
            ShareOfSome,
            Parts,
            |found| found.lesions(|parts| parts.dice(Some(Large))),
        ),
        of_end("dice_base", "`dice` of the structure's cranial third", "1", Share, Base, |found| {
            found.third(Base, |third| third.counts.dice())
        }),
        of_end("dice_apex", "`dice` of the structure's caudal third", "1", Share, Apex, |found| {
            found.third(Apex, |third| third.counts.dice())
        }),
        of_end("rve_base", "`rve` of the structure's cranial third", "1", Error, Base, |found| {
            found.third(Base, |third| third.counts.relative_volume_error())
        }),
        of_end("rve_apex", "`rve` of the structure's caudal third", "1", Error, Apex, |found| {
            found.third(Apex, |third| third.counts.relative_volume_error())
        }),
        of_end("assd_base", "`assd` of the structure's cranial third", "mm", Distance, Base, |found| {
            found.third(Base, Third::assd_mm)
        }),
        of_end("assd_apex", "`assd` of the structure's caudal third", "mm", Distance, Apex, |found| {
            found.third(Apex, Third::assd_mm)
        }),
        of_end("hd95_base", "`hd95` of the structure's cranial third", "mm", Distance, Base, |found| {
            found.third(Base, Third::hausdorff_95_mm)
        }),
        of_end("hd95_apex", "`hd95` of the structure's caudal third", "mm", Distance, Apex, |found| {
            found.third(Apex, Third::hausdorff_95_mm)
        }),
        points("promise12", "the mean of the twelve scores below", None, promise12::mean),
        points("promise12_dice", "score of `dice`", None, |found| {
            promise12::score(found, Scored::Dice, None)
        }),
        points("promise12_rve", "score of `rve`", None, |found| promise12::score(found, Scored::Rve, None)),
        points("promise12_assd", "score of `assd`", None, |found| {
            promise12::score(found, Scored::Assd, None)
        }),
        points("promise12_hd95", "score of `hd95`", None, |found| {
            promise12::score(found, Scored::Hd95, None)
        }),
        points("promise12_dice_base", "score of `dice_base`", Some(Base), |found| {
            promise12::score(found, Scored::Dice, Some(Base))
        }),
        points("promise12_rve_base", "score of `rve_base`", Some(Base), |found| {
            promise12::score(found, Scored::Rve, Some(Base))
        }),
        points("promise12_assd_base", "score of `assd_base`", Some(Base), |found| {
            promise12::score(found, Scored::Assd, Some(Base))
        }),
        points("promise12_hd95_base", "score of `hd95_base`", Some(Base), |found| {
            promise12::score(found, Scored::Hd95, Some(Base))
        }),
        points("promise12_dice_apex", "score of `dice_apex`", Some(Apex), |found| {
            promise12::score(found, Scored::Dice, Some(Apex))
        }),
        points("promise12_rve_apex", "score of `rve_apex`", Some(Apex), |found| {
            promise12::score(found, Scored::Rve, Some(Apex))
        }),
        points("promise12_assd_apex", "score of `assd_apex`", Some(Apex), |found| {
            promise12::score(found, Scored::Assd, Some(Apex))
        }),
        points("promise12_hd95_apex", "score of `hd95_apex`", Some(Apex), |found| {
            promise12::score(found, Scored::Hd95, Some(Apex))
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

/// The text of the reference on all figures: a row of a table in Markdown for each.
pub const TABLE: &str = joined!(&{
    const CELLS: usize = 7;
    let mut texts = [""; CELLS * FIGURES.len() + 1];
    texts[0] = "| metric | is | unit |\n| --- | --- | --- |\n";
    let mut place = 0;
    while place < FIGURES.len() {
        let Figure { name, is, unit, .. } = &FIGURES[place];
        let row = ["| `", *name, "` | ", *is, " | ", *unit, " |\n"];
        let mut cell = 0;
        while cell < CELLS {
            texts[1 + CELLS * place + cell] = row[cell];
            cell += 1;
        }
        place += 1;
    }
    texts
});

const fn figure(
    name: &'static str,
    is: &'static str,
    unit: &'static str,
    kind: FigureKind,
    needs: Needs,
    of: fn(&Findings) -> Option<f64>,
) -> Figure {
    Figure { name, is, unit, kind, needs, end: None, of }
}

const fn of_end(
    name: &'static str,
    is: &'static str,
    unit: &'static str,
    kind: FigureKind,
    end: End,
    of: fn(&Findings) -> Option<f64>,
) -> Figure {
    Figure { name, is, unit, kind, needs: Needs::Thirds, end: Some(end), of }
}

const fn points(
    name: &'static str,
    is: &'static str,
    end: Option<End>,
    of: fn(&Findings) -> Option<f64>,
) -> Figure {
    Figure { name, is, unit: "points", kind: FigureKind::Points, needs: Needs::Observer, end, of }
}

impl Figure {
    /// The figure of this word.
    pub fn named(name: &str) -> Option<&'static Self> {
        FIGURES.iter().find(|figure| figure.name == name)
    }

    /// Returns the figure by its formula, or what stands for it in a volume with this diagonal.
    pub fn value(&self, found: &Findings, empty: Empty, diagonal_mm: f64) -> Option<f64> {
        (self.of)(found).or_else(|| empty.value(self.kind, self.state(found), diagonal_mm))
    }

    /// Returns which masks are empty, of the part that the figure is of.
    pub fn state(&self, found: &Findings) -> Emptiness {
        let third = self.end.and_then(|end| found.thirds.as_ref().map(|thirds| thirds.at(end)));
        third.map_or(found.counts, |third| third.counts).state()
    }
}

/// What stands for a figure without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// Nothing stands for it.
    Nan,
    /// 1 for agreement, 0 for none.
    OneZero,
    /// The same as `OneZero`, and the worst there can be where there is no 0.
    Penalty,
}

impl Empty {
    fn value(self, kind: FigureKind, state: Emptiness, diagonal_mm: f64) -> Option<f64> {
        match (self, kind, state) {
            (Self::Nan, _, _) | (_, FigureKind::ShareOfSome | FigureKind::Amount, _) => None,
            (_, FigureKind::Share, Emptiness::BothEmpty) => Some(1.0),
            (_, FigureKind::Points, Emptiness::BothEmpty) => Some(PERFECT),
            (_, FigureKind::Share | FigureKind::Points, _) | (_, _, Emptiness::BothEmpty) => Some(0.0),
            (Self::OneZero, _, _) => None,
            (Self::Penalty, FigureKind::Error, _) => Some(1.0),
            (Self::Penalty, FigureKind::Distance, _) => Some(diagonal_mm),
        }
    }
}
