//! What does not count: cases that were refused or failed, what is told of others, and labels that nobody drew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::dataflow::{SAW, SHORT, UNKNOWN_NAME};
use crate::engine::driver::Driver;
use crate::engine::rows::{Desired, is_remark};
use crate::executor::work::{LabelRow, series_of};
use crate::executor::{NEVER_DRAWN, NEVER_JUDGED, PARTLY};
use crate::metrics::Emptiness;
use crate::operators::registry::Stage;
use crate::pipeline::{Plan, PlannedStage, StageId};

/// What does not count, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// Cases with at least one row in `rejects`; of a scan that goes by the name of one that was accepted, with its stage.
    pub cases: BTreeSet<String>,
    /// The numbers of rows, by code.
    pub rejects: BTreeMap<String, usize>,
    /// Rows that tell of cases which were not refused, by code.
    pub remarked: BTreeMap<String, usize>,
    /// The message of one row, by code: of several the first in the alphabet, so that it does not depend on their order.
    pub messages: BTreeMap<String, String>,
    /// Trainings that gave no model, with why.
    pub failed: Vec<String>,
    /// Splits that cannot be had as they are asked for, labels that are asked for and that nothing has, and weights that
    /// were taken in part.
    pub told: Vec<String>,
}

impl Losses {
    /// Counts what the rows say that tables must hold.
    pub fn of(plan: &Plan, driver: &Driver) -> Self {
        let mut lost = Self::default();
        let accepted: BTreeSet<&str> = cases(driver).map(|(key, _)| key).collect();
        let scans: BTreeSet<&str> = accepted.iter().map(|key| series_of(key)).collect();
        for desired in driver.desired().keys() {
            let Desired::Reject { case, stage, reject, attempts } = &**desired else { continue };
            // Remarks are told in lines of their own.
            if is_remark(&reject.code) {
                continue;
            }
            let counts = if *attempts == 0 { &mut lost.remarked } else { &mut lost.rejects };
            *counts.entry(reject.code.clone()).or_default() += 1;
            if plan.settings.free_text {
                let first = lost.messages.entry(reject.code.clone());
                first
                    .and_modify(|known| *known = reject.message.clone().min(known.clone()))
                    .or_insert_with(|| reject.message.clone());
            }
            match case {
                None if [SHORT, UNKNOWN_NAME, NEVER_DRAWN, NEVER_JUDGED, PARTLY, SAW]
                    .contains(&&*reject.code) =>
                {
                    // A training goes on with the patients that there are.
                    lost.told.push(format!("{stage}: {}", reject.message));
                }
                _ if *attempts == 0 => {}
                // A localizer beside a good stack is a row of `rejects`, and no case of its own.
                Some(key) if accepted.contains(key.as_str()) || !scans.contains(series_of(key)) => {
                    let reads = |planned: &PlannedStage| {
                        planned.name == **stage && matches!(planned.stage, Stage::Scans(_))
                    };
                    // Another source may have a scan of this name that was accepted.
                    let other = accepted.contains(key.as_str()) && plan.stages.iter().any(reads);
                    lost.cases.insert(if other { format!("{key}\0{stage}") } else { key.clone() });
                }
                Some(_) => {}
                None => {
                    let why = format!("{stage}: training failed ({}): {}", reject.code, reject.message);
                    lost.failed.push(why);
                }
            }
        }
        lost.told.extend(in_no_file(plan, driver));
        lost.told.extend(never_drawn(driver));
        lost
    }
}

/// The cases that there are, with their labels.
fn cases(driver: &Driver) -> impl Iterator<Item = (&str, Option<&LabelRow>)> {
    driver.desired().keys().filter_map(|desired| match &**desired {
        Desired::Case(case) => Some((&*case.series.key, case.labels.as_ref())),
        _ => None,
    })
}

/// Labels that a source asks for and that no file has a structure or segment of, where files have some.
fn in_no_file(plan: &Plan, driver: &Driver) -> Vec<String> {
    // Files by source; and those that have each label.
    let (mut files, mut having) =
        (BTreeMap::<StageId, usize>::new(), BTreeMap::<(StageId, u16), usize>::new());
    for labels in cases(driver).filter_map(|(_, labels)| labels) {
        *files.entry(labels.source).or_default() += 1;
        let Some(Stage::Labels(source)) = plan.stages.get(labels.source.place()).map(|stage| &stage.stage)
        else {
            continue;
        };
        let count = source.label_names().len() as u16;
        for label in (1..=count).filter(|label| !labels.absent.contains(label)) {
            *having.entry((labels.source, label)).or_default() += 1;
        }
    }
    // Labels of a source that has none at all have a row, by the stage that would label with them.
    for desired in driver.desired().keys() {
        let Desired::Reject { stage, reject, attempts, .. } = &**desired else { continue };
        let named = plan.stages.iter().find(|planned| planned.name == **stage);
        if let Some(source) = named.and_then(|planned| planned.inputs.get(1))
            && reject.code == "NO_STRUCTURE"
            && *attempts > 0
        {
            *files.entry(StageId::at(*source)).or_default() += 1;
        }
    }
    let mut lines = Vec::new();
    for (number, files) in files {
        let Some(stage) = plan.stages.get(number.place()) else { continue };
        let Stage::Labels(source) = &stage.stage else { continue };
        for (label, name) in (1..).zip(source.label_names()) {
            if !having.contains_key(&(number, label)) {
                let of = match files {
                    1 => "the one file has no".to_owned(),
                    files => format!("none of {files} files has a"),
                };
                let stage = &stage.name;
                lines.push(format!("{stage}: {of} structure of `{name}`: is its name the right one?"));
            }
        }
    }
    lines
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
