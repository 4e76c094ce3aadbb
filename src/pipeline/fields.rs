//! One table against the fields that its type declares: every problem, or the canonical configuration.

mod compound;

use serde_json::Value as Json;

use super::bytes;
use super::common;
use super::describe;
use super::durations;
use super::elsewhere::leads_on;
use super::expand::expand;
use super::extends::Files;
use super::problem::{Found, Span};
use super::shape::{fits_shape, is_scalar};
use super::suggest::{closest, count, listed, of_window};
use super::tree::{Key, Node, Origin, Table, Value};
use crate::operators::spec::{Config, Default, Field, FieldKind, Kind};

/// A field that names another stage, not yet looked up.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    /// The field, with dots.
    pub field: String,
    /// The stage's name.
    pub stage: String,
    /// What it must give.
    pub kind: Kind,
    /// The place of the name in the file.
    pub span: Span,
}

/// Checks fields and collects what it finds.
pub(super) struct Checker<'a> {
    /// Paths are relative to the folder of the file that they stand in.
    files: &'a Files,
    pub found: Vec<Found>,
    pub references: Vec<Reference>,
}

/// The field at hand, for messages.
#[derive(Clone, Copy)]
struct At<'a> {
    /// `network.levels`
    path: &'a str,
    doc: &'static str,
    /// Which item of a list, from 1 on.
    item: Option<usize>,
}

impl At<'_> {
    fn name(&self) -> String {
        match self.item {
            Some(item) => format!("item {item} of `{}`", self.path),
            None => format!("`{}`", self.path),
        }
    }
}

impl<'a> Checker<'a> {
    pub fn new(files: &'a Files) -> Self {
        Self { files, found: Vec::new(), references: Vec::new() }
    }

    /// Checks a table against its fields. `owner` names the type in messages, `header` is where an
    /// absent field is missed; keys of `known` are looked at elsewhere. `None` when there are problems.
    pub fn table(
        &mut self,
        table: &Table,
        header: Span,
        owner: &str,
        fields: &[Field],
        known: &[&str],
    ) -> Option<Config> {
        self.fields(table, header, owner, "", fields, known)
    }

    fn fields(
        &mut self,
        table: &Table,
        header: Span,
        owner: &str,
        path: &str,
        fields: &[Field],
        known: &[&str],
    ) -> Option<Config> {
        let before = self.found.len();
        // A field that is evidently misspelt is not reported as missing as well.
        let mut meant = Vec::new();
        for (key, _) in &table.entries {
            if !known.contains(&key.name.as_str()) && !fields.iter().any(|field| field.name == key.name) {
                meant.extend(self.unknown_field(key, owner, fields, known));
            }
        }
        let mut config = Some(Config::new());
        for field in fields {
            let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
            let value = match table.get(field.name) {
                Some((_, node)) => {
                    self.value(node, &field.kind, At { path: &path, doc: field.doc, item: None })
                }
                None if meant.contains(&field.name) => None,
                None => self.absent(table, header, owner, &path, field),
            };
            match (&mut config, value) {
                (Some(config), Some(value)) => drop(config.insert(field.name.to_owned(), value)),
                _ => config = None,
            }
        }
        config.filter(|_| self.found.len() == before)
    }

