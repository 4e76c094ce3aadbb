//! The step from series to cases.

use super::super::rows::{Conclusion, Desired};
use super::strays::refuse_stacks;
use super::{Built, Rows};
use crate::executor::work::{BoundCase, Verdict};

impl<'s> Built<'s, '_> {
    /// Scans as cases; what could not be assembled as rejects.
    pub(super) fn assemble(&mut self, index: usize, verdicts: Rows<'s, Verdict>) {
        let verdicts = refuse_stacks(verdicts);
        let stage = self.names[index].clone();
        self.outputs.push(verdicts.clone().flat_map(move |verdict| match verdict {
            Verdict::Rejected(key, reject) => {
                let (case, stage) = (Some(key), stage.clone());
                Some(Conclusion::desired(Desired::Reject { case, stage, reject, attempts: 1 }))
            }
            Verdict::Accepted(_) => None,
        }));
        let cases = verdicts.flat_map(|verdict| match verdict {
            Verdict::Accepted(series) => Some((series.key.clone(), BoundCase::of(series))),
            Verdict::Rejected(..) => None,
        });
        self.described.insert(index, cases.clone());
        self.cases.insert(index, cases);
    }

    /// Gives one row for each scan, however many stages assemble or label it: labelled when any does.
    pub(super) fn describe_all(&mut self) {
        let Some((_, first)) = self.described.pop_first() else { return };
        let cases = if self.described.is_empty() {
            first.map(|(_, case)| case)
        } else {
            let all = first.concatenate(std::mem::take(&mut self.described).into_values());
            let parts = all.map(|(_, case)| (case.series, (case.labels, case.beside)));
            let whole = parts.reduce(|_, parts, output| {
                let labels = parts.iter().find_map(|((labels, _), _)| labels.clone());
                let beside = parts.iter().find_map(|((_, beside), _)| beside.clone());
                output.push(((labels, beside), 1));
            });
            whole.map(|(series, (labels, beside))| BoundCase { series, labels, beside })
        };
        self.outputs.push(cases.map(|case| Conclusion::desired(Desired::Case(case))));
    }
}
