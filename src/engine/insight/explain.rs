//! How an output came to be, and what changed since the one before it: `tomoflow explain`.

mod named;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;
use tomoflow_connectors::dicom::Record;
use tomoflow_connectors::{Digest, Geometry};

use super::differences::{Difference, channels, differences, members, of_channels};
use super::ledger::{ChannelUsed, OperatorUsed};
use super::rejects::Rejected;
use crate::engine::error::RunError;
use crate::engine::outputs::identity::Identity;
use crate::executor::work::{Member, SliceList, SliceRow, series_of};
use crate::operators::registry::Stage;
use crate::pipeline::Plan;
use crate::store::{Made, Outcome, Past, Recorded, Store};

/// Outputs that are told of one subject, at most.
const SHOWN: usize = 200;
/// Letters that a case's name begins with, at least, for all cases that begin so.
const LEAST: usize = 3;
/// The least number of digits of a row's `entry`: there are as many entries as rows.
const OF_ENTRY: usize = 8;

/// What was asked for, and every output that it names.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// What was asked for.
    pub subject: String,
    /// Outputs in the order of the pipeline.
    pub outputs: Vec<Explained>,
    /// How many outputs more there are, of a stage or a prefix.
    pub more: usize,
    /// The refusals and remarks where there is no output.
    pub rejects: Vec<Rejected>,
}

/// One output: what made it.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The stage that asked for it.
    pub stage: String,
    /// The case, as tables show it; none for a training.
    pub case: Option<String>,
    /// The action's key, as in the tables' column `action`.
    pub action: String,
    /// `artifact DIGEST`, or `failed CODE: message`.
    pub outcome: String,
    /// The time when it was made, in seconds since 1970.
    pub at: i64,
    /// The time that it took, in seconds.
    pub seconds: f64,
    /// The operators that took part, with the settings that count.
    pub operators: Vec<OperatorUsed>,
    /// How many slices the scan has, when a scan took part.
    pub slices: Option<usize>,
    /// The channels of the scan, when it has several: `t1 (20 slices)`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// The outlines' record, when labels took part.
    pub labels: Option<String>,
    /// The mask that it starts from.
    pub mask: Option<String>,
    /// The weights that took part; of an ensemble what names all of them.
    pub model: Option<String>,
    /// The models of an ensemble, each with the trainings that gave it: `net_0 DIGEST`.
    pub ensemble: Vec<String>,
    /// The cases of a training, with their part of the split.
    pub trained_on: Vec<(String, String)>,
    /// What stood in its place before, and what changed since.
    pub before: Option<Before>,
}

/// What stood in an output's place before.
#[derive(Clone, Debug, Serialize)]
pub struct Before {
    /// Its action's key.
    pub action: String,
    /// The time since when, in seconds since 1970.
    pub since: i64,
    /// What lies between the two.
    pub differences: Vec<Difference>,
    /// Files of instances that came or changed.
    pub files: Vec<PathBuf>,
}

/// The reasons why nothing could be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// No output, series or case of this name.
    #[error(
        "nothing is known of `{0}`\nhint: give the first digits of an action's, mask's or model's digest, a stage's name, a code of `rejects`, a row's `entry`, or a case or series, or how it begins, as the tables show it"
    )]
    Unknown(String),
    /// The store.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<crate::store::StoreError> for ExplainError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Run(error.into())
    }
}

