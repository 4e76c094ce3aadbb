//! Volumes to classes: window by window, or slice by slice.

use tch::{Kind, Tensor};

use super::super::error::Doing;
use super::super::maps::{MapKinds, MapMaker};
use super::super::slab::Slab;
use super::super::walk::Walk;
use super::maps::Segmented;
use super::{InferOptions, InputView, Model, NetworkError, host, maps};

impl Model {
    /// Classes `[D, H, W]` of a volume `[D, H, W]`.
    ///
    /// # Errors
    /// [`NetworkError::Shape`] for voxels that do not fill the size, an overlap that is none, or logits of
    /// another shape than the network should give.
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
        let count = size.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
        if count != Some(voxels.len()) || voxels.is_empty() {
            return Err(NetworkError::Shape {
                what: "the volume".to_owned(),
                expected: format!("voxels for {size:?}"),
                found: voxels.len().to_string(),
            });
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
            InputView::Patch { size: window } => {
                let walk = Walk::new(options.convention, size, window, options.overlap);
                if self.device.is_gpu() {
                    self.by_window_on_device(voxels, &walk, options)
                } else {
                    self.by_window(voxels, &walk, options)
                }
            }
            _ => self.by_slice(voxels, size, options),
        })
    }

    /// Blends windows slab by slab: a slice is decided and its logits are dropped as soon as no later
    /// window reaches it.
    pub(super) fn by_window(
        &self,
        voxels: &[f32],
        walk: &Walk,
        options: &InferOptions,
    ) -> Result<Segmented, NetworkError> {
        let window = walk.window();
        let weights = options.convention.weights(options.blend, window);
        let classes = self.label_names.len() + 1;
        let mut maker = self.maker(options, walk.size());
        let mut slab = match maker {
            Some(_) => Slab::weighed(walk.clone(), weights, classes, self.channels(options))?,
            None => Slab::new(walk.clone(), weights, classes)?,
        };
        let mut batch = options.batch.clamp(1, walk.places().len());
        let mut windows = host::Windows::new(batch, window)?;
        let length: usize = window.iter().product();
        let mut decided = Vec::with_capacity(voxels.len());
        for (index, &d) in walk.slabs().iter().enumerate() {
            in_batches(walk.places(), &mut batch, |places| {
                let numbers = windows.numbers_mut();
                walk.gather(voxels, d, places, numbers.get_mut(..places.len() * length).unwrap_or_default());
                let logits = self.logits(&windows.first(places.len())?, options)?;
                let logits = host::readable(&logits)?;
                slab.add(d, places, host::numbers(&logits)?);
                Ok(())
            })?;
            maps::take_slab(&mut maker, &slab, walk, walk.decided(index))?;
            slab.decide(walk.decided(index), &mut decided);
        }
        Ok(segmented(decided, maker))
    }

    /// The same on a GPU, where logits stay until they are decided.
    pub(super) fn by_window_on_device(
        &self,
        voxels: &[f32],
        walk: &Walk,
        options: &InferOptions,
    ) -> Result<Segmented, NetworkError> {
        let (size, window, before) = (walk.size(), walk.window(), walk.before());
        let after: [usize; 3] = std::array::from_fn(|i| walk.padded()[i] - size[i] - before[i]);
        let padding: Vec<i64> = (0..3).rev().flat_map(|i| [before[i] as i64, after[i] as i64]).collect();
        let volume = Tensor::f_from_slice(voxels)?.f_view(size.map(|n| n as i64))?;
        let padded = volume.f_constant_pad_nd(padding)?;
        let [_, height, width] = walk.padded();
        let shape = window.map(|n| n as i64);
        let weights = options.convention.weights(options.blend, window).whole();
        let weight = Tensor::f_from_slice(&weights)?.f_view(shape)?.f_to_device(self.device.0)?;
        let mut maker = self.maker(options, size);
        // The weights themselves are a channel of their own where means are needed.
        let channels = self.channels(options) + usize::from(maker.is_some());
        let slab = [channels as i64, shape[0], height as i64, width as i64];
        let mut sums = Tensor::f_zeros(slab, (Kind::Float, self.device.0)).doing("memory for a slab")?;
        let (mut decided, mut batch) = (Vec::new(), options.batch.max(1));
        for (index, &d) in walk.slabs().iter().enumerate() {
            in_batches(walk.places(), &mut batch, |places| {
                self.add_windows(&padded, d, places, &weight, &mut sums, options)
            })?;
            let done = walk.decided(index).len() as i64;
            let ready = sums.f_narrow(1, 0, done)?;
            maps::take_sums(&mut maker, &ready, walk, walk.decided(index))?;
            let classes = ready.f_narrow(0, 0, self.classes())?.f_argmax(0, false)?;
            decided.push(classes.f_to_kind(Kind::Int)?.f_to_device(tch::Device::Cpu)?);
            let rest = sums.f_narrow(1, done, shape[0] - done)?;
            let fresh = Tensor::f_zeros([slab[0], done, slab[2], slab[3]], (Kind::Float, self.device.0))?;
            sums = Tensor::f_cat(&[rest, fresh], 1)?;
        }
        let mut whole = Tensor::f_cat(&decided, 0)?;
        for axis in 0..3 {
            whole = whole.f_narrow(axis as i64, before[axis] as i64, size[axis] as i64)?;
        }
        Ok(segmented(numbers(&whole)?, maker))
    }

    fn add_windows(
        &self,
        volume: &Tensor,
        d: usize,
        places: &[[usize; 2]],
        weight: &Tensor,
        sums: &mut Tensor,
        options: &InferOptions,
    ) -> Result<(), NetworkError> {
        let (depth, height, width) = weight.size3().doing("window")?;
        let cut = |&[h, w]: &[usize; 2]| -> Result<Tensor, NetworkError> {
            let slab = volume.f_narrow(0, d as i64, depth)?.f_narrow(1, h as i64, height)?;
            Ok(slab.f_narrow(2, w as i64, width)?.f_unsqueeze(0)?)
        };
        let windows: Result<Vec<_>, _> = places.iter().map(cut).collect();
        let windows = Tensor::f_stack(&windows?, 0)?.f_to_device(self.device.0)?;
        let weighed = self.logits(&windows, options)?.f_mul(weight)?;
        let channels = self.channels(options) as i64;
        for (index, &[h, w]) in places.iter().enumerate() {
            let target = sums.f_narrow(2, h as i64, height)?.f_narrow(3, w as i64, width)?;
            let _ = target.f_narrow(0, 0, channels)?.f_add_(&weighed.f_get(index as i64)?)?;
            if options.keep.any() {
                let _ = target.f_get(channels)?.f_add_(weight)?;
            }
        }
        Ok(())
    }

    /// Takes each slice as the target of a stack or a bag.
    fn by_slice(
        &self,
        voxels: &[f32],
        size: [usize; 3],
        options: &InferOptions,
    ) -> Result<Segmented, NetworkError> {
        let mut maker = self.maker(options, size);
        let volume = Tensor::f_from_slice(voxels)?.f_view(size.map(|n| n as i64))?;
        let targets: Vec<usize> = (0..size[0]).collect();
        let (mut decided, mut batch) = (Vec::new(), options.batch.max(1));
        in_batches(&targets, &mut batch, |targets| {
            let channels = targets.iter().flat_map(|&target| self.view.channel_slices(target, size[0]));
            let channels: Vec<i64> = channels.map(|slice| slice as i64).collect();
            let slices = volume.f_index_select(0, &Tensor::f_from_slice(&channels)?)?;
            let shape = [targets.len() as i64, -1, 1, size[1] as i64, size[2] as i64];
            let slices = slices.f_view(shape)?.f_to_device(self.device.0)?;
            let logits = self.logits(&slices, options)?;
            let classes = logits.f_narrow(1, 0, self.classes())?.f_argmax(1, false)?.f_squeeze_dim(1)?;
            let classes = classes.f_to_kind(Kind::Int)?.f_to_device(tch::Device::Cpu)?;
            maps::take_slices(&mut maker, &logits)?;
            decided.push(classes);
            Ok(())
        })?;
        Ok(segmented(numbers(&Tensor::f_cat(&decided, 0)?)?, maker))
    }
}

