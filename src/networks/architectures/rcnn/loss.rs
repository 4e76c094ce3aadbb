//! The targets that a detector's parts are trained towards, and how far off they are.

use tch::{Kind, Reduction, Tensor};

use super::boxes::{Box2, Coder, Draw, Match, matched, sampled};
use super::heads::{Named, Proposed};
use super::layers::nothing_of;
use super::numbers;
use super::truth::Truth;
use crate::networks::NetworkError;
use crate::networks::tensors::scalar::times;

/// Overlap below which an anchor is background, and from which on it is a thing.
const ANCHOR: [f64; 2] = [0.3, 0.7];
/// The same of a region.
const REGION: [f64; 2] = [0.5, 0.5];
/// The share of an image's sampled anchors, and of its regions, that are of things at most.
const POSITIVE_ANCHORS: f64 = 0.5;
const POSITIVE_REGIONS: f64 = 0.25;
/// The beta of the proposer's smooth L1 loss.
const BETA: f64 = 1.0 / 9.0;
/// The kinds of draws, so that two draws of one image are not the same.
const OF_ANCHORS: u64 = 0;
const OF_REGIONS: u64 = 8;

/// The seed of a step's draws: the training's, and its batches so far.
pub(in crate::networks) type Seed = (u64, u64);

fn draw((seed, batch): Seed, image: usize, what: u64) -> Draw {
    Draw { seed, batch, image: image as u64, what }
}

/// The anchors that a step may take its losses of.
pub(super) struct Considered<'a> {
    all: &'a [Box2],
    /// The anchors that lie in the image, where only these count.
    inside: Option<(Vec<usize>, Vec<Box2>)>,
}

impl<'a> Considered<'a> {
    /// Takes all anchors, or those in an image `[H, W]`.
    pub fn of(all: &'a [Box2], image: Option<[i64; 2]>) -> Self {
        let inside = image.map(|[height, width]| {
            let within = |[x1, y1, x2, y2]: &Box2| {
                *x1 >= 0.0 && *y1 >= 0.0 && *x2 <= width as f64 && *y2 <= height as f64
            };
            all.iter().copied().enumerate().filter(|(_, anchor)| within(anchor)).unzip()
        });
        Self { all, inside }
    }

    fn boxes(&self) -> &[Box2] {
        self.inside.as_ref().map_or(self.all, |(_, boxes)| boxes)
    }

    /// The place of one of these among all anchors.
    fn place(&self, own: usize) -> usize {
        self.inside.as_ref().map_or(own, |(places, _)| places[own])
    }
}

