//! Distances between the surfaces of a mask and of the truth.

use super::bits::Bits;
use super::distance::distances_mm;
use super::packed::{Packed, SizeMismatch};

/// A distance that is above the tolerance by no more than this share of it is within: spacings are decimal
/// fractions, and three voxels of 0.1 mm are 0.30000000000000004 mm.
const ROUNDING: f64 = 1e-9;

/// How far each surface voxel of one mask lies from the surface of the other, in mm, both ways.
#[derive(Clone, Debug, PartialEq)]
pub struct SurfaceDistances {
    /// The distance from each surface voxel of the prediction to the reference; never empty.
    pub from_prediction_mm: Vec<f64>,
    /// The distance from each surface voxel of the reference to the prediction; never empty.
    pub from_reference_mm: Vec<f64>,
}

impl SurfaceDistances {
    /// The average symmetric surface distance: both ways pooled, Σ / (n₁ + n₂).
    pub fn assd_mm(&self) -> f64 {
        let sum = self.from_prediction_mm.iter().sum::<f64>() + self.from_reference_mm.iter().sum::<f64>();
        sum / self.voxels()
    }

    /// The average distance from the prediction's surface to the reference's.
    pub fn from_prediction_mean_mm(&self) -> f64 {
        mean(&self.from_prediction_mm)
    }

    /// The average distance from the reference's surface to the prediction's.
    pub fn from_reference_mean_mm(&self) -> f64 {
        mean(&self.from_reference_mm)
    }

    /// The Hausdorff distance: the largest of all.
    pub fn hausdorff_mm(&self) -> f64 {
        self.from_prediction_mm.iter().chain(&self.from_reference_mm).copied().fold(0.0, f64::max)
    }

    /// The 95 % Hausdorff distance: the larger of the two 95th percentiles, interpolated linearly (MONAI).
    pub fn hausdorff_95_mm(&self) -> f64 {
        let (a, b) = rayon::join(
            || percentile(&self.from_prediction_mm, 0.95),
            || percentile(&self.from_reference_mm, 0.95),
        );
        a.max(b)
    }

    /// The normalised surface Dice: the share of both surfaces, in voxels, that lies within a tolerance of the
    /// other, the tolerance included (MONAI).
    pub fn surface_dice(&self, tolerance_mm: f64) -> f64 {
        let most = tolerance_mm * (1.0 + ROUNDING);
        let both = self.from_prediction_mm.iter().chain(&self.from_reference_mm);
        both.filter(|mm| **mm <= most).count() as f64 / self.voxels()
    }

