//! Detectors of two stages: Faster R-CNN on a pyramid (torchvision's, by its names), with volumetric attention.

mod align;
mod anchors;
mod attention;
mod boxes;
pub mod config;
mod found;
#[cfg(test)]
pub(in crate::networks) mod golden;
mod heads;
mod layers;
mod loss;
mod numbers;
mod proposals;
mod pyramid;
mod resnet;

use tch::{Kind, Tensor};

use self::attention::{Attended, Attention, Keys};
use self::boxes::Box2;
use self::config::{At, LEVELS, RcnnConfig};
pub use self::found::{FindOptions, FoundBox};
use self::heads::{BINS, Head, Proposed, Proposer};
pub(in crate::networks) use self::loss::{Seed, Truth};
use self::proposals::Anchors;
use self::pyramid::Pyramid;
use self::resnet::Resnet;
use crate::networks::NetworkError;
use crate::networks::blocks::mode::Mode;
use crate::networks::tensors::weights::{Layout, Weights};

/// By the level or place of a module of attention how evenly images took part: of channels, and of pixels.
pub(in crate::networks) type Spread = Vec<(String, [Option<f64>; 2])>;

/// Images are padded on their right and below to a multiple of so many pixels.
const MULTIPLE: i64 = 32;

/// Faster R-CNN.
pub(in crate::networks) struct Rcnn {
    config: RcnnConfig,
    layout: Layout,
    body: Resnet,
    pyramid: Pyramid,
    proposer: Proposer,
    head: Head,
    /// On P2 to P5, or on regions alone.
    attention: Vec<Attention>,
}

/// The losses of a batch of images, and how evenly the images of bags took part.
pub(in crate::networks) struct Losses {
    /// `objectness`, `proposal_box`, `class`, `box`.
    pub losses: [Tensor; 4],
    /// Of all modules.
    pub spread: Spread,
}

/// The names of [`Losses::losses`].
pub(in crate::networks) const LOSSES: [&str; 4] = ["objectness", "proposal_box", "class", "box"];

/// The features of images, the one to look at of each bag in the middle.
struct Seen {
    /// P2 to P5 of the images to look at, `[B, C, H, W]`.
    levels: Vec<Tensor>,
    /// Of all images of the bags, where regions are to attend to them.
    around: Option<Vec<Tensor>>,
    spread: Spread,
}

/// What one image of a volume leaves, for it to be looked at and for others to attend to.
#[derive(Default)]
pub(in crate::networks) struct Prepared {
    /// P2 to P5.
    levels: Vec<Tensor>,
    keys: Vec<Keys>,
}

impl Prepared {
    /// The same without what is only needed while it is looked at.
    pub fn lent(self) -> Self {
        Self { levels: if self.keys.is_empty() { self.levels } else { Vec::new() }, keys: self.keys }
    }
}

impl Rcnn {
    pub fn new(config: &RcnnConfig) -> Result<Self, NetworkError> {
        config.check()?;
        let mut layout = Layout::default();
        let RcnnConfig { backbone, width, norm, .. } = *config;
        let body = Resnet::new(&mut layout, "backbone.body", backbone, config.slices, width, norm);
        let pyramid = Pyramid::new(&mut layout, "backbone.fpn", body.channels, config.pyramid);
        let proposer = Proposer::new(&mut layout, "rpn.head", config.pyramid);
        let head = Head::new(&mut layout, "roi_heads", [config.pyramid, config.hidden, config.classes]);
        let mut attention = Vec::new();
        if let Some(wanted) = &config.attention {
            let names = match wanted.at {
                At::Rpn => (2..LEVELS + 2).map(|level| format!("attention.P{level}")).collect(),
                At::Rcnn => vec!["attention.regions".to_owned()],
            };
            let module = |name: &String| Attention::new(&mut layout, name, config.pyramid, wanted);
            attention = names.iter().map(module).collect();
        }
        Ok(Self { config: config.clone(), layout, body, pyramid, proposer, head, attention })
    }

    /// The tensors that it needs.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The names of the modules of attention.
    pub fn attends(&self) -> Vec<String> {
        match self.config.attention.map(|attention| attention.at) {
            Some(At::Rpn) => (2..LEVELS + 2).map(|level| format!("P{level}")).collect(),
            Some(At::Rcnn) => vec!["regions".to_owned()],
            None => Vec::new(),
        }
    }

