//! Values that hold others: lists, tables, and values of one of several kinds.

use serde_json::Value as Json;

use super::{At, Checker, ticked};
use crate::operators::spec::{Config, Field, FieldKind};
use crate::pipeline::problem::Found;
use crate::pipeline::shape::fits_shape;
use crate::pipeline::suggest::{listed, remedy};
use crate::pipeline::tree::{Node, Table, Value};

impl Checker<'_> {
    pub(super) fn list(&mut self, items: &[Node], of: &FieldKind, at: At) -> Option<Json> {
        let values: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.value(item, of, At { item: Some(index + 1), ..at }))
            .collect();
        values.into_iter().collect::<Option<Vec<_>>>().map(Json::Array)
    }

    pub(super) fn map(&mut self, table: &Table, of: &FieldKind, at: At) -> Option<Json> {
        let mut values = Some(Config::new());
        for (key, node) in &table.entries {
            let path = format!("{}.{}", at.path, key.name);
            let value = self.value(node, of, At { path: &path, doc: at.doc, item: None });
            match (&mut values, value) {
                (Some(values), Some(value)) => drop(values.insert(key.name.clone(), value)),
                _ => values = None,
            }
        }
        values.map(Json::Object)
    }

    /// A table whose `type` chooses its fields; in the configuration the `type` comes first.
    pub(super) fn tagged(
        &mut self,
        node: &Node,
        table: &Table,
        variants: &[(&str, &[Field])],
        at: At,
    ) -> Option<Json> {
        let names = variants.iter().map(|(name, _)| *name);
        let Some((_, tag)) = table.get("type") else {
            if !table.damaged {
                let choices = listed(&ticked(names), "or");
                let found = Found::new(node.span, format!("{} needs a `type`", at.name()));
                self.found.push(found.label("`type` is missing").hint(format!("it is {choices}")));
            }
            return None;
        };
        let word = match &tag.value {
            Value::Text(word) => word,
            Value::Broken => return None,
            other => {
                let choices = listed(&ticked(names), "or");
                let found = Found::new(tag.span, format!("`{}.type` takes {choices}", at.path));
                self.found.push(found.label(other.found()));
                return None;
            }
        };
        let Some((name, fields)) = variants.iter().find(|(name, _)| name == word) else {
            let found = Found::new(tag.span, format!("{} has no type `{word}`", at.name()));
            self.found.push(found.label("unknown type").hint(remedy(word, names, "")));
            return None;
        };
        let owner = format!("`{}` of type `{name}`", at.path);
        let config = self.fields(table, node.span, &owner, at.path, fields, &["type"])?;
        let mut tagged = Config::new();
        tagged.insert("type".to_owned(), Json::from(*name));
        tagged.extend(config);
        Some(Json::Object(tagged))
    }

    /// The first kind of this shape that has no problem, else the problems of the one with the fewest.
    pub(super) fn either(
        &mut self,
        node: &Node,
        either: &FieldKind,
        kinds: &[FieldKind],
        at: At,
    ) -> Option<Json> {
        let mut best: Option<Self> = None;
        for kind in kinds.iter().filter(|kind| fits_shape(kind, &node.value)) {
            let mut trial = Self::new(self.files);
            if let Some(value) = trial.value(node, kind, at) {
                self.references.append(&mut trial.references);
                return Some(value);
            }
            if best.as_ref().is_none_or(|best| trial.found.len() < best.found.len()) {
                best = Some(trial);
            }
        }
        match best {
            Some(mut best) => {
                self.found.append(&mut best.found);
                self.references.append(&mut best.references);
                None
            }
            None => self.misfit(node, either, at, node.value.found()),
        }
    }
}
