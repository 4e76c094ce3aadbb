//! Prepared cases as the training loop sees them: samples cut on demand, the same on any thread.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::value::{Case, Failure};
use super::view::View;
use crate::networks::sample::{InputView, Sample, SampleSource};

/// The most voxels of one sample: 8 GiB of intensities.
const MOST_VOXELS: usize = 1 << 31;

/// One case, ready to be cut: shared by all samples and threads, never copied.
#[derive(Clone, Debug)]
pub struct PreparedCase {
    name: String,
    size: [usize; 3],
    spacing_mm: [f64; 3],
    scan: Arc<[f32]>,
    labels: Arc<[u8]>,
    least: f32,
    /// Foreground voxels of all slices up to and with each.
    foreground: Vec<u64>,
}

impl PreparedCase {
    /// Voxels `[D, H, W]` and their classes; `name` is what errors call it (the case's key).
    ///
    /// # Errors
    /// `GRID_MISMATCH` when the counts do not fit `size` or it holds no voxel, `BAD_GRID` for a spacing that
    /// is no length.
    pub fn new(
        name: impl Into<String>,
        size: [usize; 3],
        spacing_mm: [f64; 3],
        scan: Arc<[f32]>,
        labels: Arc<[u8]>,
    ) -> Result<Self, Failure> {
        let voxels = size.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        if scan.is_empty() || voxels != Some(scan.len()) || voxels != Some(labels.len()) {
            return Err(Failure::new(
                "GRID_MISMATCH",
                format!("voxels of {size:?} expected, {} and {} labels found", scan.len(), labels.len()),
                "both must lie on one grid",
            ));
        }
        if !spacing_mm.iter().all(|mm| mm.is_finite() && *mm > 0.0) {
            return Err(Failure::new("BAD_GRID", format!("a spacing expected, {spacing_mm:?} mm found"), ""));
        }
        let least = scan.iter().copied().fold(f32::INFINITY, f32::min);
        let in_slice = |slice: &[u8]| slice.iter().map(|&label| u64::from(label != 0)).sum::<u64>();
        let foreground = labels
            .chunks_exact(size[1] * size[2])
            .scan(0, |total, slice| {
                *total += in_slice(slice);
                Some(*total)
            })
            .collect();
        let least = if least.is_finite() { least } else { 0.0 };
        Ok(Self { name: name.into(), size, spacing_mm, scan, labels, least, foreground })
    }

