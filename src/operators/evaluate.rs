//! Dice, ASSD and RVE of a mask, with the state of empty masks.

use std::sync::Arc;

use serde::Deserialize;
use tomoflow_connectors::Geometry;
use tomoflow_connectors::geometry::{dot, norm};

use super::registry::{Entry, Evaluator, Stage};
use super::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use super::value::{Failure, Mask, Metric};
use crate::metrics::confusion::State;
use crate::metrics::{Confusion, SurfaceDistances, confusions, surface_distances};

/// Corners of two grids that lie nearer than this are the same.
const SAME_GRID_MM: f64 = 0.01;
/// The cosine between two axes up to which a grid counts as one with right angles.
const RIGHT_ANGLE: f64 = 0.01;

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "evaluate",
    section: Section::Operators,
    summary: "Masks compared with the labels of their cases, label by label.",
    doc: "Labels are matched by name; a case without labels gives no figures. Voxels are counted on the \
          scan's original grid.\n\n\
          | metric | is | unit |\n\
          | --- | --- | --- |\n\
          | `dice` | 2·tp / (2·tp + fp + fn) | 1 |\n\
          | `iou` | tp / (tp + fp + fn) | 1 |\n\
          | `precision`, `recall` | tp / (tp + fp), tp / (tp + fn) | 1 |\n\
          | `rve` | \\|V_pred − V_ref\\| / V_ref | 1 |\n\
          | `assd` | mean distance between the surfaces, both ways pooled | mm |\n\
          | `hd95` | the larger of the two 95th percentiles of these distances | mm |\n\
          | `volume_ml` | volume of the prediction | ml |\n\n\
          A surface is the mask without its erosion by six neighbours; distances are Euclidean, in mm. The \
          column `state` says `ok`, `both_empty`, `empty_reference` or `empty_prediction`, so a missed \
          structure is always seen; `empty` chooses the figure where the formula has none:\n\n\
          | empty | both empty | one empty |\n\
          | --- | --- | --- |\n\
          | `nan` | no figure | no figure |\n\
          | `one_zero` | a perfect one: 1, or 0 for errors and distances | 0 for shares; no figure for errors and distances |\n\
          | `penalty` | a perfect one | 0 for shares, 1 for `rve`, the diagonal of the volume for distances |\n\n\
          Dice and IoU of one empty mask are 0 by their formula.",
    version: 1,
    inputs: &[
        Port { name: "masks", accepts: &[Kind::Masks], many: false },
        Port { name: "cases", accepts: &[Kind::Case], many: false },
    ],
    output: Output::Is(Kind::Metrics),
    aspects: Aspects::Labels,
    fields: &[
        Field {
            name: "metrics",
            kind: FieldKind::List {
                of: &FieldKind::Choice(&[
                    "dice",
                    "assd",
                    "rve",
                    "iou",
                    "precision",
                    "recall",
                    "hd95",
                    "volume_ml",
                ]),
                len: None,
            },
            default: Default::Json("[\"dice\", \"assd\", \"rve\"]"),
            role: Role::Semantic,
            doc: "Which figures, in this order.",
        },
        Field {
            name: "empty",
            kind: FieldKind::Choice(&["nan", "one_zero", "penalty"]),
            default: Default::Json("\"nan\""),
            role: Role::Semantic,
            doc: "The figure of an empty mask where the formula has none.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// 2·tp / (2·tp + fp + fn)
    Dice,
    /// The average symmetric surface distance.
    Assd,
    /// The relative volume error.
    Rve,
    /// tp / (tp + fp + fn)
    Iou,
    /// tp / (tp + fp)
    Precision,
    /// tp / (tp + fn)
    Recall,
    /// The 95 % Hausdorff distance.
    Hd95,
    /// The volume of the prediction.
    VolumeMl,
}

impl Figure {
    fn name(self) -> &'static str {
        match self {
            Self::Dice => "dice",
            Self::Assd => "assd",
            Self::Rve => "rve",
            Self::Iou => "iou",
            Self::Precision => "precision",
            Self::Recall => "recall",
            Self::Hd95 => "hd95",
            Self::VolumeMl => "volume_ml",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Assd | Self::Hd95 => "mm",
            Self::VolumeMl => "ml",
            _ => "1",
        }
    }

    fn is_distance(self) -> bool {
        self.unit() == "mm"
    }

    /// By its formula; `None` where it has no value.
    fn value(self, counts: Confusion, distances: Option<&SurfaceDistances>, voxel_mm3: f64) -> Option<f64> {
        match self {
            Self::Dice => counts.dice(),
            Self::Iou => counts.iou(),
            Self::Precision => counts.precision(),
            Self::Recall => counts.recall(),
            Self::Rve => counts.relative_volume_error(),
            Self::Assd => distances.map(SurfaceDistances::assd_mm),
            Self::Hd95 => distances.map(SurfaceDistances::hausdorff_95_mm),
            Self::VolumeMl => Some(counts.predicted() as f64 * voxel_mm3 / 1000.0),
        }
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
    fn value(self, figure: Figure, state: State, diagonal_mm: f64) -> Option<f64> {
        let share = !figure.is_distance() && figure != Figure::Rve;
        match (self, state) {
            (Self::Nan, _) => None,
            (_, State::BothEmpty) => Some(if share { 1.0 } else { 0.0 }),
            _ if share => Some(0.0),
            (Self::OneZero, _) => None,
            (Self::Penalty, _) => Some(if figure.is_distance() { diagonal_mm } else { 1.0 }),
        }
    }
}

/// A comparison.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Evaluate {
    /// Which figures, in order.
    pub metrics: Vec<Figure>,
    /// What stands for a figure without a value.
    pub empty: Empty,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let evaluate: Evaluate = super::read_config(config)?;
    let mut seen = Vec::new();
    let mut problems = Vec::new();
    for figure in &evaluate.metrics {
        if seen.contains(figure) {
            let message = format!("each metric once expected, `{}` found twice", figure.name());
            problems.push(FieldProblem::new("metrics", message, ""));
        }
        seen.push(*figure);
    }
    if seen.is_empty() {
        problems.push(FieldProblem::new(
            "metrics",
            "at least one metric expected, none found",
            "metrics = [\"dice\", \"assd\", \"rve\"]",
        ));
    }
    if problems.is_empty() { Ok(Stage::Evaluate(Arc::new(evaluate))) } else { Err(problems) }
}

