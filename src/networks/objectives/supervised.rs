//! Supervised segmentation: one network, one loss of its logits, and where maps are supervised their loss beside it.

use tch::{Kind, Tensor};

use super::counts::Counts;
use super::regions::Regions;
use super::{Batch, Learner, Loss, Moment, Objective, Pupil, Recorded, Score, Teaches};
use crate::networks::architectures::config::{MapLoss, Supervision};
use crate::networks::architectures::dense::Dense;
use crate::networks::architectures::unet::{Unet, UnetOutput};
use crate::networks::blocks::mode::Mode;
use crate::networks::extensions::{Extensions, OwnLoss};
use crate::networks::losses::{DiceLoss, of_map, of_segmentation, one_hot, probabilities, sample_weights};
use crate::networks::sample::WholeCase;
use crate::networks::tensors::scalar::times;
use crate::networks::tensors::weights::Weights;
use crate::networks::{
    InferOptions, InputView, LossConfig, Model, NetworkConfig, NetworkError, Task, TrainSettings,
};

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
    /// Of the code that a downstream crate brings: the network's and the loss's.
    versions: [Option<u32>; 2],
    attention_weight: f64,
    sample_attention: f64,
    label_names: Vec<String>,
    view: InputView,
    /// The names of the channels of scans.
    channels: Vec<String>,
    extensions: Extensions,
    regions: Regions,
}

impl Supervised {
    /// What these settings ask for, of the networks and losses that there are.
    ///
    /// # Errors
    /// [`NetworkError::Config`] where no network can be built from them.
    pub fn new(settings: &TrainSettings, task: &Task, extensions: &Extensions) -> Result<Self, NetworkError> {
        let config = settings.network.resolve(task.in_channels(), task.label_names.len() + 1)?;
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
        let own = match &config {
            NetworkConfig::Unet(_) | NetworkConfig::Rcnn(_) => None,
            NetworkConfig::Own(own) => Some(own.name.as_str()),
        };
        let own_loss = match &settings.loss {
            LossConfig::Own(named) => Some(named.name.as_str()),
            _ => None,
        };
        let versions = extensions.versions(own, own_loss);
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
            regions: Regions::default(),
        })
    }

    /// The same, where labels hold others: the loss is the mean of those of each region, inside against outside, and
    /// Dice is a region's.
    #[must_use]
    pub fn by_regions(self, regions: Regions) -> Self {
        Self { regions, ..self }
    }

    fn minimised(&self) -> Whole<'_> {
        Whole {
            loss: &self.loss,
            attention_weight: self.attention_weight,
            sample_attention: self.sample_attention,
            regions: &self.regions,
            heads: self.network.heads(),
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
        let Total { whole, attention, weight } =
            total(&self.minimised(), self.network.supervision(), output, labels)?;
        let mut losses = vec![Loss { name: WHOLE.to_owned(), value: whole, moves: Some(0) }];
        let told = [(ATTENTION, attention), (SAMPLE_WEIGHT, weight)];
        let told = told.into_iter().filter_map(|(name, value)| Some((name, value?)));
        losses.extend(told.map(|(name, value)| Loss { name: name.to_owned(), value, moves: None }));
        Ok(losses)
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

    fn teaches(&self) -> Teaches {
        Teaches::Classes
    }

    fn figures(&self) -> Vec<Recorded> {
        let figure = self.network.supervision().map(|_| "attention_loss".to_owned());
        let mut figures = vec![Recorded { loss: ATTENTION.to_owned(), figure }];
        if self.sample_attention > 0.0 {
            figures.push(Recorded { loss: SAMPLE_WEIGHT.to_owned(), figure: Some(SAMPLE_WEIGHT.to_owned()) });
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
        self.losses_of(&output, &labels)
    }

    fn decides(&self) -> &str {
        "dice"
    }

    fn score(&self) -> Box<dyn Score + '_> {
        let counts = Counts::new(self.label_names.len());
        Box::new(Dice { objective: self, counts, whole: None, cases: Vec::new() })
    }
}

