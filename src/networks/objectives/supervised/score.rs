//! How well a validation is segmented: Dice over all samples, or of whole cases, of what counts in them.

use tch::{Kind, Tensor};

use super::super::counts::{Counts, Insides};
use super::super::{Batch, Objective as _, Score, parts};
use super::Supervised;
use crate::networks::blocks::mode::Mode;
use crate::networks::sample::WholeCase;
use crate::networks::tensors::weights::Weights;
use crate::networks::{InferOptions, Model, NetworkError};
use crate::voxels::ignored::IGNORED_CLASS;

/// Dice over all validation samples, or of whole cases.
pub(super) struct Dice<'a> {
    objective: &'a Supervised,
    counts: Sums,
    /// The model for whole cases, once there was one.
    whole: Option<Model>,
    /// The Dice of each label in each case, none where it is neither found nor true.
    cases: Vec<Vec<Option<f64>>>,
}

/// What is counted: classes that exclude each other, or the inside of each label; and what of each label nobody
/// looked for.
enum Sums {
    Classes(Counts),
    Insides(Insides),
}

impl Sums {
    fn new(objective: &Supervised) -> Self {
        match objective.regions().is_empty() {
            true => Self::Classes(Counts::new(objective.label_names().len())),
            false => Self::Insides(Insides::new(objective.regions(), objective.activation().overlaps())),
        }
    }

    fn dice(&self) -> Vec<Option<f64>> {
        match self {
            Self::Classes(counts) => counts.dice(),
            Self::Insides(insides) => insides.dice(),
        }
    }

    /// Adds logits `[N, C, …]` and their truth `[N, …]`, all of which counts.
    fn add(&mut self, logits: &Tensor, truth: &Tensor, unknown: &[u8]) -> Result<(), NetworkError> {
        match self {
            Self::Insides(insides) => insides.add(logits, truth, unknown),
            Self::Classes(counts) => counts.add_known(&logits.f_argmax(1, false)?, truth, unknown),
        }
    }
}

impl<'a> Dice<'a> {
    pub fn new(objective: &'a Supervised) -> Self {
        Self { objective, counts: Sums::new(objective), whole: None, cases: Vec::new() }
    }

    /// Returns the Dice of each label, over all samples, or its mean over cases that have one.
    fn of_labels(&self) -> Vec<Option<f64>> {
        if self.cases.is_empty() {
            return self.counts.dice();
        }
        let of_label = |label: usize| {
            let all: Vec<f64> = self.cases.iter().filter_map(|case| *case.get(label)?).collect();
            (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
        };
        (0..self.objective.label_names().len()).map(of_label).collect()
    }
}

impl Score for Dice<'_> {
    fn judge(&mut self, model: &Weights, batch: &Batch) -> Result<(), NetworkError> {
        let logits = self.objective.logits(model, &batch.input)?;
        let classes = batch.classes()?;
        if parts::of_batch(batch, self.objective.label_names().len()).is_none() {
            return self.counts.add(&logits, &classes, &[]);
        }
        for (place, sample) in (0..).zip(batch.samples) {
            let (logits, classes) = (logits.f_narrow(0, place, 1)?, classes.f_narrow(0, place, 1)?);
            let unknown = sample.target.unknown();
            match parts::counting(&classes)? {
                Some(places) if places.numel() == 0 => {}
                Some(places) => {
                    let classes = parts::voxels_at(&classes.f_unsqueeze(1)?, &places)?.f_squeeze_dim(1)?;
                    self.counts.add(&parts::voxels_at(&logits, &places)?, &classes, unknown)?;
                }
                None => self.counts.add(&logits, &classes, unknown)?,
            }
        }
        Ok(())
    }

    fn judge_case(&mut self, model: &Weights, case: &WholeCase<'_>) -> Result<(), NetworkError> {
        let objective = self.objective;
        let ready = match self.whole.take() {
            Some(ready) => ready,
            None => objective.model(model)?,
        };
        let found = ready.segment(case.voxels, case.size, &InferOptions::default());
        self.whole = Some(ready);
        let found = found?;
        let ignores = objective.label_names().len() < usize::from(IGNORED_CLASS);
        let counts = |(_, class): &(&u16, &u8)| !(ignores && **class == IGNORED_CLASS);
        let both = found.iter().zip(case.classes).filter(counts).map(|(found, class)| (*found, *class));
        let mut sums = Sums::new(objective);
        match &mut sums {
            Sums::Classes(counts) => {
                both.for_each(|(found, class)| counts.add_voxel(found, class, case.unknown));
            }
            Sums::Insides(insides) => {
                both.for_each(|(found, class)| insides.add_voxel(found, class, case.unknown));
            }
        }
        self.cases.push(sums.dice());
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
        let names = self.objective.label_names();
        if names.len() > 1 {
            let each = names.iter().zip(each);
            figures.extend(each.filter_map(|(name, dice)| Some((format!("dice.{name}"), dice?))));
        }
        figures
    }
}

impl Supervised {
    /// Logits of an input in inference.
    fn logits(&self, model: &Weights, input: &Tensor) -> Result<Tensor, NetworkError> {
        Ok(self.dense().forward(model, input, Mode::Infer)?.logits.f_to_kind(Kind::Float)?)
    }
}
