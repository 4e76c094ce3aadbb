//! The grid on which frames lie, from their positions: slices may be left out and come in any order.

use super::gaps::{self, JITTER, ONE_SLICE_MM, ROUNDED_MM, Stride};
use crate::dicom::Frame;
use crate::geometry::{cross, dot, norm};
use crate::{Geometry, Reject};

/// The most by which cosines of orientations may differ, and spacings relative to one another.
const ALIKE: f64 = 1e-4;
/// The most that a frame may lie across the line of the others, in pixels.
const ACROSS: f64 = 0.1;

/// A grid, and the slice of each frame on it.
pub(super) struct Placed {
    pub(super) geometry: Geometry,
    pub(super) slices: Vec<usize>,
    /// Whether frames are no thicker than a slice of what they are drawn on: their distance says nothing.
    pub(super) thin: bool,
    /// Whether frames were once taken to be as thick as their distance, and are not any more.
    pub(super) anew: bool,
}

/// The orientation and spacing that all frames have in common.
struct Plane {
    row: [f64; 3],
    column: [f64; 3],
    spacing_mm: [f64; 2],
    normal: [f64; 3],
}

/// Places frames of `size` (rows, columns); `sourced` when each names the slice that it was drawn on.
pub(super) fn place(frames: &[Frame], size: [usize; 2], sourced: bool) -> Result<Placed, Reject> {
    let plane = plane(frames)?;
    let positions: Option<Vec<[f64; 3]>> =
        frames.iter().map(|frame| frame.position_mm.map(|p| p.map(|x| x.0))).collect();
    let positions = positions.ok_or_else(|| geometry("a frame without its position"))?;
    let along: Vec<f64> = positions.iter().map(|&p| dot(plane.normal, p)).collect();
    let mut order: Vec<usize> = (0..frames.len()).collect();
    order.sort_by(|&a, &b| along[a].total_cmp(&along[b]));
    // One frame is taken for each slice, from the lowest up.
    let mut distinct: Vec<usize> = Vec::new();
    for index in order {
        if distinct.last().is_none_or(|&last| along[index] - along[last] > ONE_SLICE_MM) {
            distinct.push(index);
        }
    }
    let (Some(&first), Some(&last)) = (distinct.first(), distinct.last()) else {
        return Err(geometry("no frame"));
    };
    let declared = frames.iter().find_map(|frame| frame.gap_mm).map(|gap| gap.0.abs());
    let thickness = frames.iter().find_map(|frame| frame.thickness_mm).map(|thickness| thickness.0.abs());
    let thickness = thickness.filter(|&thickness| thickness > ONE_SLICE_MM);
    let offsets: Vec<f64> = distinct.iter().map(|&index| along[index] - along[first]).collect();
    let Stride { count, thin, anew } = gaps::stride(&offsets, declared, thickness, sourced)?;
    let step = if count == 0 {
        let length = declared.or(thickness).filter(|&length| length > 0.0).unwrap_or(1.0);
        plane.normal.map(|x| x * length)
    } else {
        [0, 1, 2].map(|i| (positions[last][i] - positions[first][i]) / count as f64)
    };
    let origin_mm = positions[first];
    let gap = dot(plane.normal, step);
    let slice = |index: usize| {
        let slice = ((along[index] - along[first]) / gap).round();
        let off = [0, 1, 2].map(|i| positions[index][i] - origin_mm[i] - slice * step[i]);
        let pixel = plane.spacing_mm[0].min(plane.spacing_mm[1]);
        match norm(off) <= (ACROSS * pixel).max(ROUNDED_MM) + JITTER * gap {
            true => Ok(slice as usize),
            false => {
                let message = "frames along one line expected, one found beside it";
                Err(Reject::new("NON_COLLINEAR_POSITIONS", message, "the segmentation is no single stack"))
            }
        }
    };
    let slices = (0..frames.len()).map(slice).collect::<Result<Vec<_>, _>>()?;
    let [rows, columns] = size;
    let steps_mm =
        [step, plane.column.map(|x| x * plane.spacing_mm[0]), plane.row.map(|x| x * plane.spacing_mm[1])];
    let geometry = Geometry { size: [count + 1, rows, columns], origin_mm, steps_mm };
    geometry.check()?;
    Ok(Placed { geometry, slices, thin, anew })
}

