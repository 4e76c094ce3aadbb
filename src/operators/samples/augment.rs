//! Random changes of samples while a network trains.

mod intensity;
mod random;
mod warp;

use std::sync::Arc;

use rand::RngExt;
use serde::{Deserialize, Serialize};

pub use random::Source;
use warp::{Elastic, between};
pub use warp::{Volume, Warp, Window};

use crate::networks::sample::{Target, mirror};
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "augment",
    section: Section::Operators,
    summary: "Samples with random changes, other ones in each epoch.",
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

/// An axis of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// Slices.
    D,
    /// Rows.
    H,
    /// Columns.
    W,
}

/// Random changes; what is absent is not done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Augment {
    rotate_deg: Option<[f64; 3]>,
    scale: Option<[f64; 2]>,
    elastic_mm: Option<f64>,
    elastic_grid_mm: f64,
    bias_field: Option<f64>,
    gamma: Option<[f64; 2]>,
    slice_mm: Option<[f64; 2]>,
    blur_mm: Option<[f64; 2]>,
    low_resolution: Option<[f64; 2]>,
    noise: Option<[f64; 2]>,
    flip: Option<Vec<Axis>>,
    probability: f64,
}

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

/// Operations by the stream of random numbers that is theirs; never another number for one that is there.
#[derive(Clone, Copy)]
enum Operation {
    Rotate = 1,
    Scale,
    Elastic,
    BiasField,
    Gamma,
    Slices,
    Blur,
    LowResolution,
    Noise,
    Flip,
}

impl Augment {
    /// Whether an operation's turn has come, and its numbers.
    fn drawn(&self, source: &Source, operation: Operation) -> Option<rand_chacha::ChaCha8Rng> {
        let mut random = source.stream(operation as u64);
        random.random_bool(self.probability.clamp(0.0, 1.0)).then_some(random)
    }

    /// One number of a range, when the operation's turn has come.
    fn chosen(&self, source: &Source, operation: Operation, range: Option<[f64; 2]>) -> Option<f64> {
        let range = range?;
        self.drawn(source, operation).map(|mut random| between(&mut random, range))
    }

    /// What moves in a window; `None` when nothing does. `flat` samples move within their slices.
    pub fn warp(&self, source: &Source, window: &Window, flat: bool) -> Option<Warp> {
        let turned = self.rotate_deg.and_then(|most| {
            let mut random = self.drawn(source, Operation::Rotate)?;
            let degrees = most.map(|most| between(&mut random, [-most, most]));
            Some(if flat { [degrees[0], 0.0, 0.0] } else { degrees })
        });
        let scale = self.chosen(source, Operation::Scale, self.scale);
        let elastic = self.elastic_mm.and_then(|sigma_mm| {
            let mut random = self.drawn(source, Operation::Elastic)?;
            Some(Elastic::draw(sigma_mm, self.elastic_grid_mm, window, flat, &mut random))
        });
        let still = turned.is_none() && scale.is_none() && elastic.is_none();
        (!still).then(|| Warp::new(turned.unwrap_or_default(), scale.unwrap_or(1.0), elastic))
    }

    /// Changes the intensities of a sample `[C, D, H, W]` of a scan of so many channels, then mirrors it with what it
    /// teaches.
    pub fn change(
        &self,
        source: &Source,
        shape: [usize; 4],
        channels: usize,
        spacing_mm: [f64; 3],
        input: &mut [f32],
        target: &mut Target,
    ) {
        let [_, size @ ..] = shape;
        // What one channel of the scan has: all of its slices in stacks and bags.
        let each = input.len().div_ceil(channels.max(1)).max(1);
        if let Some(most) = self.bias_field
            && let Some(mut random) = self.drawn(source, Operation::BiasField)
        {
            let coefficients = [0.0; intensity::TERMS].map(|_: f64| between(&mut random, [-most, most]));
            intensity::bias_field(input, size, &coefficients);
        }
        if let Some(power) = self.chosen(source, Operation::Gamma, self.gamma) {
            input.chunks_mut(each).for_each(|channel| intensity::gamma(channel, power));
        }
        if let Some(mm) = self.chosen(source, Operation::Slices, self.slice_mm) {
            intensity::thick_slices(input, size, spacing_mm, mm);
        }
        if let Some(mm) = self.chosen(source, Operation::Blur, self.blur_mm).filter(|mm| *mm > 0.0) {
            intensity::blur(input, size, spacing_mm, mm);
        }
        if let Some(zoom) = self.chosen(source, Operation::LowResolution, self.low_resolution) {
            intensity::low_resolution(input, size, zoom);
        }
        if let Some([least, most]) = self.noise
            && let Some(mut random) = self.drawn(source, Operation::Noise)
        {
            let share = between(&mut random, [least, most]);
            input.chunks_mut(each).for_each(|channel| intensity::noise(channel, share, &mut random));
        }
        self.mirror(source, size, input, target);
    }

    fn mirror(&self, source: &Source, size: [usize; 3], input: &mut [f32], target: &mut Target) {
        let mut random = source.stream(Operation::Flip as u64);
        let coins = [Axis::D, Axis::H, Axis::W].map(|axis| (axis, random.random_bool(0.5)));
        for (axis, heads) in coins {
            if heads && self.flip.as_ref().is_some_and(|axes| axes.contains(&axis)) {
                mirror(input, size, axis as usize);
                target.mirror(size, axis as usize);
            }
        }
    }
}

#[cfg(test)]
mod tests;
