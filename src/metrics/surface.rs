//! Distances between the surfaces of a mask and of the truth.

use rayon::prelude::*;

use super::distance::InPlane;

/// How far each surface voxel of one mask lies from the surface of the other, in mm, both ways.
#[derive(Clone, Debug, PartialEq)]
pub struct SurfaceDistances {
    /// From each surface voxel of the prediction.
    pub from_prediction_mm: Vec<f64>,
    /// From each surface voxel of the reference.
    pub from_reference_mm: Vec<f64>,
}

impl SurfaceDistances {
    /// The average symmetric surface distance: both ways pooled, Σ / (n₁ + n₂).
    pub fn assd_mm(&self) -> f64 {
        let sum: f64 = self.from_prediction_mm.iter().chain(&self.from_reference_mm).sum();
        sum / (self.from_prediction_mm.len() + self.from_reference_mm.len()) as f64
    }

    /// The 95 % Hausdorff distance: the larger of the two 95th percentiles, interpolated linearly (MONAI).
    pub fn hausdorff_95_mm(&self) -> f64 {
        percentile(&self.from_prediction_mm, 0.95).max(percentile(&self.from_reference_mm, 0.95))
    }
}

fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * sorted.len().saturating_sub(1) as f64;
    let (low, high) = (sorted.get(place.floor() as usize), sorted.get(place.ceil() as usize));
    match (low, high) {
        (Some(low), Some(high)) => low + (high - low) * place.fract(),
        _ => f64::NAN,
    }
}

/// Why distances cannot be measured.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SurfaceError {
    /// The volumes and their size do not fit.
    #[error("two masks of {expected} voxels expected, {prediction} and {reference} found")]
    SizeMismatch {
        /// Voxels of the size.
        expected: usize,
        /// Voxels of the prediction.
        prediction: usize,
        /// Voxels of the reference.
        reference: usize,
    },
    /// A length of 0, below 0, or none.
    #[error("a positive spacing expected, {0:?} mm found")]
    BadSpacing([f64; 3]),
}

/// Distances between the surfaces of one label in the prediction and one in the reference (`pair`), on a
/// grid with right angles; `None` when either mask is empty.
///
/// A surface is the mask without its erosion by the six neighbours; outside the volume is background.
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
    let expected = size.iter().product();
    if prediction.len() != expected || reference.len() != expected {
        return Err(SurfaceError::SizeMismatch {
            expected,
            prediction: prediction.len(),
            reference: reference.len(),
        });
    }
    if !spacing_mm.iter().all(|mm| mm.is_finite() && *mm > 0.0) {
        return Err(SurfaceError::BadSpacing(spacing_mm));
    }
    let (Some(a), Some(b)) = (Crop::around(prediction, size, pair.0), Crop::around(reference, size, pair.1))
    else {
        return Ok(None);
    };
    // Every source and every voxel that asks lies within both boxes, so the distances stay exact.
    let crop = a.union(b);
    let surfaces = [(prediction, pair.0), (reference, pair.1)]
        .map(|(labels, label)| surface(&crop.cut(labels, size, label), crop.size()));
    let [of_prediction, of_reference] = &surfaces;
    let measure = |sources: &[u8], from: &[u8]| {
        let field = InPlane::new(sources, crop.size(), spacing_mm);
        from.par_iter()
            .enumerate()
            .with_min_len(1 << 14)
            .filter(|(_, surface)| **surface != 0)
            .map(|(voxel, _)| field.distance_mm(voxel))
            .collect()
    };
    Ok(Some(SurfaceDistances {
        from_prediction_mm: measure(of_reference, of_prediction),
        from_reference_mm: measure(of_prediction, of_reference),
    }))
}

/// A box of voxels, `low` within and `high` without.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Crop {
    low: [usize; 3],
    high: [usize; 3],
}

impl Crop {
    /// The smallest box around a label; `None` where it is empty.
    fn around(labels: &[u16], size: [usize; 3], label: u16) -> Option<Self> {
        let [_, height, width] = size;
        let row_box = |(row, values): (usize, &[u16])| {
            if !values.iter().fold(false, |any, &value| any | (value == label)) {
                return None;
            }
            let first = values.iter().position(|&value| value == label)?;
            let last = values.iter().rposition(|&value| value == label)?;
            let (d, h) = (row / height, row % height);
            Some(Self { low: [d, h, first], high: [d + 1, h + 1, last + 1] })
        };
        let either = |a: Option<Self>, b: Option<Self>| match (a, b) {
            (Some(a), Some(b)) => Some(a.union(b)),
            (a, b) => a.or(b),
        };
        labels.par_chunks(width.max(1)).with_min_len(64).enumerate().map(row_box).reduce(|| None, either)
    }

    fn union(self, other: Self) -> Self {
        Self {
            low: [0, 1, 2].map(|axis| self.low[axis].min(other.low[axis])),
            high: [0, 1, 2].map(|axis| self.high[axis].max(other.high[axis])),
        }
    }

