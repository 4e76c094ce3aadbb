//! A pipeline written in Rust: it becomes TOML, and goes the way that every file goes.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::{Plan, Problems, parse};
use crate::operators::registry::Registry;
use crate::operators::spec::Section;

/// A pipeline that is being written.
///
/// # Examples
/// ```
/// use serde_json::json;
/// use tomoflow::operators::registry::Registry;
/// use tomoflow::pipeline::Draft;
///
/// let plan = Draft::new("bright", "results")
///     .source("scans", "dicom", json!({ "path": "archive" }))
///     .operator("volume", "assemble", &["scans"], json!({}))
///     .operator("bright", "threshold", &["volume"], json!({ "above": 300 }))
///     .sink("masks", "delta", &["bright"], json!({}))
///     .check(".".as_ref(), &Registry::builtin())
///     .unwrap();
/// assert_eq!(plan.stages.len(), 4);
/// ```
#[derive(Clone, Debug)]
pub struct Draft {
    text: String,
}

impl Draft {
    /// A pipeline with a name, and the folder for store and tables.
    pub fn new(name: &str, out: &str) -> Self {
        let mut draft = Self { text: "[pipeline]\n".to_owned() };
        draft.write("name", &Value::from(name));
        draft.write("out", &Value::from(out));
        draft
    }

    /// Sets a value of the `[pipeline]` table; before the first stage.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.write(key, &value.into());
        self
    }

    /// Adds a source.
    #[must_use]
    pub fn source(self, name: &str, kind: &str, fields: Value) -> Self {
        self.stage(Section::Sources, name, kind, &[], fields)
    }

    /// Adds an operator on the outputs of other stages.
    #[must_use]
    pub fn operator(self, name: &str, kind: &str, inputs: &[&str], fields: Value) -> Self {
        self.stage(Section::Operators, name, kind, inputs, fields)
    }

    /// Adds a sink.
    #[must_use]
    pub fn sink(self, name: &str, kind: &str, inputs: &[&str], fields: Value) -> Self {
        self.stage(Section::Sinks, name, kind, inputs, fields)
    }

    /// The pipeline as a file would hold it.
    pub fn toml(&self) -> &str {
        &self.text
    }

    /// Checks it; paths are relative to `base`.
    ///
    /// # Errors
    /// Every problem, located in [`Draft::toml`].
    pub fn check(&self, base: &Path, registry: &Registry) -> Result<Plan, Problems> {
        parse("draft", &self.text, base, &[], registry)
    }

    fn stage(mut self, section: Section, name: &str, kind: &str, inputs: &[&str], fields: Value) -> Self {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "\n[{}.{}]\n", section.name(), key(name));
        self.write("type", &Value::from(kind));
        if !inputs.is_empty() {
            self.write("inputs", &Value::from(inputs.to_vec()));
        }
        for (name, value) in fields.as_object().into_iter().flatten() {
            self.write(name, value);
        }
        self
    }

    fn write(&mut self, name: &str, value: &Value) {
        let _ = writeln!(self.text, "{} = {}", key(name), inline(value));
    }
}

/// A bare key where TOML allows it, a quoted one elsewhere.
pub(super) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { inline(&Value::from(name)) }
}

/// A value in TOML; JSON's strings, numbers and lists are TOML's too.
pub(super) fn inline(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let fields: Vec<String> =
                table.iter().map(|(name, value)| format!("{} = {}", key(name), inline(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        // JSON escapes what TOML escapes, but for DEL, which TOML wants escaped as well.
        other => other.to_string().replace('\u{7f}', "\\u007f"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_tables_and_odd_names_are_quoted() {
        assert_eq!(
            inline(&json!({ "where": { "Series Description": ["*t2*", "a\"b"] }, "n": 1.5 })),
            r#"{ where = { "Series Description" = ["*t2*", "a\"b"] }, n = 1.5 }"#
        );
    }

    #[test]
    fn problems_are_located_in_the_text() {
        let draft = Draft::new("x", "out").source("scans", "dicomm", json!({ "path": "." }));
        let problems = draft.check(".".as_ref(), &Registry::builtin()).unwrap_err();
        assert!(problems.to_string().contains("draft:6"), "{problems}");
    }
}
