//! Fields of a table in a pipeline file: what they take, what they are when left out, and whether results depend on
//! them. Stage types, networks and losses declare theirs in the same words.

use serde_json::Value as Json;

pub mod text;

/// What flows along an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// DICOM instances, as found.
    Instances,
    /// Outlines that refer to a series, as found.
    Outlines,
    /// A scan without labels.
    Scan,
    /// A scan with its label map.
    Case,
    /// Views on a case that a network is trained on.
    Samples,
    /// A trained network.
    Model,
    /// A label map on the scan's original grid.
    Masks,
    /// The figures of an evaluation.
    Metrics,
    /// Boxes on the scan's original grid, with a class and a score each.
    Detections,
    /// Cases whose labels are carried over to others.
    Atlases,
}

impl Kind {
    /// The word in messages, graphs and the reference.
    pub fn name(self) -> &'static str {
        match self {
            Self::Instances => "instances",
            Self::Outlines => "outlines",
            Self::Scan => "scans",
            Self::Case => "cases",
            Self::Samples => "samples",
            Self::Model => "a model",
            Self::Masks => "masks",
            Self::Metrics => "metrics",
            Self::Detections => "detections",
            Self::Atlases => "atlases",
        }
    }
}

/// Whether a field is part of an action's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Changes the result: in the key.
    Semantic,
    /// Changes the result: in the key, except at its default. The field came later than its type, and what was
    /// kept before it came stays valid.
    SemanticLater,
    /// Changes only how it is computed (batch size, threads, device, paths): not in the key.
    Operational,
}

/// The values that a field takes.
#[derive(Clone, Copy, Debug)]
pub enum FieldKind {
    /// A truth value: `true` or `false`.
    Bool,
    /// A whole number within bounds, ends included.
    Integer {
        /// The smallest number.
        min: i64,
        /// The largest number.
        max: i64,
    },
    /// A number within bounds, ends included.
    Number {
        /// The smallest number.
        min: f64,
        /// The largest number.
        max: f64,
        /// The unit: `mm`, `HU`, … or empty.
        unit: &'static str,
    },
    /// Any text.
    Text,
    /// A path, relative to the pipeline file.
    Path,
    /// A number of bytes: `"256 MiB"`.
    Bytes,
    /// A duration of at least a millisecond: `"10s"`; canonical as whole milliseconds.
    Duration,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The name of another stage that gives this.
    Stage(Kind),
    /// A list of one kind, of a fixed length or of any.
    List {
        /// The kind of each item.
        of: &'static FieldKind,
        /// The number of items, where it is fixed.
        len: Option<usize>,
    },
    /// Free keys with values of one kind: `{ Modality = "MR" }`.
    Map(&'static FieldKind),
    /// A table with fields of its own.
    Table(&'static [Field]),
    /// A table whose `type` chooses its fields.
    Tagged(&'static [(&'static str, &'static [Field])]),
    /// The first of these that fits, by TOML shape (text, number, list, table).
    Either(&'static [FieldKind]),
}

/// The value of a field that is left out.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// It must be given.
    Required,
    /// It stays absent (JSON null).
    Absent,
    /// The value of this JSON text.
    Json(&'static str),
}

/// One field of a stage's table.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The TOML key.
    pub name: &'static str,
    /// Its values.
    pub kind: FieldKind,
    /// The value when it is left out.
    pub default: Default,
    /// Whether results depend on it.
    pub role: Role,
    /// One sentence for the reference, with the unit.
    pub doc: &'static str,
}

impl Field {
    /// A field that results depend on, and that must be given.
    pub const fn required(name: &'static str, kind: FieldKind, doc: &'static str) -> Self {
        Self { name, kind, default: Default::Required, role: Role::Semantic, doc }
    }

    /// A field that results depend on, with the JSON text of its value when it is left out.
    pub const fn semantic(
        name: &'static str,
        kind: FieldKind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, kind, default: Default::Json(default), role: Role::Semantic, doc }
    }

    /// A field that may be left out, and has no value then.
    pub const fn absent(name: &'static str, kind: FieldKind, role: Role, doc: &'static str) -> Self {
        Self { name, kind, default: Default::Absent, role, doc }
    }
}

/// Something wrong within a stage's fields that only the stage itself can see.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldProblem {
    /// The field, with dots for nested ones: `network.levels`.
    pub field: String,
    /// What was expected and found.
    pub message: String,
    /// The remedy.
    pub hint: String,
}

impl FieldProblem {
    /// A problem of one field.
    pub fn new(field: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into(), hint: hint.into() }
    }
}

/// Checks that of two fields, each with whether it is given, exactly one is.
///
/// # Errors
/// A problem of the first one, with `hint`.
pub(crate) fn one_of([a, b]: [(&str, bool); 2], hint: &str) -> Result<(), Vec<FieldProblem>> {
    if a.1 != b.1 {
        return Ok(());
    }
    let found = if a.1 { "both" } else { "neither" };
    let message = format!("one of `{}` and `{}` expected, {found} found", a.0, b.0);
    Err(vec![FieldProblem::new(a.0, message, hint)])
}

/// A stage's checked configuration: every field present, defaults included, in canonical order.
pub type Config = serde_json::Map<String, Json>;

