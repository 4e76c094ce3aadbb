//! Files that were DICOM once, and are damaged so that nothing of them can be used: each is told by its name, since the
//! series that lost it may look whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tomoflow_connectors::Reject;
use tomoflow_connectors::shown::Shown as _;

use super::super::rows::{FILE_DAMAGED, Remark};
use super::{Archive, SourceError};
use crate::operators::registry::Stage;
use crate::operators::source::LabelsIn;
use crate::pipeline::StageId;
use crate::store::Holds;

/// Files that get a row; all are counted by code.
const ROWS: usize = 1000;
/// The number of images beside a file from which on the file is taken for one of them.
const IMAGES: usize = 3;
/// Endings that say DICOM.
const ENDINGS: [&str; 3] = ["dcm", "dicom", "ima"];

/// The first files that were DICOM once, with the code of what they are now.
#[derive(Debug, Default)]
pub(super) struct Damaged {
    /// The files that say so themselves.
    sure: BTreeMap<PathBuf, String>,
    /// The files of which only those beside them can say so.
    perhaps: BTreeMap<PathBuf, String>,
}

impl Damaged {
    /// A file that holds nothing for a pipeline.
    pub(super) fn add(&mut self, path: &Path, code: &str) {
        let files = match code {
            // Preamble or meta group are there.
            "NO_DATASET" | "TRUNCATED" => &mut self.sure,
            "EMPTY_FILE" | "NOT_DICOM" if says_dicom(path) => &mut self.sure,
            "EMPTY_FILE" | "NOT_DICOM" if is_numbered(path) => &mut self.perhaps,
            _ => return,
        };
        if files.len() < ROWS {
            files.insert(path.to_owned(), code.to_owned());
        }
    }

    /// A file that is gone, or another one now.
    pub(super) fn remove(&mut self, path: &Path) {
        self.sure.remove(path);
        self.perhaps.remove(path);
    }

    /// Adds those of another folder as well.
    pub(super) fn extend(&mut self, more: Self) {
        more.sure.iter().chain(&more.perhaps).for_each(|(path, code)| self.add(path, code));
    }
}

impl Archive {
    /// Files below a source of DICOM that were DICOM once, by the first such source.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub(super) fn damaged(&self) -> Result<BTreeSet<(StageId, Remark)>, SourceError> {
        let (mut rows, mut told, mut folders) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let Damaged { sure, perhaps } = &self.damaged;
        let files = || sure.iter().map(|file| (file, true)).chain(perhaps.iter().map(|file| (file, false)));
        for (number, root) in self.rooted() {
            let dicom = match self.plan.stages.get(number.place()).map(|stage| &stage.stage) {
                Some(Stage::Instances(_)) => true,
                Some(Stage::Labels(source)) => {
                    matches!(source.lies_in(), LabelsIn::Objects { .. } | LabelsIn::Series { .. })
                }
                _ => false,
            };
            for ((path, code), sure) in files().filter(|((path, _), _)| dicom && path.starts_with(root)) {
                let beside = match path.parent() {
                    _ if sure => true,
                    Some(folder) => match folders.get(folder) {
                        Some(&all) => all,
                        None => {
                            let all = self.all_dicom(folder)?;
                            folders.insert(folder, all);
                            all
                        }
                    },
                    None => false,
                };
                if beside && told.insert(path) {
                    let case = Some(path.strip_prefix(root).unwrap_or(path).shown().to_string());
                    rows.insert((number, Remark { case, labels: None, reject: refusal(code) }));
                }
            }
        }
        Ok(rows)
    }

    /// Whether a folder holds images, and nothing that is neither DICOM nor named as they are.
    fn all_dicom(&self, folder: &Path) -> Result<bool, SourceError> {
        let (mut images, mut others) = (0, 0);
        self.store.visit_files(folder, |known| {
            if known.path.parent() != Some(folder) {
                return;
            }
            match known.holds {
                Holds::Image { .. } => images += 1,
                Holds::Nothing { code: "EMPTY_FILE" | "NOT_DICOM" } if !is_numbered(known.path) => {
                    others += 1
                }
                Holds::File { .. } => others += 1,
                Holds::Outlines { .. } | Holds::Nothing { .. } => {}
            }
        })?;
        Ok(images >= IMAGES && others == 0)
    }
}

fn refusal(code: &str) -> Reject {
    let found = match code {
        "EMPTY_FILE" => "an empty one",
        "TRUNCATED" => "one that breaks off before it says what it belongs to",
        "NO_DATASET" => "one without a data set",
        _ => "other bytes",
    };
    let message = format!("a DICOM file expected, {found} found ({code})");
    let hint = "its series or labels may look whole without it: fetch it again, or take it away";
    Reject::new(FILE_DAMAGED, message, hint)
}

/// Whether the ending of a name says DICOM.
fn says_dicom(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// Whether a file is called as images without an ending are: `IM0001`, `1.2.840.113619.7`.
fn is_numbered(path: &Path) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = path.extension().is_none_or(|ending| ending.to_str().is_some_and(digits));
    let name = path.file_name().and_then(|name| name.to_str());
    plain && name.is_some_and(|name| name.bytes().any(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_may_have_been_dicom_are_kept() {
        let mut damaged = Damaged::default();
        for (name, code) in [
            ("a/1.dcm", "EMPTY_FILE"),
            ("a/2.IMA", "NOT_DICOM"),
            ("a/notes.txt", "TRUNCATED"),
            ("a/IM0007", "NOT_DICOM"),
            ("a/1.2.840.7", "EMPTY_FILE"),
            ("a/README", "NOT_DICOM"),
            ("a/3.txt", "NOT_DICOM"),
            ("a/DICOMDIR", "DICOMDIR"),
            ("a/report.dcm", "NOT_AN_IMAGE"),
        ] {
            damaged.add(Path::new(name), code);
        }
        let names = |files: &BTreeMap<PathBuf, String>| {
            files.keys().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&damaged.sure), ["a/1.dcm", "a/2.IMA", "a/notes.txt"]);
        assert_eq!(names(&damaged.perhaps), ["a/1.2.840.7", "a/IM0007"]);
        damaged.remove(Path::new("a/1.dcm"));
        damaged.remove(Path::new("a/IM0007"));
        assert_eq!((damaged.sure.len(), damaged.perhaps.len()), (2, 1));
        (0..3 * ROWS).for_each(|number| damaged.add(&PathBuf::from(format!("b/{number}.dcm")), "EMPTY_FILE"));
        assert_eq!(damaged.sure.len(), ROWS);
    }
}
