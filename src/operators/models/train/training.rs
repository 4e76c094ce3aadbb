//! The settings of a training.

use std::time::Duration;

use serde::Deserialize;

use super::split::Split;
use super::start::Begin;
use crate::networks::TrainSettings;
use crate::operators::models::origin::ModelFile;

/// The type's name.
pub(in crate::operators) const NAME: &str = "train";

/// What happens to a trained model when its cases change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "DeclaredRetrain")]
pub enum Retrain {
    /// The model stays.
    Never,
    /// The model is trained anew.
    Always,
    /// The model stays until so many cases stand beside those that it has seen.
    At(Enough),
}

/// How many new cases are enough for another training; either of the two is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enough {
    /// The number of new labelled cases.
    pub new_cases: Option<u64>,
    /// The number of new unlabelled cases, where a training learns from such.
    pub new_unlabelled: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DeclaredRetrain {
    Word(Word),
    Table(Enough),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Never,
    Always,
}

impl From<DeclaredRetrain> for Retrain {
    fn from(declared: DeclaredRetrain) -> Self {
        match declared {
            DeclaredRetrain::Word(Word::Never) => Self::Never,
            DeclaredRetrain::Word(Word::Always) => Self::Always,
            DeclaredRetrain::Table(enough) => Self::At(enough),
        }
    }
}

/// How a training is carried out, which no result depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Operation {
    /// The time from one checkpoint to the next.
    #[serde(deserialize_with = "milliseconds")]
    pub checkpoint_every: Duration,
    /// Threads that read samples ahead.
    pub readers: usize,
    /// Whether figures are written for TensorBoard.
    pub tensorboard: bool,
    /// Whether a GPU sums in one order.
    pub deterministic: bool,
}

fn milliseconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// What cases are made into.
#[derive(Clone, Debug)]
pub enum Learns {
    /// The weights of a network.
    Network {
        /// How the network is trained.
        settings: Box<TrainSettings>,
        /// How the training is carried out, which no result depends on.
        running: Operation,
    },
    /// A library of them, as they are.
    Atlases,
}

/// A training.
#[derive(Clone, Debug)]
pub struct Train {
    /// What its cases are made into.
    pub learns: Learns,
    /// The patients that it is trained, chosen and tested on.
    pub split: Split,
    /// Whether anew when cases change.
    pub retrain: Retrain,
    /// The weights that it begins with; none where it begins with numbers of its own.
    pub start: Option<Begin>,
    /// What becomes of cases in which nobody looked for some labels.
    pub partly_labelled: PartlyLabelled,
}

/// What becomes of cases in which nobody looked for some labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartlyLabelled {
    /// The cases are not trained on.
    #[default]
    LeaveOut,
    /// The cases teach what was looked for.
    Learn,
}

impl Train {
    /// The files that it begins with; none where with a stage's model, or with numbers of its own.
    pub fn start_files(&self) -> &[ModelFile] {
        self.start.as_ref().map_or(&[], |start| start.source.files())
    }

    /// Whether cases that lack some labels take part.
    pub fn learns_partly(&self) -> bool {
        self.partly_labelled == PartlyLabelled::Learn
    }

    /// Returns how a network is trained, where one is.
    pub fn network(&self) -> Option<&TrainSettings> {
        match &self.learns {
            Learns::Network { settings, .. } => Some(settings),
            Learns::Atlases => None,
        }
    }

    /// Whether its network gives boxes.
    pub fn gives_boxes(&self) -> bool {
        self.network().is_some_and(|settings| settings.network.gives_boxes())
    }

    /// Whether cases without labels take part.
    pub fn asks_for_unlabelled(&self) -> bool {
        let strategy = self.network().and_then(|settings| settings.strategy);
        strategy.is_some_and(|strategy| strategy.asks_for_unlabelled())
    }
}
