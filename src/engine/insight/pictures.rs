//! Slices with truth and prediction for the report, from what earlier runs left; nothing is run.

mod boxes;

use std::collections::BTreeMap;

use tomoflow_connectors::{Digest, Geometry, LabelMap, RunLength};

use super::outlook::Outlook;
use crate::engine::driver::Driver;
use crate::engine::error::RunError;
use crate::engine::outputs::identity::Identity;
use crate::engine::outputs::mapfile::{AskedMaps, KeptMaps};
use crate::engine::rows::Desired;
use crate::executor::Context;
use crate::executor::maps::MapKind;
use crate::executor::work::BoundCase;
use crate::pipeline::Plan;
use crate::store::FigureRow;
use crate::voxels::ignored::is_labelled;

/// One slice of one case.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The case, as tables show it.
    pub case: String,
    /// What it is judged by: `Dice`, or `AP50` of boxes.
    pub figure: &'static str,
    /// The mean of that over its labels.
    pub dice: Option<f64>,
    /// `train`, `validation`, `test`, `new` or empty.
    pub split: String,
    /// The slice's number, from 0.
    pub slice: usize,
    /// The scan's grid.
    pub geometry: Geometry,
    /// `[H, W]`, windowed from the 1st to the 99th percentile of the slice.
    pub pixels: Vec<u8>,
    /// All labels of the truth.
    pub truth: Option<RunLength>,
    /// All labels of the prediction.
    pub prediction: Option<RunLength>,
    /// What was kept of how sure the network was, and where it looked.
    pub heats: Vec<Heat>,
    /// Boxes, those of the truth among them.
    pub boxes: Vec<PictureBox>,
}

/// A box on a slice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PictureBox {
    /// Edges along `[H, W]` at the lower ends, in voxels: the first voxel begins at 0.
    pub low: [f64; 2],
    /// Edges along `[H, W]` at the upper ends, in voxels.
    pub high: [f64; 2],
    /// How sure the network is; none of a thing of the truth.
    pub score: Option<f64>,
}

/// One slice of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heat {
    /// The name of the map: `entropy` or `attention`.
    pub name: String,
    /// `[H, W]`, shares in steps of 1/254; 255 where nothing is known.
    pub shares: Vec<u8>,
}

/// Returns slices of at most `limit` cases, from the worst Dice to the best, evenly spread.
///
/// # Errors
/// When the store is in use, or the sources cannot be read.
pub fn pictures(plan: Plan, limit: usize) -> Result<Vec<Picture>, RunError> {
    let asked = AskedMaps::of(&plan);
    let Outlook { plan, context, identity, driver, .. } = Outlook::to_show(plan)?;
    let Some((judged, candidates)) = candidates(&context, &driver) else { return Ok(Vec::new()) };
    let maps = KeptMaps::of(&asked, &plan, &driver, judged);
    let shown = limit.min(candidates.len());
    let mut pictures = Vec::new();
    for place in 0..shown {
        let index = place * (candidates.len() - 1) / (shown - 1).max(1);
        pictures.extend(draw(&context, &identity, &maps, (judged, &candidates[index])));
    }
    Ok(pictures)
}

/// A case that was evaluated, and the mask that was.
struct Candidate {
    case: BoundCase,
    made: Made,
    dice: Option<f64>,
    split: String,
}

/// What was compared with the truth.
#[derive(Clone, Copy)]
enum Made {
    Mask(Digest),
    Boxes(Digest),
}