    fn size(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.high[axis] - self.low[axis])
    }

    /// The label within the box, as 0 and 1.
    fn cut(&self, labels: &[u16], size: [usize; 3], label: u16) -> Vec<u8> {
        let [depth, height, width] = self.size();
        let mut mask = vec![0; depth * height * width];
        mask.par_chunks_mut(width).with_min_len(64).enumerate().for_each(|(row, out)| {
            let (d, h) = (row / height + self.low[0], row % height + self.low[1]);
            let source = &labels[(d * size[1] + h) * size[2] + self.low[2]..][..width];
            out.iter_mut().zip(source).for_each(|(out, &value)| *out = u8::from(value == label));
        });
        mask
    }
}

/// The voxels of a mask of 0 and 1 with a neighbour outside it.
fn surface(mask: &[u8], size: [usize; 3]) -> Vec<u8> {
    let [depth, height, width] = size;
    let outside = vec![0; width];
    let mut output = vec![0; mask.len()];
    output.par_chunks_mut(width).with_min_len(64).enumerate().for_each(|(row, out)| {
        let (d, h) = (row / height, row % height);
        let neighbour =
            |there: bool, row: usize| if there { &mask[row * width..][..width] } else { &outside };
        let here = neighbour(true, row);
        let beside = [
            neighbour(h > 0, row.wrapping_sub(1)),
            neighbour(h + 1 < height, row + 1),
            neighbour(d > 0, row.wrapping_sub(height)),
            neighbour(d + 1 < depth, row + height),
        ];
        out.copy_from_slice(here);
        // What is left after the four rows beside is the inside along D and H; W is shifted by one.
        for column in 0..width {
            let along = column > 0 && column + 1 < width && here[column - 1] & here[column + 1] == 1;
            let inside = beside.iter().fold(u8::from(along), |inside, row| inside & row[column]);
            out[column] &= 1 - inside;
        }
    });
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assd(prediction: &[u16], reference: &[u16], size: [usize; 3], spacing_mm: [f64; 3]) -> Option<f64> {
        let found = surface_distances(prediction, reference, (1, 1), size, spacing_mm).unwrap();
        found.map(|distances| distances.assd_mm())
    }

    #[test]
    fn a_surface_is_what_erosion_takes() {
        let mut expected = vec![1; 27];
        expected[13] = 0;
        assert_eq!(surface(&[1; 27], [3, 3, 3]), expected);
        assert_eq!(surface(&[1; 9], [1, 3, 3]), [1; 9]);
        assert_eq!(surface(&[1], [1, 1, 1]), [1]);
    }

    #[test]
    fn both_ways_are_pooled() {
        // Prediction: voxel 0. Reference: voxels 0 and 3, so distances are 0 and then 0 and 3.
        assert_eq!(assd(&[1, 0, 0, 0], &[1, 0, 0, 1], [1, 1, 4], [1.0; 3]), Some(1.0));
        assert_eq!(assd(&[1, 0, 0, 0], &[1, 0, 0, 1], [4, 1, 1], [2.5, 1.0, 1.0]), Some(2.5));
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
    fn bad_spacings_and_sizes_are_named() {
        for mm in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let found = surface_distances(&[1], &[1], (1, 1), [1, 1, 1], [mm, 1.0, 1.0]);
            assert!(matches!(found, Err(SurfaceError::BadSpacing(_))));
        }
        let found = surface_distances(&[1], &[1, 1], (1, 1), [1, 1, 1], [1.0; 3]);
        assert!(matches!(found, Err(SurfaceError::SizeMismatch { .. })));
    }

    #[test]
    fn percentiles_are_interpolated() {
        let values: Vec<f64> = (0..11).rev().map(f64::from).collect();
        assert!((percentile(&values, 0.95) - 9.5).abs() < 1e-12);
        assert_eq!(percentile(&[4.0], 0.95), 4.0);
    }

    /// From the definition: every surface voxel against every other.
    fn oracle(masks: [&[u16]; 2], size: [usize; 3], spacing_mm: [f64; 3]) -> Option<f64> {
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
        let far = |p: &[f64; 3], others: &[[f64; 3]]| {
            let one = |q: &[f64; 3]| (0..3).map(|a| (p[a] - q[a]).powi(2)).sum::<f64>().sqrt();
            others.iter().map(one).fold(f64::INFINITY, f64::min)
        };
        let sum = a.iter().map(|p| far(p, &b)).sum::<f64>() + b.iter().map(|p| far(p, &a)).sum::<f64>();
        (!a.is_empty() && !b.is_empty()).then(|| sum / (a.len() + b.len()) as f64)
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(
            size in [1..5usize, 1..6usize, 1..7usize],
            values in proptest::collection::vec((0..8u8, 0..8u8), 120),
            dense in 1..8u8,
            spacing_mm in [0.2..3.0f64, 0.2..3.0f64, 0.2..3.0f64],
        ) {
            let masks = values[..size.iter().product()].iter();
            let (prediction, reference): (Vec<u16>, Vec<u16>) =
                masks.map(|(a, b)| (u16::from(*a < dense), u16::from(*b < dense))).unzip();
            let found = assd(&prediction, &reference, size, spacing_mm);
            let expected = oracle([&prediction, &reference], size, spacing_mm);
            match (found, expected) {
                (Some(found), Some(expected)) => prop_assert!((found - expected).abs() < 1e-5),
                (found, expected) => prop_assert_eq!(found, expected),
            }
        }
    }
}
