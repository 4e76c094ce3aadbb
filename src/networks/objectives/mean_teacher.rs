//! A network that agrees with the running mean of its own weights on scans that nobody has drawn (mean teacher).

use tch::{Kind, Tensor};

use super::halves::Halves;
use super::strategy::MeanTeacherSettings;
use super::supervised::Supervised;
use super::{Batch, Follower, Learner, Loss, Moment, Objective, Pupil, Recorded, Score, Teaches};
use crate::networks::blocks::dropout::draw;
use crate::networks::blocks::mode::Mode;
use crate::networks::tensors::scalar::times;
use crate::networks::{NetworkConfig, NetworkError};

/// The version, raised when the same settings come to other numbers.
const VERSION: u32 = 1;
/// The teacher's name among the learners.
pub(super) const TEACHER: &str = "teacher";
const SEGMENTATION: &str = "segmentation";
const CONSISTENCY: &str = "consistency";

/// Supervised segmentation, and beside it how far its probabilities are from the teacher's where nobody has drawn: the mean
/// of squared differences over voxels and classes. Both see the same samples, each with noise of its own. The teacher's
/// weights are the running mean of the network's, and no loss moves them; it answers as in inference.
///
/// # Source
/// Tarvainen and Valpola, NeurIPS 2017, arXiv 1703.01780
pub struct MeanTeacher {
    supervised: Supervised,
    settings: MeanTeacherSettings,
}

impl MeanTeacher {
    /// Beside `supervised`, what these settings ask for.
    pub fn new(supervised: Supervised, settings: &MeanTeacherSettings) -> Self {
        Self { supervised, settings: *settings }
    }

    /// The weight of consistency at a step: it rises over a share of all steps, slowly at first.
    fn weight(&self, moment: &Moment) -> f64 {
        let MeanTeacherSettings { weight, ramp, .. } = self.settings;
        let whole = ramp * moment.steps as f64;
        let done = if whole > 0.0 { (moment.step as f64 / whole).min(1.0) } else { 1.0 };
        weight * (-5.0 * (1.0 - done) * (1.0 - done)).exp()
    }
}

/// The model as a learner, and beside it the teacher, of the same tensors.
pub(super) fn with_teacher(mut learners: Vec<Pupil>) -> Vec<Pupil> {
    if let Some(model) = learners.first().cloned() {
        learners.push(Pupil { name: TEACHER.to_owned(), ..model });
    }
    learners
}

/// Makes noise of a normal distribution with this deviation, at most twice as far from 0, which follows from
/// `key` alone.
fn noise(key: u64, like: &Tensor, deviation: f64) -> Result<Tensor, NetworkError> {
    let number = |place: u64| {
        let drawn = draw(key, place);
        let (above, below) = ((drawn >> 32) as f64, (drawn & 0xFFFF_FFFF) as f64);
        // Box and Muller's, of two numbers of 32 bits; the first is not 0.
        let (first, second) = ((above + 1.0) / 2f64.powi(32), below / 2f64.powi(32));
        let normal = (-2.0 * first.ln()).sqrt() * (std::f64::consts::TAU * second).cos();
        (normal.clamp(-2.0, 2.0) * deviation) as f32
    };
    let numbers: Vec<f32> = (0..like.numel() as u64).map(number).collect();
    let noise = Tensor::f_from_slice(&numbers)?.f_view(like.size().as_slice())?;
    Ok(noise.f_to_device(like.device())?.f_to_kind(like.kind())?)
}

impl Objective for MeanTeacher {
    fn identity(&self) -> Option<String> {
        Some(self.supervised.identity_within(&format!("mean teacher {VERSION}")))
    }

    fn learners(&self) -> Vec<Pupil> {
        with_teacher(self.supervised.learners())
    }

    fn followers(&self) -> Vec<Follower> {
        vec![Follower { place: 1, decay: self.settings.decay }]
    }

    fn network(&self) -> &NetworkConfig {
        self.supervised.network()
    }

    fn teaches(&self) -> Teaches {
        Teaches::Classes
    }

    fn figures(&self) -> Vec<Recorded> {
        let mut figures = self.supervised.figures();
        figures.extend([Recorded::of_loss(SEGMENTATION), Recorded::of_loss(CONSISTENCY)]);
        figures
    }

    fn losses(
        &self,
        learners: &[Learner],
        batch: &Batch,
        moment: &Moment,
    ) -> Result<Vec<Loss>, NetworkError> {
        let [Learner { weights: network, .. }, Learner { weights: teacher, .. }] = learners else {
            return Ok(Vec::new());
        };
        // Before the first step the teacher has learned from nobody.
        let unlabelled = batch.unlabelled.as_ref().filter(|_| moment.step > 0);
        let key = draw(moment.seed, moment.batch);
        let noisy = |place: u64, x: &Tensor| -> Result<Tensor, NetworkError> {
            Ok(x.f_add(&noise(draw(key, place), x, self.settings.noise)?)?)
        };
        let shown = unlabelled.map(|x| noisy(0, x)).transpose()?;
        let halves = Halves::with(batch, shown.as_ref())?;
        let output = self.supervised.forward(network, &halves.input, moment.mode())?;
        let mut losses = self.supervised.losses_of(&halves.first_of(&output)?, &batch.classes()?)?;
        let Some(first) = losses.first_mut() else { return Ok(losses) };
        (first.name, first.moves) = (SEGMENTATION.to_owned(), None);
        let mut whole = first.value.shallow_clone();
        if let Some(x) = unlabelled {
            let taught = tch::no_grad(|| -> Result<Tensor, NetworkError> {
                let output = self.supervised.forward(teacher, &noisy(1, x)?, Mode::Infer)?;
                Ok(output.logits.f_softmax(1, None::<Kind>)?)
            })?;
            let said = halves.second(&output.logits)?.f_softmax(1, None::<Kind>)?;
            let off = said.f_sub(&taught)?;
            let consistency = off.f_mul(&off)?.f_mean(None::<Kind>)?;
            whole = whole.f_add(&times(&consistency, self.weight(moment))?)?;
            losses.push(Loss { name: CONSISTENCY.to_owned(), value: consistency, moves: None });
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
    fn noise_is_normal_and_repeats() {
        let like = Tensor::zeros([1, 1, 20, 50, 50], (Kind::Float, tch::Device::Cpu));
        let numbers = |key| Vec::<f32>::try_from(noise(key, &like, 0.1).unwrap().reshape([-1])).unwrap();
        let found = numbers(3);
        assert_eq!(found, numbers(3));
        assert_ne!(found, numbers(4));
        let mean = found.iter().map(|value| f64::from(*value)).sum::<f64>() / found.len() as f64;
        let square = found.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / found.len() as f64;
        // Cut off at two deviations it is a little narrower than 0.1.
        assert!(mean.abs() < 2e-3 && (0.094..0.100).contains(&square.sqrt()), "{mean} {}", square.sqrt());
        assert!(found.iter().all(|value| value.abs() <= 0.2 + 1e-6));
    }
}
