//! Summaries follow the cases: at every time they are what plain code makes of `metrics` and `cases`.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::Workplace;
use crate::support::text::Rewrite as _;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tomoflow::connectors::table::{CaseRow, MetricRow, Rows, SummaryRow, Table, read_parquet, read_rows};
use tomoflow::engine::Options;

fn read(place: &Workplace, table: Table) -> Rows {
    read_rows(&place.out().join("tables").join(table.name()), table).unwrap()
}

fn cases(place: &Workplace) -> Vec<CaseRow> {
    let Rows::Cases(rows) = read(place, Table::Cases) else { panic!("cases expected") };
    rows
}

fn summary(place: &Workplace) -> Vec<SummaryRow> {
    let Rows::Summary(rows) = read(place, Table::Summary) else { panic!("a summary expected") };
    sorted(rows)
}

/// Rows in one order, without the digest of what they were written with.
fn sorted(rows: Vec<SummaryRow>) -> Vec<SummaryRow> {
    let mut rows: Vec<SummaryRow> =
        rows.into_iter().map(|row| SummaryRow { entry: String::new(), ..row }).collect();
    rows.sort_by_key(|row| {
        let key = [&row.stage, &row.model, &row.label, &row.metric, &row.grouped_by, &row.group];
        key.map(String::clone)
    });
    rows
}

/// What `summary` must hold, from the other tables.
fn recomputed(place: &Workplace) -> Vec<SummaryRow> {
    let vendors: BTreeMap<String, String> =
        cases(place).into_iter().map(|case| (case.case, case.manufacturer)).collect();
    let mut groups: BTreeMap<[String; 7], Vec<MetricRow>> = BTreeMap::new();
    for row in place.metrics() {
        let vendor = &vendors[&row.case];
        for (grouped_by, group) in [("model", &row.model), ("split", &row.split), ("vendor", vendor)] {
            let key = [&row.stage, &row.model, &row.label, &row.metric, &row.unit].map(String::clone);
            let [stage, model, label, metric, unit] = key;
            let key = [stage, model, label, metric, unit, grouped_by.to_owned(), group.clone()];
            groups.entry(key).or_default().push(row.clone());
        }
    }
    sorted(groups.into_iter().map(|(key, rows)| recompute(key, &rows)).collect())
}

fn recompute(key: [String; 7], rows: &[MetricRow]) -> SummaryRow {
    let mut values: Vec<f64> = rows.iter().filter_map(|row| row.value).collect();
    values.sort_by(f64::total_cmp);
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n as f64;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    let median = || {
        let (low, high) = (values[(n - 1) / 2], values[n / 2]);
        low + (high - low) * 0.5
    };
    let of_state = |state: &str| rows.iter().filter(|row| row.state == state).count() as i64;
    let [stage, model, label, metric, unit, grouped_by, group] = key;
    SummaryRow {
        entry: String::new(),
        stage,
        model,
        label,
        metric,
        unit,
        grouped_by,
        group,
        figures: rows.len() as i64,
        count: n as i64,
        mean: (n > 0).then_some(mean),
        mean_low: None,
        mean_high: None,
        median: (n > 0).then(median),
        sd: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()),
        min: values.first().copied(),
        max: values.last().copied(),
        both_empty: of_state("both_empty"),
        empty_reference: of_state("empty_reference"),
        empty_prediction: of_state("empty_prediction"),
        other_states: 0,
    }
}

/// Six series, and the number of each by its UID.
fn six() -> (Workplace, BTreeMap<String, usize>) {
    let place = Workplace::new(0);
    let numbers = (0..6).map(|index| (place.add(index).series_uid, index)).collect();
    (place, numbers)
}

/// The groups of a kind.
fn groups(rows: &[SummaryRow], grouped_by: &str) -> BTreeSet<String> {
    rows.iter().filter(|row| row.grouped_by == grouped_by).map(|row| row.group.clone()).collect()
}

