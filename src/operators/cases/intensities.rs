//! What operators on intensities share: the field of the foreground, and a case with other voxels.

use std::borrow::Cow;
use std::sync::Arc;

use tomoflow_connectors::Scan;

use crate::operators::spec::{Default, Field, FieldKind, Role};
use crate::operators::value::{Case, Failure};
use crate::voxels::grid::check_same_size;

/// The field of operators that learn from a scan's foreground.
pub const FOREGROUND: Field = Field {
    name: "foreground",
    kind: FieldKind::Either(&[
        FieldKind::Choice(&["none", "nonzero"]),
        FieldKind::Number { min: -1e9, max: 1e9, unit: "" },
    ]),
    default: Default::Json("\"none\""),
    role: Role::Semantic,
    doc: "The voxels that percentiles are taken over: all (`none`), those that are not 0 (`nonzero`), or \
          those above a number.",
};

/// The intensities that statistics count: all but those that only pad the scan.
///
/// # Errors
/// `GRID_MISMATCH` for padding of another size, and `ALL_PADDING` when nothing else is there.
pub fn counted(case: &Case) -> Result<Cow<'_, [f32]>, Failure> {
    let Some(padding) = &case.padding else { return Ok(Cow::Borrowed(case.scan.voxels())) };
    check_same_size("padding", case.scan.size(), padding.size())?;
    let voxels = case.scan.voxels().iter().zip(padding.voxels());
    let kept: Vec<f32> = voxels.filter(|(_, padded)| **padded == 0).map(|(value, _)| *value).collect();
    if kept.is_empty() {
        let message = "voxels beside padding expected, none found";
        let hint = "see whether PixelPaddingValue is the right one: all pixels have it";
        return Err(Failure::new("ALL_PADDING", message, hint));
    }
    Ok(Cow::Owned(kept))
}

/// The case with other intensities on the same grid.
///
/// # Errors
/// `GRID_MISMATCH` when there are not as many.
pub fn replace(case: &Case, voxels: Vec<f32>) -> Result<Case, Failure> {
    let scan = Scan::new(case.scan.geometry().clone(), voxels)
        .map_err(|error| Failure::new("GRID_MISMATCH", error.to_string(), ""))?;
    Ok(Case { scan: Arc::new(scan), ..case.clone() })
}
