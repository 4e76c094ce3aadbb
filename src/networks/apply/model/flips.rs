//! Logits averaged over networks, and over mirrored inputs.

use tch::Tensor;

use super::{InferOptions, InputView, Model, NetworkError};
use crate::networks::tensors::scalar::times;

impl Model {
    /// Logits `[N, classes, D, H, W]` of `[N, C, D, H, W]`: the mean over the networks, and over all combinations
    /// of the axes that are to be mirrored.
    ///
    /// nnU-Net averages logits, not probabilities, over mirrored inputs
    /// (`nnUNetPredictor._internal_maybe_mirror_and_predict`) as over folds
    /// (`predict_logits_from_preprocessed_data`).
    pub(super) fn logits(&self, input: &Tensor, options: &InferOptions) -> Result<Tensor, NetworkError> {
        let combinations = combinations(options.flips);
        let mut sum: Option<Tensor> = None;
        for network in &self.networks {
            for axes in &combinations {
                let logits = if axes.is_empty() {
                    self.logits_of(network, input, options)?
                } else {
                    let mirrored = self.mirrored(input, axes)?;
                    self.logits_of(network, &mirrored, options)?.f_flip(axes.as_slice())?
                };
                // The sum is never made in place: a network may give what is its own.
                sum = Some(match sum {
                    Some(sum) => sum.f_add(&logits)?,
                    None => logits,
                });
            }
        }
        let count = self.networks.len() * combinations.len();
        match sum {
            Some(sum) if count > 1 => times(&sum, 1.0 / count as f64),
            Some(sum) => Ok(sum),
            None => Err(super::no_logits("no network")),
        }
    }

    /// The input mirrored along axes of the logits. The slices of a stack or a bag are its channels, one row of them for
    /// each channel of the scan.
    pub(super) fn mirrored(&self, input: &Tensor, axes: &[i64]) -> Result<Tensor, NetworkError> {
        let size = input.size();
        let (InputView::Stack { .. } | InputView::Bag { .. }, &[count, _, _, height, width]) =
            (&self.view, size.as_slice())
        else {
            return Ok(input.f_flip(axes)?);
        };
        // `[N, C, slices, H, W]`: the axes of the logits are its own.
        let slices = self.view.channels() as i64;
        let apart = input.f_reshape([count, -1, slices, height, width])?;
        Ok(apart.f_flip(axes)?.f_reshape(size.as_slice())?)
    }
}

/// Every set of the axes to mirror, as axes of `[N, C, D, H, W]`; the empty one first.
fn combinations(flips: [bool; 3]) -> Vec<Vec<i64>> {
    let mut sets = vec![Vec::new()];
    for (axis, _) in (2..).zip(flips).filter(|(_, flip)| *flip) {
        let with: Vec<_> = sets.iter().map(|set| [&set[..], &[axis]].concat()).collect();
        sets.extend(with);
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_axes_once() {
        assert_eq!(combinations([false; 3]), [Vec::<i64>::new()]);
        assert_eq!(combinations([false, true, true]), [vec![], vec![3], vec![4], vec![3, 4]]);
        assert_eq!(combinations([true; 3]).len(), 8);
    }
}