/// Explains an action, a mask, a model, a case or a series, a stage, or a reject.
///
/// # Errors
/// When nothing of this name is known, or a source cannot be read.
pub fn explain(plan: &Plan, subject: &str) -> Result<Explanation, ExplainError> {
    let store = Store::glance(&plan.settings.out)?;
    let identity = Identity::of(store.identity_key()?, &plan.settings);
    let explain = Explain { plan, store: &store, identity: &identity };
    let mut outputs = explain.standing(|_, case| case.is_some_and(|case| identity.means(subject, case)))?;
    if outputs.is_empty() && is_digest(subject) {
        outputs = explain.by_digest(&subject.to_ascii_lowercase())?;
    }
    if outputs.is_empty() {
        outputs = explain.standing(|stage, _| stage == subject)?;
    }
    let begins = |name: &str| name.starts_with(subject) || identity.show(name).starts_with(subject);
    if outputs.is_empty() && subject.len() >= LEAST {
        outputs = explain.standing(|_, case| case.is_some_and(begins))?;
    }
    let is_entry = is_digest(subject) && subject.len() >= OF_ENTRY;
    if outputs.is_empty() && is_entry {
        outputs = explain.by_entry(&subject.to_ascii_lowercase())?;
    }
    let mut rejects = Vec::new();
    if outputs.is_empty() {
        let meant = |row: &Rejected| {
            let named = !row.case.is_empty() && identity.means(subject, &row.case);
            named
                || row.stage == subject
                || row.code == subject
                || subject.len() >= LEAST && begins(&row.case)
                || is_entry && row.entry.starts_with(&subject.to_ascii_lowercase())
        };
        rejects = super::rejects::rejects(plan.clone())?.into_iter().filter(meant).collect();
    }
    if outputs.is_empty() && rejects.is_empty() {
        return Err(ExplainError::Unknown(subject.to_owned()));
    }
    let order = |name: &str| plan.stages.iter().position(|stage| stage.name == name).unwrap_or(usize::MAX);
    outputs.sort_by_key(|output| (order(&output.stage), output.case.clone()));
    let more = outputs.len().saturating_sub(SHOWN);
    outputs.truncate(SHOWN);
    Ok(Explanation { subject: subject.to_owned(), outputs, more, rejects })
}

/// Whether a text may be the beginning of a digest.
fn is_digest(text: &str) -> bool {
    text.len() >= 4 && text.chars().all(|letter| letter.is_ascii_hexdigit())
}

struct Explain<'a> {
    plan: &'a Plan,
    store: &'a Store,
    identity: &'a Identity,
}

