//! Series and outlines to cases.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::Reject;

use super::super::rows::{Desired, Output};
use super::several;
use super::{Built, Rows};
use crate::executor::keys;
use crate::executor::work::{CaseRow, OutlinesRow, SeriesRow, Verdict};
use crate::operators::registry::Stage;
use crate::pipeline::Identifiers;

/// What refers to a series, before it is a case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Half {
    Scan(Arc<SeriesRow>),
    Outlines(Arc<OutlinesRow>),
}

impl<'s> Built<'s, '_> {
    /// Scans as cases; what could not be assembled as rejects.
    pub(super) fn assemble(&mut self, index: usize, verdicts: Rows<'s, Verdict>) {
        let stage = self.names[index].clone();
        self.outputs.push(verdicts.clone().flat_map(move |verdict| match verdict {
            Verdict::Rejected(key, reject) => {
                let (case, stage) = (Some(key), stage.clone());
                Some(Output::desired(Desired::Reject { case, stage, reject, attempts: 1 }))
            }
            Verdict::Accepted(_) => None,
        }));
        let cases = verdicts.flat_map(|verdict| match verdict {
            Verdict::Accepted(series) => Some((series.key.clone(), CaseRow { series, labels: None })),
            Verdict::Rejected(..) => None,
        });
        self.described.insert(index, cases.clone());
        self.cases.insert(index, cases);
    }

    /// A case is its scan and the outlines that refer to it.
    pub(super) fn label(&mut self, index: usize, newest: bool) {
        let (scans, source) = (self.plan.stages[index].inputs[0], self.plan.stages[index].inputs[1]);
        let plan = Arc::new(self.plan.clone());
        let clear = plan.settings.identifiers == Identifiers::Clear;
        let halves = self.cases[&scans]
            .clone()
            .map(|(_, case)| (case.series.series_uid().to_owned(), Half::Scan(case.series)))
            .concat(self.outlines[&source].clone().map(|(uid, outlines)| (uid, Half::Outlines(outlines))));
        let joined = halves.reduce(move |_, halves, output| {
            let mut outlines: Vec<&OutlinesRow> = halves
                .iter()
                .filter_map(|(half, _)| match half {
                    Half::Outlines(outlines) => Some(&**outlines),
                    Half::Scan(_) => None,
                })
                .collect();
            let newest_first = |a: &&OutlinesRow, b: &&OutlinesRow| {
                let by =
                    |row: &OutlinesRow| (row.outlines.date_time.clone(), row.outlines.digest, row.record);
                by(b).cmp(&by(a))
            };
            outlines.sort_by(newest_first);
            outlines.dedup_by_key(|row| row.outlines.digest);
            for (half, _) in halves {
                let Half::Scan(series) = half else { continue };
                let (chosen, refused) = choose(&plan.stages[source].stage, &outlines, newest, clear);
                let labels = chosen.map(|row| keys::labels(&plan, index, source, row, series));
                let case = CaseRow { series: series.clone(), labels };
                output.push(((case, refused), 1));
            }
        });
        let stage = self.names[index].clone();
        self.outputs.push(joined.clone().flat_map(move |(_, (case, refused))| {
            let key = case.series.key.to_string();
            refused.map(|reject| {
                Output::desired(Desired::Reject {
                    case: Some(key),
                    stage: stage.clone(),
                    reject,
                    attempts: 1,
                })
            })
        }));
        let cases = joined.map(|(_, (case, _))| (case.series.key.clone(), case));
        // It holds every scan that it was given, so that those need not be described again.
        let mut at = Some(&scans);
        while let Some(stage) = at {
            self.described.remove(stage);
            at = self.plan.stages[*stage].inputs.first();
        }
        self.described.insert(index, cases.clone());
        self.cases.insert(index, cases);
    }

    /// One row for each scan, however many stages assemble or label it: labelled when any does.
    pub(super) fn describe_all(&mut self) {
        let Some((_, first)) = self.described.pop_first() else { return };
        let cases = if self.described.is_empty() {
            first.map(|(_, case)| case)
        } else {
            let all = first.concatenate(std::mem::take(&mut self.described).into_values());
            let labelled = all.map(|(_, case)| (case.series, case.labels)).reduce(|_, labels, output| {
                output.push((labels.iter().find_map(|(labels, _)| (*labels).clone()), 1));
            });
            labelled.map(|(series, labels)| CaseRow { series, labels })
        };
        self.outputs.push(cases.map(|case| Output::desired(Desired::Case(case))));
    }
}

/// The outlines that count, or why none do. Of several those count that have what is asked for; where the newest does,
/// it alone.
fn choose<'a>(
    source: &Stage,
    outlines: &[&'a OutlinesRow],
    newest: bool,
    clear: bool,
) -> (Option<&'a OutlinesRow>, Option<Reject>) {
    let asks_for = |row: &OutlinesRow| match source {
        Stage::Labels(source) => source.asks_for(&row.outlines),
        _ => Ok(()),
    };
    let Some(first) = outlines.first() else { return (None, None) };
    let counted = if newest { several::newest(outlines) } else { outlines };
    let asked: Vec<&OutlinesRow> = counted.iter().copied().filter(|row| asks_for(row).is_ok()).collect();
    match asked[..] {
        [] => (None, asks_for(first).err()),
        [only] => (Some(only), None),
        ref asked => (None, Some(several::refused(asked, newest, clear))),
    }
}
