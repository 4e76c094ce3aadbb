//! What a run came to, from what the driver knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use tomoflow_connectors::Digest;
use tomoflow_connectors::table::{Moment, RunRow};

use super::summary::{StageCount, Summary};
use crate::engine::dataflow::SHORT;
use crate::engine::driver::Driver;
use crate::engine::rows::{Desired, is_remark};
use crate::executor::keys;
use crate::executor::work::series_of;
use crate::metrics::Emptiness;
use crate::operators::registry::Stage;
use crate::pipeline::{Plan, PlannedStage};

/// Counts cases, actions and rejects.
pub fn summarise(plan: &Plan, driver: &Driver) -> Summary {
    let rows = || {
        driver.desired().keys().filter_map(|desired| match &**desired {
            Desired::Case(case) => Some(&case.series),
            _ => None,
        })
    };
    // Scans of different sources may go by one name.
    let counted: BTreeSet<String> = rows().map(|series| series.counted_as()).collect();
    let accepted: BTreeSet<&str> = rows().map(|series| &*series.key).collect();
    let scans: BTreeSet<&str> = accepted.iter().map(|key| series_of(key)).collect();
    let (mut rejected, mut failed, mut short) = (BTreeSet::new(), Vec::new(), Vec::new());
    let (mut rejects, mut told) = (BTreeMap::<String, usize>::new(), BTreeMap::<String, usize>::new());
    for desired in driver.desired().keys() {
        let Desired::Reject { case, stage, reject, attempts } = &**desired else { continue };
        // Told in lines of their own.
        if is_remark(&reject.code) {
            continue;
        }
        let counts = if *attempts == 0 { &mut told } else { &mut rejects };
        *counts.entry(reject.code.clone()).or_default() += 1;
        if *attempts == 0 {
            continue;
        }
        match case {
            // A localizer beside a good stack is a row of `rejects`, and no case of its own.
            Some(key) if accepted.contains(key.as_str()) || !scans.contains(series_of(key)) => {
                let reads = |planned: &PlannedStage| {
                    planned.name == **stage && matches!(planned.stage, Stage::Scans(_))
                };
                // Another source may have a scan of this name that was accepted.
                let other = accepted.contains(key.as_str()) && plan.stages.iter().any(reads);
                rejected.insert(if other { format!("{key}\0{stage}") } else { key.clone() });
            }
            Some(_) => {}
            // A training goes on with the patients that there are.
            None if reject.code == SHORT => short.push(format!("{stage}: {}", reject.message)),
            None => failed.push(format!("{stage}: training failed ({}): {}", reject.code, reject.message)),
        }
    }
    let processed = driver.touched().iter().filter(|key| counted.contains(*key)).count();
    let (actions_run, actions_cached, trained) = driver.counts();
    let stages = driver.stages();
    let mut notes = if failed.is_empty() { idle(plan, driver, &stages) } else { failed.clone() };
    notes.extend(short);
    notes.extend(never_drawn(driver));
    notes.extend(driver.kept().iter().filter(|kept| kept.new > 0).map(ToString::to_string));
    Summary {
        pipeline: plan.settings.name.clone(),
        cases: counted.len() + rejected.iter().filter(|key| !accepted.contains(key.as_str())).count(),
        processed,
        unchanged: counted.len() - processed,
        rejected: rejected.len(),
        accepted: counted.len(),
        trained,
        trainings_failed: failed.len(),
        actions_run,
        actions_cached,
        stages,
        rejects,
        remarked: told,
        notes,
        ..Summary::default()
    }
}

/// Stages that wait for a model which is not there.
fn idle(plan: &Plan, driver: &Driver, stages: &BTreeMap<String, StageCount>) -> Vec<String> {
    let mut notes = Vec::new();
    for stage in &plan.stages {
        let Stage::Infer(_) = stage.stage else { continue };
        if stages.contains_key(&stage.name) {
            continue;
        }
        for model in stage.named().filter(|model| !driver.has_model(*model)) {
            let model = &plan.stages[model];
            let prepared = model.inputs.first().and_then(|&view| stages.get(&plan.stages[view].name));
            let why = match prepared.map_or(0, |count| count.failed) {
                0 => "has no labelled case to train on".to_owned(),
                failed => format!("cannot be trained: {failed} of its cases could not be prepared"),
            };
            notes.push(format!("{}: waits for a model, but `{}` {why}", stage.name, model.name));
        }
    }
    notes
}

/// Labels that a stage scores, and that no scan's truth has any voxel of.
fn never_drawn(driver: &Driver) -> Vec<String> {
    // Scans without any, until one has some: then none is counted any more.
    let mut scored: BTreeMap<(Arc<str>, Arc<str>), Option<usize>> = BTreeMap::new();
    let empty = [Emptiness::BothEmpty, Emptiness::EmptyReference];
    for desired in driver.desired().keys() {
        let Desired::Metrics { figures, from, .. } = &**desired else { continue };
        let mut counted: Option<&str> = None;
        for figure in figures.iter() {
            let Some(state) = figure.state.emptiness() else { continue };
            let scans = scored.entry((from.stage.clone(), figure.label.clone())).or_insert(Some(0));
            if !empty.contains(&state) {
                *scans = None;
            } else if counted != Some(&*figure.label) {
                *scans = scans.map(|scans| scans + 1);
            }
            counted = Some(&figure.label);
        }
    }
    let told = |((stage, label), scans): ((Arc<str>, Arc<str>), Option<usize>)| {
        let of = match scans? {
            1 => "the one truth has no".to_owned(),
            scans => format!("none of {scans} truths has a"),
        };
        Some(format!("{stage}: {of} voxel of `{label}`: is its value, or its name, the right one?"))
    };
    scored.into_iter().filter_map(told).collect()
}

/// The run's own row.
pub fn run_row(plan: &Plan, summary: &Summary, started: SystemTime) -> RunRow {
    let started = Moment::from(started);
    let digests: Vec<Digest> = plan.stages.iter().map(keys::operator).collect();
    let plan_digest = Digest::of_parts(digests.iter().map(|digest| digest.0.as_slice()));
    let entry = Digest::of_parts([started.to_string().as_bytes(), &std::process::id().to_le_bytes()]);
    RunRow {
        entry: entry.to_string(),
        started,
        seconds: summary.seconds,
        pipeline: plan.settings.name.clone(),
        plan_digest: plan_digest.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cases: summary.cases as i64,
        processed: summary.processed as i64,
        unchanged: summary.unchanged as i64,
        rejected: summary.rejected as i64,
        actions_run: summary.actions_run as i64,
        actions_cached: summary.actions_cached as i64,
        finished: !summary.interrupted,
    }
}
