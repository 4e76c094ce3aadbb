//! A network that must find again what it is sure of, in views with other intensities and with channels left out (UniMatch).

use tch::{Kind, Tensor};

use super::copy_paste::around_box;
use super::halves::Halves;
use super::strategy::UnimatchSettings;
use super::supervised::Supervised;
use super::{Batch, Learner, Loss, Moment, Objective, Pupil, Recorded, Score, Teaches};
use crate::networks::architectures::unet::UnetOutput;
use crate::networks::blocks::dropout::draw;
use crate::networks::losses::{hardness_dice, one_hot};
use crate::networks::tensors::error::Doing;
use crate::networks::tensors::scalar::times;
use crate::networks::{NetworkConfig, NetworkError};

/// The version, raised when the same settings come to other numbers.
const VERSION: u32 = 1;
const SEGMENTATION: &str = "segmentation";
const AGAIN: &str = "unimatch";
/// The share of voxels that the network is sure of.
const SURE: &str = "unimatch.share";
/// The weights of the views with other intensities each, and of that with channels left out.
const WEIGHTS: [f64; 3] = [0.25, 0.25, 0.5];
/// The share of each axis that a box of another scan has.
const BOX: f64 = 0.5;

/// Supervised segmentation, and beside it soft Dice of three views of scans that nobody has drawn against what the network
/// finds in them as they are, where it is sure of it: two views with other intensities and a box of the next scan, and one
/// with channels left out.
///
/// # Source
/// Yang et al., CVPR 2023, arXiv 2208.09910
pub struct Unimatch {
    supervised: Supervised,
    settings: UnimatchSettings,
}

impl Unimatch {
    /// Beside `supervised`, what these settings ask for.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for a network whose channels cannot be left out.
    pub fn new(supervised: Supervised, settings: &UnimatchSettings) -> Result<Self, NetworkError> {
        if !supervised.drops_channels() {
            return Err(NetworkError::Config {
                field: "strategy".to_owned(),
                message: "a network of `variant` \"vnet\" expected beside `unimatch`".to_owned(),
            });
        }
        Ok(Self { supervised, settings: *settings })
    }

    fn begun(&self, moment: &Moment) -> bool {
        moment.step as f64 >= self.settings.start * moment.steps as f64
    }

    /// Samples with a factor, a shift and every second time a blur in the plane, each of its own.
    fn strong(&self, x: &Tensor, key: u64) -> Result<Tensor, NetworkError> {
        let samples = x.size().first().copied().unwrap_or(0);
        // The number is drawn from 0 to below 1.
        let number =
            |place: i64, of: u64| (draw(draw(key, of), place as u64) >> 11) as f64 / (1u64 << 53) as f64;
        let each = |value: &dyn Fn(i64) -> f64| -> Result<Tensor, NetworkError> {
            let values: Vec<f64> = (0..samples).map(value).collect();
            let values = Tensor::f_from_slice(&values)?.f_view([samples, 1, 1, 1, 1])?;
            Ok(values.f_to_kind(x.kind())?.f_to_device(x.device())?)
        };
        let far = self.settings.strength;
        let factor = each(&|place| 1.0 + far * (2.0 * number(place, 0) - 1.0))?;
        let shift = each(&|place| far * (2.0 * number(place, 1) - 1.0))?;
        let blurred = each(&|place| if number(place, 2) < 0.5 { 1.0 } else { 0.0 })?;
        let smooth = x.f_avg_pool3d([1, 3, 3], [1, 1, 1], [0, 1, 1], false, false, None).doing("a view")?;
        let x = x.f_add(&smooth.f_sub(x)?.f_mul(&blurred)?)?;
        Ok(x.f_mul(&factor)?.f_add(&shift)?)
    }
}

/// What a network was sure of.
struct Known {
    /// The classes that it was sure of, `[N, D, H, W]`.
    classes: Tensor,
    /// 1 where it is sure, `[N, 1, D, H, W]`.
    sure: Tensor,
}

impl Known {
    /// The same where a box of each lies in the one before it.
    fn mixed(&self, around: &Tensor) -> Result<Self, NetworkError> {
        let next = |x: &Tensor| x.f_roll([-1], [0]);
        let outside = around.f_to_kind(Kind::Bool)?;
        let classes = self.classes.f_where_self(&outside.f_squeeze_dim(1)?, &next(&self.classes)?)?;
        let sure = self.sure.f_where_self(&outside, &next(&self.sure)?)?;
        Ok(Self { classes, sure })
    }

    /// Soft Dice of logits against it.
    fn against(&self, logits: &Tensor) -> Result<Tensor, NetworkError> {
        let labels = one_hot(&self.classes, logits.size().get(1).copied().unwrap_or(0), logits.kind())?;
        let p = logits.f_softmax(1, None::<Kind>)?;
        hardness_dice(&p.f_mul(&self.sure)?, &labels.f_mul(&self.sure)?, 0.0)
    }
}

