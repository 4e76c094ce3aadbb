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
    doc: "Only the operations that are named are done, each with `probability` on its own, in the order of \
          the fields below; validation samples stay as they are. The changes of a sample depend only on the \
          training's seed, the case's content, the epoch and the number of the sample in its case: not on \
          threads or other cases, and adding an operation does not change the random numbers of the others. \
          Of several `augment` stages in a row, the first that turns, scales or displaces a sample does so, \
          and no other.\n\n\
          A turned, scaled or displaced sample is interpolated from the volume itself in one step \
          (intensities linearly, classes by the nearest voxel), so that no window has empty corners where \
          the volume goes on. In stacks and bags the movements stay within the slices, alike for all \
          channels. The channels of a scan are changed by the same numbers, `gamma` and `noise` each by its \
          own range and deviation.\n\n\
          `gamma` and `low_resolution` follow nnU-Net, `bias_field` follows TorchIO.",
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
        "The largest angle by which samples are turned about each of the axes `[D, H, W]`, in either \
         direction, in degrees; stacks and bags are turned about D alone.",
    ),
    optional(
        "scale",
        FieldKind::List { of: &ZOOM, len: Some(2) },
        "The least and the greatest factor by which samples are enlarged: `[0.7, 1.4]`.",
    ),
    optional(
        "elastic_mm",
        LENGTH_MM,
        "The standard deviation of random displacements of the points of a grid, in mm; voxels between the \
         points are displaced by cubic B-splines.",
    ),
    Field {
        name: "elastic_grid_mm",
        kind: FieldKind::Number { min: 1.0, max: 1000.0, unit: "mm" },
        default: Default::Json("32.0"),
        role: Role::Semantic,
        doc: "The distance between the grid points of `elastic_mm`, in mm; at most 64 points lie along an \
              axis of the window.",
    },
    optional(
        "bias_field",
        FieldKind::Number { min: 0.0, max: 10.0, unit: "" },
        "The largest coefficient of a polynomial of degree 3 by whose exponential intensities are multiplied.",
    ),
    optional(
        "gamma",
        FieldKind::List { of: &ZOOM, len: Some(2) },
        "The least and the greatest exponent of a gamma correction, applied to intensities scaled to 0 to 1.",
    ),
    optional(
        "slice_mm",
        FieldKind::List { of: &LENGTH_MM, len: Some(2) },
        "The least and the greatest thickness, in mm, of the slices that a patch is made to look like.",
    ),
    optional(
        "blur_mm",
        FieldKind::List { of: &LENGTH_MM, len: Some(2) },
        "The least and the greatest standard deviation, in mm, of the Gaussian by which intensities are \
         smoothed.",
    ),
    optional(
        "low_resolution",
        FieldKind::List { of: &FieldKind::Number { min: 0.1, max: 1.0, unit: "" }, len: Some(2) },
        "The least and the greatest share of voxels along each axis to which a sample is downsampled, before \
         it is upsampled again.",
    ),
    optional(
        "noise",
        FieldKind::List { of: &FieldKind::Number { min: 0.0, max: 10.0, unit: "" }, len: Some(2) },
        "The least and the greatest standard deviation of added noise, as a share of the sample's own.",
    ),
    optional(
        "flip",
        FieldKind::List { of: &FieldKind::Choice(&["d", "h", "w"]), len: None },
        "The axes along which samples are mirrored, each with a probability of one half, whatever \
         `probability` says.",
    ),
    Field {
        name: "probability",
        kind: FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
        default: Default::Json("0.2"),
        role: Role::Semantic,
        doc: "The share of samples that each operation changes, except `flip`.",
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
