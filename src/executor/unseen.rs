//! Labels that a training never sees, or that the choice of an epoch never looks at.

use tomoflow_connectors::Reject;

use super::crossing::seen;
use super::truth::{NEVER_DRAWN, NEVER_JUDGED};
use crate::networks::{Figure, SampleSource, Target};
use crate::operators::samples::dataset::Dataset;
use crate::operators::samples::things::LEAST_PIXELS;

/// Labels that no case to train on has a voxel of: a network learns that they are never there. `of_sets` are the values,
/// for each label, that show it with others.
pub(super) fn never_drawn(training: &Dataset, names: &[String], of_sets: &[Vec<u16>]) -> Vec<Reject> {
    let drawn = seen(drawn(training), of_sets);
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
pub(super) fn never_judged(
    validation: &Dataset,
    names: &[String],
    seed: u64,
    of_sets: &[Vec<u16>],
) -> Result<Vec<Reject>, Reject> {
    let drawn = seen(drawn(validation), of_sets);
    let mut judged = [false; 256];
    for index in 0..validation.len() {
        // The samples are those that the validation of every epoch cuts.
        let sample = validation.sample(index, 0, seed);
        let sample = sample.map_err(|message| Reject::new("NETWORK", message, ""))?;
        sample.target.classes().into_iter().flatten().for_each(|class| judged[usize::from(*class)] = true);
        if let (Target::Instances(found), Some(things)) = (&sample.target, validation.things()) {
            let labels = found.iter().flat_map(|thing| things.labels(thing.class));
            labels.for_each(|label| judged[usize::from(*label).min(255)] = true);
        }
    }
    let judged = seen(judged, of_sets);
    // A label that no thing is made of is nothing to be judged by.
    let asked = |label: usize| validation.things().is_none_or(|things| things.are_made_of(label));
    let missed = names.iter().zip(drawn.iter().zip(&judged).skip(1)).zip(1..);
    let missed = missed
        .filter(|((_, (drawn, judged)), label)| **drawn && !**judged && asked(*label))
        .map(|(missed, _)| missed);
    let tell = |(name, _): (&String, _)| {
        let (samples, cases) = (validation.len(), validation.cases().len());
        let message = format!(
            "samples to validate on with a voxel of `{name}` expected, none of {samples} has one; of {cases} cases some \
             have"
        );
        let hint = match validation.things() {
            Some(_) => "`foreground` and `per_case` of the samples make it likelier",
            None => {
                "`validate = \"cases\"` looks at all of them; `foreground` and `per_case` of the samples make it likelier"
            }
        };
        Reject::new(NEVER_JUDGED, message, hint)
    };
    Ok(missed.map(tell).collect())
}

/// The code of labels that nobody looked for in some of the cases to train on.
const UNKNOWN: &str = "LABELS_UNKNOWN";

/// Tells how many of the cases to train on teach nothing of a label, since nobody looked for it there.
pub(super) fn unknown(training: &Dataset, names: &[String]) -> Option<Reject> {
    let cases = training.cases();
    let lacking = |label: u8| cases.iter().filter(|case| case.unknown().contains(&label)).count();
    let each = names.iter().zip(1..=u8::MAX).map(|(name, label)| (name, lacking(label)));
    let each: Vec<String> =
        each.filter(|(_, count)| *count > 0).map(|(name, count)| format!("`{name}` of {count}")).collect();
    (!each.is_empty()).then(|| {
        let message = format!(
            "a truth for every label expected, none for {} of {} cases",
            each.join(", "),
            cases.len()
        );
        Reject::new(UNKNOWN, message, "these cases teach the other labels alone")
    })
}

/// Refuses cases with voxels that nobody labelled, or labels that nobody looked for, of a training that cannot leave
/// them out.
pub(super) fn counts_wholly(parts: [&Dataset; 2]) -> Result<(), Reject> {
    let cases: Vec<_> = parts.iter().flat_map(|part| part.cases()).collect();
    let partly = cases.iter().filter(|case| !case.counts_wholly()).count();
    if partly == 0 {
        return Ok(());
    }
    let message = format!(
        "cases that are labelled everywhere expected, {partly} of {} with voxels of `ignore` or unknown labels found",
        cases.len()
    );
    let hint =
        "a training of boxes or by a `strategy` cannot leave them out; one of voxels without `strategy` does";
    Err(Reject::new("IGNORED_VOXELS", message, hint))
}

/// The code of parts of labels that are too small to be things.
const TOO_SMALL: &str = "PARTS_TOO_SMALL";

/// The code of attention that looks at one image alone.
const ATTENDS_TO_ONE: &str = "ATTENTION_TO_ONE";

/// The spread of attention below which the number of images has no effect.
const LEAST_SPREAD: f64 = 0.05;

/// Tells of parts of labels of the cases to train on that are too small to be things: no box is learned of
/// them.
pub(super) fn too_small(training: &Dataset) -> Result<Option<Reject>, Reject> {
    let Some(things) = training.things() else { return Ok(None) };
    let (mut parts, mut slices) = (0, 0);
    // Things marked by boxes are no part of labels.
    for case in training.cases().iter().filter(|case| case.boxes(0).is_none()) {
        let [depth, height, width] = case.size();
        for slice in 0..depth {
            let slice = case.slice_labels(slice).map_err(|message| Reject::new("NETWORK", message, ""))?;
            let (_, small) = things.of_slice(&slice, [height, width]);
            parts += small;
            slices += usize::from(small > 0);
        }
    }
    let told = (parts > 0).then(|| {
        let message = format!(
            "parts of {LEAST_PIXELS} pixels or more expected, {parts} smaller ones on {slices} slices found"
        );
        Reject::new(
            TOO_SMALL,
            message,
            "such parts teach no box, and `evaluate_boxes` does not ask for them; a part of several classes \
             is counted for each",
        )
    });
    Ok(told)
}

/// Tells of modules of attention that give one image nearly all the weight at the end of a training: the
/// others have no say.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::networks::InputView;
    use crate::operators::samples::dataset::PreparedCase;
    use crate::operators::samples::things::Things;
    use crate::operators::samples::view::{Input, Placement, View};

    #[test]
    fn parts_that_are_too_small_are_counted_with_their_slices() {
        // A part of four pixels, one of a single pixel beside it, and two single ones on the next slice.
        let labels = (0..40).map(|i| u8::from([0, 1, 5, 6, 4, 22, 39].contains(&i))).collect();
        let case = PreparedCase::new("a", [2, 4, 5], [1.0; 3], vec![0.0; 40].into(), labels).unwrap();
        let view = View {
            input: Input::Voxels(InputView::Stack { slices: 1, stride: 1 }),
            placement: Placement::Biased,
            per_case: 1,
            foreground: 1.0,
            flip: false,
            things: None,
        };
        let names = ["a".to_owned()];
        let data = Dataset::new(view, vec![Arc::new(case)]);
        assert!(too_small(&data).unwrap().is_none());
        let data = data.teaching(Things::of_labels(&names, &[]).numbered(&names).unwrap());
        let told = too_small(&data).unwrap().unwrap();
        assert_eq!(told.code, TOO_SMALL);
        assert!(told.message.contains("3 smaller ones on 2 slices"), "{}", told.message);
    }

    #[test]
    fn labels_that_no_thing_is_made_of_are_not_asked_for() {
        // A square of `a`, and another one of `b`, on slices of their own.
        let labels: Vec<u8> = (0..48)
            .map(|i| match (i / 16, [0, 1, 4, 5].contains(&(i % 16))) {
                (0, true) => 1,
                (2, true) => 2,
                _ => 0,
            })
            .collect();
        let case = PreparedCase::new("a", [3, 4, 4], [1.0; 3], vec![0.0; 48].into(), labels.into()).unwrap();
        let view = View {
            input: Input::Voxels(InputView::Stack { slices: 1, stride: 1 }),
            placement: Placement::Biased,
            per_case: 1,
            foreground: 1.0,
            flip: false,
            things: None,
        };
        let names = ["a".to_owned(), "b".to_owned()];
        let of = |made_of: &[String]| {
            let things = Things::of_labels(made_of, &[]).numbered(&names).unwrap();
            let data = Dataset::new(view.clone(), vec![Arc::new(case.clone())]).teaching(things);
            never_judged(&data, &names, 0, &[]).unwrap()
        };
        // One sample shows one of the two squares at most.
        let both = of(&names);
        assert!(!both.is_empty() && !both[0].hint.contains("validate"), "{both:?}");
        let alone: Vec<_> = names.iter().map(|name| of(std::slice::from_ref(name))).collect();
        for (told, other) in alone.iter().zip(["`b`", "`a`"]) {
            assert!(told.iter().all(|told| !told.message.contains(other)), "{told:?}");
        }
    }

    #[test]
    fn attention_to_one_image_is_told_by_the_last_epoch() {
        let figure = |epoch, name: &str, value| Figure {
            step: 0,
            epoch,
            split: "train".to_owned(),
            name: name.to_owned(),
            value,
        };
        let figures = [
            figure(1, "attention.spread.spatial.P2", 0.01),
            figure(2, "attention.spread.spatial.P2", 0.4),
            figure(2, "attention.spread.spatial.P3", 0.02),
            figure(2, "ap50", 0.0),
        ];
        let told = alone(&figures);
        assert_eq!((told.len(), &*told[0].code), (1, ATTENDS_TO_ONE));
        assert!(told[0].message.contains("spatial.P3"), "{}", told[0].message);
    }
}
