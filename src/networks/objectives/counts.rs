//! True and false positives and negatives for each label: counted over a whole set, divided once.

use tch::{Kind, Tensor};

use super::regions::Regions;
use crate::networks::NetworkError;

/// A confusion matrix, `[truth][prediction]`.
pub(in crate::networks) struct Counts {
    classes: usize,
    matrix: Vec<u64>,
}

impl Counts {
    pub fn new(labels: usize) -> Self {
        let classes = labels + 1;
        Self { classes, matrix: vec![0; classes * classes] }
    }

    /// Adds predictions and truth of one shape, whole numbers up to the number of labels.
    pub fn add(&mut self, prediction: &Tensor, truth: &Tensor) -> Result<(), NetworkError> {
        let classes = self.classes as i64;
        let pair = truth
            .f_to_kind(Kind::Int64)?
            .f_mul(&Tensor::f_from_slice(&[classes])?.f_view(())?)?
            .f_add(prediction)?;
        let cells = self.matrix.len();
        let counted = pair.f_reshape([-1])?.f_bincount(None::<Tensor>, cells as i64)?;
        let mut numbers = vec![0i64; cells];
        counted.f_to_device(tch::Device::Cpu)?.f_copy_data(&mut numbers, cells)?;
        for (sum, number) in self.matrix.iter_mut().zip(numbers) {
            *sum += u64::try_from(number).unwrap_or(0);
        }
        Ok(())
    }

    /// Adds a class found for each voxel, and the true one.
    pub fn add_classes(&mut self, found: &[u16], truth: &[u8]) {
        for (found, truth) in found.iter().zip(truth) {
            let cell = usize::from(*truth) * self.classes + usize::from(*found);
            if let Some(count) = self.matrix.get_mut(cell) {
                *count += 1;
            }
        }
    }

    /// For each region, none where nothing of it is predicted or true.
    pub fn dice_of(&self, regions: &Regions) -> Vec<Option<f64>> {
        if regions.is_empty() {
            return self.dice();
        }
        let cell =
            |truth: usize, found: usize| self.matrix.get(truth * self.classes + found).copied().unwrap_or(0);
        let of = |region: &Vec<i64>| {
            let inside: Vec<bool> = (0..self.classes).map(|class| region.contains(&(class as i64))).collect();
            let (mut both, mut either) = (0, 0);
            for (truth, true_inside) in inside.iter().enumerate() {
                for (found, found_inside) in inside.iter().enumerate() {
                    let count = cell(truth, found);
                    both += if *true_inside && *found_inside { count } else { 0 };
                    either += count * (u64::from(*true_inside) + u64::from(*found_inside));
                }
            }
            (either > 0).then(|| 2.0 * both as f64 / either as f64)
        };
        regions.classes().iter().map(of).collect()
    }

    /// For each label, none where it is neither predicted nor true.
    pub fn dice(&self) -> Vec<Option<f64>> {
        let row = |i: usize| self.matrix.iter().skip(i * self.classes).take(self.classes).sum::<u64>();
        let column = |i: usize| self.matrix.iter().skip(i).step_by(self.classes).sum::<u64>();
        let both = |i: usize| self.matrix.get(i * (self.classes + 1)).copied().unwrap_or(0);
        (1..self.classes)
            .map(|i| {
                let either = row(i) + column(i);
                (either > 0).then(|| 2.0 * both(i) as f64 / either as f64)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_divided_once() {
        let mut counts = Counts::new(2);
        let add = |counts: &mut Counts, prediction: &[i64], truth: &[u8]| {
            counts.add(&Tensor::from_slice(prediction), &Tensor::from_slice(truth)).unwrap();
        };
        assert_eq!(counts.dice(), [None, None]);
        add(&mut counts, &[1, 1, 0, 0], &[1, 0, 1, 0]);
        add(&mut counts, &[1, 1, 1, 1], &[1, 1, 1, 1]);
        assert_eq!(counts.dice(), [Some(2.0 * 5.0 / 12.0), None]);
        let mut whole = Counts::new(2);
        whole.add_classes(&[1, 1, 0, 0, 1, 1, 1, 1], &[1, 0, 1, 0, 1, 1, 1, 1]);
        assert_eq!(whole.dice(), counts.dice());
        let nested = Regions::new(&[vec![2], Vec::new()]);
        let mut whole_liver = Counts::new(2);
        // A lesion that was found as liver, and one that was found.
        whole_liver.add_classes(&[1, 1, 2, 0], &[1, 2, 2, 0]);
        assert_eq!(whole_liver.dice_of(&nested), [Some(1.0), Some(2.0 / 3.0)]);
        assert_eq!(whole_liver.dice_of(&Regions::default()), whole_liver.dice());
        // A class that a network does not have counts nowhere.
        whole.add_classes(&[9], &[1]);
        assert_eq!(whole.dice(), counts.dice());
    }
}
