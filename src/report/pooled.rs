//! The section about figures over all cases together, as `summary` has them.

use tomoflow_connectors::table::SummaryRow;

use super::figures::words;
use super::froc;
use super::html::{Text, count, figure, section, table};

/// The beginning of the names of such figures.
const POOLED: &str = "pooled_";

/// The section; empty where nothing is pooled.
pub(super) fn pooled(rows: &[SummaryRow]) -> String {
    let metric = |row: &SummaryRow| row.metric.strip_prefix(POOLED).map(str::to_owned);
    let mut shown: Vec<(String, &SummaryRow)> = rows
        .iter()
        // The section about boxes shows the others as lines.
        .filter(|row| row.grouped_by == "split" && !row.metric.starts_with(froc::METRIC))
        .filter_map(|row| Some((metric(row)?, row)))
        .collect();
    if shown.is_empty() {
        return String::new();
    }
    shown.sort_by(|(a, one), (b, other)| {
        let one = (&one.stage, &one.model, &one.label, &one.group, a);
        one.cmp(&(&other.stage, &other.model, &other.label, &other.group, b))
    });
    let line = |(metric, row): &(String, &SummaryRow)| {
        let parts = [&row.stage, &row.label, &row.group];
        let name: Vec<&str> = parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        let whole = |number: i64| count(usize::try_from(number).unwrap_or(0));
        vec![
            Text(&name.join(" · ")).to_string(),
            Text(&words(metric)).to_string(),
            row.mean.map_or("–".to_owned(), figure),
            whole(row.count),
            whole(row.figures),
        ]
    };
    let lines: Vec<Vec<String>> = shown.iter().map(line).collect();
    let lead = "Shares of what all cases of a split hold together: a large case counts more than a small one, and a lesion as much \
                as any other, whatever else its case holds.";
    section("Over all cases", lead, &table(&["", "figure", "value#", "cases counted#", "cases#"], &lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(metric: &str, grouped_by: &str, mean: Option<f64>) -> SummaryRow {
        SummaryRow {
            stage: "scores<b>".into(),
            label: "lesion".into(),
            metric: metric.into(),
            grouped_by: grouped_by.into(),
            group: "test".into(),
            figures: 7,
            count: mean.map_or(0, |_| 5),
            mean,
            ..SummaryRow::default()
        }
    }

    #[test]
    fn pooled_figures_are_lines_of_a_table() {
        let rows = [
            row("pooled_lesion_dice_small", "split", None),
            row("pooled_dice", "split", Some(0.25)),
            row("pooled_dice", "vendor", Some(0.5)),
            row("pooled_sensitivity_at_1", "split", Some(0.75)),
            row("dice", "split", Some(0.125)),
        ];
        let found = pooled(&rows);
        assert_eq!(found.matches("<tr>").count(), 3, "{found}");
        let dice = found.find("<td>dice</td><td class=n>0.250</td><td class=n>5</td><td class=n>7</td>");
        let small =
            found.find("<td>lesion dice small</td><td class=n>–</td><td class=n>0</td><td class=n>7</td>");
        assert!(dice.is_some() && dice < small, "{found}");
        assert!(found.contains("scores&lt;b&gt; · lesion · test") && !found.contains("scores<b>"), "{found}");
        assert_eq!(pooled(&rows[2..]), "");
    }
}
