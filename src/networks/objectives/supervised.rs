//! Supervised segmentation: one network, one loss of its logits, and where maps are supervised their loss beside it.

mod score;

use tch::{Kind, Tensor};

use self::score::Dice;
use super::class_weights::ClassWeights;
use super::minimised::{Minimised, Total, Whole, total};
use super::parts;
use super::regions::Regions;
use super::{Batch, Learner, Loss, Moment, Objective, Pupil, Recorded, Score, Teaches};
use crate::networks::activation::Activation;
use crate::networks::architectures::config::{MapLoss, Supervision};
use crate::networks::architectures::dense::Dense;
use crate::networks::architectures::unet::UnetOutput;
use crate::networks::blocks::mode::Mode;
use crate::networks::extensions::Extensions;
use crate::networks::tensors::weights::Weights;
use crate::networks::{InputView, LossConfig, Model, NetworkConfig, NetworkError, Task, TrainSettings};

/// The whole loss, which moves the network.
const WHOLE: &str = "loss";
/// The maps' own, before it is weighed.
const ATTENTION: &str = "attention";
/// The mean weight of samples, where they have one.
const SAMPLE_WEIGHT: &str = "sample_weight";

/// Supervised segmentation.
pub struct Supervised {
    config: NetworkConfig,
    network: Dense,
    loss: Minimised,
    /// The versions of code that a downstream crate brings: the network's and the loss's.
    versions: [Option<u32>; 2],
    attention_weight: f64,
    sample_attention: f64,
    label_names: Vec<String>,
    view: InputView,
    /// The names of the channels of scans.
    channels: Vec<String>,
    extensions: Extensions,
    regions: Regions,
    activation: Activation,
    weights: ClassWeights,
}

impl Supervised {
    /// Makes what these settings ask for, of the networks and losses that there are.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where no network can be built from them.
    pub fn new(settings: &TrainSettings, task: &Task, extensions: &Extensions) -> Result<Self, NetworkError> {
        let (activation, labels) = (settings.activation, &task.label_names);
        if activation.overlaps() && labels.len() > Activation::MOST_HEADS {
            let most = Activation::MOST_HEADS;
            return Err(NetworkError::Config {
                field: "activation".to_owned(),
                message: format!("at most {most} labels with a head each expected, {} found", labels.len()),
            });
        }
        if labels.is_empty() {
            return Err(NetworkError::Config {
                field: "labels".to_owned(),
                message: "at least one label expected, none found".to_owned(),
            });
        }
        let config = settings.network.resolve(task.in_channels(), activation.channels(labels.len()))?;
        let network = Dense::new(&config, extensions)?;
        let loss = Minimised::new(&settings.loss, extensions)?;
        let segmentation = |(_, supervision): (_, Supervision)| supervision.loss == MapLoss::Segmentation;
        if let (Minimised::Own(_), true) = (&loss, network.supervision().is_some_and(segmentation)) {
            return Err(NetworkError::Config {
                field: "loss".to_owned(),
                message: "a loss of another crate has no form for attention maps: let `map_loss` be \"dice\""
                    .to_owned(),
            });
        }
        if let (Minimised::Own(_), false) = (&loss, settings.class_weights.is_empty()) {
            return Err(NetworkError::Config {
                field: "class_weights".to_owned(),
                message: "a loss of another crate weighs its classes itself".to_owned(),
            });
        }
        let own = match &config {
            NetworkConfig::Unet(_) | NetworkConfig::Rcnn(_) => None,
            NetworkConfig::Own(own) => Some(own.name.as_str()),
        };
        let own_loss = match &settings.loss {
            LossConfig::Own(named) => Some(named.name.as_str()),
            _ => None,
        };
        let versions = extensions.versions(own, own_loss);
        // Heads and regions have no background.
        let background = !activation.overlaps() && !settings.regions;
        let (attention_weight, label_names) = (settings.attention_weight, task.label_names.clone());
        let (view, extensions) = (task.view.clone(), extensions.clone());
        Ok(Self {
            config,
            network,
            loss,
            versions,
            attention_weight,
            sample_attention: settings.sample_attention,
            label_names,
            view,
            channels: task.origin.channels.clone(),
            extensions,
            regions: if activation.overlaps() {
                Regions::each(&[], labels.len())
            } else {
                Regions::default()
            },
            activation,
            weights: ClassWeights::new(&settings.class_weights, labels, background)?,
        })
    }

    /// The same, where labels hold others: the loss is the mean of those of each region, inside against outside, and
    /// Dice is a region's.
    #[must_use]
    pub fn by_regions(self, regions: Regions) -> Self {
        Self { regions, ..self }
    }

    pub(super) fn label_names(&self) -> &[String] {
        &self.label_names
    }

    pub(super) fn regions(&self) -> &Regions {
        &self.regions
    }

    pub(super) fn activation(&self) -> Activation {
        self.activation
    }

    pub(super) fn dense(&self) -> &Dense {
        &self.network
    }

    /// A model of these weights, as inference has it.
    pub(super) fn model(&self, weights: &Weights) -> Result<Model, NetworkError> {
        let (parameters, buffers) = weights.snapshot()?;
        let weights = Weights::from_flat(self.network.layout(), parameters, buffers)?;
        let (view, names) = (self.view.clone(), self.label_names.clone());
        let model = Model::of_weights(&self.config, weights, view, names, &self.extensions)?;
        Ok(model.of_channels(self.channels.clone()).activated_by(self.activation))
    }

