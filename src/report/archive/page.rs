//! The page about an archive that its owner can forward: what it holds, what was refused and why.

use std::collections::BTreeMap;

use tomoflow_connectors::dicom::inspect::Total;

use super::super::html::{Text, count, number, seconds, section, table};
use super::super::overview::{median_and_range, or_dash, tile};
use super::{ArchiveContents, ArchiveRow, CodeGroup, RefusedExample};

/// Rows of the table by series; the figures above it are about all of them.
const ROWS: usize = 2000;

pub(super) fn page(contents: &ArchiveContents, title: &str, total: &Total) -> String {
    let lead = format!(
        "{} files, {}, read in {}.",
        count(total.files),
        indicatif::BinaryBytes(total.bytes),
        seconds(total.seconds)
    );
    let main = [
        format!("<div class=tiles>{}</div>", tiles(total)),
        scanners(&contents.rows),
        refused(contents),
        skipped(contents),
        series(contents),
    ]
    .concat();
    let footer = "The page names no patients. Series identifiers and paths stand as they are in the archive, \
                  so that what is wrong can be found: pass it on within those who may see them.";
    super::super::html::page(title, "archive", &lead, &main, footer)
}

fn tiles(total: &Total) -> String {
    let of_codes = |codes: &BTreeMap<String, usize>| match codes.len() {
        0 => String::new(),
        1 => "of one code".to_owned(),
        codes => format!("of {} codes", count(codes)),
    };
    let sum = |codes: &BTreeMap<String, usize>| count(codes.values().sum());
    let instances = format!("{} instances", count(total.instances));
    let images = match total.images {
        0 => String::new(),
        images => tile(&count(images), "image files", "NIfTI, MetaImage, NRRD"),
    };
    [
        tile(&count(total.volumes), "volumes", "that a pipeline gets"),
        tile(&sum(&total.rejects), "refused", &of_codes(&total.rejects)),
        tile(&count(total.series), "series", &instances),
        tile(&count(total.outlines), "files of outlines", ""),
        images,
        tile(&sum(&total.skipped), "files skipped", &of_codes(&total.skipped)),
    ]
    .concat()
}

/// A row that was accepted, with its shape and its spacing.
type Gridded<'a> = (&'a ArchiveRow, [usize; 3], [f64; 3]);

/// The section about what was accepted, by scanner; empty when nothing was.
fn scanners(rows: &[ArchiveRow]) -> String {
    let mut groups: BTreeMap<[&str; 3], Vec<Gridded<'_>>> = BTreeMap::new();
    for row in rows {
        if let Some((shape, spacing)) = row.grid {
            let key = [row.modality.as_str(), &row.manufacturer, &row.scanner];
            groups.entry(key).or_default().push((row, shape, spacing));
        }
    }
    if groups.is_empty() {
        return String::new();
    }
    let line = |(key, group): (&[&str; 3], &Vec<Gridded<'_>>)| {
        let stacks = group.iter().map(|(row, ..)| row.stacks).sum();
        let mut cells: Vec<String> = key.iter().map(|text| Text(or_dash(text)).to_string()).collect();
        cells.extend([
            count(stacks),
            median_and_range(group.iter().map(|(_, shape, _)| shape[0] as f64)),
            median_and_range(group.iter().map(|(.., spacing)| spacing[0])),
            median_and_range(group.iter().map(|(.., spacing)| spacing[1].max(spacing[2]))),
        ]);
        cells
    };
    let lines: Vec<Vec<String>> = groups.iter().map(line).collect();
    let headings = [
        "Modality",
        "Manufacturer",
        "Scanner",
        "Volumes#",
        "Slices#",
        "Between slices, mm#",
        "In plane, mm#",
    ];
    let lead = "Slices and spacings: the median, and the range where they differ.";
    section("What it holds", lead, &table(&headings, &lines))
}

/// The section about what a pipeline refuses.
fn refused(contents: &ArchiveContents) -> String {
    if contents.refused.is_empty() {
        return section("Refused", "Nothing: every series with images makes a volume.", "");
    }
    let mut codes: Vec<(&String, &CodeGroup<RefusedExample>)> = contents.refused.iter().collect();
    codes.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
    let body: String = codes.into_iter().map(|(code, group)| one_code(code, group)).collect();
    section("Refused", "By cause, the most frequent first; the others of a code may differ in detail.", &body)
}

