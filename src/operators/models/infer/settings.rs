//! The settings of an inference.

use serde::Deserialize;

use crate::networks::{FindOptions, InferOptions, Step, Thresholds};
use crate::operators::models::origin::ModelSource;
use crate::operators::models::train::Part;

/// An inference.
#[derive(Clone, Debug)]
pub struct Infer {
    /// The source of the weights.
    pub model: ModelSource,
    /// How a volume is walked through.
    pub options: InferOptions,
    /// The probabilities above which a voxel is inside, of labels that have a head each.
    pub thresholds: Thresholds,
    /// Whether a case is segmented only by models that were not trained on it.
    pub out_of_fold: bool,
    /// The sides of the models' split whose cases are looked at; empty for all.
    pub sides: Vec<Side>,
    /// Who says how scans are prepared.
    pub prepare: Prepare,
    /// The preparation that the stages before it follow, where a model's card says it.
    pub follows: Option<Vec<Step>>,
    /// The boxes that are told of, where the network gives boxes and no masks.
    pub boxes: Option<FindOptions>,
    /// Whether the inference looks at slices with labels alone.
    pub marked: bool,
}

/// A side of a model's split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The case was dealt into this part.
    In(Part),
    /// The case came after the training.
    New,
}

impl Side {
    /// The words of all sides.
    pub const WORDS: &'static [&'static str] = &["train", "unlabelled", "validation", "test", "new"];

    /// The side of one of these words.
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "new" => Some(Self::New),
            part => Part::of_name(part).map(Self::In),
        }
    }
}

/// Who says how scans are prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prepare {
    /// The stages before the inference.
    Pipeline,
    /// The card of the model's file.
    Model,
}
