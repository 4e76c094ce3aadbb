//! What a training's prepared cases take in memory: all of them, or what samples are cut from.

use std::fs::File;
use std::sync::Arc;

use super::artifact::{Heading, PreparedArtifact};
use super::filed::Files;
use super::load::Context;
use super::work::Member;
use crate::networks::{InputView, Validate};
use crate::operators::models::train::{Learns, Part};
use crate::operators::registry::Stage;
use crate::operators::samples::view::View;

/// The room that an artifact is looked at in, and what is left of allocations here and there, in bytes.
const BESIDE: u64 = 1 << 20;

/// The room that a training's prepared cases take.
pub(super) struct Room {
    /// The number of bytes in memory.
    pub bytes: u64,
    /// Whether voxels are read where a sample lies, as all of them would be more than `memory`.
    by_place: Option<u64>,
    files: Arc<Files>,
}

impl Room {
    /// Returns the room of these cases, for the training at `stage`.
    pub fn of(context: &Context, stage: usize, members: &[Member]) -> Self {
        let files = Files::new(context.artifacts.clone());
        let held = members.iter().filter_map(|member| {
            let file = std::fs::metadata(context.artifacts.path(member.prepared?)).ok()?.len();
            // A case that nobody drew has labels in memory, and none in its file: a byte beside four.
            Some(if member.part == Part::Unlabelled { file.saturating_add(file / 4) } else { file })
        });
        let held = held.fold(0, u64::saturating_add);
        if held <= context.plan.settings.memory_bytes {
            return Self { bytes: held, by_place: None, files };
        }
        let bytes = in_parts(context, stage, members).unwrap_or(held);
        Self { bytes, by_place: Some(held), files }
    }

    /// The artifacts to read from by place, which is told of a training; none where all cases are in memory.
    pub fn files(self, training: &str) -> Option<Arc<Files>> {
        let held = self.by_place?;
        tracing::info!(
            target: "tomoflow::training",
            "{training}: {} MiB of prepared cases are more than `memory`: they are read where samples lie",
            held >> 20
        );
        Some(self.files)
    }
}

/// Bytes that are in memory where samples are cut from artifacts.
fn in_parts(context: &Context, stage: usize, members: &[Member]) -> Option<u64> {
    let Stage::Train(train) = &context.plan.stages.get(stage)?.stage else { return None };
    let Learns::Network { settings, running } = &train.learns else { return None };
    let (view, changes) = context.plan.samples(stage);
    let Stage::View(view) = &context.plan.stages.get(view)?.stage else { return None };
    let (mut known, mut largest_sample, mut largest_case, mut largest_slice) = (0_u64, 0, 0, 0);
    for member in members {
        let Some(digest) = member.prepared else { continue };
        let file = File::open(context.artifacts.path(digest)).ok();
        // An artifact that cannot be read is told of by the training.
        let Some(case) = file.and_then(|file| PreparedArtifact::heading(&file).ok()) else { continue };
        let Counted { whole, slice, sample, index } = Counted::of(&case, view, !changes.is_empty());
        known = known.saturating_add(index);
        largest_sample = largest_sample.max(sample);
        largest_slice = largest_slice.max(slice);
        if member.part == Part::Validation {
            largest_case = largest_case.max(whole);
        }
    }
    let readers = (running.readers as u64).min(rayon::current_num_threads() as u64);
    let cut = readers.saturating_mul(largest_sample);
    let judged = if settings.validate == Validate::Cases { largest_case } else { 0 };
    Some(known.saturating_add(cut.max(judged)).saturating_add(largest_slice).saturating_add(BESIDE))
}

/// What one case takes, in bytes.
struct Counted {
    /// The room of the whole case, once as it is read and once as numbers.
    whole: u64,
    /// The room of one slice, twice as well.
    slice: u64,
    /// The room of one sample, with the part of the case that it is cut from.
    sample: u64,
    /// The room of what is known of it from its slices.
    index: u64,
}

impl Counted {
    fn of(case: &Heading, view: &View, moved: bool) -> Self {
        let each = 2 * (4 * case.channels as u64 + 1);
        let [depth, height, width] = case.geometry.size.map(|n| n as u64);
        let slice = height.saturating_mul(width).saturating_mul(each);
        let whole = slice.saturating_mul(depth);
        let (sample, part) = match view.resolve(case.geometry.spacing_mm()) {
            InputView::Patch { size } => {
                let voxels = size.iter().fold(each, |product, &n| product.saturating_mul(n as u64));
                // A window that is turned and bent shows something of a larger box.
                (voxels, if moved { voxels.saturating_mul(8).min(whole) } else { 0 })
            }
            flat => (
                slice.saturating_mul(flat.channels() as u64),
                slice.saturating_mul(if moved { 6 } else { 1 }),
            ),
        };
        let classes = case.label_names.len() as u64 + 1;
        let index = depth.saturating_mul(8 + 16 * classes).saturating_add(4096);
        Self { whole, slice, sample: sample.saturating_add(part), index }
    }
}