#[test]
fn summaries_follow_cases_that_come_change_and_go() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut place = Workplace::new(2);
    let (mut there, mut threshold) = (BTreeSet::from([0, 1]), "0.5");
    let mut sizes = BTreeSet::new();
    for step in 0..12 {
        let series = rng.random_range(0..6);
        match rng.random_range(0..4) {
            0 | 1 if there.insert(series) => drop(place.add(series)),
            0 if there.len() > 1 => {
                place.delete(series);
                there.remove(&series);
            }
            2 if there.contains(&series) => place.move_label(series, rng.random_range(0..4)),
            _ => {
                // Above 40 deviations there is nothing: every structure is missed.
                let next = ["0.5", "1.5", "40.0"][rng.random_range(0..3)];
                place.text = place.text.rewrite(&format!("above = {threshold}"), &format!("above = {next}"));
                threshold = next;
            }
        }
        place.run();
        let found = summary(&place);
        assert_eq!(found, recomputed(&place), "step {step}");
        assert!(!found.is_empty());
        sizes.insert((there.len(), threshold));
    }
    // The changes were some: cases came and went, and thresholds changed.
    assert!(sizes.len() > 4, "{sizes:?}");
    assert_eq!(place.tables()["summary"], place.anew()["summary"]);
}

#[test]
fn a_missed_structure_lowers_the_mean_and_is_counted() {
    let mut place = Workplace::new(3);
    place.text = place.text.rewrite("above = 0.5", "above = 40.0");
    place.run();
    let found = summary(&place);
    assert_eq!(found, recomputed(&place));
    let of_all = |metric: &str| {
        found.iter().find(|row| row.metric == metric && row.grouped_by == "model").unwrap().clone()
    };
    // Dice of a missed structure is 0; a surface that is not there has no distance.
    let (dice, assd) = (of_all("dice"), of_all("assd"));
    assert_eq!((dice.figures, dice.count, dice.mean, dice.empty_prediction), (3, 3, Some(0.0), 3));
    assert_eq!((assd.figures, assd.count, assd.mean, assd.empty_prediction), (3, 0, None, 3));
    assert_eq!((assd.unit.as_str(), assd.median, assd.sd, assd.min), ("mm", None, None, None));
}

#[test]
fn a_group_goes_with_its_last_case() {
    let (place, numbers) = six();
    place.run();
    let before = cases(&place);
    let vendors: BTreeSet<String> = before.iter().map(|case| case.manufacturer.clone()).collect();
    assert!(vendors.len() > 1, "{vendors:?}");
    assert_eq!(groups(&summary(&place), "vendor"), vendors);
    let gone = vendors.first().unwrap();
    for case in before.iter().filter(|case| case.manufacturer == *gone) {
        place.delete(numbers[&case.series]);
    }
    let run = place.run();
    assert_eq!(run.actions_run, 0);
    let left: BTreeSet<String> = vendors.iter().filter(|vendor| *vendor != gone).cloned().collect();
    assert_eq!(groups(&summary(&place), "vendor"), left);
    assert_eq!(summary(&place), recomputed(&place));
}

