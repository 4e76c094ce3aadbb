//! How much a sample counts: the more, the worse it is segmented (Nie et al., MICCAI 2018, "sample attention").

use tch::{Kind, Tensor};

use super::overlap::{one_minus, over_voxels};
use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::scalar::{at_least, power, times};

/// `(1 - dsc)^β` for each sample of `[N, C, …]`, `[N]`, without a gradient. `dsc` is the mean soft Dice of the
/// foreground classes that the truth has a voxel of. Where it has none the paper says nothing: `dsc` is then 1 minus the
/// mean probability of foreground, so that what is found there counts.
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal shape.
///
/// # Source
/// Nie et al., MICCAI 2018, equation 3, with β = 2
pub fn sample_weights(probabilities: &Tensor, truth: &Tensor, beta: f64) -> Result<Tensor, NetworkError> {
    let (probabilities, truth) = (probabilities.f_detach()?, truth.f_detach()?);
    let classes = probabilities.size().get(1).copied().unwrap_or(1);
    let foreground = |x: &Tensor| x.f_narrow(1, 1, classes - 1);
    let both = over_voxels(&foreground(&probabilities.f_mul(&truth).doing("sample attention")?)?)?;
    let found = over_voxels(&foreground(&probabilities)?)?;
    let drawn = over_voxels(&foreground(&truth)?)?;
    let present = drawn.f_gt_tensor(&drawn.f_zeros_like()?)?;
    let dice =
        times(&both, 2.0)?.f_div(&found.f_add(&drawn)?)?.f_where_self(&present, &drawn.f_zeros_like()?)?;
    let over_classes = |x: &Tensor| x.f_sum_dim_intlist([1i64].as_slice(), false, None::<Kind>);
    let count = over_classes(&present.f_to_kind(dice.kind())?)?;
    let mean = over_classes(&dice)?.f_div(&at_least(&count, 1.0)?)?;
    let voxels: i64 = probabilities.size().iter().skip(2).product();
    let none = one_minus(&times(&over_classes(&found)?, 1.0 / voxels.max(1) as f64)?)?;
    let any = count.f_gt_tensor(&count.f_zeros_like()?)?;
    let dice = mean.f_where_self(&any, &none)?;
    Ok(power(&at_least(&one_minus(&dice)?, 0.0)?, beta)?.f_detach()?)
}

#[cfg(test)]
mod tests {
    use super::super::{Absent, generalized_dice_each};
    use super::*;

    fn numbers(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor).unwrap()
    }

    #[test]
    fn the_specifications_number() {
        let p = Tensor::from_slice(&[0.2, 0.8, 0.9, 0.9, 0.8, 0.2, 0.1, 0.1]).view([1, 2, 4]);
        let g = Tensor::from_slice(&[0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]).view([1, 2, 4]);
        let p = p.set_requires_grad(true);
        let weight = sample_weights(&p, &g, 2.0).unwrap();
        assert!(!weight.requires_grad());
        // 0.234375 (1 - 0.727…)²; the loss has an ε.
        let weight = numbers(&weight)[0];
        assert!((weight * 0.234_375 - 0.017_432_851_3).abs() < 1e-10, "{weight}");
        let loss = numbers(&generalized_dice_each(&p.detach(), &g, Absent::Max).unwrap())[0];
        assert!((weight * loss - 0.017_432_851_3).abs() < 2e-6);
    }

    #[test]
    fn classes_that_are_not_there_take_no_part_and_none_at_all_counts_what_is_found() {
        // The first sample has class 1 alone, the second nothing.
        let p = [0.1, 0.9, 0.8, 0.1, 0.1, 0.0, 0.7, 0.5, 0.2, 0.3, 0.1, 0.2];
        let g = [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        let [p, g] = [p, g].map(|numbers: [f64; 12]| Tensor::from_slice(&numbers).view([2, 3, 2]));
        let found = numbers(&sample_weights(&p, &g, 1.0).unwrap());
        let dice = 2.0 * 0.8 / (0.9 + 1.0);
        assert!((found[0] - (1.0 - dice)).abs() < 1e-12 && (found[1] - 0.4).abs() < 1e-12, "{found:?}");
    }
}
