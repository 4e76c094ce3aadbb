//! What is told of sources beside their cases: rows of `rejects`, as long as they hold.

use super::super::rows::{Conclusion, Desired, Remark};
use super::{Built, Rows};
use crate::pipeline::StageId;

impl<'s> Built<'s, '_> {
    /// Remarks as rows. One about labels that a case has after all, by whatever they are bound to it, is none.
    pub(super) fn remark(&mut self, remarks: Rows<'s, (StageId, Remark)>) {
        let names = self.names.clone();
        let keyed = remarks.map(|(stage, remark)| (remark.labels, (stage, remark)));
        let mut said = keyed.clone();
        // Every case, by the labels that it has.
        for cases in self.described.values() {
            let bound = cases.clone().flat_map(|(_, case)| case.labels.map(|labels| Some(labels.record)));
            said = said.concat(keyed.clone().semijoin(bound.distinct()).negate());
        }
        let said = said.distinct();
        self.outputs.push(said.flat_map(move |(_, (stage, remark))| {
            let stage = names.get(stage.place())?.clone();
            let Remark { case, reject, .. } = remark;
            Some(Conclusion::desired(Desired::Reject { case, stage, reject, attempts: 0 }))
        }));
    }
}
