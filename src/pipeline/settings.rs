//! The `[pipeline]` table, and what every operator may carry: declared as fields like any other.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::fields::Checker;
use super::plan::{Identifiers, Settings};
use super::problem::{Found, Span};
use super::tree::Table;
use crate::operators::spec::{Config, Default, Field, FieldKind, Role};

/// The fields of `[pipeline]`.
pub const FIELDS: &[Field] = &[
    Field {
        name: "name",
        kind: FieldKind::Text,
        default: Default::Required,
        role: Role::Operational,
        doc: "What logs and the report call this pipeline.",
    },
    Field {
        name: "out",
        kind: FieldKind::Path,
        default: Default::Required,
        role: Role::Operational,
        doc: "The folder for the store, the tables and the report, relative to the pipeline file.",
    },
    Field {
        name: "memory",
        kind: FieldKind::Bytes,
        default: Default::Json("\"4 GiB\""),
        role: Role::Operational,
        doc: "Bytes that actions may hold at once.",
    },
    Field {
        name: "device",
        kind: FieldKind::Text,
        default: Default::Json("\"auto\""),
        role: Role::Operational,
        doc: "Where networks run: `auto`, `cpu`, `cuda` or one GPU as `cuda:0`, `cuda:1`, …",
    },
    Field {
        name: "identifiers",
        kind: FieldKind::Choice(&["pseudonymous", "clear"]),
        default: Default::Json("\"pseudonymous\""),
        role: Role::Operational,
        doc: "Whether tables show identifiers as a keyed hash or as they are in the files.",
    },
    Field {
        name: "allowed_rejects",
        kind: FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        default: Default::Json("0.5"),
        role: Role::Operational,
        doc: "The share of series that may be rejected before the exit code is 1.",
    },
];

/// A field that every operator may carry.
pub const KEEP: Field = Field {
    name: "keep",
    kind: FieldKind::Bool,
    default: Default::Json("false"),
    role: Role::Operational,
    doc: "Whether its output is kept even where nothing downstream needs it on disk.",
};

/// Whether `[pipeline]` has a field of this name.
pub(super) fn is_field(name: &str) -> bool {
    FIELDS.iter().any(|field| field.name == name)
}

/// Checks the `[pipeline]` table.
pub(super) fn check(table: &Table, header: Span, base: &Path, found: &mut Vec<Found>) -> Option<Config> {
    let mut checker = Checker::new(base);
    let config = checker.table(table, header, "`pipeline`", FIELDS, &[]);
    found.append(&mut checker.found);
    let config = config?;
    let device = text(&config, "device");
    if is_device(&device) {
        return Some(config);
    }
    let span = table.get("device").map_or(header, |(_, node)| node.span);
    let problem = Found::new(span, "`device` takes `auto`, `cpu`, `cuda` or `cuda:N`");
    found.push(
        problem.label(format!("`{device}` found")).hint("GPUs are counted from 0: `cuda:0` is the first"),
    );
    None
}

fn is_device(device: &str) -> bool {
    let number = |text: &str| {
        text.len() <= 3 && !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit())
    };
    ["auto", "cpu", "cuda"].contains(&device) || device.strip_prefix("cuda:").is_some_and(number)
}

/// The typed form of a checked `[pipeline]` table.
pub(super) fn read(config: &Config) -> Settings {
    Settings {
        name: text(config, "name"),
        out: PathBuf::from(text(config, "out")),
        memory_bytes: config.get("memory").and_then(Json::as_u64).unwrap_or_default(),
        device: text(config, "device"),
        identifiers: match text(config, "identifiers").as_str() {
            "clear" => Identifiers::Clear,
            _ => Identifiers::Pseudonymous,
        },
        allowed_rejects: config.get("allowed_rejects").and_then(Json::as_f64).unwrap_or_default(),
    }
}

fn text(config: &Config, name: &str) -> String {
    config.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}
