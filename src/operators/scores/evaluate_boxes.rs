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
    doc: "The truth is made of the labels on the scan's original grid as the samples of the detector's training were: a \
          thing is a part of a slice whose pixels touch, corners included, of 4 pixels at least, and a class is made of the \
          labels that the model's card names. An image is a slice; with `slices = \"marked\"` only those that hold a thing of \
          any class are images, as in DeepLesion.\n\n\
          `sensitivity_at_N`: the share of things found at N false positives an image (FROC). A box hits every thing that \
          it overlaps with `iou` or more; one that overlaps none is a false positive, one whose things are already hit is \
          neither (Yan et al. 2018). `ap50` (by its usual `iou`): the average precision at 101 recalls (COCO). The figures \
          of a case are of its slices together; a case without a thing of a class has none of that class, and its state is \
          `empty_reference`.\n\n\
          In `summary` the same figures over all images of a group of cases together, as the published ones are, are \
          `pooled_sensitivity_at_N` and `pooled_ap50`, in the column `mean`; the others are means over cases.",
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
            doc: "The figures that are computed.",
        },
        Field {
            name: "false_positives",
            kind: FieldKind::List { of: &FieldKind::Number { min: 0.0, max: 1e6, unit: "" }, len: None },
            default: Default::Json("[0.5, 1.0, 2.0]"),
            role: Role::Semantic,
            doc: "The false positives an image at which the sensitivity is read.",
        },
        Field {
            name: "iou",
            kind: FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
            default: Default::Json("0.5"),
            role: Role::Semantic,
            doc: "The intersection over union from which on a box hits a thing.",
        },
        Field {
            name: "slices",
            kind: FieldKind::Choice(&["all", "marked"]),
            default: Default::Json("\"all\""),
            role: Role::Semantic,
            doc: "The slices that are images: all of them, or those that hold a thing.",
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
