//! Volumes to classes: window by window, or slice by slice.

use tch::{Kind, Tensor};

use super::super::maps::{MapKinds, MapMaker};
use super::super::slab::Slab;
use super::super::walk::Walk;
use super::maps::Segmented;
use super::{InferOptions, InputView, Model, Network, NetworkError, host, maps};
use crate::networks::sample::around;
use crate::networks::tensors::scalar::times;

impl Model {
    /// Classes `[D, H, W]` of a volume `[D, H, W]`, of several channels `[C, D, H, W]`.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for voxels that do not fill the size, an overlap that is none, or logits of
    /// another shape than the network should give; [`NetworkError::Logits`] for logits that are not finite.
    pub fn segment(
        &self,
        voxels: &[f32],
        size: [usize; 3],
        options: &InferOptions,
    ) -> Result<Vec<u16>, NetworkError> {
        let options = InferOptions { keep: MapKinds::default(), ..*options };
        Ok(self.segment_with_maps(voxels, size, &options)?.classes)
    }

    /// The same classes, and the maps of [`InferOptions::keep`] beside them.
    ///
    /// # Errors
    /// As for [`segment`](Self::segment); [`NetworkError::Config`] for attention of a network that has no map.
    pub fn segment_with_maps(
        &self,
        voxels: &[f32],
        size: [usize; 3],
        options: &InferOptions,
    ) -> Result<Segmented, NetworkError> {
        let mut found = self.segment_together(&[Volume { voxels, size }], options)?;
        found.pop().ok_or_else(|| super::no_logits("nothing"))
    }

