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

    /// Adds a class found for a voxel, and the true one; a label that nobody looked for is found nowhere.
    pub fn add_voxel(&mut self, found: u16, truth: u8, unknown: &[u8]) {
        let found = if unknown.iter().any(|label| u16::from(*label) == found) { 0 } else { found };
        let cell = usize::from(truth) * self.classes + usize::from(found);
        if let Some(count) = self.matrix.get_mut(cell) {
            *count += 1;
        }
    }

    /// Adds as [`add`](Self::add) does, where nobody looked for some labels: these are found nowhere.
    pub fn add_known(
        &mut self,
        prediction: &Tensor,
        truth: &Tensor,
        unknown: &[u8],
    ) -> Result<(), NetworkError> {
        if unknown.is_empty() {
            return self.add(prediction, truth);
        }
        let known =
            |class: usize| if unknown.iter().any(|label| usize::from(*label) == class) { 0 } else { class };
        let table: Vec<i64> = (0..self.classes).map(|class| known(class) as i64).collect();
        self.add(&looked_up(&table, prediction)?, truth)
    }

    /// Returns the Dice of each label, none where it is neither predicted nor true.
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

/// Returns what a table says of each class of a tensor, on the same device.
fn looked_up(table: &[i64], classes: &Tensor) -> Result<Tensor, NetworkError> {
    let table = Tensor::f_from_slice(table)?.f_to_device(classes.device())?;
    let flat = classes.f_to_kind(Kind::Int64)?.f_reshape([-1])?;
    Ok(table.f_index_select(0, &flat)?.f_view_as(classes)?)
}

/// Voxels inside of each label's region, where these may overlap.
pub(in crate::networks) struct Insides {
    regions: Vec<Vec<i64>>,
    /// Whether each has a head of its own, in place of a class for each voxel.
    heads: bool,
    /// The number of voxels that are both found and true.
    both: Vec<u64>,
    /// The number of voxels that are found, and of those that are true: those of both count twice.
    either: Vec<u64>,
}

impl Insides {
    pub fn new(regions: &Regions, heads: bool) -> Self {
        let regions = regions.classes().to_vec();
        let none = vec![0; regions.len()];
        Self { regions, heads, both: none.clone(), either: none }
    }

    /// Adds logits `[N, C, …]` and true classes `[N, …]`, but for labels that nobody looked for.
    pub fn add(&mut self, logits: &Tensor, truth: &Tensor, unknown: &[u8]) -> Result<(), NetworkError> {
        let highest = self.regions.iter().flatten().copied().max().unwrap_or(0);
        let classes = if self.heads { None } else { Some(logits.f_argmax(1, false)?) };
        let sum = |x: &Tensor| -> Result<u64, NetworkError> {
            let sum = x.f_sum(Kind::Int64)?.f_to_device(tch::Device::Cpu)?;
            Ok(u64::try_from(i64::try_from(&sum)?).unwrap_or(0))
        };
        for (place, region) in self.regions.iter().enumerate() {
            if is_unknown(place, unknown) {
                continue;
            }
            let table: Vec<i64> = (0..=highest).map(|class| i64::from(region.contains(&class))).collect();
            let wanted = looked_up(&table, truth)?;
            let found = match &classes {
                Some(classes) => looked_up(&table, classes)?,
                None => {
                    let head = logits.f_narrow(1, place as i64, 1)?.f_squeeze_dim(1)?;
                    head.f_gt_tensor(&head.f_zeros_like()?)?.f_to_kind(Kind::Int64)?
                }
            };
            self.both[place] += sum(&found.f_mul(&wanted)?)?;
            self.either[place] += sum(&found)? + sum(&wanted)?;
        }
        Ok(())
    }

    /// Adds what was found of a voxel, a class or a bit for each head, and its true class.
    pub fn add_voxel(&mut self, found: u16, truth: u8, unknown: &[u8]) {
        for (place, region) in
            self.regions.iter().enumerate().filter(|(place, _)| !is_unknown(*place, unknown))
        {
            let found = match self.heads {
                true => found.checked_shr(place as u32).is_some_and(|bits| bits & 1 == 1),
                false => region.contains(&i64::from(found)),
            };
            let wanted = region.contains(&i64::from(truth));
            self.both[place] += u64::from(found && wanted);
            self.either[place] += u64::from(found) + u64::from(wanted);
        }
    }

