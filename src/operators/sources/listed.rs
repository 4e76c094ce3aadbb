//! A table that says whose files are: its rows, and where the files that they name lie.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use tomoflow_connectors::shown::Shown as _;
use tomoflow_connectors::{Reject, reading};

use crate::operators::source::{Claim, Unmet};
use crate::operators::spec::FieldProblem;

/// A table of files.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// The table's own name.
    name: String,
    rows: Vec<Row>,
    /// The row that names each file below the folder.
    places: BTreeMap<PathBuf, usize>,
    /// The row of each path that is meant from the table's own folder, or was written on Windows.
    instead: BTreeMap<PathBuf, usize>,
}

/// A row that names a file.
#[derive(Clone, Debug)]
struct Row {
    /// The row's number, as programs for tables count: the heading is row 1.
    number: u64,
    /// The path as it stands there.
    said: String,
    claim: Claim,
    /// The label that it holds; empty where the table does not say.
    label: String,
    /// Whether it may lie below the folder.
    below: bool,
}

/// What is read of a row.
#[derive(Deserialize)]
struct ReadRow {
    file: String,
    case: String,
    #[serde(default)]
    patient: String,
    #[serde(default)]
    label: String,
}

impl Listed {
    /// Reads a table of files below `root`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(path: &Path, root: &Path) -> Result<Self, FieldProblem> {
        let problem = |error: csv::Error| {
            let message = format!("{}: {error}", path.shown());
            FieldProblem::new("table", message, "a CSV with the columns `file` and `case` is expected")
        };
        let bytes = reading::table(path).map_err(|error| problem(error.into()))?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(&*bytes);
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let mut listed = Self { name: name.clone(), ..Self::default() };
        let around = Around::new(path, root);
        let heading = reader.headers().map_err(problem)?.clone();
        let mut lines = Lines { bytes: &bytes, at: 0, line: 1 };
        for record in reader.records() {
            let record = record.map_err(problem)?;
            let number = record.position().map_or(0, |position| lines.of(position.byte() as usize));
            let ReadRow { file, case, patient, label } =
                record.deserialize(Some(&heading)).map_err(problem)?;
            // A row without a file is told with the files that are not there.
            if case.is_empty() && !file.is_empty() {
                let message = format!(
                    "{name}, row {number}: a case's name expected for {}, none found",
                    Path::new(&file).shown()
                );
                let hint = "name the case of the file, or delete the row";
                return Err(FieldProblem::new("table", message, hint));
            }
            let patient = if patient.is_empty() { case.clone() } else { patient };
            let (claim, below) = (Claim::new(case, patient), true);
            listed.put(&around, Row { number, said: file, claim, label, below })?;
        }
        Ok(listed)
    }

    fn put(&mut self, around: &Around, mut row: Row) -> Result<(), FieldProblem> {
        let (place, others) = around.places(&row.said);
        row.below = place.is_some() || !others.is_empty();
        if let Some(place) = place {
            if let Some(before) = self.places.get(&place).and_then(|&before| self.rows.get(before)) {
                let message =
                    format!("row {}: {} is of `{}` already", row.number, row.said, before.claim.case);
                return Err(FieldProblem::new("table", message, "name each file once"));
            }
            self.places.insert(place, self.rows.len());
        }
        for other in others {
            self.instead.entry(other).or_insert(self.rows.len());
        }
        self.rows.push(row);
        Ok(())
    }

    /// Returns whose a file is, by its path below the folder, and the name of the label that it holds.
    pub fn place(&self, below: &Path) -> Option<(Claim, Option<String>)> {
        let row = self.row(below).and_then(|row| self.rows.get(row))?;
        Some((row.claim.clone(), (!row.label.is_empty()).then(|| row.label.clone())))
    }

    /// The first row that names a label, and the first that names none.
    pub fn labelled(&self) -> [Option<u64>; 2] {
        let first = |named: bool| self.rows.iter().find(|row| row.label.is_empty() != named);
        [first(true), first(false)].map(|row| row.map(|row| row.number))
    }

    fn row(&self, below: &Path) -> Option<usize> {
        self.places.get(below).or_else(|| self.instead.get(below)).copied()
    }

    /// The rows that name none of these files, which lie below the folder.
    pub fn unmet<'a>(&self, there: impl Iterator<Item = &'a Path>) -> Vec<Unmet> {
        let met: BTreeSet<usize> = there.filter_map(|below| self.row(below)).collect();
        let absent = self.rows.iter().enumerate().filter(|(index, _)| !met.contains(index));
        absent.map(|(_, row)| self.absent(row)).collect()
    }

    fn absent(&self, row: &Row) -> Unmet {
        let Row { number, said, claim, below, .. } = row;
        let table = &self.name;
        let (code, found, hint) = if said.is_empty() {
            (
                "FILE_MISSING",
                "the row names none",
                "write the file's path into the column `file`, or delete the row",
            )
        } else if *below {
            let hint = "paths are relative to the source's `path`; compare names letter for letter";
            ("FILE_MISSING", "no scan or label map of this name is there", hint)
        } else {
            let hint = "name a file below the source's `path`, by a path relative to it or an absolute one";
            ("OUTSIDE_PATH", "a place outside of `path` is named", hint)
        };
        let reject =
            Reject::new(code, format!("the file of row {number} of {table} expected, {found}"), hint);
        Unmet::new(reject).of(&claim.case).named(format!("{said} (row {number})"))
    }
}

