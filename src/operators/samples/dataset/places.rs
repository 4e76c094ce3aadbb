//! The places of the windows of cases: around each class alike, or in a grid.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::case::PreparedCase;
use super::classes::{Class, Classes};
use crate::networks::Convention;

impl Classes {
    /// A voxel of a class: each class as likely as any other, and of its voxels each.
    fn voxel(&self, case: &PreparedCase, rng: &mut ChaCha8Rng) -> Result<Option<[usize; 3]>, String> {
        let Some((slice, nth, label)) = self.drawn(rng) else { return Ok(None) };
        case.nth_voxel(slice, nth, |found| found == label)
    }

    /// The slice of such a voxel, its number among those of its class there, and the class.
    fn drawn(&self, rng: &mut ChaCha8Rng) -> Option<(usize, u64, u8)> {
        let last = self.0.len().checked_sub(1)?;
        let Class { label, slices } = self.0.get(rng.random_range(0..=last))?;
        let (_, total) = slices.last()?;
        let chosen = rng.random_range(0..*total);
        let at = slices.partition_point(|(_, up_to)| *up_to <= chosen);
        let before = at.checked_sub(1).and_then(|at| slices.get(at)).map_or(0, |(_, up_to)| *up_to);
        let (slice, _) = slices.get(at)?;
        Some((*slice, chosen - before, *label))
    }

    /// Returns where a window of `size` around a voxel of a class starts.
    pub fn start(
        &self,
        case: &PreparedCase,
        size: [usize; 3],
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<[isize; 3]>, String> {
        let start =
            |centre: [usize; 3]| [0, 1, 2].map(|axis| around(case.size[axis], size[axis], centre[axis]));
        Ok(self.voxel(case, rng)?.map(start))
    }
}

/// Returns where a window starts along an axis of `length` voxels, with its middle as near `centre` as the
/// axis allows; an axis shorter than the window lies in its middle.
pub(super) fn around(length: usize, window: usize, centre: usize) -> isize {
    match length as isize - window as isize {
        room if room <= 0 => -((-room) / 2),
        room => (centre as isize - (window / 2) as isize).clamp(0, room),
    }
}

/// The windows of several cases, one case after the other.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// The places along `[D, H, W]` where windows of each case start.
    starts: Vec<[Vec<isize>; 3]>,
    /// The number of windows of all cases up to and with each.
    up_to: Vec<usize>,
}

impl Grid {
    /// Windows of `size` voxels over volumes `[D, H, W]`.
    pub fn new(volumes: impl Iterator<Item = [usize; 3]>, size: [usize; 3], overlap: f64) -> Self {
        let axis = |length: usize, window: usize| -> Vec<isize> {
            let starts = Convention::Monai.starts(length, window, overlap);
            let padded = around(length, window, 0).min(0);
            starts.into_iter().map(|start| start as isize + padded).collect()
        };
        let starts: Vec<_> = volumes.map(|volume| [0, 1, 2].map(|n| axis(volume[n], size[n]))).collect();
        let up_to = starts.iter().scan(0_usize, |total, axes| {
            *total = total.saturating_add(axes.iter().map(Vec::len).product());
            Some(*total)
        });
        let up_to = up_to.collect();
        Self { starts, up_to }
    }

    /// Returns the number of windows in all.
    pub fn len(&self) -> usize {
        self.up_to.last().copied().unwrap_or(0)
    }

    /// The case of a window, and its number among those of the case.
    pub fn find(&self, index: usize) -> Option<(usize, usize)> {
        let case = self.up_to.partition_point(|up_to| *up_to <= index);
        let before = case.checked_sub(1).and_then(|case| self.up_to.get(case)).map_or(0, |up_to| *up_to);
        (case < self.up_to.len()).then(|| (case, index - before))
    }

