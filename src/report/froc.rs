//! The section about boxes: how many things are found at how many false positives an image.

use std::collections::BTreeMap;

use tomoflow_connectors::table::SummaryRow;

use super::axis::Axis;
use super::html::{Text, figure, number, section};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;

/// The beginning of the names of pooled sensitivities, before the number of false positives.
pub(super) const METRIC: &str = "pooled_sensitivity_at_";

/// The colours of lines, as often as there are lines.
const COLOURS: [&str; 3] = ["one", "two", "three"];

/// The sensitivities at false positives an image, by split.
type Lines<'a> = BTreeMap<&'a str, Vec<(f64, f64)>>;

/// The section; empty where no boxes were judged.
pub(super) fn froc(rows: &[SummaryRow]) -> String {
    let mut panels: BTreeMap<(&str, &str, &str), Lines<'_>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.grouped_by == "split") {
        let rate = row.metric.strip_prefix(METRIC).and_then(|rate| rate.parse::<f64>().ok());
        let (Some(rate), Some(mean)) = (rate, row.mean) else { continue };
        let lines = panels.entry((&row.stage, &row.model, &row.label)).or_default();
        lines.entry(&row.group).or_default().push((rate, mean));
    }
    let body: String =
        panels.into_iter().map(|((stage, _, label), lines)| panel(stage, label, lines)).collect();
    if body.is_empty() {
        return body;
    }
    let lead = "The share of things found, over false positives an image, where the pipeline reads it (`false_positives`): over all \
                images of a split together.";
    section("Boxes", lead, &format!("<div class=grid2>{body}</div>"))
}

fn panel(stage: &str, label: &str, mut lines: Lines<'_>) -> String {
    lines.values_mut().for_each(|line| line.sort_by(|a, b| a.0.total_cmp(&b.0)));
    let most = lines.values().flatten().map(|point| point.0).fold(0.0, f64::max);
    let (x, y) = (Axis::over(0.0, most.max(1e-3), 5), Axis::over(0.0, 1.0, 4));
    let place = |(rate, share): (f64, f64)| {
        (x.place(rate, LEFT, WIDTH - RIGHT), y.place(share, HEIGHT - BOTTOM, TOP))
    };
    let title = format!("{stage}, {label}");
    let mut out = format!(
        "<figure class=plot><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=img aria-label=\"{}\">{}",
        Text(&title),
        Text(&title),
        frame(&x, &y)
    );
    let mut legend = String::new();
    for ((split, line), class) in lines.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<(f64, f64)> = line.iter().copied().map(place).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        out.push_str(&format!("<polyline class=\"curve {class}\" points=\"{}\" />", path.join(" ")));
        for (x, y) in points {
            out.push_str(&format!("<circle class=\"best {class}\" cx={x:.1} cy={y:.1} r=3 />"));
        }
        let read: Vec<String> =
            line.iter().map(|(rate, share)| format!("{} at {}", figure(*share), number(*rate))).collect();
        let split = if split.is_empty() { "all" } else { split };
        legend.push_str(&format!("<span class=\"key {class}\">{}: {}</span>", Text(split), read.join(", ")));
    }
    out.push_str(&format!("</svg><div class=legend>{legend}</div></figure>"));
    out
}

fn frame(x: &Axis, y: &Axis) -> String {
    let mut out = String::new();
    for &tick in &y.ticks {
        let at = y.place(tick, HEIGHT - BOTTOM, TOP);
        out.push_str(&format!(
            "<line class=grid x1={LEFT} x2={} y1={at:.1} y2={at:.1} /><text class=tick x={} y={:.1} text-anchor=end>{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            number(tick)
        ));
    }
    for &tick in &x.ticks {
        let at = x.place(tick, LEFT, WIDTH - RIGHT);
        let below = HEIGHT - BOTTOM + 16.0;
        out.push_str(&format!(
            "<text class=tick x={at:.1} y={below} text-anchor=middle>{}</text>",
            number(tick)
        ));
    }
    out.push_str(&format!(
        "<text class=tick x={} y={} text-anchor=end>false positives an image</text>",
        WIDTH - RIGHT,
        HEIGHT - 3.0
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(metric: &str, group: &str, mean: Option<f64>) -> SummaryRow {
        SummaryRow {
            stage: "froc<b>".into(),
            label: "lesion".into(),
            metric: metric.into(),
            grouped_by: "split".into(),
            group: group.into(),
            mean,
            ..SummaryRow::default()
        }
    }

    #[test]
    fn sensitivities_are_lines_and_all_else_is_left_out() {
        let rows = [
            row("pooled_sensitivity_at_2", "test", Some(0.75)),
            row("pooled_sensitivity_at_0.5", "test", Some(0.25)),
            row("pooled_sensitivity_at_1", "validation", Some(0.5)),
            row("pooled_sensitivity_at_1", "test", None),
            row("pooled_ap50", "test", Some(0.9)),
            row("sensitivity_at_1", "test", Some(0.4)),
        ];
        let found = froc(&rows);
        assert_eq!(found.matches("<polyline").count(), 2);
        assert!(
            found.contains("test: 0.250 at 0.5, 0.750 at 2")
                || found.contains("test: 0.25 at 0.5, 0.75 at 2"),
            "{found}"
        );
        assert!(found.contains("froc&lt;b&gt;") && !found.contains("froc<b>"), "{found}");
        assert_eq!(froc(&rows[3..]), "");
    }
}
