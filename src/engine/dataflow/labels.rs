//! Labels to the scans that they were drawn on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Digest, Reject};

use super::super::rows::{Conclusion, Desired, ImagesRow};
use super::binding::{Bound, bind, by_name, same_patient};
use super::{Built, Rows, several};
use crate::executor::keys;
use crate::executor::work::{Beside, BoundCase, OutlinesRow, SeriesRow};
use crate::operators::registry::Stage;
use crate::operators::source::{LabelSource, LabelsIn, quoted};
use crate::pipeline::Identifiers;

mod series;

/// What labels may be of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Named {
    /// A series, or the case of another format.
    Series(Arc<str>),
    /// Whatever lies in a frame of reference: of labels that name no series.
    Frame(Arc<str>),
}

/// Labels that a scan has, or why it has not those.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Found {
    labels: Arc<OutlinesRow>,
    apart: bool,
    /// The digest of the scan's images, where they were looked at.
    images: Digest,
    named: bool,
    refused: Option<Reject>,
}

/// A scan, and what was found for it.
type Half = (Option<(Arc<SeriesRow>, Option<Arc<Beside>>)>, Option<Found>);

impl<'s> Built<'s, '_> {
    /// A case is its scan and the labels that were drawn on it.
    pub(super) fn label(&mut self, index: usize, newest: bool, images: Rows<'s, Arc<ImagesRow>>) {
        let (scans, source) = (self.plan.stages[index].inputs[0], self.plan.stages[index].inputs[1]);
        let Stage::Labels(labels) = &self.plan.stages[source].stage else { return };
        let series = self.cases[&scans].clone().map(|(_, case)| case.series);
        let objects = matches!(labels.lies_in(), LabelsIn::Objects { .. });
        let meant = self.meant(source, series.clone(), objects);
        let found = match labels.lies_in() {
            LabelsIn::Objects { .. } => told_apart(meant, images),
            LabelsIn::Files(_) => named_apart(meant),
            LabelsIn::Table(_) => meant.map(named_alone),
            LabelsIn::Series { trusted, .. } => self.of_label_series(source, trusted, series, images),
        };
        let halves =
            self.cases[&scans].clone().map(|(key, case)| (key, (Some((case.series, case.beside)), None)));
        let halves = halves.concat(found.map(|(key, found)| (key, (None, Some(found)))));
        let (labels, plan) = (labels.clone(), Arc::new(self.plan.clone()));
        let clear = plan.settings.identifiers == Identifiers::Clear;
        let joined = halves.reduce(move |_, halves: &[(&Half, isize)], output| {
            let mut found: Vec<&Found> = halves.iter().filter_map(|((_, found), _)| found.as_ref()).collect();
            found.sort_by(|a, b| newest_first(a, b));
            found.dedup_by_key(|found| found.labels.outlines.digest);
            for ((series, _), _) in halves {
                let Some((series, beside)) = series else { continue };
                let (chosen, refused) = choose(&*labels, series, &found, newest, clear);
                let labels = chosen.map(|(found, absent)| {
                    let drawn = keys::DrawnBy { apart: found.apart, images: found.images };
                    keys::labels(&plan, index, source, &found.labels, series, drawn, absent)
                });
                let case = BoundCase { series: series.clone(), labels, beside: beside.clone() };
                output.push(((case, refused), 1));
            }
        });
        let stage = self.names[index].clone();
        self.outputs.push(joined.clone().flat_map(move |(key, (_, refused))| {
            let (case, stage) = (Some(key.to_string()), stage.clone());
            refused.map(|(reject, attempts)| {
                Conclusion::desired(Desired::Reject { case, stage, reject, attempts })
            })
        }));
        let cases = joined.map(|(key, (case, _))| (key, case));
        // It holds every scan that it was given, so that those need not be described again.
        let mut at = Some(&scans);
        while let Some(stage) = at {
            self.described.remove(stage);
            at = self.plan.stages[*stage].inputs.first();
        }
        self.described.insert(index, cases.clone());
        self.cases.insert(index, cases);
    }

    /// Labels with each scan that they may be of: of a series that they name, or else in their frame of reference.
    fn meant(
        &self,
        source: usize,
        scans: Rows<'s, Arc<SeriesRow>>,
        objects: bool,
    ) -> Rows<'s, (Arc<OutlinesRow>, Arc<SeriesRow>)> {
        let scans = scans.flat_map(move |scan| {
            let frame = scan.frame_of_reference.clone();
            let frame = (objects && !frame.is_empty()).then_some(Named::Frame(frame));
            let series = Named::Series(scan.series_uid().into());
            // No object refers to one scan of a series; a file's name may.
            let own = scan.own_name().filter(|_| !objects).map(|name| Named::Series(name.into()));
            std::iter::once(series).chain(frame).chain(own).map(move |name| (name, scan.clone()))
        });
        let labels = self.outlines[&source].clone().flat_map(|row| {
            let named = |uid: &String| Named::Series(uid.as_str().into());
            let mut names: Vec<Named> = row.outlines.referenced_series.iter().map(named).collect();
            if names.is_empty() {
                names = row.outlines.frames.iter().map(|uid| Named::Frame(uid.as_str().into())).collect();
            }
            names.into_iter().map(move |name| (name, row.clone()))
        });
        // The same file twice is one.
        let meant = labels.distinct().join(scans);
        meant.flat_map(|(name, (row, scan))| {
            let meant = matches!(name, Named::Series(_)) || same_patient(&row, &scan);
            meant.then_some((row, scan))
        })
    }
}

