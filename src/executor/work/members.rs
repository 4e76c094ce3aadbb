//! The members of a dataset: which case stands in which part.

use serde::{Deserialize, Serialize};
use tomoflow_connectors::Digest;

use crate::operators::models::train::Part;

/// One case of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The case.
    pub case: String,
    /// The part of the split in which it stands.
    pub part: Part,
    /// Its prepared voxels; none for a case to test on, or one that could not be prepared.
    pub prepared: Option<Digest>,
}

impl Member {
    /// Returns what datasets are ordered by: a training's key is made from their members as they stand.
    pub fn place(&self) -> impl Ord + '_ {
        (&self.case, self.part.name(), self.prepared)
    }
}

/// Returns which case stands in which part; one that could not be prepared stands in none.
pub fn parts_of(members: &[Member]) -> impl Iterator<Item = (String, Part)> {
    let stands = |member: &&Member| member.prepared.is_some() || member.part == Part::Test;
    members.iter().filter(stands).map(|member| (member.case.clone(), member.part))
}

/// Returns the parts as [`parts_of`] does, with cases that stand in none: all that a training has seen.
pub fn seen_by(members: &[Member]) -> impl Iterator<Item = (String, Option<Part>)> {
    let mut stands: std::collections::BTreeMap<String, Part> = parts_of(members).collect();
    members.iter().map(move |member| (member.case.clone(), stands.remove(&member.case)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The store keeps datasets, and a training's key is made from their members in order.
    #[test]
    fn a_member_is_written_with_the_word_of_its_part() {
        let digest = Some(Digest::of(b"voxels"));
        let mut members: Vec<Member> = Part::ALL
            .map(|part| Member {
                case: "1.2".to_owned(),
                part,
                prepared: digest.filter(|_| part != Part::Test),
            })
            .into();
        members.sort_by(|a, b| a.place().cmp(&b.place()));
        let before = [("1.2", "test", None), ("1.2", "train", digest), ("1.2", "validation", digest)];
        let bytes = postcard::to_stdvec(before.as_slice()).unwrap();
        assert_eq!(postcard::to_stdvec(&members).unwrap(), bytes);
        assert_eq!(postcard::from_bytes::<Vec<Member>>(&bytes).unwrap(), members);
        assert!(before.is_sorted());
    }
}
