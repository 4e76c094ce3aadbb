//! What is found on images: boxes, and masks where the network gives such.

use tch::Tensor;

use super::attention::Keys;
use super::boxes::Box2;
use super::config::At;
use super::found::{self, FindOptions, FoundBox};
use super::look::Of;
use super::masks::MaskHead;
use super::see::{Prepared, Seen};
use super::{Rcnn, boxes, masks, numbers};
use crate::networks::NetworkError;
use crate::networks::blocks::mode::Mode;
use crate::networks::sample::PlaneMask;
use crate::networks::tensors::weights::Weights;

/// Boxes whose masks are told of together.
const TOGETHER: usize = 64;

impl Rcnn {
    /// The boxes of bags `[B, stacks * slices, H, W]`, each with all of its images: the plain way. Without masks, by which no
    /// training is judged.
    pub fn find(
        &self,
        weights: &Weights,
        bags: &Tensor,
        options: &FindOptions,
        mode: Mode,
    ) -> Result<Vec<Vec<FoundBox>>, NetworkError> {
        let size = bags.size();
        let seen = self.see(weights, &self.resized(bags)?, mode)?;
        self.find_seen(weights, &seen, [size[2], size[3]], options, None)
    }

    /// The same, with masks where the network gives such.
    pub fn find_whole(
        &self,
        weights: &Weights,
        bags: &Tensor,
        options: &FindOptions,
        mode: Mode,
    ) -> Result<Vec<Vec<FoundBox>>, NetworkError> {
        let size = bags.size();
        let seen = self.see(weights, &self.resized(bags)?, mode)?;
        self.find_seen(weights, &seen, [size[2], size[3]], options, self.masks.as_ref())
    }

    fn find_seen(
        &self,
        weights: &Weights,
        seen: &Seen,
        was: [i64; 2],
        options: &FindOptions,
        masks: Option<&MaskHead>,
    ) -> Result<Vec<Vec<FoundBox>>, NetworkError> {
        let image = self.shown(was);
        let (said, anchors) = self.propose(weights, &seen.levels, image)?;
        // No box is told of where a number is not finite: an image would seem to show nothing.
        if !numbers::all_finite(&said.objectness)? || !numbers::all_finite(&said.offsets)? {
            return Err(NetworkError::Logits { slice: 0 });
        }
        let proposals = self.proposals(&said, &anchors, image, self.limits(1))?;
        let (named, _) = self.named(weights, seen, &proposals, image)?;
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
            all.push(found::found(own, logits, codes, classes, size, (options, self.coder())));
        }
        if let Some(head) = masks {
            for number in 0..all.len() {
                let own = self.masks_of(weights, seen, head, (number, &all), [image, was])?;
                all[number].iter_mut().zip(own).for_each(|(found, mask)| found.mask = Some(mask));
            }
        }
        let boxes = all.iter_mut().flatten();
        boxes.for_each(|found| found.bounds = boxes::scaled(found.bounds, image, was));
        Ok(all)
    }

    /// The masks of the boxes of one image among several, on the image as it was before it was shown.
    fn masks_of(
        &self,
        weights: &Weights,
        seen: &Seen,
        head: &MaskHead,
        (number, found): (usize, &[Vec<FoundBox>]),
        [image, was]: [[i64; 2]; 2],
    ) -> Result<Vec<PlaneMask>, NetworkError> {
        let mut all = Vec::new();
        for own in found.get(number).into_iter().flat_map(|own| own.chunks(TOGETHER)) {
            let mut boxes: Vec<Vec<Box2>> = vec![Vec::new(); found.len()];
            boxes[number] = own.iter().map(|found| found.bounds).collect();
            let classes: Vec<u8> = own.iter().map(|found| found.class).collect();
            let (regions, _) = self.regions(weights, seen, &boxes, image, Of::Masks)?;
            let logits = head.forward(weights, &regions)?;
            for (found, shares) in own.iter().zip(masks::of_classes(&logits, &classes)?) {
                if !shares.iter().all(|share| share.is_finite()) {
                    return Err(NetworkError::Logits { slice: 0 });
                }
                all.push(masks::pasted(&shares, boxes::scaled(found.bounds, image, was), was));
            }
        }
        Ok(all)
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
            None if !self.looks_around() => Seen { levels: plain(), around: None, spread: Vec::new() },
            None | Some(At::Rcnn) => {
                let level = |level: usize| -> Result<Tensor, NetworkError> {
                    let all: Vec<&Tensor> = bag.iter().filter_map(|image| image.levels.get(level)).collect();
                    Ok(Tensor::f_cat(&all, 0)?)
                };
                let around = (0..middle.levels.len()).map(level).collect::<Result<Vec<_>, _>>()?;
                Seen { levels: plain(), around: Some(around), spread: Vec::new() }
            }
            Some(At::Rpn) => {
                let mut levels = Vec::with_capacity(middle.levels.len());
                for (place, (module, level)) in self.attention.iter().zip(&middle.levels).enumerate() {
                    let keys: Vec<&Keys> = bag.iter().filter_map(|image| image.keys.get(place)).collect();
                    levels.push(module.attend(weights, level, &Keys::together(&keys)?)?.features);
                }
                Seen { levels, around: None, spread: Vec::new() }
            }
        };
        let found = self.find_seen(weights, &seen, image, options, self.masks.as_ref())?;
        Ok(found.into_iter().next().unwrap_or_default())
    }
}