    /// Returns the Dice of each label, none where nothing of its region is found or true.
    pub fn dice(&self) -> Vec<Option<f64>> {
        let of = |(both, either): (&u64, &u64)| (*either > 0).then(|| 2.0 * *both as f64 / *either as f64);
        self.both.iter().zip(&self.either).map(of).collect()
    }
}

/// Whether nobody looked for the label at a place, from 0 on.
fn is_unknown(place: usize, unknown: &[u8]) -> bool {
    unknown.iter().any(|label| usize::from(*label) == place + 1)
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
        let pairs = [1, 1, 0, 0, 1, 1, 1, 1].into_iter().zip([1, 0, 1, 0, 1, 1, 1, 1]);
        pairs.for_each(|(found, truth)| whole.add_voxel(found, truth, &[]));
        assert_eq!(whole.dice(), counts.dice());
        // A class that a network does not have counts nowhere.
        whole.add_voxel(9, 1, &[]);
        assert_eq!(whole.dice(), counts.dice());
        // What is found of a label that nobody looked for is no error.
        let mut partly = Counts::new(2);
        let (found, truth) = (Tensor::from_slice(&[1i64, 2, 2, 0]), Tensor::from_slice(&[1u8, 1, 0, 0]));
        partly.add_known(&found, &truth, &[2]).unwrap();
        assert_eq!(partly.dice(), [Some(2.0 / 3.0), None]);
    }

    #[test]
    fn regions_are_counted_by_classes_and_by_heads() {
        let nested = Regions::new(&[vec![2], Vec::new()]);
        let mut classes = Insides::new(&nested, false);
        // A lesion that was found as liver, and one that was found.
        let pairs = [1, 1, 2, 0].into_iter().zip([1, 2, 2, 0]);
        pairs.for_each(|(found, truth)| classes.add_voxel(found, truth, &[]));
        assert_eq!(classes.dice(), [Some(1.0), Some(2.0 / 3.0)]);
        // The same by heads: the first voxel is found as lesion alone.
        let mut heads = Insides::new(&nested, true);
        let logits = Tensor::from_slice(&[-1f32, 1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0]).view([1, 2, 1, 1, 4]);
        let truth = Tensor::from_slice(&[1u8, 2, 2, 0]).view([1, 1, 1, 4]);
        heads.add(&logits, &truth, &[]).unwrap();
        assert_eq!(heads.dice(), [Some(4.0 / 5.0), Some(0.5)]);
        let mut voxels = Insides::new(&nested, true);
        let pairs = [2, 1, 3, 0].into_iter().zip([1, 2, 2, 0]);
        pairs.for_each(|(found, truth)| voxels.add_voxel(found, truth, &[]));
        assert_eq!(voxels.dice(), heads.dice());
        // Class 3 is of both labels, where these cross.
        let mut crossing = Insides::new(&Regions::each(&[vec![3], vec![3]], 2), true);
        let found = Tensor::from_slice(&[1f32, 1.0, -1.0, -1.0, -1.0, 1.0, 1.0, -1.0]).view([1, 2, 1, 1, 4]);
        let drawn = Tensor::from_slice(&[1u8, 3, 2, 3]).view([1, 1, 1, 4]);
        crossing.add(&found, &drawn, &[]).unwrap();
        assert_eq!(crossing.dice(), [Some(0.8), Some(0.8)]);
        crossing.add_voxel(3, 3, &[]);
        assert_eq!(crossing.dice(), [Some(6.0 / 7.0), Some(6.0 / 7.0)]);
        let mut tensors = Insides::new(&nested, false);
        let logits = [0f32, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        tensors.add(&Tensor::from_slice(&logits).view([1, 3, 1, 1, 4]), &truth, &[1]).unwrap();
        assert_eq!(tensors.dice(), [None, Some(2.0 / 3.0)]);
    }
}
