//! A thread of the pool: one action after the other, and what each does.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use tomoflow_connectors::{Digest, Geometry, LabelMap, Reject};

use super::artifact::{self, MaskArtifact, MetricsArtifact, PreparedArtifact};
use super::boxes::marked;
use super::budget::Budget;
use super::crossing;
use super::ending::{cancelled, finish, guarded, keep, mask_bytes, misplaced, put};
use super::job::{Finished, Job};
use super::library::OnDisk;
use super::line::{DeviceJob, ToDevice};
use super::load::Context;
use super::need;
use super::refine;
use super::slot::{Busy, Slot};
use super::truth::Found;
use super::work::{Action, BoundCase, Work};
use crate::metrics::State;
use crate::operators::cases::tally::Tally;
use crate::operators::registry::Stage;
use crate::operators::scores::evaluate_boxes::Judged;
use crate::operators::scores::pooling::Pooling;
use crate::operators::value::{Case, Mask, Metric};
use crate::store::{FigureRow, Outcome};
use crate::voxels::grid::check_same_size;
use crate::voxels::ignored::{self, IGNORED, is_labelled};
use crate::voxels::values;

/// What every thread of the pool has.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) context: Context,
    pub(super) jobs: Receiver<Job>,
    pub(super) to_device: Sender<ToDevice>,
    pub(super) report: Sender<Finished>,
    pub(super) budget: Arc<Budget>,
}

/// One thread of the pool.
pub(super) struct Worker {
    pub(super) shared: Shared,
    pub(super) slot: Slot,
}

impl Worker {
    pub(super) fn run(self) {
        let Self { shared, slot } = self;
        let jobs = shared.jobs.clone();
        for job in &jobs {
            // Remarks on an action's labels are told of no other's.
            let mut context = Context { told: Arc::default(), ..shared.context.clone() };
            if let Some(lookup) = &job.lookup {
                context.lookup = Arc::downgrade(lookup);
            }
            let worker = Working { shared: &shared, slot: &slot, context: &context };
            let (started, action) = (Instant::now(), job.action.clone());
            slot.begin(Busy { job: job.clone(), started, limit: None, permit: None });
            let result = guarded(&action, || worker.start(job, started));
            let busy = slot.end();
            if busy.is_empty() {
                return;
            }
            drop(busy);
            match result {
                Ok(None) => {}
                Ok(Some(outcome)) => finish(&shared.report, action, Ok(outcome), started),
                Err(reject) => finish(&shared.report, action, Err(reject), started),
            }
        }
    }
}

struct Working<'a> {
    shared: &'a Shared,
    slot: &'a Slot,
    context: &'a Context,
}