/// The stage whose masks or boxes were evaluated, and these cases, from the worst Dice to the best.
fn candidates(context: &Context, driver: &Driver) -> Option<(usize, Vec<Candidate>)> {
    let stages = &context.plan.stages;
    let (mut cases, mut masks, mut metrics) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for desired in driver.desired().keys() {
        match &**desired {
            Desired::Case(case) => {
                cases.insert(case.series.key.clone(), case);
            }
            Desired::Masks { series, mask, from } => {
                masks.insert((from.stage.to_string(), series.key.clone()), Made::Mask(*mask));
            }
            Desired::Detections { series, found, from } => {
                masks.insert((from.stage.to_string(), series.key.clone()), Made::Boxes(*found));
            }
            Desired::Metrics { series, figures, split, from } => {
                metrics.push((from.stage.to_string(), series.key.clone(), dice(figures), split.clone()));
            }
            _ => {}
        }
    }
    // The pictures show the last of several evaluations of the pipeline.
    let last = stages.iter().rev().find(|stage| metrics.iter().any(|(name, ..)| *name == stage.name))?;
    let segmented = &stages[last.inputs[0]].name;
    let mut found: Vec<Candidate> = metrics
        .into_iter()
        .filter(|(stage, ..)| *stage == last.name)
        .filter_map(|(_, key, dice, split)| {
            let made = *masks.get(&(segmented.clone(), key.clone()))?;
            Some(Candidate { case: (*cases.get(&key)?).clone(), made, dice, split })
        })
        .collect();
    found.sort_by(|a, b| a.dice.unwrap_or(-1.0).total_cmp(&b.dice.unwrap_or(-1.0)));
    Some((last.inputs[0], found))
}

fn dice(figures: &[FigureRow]) -> Option<f64> {
    let dice = figures.iter().filter(|figure| matches!(&*figure.metric, "dice" | "ap50"));
    let values: Vec<f64> = dice.filter_map(|figure| figure.value).map(|value| value.0).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The slice with the most truth (or prediction) of a case; none when its files are gone.
fn draw(
    context: &Context,
    identity: &Identity,
    maps: &KeptMaps,
    (stage, candidate): (usize, &Candidate),
) -> Option<Picture> {
    let case = context.assembled(stage, &candidate.case).ok()?;
    let mask = match candidate.made {
        Made::Mask(mask) => mask,
        Made::Boxes(found) => return boxes::draw(context, identity, candidate, found, &case),
    };
    let found = context.found(mask).ok()?;
    let geometry = Geometry::from(&candidate.case.series.grid);
    // Labels that overlap are drawn as one: a voxel shows any of those that it has.
    let found = match found.overlaps {
        true => found.sets(&geometry).ok()?.0,
        false => LabelMap::clone(&found.on(&geometry).ok()?.labels),
    };
    let truth = case.labels.as_ref()?;
    let area = |slice: usize| {
        let count = |labels: &[u16]| labels.iter().filter(|&&label| is_labelled(label)).count();
        (count(truth.slice(slice)), count(found.slice(slice)))
    };
    let slice = (0..case.scan.size()[0]).max_by_key(|&slice| area(slice))?;
    // The first of several channels is shown.
    let beside = candidate.case.beside.as_ref().map_or(&[][..], |beside| &*beside.names);
    let channel = beside.first().or(case.channel_names().first());
    let key = identity.show(&candidate.case.series.key);
    let shown = channel.map_or_else(|| key.clone(), |channel| format!("{key}, {channel}"));
    Some(Picture {
        case: shown,
        figure: "Dice",
        dice: candidate.dice,
        split: candidate.split.clone(),
        slice,
        geometry: case.scan.geometry().clone(),
        pixels: windowed(case.scan.slice(slice)),
        truth: Some(foreground(truth.slice(slice))),
        prediction: Some(foreground(found.slice(slice))),
        heats: heats(context, maps, &candidate.case.series.key, slice),
        boxes: Vec::new(),
    })
}

/// Reads entropy and attention of a slice, of the first inference that kept any; none where they are gone.
fn heats(context: &Context, maps: &KeptMaps, case: &str, slice: usize) -> Vec<Heat> {
    let found = maps.read(context, case).unwrap_or_default();
    let Some((_, maps)) = found.into_iter().next() else { return Vec::new() };
    let shown = maps.maps.iter().filter(|(kind, _)| !matches!(kind, MapKind::Probability(_)));
    shown
        .filter_map(|(kind, planes)| Some(Heat { name: maps.name(*kind), shares: planes.plane(slice)? }))
        .collect()
}

fn foreground(slice: &[u16]) -> RunLength {
    let binary: Vec<u16> = slice.iter().map(|&label| u16::from(is_labelled(label))).collect();
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
