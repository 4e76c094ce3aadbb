//! A checked pipeline: typed, wired, in running order. Only the checker makes one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::common::RETRIES;
use super::problem::Problem;
use crate::networks::{Extensions, Step};
use crate::operators::cases::rule::Settled;
use crate::operators::registry::Stage;
use crate::operators::spec::{Config, Kind, Spec, semantic};

/// Whether tables show identifiers as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Identifiers {
    /// A keyed hash.
    #[default]
    Pseudonymous,
    /// Identifiers are shown as they stand in the files.
    Clear,
}

/// The `[pipeline]` table.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, in logs and the report.
    pub name: String,
    /// The pipeline file, absolute.
    pub file: PathBuf,
    /// The folder of store, tables and report; absolute.
    pub out: PathBuf,
    /// Bytes that actions may hold at once.
    pub memory_bytes: u64,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// How identifiers stand in tables.
    pub identifiers: Identifiers,
    /// Whether text that people typed stands in tables.
    pub free_text: bool,
    /// The share of series that may be rejected before the exit code is 1, 0 to 1.
    pub allowed_rejects: f64,
    /// Where a run gives its metrics, a loopback address.
    pub metrics: Option<SocketAddr>,
    /// Where a run lets workers join, `host:port`.
    pub workers: Option<String>,
    /// How long a series must be quiet before a run that watches works on it.
    pub settle: Duration,
    /// How often a run that watches looks at all files again.
    pub rescan: Duration,
}

/// One stage, wired.
#[derive(Clone)]
pub struct PlannedStage {
    /// Its name in the file; not part of any key.
    pub name: String,
    /// What its type declares.
    pub spec: &'static Spec,
    /// Its fields, defaults included.
    pub config: Config,
    /// The stages on its inputs, by their place in [`Plan::stages`].
    pub inputs: Vec<usize>,
    /// The stages that its fields name (`model = "net"`), by field, in the order in which they are named.
    pub references: BTreeMap<String, Vec<usize>>,
    /// What it gives, resolved.
    pub output: Option<Kind>,
    /// Whether the user asked to keep its output (`keep = true`).
    pub keep: bool,
    /// How long it may take before it is given up, if the user says so; [`Plan::timeout`] is what holds.
    pub timeout: Option<Duration>,
    /// How often it is tried again after a passing failure, if the user says so; [`Plan::retries`] is what
    /// holds.
    pub retries: Option<u32>,
    /// The built stage.
    pub stage: Stage,
}

impl PlannedStage {
    /// What it does to a scan, as a model's card says it.
    pub fn step(&self) -> Step {
        Step {
            operator: self.spec.name.to_owned(),
            version: self.spec.version,
            settings: semantic(self.spec.fields, &self.config),
        }
    }

    /// The stages that its fields name.
    pub fn named(&self) -> impl Iterator<Item = usize> {
        self.references.values().flatten().copied()
    }
}

impl fmt::Debug for PlannedStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlannedStage")
            .field("name", &self.name)
            .field("type", &self.spec.name)
            .field("config", &self.config)
            .field("inputs", &self.inputs)
            .field("references", &self.references)
            .field("output", &self.output)
            .field("keep", &self.keep)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

/// A stage of a plan, as rows and actions name it: by its place in [`Plan::stages`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StageId(u16);

impl StageId {
    /// The stage at this place.
    pub const fn at(place: usize) -> Self {
        Self(place as u16)
    }

    /// Its place.
    pub const fn place(self) -> usize {
        self.0 as usize
    }
}

/// A combination of the values of `[sweep]`, those of seeds apart: what `compare` takes for one system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// The values: `lambda 0.2`.
    pub system: String,
    /// The stage of type `evaluate`, as the file calls it.
    pub of: String,
    /// What it is called for each seed.
    pub stages: Vec<String>,
}

/// A whole pipeline.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The `[pipeline]` table.
    pub settings: Settings,
    /// Stages, each after all that it depends on.
    pub stages: Vec<PlannedStage>,
    /// What may not have been meant, in the order of the file.
    pub warnings: Vec<Problem>,
    /// The networks and losses that a downstream crate registered.
    pub extensions: Extensions,
    /// What `[sweep]` makes of the stages that give figures.
    pub swept: Vec<Swept>,
}

