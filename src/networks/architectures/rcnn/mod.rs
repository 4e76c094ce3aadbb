//! Detectors of two stages: Faster and Mask R-CNN on a pyramid (torchvision's, by its names), with volumetric attention.

mod align;
mod anchors;
mod attention;
mod boxes;
pub mod config;
mod deformable;
mod find;
mod found;
#[cfg(test)]
pub(in crate::networks) mod golden;
mod heads;
mod layers;
mod look;
mod loss;
mod masks;
mod numbers;
mod positions;
mod proposals;
mod pyramid;
mod resnet;
mod see;
mod truth;
mod vgg;

use tch::{Kind, Tensor};

pub use self::align::regions as align_regions;
use self::attention::Attention;
use self::boxes::Coder;
pub use self::boxes::{Box2, suppress};
use self::config::{At, HeadKind, LEVELS, RcnnConfig};
pub use self::found::{FindOptions, FoundBox};
use self::heads::{Head as RegionHead, Proposer};
use self::look::Of;
pub(in crate::networks) use self::loss::Seed;
use self::masks::MaskHead;
use self::positions::Positions;
use self::pyramid::Pyramid;
use self::resnet::Resnet;
pub(in crate::networks) use self::see::Prepared;
pub(in crate::networks) use self::truth::{Truth, TruthMask};
use self::vgg::Vgg;
use crate::networks::NetworkError;
use crate::networks::blocks::mode::Mode;
use crate::networks::tensors::scalar::times;
use crate::networks::tensors::weights::{Layout, Weights};

/// How evenly images took part, of channels and of pixels, by the level or place of a module of attention.
pub(in crate::networks) type Spread = Vec<(String, [Option<f64>; 2])>;

/// Images are padded on their right and below to a multiple of so many pixels.
const MULTIPLE: i64 = 32;

/// Faster R-CNN, or Mask R-CNN.
pub(in crate::networks) struct Rcnn {
    config: RcnnConfig,
    layout: Layout,
    body: Body,
    proposer: Proposer,
    head: Head,
    masks: Option<MaskHead>,
    /// The modules of attention, on P2 to P5 or on regions alone: those that boxes are told from, and those
    /// that masks are.
    attention: Vec<Attention>,
}

/// What gives features: of a pyramid's levels, or of one map.
enum Body {
    Pyramid(Box<Resnet>, Pyramid),
    Plain(Vgg),
}

/// What tells the classes and boxes of regions: from a region's features, or from maps.
enum Head {
    Regions(RegionHead),
    Positions(Positions),
}

/// The losses of a batch of images, and how evenly the images of bags took part.
pub(in crate::networks) struct Losses {
    /// The losses, in the order of [`Rcnn::told_by`].
    pub losses: Vec<Tensor>,
    /// The spread of all modules of attention.
    pub spread: Spread,
}

/// How much the loss of boxes counts with VGG-16 (Yan et al. 2018).
const PLAIN_BOXES: f64 = 10.0;

/// The names of losses; the last one is that of a network with masks.
pub(in crate::networks) const LOSSES: [&str; 5] = ["objectness", "proposal_box", "class", "box", "mask"];

impl Rcnn {
    pub fn new(config: &RcnnConfig) -> Result<Self, NetworkError> {
        config.check()?;
        let mut layout = Layout::default();
        let RcnnConfig { backbone, width, norm, deformable, .. } = *config;
        let (body, channels, sizes) = match backbone.is_plain() {
            true => {
                let body = Vgg::new(&mut layout, "backbone.body", config.slices, width);
                let channels = body.channels;
                (Body::Plain(body), channels, config.anchors.len() as i64)
            }
            false => {
                let norm = (norm, deformable);
                let body = Resnet::new(&mut layout, "backbone.body", backbone, config.slices, width, norm);
                let pyramid = Pyramid::new(&mut layout, "backbone.fpn", body.channels, config.pyramid);
                (Body::Pyramid(Box::new(body), pyramid), config.pyramid, 1)
            }
        };
        let proposer =
            Proposer::new(&mut layout, "rpn.head", [channels, config.pyramid, anchors::AT_A_PLACE * sizes]);
        let RcnnConfig { hidden, classes, stacks, .. } = *config;
        let on_maps =
            Positions::new(&mut layout, "roi_heads", config.head, [channels, hidden, classes, stacks]);
        let head = match on_maps {
            Some(head) => Head::Positions(head),
            None => Head::Regions(RegionHead::new(&mut layout, "roi_heads", [channels, hidden, classes])),
        };
        let mask_head =
            |channels| MaskHead::new(&mut layout, "roi_heads", [config.pyramid, channels, config.classes]);
        let masks = config.mask_channels.map(mask_head);
        let mut attention = Vec::new();
        if let Some(wanted) = &config.attention {
            let names: Vec<String> = match wanted.at {
                At::Rpn => (2..LEVELS + 2).map(|level| format!("attention.P{level}")).collect(),
                At::Rcnn => regions_of(config).iter().map(|name| format!("attention.{name}")).collect(),
            };
            let module = |name: &String| Attention::new(&mut layout, name, config.pyramid, wanted);
            attention = names.iter().map(module).collect();
        }
        Ok(Self { config: config.clone(), layout, body, proposer, head, masks, attention })
    }

