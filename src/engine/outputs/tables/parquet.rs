//! The Parquet files of sinks: each is replaced as a whole, and a note beside it says which rows it holds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tomoflow_connectors::Digest;
use tomoflow_connectors::table::{Rows, Table, TableError, write_parquet};

use super::{Changes, Tables, not_written, table_of};
use crate::engine::rows::{Desired, DesiredRows};
use crate::operators::sinks::format::Format;
use crate::operators::spec::Kind;
use crate::store::{Since, Written};

impl Tables {
    pub(super) fn parquet(&self, desired: &DesiredRows, changes: &mut Changes) -> Result<(), TableError> {
        for table in self.parquet_tables() {
            let rows =
                desired.keys().filter(|row| table_of(row) == table && self.goes_to(row, Format::Parquet));
            let rows = rows.map(|row| (self.entry(row).to_string(), row)).collect();
            self.converge_parquet(table, &rows, changes)?;
        }
        Ok(())
    }

    /// A Parquet file is replaced as a whole; a note beside it says which rows it holds.
    fn converge_parquet(
        &self,
        table: Table,
        desired: &BTreeMap<String, &Arc<Desired>>,
        changes: &mut Changes,
    ) -> Result<(), TableError> {
        let path = self.parquet.join(format!("{}.parquet", table.name()));
        let note = self.parquet.join(format!(".{}.entries", table.name()));
        let digest = Digest::of_parts(desired.keys().map(String::as_bytes)).to_string();
        if std::fs::read_to_string(&note).is_ok_and(|known| known == digest) && self.is_whole(&path) {
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
        self.keep_written(&path, Written::now(&path).ok());
        if whole {
            std::fs::write(&note, digest).map_err(|source| not_written(&note, source))?;
            self.keep_written(&note, Written::now(&note).ok());
        }
        changes.tables.insert(table.name());
        Ok(())
    }

    /// Whether a Parquet file is what was written.
    fn is_whole(&self, path: &Path) -> bool {
        let known = self.store.written(&[path.to_owned()]).ok().and_then(|mut known| known.pop()?);
        match known.map(|known| known.since(path, false)) {
            Some(Ok(Since::Same)) => true,
            Some(Ok(Since::Touched(now))) => {
                self.keep_written(path, Some(now));
                true
            }
            Some(_) => false,
            // An earlier version wrote it, and nobody knows how it was.
            None => {
                self.keep_written(path, Written::found(path).ok());
                path.is_file()
            }
        }
    }

    fn keep_written(&self, path: &Path, written: Option<Written>) {
        if let Err(error) = self.store.keep_written(&[(path.to_owned(), written)]) {
            tracing::error!("how {} was written is not kept: {error}", path.display());
        }
    }

    fn parquet_tables(&self) -> Vec<Table> {
        let asked = |kind| {
            self.context.plan.stages.iter().any(|stage| {
                stage.output == Some(kind)
                    && self.sinks.get(&stage.name).is_some_and(|formats| formats.contains(&Format::Parquet))
            })
        };
        let tables = [
            (Kind::Masks, Table::Masks),
            (Kind::Metrics, Table::Metrics),
            (Kind::Metrics, Table::Summary),
            (Kind::Detections, Table::Detections),
        ];
        tables.into_iter().filter(|(kind, _)| asked(*kind)).map(|(_, table)| table).collect()
    }
}