impl Plan {
    /// How long an action that ends at a stage may take.
    ///
    /// Operators that run in one go are given up, and tried again, in one go: what the last of them does
    /// not say, the nearest one before it that does says for all.
    pub fn timeout(&self, stage: usize) -> Option<Duration> {
        self.nearest(stage, |stage| stage.timeout)
    }

    /// How often an action that ends at a stage is tried again after a passing failure.
    pub fn retries(&self, stage: usize) -> u32 {
        self.nearest(stage, |stage| stage.retries).unwrap_or(RETRIES)
    }

    /// Puts what it was settled on where a stage has a rule over the archive, as if the file said so.
    pub fn settle(&mut self, stage: usize, settled: &Settled) {
        let Some(planned) = self.stages.get_mut(stage) else { return };
        let Stage::Transform(transform) = &planned.stage else { return };
        if let Some((config, settled)) = transform.settled(&planned.config, settled) {
            (planned.config, planned.stage) = (config, settled);
        }
    }

    /// Which of a stage's inputs gives the cases whose voxels it reads.
    pub fn takes_cases_from(&self, stage: usize) -> usize {
        usize::from(matches!(self.stages[stage].stage, Stage::Crf(_)))
    }

    /// The transforms up to a stage, itself included, in their order, and the stage before them, which makes the cases.
    pub fn transforms(&self, stage: usize) -> (Vec<usize>, usize) {
        let (mut transforms, mut at) = (Vec::new(), stage);
        loop {
            match self.stages[at].stage {
                Stage::Transform(_) => transforms.push(at),
                // It changes whose labels a case has, and nothing that was done to it before.
                Stage::Adopt => {}
                _ => break,
            }
            at = self.stages[at].inputs[0];
        }
        transforms.reverse();
        (transforms, at)
    }

    /// What the transforms up to a stage do to a scan, as a model's card says it; of several channels what is done to
    /// each, and then how they become one case.
    pub fn preparation(&self, stage: usize) -> Vec<Step> {
        let (transforms, root) = self.transforms(stage);
        let joined = self.joining(root).map(|join| {
            let mut step = self.stages[join].step();
            let inputs = self.stages[join].inputs.iter();
            let each: Vec<Vec<Step>> = inputs.map(|&input| self.preparation(input)).collect();
            step.settings.insert("names".to_owned(), json!(self.channels(join)));
            step.settings.insert("prepared".to_owned(), json!(each));
            step
        });
        joined.into_iter().chain(transforms.into_iter().map(|stage| self.stages[stage].step())).collect()
    }

    /// The stage that makes the scans of one that makes cases: of several channels the first's.
    pub fn scans(&self, cases: usize) -> usize {
        self.origin(cases)
    }

    /// The stage that reads the labels of a stage's cases; those that were bound before channels were put together are
    /// the first's.
    pub fn label_source(&self, stage: usize) -> Option<usize> {
        let mut root = self.transforms(stage).1;
        while let Stage::Channels(_) = self.stages[root].stage {
            root = self.transforms(*self.stages[root].inputs.first()?).1;
        }
        let source = *self.stages[root].inputs.get(1)?;
        matches!(self.stages.get(source)?.stage, Stage::Labels(_)).then_some(source)
    }

    /// The stage at or before one that puts masks in the place of labels, if there is one.
    pub fn adopting(&self, stage: usize) -> Option<usize> {
        let mut at = stage;
        loop {
            match &self.stages[at].stage {
                Stage::Adopt => return Some(at),
                Stage::Transform(_) | Stage::View(_) | Stage::Augment(_) => {
                    at = *self.stages[at].inputs.first()?;
                }
                _ => return None,
            }
        }
    }

    /// The names of the labels that the cases of an `adopt` have; none where no stage reads any.
    pub fn adopted_names(&self, adopt: usize) -> Vec<String> {
        match self.label_source(adopt).map(|source| &self.stages[source].stage) {
            Some(Stage::Labels(labels)) => labels.label_names(),
            _ => Vec::new(),
        }
    }

