//! Boxes against the truth: sensitivity at false positives an image, and average precision.

pub mod boxes;

use boxes::Figure;
pub use boxes::{EvaluateBoxes, Judged, Pool};

use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

/// The declaration of the type `evaluate_boxes`.
pub static SPEC: Spec = Spec {
    name: "evaluate_boxes",
    section: Section::Operators,
    summary: "Compares detected boxes with the labels of their cases, class by class.",
    doc: "The true boxes are made from the labels on the scan's original grid, as for the training of the \
          detector: an instance is a connected part of a slice (pixels that touch at a corner are connected) \
          of at least 4 pixels, and a class is made of the labels that the model's card names. Each slice \
          counts as an image; with `slices = \"marked\"` only slices that hold an instance of some class do, \
          as in DeepLesion.\n\n\
          `sensitivity_at_N` is the share of instances that are found at N false positives per image (FROC). \
          A box hits every instance that it overlaps by an intersection over union of at least `iou`; a box \
          that hits none is a false positive, and one whose instances are already hit is neither (Yan et al. \
          2018). `ap50` is the average precision at 101 recalls (COCO), named after its usual `iou` of 0.5. \
          The figures of a case are over all its slices together; for a class without an instance in the \
          case there is no figure, and the state is `empty_reference`.\n\n\
          In `summary` the metrics `pooled_sensitivity_at_N` and `pooled_ap50` are the same figures over all \
          images of a group of cases together, as published ones are, in the column `mean`; the other \
          metrics are averaged over cases.",
    version: 1,
    inputs: &[
        Port { name: "detections", accepts: &[Kind::Detections], many: false },
        Port { name: "cases", accepts: &[Kind::Case], many: false },
    ],
    output: Output::Is(Kind::Metrics),
    aspects: Aspects::Labels,
    fields: &[
        Field {
            name: "metrics",
            kind: FieldKind::List { of: &FieldKind::Choice(&["sensitivity", "ap50"]), len: None },
            default: Default::Json("[\"sensitivity\", \"ap50\"]"),
            role: Role::Semantic,
            doc: "The metrics that are computed: sensitivities at the numbers of `false_positives`, and the \
                  average precision.",
        },
        Field {
            name: "false_positives",
            kind: FieldKind::List { of: &FieldKind::Number { min: 0.0, max: 1e6, unit: "" }, len: None },
            default: Default::Json("[0.5, 1.0, 2.0]"),
            role: Role::Semantic,
            doc: "The numbers of false positives per image at which the sensitivity is computed.",
        },
        Field {
            name: "iou",
            kind: FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
            default: Default::Json("0.5"),
            role: Role::Semantic,
            doc: "The intersection over union from which on a box hits an instance.",
        },
        Field {
            name: "slices",
            kind: FieldKind::Choice(&["all", "marked"]),
            default: Default::Json("\"all\""),
            role: Role::Semantic,
            doc: "The slices that count as images: all of them (`all`), or those that hold an instance \
                  (`marked`).",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let evaluate: EvaluateBoxes = crate::operators::read_config(config)?;
    let mut problems = Vec::new();
    if evaluate.metrics.is_empty() {
        let message = "at least one metric expected, none found";
        problems.push(FieldProblem::new("metrics", message, "metrics = [\"sensitivity\", \"ap50\"]"));
    }
    let twice = |place: usize| evaluate.metrics[..place].contains(&evaluate.metrics[place]);
    if (0..evaluate.metrics.len()).any(twice) {
        problems.push(FieldProblem::new("metrics", "each metric once expected, one found twice", ""));
    }
    let twice = |place: usize| evaluate.false_positives[..place].contains(&evaluate.false_positives[place]);
    if (0..evaluate.false_positives.len()).any(twice) {
        problems.push(FieldProblem::new("false_positives", "each number once expected, one found twice", ""));
    }
    if evaluate.metrics.contains(&Figure::Sensitivity) && evaluate.false_positives.is_empty() {
        let message = "at least one number expected, none found";
        problems.push(FieldProblem::new("false_positives", message, "false_positives = [0.5, 1, 2]"));
    }
    if problems.is_empty() { Ok(Stage::EvaluateBoxes(evaluate)) } else { Err(problems) }
}
