//! Scans of several channels on their way through a network.

use tch::Tensor;

use super::{InferOptions, Model};
use crate::networks::architectures::config::{Attention, Level, Supervision, Units, Variant};
use crate::networks::{Device, InputView, NetworkConfig, UnetConfig, Volume};

fn model(view: InputView) -> Model {
    let level = |channels, depth| Level { channels, kernel: [depth, 3, 3], pool: [depth.min(2), 2, 2] };
    let config = UnetConfig {
        in_channels: 2 * view.channels() as i64,
        classes: 2,
        levels: vec![level(2, 1), level(3, 1)],
        attention: Attention::Off,
        variant: Variant::Paper,
        dropout: 0.0,
        supervision: Supervision::default(),
        units: Units::default(),
    };
    let names = ["a", "b"].map(str::to_owned).to_vec();
    let labels = vec!["tumour".to_owned()];
    let model = Model::seeded(&NetworkConfig::Unet(config), view, labels, 5, Device::CPU).unwrap();
    model.of_channels(names)
}

fn voxels(size: [usize; 3]) -> Vec<f32> {
    (0..2 * size.iter().product::<usize>()).map(|i| (i * 7919 % 101) as f32 / 50.0 - 1.0).collect()
}

#[test]
fn slabs_and_tensors_decide_alike_and_both_channels_count() {
    let window = [2, 8, 8];
    let model = model(InputView::Patch { size: window });
    let options = InferOptions { overlap: 0.5, batch: 3, flips: [false, true, true], ..Default::default() };
    for size in [[5, 14, 9], [1, 5, 20], [2, 8, 8]] {
        let voxels = voxels(size);
        let volume = Volume { voxels: &voxels, size };
        let ours = model.by_window(&volume, window, &options).unwrap();
        assert_eq!(ours.classes.len(), size.iter().product::<usize>());
        assert_eq!(vec![ours], model.by_window_on_device(&[volume], window, &options).unwrap(), "{size:?}");
    }
    let input = Tensor::from_slice(&voxels(window)).view([1, 2, 2, 8, 8]);
    let logits = |input: &Tensor| model.logits(input, &InferOptions::default()).unwrap();
    assert_ne!(logits(&input), logits(&input.flip([1])));
    // A scan of one channel, or of three, is none that the model takes.
    let short = voxels([2, 8, 4]);
    assert!(model.segment(&short, window, &options).is_err());
    assert!(model.segment(&voxels([6, 8, 8])[..3 * 128], window, &options).is_err());
}

#[test]
fn slices_stand_channel_by_channel_and_are_mirrored_so() {
    let size = [4, 2, 3];
    for (view, slices) in [
        (InputView::Stack { slices: 3, stride: 1 }, vec![0, 0, 1]),
        (InputView::Bag { stacks: 3, slices: 1, gap: 2 }, vec![0, 0, 2]),
    ] {
        let model = model(view);
        let numbers: Vec<f32> = (0..48).map(|number| number as f32).collect();
        let volume = Tensor::from_slice(&numbers).view([2, 4, 2, 3]);
        let shown = model.channels_of(&volume, 0).unwrap();
        assert_eq!(shown.size(), [6, 2, 3]);
        let firsts: Vec<f32> = (0..6).map(|row| shown.double_value(&[row, 0, 0]) as f32).collect();
        let plane = |channel: usize, slice: usize| (channel * 24 + slice * 6) as f32;
        let expected: Vec<f32> =
            (0..2).flat_map(|channel| slices.iter().map(move |slice| plane(channel, *slice))).collect();
        assert_eq!(firsts, expected);
        let input = shown.unsqueeze(0).unsqueeze(2);
        let mirrored = model.mirrored(&input, &[2]).unwrap();
        let rows = Tensor::from_slice(&[2i64, 1, 0, 5, 4, 3]);
        assert_eq!(mirrored, input.index_select(1, &rows));
        assert_eq!(model.mirrored(&input, &[4]).unwrap(), input.flip([4]));
        let whole = voxels(size);
        let found = model.segment(&whole, size, &InferOptions::default()).unwrap();
        assert_eq!(found.len(), 24);
    }
}
