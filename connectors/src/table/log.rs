//! The questions to `delta_kernel`: a table's current version, its files, and one commit.

mod versions;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Int64Array, MapBuilder, MapFieldNames, RecordBatch};
use arrow::array::{StringArray, StringBuilder, StructArray};
use arrow::datatypes::{DataType, Field, Schema};
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::engine::arrow_conversion::{TryFromArrow as _, TryIntoArrow as _};
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::object_store::local::LocalFileSystem;
use delta_kernel::scan::state::ScanFile;
use delta_kernel::schema::StructType;
use delta_kernel::transaction::create_table::create_table;
use delta_kernel::transaction::{CommitResult, UpdateTableOperation};
use delta_kernel::{FilteredEngineData, KernelError, KernelResult, Snapshot, SnapshotRef};
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use serde::{Deserialize, Serialize};

use self::versions::{has_versions, versions};
use super::TableError;
use super::files::StagedFile;
use super::rows::Table;

/// The name of the log's folder, within the table's.
pub(super) const LOG: &str = "_delta_log";
/// The name of whoever wrote a version, in the table's history.
pub(super) const WRITER: &str = concat!("tomoflow/", env!("CARGO_PKG_VERSION"));
/// The number of versions after which the log is summed up in a checkpoint, so that opening stays quick.
const CHECKPOINT_EVERY: u64 = 10;

type Engine = DefaultEngine<TokioMultiThreadExecutor>;

/// The name of a commit, so that a retry of it commits nothing twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitId {
    /// The name of the committer: one committer, one name.
    pub app: String,
    /// The number of the commit, which grows with each commit of the same `app`.
    pub version: i64,
}

/// The log of one table, at its version when it was last looked at.
pub(super) struct Log {
    dir: PathBuf,
    table: Table,
    snapshot: SnapshotRef,
    engine: &'static Engine,
}

/// The outcome of a commit.
pub(super) enum Commit {
    /// The commit is the current version now.
    Done,
    /// Somebody had written this version before.
    Conflict(u64),
}

impl Log {
    /// Opens the log below a folder; `None` when there is none.
    pub(super) fn open(dir: &Path, table: Table) -> Result<Option<Self>, TableError> {
        let log = dir.join(LOG);
        if !has_versions(&log)? {
            return Ok(None);
        }
        // A path that is not canonical would be resolved against the working directory of the day.
        let dir = fs::canonicalize(dir).map_err(TableError::read(dir))?;
        let engine = engine(&dir)?;
        let url = url_text(&dir)?;
        let snapshot = guarded(|| Snapshot::builder_for(url).build(engine))
            .map_err(TableError::delta(&dir, "the log could not be read"))?;
        let opened = Self { dir, table, snapshot, engine };
        opened.check_schema()?;
        Ok(Some(opened))
    }

    /// Opens the log below a folder, and creates it when there is none.
    pub(super) fn open_or_create(dir: &Path, table: Table) -> Result<Self, TableError> {
        if let Some(log) = Self::open(dir, table)? {
            return Ok(log);
        }
        let log = dir.join(LOG);
        fs::create_dir_all(&log).map_err(TableError::write(&log))?;
        create(&fs::canonicalize(dir).map_err(TableError::read(dir))?, table)?;
        Self::open(dir, table)?.ok_or_else(|| TableError::Absent { dir: dir.to_owned() })
    }

    pub(super) fn version(&self) -> u64 {
        self.snapshot.version()
    }

    /// The table's folder, canonical.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Looks for later versions.
    pub(super) fn refresh(&mut self) -> Result<(), TableError> {
        versions(&self.dir.join(LOG))?;
        let (known, engine) = (self.snapshot.clone(), self.engine);
        self.snapshot = guarded(|| Snapshot::builder_from(known).build(engine))
            .map_err(self.failed("the log could not be read"))?;
        self.check_schema()
    }

    /// The last version that `app` committed.
    pub(super) fn last_commit(&self, app: &str) -> Result<Option<i64>, TableError> {
        guarded(|| self.snapshot.get_app_id_version(app, self.engine))
            .map_err(self.failed("the log's transactions could not be read"))
    }

    /// The names and sizes of the current version's files.
    pub(super) fn files(&self) -> Result<Vec<(String, u64)>, TableError> {
        files_of(&self.dir, self.snapshot.clone(), self.engine)
    }