/// Dice over all validation samples, or of whole cases.
struct Dice<'a> {
    objective: &'a Supervised,
    counts: Counts,
    /// The model for whole cases, once there was one.
    whole: Option<Model>,
    /// For each case the Dice of each label, none where it is neither found nor true.
    cases: Vec<Vec<Option<f64>>>,
}

impl Dice<'_> {
    /// For each label, over all samples, or its mean over cases that have one.
    fn of_labels(&self) -> Vec<Option<f64>> {
        if self.cases.is_empty() {
            return self.counts.dice_of(&self.objective.regions);
        }
        let of_label = |label: usize| {
            let all: Vec<f64> = self.cases.iter().filter_map(|case| *case.get(label)?).collect();
            (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
        };
        (0..self.objective.label_names.len()).map(of_label).collect()
    }
}

impl Score for Dice<'_> {
    fn judge(&mut self, model: &Weights, batch: &Batch) -> Result<(), NetworkError> {
        let output = self.objective.network.forward(model, &batch.input, Mode::Infer)?;
        self.counts.add(&output.logits.f_argmax(1, false)?, &batch.classes()?)
    }

    fn judge_case(&mut self, model: &Weights, case: &WholeCase<'_>) -> Result<(), NetworkError> {
        let objective = self.objective;
        let ready = match self.whole.take() {
            Some(ready) => ready,
            None => {
                let (parameters, buffers) = model.snapshot()?;
                let weights = Weights::from_flat(objective.network.layout(), parameters, buffers)?;
                let (view, names) = (objective.view.clone(), objective.label_names.clone());
                Model::of_weights(&objective.config, weights, view, names, &objective.extensions)?
                    .of_channels(objective.channels.clone())
            }
        };
        let found = ready.segment(case.voxels, case.size, &InferOptions::default());
        self.whole = Some(ready);
        let mut counts = Counts::new(objective.label_names.len());
        counts.add_classes(&found?, case.classes);
        self.cases.push(counts.dice_of(&objective.regions));
        Ok(())
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let each = self.of_labels();
        let all: Vec<f64> = each.iter().copied().flatten().collect();
        if all.is_empty() {
            return Vec::new();
        }
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let mut figures = vec![(self.objective.decides().to_owned(), mean)];
        let names = &self.objective.label_names;
        if names.len() > 1 {
            let each = names.iter().zip(each);
            figures.extend(each.filter_map(|(name, dice)| Some((format!("dice.{name}"), dice?))));
        }
        figures
    }
}

/// A loss of a segmentation, whoever brings it.
pub(in crate::networks) enum Minimised {
    Known(LossConfig),
    Own(OwnLoss),
}

impl Minimised {
    fn new(loss: &LossConfig, extensions: &Extensions) -> Result<Self, NetworkError> {
        Ok(match loss {
            LossConfig::Own(named) => Self::Own(extensions.loss(named)?),
            known => Self::Known(known.clone()),
        })
    }

    fn of_segmentation(&self, logits: &Tensor, truth: &Tensor) -> Result<Tensor, NetworkError> {
        match self {
            Self::Known(loss) => of_segmentation(loss, logits, truth),
            Self::Own(loss) => loss(logits, truth),
        }
    }

    fn of_map(&self, loss: MapLoss, map: &Tensor, target: &Tensor) -> Result<Tensor, NetworkError> {
        match (loss, self) {
            (MapLoss::Segmentation, Self::Known(loss)) => of_map(loss, map, target),
            // One of another crate is refused for such maps.
            (MapLoss::Dice, _) | (_, Self::Own(_)) => of_map(&LossConfig::Dice(DiceLoss {}), map, target),
        }
    }
}

