//! The thickness of frames: what the file says of it, and how far apart they lie when it says nothing.

use crate::Reject;

/// The distance along the normal below which positions are one slice.
pub(super) const ONE_SLICE_MM: f64 = 1e-3;
/// The most that a slice may lie from its place: a share of the gap, beside what rounded decimals leave.
pub(super) const JITTER: f64 = 0.01;
pub(super) const ROUNDED_MM: f64 = 0.01;

/// The number of slices that no grid has, whatever was left out.
const MAX_SLICES: f64 = 65_536.0;
/// The ratio of distance to thickness from which on frames have others between them, which were left out.
const APART: f64 = 1.5;
/// The most that a gap may be off the thickness that it is taken for, as a share of it.
const SAME: f64 = 0.02;
/// The greatest number of parts of the smallest distance found of which one may be the gap.
const PARTS: u32 = 4;
const MORE_PARTS: u32 = 32;
/// The gap below which, by trial, everything is near a multiple of it.
const LEAST_BY_TRIAL_MM: f64 = 0.4;

/// The slices from the first frame to the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stride {
    /// The number of gaps between them.
    pub(super) count: usize,
    /// Whether a frame is no thicker than a slice of what it is drawn on.
    pub(super) thin: bool,
    /// Whether frames were once taken to be as thick as their distance, and are not any more.
    pub(super) anew: bool,
}

/// The stride of frames at these offsets from the first one, so that every frame is a whole number of slices away.
///
/// A gap is what the file declares when that fits, else the thickness, else the smallest distance found, or a part
/// of it: frames without any voxel may have been left out everywhere.
pub(super) fn stride(
    offsets: &[f64],
    declared: Option<f64>,
    thickness: Option<f64>,
    sourced: bool,
) -> Result<Stride, Reject> {
    let Some(&extent) = offsets.last().filter(|&&extent| extent > 0.0) else {
        let thin = sourced && declared.is_none();
        return Ok(Stride { count: 0, thin, anew: thin });
    };
    let smallest = offsets.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    let fits = |gap: f64| fits(offsets, extent, smallest, gap);
    let parts = |from: u32, to: u32| (from..=to).map(|part| smallest / f64::from(part));
    let by_declared = declared.filter(|&gap| gap > ONE_SLICE_MM).and_then(fits);
    let by_parts = parts(1, PARTS).find_map(fits);
    let by_thickness = || {
        let thickness = thickness?;
        let same = |&count: &f64| (extent / count - thickness).abs() <= SAME * thickness;
        fits(thickness).filter(same).filter(|&count| count < MAX_SLICES)
    };
    let more = || parts(PARTS + 1, MORE_PARTS).filter(|&gap| gap > LEAST_BY_TRIAL_MM).find_map(fits);
    let (count, thin) = if let Some(count) = by_declared {
        (Some(count), false)
    } else if let Some(count) = by_thickness() {
        (Some(count), sourced && count > offsets.len() as f64 - 1.0)
    } else {
        let count = by_parts.or_else(more);
        let holes = count.is_some_and(|count| count > offsets.len() as f64 - 1.0);
        (count, holes || sourced || thickness.is_none_or(|thickness| smallest >= APART * thickness))
    };
    let Some(count) = count else {
        let message = format!("slices at even distances expected, {} at uneven ones found", offsets.len());
        return Err(Reject::new("VARIABLE_SPACING", message, "draw the segments on an even grid"));
    };
    if count >= MAX_SLICES {
        let message = format!("{count} slices between the first frame and the last");
        return Err(Reject::new("IMPLAUSIBLE_SIZE", message, "a frame's position is damaged"));
    }
    let anew = thin || by_declared.or(by_parts) != Some(count);
    Ok(Stride { count: count as usize, thin, anew })
}

/// The number of gaps of about this length, if every frame lies at one.
fn fits(offsets: &[f64], extent: f64, smallest: f64, gap: f64) -> Option<f64> {
    let count = (extent / gap).round();
    let gap = extent / count;
    let near = |offset: &f64| {
        let away = (offset / gap - (offset / gap).round()).abs() * gap;
        away <= JITTER * gap + ROUNDED_MM
    };
    // A gap may not be so small that everything is near a multiple of it.
    let sound = count >= 1.0 && gap > 4.0 * ROUNDED_MM && smallest > 0.5 * gap;
    (sound && offsets.iter().all(near)).then_some(count)
}
