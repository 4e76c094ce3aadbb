//! What turns gradients into steps: Adam, AdamW, or stochastic gradient descent with momentum.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::adam::Adam;
use crate::networks::NetworkError;
use crate::networks::tensors::scalar::{scale, times};

/// The rule of steps, as PyTorch's optimizers of these names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum OptimizerConfig {
    /// Kingma and Ba, arXiv 1412.6980; weight decay is added to the gradient.
    Adam {
        /// How slowly the means of gradients and of their squares forget, 0 to 1.
        betas: [f64; 2],
        /// The number that is added to the root of the squares.
        epsilon: f64,
    },
    /// Loshchilov and Hutter, arXiv 1711.05101; weights decay by themselves.
    AdamW {
        /// How slowly the means forget, as Adam's.
        betas: [f64; 2],
        /// The number that is added to the root of the squares, as Adam's.
        epsilon: f64,
    },
    /// Stochastic gradient descent; weight decay is added to the gradient.
    Sgd {
        /// The share of the last change that a step keeps, 0 to 1.
        momentum: f64,
        /// Whether a step looks ahead along the momentum (Nesterov).
        nesterov: bool,
    },
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam { betas: [0.9, 0.999], epsilon: 1e-8 }
    }
}

/// A rule with its state, laid out as the parameters are.
pub(in crate::networks) enum Optimizer {
    Adam(Adam),
    Sgd { momentum: f64, nesterov: bool, velocity: Tensor },
}

impl Optimizer {
    /// The state before the first step.
    pub fn new(config: &OptimizerConfig, flat: &Tensor) -> Result<Self, NetworkError> {
        Ok(match *config {
            OptimizerConfig::Adam { betas, epsilon } => Self::Adam(Adam::new(flat, betas, epsilon, false)?),
            OptimizerConfig::AdamW { betas, epsilon } => Self::Adam(Adam::new(flat, betas, epsilon, true)?),
            OptimizerConfig::Sgd { momentum, nesterov } => {
                Self::Sgd { momentum, nesterov, velocity: flat.f_zeros_like()? }
            }
        })
    }

    /// The state by name, for a checkpoint.
    pub fn tensors(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            Self::Adam(adam) => vec![("adam.mean", &adam.mean), ("adam.square", &adam.square)],
            Self::Sgd { velocity, .. } => vec![("sgd.velocity", velocity)],
        }
    }

    /// The state, to be replaced by a checkpoint's.
    pub fn tensors_mut(&mut self) -> Vec<(&'static str, &mut Tensor)> {
        match self {
            Self::Adam(adam) => vec![("adam.mean", &mut adam.mean), ("adam.square", &mut adam.square)],
            Self::Sgd { velocity, .. } => vec![("sgd.velocity", velocity)],
        }
    }

    /// Makes one step in place; `count` is 1 for the first.
    pub fn step(
        &mut self,
        flat: &Tensor,
        gradient: &Tensor,
        count: u64,
        learning_rate: f64,
        weight_decay: f64,
    ) -> Result<(), NetworkError> {
        match self {
            Self::Adam(adam) => adam.step(flat, gradient, count, learning_rate, weight_decay),
            Self::Sgd { momentum, nesterov, velocity } => tch::no_grad(|| {
                let gradient = gradient.f_add(&times(flat, weight_decay)?)?;
                scale(velocity, *momentum)?;
                let _ = velocity.f_add_(&gradient)?;
                let change = if *nesterov {
                    gradient.f_add(&times(velocity, *momentum)?)?
                } else {
                    velocity.shallow_clone()
                };
                let _ = flat.shallow_clone().f_sub_(&times(&change, learning_rate)?)?;
                Ok(())
            }),
        }
    }
}

/// The norm of a gradient, and the gradient, scaled down where its norm is above `most` (0 for any), as
/// PyTorch's `clip_grad_norm_`.
pub(in crate::networks) fn clipped(gradient: Tensor, most: f64) -> Result<(f64, Tensor), NetworkError> {
    let norm = gradient.f_norm()?.f_double_value(&[])?;
    let share = most / (norm + 1e-6);
    if most > 0.0 && share < 1.0 { Ok((norm, times(&gradient, share)?)) } else { Ok((norm, gradient)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::golden::Golden;

    fn numbers(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor).unwrap()
    }

    fn near(found: &[f64], expected: &[f64], what: &str) {
        assert_eq!(found.len(), expected.len(), "{what}");
        let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-12, "{what}: {worst:e}, {found:?} for {expected:?}");
    }

    #[test]
    fn as_torchs_optimizers() {
        let golden = Golden::read("steps.safetensors");
        let cases = golden.header["optimizers"].as_array().unwrap();
        assert_eq!(cases.len(), 8);
        for case in cases {
            let config: OptimizerConfig = serde_json::from_value(case["optimizer"].clone()).unwrap();
            let (rate, decay) = (case["rate"].as_f64().unwrap(), case["decay"].as_f64().unwrap());
            let most = case["clip_norm"].as_f64().unwrap();
            let flat = Tensor::from_slice(&golden.floats("start"));
            let mut optimizer = Optimizer::new(&config, &flat).unwrap();
            let ends = golden.rows(case["ends"].as_str().unwrap());
            assert_eq!(ends.len(), 7);
            for (step, (gradient, end)) in golden.rows("gradients").iter().zip(&ends).enumerate() {
                let (_, gradient) = clipped(Tensor::from_slice(gradient), most).unwrap();
                optimizer.step(&flat, &gradient, step as u64 + 1, rate, decay).unwrap();
                near(&numbers(&flat), end, &format!("{config:?} step {step}"));
            }
        }
    }

    #[test]
    fn momentum_by_hand() {
        let flat = Tensor::from_slice(&[1.0]);
        let config = OptimizerConfig::Sgd { momentum: 0.5, nesterov: true };
        let mut sgd = Optimizer::new(&config, &flat).unwrap();
        let one = Tensor::from_slice(&[1.0]);
        // Velocities 1 and 1.5; changes 1 + 0.5 · 1 and 1 + 0.5 · 1.5.
        sgd.step(&flat, &one, 1, 0.1, 0.0).unwrap();
        near(&numbers(&flat), &[0.85], "first");
        sgd.step(&flat, &one, 2, 0.1, 0.0).unwrap();
        near(&numbers(&flat), &[0.675], "second");
    }

    #[test]
    fn only_a_long_gradient_is_shortened() {
        let gradient = || Tensor::from_slice(&[3.0, 4.0]);
        for most in [0.0, 5.1] {
            let (norm, same) = clipped(gradient(), most).unwrap();
            assert_eq!((norm, numbers(&same)), (5.0, vec![3.0, 4.0]));
        }
        let (norm, short) = clipped(gradient(), 1.0).unwrap();
        assert_eq!(norm, 5.0);
        near(&numbers(&short), &[3.0 / 5.000_001, 4.0 / 5.000_001], "shortened");
        let (norm, _) = clipped(Tensor::from_slice(&[f64::NAN, 1.0]), 1.0).unwrap();
        assert!(norm.is_nan());
        assert_eq!(clipped(Tensor::from_slice(&[0.0]), 1.0).unwrap().0, 0.0);
    }
}
