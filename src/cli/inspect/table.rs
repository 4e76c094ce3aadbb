//! What an archive holds, as a table that a terminal has room for, and what is wrong with it, by code.

use std::fmt::Write;

use tomoflow_connectors::dicom::inspect::Total;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::report::{ArchiveContents, ArchiveRow};

/// The gap between two columns of the table.
const GAP: usize = 2;
/// The columns of a hundred that are for notes, which go on in the next line beyond.
const NOTES: usize = 29;
/// The longest code of a note is about so long.
const LEAST_NOTES: usize = 20;
const HEADINGS: [&str; 6] = ["mod", "description", "shape", "mm", "verdict", "notes"];

/// The table, the refusals, and the totals, for so many columns.
pub fn render(contents: &ArchiveContents, total: &Total, columns: usize) -> String {
    let mut text = String::new();
    series(&mut text, &contents.sorted(), columns);
    if !contents.refused().is_empty() {
        text.push_str("\nRefused\n");
    }
    for (code, group) in contents.refused() {
        let _ = writeln!(text, "{:>5}  {code}", group.count);
        let Some(first) = group.examples.first() else { continue };
        indented(&mut text, &clean(&first.message), columns);
        if !first.hint.is_empty() {
            indented(&mut text, &format!("hint: {}", clean(&first.hint)), columns);
        }
        let _ = writeln!(text, "       {}", clean(&first.file));
    }
    if !contents.skipped().is_empty() {
        text.push_str("\nSkipped\n");
    }
    let width = contents.skipped().keys().map(|code| code.len()).max().unwrap_or_default();
    for (code, group) in contents.skipped() {
        let example = group.examples.first().map(|file| clean(file)).unwrap_or_default();
        let _ = writeln!(text, "{:>5}  {code:width$}  {example}", group.count);
    }
    if !text.is_empty() {
        text.push('\n');
    }
    totals(&mut text, total);
    text
}

fn totals(text: &mut String, total: &Total) {
    let refused: usize = total.rejects.values().sum();
    let skipped: usize = total.skipped.values().sum();
    let (files, size) = (total.files, indicatif::BinaryBytes(total.bytes));
    let images = match total.images {
        0 => String::new(),
        images => format!("{images} image files; "),
    };
    let _ = match total.series {
        0 if total.images > 0 => {
            writeln!(text, "{files} files, {size}: {images}{refused} refused; {skipped} skipped")
        }
        series => writeln!(
            text,
            "{files} files, {size}: {} volumes, {refused} refused, in {series} series of {} instances; \
             {images}{} outlines; {skipped} skipped",
            total.volumes, total.instances, total.outlines,
        ),
    };
    let _ = writeln!(
        text,
        "{:.1} s, {:.0} files/s",
        total.seconds,
        total.files as f64 / total.seconds.max(f64::EPSILON)
    );
}

/// The table by series; nothing when there are none.
fn series(text: &mut String, rows: &[&ArchiveRow], columns: usize) {
    if rows.is_empty() {
        return;
    }
    let lines: Vec<([String; 5], Vec<String>)> =
        rows.iter().map(|row| (cells(row), notes(row, columns))).collect();
    let mut widths = HEADINGS.map(str::width);
    for (cells, notes) in &lines {
        for (width, cell) in widths.iter_mut().zip(cells.iter().chain(notes)) {
            *width = cell.width().max(*width);
        }
        widths[5] = notes.iter().map(|line| line.width()).max().unwrap_or(0).max(widths[5]);
    }
    let others: usize = widths.iter().sum::<usize>() - widths[1] + GAP * (widths.len() - 1);
    widths[1] = widths[1].min(columns.saturating_sub(others));
    line(text, &HEADINGS.map(str::to_owned), &widths);
    for (cells, notes) in lines {
        let mut notes = notes.into_iter();
        let [modality, description, shape, spacing, verdict] = cells;
        let first = notes.next().unwrap_or_default();
        line(text, &[modality, description, shape, spacing, verdict, first], &widths);
        for more in notes {
            let mut row: [String; 6] = Default::default();
            row[5] = more;
            line(text, &row, &widths);
        }
    }
}

fn line(text: &mut String, cells: &[String; 6], widths: &[usize; 6]) {
    let start = text.len();
    for (cell, &width) in cells.iter().zip(widths) {
        let cell = cut(cell, width);
        let fill = width.saturating_sub(cell.width()) + GAP;
        text.push_str(&cell);
        text.push_str(&" ".repeat(fill));
    }
    text.truncate(start + text[start..].trim_end().len());
    text.push('\n');
}

fn cells(row: &ArchiveRow) -> [String; 5] {
    let times = if row.stacks > 1 { format!(" ×{}", row.stacks) } else { String::new() };
    let (shape, spacing) = match row.grid {
        Some((shape, spacing)) => (shape.map(|n| n.to_string()).join("×"), spacing.map(short).join("×")),
        None => Default::default(),
    };
    let verdict = if row.code.is_empty() { "ok" } else { "refused" };
    [cut(&clean(&row.modality), 6), clean(&row.description), shape, spacing, format!("{verdict}{times}")]
}

/// A length in mm with three decimals at most.
fn short(length: f64) -> String {
    let text = format!("{length:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The codes of a row's notes, or of its refusal, as lines no wider than their column.
fn notes(row: &ArchiveRow, columns: usize) -> Vec<String> {
    let code = |note: &String| clean(note.split(':').next().unwrap_or_default());
    let words =
        if row.code.is_empty() { row.notes.iter().map(code).collect() } else { vec![row.code.clone()] };
    wrap(words, (columns * NOTES / 100).max(LEAST_NOTES))
}

/// Words in lines of a width.
fn wrap(words: Vec<String>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

fn indented(text: &mut String, message: &str, columns: usize) {
    for line in wrap(message.split_whitespace().map(str::to_owned).collect(), columns.saturating_sub(7)) {
        let _ = writeln!(text, "       {line}");
    }
}

/// Returns text from a file without what a terminal would take as a command.
fn clean(text: &str) -> String {
    let harmless = |letter: char| match letter {
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ if letter.is_control() => '\u{fffd}',
        _ => letter,
    };
    text.chars().map(harmless).collect()
}

/// Cuts text to be no wider than this.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let mut short: String = text
        .chars()
        .take_while(|letter| {
            let wide = letter.width().unwrap_or(0);
            let fits = wide <= room;
            room = room.saturating_sub(wide);
            fits
        })
        .collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_by_the_columns_that_it_takes() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("断層断層", 6), "断層…");
        assert_eq!(clean("a\u{1b}[2Jb\u{202e}"), "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn lengths_are_short() {
        assert_eq!([0.810_547, 3.0, 2.5].map(short), ["0.811", "3", "2.5"].map(str::to_owned));
    }
}
