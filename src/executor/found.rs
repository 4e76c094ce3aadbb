//! Boxes on the grid that a network saw, back to the scan's original grid, and to an artifact.

use tomoflow_connectors::geometry::VoxelIndex;
use tomoflow_connectors::{Geometry, Reject};

use crate::networks::{FoundBox, OnSlice};
use crate::operators::samples::things::Things;
use crate::operators::value::{DetectedBox, Detections};

/// How many planes, at most, a slice may reach over.
const FLAT: f64 = 0.25;

/// The boxes of each original slice: those of the nearest slice that the network saw.
///
/// # Errors
/// `GRID_MISMATCH` where a slice of the one grid lies in no slice of the other.
pub(super) fn on_original(
    found: &[OnSlice],
    source: &Geometry,
    original: &Geometry,
    things: Things,
) -> Result<Detections, Reject> {
    in_one_plane(source, original)?;
    let [depth, height, width] = original.size;
    let mut boxes = Vec::new();
    for slice in 0..depth {
        let middle = [slice as f64, (height as f64 - 1.0) / 2.0, (width as f64 - 1.0) / 2.0];
        let there = across(original, source, middle)?;
        let nearest = there[0].round();
        if !(0.0..source.size[0] as f64).contains(&nearest) {
            continue;
        }
        let Some(own) = found.iter().find(|own| own.slice == nearest as usize) else { continue };
        for found in &own.boxes {
            boxes.extend(returned(found, nearest, slice, source, original)?);
        }
    }
    Ok(Detections { size: original.size, things, boxes })
}

/// A box in the edges of another grid's slice; none of it may lie on the grid.
fn returned(
    FoundBox { class, score, bounds: [x1, y1, x2, y2] }: &FoundBox,
    plane: f64,
    slice: usize,
    source: &Geometry,
    original: &Geometry,
) -> Result<Option<DetectedBox>, Reject> {
    let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for (y, x) in [(y1, x1), (y1, x2), (y2, x1), (y2, x2)] {
        let [_, h, w] = across(source, original, [plane, y - 0.5, x - 0.5])?;
        for (axis, edge) in [h + 0.5, w + 0.5].into_iter().enumerate() {
            low[axis] = low[axis].min(edge);
            high[axis] = high[axis].max(edge);
        }
    }
    for (axis, length) in original.size[1..].iter().enumerate() {
        low[axis] = low[axis].clamp(0.0, *length as f64);
        high[axis] = high[axis].clamp(0.0, *length as f64);
    }
    let there = low[0] < high[0] && low[1] < high[1];
    Ok(there.then_some(DetectedBox { slice: slice as u32, class: *class, score: *score, low, high }))
}

/// Refuses a grid whose slices reach over several of the other's, whether there is a box on them or not.
fn in_one_plane(source: &Geometry, original: &Geometry) -> Result<(), Reject> {
    let [_, height, width] = source.size.map(|length| length as f64);
    let corners = [[0.0, 0.0], [height, 0.0], [0.0, width], [height, width]];
    let planes =
        corners.map(|[y, x]| across(source, original, [0.0, y - 0.5, x - 0.5]).map(|place| place[0]));
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for plane in planes {
        let plane = plane?;
        (least, most) = (least.min(plane), most.max(plane));
    }
    if most - least <= FLAT {
        return Ok(());
    }
    let message = format!(
        "slices that lie in the scan's own expected, one found that reaches over {:.1} of them",
        most - least
    );
    Err(Reject::new("GRID_MISMATCH", message, "a preparation for `detect` keeps the plane of slices"))
}

/// A place of one grid in voxels of another.
fn across(from: &Geometry, to: &Geometry, place: [f64; 3]) -> Result<[f64; 3], Reject> {
    let there = to.to_voxel(from.to_patient(VoxelIndex(place))).map(|index| index.0);
    there.filter(|place| place.iter().all(|along| along.is_finite())).ok_or_else(|| {
        Reject::new("BAD_GRID", "axes that span space expected, others found", "the scan's header is damaged")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn things() -> Things {
        Things::of_labels(&["a".to_owned()], &[])
    }

    fn on(slice: usize, bounds: [f64; 4]) -> OnSlice {
        OnSlice { slice, boxes: vec![FoundBox { class: 1, score: 0.5, bounds }] }
    }

    #[test]
    fn a_slice_has_the_boxes_of_the_nearest_one() {
        let original = Geometry::axis_aligned([4, 10, 20], [1.0, 0.5, 0.5]);
        // Half as many slices, whose voxels cover two by two of the original's, from the second column on.
        let mut source = Geometry::axis_aligned([2, 5, 5], [2.0, 1.0, 1.0]);
        source.origin_mm = [0.5 + 0.25, 0.25, 0.5];
        let found = on_original(
            &[on(0, [0.0, 0.0, 1.0, 2.0]), on(1, [4.0, 4.0, 9.0, 5.0])],
            &source,
            &original,
            things(),
        );
        let found = found.unwrap().boxes;
        let plain: Vec<(u32, [f64; 2], [f64; 2])> =
            found.iter().map(|found| (found.slice, found.low, found.high)).collect();
        let (first, second) = (([0.0, 1.0], [4.0, 3.0]), ([8.0, 9.0], [10.0, 19.0]));
        let expected = [(0, first), (1, first), (2, second), (3, second)];
        assert_eq!(plain, expected.map(|(slice, (low, high))| (slice, low, high)));
    }

    #[test]
    fn a_mirrored_plane_comes_back_and_another_one_does_not() {
        let original = Geometry::axis_aligned([1, 4, 6], [1.0; 3]);
        let mut turned = original.clone();
        turned.origin_mm = [5.0, 0.0, 0.0];
        turned.steps_mm[2] = [-1.0, 0.0, 0.0];
        let found = on_original(&[on(0, [0.0, 1.0, 2.0, 3.0])], &turned, &original, things()).unwrap();
        assert_eq!((found.boxes[0].low, found.boxes[0].high), ([1.0, 4.0], [3.0, 6.0]));
        let mut upright = Geometry::axis_aligned([4, 4, 6], [1.0; 3]);
        upright.steps_mm.swap(0, 1);
        let refused = on_original(&[on(0, [0.0, 1.0, 2.0, 3.0])], &upright, &original, things());
        assert_eq!(refused.unwrap_err().code, "GRID_MISMATCH");
    }
}
