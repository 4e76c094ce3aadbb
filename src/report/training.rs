//! The section about training: each figure by epoch, training beside validation.

use std::collections::BTreeMap;

use tomoflow_connectors::table::TrainingRow;

use super::axis::Axis;
use super::figures::words;
use super::html::{Text, figure, number, section};
use crate::metrics::Statistics;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;
/// The number of points on a line above which they cannot be told apart.
const POINTS: usize = 400;

/// A figure's mean by epoch, by split.
type Curves<'a> = BTreeMap<&'a str, BTreeMap<i64, (f64, usize)>>;

/// The section; empty when nothing was trained.
pub(super) fn training(rows: &[TrainingRow]) -> String {
    let mut models: BTreeMap<(&str, &str), BTreeMap<&str, Curves<'_>>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.value.is_finite()) {
        let curves = models.entry((&row.stage, &row.model)).or_default().entry(&row.name).or_default();
        let (sum, n) = curves.entry(&row.split).or_default().entry(row.epoch).or_default();
        *sum += row.value;
        *n += 1;
    }
    if models.is_empty() {
        return String::new();
    }
    let mut body = String::new();
    for ((stage, model), figures) in &models {
        let short: String = model.chars().take(12).collect();
        body.push_str(&format!(
            "<h3>{} <span class=dim>{}</span></h3>{}<div class=grid2>",
            Text(stage),
            Text(&short),
            Text(&begun(figures))
        ));
        for (name, curves) in figures.iter().filter(|(name, _)| !name.starts_with(START)) {
            body.push_str(&panel(&words(name), curves));
        }
        body.push_str("</div>");
    }
    section(
        "Training",
        "Means over each epoch. The ring marks the best epoch of the validation, of equal ones the latest: its weights are the model's, unless `weights` is `last`.",
        &body,
    )
}

/// The beginning of the names of figures of the weights that a training began with; they stand before its
/// first epoch.
const START: &str = "start.";

/// Returns what a training began with, in words; empty where it began with numbers of its own.
fn begun(figures: &BTreeMap<&str, Curves<'_>>) -> String {
    let counts = figures.iter().filter_map(|(name, curves)| {
        let (count, _) = curves.values().next()?.values().next()?;
        Some(format!("{count:.0} {}", name.strip_prefix(START)?))
    });
    let counts: Vec<String> = counts.collect();
    if counts.is_empty() {
        String::new()
    } else {
        format!("Tensors that it began with: {}.", counts.join(", "))
    }
}

/// The class of a split's colour.
fn colour(split: &str) -> &'static str {
    match split {
        "train" => "one",
        "validation" => "two",
        _ => "three",
    }
}

fn panel(name: &str, curves: &Curves<'_>) -> String {
    let means: BTreeMap<&str, Vec<(f64, f64)>> = curves
        .iter()
        .map(|(split, epochs)| {
            (*split, epochs.iter().map(|(&e, &(sum, n))| (e as f64, sum / n as f64)).collect())
        })
        .collect();
    let points = || means.values().flatten();
    let (Some(epochs), Some(values)) =
        (Statistics::of(points().map(|point| point.0)), Statistics::of(points().map(|point| point.1)))
    else {
        return String::new();
    };
    let x = Axis::over(epochs.range().0, epochs.range().1, 5);
    let y = Axis::over(values.range().0, values.range().1, 4);
    let place = |&(epoch, value): &(f64, f64)| {
        (x.place(epoch, LEFT, WIDTH - RIGHT), y.place(value, HEIGHT - BOTTOM, TOP))
    };
    let mut out = format!(
        "<figure class=plot><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=img \
         aria-label=\"{}\">{}",
        Text(name),
        Text(name),
        frame(&x, &y)
    );
    let mut legend = String::new();
    for (split, line) in &means {
        let class = colour(split);
        let stride = line.len().div_ceil(POINTS).max(1);
        let path: Vec<String> = line
            .iter()
            .enumerate()
            .filter(|(index, _)| index.is_multiple_of(stride) || index + 1 == line.len())
            .map(|(_, point)| place(point))
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        out.push_str(&format!("<polyline class=\"curve {class}\" points=\"{}\" />", path.join(" ")));
        let mut best = String::new();
        if *split == "validation"
            && let Some(point) = best_of(name, line)
        {
            let (x, y) = place(point);
            out.push_str(&format!("<circle class=\"best {class}\" cx={x:.1} cy={y:.1} r=4 />"));
            best = format!(", best {} at epoch {}", figure(point.1), number(point.0));
        }
        legend.push_str(&format!("<span class=\"key {class}\">{}{best}</span>", Text(split)));
    }
    out.push_str(&format!("</svg><div class=legend>{legend}</div></figure>"));
    out
}

/// The best point: the lowest of a loss, the highest of a share such as Dice, none of what could be either.
fn best_of<'a>(name: &str, line: &'a [(f64, f64)]) -> Option<&'a (f64, f64)> {
    let order = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
    match name {
        _ if name.contains("loss") => line.iter().min_by(order),
        _ if name.contains("dice") || name.contains("accuracy") => line.iter().max_by(order),
        _ => None,
    }
}

fn frame(x: &Axis, y: &Axis) -> String {
    let mut out = String::new();
    for &tick in &y.ticks {
        let at = y.place(tick, HEIGHT - BOTTOM, TOP);
        out.push_str(&format!(
            "<line class=grid x1={LEFT} x2={} y1={at:.1} y2={at:.1} /><text class=tick x={} y={:.1} \
             text-anchor=end>{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            number(tick)
        ));
    }
    for &tick in x.ticks.iter().filter(|tick| tick.fract() == 0.0) {
        let at = x.place(tick, LEFT, WIDTH - RIGHT);
        out.push_str(&format!(
            "<text class=tick x={at:.1} y={} text-anchor=middle>{}</text>",
            HEIGHT - BOTTOM + 16.0,
            number(tick)
        ));
    }
    out.push_str(&format!(
        "<text class=tick x={} y={} text-anchor=end>epoch</text>",
        WIDTH - RIGHT,
        HEIGHT - 3.0
    ));
    out
}
