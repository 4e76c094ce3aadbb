//! Weights for inference: batch norms lie within the convolutions before them.

use tch::{Kind, Tensor};

use super::Unet;
use crate::networks::NetworkError;
use crate::networks::blocks::convolution::ConvNorm;
use crate::networks::tensors::weights::Weights;

impl Unet {
    /// Weights with which [`Mode::Folded`](crate::networks::blocks::mode::Mode::Folded) gives what [`Mode::Infer`](crate::networks::blocks::mode::Mode::Infer) gives with
    /// `weights`, but for the last bits: a norm with the statistics of inference is a factor and a summand for each
    /// channel, which the convolution before it can have.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] when the memory is refused.
    pub fn folded(&self, weights: &Weights, kind: Kind) -> Result<Weights, NetworkError> {
        let mut values = weights.values();
        for norm in self.norms() {
            norm.fold(weights, &mut values)?;
        }
        let values: Result<Vec<Tensor>, _> = values.iter().map(|value| value.f_to_kind(kind)).collect();
        Weights::fixed(self.layout(), &values?, weights.flat().device())
    }

    fn norms(&self) -> impl Iterator<Item = &ConvNorm> {
        let encoder = self.encoder.iter().flat_map(|block| block.norms());
        let down = self.down.iter().filter_map(|down| down.norm());
        let decoder = self.decoder.iter().flat_map(|decoder| decoder.norms());
        encoder.chain(down).chain(decoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::architectures::config::UnetConfig;
    use crate::networks::blocks::mode::Mode;
    use crate::networks::{Device, NetworkSettings};

    fn config(attention: &str, variant: &str) -> UnetConfig {
        let settings = serde_json::json!({
            "type": "unet", "dims": "2.5d", "levels": 3, "channels": 3, "attention": attention, "variant": variant,
        });
        let NetworkSettings::Unet(settings) = serde_json::from_value(settings).unwrap() else {
            panic!("a U-Net expected")
        };
        settings.resolve(2, 3).unwrap()
    }

    /// Weights whose norms do something.
    fn weights(unet: &Unet, kind: Kind) -> Weights {
        let first = Weights::seeded(unet.layout(), 5, kind, Device::CPU).unwrap();
        let numbers = |like: &Tensor, low: f64, high: f64| {
            let count = like.numel();
            let values: Vec<f64> =
                (0..count).map(|i| low + (high - low) * ((i * 7919 + 13) % 101) as f64 / 101.0).collect();
            Tensor::from_slice(&values).to_kind(kind)
        };
        let (parameters, buffers) = first.snapshot().unwrap();
        let parameters = parameters + numbers(first.flat(), -0.1, 0.1);
        Weights::from_flat(unet.layout(), parameters, numbers(&buffers, 0.5, 2.0)).unwrap()
    }

    fn input(kind: Kind) -> Tensor {
        let values: Vec<f64> = (0..2 * 2 * 5 * 9 * 12).map(|i| f64::from(i * 37 % 97) / 97.0 - 0.4).collect();
        Tensor::from_slice(&values).view([2, 2, 5, 9, 12]).to_kind(kind)
    }

    #[test]
    fn norms_within_convolutions_give_the_same() {
        for (attention, variant) in
            [("off", "paper"), ("gate", "paper"), ("supervised", "paper"), ("unsupervised", "vs_seg")]
        {
            let unet = Unet::new(&config(attention, variant)).unwrap();
            let weights = weights(&unet, Kind::Double);
            let folded = unet.folded(&weights, Kind::Double).unwrap();
            tch::no_grad(|| {
                let expected = unet.forward(&weights, &input(Kind::Double), Mode::Infer).unwrap();
                let found = unet.forward(&folded, &input(Kind::Double), Mode::Folded).unwrap();
                let pairs = expected.attention.iter().zip(&found.attention);
                for (expected, found) in pairs.chain([(&expected.logits, &found.logits)]) {
                    let off = (expected - found).abs().max().double_value(&[]);
                    assert!(off < 1e-11, "{attention} {variant}: {off:e}");
                }
            });
        }
    }

    #[test]
    fn channels_lie_side_by_side() {
        let unet = Unet::new(&config("off", "paper")).unwrap();
        let weights = weights(&unet, Kind::Float);
        let folded = unet.folded(&weights, Kind::Float).unwrap();
        for weights in [weights, folded] {
            let kernels: Vec<Tensor> =
                weights.values().into_iter().filter(|value| value.dim() == 5).collect();
            assert!(kernels.len() > 8 && kernels.iter().all(|kernel| kernel.stride()[1] == 1));
        }
    }

    #[test]
    fn half_the_bits_are_near() {
        let unet = Unet::new(&config("supervised", "paper")).unwrap();
        let weights = weights(&unet, Kind::Float);
        let folded = unet.folded(&weights, Kind::BFloat16).unwrap();
        tch::no_grad(|| {
            let expected = unet.forward(&weights, &input(Kind::Float), Mode::Infer).unwrap().logits;
            let found = unet.forward(&folded, &input(Kind::BFloat16), Mode::Folded).unwrap().logits;
            let range = (expected.max() - expected.min()).double_value(&[]);
            let off = (expected - found.to_kind(Kind::Float)).abs().max().double_value(&[]);
            assert!(off < 0.05 * range, "{off} of {range}");
        });
    }
}