impl Explain<'_> {
    fn output(
        &self,
        stage: &str,
        case: Option<&str>,
        key: Digest,
        earlier: &[Past],
    ) -> Result<Option<Explained>, RunError> {
        let Some(made) = self.store.made(key)? else { return Ok(None) };
        let outcome = match self.store.outcomes(&[key])?.pop().flatten() {
            Some(Recorded { outcome: Outcome::Ok { artifact, .. }, .. }) => format!("artifact {artifact}"),
            Some(Recorded { outcome: Outcome::Failed { code, message, .. }, .. }) => {
                format!("failed {code}: {message}")
            }
            None => "its output is gone, or was forgotten: it is made again when it is wanted".to_owned(),
        };
        let operators = self.store.part(made.recipe)?;
        let operators = operators.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let trained_on: Vec<Member> = match made.dataset {
            Some(dataset) => {
                let bytes = self.store.part(dataset)?;
                bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok()).unwrap_or_default()
            }
            None => Vec::new(),
        };
        Ok(Some(Explained {
            stage: stage.to_owned(),
            case: case.map(|case| self.identity.show(case)),
            action: key.to_string(),
            outcome,
            at: made.at,
            seconds: made.milliseconds as f64 / 1e3,
            operators,
            slices: self.slices(&made)?.map(|slices| self.count(&slices)).transpose()?,
            channels: self.channels(&made)?,
            labels: made.labels.map(|digest| digest.to_string()),
            mask: made.mask.map(|digest| digest.to_string()),
            model: made.model.map(|digest| digest.to_string()),
            ensemble: self.ensemble(&made)?,
            trained_on: trained_on
                .into_iter()
                .map(|member| (self.identity.show(&member.case), member.part.name().to_owned()))
                .collect(),
            before: self.before(&made, earlier.last())?,
        }))
    }

    /// The models of an ensemble, by name.
    fn ensemble(&self, made: &Made) -> Result<Vec<String>, RunError> {
        let models = members(self.store, made.model)?;
        if models.is_empty() {
            return Ok(Vec::new());
        }
        let mut names: Vec<Vec<&str>> = vec![Vec::new(); models.len()];
        for stage in self.plan.stages.iter().filter(|stage| matches!(stage.stage, Stage::Train(_))) {
            let keys: Vec<Digest> =
                self.store.history(&stage.name, None)?.into_iter().map(|past| past.key).collect();
            let gave: BTreeSet<Digest> = self
                .store
                .outcomes(&keys)?
                .into_iter()
                .filter_map(|recorded| match recorded?.outcome {
                    Outcome::Ok { artifact, .. } => Some(artifact),
                    Outcome::Failed { .. } => None,
                })
                .collect();
            for (names, _) in names.iter_mut().zip(&models).filter(|(_, model)| gave.contains(*model)) {
                names.push(&stage.name);
            }
        }
        let shown = |(names, model): (Vec<&str>, &Digest)| format!("{} {model}", names.join(" = "));
        Ok(names.into_iter().zip(&models).map(|each| shown(each).trim_start().to_owned()).collect())
    }

    fn slices(&self, made: &Made) -> Result<Option<Vec<SliceRow>>, RunError> {
        let Some(scan) = made.scan else { return Ok(None) };
        if let Some(bytes) = self.store.list(scan)? {
            return Ok(SliceList::decode(&bytes).ok().map(|list| list.slices));
        }
        let channels = self.used(made)?;
        let slices = of_channels(self.store, &channels)?;
        Ok((!channels.is_empty()).then_some(slices))
    }

    /// Returns what the scans of a case gave, where it has several.
    fn used(&self, made: &Made) -> Result<Vec<ChannelUsed>, RunError> {
        let Some(scan) = made.scan else { return Ok(Vec::new()) };
        Ok(channels(self.store.part(scan)?))
    }

    /// The channels of a scan of several, each with its slices.
    fn channels(&self, made: &Made) -> Result<Vec<String>, RunError> {
        let shown = |channel: ChannelUsed| -> Result<String, RunError> {
            let names = channel.names.join(", ");
            if channel.list.is_none() {
                return Ok(format!("{names} (missing)"));
            }
            let slices = of_channels(self.store, &[channel])?;
            Ok(format!("{names} ({} slices)", self.count(&slices)?))
        };
        self.used(made)?.into_iter().map(shown).collect()
    }

    /// Counts a scan's slices; a file of another format than DICOM may hold all of them.
    fn count(&self, slices: &[SliceRow]) -> Result<usize, RunError> {
        let [only] = slices else { return Ok(slices.len()) };
        Ok(match self.store.records(&[only.record])?.first() {
            Some(Record::Image(Ok(image))) => Geometry::from(&image.grid).size[0],
            _ => 1,
        })
    }

    fn before(&self, now: &Made, past: Option<&Past>) -> Result<Option<Before>, RunError> {
        let Some(past) = past else { return Ok(None) };
        let Some(before) = self.store.made(past.key)? else { return Ok(None) };
        let found = differences(self.store, &before, now, &[])?;
        let files = self.files(now, &found)?;
        let differences = found.into_iter().map(|difference| self.shown(difference)).collect();
        Ok(Some(Before { action: past.key.to_string(), since: past.since, differences, files }))
    }

    /// Identifiers as tables show them.
    fn shown(&self, difference: Difference) -> Difference {
        let show = |identifier: String| self.identity.show(&identifier);
        match difference {
            Difference::InstanceAdded { sop_instance } => {
                Difference::InstanceAdded { sop_instance: show(sop_instance) }
            }
            Difference::InstanceRemoved { sop_instance } => {
                Difference::InstanceRemoved { sop_instance: show(sop_instance) }
            }
            Difference::InstanceChanged { sop_instance } => {
                Difference::InstanceChanged { sop_instance: show(sop_instance) }
            }
            Difference::CaseAdded { case, part } => Difference::CaseAdded { case: show(case), part },
            Difference::CaseRemoved { case, part } => Difference::CaseRemoved { case: show(case), part },
            Difference::CaseChanged { case } => Difference::CaseChanged { case: show(case) },
            other => other,
        }
    }

    /// Returns the paths of the instances that came or changed.
    fn files(&self, now: &Made, found: &[Difference]) -> Result<Vec<PathBuf>, RunError> {
        let changed: BTreeSet<&str> = found
            .iter()
            .filter_map(|difference| match difference {
                Difference::InstanceAdded { sop_instance } | Difference::InstanceChanged { sop_instance } => {
                    Some(sop_instance.as_str())
                }
                _ => None,
            })
            .collect();
        let (Some(case), Some(slices)) = (&now.case, self.slices(now)?) else { return Ok(Vec::new()) };
        let records: Vec<Digest> = slices
            .iter()
            .filter(|slice| changed.contains(slice.sop_uid.as_str()))
            .map(|slice| slice.record)
            .collect();
        let mut places = self.store.places(series_of(case), &records)?;
        for channel in self.used(now)?.iter().skip(1).filter(|channel| !channel.series.is_empty()) {
            places.extend(self.store.places(&channel.series, &records)?);
        }
        // Files that are no instances are of no series.
        places.extend(self.store.places("", &records)?);
        Ok(places.into_iter().flatten().map(|stat| stat.path).collect())
    }
}
