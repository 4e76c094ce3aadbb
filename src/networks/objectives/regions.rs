//! Labels that hold others, as regions that overlap: each is inside or outside of its own, whatever the others are.

use tch::{Kind, Tensor};

use crate::networks::NetworkError;
use crate::networks::tensors::scalar::{plus, times};

/// The classes of each label's region, for each label from 1 on: the label itself, and those that are a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Regions(Vec<Vec<i64>>);

/// The regions of labels that exclude each other.
pub static NONE: Regions = Regions(Vec::new());

impl Regions {
    /// The regions of labels of which each holds those of `nested`; none where no label holds another.
    pub fn new(nested: &[Vec<u16>]) -> Self {
        if nested.iter().all(Vec::is_empty) {
            return Self::default();
        }
        Self((1..).zip(nested).map(|(label, parts)| region(label, parts)).collect())
    }

    /// The region of each of so many labels, whether any holds another or not.
    pub fn each(nested: &[Vec<u16>], labels: usize) -> Self {
        let parts = |label: usize| nested.get(label).map_or(&[][..], Vec::as_slice);
        Self((0..labels).map(|label| region(label as i64 + 1, parts(label))).collect())
    }

    /// Whether there are none: then labels are classes that exclude each other.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The classes of each region.
    pub fn classes(&self) -> &[Vec<i64>] {
        &self.0
    }

    /// The greatest class of any region, 0 where there are none.
    pub fn highest(&self) -> usize {
        let highest = self.0.iter().flatten().copied().max().unwrap_or(0);
        usize::try_from(highest).unwrap_or(0)
    }

    /// Returns, for each region with a head of its own, logits and truth of two classes, outside and inside:
    /// `[N, 2, …]` of heads `[N, K, …]` and of one channel a class. The softmax of the logits is the sigmoid
    /// of the head's, and what that leaves.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] for tensors of another shape.
    pub(super) fn of_heads(&self, logits: &Tensor, truth: &Tensor) -> Result<Vec<[Tensor; 2]>, NetworkError> {
        let mut regions = Vec::with_capacity(self.0.len());
        for (head, classes) in (0..).zip(&self.0) {
            let logit = logits.f_narrow(1, head, 1)?;
            let places = Tensor::f_from_slice(classes)?.f_to_device(truth.device())?;
            let inside = truth.f_index_select(1, &places)?;
            let inside = inside.f_sum_dim_intlist([1].as_slice(), true, None::<Kind>)?;
            let outside = plus(&times(&inside, -1.0)?, 1.0)?;
            let logits = Tensor::f_cat(&[&logit.f_zeros_like()?, &logit], 1)?;
            regions.push([logits, Tensor::f_cat(&[&outside, &inside], 1)?]);
        }
        Ok(regions)
    }

    /// Returns, for each region, logits and truth of two classes, outside and inside: `[N, 2, …]` of
    /// `[N, C, …]`. The softmax of the logits is the sum of the probabilities of a region's classes, and
    /// what that leaves.
    ///
    /// # Errors
    /// [`NetworkError::Torch`] for tensors with fewer classes.
    pub(super) fn split(&self, logits: &Tensor, truth: &Tensor) -> Result<Vec<[Tensor; 2]>, NetworkError> {
        let count = logits.size().get(1).copied().unwrap_or(0);
        let logarithms = logits.f_log_softmax(1, None::<Kind>)?;
        let mut regions = Vec::with_capacity(self.0.len());
        for inside in &self.0 {
            let outside: Vec<i64> = (0..count).filter(|class| !inside.contains(class)).collect();
            let of = |tensor: &Tensor, classes: &[i64]| {
                let places = Tensor::f_from_slice(classes)?.f_to_device(tensor.device())?;
                tensor.f_index_select(1, &places)
            };
            let both = [&outside[..], &inside[..]];
            let mut parts = [Vec::with_capacity(2), Vec::with_capacity(2)];
            for classes in both {
                parts[0].push(of(&logarithms, classes)?.f_logsumexp([1], true)?);
                parts[1].push(of(truth, classes)?.f_sum_dim_intlist([1].as_slice(), true, None::<Kind>)?);
            }
            let [logits, truth] = parts;
            regions.push([Tensor::f_cat(&logits, 1)?, Tensor::f_cat(&truth, 1)?]);
        }
        Ok(regions)
    }
}

/// A label and what is a part of it.
fn region(label: i64, parts: &[u16]) -> Vec<i64> {
    let mut region: Vec<i64> =
        std::iter::once(label).chain(parts.iter().map(|part| i64::from(*part))).collect();
    region.sort_unstable();
    region.dedup();
    region
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_as_likely_as_all_that_is_in_it() {
        let regions = Regions::new(&[vec![2], Vec::new()]);
        assert_eq!(regions.classes(), [vec![1, 2], vec![2]]);
        let logits = Tensor::from_slice(&[0.5f64, 0.2, 0.3]).log().view([1, 3, 1]);
        let truth = Tensor::from_slice(&[0.0f64, 0.0, 1.0]).view([1, 3, 1]);
        let split = regions.split(&logits, &truth).unwrap();
        let numbers = |tensor: &Tensor| Vec::<f64>::try_from(tensor.view([-1])).unwrap();
        let near = |found: &Tensor, wanted: [f64; 2]| {
            numbers(found).iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12)
        };
        let [[liver, in_liver], [lesion, in_lesion]] = &split[..] else { panic!("two regions expected") };
        assert!(near(&liver.softmax(1, Kind::Double), [0.5, 0.5]) && near(in_liver, [0.0, 1.0]));
        assert!(near(&lesion.softmax(1, Kind::Double), [0.7, 0.3]) && near(in_lesion, [0.0, 1.0]));
        assert!(Regions::new(&[Vec::new(), Vec::new()]).is_empty());
    }

    #[test]
    fn a_head_says_inside_or_outside_of_its_region() {
        let regions = Regions::each(&[vec![2]], 2);
        assert_eq!(regions.classes(), [vec![1, 2], vec![2]]);
        // Two voxels, a liver's and a lesion's.
        let logits = Tensor::from_slice(&[1.0f64, -2.0, 0.5, 3.0]).view([1, 2, 2]);
        let truth = Tensor::from_slice(&[0.0f64, 0.0, 1.0, 0.0, 0.0, 1.0]).view([1, 3, 2]);
        let found = regions.of_heads(&logits, &truth).unwrap();
        let numbers = |tensor: &Tensor| Vec::<f64>::try_from(tensor.contiguous().view([-1])).unwrap();
        let inside = |place: usize| numbers(&found[place][0].softmax(1, Kind::Double).narrow(1, 1, 1));
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        for (place, logits) in [(0, [1.0, -2.0]), (1, [0.5, 3.0])] {
            assert!(inside(place).iter().zip(logits).all(|(p, x)| (p - sigmoid(x)).abs() < 1e-12));
        }
        assert_eq!(numbers(&found[0][1]), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(numbers(&found[1][1]), [1.0, 0.0, 0.0, 1.0]);
    }
}
