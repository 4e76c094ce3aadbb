//! What the sources hold now, as changes for the control plane: a file leads to its series, a series to what
//! it was judged to be.
//!
//! The index ([`Store`]) remembers all of it, so that a look at an archive reads the files that changed, and
//! judges the series that they belong to; memory holds one row for each series.

mod accept;
mod apart;
mod damaged;
mod files;
mod images;
mod joined;
mod judge;
mod label_series;
mod left_out;
mod look;
mod parts;
mod remarks;
mod told;
mod update;
mod withheld;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::dicom::{FileStat, MoreTags, Rules};
use tomoflow_connectors::rtstruct::Form;
use tomoflow_connectors::shown::Shown as _;
use tomoflow_connectors::{Digest, reading};

use super::rows::Input;
use crate::executor::keys;
use crate::executor::work::{OutlinesRow, SeriesRow, Verdict};
use crate::networks::{ModelCard, Step};
use crate::operators::models::origin::{ModelFile, ModelSource};
use crate::operators::registry::Stage;
use crate::operators::source::{InstanceSource, LabelsIn};
use crate::pipeline::{Plan, PlannedStage, StageId};
use crate::store::{Store, StoreError, Texts};

pub use accept::Accept;
use damaged::Damaged;
use files::Cases;
use images::Imaged;
pub use look::Looked;
use parts::Parts;
use remarks::Remarks;
use told::ToldOf;

/// Raised when verdicts are written in another way: those of before are made anew.
const VERDICTS: &[u8] = b"verdicts 6";

/// Tells an index that knows of files of several volumes from one that may not.
const OF_CHANNELS: u64 = 0x6368_616e_6e65_6c73;

/// A change for the control plane.
pub type Change = (Input, isize);

