//! Boxes of scans that somebody has drawn in scans that nobody has, and the other way round (BCP).

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::halves::Halves;
use super::mean_teacher::with_teacher;
use super::strategy::CopyPasteSettings;
use super::supervised::Supervised;
use super::{Batch, Follower, Learner, Loss, Moment, Objective, Pupil, Recorded, Score, Teaches};
use crate::networks::blocks::dropout::draw;
use crate::networks::blocks::mode::Mode;
use crate::networks::losses::critics::cross_entropy_where;
use crate::networks::losses::{hardness_dice, logarithms, one_hot};
use crate::networks::tensors::scalar::times;
use crate::networks::tensors::weights::Weights;
use crate::networks::{NetworkConfig, NetworkError};
use crate::voxels::components::{Connectivity, components};

/// The version, raised when the same settings come to other numbers.
const VERSION: u32 = 1;
const SEGMENTATION: &str = "segmentation";
const PASTED: &str = "copy_paste";

/// Supervised segmentation until `start`; from then on mixtures. In one half of these a box of a scan that nobody has drawn
/// lies in one that somebody has, in the other the other way round. What nobody has drawn is compared with what the teacher,
/// the running mean of the network's weights, takes it for, of each label the largest component.
///
/// # Source
/// Bai et al., CVPR 2023, arXiv 2305.00673
pub struct CopyPaste {
    supervised: Supervised,
    settings: CopyPasteSettings,
}

impl CopyPaste {
    /// Beside `supervised`, what these settings ask for.
    pub fn new(supervised: Supervised, settings: &CopyPasteSettings) -> Self {
        Self { supervised, settings: *settings }
    }

    /// Whether mixtures are learned from.
    fn begun(&self, moment: &Moment) -> bool {
        // Before the first step the teacher has learned from nobody.
        moment.step > 0 && moment.step as f64 >= self.settings.start * moment.steps as f64
    }

    /// Returns the classes that the teacher takes samples for: `[N, D, H, W]`.
    fn taken_for(&self, teacher: &Weights, x: &Tensor) -> Result<Tensor, NetworkError> {
        let output = tch::no_grad(|| self.supervised.forward(teacher, x, Mode::Infer))?;
        let classes = output.logits.f_argmax(1, false)?;
        if !self.settings.largest_component {
            return Ok(classes);
        }
        let size: Vec<i64> = classes.size();
        let [_, d, h, w] = size[..] else { return Ok(classes) };
        let grid = [d, h, w].map(|length| usize::try_from(length).unwrap_or(0));
        let near: Vec<i64> = classes.f_reshape([-1])?.f_to_device(tch::Device::Cpu)?.try_into()?;
        let mut near: Vec<u16> = near.into_iter().map(|class| class as u16).collect();
        for sample in near.chunks_exact_mut(grid.iter().product::<usize>().max(1)) {
            largest_of_each(sample, grid);
        }
        let kept: Vec<i64> = near.into_iter().map(i64::from).collect();
        Ok(Tensor::f_from_slice(&kept)?.f_view(size.as_slice())?.f_to_device(x.device())?)
    }

    /// The loss of mixtures: of the part that somebody has drawn (1 in `drawn`, `[1, 1, D, H, W]`), and by weight of the other.
    fn of_mixture(
        &self,
        logits: &Tensor,
        truth: &Tensor,
        taught: &Tensor,
        drawn: &Tensor,
    ) -> Result<[Tensor; 2], NetworkError> {
        let classes = logits.size().get(1).copied().unwrap_or(0);
        let (p, l) = (logits.f_softmax(1, None::<Kind>)?, logarithms(logits)?);
        let undrawn = times(drawn, -1.0)?.f_add(&drawn.f_ones_like()?)?;
        let each = |labels: &Tensor, within: &Tensor| -> Result<Tensor, NetworkError> {
            let labels = one_hot(labels, classes, logits.kind())?;
            let all = within.f_expand_as(&logits.f_narrow(1, 0, 1)?)?;
            let overlap = hardness_dice(&p.f_mul(&all)?, &labels.f_mul(&all)?, 0.0)?;
            times(&overlap.f_add(&cross_entropy_where(&l, &labels, &all)?)?, 0.5)
        };
        Ok([each(truth, drawn)?, each(taught, &undrawn)?])
    }
}

/// Takes all but the largest component of each label away; of equally large ones the first stays.
fn largest_of_each(classes: &mut [u16], size: [usize; 3]) {
    let found = components(classes, size, Connectivity::Corners);
    let mut largest: BTreeMap<u16, usize> = BTreeMap::new();
    for (index, component) in found.components.iter().enumerate() {
        let kept = largest.entry(component.label).or_insert(index);
        // The components come by their lowest voxel, so an equal one comes too late.
        if found.components.get(*kept).is_some_and(|best| component.voxels > best.voxels) {
            *kept = index;
        }
    }
    let kept = |index: usize| {
        let label = found.components.get(index)?.label;
        (largest.get(&label) != Some(&index)).then_some(0)
    };
    found.paint(classes, kept);
}

