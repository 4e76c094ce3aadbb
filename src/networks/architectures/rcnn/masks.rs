//! The masks of things: a small plane for each region, what it is told against, and its way back onto the image.

use tch::{Reduction, Tensor};

use super::boxes::Box2;
use super::layers::{Conv, fan_out, nothing_of};
use super::loss::Sampled;
use super::numbers;
use super::truth::{SIDE, Truth};
use crate::networks::NetworkError;
use crate::networks::sample::PlaneMask;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::weights::{Init, Layout, Parameter, Weights};

/// Places of a region along each axis, as the head for masks sees it.
pub(super) const BINS: usize = 14;

/// Convolutions before the mask is enlarged.
const CONVOLUTIONS: usize = 4;

/// The number of places by which a mask is enlarged on each side, before it comes onto an image.
const PADDING: usize = 1;

/// The share above which a pixel is of a thing.
const INSIDE: f64 = 0.5;

/// Gives each region a mask for each class, by torchvision's names.
pub(super) struct MaskHead {
    convolutions: Vec<Conv>,
    enlarge: [Parameter; 2],
    logits: Conv,
}

impl MaskHead {
    pub fn new(layout: &mut Layout, name: &str, [width, channels, classes]: [i64; 3]) -> Self {
        let nothing = Init::Constant(0.0);
        let mut convolutions = Vec::with_capacity(CONVOLUTIONS);
        for place in 0..CONVOLUTIONS {
            let (input, name) =
                (if place == 0 { width } else { channels }, format!("{name}.mask_head.{place}.0"));
            let shape = [input, channels, 3, 1];
            convolutions.push(Conv::new(layout, &name, shape, fan_out(channels, 3), Some(nothing)));
        }
        let named = |part: &str| format!("{name}.mask_predictor.{part}");
        let weight = named("conv5_mask.weight");
        // PyTorch counts what one input takes part in by the first axis, which is the input's here.
        let weight = layout.parameter(weight, &[channels, channels, 2, 2], fan_out(channels, 2));
        let bias = layout.parameter(named("conv5_mask.bias"), &[channels], nothing);
        let shape = [channels, classes, 1, 1];
        let logits = Conv::new(layout, &named("mask_fcn_logits"), shape, fan_out(classes, 1), Some(nothing));
        Self { convolutions, enlarge: [weight, bias], logits }
    }

    /// Logits `[R, classes, 28, 28]` of regions `[R, C, 14, 14]`.
    pub fn forward(&self, weights: &Weights, regions: &Tensor) -> Result<Tensor, NetworkError> {
        let mut x = regions.shallow_clone();
        for conv in &self.convolutions {
            x = conv.forward(weights, &x)?.f_relu()?;
        }
        let [weight, bias] = self.enlarge.map(|parameter| weights.get(parameter));
        let x = x
            .f_conv_transpose2d(weight, Some(bias), [2; 2], [0; 2], [0; 2], 1, [1; 2])
            .doing("convolution")?;
        self.logits.forward(weights, &x.f_relu()?)
    }
}

/// The loss of masks: logits `[R, classes, 28, 28]` of the regions of things, each of its own class.
pub(super) fn loss(logits: &Tensor, regions: &Sampled, truths: &[Truth]) -> Result<Tensor, NetworkError> {
    let (boxes, things) = regions.of_things();
    if things.is_empty() {
        return nothing_of(logits);
    }
    let (mut planes, mut rows) = (Vec::with_capacity(things.len() * SIDE * SIDE), Vec::new());
    let classes = usize::try_from(logits.size()[1]).unwrap_or(1);
    for (image, own) in boxes.iter().enumerate() {
        for region in own {
            let Some((class, thing)) = things.get(rows.len()).copied() else { return Err(unmatched()) };
            let mask = truths.get(image).and_then(|truth| truth.masks.get(thing)).ok_or_else(unmatched)?;
            planes.extend(mask.in_region(*region));
            rows.push(rows.len() * classes + class);
        }
    }
    let side = SIDE as i64;
    let chosen = logits.f_reshape([-1, side, side])?;
    let chosen = chosen.f_index_select(0, &numbers::index(&rows, logits.device())?)?;
    let truth = numbers::like(&planes, &chosen)?.f_view([-1, side, side])?;
    let none = None::<&Tensor>;
    Ok(chosen.f_binary_cross_entropy_with_logits(&truth, none, none, Reduction::Mean)?)
}