    /// Several volumes at once, in their order. On a GPU, and slice by slice, a batch that one volume leaves unfilled
    /// is filled with windows of the next.
    ///
    /// # Errors
    /// As for [`segment_with_maps`](Self::segment_with_maps), for all of them when one is refused.
    pub fn segment_together(
        &self,
        volumes: &[Volume<'_>],
        options: &InferOptions,
    ) -> Result<Vec<Segmented>, NetworkError> {
        for Volume { voxels, size } in volumes {
            let count = size.iter().try_fold(1usize, |all, &n| all.checked_mul(n)).filter(|count| *count > 0);
            let channels =
                count.filter(|count| voxels.len().is_multiple_of(*count)).map(|count| voxels.len() / count);
            let wanted = self.channel_names.as_ref().map(|names| names.len().max(1));
            let fits = |channels: usize| channels > 0 && wanted.is_none_or(|wanted| wanted == channels);
            if !channels.is_some_and(fits) {
                let each = wanted.filter(|wanted| *wanted > 1).map(|wanted| format!("{wanted} channels of "));
                return Err(NetworkError::Shape {
                    what: "the volume".to_owned(),
                    expected: format!("{}voxels for {size:?}", each.unwrap_or_default()),
                    found: voxels.len().to_string(),
                });
            }
        }
        if !(0.0..1.0).contains(&options.overlap) {
            return Err(NetworkError::Shape {
                what: "overlap".to_owned(),
                expected: "0 to below 1".to_owned(),
                found: options.overlap.to_string(),
            });
        }
        if options.keep.attention && !self.attends() {
            return Err(maps::without_attention());
        }
        tch::no_grad(|| match self.view {
            InputView::Patch { size } if self.device.is_gpu() => {
                self.by_window_on_device(volumes, size, options)
            }
            InputView::Patch { size } => {
                volumes.iter().map(|volume| self.by_window(volume, size, options)).collect()
            }
            _ => self.by_slice(volumes, options),
        })
    }

    /// Blends windows slab by slab: a slice is decided and its logits are dropped as soon as no later
    /// window reaches it.
    pub(super) fn by_window(
        &self,
        volume: &Volume<'_>,
        window: [usize; 3],
        options: &InferOptions,
    ) -> Result<Segmented, NetworkError> {
        let walk = self.walk(volume, window, options)?;
        let weights = options.convention.weights(options.blend, window);
        let classes = self.activation.channels(self.label_names.len());
        let mut maker = self.maker(options, walk.size());
        let weighed = maker.is_some() || self.activation.overlaps();
        let mut slab = match weighed {
            true => Slab::weighed(walk.clone(), weights, classes, self.channels(options))?,
            false => Slab::new(walk.clone(), weights, classes)?,
        };
        let mut batch = options.batch.clamp(1, walk.places().len());
        let channels = volume.channels();
        let mut windows = host::Windows::new(batch, channels, window)?;
        let length: usize = channels * window.iter().product::<usize>();
        let mut decided = Vec::with_capacity(volume.size.iter().product());
        for (index, &d) in walk.slabs().iter().enumerate() {
            let mut rest = walk.places();
            while let Some((places, logits)) = next_batch(&mut rest, &mut batch, |places| {
                let numbers = windows.numbers_mut().get_mut(..places.len() * length).unwrap_or_default();
                walk.gather(volume.voxels, d, places, numbers);
                host::readable(&self.logits(&windows.first(places.len())?, options)?)
            })? {
                slab.add(d, places, host::numbers(&logits)?);
            }
            maps::take_slab(&mut maker, &slab, &walk, walk.decided(index))?;
            match self.activation.overlaps() {
                true => slab.decide_heads(walk.decided(index), &self.thresholds, &mut decided)?,
                false => slab.decide(walk.decided(index), &mut decided)?,
            }
        }
        Ok(segmented(decided, maker))
    }

    /// Returns where windows lie in a volume, and what lies around it: what the network saw there in its
    /// training. Networks of other programs are shown zeros, as MONAI and nnU-Net do.
    pub(super) fn walk(
        &self,
        volume: &Volume<'_>,
        window: [usize; 3],
        options: &InferOptions,
    ) -> Result<Walk, NetworkError> {
        let walk = Walk::new(options.convention, volume.size, window, options.overlap);
        if walk.padded() == volume.size {
            return Ok(walk);
        }
        let ours = self.networks.iter().filter(|network| matches!(network, Network::Ours(_))).count();
        if ours > 0 && ours < self.networks.len() {
            return Err(NetworkError::Shape {
                what: "an ensemble's padding around a scan smaller than its window".to_owned(),
                expected: "networks of one kind".to_owned(),
                found: "TorchScript, padded with zeros, beside models of `train`, padded with the lowest intensity"
                    .to_owned(),
            });
        }
        let lowest = || volume.each().map(around).collect();
        Ok(if ours > 0 { walk.padded_with(lowest()) } else { walk })
    }

    /// Takes each slice as the target of a stack or a bag.
    fn by_slice(
        &self,
        volumes: &[Volume<'_>],
        options: &InferOptions,
    ) -> Result<Vec<Segmented>, NetworkError> {
        let tensor = |volume: &Volume<'_>| {
            let [depth, height, width] = volume.size.map(|n| n as i64);
            let shape = [volume.channels() as i64, depth, height, width];
            Ok::<_, NetworkError>(Tensor::f_from_slice(volume.voxels)?.f_view(shape)?)
        };
        let tensors: Vec<Tensor> = volumes.iter().map(tensor).collect::<Result<_, _>>()?;
        let mut makers: Vec<_> = volumes.iter().map(|volume| self.maker(options, volume.size)).collect();
        let mut decided: Vec<Vec<Tensor>> = volumes.iter().map(|_| Vec::new()).collect();
        let targets = |(index, volume): (usize, &Volume<'_>)| (0..volume.size[0]).map(move |d| (index, d));
        let targets: Vec<(usize, usize)> = volumes.iter().enumerate().flat_map(targets).collect();
        let mut batch = options.batch.max(1);
        // Only slices of one size go through the network together.
        for mut rest in targets.chunk_by(|a, b| volumes[a.0].size[1..] == volumes[b.0].size[1..]) {
            while let Some((targets, logits)) = next_batch(&mut rest, &mut batch, |targets| {
                let slices = targets.iter().map(|&(index, target)| self.channels_of(&tensors[index], target));
                let slices = Tensor::f_stack(&slices.collect::<Result<Vec<_>, _>>()?, 0)?;
                self.logits(&slices.f_unsqueeze(2)?.f_to_device(self.device.0)?, options)
            })? {
                let mut first = 0;
                for of_one in targets.chunk_by(|a, b| a.0 == b.0) {
                    let (index, count) = (of_one[0].0, of_one.len() as i64);
                    let logits = logits.f_narrow(0, first, count)?;
                    first += count;
                    let of_classes = logits.f_narrow(1, 0, self.classes())?;
                    if let Some(place) = not_finite(&of_classes, 0)? {
                        let slice = of_one.get(place).map_or(0, |(_, target)| *target);
                        return Err(NetworkError::Logits { slice });
                    }
                    let classes = self.decided(&of_classes, None, 1)?.f_squeeze_dim(1)?;
                    maps::take_slices(&mut makers[index], &logits)?;
                    decided[index].push(classes.f_to_kind(Kind::Int)?.f_to_device(tch::Device::Cpu)?);
                }
            }
        }
        let found = decided.iter().zip(makers);
        found.map(|(decided, maker)| Ok(segmented(numbers(&Tensor::f_cat(decided, 0)?)?, maker))).collect()
    }

    /// Returns what shows a slice of a volume `[C, D, H, W]` to the network, `[C · slices, H, W]`: all slices
    /// of the first channel, then all of the second.
    pub(super) fn channels_of(&self, volume: &Tensor, target: usize) -> Result<Tensor, NetworkError> {
        let size = volume.size();
        let &[_, depth, height, width] = size.as_slice() else { return Err(super::no_logits("no volume")) };
        let depth = usize::try_from(depth).unwrap_or(0);
        let slices = self.view.channel_slices(target, depth);
        let slices: Vec<i64> = slices.into_iter().map(|slice| slice as i64).collect();
        Ok(volume.f_index_select(1, &Tensor::f_from_slice(&slices)?)?.f_reshape([-1, height, width])?)
    }
}

/// Voxels that are to be segmented.
#[derive(Clone, Copy, Debug)]
pub struct Volume<'a> {
    /// The intensities `[D, H, W]`, W fastest; of several channels `[C, D, H, W]`.
    pub voxels: &'a [f32],
    /// The size of the volume, `[D, H, W]`.
    pub size: [usize; 3],
}

impl<'a> Volume<'a> {
    /// Returns the number of channels that the volume has.
    pub(super) fn channels(&self) -> usize {
        self.voxels.len() / self.count()
    }