    /// The stage that puts channels together, of one that makes cases: itself, or what a `label` has scans from.
    pub fn joining(&self, cases: usize) -> Option<usize> {
        let scans = match self.stages[cases].stage {
            Stage::Label { .. } => *self.stages[cases].inputs.first()?,
            _ => cases,
        };
        matches!(self.stages[scans].stage, Stage::Channels(_)).then_some(scans)
    }

    /// The transforms up to a stage that a scan's grid goes through, before its channels were put together and after.
    pub fn regridded(&self, stage: usize) -> Vec<usize> {
        let (mut transforms, mut root) = self.transforms(stage);
        while let Some(join) = self.joining(root) {
            let (before, first) = self.transforms(self.stages[join].inputs[0]);
            transforms.splice(0..0, before);
            root = first;
        }
        transforms
    }

    /// The names of the channels of a stage's scans; none where they have one.
    pub fn channels(&self, stage: usize) -> Vec<String> {
        match &self.stages[stage].stage {
            Stage::Scans(source) => source.channel_names(),
            Stage::Channels(join) => match &join.names {
                Some(names) => names.clone(),
                None => self.input_channels(stage).concat(),
            },
            Stage::Transform(_)
            | Stage::Label { .. }
            | Stage::Adopt
            | Stage::View(_)
            | Stage::Augment(_)
            | Stage::Train(_) => {
                self.stages[stage].inputs.first().map_or_else(Vec::new, |&input| self.channels(input))
            }
            _ => Vec::new(),
        }
    }

    /// What each input of a stage that puts channels together gives: the names of its channels, or its own.
    pub fn input_channels(&self, join: usize) -> Vec<Vec<String>> {
        let of_input = |&input: &usize| {
            let names = self.channels(input);
            if names.is_empty() { vec![self.stages[input].name.clone()] } else { names }
        };
        self.stages[join].inputs.iter().map(of_input).collect()
    }

    /// The stage that makes the scans which a stage works on, itself or one before it.
    pub fn origin(&self, stage: usize) -> usize {
        let mut at = stage;
        while !matches!(self.stages[at].stage, Stage::Assemble(_) | Stage::Scans(_)) {
            let Some(&before) = self.stages[at].inputs.first() else { break };
            at = before;
        }
        at
    }

    /// The stage whose model a training begins with.
    pub fn start(&self, train: usize) -> Option<usize> {
        self.stages[train].references.get("start")?.first().copied()
    }

    /// The view that a training sees, and what changes its samples, in this order.
    pub fn samples(&self, train: usize) -> (usize, Vec<usize>) {
        let (mut at, mut augmentations) = (self.stages[train].inputs[0], Vec::new());
        while matches!(self.stages[at].stage, Stage::Augment(_)) {
            augmentations.push(at);
            at = self.stages[at].inputs[0];
        }
        augmentations.reverse();
        (at, augmentations)
    }

    /// The stage whose cases a training prepares: the one before its view, or the one before itself where it has none.
    pub fn prepared(&self, train: usize) -> usize {
        let (at, _) = self.samples(train);
        match (&self.stages[at].stage, self.stages[at].inputs.first()) {
            (Stage::View(_), Some(&before)) => before,
            _ => at,
        }
    }

    fn nearest<T>(&self, stage: usize, says: impl Fn(&PlannedStage) -> Option<T>) -> Option<T> {
        let mut at = self.stages.get(stage)?;
        loop {
            if let Some(said) = says(at) {
                return Some(said);
            }
            at = self.stages.get(*at.inputs.first()?)?;
            // Masks and models lie on disk: what made them was another action.
            if !matches!(at.output, Some(Kind::Scan | Kind::Case | Kind::Samples)) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows in the store and messages between processes name stages.
    #[test]
    fn a_stage_is_written_as_its_number() {
        for place in [0, 1, 127, 128, 65_535] {
            let (stage, number) = (StageId::at(place), place as u16);
            let bytes = postcard::to_stdvec(&number).unwrap();
            assert_eq!(postcard::to_stdvec(&stage).unwrap(), bytes);
            assert_eq!(postcard::from_bytes::<StageId>(&bytes).unwrap(), stage);
            assert_eq!(serde_json::to_string(&stage).unwrap(), number.to_string());
            assert_eq!(stage.place(), place);
        }
    }
}
