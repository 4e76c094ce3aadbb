//! The Parquet files of a table: written under a new name, read batch by batch.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::TableError;
use super::rows::ENTRY;
use crate::reading;

/// The size in bytes from which on a file is closed, and the next rows go to a new one.
const FILE_BYTES: usize = 64 << 20;
/// The size in bytes from which on a row group is written out: what a writer holds in memory.
const ROW_GROUP_BYTES: usize = 16 << 20;
/// The number of rows that are read at once; a row of `masks` can hold thousands of runs.
const BATCH_ROWS: usize = 4096;

/// The properties with which every Parquet file of a table is written.
pub(super) fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_created_by(concat!("tomoflow ", env!("CARGO_PKG_VERSION")).to_owned())
        .build()
}

/// A file that was written for a table and is not in its log yet.
#[derive(Debug)]
pub(super) struct StagedFile {
    /// The name of the file within the table's folder.
    pub name: String,
    /// The size of the file in bytes.
    pub size: u64,
    /// The number of rows in the file.
    pub rows: u64,
    /// The time of the file's last change, in milliseconds since 1970.
    pub modified_ms: i64,
    /// The entries that have rows in the file.
    pub entries: BTreeSet<String>,
}

/// New files of a table, which are removed again unless they are kept.
pub(super) struct Staging {
    dir: PathBuf,
    schema: SchemaRef,
    open: Option<(StagedFile, ArrowWriter<File>)>,
    closed: Vec<StagedFile>,
    keep: bool,
}

impl Staging {
    pub(super) fn new(dir: &Path, schema: SchemaRef) -> Self {
        Self { dir: dir.to_owned(), schema, open: None, closed: Vec::new(), keep: false }
    }

    /// Appends rows; their entries are looked up in the batch itself.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let (file, writer) = match &mut self.open {
            Some(open) => open,
            none => none.insert(create(&self.dir, self.schema.clone())?),
        };
        let path = self.dir.join(&file.name);
        writer.write(batch).map_err(TableError::parquet(&path))?;
        collect_entries(&path, batch, &mut file.entries)?;
        file.rows += batch.num_rows() as u64;
        if writer.bytes_written() + writer.in_progress_size() >= FILE_BYTES {
            self.close()?;
        }
        Ok(())
    }

    /// Closes the last file, with everything on the disk.
    pub(super) fn finish(&mut self) -> Result<&[StagedFile], TableError> {
        self.close()?;
        if !self.closed.is_empty() {
            sync_folder(&self.dir)?;
        }
        Ok(&self.closed)
    }

    /// Returns the files of [`Staging::finish`], which are somebody else's from now on.
    pub(super) fn keep(mut self) -> Vec<StagedFile> {
        self.keep = true;
        std::mem::take(&mut self.closed)
    }

    fn close(&mut self) -> Result<(), TableError> {
        let Some((mut file, writer)) = self.open.take() else { return Ok(()) };
        let path = self.dir.join(&file.name);
        // The file is put in the list before it can fail, so that it is removed if it does.
        let written = writer.into_inner().map_err(TableError::parquet(&path)).and_then(|inner| {
            inner.sync_all().and_then(|()| inner.metadata()).map_err(TableError::write(&path))
        });
        file.size = written.as_ref().map_or(0, fs::Metadata::len);
        file.modified_ms = now_ms();
        self.closed.push(file);
        written.map(drop)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        let open = self.open.take().map(|(file, _)| file);
        for file in self.closed.drain(..).chain(open) {
            // A file that stays is in no version of the table and does no harm.
            if let Err(error) = fs::remove_file(self.dir.join(&file.name)) {
                tracing::debug!(file = file.name, %error, "a staged file stays");
            }
        }
    }
}

/// Whether a file of a table bears a name as tomoflow gives it.
pub fn is_ours(name: &str) -> bool {
    let digest = name.strip_prefix("part-").and_then(|name| name.strip_suffix(".zstd.parquet"));
    digest.is_some_and(|digest| digest.len() == 32 && digest.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// Creates a new file, under a name that no other has.
fn create(dir: &Path, schema: SchemaRef) -> Result<(StagedFile, ArrowWriter<File>), TableError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let seed = format!("{nanos} {} {count}", std::process::id());
    let digest = blake3::hash(seed.as_bytes()).to_hex();
    let name = format!("part-{}.zstd.parquet", digest.get(..32).unwrap_or(&digest));
    let path = dir.join(&name);
    let file = File::create_new(&path).map_err(TableError::write(&path))?;
    let writer =
        ArrowWriter::try_new(file, schema, Some(properties())).map_err(TableError::parquet(&path))?;
    let staged = StagedFile { name, size: 0, rows: 0, modified_ms: 0, entries: BTreeSet::new() };
    Ok((staged, writer))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Puts the names in a folder on the disk, where the system can.
pub(super) fn sync_folder(dir: &Path) -> Result<(), TableError> {
    if cfg!(unix) {
        File::open(dir).and_then(|folder| folder.sync_all()).map_err(TableError::write(dir))?;
    }
    Ok(())
}

/// The batches of a file; of all columns, or of `column` alone.
pub(super) fn batches(
    path: &Path,
    column: Option<&str>,
) -> Result<impl Iterator<Item = Result<RecordBatch, TableError>> + use<>, TableError> {
    let (file, _) = reading::open(path).map_err(TableError::read(path))?;
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(TableError::parquet(path))?;
    if let Some(column) = column {
        let mask = ProjectionMask::columns(reader.parquet_schema(), [column]);
        reader = reader.with_projection(mask);
    }
    let path = path.to_owned();
    let batches = reader.with_batch_size(BATCH_ROWS).build().map_err(TableError::parquet(&path))?;
    Ok(batches.map(move |batch| batch.map_err(|error| TableError::parquet(&path)(error.into()))))
}

/// The entries that have rows in a file.
pub(super) fn entries(path: &Path) -> Result<BTreeSet<String>, TableError> {
    let mut found = BTreeSet::new();
    for batch in batches(path, Some(ENTRY))? {
        collect_entries(path, &batch?, &mut found)?;
    }
    Ok(found)
}

/// The rows of a file whose entry is not in `gone`.
pub(super) fn survivors(
    path: &Path,
    batch: &RecordBatch,
    gone: &BTreeSet<String>,
) -> Result<RecordBatch, TableError> {
    let keep =
        entry_column(path, batch)?.iter().map(|entry| entry.map(|entry| !gone.contains(entry))).collect();
    arrow::compute::filter_record_batch(batch, &keep).map_err(|error| TableError::parquet(path)(error.into()))
}

fn collect_entries(path: &Path, batch: &RecordBatch, found: &mut BTreeSet<String>) -> Result<(), TableError> {
    let column = entry_column(path, batch)?;
    let mut last = None;
    for entry in column.iter() {
        // Rows of one entry lie together: a set is asked once for each run of them.
        if last != entry
            && let Some(entry) = entry
            && !found.contains(entry)
        {
            found.insert(entry.to_owned());
        }
        last = entry;
    }
    Ok(())
}

fn entry_column<'a>(
    path: &Path,
    batch: &'a RecordBatch,
) -> Result<&'a arrow::array::StringArray, TableError> {
    let column = batch.column_by_name(ENTRY).and_then(|column| column.as_string_opt::<i32>());
    match column {
        Some(column) if column.null_count() == 0 => Ok(column),
        _ => Err(TableError::Foreign {
            dir: path.to_owned(),
            expected: format!("a column `{ENTRY}` of strings, none of them null,"),
            found: "another".to_owned(),
        }),
    }
}
