//! What is wrong with a pipeline file: the message, its place, and a remedy.

use std::fmt;

use serde_json::{Value as Json, json};

/// Whether a pipeline can be run in spite of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but probably does not do what was meant.
    Warning,
}

impl Severity {
    /// The word that opens a message.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A run of characters on one line of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the user named it, or `--set`, whose lines are the options in order.
    pub file: String,
    /// The line's number, from 1 on.
    pub line: usize,
    /// The column in characters, from 1 on.
    pub column: usize,
    /// Characters under the carets, at least 1.
    pub width: usize,
    /// The line, fit to be printed: a tab is a blank, other control characters are `·`. Of a long line, what is around
    /// the column.
    pub text: String,
    /// Characters of `text` before the carets.
    pub indent: usize,
}

/// Lines of more characters are shown in part: with each of many problems on one line, all of it would be shown again.
const LONG: usize = 240;
/// What of a long line is shown before the column, in characters.
const BEFORE: usize = 80;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it stops the pipeline.
    pub severity: Severity,
    /// What was expected.
    pub message: String,
    /// The place in the file; `None` when the file could not be read at all.
    pub place: Option<Place>,
    /// What was found, beside the carets.
    pub label: String,
    /// A remedy.
    pub hint: String,
}

impl Problem {
    /// One flat object, for programs.
    pub fn to_json(&self) -> Json {
        let place = self.place.as_ref();
        json!({
            "severity": self.severity.name(),
            "message": self.message,
            "file": place.map(|place| &place.file),
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
            "width": place.map(|place| place.width),
            "label": self.label,
            "hint": self.hint,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity.name(), self.message)?;
        if let Some(Place { file, line, column, width, text, indent }) = &self.place {
            let gutter = line.to_string().len();
            writeln!(f, "{:gutter$}--> {file}:{line}:{column}", "")?;
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{}", format!("{line} | {text}").trim_end())?;
            let marks = format!("{:gutter$} | {:indent$}{}", "", "", "^".repeat(*width), indent = *indent);
            writeln!(f, "{}", format!("{marks} {}", self.label).trim_end())?;
        }
        if !self.hint.is_empty() {
            writeln!(f, "hint: {}", self.hint)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a pipeline, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// A file that could not be read.
    pub fn unreadable(file: &str, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "is the path right, seen from the current folder?",
            std::io::ErrorKind::IsADirectory => "name the file, not its folder",
            std::io::ErrorKind::PermissionDenied => "reading it must be allowed to this user",
            _ => "",
        };
        Self(vec![Problem {
            severity: Severity::Error,
            message: format!("`{file}` cannot be read: {error}"),
            place: None,
            label: String::new(),
            hint: hint.to_owned(),
        }])
    }

    /// The exit code of a command that met them: 66 when there was no file to read, else 78.
    pub fn exit_code(&self) -> u8 {
        if self.0.iter().any(|problem| problem.place.is_none()) { 66 } else { 78 }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// Bytes of one of the [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(source: usize, start: usize, end: usize) -> Self {
        Self { source, start, end: end.max(start) }
    }
}

/// A problem by bytes, before it is shown.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub span: Span,
    pub severity: Severity,
    pub message: String,
    pub label: String,
    pub hint: String,
}

impl Found {
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            severity: Severity::Error,
            message: message.into(),
            label: String::new(),
            hint: String::new(),
        }
    }

    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

/// The texts that spans point into: the pipeline file, then all `--set` options, one a line, then the files that it
/// extends, the nearest first.
pub(super) struct Sources {
    texts: Vec<(String, String, Lines)>,
}

/// Where the lines of a text begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub fn new(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(newline, _)| newline + 1).collect())
    }

    /// The line that a byte lies on, from 1 on.
    pub fn line(&self, byte: usize) -> usize {
        self.0.partition_point(|&start| start <= byte) + 1
    }

    /// The first byte of a line.
    fn start(&self, line: usize) -> usize {
        line.checked_sub(2).and_then(|before| self.0.get(before)).copied().unwrap_or(0)
    }
}

impl Sources {
    pub fn new(file: &str, content: &str, options: &str) -> Self {
        let text = |name: &str, text: &str| (name.to_owned(), text.to_owned(), Lines::new(text));
        Self { texts: vec![text(file, content), text("--set", options)] }
    }

    /// One more text; its number.
    pub fn push(&mut self, name: &str, text: &str) -> usize {
        self.texts.push((name.to_owned(), text.to_owned(), Lines::new(text)));
        self.texts.len() - 1
    }

