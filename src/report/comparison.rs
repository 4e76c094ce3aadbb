//! Systems beside each other on the same cases: their figures, and whether one is better than another.

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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(stage: &str, case: usize, metric: &str, value: Option<f64>) -> MetricRow {
        MetricRow {
            stage: stage.into(),
            case: format!("case {case}"),
            metric: metric.into(),
            unit: "1".into(),
            label: "tumour".into(),
            split: if case < 8 { "test" } else { "train" }.into(),
            value,
            ..MetricRow::default()
        }
    }

    fn rows() -> Vec<MetricRow> {
        let mut rows = Vec::new();
        for case in 0..10 {
            let figure = 0.5 + case as f64 / 32.0;
            rows.push(row("plain", case, "dice", Some(figure)));
            rows.push(row("better 1", case, "dice", Some(figure + 0.25)));
            rows.push(row("better 2", case, "dice", (case != 3).then_some(figure)));
            rows.push(row("plain", case, "assd", Some(1.0)));
        }
        rows
    }

    fn question(against: Option<&str>) -> Question {
        let system = |name: &str, stages: &[&str]| System {
            name: name.to_owned(),
            stages: stages.iter().map(|&stage| stage.to_owned()).collect(),
        };
        Question {
            systems: vec![system("plain", &["plain"]), system("better", &["better 1", "better 2"])],
            against: against.map(str::to_owned),
            split: "test".to_owned(),
        }
    }

    #[test]
    fn cases_are_paired_and_seeds_averaged() {
        let found = Comparison::of(&rows(), &question(None)).unwrap();
        let metrics: Vec<&str> = found.figures.iter().map(|figure| figure.metric.as_str()).collect();
        assert_eq!(metrics, ["dice", "assd"]);
        let [plain, better] = &found.figures[0].systems[..] else { panic!("two systems") };
        assert_eq!((plain.cases, plain.mean, plain.paired.clone()), (8, Some(0.609375), None));
        // A case without a figure from one of the stages is none of the system's.
        assert_eq!((better.cases, better.stages["better 1"]), (7, 0.859375));
        let paired = better.paired.as_ref().unwrap();
        assert_eq!((paired.cases, paired.difference, paired.interval), (7, 0.125, [0.125; 2]));
        assert_eq!((paired.p, paired.p_holm), (2.0 / 128.0, 2.0 / 128.0));
        // No case has a surface distance from the other system.
        let other = &found.figures[1].systems[1];
        assert_eq!((other.cases, other.mean, other.paired.clone()), (0, None, None));
        assert_eq!((other.of, other.without.get(NO_ROW)), (8, Some(&8)));
        assert_eq!((better.of, better.without.len(), better.without.get("")), (8, 1, Some(&1)));
    }

    /// Scans of one name are not paired with each other.
    #[test]
    fn a_case_with_several_rows_is_in_no_mean() {
        let mut rows = rows();
        rows.push(row("plain", 2, "dice", Some(0.0)));
        let found = Comparison::of(&rows, &question(None)).unwrap();
        let plain = found.figures[0].systems.iter().find(|system| system.system == "plain").unwrap();
        assert_eq!((plain.cases, plain.without.get(SEVERAL)), (7, Some(&1)));
    }

    /// A system that misses half of all structures has no distances of these: its mean is that of the others.
    #[test]
    fn what_was_missed_is_counted() {
        let of = |stage: &str, case: usize, value: Option<f64>, state: &str| MetricRow {
            state: state.into(),
            ..row(stage, case, "assd", value)
        };
        let mut rows = Vec::new();
        for case in 0..8 {
            let missed = case < 3;
            rows.push(of(
                "shy",
                case,
                (!missed).then_some(0.0),
                if missed { "empty_prediction" } else { "ok" },
            ));
            rows.push(of("bold", case, Some(0.5), "ok"));
        }
        rows.push(of("bold", 8, Some(0.5), "ok"));
        rows.push(of("bold", 9, Some(f64::INFINITY), "ok"));
        let found = Comparison::of(&rows, &Question::default()).unwrap();
        let [bold, shy] = &found.figures[0].systems[..] else { panic!("two systems") };
        assert_eq!((bold.cases, bold.of, bold.without.get("not finite")), (9, 10, Some(&1)));
        assert_eq!((shy.cases, shy.of), (5, 10));
        let without = [("empty_prediction", 3), (NO_ROW, 2)].map(|(why, n)| (why.to_owned(), n));
        assert_eq!(shy.without, BTreeMap::from(without));
        assert_eq!(shy.paired.as_ref().unwrap().cases, 5);
        for shown in [found.to_string(), found.section()] {
            assert!(shown.contains("5 of 10") && shown.contains("3 empty prediction, 2 no row"), "{shown}");
        }
        // Nobody found it anywhere: that, too, is a line.
        let none = Comparison::of(&[of("shy", 0, None, "empty_prediction")], &Question::default()).unwrap();
        assert!(none.to_string().contains("0 of 1"), "{none}");
    }

    #[test]
    fn stages_stand_alone_when_no_system_is_named() {
        let question = Question { split: "test".to_owned(), ..Question::default() };
        let found = Comparison::of(&rows(), &question).unwrap();
        let names: Vec<&str> = found.figures[0].systems.iter().map(|one| one.system.as_str()).collect();
        assert_eq!(names, ["better 1", "better 2", "plain"]);
        let holm: Vec<_> =
            found.figures[0].systems.iter().filter_map(|one| Some(one.paired.as_ref()?.p_holm)).collect();
        assert_eq!(holm, [2.0 / 128.0, 2.0 * 2.0 / 256.0]);
    }

    #[test]
    fn what_has_no_figures_is_named() {
        let error = |question: &Question| Comparison::of(&rows(), question).unwrap_err().to_string();
        let mut unknown = question(None);
        unknown.systems[0].stages.push("worse".to_owned());
        assert!(error(&unknown).contains("`worse`"), "{}", error(&unknown));
        assert!(error(&question(Some("worst"))).contains("plain, better"));
        let nowhere = Question { split: "validation".to_owned(), ..Question::default() };
        assert!(error(&nowhere).contains("`validation`"));
        assert!(Comparison::of(&[], &Question::default()).is_err());
    }

    #[test]
    fn text_and_page_name_all() {
        let found = Comparison::of(&rows(), &question(Some("plain"))).unwrap();
        let text = found.to_string();
        assert!(text.contains("dice, tumour") && text.contains("+0.125"), "{text}");
        assert!(text.contains("better") && text.contains("0.016"), "{text}");
        let section = found.section();
        assert!(section.contains("<td>better</td>") && section.contains("+0.125"), "{section}");
    }
}
