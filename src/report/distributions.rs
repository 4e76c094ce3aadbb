//! Figures of many cases as rows of dots with a box each.

use super::axis::Axis;
use super::html::{Text, count, figure, number};
use crate::metrics::Statistics;

/// One row of a plot.
pub(super) struct Row<'a> {
    /// What the figures are of.
    pub name: String,
    /// Each case and its figure.
    pub figures: Vec<(&'a str, f64)>,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 100.0;
const ROW: f64 = 46.0;
const DOT: f64 = 2.4;
/// Dots that lie closer than this are set one above the other.
const BIN: f64 = 4.0;
/// Dots one above the other that still fit into a row.
const STACK: usize = 9;

/// A plot of all rows on one axis; empty when no row has a finite figure.
pub(super) fn plot(title: &str, unit: &str, rows: &[Row<'_>]) -> String {
    let drawn: Vec<(&Row<'_>, Statistics)> = rows
        .iter()
        .filter_map(|row| Some((row, Statistics::of(row.figures.iter().map(|&(_, figure)| figure))?)))
        .collect();
    let Some(all) = Statistics::of(drawn.iter().flat_map(|(_, summary)| summary.sorted.iter().copied()))
    else {
        return String::new();
    };
    let (low, high) = all.range();
    // Shares such as Dice are shown on their whole range, so that two reports can be compared by eye.
    let share = low >= 0.0 && high <= 1.0 && !unit.contains('m');
    let axis = if share { Axis::over(0.0, 1.0, 5) } else { Axis::over(low, high, 6) };
    let height = drawn.len() as f64 * ROW + 34.0;
    let mut out = format!(
        "<figure class=plot><svg viewBox=\"0 0 {WIDTH} {height}\" role=img aria-label=\"{}\">",
        Text(title)
    );
    let bottom = drawn.len() as f64 * ROW;
    for &tick in &axis.ticks {
        let x = axis.place(tick, LEFT, WIDTH - RIGHT);
        out.push_str(&format!(
            "<line class=grid x1={x:.1} x2={x:.1} y1=0 y2={bottom} /><text class=tick x={x:.1} y={} \
             text-anchor=middle>{}</text>",
            bottom + 18.0,
            number(tick)
        ));
    }
    for (index, (row, summary)) in drawn.iter().enumerate() {
        let middle = (index as f64 + 0.5) * ROW;
        out.push_str(&draw_row(row, summary, &axis, middle));
    }
    out.push_str("</svg></figure>");
    out
}

fn draw_row(row: &Row<'_>, summary: &Statistics, axis: &Axis, middle: f64) -> String {
    let x = |value: f64| axis.place(value, LEFT, WIDTH - RIGHT);
    let (low, high) = summary.range();
    let (q1, median, q3) = (summary.quantile(0.25), summary.median(), summary.quantile(0.75));
    let (top, box_height) = (middle - 9.0, 18.0);
    let mut out = format!("<text class=name x=0 y={:.1}>{}</text>", middle + 4.0, Text(&row.name));
    out.push_str(&dots(row, axis, middle));
    out.push_str(&format!(
        "<line class=whisker x1={:.1} x2={:.1} y1={middle} y2={middle} />\
         <rect class=box x={:.1} y={top} width={:.1} height={box_height} />\
         <line class=median x1={:.1} x2={:.1} y1={} y2={} />\
         <text class=value x={} y={:.1}>{} <tspan class=dim>n {}</tspan></text>",
        x(low),
        x(high),
        x(q1),
        (x(q3) - x(q1)).max(1.0),
        x(median),
        x(median),
        middle - 12.0,
        middle + 12.0,
        WIDTH - RIGHT + 14.0,
        middle + 4.0,
        figure(median),
        count(summary.sorted.len()),
    ));
    out
}

/// The dots of a row, side by side where they would lie on each other. What no longer fits into the
/// row's height is covered by the dots that do.
fn dots(row: &Row<'_>, axis: &Axis, middle: f64) -> String {
    let mut stacks = std::collections::BTreeMap::<i64, usize>::new();
    let mut out = String::new();
    for &(case, value) in row.figures.iter().filter(|(_, value)| value.is_finite()) {
        let x = axis.place(value, LEFT, WIDTH - RIGHT);
        let before = stacks.entry((x / BIN).round() as i64).or_default();
        if *before < STACK {
            let side = if before.is_multiple_of(2) { 1.0 } else { -1.0 };
            let y = middle + side * before.div_ceil(2) as f64 * DOT * 1.7;
            out.push_str(&format!(
                "<circle class=dot cx={x:.1} cy={y:.1} r={DOT}><title>{}: {}</title></circle>",
                Text(case),
                figure(value)
            ));
        }
        *before += 1;
    }
    out
}
