//! Slabs beside whole volumes, voxel by voxel.

use proptest::prelude::*;

use super::*;
use crate::networks::apply::window::{Blend, Convention};

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
            slab.decide(walk.decided(index), &mut decided).unwrap();
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
        let at = |[d, h, w]: [usize; 3], c: usize| ((d * self.classes + c) * padded[1] + h) * padded[2] + w;
        let voxel = |place: [usize; 3]| {
            let from: Option<Vec<usize>> =
                (0..3).map(|i| place[i].checked_sub(before[i]).filter(|&n| n < self.size[i])).collect();
            from.map_or(0.0, |n| volume[(n[0] * self.size[1] + n[1]) * self.size[2] + n[2]])
        };
        let [depth, height, width] = self.window;
        for d in starts(0) {
            for h in starts(1) {
                for w in starts(2) {
                    let place = |i: usize| [d + i / width / height, h + i / width % height, w + i % width];
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
            slab.decide(walk.decided(index), &mut decided).unwrap();
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
    assert!(decide_row(sums, width, 0, &mut target));
    target
}

#[test]
fn of_equal_sums_the_first() {
    let (least, most) = (f32::MIN, f32::MAX);
    let sums = [
        0.0, 1.0, most, 2.0, least, -1.0, 0.0, 2.0, 5.0, most, least, -2.0, 0.0, 3.0, most, most, least, 0.0,
    ];
    assert_eq!(decided(&sums, 6), [0, 2, 0, 1, 0, 2]);
    // There are more classes than fit a byte, and a width that lanes do not divide.
    let many: Vec<f32> = (0..300 * 33).map(|i| if i / 33 == i % 33 * 9 { 1.0 } else { 0.0 }).collect();
    let expected: Vec<u16> = (0..33).map(|w| w * 9).collect();
    assert_eq!(decided(&many, 33), expected);
}

/// Wherever it stands: in a whole lane, in the rest of a row, as the largest or as any other.
#[test]
fn what_is_no_number_is_seen_and_what_lies_beyond_is_not() {
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (class, w) in [(0, 0), (1, 7), (2, 15), (0, 16), (1, 18)] {
            let mut sums = vec![1.0; 3 * 20];
            sums[class * 20 + 1 + w] = odd;
            // Columns 1 to 19 lie in the volume.
            assert!(!decide_row(&sums, 20, 1, &mut [0; 19]), "{odd} at {class}, {w}");
            assert!(w < 17 || decide_row(&sums, 20, 1, &mut [0; 17]), "beyond");
        }
    }
}

/// A slab of one window over a volume that is smaller: logits beside it decide nothing.
#[test]
fn a_slice_without_numbers_is_named() {
    let walk = Walk::new(Convention::Monai, [3, 2, 2], [5, 4, 4], 0.5);
    let weights = Convention::Monai.weights(Blend::Constant, [5, 4, 4]);
    let decided = |place: usize| {
        let mut slab = Slab::new(walk.clone(), weights.clone(), 2).unwrap();
        let mut logits = vec![0.5; 2 * 80];
        logits[80 + place] = f32::NAN;
        slab.add(0, &[[0, 0]], Logits { numbers: &logits, strides: [0, 80, 16, 4] });
        slab.decide(walk.decided(0), &mut Vec::new())
    };
    // The volume is planes 1 to 3, rows and columns 1 and 2.
    for (place, slice) in [(16 + 5, Some(0)), (48 + 10, Some(2)), (5, None), (16 + 4, None), (64 + 5, None)] {
        let found = match decided(place) {
            Err(NetworkError::Logits { slice }) => Some(slice),
            Err(error) => panic!("{error}"),
            Ok(()) => None,
        };
        assert_eq!(found, slice, "{place}");
    }
}

#[test]
fn too_much_is_an_error() {
    let window = [4096, 4096, 16];
    let walk = Walk::new(Convention::Monai, [1, 1, 1], window, 0.5);
    let weights = Convention::Monai.weights(Blend::Constant, [1, 1, 1]);
    assert!(Slab::new(walk.clone(), weights.clone(), usize::MAX).is_err());
    assert!(Slab::new(walk, weights, 1 << 40).is_err());
}