    /// Writes one version more: `remove` goes, `add` comes.
    pub(super) fn commit(
        &mut self,
        remove: &BTreeSet<String>,
        add: &[StagedFile],
        id: &CommitId,
    ) -> Result<Commit, TableError> {
        let failed = || TableError::delta(&self.dir, "the commit failed");
        let mut transaction = self
            .snapshot
            .clone()
            .update_table(UpdateTableOperation::Write, WRITER, true)
            .build(self.engine, Box::new(FileSystemCommitter::new()))
            .map_err(failed())?
            .with_transaction_id(id.app.clone(), id.version);
        if !remove.is_empty() {
            for files in self.selected(remove).map_err(failed())? {
                transaction.remove_files(files);
            }
        }
        if !add.is_empty() {
            transaction.add_files(add_metadata(add).map_err(failed())?);
        }
        match transaction.commit(self.engine).map_err(failed())? {
            CommitResult::Committed(committed) => {
                match committed.post_commit_snapshot() {
                    Some(snapshot) => self.snapshot = snapshot.clone(),
                    None => self.refresh()?,
                }
                self.checkpoint();
                Ok(Commit::Done)
            }
            CommitResult::Conflicted(conflict) => Ok(Commit::Conflict(conflict.conflict_version())),
            CommitResult::Retryable(retryable) => Err(failed()(retryable.error)),
        }
    }

    /// The log's own rows about `names`, which a removal must hand back.
    fn selected(&self, names: &BTreeSet<String>) -> KernelResult<Vec<FilteredEngineData>> {
        let scan = self.snapshot.clone().scan_builder().build()?;
        let mut selected = Vec::new();
        for metadata in scan.scan_metadata(self.engine)? {
            let (data, live) = metadata?.scan_files.into_parts();
            let data = ArrowEngineData::try_from_engine_data(data)?;
            let paths = data.record_batch().column_by_name("path").and_then(|p| p.as_string_opt::<i32>());
            let paths = paths.ok_or_else(|| KernelError::generic("the log's rows have no column `path`"))?;
            let picked: Vec<bool> = paths
                .iter()
                .enumerate()
                .map(|(row, path)| {
                    // The rows beyond the selection's end count as selected.
                    live.get(row).copied().unwrap_or(true) && path.is_some_and(|path| names.contains(path))
                })
                .collect();
            if picked.contains(&true) {
                selected.push(FilteredEngineData::try_new(data, picked)?);
            }
        }
        Ok(selected)
    }

    /// Sums up the log now and then. The table is whole without it, so a failure is only told.
    fn checkpoint(&mut self) {
        if !self.version().is_multiple_of(CHECKPOINT_EVERY) {
            return;
        }
        match guarded(|| self.snapshot.checkpoint(self.engine, None)) {
            Ok((_, snapshot)) => self.snapshot = snapshot,
            Err(error) => tracing::warn!(table = self.table.name(), %error, "no checkpoint written"),
        }
    }

    fn columns(&self) -> Result<Schema, TableError> {
        let schema = self.snapshot.schema();
        let schema = schema.as_ref().try_into_arrow();
        schema.map_err(|error: arrow::error::ArrowError| self.failed("the schema")(error.into()))
    }

    /// Whether an earlier version gave the table its columns.
    pub(super) fn is_earlier(&self) -> Result<bool, TableError> {
        let Some(earlier) = self.table.earlier_schema() else { return Ok(false) };
        Ok(columns(&self.columns()?) == columns(&earlier))
    }

    fn check_schema(&self) -> Result<(), TableError> {
        let (found, expected) = (self.columns()?, self.table.schema());
        if columns(&found) == columns(&expected) || self.is_earlier()? {
            return Ok(());
        }
        let words = |schema: &Schema| {
            let names: Vec<String> = columns(schema).iter().map(|(n, t)| format!("{n} {t}")).collect();
            format!("the columns {}", names.join(", "))
        };
        Err(TableError::Foreign { dir: self.dir.clone(), expected: words(&expected), found: words(&found) })
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(KernelError) -> TableError + use<'_> {
        TableError::delta(&self.dir, doing)
    }
}

/// A version of the table below a folder (the current one when none is asked for) and the names of its files, whatever
/// its columns are; `None` when there is no log. Nothing is written.
pub(super) fn live_files(
    dir: &Path,
    version: Option<u64>,
) -> Result<Option<(u64, BTreeSet<String>)>, TableError> {
    if versions(&dir.join(LOG))?.is_empty() {
        return Ok(None);
    }
    let dir = fs::canonicalize(dir).map_err(TableError::read(dir))?;
    let engine = engine(&dir)?;
    let mut builder = Snapshot::builder_for(url_text(&dir)?);
    if let Some(version) = version {
        builder = builder.at_version(version);
    }
    let snapshot =
        guarded(|| builder.build(engine)).map_err(TableError::delta(&dir, "the log could not be read"))?;
    let version = snapshot.version();
    let files = files_of(&dir, snapshot, engine)?;
    Ok(Some((version, files.into_iter().map(|(name, _)| name).collect())))
}

/// Reads from a log. Its reader panics on some files that are not whole (a turned bit in a checkpoint), on a
/// thread of its own and then here: that is an error like others.
fn guarded<T>(read: impl FnOnce() -> KernelResult<T>) -> KernelResult<T> {
    let read = catch_unwind(AssertUnwindSafe(read));
    read.unwrap_or_else(|_| {
        Err(KernelError::Generic("its reader gave up: a file of it is not whole".to_owned()))
    })
}

