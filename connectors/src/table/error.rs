//! The errors of tables: what was expected, what was found, where, and a remedy.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use super::cell::CellError;
use crate::shown::Shown as _;

/// A table could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A file or folder could not be read or written.
    #[error("{}: could not be {doing}: {source}\nhint: {hint}", path.shown())]
    Io {
        /// The path of the file or folder.
        path: PathBuf,
        /// What was being done: `read`, `written`, …
        doing: &'static str,
        /// The remedy: what the user can do about it.
        hint: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A value does not fit its column, or an array is not what the column holds.
    #[error("table `{table}`, column `{column}`{}: {found}\nhint: the file may come from another \
             version of tomoflow; remove the table's folder and run again", row_words(*row))]
    Value {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row within its batch.
        row: Option<usize>,
        /// The description of what was found.
        found: String,
    },
    /// A column is absent.
    #[error(
        "table `{table}`: column `{column}` expected, none found\nhint: the file may come from \
             another version of tomoflow; remove the table's folder and run again"
    )]
    Column {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// Rows of one table were given to another.
    #[error(
        "rows of table `{expected}` expected, rows of `{found}` found\nhint: open the table that the \
             rows belong to"
    )]
    OtherTable {
        /// The table that was open.
        expected: &'static str,
        /// The table that the rows belong to.
        found: &'static str,
    },
    /// Arrow refused a batch.
    #[error("table `{table}`: {source}\nhint: write fewer rows at once")]
    Arrow {
        /// The table.
        table: &'static str,
        /// Arrow's answer.
        source: arrow::error::ArrowError,
    },
    /// A Parquet file is damaged, or could not be written.
    #[error("{}: {source}\nhint: {}", path.shown(), remedy(source, "file"))]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Parquet's answer.
        source: ::parquet::errors::ParquetError,
    },
    /// The Delta log is damaged, or could not be written.
    #[error("{}: {doing}: {source}\nhint: {}", dir.shown(), remedy(source, "log"))]
    Delta {
        /// The table's folder.
        dir: PathBuf,
        /// The word for what was being done.
        doing: &'static str,
        /// The kernel's answer.
        source: Box<delta_kernel::KernelError>,
    },
    /// There is no table.
    #[error("{}: a Delta table expected, none found\nhint: run a pipeline with a `delta` sink first", dir.shown())]
    Absent {
        /// The folder.
        dir: PathBuf,
    },
    /// The log names something that no table of ours has.
    #[error("{}: {expected} expected, {found} found\nhint: only tomoflow writes into this folder; remove it \
             and run again, or set another `out`", dir.shown())]
    Foreign {
        /// The table's folder.
        dir: PathBuf,
        /// The description of what a table of ours has.
        expected: String,
        /// The description of what this table has.
        found: String,
    },
    /// Somebody else committed at the same time.
    #[error("{}: version {version} was written by somebody else\nhint: one process writes a table; stop the \
             other run on the same `out` and run again", dir.shown())]
    Conflict {
        /// The table's folder.
        dir: PathBuf,
        /// The version that was to be written.
        version: u64,
    },
}

/// The remedy for a file that Parquet or Delta could not read or write. Both pass on what the system said as
/// text alone, so that its number is looked for there.
fn remedy(source: &impl Display, what: &str) -> String {
    let said = source.to_string();
    let is = |numbers: &[u32]| numbers.iter().any(|number| said.contains(&format!("(os error {number})")));
    // The numbers are those of ENOSPC and EDQUOT; EACCES, EPERM and EROFS; EIO and ESTALE; EMFILE and ENFILE.
    if is(&[28, 122]) {
        "free some space and run again; what is committed stays".to_owned()
    } else if is(&[13, 1, 30]) {
        "make the folder writable, or set another `out`; what is committed stays".to_owned()
    } else if is(&[5, 116]) {
        "the disk or the share failed: see whether it is there and sound, and run again".to_owned()
    } else if is(&[23, 24]) {
        "raise the number of files that may be open (`ulimit -n`), and run again".to_owned()
    } else {
        format!(
            "if the {what} is damaged, `tomoflow verify --mend` and another run make again what the table held"
        )
    }
}

fn row_words(row: Option<usize>) -> String {
    row.map(|row| format!(", row {row}")).unwrap_or_default()
}

impl TableError {
    pub(super) fn value(table: &'static str, column: &'static str, error: CellError) -> Self {
        Self::Value { table, column, row: error.row, found: error.found }
    }

    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        move |source| Self::Io {
            path: path.to_owned(),
            doing: "read",
            hint: "check that the file is there and may be read",
            source,
        }
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        move |source| Self::Io {
            path: path.to_owned(),
            doing: "written",
            hint: "check the folder's permissions and the free space",
            source,
        }
    }

    pub(super) fn delta<'a>(
        dir: &'a Path,
        doing: &'static str,
    ) -> impl FnOnce(delta_kernel::KernelError) -> Self + use<'a> {
        move |source| Self::Delta { dir: dir.to_owned(), doing, source: Box::new(source) }
    }

    pub(super) fn parquet(path: &Path) -> impl FnOnce(::parquet::errors::ParquetError) -> Self + use<'_> {
        move |source| Self::Parquet { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_damage() {
        let full = io::Error::from_raw_os_error(28);
        let parquet = ::parquet::errors::ParquetError::External(Box::new(full));
        let error = TableError::parquet(Path::new("/out/part.parquet"))(parquet).to_string();
        assert!(error.ends_with("hint: free some space and run again; what is committed stays"), "{error}");
        let general = ::parquet::errors::ParquetError::General("EOF: file has 3 bytes".to_owned());
        let error = TableError::parquet(Path::new("/out/part.parquet"))(general).to_string();
        assert!(error.contains("if the file is damaged"), "{error}");
    }
}
