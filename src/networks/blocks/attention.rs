//! Attention maps: the paper's, from the features that they weigh, and the gate, from those below as well.

use tch::Tensor;

use super::convolution::{Conv, Parts, fan, shape};
use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::weights::{Parameter, Weights};

/// A map between 0 and 1 from the features themselves, which it then weighs.
///
/// # Source
/// Wang et al., MICCAI 2019, arXiv 1906.03906: convolution to half the channels, ReLU, convolution to one
/// channel, sigmoid, both with the level's kernel and a bias; the features come out as `x * map + x`.
pub(in crate::networks) struct AttentionMap {
    first: Conv,
    second: Conv,
}

impl AttentionMap {
    pub fn new(parts: &mut Parts, name: &str, channels: i64, kernel: [i64; 3]) -> Self {
        let half = (channels / 2).max(1);
        Self {
            first: Conv::new(parts, &format!("{name}.first"), channels, half, kernel),
            second: Conv::new(parts, &format!("{name}.second"), half, 1, kernel),
        }
    }

    /// The weighed features `x * map + x`, and the map.
    pub fn forward(&self, weights: &Weights, x: &Tensor) -> Result<(Tensor, Tensor), NetworkError> {
        let hidden = self.first.forward(weights, x)?.f_relu()?;
        let map = self.second.forward(weights, &hidden)?.f_sigmoid()?;
        Ok((x.f_mul(&map)?.f_add(x)?, map))
    }
}

/// An additive attention gate on the features that skip a level, opened by those from below.
///
/// With skip features `x` of `C` channels and the coarser features `g` from below: `a =
/// up(sigmoid(ψ(relu(θ(x) + φ(g)))))`, and `x * a` goes on. θ is a convolution to C/2 channels whose kernel
/// and stride are the pool between the two levels, without a bias; φ is 1x1x1 to C/2 channels and ψ 1x1x1 to
/// one, with biases; `up` is trilinear with voxel faces aligned (`align_corners = false`), from the grid of
/// `g` to that of `x`.
///
/// # Source
/// Oktay et al., MIDL 2018, arXiv 1804.03999, equations 1 and 2, with the strided θ of the authors' code. The
/// further 1x1x1 convolution and batch norm that the code has behind the product are not in the paper, nor
/// here.
pub(in crate::networks) struct Gate {
    pool: [i64; 3],
    theta: Parameter,
    phi: Conv,
    psi: Conv,
}

impl Gate {
    pub fn new(parts: &mut Parts, name: &str, channels: i64, below: i64, pool: [i64; 3]) -> Self {
        let half = (channels / 2).max(1);
        let theta_shape = shape(half, channels, pool);
        let theta = parts.parameter(&format!("{name}.theta.weight"), &theta_shape, fan(channels, pool));
        let phi = Conv::new(parts, &format!("{name}.phi"), below, half, [1; 3]);
        let psi = Conv::new(parts, &format!("{name}.psi"), half, 1, [1; 3]);
        Self { pool, theta, phi, psi }
    }

    /// The gated features `x * map`, and the map on their grid.
    pub fn forward(
        &self,
        weights: &Weights,
        x: &Tensor,
        below: &Tensor,
    ) -> Result<(Tensor, Tensor), NetworkError> {
        let theta = x
            .f_conv3d(weights.get(self.theta), None::<&Tensor>, self.pool, [0; 3], [1; 3], 1)
            .doing("attention gate")?;
        let hidden = theta.f_add(&self.phi.forward(weights, below)?)?.f_relu()?;
        let coarse = self.psi.forward(weights, &hidden)?.f_sigmoid()?;
        let size = x.size();
        let size = size.get(2..).unwrap_or_default();
        let map = coarse.f_upsample_trilinear3d(size, false, None, None, None).doing("attention gate")?;
        Ok((x.f_mul(&map)?, map))
    }
}