impl Working<'_> {
    /// Runs an action, or hands it on to the device, which then reports: `None`.
    fn start(&self, job: Job, started: Instant) -> Result<Option<Outcome>, Reject> {
        if job.cancelled.load(Ordering::Relaxed) {
            return Err(cancelled());
        }
        let needed = need::bytes(&self.shared.context, &job.action);
        let permit = self.shared.budget.acquire(needed).map_err(|error| {
            let hint = format!("set `memory` to at least {} MiB", needed.div_ceil(1 << 20));
            Reject::new("OVER_BUDGET", error.to_string(), hint)
        })?;
        // The clock starts here: waiting for memory is no fault of the operator.
        self.slot.hold(permit, self.limit(&job.action));
        if job.cancelled.load(Ordering::Relaxed) {
            return Err(cancelled());
        }
        let stage = job.action.stage.place();
        let context = self.context;
        let mut found: Arc<[FigureRow]> = Arc::default();
        let mut pools = None;
        let bytes = match &job.action.work {
            Work::Prepare(row) => prepared(context, stage, row)?,
            Work::Measure(row) => {
                let Stage::Transform(transform) = &context.plan.stages[stage].stage else {
                    return Err(misplaced());
                };
                let counted = transform.measures().ok_or_else(misplaced)?.counted;
                artifact::encode(&Tally::of(
                    &context.case(context.plan.stages[stage].inputs[0], row)?,
                    counted,
                )?)?
            }
            Work::Volume(row) => {
                let metrics = vec![volume(context, row)?];
                found = artifact::figure_rows(&metrics);
                artifact::encode(&metrics)?
            }
            Work::Apply { case, artifacts, models } => match self.apply(stage, case, artifacts, models)? {
                Applied::Bytes(bytes) => bytes,
                Applied::Figures(metrics) => {
                    found = artifact::figure_rows(&metrics);
                    artifact::encode(&metrics)?
                }
                Applied::Pooled(metrics, adds) => {
                    found = artifact::figure_rows(&metrics);
                    pools = Some(adds);
                    artifact::encode(&metrics)?
                }
                Applied::ForDevice(case) => return self.hand_on(job, Some(*case), started),
            },
            Work::Refine { case, maps } => refine::refined(context, stage, case, *maps)?,
            Work::Train { .. } => return self.hand_on(job, None, started),
        };
        let mut outcome = keep(context, &bytes, found)?;
        if let Some(pools) = pools
            && let (Outcome::Ok { detail, .. }, Outcome::Ok { artifact, .. }) =
                (&mut outcome, put(context, &pools)?)
        {
            *detail = Some(artifact);
        }
        Ok(Some(outcome))
    }

    /// Does what a stage does to one case.
    fn apply(
        &self,
        stage: usize,
        row: &BoundCase,
        artifacts: &[Digest],
        models: &[Digest],
    ) -> Result<Applied, Reject> {
        let context = self.context;
        let planned = &context.plan.stages[stage];
        let case = || context.case(planned.inputs[0], row);
        let mask = |digest: &Digest| context.mask(&row.series, *digest);
        let first = || artifacts.first().ok_or_else(misplaced);
        match &planned.stage {
            Stage::Infer(_) => Ok(Applied::ForDevice(Box::new(case()?))),
            Stage::Fuse(fuse) => {
                let library = OnDisk::open(context, *models.first().ok_or_else(misplaced)?)?;
                let case = case()?;
                let (labels, told) = fuse.fuse(&case, &library)?;
                context.told.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
                mask_bytes(&case, labels, library.label_names()).map(Applied::Bytes)
            }
            Stage::Segment(segmenter) => {
                let case = case()?;
                let (labels, names) = segmenter.segment(&case)?;
                mask_bytes(&case, labels, &names).map(Applied::Bytes)
            }
            Stage::LabelsAsMasks => {
                let labels = row.labels.as_ref().ok_or_else(misplaced)?;
                let truth = context.partial_truth(&row.series, labels)?;
                let mask = without_ignored(truth.mask.clone())?;
                crossing::as_mask(&truth, &mask, &context.nested(labels)).encode().map(Applied::Bytes)
            }
            Stage::Mask(operator) => {
                let found = context.found(*first()?)?;
                let grid = Geometry::from(&row.series.grid);
                if found.overlaps {
                    return found.mended(&**operator, &grid)?.encode().map(Applied::Bytes);
                }
                let mended = operator.apply(&found.on(&grid)?)?;
                artifact::encode(&MaskArtifact::of(&mended)).map(Applied::Bytes)
            }
            Stage::Paint(paint) => {
                let found = artifact::decode_found(&context.artifact(*first()?)?)?;
                let painted = paint.paint(&found, &Geometry::from(&row.series.grid))?;
                artifact::encode(&MaskArtifact::of(&painted)).map(Applied::Bytes)
            }
            Stage::Combine(operator) => {
                let masks: Vec<Mask> = artifacts.iter().map(mask).collect::<Result<_, _>>()?;
                let (first, others) = masks.split_first().ok_or_else(misplaced)?;
                artifact::encode(&MaskArtifact::of(&operator.combine(first, others)?)).map(Applied::Bytes)
            }
            Stage::Evaluate(evaluator) => {
                let labels = row.labels.as_ref().ok_or_else(misplaced)?;
                let truth = context.partial_truth(&row.series, labels)?;
                let nested = context.nested(labels);
                let (found, grid) = (context.found(*first()?)?, Geometry::from(&row.series.grid));
                let found = match found.overlaps {
                    true => Found::Overlapping(&found, &grid),
                    false => Found::Mask(found.on(&grid)?),
                };
                if evaluator.pools() {
                    let pooling = Pooling::new(&**evaluator);
                    let metrics = truth.compare(&pooling, &found, &nested)?;
                    return Ok(Applied::Pooled(metrics, artifact::encode(&pooling.into_pools())?));
                }
                truth.compare(&**evaluator, &found, &nested).map(Applied::Figures)
            }
            Stage::EvaluateBoxes(evaluator) => {
                let labels = row.labels.as_ref().ok_or_else(misplaced)?;
                let truth = context.partial_truth(&row.series, labels)?;
                judged_everywhere(&truth.mask)?;
                let found = artifact::decode_found(&context.artifact(*first()?)?)?;
                let Judged { metrics, pools } =
                    evaluator.evaluate(&found, &truth.mask, &truth.absent, truth.boxes.as_deref())?;
                Ok(Applied::Pooled(metrics, artifact::encode(&pools)?))
            }
            _ => Err(misplaced()),
        }
    }

    /// Returns how long the work of this thread may take.
    fn limit(&self, action: &Action) -> Option<Duration> {
        let plan = &self.shared.context.plan;
        let stage = action.stage.place();
        match (&action.work, &plan.stages[stage].stage) {
            // A case is prepared by what comes before the training.
            (Work::Prepare(_) | Work::Volume(_), Stage::Train(_)) => {
                plan.timeout(plan.stages[stage].inputs[0])
            }
            _ => plan.timeout(stage),
        }
    }

    /// The device has a time limit of its own, from when it begins.
    fn hand_on(&self, job: Job, case: Option<Case>, started: Instant) -> Result<Option<Outcome>, Reject> {
        self.slot.unlimited();
        let permit = self.slot.take_permit().ok_or_else(cancelled)?;
        let job = Box::new(DeviceJob { job, case, permit, started });
        self.shared.to_device.send(ToDevice::Job(job)).map_err(|_| cancelled())?;
        Ok(None)
    }
}

