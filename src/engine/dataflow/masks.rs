//! Stages that give masks without a network: of scans, of labels, and of other masks.

use tomoflow_connectors::Reject;

use super::{Built, Rows};
use crate::engine::rows::{Conclusion, Desired, MadeMask, Provenance, Used};
use crate::executor::keys;
use crate::executor::work::{Action, Work};
use crate::operators::spec::Kind;
use crate::pipeline::StageId;

/// The code of a case that should give a mask by its labels, and has none.
const UNREAD: &str = "NO_MASK_OF_LABELS";

impl<'s> Built<'s, '_> {
    pub(super) fn segment(&mut self, index: usize) {
        let cases = self.cases[&self.plan.stages[index].inputs[0]].clone();
        let operator = keys::operator(&self.plan.stages[index]);
        let chain = keys::Chain::to(self.plan, self.plan.stages[index].inputs[0]);
        let wanted = cases.map(move |(_, case)| {
            let case = chain.seen(case);
            let key = keys::action(operator, &[chain.scan(&case)]);
            (Action { key, stage: StageId::at(index), work: Work::on_scan(case) }, None)
        });
        self.masks_of(index, wanted);
    }

    /// Labels are drawn on the scan's own grid, so that what transforms did to it takes no part.
    pub(super) fn labels_as_masks(&mut self, index: usize) {
        let cases = self.cases[&self.plan.stages[index].inputs[0]].clone();
        let operator = keys::operator(&self.plan.stages[index]);
        let name = self.names[index].clone();
        // A scan that nobody looked at is a row, and so is a mask without labels.
        self.outputs.push(cases.clone().flat_map(move |(_, case)| {
            let (message, hint) = (
                "labels expected, none found",
                "the case has no figures; those of the stage are over the other cases",
            );
            let reject = Reject::new(UNREAD, message, hint);
            let told = Desired::Reject {
                case: Some(case.series.key.to_string()),
                stage: name.clone(),
                reject,
                attempts: 0,
            };
            case.labels.is_none().then(|| Conclusion::desired(told))
        }));
        let wanted = cases.flat_map(move |(_, case)| {
            let key = keys::action(operator, &[case.labels.as_ref()?.digest]);
            Some((Action { key, stage: StageId::at(index), work: Work::on_scan(case) }, None))
        });
        self.masks_of(index, wanted);
    }

    pub(super) fn mask(&mut self, index: usize) {
        let masks = self.masks[&self.plan.stages[index].inputs[0]].clone();
        let operator = keys::operator(&self.plan.stages[index]);
        let wanted = masks.map(move |(_, mask)| {
            let key = keys::action(operator, &[mask.mask]);
            let work = Work::on_artifacts(mask.series, [mask.mask]);
            (Action { key, stage: StageId::at(index), work }, mask.model)
        });
        self.masks_of(index, wanted);
    }

    /// Combines masks of one scan, one of each input; a scan that has none in one of them is not there.
    pub(super) fn combine(&mut self, index: usize) {
        let inputs = &self.plan.stages[index].inputs;
        let operator = keys::operator(&self.plan.stages[index]);
        let first = self.masks[&inputs[0]].clone();
        let mut all = first.map(|(case, mask)| (case, (vec![mask.mask], mask.series, mask.model)));
        for input in &inputs[1..] {
            let joined = all.join(self.masks[input].clone());
            all = joined.map(|(case, ((mut masks, series, model), other))| {
                masks.push(other.mask);
                (case, (masks, series, model.or(other.model)))
            });
        }
        let wanted = all.map(move |(_, (masks, series, model))| {
            let key = keys::action(operator, &masks);
            (Action { key, stage: StageId::at(index), work: Work::on_artifacts(series, masks) }, model)
        });
        self.masks_of(index, wanted);
    }

    pub(super) fn masks_of(&mut self, index: usize, wanted: Rows<'s, (Action, Option<Used>)>) {
        let name = self.names[index].clone();
        self.expect(index, &wanted);
        let made = self.act(wanted).flat_map(move |(action, model, left)| {
            let digest = model.as_ref().map(|model| model.model);
            let from = Provenance { stage: name.clone(), action: action.key, model: digest };
            let series = action.work.series()?.clone();
            let mask = MadeMask { series, mask: left.artifact, model, from };
            Some((mask.series.key.clone(), (mask, left.detail)))
        });
        self.keep_maps(index, &made);
        let masks = made.map(|(case, (mask, _))| (case, mask));
        let boxes = self.plan.stages[index].output == Some(Kind::Detections);
        self.outputs.push(masks.clone().map(move |(_, MadeMask { series, mask, from, .. })| {
            Conclusion::desired(match boxes {
                true => Desired::Detections { series, found: mask, from },
                false => Desired::Masks { series, mask, from },
            })
        }));
        self.masks.insert(index, masks);
    }
}
