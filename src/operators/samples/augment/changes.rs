//! What a sample's random changes are, and how they are drawn and made.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::intensity;
use super::random::Source;
use super::warp::{Elastic, Warp, Window, between};
use crate::networks::sample::{Target, mirror};

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
    pub(super) rotate_deg: Option<[f64; 3]>,
    pub(super) scale: Option<[f64; 2]>,
    pub(super) elastic_mm: Option<f64>,
    pub(super) elastic_grid_mm: f64,
    pub(super) bias_field: Option<f64>,
    pub(super) gamma: Option<[f64; 2]>,
    pub(super) slice_mm: Option<[f64; 2]>,
    pub(super) blur_mm: Option<[f64; 2]>,
    pub(super) low_resolution: Option<[f64; 2]>,
    pub(super) noise: Option<[f64; 2]>,
    pub(super) flip: Option<Vec<Axis>>,
    pub(super) probability: f64,
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

    /// Draws one number of a range, when the operation's turn has come.
    fn chosen(&self, source: &Source, operation: Operation, range: Option<[f64; 2]>) -> Option<f64> {
        let range = range?;
        self.drawn(source, operation).map(|mut random| between(&mut random, range))
    }

    /// Returns what moves in a window; `None` when nothing does. `flat` samples move within their slices.
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
        // One channel of the scan has so many numbers: all of its slices in stacks and bags.
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