/// The reasons why the sources could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The folder is not there, or may not be read.
    #[error("{0}\nhint: nothing was changed; check the path, or whether the archive is mounted")]
    Walk(#[from] tomoflow_connectors::dicom::WalkError),
    /// An archive that held files is empty now.
    #[error(
        "{path} held {known} files at the last run, none are found now\nhint: if the archive is mounted and truly empty, say `--accept-empty`"
    )]
    Empty {
        /// The folder.
        path: PathBuf,
        /// Files at the last run.
        known: usize,
    },
    /// A model file is not there, or may not be read.
    #[error("the model {path}: {source}")]
    Model {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The index could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A stage that gives scans.
struct Reader {
    stage: StageId,
    origin: Origin,
}

/// What a stage makes scans from.
enum Origin {
    /// Instances that one source keeps.
    Instances(Instances),
    /// Files of other formats, which the stage itself asks for.
    Files,
}

/// Instances that one source keeps, and how they are assembled.
struct Instances {
    /// The source's place in the plan: its filter.
    source: usize,
    root: PathBuf,
    rules: Rules,
    /// Whether slices of the folder may have been joined to series.
    joins: bool,
    /// Root, filter and the operator: what a verdict depends on beside the files.
    digest: Digest,
    /// Whether the series are trusted as labels; `None` for scans.
    labels: Option<bool>,
}

/// The sources of one pipeline.
pub struct Archive {
    plan: Arc<Plan>,
    store: Arc<Store>,
    readers: Vec<Reader>,
    /// Tags that filters ask for, beside those that are always kept.
    more: MoreTags,
    /// Folders whose slices are joined to series.
    joined: Vec<PathBuf>,
    /// Whether a source has a reader beyond tomoflow's own.
    own_readers: bool,
    /// Stages that read labels, their form, and their folders.
    outlined: Vec<(StageId, Form, PathBuf)>,
    /// What the control plane was told of each series, by reader, so that exactly this is taken back.
    told: Vec<BTreeMap<Box<str>, Box<[Verdict]>>>,
    /// Texts that many scans have in common, each once in memory.
    texts: Texts,
    /// The outlines that the control plane knows, by file.
    outlines: BTreeMap<PathBuf, Arc<OutlinesRow>>,
    /// Files of other formats, by reader and case.
    filed: Vec<Cases>,
    /// Label maps of other formats that the control plane knows, by stage and file.
    filed_labels: BTreeMap<(StageId, PathBuf), Arc<OutlinesRow>>,
    /// The images that the control plane was told of, by stage and scan.
    imaged: Imaged,
    /// The labels that have a file each.
    parts: Parts,
    models: BTreeMap<StageId, ModelState>,
    /// What is told of sources beside their cases.
    remarks: Remarks,
    /// Whether everything was looked at once.
    loaded: bool,
    /// What reading may hold in memory while there are sources.
    _allowed: reading::Allowed,
    files: usize,
    skipped: BTreeMap<String, usize>,
    told_of: ToldOf,
    /// Files that were DICOM and are damaged.
    damaged: Damaged,
}

impl Archive {
    /// The sources of a plan; nothing is looked at yet.
    pub fn new(plan: Arc<Plan>, store: Arc<Store>) -> Self {
        let joined = joined::roots(&plan);
        let readers = readers(&plan, &joined);
        let filters = plan.stages.iter().filter_map(|stage| label_series::instances_of(&stage.stage));
        let filters = filters.map(InstanceSource::keywords);
        let more = MoreTags::new(filters.flatten());
        let outlined = plan.stages.iter().enumerate().filter_map(|(number, stage)| match &stage.stage {
            Stage::Labels(source) => match source.lies_in() {
                LabelsIn::Objects { root, form } => Some((StageId::at(number), form, root.to_owned())),
                _ => None,
            },
            _ => None,
        });
        let outlined = outlined.collect();
        let files = plan.stages.iter().filter_map(|stage| files::claimed(&stage.stage));
        let own_readers = files.filter_map(|files| files.reader()).next().is_some();
        let told = readers.iter().map(|_| BTreeMap::new()).collect();
        let filed = readers.iter().map(|_| Cases::new()).collect();
        let allowed = reading::allow(plan.settings.memory_bytes);
        Self {
            plan,
            store,
            readers,
            more,
            joined,
            own_readers,
            outlined,
            told,
            texts: Texts::default(),
            outlines: BTreeMap::new(),
            filed,
            filed_labels: BTreeMap::new(),
            imaged: Imaged::new(),
            parts: Parts::default(),
            models: BTreeMap::new(),
            remarks: Remarks::default(),
            loaded: false,
            _allowed: allowed,
            files: 0,
            skipped: BTreeMap::new(),
            told_of: ToldOf::default(),
            damaged: Damaged::default(),
        }
    }

    /// The folders that sources name, each once.
    pub fn roots(&self) -> BTreeSet<PathBuf> {
        self.rooted().map(|(_, root)| root.to_owned()).collect()
    }

    /// The sources, each with its folder, in the order of the plan.
    fn rooted<'a>(&'a self) -> impl Iterator<Item = (StageId, &'a Path)> {
        let of = |stage: &'a Stage| match stage {
            Stage::Instances(source) => Some(source.root()),
            Stage::Scans(source) => Some(source.root()),
            Stage::Labels(source) => match source.lies_in() {
                LabelsIn::Objects { root, .. } => Some(root),
                LabelsIn::Files(files) => Some(files.root()),
                LabelsIn::Series { instances, .. } => Some(instances.root()),
                LabelsIn::Table(_) => None,
            },
            _ => None,
        };
        let stages = self.plan.stages.iter().enumerate();
        stages.filter_map(move |(number, stage)| Some((StageId::at(number), of(&stage.stage)?)))
    }

    /// Forgets the index when its files were read in another way than they would be now.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn forget_other_readings(&self) -> Result<(), StoreError> {
        let reading = self.more.reading() ^ joined::reading(&self.joined);
        let channels = |stage: &PlannedStage| match &stage.stage {
            Stage::Scans(source) => !source.channel_names().is_empty(),
            _ => false,
        };
        // Files of several volumes were refused once: what reads them as channels reads them anew.
        self.store.read_as(match self.plan.stages.iter().any(channels) {
            true => reading ^ OF_CHANNELS,
            false => reading,
        })
    }

    /// Files that the sources hold.
    pub fn files(&self) -> usize {
        self.files
    }

    /// Files that hold nothing for a pipeline, by code.
    pub fn skipped(&self) -> &BTreeMap<String, usize> {
        &self.skipped
    }

    /// The accepted scans that a stage makes, as the control plane was told.
    pub fn scans(&self, stage: StageId) -> impl Iterator<Item = &Arc<SeriesRow>> {
        let readers = self.readers.iter().zip(&self.told).filter(move |(reader, _)| reader.stage == stage);
        let verdicts = readers.flat_map(|(_, told)| told.values()).flat_map(|verdicts| verdicts.iter());
        verdicts.filter_map(Verdict::accepted)
    }

    /// Returns all that a control plane would have been told until now, for another one.
    pub fn everything(&self) -> Vec<Change> {
        let mut changes: Vec<Change> = self.listed().map(|(_, change)| change).collect();
        for (path, row) in &self.outlines {
            let asking = self
                .outlined
                .iter()
                .filter(|(_, form, root)| path.starts_with(root) && row.outlines.form == *form);
            changes.extend(asking.map(|(stage, ..)| (Input::Outlines(*stage, row.clone()), 1)));
        }
        let filed = self.filed_labels.iter();
        changes.extend(filed.map(|((stage, _), row)| (Input::Outlines(*stage, row.clone()), 1)));
        changes.extend(self.imaged_now());
        changes.extend(self.parts.everything());
        let models = self.models.iter();
        changes.extend(models.map(|(stage, (_, digest))| (Input::ModelFile(*stage, *digest), 1)));
        for (reader, told) in self.readers.iter().zip(&self.told) {
            let verdicts = told.values().flat_map(|verdicts| verdicts.iter());
            changes.extend(verdicts.map(|verdict| (Input::Series(reader.stage, verdict.clone()), 1)));
        }
        changes.extend(self.remarked());
        changes
    }

    /// Returns all that follows from a look: outlines and models that came or went, and series judged anew.
    ///
    /// # Errors
    /// When the index or a model file cannot be read.
    pub fn follow(&mut self, looked: Looked) -> Result<Vec<Change>, SourceError> {
        let mut changes: Vec<Change> = looked.changes.into_iter().map(|(_, change)| change).collect();
        changes.extend(self.models()?);
        changes.extend(self.derive(looked.series.keys())?);
        changes.extend(self.images()?);
        Ok(changes)
    }

    /// The model files that stages name, as changes: read again when their time or size has changed.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn models(&mut self) -> Result<Vec<Change>, SourceError> {
        let mut changes = Vec::new();
        for (number, stage) in self.plan.stages.iter().enumerate() {
            let (files, follows) = match &stage.stage {
                Stage::Infer(infer) => (infer.model.files(), &infer.follows),
                Stage::Train(train) => (train.start_files(), &None),
                _ => continue,
            };
            if files.is_empty() {
                continue;
            }
            let number = StageId::at(number);
            let (stats, digest) = match model(files, follows, self.models.get(&number)) {
                Ok(Some(model)) => model,
                Ok(None) => continue,
                // While a model is being replaced the one that is known stays.
                Err((path, error)) if self.models.contains_key(&number) => {
                    tracing::warn!(
                        "the model file {}: {error}; the previous model stays in use",
                        path.shown()
                    );
                    continue;
                }
                Err((path, source)) => return Err(SourceError::Model { path, source }),
            };
            match self.models.insert(number, (stats, digest)) {
                Some((_, before)) if before == digest => continue,
                Some((_, before)) => changes.push((Input::ModelFile(number, before), -1)),
                None => {}
            }
            changes.push((Input::ModelFile(number, digest), 1));
        }
        Ok(changes)
    }
}

