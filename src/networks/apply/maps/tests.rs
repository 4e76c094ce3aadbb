//! Maps against what a hand computes, and against whole volumes in double precision.

use proptest::prelude::*;

use super::super::slab::{Logits, Slab};
use super::super::walk::Walk;
use super::super::window::{Blend, Convention};
use super::*;

const ALL: MapKinds = MapKinds { probabilities: true, entropy: true, attention: true };

/// The shares of one row, before they are stored: probabilities, entropy, attention, `W` of each.
fn row_of(kinds: MapKinds, rows: &[&[f32]]) -> Vec<f32> {
    let (width, classes) = (rows[0].len(), rows.len() - 1 - usize::from(kinds.attention));
    let mut found = vec![7.0; count(kinds, classes) * width];
    shares(kinds, rows, &mut vec![7.0; classes * width], &mut found);
    found
}

/// Two windows of three voxels, the second two voxels on: the third voxel lies in both.
#[test]
fn two_classes_through_two_windows_as_by_hand() {
    let walk = Walk::new(Convention::Monai, [1, 1, 5], [1, 1, 3], 1.0 / 3.0);
    assert_eq!(walk.places(), [[0, 0], [0, 2]]);
    let weights = Convention::Monai.weights(Blend::Gaussian, [1, 1, 3]);
    let mut slab = Slab::weighed(walk.clone(), weights, 2, 3).unwrap();
    // The numbers for each window are those of background, tumour and attention.
    let windows: [f32; 18] = [
        0.0, 1.0, 2.0, 1.0, 1.0, -1.0, 0.1, 0.2, 0.3, //
        4.0, 0.5, 0.0, 0.0, 3.0, 90.0, 0.9, 0.8, 0.7,
    ];
    slab.add(0, walk.places(), Logits { numbers: &windows, strides: [9, 3, 3, 3] });
    let rows: Vec<&[f32]> = (0..4).map(|channel| slab.sums(0, channel, 0)).collect();
    let found = row_of(ALL, &rows);
    // The Gaussian of MONAI: σ = 3/8, so one voxel off the middle counts exp(-(8/3)²/2), far above 0.001. In the third
    // voxel both windows count alike: logits 3 and -0.5, attention 0.6.
    let odds = [-1.0f64, 0.0, 3.5, -2.5, -90.0];
    let attention = [0.1, 0.2, 0.6, 0.8, 0.7];
    for (voxel, (odds, attention)) in odds.into_iter().zip(attention).enumerate() {
        let p = 1.0 / (1.0 + odds.exp());
        let plogp = |p: f64| if p > 0.0 { p * p.ln() } else { 0.0 };
        let entropy = -(plogp(p) + plogp(1.0 - p)) / 2f64.ln();
        for (map, expected) in [p, entropy, attention].into_iter().enumerate() {
            let found = f64::from(found[map * 5 + voxel]);
            assert!((found - expected).abs() < 1e-6, "map {map}, voxel {voxel}: {found} for {expected}");
        }
    }
    let mut maker = MapMaker::new(ALL, 2, [1, 1, 5]);
    maker.take(|channel, h| slab.sums(0, channel, h)).unwrap();
    let maps = maker.finish();
    assert_eq!(maps.probabilities.len(), 1);
    assert_eq!(maps.probabilities[0].plane(0).unwrap(), [186, 127, 7, 235, 254]);
    assert_eq!(maps.entropy.unwrap().plane(0).unwrap(), [213, 254, 48, 98, 0]);
    assert_eq!(maps.attention.unwrap().plane(0).unwrap(), [25, 51, 152, 203, 178]);
    let mut decided = Vec::new();
    slab.decide(walk.decided(0), &mut decided).unwrap();
    // Equal logits are decided for the first class, whose map says a half.
    assert_eq!(decided, [1, 0, 0, 1, 1]);
}

