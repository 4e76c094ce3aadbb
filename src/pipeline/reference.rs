//! The reference in Markdown: a page for each type, from what it declares.

use std::fmt::Write;

use super::describe;
use super::settings;
use super::wiring::kinds;
use crate::operators::registry::Registry;
use crate::operators::spec::{Default, Field, FieldKind, Output, Role, Section, Spec};

/// All pages: the `[pipeline]` table, then every type by section.
pub fn reference(registry: &Registry) -> String {
    let mut text = "# Reference\n\nMade from the code by `tomoflow types`; do not edit.\n\n".to_owned();
    text.push_str("## `[pipeline]`\n\nWhat the whole pipeline has in common.\n\n");
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
    let output = match spec.output {
        Output::Is(kind) => kind.name(),
        Output::SameAsInput => "what its first input gives",
        Output::Nothing => "nothing: it is a sink",
    };
    if spec.inputs.is_empty() {
        text.push_str("- takes no inputs\n");
    }
    for port in spec.inputs {
        let many = if port.many { ", any number of stages" } else { "" };
        let _ = writeln!(text, "- takes {} as `{}`{many}", kinds(port.accepts), port.name);
    }
    let _ = writeln!(text, "- gives {output}\n- code version {}", spec.version);
    if !spec.fields.is_empty() {
        text.push('\n');
        fields(&mut text, spec.fields, true);
    }
    text
}

fn fields(text: &mut String, fields: &[Field], roles: bool) {
    let role = if roles { " Results depend on it |" } else { "" };
    let line = if roles { " --- |" } else { "" };
    let _ = writeln!(text, "| Field | Takes | Default |{role} Meaning |\n| --- | --- | --- |{line} --- |");
    rows(text, "", fields, roles);
}

/// A row for each field; those of nested tables follow, by their dotted names.
fn rows(text: &mut String, path: &str, fields: &[Field], roles: bool) {
    for field in fields {
        let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
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
        nested(text, &path, &field.kind, roles);
    }
}

fn nested(text: &mut String, path: &str, kind: &FieldKind, roles: bool) {
    match kind {
        FieldKind::Table(fields) => rows(text, path, fields, roles),
        FieldKind::Tagged(variants) => {
            for (name, fields) in *variants {
                rows(text, &format!("{path}({name})"), fields, roles);
            }
        }
        FieldKind::List { of, .. } => nested(text, &format!("{path}[]"), of, roles),
        FieldKind::Map(of) => nested(text, &format!("{path}.*"), of, roles),
        FieldKind::Either(kinds) => kinds.iter().for_each(|kind| nested(text, path, kind, roles)),
        _ => {}
    }
}

/// Text that a table's cell can hold.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
