//! What is seen of images before anything is told of them: the features of a pyramid, attended to where that is its place.

use tch::Tensor;

use super::attention::Keys;
use super::config::At;
use super::{Body, MULTIPLE, Rcnn, Spread};
use crate::networks::NetworkError;
use crate::networks::blocks::mode::Mode;
use crate::networks::tensors::weights::Weights;

/// The features of images, the one to look at of each bag in the middle.
pub(super) struct Seen {
    /// P2 to P5 of the images to look at, `[B, C, H, W]`.
    pub levels: Vec<Tensor>,
    /// The features of all images of the bags, where regions are to attend to them.
    pub around: Option<Vec<Tensor>>,
    pub spread: Spread,
}

/// What one image of a volume leaves, for it to be looked at and for others to attend to.
#[derive(Default)]
pub(in crate::networks) struct Prepared {
    /// P2 to P5 of the image.
    pub(super) levels: Vec<Tensor>,
    pub(super) keys: Vec<Keys>,
}

impl Prepared {
    /// The same without what is only needed while it is looked at.
    pub fn lent(self) -> Self {
        Self { levels: if self.keys.is_empty() { self.levels } else { Vec::new() }, keys: self.keys }
    }
}

impl Rcnn {
    /// The size in which an image `[H, W]` is shown.
    pub(super) fn shown(&self, image: [i64; 2]) -> [i64; 2] {
        self.config.scale.map_or(image, |scale| scale.shown(image))
    }

    /// Images `[M, C, H, W]` in the size in which they are shown.
    pub(super) fn resized(&self, images: &Tensor) -> Result<Tensor, NetworkError> {
        let size = images.size();
        let shown = self.shown([size[2], size[3]]);
        if shown == [size[2], size[3]] {
            return Ok(images.shallow_clone());
        }
        Ok(images.f_upsample_bilinear2d(shown, false, None, None)?)
    }

    /// P2 to P5 of images `[M, slices, H, W]`.
    pub(super) fn levels(
        &self,
        weights: &Weights,
        images: &Tensor,
        mode: Mode,
    ) -> Result<Vec<Tensor>, NetworkError> {
        let size = images.size();
        let missing = |length: i64| (MULTIPLE - length % MULTIPLE) % MULTIPLE;
        let padded = images.f_constant_pad_nd([0, missing(size[3]), 0, missing(size[2])])?;
        match &self.body {
            Body::Pyramid(body, pyramid) => pyramid.forward(weights, &body.forward(weights, &padded, mode)?),
            Body::Plain(body) => Ok(vec![body.forward(weights, &padded)?]),
        }
    }

    /// The features of bags `[B, stacks * slices, H, W]`.
    pub(super) fn see(&self, weights: &Weights, bags: &Tensor, mode: Mode) -> Result<Seen, NetworkError> {
        let (size, stacks) = (bags.size(), self.config.stacks);
        let images = bags.f_reshape([size[0] * stacks, self.config.slices, size[2], size[3]])?;
        if !self.looks_around() {
            // Nobody asks for the images around.
            let middle = middles(&images, stacks)?;
            let levels = self.levels(weights, &middle, mode)?;
            return Ok(Seen { levels, around: None, spread: Vec::new() });
        }
        let all = self.levels(weights, &images, mode)?;
        let middle = all.iter().map(|level| middles(level, stacks)).collect::<Result<Vec<_>, _>>()?;
        if self.config.attention.is_none_or(|attention| attention.at == At::Rcnn) {
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

    /// Returns what images `[M, slices, H, W]` of a volume leave, one for each.
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
