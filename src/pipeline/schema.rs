//! The JSON Schema of pipeline files, for editors: from the same declarations as the checker.

use serde_json::{Map, Value as Json, json};

use super::describe;
use super::settings;
use super::shape::is_scalar;
use super::suggest::listed;
use super::wiring::kinds;
use crate::operators::registry::Registry;
use crate::operators::spec::{Default, Field, FieldKind, Port, Role, Section, Spec};

/// The schema (draft 2020-12) of a whole pipeline file with the types of a registry.
pub fn schema(registry: &Registry) -> Json {
    let mut properties = Map::new();
    properties.insert(
        "pipeline".to_owned(),
        object("What the whole pipeline has in common.", settings::FIELDS, Map::new()),
    );
    let mut definitions = Map::new();
    properties.insert(
        "extends".to_owned(),
        json!({
            "type": "string",
            "description": "The pipeline file that this one says the differences from, relative to its own folder.",
        }),
    );
    properties.insert(
        "without".to_owned(),
        json!({
            "type": "array",
            "items": { "type": "string" },
            "description": "Keys of that file which are left out, with dots.",
        }),
    );
    properties.insert(
        "sweep".to_owned(),
        json!({
            "type": "object",
            "description": "Fields of stages, each with a list of values: what depends on them runs for each combination.",
        }),
    );
    for section in Section::ALL {
        let mut stages = Vec::new();
        for entry in registry.entries().filter(|entry| entry.spec.section == section) {
            let name = format!("{}.{}", section.name(), entry.spec.name);
            stages.push(json!({ "$ref": format!("#/$defs/{name}") }));
            definitions.insert(name, stage(entry.spec));
        }
        properties.insert(
            section.name().to_owned(),
            json!({
                "type": "object",
                "description": section_doc(section),
                "propertyNames": { "pattern": "^[A-Za-z0-9_-]+$" },
                // A stage of the file that is extended may say what differs without its type.
                "additionalProperties": {
                    "if": { "required": ["type"] },
                    "then": { "oneOf": stages },
                    "else": { "type": "object" },
                },
            }),
        );
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tomoflow pipeline",
        "description": "A pipeline file of tomoflow.",
        "type": "object",
        "properties": properties,
        // What is required may stand in the file that is extended.
        "anyOf": [{ "required": ["pipeline"] }, { "required": ["extends"] }],
        "additionalProperties": false,
        "$defs": definitions,
    })
}

fn section_doc(section: Section) -> &'static str {
    match section {
        Section::Sources => "Where data comes from.",
        Section::Operators => "What is done with it, each stage from the output of others.",
        Section::Sinks => "Which tables keep the results.",
    }
}

fn stage(spec: &Spec) -> Json {
    let mut properties = Map::new();
    properties.insert("type".to_owned(), json!({ "const": spec.name, "description": spec.summary }));
    if !spec.inputs.is_empty() {
        properties.insert("inputs".to_owned(), inputs(spec.inputs));
    }
    if spec.section == Section::Operators {
        properties.extend(settings::COMMON.iter().map(|one| (one.name.to_owned(), field(one))));
    }
    let mut schema = object(&format!("{}\n\n{}", spec.summary, spec.doc), spec.fields, properties);
    if let Some(required) = schema.get_mut("required").and_then(Json::as_array_mut) {
        required.insert(0, json!("type"));
        if !spec.inputs.is_empty() {
            required.insert(1, json!("inputs"));
        }
    }
    schema
}

fn inputs(ports: &[Port]) -> Json {
    let each: Vec<_> = ports.iter().map(|port| format!("{} ({})", port.name, kinds(port.accepts))).collect();
    let mut schema = json!({
        "type": "array",
        "description": format!("The names of the stages that give {}.", listed(&each, "and")),
        "items": { "type": "string" },
        "uniqueItems": true,
        "minItems": ports.len(),
    });
    if !ports.iter().any(|port| port.many) {
        schema["maxItems"] = json!(ports.len());
    }
    schema
}

/// A table with fields, behind properties that it has already.
fn object(description: &str, fields: &[Field], mut properties: Map<String, Json>) -> Json {
    properties.extend(fields.iter().map(|one| (one.name.to_owned(), field(one))));
    let required: Vec<_> = fields
        .iter()
        .filter(|field| matches!(field.default, Default::Required))
        .map(|field| field.name)
        .collect();
    json!({
        "type": "object",
        "description": description,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn field(field: &Field) -> Json {
    let mut schema = value(&field.kind);
    let role = match field.role {
        Role::Semantic | Role::SemanticLater => "Results depend on it.",
        Role::Operational => "Results do not depend on it.",
    };
    schema["description"] = json!(format!("{} {role}", field.doc));
    if let Default::Json(text) = field.default
        && let Ok(default) = serde_json::from_str::<Json>(text)
    {
        schema["default"] = default;
    }
    schema
}

fn value(kind: &FieldKind) -> Json {
    match kind {
        FieldKind::Bool => json!({ "type": "boolean" }),
        FieldKind::Integer { min, max } => {
            let mut schema = json!({ "type": "integer" });
            if *min != i64::MIN {
                schema["minimum"] = json!(min);
            }
            if *max != i64::MAX {
                schema["maximum"] = json!(max);
            }
            schema
        }
        FieldKind::Number { min, max, .. } => {
            let mut schema = json!({ "type": "number" });
            if describe::is_above_zero(*min) {
                schema["exclusiveMinimum"] = json!(0);
            } else if *min > f64::MIN {
                schema["minimum"] = json!(min);
            }
            if *max < f64::MAX {
                schema["maximum"] = json!(max);
            }
            schema
        }
        FieldKind::Text => json!({ "type": "string" }),
        FieldKind::Stage(_) => json!({ "type": "string", "title": describe::one(kind) }),
        FieldKind::Path => json!({ "type": "string", "minLength": 1 }),
        FieldKind::Bytes => {
            json!({ "type": "string", "pattern": r"^\s*[0-9.]+\s*([kKmMgGtT][iI]?)?[bB]\s*$" })
        }
        FieldKind::Duration => {
            json!({ "type": "string", "pattern": r"^\s*([0-9.]+\s*[A-Za-z]+\s*)+$" })
        }
        FieldKind::Choice(words) => json!({ "type": "string", "enum": words }),
        FieldKind::List { of, len } => {
            let mut schema = json!({ "type": "array", "items": value(of) });
            if let Some(len) = len {
                schema["minItems"] = json!(len);
                schema["maxItems"] = json!(len);
            } else if is_scalar(of) {
                return json!({ "anyOf": [schema, value(of)] });
            }
            schema
        }
        FieldKind::Map(of) => json!({ "type": "object", "additionalProperties": value(of) }),
        FieldKind::Table(fields) => object("", fields, Map::new()),
        FieldKind::Tagged(variants) => {
            let names: Vec<&str> = variants.iter().map(|(name, _)| *name).collect();
            let mut each: Vec<_> = variants.iter().map(|(name, fields)| variant(name, fields)).collect();
            each.push(json!({ "type": "string", "enum": names }));
            json!({ "oneOf": each })
        }
        FieldKind::Either(kinds) => json!({ "anyOf": kinds.iter().map(value).collect::<Vec<_>>() }),
    }
}

fn variant(name: &str, fields: &[Field]) -> Json {
    let tag = Map::from_iter([("type".to_owned(), json!({ "const": name }))]);
    let mut schema = object("", fields, tag);
    if let Some(required) = schema.get_mut("required").and_then(Json::as_array_mut) {
        required.insert(0, json!("type"));
    }
    schema
}
