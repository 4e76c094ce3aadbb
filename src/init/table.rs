//! A table of one's own that says which file is of which case and patient.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tomoflow_connectors::dicom::inspect::FoundImage;

use super::Survey;
use crate::operators::sources::listed::Listed;

/// A table, and the folders that its rows name files below.
#[derive(Clone, Debug)]
pub struct Tabled {
    /// The table.
    pub path: PathBuf,
    /// The folder of the scans that it names.
    pub scans: PathBuf,
    /// The folder of the labels.
    pub labels: Option<PathBuf>,
    /// Whether rows of their own name scans and labels from the table's folder on.
    pub both: bool,
}

/// The table in the folder that names scans of it; the first by name where there are several.
pub fn find(survey: &Survey) -> Option<Tabled> {
    let entries = std::fs::read_dir(&survey.root).into_iter().flatten().flatten();
    let is_table = |path: &PathBuf| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    let mut tables: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_table).collect();
    tables.sort();
    let is_scan = |image: &&FoundImage| image.labels_of.is_none();
    let scans: Vec<&Path> = survey.images.iter().filter(is_scan).map(|image| image.file.as_path()).collect();
    let labels: Vec<&Path> =
        survey.images.iter().filter(|image| !is_scan(image)).map(|image| image.file.as_path()).collect();
    tables.into_iter().find_map(|path| {
        let found = folder(&path, &survey.root, &scans, &labels)?;
        let both = names(&path, &survey.root, &scans) && names(&path, &survey.root, &labels);
        let labels = folder(&path, &survey.root, &labels, &scans);
        Some(Tabled { path, scans: found, labels, both })
    })
}

/// Whether a table names one of these files by its path from the root on.
fn names(table: &Path, root: &Path, files: &[&Path]) -> bool {
    let listed = Listed::read(table, root);
    listed.is_ok_and(|listed| {
        files.iter().any(|file| file.strip_prefix(root).is_ok_and(|below| listed.place(below).is_some()))
    })
}

/// The folder below which a table names most of these files, and fewest of the others.
fn folder(table: &Path, root: &Path, wanted: &[&Path], others: &[&Path]) -> Option<PathBuf> {
    let above = |file: &&Path| {
        file.ancestors().skip(1).take_while(|at| at.starts_with(root)).map(Path::to_owned).collect::<Vec<_>>()
    };
    let folders: BTreeSet<PathBuf> = wanted.iter().flat_map(above).collect();
    let counted = folders.into_iter().filter_map(|folder| {
        let listed = Listed::read(table, &folder).ok()?;
        let count = |files: &[&Path]| {
            let named =
                |file: &&&Path| file.strip_prefix(&folder).is_ok_and(|below| listed.place(below).is_some());
            files.iter().filter(named).count()
        };
        let (found, beside) = (count(wanted), count(others));
        (found > 0).then_some((found, std::cmp::Reverse(beside), folder))
    });
    counted.max_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(b.2.cmp(&a.2))).map(|(.., folder)| folder)
}
