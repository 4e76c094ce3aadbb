//! The logits of windows, blended in a slab that is as deep as a window.

use rayon::prelude::*;
use tomoflow_connectors::pages;

use super::NetworkError;
use super::walk::{ROWS, Walk};
use super::window::Weights;

/// Voxels that are decided side by side.
const LANES: usize = 16;

/// The logits of windows as they lie in memory: `[N, C, D, H, W]`, voxels of a row side by side.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a> {
    /// The numbers.
    pub numbers: &'a [f32],
    /// Numbers from one to the next along `[N, C, D, H]`.
    pub strides: [usize; 4],
}

impl Logits<'_> {
    /// The first `width` numbers of a row.
    pub(super) fn row(&self, place: [usize; 4], width: usize) -> &[f32] {
        let start: usize = place.iter().zip(self.strides).map(|(n, stride)| n * stride).sum();
        self.numbers.get(start..start + width).unwrap_or_default()
    }
}

/// The weighted logits of the planes that windows still reach.
///
/// A plane lies at its number modulo the window's depth, `[D, H, C, W]`: the classes of a row lie side by side,
/// where they are added to and decided together.
#[derive(Debug)]
pub struct Slab {
    walk: Walk,
    weights: Weights,
    classes: usize,
    /// What is summed: classes, what else comes with them, and perhaps the weights themselves.
    channels: usize,
    weighed: bool,
    sums: Vec<f32>,
}

impl Slab {
    /// An empty slab. It takes `classes * depth of a window * height * width` numbers of 4 bytes.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when there is not enough memory.
    pub fn new(walk: Walk, weights: Weights, classes: usize) -> Result<Self, NetworkError> {
        Self::with_channels(walk, weights, classes, classes, false)
    }

    /// The same, of logits whose channels `0..classes` are the classes. The weights are summed as well, in a last
    /// channel of their own: by them a sum becomes a mean.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn weighed(
        walk: Walk,
        weights: Weights,
        classes: usize,
        channels: usize,
    ) -> Result<Self, NetworkError> {
        Self::with_channels(walk, weights, classes, channels.saturating_add(1), true)
    }

    fn with_channels(
        walk: Walk,
        weights: Weights,
        classes: usize,
        channels: usize,
        weighed: bool,
    ) -> Result<Self, NetworkError> {
        let [_, height, width] = walk.padded();
        let refused = || NetworkError::Torch {
            doing: "memory for a slab".to_owned(),
            message: format!(
                "not enough memory for {channels} classes of {} planes of {height} x {width}",
                walk.window()[0]
            ),
        };
        let lengths = [channels, walk.window()[0], height, width];
        let count = lengths.iter().try_fold(1usize, |all, &n| all.checked_mul(n)).ok_or_else(refused)?;
        let mut sums = Vec::new();
        sums.try_reserve_exact(count).map_err(|_| refused())?;
        pages::large(sums.spare_capacity_mut());
        sums.resize(count, 0.0);
        Ok(Self { walk, weights, classes, channels, weighed, sums })
    }

    /// Adds the logits of the windows at `places` of the slab at the padded plane `d`.
    pub fn add(&mut self, d: usize, places: &[[usize; 2]], logits: Logits<'_>) {
        let [_, height, width] = self.walk.padded();
        let [depth, rows, columns] = self.walk.window();
        let (channels, weights) = (self.channels, &self.weights);
        let last = self.weighed.then(|| channels - 1);
        let targets =
            self.sums.par_chunks_exact_mut((channels * width).max(1)).enumerate().with_min_len(ROWS);
        targets.for_each_init(
            || vec![0f32; columns],
            |row_weights, (index, target)| {
                let (slot, h) = (index / height, index % height);
                // The plane of the window that lies in this slot.
                let plane = (slot + depth - d % depth) % depth;
                let mut weighed = None;
                for (n, &[top, left]) in places.iter().enumerate() {
                    let Some(row) = h.checked_sub(top).filter(|&row| row < rows) else { continue };
                    if weighed != Some(row) {
                        weights.row(plane, row, row_weights);
                        weighed = Some(row);
                    }
                    for (c, sums) in target.chunks_exact_mut(width).enumerate() {
                        let Some(sums) = sums.get_mut(left..left + columns) else { continue };
                        if last == Some(c) {
                            sums.iter_mut().zip(&*row_weights).for_each(|(sum, weight)| *sum += weight);
                            continue;
                        }
                        let logits = logits.row([n, c, plane, row], columns);
                        for ((sum, weight), logit) in sums.iter_mut().zip(&*row_weights).zip(logits) {
                            *sum += weight * logit;
                        }
                    }
                }
            },
        );
    }

    /// The sums of one channel in one row of a padded plane that windows still reach.
    pub fn sums(&self, plane: usize, channel: usize, row: usize) -> &[f32] {
        let [_, height, width] = self.walk.padded();
        let slot = plane % self.walk.window()[0];
        let start = ((slot * height + row) * self.channels + channel) * width;
        self.sums.get(start..start + width).unwrap_or_default()
    }

    /// Appends the class of each voxel of padded planes, and empties them for planes to come. All classes of a
    /// voxel share their weights, so that the largest sum is the largest mean. Of equal ones the first is
    /// taken; a logit that is NaN is larger than all numbers.
    pub fn decide(&mut self, planes: std::ops::Range<usize>, decided: &mut Vec<u16>) {
        let [size, before] = [self.walk.size(), self.walk.before()];
        let [_, height, width] = self.walk.padded();
        let (row, classes) = (self.channels * width, self.classes * width);
        for plane in planes {
            let slot = plane % self.walk.window()[0];
            let Some(sums) = self.sums.get_mut(slot * height * row..(slot + 1) * height * row) else {
                return;
            };
            if plane.checked_sub(before[0]).is_none_or(|plane| plane >= size[0]) {
                sums.fill(0.0);
                continue;
            }
            let start = decided.len();
            decided.resize(start + size[1] * size[2], 0);
            let (above, rest) = sums.split_at_mut(before[1] * row);
            let (inside, below) = rest.split_at_mut(size[1] * row);
            above.fill(0.0);
            below.fill(0.0);
            let targets = decided[start..].par_chunks_exact_mut(size[2].max(1));
            let rows = inside.par_chunks_exact_mut(row.max(1)).zip(targets).with_min_len(ROWS);
            rows.for_each(|(sums, target)| {
                decide_row(sums.get(..classes).unwrap_or_default(), width, before[2], target);
                sums.fill(0.0);
            });
        }
    }
}

