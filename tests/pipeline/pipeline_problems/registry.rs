//! A small registry with a field of every kind, so that the checker's tests do not depend on what the
//! built-in types happen to declare.

use tomoflow::operators::registry::{Entry, Registry, Stage};
use tomoflow::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

const LENGTH: FieldKind = FieldKind::Number { min: f64::MIN_POSITIVE, max: f64::MAX, unit: "mm" };
const TEXTS: FieldKind = FieldKind::List { of: &FieldKind::Text, len: None };

const fn field(name: &'static str, kind: FieldKind, default: Default, doc: &'static str) -> Field {
    Field { name, kind, default, role: Role::Semantic, doc }
}

const fn port(name: &'static str, accepts: &'static [Kind]) -> Port {
    Port { name, accepts, many: false }
}

const BASE: Spec = Spec {
    name: "",
    section: Section::Operators,
    summary: "A type for tests.",
    doc: "It does nothing.",
    version: 1,
    inputs: &[],
    output: Output::Nothing,
    aspects: Aspects::Both,
    fields: &[],
};

static ARCHIVE: Spec = Spec {
    name: "archive",
    section: Section::Sources,
    output: Output::Is(Kind::Instances),
    fields: &[
        field("path", FieldKind::Path, Default::Required, "The folder, relative to the pipeline file."),
        field(
            "where",
            FieldKind::Map(&FieldKind::Either(&[FieldKind::Text, TEXTS])),
            Default::Json("{}"),
            "Patterns by DICOM keyword.",
        ),
    ],
    ..BASE
};

static OUTLINES: Spec = Spec {
    name: "outlines",
    section: Section::Sources,
    output: Output::Is(Kind::Outlines),
    fields: &[field("path", FieldKind::Path, Default::Required, "The folder.")],
    ..BASE
};

static VOLUME: Spec = Spec {
    name: "volume",
    inputs: &[port("instances", &[Kind::Instances])],
    output: Output::Is(Kind::Scan),
    fields: &[field(
        "on_gap",
        FieldKind::Choice(&["reject", "split"]),
        Default::Json("\"reject\""),
        "What happens to a series with a missing slice.",
    )],
    ..BASE
};

static LABEL: Spec = Spec {
    name: "label",
    inputs: &[port("scans", &[Kind::Scan]), port("outlines", &[Kind::Outlines])],
    output: Output::Is(Kind::Case),
    ..BASE
};

static RESAMPLE: Spec = Spec {
    name: "resample",
    inputs: &[port("cases", &[Kind::Scan, Kind::Case])],
    output: Output::SameAsInput,
    fields: &[field(
        "spacing",
        FieldKind::List { of: &LENGTH, len: Some(3) },
        Default::Required,
        "the order is [D, H, W], e.g. [1.5, 0.4, 0.4]",
    )],
    ..BASE
};

static TRAIN: Spec = Spec {
    name: "train",
    inputs: &[port("cases", &[Kind::Case])],
    output: Output::Is(Kind::Model),
    fields: &[
        field(
            "network",
            FieldKind::Tagged(&[
                (
                    "unet",
                    &[
                        field(
                            "levels",
                            FieldKind::Integer { min: 1, max: 8 },
                            Default::Json("4"),
                            "Resolutions, the finest included.",
                        ),
                        field(
                            "dims",
                            FieldKind::Choice(&["2d", "2.5d", "3d"]),
                            Default::Json("\"3d\""),
                            "Axes of a convolution.",
                        ),
                    ],
                ),
                ("linear", &[]),
            ]),
            Default::Json("{ \"type\": \"unet\" }"),
            "The architecture.",
        ),
        field(
            "epochs",
            FieldKind::Integer { min: 1, max: i64::MAX },
            Default::Json("100"),
            "Passes over the training cases.",
        ),
        field(
            "rate",
            FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
            Default::Json("1"),
            "Step size of the optimiser.",
        ),
        field(
            "split",
            FieldKind::Table(&[
                field("seed", FieldKind::Integer { min: 0, max: i64::MAX }, Default::Json("0"), "A number."),
                field("test", FieldKind::Integer { min: 0, max: i64::MAX }, Default::Required, "Cases."),
            ]),
            Default::Absent,
            "Cases by purpose.",
        ),
        Field {
            role: Role::Operational,
            ..field("cache", FieldKind::Bytes, Default::Json("\"1 GiB\""), "Bytes of prepared samples.")
        },
        Field {
            role: Role::Operational,
            ..field("resume", FieldKind::Bool, Default::Json("true"), "Whether a run goes on where it ended.")
        },
    ],
    ..BASE
};

static INFER: Spec = Spec {
    name: "infer",
    inputs: &[port("cases", &[Kind::Scan, Kind::Case])],
    output: Output::Is(Kind::Masks),
    fields: &[field(
        "model",
        FieldKind::Either(&[
            FieldKind::Stage(Kind::Model),
            FieldKind::Table(&[field(
                "torchscript",
                FieldKind::Path,
                Default::Required,
                "A TorchScript file.",
            )]),
        ]),
        Default::Required,
        "A stage that trains one, or a file.",
    )],
    ..BASE
};

static TABLES: Spec = Spec {
    name: "tables",
    section: Section::Sinks,
    inputs: &[Port { name: "rows", accepts: &[Kind::Masks, Kind::Metrics], many: true }],
    ..BASE
};

fn build(_: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Label { newest: false })
}

/// Fields that do not go together: a flat network with many levels.
fn build_train(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let network = &config["network"];
    if network["dims"] == "2d" && network["levels"].as_i64() > Some(5) {
        return Err(vec![FieldProblem::new(
            "network.levels",
            "`levels` is at most 5 with `dims = \"2d\"`",
            "take fewer levels, or `dims = \"3d\"`",
        )]);
    }
    build(config)
}

/// All types above.
pub fn registry() -> Registry {
    let mut registry = Registry::empty();
    for spec in [&ARCHIVE, &OUTLINES, &VOLUME, &LABEL, &RESAMPLE, &INFER, &TABLES] {
        registry.register(Entry { spec, build });
    }
    registry.register(Entry { spec: &TRAIN, build: build_train });
    registry
}

/// A file without problems, in which every type stands.
pub const SOUND: &str = r#"[pipeline]
name = "vs"
out = "results"

[sources.scans]
type = "archive"
path = "archive"
where = { Modality = "MR", SeriesDescription = ["*t2*", "*T2*"] }

[sources.lines]
type = "outlines"
path = "/data/outlines"

[operators.assembled]
type = "volume"
inputs = ["scans"]

[operators.case]
type = "label"
inputs = ["assembled", "lines"]

[operators.fine]
type = "resample"
inputs = ["case"]
spacing = [1, 0.5, 0.5]

[operators.net]
type = "train"
inputs = ["fine"]
network = { type = "unet", levels = 3 }

[operators.segment]
type = "infer"
inputs = ["fine"]
model = "net"
keep = true

[sinks.masks]
type = "tables"
inputs = ["segment"]
"#;
