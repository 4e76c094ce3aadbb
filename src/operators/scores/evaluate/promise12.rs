//! The score of the PROMISE12 challenge: figures in points, from those that a second observer reaches.

use super::findings::Findings;
pub use super::findings::{Observer, Reached};
use super::thirds::End;
use crate::metrics::{Confusion, SurfaceDistances};
use crate::operators::spec::{Default, Field, FieldKind, Role};

/// Points of a perfect figure.
pub const PERFECT: f64 = 100.0;
/// Points of a figure as the second observer's.
const OBSERVER: f64 = 85.0;

const ERROR: FieldKind = FieldKind::Number { min: 1e-6, max: 1000.0, unit: "" };
const LENGTH: FieldKind = FieldKind::Number { min: 1e-6, max: 1000.0, unit: "mm" };

const REACHED: &[Field] = &[
    Field::required(
        "dice",
        FieldKind::Number { min: 0.0, max: 0.999_999, unit: "" },
        "The Dice coefficient, less than 1.",
    ),
    Field::required("rve", ERROR, "The relative volume error as a share: 0.06 for 6 %."),
    Field::required("assd_mm", LENGTH, "The average boundary distance, in mm."),
    Field::required("hd95_mm", LENGTH, "The 95 % Hausdorff distance, in mm."),
];

/// The field of a pipeline file.
pub const SECOND_OBSERVER: Field = Field {
    name: "second_observer",
    kind: FieldKind::Table(&[
        Field::required("whole", FieldKind::Table(REACHED), "The figures on the whole structure."),
        Field::required("base", FieldKind::Table(REACHED), "The figures on the structure's base."),
        Field::required("apex", FieldKind::Table(REACHED), "The figures on the structure's apex."),
    ]),
    default: Default::Absent,
    role: Role::SemanticLater,
    doc: "The figures that a second observer reaches against the truth, each of which scores 85 points in \
          `promise12`; they are needed by the metrics of that name: `{ whole = { dice, rve, assd_mm, hd95_mm \
          }, base = { … }, apex = { … } }`.",
};

/// The figures that are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scored {
    /// The figure `dice`.
    Dice,
    /// The figure `rve`.
    Rve,
    /// The figure `assd`.
    Assd,
    /// The figure `hd95`.
    Hd95,
}

impl Scored {
    const ALL: [Self; 4] = [Self::Dice, Self::Rve, Self::Assd, Self::Hd95];

    /// Returns how far a figure is from perfect.
    fn error(self, counts: &Confusion, distances: Option<&SurfaceDistances>) -> Option<f64> {
        match self {
            Self::Dice => counts.dice().map(|dice| 1.0 - dice),
            Self::Rve => counts.relative_volume_error(),
            Self::Assd => distances.map(SurfaceDistances::assd_mm),
            Self::Hd95 => distances.map(SurfaceDistances::hausdorff_95_mm),
        }
    }

    fn observers(self, reached: &Reached) -> f64 {
        match self {
            Self::Dice => 1.0 - reached.dice,
            Self::Rve => reached.rve,
            Self::Assd => reached.assd_mm,
            Self::Hd95 => reached.hd95_mm,
        }
    }
}

/// Linear from a perfect figure through the observer's, and never below 0.
fn points(error: f64, observers: f64) -> f64 {
    (PERFECT - (PERFECT - OBSERVER) * error / observers).max(0.0)
}

/// The points of one figure on the whole structure (`None`) or on an end of it.
///
/// `None` where the truth is empty, or nobody said what an observer reaches; a figure without a value, since nothing
/// was found, is worth nothing.
pub fn score(found: &Findings, scored: Scored, end: Option<End>) -> Option<f64> {
    let observer = found.observer.as_ref()?;
    let (counts, distances, reached) = match end {
        None => (&found.counts, found.distances.as_ref(), &observer.whole),
        Some(end) => {
            let third = found.thirds.as_ref()?.at(end);
            let reached = if end == End::Base { &observer.base } else { &observer.apex };
            (&third.counts, third.distances.as_ref(), reached)
        }
    };
    if counts.reference() == 0 {
        return None;
    }
    let error = scored.error(counts, distances);
    Some(error.map_or(0.0, |error| points(error, scored.observers(reached))))
}

/// The mean of all twelve.
pub fn mean(found: &Findings) -> Option<f64> {
    let ends = [None, Some(End::Base), Some(End::Apex)];
    let each = ends.into_iter().flat_map(|end| Scored::ALL.map(|scored| score(found, scored, end)));
    let each: Vec<f64> = each.collect::<Option<_>>()?;
    Some(each.iter().sum::<f64>() / each.len() as f64)
}
