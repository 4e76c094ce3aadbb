//! Tables follow what is desired: what is missing is written, what is no longer desired goes.

mod kept;
mod made;
mod parquet;
mod pooled;

pub use kept::{ASIDE, ASIDE_PAGE, PAGE, set_aside};
pub use made::entry_of;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::dicom::Few;
use tomoflow_connectors::points;
use tomoflow_connectors::table::{CommitId, DeltaTable, Rows, RunRow, Table, TableError};

use super::identity::Identity;
use crate::engine::rows::{Desired, DesiredRows};
use crate::executor::Context;
use crate::operators::registry::Stage;
use crate::operators::sinks::format::Format;
use crate::operators::spec::Kind;
use crate::pipeline::Plan;
use crate::store::Store;

/// Raised when the same desired row would be written in another way.
const ROWS: &[u8] = b"tomoflow rows 1";

/// The committer's name in every table's log.
const COMMITTER: &str = "tomoflow";

/// The tables that follow what is desired.
const KEPT: &[Table] = &[
    Table::Cases,
    Table::Rejects,
    Table::Masks,
    Table::Metrics,
    Table::Summary,
    Table::Training,
    Table::Detections,
];

/// The tables of one pipeline.
pub struct Tables {
    context: Context,
    identity: Identity,
    store: Arc<Store>,
    folder: PathBuf,
    parquet: PathBuf,
    /// The formats asked for, by stage that a sink names.
    sinks: BTreeMap<String, BTreeSet<Format>>,
    /// Tables that have been opened; one that was is kept, since reading what it holds takes a while.
    open: BTreeMap<Table, DeltaTable>,
    /// Whether all tables were compared once with all that is desired.
    compared: bool,
    /// Entries that are no longer desired, and go when no action is under way.
    outdated: BTreeMap<Table, BTreeSet<String>>,
    /// Rows that could not be made: tried again.
    missed: BTreeSet<Arc<Desired>>,
    /// Whether Parquet files may be behind the Delta tables.
    behind: bool,
    /// Files of tables whose content the store knows.
    kept: BTreeSet<PathBuf>,
    /// Files of tables that somebody had changed since they were written.
    edited: Few,
    /// Files of tables that another program had brought.
    foreign: Few,
}

impl Tables {
    /// The tables under a pipeline's `out`.
    pub fn new(context: Context, identity: Identity, store: Arc<Store>) -> Self {
        let out = &context.plan.settings.out;
        let (folder, parquet) = (out.join("tables"), out.join("parquet"));
        let sinks = sinks(&context.plan);
        Self {
            context,
            identity,
            store,
            folder,
            parquet,
            sinks,
            open: BTreeMap::new(),
            compared: false,
            outdated: BTreeMap::new(),
            missed: BTreeSet::new(),
            behind: true,
            kept: BTreeSet::new(),
            edited: Few::default(),
            foreign: Few::default(),
        }
    }

    /// Returns the folder of the Delta tables.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Brings every table to the desired set. Nothing is written to a table that already holds it. The
    /// first time all is compared, later only what `changed` names.
    ///
    /// While a run goes on (`ended` is false) rows only come: those that it is about to replace stay
    /// until their replacements are there.
    ///
    /// # Errors
    /// When a table cannot be read or written; those before it are committed, and all are compared again.
    pub fn converge(
        &mut self,
        desired: &DesiredRows,
        mut changed: BTreeSet<Arc<Desired>>,
        ended: bool,
    ) -> Result<Changes, TableError> {
        changed.append(&mut self.missed);
        self.behind |= !changed.is_empty();
        let mut changes = Changes::default();
        if self.is_overtaken() {
            // Opened again, they hold what this program wrote alone.
            self.open.clear();
            self.compared = false;
        }
        let result = if self.compared {
            self.follow(desired, &changed, ended, &mut changes)
        } else {
            self.compare(desired, ended, &mut changes)
        };
        self.compared = result.is_ok();
        result?;
        if ended && self.behind {
            self.parquet(desired, &mut changes)?;
            self.behind = false;
        }
        Ok(changes)
    }

    /// Compares all tables with all that is desired.
    fn compare(
        &mut self,
        desired: &DesiredRows,
        ended: bool,
        changes: &mut Changes,
    ) -> Result<(), TableError> {
        let mut wanted: BTreeMap<Table, BTreeMap<String, &Arc<Desired>>> =
            self.kept_tables().map(|table| (table, BTreeMap::new())).collect();
        for row in desired.keys().filter(|row| self.goes_to(row, Format::Delta)) {
            wanted.entry(table_of(row)).or_default().insert(self.entry(row).to_string(), row);
        }
        self.outdated.clear();
        for (table, rows) in wanted {
            let present = self.opened(table)?.entries();
            let gone = present.iter().filter(|entry| !rows.contains_key(*entry)).cloned().collect();
            let add = rows.into_iter().filter(|(entry, _)| !present.contains(entry)).collect();
            self.outdated.insert(table, gone);
            self.commit(table, &add, ended, changes)?;
        }
        Ok(())
    }

    /// The tables that are kept: that of boxes only where a stage gives these, or gave them before.
    fn kept_tables(&self) -> impl Iterator<Item = Table> + use<> {
        let gives = self.context.plan.stages.iter().any(|stage| stage.output == Some(Kind::Detections));
        let boxes = gives || self.folder.join(Table::Detections.name()).exists();
        KEPT.iter().copied().filter(move |table| boxes || *table != Table::Detections)
    }