    /// The size in which an image `[H, W]` is shown.
    fn shown(&self, image: [i64; 2]) -> [i64; 2] {
        self.config.scale.map_or(image, |scale| scale.shown(image))
    }

    /// Images `[M, C, H, W]` in the size in which they are shown.
    fn resized(&self, images: &Tensor) -> Result<Tensor, NetworkError> {
        let size = images.size();
        let shown = self.shown([size[2], size[3]]);
        if shown == [size[2], size[3]] {
            return Ok(images.shallow_clone());
        }
        Ok(images.f_upsample_bilinear2d(shown, false, None, None)?)
    }

    /// P2 to P5 of images `[M, slices, H, W]`.
    fn levels(&self, weights: &Weights, images: &Tensor, mode: Mode) -> Result<Vec<Tensor>, NetworkError> {
        let size = images.size();
        let missing = |length: i64| (MULTIPLE - length % MULTIPLE) % MULTIPLE;
        let padded = images.f_constant_pad_nd([0, missing(size[3]), 0, missing(size[2])])?;
        self.pyramid.forward(weights, &self.body.forward(weights, &padded, mode)?)
    }

    /// The features of bags `[B, stacks * slices, H, W]`.
    fn see(&self, weights: &Weights, bags: &Tensor, mode: Mode) -> Result<Seen, NetworkError> {
        let (size, stacks) = (bags.size(), self.config.stacks);
        let images = bags.f_reshape([size[0] * stacks, self.config.slices, size[2], size[3]])?;
        if self.config.attention.is_none() {
            // Nobody asks for the images around.
            let middle = middles(&images, stacks)?;
            let levels = self.levels(weights, &middle, mode)?;
            return Ok(Seen { levels, around: None, spread: Vec::new() });
        }
        let all = self.levels(weights, &images, mode)?;
        let middle = all.iter().map(|level| middles(level, stacks)).collect::<Result<Vec<_>, _>>()?;
        if self.config.attention.is_some_and(|attention| attention.at == At::Rcnn) {
            return Ok(Seen { levels: middle, around: Some(all), spread: Vec::new() });
        }
        let (mut levels, mut spread) = (Vec::new(), Vec::new());
        for (((module, level), middle), name) in
            self.attention.iter().zip(&all).zip(&middle).zip(self.attends())
        {
            let keys = module.keys(weights, level)?;
            let attended = module.attend(weights, middle, &keys)?;
            levels.push(attended.features);
            spread.push((name, attended.spread));
        }
        Ok(Seen { levels, around: None, spread })
    }

    /// What the proposer says, and of which anchors.
    fn propose(
        &self,
        weights: &Weights,
        levels: &[Tensor],
        image: [i64; 2],
    ) -> Result<(Proposed, Anchors), NetworkError> {
        let mut all: Vec<Tensor> = levels.iter().map(Tensor::shallow_clone).collect();
        if let Some(fifth) = levels.last() {
            all.push(pyramid::coarsest(fifth)?);
        }
        let said = self.proposer.forward(weights, &all)?;
        let image = image.map(padded);
        let (mut boxes, mut counts) = (Vec::new(), Vec::new());
        for (size, level) in self.config.anchors.into_iter().zip(&said.levels) {
            let own = anchors::of_level(size, *level, image);
            counts.push(own.len());
            boxes.extend(own);
        }
        Ok((said, Anchors { boxes, counts }))
    }

    /// The regions of each image that are worth a look.
    fn proposals(
        &self,
        said: &Proposed,
        anchors: &Anchors,
        image: [i64; 2],
        most: usize,
    ) -> Result<Vec<Vec<Box2>>, NetworkError> {
        let (objectness, offsets) = (numbers::of(&said.objectness)?, numbers::fours(&said.offsets)?);
        let count = anchors.boxes.len().max(1);
        let each = objectness.chunks_exact(count).zip(offsets.chunks_exact(count));
        let image = image.map(|length| length as f64);
        each.map(|(objectness, offsets)| proposals::proposals(anchors, objectness, offsets, image, most))
            .collect()
    }

