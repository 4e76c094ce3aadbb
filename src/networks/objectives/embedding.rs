//! Segmentation whose features of one label lie together, on scans that nobody has drawn as well (semiEmbedFCN).

use tch::{Kind, Tensor};

use super::halves::Halves;
use super::strategy::EmbeddingSettings;
use super::supervised::Supervised;
use super::{Batch, Learner, Loss, Moment, Objective, Pupil, Recorded, Score, Teaches};
use crate::networks::blocks::dropout::draw;
use crate::networks::losses::embedding::embedding;
use crate::networks::tensors::scalar::times;
use crate::networks::{NetworkConfig, NetworkError};

/// The version, raised when the same settings come to other numbers.
const VERSION: u32 = 1;
/// The names of what is recorded: the loss of outlines, and that of features.
const SEGMENTATION: &str = "segmentation";
const EMBEDDING: &str = "embedding";

/// Supervised segmentation, and beside it a loss of the features that logits are made from: at some voxels of each class and
/// sample, whose labels are those of outlines or, where there are none, what the network itself says.
///
/// # Source
/// Baur et al., MICCAI 2017, with labels of the network's own in the place of a prior of which voxels are neighbours
pub struct Embedding {
    supervised: Supervised,
    settings: EmbeddingSettings,
}

impl Embedding {
    /// Beside `supervised`, what these settings ask for.
    ///
    /// # Errors
    /// [`NetworkError::Config`] for a network that does not tell its features.
    pub fn new(supervised: Supervised, settings: &EmbeddingSettings) -> Result<Self, NetworkError> {
        if !supervised.tells_features() {
            return Err(NetworkError::Config {
                field: "strategy".to_owned(),
                message: "a network of `variant` \"vnet\" or \"residual\" expected beside `embedding`"
                    .to_owned(),
            });
        }
        Ok(Self { supervised, settings: *settings })
    }
}

/// Voxels of a batch, as places in `[N, D, H, W]`, and the class of each.
#[derive(Debug, Default, PartialEq)]
struct Chosen {
    places: Vec<i64>,
    classes: Vec<i64>,
}

/// Chooses so many voxels at most of each class and sample; which ones follows from `key` alone.
fn choose(classes: &[i64], voxels: usize, most: usize, key: u64) -> Chosen {
    let mut chosen = Chosen::default();
    for (sample, classes) in classes.chunks_exact(voxels.max(1)).enumerate() {
        let mut known: Vec<i64> = classes.to_vec();
        known.sort_unstable();
        known.dedup();
        for class in known {
            let of_class = classes.iter().enumerate().filter(|(_, found)| **found == class);
            let mut places: Vec<(u64, usize)> = of_class
                .map(|(voxel, _)| (draw(key, (sample * voxels + voxel) as u64), sample * voxels + voxel))
                .collect();
            if places.len() > most {
                places.select_nth_unstable(most);
                places.truncate(most);
            }
            let mut places: Vec<i64> = places.into_iter().map(|(_, place)| place as i64).collect();
            places.sort_unstable();
            chosen.classes.extend(places.iter().map(|_| class));
            chosen.places.extend(places);
        }
    }
    chosen
}

impl Objective for Embedding {
    fn identity(&self) -> Option<String> {
        Some(self.supervised.identity_within(&format!("embedding {VERSION}")))
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
        figures.extend([Recorded::of_loss(SEGMENTATION), Recorded::of_loss(EMBEDDING)]);
        figures
    }

    fn losses(
        &self,
        learners: &[Learner],
        batch: &Batch,
        moment: &Moment,
    ) -> Result<Vec<Loss>, NetworkError> {
        let Some(Learner { weights, .. }) = learners.first() else { return Ok(Vec::new()) };
        let EmbeddingSettings { weight, margin, voxels: most } = self.settings;
        let halves = Halves::of(batch)?;
        let (output, features) = self.supervised.with_features(weights, &halves.input, moment.mode())?;
        let labels = batch.classes()?;
        let mut losses = self.supervised.losses_of(&halves.first_of(&output)?, &labels)?;
        let Some(first) = losses.first_mut() else { return Ok(losses) };
        (first.name, first.moves) = (SEGMENTATION.to_owned(), None);
        let segmentation = first.value.shallow_clone();
        let said = halves.second(&output.logits)?.f_detach()?.f_argmax(1, false)?;
        let classes = Tensor::f_cat(&[labels.f_to_kind(Kind::Int64)?, said], 0)?;
        let voxels = classes.size().iter().skip(1).product::<i64>();
        let known: Vec<i64> =
            classes.f_reshape([-1])?.f_to_device(tch::Device::Cpu)?.try_into().map_err(NetworkError::from)?;
        let chosen =
            choose(&known, usize::try_from(voxels).unwrap_or(0), most, draw(moment.seed, moment.batch));
        let device = features.device();
        let places = Tensor::f_from_slice(&chosen.places)?.f_to_device(device)?;
        let classes = Tensor::f_from_slice(&chosen.classes)?.f_to_device(device)?;
        let channels = features.size().get(1).copied().unwrap_or(1);
        let rows =
            features.f_permute([0, 2, 3, 4, 1])?.f_reshape([-1, channels])?.f_index_select(0, &places)?;
        let together = embedding(&rows, &classes, margin)?;
        let whole = segmentation.f_add(&times(&together, weight)?)?;
        losses.push(Loss { name: EMBEDDING.to_owned(), value: together, moves: None });
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
    fn as_many_voxels_of_each_class_and_sample_as_there_are_up_to_the_most() {
        // Two samples of eight voxels.
        let classes = [0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 0, 0, 2, 2];
        let found = choose(&classes, 8, 2, 7);
        assert_eq!(found.classes, [0, 0, 1, 1, 2, 0, 0, 2, 2]);
        assert_eq!((&found.places[2..5], &found.places[7..]), (&[5, 6, 7][..], &[14, 15][..]));
        assert!(
            found.places.iter().zip(&found.classes).all(|(place, class)| classes[*place as usize] == *class)
        );
        assert_eq!(choose(&classes, 8, 2, 7), found);
        assert!((0..20).any(|key| choose(&classes, 8, 2, key) != found), "another draw chooses others");
        assert_eq!(choose(&classes, 8, 99, 7).places.len(), 16);
        assert_eq!(choose(&[], 8, 2, 7), Chosen::default());
    }
}
