//! A trained network, ready for whole volumes.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::{CModule, IValue, Kind, Tensor};

use super::error::{Doing, first_line};
use super::unet::{Mode, Unet};
use super::weights::Weights;
use super::window::{gaussian, starts};
use super::{Device, Figure, InputView, NetworkConfig, NetworkError, file};

/// What a model says about itself, in the header of its safetensors file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The architecture.
    pub network: NetworkConfig,
    /// How a volume is shown to it.
    pub view: InputView,
    /// The names of the labels, from label 1 on.
    pub label_names: Vec<String>,
    /// The figures of its training.
    #[serde(default)]
    pub figures: Vec<Figure>,
}

impl ModelCard {
    /// The card in the header of a safetensors file; the weights are not looked at.
    ///
    /// # Errors
    /// [`NetworkError::File`] for bytes that are no such file or have no card.
    pub fn read(bytes: &[u8]) -> Result<Self, NetworkError> {
        file::read(bytes, "model")?.0.ok_or_else(without_card)
    }
}

/// How a volume is walked through.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferOptions {
    /// The share of a window that its neighbour covers again, 0 to below 1.
    pub overlap: f64,
    /// Windows or slices in one pass.
    pub batch: usize,
}

impl Default for InferOptions {
    fn default() -> Self {
        Self { overlap: 0.25, batch: 4 }
    }
}

enum Network {
    Unet(Box<(Unet, Weights)>),
    Script(CModule),
}

/// A network with its weights on a device. It can be sent to another thread, but not shared.
pub struct Model {
    network: Network,
    view: InputView,
    label_names: Vec<String>,
    device: Device,
}

impl Model {
    /// Reads a model that [`train`](super::train()) wrote.
    ///
    /// # Errors
    /// [`NetworkError::File`] for bytes that are no such model, [`NetworkError::Shape`] for weights that are
    /// not those of the card's architecture.
    pub fn from_safetensors(bytes: &[u8], device: Device) -> Result<Self, NetworkError> {
        let card = ModelCard::read(bytes)?;
        Self::with_card(bytes, card, device)
    }

    /// Reads weights whose file has no card, or another than it should.
    ///
    /// # Errors
    /// As [`from_safetensors`](Self::from_safetensors).
    pub fn with_card(bytes: &[u8], card: ModelCard, device: Device) -> Result<Self, NetworkError> {
        check_view(&card.view)?;
        let fits = card.network.in_channels() == card.view.channels()
            && card.network.classes() == card.label_names.len() + 1;
        if !fits {
            return Err(NetworkError::Shape {
                what: "the model's card".to_owned(),
                expected: format!(
                    "{} channels and {} labels, as its network has",
                    card.network.in_channels(),
                    card.network.classes().saturating_sub(1)
                ),
                found: format!("{} channels and {} labels", card.view.channels(), card.label_names.len()),
            });
        }
        let NetworkConfig::Unet(config) = &card.network;
        let unet = Unet::new(config)?;
        let (_, named) = file::read::<serde::de::IgnoredAny>(bytes, "model")?;
        let weights = Weights::from_named(unet.layout(), named, device)?;
        Ok(Self {
            network: Network::Unet(Box::new((unet, weights))),
            view: card.view,
            label_names: card.label_names,
            device,
        })
    }

    /// Reads a TorchScript file. The network takes `[N, 1, D, H, W]` for patches and `[N, channels, H, W]`
    /// for stacks and bags, and gives logits `[N, classes, …]` on the same grid; of a tuple the first is
    /// taken.
    ///
    /// # Errors
    /// [`NetworkError::File`] for a file that is none.
    pub fn from_torchscript(
        path: &Path,
        view: InputView,
        classes: usize,
        label_names: Vec<String>,
        device: Device,
    ) -> Result<Self, NetworkError> {
        check_view(&view)?;
        if classes != label_names.len() + 1 {
            return Err(NetworkError::Shape {
                what: "label names".to_owned(),
                expected: format!("{} for {classes} classes", classes.saturating_sub(1)),
                found: label_names.len().to_string(),
            });
        }
        let refuse = |message: String| NetworkError::File {
            file: path.display().to_string(),
            message,
            hint: "save the network with torch.jit.script(net).save(path)".to_owned(),
        };
        if !path.is_file() {
            return Err(refuse("no such file".to_owned()));
        }
        let read = |error| refuse(format!("not a TorchScript file: {}", first_line(&error)));
        let mut module = CModule::load_on_device(path, device.0).map_err(read)?;
        module.f_set_eval().map_err(read)?;
        Ok(Self { network: Network::Script(module), view, label_names, device })
    }

