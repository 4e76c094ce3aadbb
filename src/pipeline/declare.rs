//! The tree to declared stages: sections, names, types, and each stage's own fields.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::extends::Files;
use super::fields::{Checker, Reference};
use super::problem::{Found, Span};
use super::settings::{self, Common};
use super::suggest::{closest, listed, remedy};
use super::tree::{Key, Node, Table, Value};
use crate::operators::registry::{Entry, Registry};
use crate::operators::spec::{Config, Section, Spec};

/// A name in `inputs` and its place.
pub(super) struct Input {
    pub name: String,
    pub span: Span,
}

/// A stage as declared; parts that could not be read were reported and are absent.
pub(super) struct Declared<'t> {
    pub name: &'t str,
    pub section: Section,
    /// Its name where it is declared.
    pub key: Span,
    /// Its `[header]`.
    pub header: Span,
    pub table: &'t Table,
    pub entry: Option<Entry>,
    pub config: Option<Config>,
    pub references: Vec<Reference>,
    /// `None` when the field is absent or could not be read.
    pub inputs: Option<Vec<Input>>,
    /// The list itself.
    pub inputs_span: Option<Span>,
    pub common: Common,
}

impl Declared<'_> {
    /// `operators.net`
    pub fn path(&self) -> String {
        format!("{}.{}", self.section.name(), self.name)
    }

    pub fn spec(&self) -> Option<&'static Spec> {
        self.entry.map(|entry| entry.spec)
    }
}

/// Everything a file declares.
pub(super) struct Declaration<'t> {
    /// The `[pipeline]` table's fields.
    pub settings: Option<Config>,
    /// Stages in the order of the file.
    pub stages: Vec<Declared<'t>>,
}

/// Reads all sections.
pub(super) fn read<'t>(
    root: &'t Table,
    files: &Files,
    registry: &Registry,
    found: &mut Vec<Found>,
) -> Declaration<'t> {
    let mut stages = Vec::new();
    let mut pipeline = None;
    for (key, node) in &root.entries {
        let Some(name) = section_name(key, node, found) else { continue };
        let section = Section::ALL.into_iter().find(|section| section.name() == name);
        match (&node.value, section) {
            (Value::Broken, _) => {}
            (Value::Table(table), None) => pipeline = Some((table, node.span)),
            (Value::Table(table), Some(section)) => {
                for (key, node) in &table.entries {
                    stages.extend(stage(section, key, node, files, registry, found));
                }
            }
            (other, section) => {
                let hint =
                    section.map_or("[pipeline]".to_owned(), |section| format!("[{}.NAME]", section.name()));
                let problem = Found::new(node.span, format!("`{name}` is a table"));
                found.push(problem.label(other.found()).hint(format!("write `{hint}`")));
            }
        }
    }
    // What a file extends comes before it, and has the higher number.
    stages.sort_by_key(|stage| (Reverse(stage.header.source), stage.header.start, stage.key.start));
    duplicates(&stages, found);
    let start = Span::new(0, 0, 0);
    if let (true, Some((_, header))) = (stages.is_empty() && !root.damaged && found.is_empty(), pipeline) {
        let problem = Found::new(header, "the pipeline has no stages");
        found.push(problem.label("nothing to run").hint("a source is declared as `[sources.NAME]`"));
    }
    let settings = match pipeline {
        Some((table, span)) => settings::check(table, span, files, found),
        None => {
            let broken = root.damaged || root.get("pipeline").is_some();
            if !broken {
                let problem = Found::new(start, "the section `[pipeline]` is missing");
                let hint = "it opens the file: `[pipeline]`, then `name = \"…\"` and `out = \"…\"`";
                found.push(problem.label("expected here").hint(hint));
            }
            None
        }
    };
    Declaration { settings, stages }
}

/// The section that a key at the top names, or probably means: its stages are checked all the same.
fn section_name(key: &Key, node: &Node, found: &mut Vec<Found>) -> Option<&'static str> {
    let sections = ["pipeline"].into_iter().chain(Section::ALL.into_iter().map(Section::name));
    if let Some(section) = sections.clone().find(|section| *section == key.name) {
        return Some(section);
    }
    if matches!(node.value, Value::Table(_) | Value::List(_)) && !settings::is_field(&key.name) {
        let problem = Found::new(key.span, format!("there is no section `{}`", key.name));
        found.push(problem.label("unknown section").hint(remedy(&key.name, sections.clone(), "")));
        return closest(&key.name, sections);
    }
    let hint = match settings::is_field(&key.name) {
        true => "it belongs below the line `[pipeline]`",
        false => "a file opens with `[pipeline]`; fields stand below the header of their table",
    };
    let problem = Found::new(key.span, format!("`{}` stands outside of any section", key.name));
    found.push(problem.label("no section").hint(hint));
    None
}

/// Stage names are one space, whatever the section.
fn duplicates(stages: &[Declared], found: &mut Vec<Found>) {
    let mut first: BTreeMap<&str, &Declared> = BTreeMap::new();
    for stage in stages {
        if let Some(earlier) = first.get(stage.name) {
            let problem = Found::new(stage.key, format!("two stages are called `{}`", stage.name));
            let hint = format!("names are shared by all sections; the other one is `[{}]`", earlier.path());
            found.push(problem.label("the second one").hint(hint));
        } else {
            first.insert(stage.name, stage);
        }
    }
}

