//! What a network is shown around a scan, and logits that are no numbers.

use std::path::Path;

use tomoflow::networks::{
    Convention, Device, InferOptions, InputView, MapKinds, Model, NetworkConfig, NetworkError,
    NetworkSettings, Volume,
};

fn script(view: InputView) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks/threshold.pt");
    Model::from_torchscript(&path, view, 2, vec!["bright".to_owned()], Device::CPU).unwrap()
}

fn trained(view: InputView, seed: u64) -> Model {
    let settings: NetworkSettings = serde_json::from_value(serde_json::json!({
        "type": "unet", "dims": "3d", "levels": 2, "channels": 4, "attention": "off", "variant": "paper",
    }))
    .unwrap();
    let network: NetworkConfig = settings.resolve(view.channels(), 2).unwrap();
    Model::seeded(&network, view, vec!["bright".to_owned()], seed, Device::CPU).unwrap()
}

fn scan(size: [usize; 3]) -> Vec<f32> {
    (0..size.iter().product::<usize>()).map(|i| (i * 7919 % 101) as f32 / 50.0 - 1.5).collect()
}

/// The scan amid a larger volume of one intensity, as much before as after, the odd voxel after.
fn amid(scan: &[f32], size: [usize; 3], larger: [usize; 3], value: f32) -> Vec<f32> {
    let before: [usize; 3] = std::array::from_fn(|i| (larger[i] - size[i]) / 2);
    let mut volume = vec![value; larger.iter().product()];
    for (i, voxel) in scan.iter().enumerate() {
        let [d, h, w] = [i / size[2] / size[1], i / size[2] % size[1], i % size[2]];
        let [d, h, w] = [d + before[0], h + before[1], w + before[2]];
        volume[(d * larger[1] + h) * larger[2] + w] = *voxel;
    }
    volume
}

fn part(classes: &[u16], size: [usize; 3], larger: [usize; 3]) -> Vec<u16> {
    let before: [usize; 3] = std::array::from_fn(|i| (larger[i] - size[i]) / 2);
    let voxels = 0..size.iter().product::<usize>();
    let of = |i: usize| {
        let [d, h, w] = [i / size[2] / size[1], i / size[2] % size[1], i % size[2]];
        classes[((d + before[0]) * larger[1] + h + before[1]) * larger[2] + w + before[2]]
    };
    voxels.map(of).collect()
}

/// The probability of the label at each voxel, as a byte.
fn shares(model: &Model, voxels: &[f32], size: [usize; 3], options: &InferOptions) -> Vec<u16> {
    let segmented = model.segment_with_maps(voxels, size, options).unwrap();
    let planes = &segmented.maps.probabilities[0];
    (0..size[0]).flat_map(|d| planes.plane(d).unwrap()).map(u16::from).collect()
}

#[test]
fn around_a_scan_a_network_sees_what_it_saw_in_its_training() {
    let (window, mut decided) = ([8, 16, 16], 0);
    let keep = MapKinds { probabilities: true, entropy: false, attention: false };
    for size in [[5, 16, 16], [8, 9, 30], [3, 4, 5]] {
        let larger: [usize; 3] = std::array::from_fn(|i| size[i].max(window[i]));
        let scan = scan(size);
        let least = scan.iter().copied().fold(f32::INFINITY, f32::min);
        let model = trained(InputView::Patch { size: window }, 3);
        for convention in [Convention::Monai, Convention::Nnunet] {
            let options = InferOptions { convention, keep, ..InferOptions::default() };
            let found = shares(&model, &scan, size, &options);
            let expect = |value: f32| {
                let whole = shares(&model, &amid(&scan, size, larger, value), larger, &options);
                part(&whole, size, larger)
            };
            assert_eq!(found, expect(least), "{size:?}");
            decided += usize::from(found != expect(9.0));
        }
    }
    assert!(decided > 0, "what lies around decides nothing here");
}

#[test]
fn networks_of_other_programs_see_zeros_and_do_not_mix_with_ours() {
    let view = || InputView::Patch { size: [4, 6, 6] };
    let size = [3, 6, 6];
    // A threshold of one voxel is the same whatever stands around.
    let alone = script(view()).segment(&scan(size), size, &InferOptions::default());
    assert!(alone.is_ok());
    let both = Model::ensemble([script(view()), trained(view(), 1)]).unwrap();
    let error = both.segment(&scan(size), size, &InferOptions::default()).unwrap_err();
    assert!(error.to_string().contains("padding"), "{error}");
    let size = [4, 7, 6];
    assert!(both.segment(&scan(size), size, &InferOptions::default()).is_ok(), "nothing is padded");
}

fn assert_refused(found: Result<impl Sized, NetworkError>, slice: usize, what: &str) {
    match found {
        Err(NetworkError::Logits { slice: found }) => assert_eq!(found, slice, "{what}"),
        Err(error) => panic!("{what}: {error}"),
        Ok(_) => panic!("{what}: a mask of no numbers"),
    }
}

/// Windows, slices, several volumes, mirrored inputs, ensembles and maps.
#[test]
fn logits_that_are_no_numbers_give_no_mask() {
    let size = [5, 8, 8];
    let maps = MapKinds { probabilities: true, entropy: true, attention: false };
    let views = [
        InputView::Patch { size: [2, 8, 8] },
        InputView::Stack { slices: 1, stride: 1 },
        InputView::Bag { stacks: 1, slices: 1, gap: 1 },
    ];
    for view in views {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for keep in [MapKinds::default(), maps] {
                for flips in [[false; 3], [false, true, true]] {
                    let mut voxels = scan(size);
                    voxels[3 * 64 + 9] = odd;
                    let options = InferOptions { keep, flips, ..InferOptions::default() };
                    let what = format!("{view:?} {odd} {keep:?} {flips:?}");
                    let model =
                        Model::ensemble([trained(view.clone(), 1), trained(view.clone(), 2)]).unwrap();
                    let found = model.segment_with_maps(&voxels, size, &options);
                    assert!(matches!(found, Err(NetworkError::Logits { .. })), "{what}");
                    let fine = scan(size);
                    assert!(model.segment_with_maps(&fine, size, &options).is_ok(), "{what}");
                    let both = [&fine, &voxels].map(|voxels| Volume { voxels, size });
                    assert!(model.segment_together(&both, &options).is_err(), "{what}");
                }
            }
        }
    }
}

/// A threshold sees one voxel at a time: the slice that is named is the one.
#[test]
fn the_slice_is_named() {
    for (size, slice) in [([5, 7, 9], 3), ([3, 3, 3], 2), ([1, 20, 20], 0)] {
        let model = script(InputView::Patch { size: [3, 4, 4] });
        let mut voxels = scan(size);
        voxels[slice * size[1] * size[2] + 5] = f32::NAN;
        assert_refused(model.segment(&voxels, size, &InferOptions::default()), slice, "windows");
    }
}