    /// Reports a key that is no field; the field that was probably meant.
    fn unknown_field<'f>(
        &mut self,
        key: &Key,
        owner: &str,
        fields: &'f [Field],
        known: &[&'f str],
    ) -> Option<&'f str> {
        let names = fields.iter().map(|field| field.name).chain(known.iter().copied());
        let meant = closest(&key.name, names.clone());
        let hint = match (key.name.as_str(), meant, leads_on(&key.name.to_lowercase())) {
            ("inputs", ..) => "a source takes nothing from other stages".to_owned(),
            ("extends" | "without", ..) => "it opens the file, before the line `[pipeline]`".to_owned(),
            ("keep", ..) => "only operators have an output to keep".to_owned(),
            (name, ..) if common::COMMON.iter().any(|field| field.name == name) => {
                format!("only operators take `{name}`")
            }
            (_, Some(meant), _) => format!("did you mean `{meant}`?"),
            (_, None, Some(lead)) => lead.to_owned(),
            (name, ..) if of_window(name) && fields.iter().any(|field| field.name == "low") => {
                "`low` is the centre less half the width, `high` the centre and half the width: 40 and 400 are \
                 low = -160, high = 240"
                    .to_owned()
            }
            _ if fields.is_empty() => format!("{owner} has no fields of its own"),
            _ => format!("its fields are {}", listed(&ticked(names.filter(|name| *name != "type")), "and")),
        };
        let found = Found::new(key.span, format!("{owner} has no field `{}`", key.name));
        self.found.push(found.label("unknown field").hint(hint));
        meant
    }

    /// The default of a field that was left out.
    fn absent(
        &mut self,
        table: &Table,
        header: Span,
        owner: &str,
        path: &str,
        field: &Field,
    ) -> Option<Json> {
        match field.default {
            Default::Absent => Some(Json::Null),
            Default::Required => {
                if !table.damaged {
                    let found = Found::new(header, format!("{owner} needs `{}`", field.name));
                    self.found
                        .push(found.label(format!("`{}` is missing", field.name)).hint(remedy_of(field.doc)));
                }
                None
            }
            Default::Json(text) => match serde_json::from_str(text) {
                Ok(Json::Null) => Some(Json::Null),
                Ok(json) => {
                    let node = from_json(&json, header);
                    self.value(&node, &field.kind, At { path, doc: field.doc, item: None })
                }
                Err(error) => {
                    let message = format!("the default of `{path}` in {owner} is not JSON: {error}");
                    self.found.push(
                        Found::new(header, message)
                            .label("left out here")
                            .hint("a fault of the type, not of this file"),
                    );
                    None
                }
            },
        }
    }

    /// One value against its kind; `None` when that was reported.
    fn value(&mut self, node: &Node, kind: &FieldKind, at: At) -> Option<Json> {
        match (kind, &node.value) {
            (_, Value::Broken) => None,
            (FieldKind::Bool, Value::Bool(value)) => Some(Json::from(*value)),
            (FieldKind::Integer { min, max }, Value::Integer(value)) => {
                if (min..=max).contains(&value) {
                    return Some(Json::from(*value));
                }
                self.misfit(node, kind, at, node.value.found())
            }
            (FieldKind::Number { min, max, .. }, Value::Integer(_) | Value::Float(_)) => {
                // `+ 0.0` makes −0 0, so that equal numbers have one form.
                let value = number(&node.value) + 0.0;
                if value.is_finite() && (*min..=*max).contains(&value) {
                    return Some(Json::from(value));
                }
                self.misfit(node, kind, at, node.value.found())
            }
            (FieldKind::Text, Value::Text(text)) => Some(Json::from(text.as_str())),
            (FieldKind::Path, Value::Text(text)) if text.is_empty() => {
                self.misfit(node, kind, at, "empty text found".to_owned())
            }
            (FieldKind::Path, Value::Text(text)) => self.path(node, text, at),
            (FieldKind::Bytes, Value::Text(text)) => match bytes::parse(text) {
                Ok(value) => Some(Json::from(value)),
                Err(label) => self.misfit(node, kind, at, label),
            },
            (FieldKind::Duration, Value::Text(text)) => match durations::parse(text) {
                Ok(milliseconds) => Some(Json::from(milliseconds)),
                Err(label) => self.misfit(node, kind, at, label),
            },
            (FieldKind::Choice(words), Value::Text(word)) => self.choice(node, words, word, at),
            (FieldKind::Stage(kind), Value::Text(stage)) => {
                self.references.push(Reference {
                    field: at.path.to_owned(),
                    stage: stage.clone(),
                    kind: *kind,
                    span: node.span,
                });
                Some(Json::from(stage.as_str()))
            }
            (FieldKind::List { len: Some(len), .. }, Value::List(items)) if *len != items.len() => {
                self.misfit(node, kind, at, format!("{} found", count(items.len())))
            }
            (FieldKind::List { of, .. }, Value::List(items)) => self.list(items, of, at),
            // One value is a list of it, where a list may have any length.
            (FieldKind::List { of, len: None }, _) if is_scalar(of) && fits_shape(of, &node.value) => {
                self.value(node, of, at).map(|one| Json::Array(vec![one]))
            }
            (FieldKind::Map(of), Value::Table(table)) => self.map(table, of, at),
            (FieldKind::Table(fields), Value::Table(table)) => self
                .fields(table, node.span, &format!("`{}`", at.path), at.path, fields, &[])
                .map(Json::Object),
            (FieldKind::Tagged(variants), Value::Table(table)) => self.tagged(node, table, variants, at),
            // A word alone is the `type`, and all else as it is by default.
            (FieldKind::Tagged(variants), Value::Text(word)) => {
                let tag = Node { value: Value::Text(word.clone()), span: node.span };
                let mut table = Table::new(Origin::Inline);
                table.entries.push((Key { name: "type".to_owned(), span: node.span }, tag));
                self.tagged(node, &table, variants, at)
            }
            (FieldKind::Either(kinds), _) => self.either(node, kind, kinds, at),
            _ => self.misfit(node, kind, at, node.value.found()),
        }
    }

    /// A path from the pipeline file's folder on, with the home folder and variables in their places.
    fn path(&mut self, node: &Node, text: &str, at: At) -> Option<Json> {
        match expand(text, &|name| std::env::var(name).ok()) {
            Ok(path) => Some(Json::from(self.files.path(node.span, path))),
            Err((label, hint)) => {
                let problem = Found::new(node.span, format!("{} takes a path", at.name()));
                self.found.push(problem.label(label).hint(hint));
                None
            }
        }
    }

    /// Reports a value that is not of its kind.
    fn misfit(&mut self, node: &Node, kind: &FieldKind, at: At, label: String) -> Option<Json> {
        let found = Found::new(node.span, format!("{} takes {}", at.name(), describe::one(kind)));
        let hint = match kind {
            FieldKind::Bytes => bytes::HINT.to_owned(),
            FieldKind::Duration => durations::HINT.to_owned(),
            _ => remedy_of(at.doc),
        };
        self.found.push(found.label(label).hint(hint));
        None
    }

    fn choice(&mut self, node: &Node, words: &[&str], word: &str, at: At) -> Option<Json> {
        if words.contains(&word) {
            return Some(Json::from(word));
        }
        let hint = match closest(word, words.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => remedy_of(at.doc),
        };
        let choices = listed(&ticked(words.iter().copied()), "or");
        let found = Found::new(node.span, format!("{} takes {choices}", at.name()));
        self.found.push(found.label(format!("`{word}` found")).hint(hint));
        None
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Integer(value) => *value as f64,
        Value::Float(value) => *value,
        _ => f64::NAN,
    }
}