/// Returns files of labels with the scans that their names say.
fn named_apart<'s>(meant: Rows<'s, (Arc<OutlinesRow>, Arc<SeriesRow>)>) -> Rows<'s, (Arc<str>, Found)> {
    let of_series = meant.map(|(labels, scan)| (Arc::<str>::from(scan.series_uid()), (labels, scan)));
    let bound = of_series.reduce(|_, meant, output| {
        let pairs: Vec<&(Arc<OutlinesRow>, Arc<SeriesRow>)> = meant.iter().map(|(pair, _)| *pair).collect();
        let named: Vec<(&OutlinesRow, &SeriesRow)> =
            pairs.iter().map(|(labels, scan)| (&**labels, &**scan)).collect();
        for ((labels, scan), bound) in pairs.iter().zip(by_name(&named)) {
            let refused = match bound {
                Some(Bound::Here { .. }) => None,
                Some(Bound::Elsewhere(reject)) => Some(reject),
                None => continue,
            };
            let (_, found) = named_alone((labels.clone(), scan.clone()));
            output.push(((scan.key.clone(), Found { refused, ..found }), 1));
        }
    });
    bound.map(|(_, found)| found)
}

/// Returns what a name or a table binds.
fn named_alone((labels, scan): (Arc<OutlinesRow>, Arc<SeriesRow>)) -> (Arc<str>, Found) {
    (scan.key.clone(), Found { labels, apart: false, images: Digest::default(), named: true, refused: None })
}

/// Returns objects of labels with the scans that they were drawn on, and with those that they were not.
fn told_apart<'s>(
    meant: Rows<'s, (Arc<OutlinesRow>, Arc<SeriesRow>)>,
    images: Rows<'s, Arc<ImagesRow>>,
) -> Rows<'s, (Arc<str>, Found)> {
    let images = images.map(|row| (row.key.clone(), row)).distinct();
    let keyed = meant.clone().map(|(labels, scan)| (scan.key.clone(), labels));
    let images = keyed.join(images).map(|(_, (labels, images))| (labels, (None, Some(images))));
    let scans = meant.map(|(labels, scan)| (labels, (Some(scan), None)));
    let bound = scans.concat(images).reduce(|labels, halves, output| {
        let halves = || halves.iter().map(|(half, _)| *half);
        let images: Vec<&Arc<ImagesRow>> =
            halves().filter_map(|half: &(_, Option<Arc<ImagesRow>>)| half.1.as_ref()).collect();
        let scans: Vec<Arc<SeriesRow>> = halves().filter_map(|half| half.0.clone()).collect();
        let marks = |key: &str| images.iter().find(|row| &*row.key == key).map(|row| &*row.marks);
        let candidates: Vec<_> = scans.iter().map(|scan| (&**scan, marks(&scan.key))).collect();
        for (scan, bound) in scans.iter().zip(bind(&labels.outlines, &candidates)) {
            let labels: Arc<OutlinesRow> = labels.clone();
            let bytes = |marks: &[u64]| marks.iter().flat_map(|mark| mark.to_le_bytes()).collect::<Vec<u8>>();
            let images = marks(&scan.key).map_or_else(Digest::default, |marks| Digest::of(&bytes(marks)));
            let found = match bound {
                Bound::Here { apart, named } => Found { labels, apart, images, named, refused: None },
                Bound::Elsewhere(reject) => {
                    Found { labels, apart: false, images, named: false, refused: Some(reject) }
                }
            };
            output.push(((scan.key.clone(), found), 1));
        }
    });
    bound.map(|(_, found)| found)
}

