//! Tables follow what is desired: what is missing is written, what is no longer desired goes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::table::{
    CaseRow, CommitId, DeltaTable, MaskRow, MetricRow, RejectRow, Rows, RunRow, Table, TableError,
    TrainingRow, write_parquet,
};
use tomoflow_connectors::{Digest, Geometry, Reject};

use super::identity::Identity;
use super::rows::{Desired, Provenance};
use crate::executor::Context;
use crate::executor::artifact::{self, MaskArtifact, MetricsArtifact};
use crate::executor::work::SeriesRow;
use crate::networks::Figure;
use crate::operators::registry::Stage;
use crate::operators::sink::Format;
use crate::pipeline::Plan;

/// Raised when the same desired row would be written in another way.
const ROWS: &[u8] = b"tomoflow rows 1";

/// The committer's name in every table's log.
const COMMITTER: &str = "tomoflow";

/// The tables of one pipeline.
pub struct Tables {
    context: Context,
    identity: Identity,
    folder: PathBuf,
    parquet: PathBuf,
    /// For each stage that a sink names, the formats asked for.
    sinks: BTreeMap<String, BTreeSet<Format>>,
}

impl Tables {
    /// The tables under a pipeline's `out`.
    pub fn new(context: Context, identity: Identity) -> Self {
        let out = &context.plan.settings.out;
        let (folder, parquet) = (out.join("tables"), out.join("parquet"));
        let sinks = sinks(&context.plan);
        Self { context, identity, folder, parquet, sinks }
    }