fn segmented(classes: Vec<u16>, maker: Option<MapMaker>) -> Segmented {
    Segmented { classes, maps: maker.map(MapMaker::finish).unwrap_or_default() }
}

/// Works on all items, at most `batch` at a time. Where memory does not suffice for them, half as many are tried, and
/// taken from then on; `work` must leave nothing behind when it fails.
fn in_batches<T>(
    items: &[T],
    batch: &mut usize,
    mut work: impl FnMut(&[T]) -> Result<(), NetworkError>,
) -> Result<(), NetworkError> {
    let mut rest = items;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min((*batch).max(1)));
        match work(now) {
            Ok(()) => rest = later,
            Err(error) if error.is_out_of_memory() && now.len() > 1 => {
                *batch = now.len() / 2;
                tracing::warn!(batch = *batch, %error, "less at a time from now on");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn numbers(classes: &Tensor) -> Result<Vec<u16>, NetworkError> {
    let plain = classes.f_contiguous()?;
    let mut values = vec![0i32; plain.numel()];
    plain.f_copy_data(&mut values, plain.numel())?;
    Ok(values.into_iter().map(|class| u16::try_from(class).unwrap_or(u16::MAX)).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::{Blend, Convention, Device};
    use super::*;

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
            let walk = Walk::new(options.convention, size, window, options.overlap);
            let found = model.by_window(&voxels, &walk, &options).unwrap();
            assert_eq!(found, model.by_window_on_device(&voxels, &walk, &options).unwrap());
            found.classes
        };
        assert_eq!(segmented(7), segmented(1));
        let bright: Vec<u16> = voxels.iter().map(|&value| u16::from(value > 0.5)).collect();
        assert_eq!(segmented(16), bright);
        let error = NetworkError::from(tch::TchError::Torch("CUDA out of memory. Tried".to_owned()));
        let mut batch = 1;
        let found = in_batches(&[0], &mut batch, |_| {
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
                let walk = Walk::new(convention, size, window, options.overlap);
                let ours = model.by_window(&voxels, &walk, &options).unwrap();
                assert_eq!(ours.classes.len(), count);
                assert_eq!(ours, model.by_window_on_device(&voxels, &walk, &options).unwrap(), "{size:?}");
            }
        }
    }
}
