//! Every default is a value of its own field.

use super::fields::Checker;
use super::tree::{Origin, Table};
use super::*;
use crate::operators::spec::{Default, Field, FieldKind};

/// Leaves each field out by itself; those of nested tables too.
fn leave_out(owner: &str, fields: &[Field]) {
    for field in fields {
        if matches!(field.default, Default::Json(_)) {
            let files = Files::new(Path::new("/"));
            let mut checker = Checker::new(&files);
            let empty = Table::new(Origin::Inline);
            let config = checker.table(&empty, Span::new(0, 0, 0), owner, &[*field], &[]);
            assert!(config.is_some(), "`{}` of {owner}: {:?}", field.name, checker.found);
        }
        nested(owner, &field.kind);
    }
}

fn nested(owner: &str, kind: &FieldKind) {
    match kind {
        FieldKind::Table(fields) => leave_out(owner, fields),
        FieldKind::Tagged(variants) => variants.iter().for_each(|(_, fields)| leave_out(owner, fields)),
        FieldKind::List { of, .. } | FieldKind::Map(of) => nested(owner, of),
        FieldKind::Either(kinds) => kinds.iter().for_each(|kind| nested(owner, kind)),
        _ => {}
    }
}

#[test]
fn every_default_satisfies_its_own_field() {
    leave_out("pipeline", SETTINGS);
    leave_out("operators", COMMON);
    for entry in Registry::builtin().entries() {
        leave_out(entry.spec.name, entry.spec.fields);
    }
}