fn plane(frames: &[Frame]) -> Result<Plane, Reject> {
    let facts = |frame: &Frame| {
        Some((frame.orientation?.map(|cosine| cosine.0), frame.spacing_mm?.map(|length| length.0)))
    };
    let first = frames.first().ok_or_else(|| geometry("no frame"))?;
    let (orientation, spacing_mm) =
        facts(first).ok_or_else(|| geometry("a frame without orientation or pixel spacing"))?;
    let alike = |frame: &Frame| {
        facts(frame).is_some_and(|(other, spacing)| {
            other.iter().zip(&orientation).all(|(a, b)| (a - b).abs() <= ALIKE)
                && spacing.iter().zip(&spacing_mm).all(|(a, b)| (a - b).abs() <= ALIKE * b)
        })
    };
    if !frames.iter().all(alike) {
        return Err(geometry("frames of several orientations or spacings"));
    }
    let [a, b, c, d, e, f] = orientation;
    let unit = |v: [f64; 3]| v.map(|x| x / norm(v));
    let (row, column) = (unit([a, b, c]), unit([d, e, f]));
    let normal = unit(cross(row, column));
    // The condition is written so that NaN is refused too.
    if !(dot(row, column).abs() < 1e-3 && spacing_mm.iter().all(|&length| length > 0.0)) {
        return Err(geometry("axes that span no plane"));
    }
    Ok(Plane { row, column, spacing_mm, normal })
}

fn geometry(found: &str) -> Reject {
    let message = format!("frames in parallel planes of the patient expected, {found} found");
    Reject::new("BAD_GEOMETRY", message, "only segmentations of volumes are read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Real;

    fn frames(along: &[f64], gap: Option<f64>) -> Vec<Frame> {
        let frame = |&z: &f64| Frame {
            position_mm: Some([1.0, 2.0, z].map(Real::new)),
            orientation: Some([1.0, 0.0, 0.0, 0.0, 1.0, 0.0].map(Real::new)),
            spacing_mm: Some([0.5, 0.25].map(Real::new)),
            gap_mm: gap.map(Real::new),
            ..Frame::default()
        };
        along.iter().map(frame).collect()
    }

    fn slices(along: &[f64], gap: Option<f64>) -> Result<(usize, Vec<usize>), String> {
        let placed = place(&frames(along, gap), [4, 4], false).map_err(|reject| reject.code)?;
        Ok((placed.geometry.size[0], placed.slices))
    }

    #[test]
    fn frames_in_any_order_with_some_left_out() {
        assert_eq!(slices(&[6.0, 0.0, 2.0, 0.0], None), Ok((4, vec![3, 0, 1, 0])));
        assert_eq!(slices(&[5.0, 0.0], Some(2.5)), Ok((3, vec![2, 0])));
        assert_eq!(slices(&[5.0, 0.0], None), Ok((2, vec![1, 0])));
        assert_eq!(slices(&[0.0, 4.0, 10.0], None), Ok((6, vec![0, 2, 5])));
        assert_eq!(slices(&[7.0], Some(2.5)), Ok((1, vec![0])));
        // A declared gap that fits nothing is not believed.
        assert_eq!(slices(&[0.0, 2.0, 4.0], Some(3.0)), Ok((3, vec![0, 1, 2])));
    }

    #[test]
    fn frames_are_as_thick_as_they_say() {
        let sparse = |along: &[f64], gap, thickness: f64, sourced| {
            let mut frames = frames(along, gap);
            frames.iter_mut().for_each(|frame| frame.thickness_mm = Some(Real::new(thickness)));
            let placed = place(&frames, [4, 4], sourced).unwrap();
            (placed.geometry.size[0], placed.thin, placed.anew)
        };
        assert_eq!(sparse(&[1.0, 4.0, 7.0], None, 1.0, false), (7, false, true));
        assert_eq!(sparse(&[1.0, 4.0, 7.0], None, 1.0, true), (7, true, true));
        // The declared distance goes first.
        assert_eq!(sparse(&[1.0, 4.0, 7.0], Some(3.0), 1.0, true), (3, false, false));
        // Slices that touch are as thick as that; others overlap, or leave gaps narrower than they are thick.
        assert_eq!(sparse(&[1.0, 4.0, 7.0], None, 3.0, true), (3, false, false));
        for thickness in [5.0, 6.0, 2.5] {
            assert_eq!(sparse(&[1.0, 4.0, 7.0], None, thickness, false), (3, false, false), "{thickness}");
            assert_eq!(sparse(&[1.0, 4.0, 7.0], None, thickness, true), (3, true, true), "{thickness}");
        }
        // One frame of overlapping slices covers no neighbour.
        assert_eq!(sparse(&[1.0], None, 5.0, true), (1, true, true));
        assert_eq!(sparse(&[1.0], None, 5.0, false), (1, false, false));
        assert_eq!(sparse(&[1.0], Some(5.0), 5.0, true), (1, false, false));
        // There is a gap of 3 mm between slices of 2.5 mm, of which five and seven were left out.
        assert_eq!(sparse(&[0.0, 15.0, 36.0], None, 2.5, false), (13, true, true));
    }

    #[test]
    fn uneven_and_endless_stacks_are_refused() {
        assert_eq!(slices(&[0.0, 2.0, 4.3], None), Err("VARIABLE_SPACING".to_owned()));
        assert_eq!(slices(&[0.0, 1.0, 1e9], None), Err("IMPLAUSIBLE_SIZE".to_owned()));
        assert_eq!(slices(&[], None), Err("BAD_GEOMETRY".to_owned()));
    }
}