/// What is minimised.
pub(in crate::networks) struct Whole<'a> {
    /// Of a segmentation, and of maps.
    pub loss: &'a Minimised,
    /// The weight of the maps' own.
    pub attention_weight: f64,
    /// How much more a sample counts the worse it is segmented; 0 for as much as any other.
    pub sample_attention: f64,
    /// Labels that hold others, if they count so.
    pub regions: &'a Regions,
    /// How much the losses of heads on coarser levels count.
    pub heads: &'a [f64],
}

/// The loss of one batch.
pub(in crate::networks) struct Total {
    /// Segmentation, and where maps are supervised their loss by weight.
    pub whole: Tensor,
    /// The mean loss of attention maps, where they are supervised.
    pub attention: Option<Tensor>,
    /// The mean weight of samples, where they have one.
    pub weight: Option<Tensor>,
}

/// The loss of one batch.
///
/// # Errors
/// [`NetworkError::Torch`] when the labels do not lie on the output's grid.
pub(in crate::networks) fn total(
    minimised: &Whole<'_>,
    supervision: Option<(&Unet, Supervision)>,
    output: &UnetOutput,
    labels: &Tensor,
) -> Result<Total, NetworkError> {
    let &Whole { loss, attention_weight, regions, .. } = minimised;
    let logits = &output.logits;
    let classes = logits.size().get(1).copied().unwrap_or(0);
    let truth = one_hot(labels, classes, logits.kind())?;
    let (mut segmentation, weight) = match minimised.sample_attention > 0.0 {
        true => weighed(minimised, logits, &truth)?,
        false => (of_all(loss, regions, logits, &truth)?, None),
    };
    for (logits, weight) in output.auxiliary.iter().zip(minimised.heads) {
        segmentation = segmentation.f_add(&times(&of_all(loss, regions, logits, &truth)?, *weight)?)?;
    }
    let Some((unet, supervision)) = supervision.filter(|_| !output.attention.is_empty()) else {
        return Ok(Total { whole: segmentation, attention: None, weight });
    };
    let foreground = labels.f_to_kind(Kind::Bool)?.f_to_kind(logits.kind())?.f_unsqueeze(1)?;
    let targets = unet.attention_targets(&foreground)?;
    let mut maps = Vec::with_capacity(targets.len());
    for (map, target) in output.attention.iter().zip(&targets) {
        maps.push(loss.of_map(supervision.loss, map, target)?);
    }
    let attention = Tensor::f_stack(&maps, 0)?.f_mean(None::<Kind>)?;
    let whole = times(&attention, attention_weight)?.f_add(&segmentation)?;
    Ok(Total { whole, attention: Some(attention), weight })
}

/// The loss of samples, by classes or by regions.
fn of_all(
    loss: &Minimised,
    regions: &Regions,
    logits: &Tensor,
    truth: &Tensor,
) -> Result<Tensor, NetworkError> {
    if regions.is_empty() {
        return loss.of_segmentation(logits, truth);
    }
    let each = regions.split(logits, truth)?;
    let each: Vec<Tensor> =
        each.iter().map(|[logits, truth]| loss.of_segmentation(logits, truth)).collect::<Result<_, _>>()?;
    Ok(Tensor::f_stack(&each, 0)?.f_mean(None::<Kind>)?)
}

/// The mean over samples of each one's loss by its weight, and the mean weight.
fn weighed(
    minimised: &Whole<'_>,
    logits: &Tensor,
    truth: &Tensor,
) -> Result<(Tensor, Option<Tensor>), NetworkError> {
    let weights = sample_weights(&probabilities(logits)?, truth, minimised.sample_attention)?;
    let mut each = Vec::new();
    for sample in 0..logits.size().first().copied().unwrap_or(0) {
        let [logits, truth] = [logits, truth].map(|x| x.f_narrow(0, sample, 1));
        each.push(of_all(minimised.loss, minimised.regions, &logits?, &truth?)?);
    }
    let losses = Tensor::f_stack(&each, 0)?.f_mul(&weights)?;
    Ok((losses.f_mean(None::<Kind>)?, Some(weights.f_mean(None::<Kind>)?)))
}
