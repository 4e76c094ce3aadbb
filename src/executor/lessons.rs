//! What a training learns from beside the loss of its outlines, and what it did not learn.

use tomoflow_connectors::Reject;

use super::work::Member;
use crate::networks::objectives::Objective;
use crate::networks::objectives::adversarial::{Adversarial, SHARE, vanished};
use crate::networks::objectives::copy_paste::CopyPaste;
use crate::networks::objectives::embedding::Embedding;
use crate::networks::objectives::mean_teacher::MeanTeacher;
use crate::networks::objectives::supervised::Supervised;
use crate::networks::objectives::unimatch::Unimatch;
use crate::networks::{Figure, NetworkError, Strategy, Task, TrainSettings};
use crate::operators::models::train::Part;

/// The code of a training that learns from cases without labels, and has none.
const NO_UNLABELLED: &str = "NO_UNLABELLED";
/// The code of one that has some, and never was good enough to learn from them.
const NEVER_SURE: &str = "SEMI_NEVER_STARTED";
/// The code of a label that a network no longer found in what it taught itself with.
const VANISHED: &str = "LABEL_VANISHED";

/// Returns what a training minimises.
pub(super) fn objective(
    supervised: Supervised,
    settings: &TrainSettings,
    task: &Task,
) -> Result<Box<dyn Objective>, NetworkError> {
    Ok(match &settings.strategy {
        None => Box::new(supervised),
        Some(Strategy::Adversarial(own)) => Box::new(Adversarial::new(supervised, own, settings, task)?),
        Some(Strategy::Embedding(own)) => Box::new(Embedding::new(supervised, own)?),
        Some(Strategy::MeanTeacher(own)) => Box::new(MeanTeacher::new(supervised, own)),
        Some(Strategy::CopyPaste(own)) => Box::new(CopyPaste::new(supervised, own)),
        Some(Strategy::Unimatch(own)) => Box::new(Unimatch::new(supervised, own)?),
    })
}

/// Counts the cases of a dataset that somebody has drawn for its training.
pub(super) fn drawn(members: &[Member]) -> usize {
    members.iter().filter(|member| member.part == Part::Train && member.prepared.is_some()).count()
}

/// Returns the reject of a training that adopts masks where there is nothing to adopt.
pub(super) fn nothing_adopted() -> Reject {
    let message =
        "cases without outlines, with a mask that a network made of them, expected by `adopt`, none found";
    let hint = "the model learned from outlines alone; cases of patients who are validated or tested on do not count";
    Reject::new(NO_UNLABELLED, message, hint)
}

/// Returns what is told of a training by a strategy: that nothing was there to learn from, or that it taught
/// itself nothing, or something wrong.
pub(super) fn unlearned(
    settings: &TrainSettings,
    unlabelled: usize,
    figures: &[Figure],
    label_names: &[String],
) -> Vec<Reject> {
    let Some(strategy) = settings.strategy.filter(Strategy::asks_for_unlabelled) else { return Vec::new() };
    if unlabelled == 0 {
        let message = "cases without labels expected by `strategy`, none found";
        let hint = "the model learned from outlines alone; cases of patients who are validated or tested on do not \
             count";
        return vec![Reject::new(NO_UNLABELLED, message, hint)];
    }
    let Strategy::Adversarial(own) = strategy else { return Vec::new() };
    let taken = figures.iter().any(|figure| figure.name == SHARE && figure.value > 0.0);
    if own.semi > 0.0 && !taken {
        let message = format!(
            "voxels of {unlabelled} cases without labels expected to count from {} of the steps on, none ever did",
            own.start
        );
        let hint = "a validation Dice below `least_dice` or `least_label_dice`, no case to validate on, or a critic that \
                    was never sure (`gamma`); see `semi.share` among the figures of training";
        return vec![Reject::new(NEVER_SURE, message, hint)];
    }
    let tell = |lost: crate::networks::objectives::adversarial::Vanished| {
        let message = format!(
            "`{}` is {:.3} % of what outlines hold and was {:.4} % of what the network taught itself with, in {} epochs \
             from epoch {} on",
            lost.label,
            100.0 * lost.drawn,
            100.0 * lost.share,
            lost.epochs,
            lost.epoch
        );
        let hint = "a later `start`, a higher `least_label_dice`, or `semi_cross_entropy = 0.5`";
        Reject::new(VANISHED, message, hint)
    };
    vanished(figures, label_names).into_iter().map(tell).collect()
}
