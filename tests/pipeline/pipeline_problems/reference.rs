//! The schema and the reference say what the checker checks.

use expect_test::expect;
use serde_json::Value as Json;
use tomoflow::operators::registry::Registry;
use tomoflow::operators::spec::{Default, Field, FieldKind, Section};
use tomoflow::pipeline::{COMMON, SETTINGS, page, reference, schema};

use super::registry::registry;

/// Whether a value fits a schema, for the keywords that ours use.
fn fits(root: &Json, schema: &Json, value: &Json) -> bool {
    if let Some(path) = schema["$ref"].as_str() {
        return fits(root, root.pointer(path.trim_start_matches('#')).unwrap(), value);
    }
    let each = |name: &str| schema[name].as_array().into_iter().flatten();
    let of_type = |word: &str| match word {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("unknown type {other}"),
    };
    let length = value.as_array().map(|items| items.len() as u64);
    let number = value.as_f64();
    schema["type"].as_str().is_none_or(of_type)
        && (schema["const"].is_null() || schema["const"] == *value)
        && (schema["enum"].is_null() || each("enum").any(|word| word == value))
        && (schema["oneOf"].is_null() || each("oneOf").filter(|one| fits(root, one, value)).count() == 1)
        && (schema["anyOf"].is_null() || each("anyOf").any(|one| fits(root, one, value)))
        && (schema["if"].is_null()
            || fits(root, &schema[if fits(root, &schema["if"], value) { "then" } else { "else" }], value))
        && schema["minItems"].as_u64().zip(length).is_none_or(|(least, length)| length >= least)
        && schema["maxItems"].as_u64().zip(length).is_none_or(|(most, length)| length <= most)
        && schema["minimum"].as_f64().zip(number).is_none_or(|(least, number)| number >= least)
        && schema["exclusiveMinimum"].as_f64().zip(number).is_none_or(|(bound, number)| number > bound)
        && schema["maximum"].as_f64().zip(number).is_none_or(|(most, number)| number <= most)
        && value.as_array().into_iter().flatten().all(|item| fits(root, &schema["items"], item))
        && each("required").all(|name| !value[name.as_str().unwrap()].is_null())
        && value.as_object().into_iter().flatten().all(|(name, value)| match &schema["properties"][name] {
            Json::Null => match &schema["additionalProperties"] {
                Json::Bool(allowed) => *allowed,
                other => fits(root, other, value),
            },
            property => fits(root, property, value),
        })
}

/// A pipeline as the JSON that a TOML editor checks.
fn sound() -> Json {
    serde_json::json!({
        "pipeline": { "name": "vs", "out": "results", "memory": "6 GiB", "metrics": "127.0.0.1:0",
            "settle": "5s", "rescan": "10m" },
        "sources": { "scans": { "type": "archive", "path": "a", "where": { "Modality": ["MR", "CT"] } } },
        "operators": {
            "volume": { "type": "volume", "inputs": ["scans"], "on_gap": "split" },
            "net": { "type": "train", "inputs": ["volume"], "network": { "type": "unet", "levels": 3 } },
            "segment": { "type": "infer", "inputs": ["volume"], "model": { "torchscript": "a" }, "keep": true,
                "timeout": "1h", "retries": 0 },
        },
        "sinks": { "masks": { "type": "tables", "inputs": ["segment", "net"] } },
    })
}

#[test]
fn the_schema_takes_a_sound_pipeline_and_refuses_others() {
    let schema = schema(&registry());
    assert!(fits(&schema, &schema, &sound()));
    let wrong = [
        ("/pipeline/name", Json::Null),
        ("/pipeline/memory", 6.into()),
        ("/sources/scans/type", "archve".into()),
        ("/sources/scans/where/Modality", 3.into()),
        ("/operators/volume/on_gap", "splt".into()),
        ("/operators/volume/inputs", Json::Array(vec![])),
        ("/operators/net/network/levels", 9.into()),
        ("/operators/net/network/type", "linear".into()),
        ("/operators/segment/keep", "yes".into()),
        ("/operators/segment/timeout", 60.into()),
        ("/operators/segment/retries", 11.into()),
        ("/pipeline/settle", 10.into()),
        ("/operators/segment/model", 3.into()),
        ("/sinks/masks/inputs", "segment".into()),
    ];
    for (path, value) in wrong {
        let mut pipeline = sound();
        *pipeline.pointer_mut(path).unwrap() = value;
        assert!(!fits(&schema, &schema, &pipeline), "{path}");
    }
}

