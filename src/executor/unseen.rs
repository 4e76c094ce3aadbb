//! Labels that a training never sees, or that the choice of an epoch never looks at.

use tomoflow_connectors::Reject;

use super::truth::{NEVER_DRAWN, NEVER_JUDGED};
use crate::networks::{Figure, SampleSource, Target};
use crate::operators::samples::dataset::Dataset;
use crate::operators::samples::things::LEAST_PIXELS;

/// Labels that no case to train on has a voxel of: a network learns that they are never there.
pub(super) fn never_drawn(training: &Dataset, names: &[String]) -> Vec<Reject> {
    let drawn = drawn(training);
    let absent = names.iter().zip(drawn.iter().skip(1)).filter(|(_, drawn)| !**drawn);
    let tell = |(name, _): (&String, &bool)| {
        let of = match training.cases().len() {
            1 => "the one case to train on has no".to_owned(),
            cases => format!("none of {cases} cases to train on has a"),
        };
        let message = format!("{of} voxel of `{name}`: is its value, or its name, the right one?");
        Reject::new(NEVER_DRAWN, message, "the model learns that it is never there")
    };
    absent.map(tell).collect()
}

/// Labels that cases to validate on have, and none of the samples that are cut from them: an epoch is chosen without them.
pub(super) fn never_judged(validation: &Dataset, names: &[String], seed: u64) -> Result<Vec<Reject>, Reject> {
    let drawn = drawn(validation);
    let mut judged = [false; 256];
    for index in 0..validation.len() {
        // As the validation of every epoch cuts them.
        let sample = validation.sample(index, 0, seed);
        let sample = sample.map_err(|message| Reject::new("NETWORK", message, ""))?;
        sample.target.classes().into_iter().flatten().for_each(|class| judged[usize::from(*class)] = true);
        if let (Target::Instances(found), Some(things)) = (&sample.target, validation.things()) {
            let labels = found.iter().flat_map(|thing| things.labels(thing.class));
            labels.for_each(|label| judged[usize::from(*label).min(255)] = true);
        }
    }
    let missed = names.iter().zip(drawn.iter().zip(&judged).skip(1));
    let missed = missed.filter(|(_, (drawn, judged))| **drawn && !**judged);
    let tell = |(name, _): (&String, _)| {
        let (samples, cases) = (validation.len(), validation.cases().len());
        let message = format!(
            "samples to validate on with a voxel of `{name}` expected, none of {samples} has one; of {cases} cases some \
             have"
        );
        let hint = "`validate = \"cases\"` looks at all of them; `foreground` and `per_case` of the samples make it likelier";
        Reject::new(NEVER_JUDGED, message, hint)
    };
    Ok(missed.map(tell).collect())
}

/// The code of parts of labels that are too small to be things.
const TOO_SMALL: &str = "PARTS_TOO_SMALL";

/// The code of attention that looks at one image alone.
const ATTENDS_TO_ONE: &str = "ATTENTION_TO_ONE";

/// The spread of attention below which the number of images has no effect.
const LEAST_SPREAD: f64 = 0.05;

/// Parts of labels of the cases to train on that are too small to be things: no box is learned of them.
pub(super) fn too_small(training: &Dataset) -> Option<Reject> {
    let things = training.things()?;
    let (mut parts, mut slices) = (0, 0);
    for case in training.cases() {
        let [_, height, width] = case.size();
        for slice in case.labels().chunks_exact((height * width).max(1)) {
            let (_, small) = things.of_slice(slice, [height, width]);
            parts += small;
            slices += usize::from(small > 0);
        }
    }
    (parts > 0).then(|| {
        let message = format!(
            "parts of {LEAST_PIXELS} pixels or more expected, {parts} smaller ones on {slices} slices found"
        );
        Reject::new(
            TOO_SMALL,
            message,
            "no box is learned of them, and none is asked for by `evaluate_boxes`",
        )
    })
}

/// Modules of attention that give one image nearly all the weight at the end of a training: the others have no say.
pub(super) fn alone(figures: &[Figure]) -> Vec<Reject> {
    let last = figures.iter().map(|figure| figure.epoch).max().unwrap_or(0);
    let such = figures.iter().filter(|figure| {
        figure.epoch == last && figure.name.starts_with("attention.spread.") && figure.value < LEAST_SPREAD
    });
    let tell = |Figure { name, value, .. }: &Figure| {
        let message = format!("a spread of {LEAST_SPREAD} or more expected, `{name}` of {value:.3} found");
        let hint = "one image of the bag has nearly all the weight: the number of stacks has no effect; `scale = \"area\"` spreads it";
        Reject::new(ATTENDS_TO_ONE, message, hint)
    };
    such.map(tell).collect()
}

/// The classes of which any case has a voxel.
fn drawn(cases: &Dataset) -> [bool; 256] {
    cases.cases().iter().fold([false; 256], |mut drawn, case| {
        case.present().iter().zip(&mut drawn).for_each(|(present, drawn)| *drawn |= present);
        drawn
    })
}