impl Objective for Unimatch {
    fn identity(&self) -> Option<String> {
        Some(self.supervised.identity_within(&format!("unimatch {VERSION}")))
    }

    fn learners(&self) -> Vec<Pupil> {
        self.supervised.learners()
    }

    fn network(&self) -> &NetworkConfig {
        self.supervised.network()
    }

    fn teaches(&self) -> Teaches {
        Teaches::Classes
    }

    fn figures(&self) -> Vec<Recorded> {
        let mut figures = self.supervised.figures();
        figures.extend([Recorded::of_loss(SEGMENTATION), Recorded::of_loss(AGAIN), Recorded::by_name(SURE)]);
        figures
    }

    fn losses(
        &self,
        learners: &[Learner],
        batch: &Batch,
        moment: &Moment,
    ) -> Result<Vec<Loss>, NetworkError> {
        let Some(Learner { weights, .. }) = learners.first() else { return Ok(Vec::new()) };
        let unlabelled = batch.unlabelled.as_ref().filter(|_| self.begun(moment));
        let halves = Halves::with(batch, unlabelled)?;
        let key = draw(moment.seed, moment.batch);
        let mut input = vec![halves.input.shallow_clone()];
        let mut boxes = Vec::new();
        if let Some(x) = unlabelled
            && let [_, _, d, h, w] = x.size()[..]
        {
            for view in 0..2u64 {
                let key = draw(key, view);
                let (strong, around) = (self.strong(x, key)?, around_box([d, h, w], BOX, draw(key, 9), x)?);
                let outside = around.f_to_kind(Kind::Bool)?;
                input.push(strong.f_where_self(&outside, &strong.f_roll([-1], [0])?)?);
                boxes.push(around);
            }
        }
        let output = self.supervised.forward(weights, &Tensor::f_cat(&input, 0)?, moment.mode())?;
        let UnetOutput { logits, .. } = &output;
        let mut losses = self.supervised.losses_of(&halves.first_of(&output)?, &batch.classes()?)?;
        let Some(first) = losses.first_mut() else { return Ok(losses) };
        (first.name, first.moves) = (SEGMENTATION.to_owned(), None);
        let mut whole = first.value.shallow_clone();
        if let Some(x) = unlabelled {
            let said = halves.second(logits)?.f_detach()?.f_softmax(1, None::<Kind>)?;
            let (most, classes) = said.f_max_dim(1, true)?;
            let threshold = Tensor::f_from_slice(&[self.settings.threshold])?.f_view(())?;
            let threshold = threshold.f_to_kind(most.kind())?.f_to_device(most.device())?;
            let sure = most.f_ge_tensor(&threshold)?.f_to_kind(logits.kind())?;
            let share = sure.f_mean(None::<Kind>)?;
            let known = Known { classes: classes.f_squeeze_dim(1)?, sure };
            let mut terms = Vec::new();
            for (view, around) in (0i64..).zip(&boxes) {
                let start = halves.drawn + (view + 1) * halves.undrawn;
                terms.push(known.mixed(around)?.against(&logits.f_narrow(0, start, halves.undrawn)?)?);
            }
            let dropped = (self.settings.drop, draw(key, 2));
            let thinned = self.supervised.with_channels_dropped(weights, x, moment.mode(), dropped)?;
            terms.push(known.against(&thinned)?);
            let mut again = first.value.f_zeros_like()?;
            for (term, weight) in terms.iter().zip(WEIGHTS) {
                again = again.f_add(&times(term, weight)?)?;
            }
            whole = whole.f_add(&times(&again, self.settings.weight)?)?;
            losses.push(Loss { name: AGAIN.to_owned(), value: again, moves: None });
            losses.push(Loss { name: SURE.to_owned(), value: share, moves: None });
        }
        losses.push(Loss { name: "loss".to_owned(), value: whole, moves: Some(0) });
        Ok(losses)
    }

    fn decides(&self) -> &str {
        self.supervised.decides()
    }

    fn score(&self) -> Box<dyn Score + '_> {
        self.supervised.score()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_of_the_next_lies_in_the_box() {
        let classes = Tensor::from_slice(&[0i64, 1, 2, 3, 4, 5]).view([2, 1, 1, 3]);
        let sure = Tensor::from_slice(&[1f32, 0.0, 1.0, 0.0, 1.0, 0.0]).view([2, 1, 1, 1, 3]);
        let around = Tensor::from_slice(&[1f32, 0.0, 1.0]).view([1, 1, 1, 1, 3]);
        let Known { classes, sure } = Known { classes, sure }.mixed(&around).unwrap();
        assert_eq!(Vec::<i64>::try_from(classes.reshape([-1])).unwrap(), [0, 4, 2, 3, 1, 5]);
        assert_eq!(Vec::<f32>::try_from(sure.reshape([-1])).unwrap(), [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    }
}