    /// A case with labels, copied once.
    ///
    /// # Errors
    /// `NO_LABELS` for a case without, `TOO_MANY_LABELS` for a class over 255; see [`PreparedCase::new`].
    pub fn from_case(name: impl Into<String>, case: &Case) -> Result<Self, Failure> {
        let Some(labels) = &case.labels else {
            return Err(Failure::new("NO_LABELS", "a case with labels expected, one without found", ""));
        };
        let classes: Option<Arc<[u8]>> =
            labels.voxels().iter().map(|&label| u8::try_from(label).ok()).collect();
        let classes = classes.ok_or_else(|| {
            Failure::new("TOO_MANY_LABELS", "classes up to 255 expected, a greater one found", "")
        })?;
        let geometry = case.scan.geometry();
        Self::new(name, geometry.size, geometry.spacing_mm(), case.scan.voxels().into(), classes)
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `[D, H, W]`.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// Along `[D, H, W]`.
    pub fn spacing_mm(&self) -> [f64; 3] {
        self.spacing_mm
    }

    /// Intensities `[D, H, W]`.
    pub fn scan(&self) -> &Arc<[f32]> {
        &self.scan
    }

    /// Classes `[D, H, W]`.
    pub fn labels(&self) -> &Arc<[u8]> {
        &self.labels
    }

    /// A foreground voxel, each as likely as any other.
    fn foreground_voxel(&self, rng: &mut ChaCha8Rng) -> Option<[usize; 3]> {
        let total = self.foreground.last().copied().filter(|&n| n > 0)?;
        let chosen = rng.random_range(0..total);
        let slice = self.foreground.partition_point(|&up_to| up_to <= chosen);
        let before = if slice == 0 { 0 } else { self.foreground[slice - 1] };
        let area = self.size[1] * self.size[2];
        let labels = &self.labels[slice * area..][..area];
        let mut inside = labels.iter().enumerate().filter(|(_, label)| **label != 0);
        let (pixel, _) = inside.nth((chosen - before) as usize)?;
        Some([slice, pixel / self.size[2], pixel % self.size[2]])
    }

    /// A slice with foreground, each as likely as any other.
    fn foreground_slice(&self, rng: &mut ChaCha8Rng) -> Option<usize> {
        let holds = |slice: &usize| {
            self.foreground[*slice] > if *slice == 0 { 0 } else { self.foreground[*slice - 1] }
        };
        let count = (0..self.size[0]).filter(holds).count();
        (count > 0).then(|| rng.random_range(0..count)).and_then(|n| (0..self.size[0]).filter(holds).nth(n))
    }

    fn patch(&self, size: [usize; 3], start: [isize; 3]) -> Sample {
        let voxels = size.iter().product();
        let mut input = vec![self.least; voxels];
        let mut label = vec![0; voxels];
        // The part of the window, along each axis, that lies in the volume.
        let inside = [0, 1, 2].map(|axis| {
            let first = (-start[axis]).max(0) as usize;
            let last = (self.size[axis] as isize - start[axis]).clamp(0, size[axis] as isize) as usize;
            first..last.max(first)
        });
        let from = |axis: usize, index: usize| (start[axis] + index as isize) as usize;
        let length = inside[2].len();
        for d in inside[0].clone() {
            for h in inside[1].clone() {
                let source =
                    (from(0, d) * self.size[1] + from(1, h)) * self.size[2] + from(2, inside[2].start);
                let target = (d * size[1] + h) * size[2] + inside[2].start;
                input[target..target + length].copy_from_slice(&self.scan[source..source + length]);
                label[target..target + length].copy_from_slice(&self.labels[source..source + length]);
            }
        }
        Sample { input, shape: [1, size[0], size[1], size[2]], label }
    }

    fn slices(&self, view: &InputView, target: usize) -> Sample {
        let [depth, height, width] = self.size;
        let area = height * width;
        let channels = view.channel_slices(target, depth);
        let mut input = Vec::with_capacity(channels.len() * area);
        for slice in &channels {
            input.extend_from_slice(&self.scan[slice * area..][..area]);
        }
        let label = self.labels[target * area..][..area].to_vec();
        Sample { input, shape: [channels.len(), 1, height, width], label }
    }
}

/// Prepared cases under a view.
#[derive(Clone, Debug)]
pub struct Dataset {
    view: View,
    input: InputView,
    cases: Vec<Arc<PreparedCase>>,
}

impl Dataset {
    /// A dataset; lengths in mm become voxels of the median spacing of its cases.
    pub fn new(view: View, cases: Vec<Arc<PreparedCase>>) -> Self {
        let median = |axis: usize| {
            let mut lengths: Vec<f64> = cases.iter().map(|case| case.spacing_mm[axis]).collect();
            lengths.sort_by(f64::total_cmp);
            let (low, high) = (lengths.len().saturating_sub(1) / 2, lengths.len() / 2);
            match (lengths.get(low), lengths.get(high)) {
                (Some(a), Some(b)) => (a + b) / 2.0,
                _ => 1.0,
            }
        };
        let input = view.resolve([median(0), median(1), median(2)]);
        Self { view, input, cases }
    }

    /// The shape in voxels: what the network is built for.
    pub fn input(&self) -> &InputView {
        &self.input
    }

    /// Its cases.
    pub fn cases(&self) -> &[Arc<PreparedCase>] {
        &self.cases
    }