#[test]
fn three_classes_alike_are_as_unsure_as_can_be() {
    let kinds = MapKinds { attention: false, ..ALL };
    let (low, high): (&[f32], &[f32]) = (&[-60.0, 0.0, -9000.0], &[-60.0, 0.0, 9000.0]);
    let found = row_of(kinds, &[low, low, high, &[2.0, 2.0, 2.0]]);
    let expected = [1.0 / 3.0, 1.0 / 3.0, 0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0, 1.0, 1.0, 0.0];
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
    }
}

#[test]
fn logits_that_are_no_numbers_are_unknown() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let background = [nan, 0.0, inf, inf, -inf, -inf, 0.0];
    let tumour = [0.0, nan, inf, 0.0, -inf, 0.0, -inf];
    let found = row_of(MapKinds { attention: false, ..ALL }, &[&background, &tumour, &[1.0; 7]]);
    let bytes: Vec<u8> = found.into_iter().map(stored).collect();
    // A class that is out of the question leaves the other one certain.
    assert_eq!(bytes[..7], [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 254, 0]);
    assert_eq!(bytes[7..], [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 0, 0]);
}

#[test]
fn only_what_is_asked_for_is_made() {
    for (probabilities, entropy, attention) in
        [(false, false, true), (false, true, false), (true, false, false), (false, true, true)]
    {
        let kinds = MapKinds { probabilities, entropy, attention };
        let mut maker = MapMaker::new(kinds, 3, [2, 1, 2]);
        let rows: [&[f32]; 5] = [&[0.0, 0.0], &[0.0, 9.0], &[0.0, 0.0], &[0.5, 0.25], &[1.0, 1.0]];
        for _ in 0..2 {
            let row = |channel: usize, _| if channel == 3 && !attention { rows[4] } else { rows[channel] };
            maker.take(row).unwrap();
        }
        let maps = maker.finish();
        let plane = |planes: &Planes| planes.plane(1).unwrap();
        let labels: Vec<Vec<u8>> = maps.probabilities.iter().map(plane).collect();
        assert_eq!(labels, if probabilities { vec![vec![85, 254], vec![85, 0]] } else { vec![] });
        assert_eq!(maps.entropy.as_ref().map(plane), entropy.then(|| vec![254, 1]));
        assert_eq!(maps.attention.as_ref().map(plane), attention.then(|| vec![127, 64]));
    }
    assert!(ALL.cover(MapKinds::default()) && !MapKinds::default().cover(ALL) && !MapKinds::default().any());
    assert_eq!(MapKinds::default().union(ALL), ALL);
}

/// A setting of windows, and logits that depend on the voxel's place and on the window's.
#[derive(Clone, Debug)]
struct Setting {
    size: [usize; 3],
    window: [usize; 3],
    classes: usize,
    nnunet: bool,
    seed: u32,
}

fn setting() -> impl Strategy<Value = Setting> {
    let lengths = (prop::array::uniform3(1usize..10), prop::array::uniform3(1usize..6));
    (lengths, 2usize..5, any::<bool>(), any::<u32>())
        .prop_map(|((size, window), classes, nnunet, seed)| Setting { size, window, classes, nnunet, seed })
}

fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 21) as f32 - 4.0
    };
    (0..count).map(|_| next()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn slabs_give_the_maps_of_whole_volumes(Setting { size, window, classes, nnunet, seed } in setting()) {
        let convention = if nnunet { Convention::Nnunet } else { Convention::Monai };
        let walk = Walk::new(convention, size, window, 0.5);
        let weights = convention.weights(Blend::Gaussian, window);
        let (length, channels) = (window.iter().product::<usize>(), classes + 1);
        let strides = [channels * length, length, window[1] * window[2], window[2]];
        let mut slab = Slab::weighed(walk.clone(), weights.clone(), classes, channels).unwrap();
        let mut plain = Slab::new(walk.clone(), weights.clone(), classes).unwrap();
        let mut maker = MapMaker::new(ALL, classes, size);
        let (padded, before) = (walk.padded(), walk.before());
        let mut sums = vec![0f64; padded.iter().product::<usize>() * (channels + 1)];
        let (mut decided, mut plainly) = (Vec::new(), Vec::new());
        for (index, &d) in walk.slabs().iter().enumerate() {
            for (place, &[top, left]) in walk.places().iter().enumerate() {
                let logits = noise(channels * length, seed.wrapping_add((index * 97 + place) as u32));
                slab.add(d, &[[top, left]], Logits { numbers: &logits, strides });
                plain.add(d, &[[top, left]], Logits { numbers: &logits, strides });
                for (i, weight) in weights.whole().into_iter().enumerate() {
                    let [z, y, x] = [i / window[1] / window[2], i / window[2] % window[1], i % window[2]];
                    let voxel = ((d + z) * padded[1] + top + y) * padded[2] + left + x;
                    let all = &mut sums[voxel * (channels + 1)..][..=channels];
                    all[channels] += f64::from(weight);
                    for (c, sum) in all[..channels].iter_mut().enumerate() {
                        *sum += f64::from(weight) * f64::from(logits[c * length + i]);
                    }
                }
            }
            for plane in walk.decided(index).filter(|plane| (before[0]..before[0] + size[0]).contains(plane)) {
                let row = |channel, h| &slab.sums(plane, channel, h + before[1])[before[2]..before[2] + size[2]];
                maker.take(row).unwrap();
            }
            slab.decide(walk.decided(index), &mut decided).unwrap();
            plain.decide(walk.decided(index), &mut plainly).unwrap();
        }
        // What is kept beside them changes no class.
        prop_assert_eq!(&decided, &plainly);
        let maps = maker.finish();
        let whole = |planes: &Planes| (0..size[0]).flat_map(|d| planes.plane(d).unwrap()).collect::<Vec<u8>>();
        let labels: Vec<Vec<u8>> = maps.probabilities.iter().map(whole).collect();
        let (entropy, attention) = (whole(&maps.entropy.unwrap()), whole(&maps.attention.unwrap()));
        for (i, class) in decided.into_iter().enumerate() {
            let [d, h, w] = [i / size[2] / size[1] + before[0], i / size[2] % size[1] + before[1], i % size[2] + before[2]];
            let sums = &sums[((d * padded[1] + h) * padded[2] + w) * (channels + 1)..][..=channels];
            let means: Vec<f64> = sums[..channels].iter().map(|sum| sum / sums[channels]).collect();
            let exponentials: Vec<f64> = means[..classes].iter().map(|mean| mean.exp()).collect();
            let total: f64 = exponentials.iter().sum();
            let p: Vec<f64> = exponentials.iter().map(|one| one / total).collect();
            let near = |byte: u8, share: f64| (f64::from(byte) - 254.0 * share.clamp(0.0, 1.0)).abs() < 0.51;
            for (label, map) in labels.iter().enumerate() {
                prop_assert!(near(map[i], p[label + 1]), "{} for {}", map[i], p[label + 1]);
                // Surer than a half of a label, and that is what the mask says.
                prop_assert!(map[i] <= 127 || usize::from(class) == label + 1);
            }
            let nats: f64 = p.iter().map(|p| -p * p.ln()).sum();
            prop_assert!(near(entropy[i], nats / (classes as f64).ln()));
            prop_assert!(near(attention[i], means[classes]));
        }
    }
}

#[test]
fn heads_have_a_probability_each() {
    let rows: [&[f32]; 3] = [&[0.0, 4.0, -2.0], &[0.0, -4.0, 0.0], &[1.0, 2.0, 1.0]];
    let kinds = MapKinds { probabilities: true, entropy: true, attention: false };
    let mut found = vec![7.0; 9];
    shares_of_heads(kinds, &rows, &mut found);
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    let uncertain = |p: f32| -(p * p.ln() + (1.0 - p) * (1.0 - p).ln()) / 2f32.ln();
    let both = |a: f32, b: f32| (uncertain(sigmoid(a)) + uncertain(sigmoid(b))) / 2.0;
    let expected = [
        [0.5, sigmoid(2.0), sigmoid(-2.0)],
        [0.5, sigmoid(-2.0), 0.5],
        [1.0, both(2.0, -2.0), both(-2.0, 0.0)],
    ];
    for (found, expected) in found.iter().zip(expected.as_flattened()) {
        assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
    }
}