impl Evaluator for Evaluate {
    fn evaluate(&self, mask: &Mask, truth: &Mask) -> Result<Vec<Metric>, Failure> {
        let geometry = truth.labels.geometry();
        self.check_grids(mask.labels.geometry(), geometry)?;
        check_named("prediction", mask)?;
        check_named("reference", truth)?;
        let pairs = pair_by_name(mask, truth)?;
        let counts = confusions(mask.labels.voxels(), truth.labels.voxels(), &pairs);
        let mut metrics = Vec::new();
        for ((pair, counts), label) in pairs.iter().zip(counts).zip(truth.label_names.iter()) {
            let distances = self.distances(mask, truth, *pair)?;
            let state = counts.state();
            for figure in &self.metrics {
                let value = figure
                    .value(counts, distances.as_ref(), geometry.voxel_mm3())
                    .or_else(|| self.empty.value(*figure, state, diagonal_mm(geometry)));
                metrics.push(Metric {
                    label: label.clone(),
                    metric: figure.name().to_owned(),
                    value,
                    unit: figure.unit().to_owned(),
                    state: state.name().to_owned(),
                });
            }
        }
        Ok(metrics)
    }
}

impl Evaluate {
    fn measures_distances(&self) -> bool {
        self.metrics.iter().any(|figure| figure.is_distance())
    }

    fn check_grids(&self, prediction: &Geometry, reference: &Geometry) -> Result<(), Failure> {
        super::grid::check_same_size("a mask", reference.size, prediction.size)?;
        super::grid::check(reference)?;
        if !prediction.same_grid(reference, SAME_GRID_MM) {
            return Err(Failure::new(
                "GRID_MISMATCH",
                format!(
                    "a mask on the grid of the truth expected, one more than {SAME_GRID_MM} mm off found"
                ),
                "both must come from the same series",
            ));
        }
        let [a, b, c] = reference.steps_mm;
        let cosine = |a, b| (dot(a, b) / (norm(a) * norm(b))).abs();
        let most = cosine(a, b).max(cosine(a, c)).max(cosine(b, c));
        if self.measures_distances() && most > RIGHT_ANGLE {
            return Err(Failure::new(
                "SHEARED_GRID",
                format!("right angles between the axes expected, a cosine of {most:.3} found"),
                "distances are not measured on a tilted gantry's grid; leave `assd` and `hd95` out of `metrics`",
            ));
        }
        Ok(())
    }

