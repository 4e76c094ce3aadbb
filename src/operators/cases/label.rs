//! A scan and the outlines that refer to it: a case.

use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

/// The declaration of the type `label`.
pub static SPEC: Spec = Spec {
    name: "label",
    section: Section::Operators,
    summary: "Joins scans with the labels that refer to them, into cases.",
    doc: "Labels are matched to a scan by the SeriesInstanceUID that they refer to, or by the case's name; \
          series of images that are labels (`dicom_labels`) by their frame of reference and their grid. They are drawn on \
          the scan's own grid `[D, H, W]`. Labels that belong to no scan are rows \
          `LABEL_OF_NO_SCAN` in `rejects`. A scan without labels is a case without truth: it is segmented, \
          but neither trained on nor evaluated.",
    version: 1,
    inputs: &[
        Port { name: "scans", accepts: &[Kind::Scan], many: false },
        Port { name: "outlines", accepts: &[Kind::Outlines], many: false },
    ],
    output: Output::Is(Kind::Case),
    aspects: Aspects::Labels,
    fields: &[Field {
        name: "on_several",
        kind: FieldKind::Choice(&["reject", "newest"]),
        default: Default::Json("\"reject\""),
        role: Role::Semantic,
        doc: "What happens when several structure sets or label maps refer to one scan: its labels are \
              refused as `SEVERAL_LABELS` (`reject`), or the one with the newest date and time is taken \
              (`newest`); several of the same date are refused in either case. The date of a label map is \
              the time at which its file was last changed, which copying the file may alter.",
    }],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let newest = config.get("on_several").and_then(|word| word.as_str()) == Some("newest");
    Ok(Stage::Label { newest })
}
