//! The training loop: seeded, resumable after any batch, the best epoch by validation Dice returned.

pub(in crate::networks) mod adam;
mod cast;
mod checkpoint;
mod feed;
pub(super) mod figure;
pub mod optimizer;
pub mod rule;
pub mod schedule;
pub mod settings;
mod step;
mod sums;
mod validate;

use std::path::Path;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::extensions::Extensions;
use super::objectives::Objective;
use super::objectives::supervised::Supervised;
use super::start::{Loaded, Start};
use super::tensors::file;
use super::tensors::weights::Weights;
use super::{Device, ModelCard, NetworkError, Origin, SampleSource};
use cast::Cast;
use checkpoint::{Saver, State};
use feed::{Feed, Fit};
use figure::Figure;
pub use settings::{Keep, Task, TrainSettings, Validate};

/// How a training is carried out: nothing of it changes the result.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// The folder of the checkpoint, which the caller removes once the model is safe.
    pub checkpoint: &'a Path,
    /// The time from one checkpoint to the next; zero for one after every batch.
    pub checkpoint_every: Duration,
    /// Threads that read samples ahead, at least 1.
    pub readers: usize,
    /// The device that the training runs on.
    pub device: Device,
}

/// The time that an epoch took; of one that was interrupted, of what came after.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// The number of epochs done.
    pub epoch: u64,
    /// The number of steps done.
    pub step: u64,
    /// The time of training and validation, in seconds.
    pub seconds: f64,
    /// The share of them in which the device had work, 0 to 1; in the rest it waited for samples and
    /// checkpoints.
    pub busy: f64,
}

/// Who watches a training.
pub trait Observer {
    /// Called with what of given weights the training begins with, where it begins with such; also when it
    /// goes on from a checkpoint.
    fn begun(&mut self, _loaded: &Loaded) {}

    /// A figure, after each epoch.
    fn figure(&mut self, figure: &Figure);

    /// Whether to stop; asked before every batch.
    fn cancelled(&self) -> bool;

    /// Called after every batch: how many steps are done, of how many at most.
    fn progress(&mut self, _step: u64, _steps: u64) {}

    /// Called after an epoch's figures: how long the epoch took.
    fn timing(&mut self, _timing: &Timing) {}
}

/// A finished training.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The weights asked for, with the model card in the header.
    pub safetensors: Vec<u8>,
    /// All figures, also those from before an interruption.
    pub figures: Vec<Figure>,
    /// What of given weights the training began with.
    pub loaded: Option<Loaded>,
}

/// Trains a network, one of those that tomoflow brings. On the CPU the same settings and samples give the same bytes, however often the
/// training was interrupted: from time to time, and when the observer asks to stop, its whole state is
/// written to a folder.
///
/// # Errors
/// [`NetworkError::Cancelled`] when the observer asks to stop, [`NetworkError::NotFinite`] for a loss or a
/// gradient that is no number, [`NetworkError::Sample`] for a sample that cannot be read,
/// [`NetworkError::Shape`] for one that does not fit the task.
pub fn train(
    settings: &TrainSettings,
    task: &Task,
    train: &dyn SampleSource,
    validation: &dyn SampleSource,
    running: &Running,
    observer: &mut dyn Observer,
) -> Result<Trained, NetworkError> {
    let objective = Supervised::new(settings, task, &Extensions::default())?;
    train_by(&objective, settings, task, train, validation, running, observer)
}

/// The samples of a training.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The samples that the training learns from.
    pub train: &'a dyn SampleSource,
    /// The samples that nobody has drawn, which an objective may learn from beside the others: as many in
    /// each batch. Only those of the shape of the batch take part.
    pub unlabelled: Option<&'a dyn SampleSource>,
    /// The samples by which epochs are judged.
    pub validation: &'a dyn SampleSource,
}

impl Sources<'_> {
    /// Returns the numbers of samples that there are.
    fn counts(&self) -> Counts {
        let unlabelled = self.unlabelled.map(|source| source.len()).filter(|count| *count > 0);
        Counts { train: self.train.len(), unlabelled, validation: self.validation.len() }
    }
}

/// How many samples a training has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    train: usize,
    unlabelled: Option<usize>,
    validation: usize,
}

/// Trains by an objective of one's own; what the settings say of a network and a loss is then the objective's to follow.
///
/// # Errors
/// As [`train`]; [`NetworkError::Config`] for learners or figures that cannot be told apart.
pub fn train_by(
    objective: &dyn Objective,
    settings: &TrainSettings,
    task: &Task,
    train: &dyn SampleSource,
    validation: &dyn SampleSource,
    running: &Running,
    observer: &mut dyn Observer,
) -> Result<Trained, NetworkError> {
    train_on(objective, settings, task, Sources { train, unlabelled: None, validation }, running, observer)
}

/// Trains as [`train_by`] does, with samples that nobody has drawn beside the others.
///
/// # Errors
/// As [`train_by`].
pub fn train_on(
    objective: &dyn Objective,
    settings: &TrainSettings,
    task: &Task,
    sources: Sources<'_>,
    running: &Running,
    observer: &mut dyn Observer,
) -> Result<Trained, NetworkError> {
    train_from(None, objective, settings, task, sources, running, observer)
}

