//! The place of voxels: three ways to say it in a NIfTI header, and how ours is said.

use super::header::Header;
use crate::geometry::{cross, dot, norm};
use crate::imagefile::{bad_header, grid};
use crate::{Geometry, Reject};

/// The cosine below which axes are at right angles: a rotation says where they point.
const RIGHT_ANGLE: f64 = 1e-4;
/// The distance in voxels up to which two forms place a corner alike.
const AGREE: f64 = 0.1;

/// Turns right, anterior to left, posterior, and back.
pub(super) fn turned([x, y, z]: [f64; 3]) -> [f64; 3] {
    [-x, -y, z]
}

/// The steps along i, j and k, and the origin, in the file's own axes and unit.
type Form = ([[f64; 3]; 3], [f64; 3]);

impl Header {
    /// The notes on what is worth knowing of how the header places the grid.
    pub(super) fn notes(&self, geometry: &Geometry) -> Vec<String> {
        let [depth, rows, columns] = geometry.size.map(|n| n as u64);
        disagreement(self, [columns, rows, depth]).into_iter().chain(unplaced(self)).collect()
    }

    /// The grid, by sform, else qform, else spacings alone.
    pub(super) fn geometry(&self) -> Result<Geometry, Reject> {
        geometry(self, self.size()?)
    }
}

fn geometry(header: &Header, size: [u64; 3]) -> Result<Geometry, Reject> {
    let to_mm = to_mm(header)?;
    let (steps, origin) = sform(header).or_else(|| qform(header, size)).unwrap_or_else(|| {
        let [i, j, k] = spacing(header, size);
        ([[i, 0.0, 0.0], [0.0, j, 0.0], [0.0, 0.0, k]], [0.0; 3])
    });
    let to_lps = |vector: [f64; 3]| turned(vector.map(|x| x * to_mm));
    grid(size, steps.map(to_lps), to_lps(origin))
}

fn to_mm(header: &Header) -> Result<f64, Reject> {
    match header.units & 7 {
        0 | 2 => Ok(1.0),
        1 => Ok(1e3),
        3 => Ok(1e-3),
        other => Err(bad_header(format!("metres, millimetres or microns expected, unit {other} found"))),
    }
}

fn sform(header: &Header) -> Option<Form> {
    let column = |column: usize| header.rows.map(|row| row[column]);
    (header.sform_code > 0).then(|| ([column(0), column(1), column(2)], column(3)))
}

fn qform(header: &Header, size: [u64; 3]) -> Option<Form> {
    let [b, c, d, origin @ ..] = header.quaternion;
    let spacing = spacing(header, size);
    let handed = if header.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
    let [i, j, k] = rotation([b, c, d]);
    let scaled = |axis: [f64; 3], length: f64| axis.map(|x| x * length);
    let steps = [scaled(i, spacing[0]), scaled(j, spacing[1]), scaled(k, spacing[2] * handed)];
    (header.qform_code > 0).then_some((steps, origin))
}

/// A note on a header that says how far voxels lie apart, and not where: programs take its axes for different ones.
fn unplaced(header: &Header) -> Option<String> {
    let none = header.sform_code <= 0 && header.qform_code <= 0;
    none.then(|| {
        "NO_FORM: sform and qform say nothing, axes are taken for right, anterior and superior".to_owned()
    })
}

/// A note on two forms that place a corner of the grid at different points: programs go by the one or the other.
fn disagreement(header: &Header, size: [u64; 3]) -> Option<String> {
    let ((s, s_origin), (q, q_origin)) = (sform(header)?, qform(header, size)?);
    let apart = |corner: usize| {
        let index = [0, 1, 2].map(|axis| if corner >> axis & 1 == 1 { (size[axis] - 1) as f64 } else { 0.0 });
        let along = |i: usize| (0..3).map(|axis| (s[axis][i] - q[axis][i]) * index[axis]).sum::<f64>();
        norm([0, 1, 2].map(|i| s_origin[i] - q_origin[i] + along(i)))
    };
    let apart = (0..8).map(apart).fold(0.0, f64::max);
    let pixel = s.iter().map(|&step| norm(step)).fold(f64::INFINITY, f64::min);
    // The condition is written so that a NaN is told as well.
    let agree = apart <= AGREE * pixel;
    let to_mm = to_mm(header).unwrap_or(1.0);
    let mm = apart * to_mm;
    (!agree).then(|| format!("FORMS_DISAGREE: sform and qform lie up to {mm:.1} mm apart, sform is taken"))
}

/// The spacings along i, j, k; one for an axis of one voxel that has none.
fn spacing(header: &Header, size: [u64; 3]) -> [f64; 3] {
    let [_, i, j, k, ..] = header.pixdim;
    let mut spacing = [i, j, k].map(f64::abs);
    for (spacing, size) in spacing.iter_mut().zip(size) {
        if size == 1 && *spacing == 0.0 {
            *spacing = 1.0;
        }
    }
    spacing
}

