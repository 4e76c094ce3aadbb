//! Copies of a scan that stand in several parts of a split under other names.

use std::sync::Arc;

use tomoflow_connectors::Reject;

use super::super::rows::{Conclusion, Desired};
use super::{Built, Rows};
use crate::executor::work::BoundCase;
use crate::operators::models::train::Part;
use crate::pipeline::Identifiers;

/// The code of a scan of which a copy stands in another part.
const COPIES: &str = "SPLIT_COPIES";
/// Names that a row shows.
const NAMES: usize = 8;

impl<'s> Built<'s, '_> {
    /// Says which cases have the voxels of a case in another part, as long as they have; copies within one part harm
    /// nobody.
    pub(super) fn tell_copies(
        &mut self,
        index: usize,
        cases: Rows<'s, (Arc<str>, BoundCase)>,
        parts: Rows<'s, (Arc<str>, Part)>,
    ) {
        let stage = self.names[index].clone();
        let clear = self.plan.settings.identifiers == Identifiers::Clear;
        // What voxels depend on, by which they are known: it holds no name.
        let standing = cases.join(parts).map(|(key, (case, part))| (case.series.digest, (key, part)));
        let told = standing.distinct().reduce(move |_, standing, output| {
            let standing: Vec<(&str, Part)> =
                standing.iter().map(|((key, part), _)| (&**key, *part)).collect();
            for (key, part) in &standing {
                let elsewhere: Vec<(&str, Part)> =
                    standing.iter().filter(|(_, other)| other != part).copied().collect();
                if !elsewhere.is_empty() {
                    output.push(((Arc::<str>::from(*key), copied(*part, &elsewhere, clear)), 1));
                }
            }
        });
        self.outputs.push(told.map(move |(_, (key, reject))| {
            let (case, stage) = (Some(key.to_string()), stage.clone());
            Conclusion::desired(Desired::Reject { case, stage, reject, attempts: 0 })
        }));
    }
}

fn copied(part: Part, elsewhere: &[(&str, Part)], clear: bool) -> Reject {
    let mut parts: Vec<Part> = elsewhere.iter().map(|(_, part)| *part).collect();
    parts.sort_unstable();
    parts.dedup();
    let parts: Vec<String> = parts.iter().map(|part| format!("`{}`", part.name())).collect();
    let mut message = format!(
        "a scan of its own expected in `{}`, {} of the same voxels found in {}",
        part.name(),
        elsewhere.len(),
        parts.join(" and ")
    );
    if clear {
        let shown: Vec<String> = elsewhere.iter().take(NAMES).map(|(key, _)| format!("`{key}`")).collect();
        let more = if elsewhere.len() > NAMES { ", …" } else { "" };
        message += &format!(": {}{more}", shown.join(", "));
    }
    let hint = "figures on a scan that was learned from under another name are too good: leave one of them out, or let \
                the split's file name both for one part";
    Reject::new(COPIES, message, hint)
}
