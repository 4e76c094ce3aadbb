//! Slices with truth and prediction for the report, from what earlier runs left; nothing is run.

use std::collections::BTreeMap;
use std::sync::Arc;

use tomoflow_connectors::{Digest, Geometry, RunLength};

use super::control::Control;
use super::driver::Driver;
use super::identity::Identity;
use super::rows::Desired;
use super::run::RunError;
use super::sources::{self, Look};
use crate::executor::artifact::{self, MetricsArtifact};
use crate::executor::work::CaseRow;
use crate::executor::{Context, Files};
use crate::pipeline::Plan;
use crate::store::Store;

/// One slice of one case.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The case, as tables show it.
    pub case: String,
    /// The mean Dice over its labels.
    pub dice: Option<f64>,
    /// `train`, `validation`, `test`, `new` or empty.
    pub split: String,
    /// Which slice, from 0.
    pub slice: usize,
    /// The scan's grid.
    pub geometry: Geometry,
    /// `[H, W]`, windowed from the 1st to the 99th percentile of the slice.
    pub pixels: Vec<u8>,
    /// All labels of the truth.
    pub truth: Option<RunLength>,
    /// All labels of the prediction.
    pub prediction: Option<RunLength>,
}

/// Slices of at most `limit` cases, from the worst Dice to the best, evenly spread.
///
/// # Errors
/// When the store is in use, or the sources cannot be read.
pub fn pictures(plan: Plan, limit: usize) -> Result<Vec<Picture>, RunError> {
    let plan = Arc::new(plan);
    let store = Arc::new(Store::open(&plan.settings.out)?);
    let context = Context { plan: plan.clone(), store: store.clone(), files: Arc::new(Files::default()) };
    let identity = Identity::new(store.identity_key()?, plan.settings.identifiers);
    let found = sources::look(&plan, &store, &context.files, Look::See)?;
    let mut driver = Driver::new(context.clone(), Control::start(plan.clone(), 1)?, None, false);
    driver.load(found.inputs)?;
    let candidates = candidates(&context, &driver);
    let shown = limit.min(candidates.len());
    let mut pictures = Vec::new();
    for place in 0..shown {
        let index = place * (candidates.len() - 1) / (shown - 1).max(1);
        pictures.extend(draw(&context, &identity, &candidates[index]));
    }
    Ok(pictures)
}

/// A case that was evaluated, and the mask that was.
struct Candidate {
    case: CaseRow,
    mask: Digest,
    dice: Option<f64>,
    split: String,
}

/// Evaluated cases, from the worst Dice to the best.
fn candidates(context: &Context, driver: &Driver) -> Vec<Candidate> {
    let stages = &context.plan.stages;
    let (mut cases, mut masks, mut metrics) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for desired in driver.desired() {
        match desired {
            Desired::Case(case) => {
                cases.insert(case.series.key.clone(), case);
            }
            Desired::Masks { series, mask, from } => {
                masks.insert((from.stage.to_string(), series.key.clone()), *mask);
            }
            Desired::Metrics { series, metrics: figures, split, from } => {
                metrics.push((from.stage.to_string(), series.key.clone(), *figures, split.clone()));
            }
            _ => {}
        }
    }
    // With several evaluations the pictures show the last one of the pipeline.
    let last = stages.iter().rev().find(|stage| metrics.iter().any(|(name, ..)| *name == stage.name));
    let Some(last) = last else { return Vec::new() };
    let segmented = &stages[last.inputs[0]].name;
    let mut found: Vec<Candidate> = metrics
        .into_iter()
        .filter(|(stage, ..)| *stage == last.name)
        .filter_map(|(_, key, figures, split)| {
            let mask = *masks.get(&(segmented.clone(), key.clone()))?;
            Some(Candidate { case: (*cases.get(&key)?).clone(), mask, dice: dice(context, figures), split })
        })
        .collect();
    found.sort_by(|a, b| a.dice.unwrap_or(-1.0).total_cmp(&b.dice.unwrap_or(-1.0)));
    found
}

fn dice(context: &Context, figures: Digest) -> Option<f64> {
    let metrics: MetricsArtifact = artifact::decode("metrics", &context.artifact(figures).ok()?).ok()?;
    let values: Vec<f64> =
        metrics.iter().filter(|metric| metric.metric == "dice").filter_map(|metric| metric.value).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The slice with the most truth (or prediction) of a case; none when its files are gone.
fn draw(context: &Context, identity: &Identity, candidate: &Candidate) -> Option<Picture> {
    let case = context.assembled(&candidate.case).ok()?;
    let mask = context.mask(&candidate.case.series, candidate.mask).ok()?;
    let truth = case.labels.as_ref()?;
    let area = |slice: usize| {
        let count = |labels: &[u16]| labels.iter().filter(|&&label| label != 0).count();
        (count(truth.slice(slice)), count(mask.labels.slice(slice)))
    };
    let slice = (0..case.scan.size()[0]).max_by_key(|&slice| area(slice))?;
    Some(Picture {
        case: identity.show(&candidate.case.series.key),
        dice: candidate.dice,
        split: candidate.split.clone(),
        slice,
        geometry: case.scan.geometry().clone(),
        pixels: windowed(case.scan.slice(slice)),
        truth: Some(foreground(truth.slice(slice))),
        prediction: Some(foreground(mask.labels.slice(slice))),
    })
}

fn foreground(slice: &[u16]) -> RunLength {
    let binary: Vec<u16> = slice.iter().map(|&label| u16::from(label != 0)).collect();
    RunLength::encode(&binary, 1)
}

/// Intensities from the 1st to the 99th percentile as 0 to 255.
fn windowed(slice: &[f32]) -> Vec<u8> {
    let mut sorted: Vec<f32> = slice.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let at =
        |share: f64| sorted.get(((sorted.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0.0);
    let (low, high) = (at(0.01), at(0.99));
    let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
    slice.iter().map(|value| ((value - low) * scale).clamp(0.0, 255.0) as u8).collect()
}
