//! A pyramid of features: each level of a backbone, with what is known from those below it.

use tch::Tensor;

use super::config::LEVELS;
use super::layers::{Conv, pyramid};
use crate::networks::NetworkError;
use crate::networks::tensors::weights::{Init, Layout, Weights};

/// The pyramid of Lin et al. 2017, P2 to P5.
pub(super) struct Pyramid {
    inner: Vec<Conv>,
    outer: Vec<Conv>,
}

impl Pyramid {
    pub fn new(layout: &mut Layout, name: &str, channels: [i64; LEVELS], width: i64) -> Self {
        let bias = Some(Init::Constant(0.0));
        let named = |part: &str, level: usize| format!("{name}.{part}.{level}.0");
        let mut inner = Vec::with_capacity(LEVELS);
        for (level, input) in channels.into_iter().enumerate() {
            let init = pyramid(input, 1);
            inner.push(Conv::new(layout, &named("inner_blocks", level), [input, width, 1, 1], init, bias));
        }
        let outer = (0..LEVELS).map(|level| {
            Conv::new(layout, &named("layer_blocks", level), [width, width, 3, 1], pyramid(width, 3), bias)
        });
        let outer = outer.collect();
        Self { inner, outer }
    }

    /// P2 to P5 of a backbone's stages.
    pub fn forward(&self, weights: &Weights, stages: &[Tensor]) -> Result<Vec<Tensor>, NetworkError> {
        let mut levels = Vec::with_capacity(LEVELS);
        let mut above: Option<Tensor> = None;
        for ((stage, inner), outer) in stages.iter().zip(&self.inner).zip(&self.outer).rev() {
            let mut x = inner.forward(weights, stage)?;
            if let Some(above) = above {
                let size = x.size();
                x = x.f_add(&above.f_upsample_nearest2d([size[2], size[3]], None, None)?)?;
            }
            levels.push(outer.forward(weights, &x)?);
            above = Some(x);
        }
        levels.reverse();
        Ok(levels)
    }
}

/// P6: every other place of P5.
pub(super) fn coarsest(fifth: &Tensor) -> Result<Tensor, NetworkError> {
    Ok(fifth.f_max_pool2d([1; 2], [2; 2], [0; 2], [1; 2], false)?)
}
