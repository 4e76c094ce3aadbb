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
    /// From 1 on.
    pub line: usize,
    /// In characters, from 1 on.
    pub column: usize,
    /// Characters under the carets, at least 1.
    pub width: usize,
    /// The whole line, fit to be printed: a tab is a blank, other control characters are `·`.
    pub text: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it stops the pipeline.
    pub severity: Severity,
    /// What was expected.
    pub message: String,
    /// Where; `None` when the file could not be read at all.
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
        if let Some(Place { file, line, column, width, text }) = &self.place {
            let gutter = line.to_string().len();
            writeln!(f, "{:gutter$}--> {file}:{line}:{column}", "")?;
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{}", format!("{line} | {text}").trim_end())?;
            let marks = format!("{:gutter$} | {:indent$}{}", "", "", "^".repeat(*width), indent = column - 1);
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

/// The texts that spans point into: the pipeline file, then all `--set` options, one a line.
pub(super) struct Sources {
    texts: Vec<(String, String)>,
}

impl Sources {
    pub fn new(file: &str, text: &str, options: &str) -> Self {
        Self { texts: vec![(file.to_owned(), text.to_owned()), ("--set".to_owned(), options.to_owned())] }
    }

    /// The problem as it is shown.
    pub fn problem(&self, found: Found) -> Problem {
        let Found { span, severity, message, label, hint } = found;
        Problem { severity, message, place: self.place(span), label, hint }
    }

    /// The line that a span starts on, from 1 on.
    pub fn line(&self, span: Span) -> usize {
        self.place(span).map_or(0, |place| place.line)
    }

    fn place(&self, span: Span) -> Option<Place> {
        let (file, text) = self.texts.get(span.source)?;
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let (before, after) = text.split_at(start);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = after.find('\n').map_or(after, |newline| &after[..newline]);
        let rest = rest.strip_suffix('\r').unwrap_or(rest);
        let length = span.end - span.start;
        let width = rest.char_indices().take_while(|(offset, _)| *offset < length).count();
        let line = format!("{}{rest}", &before[line_start..]);
        Some(Place {
            file: file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            width: width.max(1),
            text: line.chars().map(printable).collect::<String>().trim_end().to_owned(),
        })
    }
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
}
