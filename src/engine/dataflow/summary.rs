//! Figures to summaries: what each group of cases comes to, kept current as cases come and go.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Digest, Real};

use super::super::rows::{Conclusion, Desired, Group, GroupedBy, Provenance, Resampled, Sums};
use super::{Built, Rows};
use crate::executor::keys;
use crate::metrics::{Bootstrap, Emptiness, Statistics};
use crate::operators::registry::Stage;
use crate::operators::scores::evaluate;
use crate::store::FigureRow;

/// The figures of one case, and what groups it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Judged {
    /// The case's key.
    pub case: Arc<str>,
    /// Its part of the split, as in `metrics`.
    pub split: String,
    /// The manufacturer of its scanner, as in `cases`.
    pub vendor: Arc<str>,
    /// What was found.
    pub figures: Arc<[FigureRow]>,
    /// The stage and the model that the figures come from.
    pub from: Provenance,
}

/// What a figure adds to its group: a value that enters the mean, and which masks were empty (none of a
/// state that says something else).
type Contribution = (Option<Real>, Option<Emptiness>);

impl<'s> Built<'s, '_> {
    /// Whether a sink keeps what a stage gives.
    fn is_kept(&self, index: usize) -> bool {
        let mut stages = self.plan.stages.iter();
        stages.any(|stage| matches!(stage.stage, Stage::Sink(_)) && stage.inputs.contains(&index))
    }

    /// Puts together what cases add to figures over several, if a sink keeps them.
    pub(super) fn pool(&mut self, index: usize, judged: Rows<'s, (Judged, Digest)>) {
        let pools = match &self.plan.stages[index].stage {
            Stage::EvaluateBoxes(_) => true,
            Stage::Evaluate(evaluator) => evaluator.pools(),
            _ => false,
        };
        if !self.is_kept(index) || !pools {
            return;
        }
        let by = keys::operator(&self.plan.stages[index]);
        let parts = judged.distinct().flat_map(|(judged, pools)| {
            let case = judged.case.clone();
            let mut groups: Vec<Group> = parts_of(judged)
                .into_iter()
                // What is pooled is a share, whatever the case's other figures are.
                .map(|(group, _)| Group { metric: Arc::default(), unit: "1".into(), ..group })
                .collect();
            groups.sort();
            groups.dedup();
            groups.into_iter().map(move |group| (group, (pools, case.clone()))).collect::<Vec<_>>()
        });
        let pooled = parts.reduce(|_, parts, output| {
            // What is the same of two cases counts twice.
            let pools: Arc<[Digest]> = parts.iter().map(|((pools, _), _)| *pools).collect();
            output.push((pools, 1));
        });
        self.outputs.push(pooled.map(move |(group, pools)| {
            Conclusion::desired(Desired::Pooled { group: group.into(), by, pools })
        }));
    }

    /// Sums up the figures of a stage, if a sink keeps them.
    pub(super) fn summarise(&mut self, index: usize, judged: Rows<'s, Judged>) {
        if !self.is_kept(index) {
            return;
        }
        let rows = summaries(judged, evaluate::interval(&self.plan.stages[index].config));
        self.outputs.push(
            rows.map(|(group, sums)| Conclusion::desired(Desired::Summary { group: group.into(), sums })),
        );
    }
}

/// Returns what every group comes to.
fn summaries<'s>(judged: Rows<'s, Judged>, interval: Option<Bootstrap>) -> Rows<'s, (Group, Sums)> {
    // What is asked for twice is one row of `metrics`, and counts once.
    judged.distinct().flat_map(parts_of).reduce(move |_, parts, output| {
        // The same value of two cases is one row, counted twice.
        let each =
            |(part, count): &(&Contribution, isize)| std::iter::repeat_n(**part, (*count).max(0) as usize);
        output.push((sum_up(parts.iter().flat_map(each), interval), 1));
    })
}

