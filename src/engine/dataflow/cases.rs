//! Series and outlines to cases.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::Reject;

use super::super::rows::{Desired, Output};
use super::{Built, Rows};
use crate::executor::keys;
use crate::executor::work::{CaseRow, OutlinesRow, SeriesRow, Verdict};

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
                Some(Output::Desired(Desired::Reject { case, stage, reject, attempts: 1 }))
            }
            Verdict::Accepted(_) => None,
        }));
        let cases = verdicts.flat_map(|verdict| match verdict {
            Verdict::Accepted(series) => Some((series.key.clone(), CaseRow { series, labels: None })),
            Verdict::Rejected(..) => None,
        });
        self.describe(&cases);
        self.cases.insert(index, cases);
    }

    /// A case is its scan and the outlines that refer to it.
    pub(super) fn label(&mut self, index: usize, newest: bool) {
        let (scans, source) = (self.plan.stages[index].inputs[0], self.plan.stages[index].inputs[1]);
        let plan = Arc::new(self.plan.clone());
        let halves = self.cases[&scans]
            .clone()
            .map(|(_, case)| (case.series.series_uid.clone(), Half::Scan(case.series)))
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
                let (chosen, refused) = choose(&outlines, newest);
                let labels = chosen.map(|row| keys::labels(&plan, index, source, row, &series.grid));
                let case = CaseRow { series: series.clone(), labels };
                output.push(((case, refused), 1));
            }
        });
        let stage = self.names[index].clone();
        self.outputs.push(joined.clone().flat_map(move |(_, (case, refused))| {
            let key = case.series.key.clone();
            refused.map(|reject| {
                Output::Desired(Desired::Reject {
                    case: Some(key),
                    stage: stage.clone(),
                    reject,
                    attempts: 1,
                })
            })
        }));
        let cases = joined.map(|(_, (case, _))| (case.series.key.clone(), case));
        self.describe(&cases);
        self.cases.insert(index, cases);
    }

    /// One row for each scan, however many stages assemble or label it: labelled when any does.
    pub(super) fn describe_all(&mut self) {
        let Some(first) = self.described.pop() else { return };
        let all = first.concatenate(std::mem::take(&mut self.described));
        let cases = all.map(|(key, case)| ((key, case.series), case.labels)).reduce(|_, labels, output| {
            output.push((labels.iter().find_map(|(labels, _)| (*labels).clone()), 1));
        });
        let cases = cases.map(|((_, series), labels)| CaseRow { series, labels });
        self.outputs.push(cases.map(|case| Output::Desired(Desired::Case(case))));
    }

    fn describe(&mut self, cases: &Rows<'s, (String, CaseRow)>) {
        self.described.push(cases.clone());
    }
}

/// The outlines that count, or why none do.
fn choose<'a>(outlines: &[&'a OutlinesRow], newest: bool) -> (Option<&'a OutlinesRow>, Option<Reject>) {
    match outlines {
        [] => (None, None),
        [first, ..] if newest || outlines.len() == 1 => (Some(first), None),
        several => {
            let message = format!("one structure set expected for a scan, {} refer to it", several.len());
            let hint = "remove the outdated ones, or set `on_several = \"newest\"`";
            (None, Some(Reject::new("SEVERAL_LABELS", message, hint)))
        }
    }
}
