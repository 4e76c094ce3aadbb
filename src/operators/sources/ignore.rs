//! Voxels that a source says nobody labelled, taken out of what was drawn.

use tomoflow_connectors::{LabelMap, Reject};

use crate::operators::source::Drawing;
use crate::voxels::ignored::IGNORED;

/// A drawing without the voxels that any of these maps has, with a row that says how many they are. `why` says what
/// such voxels have, as in "have values of `ignore`".
///
/// # Errors
/// `NOTHING_LABELLED` when that is all of them.
pub fn left_out(mut drawn: Drawing, ignored: &[LabelMap], why: &str) -> Result<Drawing, Reject> {
    if ignored.is_empty() {
        return Ok(drawn);
    }
    let voxels = drawn.labels.voxels_mut();
    for map in ignored {
        let both = voxels.iter_mut().zip(map.voxels());
        both.filter(|(_, ignored)| **ignored != 0).for_each(|(voxel, _)| *voxel = IGNORED);
    }
    let (all, count) = (voxels.len(), voxels.iter().filter(|voxel| **voxel == IGNORED).count());
    if count == all {
        let message = format!("labelled voxels or background expected, all {all} {why}");
        return Err(Reject::new("NOTHING_LABELLED", message, "nobody labelled anything of this case"));
    }
    if count > 0 {
        let message = format!("{count} of {all} voxels {why}");
        let hint = "they are left out of losses and of figures";
        drawn.notes.push(Reject::new("IGNORED", message, hint));
    }
    Ok(drawn)
}