    /// The head's features of regions, attended to where that is its place.
    fn regions(
        &self,
        weights: &Weights,
        seen: &Seen,
        boxes: &[Vec<Box2>],
        image: [i64; 2],
    ) -> Result<(Tensor, Spread), NetworkError> {
        let image = image.map(padded);
        let stacks = self.config.stacks;
        let (Some(around), Some(module)) = (&seen.around, self.attention.first()) else {
            let regions = align::of_pyramid(&seen.levels, boxes, |number| number as i64, image, BINS)?;
            return Ok((regions, Vec::new()));
        };
        let of = |stack: i64| {
            align::of_pyramid(around, boxes, move |number| number as i64 * stacks + stack, image, BINS)
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
        Ok((features, vec![("regions".to_owned(), spread)]))
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
        loss::check(truths, self.config.classes)?;
        let (bags, was) = (&self.resized(bags)?, [bags.size()[2], bags.size()[3]]);
        let image = self.shown(was);
        let truths: Vec<Truth> = truths.iter().map(|truth| truth.scaled(was, image)).collect();
        let truths = &truths[..];
        let seen = self.see(weights, bags, mode)?;
        let (said, anchors) = self.propose(weights, &seen.levels, image)?;
        let [objectness, proposal_box] =
            loss::of_proposer(&said, &anchors.boxes, truths, self.config.anchor_samples, seed)?;
        let proposals = self.proposals(&said, &anchors, image, self.config.proposals[0])?;
        let mut sampled = loss::regions(proposals, truths, self.config.region_samples, seed);
        let none = sampled.classes.is_empty();
        if none {
            // The head takes no part in the step, and has a gradient of zeros.
            let whole = [0.0, 0.0, image[1] as f64, image[0] as f64];
            sampled.boxes = vec![vec![whole]; truths.len().min(1)];
        }
        let (regions, spread) = self.regions(weights, &seen, &sampled.boxes, image)?;
        let named = self.head.forward(weights, &regions)?;
        let [class, bounds] = loss::of_head(&named, &sampled, self.config.beta)?;
        let mut losses = [objectness, proposal_box, class, bounds];
        for value in &mut losses {
            *value = loss::whole(value)?;
        }
        Ok(Losses { losses, spread: seen.spread.into_iter().chain(spread).collect() })
    }

    /// The boxes of bags `[B, stacks * slices, H, W]`, each with all of its images: the plain way.
    pub fn find(
        &self,
        weights: &Weights,
        bags: &Tensor,
        options: &FindOptions,
        mode: Mode,
    ) -> Result<Vec<Vec<FoundBox>>, NetworkError> {
        let size = bags.size();
        let seen = self.see(weights, &self.resized(bags)?, mode)?;
        self.find_seen(weights, &seen, [size[2], size[3]], options)
    }

    fn find_seen(
        &self,
        weights: &Weights,
        seen: &Seen,
        was: [i64; 2],
        options: &FindOptions,
    ) -> Result<Vec<Vec<FoundBox>>, NetworkError> {
        let image = self.shown(was);
        let (said, anchors) = self.propose(weights, &seen.levels, image)?;
        // No box is told of by a number that is none: an image would seem to show nothing.
        if !numbers::all_finite(&said.objectness)? || !numbers::all_finite(&said.offsets)? {
            return Err(NetworkError::Logits { slice: 0 });
        }
        let proposals = self.proposals(&said, &anchors, image, self.config.proposals[1])?;
        let (regions, _) = self.regions(weights, seen, &proposals, image)?;
        let named = self.head.forward(weights, &regions)?;
        let (logits, codes) = (numbers::of(&named.classes)?, numbers::fours(&named.offsets)?);
        let classes = usize::try_from(self.config.classes).unwrap_or(1);
        let size = image.map(|length| length as f64);
        let mut first = 0;
        let mut all = Vec::with_capacity(proposals.len());
        for own in &proposals {
            let rows = first * classes..(first + own.len()) * classes;
            first += own.len();
            let (Some(logits), Some(codes)) = (logits.get(rows.clone()), codes.get(rows)) else {
                return Err(NetworkError::Shape {
                    what: "what is said of regions".to_owned(),
                    expected: format!("{first} rows"),
                    found: format!("{} numbers", logits.len()),
                });
            };
            if !logits.iter().chain(codes.as_flattened()).all(|number| number.is_finite()) {
                return Err(NetworkError::Logits { slice: 0 });
            }
            let mut found = found::found(own, logits, codes, classes, size, options);
            found.iter_mut().for_each(|found| found.bounds = boxes::scaled(found.bounds, image, was));
            all.push(found);
        }
        Ok(all)
    }

    /// What images `[M, slices, H, W]` of a volume leave, one for each.
    pub fn prepare(&self, weights: &Weights, images: &Tensor) -> Result<Vec<Prepared>, NetworkError> {
        let levels = self.levels(weights, &self.resized(images)?, Mode::Infer)?;
        let on_levels = self.config.attention.is_some_and(|attention| attention.at == At::Rpn);
        let modules = self.attention.iter().zip(&levels).filter(|_| on_levels);
        let keys =
            modules.map(|(module, level)| module.keys(weights, level)).collect::<Result<Vec<_>, _>>()?;
        let of = |image: i64| -> Result<Prepared, NetworkError> {
            let levels = levels.iter().map(|level| Ok(level.f_narrow(0, image, 1)?.f_contiguous()?));
            Ok(Prepared {
                levels: levels.collect::<Result<_, NetworkError>>()?,
                keys: keys.iter().map(|keys| keys.of(image)).collect::<Result<_, _>>()?,
            })
        };
        (0..images.size()[0]).map(of).collect()
    }

    /// The boxes of the image in the middle of a bag, of what its images left.
    pub fn find_prepared(
        &self,
        weights: &Weights,
        bag: &[&Prepared],
        image: [i64; 2],
        options: &FindOptions,
    ) -> Result<Vec<FoundBox>, NetworkError> {
        let Some(middle) = bag.get(bag.len() / 2) else { return Ok(Vec::new()) };
        let plain = || middle.levels.iter().map(Tensor::shallow_clone).collect();
        let seen = match self.config.attention.map(|attention| attention.at) {
            None => Seen { levels: plain(), around: None, spread: Vec::new() },
            Some(At::Rcnn) => {
                let level = |level: usize| -> Result<Tensor, NetworkError> {
                    let all: Vec<&Tensor> = bag.iter().filter_map(|image| image.levels.get(level)).collect();
                    Ok(Tensor::f_cat(&all, 0)?)
                };
                let around = (0..LEVELS).map(level).collect::<Result<Vec<_>, _>>()?;
                Seen { levels: plain(), around: Some(around), spread: Vec::new() }
            }
            Some(At::Rpn) => {
                let mut levels = Vec::with_capacity(LEVELS);
                for (place, (module, level)) in self.attention.iter().zip(&middle.levels).enumerate() {
                    let keys: Vec<&Keys> = bag.iter().filter_map(|image| image.keys.get(place)).collect();
                    levels.push(module.attend(weights, level, &Keys::together(&keys)?)?.features);
                }
                Seen { levels, around: None, spread: Vec::new() }
            }
        };
        Ok(self.find_seen(weights, &seen, image, options)?.into_iter().next().unwrap_or_default())
    }
}

/// The image in the middle of each bag of so many.
fn middles(images: &Tensor, stacks: i64) -> Result<Tensor, NetworkError> {
    if stacks == 1 {
        return Ok(images.shallow_clone());
    }
    let size = images.size();
    let bags = images.f_view([size[0] / stacks, stacks, size[1], size[2], size[3]])?;
    Ok(bags.f_select(1, stacks / 2)?.f_contiguous()?)
}

fn padded(length: i64) -> i64 {
    length + (MULTIPLE - length % MULTIPLE) % MULTIPLE
}

/// What a spread is called in a training's figures.
pub(in crate::networks) fn spread_name(module: &str, pixels: bool) -> String {
    format!("attention.spread.{}.{module}", if pixels { "spatial" } else { "channel" })
}

/// A number as a loss that moves nobody.
pub(in crate::networks) fn told(value: f64) -> Result<Tensor, NetworkError> {
    Ok(Tensor::f_from_slice(&[value])?.f_to_kind(Kind::Double)?.f_view(())?)
}
