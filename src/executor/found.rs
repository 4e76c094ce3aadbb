//! Boxes on the grid that a network saw, back to the scan's original grid, and to an artifact.

use std::collections::BTreeMap;

use tomoflow_connectors::geometry::VoxelIndex;
use tomoflow_connectors::{Geometry, Reject, RunLength};

use crate::networks::{FoundBox, OnSlice, PlaneMask};
use crate::operators::samples::dataset::CaseBox;
use crate::operators::samples::things::Things;
use crate::operators::source::DrawnBox;
use crate::operators::value::{DetectedBox, Detections};

/// The largest number of planes that a slice may reach over.
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
    with_masks: bool,
) -> Result<Detections, Reject> {
    in_one_plane(source, original)?;
    let [depth, height, width] = original.size;
    let (mut boxes, mut masks) = (Vec::new(), Vec::new());
    for slice in 0..depth {
        let middle = [slice as f64, (height as f64 - 1.0) / 2.0, (width as f64 - 1.0) / 2.0];
        let there = across(original, source, middle)?;
        let nearest = there[0].round();
        if !(0.0..source.size[0] as f64).contains(&nearest) {
            continue;
        }
        let Some(own) = found.iter().find(|own| own.slice == nearest as usize) else { continue };
        for found in &own.boxes {
            let Some(own) = returned(found, nearest, slice, source, original)? else { continue };
            boxes.push(own);
            if with_masks {
                let mask = found.mask.as_ref().map(|mask| pixels_of(mask, nearest, slice, source, original));
                masks.push(mask.transpose()?.unwrap_or_default());
            }
        }
    }
    Ok(Detections { size: original.size, things, boxes, masks: with_masks.then_some(masks) })
}

/// Boxes that were marked on a scan's own grid, on the slices of a prepared one: each of these has the boxes of the nearest.
///
/// # Errors
/// `GRID_MISMATCH` where a slice of the one grid lies in no slice of the other, `LABEL_TOO_LARGE` for a label over 255.
pub(super) fn on_prepared(
    boxes: &[DrawnBox],
    original: &Geometry,
    prepared: &Geometry,
) -> Result<Vec<CaseBox>, Reject> {
    let mut slices: BTreeMap<u32, Vec<FoundBox>> = BTreeMap::new();
    for DrawnBox { label, slice, low, high } in boxes {
        let class = u8::try_from(*label).map_err(|_| {
            Reject::new("LABEL_TOO_LARGE", format!("labels up to 255 expected, {label} found"), "")
        })?;
        let bounds = [low[1], low[0], high[1], high[0]];
        slices.entry(*slice).or_default().push(FoundBox { class, score: 1.0, bounds, mask: None });
    }
    let seen: Vec<OnSlice> =
        slices.into_iter().map(|(slice, boxes)| OnSlice { slice: slice as usize, boxes }).collect();
    let found = on_original(&seen, original, prepared, Things(Vec::new()), false)?;
    let edges = |edges: [f64; 2]| edges.map(|edge| edge as f32);
    let case_box = |own: &DetectedBox| CaseBox {
        label: own.class,
        slice: own.slice,
        low: edges(own.low),
        high: edges(own.high),
    };
    Ok(found.boxes.iter().map(case_box).collect())
}

/// The pixels of a slice whose middles lie in those of a mask on another grid's.
fn pixels_of(
    mask: &PlaneMask,
    plane: f64,
    slice: usize,
    source: &Geometry,
    original: &Geometry,
) -> Result<RunLength, Reject> {
    let [_, height, width] = original.size;
    let edges =
        |axis: usize| [mask.start[axis] as f64 - 0.5, (mask.start[axis] + mask.size[axis]) as f64 - 0.5];
    let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for y in edges(0) {
        for x in edges(1) {
            let [_, h, w] = across(source, original, [plane, y, x])?;
            for (axis, edge) in [h, w].into_iter().enumerate() {
                (low[axis], high[axis]) = (low[axis].min(edge), high[axis].max(edge));
            }
        }
    }
    let range = |axis: usize, length: usize| {
        let end = (high[axis].ceil() + 1.0).clamp(0.0, length as f64) as usize;
        (low[axis].floor().max(0.0) as usize).min(end)..end
    };
    // A step along a row or a column is the same everywhere.
    let at = |y: f64, x: f64| across(original, source, [slice as f64, y, x]).map(|[_, h, w]| [h, w]);
    let (first, down, right) = (at(0.0, 0.0)?, at(1.0, 0.0)?, at(0.0, 1.0)?);
    let step = |to: [f64; 2]| [to[0] - first[0], to[1] - first[1]];
    let (down, right) = (step(down), step(right));
    let mut runs: Vec<u32> = Vec::new();
    for row in range(0, height) {
        for column in range(1, width) {
            let there = [0, 1]
                .map(|axis| (first[axis] + row as f64 * down[axis] + column as f64 * right[axis]).round());
            let lies = there[0] >= 0.0 && there[1] >= 0.0 && mask.holds(there.map(|place| place as usize));
            if !lies {
                continue;
            }
            let pixel = (row * width + column) as u32;
            match runs.as_mut_slice() {
                [.., start, length] if *start + *length == pixel => *length += 1,
                _ => runs.extend([pixel, 1]),
            }
        }
    }
    Ok(RunLength(runs))
}