    /// How a volume is shown to it.
    pub fn view(&self) -> &InputView {
        &self.view
    }

    /// The names of the labels, from label 1 on.
    pub fn label_names(&self) -> &[String] {
        &self.label_names
    }

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
        let volume = Tensor::f_from_slice(voxels)?.f_view(size.map(|n| n as i64))?;
        tch::no_grad(|| match self.view {
            InputView::Patch { size: window } => self.by_window(&volume, size, window, options),
            _ => self.by_slice(&volume, size, options),
        })
    }

    /// Blends windows slab by slab: a slice is decided and its logits are dropped as soon as no later
    /// window reaches it.
    fn by_window(
        &self,
        volume: &Tensor,
        size: [usize; 3],
        window: [usize; 3],
        options: &InferOptions,
    ) -> Result<Vec<u16>, NetworkError> {
        let before: [usize; 3] = std::array::from_fn(|i| window[i].saturating_sub(size[i]) / 2);
        let after: [usize; 3] = std::array::from_fn(|i| window[i].saturating_sub(size[i]) - before[i]);
        let padding: Vec<i64> = (0..3).rev().flat_map(|i| [before[i] as i64, after[i] as i64]).collect();
        let padded = volume.f_constant_pad_nd(padding)?;
        let [depth, height, width]: [usize; 3] = std::array::from_fn(|i| size[i].max(window[i]));
        let shape = window.map(|n| n as i64);
        let weight = Tensor::f_from_slice(&gaussian(window))?.f_view(shape)?.f_to_device(self.device.0)?;
        let classes = self.classes();
        let slab = [classes, shape[0], height as i64, width as i64];
        let mut sums = Tensor::f_zeros(slab, (Kind::Float, self.device.0)).doing("memory for a slab")?;
        let mut decided = Vec::with_capacity(size.iter().product());
        let rows = starts(height, window[1], options.overlap);
        let columns = starts(width, window[2], options.overlap);
        let places: Vec<_> = rows.iter().flat_map(|&h| columns.iter().map(move |&w| (h, w))).collect();
        let slabs = starts(depth, window[0], options.overlap);
        for (index, &d) in slabs.iter().enumerate() {
            for places in places.chunks(options.batch.max(1)) {
                self.add_windows(&padded, d, places, &weight, &mut sums)?;
            }
            let done = slabs.get(index + 1).map_or(window[0], |next| next - d) as i64;
            let classes = sums.f_narrow(1, 0, done)?.f_argmax(0, false)?;
            decided.push(classes.f_to_kind(Kind::Int)?.f_to_device(tch::Device::Cpu)?);
            let rest = sums.f_narrow(1, done, shape[0] - done)?;
            let fresh = Tensor::f_zeros([slab[0], done, slab[2], slab[3]], (Kind::Float, self.device.0))?;
            sums = Tensor::f_cat(&[rest, fresh], 1)?;
        }
        let mut whole = Tensor::f_cat(&decided, 0)?;
        for axis in 0..3 {
            whole = whole.f_narrow(axis as i64, before[axis] as i64, size[axis] as i64)?;
        }
        numbers(&whole)
    }

    fn add_windows(
        &self,
        volume: &Tensor,
        d: usize,
        places: &[(usize, usize)],
        weight: &Tensor,
        sums: &mut Tensor,
    ) -> Result<(), NetworkError> {
        let (depth, height, width) = weight.size3().doing("window")?;
        let cut = |&(h, w): &(usize, usize)| -> Result<Tensor, NetworkError> {
            let slab = volume.f_narrow(0, d as i64, depth)?.f_narrow(1, h as i64, height)?;
            Ok(slab.f_narrow(2, w as i64, width)?.f_unsqueeze(0)?)
        };
        let windows: Result<Vec<_>, _> = places.iter().map(cut).collect();
        let logits = self.logits(&Tensor::f_stack(&windows?, 0)?.f_to_device(self.device.0)?)?;
        let weighed = logits.f_mul(weight)?;
        for (index, &(h, w)) in places.iter().enumerate() {
            let target = sums.f_narrow(2, h as i64, height)?.f_narrow(3, w as i64, width)?;
            let _ = target.shallow_clone().f_add_(&weighed.f_get(index as i64)?)?;
        }
        Ok(())
    }

    /// Takes each slice as the target of a stack or a bag.
    fn by_slice(
        &self,
        volume: &Tensor,
        size: [usize; 3],
        options: &InferOptions,
    ) -> Result<Vec<u16>, NetworkError> {
        let targets: Vec<usize> = (0..size[0]).collect();
        let mut decided = Vec::new();
        for targets in targets.chunks(options.batch.max(1)) {
            let channels = targets.iter().flat_map(|&target| self.view.channel_slices(target, size[0]));
            let channels: Vec<i64> = channels.map(|slice| slice as i64).collect();
            let slices = volume.f_index_select(0, &Tensor::f_from_slice(&channels)?)?;
            let shape = [targets.len() as i64, -1, 1, size[1] as i64, size[2] as i64];
            let logits = self.logits(&slices.f_view(shape)?.f_to_device(self.device.0)?)?;
            let classes = logits.f_argmax(1, false)?.f_squeeze_dim(1)?;
            decided.push(classes.f_to_kind(Kind::Int)?.f_to_device(tch::Device::Cpu)?);
        }
        numbers(&Tensor::f_cat(&decided, 0)?)
    }

    fn classes(&self) -> i64 {
        self.label_names.len() as i64 + 1
    }

    /// Logits `[N, classes, D, H, W]` of `[N, C, D, H, W]`.
    fn logits(&self, input: &Tensor) -> Result<Tensor, NetworkError> {
        let module = match &self.network {
            Network::Unet(network) => {
                let (unet, weights) = network.as_ref();
                return Ok(unet.forward(weights, input, Mode::Infer)?.logits);
            }
            Network::Script(module) => module,
        };
        let flat = !matches!(self.view, InputView::Patch { .. });
        let shown = if flat { input.f_squeeze_dim(2)? } else { input.shallow_clone() };
        let mut expected = shown.size();
        if let Some(channels) = expected.get_mut(1) {
            *channels = self.classes();
        }
        let answer = module.forward_is(&[IValue::Tensor(shown)]).doing("TorchScript network")?;
        let logits = match answer {
            IValue::Tensor(logits) => logits,
            IValue::Tuple(parts) => match parts.into_iter().next() {
                Some(IValue::Tensor(logits)) => logits,
                _ => return Err(no_logits("a tuple that does not begin with a tensor")),
            },
            _ => return Err(no_logits("neither a tensor nor a tuple")),
        };
        if logits.size() != expected {
            return Err(NetworkError::Shape {
                what: "the TorchScript network's logits".to_owned(),
                expected: format!("{expected:?}"),
                found: format!("{:?}", logits.size()),
            });
        }
        let logits = logits.f_to_kind(Kind::Float)?;
        Ok(if flat { logits.f_unsqueeze(2)? } else { logits })
    }
}

