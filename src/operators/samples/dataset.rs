//! Prepared cases as the training loop sees them: samples cut on demand, the same on any thread.

#[cfg(test)]
mod by_place;
mod case;
mod classes;
mod lies;
mod places;

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::augment::{Augment, Source, Warp, Window};
use super::things::Numbered;
use super::view::{Placement, View};
use crate::networks::NetworkError;
use crate::networks::sample::{InputView, Instance, Sample, SampleSource, Target, WholeCase};
pub use case::{CaseBox, PreparedCase};
pub use lies::{ByPlace, Gathering};
use places::{Grid, Places, around};

/// The most voxels of one sample: 8 GiB of intensities.
const MOST_VOXELS: usize = 1 << 31;

/// The place of a sample in its case.
#[derive(Clone, Copy, Debug)]
enum SamplePlace {
    Window(Window),
    /// The slice that is predicted.
    Slice(usize),
}

/// Prepared cases under a view.
#[derive(Clone, Debug)]
pub struct Dataset {
    view: View,
    input: InputView,
    places: Places,
    cases: Vec<Arc<PreparedCase>>,
    augmentations: Vec<Arc<Augment>>,
    /// The kinds of things that boxes are put around, where samples teach these.
    things: Option<Numbered>,
}

impl Dataset {
    /// A dataset; lengths in mm become voxels of the median spacing of its cases.
    pub fn new(view: View, cases: Vec<Arc<PreparedCase>>) -> Self {
        let median = |axis: usize| {
            let mut lengths: Vec<f64> = cases.iter().map(|case| case.spacing_mm[axis]).collect();
            lengths.sort_by(f64::total_cmp);
            let (low, high) = (lengths.len().saturating_sub(1) / 2, lengths.len() / 2);
            match (lengths.get(low), lengths.get(high)) {
                (Some(a), Some(b)) => (a + b) / 2.0,
                _ => 1.0,
            }
        };
        let input = view.resolve([median(0), median(1), median(2)]);
        let places = match (view.placement, &input) {
            (Placement::Balanced, InputView::Patch { .. }) => Places::balanced(&cases),
            (Placement::Grid { overlap }, InputView::Patch { size }) => {
                Places::Grid(Grid::new(cases.iter().map(|case| case.size), *size, overlap))
            }
            _ => Places::Biased,
        };
        Self { view, input, places, cases, augmentations: Vec::new(), things: None }
    }

    /// Returns the same dataset with samples changed one after the other.
    #[must_use]
    pub fn augmented(self, augmentations: Vec<Arc<Augment>>) -> Self {
        Self { augmentations, ..self }
    }

    /// Returns the same dataset, whose samples teach things with a box each, and no class of each voxel.
    #[must_use]
    pub fn teaching(self, things: Numbered) -> Self {
        Self { things: Some(things), ..self }
    }

    /// Returns the kinds of things that boxes are put around.
    pub fn things(&self) -> Option<&Numbered> {
        self.things.as_ref()
    }

    /// The shape in voxels: what the network is built for.
    pub fn input(&self) -> &InputView {
        &self.input
    }

    /// Returns the cases of the dataset.
    pub fn cases(&self) -> &[Arc<PreparedCase>] {
        &self.cases
    }

    /// The case of a sample, and its number among those of the case.
    fn find(&self, index: usize) -> Option<(usize, usize)> {
        match &self.places {
            Places::Grid(grid) => grid.find(index),
            // Neighbouring numbers are different cases, so that a batch is not all of one.
            _ if index < self.len() => {
                Some((index.checked_rem(self.cases.len())?, index.checked_div(self.cases.len())?))
            }
            _ => None,
        }
    }

    /// Returns where the sample `number` of the case `of` lies.
    fn place(
        &self,
        of: usize,
        number: usize,
        case: &PreparedCase,
        rng: &mut ChaCha8Rng,
    ) -> Result<SamplePlace, String> {
        let InputView::Patch { size } = self.input else { return self.biased(case, rng) };
        let start = match &self.places {
            Places::Biased => None,
            Places::Balanced(classes) => match classes.get(of) {
                Some(classes) => classes.start(case, size, rng)?,
                None => None,
            },
            Places::Grid(grid) => grid.start(of, number),
        };
        match start {
            Some(start) => Ok(SamplePlace::Window(Window { start, size, spacing_mm: case.spacing_mm })),
            None => self.biased(case, rng),
        }
    }

