//! Folders of test and validation sets, which nobody trains on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Survey, below, naming};

/// Words that folders of such sets are called by.
const WORDS: [&str; 11] = [
    "test",
    "tests",
    "testing",
    "tst",
    "val",
    "valid",
    "validate",
    "validation",
    "eval",
    "evaluation",
    "holdout",
];
/// The same, in short, behind what the folder holds: `imagesTs`, `labelsVa`.
const SHORT: [&str; 3] = ["ts", "te", "va"];
/// Folders that are left out one by one; of more, whatever is called so is.
const FOLDERS: usize = 16;

/// The words of a name: they end at signs, before capitals and before numbers.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for letter in name.chars() {
        let begins = (before.is_lowercase() && letter.is_uppercase())
            || (before.is_alphabetic() && letter.is_numeric());
        if !letter.is_alphanumeric() || begins {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
        before = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a folder is called as those of test and validation sets are; a session of a patient is none.
fn is_apart(folder: &str) -> bool {
    let words = words(folder);
    let short = words.len() > 1 && words.last().is_some_and(|word| SHORT.contains(&word.as_str()));
    !folder.starts_with("ses-") && (short || words.iter().any(|word| WORDS.contains(&word.as_str())))
}

/// The folder of a test or validation set that a file lies in, below the root.
pub fn apart(root: &Path, file: &Path) -> Option<PathBuf> {
    let folders = below(file, root).parent()?;
    let named = |folder: &&Path| folder.file_name().is_some_and(|name| is_apart(&name.to_string_lossy()));
    folders.ancestors().filter(named).last().map(Path::to_owned)
}

/// Files of test and validation sets, which are left out of the training.
#[derive(Debug, Default)]
pub struct Apart {
    /// The files.
    pub files: BTreeSet<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Apart {
    /// Returns all that a folder holds of them.
    pub fn of(survey: &Survey) -> Self {
        let mut found = Self::default();
        for image in &survey.images {
            if let Some(folder) = apart(&survey.root, &image.file) {
                found.folders.insert(folder);
                found.files.insert(image.file.clone());
            }
        }
        found
    }

    /// Patterns that leave them out.
    pub fn patterns(&self) -> BTreeSet<String> {
        let own = self.folders.len() <= FOLDERS;
        let pattern = |folder: &PathBuf| match folder.file_name() {
            Some(name) if !own => format!("!**/{}/**/*", naming::plain(&name.to_string_lossy())),
            _ => {
                let parts = folder.iter().map(|part| naming::plain(&part.to_string_lossy()));
                format!("!{}/**/*", parts.collect::<Vec<_>>().join("/"))
            }
        };
        self.folders.iter().map(pattern).collect()
    }

    /// A line on them.
    pub fn told(&self, survey: &Survey) -> Option<String> {
        let first = survey.name(self.files.first()?);
        let folders: Vec<String> =
            self.folders.iter().take(8).map(|folder| format!("`{}`", folder.display())).collect();
        let more = if self.folders.len() > folders.len() { ", …" } else { "" };
        Some(format!(
            "{} volumes in folders of test and validation sets ({}{more}) are left out, {first} first: nobody trains on \
             them; sources of their own, with `infer` and `evaluate`, score a model on them",
            self.files.len(),
            folders.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_test_sets_are_known_by_their_words() {
        for folder in
            ["imagesTs", "labelsVa", "imagesVal", "test", "TestingData", "images_test", "Test2", "val"]
        {
            assert!(is_apart(folder), "{folder}");
        }
        for folder in
            ["imagesTr", "training", "latest", "ts", "valve", "ses-test", "contest", "Utrecht", "lesions"]
        {
            assert!(!is_apart(folder), "{folder}");
        }
        let found = |file: &str| apart(Path::new("/test"), Path::new(file));
        assert_eq!(found("/test/a/val/images/1.nii"), Some("a/val".into()));
        assert_eq!(found("/test/a/images/val_1.nii"), None);
        assert_eq!(found("/test/test.nii"), None);
    }
}
