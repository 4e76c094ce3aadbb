//! How near features of one label lie to each other, and how far from those of others (Baur et al., MICCAI 2017).

use tch::{Kind, Tensor};

use super::overlap::one_minus;
use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::scalar::{at_least, plus, times};

/// Features that are no longer than this point nowhere: they are at a right angle to all, and nothing moves them.
const SHORTEST: f64 = 1e-6;

/// The mean over all pairs of features `[N, C]` of `d²` where their labels `[N]` are equal, and of `max(0, margin − d)²` where
/// they are not; `d` is 1 minus the cosine of the angle between them. 0 where there is no pair.
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal length.
///
/// # Source
/// Baur et al., MICCAI 2017, with the angular distance
pub fn embedding(features: &Tensor, labels: &Tensor, margin: f64) -> Result<Tensor, NetworkError> {
    let count = features.size().first().copied().unwrap_or(0);
    let length = features.f_mul(features)?.f_sum_dim_intlist([1i64].as_slice(), true, None::<Kind>)?;
    let least = at_least(&length, SHORTEST * SHORTEST)?;
    let points = length.f_detach()?.f_ge_tensor(&least)?.f_to_kind(features.kind())?;
    let directions = features.f_div(&least.f_sqrt()?).doing("embedding")?.f_mul(&points)?;
    let apart = one_minus(&directions.f_matmul(&directions.f_tr()?)?)?;
    let equal = labels.f_unsqueeze(0)?.f_eq_tensor(&labels.f_unsqueeze(1)?)?.f_to_kind(apart.kind())?;
    let near = apart.f_mul(&apart)?;
    let missing = at_least(&plus(&times(&apart, -1.0)?, margin)?, 0.0)?;
    let far = missing.f_mul(&missing)?;
    let each = near.f_mul(&equal)?.f_add(&far.f_mul(&one_minus(&equal)?)?)?;
    // Each pair once, and nobody with itself.
    let pairs = each.f_triu(1)?.f_sum(None::<Kind>)?;
    times(&pairs, 1.0 / (count * (count - 1) / 2).max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(loss: &Tensor) -> f64 {
        f64::try_from(loss).unwrap()
    }

    #[test]
    fn the_specifications_number() {
        let features = Tensor::from_slice(&[1.0, 0.0, 1.0, 1.0, 0.0, 1.0, -1.0, 1.0]).view([4, 2]);
        let features = features.set_requires_grad(true);
        let labels = Tensor::from_slice(&[1i64, 1, 2, 2]);
        let loss = embedding(&features, &labels, 1.0).unwrap();
        assert!((value(&loss) - 0.111_928_812_542_30).abs() < 1e-12, "{}", value(&loss));
        // A longer feature points where it did, and nothing pulls it in its own direction.
        let scaled = embedding(&(&features * 3.0), &labels, 1.0).unwrap();
        assert!((value(&scaled) - value(&loss)).abs() < 1e-12);
        let gradient = &Tensor::f_run_backward(&[&loss], &[&features], false, false).unwrap()[0];
        let along = (gradient * &features).sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
        assert!(value(&along.abs().max()) < 1e-12);
        assert!(value(&gradient.abs().max()) > 0.01);
    }

    #[test]
    fn of_none_of_one_and_of_nothing_there_is_a_number() {
        let of = |count: i64| {
            let features =
                Tensor::zeros([count, 3], (Kind::Double, tch::Device::Cpu)).set_requires_grad(true);
            let labels = Tensor::zeros([count], (Kind::Int64, tch::Device::Cpu));
            let loss = embedding(&features, &labels, 1.0).unwrap();
            let gradient = &Tensor::f_run_backward(&[&loss], &[&features], false, false).unwrap()[0];
            assert!(bool::try_from(gradient.isfinite().all()).unwrap());
            value(&loss)
        };
        assert_eq!([of(0), of(1)], [0.0, 0.0]);
        // Features without a direction are at a right angle to all: one distance of equals.
        assert_eq!(of(2), 1.0);
    }
}