#[test]
fn the_schema_of_the_builtin_types_is_whole() {
    let schema = schema(&Registry::builtin());
    let definitions = schema["$defs"].as_object().unwrap();
    assert_eq!(definitions.len(), Registry::builtin().entries().count());
    for section in Section::ALL {
        let stages = &schema["properties"][section.name()]["additionalProperties"]["then"]["oneOf"];
        for stage in stages.as_array().unwrap() {
            let path = stage["$ref"].as_str().unwrap();
            let definition = schema.pointer(path.trim_start_matches('#')).unwrap();
            assert_eq!(definition["additionalProperties"], false, "{path}");
            assert!(definition["description"].as_str().is_some_and(|text| text.len() > 20), "{path}");
        }
    }
}

/// Every default of these fields, nested ones too, against the field's own schema.
fn defaults(owner: &str, fields: &[Field]) -> usize {
    let mut checked = 0;
    for field in fields {
        assert!(!field.doc.is_empty(), "`{}` of `{owner}` has no doc", field.name);
        if let Default::Json(text) = field.default {
            let default = serde_json::from_str::<Json>(text);
            assert!(default.is_ok(), "the default of `{}` of `{owner}` is not JSON: {text}", field.name);
            checked += 1;
        }
        checked += match field.kind {
            FieldKind::Table(fields) => defaults(owner, fields),
            FieldKind::Tagged(variants) => variants.iter().map(|(name, fields)| defaults(name, fields)).sum(),
            _ => 0,
        };
    }
    checked
}

#[test]
fn defaults_are_json_and_fit_their_schema() {
    let registry = Registry::builtin();
    let schema = schema(&registry);
    let mut checked = defaults("pipeline", SETTINGS) + defaults("operators", COMMON);
    for entry in registry.entries() {
        checked += defaults(entry.spec.name, entry.spec.fields);
        let definition = &schema["$defs"][format!("{}.{}", entry.spec.section.name(), entry.spec.name)];
        for (name, property) in definition["properties"].as_object().unwrap() {
            if let Some(default) = property.get("default").filter(|default| !default.is_null()) {
                assert!(fits(&schema, property, default), "`{name}` of `{}`: {default}", entry.spec.name);
            }
        }
    }
    assert!(checked > 5);
}

#[test]
fn a_page_tells_ports_fields_and_versions() {
    expect![[r###"
        ## `train`

        A type for tests.

        It does nothing.

        - takes cases as `cases`
        - gives a model
        - code version 1

        | Field | Takes | Default | Results depend on it | Meaning |
        | --- | --- | --- | --- | --- |
        | `network` | a table with the `type` `unet` or `linear` | `{ "type": "unet" }` | yes | The architecture. |
        | `network(unet).levels` | a whole number from 1 to 8 | `4` | yes | Resolutions, the finest included. |
        | `network(unet).dims` | `2d`, `2.5d` or `3d` | `"3d"` | yes | Axes of a convolution. |
        | `epochs` | a whole number of at least 1 | `100` | yes | Passes over the training cases. |
        | `rate` | a number from 0 to 1 | `1` | yes | Step size of the optimiser. |
        | `split` | a table with `seed` and `test` | absent | yes | Cases by purpose. |
        | `split.seed` | a whole number of at least 0 | `0` | yes | A number. |
        | `split.test` | a whole number of at least 0 | required | yes | Cases. |
        | `cache` | a size such as `"256 MiB"` | `"1 GiB"` | no | Bytes of prepared samples. |
        | `resume` | `true` or `false` | `true` | no | Whether a run goes on where it ended. |
    "###]].assert_eq(&page(registry().get("train").unwrap().spec));
}

#[test]
fn the_reference_has_a_page_for_every_type() {
    let registry = Registry::builtin();
    let text = reference(&registry);
    for entry in registry.entries() {
        assert_eq!(text.matches(&format!("\n## `{}`\n", entry.spec.name)).count(), 1, "{}", entry.spec.name);
    }
    // Rows of one table have one number of cells.
    for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
        let cells = |row: &str| row.replace("\\|", "").matches('|').count();
        let first = cells(table.lines().next().unwrap());
        assert!(table.lines().filter(|line| line.starts_with('|')).all(|row| cells(row) == first), "{table}");
    }
}