/// The losses of the proposer: whether anchors are told from background, and how well things are outlined.
pub(super) fn of_proposer(
    said: &Proposed,
    considered: &Considered<'_>,
    truths: &[Truth],
    samples: usize,
    seed: Seed,
) -> Result<[Tensor; 2], NetworkError> {
    let (anchors, count) = (considered.boxes(), considered.all.len());
    let (mut positive, mut all, mut labels, mut codes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (image, truth) in truths.iter().enumerate() {
        let matches = matched(&truth.boxes, anchors, ANCHOR, true);
        let [things, nothing] = sampled(&matches, samples, POSITIVE_ANCHORS, draw(seed, image, OF_ANCHORS));
        for place in things {
            let Match::Thing(thing) = matches[place] else { continue };
            codes.push(Coder::RPN.encode(anchors[place], truth.boxes[thing]));
            positive.push(image * count + considered.place(place));
            all.push(image * count + considered.place(place));
            labels.push(1.0);
        }
        all.extend(nothing.iter().map(|place| image * count + considered.place(*place)));
        labels.extend(nothing.iter().map(|_| 0.0));
    }
    let (objectness, offsets) = (said.objectness.f_reshape([-1])?, said.offsets.f_reshape([-1, 4])?);
    if all.is_empty() {
        return Ok([nothing_of(&objectness)?, nothing_of(&offsets)?]);
    }
    let device = objectness.device();
    let chosen = objectness.f_index_select(0, &numbers::index(&all, device)?)?;
    let truth = numbers::like(&labels, &chosen)?;
    let none = None::<&Tensor>;
    let told_apart = chosen.f_binary_cross_entropy_with_logits(&truth, none, none, Reduction::Mean)?;
    let chosen = offsets.f_index_select(0, &numbers::index(&positive, device)?)?;
    let outlined = chosen.f_smooth_l1_loss(&numbers::rows(&codes, &chosen)?, Reduction::Sum, BETA)?;
    Ok([told_apart, times(&outlined, 1.0 / all.len() as f64)?])
}

/// Regions of which the head's losses are taken.
pub(super) struct Sampled {
    /// The regions of each image.
    pub boxes: Vec<Vec<Box2>>,
    /// The classes of the regions, all images' one after another; 0 for background.
    pub classes: Vec<i64>,
    /// The code of the thing that each is matched with; zeros for background.
    codes: Vec<[f64; 4]>,
    /// The thing of its image that each region is matched with.
    things: Vec<Option<usize>>,
}

impl Sampled {
    /// The regions of things, image by image, and of each its class and its thing.
    pub fn of_things(&self) -> (Vec<Vec<Box2>>, Vec<(usize, usize)>) {
        let (mut boxes, mut things) = (Vec::with_capacity(self.boxes.len()), Vec::new());
        let mut matched = self.classes.iter().zip(&self.things);
        for own in &self.boxes {
            let mut here = Vec::new();
            for (region, (class, thing)) in own.iter().zip(&mut matched) {
                let Some(thing) = thing else { continue };
                here.push(*region);
                things.push((*class as usize, *thing));
            }
            boxes.push(here);
        }
        (boxes, things)
    }
}

/// Draws regions from proposals, to which the truth is added.
pub(super) fn regions(
    proposals: Vec<Vec<Box2>>,
    truths: &[Truth],
    (samples, coder): (usize, Coder),
    seed: Seed,
) -> Sampled {
    let (mut boxes, mut classes, mut codes, mut matches_of) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (image, (mut own, truth)) in proposals.into_iter().zip(truths).enumerate() {
        own.extend(&truth.boxes);
        let matches = matched(&truth.boxes, &own, REGION, false);
        let [things, nothing] = sampled(&matches, samples, POSITIVE_REGIONS, draw(seed, image, OF_REGIONS));
        let mut places: Vec<usize> = things.into_iter().chain(nothing).collect();
        places.sort_unstable();
        for place in &places {
            let (class, code, thing) = match matches[*place] {
                Match::Thing(thing) => {
                    let code = coder.encode(own[*place], truth.boxes[thing]);
                    (truth.classes[thing], code, Some(thing))
                }
                Match::Nothing | Match::Between => (0, [0.0; 4], None),
            };
            classes.push(class);
            codes.push(code);
            matches_of.push(thing);
        }
        boxes.push(places.into_iter().map(|place| own[place]).collect());
    }
    Sampled { boxes, classes, codes, things: matches_of }
}

/// The losses of the head: whether regions are called what they are, and how well things are outlined.
pub(super) fn of_head(said: &Named, regions: &Sampled, beta: f64) -> Result<[Tensor; 2], NetworkError> {
    if regions.classes.is_empty() {
        return Ok([nothing_of(&said.classes)?, nothing_of(&said.offsets)?]);
    }
    let classes = Tensor::f_from_slice(&regions.classes)?.f_to_device(said.classes.device())?;
    let named = said.classes.f_cross_entropy_loss(&classes, None::<&Tensor>, Reduction::Mean, -100, 0.0)?;
    // The row of the code of a region's own class, among four numbers for each class.
    let count = said.classes.size()[1];
    let things = regions.classes.iter().enumerate().filter(|(_, class)| **class > 0);
    let (mut rows, mut codes) = (Vec::new(), Vec::new());
    for (place, class) in things {
        rows.push(place * count as usize + *class as usize);
        codes.push(regions.codes[place]);
    }
    let offsets = said.offsets.f_reshape([-1, 4])?;
    let chosen = offsets.f_index_select(0, &numbers::index(&rows, offsets.device())?)?;
    let outlined = chosen.f_smooth_l1_loss(&numbers::rows(&codes, &chosen)?, Reduction::Sum, beta)?;
    Ok([named, times(&outlined, 1.0 / regions.classes.len() as f64)?])
}

/// Refuses things that are no boxes, and classes that the network does not have.
pub(super) fn check(truths: &[Truth], classes: i64, masks: bool) -> Result<(), NetworkError> {
    for truth in truths {
        if masks && truth.masks.len() != truth.boxes.len() {
            return Err(NetworkError::Shape {
                what: "the truth of an image".to_owned(),
                expected: format!("a mask for each of {} things", truth.boxes.len()),
                found: format!("{} masks: boxes alone teach none", truth.masks.len()),
            });
        }
        let boxes =
            truth.boxes.iter().all(|[x1, y1, x2, y2]| x2 > x1 && y2 > y1 && (x2 - x1 + y2 - y1).is_finite());
        let named = truth.boxes.len() == truth.classes.len()
            && truth.classes.iter().all(|class| (1..classes).contains(class));
        if !boxes || !named {
            return Err(NetworkError::Shape {
                what: "the truth of an image".to_owned(),
                expected: format!("boxes with an area, of classes 1 to {}", classes - 1),
                found: format!("{:?} of classes {:?}", truth.boxes, truth.classes),
            });
        }
    }
    Ok(())
}

/// A loss in 32 bits, or as many as it has.
pub(super) fn whole(loss: &Tensor) -> Result<Tensor, NetworkError> {
    Ok(if loss.kind() == Kind::Double { loss.shallow_clone() } else { loss.f_to_kind(Kind::Float)? })
}
