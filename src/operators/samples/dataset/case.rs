//! One prepared case: its voxels, and what is known of them.

mod cut;

use std::borrow::Cow;
use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::classes::{Classes, Counting};
use super::lies::{ByPlace, Gathering, Known, Voxels};
use crate::networks::sample::{WholeCase, around};
use crate::operators::value::{Case, Failure};
use crate::voxels::ignored::IGNORED_CLASS;

/// One case, ready to be cut: shared by all samples and threads, never copied.
#[derive(Clone, Debug)]
pub struct PreparedCase {
    pub(super) name: String,
    pub(super) size: [usize; 3],
    pub(super) spacing_mm: [f64; 3],
    voxels: Voxels,
    /// Whether anybody has drawn it.
    drawn: bool,
    /// Whether the greatest class says that nobody labelled a voxel.
    ignores: bool,
    /// The labels that nobody looked for.
    unknown: Arc<[u8]>,
    /// The least intensity of each channel.
    least: Vec<f32>,
    /// The number of foreground voxels in all slices up to and with each.
    foreground: Vec<u64>,
    /// The boxes of things, where these were marked by boxes.
    boxes: Option<Arc<[CaseBox]>>,
}

/// A thing that was marked by a box on a slice of a prepared case.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseBox {
    /// The label of the thing, from 1 on.
    pub label: u8,
    /// The slice, from 0.
    pub slice: u32,
    /// The edges along `[H, W]` at the lower ends, in voxels: the first voxel begins at 0.
    pub low: [f32; 2],
    /// The edges at the upper ends.
    pub high: [f32; 2],
}

impl PreparedCase {
    /// Voxels `[D, H, W]`, of several channels `[C, D, H, W]`, and their classes; `name` is what errors call it (the
    /// case's key).
    ///
    /// # Errors
    /// `GRID_MISMATCH` when the counts do not fit `size` or it holds no voxel, `BAD_GRID` for a spacing that
    /// is no length.
    pub fn new(
        name: impl Into<String>,
        size: [usize; 3],
        spacing_mm: [f64; 3],
        scan: Arc<[f32]>,
        labels: Arc<[u8]>,
    ) -> Result<Self, Failure> {
        let voxels = size.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        let whole = scan.len().is_multiple_of(labels.len().max(1)) && !labels.is_empty();
        if scan.is_empty() || !whole || voxels != Some(labels.len()) {
            return Err(Failure::new(
                "GRID_MISMATCH",
                format!("voxels of {size:?} expected, {} and {} labels found", scan.len(), labels.len()),
                "both must lie on one grid",
            ));
        }
        if !spacing_mm.iter().all(|mm| mm.is_finite() && *mm > 0.0) {
            return Err(Failure::new("BAD_GRID", format!("a spacing expected, {spacing_mm:?} mm found"), ""));
        }
        let least = scan.chunks_exact(labels.len()).map(around).collect();
        let in_slice = |slice: &[u8]| slice.iter().map(|&label| u64::from(label != 0)).sum::<u64>();
        let foreground = labels
            .chunks_exact(size[1] * size[2])
            .scan(0, |total, slice| {
                *total += in_slice(slice);
                Some(*total)
            })
            .collect();
        let voxels = Voxels::Held(scan, labels);
        Ok(Self {
            name: name.into(),
            size,
            spacing_mm,
            voxels,
            least,
            drawn: true,
            ignores: false,
            unknown: Arc::from([]),
            foreground,
            boxes: None,
        })
    }

    /// A case whose voxels are read from `place` when a sample asks for them, after all of them have been looked at
    /// once; `drawn` says whether anybody has drawn it.
    ///
    /// # Errors
    /// `GRID_MISMATCH` when fewer voxels were seen than the grid has, `BAD_GRID` for a spacing that is no length.
    pub fn by_place(
        name: impl Into<String>,
        size: [usize; 3],
        spacing_mm: [f64; 3],
        drawn: bool,
        seen: Gathering,
        place: Arc<dyn ByPlace>,
    ) -> Result<Self, Failure> {
        if !spacing_mm.iter().all(|mm| mm.is_finite() && *mm > 0.0) {
            return Err(Failure::new("BAD_GRID", format!("a spacing expected, {spacing_mm:?} mm found"), ""));
        }
        let Some(Known { least, foreground, classes }) = seen.done(drawn) else {
            return Err(Failure::new(
                "GRID_MISMATCH",
                format!("voxels of {size:?} expected, fewer found"),
                "",
            ));
        };
        let voxels = Voxels::ByPlace(place, classes);
        Ok(Self {
            name: name.into(),
            size,
            spacing_mm,
            voxels,
            least,
            drawn,
            ignores: false,
            unknown: Arc::from([]),
            foreground,
            boxes: None,
        })
    }

