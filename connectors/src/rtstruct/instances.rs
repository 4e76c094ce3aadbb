//! The images that labels name, in a few numbers: enough to tell which of several scans they were drawn on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// The most marks that are kept, so that a record stays small whatever was drawn.
const MOST: usize = 512;

/// The images that labels name, as marks of their SOPInstanceUIDs.
///
/// Of more than 512 images those with the smallest marks are kept: a sample that holds of all alike.
///
/// # Examples
/// ```
/// use tomoflow_connectors::rtstruct::Instances;
/// let named = Instances::of(["1.2.1", "1.2.2", "1.2.2", ""]);
/// let scan = ["1.2.2", "1.2.3"].map(Instances::mark);
/// assert_eq!((named.count(), named.share_of(|mark| scan.contains(&mark))), (2, Some(0.5)));
/// assert_eq!(Instances::default().share_of(|_| true), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instances {
    count: u32,
    marks: Vec<u64>,
}

impl Instances {
    /// Makes the marks of SOPInstanceUIDs, each counted once; empty ones are none.
    pub fn of<'u>(uids: impl IntoIterator<Item = &'u str>) -> Self {
        let uids: BTreeSet<&str> = uids.into_iter().filter(|uid| !uid.is_empty()).collect();
        let mut marks: Vec<u64> = uids.iter().map(|uid| Self::mark(uid)).collect();
        marks.sort_unstable();
        marks.truncate(MOST);
        Self { count: uids.len() as u32, marks }
    }

    /// The mark of a SOPInstanceUID.
    pub fn mark(uid: &str) -> u64 {
        Digest::of(uid.as_bytes()).0.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The number of images that are named.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The share of the named images that a scan holds, by the marks of its images, from 0 to 1; `None` when no
    /// image is named.
    pub fn share_of(&self, holds: impl Fn(u64) -> bool) -> Option<f64> {
        let held = self.marks.iter().filter(|mark| holds(**mark)).count();
        (!self.marks.is_empty()).then(|| held as f64 / self.marks.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_images_a_sample_is_kept_that_holds_of_all() {
        let uids: Vec<String> = (0..4000).map(|n| format!("1.2.3.{n}")).collect();
        let named = Instances::of(uids.iter().map(String::as_str));
        assert_eq!((named.count(), named.marks.len()), (4000, MOST));
        let half: BTreeSet<u64> = uids.iter().step_by(2).map(|uid| Instances::mark(uid)).collect();
        let share = named.share_of(|mark| half.contains(&mark)).unwrap();
        assert!((0.4..0.6).contains(&share), "{share}");
        let mut turned = uids.clone();
        turned.reverse();
        assert_eq!(Instances::of(turned.iter().map(String::as_str)), named);
    }
}