/// Every figure of a case stands in a group of each kind. Several of one label and metric (one for each
/// lesion, say) count each by itself, like the rows of `metrics` that they are.
fn parts_of(judged: Judged) -> Vec<(Group, Contribution)> {
    let Judged { split, vendor, figures, from, .. } = judged;
    let model = from.model.map(|model| model.to_string()).unwrap_or_default();
    let groups =
        [(GroupedBy::Model, model.into()), (GroupedBy::Split, split.into()), (GroupedBy::Vendor, vendor)];
    let part = |figure: &FigureRow, (grouped_by, name): &(GroupedBy, Arc<str>)| {
        let group = Group {
            stage: from.stage.clone(),
            model: from.model,
            label: figure.label.clone(),
            metric: figure.metric.clone(),
            unit: figure.unit.clone(),
            grouped_by: *grouped_by,
            name: name.clone(),
        };
        // A figure that is no number enters no mean, as in the report.
        let value = figure.value.filter(|value| value.0.is_finite());
        (group, (value, figure.state.emptiness()))
    };
    figures.iter().flat_map(|figure| groups.iter().map(move |group| part(figure, group))).collect()
}

/// Returns what the figures of a group come to, whatever order they come in.
fn sum_up(parts: impl Iterator<Item = Contribution>, interval: Option<Bootstrap>) -> Sums {
    let (mut sums, mut values) = (Sums::default(), Vec::new());
    for (value, state) in parts {
        sums.figures += 1;
        values.extend(value.map(|value| value.0));
        match state {
            Some(Emptiness::Ok) => {}
            Some(Emptiness::BothEmpty) => sums.both_empty += 1,
            Some(Emptiness::EmptyReference) => sums.empty_reference += 1,
            Some(Emptiness::EmptyPrediction) => sums.empty_prediction += 1,
            None => sums.other_states += 1,
        }
    }
    let Some(statistics) = Statistics::of(values.into_iter()) else { return sums };
    let (min, max) = statistics.range();
    let real = |value| Some(Real::new(value));
    Sums {
        count: statistics.sorted.len() as u64,
        mean: real(statistics.mean),
        median: real(statistics.median()),
        sd: statistics.sd.map(Real::new),
        min: real(min),
        max: real(max),
        resampled: interval.map(|by| {
            let figures = statistics.sorted.iter().map(|figure| Real::new(*figure)).collect();
            Resampled { by, figures }
        }),
        ..sums
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use differential_dataflow::input::InputSession;
    use proptest::prelude::*;
    use timely::dataflow::ProbeHandle;

    use super::*;
    use crate::metrics::State;

    fn sums(parts: &[(Option<f64>, &str)]) -> Sums {
        sum_up(parts.iter().map(|(value, state)| (value.map(Real::new), Emptiness::named(state))), None)
    }

    #[test]
    fn figures_by_hand() {
        let found = sums(&[(Some(0.5), "ok"), (Some(1.0), "ok"), (Some(0.0), "empty_prediction")]);
        let expected = Sums {
            figures: 3,
            count: 3,
            mean: Some(Real(0.5)),
            median: Some(Real(0.5)),
            sd: Some(Real(0.5)),
            min: Some(Real(0.0)),
            max: Some(Real(1.0)),
            empty_prediction: 1,
            ..Sums::default()
        };
        assert_eq!(found, expected);
        let even = sums(&[(Some(4.0), "ok"), (Some(1.0), "ok"), (Some(2.0), "ok"), (Some(9.0), "ok")]);
        assert_eq!((even.mean, even.median), (Some(Real(4.0)), Some(Real(3.0))));
    }

    #[test]
    fn what_has_no_value_is_counted_and_enters_no_mean() {
        let found = sums(&[
            (None, "both_empty"),
            (None, "empty_reference"),
            (None, "empty_reference"),
            (Some(f64::NAN), "of another evaluator"),
            (Some(0.25), "ok"),
        ]);
        assert_eq!((found.figures, found.count, found.mean), (5, 1, Some(Real(0.25))));
        assert_eq!((found.both_empty, found.empty_reference, found.other_states), (1, 2, 1));
        // One figure alone has no deviation.
        assert_eq!((found.sd, found.min, found.max), (None, Some(Real(0.25)), Some(Real(0.25))));
        let none = sums(&[(None, "both_empty")]);
        assert_eq!(none, Sums { figures: 1, both_empty: 1, ..Sums::default() });
    }

    fn judged(figures: &[(&str, &str, f64)]) -> Judged {
        let figure = |&(label, metric, value): &(&str, &str, f64)| FigureRow {
            label: label.into(),
            metric: metric.into(),
            value: Some(Real::new(value)),
            unit: "1".into(),
            state: State::OK,
        };
        Judged {
            case: "1.2".into(),
            split: "test".to_owned(),
            vendor: "ACME".into(),
            figures: figures.iter().map(figure).collect(),
            from: Provenance { stage: "scores".into(), action: Digest::of(b"action"), model: None },
        }
    }

    #[test]
    fn a_figure_stands_in_a_group_of_each_kind() {
        let parts = parts_of(judged(&[("tumour", "dice", 0.5)]));
        let groups: Vec<_> = parts.iter().map(|(group, _)| (group.grouped_by, &*group.name)).collect();
        let expected = [(GroupedBy::Model, ""), (GroupedBy::Split, "test"), (GroupedBy::Vendor, "ACME")];
        assert_eq!(groups, expected);
        assert!(parts.iter().all(|(_, part)| *part == (Some(Real(0.5)), Some(Emptiness::Ok))));
    }

    const INTERVAL: Bootstrap = Bootstrap { level: Real(0.95), resamples: 100, seed: 3 };

    #[test]
    fn an_interval_is_made_of_what_has_a_value() {
        let (group, _) = parts_of(judged(&[("tumour", "dice", 0.5)])).remove(0);
        let parts = [0.75, 0.25, f64::NAN].map(|value| {
            let value = Some(Real::new(value)).filter(|value| value.0.is_finite());
            (value, Some(Emptiness::Ok))
        });
        let sums = |parts: &[Contribution]| sum_up(parts.iter().copied(), Some(INTERVAL));
        let resampled = sums(&parts).resampled.unwrap();
        assert_eq!(*resampled.figures, [Real(0.25), Real(0.75)]);
        assert_eq!(resampled.interval(&group), Some([Real(0.25), Real(0.75)]));
        // Another name of the stage draws nothing else; without a figure there is none.
        let renamed = Group { stage: "judged".into(), ..group.clone() };
        assert_eq!(resampled.interval(&renamed), resampled.interval(&group));
        assert_eq!(sums(&parts[2..]).resampled, None);
        let one = sums(&parts[..1]).resampled.unwrap();
        assert_eq!(one.interval(&group), Some([Real(0.75); 2]));
        assert_eq!(sum_up(parts.into_iter(), None).resampled, None);
    }

    #[test]
    fn other_labels_and_metrics_are_other_groups_and_lesions_count_each() {
        let parts = parts_of(judged(&[
            ("tumour", "dice", 0.5),
            ("tumour", "dice", 0.75),
            ("cochlea", "dice", 0.1),
            ("tumour", "rve", 0.2),
        ]));
        let of_model = parts.iter().filter(|(group, _)| group.grouped_by == GroupedBy::Model);
        let of = |label: &str, metric: &str| {
            let own =
                of_model.clone().filter(|(group, _)| &*group.label == label && &*group.metric == metric);
            sum_up(own.map(|(_, part)| *part), None)
        };
        let dice = of("tumour", "dice");
        assert_eq!((dice.figures, dice.mean), (2, Some(Real(0.625))));
        assert_eq!(
            [of("cochlea", "dice").mean, of("tumour", "rve").mean],
            [Some(Real(0.1)), Some(Real(0.2))]
        );
    }

    type Standing<T> = BTreeMap<T, isize>;

    fn add<T: Ord>(standing: &mut Standing<T>, row: T, diff: isize) {
        *standing.entry(row).or_default() += diff;
        standing.retain(|_, count| *count != 0);
    }

    /// Returns what stands after each epoch.
    fn streamed(epochs: Vec<Vec<(Judged, isize)>>) -> Vec<Standing<(Group, Sums)>> {
        timely::execute_directly(move |worker| {
            let (mut input, probe) = (InputSession::new(), ProbeHandle::new());
            let standing = Rc::new(RefCell::new(Standing::new()));
            let seen = standing.clone();
            worker.dataflow::<u64, _, _>(|scope| {
                summaries(input.to_collection(scope), Some(INTERVAL))
                    .inspect(move |(row, _, diff)| add(&mut seen.borrow_mut(), row.clone(), *diff))
                    .probe_with(&probe);
            });
            let mut after = Vec::new();
            for (time, epoch) in (1..).zip(epochs) {
                epoch.into_iter().for_each(|(judged, diff)| input.update(judged, diff));
                input.advance_to(time);
                input.flush();
                worker.step_while(|| probe.less_than(&time));
                after.push(standing.borrow().clone());
            }
            after
        })
    }

    /// Returns what must stand, from nothing but the cases that are there.
    fn anew(there: &Standing<Judged>) -> Standing<(Group, Sums)> {
        let mut groups: BTreeMap<Group, Vec<Contribution>> = BTreeMap::new();
        // Backwards, since the order of cases must not matter.
        for (group, part) in there.keys().rev().cloned().flat_map(parts_of) {
            groups.entry(group).or_default().push(part);
        }
        groups
            .into_iter()
            .map(|(group, parts)| ((group, sum_up(parts.into_iter(), Some(INTERVAL))), 1))
            .collect()
    }

    fn any_judged() -> impl Strategy<Value = Judged> {
        let value = prop_oneof![Just(None), Just(Some(0.1)), (0.0..2.0).prop_map(Some)];
        let figure = (0..2_usize, 0..2_usize, value, 0..5_usize);
        (0..3_usize, 0..2_usize, 0..2_usize, 0..2_u8, proptest::collection::vec(figure, 0..4)).prop_map(
            |(case, split, vendor, model, figures)| {
                let states = ["ok", "both_empty", "empty_reference", "empty_prediction", "other"];
                let figure = |(label, metric, value, state): (usize, usize, Option<f64>, usize)| FigureRow {
                    label: ["tumour", "cochlea"][label].into(),
                    metric: ["dice", "assd"][metric].into(),
                    value: value.map(Real::new),
                    unit: ["1", "mm"][metric].into(),
                    state: State::named(states[state]),
                };
                Judged {
                    case: case.to_string().into(),
                    split: ["train", "test"][split].to_owned(),
                    vendor: ["ACME", ""][vendor].into(),
                    figures: figures.into_iter().map(figure).collect(),
                    from: Provenance {
                        stage: "scores".into(),
                        action: Digest::of(b"action"),
                        model: (model > 0).then(|| Digest::of(&[model])),
                    },
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn at_every_time_as_from_nothing(
            epochs in proptest::collection::vec(
                proptest::collection::vec((any_judged(), any::<proptest::sample::Index>(), 0..3_u8), 0..6), 1..6),
        ) {
            let (mut there, mut fed, mut expected) = (Standing::new(), Vec::new(), Vec::new());
            for epoch in epochs {
                let mut changes = Vec::new();
                for (judged, which, kind) in epoch {
                    let known: Vec<Judged> = there.keys().cloned().collect();
                    let change = match kind {
                        0 if !known.is_empty() => (which.get(&known).clone(), -1),
                        1 if !known.is_empty() => (which.get(&known).clone(), 1),
                        _ => (judged, 1),
                    };
                    add(&mut there, change.0.clone(), change.1);
                    changes.push(change);
                }
                fed.push(changes);
                expected.push(anew(&there));
            }
            prop_assert_eq!(streamed(fed), expected);
        }
    }
}
