//! Labels that have a head each, and what is decided of their logits.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::{Model, NetworkError, no_logits};
use crate::networks::tensors::scalar::{plus, times};
use crate::networks::{Activation, Thresholds};

impl Model {
    /// Returns the same model, whose logits are these.
    #[must_use]
    pub(in crate::networks) fn activated_by(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// The same, for labels with a head each: a voxel is inside where the probability is above the label's threshold,
    /// 0.5 where it is not said. Labels are named as the model names them.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for a model without such heads, for names that it does not have, and for a threshold
    /// that is not between 0 and 1.
    pub fn with_thresholds(self, thresholds: &Thresholds) -> Result<Self, NetworkError> {
        let logits = thresholds.logits(self.activation, &self.label_names)?;
        Ok(Self { thresholds: logits, ..self })
    }

    /// Returns what the model's logits are of.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Returns the labels within each label that holds others, where the model's card says so.
    pub fn regions(&self) -> &BTreeMap<String, Vec<String>> {
        &self.regions
    }

    /// Returns what is decided of sums of logits, whose channels lie along an axis, and of their weights: a
    /// class for each voxel, or a bit for each label.
    pub(super) fn decided(
        &self,
        sums: &Tensor,
        weights: Option<&Tensor>,
        axis: i64,
    ) -> Result<Tensor, NetworkError> {
        if !self.activation.overlaps() {
            return Ok(sums.f_argmax(axis, false)?);
        }
        let mut bits: Option<Tensor> = None;
        for head in 0..self.classes() {
            let sums = sums.f_select(axis, head)?;
            let threshold = self.thresholds.get(usize::try_from(head).unwrap_or(0)).copied().unwrap_or(0.0);
            let least = match weights {
                Some(weights) => times(weights, f64::from(threshold))?,
                None => plus(&sums.f_zeros_like()?, f64::from(threshold))?,
            };
            let own = times(&sums.f_gt_tensor(&least)?.f_to_kind(Kind::Float)?, f64::from(1u32 << head))?;
            bits = Some(match bits {
                Some(bits) => bits.f_add(&own)?,
                None => own,
            });
        }
        bits.ok_or_else(|| no_logits("no head"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::maps::{MapKinds, share};
    use super::super::{InferOptions, InputView, Volume};
    use super::*;
    use crate::networks::architectures::config::{Attention, Level, Supervision, Units, Variant};
    use crate::networks::{Device, NetworkConfig, UnetConfig};

    const SIZE: [usize; 3] = [7, 9, 8];

    fn model(labels: usize, view: InputView) -> Model {
        let level = |channels, depth| Level { channels, kernel: [depth, 3, 3], pool: [depth.min(2), 2, 2] };
        let config = UnetConfig {
            in_channels: view.channels() as i64,
            classes: labels as i64,
            levels: vec![level(2, 1), level(3, 3)],
            attention: Attention::Off,
            variant: Variant::Paper,
            dropout: 0.0,
            supervision: Supervision::default(),
            units: Units::default(),
        };
        let names = ["a", "b", "c"].map(str::to_owned)[..labels].to_vec();
        let model = Model::seeded(&NetworkConfig::Unet(config), view, names, 5, Device::CPU).unwrap();
        model.activated_by(Activation::Sigmoid)
    }

    fn scan(size: [usize; 3]) -> Vec<f32> {
        (0..size.iter().product::<usize>()).map(|i| (i * 7919 % 101) as f32 / 50.0 - 1.0).collect()
    }

    /// Bits of planes of maps: what is above a threshold for each label.
    fn above(maps: &super::super::super::maps::Maps, thresholds: &[f32]) -> Vec<(u16, bool)> {
        let planes = |label: usize| -> Vec<u8> {
            let planes = &maps.probabilities[label];
            (0..planes.size()[0]).flat_map(|d| planes.plane(d).unwrap()).collect()
        };
        let mut found = vec![(0, true); planes(0).len()];
        for (label, threshold) in thresholds.iter().enumerate() {
            for (found, byte) in found.iter_mut().zip(planes(label)) {
                let p = share(byte);
                found.0 |= u16::from(p > *threshold) << label;
                // A map is stored in steps: what is near the threshold it does not say.
                found.1 &= (p - threshold).abs() > 0.005;
            }
        }
        found
    }

    #[test]
    fn each_label_has_what_is_above_its_threshold() {
        let window = [4, 6, 5];
        let views = [InputView::Patch { size: window }, InputView::Stack { slices: 3, stride: 1 }];
        for labels in [1, 2, 3] {
            for view in &views {
                let named = [("a".to_owned(), 0.52)].into_iter().collect();
                let model = model(labels, view.clone()).with_thresholds(&Thresholds::Named(named)).unwrap();
                let keep = MapKinds { probabilities: true, ..MapKinds::default() };
                let options = InferOptions { keep, overlap: 0.5, ..InferOptions::default() };
                let voxels = scan(SIZE);
                let found = model.segment_with_maps(&voxels, SIZE, &options).unwrap();
                assert_eq!(found.maps.probabilities.len(), labels);
                let thresholds = &[0.52, 0.5, 0.5][..labels];
                let mut sure = 0;
                for (bits, (expected, is_sure)) in found.classes.iter().zip(above(&found.maps, thresholds)) {
                    if is_sure {
                        assert_eq!(*bits, expected);
                        sure += 1;
                    }
                }
                assert!(sure > 0, "probabilities all about the threshold");
                // The classes are the same without maps, and as a GPU decides them.
                let plain = InferOptions { keep: MapKinds::default(), ..options };
                assert_eq!(model.segment(&voxels, SIZE, &plain).unwrap(), found.classes);
                if let InputView::Patch { size } = view {
                    let volume = Volume { voxels: &voxels, size: SIZE };
                    let on_device = model.by_window_on_device(&[volume], *size, &options).unwrap();
                    assert_eq!(on_device[0].classes, found.classes);
                }
            }
        }
    }

    #[test]
    fn networks_of_heads_and_of_classes_are_no_ensemble() {
        let view = || InputView::Patch { size: [4, 6, 5] };
        let classes = model(2, view()).activated_by(Activation::Softmax);
        let error = Model::ensemble([model(2, view()), classes]).err().unwrap().to_string();
        assert!(error.contains("activation") && error.contains("sigmoid expected, softmax found"), "{error}");
    }
}
