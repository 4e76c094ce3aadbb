//! The grid on which frames lie, from their positions: slices may be left out and come in any order.

use crate::dicom::Frame;
use crate::geometry::{cross, dot, norm};
use crate::{Geometry, Reject};

/// How far cosines of orientations may differ, and spacings relative to one another.
const ALIKE: f64 = 1e-4;
/// Positions nearer than this along the normal are one slice.
const ONE_SLICE_MM: f64 = 1e-3;
/// How far a slice may lie from its place: a share of the gap, and what rounded decimals leave.
const JITTER: f64 = 0.01;
const ROUNDED_MM: f64 = 0.01;
/// How far across, in pixels.
const ACROSS: f64 = 0.1;
/// No grid has this many slices, whatever was left out.
const MAX_SLICES: f64 = 65_536.0;

/// A grid, and each frame's slice on it.
pub(super) struct Placed {
    pub(super) geometry: Geometry,
    pub(super) slices: Vec<usize>,
}

/// What all frames have in common.
struct Plane {
    row: [f64; 3],
    column: [f64; 3],
    spacing_mm: [f64; 2],
    normal: [f64; 3],
}

/// Places frames of `size` (rows, columns).
pub(super) fn place(frames: &[Frame], size: [usize; 2]) -> Result<Placed, Reject> {
    let plane = plane(frames)?;
    let positions: Option<Vec<[f64; 3]>> =
        frames.iter().map(|frame| frame.position_mm.map(|p| p.map(|x| x.0))).collect();
    let positions = positions.ok_or_else(|| geometry("a frame without its position"))?;
    let along: Vec<f64> = positions.iter().map(|&p| dot(plane.normal, p)).collect();
    let mut order: Vec<usize> = (0..frames.len()).collect();
    order.sort_by(|&a, &b| along[a].total_cmp(&along[b]));
    // One frame for each slice, from the lowest up.
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
    let offsets: Vec<f64> = distinct.iter().map(|&index| along[index] - along[first]).collect();
    let count = gaps(&offsets, declared)?;
    let step = if count == 0 {
        let thickness = frames.iter().find_map(|frame| frame.thickness_mm).map(|thickness| thickness.0);
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
    Ok(Placed { geometry, slices })
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
    // Written so that NaN is refused too.
    if !(dot(row, column).abs() < 1e-3 && spacing_mm.iter().all(|&length| length > 0.0)) {
        return Err(geometry("axes that span no plane"));
    }
    Ok(Plane { row, column, spacing_mm, normal })
}

/// How many gaps lie between the first and the last slice, so that every slice is a whole number of
/// them away; a gap is what the file declares when that fits, else the smallest found, or a part of it.
fn gaps(offsets: &[f64], declared: Option<f64>) -> Result<usize, Reject> {
    let Some(&extent) = offsets.last().filter(|&&extent| extent > 0.0) else { return Ok(0) };
    let smallest = offsets.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    let parts = (1..=4).map(|part| smallest / f64::from(part));
    let candidates = declared.filter(|&gap| gap > ONE_SLICE_MM).into_iter().chain(parts);
    let fits = |gap: f64| {
        let count = (extent / gap).round();
        let gap = extent / count;
        let near = |offset: &f64| {
            let away = (offset / gap - (offset / gap).round()).abs() * gap;
            away <= JITTER * gap + ROUNDED_MM
        };
        // A gap may not be so small that everything is near a multiple of it.
        let sound = count >= 1.0 && gap > 4.0 * ROUNDED_MM && smallest > 0.5 * gap;
        (sound && offsets.iter().all(near)).then_some(count)
    };
    let Some(count) = candidates.into_iter().find_map(fits) else {
        let message = format!("slices at even distances expected, {} at uneven ones found", offsets.len());
        return Err(Reject::new("VARIABLE_SPACING", message, "draw the segments on an even grid"));
    };
    if count >= MAX_SLICES {
        let message = format!("{count} slices between the first frame and the last");
        return Err(Reject::new("IMPLAUSIBLE_SIZE", message, "a frame's position is damaged"));
    }
    Ok(count as usize)
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
        let placed = place(&frames(along, gap), [4, 4]).map_err(|reject| reject.code)?;
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
    fn uneven_and_endless_stacks_are_refused() {
        assert_eq!(slices(&[0.0, 2.0, 4.3], None), Err("VARIABLE_SPACING".to_owned()));
        assert_eq!(slices(&[0.0, 1.0, 1e9], None), Err("IMPLAUSIBLE_SIZE".to_owned()));
        assert_eq!(slices(&[], None), Err("BAD_GEOMETRY".to_owned()));
    }
}
