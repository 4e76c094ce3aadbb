//! Target grids by convention, and the tables of neighbours and weights that resampling reads.

use tomoflow_connectors::geometry::{cross, dot, norm};
use tomoflow_connectors::{Geometry, Reject};

/// The cosine between two axes up to which a grid counts as one with right angles.
pub const RIGHT_ANGLE: f64 = 0.01;
/// The most voxels that an operator makes; 16 GiB of intensities.
const MOST_VOXELS: f64 = 4_294_967_296.0;
/// Lengths are ratios of measured spacings: what lies this near to a half or a whole number is one.
const SNAP: f64 = 1e-6;
/// A ratio of spacings over which nnU-Net resamples the coarse axis apart from the plane.
const SEPARATE_OVER: f64 = 3.0;

/// The program whose output length and sampling positions a resampling follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Convention {
    /// First voxel centres coincide; `round((n − 1)·old/new + 1)` voxels.
    Monai,
    /// Extents coincide, so the spacing is nearly the one asked for; `round(n·old/new)` voxels.
    Nnunet,
    /// Extents begin together; `ceil(n·old/new)` voxels.
    Torchio,
}

/// How a value between voxels is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// A cubic B-spline through the voxels.
    Cubic,
    /// A sinc within three lobes on each side.
    Lanczos,
    /// A value between the two neighbours along each axis.
    Linear,
    /// The nearest voxel's own; halfway, the later one's.
    Nearest,
}

/// Along one axis: how many voxels there will be, and where each lies among the old ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Voxels before.
    pub old: usize,
    /// Voxels after.
    pub new: usize,
    /// The position of new voxel 0, in old voxels.
    pub start: f64,
    /// Old voxels from one new voxel to the next.
    pub step: f64,
}

impl Sampling {
    /// The sampling of `n` voxels of `old_mm` at `new_mm`.
    pub fn new(convention: Convention, n: usize, old_mm: f64, new_mm: f64) -> Self {
        let (count, ratio) = (n as f64, old_mm / new_mm);
        let (new, start, step) = match convention {
            Convention::Monai => (length(((count - 1.0) * ratio) + 1.0), 0.0, new_mm / old_mm),
            Convention::Nnunet => {
                let new = length(ratio * count);
                let step = count / new as f64;
                (new, 0.5 * step - 0.5, step)
            }
            // A single slice stays as it is: cut thinner it would no longer cover itself.
            Convention::Torchio if n == 1 => (1, 0.0, 1.0),
            Convention::Torchio => {
                let step = new_mm / old_mm;
                (((count * ratio - SNAP).ceil() as usize).max(1), 0.5 * step - 0.5, step)
            }
        };
        Self { old: n, new, start, step }
    }

    /// Whether nothing changes.
    pub fn is_identity(&self) -> bool {
        self.old == self.new && self.start.abs() < SNAP && (self.step - 1.0).abs() * (self.new as f64) < SNAP
    }

    /// The position of a new voxel among the old ones, kept within them.
    fn position(&self, index: usize) -> f64 {
        (self.start + self.step * index as f64).clamp(0.0, self.old as f64 - 1.0)
    }
}

/// Rounds half to even, at least 1.
fn length(exact: f64) -> usize {
    let halves = (exact * 2.0).round() / 2.0;
    let snapped = if (exact - halves).abs() < SNAP { halves } else { exact };
    (snapped.round_ties_even() as usize).max(1)
}

/// The two old voxels that a new one is made from, and the share of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tap {
    /// The first voxel.
    pub low: u32,
    /// The second voxel; the first again where its share is 0.
    pub high: u32,
    /// The share of the second, 0 to 1 (1 excluded).
    pub weight: f32,
}

/// The nearest old voxel for each new one; halfway, the later one.
pub fn nearest(sampling: &Sampling) -> Vec<Tap> {
    let tap = |index| {
        let nearest = ((sampling.position(index) + 0.5).floor() as usize).min(sampling.old - 1) as u32;
        Tap { low: nearest, high: nearest, weight: 0.0 }
    };
    (0..sampling.new).map(tap).collect()
}