    /// Returns where a sample lies that holds foreground as often as the view says.
    fn biased(&self, case: &PreparedCase, rng: &mut ChaCha8Rng) -> Result<SamplePlace, String> {
        let around_foreground = rng.random_bool(self.view.foreground.clamp(0.0, 1.0));
        Ok(match self.input {
            InputView::Patch { size } => {
                let centre = if around_foreground { case.foreground_voxel(rng)? } else { None };
                let start = [0, 1, 2].map(|axis| {
                    let room = case.size[axis] as isize - size[axis] as isize;
                    match centre {
                        None if room > 0 => rng.random_range(0..=room as u64) as isize,
                        centre => around(case.size[axis], size[axis], centre.map_or(0, |voxel| voxel[axis])),
                    }
                });
                SamplePlace::Window(Window { start, size, spacing_mm: case.spacing_mm })
            }
            InputView::Stack { .. } | InputView::Bag { .. } => {
                let target = around_foreground.then(|| case.foreground_slice(rng)).flatten();
                SamplePlace::Slice(target.unwrap_or_else(|| rng.random_range(0..case.size[0])))
            }
        })
    }

    /// A sample, moved as the first augmentation that moves anything says; of a slice whose things are marked by boxes it
    /// teaches these.
    fn cut(&self, case: &PreparedCase, place: SamplePlace, source: &Source) -> Result<Sample, String> {
        let [_, height, width] = case.size;
        let slice = Window { start: [0; 3], size: [1, height, width], spacing_mm: case.spacing_mm };
        let (window, flat) = match place {
            SamplePlace::Window(window) => (window, false),
            SamplePlace::Slice(_) => (slice, true),
        };
        let mut augmentations = self.augmentations.iter().enumerate();
        let warp = augmentations.find_map(|(index, augment)| augment.warp(&source.of(index), &window, flat));
        let boxes = match (place, &self.things) {
            (SamplePlace::Slice(target), Some(things)) => case.boxes(target).map(|boxes| {
                let marked = things.marked(boxes);
                match &warp {
                    Some(warp) => marked.into_iter().filter_map(|thing| moved(warp, thing, &slice)).collect(),
                    None => marked,
                }
            }),
            _ => None,
        };
        let sample = match (place, warp) {
            (SamplePlace::Window(window), None) => case.patch(window.size, window.start),
            (SamplePlace::Window(window), Some(warp)) => case.moved_patch(&warp, &window),
            (SamplePlace::Slice(target), None) => case.slices(&self.input, target),
            (SamplePlace::Slice(target), Some(warp)) => case.moved_slices(&self.input, target, &warp, &slice),
        };
        let sample = sample?;
        Ok(match boxes {
            Some(boxes) => Sample { target: Target::Instances(boxes), ..sample },
            None => sample,
        })
    }
}

/// A thing of a slice where a movement takes it; none where that is off the slice.
fn moved(warp: &Warp, thing: Instance, slice: &Window) -> Option<Instance> {
    let plane = |edges: [f32; 3]| [f64::from(edges[1]), f64::from(edges[2])];
    let [low, high] = warp.shown([plane(thing.low), plane(thing.high)], slice)?;
    let edges = |depth: f32, [y, x]: [f64; 2]| [depth, y as f32, x as f32];
    let (low, high) = (edges(0.0, low), edges(1.0, high));
    (low[1] < high[1] && low[2] < high[2]).then_some(Instance { low, high, ..thing })
}

impl SampleSource for Dataset {
    fn len(&self) -> usize {
        match &self.places {
            Places::Grid(grid) => grid.len(),
            _ => self.cases.len() * self.view.per_case,
        }
    }