    fn cut(&self, case: &PreparedCase, rng: &mut ChaCha8Rng) -> Sample {
        let around_foreground = rng.random_bool(self.view.foreground.clamp(0.0, 1.0));
        match self.input {
            InputView::Patch { size } => {
                let centre = around_foreground.then(|| case.foreground_voxel(rng)).flatten();
                let start = [0, 1, 2].map(|axis| {
                    let room = case.size[axis] as isize - size[axis] as isize;
                    match centre {
                        _ if room <= 0 => -((-room) / 2),
                        Some(voxel) => (voxel[axis] as isize - (size[axis] / 2) as isize).clamp(0, room),
                        None => rng.random_range(0..=room as u64) as isize,
                    }
                });
                case.patch(size, start)
            }
            InputView::Stack { .. } | InputView::Bag { .. } => {
                let target = around_foreground.then(|| case.foreground_slice(rng)).flatten();
                let target = target.unwrap_or_else(|| rng.random_range(0..case.size[0]));
                case.slices(&self.input, target)
            }
        }
    }
}

impl SampleSource for Dataset {
    fn len(&self) -> usize {
        self.cases.len() * self.view.per_case
    }

    fn sample(&self, index: usize, epoch: u64, seed: u64) -> Result<Sample, String> {
        // Neighbouring numbers are different cases, so that a batch is not all of one.
        let case = index.checked_rem(self.cases.len()).filter(|_| index < self.len());
        let Some(case) = case.and_then(|number| self.cases.get(number)) else {
            return Err(format!("a sample below {} expected, {index} asked for", self.len()));
        };
        let shape = match self.input {
            InputView::Patch { size } => [1, size[0], size[1], size[2]],
            _ => [self.input.channels(), 1, case.size[1], case.size[2]],
        };
        let voxels = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        if voxels.is_none_or(|voxels| voxels > MOST_VOXELS) {
            return Err(format!("case {}: a sample of {shape:?} voxels is too large", case.name));
        }
        let mut key = [0; 32];
        for (part, value) in key.chunks_exact_mut(8).zip([seed, epoch, index as u64]) {
            part.copy_from_slice(&value.to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        let mut sample = self.cut(case, &mut rng);
        if self.view.flip && rng.random_bool(0.5) {
            let width = sample.shape[3];
            sample.input.chunks_exact_mut(width).for_each(<[f32]>::reverse);
            sample.label.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
        Ok(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::Input;
    use super::*;

    /// Intensities are voxel numbers; foreground is voxel 5 of each slice but the first.
    fn case(size: [usize; 3]) -> Arc<PreparedCase> {
        let area = size[1] * size[2];
        let voxels = size.iter().product::<usize>();
        let scan = (0..voxels).map(|i| i as f32 - 1.0).collect();
        let labels = (0..voxels).map(|i| u8::from(i >= area && i % area == 5)).collect();
        Arc::new(PreparedCase::new("a", size, [3.0, 1.0, 1.0], scan, labels).unwrap())
    }

    fn dataset(input: InputView, foreground: f64, flip: bool, sizes: &[[usize; 3]]) -> Dataset {
        let view = View { input: Input::Voxels(input), per_case: 8, foreground, flip };
        Dataset::new(view, sizes.iter().map(|size| case(*size)).collect())
    }

    #[test]
    fn a_sample_depends_on_its_numbers_alone() {
        let data = dataset(InputView::Patch { size: [2, 3, 4] }, 0.5, true, &[[6, 8, 9], [5, 7, 7]]);
        assert_eq!(data.len(), 16);
        let all = |epoch, seed| -> Vec<Sample> {
            (0..16).map(|index| data.sample(index, epoch, seed).unwrap()).collect()
        };
        let there = std::thread::scope(|scope| scope.spawn(|| all(3, 7)).join().unwrap());
        assert_eq!(all(3, 7), there);
        assert_ne!(all(3, 7), all(4, 7));
        assert_ne!(all(3, 7), all(3, 8));
        assert!(data.sample(16, 0, 0).is_err());
        assert!(dataset(InputView::Patch { size: [1; 3] }, 0.5, true, &[]).sample(0, 0, 0).is_err());
    }

    #[test]
    fn foreground_patches_hold_foreground_and_are_windows() {
        let size = [6, 8, 9];
        let data = dataset(InputView::Patch { size: [1, 2, 3] }, 1.0, false, &[size]);
        for index in 0..8 {
            let sample = data.sample(index, 0, 0).unwrap();
            assert_eq!(sample.shape, [1, 1, 2, 3]);
            assert!(sample.label.contains(&1));
            let first = sample.input[0];
            assert_eq!(sample.input, [0.0, 1.0, 2.0, 9.0, 10.0, 11.0].map(|off| first + off));
        }
    }

    #[test]
    fn the_share_of_foreground_is_kept() {
        let data = dataset(InputView::Patch { size: [1, 1, 1] }, 0.25, false, &[[20, 30, 30]]);
        let hits = (0..2000).filter(|i| data.sample(i % 8, *i as u64, 1).unwrap().label[0] == 1).count();
        assert!((430..580).contains(&hits), "{hits}");
    }

    #[test]
    fn flipping_mirrors_input_and_label_together() {
        let data = dataset(InputView::Patch { size: [2, 2, 4] }, 0.0, true, &[[2, 2, 4]]);
        let plain: Vec<f32> = (0..16).map(|i| i as f32 - 1.0).collect();
        let mut mirrored = 0;
        for index in 0..8 {
            let sample = data.sample(index, 0, 0).unwrap();
            if sample.input != plain {
                mirrored += 1;
                assert_eq!(sample.input[..4], [2.0, 1.0, 0.0, -1.0]);
                assert_eq!(sample.label.iter().position(|&label| label == 1), Some(14));
            }
        }
        assert!((1..8).contains(&mirrored));
    }

    #[test]
    fn small_cases_are_padded_with_their_lowest_and_background() {
        let data = dataset(InputView::Patch { size: [1, 4, 4] }, 1.0, false, &[[2, 3, 2]]);
        let sample = data.sample(0, 0, 0).unwrap();
        assert_eq!(sample.label[10], 1);
        assert_eq!(sample.input[..4], [-1.0, 5.0, 6.0, -1.0]);
        assert_eq!(sample.input[12..], [-1.0; 4]);
        assert_eq!(sample.label.iter().filter(|&&label| label == 1).count(), 1);
    }

    #[test]
    fn stacks_and_bags_predict_their_target() {
        let stack = InputView::Stack { slices: 3, stride: 1 };
        let data = dataset(stack, 1.0, false, &[[4, 2, 3]]);
        let sample = data.sample(0, 0, 0).unwrap();
        assert_eq!(sample.shape, [3, 1, 2, 3]);
        assert_eq!(sample.label, [0, 0, 0, 0, 0, 1]);
        assert_eq!(sample.input[6] - sample.input[0], 6.0);
        let bag = InputView::Bag { stacks: 3, slices: 1, gap: 2 };
        let sample = dataset(bag, 0.0, false, &[[1, 2, 3]]).sample(0, 0, 0).unwrap();
        assert_eq!(sample.shape, [3, 1, 2, 3]);
        assert_eq!(sample.input[..6], sample.input[12..]);
    }

    #[test]
    fn lengths_follow_the_median_spacing() {
        let view = View { input: Input::PatchMm([6.0, 2.0, 2.0]), per_case: 1, foreground: 0.0, flip: false };
        let data = Dataset::new(view, vec![case([4, 4, 4])]);
        assert_eq!(*data.input(), InputView::Patch { size: [2, 2, 2] });
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let new = |size, spacing, voxels: usize, labels: usize| {
            PreparedCase::new("a", size, spacing, vec![0.0; voxels].into(), vec![0; labels].into())
        };
        assert_eq!(new([1, 1, 2], [1.0; 3], 2, 1).unwrap_err().code, "GRID_MISMATCH");
        assert_eq!(new([0, 1, 2], [1.0; 3], 0, 0).unwrap_err().code, "GRID_MISMATCH");
        assert_eq!(new([usize::MAX; 3], [1.0; 3], 2, 2).unwrap_err().code, "GRID_MISMATCH");
        assert_eq!(new([1, 1, 1], [0.0, 1.0, 1.0], 1, 1).unwrap_err().code, "BAD_GRID");
        let huge = dataset(InputView::Patch { size: [4096; 3] }, 0.0, false, &[[1, 1, 1]]);
        assert!(huge.sample(0, 0, 0).unwrap_err().contains("case a"));
    }
}
