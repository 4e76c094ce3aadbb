//! Rejects in clear, each with the files that it is about, however the tables show identifiers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::outlook::Outlook;
use crate::engine::error::RunError;
use crate::engine::outputs::tables::entry_of;
use crate::engine::rows::Desired;
use crate::executor::work::series_of;
use crate::pipeline::Plan;

/// Files of one reject that are named.
const FILES: usize = 8;

/// A row of `rejects`, in clear.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rejected {
    /// What is the matter.
    pub code: String,
    /// The case, series or file that it is about, as the archive calls it; empty for a training.
    pub case: String,
    /// The case as the tables show it.
    pub shown: String,
    /// The stage that says so.
    pub stage: String,
    /// What was expected, and what was found.
    pub message: String,
    /// The remedy.
    pub hint: String,
    /// How often it was tried; 0 for what is told of a case that was not refused.
    pub attempts: u32,
    /// The folder that all its files lie in; none when no file is known.
    pub folder: Option<PathBuf>,
    /// Its first files, of scan and labels.
    pub files: Vec<PathBuf>,
    /// How many files it has in all.
    pub of_files: usize,
    /// The row's `entry` in the table.
    pub entry: String,
}

/// Returns what `rejects` holds after a run of this pipeline now, as far as no action has still to run.
///
/// # Errors
/// When a source cannot be read, or the store is damaged.
pub fn rejects(plan: Plan) -> Result<Vec<Rejected>, RunError> {
    let Outlook { driver, identity, archive, .. } = Outlook::to_show(plan)?;
    let mut rows = Vec::new();
    for desired in driver.desired().keys() {
        let Desired::Reject { case, stage, reject, attempts } = &**desired else { continue };
        let files = match case {
            Some(case) => archive.files_of(series_of(case))?,
            None => BTreeSet::new(),
        };
        rows.push(Rejected {
            code: reject.code.clone(),
            case: case.clone().unwrap_or_default(),
            shown: case.as_ref().map(|case| identity.show(case)).unwrap_or_default(),
            stage: stage.to_string(),
            message: reject.message.clone(),
            hint: reject.hint.clone(),
            attempts: *attempts,
            folder: common(&files),
            of_files: files.len(),
            files: files.into_iter().take(FILES).collect(),
            entry: entry_of(&identity, desired).to_string(),
        });
    }
    rows.sort();
    Ok(rows)
}

/// The deepest folder that holds all of some files.
fn common(files: &BTreeSet<PathBuf>) -> Option<PathBuf> {
    let mut folders = files.iter().filter_map(|file| file.parent());
    let first: &Path = folders.next()?;
    let within = |folder: &Path| files.iter().all(|file| file.starts_with(folder));
    first.ancestors().find(|folder| within(folder)).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_files_is_the_deepest_that_holds_all() {
        let of = |files: &[&str]| common(&files.iter().map(PathBuf::from).collect());
        assert_eq!(of(&["/a/b/1", "/a/b/2"]), Some("/a/b".into()));
        assert_eq!(of(&["/a/b/1", "/a/c/2"]), Some("/a".into()));
        assert_eq!(of(&["/a/b/1", "/a/bc/2"]), Some("/a".into()));
        assert_eq!(of(&[]), None);
    }
}