    /// Follows what came and went since the last time.
    fn follow(
        &mut self,
        desired: &DesiredRows,
        changed: &BTreeSet<Arc<Desired>>,
        ended: bool,
        changes: &mut Changes,
    ) -> Result<(), TableError> {
        let mut add: BTreeMap<Table, BTreeMap<String, &Arc<Desired>>> = BTreeMap::new();
        // What went comes before what came: a case with other labels is another desired row and the same
        // entry.
        let (came, went): (Vec<&Arc<Desired>>, Vec<&Arc<Desired>>) = changed
            .iter()
            .filter(|row| self.goes_to(row, Format::Delta))
            .partition(|row| desired.contains_key(*row));
        for row in went {
            let (table, entry) = (table_of(row), self.entry(row).to_string());
            if self.opened(table)?.entries().contains(&entry) {
                self.outdated.entry(table).or_default().insert(entry);
            }
        }
        for row in came {
            let (table, entry) = (table_of(row), self.entry(row).to_string());
            self.outdated.entry(table).or_default().remove(&entry);
            if !self.opened(table)?.entries().contains(&entry) {
                add.entry(table).or_default().insert(entry, row);
            }
        }
        let tables: Vec<Table> = self.kept_tables().collect();
        for table in tables {
            self.commit(table, &add.remove(&table).unwrap_or_default(), ended, changes)?;
        }
        Ok(())
    }

    /// Makes one commit of one table; what is outdated goes at the end of a run.
    fn commit(
        &mut self,
        table: Table,
        add: &BTreeMap<String, &Arc<Desired>>,
        ended: bool,
        changes: &mut Changes,
    ) -> Result<(), TableError> {
        if table == Table::Summary && !ended {
            // Half of a summary is worth nothing: the last whole one stays until the run ends.
            self.missed.extend(add.values().map(|row| (*row).clone()));
            return Ok(());
        }
        let remove = if ended { self.outdated.remove(&table).unwrap_or_default() } else { BTreeSet::new() };
        if remove.is_empty() && add.is_empty() {
            return Ok(());
        }
        changes.removed += remove.len();
        changes.added += add.len();
        let mut delta = match self.open.remove(&table) {
            Some(delta) => delta,
            None => self.open_whole(table)?,
        };
        let commit = next_commit(&delta)?;
        let mut missed = Vec::new();
        let rows = add.iter().filter_map(|(entry, desired)| {
            let rows = self.rows_or_log(entry, desired);
            if rows.is_none() {
                missed.push((*desired).clone());
            }
            rows
        });
        let replaced = delta.replace(&remove, rows, &commit)?.is_some();
        if replaced {
            changes.tables.insert(table.name());
            self.keep_files(&self.folder.join(table.name()));
        }
        self.missed.extend(missed);
        self.open.insert(table, delta);
        Ok(())
    }

    fn opened(&mut self, table: Table) -> Result<&DeltaTable, TableError> {
        if !self.open.contains_key(&table) {
            let opened = self.open_whole(table)?;
            self.open.insert(table, opened);
            // Its first version, or one with the columns of now.
            self.keep_files(&self.folder.join(table.name()));
        }
        match self.open.entry(table) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(slot) => Ok(slot.insert(DeltaTable::open(&self.folder.join(table.name()), table)?)),
        }
    }

    /// Appends the row of a run.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub fn append_run(&mut self, row: RunRow) -> Result<(), TableError> {
        let folder = self.folder.join(Table::Runs.name());
        self.begin_anew(&folder);
        let mut table = DeltaTable::open(&folder, Table::Runs)?;
        let commit = next_commit(&table)?;
        table.replace(&BTreeSet::new(), [Rows::Runs(vec![row])], &commit)?;
        self.keep_files(&folder);
        points::pass(points::RUN_APPENDED).map_err(|source| not_written(&folder, source))
    }

    fn goes_to(&self, desired: &Desired, format: Format) -> bool {
        let stage = match desired {
            Desired::Masks { from, .. }
            | Desired::Metrics { from, .. }
            | Desired::Detections { from, .. } => &from.stage,
            Desired::Summary { group, .. } | Desired::Pooled { group, .. } => &group.stage,
            _ => return format == Format::Delta,
        };
        self.sinks.get(&**stage).is_some_and(|formats| formats.contains(&format))
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
    /// Folders of mask files that changed.
    pub folders: BTreeSet<String>,
}

impl Changes {
    /// Takes in what changed later in the same run.
    pub fn add(&mut self, later: Self) {
        self.tables.extend(later.tables);
        self.added += later.added;
        self.removed += later.removed;
        self.folders.extend(later.folders);
    }
}

fn table_of(desired: &Desired) -> Table {
    match desired {
        Desired::Case(_) => Table::Cases,
        Desired::Reject { .. } => Table::Rejects,
        Desired::Masks { .. } => Table::Masks,
        Desired::Metrics { .. } => Table::Metrics,
        Desired::Training { .. } => Table::Training,
        Desired::Summary { .. } | Desired::Pooled { .. } => Table::Summary,
        Desired::Detections { .. } => Table::Detections,
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