/// What a stage's model files were when they were read.
type ModelState = (Vec<FileStat>, Digest);

/// The state of model files and their content; none when they are as they were. An error names the file.
fn model(
    files: &[ModelFile],
    follows: &Option<Vec<Step>>,
    before: Option<&ModelState>,
) -> Result<Option<ModelState>, (PathBuf, std::io::Error)> {
    let named = |file: &ModelFile, error| (file.path().to_owned(), error);
    let stat = |file: &ModelFile| {
        let metadata = std::fs::metadata(file.path()).map_err(|error| named(file, error))?;
        Ok(FileStat::new(file.path().to_owned(), &metadata))
    };
    let stats: Vec<_> = files.iter().map(stat).collect::<Result<_, _>>()?;
    if before.is_some_and(|(before, _)| *before == stats) {
        return Ok(None);
    }
    let content = |file: &ModelFile| -> std::io::Result<Digest> {
        let (mut bytes, facts) = reading::open(file.path())?;
        // An inference holds it: room for it is there, or it is refused now.
        drop(reading::room(facts.len())?);
        if follows.is_some() {
            let card = ModelCard::read(&bytes).map_err(std::io::Error::other)?;
            if card.origin.preparation != *follows {
                let message = "scans were prepared for the model file that was there before: start the run \
                               again";
                return Err(std::io::Error::other(message));
            }
        }
        bytes.rewind()?;
        Digest::of_stream(bytes)
    };
    let digests: Vec<_> = files
        .iter()
        .map(|file| content(file).map_err(|error| named(file, error)))
        .collect::<Result<_, _>>()?;
    Ok(Some((stats, ModelSource::content(&digests))))
}

fn readers(plan: &Plan, joined: &[PathBuf]) -> Vec<Reader> {
    let reader = |(number, stage): (usize, &PlannedStage)| {
        let (source, rules, operator) = match &stage.stage {
            Stage::Assemble(rules) => (stage.inputs[0], *rules, keys::operator(stage)),
            Stage::Scans(_) => return Some(Reader { stage: StageId::at(number), origin: Origin::Files }),
            // Labels that are no series have no instances.
            Stage::Labels(_) => (number, Rules::default(), Digest::of(b"labels")),
            _ => return None,
        };
        let instances = label_series::instances_of(&plan.stages[source].stage)?;
        let filter = plan.stages[source].config.get("where").map(ToString::to_string).unwrap_or_default();
        let root = instances.root().to_owned();
        let joins = joined.iter().any(|other| root.starts_with(other) || other.starts_with(&root));
        let version = plan.stages[source].spec.version.to_le_bytes();
        let of = [VERDICTS, root.as_os_str().as_encoded_bytes(), filter.as_bytes(), &operator.0, &version];
        let also = joins.then_some(b"series per slice".as_slice());
        let digest = Digest::of_parts(of.into_iter().chain(also));
        let labels = label_series::trusted(&stage.stage);
        let instances = Instances { source, root, rules, joins, digest, labels };
        Some(Reader { stage: StageId::at(number), origin: Origin::Instances(instances) })
    };
    plan.stages.iter().enumerate().filter_map(reader).collect()
}
