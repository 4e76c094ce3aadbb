//! Systems beside each other on the same cases: their figures, and whether one is better than another.

#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use tomoflow_connectors::Real;
use tomoflow_connectors::table::{MetricRow, Rows, Table, TableError, read_rows};

use super::figures::value;
use super::{ReportError, html};
use crate::metrics::{Bootstrap, SignedRank, Statistics, difference, holm};

/// The interval around a mean difference.
const INTERVAL: Bootstrap = Bootstrap { level: Real(0.95), resamples: 2000, seed: 0 };

/// Stages that are one system: trainings that differ in their seed alone, say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// The name of the system.
    pub name: String,
    /// Stages of type `evaluate`.
    pub stages: Vec<String>,
}

/// What is compared with what.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The systems; each stage that has figures is one when there are none.
    pub systems: Vec<System>,
    /// The system that the others are held against; the first one when it is absent.
    pub against: Option<String>,
    /// The part of the split that counts; all cases when it is empty.
    pub split: String,
}

/// Systems beside each other, figure by figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The part of the split that counts; all cases when it is empty.
    pub split: String,
    /// Dice first, the others by name.
    pub figures: Vec<Compared>,
}

/// One figure of one label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// The figure's name, as in `metrics`.
    pub metric: String,
    /// `1`, `mm` or `ml`.
    pub unit: String,
    /// The label.
    pub label: String,
    /// The system that the others are held against.
    pub against: String,
    /// The systems, in the order in which they were asked for.
    pub systems: Vec<Standing>,
}

/// The figures of one system.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The system's name.
    pub system: String,
    /// Cases with a figure from each of its stages.
    pub cases: usize,
    /// The number of cases that any system was asked about.
    pub of: usize,
    /// The numbers of cases without a figure, by the state in `metrics`, or `no row`. They are in no mean: of
    /// a distance `empty_prediction` are those that the system missed.
    pub without: BTreeMap<String, usize>,
    /// The mean over cases, each the mean over the system's stages; absent without cases.
    pub mean: Option<f64>,
    /// The sample standard deviation over cases.
    pub sd: Option<f64>,
    /// The means of its stages, each over its own cases.
    pub stages: BTreeMap<String, f64>,
    /// The comparison with the other system; absent for that system itself, and where no case has a figure
    /// from both.
    pub paired: Option<Paired>,
}

/// A system against another on the cases that both have figures of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// The number of cases.
    pub cases: usize,
    /// The mean of the differences.
    pub difference: f64,
    /// The interval in which 95 % of resampled means lie.
    pub interval: [f64; 2],
    /// The p of Wilcoxon's signed-rank test; 1 where no case differs.
    pub p: f64,
    /// The same, held to one error over all systems (Holm).
    pub p_holm: f64,
}

/// Each case's figure.
type ByCase<'a> = BTreeMap<&'a str, f64>;

/// Each case's figure, or the state of a row that has none.
type Rated<'a> = BTreeMap<&'a str, Result<f64, &'a str>>;

/// The state where a system has no row of a case.
const NO_ROW: &str = "no row";
/// The state where a stage has several rows of a case: scans of two sources may have the same name.
const SEVERAL: &str = "several rows";

impl Comparison {
    /// Reads the figures in the folder of Delta tables, and compares.
    ///
    /// # Errors
    /// When the table cannot be read, and [`ReportError::System`] for a stage or a system that has no figures.
    pub fn read(tables: &Path, question: &Question) -> Result<Self, ReportError> {
        match read_rows(&tables.join(Table::Metrics.name()), Table::Metrics) {
            Ok(Rows::Metrics(rows)) => Self::of(&rows, question),
            Ok(_) | Err(TableError::Absent { .. }) => Self::of(&[], question),
            Err(error) => Err(error.into()),
        }
    }

    /// Compares the figures of these rows.
    ///
    /// # Errors
    /// [`ReportError::System`] as above.
    pub fn of(rows: &[MetricRow], question: &Question) -> Result<Self, ReportError> {
        let counts = |row: &&MetricRow| question.split.is_empty() || row.split == question.split;
        let rows: Vec<&MetricRow> = rows.iter().filter(counts).collect();
        let systems = systems(&rows, question)?;
        let against = question.against.as_ref().unwrap_or(&systems[0].name);
        let Some(base) = systems.iter().find(|system| system.name == *against) else {
            let names = systems.iter().map(|system| system.name.as_str());
            return Err(ReportError::system(against, "systems", names));
        };
        let mut figures: BTreeMap<(bool, &str, &str, &str), BTreeMap<&str, Rated<'_>>> = BTreeMap::new();
        for row in rows {
            let rated = value(row).ok_or(if row.state == "ok" { "not finite" } else { &row.state });
            let figure = (row.metric != "dice", row.metric.as_str(), row.label.as_str(), row.unit.as_str());
            let cases = figures.entry(figure).or_default().entry(&row.stage).or_default();
            // Nothing says which of several rows is another system's counterpart.
            let rated = if cases.contains_key(&*row.case) { Err(SEVERAL) } else { rated };
            cases.insert(&row.case, rated);
        }
        let compared = figures.into_iter().map(|((_, metric, label, unit), stages)| Compared {
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            label: label.to_owned(),
            against: base.name.clone(),
            systems: standings(&systems, base, &stages),
        });
        Ok(Self { split: question.split.clone(), figures: compared.collect() })
    }

