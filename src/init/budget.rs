//! How long a training may take, from the arithmetic of its network.

use super::planning::Topology;

/// What a training is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Passes over the training samples.
    pub epochs: usize,
    /// Minutes that they take, roughly.
    pub minutes: f64,
}

/// Floating-point operations a second that a core gives convolutions, roughly.
const CORE: f64 = 15e9;
/// The same of a GPU.
const GPU: f64 = 8e12;
/// Seconds that a first training takes, on a processor and on a GPU.
const SECONDS: [f64; 2] = [20.0 * 60.0, 4.0 * 3600.0];
/// Passes over the samples, at least and at most.
const EPOCHS: [f64; 2] = [10.0, 300.0];

/// Counts the operations of one sample on its way through the network and back.
pub fn operations(topology: &Topology, features: &[usize]) -> f64 {
    let mut voxels: f64 = topology.patch.iter().map(|&length| length as f64).product();
    let mut sum = 0.0;
    let mut before = 1.0;
    let volume = |lengths: &[usize]| lengths.iter().map(|&length| length as f64).product::<f64>();
    for (level, &own) in features.iter().enumerate() {
        let stride = topology.strides.get(level).map_or(1.0, |stride| volume(stride));
        let kernel = topology.kernels.get(level).map_or(27.0, |kernel| volume(kernel));
        let own = own as f64;
        voxels /= stride;
        sum += voxels * kernel * own * (before + own);
        // Up again: what comes from below is joined with what was there, and two convolutions follow.
        if level + 1 < features.len() {
            sum += voxels * kernel * own * (2.0 * own + own);
        }
        before = own;
    }
    // A multiplication and an addition; and twice as much on the way back.
    sum * 2.0 * 3.0
}

/// Epochs for so many training samples, each of so many operations.
pub fn budget(samples: usize, operations: f64, gpu: bool) -> Budget {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    budget_at(samples, operations, if gpu { GPU } else { CORE * cores }, SECONDS[usize::from(gpu)])
}

fn budget_at(samples: usize, operations: f64, rate: f64, seconds: f64) -> Budget {
    let epoch = (samples.max(1) as f64 * operations / rate).max(1e-6);
    let epochs = (seconds / epoch).floor().clamp(EPOCHS[0], EPOCHS[1]);
    Budget { epochs: epochs as usize, minutes: epochs * epoch / 60.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_by_hand() {
        let topology = Topology::of(&[1.0; 3], &[8.0, 8.0, 8.0]);
        assert_eq!(topology.strides.len(), 2);
        // 512 voxels, 27 weights: 1·4 + 4·4 down, 8·4 + 4·4 up; 64 voxels below: 4·8 + 8·8.
        let fine = 512.0 * 27.0 * (4.0 + 16.0 + 48.0);
        let coarse = 64.0 * 27.0 * (32.0 + 64.0);
        assert_eq!(operations(&topology, &[4, 8]), 6.0 * (fine + coarse));
    }

    #[test]
    fn epochs_fill_the_time_within_bounds() {
        let found = budget_at(100, 1e9, 1e11, 60.0);
        assert_eq!((found.epochs, found.minutes), (60, 1.0));
        assert_eq!(budget_at(100_000, 1e12, 1e11, 60.0).epochs, 10);
        assert_eq!(budget_at(1, 1.0, 1e11, 60.0).epochs, 300);
    }
}
