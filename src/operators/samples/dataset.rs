//! Prepared cases as the training loop sees them: samples cut on demand, the same on any thread.

#[cfg(test)]
mod by_place;
mod case;
mod classes;
mod lies;
mod places;
#[cfg(test)]
mod tests;

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