fn stage<'t>(
    section: Section,
    key: &'t Key,
    node: &'t Node,
    files: &Files,
    registry: &Registry,
    found: &mut Vec<Found>,
) -> Option<Declared<'t>> {
    let path = format!("{}.{}", section.name(), key.name);
    let table = match &node.value {
        Value::Table(table) => table,
        Value::Broken => return None,
        other => {
            let problem = Found::new(node.span, format!("`{path}` is a table"));
            found.push(problem.label(other.found()).hint(format!("write `[{path}]`")));
            return None;
        }
    };
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if key.name.is_empty() || !key.name.chars().all(word) {
        let problem = Found::new(key.span, "a stage's name has letters, digits, `_` and `-`");
        let plain: String = key.name.chars().map(|letter| if word(letter) { letter } else { '_' }).collect();
        let hint = if plain.is_empty() { String::new() } else { format!("for example `{plain}`") };
        found.push(problem.label("other characters found").hint(hint));
    }
    let entry = entry(section, &path, table, node.span, registry, found);
    let mut stage = Declared {
        name: &key.name,
        section,
        key: key.span,
        header: node.span,
        table,
        entry,
        config: None,
        references: Vec::new(),
        inputs: None,
        inputs_span: None,
        common: Common::default(),
    };
    if section == Section::Operators {
        let own = stage.spec().map_or(&[][..], |spec| spec.fields);
        stage.common = settings::common(table, node.span, files, own, found);
    }
    if let Some((_, list)) = table.get("inputs") {
        stage.inputs_span = Some(list.span);
        stage.inputs = inputs(list, found);
    }
    if let Some(spec) = stage.spec() {
        let mut checker = Checker::new(files);
        stage.config = own_fields(&mut checker, spec, section, table, node.span);
        stage.references = checker.references;
        found.append(&mut checker.found);
    }
    Some(stage)
}

fn own_fields(
    checker: &mut Checker,
    spec: &Spec,
    section: Section,
    table: &Table,
    header: Span,
) -> Option<Config> {
    let mut known = vec!["type"];
    if section != Section::Sources {
        known.push("inputs");
    }
    if section == Section::Operators {
        known.extend(settings::COMMON.iter().map(|field| field.name));
    }
    checker.table(table, header, &format!("`{}`", spec.name), spec.fields, &known)
}

/// The registry's entry for a table's `type`.
fn entry(
    section: Section,
    path: &str,
    table: &Table,
    header: Span,
    registry: &Registry,
    found: &mut Vec<Found>,
) -> Option<Entry> {
    let here: Vec<_> = registry
        .entries()
        .filter(|entry| entry.spec.section == section)
        .map(|entry| entry.spec.name)
        .collect();
    let types = listed(&here.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>(), "or");
    let Some((_, node)) = table.get("type") else {
        if !table.damaged {
            let problem = Found::new(header, format!("`{path}` needs a `type`"));
            found.push(
                problem.label("`type` is missing").hint(format!("under `{}` it is {types}", section.name())),
            );
        }
        return None;
    };
    let name = match &node.value {
        Value::Text(name) => name,
        Value::Broken => return None,
        other => {
            let problem = Found::new(node.span, format!("`type` takes {types}"));
            found.push(problem.label(other.found()));
            return None;
        }
    };
    match registry.get(name) {
        Some(entry) if entry.spec.section == section => Some(*entry),
        Some(entry) => {
            let right = entry.spec.section.name();
            let problem =
                Found::new(node.span, format!("`{name}` does not belong under `{}`", section.name()));
            let hint = format!("write `[{right}.{}]`", path.split_once('.').map_or(path, |(_, name)| name));
            found.push(problem.label(format!("one of the {right}")).hint(hint));
            None
        }
        None => {
            let singular = section.name().trim_end_matches('s');
            let problem = Found::new(node.span, format!("there is no {singular} of type `{name}`"));
            found.push(problem.label("unknown type").hint(remedy(name, here.iter().copied(), "")));
            None
        }
    }
}

fn inputs(node: &Node, found: &mut Vec<Found>) -> Option<Vec<Input>> {
    let problem = |span, label: String, hint: String| {
        Found::new(span, "`inputs` takes a list of stage names").label(label).hint(hint)
    };
    let items = match &node.value {
        Value::List(items) => items,
        Value::Broken => return None,
        Value::Text(name) => {
            found.push(problem(node.span, "text found".to_owned(), format!("write `inputs = [\"{name}\"]`")));
            return None;
        }
        other => {
            found.push(problem(node.span, other.found(), String::new()));
            return None;
        }
    };
    let mut inputs = Some(Vec::new());
    for item in items {
        match (&item.value, &mut inputs) {
            (Value::Text(name), Some(inputs)) => inputs.push(Input { name: name.clone(), span: item.span }),
            (Value::Text(_), None) => {}
            (Value::Broken, _) => inputs = None,
            (other, _) => {
                found.push(problem(item.span, other.found(), String::new()));
                inputs = None;
            }
        }
    }
    inputs
}
