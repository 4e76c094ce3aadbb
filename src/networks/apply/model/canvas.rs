//! Windows on a device: batches go on from one volume to the next, and logits stay there until they are decided.

use tch::{Kind, Tensor};

use super::super::maps::MapMaker;
use super::super::walk::Walk;
use super::maps::Segmented;
use super::segment::{Volume, next_batch, not_finite, numbers, segmented};
use super::{InferOptions, Model, NetworkError, maps};
use crate::networks::tensors::error::Doing;

/// A window by its volume, its slab and its place within the slab.
#[derive(Clone, Copy)]
struct Window {
    volume: usize,
    slab: usize,
    place: usize,
}

impl Window {
    fn all(walks: &[Walk]) -> Vec<Self> {
        let of_volume = |(volume, walk): (usize, &Walk)| {
            let (slabs, places) = (walk.slabs().len(), walk.places().len());
            (0..slabs * places).map(move |n| Self { volume, slab: n / places, place: n % places })
        };
        walks.iter().enumerate().flat_map(of_volume).collect()
    }
}

impl Model {
    /// Walks volumes window by window as on the CPU, with sums on the device. A volume's memory is taken with
    /// its first window and freed with its last.
    pub(super) fn by_window_on_device(
        &self,
        volumes: &[Volume<'_>],
        window: [usize; 3],
        options: &InferOptions,
    ) -> Result<Vec<Segmented>, NetworkError> {
        let walks: Vec<Walk> = volumes
            .iter()
            .map(|volume| self.walk(volume, window, options))
            .collect::<Result<_, NetworkError>>()?;
        let weights = options.convention.weights(options.blend, window).whole();
        let weight = Tensor::f_from_slice(&weights)?.f_view(window.map(|n| n as i64))?;
        let weight = weight.f_to_device(self.device.0)?;
        let windows = Window::all(&walks);
        let (mut rest, mut batch) = (windows.as_slice(), options.batch.max(1));
        let mut canvases: Vec<Option<Canvas<'_>>> = volumes.iter().map(|_| None).collect();
        let mut done = Vec::with_capacity(volumes.len());
        while let Some((windows, weighed)) = next_batch(&mut rest, &mut batch, |windows| {
            let mut cut = Vec::with_capacity(windows.len());
            for window in windows {
                let canvas = match &mut canvases[window.volume] {
                    Some(canvas) => canvas,
                    none => none.insert(Canvas::new(
                        self,
                        &volumes[window.volume],
                        &walks[window.volume],
                        options,
                    )?),
                };
                cut.push(canvas.cut(*window)?);
            }
            let windows = Tensor::f_stack(&cut, 0)?.f_to_device(self.device.0)?;
            Ok(self.logits(&windows, options)?.f_mul(&weight)?)
        })? {
            for (index, window) in windows.iter().enumerate() {
                let Some(canvas) = &mut canvases[window.volume] else { continue };
                canvas.add(*window, &weighed.f_get(index as i64)?, &weight)?;
                if !canvas.is_last_of_slab(*window) {
                    continue;
                }
                canvas.close(window.slab, self)?;
                if canvas.is_last_slab(*window)
                    && let Some(canvas) = canvases[window.volume].take()
                {
                    done.push(canvas.finish()?);
                }
            }
        }
        Ok(done)
    }
}

/// The weighted logits of one volume's planes that windows still reach, and what was decided of the others.
struct Canvas<'a> {
    walk: &'a Walk,
    /// The intensities `[C, D, H, W]` with their padding, on the CPU.
    volume: Tensor,
    /// The sums of weighted logits `[C, D, H, W]`, as deep as a window; with maps the weights' sums last.
    sums: Tensor,
    /// The number of the logits' channels.
    channels: i64,
    /// Whether the weights' sums stand behind them.
    weighed: bool,
    decided: Vec<Tensor>,
    maker: Option<MapMaker>,
}

