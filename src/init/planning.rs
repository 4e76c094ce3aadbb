//! What nnU-Net would choose for a data set: spacing, patch, levels and batch, from spacings and sizes alone.
//!
//! The rules are those of nnU-Net 2.8.1's default planner (`tests/golden/planning`), with its numbers: a patch as large
//! as memory allows, in the shape of the median scan, halved along each axis down to 4 voxels.

mod memory;
mod topology;

use memory::{BASE_FEATURES, features};
pub use topology::Topology;

/// The number of times that an axis must be as coarse as the next one for the data set to count as
/// anisotropic.
const ANISOTROPIC: f64 = 3.0;
/// The share of a data set's voxels that one batch sees at most.
const COVERED: f64 = 0.05;
/// Samples in a batch, at least.
const LEAST_BATCH: usize = 2;
/// Halvings stop before an axis of features has fewer voxels.
const LEAST_EDGE: f64 = 4.0;

/// What is known of the scans of a data set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fingerprint {
    /// The distances between the voxels of each scan along `[D, H, W]`, in mm.
    pub spacings_mm: Vec<[f64; 3]>,
    /// The voxels of each scan along `[D, H, W]`.
    pub sizes: Vec<[usize; 3]>,
    /// The number of classes, background included.
    pub classes: usize,
}

/// A network and how it is fed, along axes of which the first is the coarsest.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// The spacing that scans are brought to, mm.
    pub spacing_mm: Vec<f64>,
    /// The median scan at that spacing, voxels.
    pub median: Vec<f64>,
    /// The window that the network sees, voxels.
    pub patch: Vec<usize>,
    /// The network's levels.
    pub topology: Topology,
    /// Feature channels of each level.
    pub features: Vec<usize>,
    /// Samples that go through the network together.
    pub batch: usize,
}

/// A plan for a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The axis of `[D, H, W]` that each axis of the configurations is.
    pub transpose: [usize; 3],
    /// The spacing that scans are brought to, along `[D, H, W]`, mm.
    pub target_mm: [f64; 3],
    /// Whether the coarsest axis has the 10th percentile of its spacings instead of the median.
    pub anisotropic: bool,
    /// The three-dimensional network; none where the median scan is one slice.
    pub volume: Option<Configuration>,
    /// The two-dimensional network, across the first axis.
    pub slice: Configuration,
}

impl Fingerprint {
    /// The plan for a GPU of this memory; `None` where there is no scan, or a spacing is no length.
    pub fn plan(&self, gigabytes: f64) -> Option<Planned> {
        let lengths = self.spacings_mm.iter().flatten();
        let fits = !self.sizes.is_empty()
            && self.sizes.len() == self.spacings_mm.len()
            && lengths.clone().all(|length| length.is_finite() && *length > 0.0)
            && self.sizes.iter().flatten().all(|&size| size > 0);
        if !fits {
            return None;
        }
        let (target, anisotropic) = self.spacing();
        let coarsest = argmax(&target);
        let others = (0..3).filter(|&axis| axis != coarsest);
        let mut transpose = [coarsest; 3];
        for (place, axis) in transpose.iter_mut().skip(1).zip(others) {
            *place = axis;
        }
        let resampled = |axis: usize| -> Vec<f64> {
            let scans = self.spacings_mm.iter().zip(&self.sizes);
            let of = |(old, size): (&[f64; 3], &[usize; 3])| {
                (old[axis] / target[axis] * size[axis] as f64).round_ties_even()
            };
            scans.map(of).collect()
        };
        let spacing: Vec<f64> = transpose.iter().map(|&axis| target[axis]).collect();
        let median: Vec<f64> = transpose.iter().map(|&axis| percentile(resampled(axis), 50.0)).collect();
        let voxels = median.iter().product::<f64>() * self.sizes.len() as f64;
        let of = |spacing: &[f64], median: &[f64]| self.configuration(spacing, median, voxels, gigabytes);
        let volume = (median[0] != 1.0).then(|| of(&spacing, &median));
        Some(Planned {
            transpose,
            target_mm: target,
            anisotropic,
            volume,
            slice: of(&spacing[1..], &median[1..]),
        })
    }

    /// The spacing that scans are brought to, along `[D, H, W]`, and whether the anisotropic rule made it.
    fn spacing(&self) -> ([f64; 3], bool) {
        let along = |axis: usize| self.spacings_mm.iter().map(|spacing| spacing[axis]).collect::<Vec<f64>>();
        let sizes = |axis: usize| self.sizes.iter().map(|size| size[axis] as f64).collect::<Vec<f64>>();
        let mut target: [f64; 3] = std::array::from_fn(|axis| percentile(along(axis), 50.0));
        let size: [f64; 3] = std::array::from_fn(|axis| percentile(sizes(axis), 50.0));
        let coarsest = argmax(&target);
        let others: Vec<usize> = (0..3).filter(|&axis| axis != coarsest).collect();
        let next = others.iter().map(|&axis| target[axis]).fold(0.0, f64::max);
        let least = others.iter().map(|&axis| size[axis]).fold(f64::INFINITY, f64::min);
        let anisotropic = target[coarsest] > ANISOTROPIC * next && size[coarsest] * ANISOTROPIC < least;
        if anisotropic {
            let tenth = percentile(along(coarsest), 10.0);
            target[coarsest] = if tenth < next { next + 1e-5 } else { tenth };
        }
        (target, anisotropic)
    }