/// The names and sizes of a version's files.
fn files_of(dir: &Path, snapshot: SnapshotRef, engine: &Engine) -> Result<Vec<(String, u64)>, TableError> {
    let failed = || TableError::delta(dir, "the log's files could not be read");
    let found = guarded(|| {
        let scan = snapshot.scan_builder().build()?;
        let mut found: Vec<ScanFile> = Vec::new();
        for metadata in scan.scan_metadata(engine)? {
            found = metadata?.visit_scan_files(found, |found, file| found.push(file))?;
        }
        Ok(found)
    });
    found.map_err(failed())?.into_iter().map(|file| check_file(dir, file)).collect()
}

/// A file's name and size, if it is one that can be read and rewritten here.
fn check_file(dir: &Path, file: ScanFile) -> Result<(String, u64), TableError> {
    let ours = Path::new(&file.path).components().all(|part| matches!(part, Component::Normal(_)));
    // Names are URL-encoded in the log; ours need no encoding, and no scheme either.
    if !ours || file.path.contains(['%', ':']) || file.dv_info.has_vector() {
        return Err(TableError::Foreign {
            dir: dir.to_owned(),
            expected: "plain file names without deletion vectors".to_owned(),
            found: format!("`{}`", file.path),
        });
    }
    Ok((file.path, u64::try_from(file.size).unwrap_or_default()))
}

/// The engine of every table in this process; it starts its threads when the first one is opened.
fn engine(dir: &Path) -> Result<&'static Engine, TableError> {
    static ENGINE: LazyLock<KernelResult<Engine>> = LazyLock::new(|| {
        let threads = TokioMultiThreadExecutor::new_owned_runtime(Some(2), Some(4))?;
        let store = Arc::new(LocalFileSystem::new().with_fsync(true));
        Ok(DefaultEngineBuilder::new(store).with_task_executor(Arc::new(threads)).build())
    });
    ENGINE.as_ref().map_err(|error| TableError::read(dir)(io::Error::other(error.to_string())))
}

/// A folder as the kernel takes it.
fn url_text(dir: &Path) -> Result<&str, TableError> {
    dir.to_str().ok_or_else(|| TableError::Foreign {
        dir: dir.to_owned(),
        expected: "a path in UTF-8".to_owned(),
        found: "another".to_owned(),
    })
}

/// Writes a table's first version, which holds no rows.
fn create(dir: &Path, table: Table) -> Result<(), TableError> {
    let failed = || TableError::delta(dir, "the table could not be created");
    let schema = StructType::try_from_arrow(table.schema())
        .map_err(|error: arrow::error::ArrowError| failed()(error.into()))?;
    let engine = engine(dir)?;
    let transaction = create_table(url_text(dir)?, Arc::new(schema), WRITER, true)
        .build(engine, Box::new(FileSystemCommitter::new()))
        .map_err(failed())?;
    match transaction.commit(engine).map_err(failed())? {
        // Somebody else was quicker: then there is a table, and the caller opens it.
        CommitResult::Committed(_) | CommitResult::Conflicted(_) => Ok(()),
        CommitResult::Retryable(retryable) => Err(failed()(retryable.error)),
    }
}

/// The names and types of a schema, without the marks that its way through JSON adds.
fn columns(schema: &Schema) -> Vec<(&str, &DataType)> {
    schema.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect()
}

/// The rows of a commit about new files, in the kernel's schema for them.
fn add_metadata(files: &[StagedFile]) -> KernelResult<Box<ArrowEngineData>> {
    let long = |values: Vec<u64>| -> KernelResult<ArrayRef> {
        let values: Result<Vec<i64>, _> = values.into_iter().map(i64::try_from).collect();
        let values = values.map_err(|_| KernelError::generic("a size beyond 63 bits"))?;
        Ok(Arc::new(Int64Array::from(values)))
    };
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut partitions = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for _ in files {
        partitions.append(true)?;
    }
    let rows = long(files.iter().map(|file| file.rows).collect())?;
    let stats = StructArray::from(vec![(Arc::new(Field::new("numRecords", DataType::Int64, true)), rows)]);
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("path", Arc::new(StringArray::from_iter_values(files.iter().map(|file| &file.name))), false),
        ("partitionValues", Arc::new(partitions.finish()), false),
        ("size", long(files.iter().map(|file| file.size).collect())?, false),
        (
            "modificationTime",
            Arc::new(files.iter().map(|file| file.modified_ms).collect::<Int64Array>()),
            false,
        ),
        ("stats", Arc::new(stats), true),
    ];
    Ok(Box::new(ArrowEngineData::new(RecordBatch::try_from_iter_with_nullable(columns)?)))
}