    /// Where the Delta tables lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Brings every table to the desired set. Nothing is written to a table that already holds it.
    ///
    /// While a run goes on (`ended` is false) rows only come: those that it is about to replace stay
    /// until their replacements are there.
    ///
    /// # Errors
    /// When a table cannot be read or written; those before it are committed.
    pub fn converge<'a>(
        &self,
        desired: impl Iterator<Item = &'a Desired>,
        ended: bool,
    ) -> Result<Changes, TableError> {
        let mut delta: BTreeMap<Table, BTreeMap<String, &Desired>> = BTreeMap::new();
        let mut parquet: BTreeMap<Table, BTreeMap<String, &Desired>> = BTreeMap::new();
        for table in [Table::Cases, Table::Rejects, Table::Masks, Table::Metrics, Table::Training] {
            delta.insert(table, BTreeMap::new());
        }
        for row in desired {
            let table = table_of(row);
            let entry = self.entry(row).to_string();
            if self.goes_to(row, Format::Delta) {
                delta.entry(table).or_default().insert(entry.clone(), row);
            }
            if self.goes_to(row, Format::Parquet) {
                parquet.entry(table).or_default().insert(entry, row);
            }
        }
        let mut changes = Changes::default();
        for (table, rows) in &delta {
            self.converge_delta(*table, rows, ended, &mut changes)?;
        }
        for table in self.parquet_tables().into_iter().filter(|_| ended) {
            self.converge_parquet(table, parquet.get(&table).unwrap_or(&BTreeMap::new()), &mut changes)?;
        }
        Ok(changes)
    }

    /// Appends the row of a run.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub fn append_run(&self, row: RunRow) -> Result<(), TableError> {
        let mut table = DeltaTable::open(&self.folder.join(Table::Runs.name()), Table::Runs)?;
        let commit = next_commit(&table)?;
        table.replace(&BTreeSet::new(), [Rows::Runs(vec![row])], &commit)?;
        Ok(())
    }

    fn converge_delta(
        &self,
        table: Table,
        desired: &BTreeMap<String, &Desired>,
        ended: bool,
        changes: &mut Changes,
    ) -> Result<(), TableError> {
        let mut delta = DeltaTable::open(&self.folder.join(table.name()), table)?;
        let remove: BTreeSet<String> =
            delta.entries().iter().filter(|entry| ended && !desired.contains_key(*entry)).cloned().collect();
        let add: Vec<(&String, &&Desired)> =
            desired.iter().filter(|(entry, _)| !delta.entries().contains(*entry)).collect();
        if remove.is_empty() && add.is_empty() {
            return Ok(());
        }
        changes.removed += remove.len();
        changes.added += add.len();
        let commit = next_commit(&delta)?;
        let rows = add.into_iter().filter_map(|(entry, desired)| self.rows_or_log(entry, desired));
        if delta.replace(&remove, rows, &commit)?.is_some() {
            changes.tables.insert(table.name());
        }
        Ok(())
    }

    /// A Parquet file is replaced as a whole; a note beside it says which rows it holds.
    fn converge_parquet(
        &self,
        table: Table,
        desired: &BTreeMap<String, &Desired>,
        changes: &mut Changes,
    ) -> Result<(), TableError> {
        let path = self.parquet.join(format!("{}.parquet", table.name()));
        let note = self.parquet.join(format!(".{}.entries", table.name()));
        let digest = Digest::of_parts(desired.keys().map(String::as_bytes)).to_string();
        if path.is_file() && std::fs::read_to_string(&note).is_ok_and(|known| known == digest) {
            return Ok(());
        }
        let (mut rows, mut whole) = (Rows::empty(table), true);
        for (entry, desired) in desired {
            match self.rows_or_log(entry, desired) {
                Some(more) => rows.extend(more)?,
                None => whole = false,
            }
        }
        std::fs::create_dir_all(&self.parquet).map_err(|source| not_written(&self.parquet, source))?;
        // Gone before the file changes, and back only when it holds all: a run that is killed between,
        // or rows that could not be made, must not be taken for what is desired.
        match std::fs::remove_file(&note) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(not_written(&note, source));
            }
            _ => {}
        }
        write_parquet(&path, &rows)?;
        if whole {
            std::fs::write(&note, digest).map_err(|source| not_written(&note, source))?;
        }
        changes.tables.insert(table.name());
        Ok(())
    }

    fn parquet_tables(&self) -> Vec<Table> {
        let asked = |kind| {
            self.context.plan.stages.iter().any(|stage| {
                stage.output == Some(kind)
                    && self.sinks.get(&stage.name).is_some_and(|formats| formats.contains(&Format::Parquet))
            })
        };
        use crate::operators::spec::Kind;
        let tables = [(Kind::Masks, Table::Masks), (Kind::Metrics, Table::Metrics)];
        tables.into_iter().filter(|(kind, _)| asked(*kind)).map(|(_, table)| table).collect()
    }

    fn goes_to(&self, desired: &Desired, format: Format) -> bool {
        match desired {
            Desired::Masks { from, .. } | Desired::Metrics { from, .. } => {
                self.sinks.get(&*from.stage).is_some_and(|formats| formats.contains(&format))
            }
            _ => format == Format::Delta,
        }
    }

    /// Names a group of rows by all that they are made from.
    fn entry(&self, desired: &Desired) -> Digest {
        let bytes = match desired {
            // The row says whether there are labels, not which.
            Desired::Case(case) => postcard::to_stdvec(&(&case.series, case.labels.is_some())),
            desired => postcard::to_stdvec(desired),
        };
        let bytes = bytes.unwrap_or_default();
        Digest::of_parts([ROWS, self.identity.digest().as_slice(), &bytes])
    }

    fn rows_or_log(&self, entry: &str, desired: &Desired) -> Option<Rows> {
        self.rows(entry, desired)
            .inspect_err(|reject| {
                tracing::error!(entry, "rows not written, tried again at the next run: {reject}")
            })
            .ok()
    }

    fn rows(&self, entry: &str, desired: &Desired) -> Result<Rows, Reject> {
        let entry = entry.to_owned();
        Ok(match desired {
            Desired::Case(case) => {
                Rows::Cases(vec![self.case_row(entry, &case.series, case.labels.is_some())])
            }
            Desired::Reject { case, stage, reject } => Rows::Rejects(vec![RejectRow {
                entry,
                key: case.as_ref().map_or_else(|| stage.to_string(), |case| self.identity.show(case)),
                stage: stage.to_string(),
                code: reject.code.clone(),
                message: reject.message.clone(),
                hint: reject.hint.clone(),
                attempts: 1,
            }]),
            Desired::Masks { series, mask, from } => {
                Rows::Masks(self.mask_rows(&entry, series, *mask, from)?)
            }
            Desired::Metrics { series, metrics, split, from } => {
                let metrics: MetricsArtifact =
                    artifact::decode("metrics", &self.context.artifact(*metrics)?)?;
                let row = |metric: crate::operators::value::Metric| MetricRow {
                    entry: entry.clone(),
                    case: self.identity.show(&series.key),
                    series: self.identity.show(&series.series_uid),
                    split: split.clone(),
                    label: metric.label,
                    metric: metric.metric,
                    value: metric.value,
                    unit: metric.unit,
                    state: metric.state,
                    stage: from.stage.to_string(),
                    action: from.action.to_string(),
                    model: from.model.map(|model| model.to_string()).unwrap_or_default(),
                };
                Rows::Metrics(metrics.into_iter().map(row).collect())
            }
            Desired::Training { figures, from } => {
                let figures: Vec<Figure> = artifact::decode("figures", &self.context.artifact(*figures)?)?;
                let row = |figure: Figure| TrainingRow {
                    entry: entry.clone(),
                    model: from.model.map(|model| model.to_string()).unwrap_or_default(),
                    stage: from.stage.to_string(),
                    step: figure.step as i64,
                    epoch: figure.epoch as i64,
                    split: figure.split,
                    name: figure.name,
                    value: figure.value,
                };
                Rows::Training(figures.into_iter().map(row).collect())
            }
        })
    }

    fn case_row(&self, entry: String, series: &SeriesRow, labelled: bool) -> CaseRow {
        let geometry = Geometry::from(&series.grid);
        let [spacing_d_mm, spacing_h_mm, spacing_w_mm] = geometry.spacing_mm();
        let tag = |keyword: &str| series.tags.get(keyword).cloned().unwrap_or_default();
        CaseRow {
            entry,
            case: self.identity.show(&series.key),
            series: self.identity.show(&series.series_uid),
            study: self.identity.show(&series.study_uid),
            patient: self.identity.show(&series.patient),
            modality: tag("Modality"),
            manufacturer: tag("Manufacturer"),
            model_name: tag("ManufacturerModelName"),
            description: tag("SeriesDescription"),
            slices: geometry.size[0] as i64,
            rows: geometry.size[1] as i64,
            columns: geometry.size[2] as i64,
            spacing_d_mm,
            spacing_h_mm,
            spacing_w_mm,
            affine_lps: geometry.affine_lps().as_flattened().to_vec(),
            labelled,
            notes: series.notes.clone(),
        }
    }

    fn mask_rows(
        &self,
        entry: &str,
        series: &Arc<SeriesRow>,
        mask: Digest,
        from: &Provenance,
    ) -> Result<Vec<MaskRow>, Reject> {
        let mask: MaskArtifact = artifact::decode("mask", &self.context.artifact(mask)?)?;
        let geometry = Geometry::from(&series.grid);
        let [_, h, w] = geometry.steps_mm;
        let pixel_mm2 = tomoflow_connectors::geometry::norm(tomoflow_connectors::geometry::cross(h, w));
        let mut rows = Vec::new();
        for (index, labels) in mask.slices.iter().enumerate() {
            for (label, runs) in labels {
                let Some([row_min, column_min, row_max, column_max]) = runs.bounding_box(mask.size[2]) else {
                    continue;
                };
                let name = usize::from(*label).checked_sub(1).and_then(|label| mask.label_names.get(label));
                rows.push(MaskRow {
                    entry: entry.to_owned(),
                    case: self.identity.show(&series.key),
                    series: self.identity.show(&series.series_uid),
                    sop_instance: self
                        .identity
                        .show(series.slices.get(index).map_or("", |slice| &slice.sop_uid)),
                    slice: index as i64,
                    label: i64::from(*label),
                    label_name: name.cloned().unwrap_or_default(),
                    rows: mask.size[1] as i64,
                    columns: mask.size[2] as i64,
                    runs: runs.0.clone(),
                    area_mm2: runs.area() as f64 * pixel_mm2,
                    row_min: i64::from(row_min),
                    column_min: i64::from(column_min),
                    row_max: i64::from(row_max),
                    column_max: i64::from(column_max),
                    stage: from.stage.to_string(),
                    action: from.action.to_string(),
                    model: from.model.map(|model| model.to_string()).unwrap_or_default(),
                });
            }
        }
        Ok(rows)
    }
}

