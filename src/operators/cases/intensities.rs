//! What operators on intensities share: the field of the foreground, and a case with other voxels.

use std::sync::Arc;

use tomoflow_connectors::Scan;

use crate::operators::spec::{Default, Field, FieldKind, Role};
use crate::operators::value::{Case, Failure};

/// The field of operators that learn from a scan's foreground.
pub const FOREGROUND: Field = Field {
    name: "foreground",
    kind: FieldKind::Either(&[
        FieldKind::Choice(&["none", "nonzero"]),
        FieldKind::Number { min: -1e9, max: 1e9, unit: "" },
    ]),
    default: Default::Json("\"none\""),
    role: Role::Semantic,
    doc: "The voxels that count: all (`none`), those that are not 0, or those above a number.",
};

/// The case with other intensities on the same grid.
///
/// # Errors
/// `GRID_MISMATCH` when there are not as many.
pub fn replace(case: &Case, voxels: Vec<f32>) -> Result<Case, Failure> {
    let scan = Scan::new(case.scan.geometry().clone(), voxels)
        .map_err(|error| Failure::new("GRID_MISMATCH", error.to_string(), ""))?;
    Ok(Case { scan: Arc::new(scan), ..case.clone() })
}