    /// What problems call a text.
    pub fn name(&self, source: usize) -> String {
        self.texts.get(source).map(|(name, ..)| name.clone()).unwrap_or_default()
    }

    /// The problem as it is shown.
    pub fn problem(&self, found: Found) -> Problem {
        let Found { span, severity, message, label, hint } = found;
        Problem { severity, message, place: self.place(span), label, hint }
    }

    /// The line that a span starts on, from 1 on.
    pub fn line(&self, span: Span) -> usize {
        self.texts.get(span.source).map_or(0, |(_, text, lines)| lines.line(start(span, text)))
    }

    fn place(&self, span: Span) -> Option<Place> {
        let (file, text, lines) = self.texts.get(span.source)?;
        let start = start(span, text);
        let line = lines.line(start);
        let line_start = lines.start(line);
        let (before, rest) = (text.get(line_start..start)?, text.get(start..)?);
        let rest = rest.find('\n').map_or(rest, |newline| &rest[..newline]);
        let rest = rest.strip_suffix('\r').unwrap_or(rest);
        let length = span.end - span.start;
        let column = before.chars().count() + 1;
        let (left_out, indent) = match column + rest.len() > LONG && column > BEFORE + 1 {
            true => (column - 1 - BEFORE, BEFORE),
            false => (0, column - 1),
        };
        let mut shown = before.chars().skip(left_out).chain(rest.chars());
        let mut text: String = shown.by_ref().take(LONG).map(printable).collect();
        let cut = |text: &mut String| text.push_str(" …");
        if shown.next().is_some() {
            cut(&mut text);
        }
        if left_out > 0 {
            text = format!("…{}", text.chars().skip(1).collect::<String>());
        }
        let width = rest.char_indices().take_while(|(offset, _)| *offset < length).count();
        Some(Place {
            file: file.clone(),
            line,
            column,
            width: width.clamp(1, LONG - indent.min(LONG - 1)),
            text: text.trim_end().to_owned(),
            indent,
        })
    }
}

/// The byte that a span starts on, at the start of a character.
fn start(span: Span, text: &str) -> usize {
    text.floor_char_boundary(span.start)
}

fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        character if character.is_control() => '·',
        character => character,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_in_characters_and_ends_with_its_line() {
        let sources = Sources::new("a.toml", "x = 1\r\n\tµ = \"größe\nend\"\n", "");
        let start = sources.texts[0].1.find("\"grö").unwrap();
        let place = sources.place(Span::new(0, start, start + 20)).unwrap();
        assert_eq!((place.line, place.column, place.width), (2, 6, 6));
        assert_eq!(place.text, " µ = \"größe");
        let beyond = sources.place(Span::new(0, 999, 1000)).unwrap();
        assert_eq!((beyond.line, beyond.column, beyond.width), (4, 1, 1));
    }

    #[test]
    fn of_a_long_line_what_is_around_the_column_is_shown() {
        let text = format!("a = [{}x, {}]\n", "1, ".repeat(1000), "2, ".repeat(1000));
        let sources = Sources::new("a.toml", &text, "");
        let start = text.find('x').unwrap();
        let place = sources.place(Span::new(0, start, start + 1)).unwrap();
        assert_eq!((place.line, place.column, place.width, place.indent), (1, start + 1, 1, BEFORE));
        assert_eq!(place.text.chars().nth(place.indent), Some('x'));
        assert!(place.text.starts_with('\u{2026}'), "{}", place.text);
        assert!(
            place.text.ends_with(" \u{2026}") && place.text.chars().count() <= LONG + 2,
            "{}",
            place.text
        );
        // At its start and its end nothing is left out on that side.
        let first = sources.place(Span::new(0, 0, 1)).unwrap();
        assert!(first.text.starts_with("a = [1") && first.indent == 0, "{}", first.text);
        let last = sources.place(Span::new(0, text.len() - 2, text.len() - 1)).unwrap();
        assert_eq!(last.text.chars().nth(last.indent), Some(']'));
    }

    #[test]
    fn a_line_is_found_by_the_bytes_before_it() {
        let text = "one\n\nthree";
        let lines = Lines::new(text);
        let found: Vec<usize> = (0..=text.len()).map(|byte| lines.line(byte)).collect();
        assert_eq!(found, [1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3]);
        assert_eq!([1, 2, 3].map(|line| lines.start(line)), [0, 4, 5]);
    }
}
