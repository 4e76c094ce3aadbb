//! One prepared case, and the windows and slices that are cut from it.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::super::augment::{Volume, Warp, Window};
use crate::networks::sample::{InputView, Sample, Target, WholeCase, around};
use crate::operators::value::{Case, Failure};
use crate::voxels::ignored::IGNORED_CLASS;

/// One case, ready to be cut: shared by all samples and threads, never copied.
#[derive(Clone, Debug)]
pub struct PreparedCase {
    pub(super) name: String,
    pub(super) size: [usize; 3],
    pub(super) spacing_mm: [f64; 3],
    /// `[C, D, H, W]`.
    scan: Arc<[f32]>,
    labels: Arc<[u8]>,
    /// Whether anybody has drawn it.
    drawn: bool,
    /// Whether the greatest class says that nobody labelled a voxel.
    ignores: bool,
    /// The labels that nobody looked for.
    unknown: Arc<[u8]>,
    /// Of each channel.
    least: Vec<f32>,
    /// Foreground voxels of all slices up to and with each.
    foreground: Vec<u64>,
    /// The boxes of things, where these were marked by boxes.
    boxes: Option<Arc<[CaseBox]>>,
}

/// A thing that was marked by a box on a slice of a prepared case.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseBox {
    /// Its label, from 1 on.
    pub label: u8,
    /// The slice, from 0.
    pub slice: u32,
    /// The edges along `[H, W]` at the lower ends, in voxels: the first voxel begins at 0.
    pub low: [f32; 2],
    /// Those at the upper ends.
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
        Ok(Self {
            name: name.into(),
            size,
            spacing_mm,
            scan,
            labels,
            least,
            drawn: true,
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
        // One label for each voxel, however many channels there are; a size that is none is refused below.
        let voxels = size.iter().try_fold(1_usize, |product, &n| product.checked_mul(n));
        let nothing: Arc<[u8]> = vec![0; voxels.unwrap_or(0).min(scan.len())].into();
        Ok(Self { drawn: false, ..Self::new(name, size, spacing_mm, scan, nothing)? })
    }

    /// The same, of which things are marked by boxes.
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
        if !self.labels.contains(&IGNORED_CLASS) {
            return self;
        }
        self.ignores = true;
        let mut total = 0;
        for (slice, up_to) in self.labels.chunks_exact(self.size[1] * self.size[2]).zip(&mut self.foreground)
        {
            total += slice.iter().map(|label| u64::from(!matches!(*label, 0 | IGNORED_CLASS))).sum::<u64>();
            *up_to = total;
        }
        self
    }

    /// The same, where nobody looked for these labels.
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

    /// Which classes have voxels.
    pub fn present(&self) -> [bool; 256] {
        let mut present = [false; 256];
        self.labels.iter().for_each(|label| present[usize::from(*label)] = true);
        present
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `[D, H, W]`.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// Along `[D, H, W]`.
    pub fn spacing_mm(&self) -> [f64; 3] {
        self.spacing_mm
    }

    /// How many channels its scan has.
    pub fn channels(&self) -> usize {
        self.least.len()
    }

    /// Intensities `[D, H, W]`, of several channels `[C, D, H, W]`.
    pub fn scan(&self) -> &Arc<[f32]> {
        &self.scan
    }

    /// Classes `[D, H, W]`.
    pub fn labels(&self) -> &Arc<[u8]> {
        &self.labels
    }

    /// All of it.
    pub fn whole(&self) -> WholeCase<'_> {
        WholeCase {
            name: &self.name,
            voxels: &self.scan,
            size: self.size,
            classes: &self.labels,
            unknown: &self.unknown,
        }
    }

    /// A foreground voxel, each as likely as any other.
    pub(super) fn foreground_voxel(&self, rng: &mut ChaCha8Rng) -> Option<[usize; 3]> {
        let total = self.foreground.last().copied().filter(|&n| n > 0)?;
        let chosen = rng.random_range(0..total);
        let slice = self.foreground.partition_point(|&up_to| up_to <= chosen);
        let before = if slice == 0 { 0 } else { self.foreground[slice - 1] };
        self.nth_voxel(slice, chosen - before, |label| label != 0 && !self.ignores(label))
    }

    /// The voxel number `nth`, from 0 on, of those in a slice whose class is such.
    pub(super) fn nth_voxel(&self, slice: usize, nth: u64, such: impl Fn(u8) -> bool) -> Option<[usize; 3]> {
        let labels = self.labels.chunks_exact(self.size[1] * self.size[2]).nth(slice)?;
        let mut inside = labels.iter().enumerate().filter(|(_, label)| such(**label));
        let (pixel, _) = inside.nth(nth as usize)?;
        Some([slice, pixel / self.size[2], pixel % self.size[2]])
    }

    /// A slice with foreground, each as likely as any other.
    pub(super) fn foreground_slice(&self, rng: &mut ChaCha8Rng) -> Option<usize> {
        let holds = |slice: &usize| {
            self.foreground[*slice] > if *slice == 0 { 0 } else { self.foreground[*slice - 1] }
        };
        let count = (0..self.size[0]).filter(holds).count();
        (count > 0).then(|| rng.random_range(0..count)).and_then(|n| (0..self.size[0]).filter(holds).nth(n))
    }

    pub(super) fn patch(&self, size: [usize; 3], start: [isize; 3]) -> Sample {
        let voxels: usize = size.iter().product();
        let mut input: Vec<f32> = match self.least.as_slice() {
            [least] => vec![*least; voxels],
            each => each.iter().flat_map(|least| std::iter::repeat_n(*least, voxels)).collect(),
        };
        let mut label = vec![0; voxels];
        // The part of the window, along each axis, that lies in the volume.
        let inside = [0, 1, 2].map(|axis| {
            let first = (-start[axis]).max(0) as usize;
            let last = (self.size[axis] as isize - start[axis]).clamp(0, size[axis] as isize) as usize;
            first..last.max(first)
        });
        let from = |axis: usize, index: usize| (start[axis] + index as isize) as usize;
        let length = inside[2].len();
        for d in inside[0].clone() {
            for h in inside[1].clone() {
                let source =
                    (from(0, d) * self.size[1] + from(1, h)) * self.size[2] + from(2, inside[2].start);
                let target = (d * size[1] + h) * size[2] + inside[2].start;
                for channel in 0..self.channels() {
                    let (from, to) = (channel * self.labels.len() + source, channel * voxels + target);
                    input[to..to + length].copy_from_slice(&self.scan[from..from + length]);
                }
                label[target..target + length].copy_from_slice(&self.labels[source..source + length]);
            }
        }
        let shape = [self.channels(), size[0], size[1], size[2]];
        Sample { input, shape, target: Target::Classes(label) }
    }

    /// Each channel, with the labels.
    fn volumes(&self) -> impl Iterator<Item = Volume<'_>> {
        let scans = self.scan.chunks_exact(self.labels.len());
        let volume = |(scan, outside): (_, &f32)| Volume {
            size: self.size,
            scan,
            labels: &self.labels,
            outside: *outside,
        };
        scans.zip(&self.least).map(volume)
    }

    /// A window of every channel, moved alike.
    pub(super) fn moved_patch(&self, warp: &Warp, window: &Window) -> Sample {
        let [depth, height, width] = window.size;
        let (mut input, mut label) = (Vec::new(), Vec::new());
        for volume in self.volumes() {
            let (values, classes) = warp.read(&volume, window);
            match input.is_empty() {
                true => (input, label) = (values, classes),
                false => input.extend(values),
            }
        }
        Sample { input, shape: [self.channels(), depth, height, width], target: Target::Classes(label) }
    }

    /// As [`PreparedCase::slices`], each slice moved alike.
    pub(super) fn moved_slices(
        &self,
        view: &InputView,
        target: usize,
        warp: &Warp,
        slice: &Window,
    ) -> Sample {
        let [depth, height, width] = self.size;
        let slices = view.channel_slices(target, depth);
        let at = |index: usize| Window { start: [index as isize, 0, 0], ..*slice };
        let read = |volume: &Volume<'_>, index: usize| warp.read(volume, &at(index));
        let (mut input, mut label) = (Vec::new(), None);
        for volume in self.volumes() {
            slices.iter().for_each(|&index| input.extend(read(&volume, index).0));
            label = label.or_else(|| Some(read(&volume, target).1));
        }
        let shape = [self.channels() * slices.len(), 1, height, width];
        Sample { input, shape, target: Target::Classes(label.unwrap_or_default()) }
    }

    pub(super) fn slices(&self, view: &InputView, target: usize) -> Sample {
        let [depth, height, width] = self.size;
        let area = height * width;
        let slices = view.channel_slices(target, depth);
        let mut input = Vec::with_capacity(self.channels() * slices.len() * area);
        for channel in self.scan.chunks_exact(self.labels.len()) {
            for slice in &slices {
                input.extend_from_slice(&channel[slice * area..][..area]);
            }
        }
        let label = self.labels[target * area..][..area].to_vec();
        let shape = [self.channels() * slices.len(), 1, height, width];
        Sample { input, shape, target: Target::Classes(label) }
    }
}