/// The axes that a unit quaternion turns to, whose first number is left out in files.
fn rotation([b, c, d]: [f64; 3]) -> [[f64; 3]; 3] {
    let rest = 1.0 - (b * b + c * c + d * d);
    let [a, b, c, d] = if rest < 1e-7 {
        let length = norm([b, c, d]).max(f64::MIN_POSITIVE);
        [0.0, b / length, c / length, d / length]
    } else {
        [rest.sqrt(), b, c, d]
    };
    [
        [a * a + b * b - c * c - d * d, 2.0 * (b * c + a * d), 2.0 * (b * d - a * c)],
        [2.0 * (b * c - a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d + a * b)],
        [2.0 * (b * d + a * c), 2.0 * (c * d - a * b), a * a + d * d - c * c - b * b],
    ]
}

/// A pose as a quaternion (b, c, d, and the sign of the third axis), and its origin.
pub(super) struct Turn {
    pub(super) quaternion: [f64; 3],
    pub(super) handed: f64,
    /// The place of the first voxel when the grid's middle stays where it is.
    pub(super) origin: [f64; 3],
}

/// The turn to axes i, j, k, which go to these places from the first of `size` voxels to the next; of sheared axes
/// the one that keeps the first, the plane of the first two, and the middle of the grid.
///
/// A form of this kind holds no shear, and there are programs that read no other.
pub(super) fn turn(axes: [[f64; 3]; 3], origin: [f64; 3], size: [usize; 3]) -> Turn {
    let unit = |v: [f64; 3]| v.map(|x| x / norm(v).max(f64::MIN_POSITIVE));
    let [i, j, k] = axes.map(unit);
    // The rest of a shear must not enter a rotation.
    let along = dot(i, j);
    let j = unit([0, 1, 2].map(|axis| j[axis] - along * i[axis]));
    let third = cross(i, j);
    let handed = if dot(third, k) < 0.0 { -1.0 } else { 1.0 };
    let right = [i, j, third.map(|x| x * handed)];
    let middle = |axis: usize| (size[axis].max(1) - 1) as f64 / 2.0;
    let moved = |at: usize| {
        let of = |axis: usize| (axes[axis][at] - right[axis][at] * norm(axes[axis])) * middle(axis);
        (0..3).map(of).sum::<f64>()
    };
    let sheared = (0..3)
        .any(|axis| norm([0, 1, 2].map(|at| [i, j, k][axis][at] - right[axis][at])) > RIGHT_ANGLE)
        || along.abs() > RIGHT_ANGLE;
    let origin = if sheared { [0, 1, 2].map(|at| origin[at] + moved(at)) } else { origin };
    let [x, y, z] = [0, 1, 2].map(|row| [i[row], j[row], third[row]]);
    Turn { quaternion: quaternion([x, y, z]), handed, origin }
}

/// The numbers b, c, d of a rotation given by rows, with a not negative; by the largest of the four, for
/// precision.
fn quaternion([x, y, z]: [[f64; 3]; 3]) -> [f64; 3] {
    let squares = [
        1.0 + x[0] + y[1] + z[2],
        1.0 + x[0] - y[1] - z[2],
        1.0 - x[0] + y[1] - z[2],
        1.0 - x[0] - y[1] + z[2],
    ];
    let largest = (0..4).fold(0, |best, index| if squares[index] > squares[best] { index } else { best });
    let length = squares[largest].max(0.0).sqrt() / 2.0;
    let quarter = 0.25 / length.max(f64::MIN_POSITIVE);
    let [a, b, c, d] = match largest {
        0 => [length, (z[1] - y[2]) * quarter, (x[2] - z[0]) * quarter, (y[0] - x[1]) * quarter],
        1 => [(z[1] - y[2]) * quarter, length, (x[1] + y[0]) * quarter, (x[2] + z[0]) * quarter],
        2 => [(x[2] - z[0]) * quarter, (x[1] + y[0]) * quarter, length, (y[2] + z[1]) * quarter],
        _ => [(y[0] - x[1]) * quarter, (x[2] + z[0]) * quarter, (y[2] + z[1]) * quarter, length],
    };
    let sign = if a < 0.0 { -1.0 } else { 1.0 };
    [b * sign, c * sign, d * sign]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quarter_turn_about_the_third_axis() {
        let half = 0.5f64.sqrt();
        let [i, j, k] = rotation([0.0, 0.0, half]);
        let near = |a: [f64; 3], b: [f64; 3]| (0..3).all(|axis| (a[axis] - b[axis]).abs() < 1e-12);
        assert!(near(i, [0.0, 1.0, 0.0]) && near(j, [-1.0, 0.0, 0.0]) && near(k, [0.0, 0.0, 1.0]));
    }

    proptest! {
        #[test]
        fn a_turn_comes_back(b in -1.0f64..1.0, c in -1.0f64..1.0, d in -1.0f64..1.0, flip in any::<bool>()) {
            let length = norm([b, c, d]).max(1.0);
            let [i, j, k] = rotation([b / length, c / length, d / length]);
            let sign = if flip { -1.0 } else { 1.0 };
            let found = turn([i, j, k.map(|x| x * sign)], [1.0, 2.0, 3.0], [4, 5, 6]);
            prop_assert_eq!(found.origin, [1.0, 2.0, 3.0]);
            prop_assert_eq!(found.handed, sign);
            let again = rotation(found.quaternion);
            for (a, b) in [i, j, k].iter().flatten().zip(again.iter().flatten()) {
                prop_assert!((a - b).abs() < 1e-6);
            }
        }
    }
}