    fn voxels(&self) -> f64 {
        (self.from_prediction_mm.len() + self.from_reference_mm.len()) as f64
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Selects, and sorts nothing: surfaces have up to a million voxels.
fn percentile(values: &[f64], share: f64) -> f64 {
    // Distances are not negative, and such numbers are ordered as their bits are.
    let mut bits: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
    let place = share * bits.len().saturating_sub(1) as f64;
    if bits.is_empty() {
        return f64::NAN;
    }
    let (_, low, above) = bits.select_nth_unstable(place.floor() as usize);
    let low = f64::from_bits(*low);
    let high = above.iter().min().map_or(low, |bits| f64::from_bits(*bits));
    low + (high - low) * place.fract()
}

/// Why distances cannot be measured.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SurfaceError {
    /// The volumes and their size do not fit.
    #[error(transparent)]
    SizeMismatch(#[from] SizeMismatch),
    /// A length of 0, below 0, or none.
    #[error("a positive spacing expected, {0:?} mm found")]
    BadSpacing([f64; 3]),
}

impl Packed {
    /// Distances between the surfaces of a pair, by its place, on a grid with right angles; `None` when
    /// either mask is empty.
    ///
    /// A surface is the mask without its erosion by the six neighbours; outside the volume is background.
    /// Where voxels do not count ([`Packed::leaving_out`]), a mask that ends at them has no surface there; none where a mask
    /// has no other.
    ///
    /// # Errors
    /// [`SurfaceError::BadSpacing`] when a spacing is no length.
    pub fn surface_distances(
        &self,
        pair: usize,
        spacing_mm: [f64; 3],
    ) -> Result<Option<SurfaceDistances>, SurfaceError> {
        if !spacing_mm.iter().all(|mm| mm.is_finite() && *mm > 0.0) {
            return Err(SurfaceError::BadSpacing(spacing_mm));
        }
        let counts = self.counts(pair);
        if counts.predicted() == 0 || counts.reference() == 0 {
            return Ok(None);
        }
        let (prediction, reference) = match self.masks_beside_ignored(pair) {
            None => {
                let ([prediction, reference], _) = self.masks(pair);
                rayon::join(|| prediction.surface(), || reference.surface())
            }
            Some([prediction, reference, ignored]) => {
                let of = |mask: &Bits| mask.surface_beside(&ignored);
                let (prediction, reference) = rayon::join(|| of(&prediction), || of(&reference));
                // A mask that ends at voxels that do not count alone.
                if prediction.words().iter().all(|word| *word == 0)
                    || reference.words().iter().all(|word| *word == 0)
                {
                    return Ok(None);
                }
                (prediction, reference)
            }
        };
        Ok(Some(SurfaceDistances {
            from_prediction_mm: distances_mm(&prediction, &reference, spacing_mm),
            from_reference_mm: distances_mm(&reference, &prediction, spacing_mm),
        }))
    }
}

/// Distances between the surfaces of one label in the prediction and one in the reference (`pair`), as
/// [`Packed::surface_distances`] gives them.
///
/// # Errors
/// [`SurfaceError`] when sizes differ or a spacing is no length.
///
/// # Examples
/// ```
/// use tomoflow::metrics::surface_distances;
/// let (prediction, reference) = ([1, 0, 0], [0, 0, 1]);
/// let found = surface_distances(&prediction, &reference, (1, 1), [1, 1, 3], [1.0, 1.0, 0.5]).unwrap();
/// assert_eq!(found.unwrap().assd_mm(), 1.0);
/// ```
pub fn surface_distances(
    prediction: &[u16],
    reference: &[u16],
    pair: (u16, u16),
    size: [usize; 3],
    spacing_mm: [f64; 3],
) -> Result<Option<SurfaceDistances>, SurfaceError> {
    Packed::new(prediction, reference, size, &[pair])?.surface_distances(0, spacing_mm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(
        prediction: &[u16],
        reference: &[u16],
        size: [usize; 3],
        mm: [f64; 3],
    ) -> Option<SurfaceDistances> {
        surface_distances(prediction, reference, (1, 1), size, mm).unwrap()
    }

    fn assd(prediction: &[u16], reference: &[u16], size: [usize; 3], mm: [f64; 3]) -> Option<f64> {
        found(prediction, reference, size, mm).map(|distances| distances.assd_mm())
    }

    #[test]
    fn a_surface_is_what_erosion_takes() {
        // All but the voxel in the middle, which is 1 mm from the surface of itself alone.
        let middle: Vec<u16> = (0..27).map(|voxel| u16::from(voxel == 13)).collect();
        let distances = found(&[1; 27], &middle, [3, 3, 3], [1.0; 3]).unwrap();
        assert_eq!((distances.from_prediction_mm.len(), distances.from_reference_mm), (26, vec![1.0]));
        assert_eq!(found(&[1; 9], &[1; 9], [1, 3, 3], [1.0; 3]).unwrap().from_prediction_mm, [0.0; 9]);
    }

    #[test]
    fn both_ways_are_pooled() {
        // Prediction: voxel 0. Reference: voxels 0 and 3, so distances are 0 and then 0 and 3.
        assert_eq!(assd(&[1, 0, 0, 0], &[1, 0, 0, 1], [1, 1, 4], [1.0; 3]), Some(1.0));
        assert_eq!(assd(&[1, 0, 0, 0], &[1, 0, 0, 1], [4, 1, 1], [2.5, 1.0, 1.0]), Some(2.5));
        let distances = found(&[1, 0, 0, 0], &[1, 0, 0, 1], [1, 1, 4], [1.0; 3]).unwrap();
        assert_eq!((distances.from_prediction_mean_mm(), distances.from_reference_mean_mm()), (0.0, 1.5));
        assert_eq!((distances.hausdorff_mm(), distances.surface_dice(1.0)), (3.0, 2.0 / 3.0));
    }

    #[test]
    fn empty_full_and_single_masks() {
        assert_eq!(assd(&[0; 8], &[1; 8], [2, 2, 2], [1.0; 3]), None);
        assert_eq!(assd(&[0; 8], &[0; 8], [2, 2, 2], [1.0; 3]), None);
        assert_eq!(assd(&[1; 8], &[1; 8], [2, 2, 2], [1.0; 3]), Some(0.0));
        assert_eq!(assd(&[1], &[1], [1, 1, 1], [1.0; 3]), Some(0.0));
        assert_eq!(assd(&[], &[], [0, 1, 1], [1.0; 3]), None);
    }

    #[test]
    fn a_tolerance_is_inclusive_whatever_is_rounded() {
        // Three voxels of 0.1 mm.
        let distances = found(&[1, 0, 0, 0], &[0, 0, 0, 1], [1, 1, 4], [1.0, 1.0, 0.1]).unwrap();
        assert_eq!((distances.surface_dice(0.3), distances.surface_dice(0.29)), (1.0, 0.0));
        assert_eq!(found(&[1], &[1], [1, 1, 1], [1.0; 3]).unwrap().surface_dice(0.0), 1.0);
    }

    #[test]
    fn where_nobody_labelled_there_is_no_surface() {
        const NONE: u16 = u16::MAX;
        let of = |prediction: &[u16], reference: &[u16]| {
            let size = [1, 1, prediction.len()];
            let packed = Packed::leaving_out(prediction, reference, size, &[(1, 1)], NONE).unwrap();
            (packed.counts(0), packed.highest(), packed.surface_distances(0, [1.0; 3]).unwrap())
        };
        // A row has slices and rows at its border, so that all of its voxels are surface.
        let (counts, highest, found) = of(&[0, 1, 1, NONE, 0], &[0, 0, 1, NONE, 0]);
        assert_eq!((counts.tp, counts.fp, counts.fn_, highest), (1, 1, 0, [1, 1]));
        assert_eq!(found.unwrap().from_prediction_mm, [1.0, 0.0]);
        // Slabs of 5 x 5 x 7 voxels, of which columns 3 and 4 do not count: up to them in the truth, one less in the
        // prediction. But for them the truth's face at column 2 would be surface.
        let volume = |end: usize| -> Vec<u16> {
            let value = |at: usize| match at % 7 {
                3 | 4 => NONE,
                w if w <= end && w >= 1 => 1,
                _ => 0,
            };
            (0..5 * 5 * 7).map(value).collect()
        };
        let size = [5, 5, 7];
        let packed = Packed::leaving_out(&volume(1), &volume(2), size, &[(1, 1)], NONE).unwrap();
        let found = packed.surface_distances(0, [1.0; 3]).unwrap().unwrap();
        // Column 1 of the prediction has background on both sides; of the truth column 2 is surface at the border of the
        // volume alone, 16 of its 25 voxels, a voxel from the prediction's.
        assert_eq!(found.from_prediction_mm.len(), 25);
        let ones = found.from_reference_mm.iter().filter(|mm| **mm == 1.0).count();
        assert_eq!((found.from_reference_mm.len(), ones), (25 + 16, 16));
        // Nothing but voxels that do not count around it.
        let inside = |own: u16| -> Vec<u16> { (0..27).map(|at| if at == 13 { own } else { NONE }).collect() };
        let packed = Packed::leaving_out(&inside(1), &inside(1), [3; 3], &[(1, 1)], NONE).unwrap();
        assert_eq!((packed.counts(0).tp, packed.surface_distances(0, [1.0; 3]).unwrap()), (1, None));
    }

    #[test]
    fn bad_spacings_and_sizes_are_named() {
        for mm in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let found = surface_distances(&[1], &[1], (1, 1), [1, 1, 1], [mm, 1.0, 1.0]);
            assert!(matches!(found, Err(SurfaceError::BadSpacing(_))));
        }
        let found = surface_distances(&[1], &[1, 1], (1, 1), [1, 1, 1], [1.0; 3]);
        assert!(matches!(found, Err(SurfaceError::SizeMismatch(_))));
    }

    #[test]
    fn percentiles_are_interpolated() {
        let values: Vec<f64> = (0..11).rev().map(f64::from).collect();
        assert!((percentile(&values, 0.95) - 9.5).abs() < 1e-12);
        assert_eq!((percentile(&values, 1.0), percentile(&[4.0], 0.95)), (10.0, 4.0));
    }

    #[test]
    fn a_box_in_a_box_lies_as_far_as_its_faces() {
        // The faces of a cube of 40, and a voxel in its middle: nothing within the rows that are near.
        let size = [40, 40, 40];
        let middle = (20 * 40 + 20) * 40 + 20;
        let one: Vec<u16> = (0..64000).map(|voxel| u16::from(voxel == middle)).collect();
        let distances = found(&one, &[1; 64000], size, [1.0, 1.0, 2.0]).unwrap();
        assert_eq!(distances.from_prediction_mm, [19.0]);
        assert_eq!(distances.hausdorff_mm(), (20.0_f64.powi(2) * 2.0 + 40.0_f64.powi(2)).sqrt());
    }

    /// The definition: every surface voxel against every other.
    fn oracle(masks: [&[u16]; 2], size: [usize; 3], spacing_mm: [f64; 3]) -> Option<SurfaceDistances> {
        let at = |i: usize| [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]];
        let points = |mask: &[u16]| -> Vec<[f64; 3]> {
            let inside = |voxel: [isize; 3]| {
                let within = (0..3).all(|a| voxel[a] >= 0 && voxel[a] < size[a] as isize);
                within && {
                    let [d, h, w] = voxel.map(|i| i as usize);
                    mask[(d * size[1] + h) * size[2] + w] == 1
                }
            };
            let bare = |i: &usize| {
                let voxel = at(*i).map(|i| i as isize);
                (0..6).any(|side| {
                    let mut next = voxel;
                    next[side / 2] += if side % 2 == 0 { 1 } else { -1 };
                    !inside(next)
                })
            };
            let surface = (0..mask.len()).filter(|&i| mask[i] == 1).filter(bare);
            surface.map(|i| [0, 1, 2].map(|a| at(i)[a] as f64 * spacing_mm[a])).collect()
        };
        let [a, b] = masks.map(points);
        let far = |points: &[[f64; 3]], others: &[[f64; 3]]| -> Vec<f64> {
            let one = |p: &[f64; 3], q: &[f64; 3]| (0..3).map(|a| (p[a] - q[a]).powi(2)).sum::<f64>().sqrt();
            points.iter().map(|p| others.iter().map(|q| one(p, q)).fold(f64::INFINITY, f64::min)).collect()
        };
        (!a.is_empty() && !b.is_empty())
            .then(|| SurfaceDistances { from_prediction_mm: far(&a, &b), from_reference_mm: far(&b, &a) })
    }

    fn check(masks: [&[u16]; 2], size: [usize; 3], spacing_mm: [f64; 3]) -> Result<(), TestCaseError> {
        let expected = oracle(masks, size, spacing_mm);
        let found = found(masks[0], masks[1], size, spacing_mm);
        prop_assert_eq!(found.is_some(), expected.is_some());
        let (Some(found), Some(expected)) = (found, expected) else { return Ok(()) };
        let both = |distances: SurfaceDistances| [distances.from_prediction_mm, distances.from_reference_mm];
        for (found, expected) in both(found).into_iter().zip(both(expected)) {
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert!((found - expected).abs() <= 1e-12 * expected.max(1.0), "{} {}", found, expected);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn small_masks_agree_with_the_definition(
            size in [1..5usize, 1..6usize, 1..7usize],
            values in proptest::collection::vec((0..8u8, 0..8u8), 120),
            dense in 1..9u8,
            spacing_mm in [0.2..3.0f64, 0.2..3.0f64, 0.2..3.0f64],
        ) {
            let masks = values[..size.iter().product()].iter();
            let (prediction, reference): (Vec<u16>, Vec<u16>) =
                masks.map(|(a, b)| (u16::from(*a < dense), u16::from(*b < dense))).unzip();
            check([&prediction, &reference], size, spacing_mm)?;
        }

        #[test]
        fn boxes_near_and_far_agree_with_the_definition(
            size in [1..40usize, 1..90usize, 1..200usize],
            boxes in proptest::collection::vec(any::<([u16; 3], [u8; 3], bool)>(), 2..7),
            spacing_mm in [0.2..3.0f64, 0.2..3.0f64, 0.2..3.0f64],
        ) {
            let mut masks = [vec![0; size.iter().product()], vec![0; size.iter().product()]];
            for (low, length, second) in boxes {
                let low = [0, 1, 2].map(|axis| usize::from(low[axis]) % size[axis]);
                let high = [0, 1, 2].map(|axis| (low[axis] + 1 + usize::from(length[axis] % 5)).min(size[axis]));
                for d in low[0]..high[0] {
                    for h in low[1]..high[1] {
                        let row = (d * size[1] + h) * size[2];
                        masks[usize::from(second)][row + low[2]..row + high[2]].fill(1);
                    }
                }
            }
            check([&masks[0], &masks[1]], size, spacing_mm)?;
        }
    }
}
