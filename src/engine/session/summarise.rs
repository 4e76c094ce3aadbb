//! What a run came to, from what the driver knows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use tomoflow_connectors::Digest;
use tomoflow_connectors::table::{Moment, RunRow};

use super::losses::Losses;
use super::scored::scored;
use super::summary::{StageCount, Summary};
use crate::engine::driver::Driver;
use crate::engine::rows::Desired;
use crate::executor::keys;
use crate::operators::registry::Stage;
use crate::pipeline::Plan;

/// Counts cases and actions, with what does not count.
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
    let lost = Losses::of(plan, driver);
    // A case counts once: as rejected, whatever was computed of it.
    let refused: BTreeSet<String> =
        rows().filter(|series| lost.cases.contains(&*series.key)).map(|series| series.counted_as()).collect();
    let cases = counted.len() + lost.cases.iter().filter(|key| !accepted.contains(key.as_str())).count();
    let counts = |key: &String| counted.contains(key) && !refused.contains(key);
    let processed = driver.touched().iter().filter(|key| counts(key)).count();
    let (actions_run, actions_cached, trained) = driver.counts();
    let stages = driver.stages();
    let mut notes = if lost.failed.is_empty() { idle(plan, driver, &stages) } else { lost.failed.clone() };
    notes.extend(lost.told);
    notes.extend(driver.kept().iter().filter(|kept| kept.stale()).map(ToString::to_string));
    Summary {
        pipeline: plan.settings.name.clone(),
        cases,
        processed,
        unchanged: cases.saturating_sub(processed + lost.cases.len()),
        rejected: lost.cases.len(),
        accepted: counted.len(),
        trained,
        trainings_failed: lost.failed.len(),
        actions_run,
        actions_cached,
        stages,
        rejects: lost.rejects,
        remarked: lost.remarked,
        notes,
        scores: scored(plan, driver),
        messages: lost.messages,
        ..Summary::default()
    }
}

/// Stages that wait for a model which is not there.
fn idle(plan: &Plan, driver: &Driver, stages: &BTreeMap<String, StageCount>) -> Vec<String> {
    let mut notes = Vec::new();
    for stage in &plan.stages {
        // A training waits for another one's model.
        let (Stage::Infer(_) | Stage::Fuse(_) | Stage::Train(_)) = stage.stage else { continue };
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
