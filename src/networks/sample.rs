//! What a network is trained on: numbers, their shape and what should come out.

use serde::{Deserialize, Serialize};

use super::NetworkError;

/// One input and what should come out.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// `[C, D, H, W]`, the last axis fastest.
    pub input: Vec<f32>,
    /// `[C, D, H, W]`
    pub shape: [usize; 4],
    /// What it teaches.
    pub target: Target,
}

/// What a sample teaches. Its grid is the sample's; for a stack or a bag the target slice alone (`D` = 1).
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A class for each voxel, `[D, H, W]`.
    Classes(Vec<u8>),
    /// Things, each with its class and its box; none where there is nothing to find.
    Instances(Vec<Instance>),
    /// Nothing: nobody has drawn or marked anything.
    None,
}

/// One thing of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instance {
    /// From 1 on.
    pub class: u8,
    /// The edges of its box at the lower ends of `[D, H, W]`, in voxels: the first voxel begins at 0.
    pub low: [f32; 3],
    /// Those at the upper ends.
    pub high: [f32; 3],
}

impl Target {
    /// The word for it in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Classes(_) => "classes",
            Self::Instances(_) => "instances",
            Self::None => "nothing",
        }
    }

    /// The classes of voxels, where it teaches them.
    pub fn classes(&self) -> Option<&[u8]> {
        match self {
            Self::Classes(classes) => Some(classes),
            Self::Instances(_) | Self::None => None,
        }
    }

    /// Mirrors it along an axis, 0 to 2, of a grid of this size.
    pub fn mirror(&mut self, size: [usize; 3], axis: usize) {
        match self {
            Self::Classes(classes) => mirror(classes, size, axis),
            Self::Instances(instances) => {
                let end = size[axis] as f32;
                for Instance { low, high, .. } in instances {
                    (low[axis], high[axis]) = (end - high[axis], end - low[axis]);
                }
            }
            Self::None => {}
        }
    }
}

/// Mirrors volumes of one size that lie one behind the other along an axis, 0 to 2.
pub(crate) fn mirror<T: Copy>(voxels: &mut [T], size: [usize; 3], axis: usize) {
    // Along an axis, lines of so many elements change places.
    let (count, length) = (size[axis], size[axis + 1..].iter().product::<usize>());
    for block in voxels.chunks_exact_mut((count * length).max(1)) {
        for near in 0..count / 2 {
            let (front, back) = block.split_at_mut((count - 1 - near) * length);
            front[near * length..][..length].swap_with_slice(&mut back[..length]);
        }
    }
}

/// What a network sees around a volume that is smaller than its window, in training as in inference: the volume's
/// lowest finite intensity, 0 where there is none.
pub fn around(voxels: &[f32]) -> f32 {
    let least = voxels.iter().copied().filter(|value| value.is_finite()).fold(f32::INFINITY, f32::min);
    if least.is_finite() { least } else { 0.0 }
}

/// A whole case, as inference sees it and somebody drew it.
#[derive(Clone, Copy, Debug)]
pub struct WholeCase<'a> {
    /// What errors call it.
    pub name: &'a str,
    /// Intensities `[D, H, W]`, of several channels `[C, D, H, W]`.
    pub voxels: &'a [f32],
    /// `[D, H, W]`.
    pub size: [usize; 3],
    /// Classes `[D, H, W]`.
    pub classes: &'a [u8],
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

    /// The cases that samples are cut from, where a training may be judged by them; none unless the source knows them.
    fn cases(&self) -> Vec<WholeCase<'_>> {
        Vec::new()
    }

    /// Does something with each of these cases, one after the other, so that no more than one need be in memory; says how
    /// many there were.
    ///
    /// # Errors
    /// The first one of what is done, or that a case could not be read.
    fn each_case(
        &self,
        visit: &mut dyn FnMut(&WholeCase<'_>) -> Result<(), NetworkError>,
    ) -> Result<usize, NetworkError> {
        let cases = self.cases();
        cases.iter().try_for_each(visit)?;
        Ok(cases.len())
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
    /// Windows `[D, H, W]` of the volume, one channel for each of the scan's.
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
    /// Channels of a sample, for each channel of the scan.
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
    fn mirrored_targets_stay_beside_their_voxels() {
        let mut classes = Target::Classes(vec![1, 2, 3, 4, 5, 6]);
        classes.mirror([1, 2, 3], 2);
        assert_eq!(classes.classes(), Some(&[3, 2, 1, 6, 5, 4][..]));
        let thing = Instance { class: 1, low: [0.0, 1.0, 0.5], high: [1.0, 2.0, 2.0] };
        let mut things = Target::Instances(vec![thing]);
        things.mirror([2, 4, 6], 2);
        assert_eq!(
            things,
            Target::Instances(vec![Instance { low: [0.0, 1.0, 4.0], high: [1.0, 2.0, 5.5], ..thing }])
        );
        things.mirror([2, 4, 6], 2);
        assert_eq!(things, Target::Instances(vec![thing]));
    }

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