fn unmatched() -> NetworkError {
    NetworkError::Shape {
        what: "the masks of an image's things".to_owned(),
        expected: "one for each thing".to_owned(),
        found: "fewer".to_owned(),
    }
}

/// A mask of 28x28 shares in its box on an image `[H, W]`, by torchvision's arithmetic: the box grows by the mask's border
/// and is cut to whole pixels, and a pixel is the thing's where the share there is above a half. None where none is.
pub(super) fn pasted(shares: &[f64], bounds: Box2, image: [i64; 2]) -> PlaneMask {
    let [x1, y1, x2, y2] = bounds;
    let factor = (SIDE + 2 * PADDING) as f64 / SIDE as f64;
    let grown = |low: f64, high: f64| {
        let (half, middle) = ((high - low) * 0.5 * factor, (high + low) * 0.5);
        [(middle - half) as i64, (middle + half) as i64]
    };
    let (rows, columns) = (grown(y1, y2), grown(x1, x2));
    let extent = |[low, high]: [i64; 2], length: i64| [low.max(0), (high + 1).min(length).max(low.max(0))];
    let [(top, bottom), (left, right)] = [(rows, image[0]), (columns, image[1])].map(|(ends, length)| {
        let [low, high] = extent(ends, length);
        (low, high)
    });
    let (along_rows, along_columns) = (read(rows, top..bottom), read(columns, left..right));
    let at = |row: usize, column: usize| {
        // Beyond its border a mask is 0.
        let inside = PADDING..SIDE + PADDING;
        match inside.contains(&row) && inside.contains(&column) {
            true => shares.get((row - PADDING) * SIDE + column - PADDING).copied().unwrap_or(0.0),
            false => 0.0,
        }
    };
    let mut pixels = Vec::with_capacity(along_rows.len() * along_columns.len());
    for (row, down) in &along_rows {
        for (column, right) in &along_columns {
            let line = |row: usize| at(row, *column) * (1.0 - right) + at(row, column + 1) * right;
            pixels.push(line(*row) * (1.0 - down) + line(row + 1) * down > INSIDE);
        }
    }
    let start = [top, left].map(|start| usize::try_from(start).unwrap_or(0));
    PlaneMask { start, size: [along_rows.len(), along_columns.len()], pixels: pixels.into() }
}

/// Returns, for each of some pixels of a box `[first, last]`, the place of the bordered mask that it is read
/// from, and how far it lies towards the next one.
fn read([first, last]: [i64; 2], wanted: std::ops::Range<i64>) -> Vec<(usize, f64)> {
    let side = SIDE + 2 * PADDING;
    let length = (last - first + 1).max(1);
    let factor = side as f64 / length as f64;
    let place = |pixel: i64| {
        let at = (((pixel - first) as f64 + 0.5) * factor - 0.5).max(0.0);
        let below = (at as usize).min(side - 1);
        // The last place has no next one.
        if below + 1 < side { (below, at - below as f64) } else { (side - 1, 0.0) }
    };
    wanted.map(place).collect()
}

/// Returns the shares of each region's class, from what a head says of masks `[R, classes, 28, 28]`.
pub(super) fn of_classes(logits: &Tensor, classes: &[u8]) -> Result<Vec<Vec<f64>>, NetworkError> {
    let (size, side) = (logits.size(), SIDE as i64);
    let count = usize::try_from(size[1]).unwrap_or(1);
    let rows: Vec<usize> =
        classes.iter().enumerate().map(|(region, class)| region * count + usize::from(*class)).collect();
    let chosen =
        logits.f_reshape([-1, side * side])?.f_index_select(0, &numbers::index(&rows, logits.device())?)?;
    let shares = numbers::of(&chosen.f_sigmoid()?)?;
    Ok(shares.chunks_exact(SIDE * SIDE).map(<[f64]>::to_vec).collect())
}