    /// A case that nobody has drawn: its samples teach nothing.
    ///
    /// # Errors
    /// As [`PreparedCase::new`].
    pub fn undrawn(
        name: impl Into<String>,
        size: [usize; 3],
        spacing_mm: [f64; 3],
        scan: Arc<[f32]>,
    ) -> Result<Self, Failure> {
        // There is one label for each voxel, however many channels there are; a size that is none is refused
        // below.
        let voxels = size.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        let nothing: Arc<[u8]> = vec![0; voxels.unwrap_or(0).min(scan.len())].into();
        Ok(Self { drawn: false, ..Self::new(name, size, spacing_mm, scan, nothing)? })
    }

    /// Returns the same case, of which things are marked by boxes.
    #[must_use]
    pub fn marked(self, boxes: Option<Vec<CaseBox>>) -> Self {
        Self { boxes: boxes.map(Arc::from), ..self }
    }

    /// The boxes of things on a slice, where these were marked by boxes.
    pub fn boxes(&self, slice: usize) -> Option<impl Iterator<Item = &CaseBox>> {
        let boxes = self.boxes.as_ref()?;
        Some(boxes.iter().filter(move |own| own.slice as usize == slice))
    }

    /// The same, where the class [`IGNORED_CLASS`] says that nobody labelled a voxel: no sample is put around it.
    #[must_use]
    pub fn ignoring(mut self) -> Self {
        let Some(ignored) = self.classes().0.into_iter().find(|class| class.label == IGNORED_CLASS) else {
            return self;
        };
        self.ignores = true;
        // Those of all slices up to and with each are no foreground.
        let mut slices = ignored.slices.into_iter().peekable();
        let mut before = 0;
        for (slice, up_to) in self.foreground.iter_mut().enumerate() {
            if let Some((_, count)) = slices.next_if(|(of, _)| *of == slice) {
                before = count;
            }
            *up_to -= before;
        }
        self
    }

    /// Returns the same case, where nobody looked for these labels.
    #[must_use]
    pub fn without(self, unknown: Arc<[u8]>) -> Self {
        Self { unknown, ..self }
    }

    /// Whether somebody labelled every voxel, and looked for every label.
    pub fn counts_wholly(&self) -> bool {
        !self.ignores && self.unknown.is_empty()
    }

    /// The labels that nobody looked for.
    pub fn unknown(&self) -> &Arc<[u8]> {
        &self.unknown
    }

    /// Whether a class says that nobody labelled a voxel.
    pub(super) fn ignores(&self, class: u8) -> bool {
        self.ignores && class == IGNORED_CLASS
    }

    /// Whether anybody has drawn it.
    pub fn is_drawn(&self) -> bool {
        self.drawn
    }

    /// A case with labels, copied once.
    ///
    /// # Errors
    /// `NO_LABELS` for a case without, `TOO_MANY_LABELS` for a class over 255; see [`PreparedCase::new`].
    pub fn from_case(name: impl Into<String>, case: &Case) -> Result<Self, Failure> {
        let Some(labels) = &case.labels else {
            return Err(Failure::new("NO_LABELS", "a case with labels expected, one without found", ""));
        };
        let classes: Option<Arc<[u8]>> =
            labels.voxels().iter().map(|&label| u8::try_from(label).ok()).collect();
        let classes = classes.ok_or_else(|| {
            Failure::new("TOO_MANY_LABELS", "classes up to 255 expected, a greater one found", "")
        })?;
        let geometry = case.scan.geometry();
        let scan: Arc<[f32]> = match case.channel_count() {
            1 => case.scan.voxels().into(),
            _ => case.scans().flat_map(|scan| scan.voxels()).copied().collect(),
        };
        Self::new(name, geometry.size, geometry.spacing_mm(), scan, classes)
    }