fn one_code(code: &str, group: &CodeGroup<RefusedExample>) -> String {
    let (message, hint) =
        group.examples.first().map_or(("", ""), |first| (first.message.as_str(), first.hint.as_str()));
    let hint = if hint.is_empty() { String::new() } else { format!("<p class=hint>{}</p>", Text(hint)) };
    let line = |example: &RefusedExample| {
        vec![
            format!("<code>{}</code>", Text(&example.series_uid)),
            Text(&example.message).to_string(),
            count(example.files),
            format!("<code>{}</code>", Text(&example.file)),
        ]
    };
    let lines: Vec<Vec<String>> = group.examples.iter().map(line).collect();
    format!(
        "<div class=reject><h3>{} <code>{}</code></h3><p>{}</p>{hint}<details><summary>Which</summary>{}{}\
         </details></div>",
        count(group.count),
        Text(code),
        Text(message),
        table(&["Series", "Found", "Files#", "A file of it"], &lines),
        more(group.count, group.examples.len())
    )
}

/// The section about files without images; empty when there are none.
fn skipped(contents: &ArchiveContents) -> String {
    if contents.skipped.is_empty() {
        return String::new();
    }
    let one = |(code, group): (&String, &CodeGroup<String>)| {
        let lines: Vec<Vec<String>> =
            group.examples.iter().map(|file| vec![format!("<code>{}</code>", Text(file))]).collect();
        format!(
            "<div class=reject><h3>{} <code>{}</code></h3><p>{}</p><details><summary>Which</summary>{}{}\
             </details></div>",
            count(group.count),
            Text(code),
            meaning(code),
            table(&["File"], &lines),
            more(group.count, group.examples.len())
        )
    };
    let body: String = contents.skipped.iter().map(one).collect();
    section("Skipped", "Files that hold nothing for a pipeline.", &body)
}

fn meaning(code: &str) -> &'static str {
    match code {
        "EMPTY_FILE" => "They have no bytes.",
        "NOT_DICOM" => "They are of another format.",
        "NO_DATASET" => "They begin as DICOM does and hold nothing.",
        "TRUNCATED" => "They break off before they say what they belong to: fetch them again.",
        "DICOMDIR" => "They are directories of media; what they list is read from the files themselves.",
        "NOT_AN_IMAGE" => "They are DICOM without an image of its own: segmentations, doses, reports, ….",
        "UNREADABLE" => "The system did not let them be read.",
        _ => "",
    }
}

fn more(count: usize, shown: usize) -> String {
    match count.saturating_sub(shown) {
        0 => String::new(),
        more => format!(
            "<p class=dim>and {} more: <code>inspect --json</code> has them all</p>",
            self::count(more)
        ),
    }
}

/// The table by series; empty when there are none.
fn series(contents: &ArchiveContents) -> String {
    if contents.rows.is_empty() {
        return String::new();
    }
    let lines: Vec<Vec<String>> = contents.sorted().into_iter().take(ROWS).map(line).collect();
    let headings =
        ["Modality", "Description", "Shape#", "Spacing, mm#", "Verdict", "Notes", "Files#", "Series"];
    let body = table(&headings, &lines) + &more(contents.rows.len(), lines.len());
    section(
        "Series",
        "Slices × rows × columns, and their distances. Stacks that are alike share a row.",
        &body,
    )
}

fn line(row: &ArchiveRow) -> Vec<String> {
    let (shape, spacing) = row.grid.map_or_else(
        || ("–".to_owned(), "–".to_owned()),
        |(shape, spacing)| (shape.map(|n| n.to_string()).join(" × "), spacing.map(number).join(" × ")),
    );
    let times = if row.stacks > 1 { format!(" × {}", count(row.stacks)) } else { String::new() };
    let (verdict, notes) = match row.code.as_str() {
        "" => ("ok", row.notes.join("; ")),
        code => ("refused", code.to_owned()),
    };
    vec![
        Text(or_dash(&row.modality)).to_string(),
        Text(or_dash(&row.description)).to_string(),
        shape,
        spacing,
        format!("{verdict}{times}"),
        Text(&notes).to_string(),
        count(row.files),
        format!("<code>{}</code>", Text(&row.series_uid)),
    ]
}