/// Counts lines: the reader's own count is off where they end in two signs.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of a record that begins here, or behind the end of a line; records come in order.
    fn of(&mut self, byte: usize) -> u64 {
        while let Some(sign) = self.bytes.get(self.at)
            && (self.at < byte || matches!(sign, b'\r' | b'\n'))
        {
            self.line += u64::from(*sign == b'\n');
            self.at += 1;
        }
        self.line
    }
}

/// The folders in which paths of a table may start.
struct Around {
    /// The source's folder, as it is called and as it truly is.
    roots: [PathBuf; 2],
    /// The table's folder.
    own: PathBuf,
}

impl Around {
    fn new(table: &Path, root: &Path) -> Self {
        let whole = |path: &Path| std::path::absolute(path).map_or(path.to_owned(), |path| plain(&path));
        let called = whole(root);
        let real = root.canonicalize().unwrap_or_else(|_| called.clone());
        Self { own: whole(table.parent().unwrap_or(Path::new(""))), roots: [called, real] }
    }

    /// The path below the source's folder that a text names, and what it may name instead.
    fn places(&self, said: &str) -> (Option<PathBuf>, Vec<PathBuf>) {
        if said.is_empty() {
            return (None, Vec::new());
        }
        let path = Path::new(said);
        let place = self.below(&self.roots[0].join(path)).or_else(|| self.truly(path));
        let windows = said.contains('\\').then(|| said.replace('\\', "/"));
        let other = windows.as_deref().map(|said| self.roots[0].join(said));
        let others = [Some(self.own.join(path)), other].into_iter().flatten();
        let others =
            others.filter_map(|other| self.below(&other)).filter(|other| Some(other) != place.as_ref());
        let others = others.collect();
        (place, others)
    }

    /// Returns the part of a path below the folder, whichever name the folder goes by.
    fn below(&self, path: &Path) -> Option<PathBuf> {
        let path = plain(path);
        let below = self.roots.iter().find_map(|root| path.strip_prefix(root).ok())?;
        (!below.as_os_str().is_empty()).then(|| below.to_owned())
    }

    /// An absolute path through a link.
    fn truly(&self, path: &Path) -> Option<PathBuf> {
        if !path.is_absolute() {
            return None;
        }
        let folder = path.parent()?.canonicalize().ok()?;
        self.below(&folder.join(path.file_name()?))
    }
}

