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
        doc: "The folder for the store, the tables and the report, by its path relative to the pipeline file.",
    },
    Field {
        name: "memory",
        kind: FieldKind::Bytes,
        default: Default::Json("\"4 GiB\""),
        role: Role::Operational,
        doc: "The memory that actions may hold at once, and likewise the memory for reading files; a file \
              that needs more is refused by name.",
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
        doc: "The form of identifiers in tables: a keyed hash (`pseudonymous`), or as they are in the files \
              (`clear`).",
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
        doc: "The share of series that may be rejected; with a greater share the exit code is 1.",
    },
    Field {
        name: "metrics",
        kind: FieldKind::Text,
        default: Default::Absent,
        role: Role::Operational,
        doc: "The loopback address at which Prometheus can read the metrics of a run, such as \
              `127.0.0.1:9464`; when it is left out, there is none.",
    },
    Field {
        name: "workers",
        kind: FieldKind::Text,
        default: Default::Absent,
        role: Role::Operational,
        doc: "The address at which workers can join a run (`tomoflow work`), such as `0.0.0.0:7400`; the \
              option `--listen` overrides it. A token is needed if other machines can reach the address.",
    },
    Field {
        name: "settle",
        kind: FieldKind::Duration,
        default: Default::Json("\"10s\""),
        role: Role::Operational,
        doc: "The time for which the files of a series must not change before `run --watch` works on it.",
    },
    Field {
        name: "rescan",
        kind: FieldKind::Duration,
        default: Default::Json("\"60s\""),
        role: Role::Operational,
        doc: "The interval at which `run --watch` looks at all files again, for changes that the file system \
              did not report.",
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
        doc: "The time that an action may take; one that takes longer is given up and becomes a row \
              `TIMEOUT` in `rejects`. Operators that run together in one action take the timeout of the last \
              of them that has one.",
    },
    Field {
        name: "retries",
        kind: FieldKind::Integer { min: 0, max: 10 },
        default: Default::Json("2"),
        role: Role::Operational,
        doc: "The number of times that an action which failed for a passing reason is tried again.",
    },
];