/// The two neighbours of each new voxel.
pub fn linear(sampling: &Sampling) -> Vec<Tap> {
    let tap = |index| {
        let position = sampling.position(index);
        let low = position.floor();
        let weight = (position - low) as f32;
        let last = sampling.old - 1;
        // What is all but a voxel is that voxel: nothing of its neighbour gets in.
        if weight >= 1.0 - SNAP as f32 {
            let next = (low as usize + 1).min(last) as u32;
            Tap { low: next, high: next, weight: 0.0 }
        } else if weight <= SNAP as f32 {
            Tap { low: low as u32, high: low as u32, weight: 0.0 }
        } else {
            Tap { low: low as u32, high: (low as usize + 1).min(last) as u32, weight }
        }
    };
    (0..sampling.new).map(tap).collect()
}

/// The axis that nnU-Net resamples apart and by the nearest slice: the coarsest one, when it is more than
/// three times the finest, before or else after, and no other is as coarse.
pub fn separate_axis(old_mm: [f64; 3], new_mm: [f64; 3]) -> Option<usize> {
    let coarse = |spacing: [f64; 3]| {
        let most = spacing.into_iter().fold(f64::MIN, f64::max);
        let least = spacing.into_iter().fold(f64::MAX, f64::min);
        (most / least > SEPARATE_OVER).then_some((spacing, most))
    };
    let (spacing, most) = coarse(old_mm).or_else(|| coarse(new_mm))?;
    let ties = |value: f64| (most / value - 1.0).abs() < SNAP;
    let axis = spacing.iter().position(|&value| ties(value))?;
    (spacing.iter().filter(|&&value| ties(value)).count() == 1).then_some(axis)
}

/// The grid that the samplings give, along the axes of the old one, oblique and sheared ones too.
pub fn resampled(geometry: &Geometry, samplings: &[Sampling; 3]) -> Geometry {
    let mut grid = geometry.clone();
    for (axis, sampling) in samplings.iter().enumerate() {
        let step = geometry.steps_mm[axis];
        grid.size[axis] = sampling.new;
        grid.steps_mm[axis] = step.map(|mm| mm * sampling.step);
        for (origin, mm) in grid.origin_mm.iter_mut().zip(step) {
            *origin += mm * sampling.start;
        }
    }
    grid
}

/// Refuses a grid without voxels, or whose axes have no length or do not span space.
///
/// # Errors
/// `BAD_GRID`.
pub fn check(geometry: &Geometry) -> Result<(), Reject> {
    let [a, b, c] = geometry.steps_mm;
    let spacing = geometry.spacing_mm();
    let spanned = dot(a, cross(b, c)).abs() > 1e-9 * spacing.iter().product::<f64>();
    let placed = geometry.origin_mm.iter().all(|mm| mm.is_finite());
    if geometry.size.contains(&0) {
        return Err(bad(format!("at least one voxel along each axis expected, {:?} found", geometry.size)));
    }
    if !placed || !spacing.iter().all(|mm| mm.is_finite() && *mm > 0.0) || !spanned {
        return Err(bad(format!(
            "three positive spacings along axes that span space expected, {spacing:?} mm found"
        )));
    }
    Ok(())
}

/// The largest cosine between two axes: 0 where all angles are right, more on a tilted gantry's grid.
pub fn largest_cosine(geometry: &Geometry) -> f64 {
    let [a, b, c] = geometry.steps_mm;
    let cosine = |a, b| (dot(a, b) / (norm(a) * norm(b))).abs();
    cosine(a, b).max(cosine(a, c)).max(cosine(b, c))
}

fn bad(message: String) -> Reject {
    Reject::new("BAD_GRID", message, "the positions or the orientation in the header may be damaged")
}

/// Refuses a target that no machine should be asked to hold.
///
/// # Errors
/// `TOO_LARGE`.
pub fn check_voxels(size: [usize; 3]) -> Result<(), Reject> {
    let voxels: f64 = size.iter().map(|&n| n as f64).product();
    if voxels > MOST_VOXELS {
        return Err(Reject::new(
            "TOO_LARGE",
            format!("at most {MOST_VOXELS} voxels expected, a grid of {size:?} asked for"),
            "a spacing may be very fine for the extent of this scan, or a size very large",
        ));
    }
    Ok(())
}

