//! How much memory a network takes, counted in values of its feature maps.

use super::Topology;

/// Features of the finest level.
pub(super) const BASE_FEATURES: usize = 32;
/// Convolutions of a level, on the way down and up alike.
const CONVOLUTIONS: usize = 2;
/// The memory that the figures of [`reference`] are of.
const REFERENCE_GIGABYTES: f64 = 8.0;

/// The network that fits into memory.
pub(super) struct Reference {
    /// Values of features of a batch of two, more or less.
    pub features: f64,
    /// The batch that they were counted for.
    pub batch: f64,
}

/// Returns what fits into so much memory, for networks of so many axes.
pub(super) fn reference(axes: usize, gigabytes: f64) -> Reference {
    let (features, batch) = if axes == 2 { (85_000_000.0, 12.0) } else { (560_000_000.0, 2.0) };
    Reference { features: features * (gigabytes / REFERENCE_GIGABYTES), batch }
}

/// Returns feature channels by level: doubled at each, up to a bound.
pub(super) fn features(levels: usize, axes: usize) -> Vec<usize> {
    let most = if axes == 2 { 512 } else { 320 };
    (0..levels as u32).map(|level| BASE_FEATURES.saturating_mul(1 << level.min(16)).min(most)).collect()
}

/// Counts the values of all feature maps that a sample of the topology's patch leaves on its way.
pub(super) fn estimate(topology: &Topology, classes: usize) -> f64 {
    let axes = topology.patch.len();
    let features = features(topology.strides.len(), axes);
    let mut size: Vec<usize> = topology.patch.clone();
    let mut maps: Vec<(f64, f64)> = Vec::with_capacity(features.len());
    for (stride, features) in topology.strides.iter().zip(&features) {
        for (length, stride) in size.iter_mut().zip(stride) {
            *length /= stride;
        }
        let voxels = size.iter().map(|&length| length as f64).product();
        maps.push((voxels, *features as f64));
    }
    let down: f64 = maps.iter().map(|(voxels, features)| CONVOLUTIONS as f64 * voxels * features).sum();
    // A level has a transposed convolution more on the way up.
    let levels_above = maps.len().saturating_sub(1);
    let up: f64 = maps
        .iter()
        .take(levels_above)
        .map(|(voxels, features)| (CONVOLUTIONS + 1) as f64 * voxels * features)
        .sum();
    let logits =
        if levels_above > 0 { maps.first().map_or(0.0, |(voxels, _)| voxels * classes as f64) } else { 0.0 };
    down + up + logits
}
