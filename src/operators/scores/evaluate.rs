//! Masks against the truth: overlap, surfaces, volumes and lesions, with the state of empty masks.

pub mod figures;
pub mod findings;
pub mod lesions;
pub mod pools;
pub mod promise12;
#[cfg(test)]
mod tests;
pub mod thirds;

use std::sync::Arc;

use serde::Deserialize;
use tomoflow_connectors::geometry::norm;
use tomoflow_connectors::{Geometry, Real};

use self::figures::{Empty, Figure, NAMES, Needs, TABLE};
use self::findings::Findings;
use self::lesions::Overlaps;
use self::pools::{POOLED, Pool};
use self::promise12::{Observer, SECOND_OBSERVER};
use self::thirds::Thirds;
use crate::fields::text::joined;
use crate::metrics::{Bootstrap, Emptiness, Packed, State};
use crate::operators::registry::{Entry, Evaluator, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::operators::value::{Failure, Mask, Metric};
use crate::voxels::ignored::{self, IGNORED};

/// Corners of two grids that lie nearer than this are the same.
const SAME_GRID_MM: f64 = 0.01;

/// The text of the reference before the table of figures.
const MATCHED: &str = "\
    Labels are matched by name, and at least one must be found. A label of the truth that the masks do not have gets \
    rows in the state `not_in_mask`, and a label that nobody drew in the case gets rows in the state `not_in_truth`; \
    neither has a figure. A case without labels gives no figures. Voxels are counted on the scan's original grid; tp, \
    fp and fn are the numbers of true positive, false positive and false negative voxels of a label, V_pred and V_ref \
    the volumes of the label in the prediction and in the truth.\n\n";

/// The text of the reference behind it.
const MEANT: &str = "\n\
    The surface of a mask is the set of its voxels that an erosion by six neighbours removes; distances are \
    Euclidean, in mm, from voxel centre to voxel centre.\n\n\
    A lesion is a connected part of the truth's label, whose voxels touch at faces; its size is the diameter of a \
    ball of the same volume. Each connected part of the prediction belongs to the lesion with which it shares most \
    voxels, and a lesion is compared with all parts that belong to it together (as in LiTS). A lesion is found if \
    their intersection over union is at least `lesion_iou`.\n\n\
    Base and apex are the upper and the lower third of the slices that the truth's label has, along the axis of the \
    grid that runs most nearly from feet to head: the number of slices nearest to a third (5 of 14, 4 of 13), but at \
    least one. Voxels of the prediction beyond the truth's last slice belong to the end next to them. Truth and \
    prediction are cut there, and each end is compared as a mask of its own, whose cut faces are surface.\n\n\
    Scores are those of PROMISE12 (Litjens et al., Medical Image Analysis 2014): linear, with 100 for a perfect \
    figure and 85 for the figure that a `second_observer` reaches, and never below 0. A figure without a value \
    because the prediction is empty there scores 0; where the truth is empty there is no score.\n\n\
    The column `state` says `ok`, `both_empty`, `empty_reference` or `empty_prediction`, so that a missed structure \
    is always seen (for base and apex it is the state of that end). The field `empty` chooses the figure for empty \
    masks, for which the formula has no value:\n\n\
    | `empty` | if both masks are empty | if one mask is empty |\n\
    | --- | --- | --- |\n\
    | `nan` | no figure | no figure |\n\
    | `one_zero` | a perfect one: 1, 100 points, or 0 for errors and distances | 0 for shares and points; no figure for errors and distances |\n\
    | `penalty` | a perfect one | 0 for shares and points, 1 for `rve`, the diagonal of the volume for distances |\n\n\
    Dice and IoU of one empty mask are 0 by their formula. Figures for lesions of a size have no value, whatever \
    `empty` says, if the truth has no lesion of that size.\n\n\
    Voxels whose value the truth's source lists in `ignore` are left out of both masks: they count in no volume, \
    lesion or centre. A mask has no surface where it ends at such voxels, since nobody drew a border there; if it \
    ends nowhere else, its distances have the state `no_surface` and no figure. A lesion that such voxels divide \
    counts as the parts that are left.\n\n\
    If the labels of masks may overlap (`activation = \"sigmoid\"` of `train`), each label is compared by itself with \
    its whole region in the truth: a liver with the lesions that it holds.\n\n\
    With `interval = 0.95` each mean in `summary` has the ends of its 95 % confidence interval (`mean_low`, \
    `mean_high`), by the percentile bootstrap with `resamples` resamples of the cases. Figures without a value enter \
    neither the mean nor its interval; for a single figure both ends equal it. The same cases give the same interval, \
    whatever their order and the number of workers.\n\n\
    With `pooled = true` the shares of voxels and of lesions in `metrics` stand in `summary` a second time, as \
    `pooled_dice`, `pooled_lesion_recall_small` and so on, in the column `mean`: by their formula, of the voxels and \
    lesions of all cases of a group together. `pooled_dice` is the global Dice of LiTS, `dice` its Dice per case. Each \
    lesion counts the same there, whatever else its case holds. The column `count` says how many cases enter, \
    `other_states` how many do not know the label. There is no interval of them.";

/// The declaration of the type `evaluate`.
pub static SPEC: Spec = Spec {
    name: "evaluate",
    section: Section::Operators,
    summary: "Compares masks with the labels of their cases, label by label.",
    doc: joined!(&[MATCHED, TABLE, MEANT]),
    version: 2,
    inputs: &[
        Port { name: "masks", accepts: &[Kind::Masks], many: false },
        Port { name: "cases", accepts: &[Kind::Case], many: false },
    ],
    output: Output::Is(Kind::Metrics),
    aspects: Aspects::Labels,
    fields: &[
        Field {
            name: "metrics",
            kind: FieldKind::List { of: &FieldKind::Choice(&NAMES), len: None },
            default: Default::Json("[\"dice\", \"assd\", \"rve\"]"),
            role: Role::Semantic,
            doc: "The metrics that are computed, in this order.",
        },
        Field {
            name: "empty",
            kind: FieldKind::Choice(&["nan", "one_zero", "penalty"]),
            default: Default::Json("\"nan\""),
            role: Role::Semantic,
            doc: "The figure that is recorded for an empty mask, for which the formula has no value.",
        },
        Field {
            name: "tolerance_mm",
            kind: FieldKind::Number { min: 0.0, max: 1000.0, unit: "mm" },
            default: Default::Json("1.0"),
            role: Role::Semantic,
            doc: "The distance, in mm, up to and including which `nsd` counts a surface voxel as correct.",
        },
        Field {
            name: "lesion_iou",
            kind: FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
            default: Default::Json("0.5"),
            role: Role::Semantic,
            doc: "The intersection over union from which on a lesion counts as found; with 0 a single voxel is enough.",
        },
        SECOND_OBSERVER,
        POOLED,
        Field {
            name: "interval",
            kind: FieldKind::Number { min: 0.01, max: 0.9999, unit: "" },
            default: Default::Absent,
            role: Role::Operational,
            doc: "The confidence level of the intervals of means in `summary`, 0.95 for 95 %; when it is \
                  left out, no intervals are computed.",
        },
        Field {
            name: "resamples",
            kind: FieldKind::Integer { min: 100, max: 1_000_000 },
            default: Default::Json("1000"),
            role: Role::Operational,
            doc: "The number of bootstrap resamples for each interval.",
        },
        Field {
            name: "seed",
            kind: FieldKind::Integer { min: 0, max: i64::MAX },
            default: Default::Json("0"),
            role: Role::Operational,
            doc: "The seed of the random numbers of the bootstrap.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// The fields of a pipeline file.
#[derive(Deserialize)]
struct Fields {
    metrics: Vec<String>,
    empty: Empty,
    tolerance_mm: f64,
    lesion_iou: f64,
    #[serde(default)]
    second_observer: Option<Observer>,
    #[serde(default)]
    pooled: bool,
}

/// A comparison.
#[derive(Clone, Debug)]
pub struct Evaluate {
    /// The figures that are made, in order.
    pub metrics: Vec<&'static Figure>,
    /// What stands for a figure without a value.
    pub empty: Empty,
    /// The distance up to which the surface Dice counts a surface voxel as right.
    pub tolerance_mm: f64,
    /// The intersection over union from which on a lesion is found.
    pub lesion_iou: f64,
    /// What a second observer reaches, for scores.
    pub second_observer: Option<Observer>,
    /// Whether figures over several cases are made as well.
    pub pooled: bool,
}

/// Returns how sure the means of figures are to be said, when the checked configuration of a stage asks for
/// it.
pub fn interval(config: &Config) -> Option<Bootstrap> {
    let whole = |name: &str| config.get(name).and_then(serde_json::Value::as_u64);
    Some(Bootstrap {
        level: Real::new(config.get("interval")?.as_f64()?),
        resamples: u32::try_from(whole("resamples")?).ok()?,
        seed: whole("seed")?,
    })
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let Fields { metrics: names, empty, tolerance_mm, lesion_iou, second_observer, pooled } =
        crate::operators::read_config(config)?;
    let mut metrics = Vec::new();
    let mut problems = Vec::new();
    for (place, name) in names.iter().enumerate() {
        if names[..place].contains(name) {
            let message = format!("each metric once expected, `{name}` found twice");
            problems.push(FieldProblem::new("metrics", message, ""));
        }
        match Figure::named(name) {
            Some(figure) => metrics.push(figure),
            None => problems.push(FieldProblem::new(
                "metrics",
                format!("one of {} expected, `{name}` found", NAMES.join(", ")),
                "",
            )),
        }
    }
    if names.is_empty() {
        problems.push(FieldProblem::new(
            "metrics",
            "at least one metric expected, none found",
            "metrics = [\"dice\", \"assd\", \"rve\"]",
        ));
    }
    if let Some(score) = metrics.iter().find(|figure: &&&Figure| figure.needs == Needs::Observer)
        && second_observer.is_none()
    {
        let message = format!("`{}` needs what a second observer reaches, none found", score.name);
        let hint = "second_observer = { whole = { dice = 0.9, … }, base = { … }, apex = { … } }";
        problems.push(FieldProblem::new("second_observer", message, hint));
    }
    if pooled && !metrics.is_empty() && !metrics.iter().any(|figure| pools::can_be_pooled(figure)) {
        let message = "a share of voxels or of lesions in `metrics` expected, none found";
        let hint = "metrics = [\"dice\", \"lesion_recall\"], or leave `pooled` out";
        problems.push(FieldProblem::new("pooled", message, hint));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let evaluate = Evaluate { metrics, empty, tolerance_mm, lesion_iou, second_observer, pooled };
    Ok(Stage::Evaluate(Arc::new(evaluate)))
}

impl Evaluator for Evaluate {
    fn leaves_out(&self) -> bool {
        true
    }

    fn evaluate(&self, mask: &Mask, truth: &Mask) -> Result<Vec<Metric>, Failure> {
        Ok(self.judge(mask, truth)?.0)
    }

    fn pools(&self) -> bool {
        self.pooled
    }

    fn pooled(&self, pools: &[Pool]) -> Vec<(String, Option<f64>)> {
        pools::pooled(&self.metrics, pools)
    }

    fn judge(&self, mask: &Mask, truth: &Mask) -> Result<(Vec<Metric>, Vec<Pool>), Failure> {
        let geometry = truth.labels.geometry();
        self.check_grids(mask.labels.geometry(), geometry)?;
        let named = pair_by_name(mask, truth)?;
        let pairs: Vec<(u16, u16)> = named.iter().copied().flatten().collect();
        let packed = match ignored::any(truth.labels.voxels()) {
            true => Packed::leaving_out(
                mask.labels.voxels(),
                truth.labels.voxels(),
                geometry.size,
                &pairs,
                IGNORED,
            ),
            false => Packed::new(mask.labels.voxels(), truth.labels.voxels(), geometry.size, &pairs),
        };
        let packed = packed.map_err(|error| Failure::new("GRID_MISMATCH", error.to_string(), ""))?;
        let [of_prediction, of_reference] = packed.highest();
        check_named("prediction", mask, of_prediction)?;
        check_named("reference", truth, of_reference)?;
        let overlaps = self.needs(Needs::Lesions).then(|| Overlaps::new(mask, truth));
        let (mut metrics, mut added) = (Vec::new(), Vec::new());
        let mut places = 0..pairs.len();
        for (label, pair) in truth.label_names.iter().zip(&named) {
            let Some(place) = pair.and_then(|_| places.next()) else {
                metrics.extend(self.metrics.iter().map(|figure| not_in_mask(label, figure)));
                continue;
            };
            let lesions = overlaps
                .as_ref()
                .map(|overlaps| overlaps.lesions(pairs[place], geometry.voxel_mm3(), self.lesion_iou));
            let thirds = match self.metrics.iter().any(|figure| figure.needs.thirds()) {
                true => Thirds::of(mask, truth, pairs[place])?,
                false => None,
            };
            let found = Findings { lesions, thirds, ..self.find(&packed, place, geometry)? };
            added.push(Pool::of(label, &found));
            metrics.extend(self.metrics.iter().map(|figure| Metric {
                label: label.clone(),
                metric: figure.name.to_owned(),
                value: match bare(figure, &found) {
                    true => None,
                    false => figure.value(&found, self.empty, diagonal_mm(geometry)),
                },
                unit: figure.unit.to_owned(),
                state: state(figure, &found),
            }));
        }
        Ok((metrics, added))
    }
}

/// The state of a figure of surfaces where both masks hold voxels and one has no surface that counts.
const NO_SURFACE: &str = "no_surface";

/// Whether a figure has no value since one of the masks ends nowhere but at voxels that nobody labelled.
fn bare(figure: &Figure, found: &Findings) -> bool {
    let whole = figure.end.is_none() && figure.needs == Needs::Surfaces;
    whole && found.distances.is_none() && figure.state(found) == Emptiness::Ok
}

fn state(figure: &Figure, found: &Findings) -> State {
    if bare(figure, found) { State::named(NO_SURFACE) } else { figure.state(found).into() }
}

impl Evaluate {
    fn needs(&self, what: Needs) -> bool {
        self.metrics.iter().any(|figure| figure.needs == what)
    }

    /// Returns what the figures of a label need, but for its lesions.
    fn find(&self, packed: &Packed, place: usize, geometry: &Geometry) -> Result<Findings, Failure> {
        let mut found = Findings {
            counts: packed.counts(place),
            voxel_mm3: geometry.voxel_mm3(),
            distances: None,
            tolerance_mm: self.tolerance_mm,
            centres_mm: None,
            lesions: None,
            thirds: None,
            observer: self.second_observer,
        };
        if self.metrics.iter().any(|figure| matches!(figure.needs, Needs::Surfaces | Needs::Observer)) {
            found.distances = packed
                .surface_distances(place, geometry.spacing_mm())
                .map_err(|error| Failure::new("BAD_GRID", error.to_string(), ""))?;
        }
        if self.needs(Needs::Centres) {
            found.centres_mm = packed.centres(place).map(|[a, b]| {
                let along = |xyz: usize| {
                    (0..3).map(|axis| (a[axis] - b[axis]) * geometry.steps_mm[axis][xyz]).sum::<f64>()
                };
                norm([along(0), along(1), along(2)])
            });
        }
        Ok(found)
    }

    fn check_grids(&self, prediction: &Geometry, reference: &Geometry) -> Result<(), Failure> {
        crate::voxels::grid::check_same_size("a mask", reference.size, prediction.size)?;
        crate::voxels::grid::check(reference)?;
        if !prediction.same_grid(reference, SAME_GRID_MM) {
            return Err(Failure::new(
                "GRID_MISMATCH",
                format!(
                    "a mask on the grid of the truth expected, one more than {SAME_GRID_MM} mm off found"
                ),
                "both must come from the same series",
            ));
        }
        let most = crate::voxels::grid::largest_cosine(reference);
        let surfaces = self.metrics.iter().filter(|figure| figure.needs.surfaces());
        let names: Vec<_> = surfaces.map(|figure| format!("`{}`", figure.name)).collect();
        if !names.is_empty() && most > crate::voxels::grid::RIGHT_ANGLE {
            return Err(Failure::new(
                "SHEARED_GRID",
                format!("right angles between the axes expected, a cosine of {most:.3} found"),
                format!(
                    "distances are not measured on a tilted gantry's grid; leave {} out of `metrics`",
                    names.join(", ")
                ),
            ));
        }
        Ok(())
    }
}

/// Returns what is said of a label that the masks do not have.
fn not_in_mask(label: &str, figure: &Figure) -> Metric {
    Metric {
        label: label.to_owned(),
        metric: figure.name.to_owned(),
        value: None,
        unit: figure.unit.to_owned(),
        state: State::NOT_IN_MASK,
    }
}

/// Returns, for each label of the truth, which one it is in the prediction and which in the truth; none for
/// one that the prediction does not have. They must have one in common: else one of them is called otherwise.
fn pair_by_name(mask: &Mask, truth: &Mask) -> Result<Vec<Option<(u16, u16)>>, Failure> {
    let pair = |(index, name): (usize, &String)| {
        let found = mask.label_names.iter().position(|other| other == name);
        found.map(|other| (other as u16 + 1, index as u16 + 1))
    };
    let pairs: Vec<_> = truth.label_names.iter().enumerate().map(pair).collect();
    match truth.label_names.first() {
        Some(name) if pairs.iter().all(Option::is_none) => Err(Failure::new(
            "LABEL_MISMATCH",
            format!("a mask with the label `{name}` expected, {} found", mask.label_names.join(", ")),
            "labels are matched by name: a segmenter's label must be called as in the truth",
        )),
        _ => Ok(pairs),
    }
}

/// Refuses voxels of a label without a name: they would be left out of every figure.
fn check_named(what: &str, mask: &Mask, highest: u16) -> Result<(), Failure> {
    let names = mask.label_names.len();
    if usize::from(highest) <= names {
        return Ok(());
    }
    Err(Failure::new(
        "LABEL_MISMATCH",
        format!("a {what} with labels up to {names} expected, a voxel of label {highest} found"),
        "each label needs a name",
    ))
}

fn diagonal_mm(geometry: &Geometry) -> f64 {
    let spacing = geometry.spacing_mm();
    norm([0, 1, 2].map(|axis| spacing[axis] * geometry.size[axis] as f64))
}
