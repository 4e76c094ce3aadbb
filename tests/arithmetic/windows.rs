//! Placement, weights and blending of windows against MONAI and nnU-Net (`golden/make_windows.py`).

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use tomoflow::networks::apply::maps::Planes;
use tomoflow::networks::apply::slab::{Logits, Slab};
use tomoflow::networks::apply::walk::Walk;
use tomoflow::networks::{Blend, Convention, Device, InferOptions, InputView, MapKinds, Maps, Model};

const WINDOW: [usize; 3] = [4, 6, 5];
const CONVENTIONS: [(&str, Convention); 2] = [("monai", Convention::Monai), ("nnunet", Convention::Nnunet)];
const BLENDS: [(&str, Blend); 2] = [("gaussian", Blend::Gaussian), ("constant", Blend::Constant)];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/windows").join(name)
}

struct Golden(Vec<u8>);

impl Golden {
    fn open(name: &str) -> Self {
        Self(std::fs::read(path(name)).unwrap())
    }

    fn size(&self, name: &str) -> Vec<usize> {
        SafeTensors::deserialize(&self.0).unwrap().tensor(name).unwrap().shape().to_vec()
    }

    fn bytes<const N: usize>(&self, name: &str) -> Vec<[u8; N]> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let (chunks, rest) = tensors.tensor(name).unwrap().data().as_chunks::<N>();
        assert!(rest.is_empty());
        chunks.to_vec()
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        self.bytes(name).into_iter().map(f32::from_le_bytes).collect()
    }

    fn f64(&self, name: &str) -> Vec<f64> {
        self.bytes(name).into_iter().map(f64::from_le_bytes).collect()
    }

    fn u16(&self, name: &str) -> Vec<u16> {
        self.bytes(name).into_iter().map(u16::from_le_bytes).collect()
    }
}

#[test]
fn windows_lie_where_the_peers_put_them() {
    let golden = Golden::open("placement.safetensors");
    let cases = golden.f64("cases");
    for (index, case) in cases.chunks_exact(3).enumerate() {
        for (name, convention) in CONVENTIONS {
            let found = convention.starts(case[0] as usize, case[1] as usize, case[2]);
            let expected: Vec<usize> =
                golden.u16(&format!("{name}.{index}")).into_iter().map(usize::from).collect();
            assert_eq!(found, expected, "{name}: {case:?}");
        }
    }
    assert!(cases.len() > 100);
}

#[test]
fn windows_weigh_what_the_peers_give_them() {
    let golden = Golden::open("weights.safetensors");
    for index in 0..5 {
        for (name, convention) in CONVENTIONS {
            let name = format!("{name}.{index}");
            let window: [usize; 3] = golden.size(&name).try_into().unwrap();
            let found = convention.weights(Blend::Gaussian, window).whole();
            for (found, expected) in found.iter().zip(golden.f32(&name)) {
                assert!((found / expected - 1.0).abs() < 1e-5, "{name}: {found} for {expected}");
            }
        }
    }
}

/// The mean logits `[C, D, H, W]` of a network that multiplies each window by a ramp.
fn blended(
    walk: &Walk,
    weights: tomoflow::networks::apply::window::Weights,
    scan: &[f32],
    ramp: &[f32],
) -> Vec<f32> {
    let length: usize = WINDOW.iter().product();
    let classes = ramp.len() / length;
    let [depth, height, width] = walk.size();
    let mut slab = Slab::new(walk.clone(), weights, classes + 1).unwrap();
    let mut means = vec![0.0; classes * scan.len()];
    let mut window = vec![0.0; length];
    let mut decided = Vec::new();
    for (index, &d) in walk.slabs().iter().enumerate() {
        for place in walk.places().chunks(1) {
            walk.gather(scan, d, place, &mut window);
            let product = |(i, ramp): (usize, &f32)| window[i % length] * ramp;
            // One class more, of ones: its sums are those of the weights.
            let logits: Vec<f32> =
                ramp.iter().enumerate().map(product).chain(std::iter::repeat_n(1.0, length)).collect();
            slab.add(
                d,
                place,
                Logits { numbers: &logits, strides: [0, length, WINDOW[1] * WINDOW[2], WINDOW[2]] },
            );
        }
        let before = walk.before();
        for plane in walk.decided(index).filter(|plane| (before[0]..before[0] + depth).contains(plane)) {
            for (class, h) in (0..classes).flat_map(|class| (0..height).map(move |h| (class, h))) {
                let row =
                    |class: usize| &slab.sums(plane, class, h + before[1])[before[2]..before[2] + width];
                let start = ((class * depth + plane - before[0]) * height + h) * width;
                let pairs = row(class).iter().zip(row(classes)).map(|(sum, weight)| sum / weight);
                means[start..start + width].iter_mut().zip(pairs).for_each(|(mean, found)| *mean = found);
            }
        }
        slab.decide(walk.decided(index), &mut decided).unwrap();
    }
    means
}

