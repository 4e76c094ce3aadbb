//! Figures over all cases of a group together follow the cases: at every time they are what plain sums make of `metrics`.

use std::collections::BTreeMap;

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, ran};
use tomoflow::connectors::table::{CaseRow, MetricRow, Rows, SummaryRow, Table, read_rows};

const METRICS: &str = "metrics = [\"dice\", \"assd\", \"rve\"]\n";
const POOLED: &str =
    "metrics = [\"dice\", \"volume_ml\", \"volume_ref_ml\", \"lesion_recall\", \"hd95\"]\npooled = true\n";

/// So many series, whose masks are judged case by case and all together.
fn pooling(series: usize) -> Workplace {
    let mut place = Workplace::new(series);
    place.text = place.text.rewrite(METRICS, POOLED);
    place
}

fn read(place: &Workplace, table: Table) -> Rows {
    read_rows(&place.out().join("tables").join(table.name()), table).unwrap()
}

fn cases(place: &Workplace) -> BTreeMap<String, CaseRow> {
    let Rows::Cases(rows) = read(place, Table::Cases) else { panic!("cases expected") };
    rows.into_iter().map(|row| (row.case.clone(), row)).collect()
}

fn summary(place: &Workplace, metric: &str) -> Vec<SummaryRow> {
    let Rows::Summary(rows) = read(place, Table::Summary) else { panic!("a summary expected") };
    rows.into_iter().filter(|row| row.metric == metric).collect()
}

/// The global Dice of some cases, from what `metrics` says of each.
fn global_dice(metrics: &[MetricRow], cases: &[&CaseRow]) -> f64 {
    let (mut shared, mut all) = (0.0, 0.0);
    for case in cases {
        let value = |metric: &str| {
            let row = metrics.iter().find(|row| row.case == case.case && row.metric == metric).unwrap();
            row.value.unwrap()
        };
        let voxel_ml = case.spacing_d_mm * case.spacing_h_mm * case.spacing_w_mm / 1000.0;
        let both = (value("volume_ml") + value("volume_ref_ml")) / voxel_ml;
        shared += value("dice") * both;
        all += both;
    }
    shared / all
}

/// Compares all rows of the global Dice with sums over their cases, and returns how many rows there are.
fn check(place: &Workplace, when: &str) -> usize {
    let (cases, metrics) = (cases(place), place.metrics());
    let found = summary(place, "pooled_dice");
    for row in &found {
        let own: Vec<&CaseRow> = cases
            .values()
            .filter(|case| row.grouped_by != "vendor" || case.manufacturer == row.group)
            .collect();
        let wanted = global_dice(&metrics, &own);
        assert!((row.mean.unwrap() - wanted).abs() < 1e-9, "{when}: {row:?} for {wanted}");
        assert_eq!((row.figures, row.count, row.other_states), (own.len() as i64, own.len() as i64, 0));
        assert_eq!((row.unit.as_str(), row.label.as_str()), ("1", "tumour"));
        assert_eq!((row.median, row.sd, row.min, row.max), (None, None, None, None));
    }
    found.len()
}

#[test]
fn the_global_dice_follows_cases_that_come_change_and_go() {
    let place = pooling(3);
    place.run();
    let groups = check(&place, "at first");
    // One row for each group of the means beside it.
    assert!(groups >= 3 && groups == summary(&place, "dice").len(), "{groups}");
    place.add(3);
    place.run();
    check(&place, "a case came");
    place.move_label(1, 2);
    let moved = place.run();
    assert_eq!(ran(&moved, "scores"), 1);
    check(&place, "a case changed");
    place.delete(0);
    assert_eq!(place.run().actions_run, 0);
    check(&place, "a case went");
    assert_eq!(place.tables()["summary"], place.anew()["summary"]);
    let again = place.run();
    assert_eq!((again.actions_run, again.tables_changed.len()), (0, 0));
}

#[test]
fn what_is_no_share_of_what_can_be_counted_is_not_pooled() {
    let place = pooling(2);
    place.run();
    let Rows::Summary(rows) = read(&place, Table::Summary) else { panic!("a summary expected") };
    let mut pooled: Vec<&str> =
        rows.iter().map(|row| row.metric.as_str()).filter(|metric| metric.starts_with("pooled_")).collect();
    pooled.sort_unstable();
    pooled.dedup();
    assert_eq!(pooled, ["pooled_dice", "pooled_lesion_recall"]);
    // The share of all lesions lies between the shares of single cases.
    for row in summary(&place, "pooled_lesion_recall") {
        let each = summary(&place, "lesion_recall");
        let beside =
            each.iter().find(|mean| (&mean.grouped_by, &mean.group) == (&row.grouped_by, &row.group));
        let (pooled, beside) = (row.mean.unwrap(), beside.unwrap());
        assert!(beside.min.unwrap() <= pooled && pooled <= beside.max.unwrap(), "{row:?} {beside:?}");
    }
}

#[test]
fn missed_structures_are_counted_and_nothing_is_pooled_unasked() {
    let mut place = pooling(3);
    place.text = place.text.rewrite("above = 0.5", "above = 40.0");
    place.run();
    let all = summary(&place, "pooled_dice").into_iter().find(|row| row.grouped_by == "model").unwrap();
    assert_eq!((all.figures, all.count, all.mean, all.empty_prediction), (3, 3, Some(0.0), 3));
    // The comparison is another one without it, with the same figures of each case.
    let metrics = |place: &Workplace| {
        let mut rows: Vec<_> =
            place.metrics().into_iter().map(|row| (row.case, row.metric, row.value)).collect();
        rows.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        rows
    };
    let pooled = metrics(&place);
    place.text = place.text.rewrite("pooled = true\n", "");
    let second = place.run();
    assert_eq!(ran(&second, "scores"), 3);
    assert!(summary(&place, "pooled_dice").is_empty());
    assert_eq!(metrics(&place), pooled);
}
