//! Windows and slices of a case, as they lie or moved.

use std::borrow::Cow;

use super::PreparedCase;
use crate::networks::sample::{InputView, Sample, Target};
use crate::operators::samples::augment::{Volume, Warp, Window};
use crate::operators::samples::dataset::lies::Voxels;

impl PreparedCase {
    pub(in crate::operators::samples::dataset) fn patch(
        &self,
        size: [usize; 3],
        start: [isize; 3],
    ) -> Result<Sample, String> {
        let voxels: usize = size.iter().product();
        let mut input: Vec<f32> = match self.least.as_slice() {
            [least] => vec![*least; voxels],
            each => each.iter().flat_map(|least| std::iter::repeat_n(*least, voxels)).collect(),
        };
        let mut label = vec![0; voxels];
        // The part of the window, along each axis, that lies in the volume.
        let inside = [0, 1, 2].map(|axis| {
            let first = (-start[axis]).max(0) as usize;
            let last = (self.size[axis] as isize - start[axis]).clamp(0, size[axis] as isize) as usize;
            first..last.max(first)
        });
        let from = |axis: usize, index: usize| (start[axis] + index as isize) as usize;
        let (rows, length) = (inside[1].clone(), inside[2].len());
        if !rows.is_empty() && length > 0 {
            for d in inside[0].clone() {
                // The run goes from the first row's first voxel to the last row's last: one run of each
                // channel.
                let first = (from(0, d) * self.size[1] + from(1, rows.start)) * self.size[2]
                    + from(2, inside[2].start);
                let run = (rows.len() - 1) * self.size[2] + length;
                let place = |h: usize| (d * size[1] + h) * size[2] + inside[2].start;
                for channel in 0..self.channels() {
                    let values = self.voxels.intensities(channel * self.count() + first, run)?;
                    for (h, values) in rows.clone().zip(values.chunks(self.size[2])) {
                        input[channel * voxels + place(h)..][..length].copy_from_slice(&values[..length]);
                    }
                }
                let classes = self.voxels.classes(first, run)?;
                for (h, classes) in rows.clone().zip(classes.chunks(self.size[2])) {
                    label[place(h)..][..length].copy_from_slice(&classes[..length]);
                }
            }
        }
        let shape = [self.channels(), size[0], size[1], size[2]];
        Ok(Sample { input, shape, target: Target::Classes(label) })
    }

    /// The part of a channel, and of the classes, that a moved window may come to.
    fn part(&self, channel: usize, warp: &Warp, window: &Window) -> Result<Part<'_>, String> {
        let (first, held) = match &self.voxels {
            Voxels::Held(..) => ([0; 3], self.size),
            Voxels::ByPlace(..) => warp.reach(self.size, window),
        };
        let of_channel = channel * self.count();
        if held == self.size {
            let scan = self.voxels.intensities(of_channel, self.count())?;
            return Ok(Part { first, held, scan, labels: self.voxels.classes(0, self.count())? });
        }
        let [_, height, width] = self.size;
        let voxels = held.iter().product();
        let (mut scan, mut labels) = (Vec::with_capacity(voxels), Vec::with_capacity(voxels));
        // The run goes from the first row's first voxel to the last row's last.
        let run = (held[1].max(1) - 1) * width + held[2];
        for d in first[0]..first[0] + held[0] {
            let at = (d * height + first[1]) * width + first[2];
            let values = self.voxels.intensities(of_channel + at, run)?;
            values.chunks(width).for_each(|row| scan.extend_from_slice(&row[..held[2]]));
            let classes = self.voxels.classes(at, run)?;
            classes.chunks(width).for_each(|row| labels.extend_from_slice(&row[..held[2]]));
        }
        Ok(Part { first, held, scan: Cow::Owned(scan), labels: Cow::Owned(labels) })
    }

    /// A window of one channel, moved, and its classes.
    fn moved(&self, channel: usize, warp: &Warp, window: &Window) -> Result<(Vec<f32>, Vec<u8>), String> {
        let Part { first, held, scan, labels } = self.part(channel, warp, window)?;
        let outside = self.least.get(channel).copied().unwrap_or(0.0);
        let volume = Volume { size: self.size, first, held, scan: &scan, labels: &labels, outside };
        Ok(warp.read(&volume, window))
    }

    /// A window of every channel, moved alike.
    pub(in crate::operators::samples::dataset) fn moved_patch(
        &self,
        warp: &Warp,
        window: &Window,
    ) -> Result<Sample, String> {
        let [depth, height, width] = window.size;
        let (mut input, mut label) = (Vec::new(), Vec::new());
        for channel in 0..self.channels() {
            let (values, classes) = self.moved(channel, warp, window)?;
            match input.is_empty() {
                true => (input, label) = (values, classes),
                false => input.extend(values),
            }
        }
        Ok(Sample { input, shape: [self.channels(), depth, height, width], target: Target::Classes(label) })
    }

    /// Cuts slices as [`PreparedCase::slices`] does, each slice moved alike.
    pub(in crate::operators::samples::dataset) fn moved_slices(
        &self,
        view: &InputView,
        target: usize,
        warp: &Warp,
        slice: &Window,
    ) -> Result<Sample, String> {
        let [depth, height, width] = self.size;
        let slices = view.channel_slices(target, depth);
        let at = |index: usize| Window { start: [index as isize, 0, 0], ..*slice };
        let mut input = Vec::new();
        for channel in 0..self.channels() {
            for &index in &slices {
                input.extend(self.moved(channel, warp, &at(index))?.0);
            }
        }
        let (_, label) = self.moved(0, warp, &at(target))?;
        let shape = [self.channels() * slices.len(), 1, height, width];
        Ok(Sample { input, shape, target: Target::Classes(label) })
    }

    pub(in crate::operators::samples::dataset) fn slices(
        &self,
        view: &InputView,
        target: usize,
    ) -> Result<Sample, String> {
        let [depth, height, width] = self.size;
        let area = height * width;
        let slices = view.channel_slices(target, depth);
        let mut input = Vec::with_capacity(self.channels() * slices.len() * area);
        for channel in 0..self.channels() {
            for slice in &slices {
                let first = channel * self.count() + slice * area;
                input.extend_from_slice(&self.voxels.intensities(first, area)?);
            }
        }
        let label = self.slice_labels(target)?.into_owned();
        let shape = [self.channels() * slices.len(), 1, height, width];
        Ok(Sample { input, shape, target: Target::Classes(label) })
    }
}

/// A part of a case.
struct Part<'c> {
    /// The part's first voxel.
    first: [usize; 3],
    /// The number of the part's voxels along each axis.
    held: [usize; 3],
    scan: Cow<'c, [f32]>,
    labels: Cow<'c, [u8]>,
}