    fn distances(
        &self,
        mask: &Mask,
        truth: &Mask,
        pair: (u16, u16),
    ) -> Result<Option<SurfaceDistances>, Failure> {
        if !self.measures_distances() {
            return Ok(None);
        }
        let geometry = truth.labels.geometry();
        let (prediction, reference) = (mask.labels.voxels(), truth.labels.voxels());
        surface_distances(prediction, reference, pair, geometry.size, geometry.spacing_mm())
            .map_err(|error| Failure::new("BAD_GRID", error.to_string(), ""))
    }
}

/// For each label of the truth, which one it is in the prediction and which in the truth.
fn pair_by_name(mask: &Mask, truth: &Mask) -> Result<Vec<(u16, u16)>, Failure> {
    let pair = |(index, name): (usize, &String)| {
        let found = mask.label_names.iter().position(|other| other == name);
        found.map(|other| (other as u16 + 1, index as u16 + 1)).ok_or_else(|| {
            Failure::new(
                "LABEL_MISMATCH",
                format!("a mask with the label `{name}` expected, {} found", mask.label_names.join(", ")),
                "labels are matched by name: a segmenter's label must be called as in the truth",
            )
        })
    };
    truth.label_names.iter().enumerate().map(pair).collect()
}

/// Refuses voxels of a label without a name: they would be left out of every figure.
fn check_named(what: &str, mask: &Mask) -> Result<(), Failure> {
    let names = mask.label_names.len();
    match mask.labels.voxels().iter().find(|label| usize::from(**label) > names) {
        None => Ok(()),
        Some(label) => Err(Failure::new(
            "LABEL_MISMATCH",
            format!("a {what} with labels up to {names} expected, a voxel of label {label} found"),
            "each label needs a name",
        )),
    }
}