#[test]
fn windows_are_blended_as_the_peers_do() {
    let golden = Golden::open("blends.safetensors");
    let ramp = golden.f32("ramp");
    for index in 0..4 {
        let scan = golden.f32(&format!("scan.{index}"));
        let size: [usize; 3] = golden.size(&format!("scan.{index}")).try_into().unwrap();
        for (peer, convention) in CONVENTIONS {
            for (overlap, (mode, blend)) in [0.25, 0.5].into_iter().flat_map(|o| BLENDS.map(|b| (o, b))) {
                let name = format!("{peer}.{index}.{overlap}.{mode}");
                let walk = Walk::new(convention, size, WINDOW, overlap);
                let found = blended(&walk, convention.weights(blend, WINDOW), &scan, &ramp);
                let expected = golden.f32(&name);
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-5, "{name}: {found} for {expected}");
                }
                let options = InferOptions { overlap, convention, blend, ..InferOptions::default() };
                let classes = model(0).segment(&scan, size, &options).unwrap();
                assert_eq!(classes, largest(&expected, scan.len()), "{name}");
                let keep = MapKinds { probabilities: true, entropy: true, attention: false };
                let options = InferOptions { keep, ..options };
                let found = model(0).segment_with_maps(&scan, size, &options).unwrap();
                assert_eq!(found.classes, classes, "{name}");
                assert_softmax(&found.maps, &expected, size, &name);
            }
        }
    }
}

/// Both peers take the softmax of blended logits: MONAI as a post-processing, nnU-Net where it is asked to.
fn assert_softmax(maps: &Maps, logits: &[f32], size: [usize; 3], name: &str) {
    let whole =
        |planes: &Planes| -> Vec<u8> { (0..size[0]).flat_map(|d| planes.plane(d).unwrap()).collect() };
    let labels: Vec<Vec<u8>> = maps.probabilities.iter().map(whole).collect();
    let entropy = whole(maps.entropy.as_ref().unwrap());
    let voxels = entropy.len();
    assert_eq!((voxels, labels.len(), logits.len()), (size.iter().product(), 2, 3 * voxels));
    for voxel in 0..voxels {
        let exponentials = [0, 1, 2].map(|class| f64::from(logits[class * voxels + voxel]).exp());
        let p = exponentials.map(|one| one / exponentials.iter().sum::<f64>());
        let nats: f64 = p.iter().map(|p| if *p > 0.0 { -p * p.ln() } else { 0.0 }).sum();
        let expected = [p[1], p[2], nats / 3f64.ln()];
        let found = [labels[0][voxel], labels[1][voxel], entropy[voxel]];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((f64::from(found) - 254.0 * expected).abs() < 0.51, "{name}: {found} for {expected}");
        }
    }
}

fn largest(logits: &[f32], voxels: usize) -> Vec<u16> {
    let of = |voxel: usize, class: u16| logits[usize::from(class) * voxels + voxel];
    let best = |voxel| (0..3).max_by(|&a, &b| of(voxel, a).total_cmp(&of(voxel, b))).unwrap();
    (0..voxels).map(best).collect()
}

fn model(index: usize) -> Model {
    let names = vec!["a".to_owned(), "b".to_owned()];
    let view = InputView::Patch { size: WINDOW };
    Model::from_torchscript(&path(&format!("ramp{index}.pt")), view, 3, names, Device::CPU).unwrap()
}

#[test]
fn mirrored_windows_and_folds_are_averaged_as_nnunet_does() {
    let golden = Golden::open("blends.safetensors");
    let folds = Model::ensemble((0..3).map(model)).unwrap();
    for index in 0..4 {
        let scan = golden.f32(&format!("scan.{index}"));
        let size: [usize; 3] = golden.size(&format!("scan.{index}")).try_into().unwrap();
        let options = |flips| InferOptions {
            overlap: 0.5,
            convention: Convention::Nnunet,
            flips,
            ..InferOptions::default()
        };
        let found = model(0).segment(&scan, size, &options([true, false, true])).unwrap();
        assert_eq!(found, golden.u16(&format!("mirrored.{index}")), "mirrored");
        let found = folds.segment(&scan, size, &options([true; 3])).unwrap();
        assert_eq!(found, golden.u16(&format!("folds.{index}")), "folds");
    }
}

#[test]
fn models_that_differ_are_no_ensemble() {
    let other = |view, name: &str| {
        Model::from_torchscript(&path("ramp1.pt"), view, 2, vec![name.to_owned()], Device::CPU).unwrap()
    };
    let patch = || InputView::Patch { size: WINDOW };
    for (second, what) in
        [(other(patch(), "b"), "labels"), (other(InputView::Patch { size: [4, 4, 4] }, "a"), "view")]
    {
        let error = Model::ensemble([other(patch(), "a"), second]).err().unwrap().to_string();
        assert!(error.contains(what), "{error}");
    }
    assert!(Model::ensemble([]).is_err());
}

/// Mirroring changes nothing for networks that commute with it: a threshold, and the centre of a stack.
#[test]
fn mirroring_commutes() {
    let script = |name: &str, view| {
        let path = path("../networks").join(name);
        Model::from_torchscript(&path, view, 2, vec!["bright".to_owned()], Device::CPU).unwrap()
    };
    let size = [5, 7, 9];
    let scan: Vec<f32> = (0..315u32).map(|i| (i * 7919 % 101) as f32 / 100.0 + 0.001).collect();
    let views = [
        ("threshold.pt", InputView::Patch { size: [3, 4, 4] }),
        ("centre.pt", InputView::Stack { slices: 3, stride: 1 }),
        ("centre.pt", InputView::Bag { stacks: 3, slices: 3, gap: 2 }),
    ];
    for (name, view) in views {
        let model = script(name, view);
        let plain = model.segment(&scan, size, &InferOptions::default()).unwrap();
        for flips in [[true, false, false], [false, true, true], [true; 3]] {
            let found =
                model.segment(&scan, size, &InferOptions { flips, ..InferOptions::default() }).unwrap();
            assert_eq!(found, plain, "{name} {flips:?}");
        }
    }
}
