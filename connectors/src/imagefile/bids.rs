//! Labels below `derivatives` of scans beside that folder, as the Brain Imaging Data Structure names both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder in which files lie that were made of others.
const MADE: &str = "derivatives";
/// The parts of a name that say of labels what they are, and nothing of the scan.
const DESCRIBING: [&str; 4] = ["label", "seg", "desc", "atlas"];
/// The last parts of names of labels.
const SUFFIXES: [&str; 7] = ["mask", "msk", "dseg", "seg", "segmentation", "label", "labels"];

/// Whether a file lies below `derivatives`.
pub fn is_made(path: &Path) -> bool {
    root_of(path.parent().unwrap_or(Path::new(""))).is_some()
}

/// The folder in which `derivatives` lies, of a folder below it.
fn root_of(folder: &Path) -> Option<&Path> {
    let made = folder.ancestors().find(|at| at.file_name().is_some_and(|name| name == MADE));
    made.and_then(Path::parent)
}

/// The parts of a name, which begin with the subject: `sub-01`, `ses-02`, `T1w`.
fn parts(stem: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = stem.split('_').collect();
    parts.first()?.strip_prefix("sub-").filter(|subject| !subject.is_empty())?;
    Some(parts)
}

/// What the names of a scan and of its labels begin with: `sub-01_ses-02`.
pub fn in_common(scan: &str, labels: &str) -> Option<String> {
    let (scan, labels) = (parts(scan)?, parts(labels)?);
    let same = scan.iter().zip(&labels).take_while(|(a, b)| a == b).count();
    let named = same > 0 && same < labels.len();
    named.then(|| scan.get(..same).unwrap_or_default().join("_"))
}

/// What the name of a label file asks of its scan's.
pub(super) struct Made {
    root: PathBuf,
    subject: String,
    asked: Vec<String>,
}

impl Made {
    /// Reads a name; `None` of a file that is none of labels, or lies elsewhere.
    pub(super) fn of(folder: &Path, stem: &str) -> Option<Self> {
        let root = root_of(folder)?.to_owned();
        let mut parts = parts(stem)?;
        let suffix = parts.pop()?.to_ascii_lowercase();
        let word = suffix.rsplit('-').next().unwrap_or(&suffix);
        let subject = (*parts.first()?).to_owned();
        if !SUFFIXES.contains(&word) {
            return None;
        }
        let describes = |part: &&str| part.split_once('-').is_some_and(|(key, _)| DESCRIBING.contains(&key));
        let asked = parts.into_iter().filter(|part| !describes(part)).map(str::to_owned).collect();
        Some(Self { root, subject, asked })
    }
}

/// Scans that lie outside of `derivatives`, by their subjects.
#[derive(Default)]
pub(super) struct Originals(BTreeMap<String, Vec<Original>>);

struct Original {
    index: usize,
    folder: PathBuf,
    parts: Vec<String>,
}

impl Originals {
    pub(super) fn add(&mut self, index: usize, folder: &Path, stem: &str) {
        let (None, Some(parts)) = (root_of(folder), parts(stem)) else { return };
        let Some(subject) = parts.first() else { return };
        let own = parts.iter().map(|part| (*part).to_owned()).collect();
        let original = Original { index, folder: folder.to_owned(), parts: own };
        self.0.entry((*subject).to_owned()).or_default().push(original);
    }

    /// The scans whose names have all that labels ask for.
    pub(super) fn of(&self, made: &Made) -> Vec<usize> {
        let own = self.0.get(&made.subject).into_iter().flatten();
        let fits = |original: &&Original| {
            original.folder.starts_with(&made.root)
                && made.asked.iter().all(|part| original.parts.contains(part))
        };
        own.filter(fits).map(|original| original.index).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_labels_ask_for_those_of_scans() {
        let mut scans = Originals::default();
        for (index, path) in [
            "d/rawdata/sub-verse4/sub-verse4_ct",
            "d/rawdata/sub-verse5/sub-verse5_split-a_ct",
            "d/rawdata/sub-verse5/sub-verse5_split-b_ct",
            "d/derivatives/sub-verse4/sub-verse4_desc-preproc_ct",
            "e/sub-verse4/sub-verse4_ct",
        ]
        .into_iter()
        .enumerate()
        {
            let path = Path::new(path);
            scans.add(index, path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
        }
        let of = |path: &str| {
            let path = Path::new(path);
            let made = Made::of(path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
            made.map(|made| scans.of(&made))
        };
        assert_eq!(of("d/derivatives/sub-verse4/sub-verse4_seg-vert_msk"), Some(vec![0]));
        assert_eq!(of("d/derivatives/x/sub-verse5_split-b_seg-vert_msk"), Some(vec![2]));
        assert_eq!(of("d/derivatives/x/sub-verse5_lesion-mask"), Some(vec![1, 2]));
        // Another space is another grid.
        assert_eq!(of("d/derivatives/x/sub-verse4_space-MNI_mask"), Some(vec![]));
        assert_eq!(of("d/derivatives/x/sub-verse4_probseg"), None);
        assert_eq!(of("d/labels/sub-verse4_msk"), None);
        assert_eq!(of("d/derivatives/verse4_msk"), None);
        assert_eq!(
            in_common("sub-1_ses-2_T1w", "sub-1_ses-2_label-lesion_mask").as_deref(),
            Some("sub-1_ses-2")
        );
        assert_eq!(in_common("sub-1_T1w", "sub-2_mask"), None);
        assert!(is_made(Path::new("d/derivatives/a/b.nii")) && !is_made(Path::new("d/derivatives.nii")));
    }
}