/// A default as if it stood in the file at `span`.
pub(super) fn from_json(json: &Json, span: Span) -> Node {
    let value = match json {
        Json::Null => Value::Broken,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => Value::Integer(value),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(|item| from_json(item, span)).collect()),
        Json::Object(map) => {
            let mut table = Table::new(Origin::Inline);
            table.entries = map
                .iter()
                .map(|(name, value)| (Key { name: name.clone(), span }, from_json(value, span)))
                .collect();
            Value::Table(table)
        }
    };
    Node { value, span }
}

/// A field's sentence as a hint: it opens in lower case and ends without a stop.
fn remedy_of(doc: &str) -> String {
    let mut letters = doc.chars();
    let first = letters.next().unwrap_or_default();
    let is_word = doc.chars().nth(1).is_some_and(|second| second.is_lowercase() || second == ' ');
    let opening = if is_word { first.to_ascii_lowercase() } else { first };
    let rest = letters.as_str();
    let one_sentence = !rest.contains(". ");
    let rest = if one_sentence { rest.strip_suffix('.').unwrap_or(rest) } else { rest };
    if doc.is_empty() { String::new() } else { format!("{opening}{rest}") }
}

fn ticked<'w>(words: impl Iterator<Item = &'w str>) -> Vec<String> {
    words.map(|word| format!("`{word}`")).collect()
}
