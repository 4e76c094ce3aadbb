//! What a network said of a case, mended by its intensities.

use tomoflow_connectors::{Digest, Geometry, Reject};

use super::ending::{mask_bytes, misplaced};
use super::load::Context;
use super::maps::{MapKind, MapsArtifact};
use super::work::BoundCase;
use crate::operators::registry::Stage;
use crate::voxels::planes::Planes;
use crate::voxels::shares::Way;

/// The bytes of a mask.
///
/// # Errors
/// Whatever refuses the case on its way, `DAMAGED_ARTIFACT` for maps that do not fill its scan's grid, and
/// `NO_PROBABILITIES` where there are none.
pub(super) fn refined(
    context: &Context,
    stage: usize,
    row: &BoundCase,
    maps: Digest,
) -> Result<Vec<u8>, Reject> {
    let planned = &context.plan.stages[stage];
    let Stage::Crf(crf) = &planned.stage else { return Err(misplaced()) };
    let cases = planned.inputs.get(context.plan.takes_cases_from(stage)).ok_or_else(misplaced)?;
    let case = context.case(*cases, row)?;
    let MapsArtifact { label_names, maps } = MapsArtifact::decode(&context.artifact(maps)?)?;
    let (original, grid) = (&*case.original, case.scan.geometry());
    let mut shares = vec![Vec::new(); label_names.len()];
    for (kind, planes) in &maps {
        if let MapKind::Probability(label) = kind
            && let Some(place) = usize::from(*label).checked_sub(1).and_then(|place| shares.get_mut(place))
        {
            *place = on(planes, original, grid)?;
        }
    }
    if shares.iter().any(Vec::is_empty) {
        let message = "the probability of each label expected, none found";
        let hint = "let the inference keep them: `keep = [\"probabilities\"]`";
        return Err(Reject::new("NO_PROBABILITIES", message, hint));
    }
    mask_bytes(&case, crf.refine(&case, &shares)?, &label_names)
}

/// A map of a scan's original grid on another one.
fn on(planes: &Planes, original: &Geometry, grid: &Geometry) -> Result<Vec<u8>, Reject> {
    let unfit =
        || Reject::new("DAMAGED_ARTIFACT", "a map that fills its scan's grid expected", "it is made again");
    if planes.size() != original.size {
        return Err(unfit());
    }
    let all: Option<Vec<Vec<u8>>> = (0..original.size[0]).map(|index| planes.plane(index)).collect();
    let whole = all.ok_or_else(unfit)?.concat();
    if original == grid {
        return Ok(whole);
    }
    let way = Way::new(original, grid)?;
    let mut bytes = Vec::with_capacity(grid.voxels());
    for d in 0..grid.size[0] {
        bytes.extend(way.plane(&whole, d).ok_or_else(unfit)?);
    }
    Ok(bytes)
}
