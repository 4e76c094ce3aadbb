//! Instances to series, series and outlines to cases.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::dicom::{Assembled, Instance, Part, assemble};
use tomoflow_connectors::rtstruct::Outlines;
use tomoflow_connectors::{Digest, Reject};

use super::super::rows::{Desired, Output};
use super::{Built, Rows};
use crate::executor::keys;
use crate::executor::work::{CaseRow, Grid, SeriesRow, SliceRow};

/// What a series came to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Verdict {
    Accepted(Arc<SeriesRow>),
    Rejected(String, Reject),
}

/// What refers to a series, before it is a case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Half {
    Scan(Arc<SeriesRow>),
    Outlines(Arc<Outlines>),
}

impl<'s> Built<'s, '_> {
    /// A series is assembled anew whenever one of its instances comes, changes or goes.
    pub(super) fn assemble(&mut self, index: usize) {
        let stage = self.names[index].clone();
        let instances = self.instances[&self.plan.stages[index].inputs[0]].clone();
        let verdicts = instances.reduce(|uid, instances, output| {
            // The same file twice is one row of multiplicity two; the assembler notes duplicates.
            let all: Vec<&Instance> = instances
                .iter()
                .flat_map(|(instance, count)| {
                    std::iter::repeat_n(&***instance, (*count).clamp(0, 2) as usize)
                })
                .collect();
            output.extend(assemble(&all).into_iter().map(|part| (verdict(uid, part, &all), 1)));
        });
        self.outputs.push(verdicts.clone().flat_map(move |(_, verdict)| match verdict {
            Verdict::Rejected(key, reject) => {
                Some(Output::Desired(Desired::Reject { case: Some(key), stage: stage.clone(), reject }))
            }
            Verdict::Accepted(_) => None,
        }));
        let cases = verdicts.flat_map(|(_, verdict)| match verdict {
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
            let mut outlines: Vec<&Outlines> = halves
                .iter()
                .filter_map(|(half, _)| match half {
                    Half::Outlines(outlines) => Some(&**outlines),
                    Half::Scan(_) => None,
                })
                .collect();
            outlines.sort_by(|a, b| (&b.date_time, &b.digest).cmp(&(&a.date_time, &a.digest)));
            outlines.dedup_by_key(|outlines| outlines.digest);
            for (half, _) in halves {
                let Half::Scan(series) = half else { continue };
                let (chosen, refused) = choose(&outlines, newest);
                let labels = chosen.map(|digest| keys::labels(&plan, index, source, digest, &series.grid));
                let case = CaseRow { series: series.clone(), labels };
                output.push(((case, refused), 1));
            }
        });
        let stage = self.names[index].clone();
        self.outputs.push(joined.clone().flat_map(move |(_, (case, refused))| {
            let key = case.series.key.clone();
            refused.map(|reject| {
                Output::Desired(Desired::Reject { case: Some(key), stage: stage.clone(), reject })
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
fn choose(outlines: &[&Outlines], newest: bool) -> (Option<Digest>, Option<Reject>) {
    match outlines {
        [] => (None, None),
        [first, ..] if newest || outlines.len() == 1 => (Some(first.digest), None),
        several => {
            let message = format!("one structure set expected for a scan, {} refer to it", several.len());
            let hint = "remove the outdated ones, or set `on_several = \"newest\"`";
            (None, Some(Reject::new("SEVERAL_LABELS", message, hint)))
        }
    }
}

fn verdict(uid: &str, part: Part, instances: &[&Instance]) -> Verdict {
    let key = if part.number == 0 { uid.to_owned() } else { format!("{uid}#{}", part.number) };
    match part.verdict {
        Ok(assembled) => Verdict::Accepted(Arc::new(series_row(key, &assembled, instances))),
        Err(reject) => Verdict::Rejected(key, reject),
    }
}

fn series_row(key: String, assembled: &Assembled, instances: &[&Instance]) -> SeriesRow {
    let slices: Vec<SliceRow> = assembled
        .slices
        .iter()
        .map(|slice| SliceRow {
            instance: instances[slice.instance].digest,
            frame: slice.frame,
            sop_uid: instances[slice.instance].sop_uid.clone(),
        })
        .collect();
    let grid = Grid::from(&assembled.geometry);
    let bytes = postcard::to_stdvec(&(&slices, &grid)).unwrap_or_default();
    let first = instances[assembled.slices[0].instance];
    let patient = if first.patient_id.is_empty() { &first.study_uid } else { &first.patient_id };
    SeriesRow {
        key,
        series_uid: first.series_uid.clone(),
        study_uid: first.study_uid.clone(),
        patient: patient.clone(),
        tags: first.tags.clone(),
        grid,
        slices,
        notes: assembled.notes.clone(),
        digest: Digest::of(&bytes),
    }
}