/// The class with the largest sum of each voxel of a row, the sums `[C, W]` from column `left` on.
fn decide_row(sums: &[f32], width: usize, left: usize, target: &mut [u16]) {
    for (index, target) in target.chunks_mut(LANES).enumerate() {
        let (mut best, mut class) = ([0f32; LANES], [0u32; LANES]);
        let start = left + index * LANES;
        for (c, sums) in sums.chunks_exact(width).enumerate() {
            let Some(sums) = sums.get(start..start + target.len()) else { return };
            match <&[f32; LANES]>::try_from(sums) {
                Ok(sums) => take_larger(sums, c as u32, &mut best, &mut class),
                Err(_) => {
                    let mut padded = [0f32; LANES];
                    padded[..sums.len()].copy_from_slice(sums);
                    take_larger(&padded, c as u32, &mut best, &mut class);
                }
            }
        }
        target.iter_mut().zip(class).for_each(|(target, class)| *target = class as u16);
    }
}

fn take_larger(sums: &[f32; LANES], c: u32, best: &mut [f32; LANES], class: &mut [u32; LANES]) {
    for lane in 0..LANES {
        let larger = ((sums[lane] > best[lane]) | sums[lane].is_nan()) & !best[lane].is_nan() | (c == 0);
        best[lane] = if larger { sums[lane] } else { best[lane] };
        class[lane] = if larger { c } else { class[lane] };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::window::{Blend, Convention};
    use super::*;

    /// Numbers without a pattern, from -1 to 1.
    fn noise(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    #[derive(Clone, Debug)]
    struct Setting {
        convention: Convention,
        blend: Blend,
        size: [usize; 3],
        window: [usize; 3],
        overlap: f64,
        classes: usize,
        batch: usize,
        seed: u32,
    }

    impl Setting {
        /// Logits of a class: they depend on the voxel and on where in its window it lies.
        fn logits(&self, windows: &[f32]) -> Vec<f32> {
            let length: usize = self.window.iter().product();
            let ramp = noise(length * self.classes, self.seed ^ 77);
            let mut logits = Vec::new();
            for window in windows.chunks_exact(length) {
                for ramp in ramp.chunks_exact(length) {
                    logits.extend(window.iter().zip(ramp).map(|(voxel, ramp)| voxel + ramp));
                }
            }
            logits
        }

        fn strides(&self) -> [usize; 4] {
            let [depth, height, width] = self.window;
            let class = depth * height * width;
            [class * self.classes, class, height * width, width]
        }

        /// The classes, and each plane's sums just before it is decided, `[D, C, H, W]` of the padded volume.
        fn blended(&self, volume: &[f32]) -> (Vec<u16>, Vec<f32>) {
            let walk = Walk::new(self.convention, self.size, self.window, self.overlap);
            let weights = self.convention.weights(self.blend, self.window);
            let mut slab = Slab::new(walk.clone(), weights, self.classes).unwrap();
            let (mut decided, mut sums) = (Vec::new(), Vec::new());
            let mut windows = vec![7.0; self.batch * self.window.iter().product::<usize>()];
            for (index, &d) in walk.slabs().iter().enumerate() {
                for places in walk.places().chunks(self.batch) {
                    walk.gather(volume, d, places, &mut windows);
                    let numbers = self.logits(&windows);
                    slab.add(d, places, Logits { numbers: &numbers, strides: self.strides() });
                }
                for plane in walk.decided(index) {
                    for class in 0..self.classes {
                        let rows = 0..walk.padded()[1];
                        rows.for_each(|row| sums.extend_from_slice(slab.sums(plane, class, row)));
                    }
                }
                slab.decide(walk.decided(index), &mut decided);
            }
            (decided, sums)
        }

        /// The same with a whole volume for every class, voxel by voxel.
        fn whole(&self, volume: &[f32]) -> Vec<f32> {
            let padded: [usize; 3] = std::array::from_fn(|i| self.size[i].max(self.window[i]));
            let before: [usize; 3] = std::array::from_fn(|i| (padded[i] - self.size[i]) / 2);
            let starts = |i: usize| self.convention.starts(padded[i], self.window[i], self.overlap);
            let weights = self.convention.weights(self.blend, self.window).whole();
            let mut sums = vec![0f32; padded.iter().product::<usize>() * self.classes];
            let at =
                |[d, h, w]: [usize; 3], c: usize| ((d * self.classes + c) * padded[1] + h) * padded[2] + w;
            let voxel = |place: [usize; 3]| {
                let from: Option<Vec<usize>> =
                    (0..3).map(|i| place[i].checked_sub(before[i]).filter(|&n| n < self.size[i])).collect();
                from.map_or(0.0, |n| volume[(n[0] * self.size[1] + n[1]) * self.size[2] + n[2]])
            };
            let [depth, height, width] = self.window;
            for d in starts(0) {
                for h in starts(1) {
                    for w in starts(2) {
                        let place =
                            |i: usize| [d + i / width / height, h + i / width % height, w + i % width];
                        let window: Vec<f32> = (0..depth * height * width).map(|i| voxel(place(i))).collect();
                        for (i, logit) in self.logits(&window).into_iter().enumerate() {
                            let (c, i) = (i / window.len(), i % window.len());
                            sums[at(place(i), c)] += weights[i] * logit;
                        }
                    }
                }
            }
            sums
        }
    }

    fn settings() -> impl Strategy<Value = Setting> {
        let window = prop::array::uniform3(1usize..7);
        let kinds = (any::<bool>(), any::<bool>(), 0usize..4, 1usize..5, 1usize..6, any::<u32>());
        (prop::array::uniform3(1usize..14), window, kinds).prop_map(|(size, window, kinds)| {
            let (monai, gaussian, overlap, classes, batch, seed) = kinds;
            Setting {
                convention: if monai { Convention::Monai } else { Convention::Nnunet },
                blend: if gaussian { Blend::Gaussian } else { Blend::Constant },
                overlap: [0.0, 0.25, 0.5, 0.8][overlap],
                size,
                window,
                classes,
                batch,
                seed,
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn slabs_give_what_whole_volumes_give(setting in settings()) {
            let volume = noise(setting.size.iter().product(), setting.seed);
            let (decided, sums) = setting.blended(&volume);
            let whole = setting.whole(&volume);
            // The same additions in the same order.
            prop_assert_eq!(&sums, &whole);
            let padded: [usize; 3] = std::array::from_fn(|i| setting.size[i].max(setting.window[i]));
            let before: [usize; 3] = std::array::from_fn(|i| (padded[i] - setting.size[i]) / 2);
            prop_assert_eq!(decided.len(), volume.len());
            for (i, class) in decided.into_iter().enumerate() {
                let [_, height, width] = setting.size;
                let [d, h, w] = [i / width / height + before[0], i / width % height + before[1], i % width + before[2]];
                let of = |c: usize| whole[((d * setting.classes + c) * padded[1] + h) * padded[2] + w];
                let first = (0..setting.classes).rev().max_by(|&a, &b| of(a).total_cmp(&of(b)));
                prop_assert_eq!(Some(usize::from(class)), first);
            }
        }

        #[test]
        fn windows_of_the_identity_are_the_scan(setting in settings()) {
            let volume = noise(setting.size.iter().product(), setting.seed);
            let walk = Walk::new(setting.convention, setting.size, setting.window, setting.overlap);
            let weights = setting.convention.weights(setting.blend, setting.window);
            let mut slab = Slab::new(walk.clone(), weights, 2).unwrap();
            let length: usize = setting.window.iter().product();
            let mut windows = vec![0.0; length];
            let (mut decided, mut found) = (Vec::new(), Vec::new());
            for (index, &d) in walk.slabs().iter().enumerate() {
                for place in walk.places().chunks(1) {
                    walk.gather(&volume, d, place, &mut windows);
                    // The voxels themselves, and ones: the sum of the weights.
                    let both = [&windows[..], &vec![1.0; length]].concat();
                    let [_, height, width] = setting.window;
                    slab.add(d, place, Logits { numbers: &both, strides: [0, length, height * width, width] });
                }
                for plane in walk.decided(index) {
                    for row in 0..walk.padded()[1] {
                        let pairs = slab.sums(plane, 0, row).iter().zip(slab.sums(plane, 1, row));
                        found.extend(pairs.map(|(sum, weight)| sum / weight));
                    }
                }
                slab.decide(walk.decided(index), &mut decided);
            }
            let ([_, height, width], before) = (walk.padded(), walk.before());
            for (i, voxel) in volume.iter().enumerate() {
                let [_, h, w] = setting.size;
                let [d, h, w] = [i / w / h + before[0], i / w % h + before[1], i % w + before[2]];
                let back = found[(d * height + h) * width + w];
                prop_assert!((back - voxel).abs() < 1e-5, "{back} for {voxel}");
            }
        }
    }

    fn decided(sums: &[f32], width: usize) -> Vec<u16> {
        let mut target = vec![9; width];
        decide_row(sums, width, 0, &mut target);
        target
    }

    #[test]
    fn of_equal_sums_the_first_and_of_nan_too() {
        let (nan, least) = (f32::NAN, f32::NEG_INFINITY);
        let sums =
            [0.0, 1.0, nan, 2.0, least, nan, 0.0, 2.0, 5.0, nan, least, nan, 0.0, 3.0, nan, nan, least, 1.0];
        assert_eq!(decided(&sums, 6), [0, 2, 0, 1, 0, 0]);
        // More classes than fit a byte, and a width that lanes do not divide.
        let many: Vec<f32> = (0..300 * 33).map(|i| if i / 33 == i % 33 * 9 { 1.0 } else { 0.0 }).collect();
        let expected: Vec<u16> = (0..33).map(|w| w * 9).collect();
        assert_eq!(decided(&many, 33), expected);
    }

    #[test]
    fn too_much_is_an_error() {
        let window = [4096, 4096, 16];
        let walk = Walk::new(Convention::Monai, [1, 1, 1], window, 0.5);
        let weights = Convention::Monai.weights(Blend::Constant, [1, 1, 1]);
        assert!(Slab::new(walk.clone(), weights.clone(), usize::MAX).is_err());
        assert!(Slab::new(walk, weights, 1 << 40).is_err());
    }
}