/// A path without `.` and `..`, by its text.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with the table `tables/files.csv` and the source's folder `scans`, and what the table says.
    fn listed(folder: &Path, rows: &str) -> Result<Listed, FieldProblem> {
        std::fs::create_dir_all(folder.join("tables")).unwrap();
        std::fs::create_dir_all(folder.join("scans")).unwrap();
        let table = folder.join("tables/files.csv");
        std::fs::write(&table, rows).unwrap();
        Listed::read(&table, &folder.join("scans"))
    }

    fn case(listed: &Listed, below: &str) -> Option<String> {
        listed.place(Path::new(below)).map(|(claim, _)| claim.case)
    }

    #[test]
    fn paths_are_places_however_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("scans");
        let through = folder.path().join("link");
        std::os::unix::fs::symlink(&root, &through).unwrap();
        let rows = format!(
            "file,case\n./a.nii,a\nb/../b.nii,b\n../scans/c.nii,c\n{}/d.nii,d\n{}/e.nii,e\nsub\\f.nii,f\n\
             ../scans/sub/./g.nii,g\n",
            root.shown(),
            through.shown()
        );
        let listed = listed(folder.path(), &rows).unwrap();
        for (below, expected) in [
            ("a.nii", "a"),
            ("b.nii", "b"),
            ("c.nii", "c"),
            ("d.nii", "d"),
            ("e.nii", "e"),
            ("sub/f.nii", "f"),
            ("sub/g.nii", "g"),
        ] {
            assert_eq!(case(&listed, below).as_deref(), Some(expected), "{below}");
        }
        assert_eq!(case(&listed, "h.nii"), None);
    }

    #[test]
    fn a_path_from_the_tables_own_folder_is_taken_where_none_lies_at_the_other() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("scans/x")).unwrap();
        let table = folder.path().join("files.csv");
        std::fs::write(&table, "file,case\nscans/x/a.nii,a\nx/b.nii,b\n").unwrap();
        let listed = Listed::read(&table, &folder.path().join("scans")).unwrap();
        assert_eq!(case(&listed, "x/a.nii").as_deref(), Some("a"));
        assert_eq!(case(&listed, "scans/x/a.nii").as_deref(), Some("a"));
        assert_eq!(case(&listed, "x/b.nii").as_deref(), Some("b"));
        let there = [Path::new("x/a.nii"), Path::new("x/b.nii")];
        assert!(listed.unmet(there.into_iter()).is_empty());
    }

    #[test]
    fn rows_without_a_file_are_named_with_their_number() {
        let folder = tempfile::tempdir().unwrap();
        let rows = "file,case\na.nii,a\nb.nii,b\n../elsewhere/c.nii,c\n/far/away/d.nii,d\n,e\n";
        let listed = listed(folder.path(), rows).unwrap();
        let unmet = listed.unmet([Path::new("a.nii")].into_iter());
        let found: Vec<(&str, &str)> =
            unmet.iter().map(|unmet| (unmet.reject.code.as_str(), unmet.name.as_str())).collect();
        assert_eq!(
            found,
            [
                ("FILE_MISSING", "b.nii (row 3)"),
                ("OUTSIDE_PATH", "../elsewhere/c.nii (row 4)"),
                ("OUTSIDE_PATH", "/far/away/d.nii (row 5)"),
                ("FILE_MISSING", " (row 6)"),
            ]
        );
        assert_eq!(unmet[0].case.as_deref(), Some("b"));
        assert!(unmet[0].reject.message.contains("row 3 of files.csv"), "{:?}", unmet[0]);
    }

    #[test]
    fn rows_are_counted_as_an_editor_counts_lines() {
        let folder = tempfile::tempdir().unwrap();
        for end in ["\n", "\r\n"] {
            let rows = ["\u{feff}file,case", "a.nii,a", "", "\"b.nii\",b", "c.nii,c", ""].join(end);
            let listed = listed(folder.path(), &rows).unwrap();
            let numbers: Vec<u64> = listed.rows.iter().map(|row| row.number).collect();
            assert_eq!(numbers, [2, 4, 5], "{end:?}");
        }
    }

    #[test]
    fn a_row_without_a_case_is_refused_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        for rows in ["file,case\na.nii,a\n\nb.nii,\n", "case,file\na,a.nii\n\n  ,b.nii\n"] {
            let problem = listed(folder.path(), rows).unwrap_err();
            assert_eq!(problem.field, "table");
            assert!(
                problem.message.contains("files.csv, row 4: a case's name expected for b.nii"),
                "{problem:?}"
            );
        }
        // An empty row, such as spreadsheets leave at the end of a table, is no case.
        let listed = listed(folder.path(), "file,case\na.nii,a\n,\n").unwrap();
        assert_eq!(listed.unmet([Path::new("a.nii")].into_iter()).len(), 1);
    }

    #[test]
    fn a_file_is_named_once_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let problem = listed(folder.path(), "file,case\na.nii,1\n./a.nii,2\n").unwrap_err();
        assert!(problem.message.contains("row 3") && problem.message.contains("`1`"), "{problem:?}");
    }
}