    fn name(&self, index: usize) -> String {
        let case = self.find(index).and_then(|(case, _)| self.cases.get(case));
        case.map_or_else(|| format!("sample {index}"), |case| format!("case {}, sample {index}", case.name))
    }

    fn each_case(
        &self,
        visit: &mut dyn FnMut(&WholeCase<'_>) -> Result<(), NetworkError>,
    ) -> Result<usize, NetworkError> {
        for (index, case) in self.cases.iter().enumerate() {
            let unread = |message: String| NetworkError::Sample { index, message: unread(case, &message) };
            case.visit(&mut *visit).map_err(unread)??;
        }
        Ok(self.cases.len())
    }

    fn sample(&self, index: usize, epoch: u64, seed: u64) -> Result<Sample, String> {
        let found = self.find(index).and_then(|(of, number)| Some((of, number, self.cases.get(of)?)));
        let Some((of, number, case)) = found else {
            return Err(format!("a sample below {} expected, {index} asked for", self.len()));
        };
        let shape = match self.input {
            InputView::Patch { size } => [case.channels(), size[0], size[1], size[2]],
            _ => [case.channels() * self.input.channels(), 1, case.size[1], case.size[2]],
        };
        let voxels = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        if voxels.is_none_or(|voxels| voxels > MOST_VOXELS) {
            return Err(format!("case {}: a sample of {shape:?} voxels is too large", case.name));
        }
        let mut key = [0; 32];
        for (part, value) in key.chunks_exact_mut(8).zip([seed, epoch, index as u64]) {
            part.copy_from_slice(&value.to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        let unread = |message: String| unread(case, &message);
        let place = self.place(of, number, case, &mut rng).map_err(unread)?;
        let source = Source::new(seed, &case.name, epoch, number as u64);
        let mut sample = self.cut(case, place, &source).map_err(unread)?;
        if self.view.flip && rng.random_bool(0.5) {
            let width = sample.shape[3];
            sample.input.chunks_exact_mut(width).for_each(<[f32]>::reverse);
            let [_, size @ ..] = sample.shape;
            sample.target.mirror(size, 2);
        }
        for (index, augment) in self.augmentations.iter().enumerate() {
            let Sample { input, shape, target } = &mut sample;
            augment.change(&source.of(index), *shape, case.channels(), case.spacing_mm, input, target);
        }
        // Boxes are those of the labels as they lie now, however these were moved.
        if let (Some(things), Target::Classes(classes)) = (&self.things, &sample.target) {
            let [_, _, height, width] = sample.shape;
            sample.target = Target::Instances(things.instances(classes, [height, width]));
        }
        if !case.unknown().is_empty()
            && let Target::Classes(classes) = &mut sample.target
        {
            let (classes, unknown) = (std::mem::take(classes), case.unknown().clone());
            sample.target = Target::Partly { classes, unknown };
        }
        if !case.is_drawn() {
            sample.target = Target::None;
        }
        Ok(sample)
    }
}

/// Why a case's voxels could not be read, with its name.
fn unread(case: &PreparedCase, why: &str) -> String {
    format!("case {}: {why}", case.name)
}

#[cfg(test)]
mod marked;

#[cfg(test)]
mod tests {
    use super::super::view::Input;
    use super::*;

    /// Intensities are voxel numbers; foreground is voxel 5 of each slice but the first.
    fn case(size: [usize; 3]) -> Arc<PreparedCase> {
        let area = size[1] * size[2];
        let voxels = size.iter().product::<usize>();
        let scan = (0..voxels).map(|i| i as f32 - 1.0).collect();
        let labels = (0..voxels).map(|i| u8::from(i >= area && i % area == 5)).collect();
        Arc::new(PreparedCase::new("a", size, [3.0, 1.0, 1.0], scan, labels).unwrap())
    }

    fn dataset(input: InputView, foreground: f64, flip: bool, sizes: &[[usize; 3]]) -> Dataset {
        let view = View {
            input: Input::Voxels(input),
            placement: Placement::Biased,
            per_case: 8,
            foreground,
            flip,
            things: None,
        };
        Dataset::new(view, sizes.iter().map(|size| case(*size)).collect())
    }

    #[test]
    fn a_sample_depends_on_its_numbers_alone() {
        let data = dataset(InputView::Patch { size: [2, 3, 4] }, 0.5, true, &[[6, 8, 9], [5, 7, 7]]);
        assert_eq!(data.len(), 16);
        let all = |epoch, seed| -> Vec<Sample> {
            (0..16).map(|index| data.sample(index, epoch, seed).unwrap()).collect()
        };
        let there = std::thread::scope(|scope| scope.spawn(|| all(3, 7)).join().unwrap());
        assert_eq!(all(3, 7), there);
        assert_ne!(all(3, 7), all(4, 7));
        assert_ne!(all(3, 7), all(3, 8));
        assert!(data.sample(16, 0, 0).is_err());
        assert_eq!(data.name(3), "case a, sample 3");
        assert!(dataset(InputView::Patch { size: [1; 3] }, 0.5, true, &[]).sample(0, 0, 0).is_err());
    }

    #[test]
    fn samples_of_what_nobody_drew_teach_nothing() {
        let data = dataset(InputView::Patch { size: [2, 3, 4] }, 1.0, true, &[[6, 8, 9]]);
        let drawn = &data.cases()[0];
        let undrawn =
            PreparedCase::undrawn("b", drawn.size(), drawn.spacing_mm(), drawn.scan().unwrap().into())
                .unwrap();
        let two: Arc<[f32]> = [&drawn.scan().unwrap()[..]; 2].concat().into();
        let of_two = PreparedCase::undrawn("c", drawn.size(), drawn.spacing_mm(), two.clone()).unwrap();
        assert_eq!((of_two.channels(), of_two.is_drawn()), (2, false));
        assert!(PreparedCase::undrawn("d", [usize::MAX; 3], drawn.spacing_mm(), two).is_err());
        let data = Dataset::new(data.view.clone(), vec![Arc::new(undrawn)]);
        let found: Vec<Sample> = (0..8).map(|index| data.sample(index, 0, 0).unwrap()).collect();
        assert!(found.iter().all(|sample| sample.target == Target::None && sample.shape == [1, 2, 3, 4]));
        // The samples lie anywhere.
        assert!(found.iter().any(|sample| sample.input != found[0].input));
    }

    #[test]
    fn what_nobody_drew_may_have_several_channels() {
        let size = [3, 4, 5];
        let scan: Arc<[f32]> = (0..120).map(|voxel| voxel as f32).collect();
        let undrawn = PreparedCase::undrawn("b", size, [3.0, 1.0, 1.0], scan.clone()).unwrap();
        assert_eq!((undrawn.channels(), undrawn.labels().unwrap().len(), undrawn.is_drawn()), (2, 60, false));
        let view = dataset(InputView::Patch { size: [2, 3, 4] }, 1.0, true, &[size]).view;
        let data = Dataset::new(view, vec![Arc::new(undrawn)]);
        let sample = data.sample(0, 0, 0).unwrap();
        assert_eq!((sample.shape, sample.target), ([2, 2, 3, 4], Target::None));
        // A grid that it does not fit is refused as before, however many voxels it asks for.
        for size in [[3, 4, 7], [100, 100, 100], [usize::MAX, 2, 2]] {
            let refused = PreparedCase::undrawn("b", size, [3.0, 1.0, 1.0], scan.clone());
            assert_eq!(refused.unwrap_err().code, "GRID_MISMATCH", "{size:?}");
        }
    }

    #[test]
    fn foreground_patches_hold_foreground_and_are_windows() {
        let size = [6, 8, 9];
        let data = dataset(InputView::Patch { size: [1, 2, 3] }, 1.0, false, &[size]);
        for index in 0..8 {
            let sample = data.sample(index, 0, 0).unwrap();
            assert_eq!(sample.shape, [1, 1, 2, 3]);
            assert!(sample.target.classes().unwrap().contains(&1));
            let first = sample.input[0];
            assert_eq!(sample.input, [0.0, 1.0, 2.0, 9.0, 10.0, 11.0].map(|off| first + off));
        }
    }

    #[test]
    fn the_share_of_foreground_is_kept() {
        let data = dataset(InputView::Patch { size: [1, 1, 1] }, 0.25, false, &[[20, 30, 30]]);
        let hits = (0..2000)
            .filter(|i| data.sample(i % 8, *i as u64, 1).unwrap().target.classes().unwrap()[0] == 1)
            .count();
        assert!((430..580).contains(&hits), "{hits}");
    }

    #[test]
    fn flipping_mirrors_input_and_label_together() {
        let data = dataset(InputView::Patch { size: [2, 2, 4] }, 0.0, true, &[[2, 2, 4]]);
        let plain: Vec<f32> = (0..16).map(|i| i as f32 - 1.0).collect();
        let mut mirrored = 0;
        for index in 0..8 {
            let sample = data.sample(index, 0, 0).unwrap();
            if sample.input != plain {
                mirrored += 1;
                assert_eq!(sample.input[..4], [2.0, 1.0, 0.0, -1.0]);
                assert_eq!(sample.target.classes().unwrap().iter().position(|&label| label == 1), Some(14));
            }
        }
        assert!((1..8).contains(&mirrored));
    }

    #[test]
    fn small_cases_are_padded_with_their_lowest_and_background() {
        let data = dataset(InputView::Patch { size: [1, 4, 4] }, 1.0, false, &[[2, 3, 2]]);
        let sample = data.sample(0, 0, 0).unwrap();
        assert_eq!(sample.target.classes().unwrap()[10], 1);
        assert_eq!(sample.input[..4], [-1.0, 5.0, 6.0, -1.0]);
        assert_eq!(sample.input[12..], [-1.0; 4]);
        assert_eq!(sample.target.classes().unwrap().iter().filter(|&&label| label == 1).count(), 1);
    }

    #[test]
    fn stacks_and_bags_predict_their_target() {
        let stack = InputView::Stack { slices: 3, stride: 1 };
        let data = dataset(stack, 1.0, false, &[[4, 2, 3]]);
        let sample = data.sample(0, 0, 0).unwrap();
        assert_eq!(sample.shape, [3, 1, 2, 3]);
        assert_eq!(sample.target.classes().unwrap(), [0, 0, 0, 0, 0, 1]);
        assert_eq!(sample.input[6] - sample.input[0], 6.0);
        let bag = InputView::Bag { stacks: 3, slices: 1, gap: 2 };
        let sample = dataset(bag, 0.0, false, &[[1, 2, 3]]).sample(0, 0, 0).unwrap();
        assert_eq!(sample.shape, [3, 1, 2, 3]);
        assert_eq!(sample.input[..6], sample.input[12..]);
    }

    /// The second channel is the first, a thousand higher: both are cut and moved alike.
    #[test]
    fn channels_are_cut_alike_and_stand_one_behind_the_other() {
        let size = [4, 5, 6];
        let first = case(size);
        let scan: Vec<f32> = first
            .scan()
            .unwrap()
            .iter()
            .copied()
            .chain(first.scan().unwrap().iter().map(|value| value + 1000.0))
            .collect();
        let both = PreparedCase::new("a", size, [3.0, 1.0, 1.0], scan.into(), first.labels().unwrap().into())
            .unwrap();
        assert_eq!((both.channels(), both.scan().unwrap().len()), (2, 240));
        let warped = built(serde_json::json!({ "rotate_deg": [20.0, 0.0, 0.0], "flip": ["h"] }));
        for (input, wide) in [
            (InputView::Patch { size: [2, 3, 7] }, [2, 2, 3, 7]),
            (InputView::Stack { slices: 3, stride: 1 }, [6, 1, 5, 6]),
            (InputView::Bag { stacks: 3, slices: 1, gap: 2 }, [6, 1, 5, 6]),
        ] {
            for augmentations in [vec![], vec![warped.clone()]] {
                let of = |case: Arc<PreparedCase>| {
                    let view = View {
                        input: Input::Voxels(input.clone()),
                        placement: Placement::Biased,
                        per_case: 8,
                        foreground: 0.5,
                        flip: true,
                        things: None,
                    };
                    Dataset::new(view, vec![case]).augmented(augmentations.clone())
                };
                let (one, two) = (of(first.clone()), of(Arc::new(both.clone())));
                for index in 0..8 {
                    let (one, two) = (one.sample(index, 1, 2).unwrap(), two.sample(index, 1, 2).unwrap());
                    assert_eq!((two.shape, &two.target), (wide, &one.target));
                    let (head, tail) = two.input.split_at(one.input.len());
                    assert_eq!(head, one.input);
                    let apart = head.iter().zip(tail).all(|(a, b)| (b - a - 1000.0).abs() < 1e-2);
                    assert!(apart, "{input:?} {index}");
                }
            }
        }
    }

    fn built(config: serde_json::Value) -> Arc<Augment> {
        let mut config = config.as_object().unwrap().clone();
        config.insert("elastic_grid_mm".to_owned(), 8.0.into());
        config.insert("probability".to_owned(), 1.0.into());
        let stage = (super::super::augment::ENTRY.build)(&config);
        let Ok(crate::operators::registry::Stage::Augment(augment)) = stage else {
            panic!("an augmentation")
        };
        augment
    }

    #[test]
    fn boxes_follow_their_labels_wherever_these_are_moved() {
        // Four pixels at the left of the second slice.
        let labels = (0..48).map(|i| u8::from([24, 25, 32, 33].contains(&i))).collect();
        let case = PreparedCase::new("a", [2, 3, 8], [1.0; 3], vec![0.0; 48].into(), labels).unwrap();
        let stack = Input::Voxels(InputView::Stack { slices: 1, stride: 1 });
        let view = View {
            input: stack,
            placement: Placement::Biased,
            per_case: 16,
            foreground: 1.0,
            flip: true,
            things: None,
        };
        let names = ["a".to_owned()];
        let things = super::super::things::Things::of_labels(&names, &[]).numbered(&names).unwrap();
        let data = Dataset::new(view, vec![Arc::new(case)]).teaching(things);
        let mut ends = std::collections::BTreeSet::new();
        for index in 0..16 {
            let Target::Instances(found) = data.sample(index, 0, 0).unwrap().target else { panic!() };
            assert_eq!((found.len(), found[0].class), (1, 1));
            assert_eq!([found[0].low[1], found[0].high[1]], [0.0, 2.0]);
            ends.insert((found[0].low[2] as u8, found[0].high[2] as u8));
        }
        assert_eq!(ends.into_iter().collect::<Vec<_>>(), [(0, 2), (6, 8)]);
    }

    #[test]
    fn lengths_follow_the_median_spacing() {
        let view = View {
            input: Input::PatchMm([6.0, 2.0, 2.0]),
            placement: Placement::Biased,
            per_case: 1,
            foreground: 0.0,
            flip: false,
            things: None,
        };
        let data = Dataset::new(view, vec![case([4, 4, 4])]);
        assert_eq!(*data.input(), InputView::Patch { size: [2, 2, 2] });
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let new = |size, spacing, voxels: usize, labels: usize| {
            PreparedCase::new("a", size, spacing, vec![0.0; voxels].into(), vec![0; labels].into())
        };
        assert_eq!(new([1, 1, 2], [1.0; 3], 2, 1).unwrap_err().code, "GRID_MISMATCH");
        assert_eq!(new([0, 1, 2], [1.0; 3], 0, 0).unwrap_err().code, "GRID_MISMATCH");
        assert_eq!(new([usize::MAX; 3], [1.0; 3], 2, 2).unwrap_err().code, "GRID_MISMATCH");
        assert_eq!(new([1, 1, 1], [0.0, 1.0, 1.0], 1, 1).unwrap_err().code, "BAD_GRID");
        let huge = dataset(InputView::Patch { size: [4096; 3] }, 0.0, false, &[[1, 1, 1]]);
        assert!(huge.sample(0, 0, 0).unwrap_err().contains("case a"));
    }
}