/// Keeps only the fields that results depend on, nested ones too: what enters an action's key.
pub fn semantic(fields: &[Field], config: &Config) -> Config {
    let mut kept = Config::new();
    for field in fields.iter().filter(|field| field.role != Role::Operational) {
        if let Some(value) = config.get(field.name) {
            if field.role == Role::SemanticLater && is_default(field, value) {
                continue;
            }
            kept.insert(field.name.to_owned(), semantic_value(&field.kind, value));
        }
    }
    kept
}

/// Whether a value is the one that a field has when it is left out.
pub(crate) fn is_default(field: &Field, value: &Json) -> bool {
    match field.default {
        Default::Required => false,
        Default::Absent => value.is_null(),
        Default::Json(text) => serde_json::from_str::<Json>(text).is_ok_and(|default| default == *value),
    }
}

fn semantic_value(kind: &FieldKind, value: &Json) -> Json {
    match (kind, value) {
        // The stage enters by its output; its name does not, so that renaming is free.
        (FieldKind::Stage(_), Json::String(_)) => Json::from("stage"),
        (FieldKind::Either(kinds), Json::String(text)) if names_a_stage(kinds, text) => Json::from("stage"),
        (FieldKind::Table(fields), Json::Object(table)) => Json::Object(semantic(fields, table)),
        (FieldKind::Tagged(variants), Json::Object(table)) => {
            let tag = table.get("type").and_then(Json::as_str).unwrap_or_default();
            let fields = variants.iter().find(|(name, _)| *name == tag).map_or(&[][..], |(_, fields)| fields);
            let mut kept = semantic(fields, table);
            kept.insert("type".to_owned(), Json::from(tag));
            Json::Object(kept)
        }
        (FieldKind::Either(kinds), Json::Object(_)) => kinds
            .iter()
            .find(|kind| matches!(kind, FieldKind::Table(_) | FieldKind::Tagged(_)))
            .map_or_else(|| value.clone(), |kind| semantic_value(kind, value)),
        (FieldKind::Either(kinds), Json::Array(items)) => {
            // Lists of names and lists of tables are told apart by their items.
            let texts = items.iter().all(Json::is_string);
            let fits = |kind: &&FieldKind| match kind {
                FieldKind::List { of: FieldKind::Stage(_), .. } => texts,
                FieldKind::List { of: FieldKind::Table(_), .. } => !texts || items.is_empty(),
                kind => matches!(kind, FieldKind::List { .. }),
            };
            kinds.iter().find(fits).map_or_else(|| value.clone(), |kind| semantic_value(kind, value))
        }
        (
            FieldKind::List { of: of @ (FieldKind::Table(_) | FieldKind::Stage(_)), .. },
            Json::Array(items),
        ) => items.iter().map(|item| semantic_value(of, item)).collect(),
        _ => value.clone(),
    }
}

/// Whether a text that fits one of these names a stage, and is not a word of its own (`"auto"`).
fn names_a_stage(kinds: &[FieldKind], text: &str) -> bool {
    let is_word = |kind: &FieldKind| matches!(kind, FieldKind::Choice(words) if words.contains(&text));
    !kinds.iter().any(is_word) && kinds.iter().any(|kind| matches!(kind, FieldKind::Stage(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FILE: &[Field] = &[
        Field {
            name: "path",
            kind: FieldKind::Path,
            default: Default::Required,
            role: Role::Operational,
            doc: "",
        },
        Field {
            name: "labels",
            kind: FieldKind::Text,
            default: Default::Absent,
            role: Role::Semantic,
            doc: "",
        },
    ];

    fn kept(field: Field, value: Json) -> Json {
        let config = Config::from_iter([(field.name.to_owned(), value)]);
        Json::Object(semantic(&[field], &config))
    }

    #[test]
    fn a_later_field_takes_part_when_it_is_set() {
        let field = Field {
            name: "flips",
            kind: FieldKind::List { of: &FieldKind::Text, len: None },
            default: Default::Json("[]"),
            role: Role::SemanticLater,
            doc: "",
        };
        assert_eq!(kept(field, json!([])), json!({}));
        assert_eq!(kept(field, json!(["d"])), json!({ "flips": ["d"] }));
    }

    #[test]
    fn names_in_a_list_of_stages_take_no_part() {
        let stages = FieldKind::List { of: &FieldKind::Stage(Kind::Model), len: None };
        let files = FieldKind::List { of: &FieldKind::Table(FILE), len: None };
        for kinds in [[stages, files], [files, stages]] {
            let kinds: &'static [FieldKind] = Box::leak(Box::new(kinds));
            let field = Field {
                name: "model",
                kind: FieldKind::Either(kinds),
                default: Default::Required,
                role: Role::Semantic,
                doc: "",
            };
            assert_eq!(kept(field, json!(["a", "b"])), json!({ "model": ["stage", "stage"] }));
            let rest = json!({ "labels": "b" });
            assert_eq!(kept(field, json!([{ "path": "a", "labels": "b" }])), json!({ "model": [rest] }));
        }
    }

    #[test]
    fn paths_in_a_list_of_files_take_no_part() {
        let field = Field {
            name: "model",
            kind: FieldKind::Either(&[
                FieldKind::Table(FILE),
                FieldKind::List { of: &FieldKind::Table(FILE), len: None },
            ]),
            default: Default::Required,
            role: Role::Semantic,
            doc: "",
        };
        let (file, rest) = (json!({ "path": "a", "labels": "b" }), json!({ "labels": "b" }));
        assert_eq!(kept(field, file.clone()), json!({ "model": rest }));
        assert_eq!(kept(field, json!([file, file])), json!({ "model": [rest, rest] }));
    }
}