    /// A network for scans of this spacing and median size, as large as memory allows.
    fn configuration(&self, spacing: &[f64], median: &[f64], voxels: f64, gigabytes: f64) -> Configuration {
        let reference = memory::reference(spacing.len(), gigabytes);
        let estimate = |topology: &Topology| memory::estimate(topology, self.classes.max(2));
        let mut topology = Topology::of(spacing, &first_patch(spacing, median));
        while estimate(&topology) / reference.batch * 2.0 > reference.features {
            let patch: Vec<f64> = topology.patch.iter().map(|&length| length as f64).collect();
            let axis = most_beyond(&patch, median);
            // First by the multiple that holds now, to learn the one that holds for the smaller patch.
            let mut smaller = patch.clone();
            smaller[axis] -= topology.multiple[axis] as f64;
            let multiple = Topology::of(spacing, &smaller).multiple[axis];
            let mut patch = patch;
            patch[axis] -= multiple as f64;
            if patch[axis] < 1.0 {
                break;
            }
            topology = Topology::of(spacing, &patch);
        }
        let fits = (reference.features / estimate(&topology) * reference.batch).round_ties_even();
        let in_patch: f64 = topology.patch.iter().map(|&length| length as f64).product();
        let covered = (voxels * COVERED / in_patch).round_ties_even();
        let batch = (fits.min(covered) as usize).max(LEAST_BATCH);
        let features = features(topology.kernels.len(), spacing.len());
        let patch = topology.patch.clone();
        Configuration {
            spacing_mm: spacing.to_vec(),
            median: median.to_vec(),
            patch,
            topology,
            features,
            batch,
        }
    }
}

/// A window of the volume of a cube of 256 voxels (a square of 2048) in the shape that spacings ask for, but nowhere
/// larger than the median scan.
fn first_patch(spacing: &[f64], median: &[f64]) -> Vec<f64> {
    let inverse: Vec<f64> = spacing.iter().map(|length| 1.0 / length).collect();
    let product: f64 = inverse.iter().product();
    let scale = match spacing.len() {
        2 => (f64::from(2048 * 2048) / product).powf(1.0 / 2.0),
        _ => (f64::from(256 * 256 * 256) / product).powf(1.0 / 3.0),
    };
    inverse.iter().zip(median).map(|(one, &most)| (one * scale).round_ties_even().min(most)).collect()
}

/// The axis along which the patch is largest beside the median scan; of equal ones the last.
fn most_beyond(patch: &[f64], median: &[f64]) -> usize {
    let shares = patch.iter().zip(median).map(|(length, most)| length / most);
    shares
        .enumerate()
        .fold((0, f64::NEG_INFINITY), |best, (axis, share)| match share >= best.1 {
            true => (axis, share),
            false => best,
        })
        .0
}

/// The first of the greatest.
fn argmax(values: &[f64; 3]) -> usize {
    (1..3).fold(0, |best, axis| if values[axis] > values[best] { axis } else { best })
}

/// Returns a percentile as NumPy does: between neighbours by their distance.
pub(super) fn percentile(mut values: Vec<f64>, percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let place = percent / 100.0 * last as f64;
    let below = place.floor() as usize;
    let (low, high) = (values[below.min(last)], values[(below + 1).min(last)]);
    let share = place - place.floor();
    // The sum is that of NumPy's `_lerp`, to the last bit.
    if share < 0.5 { low + (high - low) * share } else { high - (high - low) * (1.0 - share) }
}

/// The features of the finest level, which memory is counted by.
pub const FINEST: usize = BASE_FEATURES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_data_set_has_no_plan() {
        assert_eq!(Fingerprint::default().plan(8.0), None);
        let one = Fingerprint { spacings_mm: vec![[1.0, 0.0, 1.0]], sizes: vec![[8; 3]], classes: 2 };
        assert_eq!(one.plan(8.0), None);
        assert_eq!(Fingerprint { spacings_mm: vec![[1.0; 3]; 2], ..one.clone() }.plan(8.0), None);
        assert!(Fingerprint { spacings_mm: vec![[1.0; 3]], ..one }.plan(8.0).is_some());
    }

    #[test]
    fn little_memory_ends_with_the_smallest_patch() {
        let one = Fingerprint { spacings_mm: vec![[1.0; 3]], sizes: vec![[512; 3]], classes: 2 };
        let planned = one.plan(1e-9).unwrap();
        assert!(planned.volume.unwrap().patch.iter().all(|&length| length >= 1));
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        assert_eq!(percentile(vec![4.0, 1.0, 2.0, 3.0], 50.0), 2.5);
        assert_eq!(percentile(vec![1.0, 2.0], 10.0), 1.1);
        assert!(percentile(Vec::new(), 10.0).is_nan());
    }
}