    /// Returns where the window `number` of a case starts: W runs fastest.
    pub fn start(&self, case: usize, number: usize) -> Option<[isize; 3]> {
        let [d, h, w] = self.starts.get(case)?;
        let (plane, column) = (number.checked_div(w.len())?, number.checked_rem(w.len())?);
        let (slice, row) = (plane.checked_div(h.len())?, plane.checked_rem(h.len())?);
        Some([*d.get(slice)?, *h.get(row)?, *w.get(column)?])
    }
}

/// What is known of all cases before the first sample is cut.
#[derive(Clone, Debug)]
pub(super) enum Places {
    /// Nothing: windows and slices are drawn case by case.
    Biased,
    /// The classes of each case.
    Balanced(Vec<Classes>),
    Grid(Grid),
}

impl Places {
    /// The classes of these cases.
    pub fn balanced(cases: &[Arc<PreparedCase>]) -> Self {
        Self::Balanced(cases.par_iter().map(|case| case.classes()).collect())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::super::super::view::{Input, Placement, View};
    use super::super::Dataset;
    use super::*;
    use crate::networks::sample::{InputView, SampleSource};

    /// Intensities are voxel numbers.
    fn case(size: [usize; 3], labels: &[u8]) -> Arc<PreparedCase> {
        let scan = (0..labels.len()).map(|i| i as f32).collect();
        Arc::new(PreparedCase::new("a", size, [1.0; 3], scan, labels.into()).unwrap())
    }

    fn dataset(placement: Placement, size: [usize; 3], cases: Vec<Arc<PreparedCase>>) -> Dataset {
        let input = Input::Voxels(InputView::Patch { size });
        Dataset::new(
            View { input, placement, per_case: 3, foreground: 0.5, flip: false, things: None },
            cases,
        )
    }

    #[test]
    fn a_window_lies_around_its_voxel_within_the_volume() {
        assert_eq!([0, 1, 4, 8, 9].map(|centre| around(10, 4, centre)), [0, 0, 2, 6, 6]);
        assert_eq!([0, 1, 4, 8, 9].map(|centre| around(10, 3, centre)), [0, 0, 3, 7, 7]);
        assert_eq!([4, 5, 6, 7].map(|window| around(4, window, 3)), [0, 0, -1, -1]);
    }

    #[test]
    fn classes_are_counted_slice_by_slice() {
        let Classes(classes) = case([2, 1, 3], &[0, 2, 2, 2, 0, 255]).classes();
        let found: Vec<_> = classes.iter().map(|class| (class.label, class.slices.as_slice())).collect();
        let expected: [(u8, &[(usize, u64)]); 3] =
            [(0, &[(0, 1), (1, 2)]), (2, &[(0, 2), (1, 3)]), (255, &[(1, 1)])];
        assert_eq!(found, expected);
    }

    #[test]
    fn each_class_is_as_likely_and_of_its_voxels_each() {
        let labels = [0, 0, 0, 2, 2, 0, 0, 0, 0, 7, 0, 0];
        let case = case([3, 2, 2], &labels);
        let (classes, mut rng) = (case.classes(), ChaCha8Rng::seed_from_u64(1));
        let mut hits = [0_u32; 12];
        for _ in 0..9000 {
            let [d, h, w] = classes.voxel(&case, &mut rng).unwrap().unwrap();
            hits[(d * 2 + h) * 2 + w] += 1;
        }
        for (hits, label) in hits.into_iter().zip(labels) {
            // A third of 9000 for each class, over 9, 2 and 1 voxels.
            let expected = match label {
                0 => 333.0,
                2 => 1500.0,
                _ => 3000.0,
            };
            assert!((f64::from(hits) - expected).abs() < 5.0 * f64::sqrt(expected), "class {label}: {hits}");
        }
    }

    #[test]
    fn balanced_windows_are_around_a_class_that_is_there() {
        let one = case([1, 1, 1], &[3]);
        let empty = case([2, 2, 2], &[0; 8]);
        let full = case([2, 2, 2], &[1; 8]);
        let data = dataset(Placement::Balanced, [1, 1, 1], vec![one, empty, full]);
        assert_eq!(data.len(), 9);
        for index in 0..9 {
            assert_eq!(
                data.sample(index, 2, 5).unwrap().target.classes().unwrap(),
                [[3], [0], [1]][index % 3]
            );
        }
        // Larger than the case: one place, padded.
        let data = dataset(Placement::Balanced, [3, 1, 1], vec![case([1, 1, 1], &[3])]);
        assert_eq!(data.sample(0, 0, 0).unwrap().target.classes().unwrap(), [0, 3, 0]);
    }

    #[test]
    fn a_rare_class_is_seen_as_often_as_the_others() {
        let mut labels = vec![0; 4096];
        labels[..2000].fill(1);
        labels[3000] = 2;
        let data = dataset(Placement::Balanced, [1, 1, 1], vec![case([16, 16, 16], &labels)]);
        let draw = |epoch| data.sample(0, epoch, 9).unwrap();
        let mut hits = [0_u32; 3];
        (0..1500).for_each(|epoch| hits[usize::from(draw(epoch).target.classes().unwrap()[0])] += 1);
        assert!(hits.iter().all(|hits| (400..600).contains(hits)), "{hits:?}");
        assert_eq!(draw(7), draw(7));
    }

    #[test]
    fn a_grid_numbers_its_windows_case_by_case() {
        let volumes = [[4, 4, 4], [1, 2, 5], [3, 3, 3]];
        let grid = Grid::new(volumes.into_iter(), [2, 4, 4], 0.0);
        assert_eq!((grid.len(), grid.up_to.as_slice()), (6, &[2, 4, 6][..]));
        assert_eq!([0, 1, 2, 5].map(|index| grid.find(index)), [(0, 0), (0, 1), (1, 0), (2, 1)].map(Some));
        assert_eq!(grid.find(6), None);
        assert_eq!(grid.start(0, 1), Some([2, 0, 0]));
        assert_eq!([grid.start(1, 0), grid.start(1, 1)], [Some([0, -1, 0]), Some([0, -1, 1])]);
        assert_eq!(grid.start(2, 1), Some([1, 0, 0]));
        assert_eq!((grid.start(2, 2), grid.start(3, 0)), (None, None));
        let overlapping = Grid::new([[1, 1, 10]].into_iter(), [1, 1, 4], 0.5);
        assert_eq!(overlapping.starts[0][2], [0, 2, 4, 6]);
        assert_eq!(Grid::new(std::iter::empty(), [1, 1, 1], 0.0).find(0), None);
    }

    #[test]
    fn a_grid_shows_each_voxel_once_an_epoch() {
        let data = dataset(
            Placement::Grid { overlap: 0.0 },
            [2, 3, 2],
            vec![case([4, 6, 2], &[1; 48]), case([2, 3, 4], &[0; 24])],
        );
        assert_eq!((data.len(), data.is_empty()), (6, false));
        let mut seen: Vec<usize> =
            (0..6).flat_map(|index| data.sample(index, 1, 0).unwrap().input).map(|v| v as usize).collect();
        seen.sort_unstable();
        let mut expected: Vec<usize> = (0..48).chain(0..24).collect();
        expected.sort_unstable();
        assert_eq!(seen, expected);
        assert_eq!(data.sample(3, 1, 0), data.sample(3, 8, 4));
        assert_eq!(data.name(4), "case a, sample 4");
        assert!(data.sample(6, 0, 0).unwrap_err().contains("below 6"));
        assert!(dataset(Placement::Grid { overlap: 0.5 }, [1; 3], vec![]).is_empty());
    }

    #[test]
    fn a_case_smaller_than_a_window_of_a_grid_is_one_that_is_padded() {
        let data = dataset(Placement::Grid { overlap: 0.5 }, [1, 3, 2], vec![case([1, 1, 1], &[4])]);
        assert_eq!(data.len(), 1);
        assert_eq!(data.sample(0, 0, 0).unwrap().target.classes().unwrap(), [0, 0, 4, 0, 0, 0]);
    }
}
