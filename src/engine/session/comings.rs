//! Which cases came, went and changed since tables were brought up to date the last time.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use tomoflow_connectors::Digest;

use crate::engine::driver::Driver;
use crate::engine::outputs::identity::Identity;
use crate::engine::rows::Desired;
use crate::executor::work::BoundCase;

/// The names that one line shows.
const NAMES: usize = 10;

/// Cases that came, went and changed, as tables name them, with the description of their series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The cases that were not there before.
    pub came: Vec<String>,
    /// The cases that are not there any more.
    pub went: Vec<String>,
    /// The cases whose voxels or labels are others.
    pub changed: Vec<String>,
}

impl Moved {
    /// Whether nothing is to be told.
    pub fn is_empty(&self) -> bool {
        self.came.is_empty() && self.went.is_empty() && self.changed.is_empty()
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("came", &self.came), ("went", &self.went), ("changed", &self.changed)];
        let told = parts.into_iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| {
            let shown = names.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = names.len().saturating_sub(NAMES);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{what}: {shown}{more}")
        });
        write!(f, "{}", told.collect::<Vec<_>>().join("; "))
    }
}

/// A case as it was: its name, and what its voxels and labels depend on.
type Seen = BTreeMap<String, (String, (Digest, Option<Digest>))>;

/// The cases that were there the last time.
pub(super) struct Comings {
    identity: Identity,
    seen: Seen,
}

impl Comings {
    /// Begins as if nothing had been there.
    pub fn new(identity: Identity) -> Self {
        Self { identity, seen: Seen::new() }
    }

    /// Returns what moved since this was asked the last time; names carry descriptions where `free_text` may
    /// be shown.
    pub fn since(&mut self, driver: &Driver, free_text: bool) -> Moved {
        let mut now = Seen::new();
        for desired in driver.desired().keys() {
            let Desired::Case(case) = &**desired else { continue };
            let shown = self.identity.show(&case.series.key);
            let name = match case.series.description.trim() {
                "" => shown,
                _ if !free_text => shown,
                described => format!("{shown} ({described})"),
            };
            let labels = case.labels.as_ref().map(|labels| labels.digest);
            now.insert(case.series.counted_as(), (name, (voxels(case), labels)));
        }
        let moved = between(&self.seen, &now);
        self.seen = now;
        moved
    }
}

/// Returns the digest of all that a case's voxels depend on, those of all of its channels.
fn voxels(case: &BoundCase) -> Digest {
    match case.beside {
        None => case.series.digest,
        Some(_) => Digest::of_parts(case.scans().map(|scan| scan.digest.0.as_slice())),
    }
}

fn between(before: &Seen, now: &Seen) -> Moved {
    let mut moved = Moved::default();
    for (key, (name, content)) in now {
        match before.get(key) {
            None => moved.came.push(name.clone()),
            Some((_, known)) if known != content => moved.changed.push(name.clone()),
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|(key, _)| !now.contains_key(*key));
    moved.went.extend(gone.map(|(_, (name, _))| name.clone()));
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(cases: &[(&str, &str, Option<&str>)]) -> Seen {
        let digest = |text: &str| Digest::of(text.as_bytes());
        let row = |(key, voxels, labels): &(&str, &str, Option<&str>)| {
            ((*key).to_owned(), (format!("case {key}"), (digest(voxels), labels.map(digest))))
        };
        cases.iter().map(row).collect()
    }

    #[test]
    fn each_case_is_told_once() {
        let before = seen(&[("a", "1", None), ("b", "2", Some("x")), ("c", "3", None), ("d", "4", None)]);
        let now = seen(&[("a", "1", None), ("b", "2", Some("y")), ("d", "5", None), ("e", "6", None)]);
        let moved = between(&before, &now);
        assert_eq!(moved.to_string(), "came: case e; went: case c; changed: case b, case d");
        assert!(between(&now, &now).is_empty());
        // Labels that come and go change their case.
        assert_eq!(between(&now, &seen(&[("a", "1", Some("z"))])).changed, ["case a"]);
    }

    #[test]
    fn a_line_does_not_grow_with_the_archive() {
        let names = (0..5000).map(|number| number.to_string()).collect();
        let moved = Moved { came: names, ..Moved::default() };
        assert_eq!(moved.to_string(), "came: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 4990 more");
    }
}