    /// Whether there is something to compare.
    pub(super) fn has_several(&self) -> bool {
        self.figures.iter().any(|figure| figure.systems.len() > 1)
    }

    /// Writes it as a page; `title` is the pipeline's name.
    ///
    /// # Errors
    /// When the page cannot be written.
    pub fn write(&self, out: &Path, title: &str) -> Result<(), ReportError> {
        let lead = match self.split.is_empty() {
            true => "All cases.".to_owned(),
            false => format!("Cases of the split {}.", self.split),
        };
        super::put(&html::page(title, "report", &lead, &self.section(), ""), out)
    }
}

/// The systems of a question, all of which have figures.
fn systems(rows: &[&MetricRow], question: &Question) -> Result<Vec<System>, ReportError> {
    let known: BTreeSet<&str> = rows.iter().map(|row| row.stage.as_str()).collect();
    let stages = question.systems.iter().flat_map(|system| &system.stages);
    if let Some(unknown) = stages.clone().find(|stage| !known.contains(stage.as_str())) {
        return Err(ReportError::system(unknown, "stages", known.into_iter()));
    }
    if let Some(empty) = question.systems.iter().find(|system| system.stages.is_empty()) {
        return Err(ReportError::system(&empty.name, "stages", known.into_iter()));
    }
    let alone = |&name: &&str| System { name: name.to_owned(), stages: vec![name.to_owned()] };
    let systems = match question.systems.is_empty() {
        true => known.iter().map(alone).collect(),
        false => question.systems.clone(),
    };
    if systems.is_empty() {
        let split = if question.split.is_empty() { "any" } else { &question.split };
        return Err(ReportError::system(split, "splits", std::iter::empty()));
    }
    Ok(systems)
}

fn standings(systems: &[System], base: &System, stages: &BTreeMap<&str, Rated<'_>>) -> Vec<Standing> {
    let of_base = by_case(base, stages);
    let stages_of = systems.iter().flat_map(|system| &system.stages);
    let all: BTreeSet<&str> = stages_of
        .filter_map(|stage| stages.get(stage.as_str()))
        .flat_map(|cases| cases.keys().copied())
        .collect();
    let mut standings: Vec<Standing> = systems
        .iter()
        .map(|system| {
            let cases = by_case(system, stages);
            let statistics = Statistics::of(cases.values().copied());
            let mean = |stage: &String| {
                let figures =
                    Statistics::of(stages.get(stage.as_str())?.values().filter_map(|rated| rated.ok()))?;
                Some((stage.clone(), figures.mean))
            };
            Standing {
                system: system.name.clone(),
                cases: cases.len(),
                of: all.len(),
                without: without(system, stages, all.iter().filter(|case| !cases.contains_key(**case))),
                mean: statistics.as_ref().map(|figures| figures.mean),
                sd: statistics.and_then(|figures| figures.sd),
                stages: system.stages.iter().filter_map(mean).collect(),
                paired: if system == base { None } else { paired(&system.name, &cases, &of_base) },
            }
        })
        .collect();
    let tests: Vec<f64> = standings.iter().filter_map(|one| Some(one.paired.as_ref()?.p)).collect();
    let found = standings.iter_mut().filter_map(|one| one.paired.as_mut());
    found.zip(holm(&tests)).for_each(|(paired, p)| paired.p_holm = p);
    standings
}

/// The mean over a system's stages for each case that all of them have a figure of.
fn by_case<'a>(system: &System, stages: &BTreeMap<&str, Rated<'a>>) -> ByCase<'a> {
    let mut figures: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (case, rated) in system.stages.iter().filter_map(|stage| stages.get(stage.as_str())).flatten() {
        figures.entry(case).or_default().extend(rated.ok());
    }
    let complete = figures.into_iter().filter(|(_, figures)| figures.len() == system.stages.len());
    complete.map(|(case, figures)| (case, figures.iter().sum::<f64>() / figures.len() as f64)).collect()
}

/// Returns why a system has no figure of these cases, and of how many each.
fn without<'a>(
    system: &System,
    stages: &BTreeMap<&str, Rated<'_>>,
    cases: impl Iterator<Item = &'a &'a str>,
) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for case in cases {
        let rated = system.stages.iter().map(|stage| {
            stages.get(stage.as_str()).and_then(|cases| cases.get(case)).copied().unwrap_or(Err(NO_ROW))
        });
        let why = rated.filter_map(Result::err).next().unwrap_or(NO_ROW);
        *counts.entry(why.to_owned()).or_default() += 1;
    }
    counts
}

fn paired(name: &str, cases: &ByCase<'_>, base: &ByCase<'_>) -> Option<Paired> {
    let pairs = cases.iter().filter_map(|(case, figure)| Some((*figure, *base.get(case)?)));
    let differences: Vec<f64> = pairs.clone().map(|(figure, base)| difference(figure, base)).collect();
    let mean = Statistics::of(differences.iter().copied())?.mean;
    let interval = INTERVAL.interval(name.as_bytes(), differences.iter().copied())?;
    let p = SignedRank::of_pairs(pairs).map_or(1.0, |test| test.p);
    Some(Paired { cases: differences.len(), difference: mean, interval, p, p_holm: p })
}
