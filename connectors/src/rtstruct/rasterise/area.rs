//! Areas of polygons, in pixels, and of their parts within a slice.

/// The area that a polygon bounds; bridges to holes take them away.
pub(super) fn of(corners: &[[f64; 2]]) -> f64 {
    let next = corners.iter().skip(1).chain(corners.first());
    // Areas are taken around the first corner, so that far places lose no digits.
    let [y, x] = corners.first().copied().unwrap_or_default();
    let twice: f64 =
        corners.iter().zip(next).map(|(a, b)| (a[0] - y) * (b[1] - x) - (b[0] - y) * (a[1] - x)).sum();
    twice.abs() / 2.0
}

/// The area of a polygon's part on a slice of these rows and columns.
pub(super) fn within(corners: &[[f64; 2]], size: [usize; 2]) -> f64 {
    let mut polygon = corners.to_vec();
    for (axis, count) in size.into_iter().enumerate() {
        polygon = cut(&polygon, axis, |x| x + 0.5);
        polygon = cut(&polygon, axis, |x| count as f64 - 0.5 - x);
    }
    of(&polygon)
}

/// The part of a polygon on which `depth` of a coordinate is not negative (Sutherland and Hodgman).
fn cut(corners: &[[f64; 2]], axis: usize, depth: impl Fn(f64) -> f64) -> Vec<[f64; 2]> {
    let mut kept = Vec::with_capacity(corners.len());
    let next = corners.iter().skip(1).chain(corners.first());
    for (a, b) in corners.iter().zip(next) {
        let (from, to) = (depth(a[axis]), depth(b[axis]));
        if from >= 0.0 {
            kept.push(*a);
        }
        if (from >= 0.0) != (to >= 0.0) {
            let share = from / (from - to);
            kept.push([0, 1].map(|i| a[i] + (b[i] - a[i]) * share));
        }
    }
    kept
}

/// The share of an area that does not lie within, from 0 to 1.
pub(super) fn beyond(whole: f64, within: f64) -> f64 {
    match whole.is_finite() {
        true if whole > 0.0 => (1.0 - within / whole).clamp(0.0, 1.0),
        true => 0.0,
        false => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_polygon_is_cut_at_the_borders_of_pixels() {
        let triangle = [[-0.5, -0.5], [3.5, -0.5], [-0.5, 3.5]];
        assert_eq!((of(&triangle), within(&triangle, [4, 4])), (8.0, 8.0));
        assert_eq!(within(&triangle, [2, 4]), 6.0);
        assert_eq!(within(&triangle, [0, 4]), 0.0);
        assert_eq!(of(&[]), 0.0);
        assert_eq!([beyond(0.0, 0.0), beyond(8.0, 6.0), beyond(f64::INFINITY, 1.0)], [0.0, 0.25, 1.0]);
    }
}