    /// The voxels of each channel.
    pub(super) fn each(&self) -> std::slice::ChunksExact<'a, f32> {
        self.voxels.chunks_exact(self.count())
    }

    fn count(&self) -> usize {
        self.size.iter().product::<usize>().max(1)
    }
}

/// The first place along an axis where a number is not finite: one small pass, and one number for each place.
pub(super) fn not_finite(logits: &Tensor, axis: i64) -> Result<Option<usize>, NetworkError> {
    let others: Vec<i64> = (0..logits.dim() as i64).filter(|other| *other != axis).collect();
    // 0 times a number is 0, and times anything else NaN, which every sum keeps.
    let odd = times(logits, 0.0)?.f_sum_dim_intlist(others.as_slice(), false, Kind::Float)?;
    Ok(Vec::<f32>::try_from(odd)?.iter().position(|odd| *odd != 0.0))
}

pub(super) fn segmented(classes: Vec<u16>, maker: Option<MapMaker>) -> Segmented {
    Segmented { classes, maps: maker.map(MapMaker::finish).unwrap_or_default() }
}

/// Returns what `make` gives for the next items, at most `batch` of them, which are taken off the rest. Where
/// memory does not suffice for them, half as many are tried, and taken from then on; `make` must leave
/// nothing behind when it fails.
pub(super) fn next_batch<'t, T, R>(
    rest: &mut &'t [T],
    batch: &mut usize,
    mut make: impl FnMut(&'t [T]) -> Result<R, NetworkError>,
) -> Result<Option<(&'t [T], R)>, NetworkError> {
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min((*batch).max(1)));
        match make(now) {
            Ok(made) => {
                *rest = later;
                return Ok(Some((now, made)));
            }
            Err(error) if error.is_out_of_memory() && now.len() > 1 => {
                *batch = now.len() / 2;
                tracing::warn!(batch = *batch, %error, "less at a time from now on");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

pub(super) fn numbers(classes: &Tensor) -> Result<Vec<u16>, NetworkError> {
    let plain = classes.f_contiguous()?;
    let mut values = vec![0i32; plain.numel()];
    plain.f_copy_data(&mut values, plain.numel())?;
    Ok(values.into_iter().map(|class| u16::try_from(class).unwrap_or(u16::MAX)).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::networks::{Blend, Convention, Device};

    /// A network that asks for more memory than there is when it sees more than two windows at a time.
    #[test]
    fn a_batch_that_is_too_large_is_halved() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/windows");
        let labels = vec!["a".to_owned()];
        let (size, window) = ([5, 14, 9], [4, 6, 5]);
        let voxels: Vec<f32> = (0..630).map(|i| (i * 7919 % 101) as f32 / 101.0).collect();
        let view = InputView::Patch { size: window };
        let model = Model::from_torchscript(&folder.join("two.pt"), view, 2, labels, Device::CPU).unwrap();
        let segmented = |batch| {
            let options = InferOptions { batch, ..InferOptions::default() };
            let volume = Volume { voxels: &voxels, size };
            let found = model.by_window(&volume, window, &options).unwrap();
            assert_eq!(vec![found.clone()], model.by_window_on_device(&[volume], window, &options).unwrap());
            found.classes
        };
        assert_eq!(segmented(7), segmented(1));
        let bright: Vec<u16> = voxels.iter().map(|&value| u16::from(value > 0.5)).collect();
        assert_eq!(segmented(16), bright);
        let error = NetworkError::from(tch::TchError::Torch("CUDA out of memory. Tried".to_owned()));
        let (mut rest, mut batch) = (&[0][..], 1);
        let found = next_batch(&mut rest, &mut batch, |_| -> Result<(), _> {
            Err(NetworkError::from(tch::TchError::Torch("CUDA out of memory".into())))
        });
        assert!(error.is_out_of_memory() && found.unwrap_err().is_out_of_memory());
    }

    /// The way of a GPU, taken on the CPU, decides as ours does.
    #[test]
    fn tensors_and_slabs_decide_alike() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/windows");
        let window = [4, 6, 5];
        let labels = vec!["a".to_owned(), "b".to_owned()];
        let view = InputView::Patch { size: window };
        let path = folder.join("ramp0.pt");
        let model = Model::from_torchscript(&path, view, 3, labels, Device::CPU).unwrap();
        for size in [[10, 14, 9], [3, 9, 4], [1, 1, 1], [1, 20, 20]] {
            let count: usize = size.iter().product();
            let voxels: Vec<f32> = (0..count).map(|i| (i * 7919 % 101) as f32 / 100.0 + 0.5).collect();
            for (convention, blend) in
                [(Convention::Monai, Blend::Gaussian), (Convention::Nnunet, Blend::Constant)]
            {
                let flips = [true, false, true];
                let options =
                    InferOptions { overlap: 0.5, convention, blend, batch: 3, flips, ..Default::default() };
                let volume = Volume { voxels: &voxels, size };
                let ours = model.by_window(&volume, window, &options).unwrap();
                assert_eq!(ours.classes.len(), count);
                let tensors = model.by_window_on_device(&[volume], window, &options).unwrap();
                assert_eq!(vec![ours], tensors, "{size:?}");
            }
        }
    }
}
