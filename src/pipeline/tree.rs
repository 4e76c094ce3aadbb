//! A TOML document as tables, keys and values that know their place.

use super::problem::Span;

/// A key as written.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub name: String,
    pub span: Span,
}

/// A value and its place; of a `[table]` its header.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Value,
    pub span: Span,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// A date or a time, which no field takes.
    Time,
    List(Vec<Node>),
    Table(Table),
    /// Could not be read; that was reported.
    Broken,
}

impl Value {
    /// What it is, in messages: `text`, `a list`.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Bool(true) => "`true`",
            Self::Bool(false) => "`false`",
            Self::Time => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Broken => "nothing",
        }
    }

    /// What it is, as a label: `3.5 found`, `text found`.
    pub fn found(&self) -> String {
        match self {
            Self::Integer(value) => format!("{value} found"),
            Self::Float(value) => format!("{value:?} found").to_lowercase(),
            other => format!("{} found", other.noun()),
        }
    }
}

/// How a table came to be: what may still be added to it depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// `[it]`
    Header,
    /// Implied by a header below it, `[it.inner]`.
    Implicit,
    /// Implied by a dotted key, `it.inner = …`.
    Dotted,
    /// `{ … }`
    Inline,
}

/// Keys and values in the order of the file.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub entries: Vec<(Key, Node)>,
    pub origin: Origin,
    /// Part of it could not be read, so that an absent key says nothing.
    pub damaged: bool,
}

impl Table {
    pub fn new(origin: Origin) -> Self {
        Self { entries: Vec::new(), origin, damaged: false }
    }

    pub fn get(&self, name: &str) -> Option<&(Key, Node)> {
        self.entries.iter().find(|(key, _)| key.name == name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut (Key, Node)> {
        self.entries.iter_mut().find(|(key, _)| key.name == name)
    }

    /// The key that a dotted path leads to, or the last one on the way that is there.
    pub fn key_at(&self, path: &str) -> Option<&Key> {
        let fits = |key: &Key| {
            path.strip_prefix(key.name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let (key, node) =
            self.entries.iter().filter(|(key, _)| fits(key)).max_by_key(|(key, _)| key.name.len())?;
        let rest = path.get(key.name.len() + 1..).unwrap_or_default();
        match &node.value {
            Value::Table(table) => table.key_at(rest).or(Some(key)),
            _ => Some(key),
        }
    }
}
