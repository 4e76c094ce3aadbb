//! Random changes of samples while a network trains.

pub mod changes;
mod intensity;
mod random;
mod warp;

use std::sync::Arc;

pub use changes::Augment;
pub use random::Source;
pub use warp::{Volume, Warp, Window};

use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

/// The declaration of the type `augment`.
pub static SPEC: Spec = Spec {
    name: "augment",
    section: Section::Operators,
    summary: "Changes samples at random, anew in each epoch (augmentation).",
    doc: "Only what is named is done, each with `probability` of its own, in the order of the list below; samples \
          to validate on stay as they are. The changes of a sample depend on the training's seed, the case's \
          content, the epoch and the number of the case's sample alone: not on threads, nor on other cases, and \
          one more operation leaves the others' numbers as they were. Of several of these in a row the first that \
          turns, scales or displaces a sample does so.\n\n\
          Turns, scales and displacements are read from the volume itself in one go (intensities linear, classes \
          nearest), so that no window has empty corners where the volume goes on. In stacks and bags they stay \
          within the slices, alike for all channels. The channels of a scan are changed by the same numbers, `gamma` \
          and `noise` each by its own range and deviation.\n\n\
          `gamma` and `low_resolution` are nnU-Net's, `bias_field` is TorchIO's.",
    version: 1,
    inputs: &[Port { name: "samples", accepts: &[Kind::Samples], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Both,
    fields: FIELDS,
};

const fn optional(name: &'static str, kind: FieldKind, doc: &'static str) -> Field {
    Field::absent(name, kind, Role::Semantic, doc)
}

const ZOOM: FieldKind = FieldKind::Number { min: 0.1, max: 10.0, unit: "" };
const LENGTH_MM: FieldKind = FieldKind::Number { min: 0.0, max: 1000.0, unit: "mm" };

const FIELDS: &[Field] = &[
    optional(
        "rotate_deg",
        FieldKind::List { of: &FieldKind::Number { min: 0.0, max: 180.0, unit: "degrees" }, len: Some(3) },
        "The largest angle that samples are turned by about `[D, H, W]`, either way; stacks and bags turn about D alone.",
    ),
    optional(
        "scale",
        FieldKind::List { of: &ZOOM, len: Some(2) },
        "The least and the greatest factor that samples are enlarged by: `[0.7, 1.4]`.",
    ),
    optional(
        "elastic_mm",
        LENGTH_MM,
        "The standard deviation of random displacements at grid points; between these, cubic B-splines displace voxels.",
    ),
    Field {
        name: "elastic_grid_mm",
        kind: FieldKind::Number { min: 1.0, max: 1000.0, unit: "mm" },
        default: Default::Json("32.0"),
        role: Role::Semantic,
        doc: "The distance between the grid points of `elastic_mm`; at most 64 of them lie along a window.",
    },
    optional(
        "bias_field",
        FieldKind::Number { min: 0.0, max: 10.0, unit: "" },
        "The largest coefficient of a polynomial of degree 3 by whose exponential intensities are multiplied.",
    ),
    optional(
        "gamma",
        FieldKind::List { of: &ZOOM, len: Some(2) },
        "The least and the greatest power that intensities, from their least to their most, are raised to.",
    ),
    optional(
        "slice_mm",
        FieldKind::List { of: &LENGTH_MM, len: Some(2) },
        "The least and the greatest thickness that slices of a patch are made to look like.",
    ),
    optional(
        "blur_mm",
        FieldKind::List { of: &LENGTH_MM, len: Some(2) },
        "The least and the greatest standard deviation of a Gaussian that intensities are smoothed by.",
    ),
    optional(
        "low_resolution",
        FieldKind::List { of: &FieldKind::Number { min: 0.1, max: 1.0, unit: "" }, len: Some(2) },
        "The least and the greatest share of voxels along each axis that are kept, before they are made up again.",
    ),
    optional(
        "noise",
        FieldKind::List { of: &FieldKind::Number { min: 0.0, max: 10.0, unit: "" }, len: Some(2) },
        "The least and the greatest standard deviation of added noise, as a share of the sample's own.",
    ),
    optional(
        "flip",
        FieldKind::List { of: &FieldKind::Choice(&["d", "h", "w"]), len: None },
        "The axes along which half of the samples are mirrored, each on its own, whatever `probability` says.",
    ),
    Field {
        name: "probability",
        kind: FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        default: Default::Json("0.2"),
        role: Role::Semantic,
        doc: "The share of samples that each operation changes.",
    },
];

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let augment: Augment = crate::operators::read_config(config)?;
    let ranges = [
        ("scale", augment.scale),
        ("gamma", augment.gamma),
        ("slice_mm", augment.slice_mm),
        ("blur_mm", augment.blur_mm),
        ("low_resolution", augment.low_resolution),
        ("noise", augment.noise),
    ];
    let upside_down = ranges.into_iter().filter_map(|(field, range)| {
        let [least, most] = range.filter(|[least, most]| least > most)?;
        let message = format!("the least and then the most expected, {least} and {most} found");
        Some(FieldProblem::new(field, message, "the smaller one comes first"))
    });
    let problems: Vec<_> = upside_down.collect();
    if problems.is_empty() { Ok(Stage::Augment(Arc::new(augment))) } else { Err(problems) }
}

#[cfg(test)]
mod tests;
