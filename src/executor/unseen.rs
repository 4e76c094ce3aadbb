//! Labels that a training never sees, or that the choice of an epoch never looks at.

use tomoflow_connectors::Reject;

use super::truth::{NEVER_DRAWN, NEVER_JUDGED};
use crate::networks::SampleSource;
use crate::operators::samples::dataset::Dataset;

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

/// The classes of which any case has a voxel.
fn drawn(cases: &Dataset) -> [bool; 256] {
    cases.cases().iter().fold([false; 256], |mut drawn, case| {
        case.present().iter().zip(&mut drawn).for_each(|(present, drawn)| *drawn |= present);
        drawn
    })
}
