//! What entered each action, for `plan` and `explain`: operators and their settings, instances, labels,
//! model, cases.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tomoflow_connectors::Digest;

use crate::executor::work::{Action, BoundCase, Member, SeriesRow, Work};
use crate::operators::models::origin::ModelSource;
use crate::operators::registry::Stage;
use crate::operators::spec::{Config, semantic};
use crate::pipeline::{Plan, PlannedStage};
use crate::store::{Described, Made};

/// One operator that took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorUsed {
    /// The stage, as it was called.
    pub stage: String,
    /// The operator's type.
    pub operator: String,
    /// The operator's code version.
    pub version: u32,
    /// The half of its settings that results depend on, defaults included.
    pub settings: Config,
}

/// What one input gave to a case of several channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelUsed {
    /// The names of its channels.
    pub names: Vec<String>,
    /// The series under which the index holds its records.
    pub series: String,
    /// The list of its instances; none where the scan is missing.
    pub list: Option<Digest>,
}

/// Returns what the scans of a case gave, with its description; `None` for a case of one scan.
fn channels(case: &BoundCase) -> Option<(Digest, Vec<u8>)> {
    let beside = case.beside.as_ref()?;
    let mut names = beside.names.iter().cloned();
    let others: usize = beside.others.iter().map(|other| usize::from(other.channels)).sum();
    let first = (beside.names.len().saturating_sub(others), Some(&case.series));
    let others = beside.others.iter().map(|other| (usize::from(other.channels), other.series.as_ref()));
    let used = |(count, series): (usize, Option<&Arc<SeriesRow>>)| ChannelUsed {
        names: names.by_ref().take(count).collect(),
        series: series.map_or_else(String::new, |series| series.held_under().to_owned()),
        list: series.map(|series| series.list),
    };
    let used: Vec<ChannelUsed> = std::iter::once(first).chain(others).map(used).collect();
    let bytes = postcard::to_stdvec(&used).unwrap_or_default();
    Some((Digest::of(&bytes), bytes))
}

/// Collects what entered actions, to be written with their outcomes.
pub struct Ledger {
    plan: Arc<Plan>,
    described: Described,
    /// Descriptions that were written in this run.
    written: HashSet<Digest>,
}

impl Ledger {
    /// Returns an empty ledger.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { plan, described: Described::default(), written: HashSet::new() }
    }

    /// Notes an action that is done.
    pub fn note(&mut self, action: &Action, seconds: f64) {
        let (mut made, parts) = enters(&self.plan, action);
        made.at = now();
        made.milliseconds = (seconds * 1e3) as u64;
        self.described.made.push((action.key, made));
        for (digest, bytes) in parts {
            if self.written.insert(digest) {
                self.described.parts.push((digest, bytes));
            }
        }
    }

    /// Returns what was noted since this was last asked.
    pub fn take(&mut self) -> Described {
        std::mem::take(&mut self.described)
    }
}

/// Returns what enters an action, and the descriptions that it names.
pub fn enters(plan: &Plan, action: &Action) -> (Made, Vec<(Digest, Vec<u8>)>) {
    let stage = action.stage.place();
    let recipe = serde_json::to_vec(&recipe(plan, stage, &action.work)).unwrap_or_default();
    let mut parts = vec![(Digest::of(&recipe), recipe)];
    let mut made = Made {
        stage: plan.stages[stage].name.clone(),
        case: action.work.series().map(|series| series.key.to_string()),
        recipe: parts[0].0,
        // A scan that takes part through an artifact alone is not named.
        scan: action.work.series().filter(|_| action.work.reads_scan()).map(|series| series.list),
        labels: action.work.labels().map(|labels| labels.record),
        mask: match action.work.artifacts() {
            [] => None,
            [mask] => Some(*mask),
            // One digest stands for all masks.
            masks => Some(Digest::of_parts(masks.iter().map(|mask| mask.0.as_slice()))),
        },
        ..Made::default()
    };
    if let Some(case) = action.work.case().filter(|_| action.work.reads_scan())
        && let Some((digest, bytes)) = channels(case)
    {
        // One digest stands for all channels' scans.
        made.scan = Some(digest);
        parts.push((digest, bytes));
    }
    let models = action.work.models();
    if !models.is_empty() {
        let model = ModelSource::content(models);
        made.model = Some(model);
        if models.len() > 1 {
            parts.push((model, postcard::to_stdvec::<[Digest]>(models).unwrap_or_default()));
        }
    }
    if let Some(members) = action.work.members() {
        let bytes = postcard::to_stdvec::<[Member]>(members).unwrap_or_default();
        made.dataset = Some(Digest::of(&bytes));
        parts.push((Digest::of(&bytes), bytes));
    }
    (made, parts)
}

/// The operators that an action fuses, in the order in which they run.
fn recipe(plan: &Plan, stage: usize, work: &Work) -> Vec<OperatorUsed> {
    // A case is prepared for a training by the stages before it: the training itself takes no part.
    let before_training = work.case().is_some() && matches!(plan.stages[stage].stage, Stage::Train(_));
    let mut stages = if before_training { Vec::new() } else { vec![stage] };
    if work.reads_scan() || work.members().is_some() {
        let mut at = stage;
        if before_training {
            // A case is prepared as it stands before the view on it.
            at = plan.stages[stage].inputs[0];
            if let Stage::View(_) | Stage::Augment(_) = plan.stages[at].stage {
                at = plan.stages[at].inputs[0];
            }
            stages.push(at);
        }
        before(plan, at, &mut stages);
    } else if work.labels().is_some() {
        // Truth is drawn on the scan's own grid: what transforms did takes no part.
        let inputs = &plan.stages[stage].inputs;
        let mut at = inputs[inputs.len() - 1];
        let makes_cases = |at: usize| {
            matches!(plan.stages[at].stage, Stage::Label { .. } | Stage::Assemble(_) | Stage::Scans(_))
        };
        while !makes_cases(at) {
            at = plan.stages[at].inputs[0];
        }
        stages.push(at);
        stages.extend(plan.stages[at].inputs.get(1));
    }
    stages.reverse();
    stages.into_iter().map(|stage| part(&plan.stages[stage])).collect()
}

/// The stages before one, the nearest first; of channels those of each input, the last input's first.
fn before(plan: &Plan, stage: usize, stages: &mut Vec<usize>) {
    let inputs = &plan.stages[stage].inputs;
    let count = if let Stage::Channels(_) = plan.stages[stage].stage { inputs.len() } else { 1 };
    for &input in inputs.iter().skip(plan.takes_cases_from(stage)).take(count).rev() {
        stages.push(input);
        before(plan, input, stages);
    }
}

fn part(stage: &PlannedStage) -> OperatorUsed {
    OperatorUsed {
        stage: stage.name.clone(),
        operator: stage.spec.name.to_owned(),
        version: stage.spec.version,
        settings: semantic(stage.spec.fields, &stage.config),
    }
}

/// Returns the time now, in seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