fn newest_first(a: &Found, b: &Found) -> std::cmp::Ordering {
    let by = |found: &Found| -> (String, Digest, Digest) {
        let row = &found.labels;
        (row.outlines.date_time.clone(), row.outlines.digest, row.record)
    };
    by(b).cmp(&by(a))
}

/// The code of labels that are another scan's.
const ELSEWHERE: &str = "DRAWN_ELSEWHERE";

/// The labels that count, with those that they lack; and what is to be told, with how often it was tried.
type Choice<'a> = (Option<(&'a Found, Vec<u16>)>, Option<(Reject, u32)>);

/// The labels that count, with those that they lack, or why none do. Of several those count that have what is asked
/// for; where the newest does, it alone.
fn choose<'a>(
    source: &dyn LabelSource,
    scan: &SeriesRow,
    found: &[&'a Found],
    newest: bool,
    clear: bool,
) -> Choice<'a> {
    let told = |reject: Reject| {
        // Labels that are another scan's are none that this one was refused.
        let attempts = u32::from(reject.code != ELSEWHERE);
        (reject, attempts)
    };
    let asks_for = |found: &Found| match &found.refused {
        Some(reject) => Err(reject.clone()),
        None => {
            let (row, frame) = (&found.labels.outlines, &*scan.frame_of_reference);
            let here = |place: usize| {
                let of = row.frame_of(place);
                found.named || of.is_empty() || frame.is_empty() || of == frame
            };
            source.asks_for(row, &here)
        }
    };
    let here: Vec<&Found> = found.iter().copied().filter(|found| found.refused.is_none()).collect();
    let Some(first) = here.first() else {
        return (None, found.first().and_then(|found| found.refused.clone()).map(told));
    };
    let rows: Vec<&OutlinesRow> = here.iter().map(|found| &*found.labels).collect();
    let counted = if newest { several::newest(&rows).len() } else { here.len() };
    let mut asked: Vec<(&Found, Vec<u16>)> =
        here.iter().take(counted).filter_map(|found| Some((*found, asks_for(found).ok()?))).collect();
    match (asked.len(), asked.pop()) {
        (_, None) => (None, asks_for(first).err().map(told)),
        (1, Some((only, absent))) => {
            let lacked = (!absent.is_empty()).then(|| (lacks(source, only, &absent), 0));
            (Some((only, absent)), lacked)
        }
        (_, Some(last)) => {
            asked.push(last);
            let rows: Vec<&OutlinesRow> = asked.iter().map(|(found, _)| &*found.labels).collect();
            (None, Some(told(several::refused(&rows, newest, clear))))
        }
    }
}

/// Returns what is told of labels that an object has nothing of.
fn lacks(source: &dyn LabelSource, found: &Found, absent: &[u16]) -> Reject {
    let names = source.label_names();
    let name = |label: &u16| names.get(usize::from(*label).wrapping_sub(1)).map_or("", String::as_str);
    let has = quoted(found.labels.outlines.structures.iter().map(String::as_str), ", ");
    let message =
        format!("structures for {} expected, the file has {has}", quoted(absent.iter().map(name), ", "));
    let hint = "the scan counts as unlabelled for these: it is neither trained on nor scored for them; `absent = \
                \"empty\"` where a structure that is not there is one that the patient has not";
    Reject::new("NO_STRUCTURE", message, hint)
}
