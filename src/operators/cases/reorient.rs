//! Turns a case so that its axes run towards named sides of the patient, by whole axes: no voxel is made anew.

use std::sync::Arc;

use serde::Deserialize;
use tomoflow_connectors::Geometry;
use tomoflow_connectors::volume::SizeMismatch;

use crate::operators::registry::{Axes, Entry, Stage, Transform};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::operators::value::{Case, Failure};
use crate::voxels::grid;
pub use crate::voxels::orientation::Reorient;

/// The declaration of the type `reorient`.
pub static SPEC: Spec = Spec {
    name: "reorient",
    section: Section::Operators,
    summary: "Turns scans and their labels so that their axes run towards named sides of the patient.",
    doc: "Axes are exchanged and reversed; the voxels' intensities and their positions in the patient stay \
          the same. Three letters name the sides towards which columns, rows and slices run, in this order: \
          `L`eft or `R`ight, `P`osterior or `A`nterior, `S`uperior or `I`nferior, one of each pair. Axial \
          slices are mostly stored as `LPS`; NIfTI programs prefer `RAS`. An oblique scan stays oblique: \
          each of its axes counts as the side that it points to most. Masks are brought back to the scan's \
          original grid at the end, voxel for voxel.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Both,
    fields: &[Field {
        name: "axes",
        kind: FieldKind::Text,
        default: Default::Json("\"LPS\""),
        role: Role::Semantic,
        doc: "The sides of the patient towards which columns, rows and slices run, in this order, e.g. `LPS` \
              or `RAS`.",
    }],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

#[derive(Deserialize)]
struct Declared {
    axes: String,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let declared: Declared = crate::operators::read_config(config)?;
    match Reorient::parse(&declared.axes) {
        Some(reorient) => Ok(Stage::Transform(Arc::new(reorient))),
        None => Err(vec![FieldProblem::new(
            "axes",
            format!("one of L and R, of P and A, of S and I expected, `{}` found", declared.axes),
            "columns, rows, slices: `LPS` for axial slices, `RAS` as NIfTI programs prefer it",
        )]),
    }
}

impl Transform for Reorient {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        let geometry = case.scan.geometry();
        grid::check(geometry)?;
        if let Some(labels) = &case.labels {
            grid::check_same_size("labels", case.scan.size(), labels.size())?;
        }
        let turn = self.turn(geometry);
        if turn.is_identity() {
            return Ok(case.clone());
        }
        let misfit = |error: SizeMismatch| Failure::new("GRID_MISMATCH", error.to_string(), "");
        let scan = Arc::new(turn.volume(&case.scan).map_err(misfit)?);
        let labels = case.labels.as_ref().map(|labels| turn.volume(labels)).transpose().map_err(misfit)?;
        let padding =
            case.padding.as_ref().map(|padding| turn.volume(padding)).transpose().map_err(misfit)?;
        Ok(Case { scan, labels: labels.map(Arc::new), padding: padding.map(Arc::new), ..case.clone() })
    }

    fn grid(&self, old: &Geometry) -> Geometry {
        Self::grid(self, old)
    }

    fn axes(&self) -> Axes {
        Axes::Turned(*self)
    }
}
