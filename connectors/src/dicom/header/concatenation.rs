//! Multi-frame images that were stored in several files, and whether all of these are there.

use std::collections::{BTreeMap, BTreeSet};

use super::instance::Instance;

/// The beginning of an instance's note that says which file of a concatenation it is.
const PART: &str = "CONCATENATION: ";

/// The note of an instance that is one of several files: its number, how many there are, and the
/// concatenation's UID.
pub(crate) fn part(number: u32, total: u32, uid: &str) -> String {
    format!("{PART}{number} of {total} of {uid}")
}

/// Whether a note says which file of a concatenation an instance is, which says nothing of a scan.
pub(crate) fn is_part(note: &str) -> bool {
    note.starts_with(PART)
}

/// A note on concatenations of which files are missing.
pub(crate) fn incomplete(instances: &[&Instance]) -> Option<String> {
    let mut found: BTreeMap<(&str, u64), BTreeSet<&str>> = BTreeMap::new();
    let notes = instances.iter().flat_map(|instance| &instance.notes);
    for rest in notes.filter_map(|note| note.strip_prefix(PART)) {
        let mut words = rest.splitn(3, " of ");
        let (Some(number), Some(total), Some(uid)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Ok(total) = total.parse() else { continue };
        found.entry((uid, total)).or_default().insert(number);
    }
    let missing: u64 =
        found.iter().map(|((_, total), numbers)| total.saturating_sub(numbers.len() as u64)).sum();
    let all: u64 = found.keys().map(|(_, total)| total).sum();
    (missing > 0).then(|| {
        format!("CONCATENATION_INCOMPLETE: {missing} of {all} files of a multi-frame image are missing")
    })
}
