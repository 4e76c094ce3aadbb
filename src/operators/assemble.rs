//! Instances to a scan: ordered slices on one geometry.

use tomoflow_connectors::dicom::OnGap;

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
        kind: FieldKind::Choice(&["reject", "split"]),
        default: Default::Json("\"reject\""),
        role: Role::Semantic,
        doc: "What happens to a series with a missing slice: it is refused as `MISSING_SLICE`, or each run of slices without a gap is a scan of its own.",
    }],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// How series become scans.
#[derive(Clone, Copy, Debug)]
pub struct Assemble {
    /// What becomes of missing slices.
    pub on_gap: OnGap,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let split = config.get("on_gap").and_then(|word| word.as_str()) == Some("split");
    let on_gap = if split { OnGap::Split } else { OnGap::Reject };
    Ok(Stage::Assemble(Assemble { on_gap }))
}
