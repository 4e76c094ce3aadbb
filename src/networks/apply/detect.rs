//! Boxes in a volume: one pass of the backbone for each slice, and what a bag needs of its neighbours from a ring.

use std::collections::VecDeque;

use tch::Tensor;

use crate::networks::architectures::rcnn::{Prepared, Rcnn};
use crate::networks::blocks::mode::Mode;
use crate::networks::tensors::file;
use crate::networks::tensors::weights::Weights;
use crate::networks::{
    Device, FindOptions, FoundBox, InputView, ModelCard, NetworkConfig, NetworkError, RcnnConfig, Volume,
};

/// A detector with its weights on a device.
pub struct Detector {
    network: Rcnn,
    weights: Weights,
    view: InputView,
    label_names: Vec<String>,
    things: Vec<Vec<String>>,
    device: Device,
}

/// The boxes of one slice.
#[derive(Clone, Debug, PartialEq)]
pub struct OnSlice {
    /// The slice, from 0.
    pub slice: usize,
    /// The surest first.
    pub boxes: Vec<FoundBox>,
}

/// An image of a volume, by the slice in its middle; one that lies off the volume's ends shows these.
struct Entry {
    middle: isize,
    image: Prepared,
}

impl Detector {
    /// Reads a model that [`train`](crate::networks::train()) wrote.
    ///
    /// # Errors
    /// [`NetworkError::File`] for bytes that are no such model, [`NetworkError::Config`] for a network that gives a class
    /// for each voxel, [`NetworkError::Shape`] for weights that are not those of the card's architecture.
    pub fn from_safetensors(bytes: &[u8], device: Device) -> Result<Self, NetworkError> {
        let ModelCard { network, view, label_names, origin, .. } = ModelCard::read(bytes)?;
        let NetworkConfig::Rcnn(config) = network else {
            return Err(NetworkError::Config {
                field: "network".to_owned(),
                message: "a detector expected, a network with a class for each voxel found: use `infer`"
                    .to_owned(),
            });
        };
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let shown = match view {
            InputView::Stack { slices, .. } => (1, whole(slices)),
            InputView::Bag { stacks, slices, .. } => (whole(stacks), whole(slices)),
            InputView::Patch { .. } => (0, 0),
        };
        let classes = whole(label_names.len().saturating_add(1));
        if shown != (config.stacks, config.slices) || classes != config.classes {
            let RcnnConfig { stacks, slices, classes, .. } = config;
            return Err(NetworkError::Shape {
                what: "the model's card".to_owned(),
                expected: format!("{stacks} images of {slices} slices, and {} labels", classes - 1),
                found: format!("{view:?} and {} labels", label_names.len()),
            });
        }
        let network = Rcnn::new(&config)?;
        let (_, named) = file::read::<serde::de::IgnoredAny>(bytes, "model")?;
        let weights = Weights::from_named(network.layout(), named, device)?;
        let mut things = origin.things;
        // A card that does not say it means the labels of these names.
        (things.len()..label_names.len()).for_each(|place| things.push(vec![label_names[place].clone()]));
        Ok(Self { network, weights, view, label_names, things, device })
    }

    /// A detector with first weights, for measurements.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for a network that cannot be built.
    pub fn seeded(
        config: &RcnnConfig,
        view: InputView,
        label_names: Vec<String>,
        seed: u64,
        device: Device,
    ) -> Result<Self, NetworkError> {
        let network = Rcnn::new(config)?;
        let weights = Weights::seeded(network.layout(), seed, tch::Kind::Float, device)?;
        let things = label_names.iter().map(|name| vec![name.clone()]).collect();
        Ok(Self { network, weights, view, label_names, things, device })
    }

    /// The names of the classes, from 1 on.
    pub fn label_names(&self) -> &[String] {
        &self.label_names
    }

    /// Whether each box has a mask.
    pub fn gives_masks(&self) -> bool {
        self.network.gives_masks()
    }

    /// Returns, for each class, the names of the labels that its things are made of.
    pub fn things(&self) -> &[Vec<String>] {
        &self.things
    }

    /// The boxes of every slice; `batch` images go through the backbone together.
    ///
    /// # Errors
    /// [`NetworkError::Logits`] where what is said of a slice is no number, [`NetworkError::Torch`] when libtorch refuses.
    pub fn detect(
        &self,
        volume: &Volume<'_>,
        options: &FindOptions,
        batch: usize,
    ) -> Result<Vec<OnSlice>, NetworkError> {
        self.detect_on(volume, options, batch, |_| true)
    }

