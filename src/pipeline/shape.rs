//! The TOML shape of values: what is written in brackets or braces, and what is not.

use super::tree::Value;
use crate::operators::spec::FieldKind;

/// Whether values of a kind are written without brackets.
pub(super) fn is_scalar(kind: &FieldKind) -> bool {
    matches!(
        kind,
        FieldKind::Integer { .. }
            | FieldKind::Number { .. }
            | FieldKind::Text
            | FieldKind::Path
            | FieldKind::Choice(_)
            | FieldKind::Stage(_)
    )
}

/// Whether a value has the TOML shape of a kind.
pub(super) fn fits_shape(kind: &FieldKind, value: &Value) -> bool {
    match kind {
        FieldKind::Bool => matches!(value, Value::Bool(_)),
        FieldKind::Integer { .. } => matches!(value, Value::Integer(_)),
        FieldKind::Number { .. } => matches!(value, Value::Integer(_) | Value::Float(_)),
        FieldKind::Text
        | FieldKind::Path
        | FieldKind::Bytes
        | FieldKind::Duration
        | FieldKind::Choice(_)
        | FieldKind::Stage(_) => matches!(value, Value::Text(_)),
        FieldKind::List { .. } => matches!(value, Value::List(_)),
        FieldKind::Map(_) | FieldKind::Table(_) | FieldKind::Tagged(_) => matches!(value, Value::Table(_)),
        FieldKind::Either(kinds) => kinds.iter().any(|kind| fits_shape(kind, value)),
    }
}