/// The box of a batch: so large a share of each axis, at a place that follows from `key` alone. `[1, 1, D, H, W]`, 0 within
/// it and 1 around it.
pub(super) fn around_box(
    size: [i64; 3],
    share: f64,
    key: u64,
    like: &Tensor,
) -> Result<Tensor, NetworkError> {
    let [d, h, w] = size;
    let mask = Tensor::f_ones([1, 1, d, h, w], (like.kind(), like.device()))?;
    let mut within = mask.shallow_clone();
    for (axis, length) in size.into_iter().enumerate() {
        let side = ((length as f64 * share) as i64).clamp(1, length);
        let start = (draw(key, axis as u64) % (length - side + 1) as u64) as i64;
        within = within.f_narrow(axis as i64 + 2, start, side)?;
    }
    let _ = within.f_zero_()?;
    Ok(mask)
}

impl Objective for CopyPaste {
    fn identity(&self) -> Option<String> {
        Some(self.supervised.identity_within(&format!("copy and paste {VERSION}")))
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
        figures.extend([Recorded::of_loss(SEGMENTATION), Recorded::of_loss(PASTED)]);
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
        let labels = batch.classes()?;
        let halves = Halves::of(batch)?;
        let pairs = halves.drawn.min(halves.undrawn);
        if pairs == 0 || !self.begun(moment) {
            let output = self.supervised.forward(network, &batch.input, moment.mode())?;
            let mut losses = self.supervised.losses_of(&output, &labels)?;
            if let Some(first) = losses.first() {
                let (name, value) = (SEGMENTATION.to_owned(), first.value.shallow_clone());
                losses.push(Loss { name, value, moves: None });
            }
            return Ok(losses);
        }
        let (a, u) =
            (batch.input.f_narrow(0, 0, pairs)?, halves.second(&halves.input)?.f_narrow(0, 0, pairs)?);
        let size = match a.size()[..] {
            [_, _, d, h, w] => [d, h, w],
            _ => return Ok(Vec::new()),
        };
        // Each goes with one, and then with the next.
        let next = |x: &Tensor| x.f_roll([1], [0]);
        let (b, truth) = (next(&a)?, labels.f_narrow(0, 0, pairs)?);
        let key = draw(moment.seed, moment.batch);
        let around = around_box(size, self.settings.share, key, &a)?;
        let within = times(&around, -1.0)?.f_add(&around.f_ones_like()?)?;
        let inward = a.f_mul(&around)?.f_add(&u.f_mul(&within)?)?;
        let outward = u.f_mul(&around)?.f_add(&b.f_mul(&within)?)?;
        let output =
            self.supervised.forward(network, &Tensor::f_cat(&[&inward, &outward], 0)?, moment.mode())?;
        let taught = self.taken_for(teacher, &u)?;
        let of = |start: i64| output.logits.f_narrow(0, start, pairs);
        let [around, within] = [around, within].map(|mask| mask.f_to_kind(output.logits.kind()));
        let (around, within) = (around?, within?);
        let [drawn_in, taught_in] = self.of_mixture(&of(0)?, &truth, &taught, &around)?;
        let [drawn_out, taught_out] = self.of_mixture(&of(pairs)?, &next(&truth)?, &taught, &within)?;
        let (drawn, pasted) = (drawn_in.f_add(&drawn_out)?, taught_in.f_add(&taught_out)?);
        let whole = drawn.f_add(&times(&pasted, self.settings.weight)?)?;
        Ok(vec![
            Loss { name: SEGMENTATION.to_owned(), value: drawn, moves: None },
            Loss { name: PASTED.to_owned(), value: pasted, moves: None },
            Loss { name: "loss".to_owned(), value: whole, moves: Some(0) },
        ])
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
    fn the_box_has_its_share_and_its_place_follows_from_the_key() {
        let like = Tensor::zeros([1], (Kind::Float, tch::Device::Cpu));
        let mask = |key| around_box([6, 9, 12], 2.0 / 3.0, key, &like).unwrap();
        let within = |key| 648.0 - f64::try_from(mask(key).sum(Kind::Double)).unwrap();
        assert!((0..9).all(|key| within(key) == f64::from(4 * 6 * 8)));
        assert!(mask(5).equal(&mask(5)) && (0..9).any(|key| !mask(key).equal(&mask(5))));
        // A box has never less than a voxel, and never more than there are.
        let one = around_box([1, 1, 2], 0.01, 1, &like).unwrap();
        assert_eq!(f64::try_from(one.sum(Kind::Double)).unwrap(), 1.0);
    }

    #[test]
    fn of_each_label_the_largest_component_stays() {
        let mut classes = [1, 1, 0, 1, 2, 0, 2, 2, 2];
        largest_of_each(&mut classes, [1, 1, 9]);
        assert_eq!(classes, [1, 1, 0, 0, 0, 0, 2, 2, 2]);
    }
}