    /// The boxes of such slices alone; of images no more are looked at than these ask for.
    ///
    /// # Errors
    /// As [`detect`](Self::detect).
    pub fn detect_on(
        &self,
        volume: &Volume<'_>,
        options: &FindOptions,
        batch: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<OnSlice>, NetworkError> {
        let [depth, height, width] = check(volume)?;
        let image = [height as i64, width as i64];
        let (stacks, gap) = match self.view {
            // The images around are asked for only by networks with attention.
            InputView::Bag { stacks, gap, .. } if self.network.looks_around() => {
                (stacks as isize, gap as isize)
            }
            _ => (1, 1),
        };
        let reach = stacks / 2 * gap;
        let (first, last) = self.ends(depth);
        let mut ring: VecDeque<Entry> = VecDeque::new();
        let mut next = first;
        let mut all = Vec::with_capacity(depth);
        let follows = |target: isize| target + 1 >= depth as isize || wanted(target as usize + 1);
        for target in (0..depth as isize).filter(|target| wanted(*target as usize)) {
            // Nothing before the bag is asked for again, and of what lies before its middle only what is lent
            // is kept.
            let low = (target - reach).clamp(first, last);
            while ring.front().is_some_and(|entry| entry.middle < low) {
                ring.pop_front();
            }
            for entry in ring.iter_mut().take_while(|entry| entry.middle < target) {
                entry.image = std::mem::take(&mut entry.image).lent();
            }
            next = next.max(low);
            let high = (target + reach).clamp(first, last);
            while next <= high {
                // Beyond what this slice needs only what the next one does.
                let end = if follows(target) { last } else { high };
                let count = (batch.max(1) as isize).min(end - next + 1);
                let middles: Vec<isize> = (next..next + count).collect();
                let prepared = self.prepare(volume, &middles)?;
                ring.extend(middles.into_iter().zip(prepared).map(|(middle, image)| Entry { middle, image }));
                next += count;
            }
            let begins = ring.front().map_or(first, |entry| entry.middle);
            let of = |stack: isize| {
                let middle = (target + (stack - stacks / 2) * gap).clamp(first, last);
                ring.get(usize::try_from(middle - begins).ok()?).map(|entry| &entry.image)
            };
            let bag: Option<Vec<&Prepared>> = (0..stacks).map(of).collect();
            let bag = bag.ok_or_else(lost)?;
            let found = tch::no_grad(|| self.network.find_prepared(&self.weights, &bag, image, options));
            all.push(OnSlice {
                slice: target as usize,
                boxes: found.map_err(|error| on(error, target as usize))?,
            });
        }
        Ok(all)
    }

    /// The same with every bag whole: the plain way, which costs as many passes as a bag has images.
    ///
    /// # Errors
    /// As [`detect`](Self::detect).
    pub fn detect_plainly(
        &self,
        volume: &Volume<'_>,
        options: &FindOptions,
    ) -> Result<Vec<OnSlice>, NetworkError> {
        let [depth, height, width] = check(volume)?;
        let of = |slice: usize| {
            let channels = self.view.channel_slices(slice, depth);
            let voxels: Vec<f32> = channels
                .iter()
                .flat_map(|channel| &volume.voxels[channel * height * width..][..height * width])
                .copied()
                .collect();
            let shape = [1, channels.len() as i64, height as i64, width as i64];
            let bag = Tensor::f_from_slice(&voxels)?.f_view(shape)?.f_to_device(self.device.0)?;
            let found = tch::no_grad(|| self.network.find_whole(&self.weights, &bag, options, Mode::Infer));
            let boxes = found.map_err(|error| on(error, slice))?.into_iter().next().unwrap_or_default();
            Ok(OnSlice { slice, boxes })
        };
        (0..depth).map(of).collect()
    }

    /// The middles of the first and the last image that are unlike all others: beyond them an image shows an end alone.
    fn ends(&self, depth: usize) -> (isize, isize) {
        let (slices, stride) = match self.view {
            InputView::Stack { slices, stride } => (slices, stride),
            InputView::Bag { slices, .. } => (slices, 1),
            InputView::Patch { .. } => (1, 1),
        };
        let beyond = (slices / 2 * stride) as isize;
        (-beyond, depth as isize - 1 + beyond)
    }

    fn prepare(&self, volume: &Volume<'_>, middles: &[isize]) -> Result<Vec<Prepared>, NetworkError> {
        let [depth, height, width] = volume.size;
        let (slices, stride) = match self.view {
            InputView::Stack { slices, stride } => (slices as isize, stride as isize),
            InputView::Bag { slices, .. } => (slices as isize, 1),
            InputView::Patch { .. } => (1, 1),
        };
        let mut voxels = Vec::with_capacity(middles.len() * slices as usize * height * width);
        for middle in middles {
            for offset in -(slices / 2)..=slices / 2 {
                let slice = (middle + offset * stride).clamp(0, depth as isize - 1) as usize;
                voxels.extend_from_slice(&volume.voxels[slice * height * width..][..height * width]);
            }
        }
        let shape = [middles.len() as i64, slices as i64, height as i64, width as i64];
        let images = Tensor::f_from_slice(&voxels)?.f_view(shape)?.f_to_device(self.device.0)?;
        tch::no_grad(|| self.network.prepare(&self.weights, &images))
    }
}

fn check(volume: &Volume<'_>) -> Result<[usize; 3], NetworkError> {
    let voxels = volume.size.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
    if voxels != Some(volume.voxels.len()) || volume.size.contains(&0) {
        return Err(NetworkError::Shape {
            what: "a volume".to_owned(),
            expected: format!("voxels of {:?}", volume.size),
            found: volume.voxels.len().to_string(),
        });
    }
    Ok(volume.size)
}

/// The same failure, with the slice that it is about.
fn on(error: NetworkError, slice: usize) -> NetworkError {
    match error {
        NetworkError::Logits { .. } => NetworkError::Logits { slice },
        error => error,
    }
}

fn lost() -> NetworkError {
    NetworkError::Config {
        field: "view".to_owned(),
        message: "an image of a bag is no longer in memory".to_owned(),
    }
}

#[cfg(test)]
mod tests;
