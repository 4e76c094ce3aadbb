//! The way from what headers say of axes to a grid.

use crate::geometry::{cross, dot, norm};
use crate::{Geometry, Reject};

/// The sine of the angle between axes below which a grid is flat.
const FLAT: f64 = 1e-6;
/// The number of voxels that no file exceeds; the product of sizes must not wrap.
const MAX_VOXELS: u64 = 1 << 48;

/// A grid of `size` along the file's axes i, j, k (the fastest first), each of which goes `steps_mm`
/// from voxel to voxel, in LPS.
///
/// An axis of one voxel may have no step: it then goes one millimetre along what the others leave.
pub(crate) fn grid(size: [u64; 3], steps_mm: [[f64; 3]; 3], origin_mm: [f64; 3]) -> Result<Geometry, Reject> {
    let voxels = size.iter().try_fold(1u64, |all, &n| all.checked_mul(n)).filter(|&n| n <= MAX_VOXELS);
    let fits = size.map(|n| usize::try_from(n).ok().filter(|&n| n > 0));
    let ([Some(i), Some(j), Some(k)], Some(_)) = (fits, voxels) else {
        let message = format!("a size of at least one voxel along each axis expected, {size:?} found");
        return Err(super::bad_header(message));
    };
    let mut steps = steps_mm;
    for axis in 0..3 {
        let [a, b, c] = [axis, (axis + 1) % 3, (axis + 2) % 3];
        let normal = cross(steps[b], steps[c]);
        if size[a] == 1 && norm(steps[a]) == 0.0 && norm(normal) > 0.0 {
            steps[a] = normal.map(|x| x / norm(normal));
        }
    }
    let [a, b, c] = steps;
    let volume = dot(a, cross(b, c)).abs();
    let finite = steps.iter().flatten().chain(&origin_mm).all(|x| x.is_finite());
    let spans = volume > FLAT * norm(a) * norm(b) * norm(c);
    if !finite || !spans {
        let message = format!("three axes that span space expected, steps of {steps:?} mm found");
        return Err(Reject::new("BAD_GEOMETRY", message, "spacing or orientation in the header is broken"));
    }
    let geometry = Geometry { size: [k, j, i], origin_mm, steps_mm: [c, b, a] };
    geometry.check()?;
    Ok(geometry)
}