    fn minimised(&self) -> Whole<'_> {
        Whole {
            loss: &self.loss,
            attention_weight: self.attention_weight,
            sample_attention: self.sample_attention,
            regions: &self.regions,
            heads: self.network.heads(),
            activation: self.activation,
            weights: &self.weights,
        }
    }

    /// Logits and maps in 32 bits, whatever features have.
    pub(super) fn forward(
        &self,
        weights: &Weights,
        input: &Tensor,
        mode: Mode,
    ) -> Result<UnetOutput, NetworkError> {
        in_32_bits(self.network.forward(weights, input, mode)?)
    }

    /// The same, and the features that logits are made from.
    pub(super) fn with_features(
        &self,
        weights: &Weights,
        input: &Tensor,
        mode: Mode,
    ) -> Result<(UnetOutput, Tensor), NetworkError> {
        let (output, features) = self.network.with_features(weights, input, mode)?;
        Ok((in_32_bits(output)?, features.f_to_kind(Kind::Float)?))
    }

    /// Logits in 32 bits where channels of the network are left out.
    pub(super) fn with_channels_dropped(
        &self,
        weights: &Weights,
        input: &Tensor,
        mode: Mode,
        dropped: (f64, u64),
    ) -> Result<Tensor, NetworkError> {
        Ok(self.network.with_channels_dropped(weights, input, mode, dropped)?.f_to_kind(Kind::Float)?)
    }

    /// Whether channels of the network can be left out.
    pub(super) fn drops_channels(&self) -> bool {
        self.network.drops_channels()
    }

    /// Whether the network tells its features.
    pub(super) fn tells_features(&self) -> bool {
        self.network.tells_features()
    }

    /// The losses of what a forward pass gave: the whole first, which moves the network.
    pub(super) fn losses_of(&self, output: &UnetOutput, labels: &Tensor) -> Result<Vec<Loss>, NetworkError> {
        Ok(told(total(&self.minimised(), self.network.supervision(), output, labels)?))
    }
}

fn in_32_bits(output: UnetOutput) -> Result<UnetOutput, NetworkError> {
    let UnetOutput { logits, attention, auxiliary } = output;
    let attention = attention.iter().map(|map| map.f_to_kind(Kind::Float));
    let auxiliary = auxiliary.iter().map(|logits| logits.f_to_kind(Kind::Float));
    Ok(UnetOutput {
        logits: logits.f_to_kind(Kind::Float)?,
        attention: attention.collect::<Result<_, _>>()?,
        auxiliary: auxiliary.collect::<Result<_, _>>()?,
    })
}

impl Supervised {
    /// The identity of an objective that has this one within it.
    pub(super) fn identity_within(&self, own: &str) -> String {
        match self.identity() {
            Some(inner) => format!("{own}, {inner}"),
            None => own.to_owned(),
        }
    }
}

/// The losses of a batch, each by its name.
fn told(Total { whole, attention, weight }: Total) -> Vec<Loss> {
    let mut losses = vec![Loss { name: WHOLE.to_owned(), value: whole, moves: Some(0) }];
    let told = [(ATTENTION, attention), (SAMPLE_WEIGHT, weight)];
    let told = told.into_iter().filter_map(|(name, value)| Some((name, value?)));
    losses.extend(told.map(|(name, value)| Loss { name: name.to_owned(), value, moves: None }));
    losses
}

impl Objective for Supervised {
    fn identity(&self) -> Option<String> {
        // The settings say the rest.
        let [network, loss] = self.versions;
        let code =
            (self.versions != [None; 2]).then(|| format!("code of network {network:?}, of loss {loss:?}"));
        let regions = (!self.regions.is_empty()).then(|| format!("regions {:?}", self.regions.classes()));
        match (code, regions) {
            (Some(code), Some(regions)) => Some(format!("{code}, {regions}")),
            (code, regions) => code.or(regions),
        }
    }

    fn learners(&self) -> Vec<Pupil> {
        vec![Pupil { name: "network".to_owned(), layout: self.network.layout().clone(), rule: None }]
    }

    fn network(&self) -> &NetworkConfig {
        &self.config
    }

    fn greatest_class(&self) -> usize {
        // Labels that cross have classes of their own, of which a network of classes knows nothing.
        if self.activation.overlaps() { self.regions.highest() } else { 0 }
    }

    fn teaches(&self) -> Teaches {
        Teaches::Classes
    }

    fn leaves_out(&self) -> bool {
        true
    }

    fn figures(&self) -> Vec<Recorded> {
        let figure = self.network.supervision().map(|_| "attention_loss".to_owned());
        let mut figures = vec![Recorded { loss: ATTENTION.to_owned(), figure }];
        if self.sample_attention > 0.0 {
            figures.push(Recorded::by_name(SAMPLE_WEIGHT));
        }
        figures
    }

    fn losses(
        &self,
        learners: &[Learner],
        batch: &Batch,
        moment: &Moment,
    ) -> Result<Vec<Loss>, NetworkError> {
        let Some(Learner { weights, .. }) = learners.first() else { return Ok(Vec::new()) };
        let labels = batch.classes()?;
        let output = self.forward(weights, &batch.input, moment.mode())?;
        match parts::of_batch(batch, self.label_names.len()) {
            None => self.losses_of(&output, &labels),
            Some(parts) => {
                let supervision = self.network.supervision();
                Ok(told(parts::total(&self.minimised(), supervision, &output, &labels, &parts)?))
            }
        }
    }

    fn decides(&self) -> &str {
        "dice"
    }

    fn score(&self) -> Box<dyn Score + '_> {
        Box::new(Dice::new(self))
    }
}
