//! Maps of whole volumes, from tensors as from slabs.

use tch::Tensor;

use super::super::maps::{MapMaker, Maps};
use super::super::slab::{Logits, Slab};
use super::super::walk::Walk;
use super::{InferOptions, Model, Network, NetworkError, host};

/// Classes `[D, H, W]` of a volume, and the maps that were asked for, on its grid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segmented {
    /// Classes, 0 for background.
    pub classes: Vec<u16>,
    /// The maps of [`InferOptions::keep`].
    pub maps: Maps,
}

impl Model {
    /// Whether every one of its networks has an attention map.
    pub fn attends(&self) -> bool {
        self.networks.iter().all(|network| match network {
            Network::Ours(ready) => ready.network.attends(),
            Network::Script(_) => false,
        })
    }

    /// Channels of the logits that [`logits`](Self::logits) gives: classes, and attention where it is kept.
    pub(super) fn channels(&self, options: &InferOptions) -> usize {
        self.activation.channels(self.label_names.len()) + usize::from(options.keep.attention)
    }

    /// A maker of maps for a volume `[D, H, W]`; none where none is asked for.
    pub(super) fn maker(&self, options: &InferOptions, size: [usize; 3]) -> Option<MapMaker> {
        let maker = || MapMaker::new(options.keep, self.label_names.len() + 1, size);
        options.keep.any().then(|| if self.activation.overlaps() { maker().of_heads() } else { maker() })
    }
}

/// Takes the planes of a slab that no later window reaches.
pub(super) fn take_slab(
    maker: &mut Option<MapMaker>,
    slab: &Slab,
    walk: &Walk,
    planes: std::ops::Range<usize>,
) -> Result<(), NetworkError> {
    let Some(maker) = maker else { return Ok(()) };
    let ([depth, _, width], before) = (walk.size(), walk.before());
    for plane in planes.filter(|plane| (before[0]..before[0] + depth).contains(plane)) {
        let row = |channel: usize, h: usize| {
            let sums = slab.sums(plane, channel, h + before[1]);
            sums.get(before[2]..before[2] + width).unwrap_or_default()
        };
        maker.take(row).map_err(unpacked)?;
    }
    Ok(())
}

/// Takes the planes of sums `[C, D, H, W]` on any device, the weights' last.
pub(super) fn take_sums(
    maker: &mut Option<MapMaker>,
    sums: &Tensor,
    walk: &Walk,
    planes: std::ops::Range<usize>,
) -> Result<(), NetworkError> {
    let Some(maker) = maker else { return Ok(()) };
    let ([depth, height, width], before) = (walk.size(), walk.before());
    for (index, plane) in planes.enumerate() {
        if !(before[0]..before[0] + depth).contains(&plane) {
            continue;
        }
        let inside = sums.f_narrow(1, index as i64, 1)?.f_narrow(2, before[1] as i64, height as i64)?;
        let inside = inside.f_narrow(3, before[2] as i64, width as i64)?.f_unsqueeze(0)?.f_contiguous()?;
        let inside = host::readable(&inside)?;
        let sums = host::numbers(&inside)?;
        maker.take(|channel, h| sums.row([0, channel, 0, h], width)).map_err(unpacked)?;
    }
    Ok(())
}

