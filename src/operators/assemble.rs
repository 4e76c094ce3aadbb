//! Instances to a scan: ordered slices on one geometry.

use super::registry::{Entry, Stage};
use super::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "assemble",
    section: Section::Operators,
    summary: "Instances of a series to one scan, or a named reason why not.",
    doc: "Slices ascend along row × column of ImageOrientationPatient; the spacing comes from positions, \
          never from SliceThickness. Intensities are rescaled slice by slice (HU for CT). A gantry tilt is \
          kept as a sheared grid. What cannot be assembled safely is refused by name, a row in `rejects`.",
    version: 1,
    inputs: &[Port { name: "instances", accepts: &[Kind::Instances], many: false }],
    output: Output::Is(Kind::Scan),
    aspects: Aspects::Both,
    fields: &[Field {
        name: "on_gap",
        kind: FieldKind::Choice(&["reject"]),
        default: Default::Json("\"reject\""),
        role: Role::Semantic,
        doc: "What happens to a series with a missing slice: it is refused as `MISSING_SLICE`.",
    }],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// How series become scans.
#[derive(Clone, Copy, Debug)]
pub struct Assemble {}

fn build(_config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Assemble(Assemble {}))
}