/// What comes of applying a stage to a case.
enum Applied {
    /// An artifact.
    Bytes(Vec<u8>),
    /// Figures of a case.
    Figures(MetricsArtifact),
    /// Figures, and an artifact of what the case adds to those over several cases.
    Pooled(MetricsArtifact, Vec<u8>),
    /// The voxels that a network goes over.
    ForDevice(Box<Case>),
}

/// A mask of labels: what nobody labelled nobody found either.
fn without_ignored(mask: Mask) -> Result<Mask, Reject> {
    if !ignored::any(mask.labels.voxels()) {
        return Ok(mask);
    }
    let voxels = ignored::as_background(mask.labels.voxels());
    let labels = LabelMap::new(mask.labels.geometry().clone(), voxels)
        .map_err(|error| Reject::new("BAD_GEOMETRY", error.to_string(), ""))?;
    Ok(Mask { labels: Arc::new(labels), ..mask })
}

/// Refuses a truth that says nothing of some voxels: whether a box there is right nobody knows.
fn judged_everywhere(truth: &Mask) -> Result<(), Reject> {
    if !ignored::any(truth.labels.voxels()) {
        return Ok(());
    }
    let message = "a truth of every voxel expected, one with voxels of `ignore` found";
    let hint =
        "boxes there are neither right nor wrong; `evaluate` leaves such voxels out, `evaluate_boxes` cannot";
    Err(Reject::new("IGNORED_VOXELS", message, hint))
}