fn diagonal_mm(geometry: &Geometry) -> f64 {
    let spacing = geometry.spacing_mm();
    norm([0, 1, 2].map(|axis| spacing[axis] * geometry.size[axis] as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tomoflow_connectors::LabelMap;

    const ALL: [Figure; 8] = [
        Figure::Dice,
        Figure::Assd,
        Figure::Rve,
        Figure::Iou,
        Figure::Precision,
        Figure::Recall,
        Figure::Hd95,
        Figure::VolumeMl,
    ];

    fn mask(names: &[&str], voxels: &[u16]) -> Mask {
        let geometry = Geometry::axis_aligned([1, 1, voxels.len()], [10.0, 10.0, 2.0]);
        Mask {
            labels: Arc::new(LabelMap::new(geometry, voxels.to_vec()).unwrap()),
            label_names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn values(empty: Empty, prediction: &[u16], reference: &[u16]) -> (String, Vec<Option<f64>>) {
        let evaluate = Evaluate { metrics: ALL.to_vec(), empty };
        let found = evaluate.evaluate(&mask(&["a"], prediction), &mask(&["a"], reference)).unwrap();
        (found[0].state.clone(), found.iter().map(|metric| metric.value).collect())
    }

    #[test]
    fn figures_by_hand() {
        let (state, found) = values(Empty::Nan, &[1, 1, 0, 0], &[0, 1, 1, 1]);
        assert_eq!(state, "ok");
        // Surfaces are whole: distances 2, 0 and 0, 2, 4; percentiles 1.9 and 3.8; 2 voxels of 200 mm³.
        let expected = [0.4, 1.6, 1.0 / 3.0, 0.25, 0.5, 1.0 / 3.0, 3.8, 0.4];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found.unwrap() - expected).abs() < 1e-6, "{found:?} {expected}");
        }
    }

    #[test]
    fn a_missed_structure_is_always_seen() {
        let missed = |empty| values(empty, &[0, 0], &[1, 1]);
        let diagonal = (10.0_f64.powi(2) * 2.0 + 4.0_f64.powi(2)).sqrt();
        let (zero, one, none) = (Some(0.0), Some(1.0), None);
        let state = "empty_prediction".to_owned();
        assert_eq!(missed(Empty::Nan), (state.clone(), vec![zero, none, one, zero, none, zero, none, zero]));
        assert_eq!(
            missed(Empty::OneZero),
            (state.clone(), vec![zero, none, one, zero, zero, zero, none, zero])
        );
        let worst = Some(diagonal);
        assert_eq!(missed(Empty::Penalty), (state, vec![zero, worst, one, zero, zero, zero, worst, zero]));
    }

    #[test]
    fn an_empty_reference_and_two_empty_masks() {
        let (zero, one, none, ml) = (Some(0.0), Some(1.0), None, Some(0.4));
        let (state, found) = values(Empty::Nan, &[1, 1], &[0, 0]);
        assert_eq!(state, "empty_reference");
        assert_eq!(found, [zero, none, none, zero, zero, none, none, ml]);
        assert_eq!(values(Empty::Penalty, &[1, 1], &[0, 0]).1[2], one);

        let (state, found) = values(Empty::Nan, &[0, 0], &[0, 0]);
        assert_eq!(state, "both_empty");
        assert_eq!(found, [none, none, none, none, none, none, none, zero]);
        for empty in [Empty::OneZero, Empty::Penalty] {
            let (_, found) = values(empty, &[0, 0], &[0, 0]);
            assert_eq!(found, [one, zero, zero, one, one, one, zero, zero]);
        }
    }

    #[test]
    fn labels_are_matched_by_name() {
        let evaluate = Evaluate { metrics: vec![Figure::Dice], empty: Empty::Nan };
        let truth = mask(&["tumour", "cochlea"], &[1, 2, 0, 0]);
        let found = evaluate.evaluate(&mask(&["cochlea", "tumour"], &[2, 1, 0, 0]), &truth).unwrap();
        let rows: Vec<_> =
            found.iter().map(|row| (row.label.as_str(), row.value, row.unit.as_str())).collect();
        assert_eq!(rows, [("tumour", Some(1.0), "1"), ("cochlea", Some(1.0), "1")]);
        let error = evaluate.evaluate(&mask(&["tumour"], &[1, 0, 0, 0]), &truth).unwrap_err();
        assert_eq!(error.code, "LABEL_MISMATCH");
        let error = evaluate.evaluate(&mask(&["tumour", "cochlea"], &[3, 0, 0, 0]), &truth).unwrap_err();
        assert_eq!(error.code, "LABEL_MISMATCH");
    }

    #[test]
    fn grids_must_agree() {
        let evaluate = Evaluate { metrics: vec![Figure::Assd], empty: Empty::Nan };
        let truth = mask(&["a"], &[1, 0]);
        let on = |geometry: Geometry| {
            let labels = Arc::new(LabelMap::zeros(geometry));
            Mask { labels, label_names: Arc::clone(&truth.label_names) }
        };
        let error = evaluate.evaluate(&mask(&["a"], &[1, 0, 0]), &truth).unwrap_err();
        assert_eq!(error.code, "GRID_MISMATCH");
        let mut moved = truth.labels.geometry().clone();
        moved.origin_mm[0] = 0.5;
        assert_eq!(evaluate.evaluate(&on(moved), &truth).unwrap_err().code, "GRID_MISMATCH");
        let mut sheared = truth.labels.geometry().clone();
        sheared.steps_mm[0][1] = 3.0;
        assert_eq!(evaluate.evaluate(&on(sheared.clone()), &on(sheared)).unwrap_err().code, "SHEARED_GRID");
        let flat = Geometry::axis_aligned([1, 1, 2], [0.0, 1.0, 1.0]);
        assert_eq!(evaluate.evaluate(&on(flat.clone()), &on(flat)).unwrap_err().code, "BAD_GRID");
    }

    #[test]
    fn metrics_are_named_once() {
        let field = |metrics: serde_json::Value| {
            let config = json!({ "metrics": metrics, "empty": "nan" });
            build(config.as_object().unwrap()).err().map(|problems| problems[0].field.clone())
        };
        assert_eq!(field(json!([])).as_deref(), Some("metrics"));
        assert_eq!(field(json!(["dice", "dice"])).as_deref(), Some("metrics"));
        assert_eq!(field(json!(["dice", "volume_ml"])), None);
    }
}
