//! The sections about the archive and the runs: cases, rejects, runs.

use std::collections::BTreeMap;

use tomoflow_connectors::table::{CaseRow, RejectRow, RunRow};

use super::html::{Text, count, number, seconds, section, table};
use crate::metrics::Statistics;

/// The number of runs and keys that are shown.
const SHOWN: usize = 10;

/// A figure in large type, what it counts, and a remark.
pub(super) fn tile(figure: &str, name: &str, remark: &str) -> String {
    format!(
        "<div class=tile><b>{}</b><span>{}</span><small>{}</small></div>",
        Text(figure),
        Text(name),
        Text(remark)
    )
}

/// The section about accepted cases; empty when there are none.
pub(super) fn cases(rows: &[CaseRow]) -> String {
    let mut groups: BTreeMap<(&str, &str, &str), Vec<&CaseRow>> = BTreeMap::new();
    for row in rows {
        groups.entry((&row.modality, &row.manufacturer, &row.model_name)).or_default().push(row);
    }
    if groups.is_empty() {
        return String::new();
    }
    let lines: Vec<Vec<String>> = groups
        .iter()
        .map(|((modality, manufacturer, model), cases)| {
            let figures = |of: fn(&CaseRow) -> f64| median_and_range(cases.iter().map(|case| of(case)));
            vec![
                Text(or_dash(modality)).to_string(),
                Text(or_dash(manufacturer)).to_string(),
                Text(or_dash(model)).to_string(),
                count(cases.len()),
                count(cases.iter().filter(|case| case.labelled).count()),
                figures(|case| case.slices as f64),
                figures(|case| case.spacing_d_mm),
                figures(|case| case.spacing_h_mm.max(case.spacing_w_mm)),
            ]
        })
        .collect();
    let headings = [
        "Modality",
        "Manufacturer",
        "Scanner",
        "Cases#",
        "Labelled#",
        "Slices#",
        "Between slices, mm#",
        "In plane, mm#",
    ];
    let mut body = table(&headings, &lines);
    let channels = noted(rows, |note| note.starts_with(CHANNELS));
    if !channels.is_empty() {
        let named: Vec<Vec<String>> = channels
            .into_iter()
            .map(|line| line.into_iter().map(|cell| cell.trim_start_matches(CHANNELS).to_owned()).collect())
            .collect();
        body.push_str(&format!(
            "<h3>Scans of several channels</h3>{}",
            table(&["Channels", "Cases#"], &named)
        ));
    }
    let noted = noted(rows, |note| !note.starts_with(CHANNELS));
    if !noted.is_empty() {
        body.push_str(&format!("<h3>Found odd and accepted</h3>{}", table(&["What", "Cases#"], &noted)));
    }
    section("Archive", "Slices and spacings: the median, and the range where they differ.", &body)
}

/// The beginning of a note that names the channels of a scan: nothing odd.
const CHANNELS: &str = "CHANNELS: ";

/// Counts the cases that carry each note of a kind, the most frequent first.
fn noted(rows: &[CaseRow], kind: impl Fn(&str) -> bool) -> Vec<Vec<String>> {
    let mut notes: BTreeMap<&str, usize> = BTreeMap::new();
    for note in rows.iter().flat_map(|row| &row.notes).filter(|note| kind(note)) {
        *notes.entry(note).or_default() += 1;
    }
    let mut notes: Vec<(&str, usize)> = notes.into_iter().collect();
    notes.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    notes.into_iter().take(SHOWN).map(|(note, n)| vec![Text(note).to_string(), count(n)]).collect()
}

pub(super) fn median_and_range(figures: impl Iterator<Item = f64>) -> String {
    let Some(summary) = Statistics::of(figures) else { return "–".to_owned() };
    let (low, high) = summary.range();
    let median = number(summary.median());
    if number(low) == number(high) {
        return median;
    }
    format!("{median} <span class=dim>({} … {})</span>", number(low), number(high))
}

pub(super) fn or_dash(text: &str) -> &str {
    if text.trim().is_empty() { "–" } else { text }
}

/// The section about what was refused; it says so when nothing was.
pub(super) fn rejects(rows: &[RejectRow]) -> String {
    if rows.is_empty() {
        return section("Rejects", "Nothing was refused, and nothing failed.", "");
    }
    let mut codes: BTreeMap<&str, Vec<&RejectRow>> = BTreeMap::new();
    for row in rows {
        codes.entry(&row.code).or_default().push(row);
    }
    let mut codes: Vec<(&str, Vec<&RejectRow>)> = codes.into_iter().collect();
    codes.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.len()));
    let body: String = codes.iter().map(|(code, rows)| one_code(code, rows)).collect();
    section(
        "Rejects",
        "By cause, the most frequent first. A reject goes away once its cause is mended.",
        &body,
    )
}

fn one_code(code: &str, rows: &[&RejectRow]) -> String {
    let first = rows.first();
    let hint = first.map_or("", |row| row.hint.as_str());
    let hint = if hint.is_empty() { String::new() } else { format!("<p class=hint>{}</p>", Text(hint)) };
    let lines: Vec<Vec<String>> = rows
        .iter()
        .take(SHOWN)
        .map(|row| {
            vec![
                format!("<code>{}</code>", Text(&row.key)),
                Text(&row.stage).to_string(),
                Text(&row.message).to_string(),
                number(row.attempts as f64),
            ]
        })
        .collect();
    let more = match rows.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("<p class=dim>and {} more in the table <code>rejects</code></p>", count(more)),
    };
    format!(
        "<div class=reject><h3>{} <code>{}</code></h3><p>{}</p>{hint}<details><summary>Which</summary>{}{more}\
         </details></div>",
        count(rows.len()),
        Text(or_dash(code)),
        Text(first.map_or("", |row| row.message.as_str())),
        table(&["Key", "Stage", "Message", "Attempts#"], &lines)
    )
}

/// The section about runs, the last one first; empty when there are none.
pub(super) fn runs(rows: &[&RunRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let lines: Vec<Vec<String>> = rows
        .iter()
        .take(SHOWN)
        .map(|run| {
            let plan: String = run.plan_digest.chars().take(12).collect();
            let mut cells = vec![
                Text(&moment(&run.started.to_string())).to_string(),
                seconds(run.seconds),
                (if run.finished { "finished" } else { "<em>interrupted</em>" }).to_owned(),
            ];
            let counts =
                [run.cases, run.processed, run.unchanged, run.rejected, run.actions_run, run.actions_cached];
            cells.extend(counts.map(|n| number(n as f64)));
            cells.push(format!("<code>{}</code>", Text(&plan)));
            cells.push(Text(&run.version).to_string());
            cells
        })
        .collect();
    let headings = [
        "Started",
        "Took#",
        "",
        "Cases#",
        "Processed#",
        "Unchanged#",
        "Rejected#",
        "Actions run#",
        "Found done#",
        "Plan",
        "Version",
    ];
    let lead = format!("{} in all, the last {} shown.", count(rows.len()), count(rows.len().min(SHOWN)));
    section("Runs", &lead, &table(&headings, &lines))
}

/// A moment in RFC 3339 without its fraction of a second.
pub(super) fn moment(text: &str) -> String {
    let (date, time) = text.split_once('T').unwrap_or((text, ""));
    let minute: String = time.chars().take(5).collect();
    let zone = if time.ends_with('Z') { " UTC" } else { "" };
    if minute.is_empty() { date.to_owned() } else { format!("{date} {minute}{zone}") }
}