    /// The tensors that it needs.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The names of the modules of attention.
    pub fn attends(&self) -> Vec<String> {
        match self.config.attention.map(|attention| attention.at) {
            Some(At::Rpn) => (2..LEVELS + 2).map(|level| format!("P{level}")).collect(),
            Some(At::Rcnn) => regions_of(&self.config).iter().map(|name| (*name).to_owned()).collect(),
            None => Vec::new(),
        }
    }

    /// Whether what it says of an image depends on the images around.
    pub fn looks_around(&self) -> bool {
        self.config.attention.is_some() || (self.config.head == HeadKind::Context && self.config.stacks > 1)
    }

    /// Returns how the head writes boxes: VGG-16's as Yan et al. do, all others' as torchvision does.
    fn coder(&self) -> Coder {
        if self.config.backbone.is_plain() { Coder::RPN } else { Coder::HEAD }
    }

    /// Whether it gives each thing a mask.
    pub fn gives_masks(&self) -> bool {
        self.masks.is_some()
    }

    /// The names of its losses.
    pub fn told_by(&self) -> &'static [&'static str] {
        if self.gives_masks() { &LOSSES } else { &LOSSES[..4] }
    }

    /// The losses of bags `[B, stacks * slices, H, W]` against what there is on the image in the middle of each.
    pub fn losses(
        &self,
        weights: &Weights,
        bags: &Tensor,
        truths: &[Truth],
        seed: Seed,
        mode: Mode,
    ) -> Result<Losses, NetworkError> {
        loss::check(truths, self.config.classes, self.gives_masks())?;
        let (bags, was) = (&self.resized(bags)?, [bags.size()[2], bags.size()[3]]);
        let image = self.shown(was);
        let truths: Vec<Truth> = truths.iter().map(|truth| truth.scaled(was, image)).collect();
        let truths = &truths[..];
        let seen = self.see(weights, bags, mode)?;
        let plain = self.config.backbone.is_plain();
        let (said, anchors) = self.propose(weights, &seen.levels, image)?;
        let considered = loss::Considered::of(&anchors.boxes, plain.then_some(image));
        let [objectness, proposal_box] =
            loss::of_proposer(&said, &considered, truths, self.config.anchor_samples, seed)?;
        let proposals = self.proposals(&said, &anchors, image, self.limits(0))?;
        let samples = self.config.region_samples;
        let mut sampled = loss::regions(proposals, truths, (samples, self.coder()), seed);
        // A head that takes no part in the step has a gradient of zeros.
        let anything = vec![vec![[0.0, 0.0, image[1] as f64, image[0] as f64]]; truths.len().min(1)];
        if sampled.classes.is_empty() {
            sampled.boxes = anything.clone();
        }
        let (named, spread) = self.named(weights, &seen, &sampled.boxes, image)?;
        let [class, bounds] = loss::of_head(&named, &sampled, self.config.beta)?;
        let bounds = if plain { times(&bounds, PLAIN_BOXES)? } else { bounds };
        let mut losses = vec![objectness, proposal_box, class, bounds];
        let mut spread: Spread = seen.spread.iter().cloned().chain(spread).collect();
        if let Some(head) = &self.masks {
            let (things, matched) = sampled.of_things();
            let things = if matched.is_empty() { anything } else { things };
            let (regions, more) = self.regions(weights, &seen, &things, image, Of::Masks)?;
            losses.push(masks::loss(&head.forward(weights, &regions)?, &sampled, truths)?);
            spread.extend(more);
        }
        let losses = losses.iter().map(loss::whole).collect::<Result<_, _>>()?;
        Ok(Losses { losses, spread })
    }
}

/// The names of the regions that a network attends to.
fn regions_of(config: &RcnnConfig) -> &'static [&'static str] {
    if config.mask_channels.is_some() { &["regions", "masks"] } else { &["regions"] }
}

fn padded(length: i64) -> i64 {
    length + (MULTIPLE - length % MULTIPLE) % MULTIPLE
}

/// Returns the name of a spread in a training's figures.
pub(in crate::networks) fn spread_name(module: &str, pixels: bool) -> String {
    format!("attention.spread.{}.{module}", if pixels { "spatial" } else { "channel" })
}

/// A number as a loss that moves nobody.
pub(in crate::networks) fn told(value: f64) -> Result<Tensor, NetworkError> {
    Ok(Tensor::f_from_slice(&[value])?.f_to_kind(Kind::Double)?.f_view(())?)
}