fn no_logits(found: &str) -> NetworkError {
    NetworkError::Shape {
        what: "the TorchScript network's answer".to_owned(),
        expected: "logits".to_owned(),
        found: found.to_owned(),
    }
}

fn without_card() -> NetworkError {
    NetworkError::File {
        file: "model".to_owned(),
        message: "a model card expected in the header, none found".to_owned(),
        hint: "only models that tomoflow trained have one".to_owned(),
    }
}

fn check_view(view: &InputView) -> Result<(), NetworkError> {
    let lengths = match *view {
        InputView::Patch { size } => size.to_vec(),
        InputView::Stack { slices, stride } => vec![slices, stride],
        InputView::Bag { stacks, slices, gap } => vec![stacks, slices, gap],
    };
    // A card is from a file: what it asks for is bounded before memory is taken.
    if lengths.iter().all(|n| (1..=4096).contains(n)) && lengths.iter().product::<usize>() <= 1 << 28 {
        return Ok(());
    }
    let message = format!("lengths from 1 to 4096, at most 2^28 in all, expected, {lengths:?} found");
    Err(NetworkError::Config { field: "view".to_owned(), message })
}

fn numbers(classes: &Tensor) -> Result<Vec<u16>, NetworkError> {
    let plain = classes.f_contiguous()?;
    let mut values = vec![0i32; plain.numel()];
    plain.f_copy_data(&mut values, plain.numel())?;
    Ok(values.into_iter().map(|class| u16::try_from(class).unwrap_or(u16::MAX)).collect())
}
