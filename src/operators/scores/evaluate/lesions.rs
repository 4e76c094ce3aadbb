//! Lesion by lesion: connected components of the truth, and what of the prediction belongs to each.
//!
//! # Source
//! Bilic et al., The Liver Tumor Segmentation Benchmark (LiTS), 2023.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::operators::value::Mask;
use crate::voxels::components::{Components, Connectivity, components};

/// The diameter from which on a lesion is not small any more.
const MEDIUM_MM: f64 = 15.0;
/// The diameter up to which a lesion is not large.
const LARGE_MM: f64 = 30.0;

/// The size of a lesion, by the diameter of a ball of its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Size {
    /// A diameter under 15 mm.
    Small,
    /// A diameter from 15 to 30 mm.
    Medium,
    /// A diameter over 30 mm.
    Large,
}

impl Size {
    /// Returns the size of a lesion of this volume.
    pub fn of(volume_mm3: f64) -> Self {
        let diameter_mm = (6.0 * volume_mm3 / std::f64::consts::PI).cbrt();
        match diameter_mm {
            _ if diameter_mm < MEDIUM_MM => Self::Small,
            _ if diameter_mm <= LARGE_MM => Self::Medium,
            _ => Self::Large,
        }
    }
}

/// The components of a prediction and of the truth, joined by faces, and how many voxels they share.
pub struct Overlaps {
    prediction: Components,
    reference: Components,
    /// The number of shared voxels, by component of the prediction and of the truth.
    shared: BTreeMap<(usize, usize), u64>,
}

impl Overlaps {
    /// Finds the overlaps of two masks on one grid.
    pub fn new(prediction: &Mask, reference: &Mask) -> Self {
        let parts = |mask: &Mask| components(mask.labels.voxels(), mask.labels.size(), Connectivity::Faces);
        let (prediction, reference) = rayon::join(|| parts(prediction), || parts(reference));
        let shared = shared(&prediction, &reference);
        Self { prediction, reference, shared }
    }

    /// The lesions of one label of the prediction and one of the truth; they are found when the intersection
    /// over union is not below `least_iou`.
    ///
    /// A component of the prediction belongs to the lesion that it shares most with, the first of equals.
    pub fn lesions(&self, (label, truth): (u16, u16), voxel_mm3: f64, least_iou: f64) -> Lesions {
        let mut belongs: BTreeMap<usize, (u64, Reverse<usize>)> = BTreeMap::new();
        for (&(part, lesion), &voxels) in &self.shared {
            let labels = (self.prediction.components[part].label, self.reference.components[lesion].label);
            if labels == (label, truth) {
                let most = belongs.entry(part).or_insert((0, Reverse(lesion)));
                *most = (*most).max((voxels, Reverse(lesion)));
            }
        }
        let mut of_lesion: BTreeMap<usize, Vec<(usize, u64)>> = BTreeMap::new();
        for (part, (voxels, Reverse(lesion))) in belongs {
            of_lesion.entry(lesion).or_default().push((part, voxels));
        }
        let parts = self.prediction.components.iter().filter(|part| part.label == label).count();
        let mut found = Lesions { each: Vec::new(), invented: parts };
        for (lesion, component) in self.reference.components.iter().enumerate() {
            if component.label != truth {
                continue;
            }
            let own = of_lesion.get(&lesion).map_or(&[][..], |parts| parts);
            let shared: u64 = own.iter().map(|(_, voxels)| voxels).sum();
            let union: u64 = own.iter().map(|(part, _)| self.prediction.components[*part].voxels).sum();
            let both = (component.voxels + union) as f64;
            let is_found = shared > 0 && shared as f64 / (both - shared as f64) >= least_iou;
            if is_found {
                found.invented -= own.len();
            }
            let size = Size::of(component.voxels as f64 * voxel_mm3);
            found.each.push(Lesion { size, dice: 2.0 * shared as f64 / both, found: is_found });
        }
        found
    }
}

/// Counts how many voxels each component of one map shares with each of another.
fn shared(prediction: &Components, reference: &Components) -> BTreeMap<(usize, usize), u64> {
    let mut shared = BTreeMap::new();
    let mut lesions = reference.runs().peekable();
    for (run, part) in prediction.runs() {
        let end = run.start + run.length;
        while let Some(&(other, lesion)) = lesions.peek() {
            let other_end = other.start + other.length;
            if other.start >= end {
                break;
            }
            if other_end > run.start {
                let both = end.min(other_end) - run.start.max(other.start);
                *shared.entry((part, lesion)).or_default() += both as u64;
            }
            // A run that reaches further is met again by the next run.
            if other_end > end {
                break;
            }
            lesions.next();
        }
    }
    shared
}

/// One lesion of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lesion {
    /// The size of the lesion.
    pub size: Size,
    /// The lesion's Dice with all components of the prediction that belong to it.
    pub dice: f64,
    /// Whether their intersection over union is enough.
    pub found: bool,
}

/// All lesions of one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lesions {
    /// The lesions of the truth.
    pub each: Vec<Lesion>,
    /// The number of components of the prediction that belong to no lesion that was found.
    pub invented: usize,
}

impl Lesions {
    /// Lesions found, of all or of those of a size; `None` when there are none.
    pub fn recall(&self, size: Option<Size>) -> Option<f64> {
        self.mean(size, |lesion| f64::from(u8::from(lesion.found)))
    }

    /// The mean Dice, 0 of a lesion that nothing belongs to; `None` when there are no lesions.
    pub fn dice(&self, size: Option<Size>) -> Option<f64> {
        self.mean(size, |lesion| lesion.dice)
    }

    /// Returns tp / (tp + fp); `None` when nothing was found or invented.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.found(), self.found() + self.invented)
    }

    /// 2·tp / (2·tp + fp + fn); `None` when there is nothing at all.
    pub fn f1(&self) -> Option<f64> {
        ratio(2 * self.found(), self.found() + self.invented + self.each.len())
    }

    fn found(&self) -> usize {
        self.each.iter().filter(|lesion| lesion.found).count()
    }

    fn mean(&self, size: Option<Size>, figure: impl Fn(&Lesion) -> f64) -> Option<f64> {
        let of_size = self.each.iter().filter(|lesion| size.is_none_or(|size| lesion.size == size));
        let (count, sum) = of_size.fold((0, 0.0), |(count, sum), lesion| (count + 1, sum + figure(lesion)));
        (count > 0).then(|| sum / f64::from(count))
    }
}

fn ratio(numerator: usize, denominator: usize) -> Option<f64> {
    (denominator > 0).then(|| numerator as f64 / denominator as f64)
}