/// What converging changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Tables with a new version.
    pub tables: BTreeSet<&'static str>,
    /// Groups of rows written.
    pub added: usize,
    /// Groups of rows taken away.
    pub removed: usize,
}

impl Changes {
    /// Takes in what changed later in the same run.
    pub fn add(&mut self, later: Self) {
        self.tables.extend(later.tables);
        self.added += later.added;
        self.removed += later.removed;
    }
}

fn table_of(desired: &Desired) -> Table {
    match desired {
        Desired::Case(_) => Table::Cases,
        Desired::Reject { .. } => Table::Rejects,
        Desired::Masks { .. } => Table::Masks,
        Desired::Metrics { .. } => Table::Metrics,
        Desired::Training { .. } => Table::Training,
    }
}

fn sinks(plan: &Plan) -> BTreeMap<String, BTreeSet<Format>> {
    let mut sinks: BTreeMap<String, BTreeSet<Format>> = BTreeMap::new();
    for stage in &plan.stages {
        if let Stage::Sink(sink) = &stage.stage {
            for &input in &stage.inputs {
                sinks.entry(plan.stages[input].name.clone()).or_default().insert(sink.format);
            }
        }
    }
    sinks
}

fn not_written(path: &Path, source: std::io::Error) -> TableError {
    TableError::Io {
        path: path.to_owned(),
        doing: "written",
        hint: "is there space, and may it be written?",
        source,
    }
}

fn next_commit(table: &DeltaTable) -> Result<CommitId, TableError> {
    let last = table.last_commit(COMMITTER)?.unwrap_or(0);
    Ok(CommitId { app: COMMITTER.to_owned(), version: last + 1 })
}
