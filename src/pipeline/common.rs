//! The fields of `[pipeline]`, and those that every operator may carry.

use crate::operators::spec::{Default, Field, FieldKind, Role};

/// The fields of `[pipeline]`.
pub const FIELDS: &[Field] = &[
    Field {
        name: "name",
        kind: FieldKind::Text,
        default: Default::Required,
        role: Role::Operational,
        doc: "The name by which logs and the report call this pipeline.",
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
        doc: "The number of bytes that actions may hold at once, and that reading files may: a file that needs more is \
              refused by name.",
    },
    Field {
        name: "device",
        kind: FieldKind::Text,
        default: Default::Json("\"auto\""),
        role: Role::Operational,
        doc: "The device that networks run on: `auto`, `cpu`, `cuda` or one GPU as `cuda:0`, `cuda:1`, …",
    },
    Field {
        name: "identifiers",
        kind: FieldKind::Choice(&["pseudonymous", "clear"]),
        default: Default::Json("\"pseudonymous\""),
        role: Role::Operational,
        doc: "Whether tables show identifiers as a keyed hash or as they are in the files.",
    },
    Field {
        name: "free_text",
        kind: FieldKind::Choice(&["keep", "drop"]),
        default: Default::Json("\"keep\""),
        role: Role::Operational,
        doc: "Whether tables hold text that people typed at the scanner or a workstation and that may name a patient: the \
              series' description, and the messages of `rejects`, which quote what was found (`tomoflow rejects` shows them \
              all the same).",
    },
    Field {
        name: "allowed_rejects",
        kind: FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        default: Default::Json("0.5"),
        role: Role::Operational,
        doc: "The share of series that may be rejected before the exit code is 1.",
    },
    Field {
        name: "metrics",
        kind: FieldKind::Text,
        default: Default::Absent,
        role: Role::Operational,
        doc: "The loopback address at which a run gives its metrics to Prometheus, such as `127.0.0.1:9464`.",
    },
    Field {
        name: "workers",
        kind: FieldKind::Text,
        default: Default::Absent,
        role: Role::Operational,
        doc: "The address at which a run lets workers join (`tomoflow work`), such as `0.0.0.0:7400`; `--listen` goes before \
              it. A token is needed where other machines reach it.",
    },
    Field {
        name: "settle",
        kind: FieldKind::Duration,
        default: Default::Json("\"10s\""),
        role: Role::Operational,
        doc: "The time for which a series must be quiet before `run --watch` works on it.",
    },
    Field {
        name: "rescan",
        kind: FieldKind::Duration,
        default: Default::Json("\"60s\""),
        role: Role::Operational,
        doc: "The time after which `run --watch` looks at all files again, for changes that the system did not report.",
    },
];

/// How often is tried again when nobody says otherwise.
pub(super) const RETRIES: u32 = 2;

/// The fields that every operator may carry.
pub const COMMON: &[Field] = &[
    Field {
        name: "keep",
        kind: FieldKind::Bool,
        default: Default::Json("false"),
        role: Role::Operational,
        doc: "Whether the operator's output is kept even where nothing downstream needs it on disk.",
    },
    Field {
        name: "timeout",
        kind: FieldKind::Duration,
        default: Default::Absent,
        role: Role::Operational,
        doc: "The time that an action may take; one that takes longer becomes a row of `rejects`, TIMEOUT. \
              Operators that run in one go take it from the last of them that says so.",
    },
    Field {
        name: "retries",
        kind: FieldKind::Integer { min: 0, max: 10 },
        default: Default::Json("2"),
        role: Role::Operational,
        doc: "The number of times that an action which failed for a passing reason is tried again.",
    },
];