    /// Returns which classes have voxels.
    pub fn present(&self) -> [bool; 256] {
        let mut present = [false; 256];
        match &self.voxels {
            Voxels::Held(_, labels) => labels.iter().for_each(|label| present[usize::from(*label)] = true),
            Voxels::ByPlace(_, Classes(classes)) => {
                classes.iter().for_each(|class| present[usize::from(class.label)] = true);
            }
        }
        present
    }

    /// The classes that it holds, with where.
    pub(super) fn classes(&self) -> Classes {
        let Classes(mut classes) = match &self.voxels {
            Voxels::Held(_, labels) => {
                let mut counting = Counting::new();
                let slices = labels.chunks_exact(self.area().max(1)).enumerate();
                slices.for_each(|(slice, labels)| counting.add(slice, labels));
                counting.done()
            }
            Voxels::ByPlace(_, classes) => classes.clone(),
        };
        classes.retain(|class| !self.ignores(class.label));
        Classes(classes)
    }

    /// Returns the number of voxels of a slice.
    fn area(&self) -> usize {
        self.size[1] * self.size[2]
    }

    /// Returns the number of voxels of a channel.
    fn count(&self) -> usize {
        self.size[0] * self.area()
    }

    /// Returns the name of the case in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the size `[D, H, W]`.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// Returns the spacing along `[D, H, W]`, in mm.
    pub fn spacing_mm(&self) -> [f64; 3] {
        self.spacing_mm
    }

    /// Returns the number of channels that the case's scan has.
    pub fn channels(&self) -> usize {
        self.least.len()
    }

    /// Intensities `[D, H, W]`, of several channels `[C, D, H, W]`.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn scan(&self) -> Result<Cow<'_, [f32]>, String> {
        self.voxels.intensities(0, self.channels() * self.count())
    }

    /// Classes `[D, H, W]`.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn labels(&self) -> Result<Cow<'_, [u8]>, String> {
        self.voxels.classes(0, self.count())
    }

    /// The classes of a slice.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn slice_labels(&self, slice: usize) -> Result<Cow<'_, [u8]>, String> {
        self.voxels.classes(slice * self.area(), self.area())
    }

    /// Does something with all of it.
    pub(super) fn visit<E>(
        &self,
        visit: impl FnOnce(&WholeCase<'_>) -> Result<(), E>,
    ) -> Result<Result<(), E>, String> {
        let (scan, labels) = (self.scan()?, self.labels()?);
        Ok(visit(&WholeCase {
            name: &self.name,
            voxels: &scan,
            size: self.size,
            classes: &labels,
            unknown: &self.unknown,
        }))
    }

    /// A foreground voxel, each as likely as any other.
    pub(super) fn foreground_voxel(&self, rng: &mut ChaCha8Rng) -> Result<Option<[usize; 3]>, String> {
        let Some(total) = self.foreground.last().copied().filter(|&n| n > 0) else { return Ok(None) };
        let chosen = rng.random_range(0..total);
        let slice = self.foreground.partition_point(|&up_to| up_to <= chosen);
        let before = if slice == 0 { 0 } else { self.foreground[slice - 1] };
        self.nth_voxel(slice, chosen - before, |label| label != 0 && !self.ignores(label))
    }

    /// The voxel number `nth`, from 0 on, of those in a slice whose class is such.
    pub(super) fn nth_voxel(
        &self,
        slice: usize,
        nth: u64,
        such: impl Fn(u8) -> bool,
    ) -> Result<Option<[usize; 3]>, String> {
        let labels = self.slice_labels(slice)?;
        let mut inside = labels.iter().enumerate().filter(|(_, label)| such(**label));
        let found = inside.nth(nth as usize);
        Ok(found.map(|(pixel, _)| [slice, pixel / self.size[2], pixel % self.size[2]]))
    }

    /// A slice with foreground, each as likely as any other.
    pub(super) fn foreground_slice(&self, rng: &mut ChaCha8Rng) -> Option<usize> {
        let holds = |slice: &usize| {
            self.foreground[*slice] > if *slice == 0 { 0 } else { self.foreground[*slice - 1] }
        };
        let count = (0..self.size[0]).filter(holds).count();
        (count > 0).then(|| rng.random_range(0..count)).and_then(|n| (0..self.size[0]).filter(holds).nth(n))
    }
}
