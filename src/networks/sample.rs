//! What a network is trained on: numbers, their shape and what should come out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::NetworkError;

/// One input and what should come out.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The numbers `[C, D, H, W]`, the last axis fastest.
    pub input: Vec<f32>,
    /// The shape of the input, `[C, D, H, W]`.
    pub shape: [usize; 4],
    /// What the sample teaches.
    pub target: Target,
}

/// What a sample teaches. Its grid is the sample's; for a stack or a bag the target slice alone (`D` = 1).
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A class for each voxel, `[D, H, W]`; [`IGNORED_CLASS`](crate::voxels::ignored::IGNORED_CLASS) for one that nobody
    /// labelled.
    Classes(Vec<u8>),
    /// A class for each voxel, where nobody looked for some labels: a voxel of the background may be theirs.
    Partly {
        /// A class for each voxel.
        classes: Vec<u8>,
        /// The labels that nobody looked for, from 1 on.
        unknown: Arc<[u8]>,
    },
    /// Things, each with its class and its box; none where there is nothing to find.
    Instances(Vec<Instance>),
    /// The sample teaches nothing: nobody has drawn or marked anything.
    None,
}

/// One thing of a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The class of the thing, from 1 on.
    pub class: u8,
    /// The edges of its box at the lower ends of `[D, H, W]`, in voxels: the first voxel begins at 0.
    pub low: [f32; 3],
    /// The edges of its box at the upper ends.
    pub high: [f32; 3],
    /// The thing's pixels on the target slice; none of a thing of which a box alone is known.
    pub mask: Option<PlaneMask>,
}

impl Target {
    /// The word for it in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Classes(_) | Self::Partly { .. } => "classes",
            Self::Instances(_) => "instances",
            Self::None => "nothing",
        }
    }

    /// The classes of voxels, where it teaches them.
    pub fn classes(&self) -> Option<&[u8]> {
        match self {
            Self::Classes(classes) | Self::Partly { classes, .. } => Some(classes),
            Self::Instances(_) | Self::None => None,
        }
    }

    /// The labels that nobody looked for.
    pub fn unknown(&self) -> &[u8] {
        match self {
            Self::Partly { unknown, .. } => unknown,
            Self::Classes(_) | Self::Instances(_) | Self::None => &[],
        }
    }

    /// Mirrors it along an axis, 0 to 2, of a grid of this size.
    pub fn mirror(&mut self, size: [usize; 3], axis: usize) {
        match self {
            Self::Classes(classes) | Self::Partly { classes, .. } => mirror(classes, size, axis),
            Self::Instances(instances) => {
                let end = size[axis] as f32;
                for Instance { low, high, mask, .. } in instances {
                    (low[axis], high[axis]) = (end - high[axis], end - low[axis]);
                    if let (Some(mask), Some(along)) = (mask, axis.checked_sub(1)) {
                        mask.mirror(size[axis], along);
                    }
                }
            }
            Self::None => {}
        }
    }
}

/// Pixels of a plane within a rectangle of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneMask {
    /// The rectangle's first row and column.
    pub start: [usize; 2],
    /// The numbers of the rectangle's rows and columns.
    pub size: [usize; 2],
    /// Whether each pixel of the rectangle is in it, row by row.
    pub pixels: Arc<[bool]>,
}

impl PlaneMask {
    /// Whether a pixel `[row, column]` of the plane is in it.
    pub fn holds(&self, [row, column]: [usize; 2]) -> bool {
        let within = |axis: usize, place: usize| {
            place.checked_sub(self.start[axis]).filter(|place| *place < self.size[axis])
        };
        let (Some(row), Some(column)) = (within(0, row), within(1, column)) else { return false };
        self.pixels.get(row * self.size[1] + column).copied().unwrap_or(false)
    }

    /// Whether a row of the plane crosses its rectangle.
    pub fn has_row(&self, row: usize) -> bool {
        row.checked_sub(self.start[0]).is_some_and(|row| row < self.size[0])
    }

    /// Mirrors it along an axis of its plane, which is so long.
    fn mirror(&mut self, length: usize, axis: usize) {
        self.start[axis] = length.saturating_sub(self.start[axis] + self.size[axis]);
        let mut pixels = self.pixels.to_vec();
        mirror(&mut pixels, [1, self.size[0], self.size[1]], axis + 1);
        self.pixels = pixels.into();
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
    /// The name of the case in errors.
    pub name: &'a str,
    /// Intensities `[D, H, W]`, of several channels `[C, D, H, W]`.
    pub voxels: &'a [f32],
    /// The size of the case, `[D, H, W]`.
    pub size: [usize; 3],
    /// Classes `[D, H, W]`.
    pub classes: &'a [u8],
    /// The labels that nobody looked for, from 1 on.
    pub unknown: &'a [u8],
}

/// A dataset as the training loop sees it.
pub trait SampleSource: Send + Sync {
    /// Returns the number of samples in one epoch.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the name of a sample in errors: with the case that it is from, where the source knows it.
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
        /// The number of voxels along `[D, H, W]`.
        size: [usize; 3],
    },
    /// `slices` adjacent slices as channels, the centre one predicted (`[slices, 1, H, W]`).
    Stack {
        /// The number of slices, odd.
        slices: usize,
        /// Slices from one channel to the next, at least 1.
        stride: usize,
    },
    /// `stacks` stacks around the target stack, `gap` slices apart (`[stacks * slices, 1, H, W]`).
    Bag {
        /// The number of stacks, odd.
        stacks: usize,
        /// The number of slices of one stack, odd.
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
        let mask = |start, pixels: [bool; 6]| PlaneMask { start, size: [2, 3], pixels: pixels.into() };
        let (thin, thick) = ([true, false, false, true, true, true], [false, false, true, true, true, true]);
        let thing =
            |low, high, start, pixels| Instance { class: 1, low, high, mask: Some(mask(start, pixels)) };
        let first = thing([0.0, 1.0, 0.5], [1.0, 2.0, 2.0], [1, 0], thin);
        let mut things = Target::Instances(vec![first.clone()]);
        things.mirror([2, 4, 6], 2);
        let mirrored = thing([0.0, 1.0, 4.0], [1.0, 2.0, 5.5], [1, 3], thick);
        assert_eq!(things, Target::Instances(vec![mirrored]));
        things.mirror([2, 4, 6], 2);
        things.mirror([2, 4, 6], 1);
        let turned = thing([0.0, 2.0, 0.5], [1.0, 3.0, 2.0], [1, 0], [true, true, true, true, false, false]);
        assert_eq!(things, Target::Instances(vec![turned]));
        things.mirror([2, 4, 6], 1);
        assert_eq!(things, Target::Instances(vec![first]));
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
