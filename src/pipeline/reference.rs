//! The reference: a page for each type, from what it declares, in Markdown and as text for a terminal.

use std::fmt::Write;

use super::describe;
use super::extends::EXTENDS;
use super::settings;
use super::sweep::SWEEP;
use super::wiring::kinds;
use crate::operators::registry::Registry;
use crate::operators::spec::{Default, Field, FieldKind, Output, Role, Section, Spec};

/// All pages: the `[pipeline]` table, then every type by section.
pub fn reference(registry: &Registry) -> String {
    let mut text = "# Reference\n\nMade from the code by `tomoflow types`; do not edit.\n\n".to_owned();
    text.push_str("## `[pipeline]`\n\nWhat the whole pipeline has in common.\n\n");
    let _ = writeln!(text, "{EXTENDS}\n\n{SWEEP}\n");
    fields(&mut text, settings::FIELDS, false);
    for section in Section::ALL {
        let _ = writeln!(text, "\n# `[{}.*]`", section.name());
        if section == Section::Operators {
            text.push_str("\nEvery operator also takes:\n\n");
            fields(&mut text, settings::COMMON, false);
        }
        for entry in registry.entries().filter(|entry| entry.spec.section == section) {
            text.push('\n');
            text.push_str(&page(entry.spec));
        }
    }
    text
}

/// The page of one type.
pub fn page(spec: &Spec) -> String {
    let mut text = format!("## `{}`\n\n{}\n\n{}\n\n", spec.name, spec.summary, spec.doc.trim());
    for line in ports(spec) {
        let _ = writeln!(text, "- {line}");
    }
    if !spec.fields.is_empty() {
        text.push('\n');
        fields(&mut text, spec.fields, true);
    }
    text
}

/// What a type takes and gives, a line each.
pub(super) fn ports(spec: &Spec) -> Vec<String> {
    let mut lines = Vec::new();
    if spec.inputs.is_empty() {
        lines.push("takes no inputs".to_owned());
    }
    for port in spec.inputs {
        let many = if port.many { ", any number of stages" } else { "" };
        lines.push(format!("takes {} as `{}`{many}", kinds(port.accepts), port.name));
    }
    let output = match spec.output {
        Output::Is(kind) => kind.name(),
        Output::SameAsInput => "what its first input gives",
        Output::Nothing => "nothing: it is a sink",
    };
    lines.push(format!("gives {output}"));
    lines.push(format!("code version {}", spec.version));
    lines
}

fn fields(text: &mut String, fields: &[Field], roles: bool) {
    let role = if roles { " Results depend on it |" } else { "" };
    let line = if roles { " --- |" } else { "" };
    let _ = writeln!(text, "| Field | Takes | Default |{role} Meaning |\n| --- | --- | --- |{line} --- |");
    for Listed { path, field } in listed(fields) {
        let default = match field.default {
            Default::Required => "required".to_owned(),
            Default::Absent => "absent".to_owned(),
            Default::Json(json) => format!("`{}`", cell(json)),
        };
        let role = match (roles, field.role) {
            (false, _) => "",
            (true, Role::Semantic | Role::SemanticLater) => " yes |",
            (true, Role::Operational) => " no |",
        };
        let takes = cell(&describe::one(&field.kind));
        let _ = writeln!(text, "| `{path}` | {takes} | {default} |{role} {} |", cell(field.doc));
    }
}

/// A field by its dotted name.
pub(super) struct Listed<'a> {
    pub path: String,
    pub field: &'a Field,
}

/// All fields of a table; those of nested tables follow the field that holds them.
pub(super) fn listed(fields: &[Field]) -> Vec<Listed<'_>> {
    let mut list = Vec::new();
    add(&mut list, "", fields);
    list
}

fn add<'a>(list: &mut Vec<Listed<'a>>, path: &str, fields: &'a [Field]) {
    for field in fields {
        let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        list.push(Listed { path: path.clone(), field });
        add_nested(list, &path, &field.kind);
    }
}

fn add_nested<'a>(list: &mut Vec<Listed<'a>>, path: &str, kind: &'a FieldKind) {
    match kind {
        FieldKind::Table(fields) => add(list, path, fields),
        FieldKind::Tagged(variants) => {
            for (name, fields) in *variants {
                add(list, &format!("{path}({name})"), fields);
            }
        }
        FieldKind::List { of, .. } => add_nested(list, &format!("{path}[]"), of),
        FieldKind::Map(of) => add_nested(list, &format!("{path}.*"), of),
        FieldKind::Either(kinds) => kinds.iter().for_each(|kind| add_nested(list, path, kind)),
        _ => {}
    }
}

/// Text that a table's cell can hold.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
