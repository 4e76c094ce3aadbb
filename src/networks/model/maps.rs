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
            Network::Unet(ready) => !ready.unet.attention_scales().is_empty(),
            Network::Script(_) => false,
        })
    }

    /// Channels of the logits that [`logits`](Self::logits) gives: classes, and attention where it is kept.
    pub(super) fn channels(&self, options: &InferOptions) -> usize {
        self.label_names.len() + 1 + usize::from(options.keep.attention)
    }

    /// A maker of maps for a volume `[D, H, W]`; none where none is asked for.
    pub(super) fn maker(&self, options: &InferOptions, size: [usize; 3]) -> Option<MapMaker> {
        options.keep.any().then(|| MapMaker::new(options.keep, self.label_names.len() + 1, size))
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
