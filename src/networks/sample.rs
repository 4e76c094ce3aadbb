//! What a network is trained on: numbers, their shape and the classes that should come out.

use serde::{Deserialize, Serialize};

/// One input and what should come out.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// `[C, D, H, W]`, the last axis fastest.
    pub input: Vec<f32>,
    /// `[C, D, H, W]`
    pub shape: [usize; 4],
    /// Classes `[D, H, W]`; for a stack or a bag of the target slice alone (`D` = 1).
    pub label: Vec<u8>,
}

/// What a network sees around a volume that is smaller than its window, in training as in inference: the volume's
/// lowest finite intensity, 0 where there is none.
pub fn around(voxels: &[f32]) -> f32 {
    let least = voxels.iter().copied().filter(|value| value.is_finite()).fold(f32::INFINITY, f32::min);
    if least.is_finite() { least } else { 0.0 }
}

/// A dataset as the training loop sees it.
pub trait SampleSource: Send + Sync {
    /// Samples in one epoch.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What errors call a sample: with the case that it is from, where the source knows it.
    fn name(&self, index: usize) -> String {
        format!("sample {index}")
    }

    /// A sample. The same index, epoch and seed give the same sample, on any thread.
    ///
    /// # Errors
    /// A message that names the case whose voxels could not be read.
    fn sample(&self, index: usize, epoch: u64, seed: u64) -> Result<Sample, String>;
}

/// How a volume is shown to a network, in training as in inference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum InputView {
    /// Windows `[D, H, W]` of the volume, one channel.
    Patch {
        /// Voxels along `[D, H, W]`.
        size: [usize; 3],
    },
    /// `slices` adjacent slices as channels, the centre one predicted (`[slices, 1, H, W]`).
    Stack {
        /// Odd.
        slices: usize,
        /// Slices from one channel to the next, at least 1.
        stride: usize,
    },
    /// `stacks` stacks around the target stack, `gap` slices apart (`[stacks * slices, 1, H, W]`).
    Bag {
        /// Odd.
        stacks: usize,
        /// Slices of one stack, odd.
        slices: usize,
        /// Slices between the centres of neighbouring stacks, at least 1.
        gap: usize,
    },
}

impl InputView {
    /// Channels of a sample.
    pub fn channels(&self) -> usize {
        match *self {
            Self::Patch { .. } => 1,
            Self::Stack { slices, .. } => slices,
            Self::Bag { stacks, slices, .. } => stacks * slices,
        }
    }

    /// The slices behind the channels of the target slice `target`, of `depth` slices; those past an
    /// end are the end's own.
    pub fn channel_slices(&self, target: usize, depth: usize) -> Vec<usize> {
        let clamp = |offset: isize| (target as isize + offset).clamp(0, depth as isize - 1) as usize;
        let around = |n: usize, step: usize| {
            let half = (n / 2) as isize;
            (-half..=half).map(move |i| i * step as isize)
        };
        match *self {
            Self::Patch { .. } => vec![target],
            Self::Stack { slices, stride } => around(slices, stride).map(clamp).collect(),
            Self::Bag { stacks, slices, gap } => around(stacks, gap)
                .flat_map(|centre| around(slices, 1).map(move |offset| centre + offset))
                .map(clamp)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_repeats_the_end_slice() {
        let view = InputView::Stack { slices: 3, stride: 1 };
        assert_eq!(view.channel_slices(0, 5), [0, 0, 1]);
        assert_eq!(view.channel_slices(4, 5), [3, 4, 4]);
    }

    #[test]
    fn a_bag_is_stacks_around_the_target() {
        let view = InputView::Bag { stacks: 3, slices: 3, gap: 4 };
        assert_eq!(view.channel_slices(10, 30), [5, 6, 7, 9, 10, 11, 13, 14, 15]);
        assert_eq!(view.channels(), 9);
    }
}