/// A box in the edges of another grid's slice; none of it may lie on the grid.
fn returned(
    FoundBox { class, score, bounds: [x1, y1, x2, y2], .. }: &FoundBox,
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
        OnSlice { slice, boxes: vec![FoundBox { class: 1, score: 0.5, bounds, mask: None }] }
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
            false,
        );
        let found = found.unwrap().boxes;
        let plain: Vec<(u32, [f64; 2], [f64; 2])> =
            found.iter().map(|found| (found.slice, found.low, found.high)).collect();
        let (first, second) = (([0.0, 1.0], [4.0, 3.0]), ([8.0, 9.0], [10.0, 19.0]));
        let expected = [(0, first), (1, first), (2, second), (3, second)];
        assert_eq!(plain, expected.map(|(slice, (low, high))| (slice, low, high)));
    }

    #[test]
    fn marked_boxes_go_to_the_prepared_grid() {
        let own = DrawnBox { label: 2, slice: 1, low: [1.5, 0.0], high: [2.0, 2.25] };
        let original = Geometry::axis_aligned([3, 4, 6], [5.0, 1.0, 1.0]);
        let same = on_prepared(&[own], &original, &original).unwrap();
        assert_eq!(same, [CaseBox { label: 2, slice: 1, low: [1.5, 0.0], high: [2.0, 2.25] }]);
        // A grid with half the pixel size.
        let mut fine = Geometry::axis_aligned([3, 8, 12], [5.0, 0.5, 0.5]);
        fine.origin_mm = [-0.25, -0.25, 0.0];
        let finer = on_prepared(&[own], &original, &fine).unwrap();
        assert_eq!(finer, [CaseBox { label: 2, slice: 1, low: [3.0, 0.0], high: [4.0, 4.5] }]);
    }

    #[test]
    fn masks_come_back_with_their_boxes() {
        let mask = PlaneMask { start: [1, 0], size: [1, 2], pixels: [true, false].into() };
        let own = FoundBox { class: 1, score: 0.5, bounds: [0.0, 1.0, 2.0, 2.0], mask: Some(mask) };
        let seen = [OnSlice { slice: 0, boxes: vec![own.clone(), FoundBox { mask: None, ..own }] }];
        let back = |source: &Geometry, original: &Geometry| {
            let masks = on_original(&seen, source, original, things(), true).unwrap().masks;
            masks.unwrap().into_iter().map(|mask| mask.0).collect::<Vec<_>>()
        };
        let same = Geometry::axis_aligned([1, 3, 4], [1.0; 3]);
        assert_eq!(back(&same, &same), [vec![4, 1], vec![]]);
        // Pixels of the network are two by two of the original's.
        let fine = Geometry::axis_aligned([1, 6, 8], [1.0, 0.5, 0.5]);
        let mut coarse = same.clone();
        coarse.origin_mm = [0.25, 0.25, 0.0];
        assert_eq!(back(&coarse, &fine)[0], [16, 2, 24, 2]);
        let mut turned = same.clone();
        turned.origin_mm = [3.0, 0.0, 0.0];
        turned.steps_mm[2] = [-1.0, 0.0, 0.0];
        assert_eq!(back(&turned, &same)[0], [7, 1]);
    }

    #[test]
    fn a_mirrored_plane_comes_back_and_another_one_does_not() {
        let original = Geometry::axis_aligned([1, 4, 6], [1.0; 3]);
        let mut turned = original.clone();
        turned.origin_mm = [5.0, 0.0, 0.0];
        turned.steps_mm[2] = [-1.0, 0.0, 0.0];
        let found = on_original(&[on(0, [0.0, 1.0, 2.0, 3.0])], &turned, &original, things(), false).unwrap();
        assert_eq!((found.boxes[0].low, found.boxes[0].high), ([1.0, 4.0], [3.0, 6.0]));
        let mut upright = Geometry::axis_aligned([4, 4, 6], [1.0; 3]);
        upright.steps_mm.swap(0, 1);
        let refused = on_original(&[on(0, [0.0, 1.0, 2.0, 3.0])], &upright, &original, things(), false);
        assert_eq!(refused.unwrap_err().code, "GRID_MISMATCH");
    }
}
