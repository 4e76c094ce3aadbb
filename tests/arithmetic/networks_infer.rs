//! Inference as its callers see it: windows and slices give back what went in, and files that are no
//! models are errors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tomoflow::networks::architectures::config::{Level, Supervision, Units, Variant};
use tomoflow::networks::{
    Activation, Attention, Convention, Device, InferOptions, InputView, Model, ModelCard, NetworkConfig,
    NetworkError, Origin, Thresholds, UnetConfig,
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks").join(name)
}

fn script(name: &str, view: InputView) -> Result<Model, NetworkError> {
    Model::from_torchscript(&golden(name), view, 2, vec!["bright".to_owned()], Device::CPU)
}

/// Numbers between 0 and 1, without a pattern that a wrong place could keep.
fn volume(size: [usize; 3]) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..size.iter().product()).map(|_| next()).collect()
}

fn bright(voxels: &[f32]) -> Vec<u16> {
    voxels.iter().map(|&v| u16::from(v > 0.5)).collect()
}

#[test]
fn blended_windows_of_a_threshold_are_the_threshold() {
    for (size, window) in [
        ([11, 20, 17], [4, 8, 6]),
        ([3, 30, 9], [8, 8, 16]),
        ([5, 6, 7], [5, 6, 7]),
        ([9, 5, 5], [1, 5, 5]),
        ([1, 1, 1], [4, 4, 4]),
    ] {
        let model = script("threshold.pt", InputView::Patch { size: window }).unwrap();
        let voxels = volume(size);
        for (overlap, batch) in [(0.25, 4), (0.5, 1), (0.0, 7), (0.9, 64)] {
            let found = model
                .segment(&voxels, size, &InferOptions { overlap, batch, ..InferOptions::default() })
                .unwrap();
            assert!(found == bright(&voxels), "{size:?} by {window:?}, overlap {overlap}, batch {batch}");
        }
    }
}