/// A length in nine digits: what lies beyond is the noise of positions.
pub fn nine_digits(value: f64) -> f64 {
    format!("{value:.8e}").parse().unwrap_or(value)
}

/// Refuses two volumes of one case that do not share a size.
///
/// # Errors
/// `GRID_MISMATCH`.
pub fn check_same_size(what: &str, expected: [usize; 3], found: [usize; 3]) -> Result<(), Reject> {
    if expected == found {
        return Ok(());
    }
    Err(Reject::new(
        "GRID_MISMATCH",
        format!("{what} of {expected:?} voxels expected, {found:?} found"),
        "both must lie on one grid",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(n: usize, old: f64, new: f64) -> [usize; 3] {
        [Convention::Monai, Convention::Nnunet, Convention::Torchio]
            .map(|convention| Sampling::new(convention, n, old, new).new)
    }

    #[test]
    fn lengths_are_those_of_the_peers() {
        assert_eq!(lengths(10, 5.0, 1.0), [46, 50, 50]);
        assert_eq!(lengths(512, 0.4, 1.0), [205, 205, 205]);
        // 4.5 and 5.5 voxels: to even.
        assert_eq!(lengths(9, 0.5, 1.0), [5, 4, 5]);
        assert_eq!(lengths(11, 0.5, 1.0), [6, 6, 6]);
        // Noise of a measured spacing makes no voxel.
        assert_eq!(lengths(3, 0.1, 0.1), [3, 3, 3]);
        assert_eq!(lengths(10, 0.1 + 1e-12, 0.1), [10, 10, 10]);
    }

    #[test]
    fn one_slice_and_coarse_targets_keep_a_voxel() {
        assert_eq!(lengths(1, 1.5, 100.0), [1, 1, 1]);
        assert_eq!(lengths(1, 5.0, 1.0), [1, 5, 1]);
    }

    #[test]
    fn taps_stay_within_the_axis() {
        let sampling = Sampling::new(Convention::Nnunet, 3, 2.0, 1.0);
        let linear = linear(&sampling);
        assert_eq!(linear[0], Tap { low: 0, high: 0, weight: 0.0 });
        assert_eq!(linear[1], Tap { low: 0, high: 1, weight: 0.25 });
        assert_eq!(linear[5], Tap { low: 2, high: 2, weight: 0.0 });
        let nearest: Vec<u32> = nearest(&sampling).iter().map(|tap| tap.low).collect();
        assert_eq!(nearest, [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn one_coarse_axis_is_taken_apart() {
        assert_eq!(separate_axis([1.5, 0.4, 0.4], [1.0; 3]), Some(0));
        assert_eq!(separate_axis([1.2, 0.4, 0.4], [1.0; 3]), None);
        assert_eq!(separate_axis([0.24, 1.25, 1.25], [1.0; 3]), None);
        assert_eq!(separate_axis([1.0; 3], [0.3, 1.0, 0.2]), Some(1));
    }

    #[test]
    fn broken_grids_are_named() {
        let mut geometry = Geometry::axis_aligned([2, 2, 2], [1.0; 3]);
        assert!(check(&geometry).is_ok());
        geometry.steps_mm[0] = geometry.steps_mm[1];
        assert_eq!(check(&geometry).unwrap_err().code, "BAD_GRID");
        for spacing in [0.0, f64::NAN, f64::INFINITY] {
            assert!(check(&Geometry::axis_aligned([2, 2, 2], [spacing, 1.0, 1.0])).is_err());
        }
        assert!(check(&Geometry::axis_aligned([0, 2, 2], [1.0; 3])).is_err());
    }

    #[test]
    fn a_grid_past_any_memory_is_refused() {
        let samplings = [Sampling::new(Convention::Nnunet, 1000, 5.0, 0.01); 3];
        assert_eq!(check_voxels(samplings.map(|sampling| sampling.new)).unwrap_err().code, "TOO_LARGE");
    }
}