/// Takes logits `[N, C, 1, H, W]` of slices that nothing overlaps.
pub(super) fn take_slices(maker: &mut Option<MapMaker>, logits: &Tensor) -> Result<(), NetworkError> {
    let Some(maker) = maker else { return Ok(()) };
    let logits = host::readable(logits)?;
    let [count, channels, _, _, width] = std::array::from_fn(|axis| {
        logits.size().get(axis).and_then(|&n| usize::try_from(n).ok()).unwrap_or(0)
    });
    let (numbers, ones): (Logits<'_>, Vec<f32>) = (host::numbers(&logits)?, vec![1.0; width]);
    for n in 0..count {
        let row =
            |channel, h| if channel == channels { &ones } else { numbers.row([n, channel, 0, h], width) };
        maker.take(row).map_err(unpacked)?;
    }
    Ok(())
}

pub(super) fn without_attention() -> NetworkError {
    NetworkError::Config {
        field: "keep".to_owned(),
        message: "a network with attention maps expected, one without found".to_owned(),
    }
}

fn unpacked(error: std::io::Error) -> NetworkError {
    NetworkError::Torch { doing: "packing a map".to_owned(), message: format!("not enough memory: {error}") }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::super::super::maps::{MapKinds, Planes, stored};
    use super::super::Precision;
    use super::*;
    use crate::networks::architectures::config::{Attention, Level, Supervision, Units, Variant};
    use crate::networks::architectures::unet::Unet;
    use crate::networks::blocks::mode::Mode;
    use crate::networks::tensors::weights::Weights;
    use crate::networks::{Blend, Convention, Device, InputView, NetworkConfig, UnetConfig, Volume};

    const ALL: MapKinds = MapKinds { probabilities: true, entropy: true, attention: true };

    fn config(attention: Attention, channels: i64) -> UnetConfig {
        let level = |channels, depth| Level { channels, kernel: [depth, 3, 3], pool: [depth.min(2), 2, 2] };
        UnetConfig {
            in_channels: channels,
            classes: 3,
            levels: vec![level(2, 1), level(3, 3), level(4, 3)],
            attention,
            variant: Variant::Paper,
            dropout: 0.0,
            supervision: Supervision::default(),
            units: Units::default(),
        }
    }

    fn model(attention: Attention, view: InputView, seed: u64) -> Model {
        let config = NetworkConfig::Unet(config(attention, view.channels() as i64));
        let labels = vec!["a".to_owned(), "b".to_owned()];
        Model::seeded(&config, view, labels, seed, Device::CPU).unwrap()
    }

    fn scan(size: [usize; 3]) -> Vec<f32> {
        (0..size.iter().product::<usize>()).map(|i| (i * 7919 % 101) as f32 / 50.0 - 1.0).collect()
    }

    fn whole(planes: &Planes) -> Vec<u8> {
        (0..planes.size()[0]).flat_map(|d| planes.plane(d).unwrap()).collect()
    }

    fn every(maps: &Maps) -> Vec<Vec<u8>> {
        maps.probabilities.iter().chain(&maps.entropy).chain(&maps.attention).map(whole).collect()
    }

    /// Sums in another order may end on the other side of a half step.
    fn assert_near(found: &Maps, expected: &Maps) {
        let (found, expected) = (every(found), every(expected));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!(found.abs_diff(*expected) <= 1, "{found} for {expected}");
        }
    }

    #[test]
    fn one_window_has_the_maps_that_its_network_gives() {
        for attention in [Attention::Gate, Attention::Unsupervised, Attention::Supervised] {
            let size = [3, 7, 10];
            let model = model(attention, InputView::Patch { size }, 5);
            let options = InferOptions { keep: ALL, ..InferOptions::default() };
            let found = model.segment_with_maps(&scan(size), size, &options).unwrap();
            let unet = Unet::new(&config(attention, 1)).unwrap();
            let weights = Weights::seeded(unet.layout(), 5, Kind::Float, Device::CPU).unwrap();
            let input = Tensor::from_slice(&scan(size)).view([1, 1, 3, 7, 10]);
            let output = tch::no_grad(|| unet.forward(&weights, &input, Mode::Infer)).unwrap();
            // The network's own grid is padded to what its pools divide.
            let map = output.attention[0].narrow(2, 0, 3).narrow(3, 0, 7).narrow(4, 0, 10);
            let p = output.logits.softmax(1, Kind::Float);
            let entropy = -(&p * p.log()).sum_dim_intlist(1i64, false, Kind::Float) / 3f64.ln();
            let expected = [p.select(1, 1), p.select(1, 2), entropy, map];
            for (found, expected) in every(&found.maps).iter().zip(expected) {
                let expected: Vec<f32> = Vec::try_from(expected.contiguous().view([-1])).unwrap();
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    assert!(found.abs_diff(stored(expected)) <= 1, "{attention:?}: {found} for {expected}");
                }
            }
            assert!(whole(found.maps.attention.as_ref().unwrap()).iter().any(|byte| *byte > 0));
        }
    }

    /// The way of a GPU, taken on the CPU, gives the maps that slabs give: of several networks, mirrored windows and
    /// volumes smaller than a window too.
    #[test]
    fn tensors_and_slabs_give_the_same_maps() {
        let window = [4, 6, 5];
        let view = || InputView::Patch { size: window };
        let several = [1, 2].map(|seed| model(Attention::Supervised, view(), seed));
        let several = Model::ensemble(several).unwrap();
        for size in [[7, 9, 8], [3, 9, 4], [1, 1, 1]] {
            for (convention, blend, precision) in [
                (Convention::Monai, Blend::Gaussian, Precision::Float32),
                (Convention::Nnunet, Blend::Constant, Precision::Float32),
            ] {
                let flips = [true, false, true];
                let options =
                    InferOptions { overlap: 0.5, batch: 3, convention, blend, flips, precision, keep: ALL };
                let (voxels, whole) = (scan(size), [1; 3]);
                let volumes = [(&voxels, size), (&vec![0.5], whole)];
                let volumes = volumes.map(|(voxels, size)| Volume { voxels, size });
                let ours = several.by_window(&volumes[0], window, &options).unwrap();
                // A batch may end in another volume.
                let theirs = several.by_window_on_device(&volumes, window, &options).unwrap().swap_remove(0);
                assert_eq!(ours.classes, theirs.classes);
                assert_near(&ours.maps, &theirs.maps);
                let plain = several.segment(&scan(size), size, &options).unwrap();
                assert_eq!(ours.classes, plain, "maps change no class");
            }
        }
    }

    #[test]
    fn an_ensemble_of_one_network_twice_has_its_maps() {
        let window = [4, 6, 5];
        let view = || InputView::Patch { size: window };
        let (size, options) = ([5, 8, 7], InferOptions { keep: ALL, ..InferOptions::default() });
        let alone = model(Attention::Unsupervised, view(), 3);
        let twice = Model::ensemble([3, 3].map(|seed| model(Attention::Unsupervised, view(), seed))).unwrap();
        let [alone, twice] =
            [alone, twice].map(|model| model.segment_with_maps(&scan(size), size, &options).unwrap());
        assert_eq!(alone.classes, twice.classes);
        assert_near(&alone.maps, &twice.maps);
    }

    #[test]
    fn slices_have_maps_of_their_own() {
        let (size, options) = ([4, 6, 7], InferOptions { keep: ALL, batch: 3, ..InferOptions::default() });
        for view in
            [InputView::Stack { slices: 3, stride: 1 }, InputView::Bag { stacks: 3, slices: 1, gap: 1 }]
        {
            let model = model(Attention::Supervised, view, 4);
            let found = model.segment_with_maps(&scan(size), size, &options).unwrap();
            let single = InferOptions { batch: 1, ..options };
            assert_near(&model.segment_with_maps(&scan(size), size, &single).unwrap().maps, &found.maps);
            let labels: Vec<Vec<u8>> = found.maps.probabilities.iter().map(whole).collect();
            assert_eq!((labels.len(), labels[0].len()), (2, 168));
            for (voxel, class) in found.classes.iter().enumerate() {
                let surest =
                    labels.iter().position(|map| map[voxel] > 127).map_or(0, |label| label as u16 + 1);
                assert!(surest == 0 || surest == *class);
            }
            let half = InferOptions { precision: Precision::Bfloat16, ..options };
            let half = model.segment_with_maps(&scan(size), size, &half).unwrap();
            for (half, full) in every(&half.maps).iter().flatten().zip(every(&found.maps).iter().flatten()) {
                assert!(half.abs_diff(*full) <= 8, "{half} for {full}");
            }
        }
    }

    #[test]
    fn attention_of_a_network_without_is_an_error() {
        let view = || InputView::Patch { size: [4, 4, 4] };
        let (with, without) = (model(Attention::Gate, view(), 1), model(Attention::Off, view(), 1));
        assert!(with.attends() && !without.attends());
        let both = Model::ensemble([with, without]).unwrap();
        let options = InferOptions { keep: ALL, ..InferOptions::default() };
        let error = both.segment_with_maps(&[0.0; 64], [4; 3], &options).unwrap_err();
        assert!(matches!(&error, NetworkError::Config { field, .. } if field == "keep"), "{error}");
        let keep = MapKinds { attention: false, ..ALL };
        let options = InferOptions { keep, ..InferOptions::default() };
        let found = both.segment_with_maps(&[0.5; 64], [4; 3], &options).unwrap();
        assert_eq!((found.maps.probabilities.len(), found.maps.attention), (2, None));
    }
}
