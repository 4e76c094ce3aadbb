//! What the measured intensities of an archive come to.

use std::collections::{BTreeMap, BTreeSet};

use tomoflow_connectors::{Digest, Reject};

use super::{Ruled, Rules};
use crate::executor::artifact;
use crate::operators::cases::rule::{Measured, Rule};
use crate::operators::cases::tally::{Tally, Together};
use crate::pipeline::StageId;
use crate::store::{Artifacts, Pinned};

/// The artifacts that cases came to, by stage, with the number of cases for each.
pub type Tallies = BTreeMap<(StageId, Digest), isize>;

/// What a rule over intensities comes to now.
pub(super) struct Weighed {
    /// The digest of what the rule was weighed over.
    of: Digest,
    /// The value that follows now; `None` where no number does.
    pub today: Option<Pinned>,
}

impl Rules {
    /// Whether one of them looks at intensities.
    pub fn measure(&self) -> bool {
        self.ruled.iter().any(|ruled| matches!(ruled.rule, Rule::Intensities(_)))
    }

    /// Puts together what all cases came to, once all are measured.
    pub fn weigh(&mut self, tallies: &Tallies, artifacts: &Artifacts) {
        let mut weighed = BTreeMap::new();
        for ruled in &self.ruled {
            let Rule::Intensities(measured) = ruled.rule else { continue };
            let of = self.tallied(ruled, tallies);
            let known = self.weighed.remove(&ruled.name).filter(|known| known.of == digest(&of));
            let anew = || Weighed { of: digest(&of), today: together(measured, &of, artifacts) };
            self.fresh |= known.is_none();
            let found = known.unwrap_or_else(anew);
            weighed.entry(ruled.name).or_insert(found);
        }
        self.weighed = weighed;
    }

    /// Whether something came out that no rule was settled on yet.
    pub fn fresh(&self) -> bool {
        self.fresh
    }

    /// Counts what the cases of all stages that share a rule came to, each case once.
    fn tallied(&self, ruled: &Ruled, tallies: &Tallies) -> Vec<(Digest, u64)> {
        let mut roots = BTreeSet::new();
        let sharing = self.ruled.iter().filter(|other| other.name == ruled.name && roots.insert(other.root));
        let stages: Vec<usize> = sharing.map(|other| other.stage).collect();
        let of_these = tallies.iter().filter(|((stage, _), _)| stages.contains(&stage.place()));
        let mut of: Vec<(Digest, u64)> =
            of_these.map(|((_, artifact), times)| (*artifact, times.unsigned_abs() as u64)).collect();
        // The last bits of sums depend on their order.
        of.sort_unstable();
        of
    }
}

fn digest(of: &[(Digest, u64)]) -> Digest {
    let times: Vec<[u8; 8]> = of.iter().map(|(_, times)| times.to_le_bytes()).collect();
    Digest::of_parts(of.iter().zip(&times).flat_map(|((artifact, _), times)| [&artifact.0[..], &times[..]]))
}

/// Puts all of these together; `None`, with a warning, where one cannot be read: numbers of a part are not
/// those of all.
fn together(measured: Measured, of: &[(Digest, u64)], artifacts: &Artifacts) -> Option<Pinned> {
    let mut all = Together::default();
    for (digest, times) in of {
        let read = artifacts.get(*digest).map_err(|error| Reject::new("STORE", error.to_string(), ""));
        match read.and_then(|bytes| artifact::decode::<Tally>("tally", &bytes)) {
            Ok(tally) => all.add(&tally, *times),
            Err(reject) => {
                tracing::warn!(
                    "the measured intensities of a case cannot be read, so that the rule is not \
                                settled: {reject}"
                );
                return None;
            }
        }
    }
    Some(Pinned { settled: measured.settled(&all)?, scans: all.cases })
}
