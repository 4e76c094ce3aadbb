//! A network's probabilities and a scan's intensities to masks.

use std::sync::Arc;

use tomoflow_connectors::Digest;

use super::super::rows::MadeMask;
use super::{Built, Rows};
use crate::executor::keys;
use crate::executor::work::{Action, Work};
use crate::operators::registry::Stage;
use crate::pipeline::StageId;

/// Masks by case, each with what was left beside it.
pub(super) type WithMaps<'s> = Rows<'s, (Arc<str>, (MadeMask, Digest))>;
/// The same where nothing may have been left.
type MayHaveMaps<'s> = Rows<'s, (Arc<str>, (MadeMask, Option<Digest>))>;

impl<'s> Built<'s, '_> {
    /// Holds what an inference left beside its masks, where a stage reads it.
    pub(super) fn keep_maps(&mut self, index: usize, made: &MayHaveMaps<'s>) {
        let mut stages = self.plan.stages.iter();
        if stages.any(|stage| matches!(stage.stage, Stage::Crf(_)) && stage.inputs.first() == Some(&index)) {
            let maps = made.clone().flat_map(|(case, (mask, maps))| Some((case, (mask, maps?))));
            self.maps.insert(index, maps);
        }
    }

    /// A mask of every case of which there are probabilities. They are known by the inference that left them, so that a
    /// map that is kept beside them later asks for nothing here.
    pub(super) fn refine(&mut self, index: usize) {
        let (from, cases) = (self.plan.stages[index].inputs[0], self.plan.stages[index].inputs[1]);
        // A stage that keeps no maps, which the checker refuses, has none here.
        let Some(maps) = self.maps.get(&from).cloned() else {
            let none = self.cases[&cases].clone().flat_map(|_| None);
            return self.masks_of(index, none);
        };
        let operator = keys::operator(&self.plan.stages[index]);
        let chain = keys::Chain::to(self.plan, cases);
        let wanted = maps.join(self.cases[&cases].clone()).map(move |(_, ((mask, maps), case))| {
            let case = chain.seen(case);
            let key = keys::action(operator, &[mask.from.action, chain.scan(&case)]);
            (Action { key, stage: StageId::at(index), work: Work::Refine { case, maps } }, mask.model)
        });
        self.masks_of(index, wanted);
    }
}
