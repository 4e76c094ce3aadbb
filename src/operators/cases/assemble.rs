//! Instances to a scan: ordered slices on one geometry.

use tomoflow_connectors::dicom::{OnGap, OnUneven, Rules};

use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

/// The declaration of the type `assemble`.
pub static SPEC: Spec = Spec {
    name: "assemble",
    section: Section::Operators,
    summary: "Assembles the DICOM instances of a series into a scan, or refuses the series for a named \
              reason.",
    doc: "Slices ascend along the normal of the slices, row × column of ImageOrientationPatient; the spacing \
          comes from their positions, never from SliceThickness. Intensities are rescaled slice by slice (HU \
          for CT). A gantry tilt is kept as a sheared grid. A series that cannot be assembled safely is \
          refused, as a row in `rejects` that names the reason.\n\n\
          Planes that were interpolated are noted in `cases` (`MISSING_SLICE: 1 of 40 slice(s) \
          interpolated`, `VARIABLE_SPACING: resampled to 2.5 mm`); every slice that lies on a plane is kept \
          as it is. Labels are drawn where they lie, on slices and planes; an interpolated plane without \
          labels of its own takes those of the nearer slice, and a plane halfway between two slices those \
          that both have.",
    version: 1,
    inputs: &[Port { name: "instances", accepts: &[Kind::Instances], many: false }],
    output: Output::Is(Kind::Scan),
    aspects: Aspects::Both,
    fields: &[
        Field {
            name: "on_gap",
            kind: FieldKind::Choice(&["reject", "split", "interpolate"]),
            default: Default::Json("\"reject\""),
            role: Role::Semantic,
            doc: "What happens to a series with missing slices: it is refused as `MISSING_SLICE` (`reject`); \
                  each run of slices without a gap becomes a scan of its own (`split`); or the missing \
                  slices are interpolated linearly, if no more are missing than are there (`interpolate`).",
        },
        Field {
            name: "on_uneven",
            kind: FieldKind::Choice(&["reject", "resample"]),
            default: Default::Json("\"reject\""),
            role: Role::Semantic,
            doc: "What happens to a series whose slices are unevenly spaced although none is plainly \
                  missing: it is refused as `VARIABLE_SPACING` (`reject`); or it is resampled linearly to \
                  planes as far apart as most of its slices, if no gap is more than three times that \
                  distance (`resample`).",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let word = |field: &str| config.get(field).and_then(|word| word.as_str());
    let on_gap = match word("on_gap") {
        Some("split") => OnGap::Split,
        Some("interpolate") => OnGap::Interpolate,
        _ => OnGap::Reject,
    };
    let on_uneven = match word("on_uneven") {
        Some("resample") => OnUneven::Resample,
        _ => OnUneven::Reject,
    };
    Ok(Stage::Assemble(Rules { on_gap, on_uneven }))
}
