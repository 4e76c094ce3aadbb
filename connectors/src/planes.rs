//! Planes of a grid that lie between slices, and what each is made from.

use std::collections::BTreeMap;

use crate::{Geometry, LabelMap, Overlap, Reject};

/// The distance from a plane below which a slice lies on it, in planes: what rounded decimals leave.
const ON_PLANE: f64 = 1e-4;
/// The most that the last slice may lie before the last plane, in planes.
const SHORT_OF_LAST: f64 = 0.01;

/// The slice or slices that one plane of a grid is made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plane {
    /// A slice that lies on the plane, by its place in the list.
    Slice(usize),
    /// Two slices that the plane lies between.
    Between {
        /// The slice below; the next one lies above.
        below: usize,
        /// The share of the way from there to the next slice, from 0 to 1.
        share: f64,
    },
}

/// The slices that each of `depth` planes is made from, with slices at `heights`, in planes; without heights
/// every plane has its own slice.
///
/// `None` for heights that do not ascend, or that leave planes beyond the first or last slice.
///
/// # Examples
/// ```
/// use tomoflow_connectors::planes::{Plane, planes};
/// let between = Plane::Between { below: 1, share: 0.5 };
/// let expected = vec![Plane::Slice(0), Plane::Slice(1), between, Plane::Slice(2)];
/// assert_eq!(planes(4, &[0.0, 1.0, 3.0]), Some(expected));
/// assert_eq!(planes(5, &[0.0, 1.0, 3.0]), None);
/// ```
pub fn planes(depth: usize, heights: &[f64]) -> Option<Vec<Plane>> {
    if heights.is_empty() {
        return Some((0..depth).map(Plane::Slice).collect());
    }
    let ascend = heights.iter().zip(heights.iter().skip(1)).all(|(a, b)| a < b);
    let (first, last) = (heights.first()?, heights.last()?);
    let covered = first.abs() <= ON_PLANE && *last >= depth as f64 - 1.0 - SHORT_OF_LAST;
    if !(ascend && covered && last.is_finite()) {
        return None;
    }
    let mut below = 0;
    let plane = |plane: usize| {
        let height = plane as f64;
        while heights.get(below + 1).is_some_and(|&next| next <= height + ON_PLANE) {
            below += 1;
        }
        let from = *heights.get(below)?;
        Some(match heights.get(below + 1) {
            Some(next) if height - from > ON_PLANE => {
                Plane::Between { below, share: (height - from) / (next - from) }
            }
            _ => Plane::Slice(below),
        })
    };
    (0..depth).map(plane).collect()
}

/// The refusal of heights that are none of a grid.
pub(crate) fn unfit(geometry: &Geometry, heights: &[f64]) -> Reject {
    let [depth, ..] = geometry.size;
    let message = format!("slices along {depth} planes expected, {} beside them found", heights.len());
    Reject::new("BAD_GEOMETRY", message, "the scan's index is damaged: look at the archive anew")
}

/// The plane that each slice lies on; `None` for one between planes.
pub(crate) fn of_slices(planes: &[Plane], slices: usize) -> Vec<Option<usize>> {
    let mut found = vec![None; slices];
    for (index, plane) in planes.iter().enumerate() {
        if let Plane::Slice(slice) = plane
            && let Some(place) = found.get_mut(*slice)
        {
            *place = Some(index);
        }
    }
    found
}

/// Labels the planes between slices on which nothing was drawn: each voxel as on the nearer slice, and
/// halfway as on both or not at all. It is what a linear interpolation comes to when a voxel takes the
/// label that it has more than half of.
///
/// `beside` are the labels of slices that lie on no plane; `over` says what two labels have in common.
pub(crate) fn fill_between(
    labels: &mut LabelMap,
    planes: &[Plane],
    slices: usize,
    beside: &BTreeMap<usize, Vec<u16>>,
    over: &Overlap,
) {
    let places = of_slices(planes, slices);
    let [depth, rows, columns] = labels.size();
    for (index, plane) in planes.iter().enumerate().take(depth) {
        let &Plane::Between { below, share } = plane else { continue };
        if labels.slice(index).iter().any(|&label| label != 0) {
            continue;
        }
        let of = |slice: usize| match beside.get(&slice) {
            Some(labels) => Some(labels.as_slice()),
            None => places.get(slice).copied().flatten().map(|place| labels.slice(place)),
        };
        let (Some(low), Some(high)) = (of(below), of(below + 1)) else { continue };
        let halfway = (share - 0.5).abs() <= ON_PLANE;
        let nearer = if share < 0.5 { low } else { high };
        let voxel = |((&low, &high), &nearer): ((&u16, &u16), &u16)| match halfway {
            true => over.both(low, high),
            false => nearer,
        };
        let made: Vec<u16> = low.iter().zip(high).zip(nearer).map(voxel).collect();
        let area = index * rows * columns..(index + 1) * rows * columns;
        if let Some(voxels) = labels.voxels_mut().get_mut(area) {
            voxels.copy_from_slice(&made);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_slices_or_lie_between_two() {
        use Plane::{Between, Slice};
        assert_eq!(planes(2, &[]).unwrap(), [Slice(0), Slice(1)]);
        assert_eq!(planes(2, &[0.0, 1.00005]).unwrap(), [Slice(0), Slice(1)]);
        let found = planes(4, &[0.0, 0.5, 1.25, 3.0]).unwrap();
        let between = |below, share| Between { below, share };
        assert_eq!(found, [Slice(0), between(1, 0.5 / 0.75), between(2, 0.75 / 1.75), Slice(3)]);
        // The last slice may lie a little before the last plane.
        assert_eq!(planes(3, &[0.0, 1.0, 1.995]).unwrap()[2], Slice(2));
    }

    #[test]
    fn heights_that_make_no_sense_are_none() {
        for (depth, heights) in [
            (3, &[0.0, 1.0][..]),
            (3, &[1.0, 2.0]),
            (3, &[0.0, 2.0, 2.0]),
            (3, &[0.0, f64::NAN, 2.0]),
            (3, &[0.0, 1.0, f64::INFINITY]),
            (usize::MAX, &[0.0]),
        ] {
            assert_eq!(planes(depth, heights), None, "{depth} {heights:?}");
        }
    }

    #[test]
    fn labels_between_slices_are_those_of_the_nearer_one() {
        let geometry = Geometry::axis_aligned([5, 1, 3], [1.0; 3]);
        let fill = |voxels: [u16; 15], heights: &[f64]| {
            let mut labels = LabelMap::new(geometry.clone(), voxels.to_vec()).unwrap();
            let over = Overlap::default();
            fill_between(&mut labels, &planes(5, heights).unwrap(), heights.len(), &BTreeMap::new(), &over);
            labels.into_voxels()
        };
        // Halfway a voxel takes what both slices have, else the nearer one's label; what was drawn stays.
        let halfway = [1, 1, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 1, 1, 1];
        assert_eq!(fill(halfway, &[0.0, 2.0, 3.0, 4.0])[3..6], [1, 0, 0]);
        let nearer = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 1, 1, 1];
        let filled = fill(nearer, &[0.0, 3.0, 4.0]);
        assert_eq!(filled[3..9], [1, 1, 0, 0, 2, 2]);
        let drawn = [1, 1, 1, 0, 0, 3, 1, 1, 1, 0, 0, 0, 1, 1, 1];
        assert_eq!(fill(drawn, &[0.0, 2.0, 3.0, 4.0]), drawn);
    }
}
