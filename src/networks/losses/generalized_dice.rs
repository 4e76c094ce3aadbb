//! Soft Dice over all classes at once, each weighed by its rarity.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::overlap::{EPSILON, one_minus, one_minus_ratio, over_voxels, ratio};
use super::{SegmentationLoss, probabilities};
use crate::fields::{Field, FieldKind, Role};
use crate::networks::NetworkError;
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::scalar::plus;

/// What the reference says of it.
pub(super) const DOC: &str = "soft Dice over all classes at once, each weighted by 1 over its squared volume \
                              (Sudre et al. 2017), averaged over samples";

/// What a pipeline file sets beside `type`.
pub(super) const FIELDS: &[Field] = &[Field {
    role: Role::SemanticLater,
    ..Field::semantic(
        "absent",
        FieldKind::Choice(&["max", "skip"]),
        "\"max\"",
        "The weight of a class of which a sample has no voxel: that of the rarest class which is there \
         (`max`), or 0 (`skip`).",
    )
}];

/// The weight of a class that a sample has no voxel of: `1 / 0` says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absent {
    /// The weight of the rarest class which is there: what is found of the class counts as an error.
    #[default]
    Max,
    /// No weight: the sample says nothing of the class.
    Skip,
}

impl Absent {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Soft Dice over all classes at once, each weighed by 1 over its squared volume (Sudre et al. 2017).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneralizedDiceLoss {
    /// The weight of classes that a sample has no voxel of.
    #[serde(default, skip_serializing_if = "Absent::is_default")]
    pub absent: Absent,
}

impl SegmentationLoss for GeneralizedDiceLoss {
    fn of_logits(
        &self,
        logits: &Tensor,
        truth: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<Tensor, NetworkError> {
        let [above, below] = weighed(&probabilities(logits)?, truth, self.absent, weights)?;
        one_minus_ratio(&above, &below)
    }

    fn of_map(&self, map: &Tensor, target: &Tensor) -> Result<Tensor, NetworkError> {
        generalized_dice(map, target, self.absent)
    }
}

/// `1 - (2 Σ_c w_c Σ p g + ε) / (Σ_c w_c Σ (p + g) + ε)`, the mean over samples of `[N, C, …]`, with
/// `w_c = (v_min / v_c)²` from the volumes `v_c` of the sample's truth.
///
/// These are the published weights `1 / v_c²` times the squared volume of the rarest class that is present:
/// the ratio is the same, and ε weighs as much as in plain Dice whatever the volume. A class without a voxel
/// has no published weight; with [`Absent::Max`] it takes that of the rarest class present, which is the greatest, as
/// NiftyNet and MONAI have it. Weights are constants of the gradient.
///
/// # Errors
/// [`NetworkError::Torch`] for tensors of unequal shape.
///
/// # Source
/// Sudre et al., DLMIA 2017, arXiv 1707.03237
pub fn generalized_dice(prediction: &Tensor, truth: &Tensor, absent: Absent) -> Result<Tensor, NetworkError> {
    let [above, below] = weighed(prediction, truth, absent, None)?;
    one_minus_ratio(&above, &below)
}

/// Returns the generalised Dice loss of each sample, `[N]`.
///
/// # Errors
/// As [`generalized_dice`].
pub fn generalized_dice_each(
    prediction: &Tensor,
    truth: &Tensor,
    absent: Absent,
) -> Result<Tensor, NetworkError> {
    each(prediction, truth, absent, EPSILON)
}

fn each(prediction: &Tensor, truth: &Tensor, absent: Absent, epsilon: f64) -> Result<Tensor, NetworkError> {
    let [above, below] = weighed(prediction, truth, absent, None)?;
    one_minus(&ratio(&above, &below, epsilon)?)
}

/// Returns what both cover and what either covers, by weight: `[N]` each.
fn weighed(
    prediction: &Tensor,
    truth: &Tensor,
    absent: Absent,
    weights: Option<&Tensor>,
) -> Result<[Tensor; 2], NetworkError> {
    let product = prediction.f_mul(truth).doing("loss")?;
    let weight = class_weights(&over_voxels(truth)?, absent)?;
    let weight = match weights {
        Some(weights) => weight.f_mul(&weights.f_to_kind(weight.kind())?)?,
        None => weight,
    };
    let weighed = |x: &Tensor| -> Result<Tensor, NetworkError> {
        Ok(over_voxels(x)?.f_mul(&weight)?.f_sum_dim_intlist([1i64].as_slice(), false, None::<Kind>)?)
    };
    Ok([weighed(&product)?, weighed(&prediction.f_add(truth)?)?])
}

/// Weights `[N, C]` of volumes `[N, C]`.
fn class_weights(volumes: &Tensor, absent: Absent) -> Result<Tensor, NetworkError> {
    let of_absent = match absent {
        Absent::Max => 1.0,
        Absent::Skip => 0.0,
    };
    let none = volumes.f_zeros_like()?;
    let present = volumes.f_gt_tensor(&none)?;
    let rarest =
        volumes.f_where_self(&present, &plus(&none, f64::INFINITY)?)?.f_amin([1i64].as_slice(), true)?;
    let ratio = rarest.f_div(volumes)?;
    Ok(ratio.f_mul(&ratio)?.f_where_self(&present, &plus(&none, of_absent)?)?.f_detach()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(loss: Result<Tensor, NetworkError>) -> f64 {
        f64::try_from(loss.unwrap()).unwrap()
    }

    #[test]
    fn generalised_dice_by_hand() {
        // Three voxels of background and one of foreground: their weights are 1/9 and 1.
        let p = Tensor::from_slice(&[0.9, 0.8, 0.7, 0.4, 0.1, 0.2, 0.3, 0.6]).view([1, 2, 4]);
        let g = Tensor::from_slice(&[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]).view([1, 2, 4]);
        let above = 2.0 * (2.4 / 9.0 + 0.6) + 1e-5;
        let below = (2.8 + 3.0) / 9.0 + (1.2 + 1.0) + 1e-5;
        let value = value(generalized_dice(&p, &g, Absent::Max));
        assert!((value - (1.0 - above / below)).abs() < 1e-12, "{value}");
    }

    #[test]
    fn an_absent_class_weighs_as_much_as_the_rarest() {
        let p = Tensor::from_slice(&[0.9, 0.8, 0.1, 0.2]).view([1, 2, 2]);
        let g = Tensor::from_slice(&[1.0, 1.0, 0.0, 0.0]).view([1, 2, 2]);
        let found = value(generalized_dice(&p, &g, Absent::Max));
        let expected = 1.0 - (2.0 * 1.7 + 1e-5) / (1.7 + 2.0 + 0.3 + 1e-5);
        assert!((found - expected).abs() < 1e-12, "{found}");
        // Where there is nothing, finding nothing is no loss, and finding something is all of it.
        let empty = Tensor::from_slice(&[0.0, 0.0]).view([1, 1, 2]);
        assert_eq!(value(generalized_dice(&empty, &empty, Absent::Max)), 0.0);
        let all = Tensor::from_slice(&[1.0, 1.0]).view([1, 1, 2]);
        assert!((value(generalized_dice(&all, &empty, Absent::Max)) - 1.0).abs() < 1e-5);
    }

    /// Three classes of four voxels, of which the truth has two: probabilities and truth `[1, 3, 4]`.
    fn three() -> [Tensor; 2] {
        let p = [0.1, 0.7, 0.8, 0.8, 0.8, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1];
        let g = [0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        [p, g].map(|numbers: [f64; 12]| Tensor::from_slice(&numbers).view([1, 3, 4]))
    }

    #[test]
    fn the_specifications_numbers() {
        let p = Tensor::from_slice(&[0.2, 0.8, 0.9, 0.9, 0.8, 0.2, 0.1, 0.1]).view([1, 2, 4]);
        let g = Tensor::from_slice(&[0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]).view([1, 2, 4]);
        let [three_p, three_g] = three();
        for (p, g, absent, expected) in [
            (&p, &g, Absent::Max, 0.234_375),
            (&p, &g, Absent::Skip, 0.234_375),
            (&three_p, &three_g, Absent::Skip, 0.218_106_995_9),
            (&three_p, &three_g, Absent::Max, 0.340_277_777_8),
        ] {
            let exact = value(each(p, g, absent, 0.0));
            assert!((exact - expected).abs() < 1e-10, "{absent:?}: {exact}");
            let with_epsilon = value(generalized_dice(p, g, absent));
            assert!((with_epsilon - expected).abs() < 2e-6, "{absent:?}: {with_epsilon}");
        }
        let text = |absent| serde_json::to_string(&GeneralizedDiceLoss { absent }).unwrap();
        assert_eq!((text(Absent::Max).as_str(), text(Absent::Skip).as_str()), ("{}", r#"{"absent":"skip"}"#));
    }
}
