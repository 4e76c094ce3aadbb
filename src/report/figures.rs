//! The section about metrics: a plot and a table for each.

use std::collections::BTreeMap;

use tomoflow_connectors::table::MetricRow;

use super::distributions::{Row, plot};
use super::html::{Text, count, figure, section, table};
use crate::metrics::Statistics;

/// The state of a figure about which there is nothing to add.
const OK: &str = "ok";

/// What a group of figures has in common, in the order in which groups are shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Group<'a> {
    stage: &'a str,
    label: &'a str,
    split: Split<'a>,
}

/// `test` first, since it is what is reported, then `validation`, `train` and any other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Split<'a>(usize, &'a str);

impl<'a> Split<'a> {
    fn new(name: &'a str) -> Self {
        let known = ["test", "validation", "train"];
        Self(known.iter().position(|&split| split == name).unwrap_or(known.len()), name)
    }
}

/// The section; empty when there are no figures.
pub(super) fn metrics(rows: &[MetricRow]) -> String {
    // Dice, on which everything else is read, comes first.
    let mut by_metric: BTreeMap<(bool, &str, &str), BTreeMap<Group<'_>, Vec<&MetricRow>>> = BTreeMap::new();
    for row in rows {
        let group = Group { stage: &row.stage, label: &row.label, split: Split::new(&row.split) };
        by_metric
            .entry((row.metric != "dice", &row.metric, &row.unit))
            .or_default()
            .entry(group)
            .or_default()
            .push(row);
    }
    if by_metric.is_empty() {
        return String::new();
    }
    let stages: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.stage.as_str()).collect();
    let body: String = by_metric
        .iter()
        .map(|(&(_, metric, unit), groups)| one_metric(metric, unit, groups, stages.len() > 1))
        .collect();
    section(
        "Figures",
        "Each dot is a case. Boxes span the middle half, the upright line is the median, the long line the \
         whole range.",
        &body,
    )
}

fn one_metric(
    metric: &str,
    unit: &str,
    groups: &BTreeMap<Group<'_>, Vec<&MetricRow>>,
    name_stage: bool,
) -> String {
    let name = |group: &Group<'_>| {
        let parts = [if name_stage { group.stage } else { "" }, group.label, group.split.1];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
    };
    let plotted: Vec<Row<'_>> = groups
        .iter()
        .map(|(group, rows)| Row {
            name: name(group),
            figures: rows.iter().filter_map(|row| Some((row.case.as_str(), value(row)?))).collect(),
        })
        .collect();
    let lines: Vec<Vec<String>> = groups.iter().map(|(group, rows)| line(&name(group), rows)).collect();
    let unit_words = if unit.is_empty() || unit == "1" { String::new() } else { format!(" ({unit})") };
    let title = format!("{}{unit_words}", words(metric));
    format!(
        "<h3>{}</h3>{}{}",
        Text(&title),
        plot(&title, unit, &plotted),
        table(&["", "n#", "mean ± sd#", "median#", "quartiles#", "range#", "empty masks"], &lines)
    )
}

/// Writes one group as a line of the table.
fn line(name: &str, rows: &[&MetricRow]) -> Vec<String> {
    // The rows that are not `ok` or have no figure that counts, by state: all of them, and those with such a
    // figure.
    let mut states: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for row in rows {
        let counted = value(row).is_some();
        if row.state != OK || !counted {
            let (all, with_figure) = states.entry(&row.state).or_default();
            *all += 1;
            *with_figure += usize::from(counted);
        }
    }
    let states: Vec<String> = states
        .into_iter()
        .map(|(state, (all, with_figure))| {
            let state = if state == OK { "not finite".to_owned() } else { words(state) };
            let remark = match with_figure {
                0 => "not counted".to_owned(),
                _ if with_figure == all => "counted".to_owned(),
                _ => format!("{} counted", count(with_figure)),
            };
            format!("{} {} <span class=dim>({remark})</span>", count(all), Text(&state))
        })
        .collect();
    let mut cells = vec![Text(name).to_string()];
    match Statistics::of(rows.iter().filter_map(|row| value(row))) {
        Some(summary) => {
            let (low, high) = summary.range();
            let sd = summary.sd.map_or(String::new(), |sd| format!(" ± {}", figure(sd)));
            cells.extend([
                count(summary.sorted.len()),
                format!("{}{sd}", figure(summary.mean)),
                figure(summary.median()),
                format!("{} … {}", figure(summary.quantile(0.25)), figure(summary.quantile(0.75))),
                format!("{} … {}", figure(low), figure(high)),
            ]);
        }
        None => cells.extend(["0", "–", "–", "–", "–"].map(str::to_owned)),
    }
    cells.push(if states.is_empty() { "none".to_owned() } else { states.join(", ") });
    cells
}

/// The figure of a row, whatever its state: a missed lesion that the pipeline gives a figure counts, so
/// that it cannot vanish from a mean.
pub(super) fn value(row: &MetricRow) -> Option<f64> {
    row.value.filter(|value| value.is_finite())
}

/// A name from the tables as it is read aloud.
pub(super) fn words(name: &str) -> String {
    name.replace('_', " ")
}
