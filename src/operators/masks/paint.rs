//! Boxes with masks to one mask of the scan: what is sure enough is painted, slice by slice.

mod painting;

pub use painting::Paint;

use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

/// The declaration of the type `paint`.
pub static SPEC: Spec = Spec {
    name: "paint",
    section: Section::Operators,
    summary: "Paints the masks of detected boxes into one mask for each scan, slice by slice.",
    doc: "On each slice of the scan's original grid the masks of all boxes whose score exceeds `score` are \
          painted; the slices together are the mask of the scan. Its labels are the classes that the \
          detector was trained to find, in their order. A pixel that several classes share goes to the class \
          that is made of fewer labels (a lesion on its liver), and among classes of equally many labels to \
          that of the box with the higher score.\n\n\
          With `within = { lesion = \"liver\" }` pixels of a lesion that lie in no liver are left out; only \
          livers whose own score exceeds `score` count.\n\n\
          The detector must have been trained with `masks = true`; boxes without masks are refused as \
          `NO_MASKS`.",
    version: 1,
    inputs: &[Port { name: "detections", accepts: &[Kind::Detections], many: false }],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[
        Field {
            name: "score",
            kind: FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
            default: Default::Json("0.5"),
            role: Role::Semantic,
            doc: "The score that a box must exceed to be painted.",
        },
        Field {
            name: "within",
            kind: FieldKind::Map(&FieldKind::Text),
            default: Default::Json("{}"),
            role: Role::Semantic,
            doc: "The classes that lie within others, by name, as in `{ lesion = \"liver\" }`: pixels of the \
                  former outside of the latter are left out.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let paint: Paint = crate::operators::read_config(config)?;
    if let Some((inner, _)) = paint.within.iter().find(|(inner, outer)| inner == outer) {
        let message = format!("a kind that `{inner}` lies in expected, itself found");
        let field = format!("within.{inner}");
        return Err(vec![FieldProblem::new(&field, message, "within = { lesion = \"liver\" }")]);
    }
    Ok(Stage::Paint(paint))
}