impl<'a> Canvas<'a> {
    fn new(
        model: &Model,
        volume: &Volume<'_>,
        walk: &'a Walk,
        options: &InferOptions,
    ) -> Result<Self, NetworkError> {
        let (size, before, whole) = (walk.size(), walk.before(), walk.padded());
        let after: [usize; 3] = std::array::from_fn(|i| whole[i] - size[i] - before[i]);
        let padding: Vec<i64> = (0..3).rev().flat_map(|i| [before[i] as i64, after[i] as i64]).collect();
        let one = |(channel, voxels): (usize, &[f32])| {
            let voxels = Tensor::f_from_slice(voxels)?.f_view(size.map(|n| n as i64))?;
            padded(&voxels, &padding, walk.outside(channel))
        };
        let volume: Vec<Tensor> = volume.each().enumerate().map(one).collect::<Result<_, _>>()?;
        let volume = match volume.as_slice() {
            [only] => only.f_unsqueeze(0)?,
            all => Tensor::f_stack(all, 0)?,
        };
        let maker = model.maker(options, size);
        let channels = model.channels(options) as i64;
        // The weights themselves are a channel of their own where means are needed.
        let weighed = maker.is_some() || model.activation.overlaps();
        let all = channels + i64::from(weighed);
        let slab = [all, walk.window()[0] as i64, whole[1] as i64, whole[2] as i64];
        let sums = Tensor::f_zeros(slab, (Kind::Float, model.device.0)).doing("memory for a slab")?;
        Ok(Self { walk, volume, sums, channels, weighed, decided: Vec::new(), maker })
    }

    /// Returns where a window begins: its plane, row and column.
    fn start(&self, window: Window) -> [i64; 3] {
        let d = self.walk.slabs().get(window.slab).copied().unwrap_or_default();
        let [h, w] = self.walk.places().get(window.place).copied().unwrap_or_default();
        [d, h, w].map(|n| n as i64)
    }

    /// The window's voxels `[C, D, H, W]`.
    fn cut(&self, window: Window) -> Result<Tensor, NetworkError> {
        let mut cut = self.volume.shallow_clone();
        for ((axis, start), length) in (1..).zip(self.start(window)).zip(self.walk.window()) {
            cut = cut.f_narrow(axis, start, length as i64)?;
        }
        Ok(cut)
    }

    /// Adds weighed logits `[C, D, H, W]`.
    fn add(&mut self, window: Window, weighed: &Tensor, weight: &Tensor) -> Result<(), NetworkError> {
        let ([_, h, w], [_, height, width]) = (self.start(window), self.walk.window().map(|n| n as i64));
        let target = self.sums.f_narrow(2, h, height)?.f_narrow(3, w, width)?;
        let _ = target.f_narrow(0, 0, self.channels)?.f_add_(weighed)?;
        if self.weighed {
            let _ = target.f_get(self.channels)?.f_add_(weight)?;
        }
        Ok(())
    }

    fn is_last_of_slab(&self, window: Window) -> bool {
        window.place + 1 == self.walk.places().len()
    }

    fn is_last_slab(&self, window: Window) -> bool {
        window.slab + 1 == self.walk.slabs().len()
    }

    /// Decides the planes that no later slab reaches, and makes room for those to come.
    fn close(&mut self, slab: usize, model: &Model) -> Result<(), NetworkError> {
        let classes = model.classes();
        let planes = self.walk.decided(slab);
        let (done, size) = (planes.len() as i64, self.sums.size());
        let &[channels, depth, height, width] = size.as_slice() else { return Ok(()) };
        let ready = self.sums.f_narrow(1, 0, done)?;
        self.check(&ready.f_narrow(0, 0, classes)?, planes.start)?;
        maps::take_sums(&mut self.maker, &ready, self.walk, planes)?;
        let weights = self.weighed.then(|| ready.f_get(self.channels)).transpose()?;
        let found = model.decided(&ready.f_narrow(0, 0, classes)?, weights.as_ref(), 0)?;
        self.decided.push(found.f_to_kind(Kind::Int)?.f_to_device(tch::Device::Cpu)?);
        let rest = self.sums.f_narrow(1, done, depth - done)?;
        let fresh = Tensor::f_zeros([channels, done, height, width], (Kind::Float, self.sums.device()))?;
        self.sums = Tensor::f_cat(&[rest, fresh], 1)?;
        Ok(())
    }

