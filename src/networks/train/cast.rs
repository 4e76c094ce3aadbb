//! Who learns in a training and how, what is summed up meanwhile, and what all of it depends on.

use tomoflow_connectors::Digest;

use super::Counts;
use super::rule::Rule;
use super::settings::{Task, TrainSettings};
use crate::networks::objectives::{Objective, Pupil, Recorded};
use crate::networks::start::{Loaded, Start};
use crate::networks::tensors::weights::Order;
use crate::networks::{Device, NetworkError};

/// The sums and figures of each learner.
pub(super) const LOSS: &str = "loss";
pub(super) const LEARNING_RATE: &str = "learning_rate";
pub(super) const GRADIENT_NORM: &str = "gradient_norm";
/// Steps of an epoch that a learner took.
pub(super) const STEPS: &str = "steps";
/// Batches of an epoch in which nothing moved a learner; counted only where there are such.
pub(super) const IDLE: &str = "idle";

/// Returns the name of a figure of one learner: that of the first, the model, as if there were no other.
pub(super) fn named(what: &str, place: usize, learner: &str) -> String {
    if place == 0 { what.to_owned() } else { format!("{what}.{learner}") }
}

/// What a state is made for.
pub(in crate::networks) struct Cast {
    /// The learners, and how each steps; the first is the model.
    pub pupils: Vec<(Pupil, Rule)>,
    /// The losses that are recorded.
    pub recorded: Vec<Recorded>,
    /// The names of an epoch's sums.
    pub sums: Vec<String>,
    /// The digest of everything that the result depends on.
    pub digest: Digest,
    /// The seed of the first weights.
    pub seed: u64,
    /// What of given weights the model begins with.
    pub loaded: Option<Loaded>,
    /// The beginnings of the names of the model's tensors that stay as they are.
    pub freeze: Vec<String>,
    /// The device that the weights are on.
    pub device: Device,
}

impl Cast {
    /// Makes the cast for so many samples to train and to validate on, and for weights to begin with.
    pub fn new(
        objective: &dyn Objective,
        settings: &TrainSettings,
        task: &Task,
        samples: Counts,
        start: Option<&Start>,
        device: Device,
    ) -> Result<Self, NetworkError> {
        let (pupils, recorded) = (pupils(objective, settings), objective.figures());
        refuse_unclear(&pupils, &recorded)?;
        let mut digest = digest(objective, &pupils, settings, task, samples, device)?;
        let mut loaded = None;
        if let Some(start) = start {
            let (model, _) = pupils.first().ok_or_else(no_model)?;
            loaded = Some(start.compare(&model.layout)?.frozen(&settings.freeze)?);
            digest = Digest::of_parts([&digest.0[..], b"start", &start.digest().0]);
        }
        if loaded.is_none() && !settings.freeze.is_empty() {
            let message = "weights to begin with expected, which stay as they are, none found".to_owned();
            return Err(NetworkError::Config { field: "freeze".to_owned(), message });
        }
        let (sums, freeze) = (sums(&pupils, &recorded), settings.freeze.clone());
        Ok(Self { pupils, recorded, sums, digest, seed: settings.seed, loaded, freeze, device })
    }
}

pub(super) fn no_model() -> NetworkError {
    NetworkError::Config {
        field: "learners".to_owned(),
        message: "at least one expected, none found".to_owned(),
    }
}

/// Returns who learns, and how each steps.
fn pupils(objective: &dyn Objective, settings: &TrainSettings) -> Vec<(Pupil, Rule)> {
    let with_rule = |pupil: Pupil| {
        let rule = pupil.rule.clone().unwrap_or_else(|| settings.rule());
        (pupil, rule)
    };
    objective.learners().into_iter().map(with_rule).collect()
}

/// Returns the names of what is summed up over an epoch, in the order of checkpoints.
fn sums(pupils: &[(Pupil, Rule)], recorded: &[Recorded]) -> Vec<String> {
    let mut sums = Vec::new();
    for (place, (Pupil { name, .. }, _)) in pupils.iter().enumerate() {
        sums.push(named(LOSS, place, name));
        let beside = recorded.iter().filter(|_| place == 0);
        sums.extend(beside.map(|recorded| recorded.loss.clone()));
        sums.extend([GRADIENT_NORM, STEPS].map(|what| named(what, place, name)));
    }
    sums
}

/// Refuses learners, sums and figures that could not be told apart in figures and checkpoints.
fn refuse_unclear(pupils: &[(Pupil, Rule)], recorded: &[Recorded]) -> Result<(), NetworkError> {
    let refuse =
        |field: &str, message: String| Err(NetworkError::Config { field: field.to_owned(), message });
    let twice = |names: &[String]| {
        let count = |name: &String| names.iter().filter(|other| *other == name).count();
        names.iter().find(|name| count(name) > 1).cloned()
    };
    let names: Vec<String> = pupils.iter().map(|(pupil, _)| pupil.name.clone()).collect();
    let plain = |name: &String| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    if let Some(name) = names.iter().find(|name| !plain(name)) {
        return refuse("learners", format!("a name of letters, digits and `_` expected, `{name}` found"));
    }
    if let Some(name) = twice(&names) {
        return refuse("learners", format!("names of their own expected, `{name}` found twice"));
    }
    let own = |whats: &[&str]| -> Vec<String> {
        let each = names.iter().enumerate();
        each.flat_map(|(place, name)| whats.iter().map(move |what| named(what, place, name))).collect()
    };
    let losses = recorded.iter().map(|recorded| recorded.loss.clone());
    let figures = recorded.iter().filter_map(|recorded| recorded.figure.clone());
    let sums: Vec<String> = own(&[LOSS, GRADIENT_NORM, STEPS, IDLE]).into_iter().chain(losses).collect();
    let figures: Vec<String> =
        own(&[LOSS, LEARNING_RATE, GRADIENT_NORM]).into_iter().chain(figures).collect();
    match twice(&sums).or_else(|| twice(&figures)) {
        Some(name) => refuse("figures", format!("names of their own expected, `{name}` found twice")),
        None => Ok(()),
    }
}

/// Returns the digest of everything that the result depends on.
fn digest(
    objective: &dyn Objective,
    pupils: &[(Pupil, Rule)],
    settings: &TrainSettings,
    task: &Task,
    Counts { train, unlabelled, validation }: Counts,
    device: Device,
) -> Result<Digest, NetworkError> {
    // Flat tensors mean something in one order alone.
    let order = Order::on(device.0);
    let all = (settings, task, train, validation, order);
    let rules: Vec<_> = pupils.iter().map(|(pupil, _)| (&pupil.name, &pupil.rule)).collect();
    let plain = matches!(rules[..], [(_, None)]);
    let text = match (objective.identity(), unlabelled) {
        // The digest is as it was before there were objectives.
        (None, None) if plain => serde_json::to_vec(&all),
        (identity, None) => serde_json::to_vec(&(all, identity, rules)),
        (identity, Some(unlabelled)) => serde_json::to_vec(&(all, identity, rules, unlabelled)),
    };
    let text = text
        .map_err(|error| NetworkError::Config { field: "settings".to_owned(), message: error.to_string() })?;
    Ok(Digest::of(&text))
}