#[test]
fn a_change_rewrites_its_own_groups_alone() {
    let (place, numbers) = six();
    place.run();
    let before = place.tables()["summary"].clone();
    let moved = cases(&place).into_iter().find(|case| numbers[&case.series] == 0).unwrap();
    place.move_label(0, 3);
    place.run();
    let after = place.tables()["summary"].clone();
    let rows = |lines: &BTreeSet<String>| -> Vec<SummaryRow> {
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // Outlines that were moved hold as much as before.
    let other = |row: &SummaryRow| {
        row.metric == "rve" || row.grouped_by == "vendor" && row.group != moved.manufacturer
    };
    let kept: BTreeSet<String> = before.intersection(&after).cloned().collect();
    assert!(rows(&kept).iter().all(other), "{kept:?}");
    assert_eq!(rows(&kept).len(), rows(&before).iter().filter(|row| other(row)).count());
    assert_eq!(summary(&place), recomputed(&place));
}

#[test]
fn stages_and_sinks_are_kept_apart() {
    let mut place = Workplace::new(2);
    place.text.push_str(
        r#"
[operators.rough]
type = "evaluate"
inputs = ["bright", "case"]

[operators.unused]
type = "evaluate"
inputs = ["bright", "case"]

[sinks.more]
type = "delta"
inputs = ["rough"]

[sinks.files]
type = "parquet"
inputs = ["scores"]
"#,
    );
    place.run_with(&Options { workers: 3, threads: 2, ..Options::default() });
    let found = summary(&place);
    assert_eq!(found, recomputed(&place));
    // What no sink names is in no table.
    let stages: BTreeSet<&str> = found.iter().map(|row| row.stage.as_str()).collect();
    assert_eq!(stages, BTreeSet::from(["rough", "scores"]));
    let mean = |stage: &str| {
        let row = |row: &&SummaryRow| row.stage == stage && row.metric == "rve" && row.grouped_by == "model";
        found.iter().find(row).unwrap().mean.unwrap()
    };
    assert_ne!(mean("rough"), mean("scores"));
    let file = read_parquet(&place.out().join("parquet/summary.parquet"), Table::Summary).unwrap();
    let Rows::Summary(file) = file else { panic!("a summary expected") };
    let scores: Vec<SummaryRow> = found.into_iter().filter(|row| row.stage == "scores").collect();
    assert_eq!(sorted(file), scores);
}

#[test]
fn intervals_of_means_do_not_depend_on_how_they_were_reached() {
    let rows = |place: &Workplace| {
        let rows = summary(place);
        let without = |row: &SummaryRow| SummaryRow { mean_low: None, mean_high: None, ..row.clone() };
        // Beside the interval everything is as ever.
        assert_eq!(rows.iter().map(without).collect::<Vec<_>>(), recomputed(place));
        rows
    };
    let mut place = Workplace::new(4);
    let scores = "type = \"evaluate\"\n";
    assert!(place.text.contains(scores));
    place.text = place.text.rewrite(scores, "type = \"evaluate\"\ninterval = 0.9\nresamples = 200\n");
    place.run();
    place.add(4);
    place.run_with(&Options { workers: 3, threads: 2, ..Options::default() });
    let found = rows(&place);
    let held = |row: &SummaryRow| match (row.mean_low, row.mean, row.mean_high) {
        (Some(low), Some(mean), Some(high)) => {
            let within = low <= mean + 1e-12 && mean <= high + 1e-12;
            within && (row.count > 1 || high == low)
        }
        ends => ends == (None, None, None) && row.count == 0,
    };
    assert!(found.iter().all(held), "{found:?}");
    assert!(found.iter().any(|row| row.mean_low < row.mean_high));
    assert_eq!(place.tables()["summary"], place.anew()["summary"]);
    // Nothing runs anew for another interval, which is narrower.
    place.text = place.text.rewrite("interval = 0.9\n", "interval = 0.2\n");
    assert_eq!(place.run().actions_run, 0);
    let narrow = rows(&place);
    let width = |row: &SummaryRow| row.mean_high.zip(row.mean_low).map(|(high, low)| high - low);
    assert!(narrow.iter().zip(&found).all(|(narrow, wide)| width(narrow) <= width(wide)));
    assert!(narrow.iter().zip(&found).any(|(narrow, wide)| width(narrow) < width(wide)));
}

#[test]
fn models_and_splits_are_kept_apart() {
    let mut place = Workplace::trained();
    place.text.push_str(
        r#"
[operators.other]
type = "train"
inputs = ["samples"]
network = { type = "unet", dims = "2.5d", levels = 2, channels = 2 }
epochs = 1
learning_rate = 1e-2
split = { train = 2, validation = 1, test = 1, seed = 3 }

[operators.by_other]
type = "infer"
inputs = ["normal"]
model = "other"

[operators.other_judged]
type = "evaluate"
inputs = ["by_other", "case"]
metrics = ["dice"]

[sinks.others]
type = "delta"
inputs = ["other_judged"]
"#,
    );
    assert_eq!(place.run().trained, 2);
    let found = summary(&place);
    assert_eq!(found, recomputed(&place));
    let models: BTreeSet<String> = place.metrics().into_iter().map(|row| row.model).collect();
    assert_eq!(models.len(), 2);
    assert_eq!(groups(&found, "model"), models);
    let parts = ["test", "train", "validation"].map(str::to_owned);
    assert_eq!(groups(&found, "split"), BTreeSet::from(parts));
    let of = |group: &str| {
        found.iter().filter(|row| row.group == group).map(|row| row.figures).collect::<Vec<_>>()
    };
    assert_eq!([of("train"), of("test")], [[2, 2], [1, 1]]);
    // A case that came after the training is a group of its own.
    place.add(4);
    place.run();
    assert!(groups(&summary(&place), "split").contains("new"));
    assert_eq!(summary(&place), recomputed(&place));
}
