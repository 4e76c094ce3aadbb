//! Models from the files that hold them, and from weights at hand.

use std::path::Path;

use tch::{CModule, Kind};

use super::{Model, Network, Ready};
use crate::networks::architectures::dense::Dense;
use crate::networks::tensors::error::first_line;
use crate::networks::tensors::file;
use crate::networks::tensors::weights::Weights;
use crate::networks::{Activation, Device, Extensions, InputView, ModelCard, NetworkConfig, NetworkError};

impl Model {
    /// Reads a model that [`train`](crate::networks::train()) wrote.
    ///
    /// # Errors
    /// [`NetworkError::File`] for bytes that are no such model, [`NetworkError::Shape`] for weights that are
    /// not those of the card's architecture.
    pub fn from_safetensors(bytes: &[u8], device: Device) -> Result<Self, NetworkError> {
        Self::from_safetensors_with(bytes, device, &Extensions::default())
    }

    /// Reads a model whose network a downstream crate may have brought.
    ///
    /// # Errors
    /// As [`from_safetensors`](Self::from_safetensors), and [`NetworkError::Config`] for a network that is not among
    /// these.
    pub fn from_safetensors_with(
        bytes: &[u8],
        device: Device,
        extensions: &Extensions,
    ) -> Result<Self, NetworkError> {
        let card = ModelCard::read(bytes)?;
        Self::read(bytes, card, device, extensions)
    }

    /// Reads weights whose file has no card, or another than it should.
    ///
    /// # Errors
    /// As [`from_safetensors`](Self::from_safetensors).
    pub fn with_card(bytes: &[u8], card: ModelCard, device: Device) -> Result<Self, NetworkError> {
        Self::read(bytes, card, device, &Extensions::default())
    }

    fn read(
        bytes: &[u8],
        card: ModelCard,
        device: Device,
        extensions: &Extensions,
    ) -> Result<Self, NetworkError> {
        check_view(&card.view)?;
        let channels = card.view.channels() * card.origin.channel_count();
        let activation = card.origin.activation;
        let classes = activation.channels(card.label_names.len());
        let fits = card.network.in_channels() == channels
            && card.network.classes() == classes
            && !card.label_names.is_empty()
            && !(activation.overlaps() && classes > Activation::MOST_HEADS);
        if !fits {
            return Err(NetworkError::Shape {
                what: "the model's card".to_owned(),
                expected: format!(
                    "{} channels and {} labels, as its network has",
                    card.network.in_channels(),
                    card.network.classes().saturating_sub(activation.channels(0))
                ),
                found: format!("{channels} channels and {} labels", card.label_names.len()),
            });
        }
        let network = Dense::new(&card.network, extensions)?;
        let (_, named) = file::read::<serde::de::IgnoredAny>(bytes, "model")?;
        let weights = Weights::from_named(network.layout(), named, device)?;
        let networks = vec![Ready::network(network, weights)?];
        let ModelCard { view, label_names, origin, .. } = card;
        let model = Self::of(networks, view, label_names, Some(origin.channels), device);
        Ok(Self { activation, regions: origin.regions, ..model })
    }

    /// A network with weights on their device, as a training has them.
    ///
    /// # Errors
    /// As [`from_safetensors_with`](Self::from_safetensors_with).
    pub(in crate::networks) fn of_weights(
        network: &NetworkConfig,
        weights: Weights,
        view: InputView,
        label_names: Vec<String>,
        extensions: &Extensions,
    ) -> Result<Self, NetworkError> {
        check_view(&view)?;
        let (network, device) = (Dense::new(network, extensions)?, Device(weights.flat().device()));
        let (networks, channel_names) = (vec![Ready::network(network, weights)?], Some(Vec::new()));
        Ok(Self::of(networks, view, label_names, channel_names, device))
    }

    /// A network with first weights, as a training begins with: to measure with.
    ///
    /// # Errors
    /// As [`from_safetensors`](Self::from_safetensors).
    pub fn seeded(
        network: &NetworkConfig,
        view: InputView,
        label_names: Vec<String>,
        seed: u64,
        device: Device,
    ) -> Result<Self, NetworkError> {
        check_view(&view)?;
        let network = Dense::new(network, &Extensions::default())?;
        let weights = Weights::seeded(network.layout(), seed, Kind::Float, device)?;
        let (networks, channel_names) = (vec![Ready::network(network, weights)?], Some(Vec::new()));
        Ok(Self::of(networks, view, label_names, channel_names, device))
    }

    /// Reads a TorchScript file. The network takes `[N, C, D, H, W]` for patches, with the scan's channels, and
    /// `[N, channels, H, W]` for stacks and bags, and gives logits `[N, classes, …]` on the same grid; of a tuple the first is
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
        Self::from_activated(path, view, (classes, Activation::Softmax), label_names, device)
    }

    /// The same, of logits with a head for each label where `activation` says so: as many channels as labels.
    ///
    /// # Errors
    /// As [`from_torchscript`](Self::from_torchscript).
    pub fn from_activated(
        path: &Path,
        view: InputView,
        (classes, activation): (usize, Activation),
        label_names: Vec<String>,
        device: Device,
    ) -> Result<Self, NetworkError> {
        check_view(&view)?;
        let none = activation.channels(0);
        if classes != activation.channels(label_names.len())
            || (activation.overlaps() && classes > Activation::MOST_HEADS)
        {
            return Err(NetworkError::Shape {
                what: "label names".to_owned(),
                expected: format!("{} for {classes} channels", classes.saturating_sub(none)),
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
        let model = Self::of(vec![Network::Script(module)], view, label_names, None, device);
        Ok(model.activated_by(activation))
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
