//! Where to look: the regions that are proposed, and their features.

use tch::Tensor;

use super::attention::Attended;
use super::boxes::Box2;
use super::heads::{Named, Proposed};
use super::proposals::{self, Anchors, Limits};
use super::see::Seen;
use super::{Head, Rcnn, Spread, align, anchors, heads, masks, numbers, padded, pyramid};
use crate::networks::NetworkError;
use crate::networks::tensors::weights::Weights;

/// Regions of which a side is shorter are none, on a pyramid and on one map.
const LEAST_SIDE: f64 = 1e-3;
const PLAIN_SIDE: f64 = 8.0;

/// The likeliest regions of one map that suppression looks at, in training and afterwards.
const BEFORE: [usize; 2] = [12_000, 6_000];

/// What is told of regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// The classes and boxes of regions.
    Boxes,
    /// The masks of regions.
    Masks,
}

impl Rcnn {
    /// Returns what the proposer says, and of which anchors.
    pub(super) fn propose(
        &self,
        weights: &Weights,
        levels: &[Tensor],
        image: [i64; 2],
    ) -> Result<(Proposed, Anchors), NetworkError> {
        let mut all: Vec<Tensor> = levels.iter().map(Tensor::shallow_clone).collect();
        let plain = self.config.backbone.is_plain();
        if let (Some(fifth), false) = (levels.last(), plain) {
            all.push(pyramid::coarsest(fifth)?);
        }
        let said = self.proposer.forward(weights, &all)?;
        let image = image.map(padded);
        let (mut boxes, mut counts) = (Vec::new(), Vec::new());
        // One map has anchors of all sizes, a level of a pyramid those of its own.
        let sizes: Vec<&[f64]> = match plain {
            true => vec![&self.config.anchors],
            false => self.config.anchors.chunks(1).collect(),
        };
        for (sizes, level) in sizes.into_iter().zip(&said.levels) {
            let own = anchors::of_level(sizes, *level, image);
            counts.push(own.len());
            boxes.extend(own);
        }
        Ok((said, Anchors { boxes, counts }))
    }

    /// The regions of each image that are worth a look.
    pub(super) fn proposals(
        &self,
        said: &Proposed,
        anchors: &Anchors,
        image: [i64; 2],
        limits: Limits,
    ) -> Result<Vec<Vec<Box2>>, NetworkError> {
        let (objectness, offsets) = (numbers::of(&said.objectness)?, numbers::fours(&said.offsets)?);
        let count = anchors.boxes.len().max(1);
        let each = objectness.chunks_exact(count).zip(offsets.chunks_exact(count));
        let image = image.map(|length| length as f64);
        each.map(|(objectness, offsets)| proposals::proposals(anchors, objectness, offsets, image, limits))
            .collect()
    }

    /// Returns how many regions there may be in training (0) and afterwards (1), and how small: those of
    /// VGG-16 are Yan et al.'s.
    pub(super) fn limits(&self, afterwards: usize) -> Limits {
        let most = self.config.proposals.get(afterwards).copied().unwrap_or(1);
        match self.config.backbone.is_plain() {
            true => Limits { before: BEFORE[afterwards.min(1)].max(most), most, side: PLAIN_SIDE },
            false => Limits { before: most, most, side: LEAST_SIDE },
        }
    }

    /// Returns what the head says of the regions of each image.
    pub(super) fn named(
        &self,
        weights: &Weights,
        seen: &Seen,
        boxes: &[Vec<Box2>],
        image: [i64; 2],
    ) -> Result<(Named, Spread), NetworkError> {
        match &self.head {
            Head::Regions(head) => {
                let (regions, spread) = self.regions(weights, seen, boxes, image, Of::Boxes)?;
                Ok((head.forward(weights, &regions)?, spread))
            }
            Head::Positions(head) => {
                let own = seen.levels.first();
                let around = seen.around.as_ref().and_then(|levels| levels.first()).or(own);
                let (Some(own), Some(around)) = (own, around) else {
                    return Err(NetworkError::Config {
                        field: "backbone".to_owned(),
                        message: "no map".to_owned(),
                    });
                };
                Ok((head.forward(weights, [own, around], boxes, image.map(padded))?, Vec::new()))
            }
        }
    }

    /// A head's features of regions, attended to where that is its place.
    pub(super) fn regions(
        &self,
        weights: &Weights,
        seen: &Seen,
        boxes: &[Vec<Box2>],
        image: [i64; 2],
        of: Of,
    ) -> Result<(Tensor, Spread), NetworkError> {
        let image = image.map(padded);
        let stacks = self.config.stacks;
        let (bins, module, name) = match of {
            Of::Boxes => (heads::BINS, self.attention.first(), "regions"),
            Of::Masks => (masks::BINS, self.attention.get(1), "masks"),
        };
        let (Some(around), Some(module)) = (&seen.around, module) else {
            let regions = align::of_pyramid(&seen.levels, boxes, |number| number as i64, image, bins)?;
            return Ok((regions, Vec::new()));
        };
        let of = |stack: i64| {
            align::of_pyramid(around, boxes, move |number| number as i64 * stacks + stack, image, bins)
        };
        let all = (0..stacks).map(of).collect::<Result<Vec<_>, _>>()?;
        let Some(middle) = usize::try_from(stacks / 2).ok().and_then(|middle| all.get(middle)) else {
            return Err(NetworkError::Config { field: "stacks".to_owned(), message: "none".to_owned() });
        };
        let size = middle.size();
        if size[0] == 0 {
            return Ok((middle.shallow_clone(), Vec::new()));
        }
        let bags = Tensor::f_stack(&all, 1)?.f_reshape([-1, size[1], size[2], size[3]])?;
        let keys = module.keys(weights, &bags)?;
        let Attended { features, spread } = module.attend(weights, middle, &keys)?;
        Ok((features, vec![(name.to_owned(), spread)]))
    }
}