/// Refuses a case that a training could not go on with: it alone is left out then.
fn fit_to_train(case: &Case, labelled: bool) -> Result<(), Reject> {
    if !case.scans().all(|scan| values::all_finite(scan.voxels())) {
        return Err(values::not_finite());
    }
    let spacing_mm = case.scan.geometry().spacing_mm();
    if !spacing_mm.iter().all(|mm| mm.is_finite() && *mm > 0.0) {
        return Err(Reject::new("BAD_GRID", format!("a spacing expected, {spacing_mm:?} mm found"), ""));
    }
    if !labelled {
        // It is learned from as it is.
        return Ok(());
    }
    let Some(labels) = &case.labels else {
        let hint = "give the case outlines, or leave it out with `where`";
        return Err(Reject::new("NO_LABELS", "a case with labels expected, one without found", hint));
    };
    check_same_size("labels", case.scan.size(), labels.size())?;
    let named = case.label_names.len();
    match labels.voxels().iter().find(|label| **label != IGNORED && usize::from(**label) > named) {
        Some(label) => {
            let message = format!("labels up to {named}, which have names, expected, {label} found");
            Err(Reject::new("LABEL_TOO_LARGE", message, "name every label where they are declared"))
        }
        None => Ok(()),
    }
}

/// A case as later actions on it start from, or as a training reads it.
fn prepared(context: &Context, stage: usize, row: &BoundCase) -> Result<Vec<u8>, Reject> {
    let planned = &context.plan.stages[stage];
    let (trains, partly) = match &planned.stage {
        Stage::Train(train) => (true, train.learns_partly()),
        _ => (false, false),
    };
    let unknown = partly.then(Arc::default);
    let context = Context { unknown: unknown.clone(), ..context.clone() };
    let case = context.case(if trains { planned.inputs[0] } else { stage }, row)?;
    if trains {
        fit_to_train(&case, row.labels.is_some())?;
    }
    let marked = if trains { marked(&context, row, &case)? } else { None };
    let unknown =
        unknown.map(|unknown| std::mem::take(&mut *unknown.lock().unwrap_or_else(PoisonError::into_inner)));
    PreparedArtifact::encode_partly(&case, marked.as_deref(), &unknown.unwrap_or_default())
}

/// The volume of a case's labels, all together, in ml.
fn volume(context: &Context, row: &BoundCase) -> Result<Metric, Reject> {
    let labels = row.labels.as_ref().ok_or_else(misplaced)?;
    let truth = context.truth(&row.series, labels)?.labels;
    let voxels = truth.voxels().iter().filter(|label| is_labelled(**label)).count();
    let mm3: f64 = truth.geometry().spacing_mm().iter().product();
    let (label, metric) = (String::new(), "volume".to_owned());
    let value = Some(voxels as f64 * mm3 / 1000.0);
    Ok(Metric { label, metric, value, unit: "ml".to_owned(), state: State::OK })
}

#[cfg(test)]
mod tests {
    use tomoflow_connectors::Scan;

    use super::*;

    fn case(voxels: [f32; 4], labels: Option<[u16; 4]>) -> Case {
        let geometry = Geometry::axis_aligned([1, 2, 2], [1.0; 3]);
        let labels = labels.map(|labels| Arc::new(LabelMap::new(geometry.clone(), labels.to_vec()).unwrap()));
        let scan = Arc::new(Scan::new(geometry.clone(), voxels.to_vec()).unwrap());
        Case {
            channels: None,
            scan,
            labels,
            original: Arc::new(geometry),
            label_names: ["tumour".to_owned()].into(),
            padding: None,
        }
    }

    #[test]
    fn a_case_that_would_end_a_training_is_refused_by_itself() {
        let code = |case: &Case| fit_to_train(case, true).err().map(|reject| reject.code.to_string());
        let (fine, labels) = ([0.0, 1.0, -3.0, f32::MAX], Some([0, 1, 1, 0]));
        assert_eq!(code(&case(fine, labels)), None);
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(code(&case([0.0, odd, 1.0, 2.0], labels)).as_deref(), Some("NOT_FINITE"));
        }
        assert_eq!(code(&case(fine, None)).as_deref(), Some("NO_LABELS"));
        assert_eq!(code(&case(fine, Some([0, 0, 2, 0]))).as_deref(), Some("LABEL_TOO_LARGE"));
        assert_eq!(code(&case(fine, Some([0; 4]))), None, "nothing drawn is a truth");
    }
}
