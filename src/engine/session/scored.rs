//! The figures that a pipeline asks for, as the end of a run tells them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::engine::driver::Driver;
use crate::engine::rows::{Desired, GroupedBy};
use crate::pipeline::Plan;

/// What one metric of one label comes to over the cases of a part of a split: a row of `summary` in short.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scored {
    /// The stage that made the figures.
    pub stage: String,
    /// The part of the model's split: `train`, `validation`, `test`, `unlabelled` for those that were learned from before
    /// they were drawn, or `new` for cases that it did not hold. Empty where there was no model.
    pub split: String,
    /// The label's name.
    pub label: String,
    /// The metric's name.
    pub metric: String,
    /// The figures' unit; empty for a share.
    pub unit: String,
    /// The mean over the figures that have a value.
    pub mean: Option<f64>,
    /// The interval of the mean, of 95 %, by bootstrap over cases.
    pub interval: Option<[f64; 2]>,
    /// Figures that have a value.
    pub count: u64,
    /// All figures: one of a case of which the metric says nothing has no value.
    pub figures: u64,
    /// The stage's place in the plan.
    #[serde(skip)]
    order: usize,
}

/// The figures of all stages that judge masks, in the plan's order. Of a stage whose cases belong to a split these are
/// its parts, of another one all cases.
pub fn scored(plan: &Plan, driver: &Driver) -> Vec<Scored> {
    let mut found: Vec<(GroupedBy, Scored)> = Vec::new();
    for desired in driver.desired().keys() {
        let Desired::Summary { group, sums } = &**desired else { continue };
        if group.grouped_by == GroupedBy::Vendor {
            continue;
        }
        let interval = sums.resampled.as_ref().and_then(|resampled| resampled.interval(group));
        let order = plan.stages.iter().position(|stage| stage.name == *group.stage);
        let scored = Scored {
            stage: group.stage.to_string(),
            split: if group.grouped_by == GroupedBy::Split { group.name.to_string() } else { String::new() },
            label: group.label.to_string(),
            metric: group.metric.to_string(),
            // A share has the unit 1.
            unit: Some(&*group.unit).filter(|unit| *unit != "1").unwrap_or_default().to_owned(),
            mean: sums.mean.map(|mean| mean.0),
            interval: interval.map(|ends| ends.map(|end| end.0)),
            count: sums.count,
            figures: sums.figures,
            order: order.unwrap_or(usize::MAX),
        };
        found.push((group.grouped_by, scored));
    }
    let split: BTreeSet<String> = found
        .iter()
        .filter(|(by, _)| *by == GroupedBy::Split)
        .map(|(_, scored)| scored.stage.clone())
        .collect();
    found.retain(|(by, scored)| (*by == GroupedBy::Split) == split.contains(&scored.stage));
    let mut scored: Vec<Scored> = found.into_iter().map(|(_, scored)| scored).collect();
    scored.sort_by(|a, b| {
        let by = |one: &Scored| (one.order, rank(&one.split), one.label.clone(), one.metric.clone());
        by(a).cmp(&by(b))
    });
    scored
}

/// Orders parts of a split: the one that a model is judged by comes first.
fn rank(split: &str) -> usize {
    ["test", "new", "validation", "unlabelled", "train"].iter().position(|known| *known == split).unwrap_or(0)
}

/// Lines for people: of each stage and label those cases that no model was trained on, where there are such.
pub fn lines(scored: &[Scored]) -> Vec<String> {
    let mut groups: BTreeMap<(usize, &str, usize, &str, &str), Vec<&Scored>> = BTreeMap::new();
    for one in scored {
        let key = (one.order, one.stage.as_str(), rank(&one.split), one.split.as_str(), one.label.as_str());
        groups.entry(key).or_default().push(one);
    }
    let unseen = |split: &str| !matches!(split, "train" | "validation" | "unlabelled");
    let judged: BTreeSet<&str> =
        scored.iter().filter(|one| unseen(&one.split)).map(|one| one.stage.as_str()).collect();
    groups.retain(|(_, stage, _, split, _), _| unseen(split) || !judged.contains(stage));
    groups
        .into_iter()
        .map(|((_, stage, _, split, label), figures)| {
            let cases = figures.iter().map(|one| one.figures).max().unwrap_or(0);
            let noun = if cases == 1 { "case" } else { "cases" };
            let part = if split.is_empty() { String::new() } else { format!("{split}, ") };
            let told: Vec<String> = figures.iter().map(|one| Told { one, cases }.to_string()).collect();
            format!("{stage} ({part}{cases} {noun}): {label} {}", told.join(", "))
        })
        .collect()
}

/// The words for one figure, with the number of cases where it is not of all.
struct Told<'a> {
    one: &'a Scored,
    cases: u64,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scored { metric, unit, mean, interval, count, .. } = self.one;
        let Some(mean) = mean else { return write!(f, "{metric} without a value") };
        write!(f, "{metric} {}", number(*mean))?;
        if !unit.is_empty() {
            write!(f, " {unit}")?;
        }
        if let Some([low, high]) = interval {
            write!(f, " [{}, {}]", number(*low), number(*high))?;
        }
        if *count < self.cases {
            write!(f, " (of {count})")?;
        }
        Ok(())
    }
}

/// Writes three digits that count, and no more than that of a share.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(stage: (usize, &str), split: &str, metric: &str, mean: Option<f64>, count: u64) -> Scored {
        Scored {
            stage: stage.1.to_owned(),
            split: split.to_owned(),
            label: "tumour".to_owned(),
            metric: metric.to_owned(),
            unit: if metric == "assd" { "mm" } else { "" }.to_owned(),
            mean,
            interval: (metric == "dice").then_some([0.8, 0.95]),
            count,
            figures: 4,
            order: stage.0,
        }
    }

    #[test]
    fn a_model_is_told_by_the_cases_that_it_has_not_seen() {
        let all = [
            scored((3, "scores"), "train", "dice", Some(0.99), 4),
            scored((3, "scores"), "test", "dice", Some(0.9124), 4),
            scored((3, "scores"), "test", "assd", Some(12.345), 3),
            scored((3, "scores"), "unlabelled", "dice", Some(0.98), 4),
            scored((5, "others"), "train", "dice", None, 0),
        ];
        assert_eq!(
            lines(&all),
            [
                "scores (test, 4 cases): tumour dice 0.912 [0.800, 0.950], assd 12.3 mm (of 3)",
                "others (train, 4 cases): tumour dice without a value",
            ]
        );
        let threshold = [scored((1, "scores"), "", "rve", Some(-250.4), 4)];
        assert_eq!(lines(&threshold), ["scores (4 cases): tumour rve -250"]);
    }
}