    /// Checks that the classes' sums `[C, D, H, W]` of padded planes from `first` on are finite within the volume.
    fn check(&self, sums: &Tensor, first: usize) -> Result<(), NetworkError> {
        let ([depth, height, width], before) = (self.walk.size(), self.walk.before());
        let inside = sums.f_narrow(2, before[1] as i64, height as i64)?;
        let inside = inside.f_narrow(3, before[2] as i64, width as i64)?;
        let planes = usize::try_from(inside.size().get(1).copied().unwrap_or(0)).unwrap_or(0);
        let (from, to) = (before[0].max(first), (before[0] + depth).min(first + planes));
        if from >= to {
            return Ok(());
        }
        let inside = inside.f_narrow(1, (from - first) as i64, (to - from) as i64)?;
        match not_finite(&inside, 1)? {
            Some(plane) => Err(NetworkError::Logits { slice: from + plane - before[0] }),
            None => Ok(()),
        }
    }

    /// Classes on the volume's own grid, and its maps.
    fn finish(self) -> Result<Segmented, NetworkError> {
        let mut whole = Tensor::f_cat(&self.decided, 0)?;
        for ((axis, before), size) in (0..).zip(self.walk.before()).zip(self.walk.size()) {
            whole = whole.f_narrow(axis, before as i64, size as i64)?;
        }
        Ok(segmented(numbers(&whole)?, self.maker))
    }
}

/// A volume with its padding. tch's own scalars panic where memory fails, so that the value is added afterwards.
fn padded(volume: &Tensor, padding: &[i64], outside: f32) -> Result<Tensor, NetworkError> {
    if outside == 0.0 || padding.iter().all(|&n| n == 0) {
        return Ok(volume.f_constant_pad_nd(padding)?);
    }
    let around = volume.f_zeros_like()?.f_ones_like()?.f_constant_pad_nd(padding)?;
    let outside = Tensor::f_from_slice(&[outside])?.f_view(())?;
    Ok(outside
        .f_where_self(&around.f_eq_tensor(&around.f_zeros_like()?)?, &volume.f_constant_pad_nd(padding)?)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::networks::{Device, InputView};

    /// Batches that span slabs and volumes find what each volume alone does, whatever their size.
    #[test]
    fn volumes_together_are_what_they_are_alone() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/windows");
        let (window, labels) = ([4, 6, 5], vec!["a".to_owned(), "b".to_owned()]);
        let view = InputView::Patch { size: window };
        let model = Model::from_torchscript(&folder.join("ramp0.pt"), view, 3, labels, Device::CPU).unwrap();
        let sizes = [[1, 1, 1], [10, 14, 9], [3, 9, 4], [4, 6, 5], [1, 20, 20]];
        let numbers = |size: &[usize; 3]| -> Vec<f32> {
            (0..size.iter().product()).map(|i: usize| (i * 7919 % 101) as f32 / 100.0 + 0.5).collect()
        };
        let voxels = sizes.map(|size| numbers(&size));
        let volumes: Vec<Volume<'_>> =
            voxels.iter().zip(sizes).map(|(voxels, size)| Volume { voxels, size }).collect();
        for batch in [1, 5, 16, 64] {
            let options = InferOptions { batch, overlap: 0.5, ..Default::default() };
            let together = model.by_window_on_device(&volumes, window, &options).unwrap();
            let alone: Vec<Segmented> = volumes
                .iter()
                .map(|volume| model.segment_with_maps(volume.voxels, volume.size, &options).unwrap())
                .collect();
            assert_eq!(together, alone, "{batch}");
        }
    }
}