/// Trains as [`train_on`] does, from weights that there are, as far as the model, the first learner, has
/// tensors of their names and shapes.
///
/// # Errors
/// As [`train_by`]; [`NetworkError::File`] where the model takes none of them.
pub fn train_from(
    start: Option<&Start>,
    objective: &dyn Objective,
    settings: &TrainSettings,
    task: &Task,
    sources: Sources<'_>,
    running: &Running,
    observer: &mut dyn Observer,
) -> Result<Trained, NetworkError> {
    let Sources { train, unlabelled, validation } = sources;
    if train.is_empty() {
        return Err(NetworkError::Shape {
            what: "training samples".to_owned(),
            expected: "at least one".to_owned(),
            found: "none".to_owned(),
        });
    }
    let cast = Cast::new(objective, settings, task, sources.counts(), start, running.device)?;
    if let Some(loaded) = &cast.loaded {
        observer.begun(loaded);
    }
    let training = Training { objective, settings, task, train, unlabelled, validation, running, cast };
    let mut state = match State::load(running.checkpoint, &training.cast) {
        Some(state) => state,
        None => State::new(&training.cast, start)?,
    };
    let mut saver = Saver::new(running.checkpoint, running.checkpoint_every);
    let ended = training.epochs(&mut state, &mut saver, observer);
    match &ended {
        // An hour of work is worth a file; that it cannot be written is no reason to go on.
        Err(NetworkError::Cancelled { .. }) => {
            if let Err(error) = saver.now(&state) {
                tracing::warn!(%error, "no checkpoint of a cancelled training");
            }
        }
        Err(_) => {}
        // The model is not safe yet.
        Ok(()) => {
            saver.now(&state)?;
        }
    }
    ended.and_then(|()| training.finish(state))
}

struct Training<'a> {
    objective: &'a dyn Objective,
    settings: &'a TrainSettings,
    task: &'a Task,
    train: &'a dyn SampleSource,
    unlabelled: Option<&'a dyn SampleSource>,
    validation: &'a dyn SampleSource,
    running: &'a Running<'a>,
    cast: Cast,
}

impl Training<'_> {
    fn epochs(
        &self,
        state: &mut State,
        saver: &mut Saver,
        observer: &mut dyn Observer,
    ) -> Result<(), NetworkError> {
        while self.goes_on(state) && !self.out_of_patience(state) {
            let (begun, first) = (Instant::now(), state.progress.figures.len());
            let training = self.epoch(state, saver, observer)?;
            let (score, validating) = self.validate(state, observer)?;
            self.close(state, &*score)?;
            saver.if_due(state)?;
            state.progress.figures.iter().skip(first).for_each(|figure| observer.figure(figure));
            let seconds = begun.elapsed().as_secs_f64();
            let busy = (training + validating).as_secs_f64() / seconds.max(f64::MIN_POSITIVE);
            let (epoch, step) = (state.progress.epoch, state.progress.step);
            observer.timing(&Timing { epoch, step, seconds, busy: busy.min(1.0) });
        }
        Ok(())
    }

    /// Whether another epoch follows: by passes, or by steps.
    fn goes_on(&self, state: &State) -> bool {
        match self.settings.steps {
            Some(_) => state.progress.epoch.saturating_mul(self.steps_of_epoch()) < self.steps(),
            None => state.progress.epoch < self.settings.epochs,
        }
    }

    fn out_of_patience(&self, state: &State) -> bool {
        let best = state.progress.best(self.objective.decides());
        let waited = best.map_or(0, |(_, epoch)| state.progress.epoch.saturating_sub(epoch));
        self.settings.patience > 0 && waited >= self.settings.patience
    }

    fn feed<'b>(&'b self, source: &'b dyn SampleSource, epoch: u64) -> Feed<'b> {
        let labels = self.task.label_names.len().max(self.objective.greatest_class());
        let (teaches, leaves_out) = (self.objective.teaches(), self.objective.leaves_out());
        let fit = Fit { channels: self.task.in_channels(), labels, teaches, leaves_out };
        let Running { readers, .. } = *self.running;
        let (batch, seed) = (self.settings.batch.max(1), self.settings.seed);
        Feed { source, fit, batch, readers, epoch, seed, beside: None }
    }

    fn finish(self, state: State) -> Result<Trained, NetworkError> {
        let (parameters, buffers) = match self.settings.weights {
            Keep::Best => (state.best.0.shallow_clone(), state.best.1.shallow_clone()),
            Keep::Last => state.model()?.snapshot()?,
        };
        let figures = state.progress.figures;
        let Some((model, _)) = self.cast.pupils.first() else { return Err(cast::no_model()) };
        let weights = Weights::from_flat(&model.layout, parameters, buffers)?;
        let card = ModelCard {
            network: self.objective.network().clone(),
            view: self.task.view.clone(),
            label_names: self.task.label_names.clone(),
            origin: Origin { activation: self.settings.activation, ..self.task.origin.clone() },
            figures: figures.clone(),
        };
        let loaded = self.cast.loaded.clone();
        Ok(Trained { safetensors: file::write(&card, weights.named())?, figures, loaded })
    }
}

fn push(state: &mut State, split: &str, name: &str, value: f64) {
    let (step, epoch) = (state.progress.step, state.progress.epoch);
    let (split, name) = (split.to_owned(), name.to_owned());
    state.progress.figures.push(Figure { step, epoch, split, name, value });
}

/// The order of samples in one epoch.
fn permutation(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // Stream 0 is that of the first weights.
    random.set_stream(epoch.wrapping_add(1));
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut random);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epochs_order_is_a_permutation_of_its_own() {
        let mut order = permutation(50, 1, 0);
        assert_ne!(order, permutation(50, 1, 1));
        assert_ne!(order, permutation(50, 2, 0));
        assert_eq!(order, permutation(50, 1, 0));
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }
}