/// Networks of MONAI and nnU-Net, saved by `torch.jit`, find what their own inferers find with them.
#[test]
fn networks_of_other_frameworks_find_what_they_find_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/scripts");
    let bytes = std::fs::read(folder.join("classes.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let scan = tensors.tensor("scan").unwrap();
    let (size, numbers) = (scan.shape().to_vec().try_into().unwrap(), scan.data().chunks_exact(4));
    let voxels: Vec<f32> = numbers.map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    for name in ["monai_unet", "monai_seg_resnet", "nnunet_plain_conv_unet"] {
        let (path, labels) = (folder.join(format!("{name}.pt")), vec!["a".to_owned(), "b".to_owned()]);
        let view = InputView::Patch { size: [16; 3] };
        let model = Model::from_torchscript(&path, view, 3, labels, Device::CPU).unwrap();
        for (whose, convention, overlap) in
            [("monai", Convention::Monai, 0.25), ("nnunet", Convention::Nnunet, 0.5)]
        {
            let options = InferOptions { convention, overlap, ..InferOptions::default() };
            let found = model.segment(&voxels, size, &options).unwrap();
            let expected = tensors.tensor(&format!("{name}.{whose}")).unwrap();
            let certain = found.iter().zip(expected.data()).filter(|(_, expected)| **expected != 255);
            assert!(certain.clone().count() > 15_000, "{name} by {whose}");
            let other = certain.filter(|(found, expected)| **found != u16::from(**expected)).count();
            assert_eq!(other, 0, "{name} by {whose}");
        }
    }
}

/// A network whose two channels are the dark and the bright: as heads each has a bit of its own.
#[test]
fn heads_of_a_script_are_bits_above_their_thresholds() {
    let size = [7, 14, 9];
    let voxels = volume(size);
    let labels = || vec!["dark".to_owned(), "bright".to_owned()];
    let heads = |name: &str, view: InputView| {
        Model::from_activated(&golden(name), view, (2, Activation::Sigmoid), labels(), Device::CPU).unwrap()
    };
    // 0.25 above the middle is a probability of 1 / (1 + exp(-0.25)).
    let quarter = 1.0 / (1.0 + f64::exp(-0.25));
    let named: BTreeMap<String, f64> = [("bright".to_owned(), quarter)].into_iter().collect();
    for (name, view) in [
        ("threshold.pt", InputView::Patch { size: [4, 8, 6] }),
        ("centre.pt", InputView::Stack { slices: 3, stride: 1 }),
    ] {
        let model = heads(name, view);
        let found = model.segment(&voxels, size, &InferOptions::default()).unwrap();
        let expected: Vec<u16> =
            voxels.iter().map(|v| u16::from(*v < 0.5) | u16::from(*v > 0.5) << 1).collect();
        assert_eq!(found, expected);
        let model = model.with_thresholds(&Thresholds::Named(BTreeMap::clone(&named))).unwrap();
        let found = model.segment(&voxels, size, &InferOptions::default()).unwrap();
        for (voxel, bits) in voxels.iter().zip(found) {
            if (voxel - 0.75).abs() > 1e-5 {
                assert_eq!(bits, u16::from(*voxel < 0.5) | u16::from(*voxel > 0.75) << 1, "{voxel}");
            }
        }
    }
    // As many channels as labels, and no background.
    let patch = || InputView::Patch { size: [4, 8, 6] };
    let one = |classes| {
        let label = vec!["bright".to_owned()];
        Model::from_activated(
            &golden("threshold.pt"),
            patch(),
            (classes, Activation::Sigmoid),
            label,
            Device::CPU,
        )
    };
    assert!(one(2).is_err());
    let error = one(1).unwrap().segment(&voxels, size, &InferOptions::default()).unwrap_err().to_string();
    assert!(error.contains(", 1, 4, 8, 6] expected") && error.contains(", 2, 4, 8, 6] found"), "{error}");
}

#[test]
fn the_target_of_a_stack_and_of_a_bag_is_the_middle_slice() {
    let size = [7, 6, 5];
    let voxels = volume(size);
    for view in [InputView::Stack { slices: 3, stride: 2 }, InputView::Bag { stacks: 3, slices: 3, gap: 2 }] {
        let model = script("centre.pt", view).unwrap();
        for batch in [1, 3, 16] {
            let found =
                model.segment(&voxels, size, &InferOptions { batch, ..InferOptions::default() }).unwrap();
            assert!(found == bright(&voxels));
        }
    }
}

#[test]
fn what_a_network_cannot_take_is_an_error() {
    let options = InferOptions::default();
    let model = script("threshold.pt", InputView::Patch { size: [4, 4, 4] }).unwrap();
    for (voxels, size) in [(7, [2, 2, 2]), (0, [0, 2, 2]), (8, [usize::MAX, 2, 2])] {
        let error = model.segment(&vec![0.0; voxels], size, &options).unwrap_err();
        assert!(matches!(error, NetworkError::Shape { .. }), "{error}");
    }
    assert!(model.segment(&[0.0; 8], [2, 2, 2], &InferOptions { overlap: 1.0, ..options }).is_err());
    assert!(model.segment(&[0.0; 8], [2, 2, 2], &InferOptions { overlap: f64::NAN, ..options }).is_err());
    // A network for windows that is shown stacks answers in another shape.
    let wrong = script("threshold.pt", InputView::Stack { slices: 3, stride: 1 }).unwrap();
    let error = wrong.segment(&[0.0; 8], [2, 2, 2], &options).unwrap_err().to_string();
    assert!(error.contains("[2, 2, 2, 2] expected, [2, 6, 2, 2] found"), "{error}");
}

#[test]
fn files_that_are_no_models_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let patch = || InputView::Patch { size: [4, 4, 4] };
    let whole = std::fs::read(golden("threshold.pt")).unwrap();
    for (name, bytes) in [("empty", &whole[..0]), ("cut", &whole[..1000]), ("text", &b"no network"[..])] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = Model::from_torchscript(&path, patch(), 1, vec![], Device::CPU).err().unwrap();
        assert!(matches!(error, NetworkError::File { .. }), "{error}");
        assert!(!error.to_string().contains("frame #"), "{error}");
        let error = Model::from_safetensors(bytes, Device::CPU).err().unwrap();
        assert!(matches!(error, NetworkError::File { .. }), "{error}");
    }
    let nowhere = folder.path().join("nowhere");
    assert!(Model::from_torchscript(&nowhere, patch(), 1, vec![], Device::CPU).is_err());
    assert!(script("threshold.pt", InputView::Patch { size: [0, 4, 4] }).is_err());
    // Weights without a card, in double precision.
    let golden = std::fs::read(golden("unet_2d.safetensors")).unwrap();
    assert!(Model::from_safetensors(&golden, Device::CPU).is_err());
}

#[test]
fn a_card_that_asks_for_too_much_takes_no_memory() {
    let golden = std::fs::read(golden("unet_2d.safetensors")).unwrap();
    let card = |window, channels| ModelCard {
        network: NetworkConfig::Unet(UnetConfig {
            in_channels: 1,
            classes: 2,
            levels: vec![Level { channels, kernel: [15, 15, 15], pool: [2, 2, 2] }; 8],
            attention: Attention::Off,
            variant: Variant::Paper,
            dropout: 0.0,
            supervision: Supervision::default(),
            units: Units::default(),
        }),
        view: InputView::Patch { size: [window; 3] },
        label_names: vec!["tumour".to_owned()],
        origin: Origin::default(),
        figures: vec![],
    };
    for (window, channels) in [(4096, 4), (64, 4096), (64, i64::MAX)] {
        let error = Model::with_card(&golden, card(window, channels), Device::CPU).err().unwrap();
        assert!(!matches!(error, NetworkError::Torch { .. }), "{error}");
    }
}
