//! A pipeline written out: all that it extends, and the options of the command line, in one text.

use std::cmp::Reverse;
use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use super::draft::{inline, key};
use super::extends::Files;
use super::tree::{Node, Table, Value};
use crate::operators::spec::Section;

/// The tree as TOML: `[pipeline]` first, then stages by section, each in the order in which it was declared. Paths are
/// absolute, so that the text means the same in any folder.
pub(super) fn text(root: &Table, files: &Files) -> String {
    let mut text = String::new();
    let sections = ["pipeline"].into_iter().chain(Section::ALL.into_iter().map(Section::name));
    for section in sections {
        let Some((_, Node { value: Value::Table(table), .. })) = root.get(section) else { continue };
        if section == "pipeline" {
            stage(&mut text, section, table, files);
            continue;
        }
        let mut stages: Vec<_> = table.entries.iter().collect();
        stages.sort_by_key(|(name, node)| (Reverse(node.span.source), node.span.start, name.span.start));
        for (name, node) in stages {
            if let Value::Table(table) = &node.value {
                stage(&mut text, &format!("{section}.{}", key(&name.name)), table, files);
            }
        }
    }
    text
}

fn stage(text: &mut String, header: &str, table: &Table, files: &Files) {
    let separator = if text.is_empty() { "" } else { "\n" };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{separator}[{header}]");
    // What every reader looks for comes first.
    let first = |name: &str| ["type", "name", "inputs"].iter().position(|first| *first == name).unwrap_or(3);
    let mut entries: Vec<_> = table.entries.iter().collect();
    entries.sort_by_key(|(name, _)| first(&name.name));
    for (name, node) in entries {
        let _ = writeln!(text, "{} = {}", key(&name.name), value(node, files));
    }
}

fn value(node: &Node, files: &Files) -> String {
    match &node.value {
        Value::Text(text) => match files.path_at(node.span) {
            // It was expanded: a dollar sign stands for itself now.
            Some(path) => inline(&Json::from(path.replace('$', "$$"))),
            None => inline(&Json::from(text.as_str())),
        },
        Value::Integer(value) => value.to_string(),
        Value::Float(value) if value.is_finite() => format!("{value:?}"),
        Value::Float(value) if value.is_nan() => "nan".to_owned(),
        Value::Float(value) => if *value > 0.0 { "inf" } else { "-inf" }.to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| value(item, files)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) if table.entries.is_empty() => inline(&Json::Object(Map::new())),
        Value::Table(table) => {
            let fields = table.entries.iter();
            let fields = fields.map(|(name, node)| format!("{} = {}", key(&name.name), value(node, files)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        // No field takes either, so that a pipeline without problems has none.
        Value::Time | Value::Broken => inline(&Json::from("")),
    }
}
