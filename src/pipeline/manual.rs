//! Pages of the reference as text for a terminal: no table wider than a line, no signs of Markdown.

use unicode_width::UnicodeWidthStr;

use super::describe;
use super::extends::EXTENDS;
use super::reference::{Listed, listed, ports};
use super::settings;
use super::sweep::SWEEP;
use crate::operators::spec::{Default, Field, Role, Spec};

/// Columns by which what belongs to a field stands in.
const INDENT: usize = 4;

/// The page of one type, in lines of at most `width` columns where no word is longer.
pub fn manual(spec: &Spec, width: usize) -> String {
    let mut text = wrapped(&format!("{}: {}", spec.name, spec.summary), 0, width);
    text.push('\n');
    for paragraph in spec.doc.trim().split("\n\n") {
        text.push_str(&wrapped(paragraph, 0, width));
        text.push('\n');
    }
    for line in ports(spec) {
        text.push_str(&wrapped(&line, 2, width));
    }
    if !spec.fields.is_empty() {
        text.push_str("\nFields\n\n");
        fields(&mut text, spec.fields, true, width);
    }
    text
}

/// The page of the `[pipeline]` table.
pub fn manual_of_pipeline(width: usize) -> String {
    let mut text = "[pipeline]: what the whole pipeline has in common.\n\n".to_owned();
    text.push_str(&wrapped(EXTENDS, 0, width));
    text.push('\n');
    text.push_str(&wrapped(SWEEP, 0, width));
    text.push_str("\nFields\n\n");
    fields(&mut text, settings::FIELDS, false, width);
    text
}

/// The page of the fields that every operator takes beside its own.
pub fn manual_of_operators(width: usize) -> String {
    let mut text = "[operators.*]: what every operator takes beside its own fields.\n\nFields\n\n".to_owned();
    fields(&mut text, settings::COMMON, false, width);
    text
}

fn fields(text: &mut String, fields: &[Field], roles: bool, width: usize) {
    for (index, Listed { path, field }) in listed(fields).into_iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let default = match field.default {
            Default::Required => "required".to_owned(),
            Default::Absent => "may be left out".to_owned(),
            Default::Json(json) => format!("default {json}"),
        };
        let role = match (roles, field.role) {
            (true, Role::Operational) => "; results do not depend on it",
            _ => "",
        };
        text.push_str(&format!("  {path}\n"));
        text.push_str(&wrapped(field.doc, INDENT, width));
        text.push_str(&wrapped(&format!("{}; {default}{role}", describe::one(&field.kind)), INDENT, width));
    }
}

/// A paragraph in lines that begin with `indent` blanks; a list's items begin lines of their own.
pub fn wrapped(paragraph: &str, indent: usize, width: usize) -> String {
    let mut text = String::new();
    for line in items(paragraph) {
        let hang = if line.starts_with("- ") { 2 } else { 0 };
        let mut column = 0;
        for word in line.split_whitespace() {
            let length = word.width();
            if column > 0 && column + 1 + length > width {
                text.push('\n');
                column = 0;
            }
            if column == 0 {
                let blanks = if text.is_empty() || text.ends_with("\n\n") || word == "-" {
                    indent
                } else {
                    indent + hang
                };
                text.push_str(&" ".repeat(blanks));
                column = blanks;
            } else {
                text.push(' ');
                column += 1;
            }
            text.push_str(word);
            column += length;
        }
        text.push('\n');
    }
    text
}

/// The lines of a paragraph that have to stay lines: the items of a list, and the rows of a table as such.
fn items(paragraph: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in paragraph.lines().map(str::trim) {
        if line.starts_with("| --") {
            continue;
        }
        if let Some(row) = line.strip_prefix('|') {
            let cells: Vec<_> = row.trim_end_matches('|').split('|').map(str::trim).collect();
            items.push(format!("- {}", cells.join("; ")));
            continue;
        }
        match items.last_mut().filter(|_| !line.starts_with("- ")) {
            Some(item) => {
                item.push(' ');
                item.push_str(line);
            }
            None => items.push(line.to_owned()),
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_long_as_they_may_be() {
        assert_eq!(wrapped("one two three", 2, 9), "  one two\n  three\n");
        assert_eq!(wrapped("wordsthatarelong a", 2, 9), "  wordsthatarelong\n  a\n");
        assert_eq!(wrapped("µm mm", 0, 5), "µm mm\n");
        assert_eq!(wrapped("", 2, 9), "");
    }

    #[test]
    fn items_of_a_list_begin_lines() {
        assert_eq!(wrapped("- one two\n- three", 0, 7), "- one\n  two\n- three\n");
        assert_eq!(wrapped("| a | b |\n| --- | --- |\n| 1 | 2 |", 0, 9), "- a; b\n- 1; 2\n");
    }

    #[test]
    fn every_page_fits_a_terminal() {
        for entry in crate::operators::BUILTIN.into_iter().flatten() {
            let page = manual(entry.spec, 100);
            assert!(!page.contains("| ---"), "{}", entry.spec.name);
            for line in page.lines().filter(|line| line.width() > 100) {
                // A line may be longer only where it is one word: the JSON of a default.
                assert!(line.split_whitespace().count() == 1, "{}: {line}", entry.spec.name);
            }
            assert!(entry.spec.fields.iter().all(|field| page.contains(&format!("  {}\n", field.name))));
        }
        assert!(manual_of_pipeline(80).contains("  memory\n"));
        assert!(manual_of_operators(80).contains("  timeout\n"));
    }
}
