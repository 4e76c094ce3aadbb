//! Labelled cases to the parts of a split, by patient.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Geometry, Reject};

use super::super::rows::{Conclusion, Desired};
use super::{Built, Rows};
use crate::executor::keys;
use crate::executor::work::{Action, BoundCase, SeriesRow, Work};
use crate::operators::models::train::{Part, Stratify, Subject, Train};
use crate::pipeline::{Identifiers, StageId};
use crate::store::{FigureRow, Outcome};

/// What comes of a split.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Placed {
    /// The case stands in this part.
    In(Arc<str>, Part),
    /// The case, or nobody, stands where its file says.
    Refused(Option<Arc<str>>, Reject),
}

impl<'s> Built<'s, '_> {
    /// Returns which case stands in which part; what a file says in vain becomes a reject. That it names
    /// nobody matters to a training alone: while `open` is not empty.
    pub(super) fn split(
        &mut self,
        index: usize,
        cases: Rows<'s, (Arc<str>, BoundCase)>,
        train: &Train,
        open: Rows<'s, ()>,
    ) -> Rows<'s, (Arc<str>, Part)> {
        let split = train.split.clone();
        let subjects = match split.stratify {
            Some(Stratify::Volume) => self.by_volume(index, cases),
            by => cases.map(move |(key, case)| {
                let stratum = by.map_or_else(Arc::default, |by| stratum(&case.series, by));
                (key, case.series.patient.clone(), stratum)
            }),
        };
        let placed = subjects.map(|subject| ((), subject)).reduce(move |_, cases, output| {
            let subjects: Vec<Subject> = cases
                .iter()
                .map(|((case, patient, stratum), _)| Subject { case, patient, stratum })
                .collect();
            let assigned = split.assign(&subjects);
            if assigned.nobody_named {
                output.push((Placed::Refused(None, nobody_named(subjects.len())), 1));
            }
            for ((case, patient, _), _) in cases {
                let Some(part) = assigned.parts.get(&**patient) else { continue };
                output.push((Placed::In(case.clone(), *part), 1));
                if let Some(named) = assigned.torn.get(&**case) {
                    let reject = torn(named.name(), part.name());
                    output.push((Placed::Refused(Some(case.clone()), reject), 1));
                }
            }
        });
        let stage = self.names[index].clone();
        let nobody = |placed: &Placed| matches!(placed, Placed::Refused(None, _));
        let told = placed.clone().filter(move |(_, placed)| !nobody(placed));
        let in_vain = placed.clone().filter(move |(_, placed)| nobody(placed)).semijoin(open.distinct());
        self.outputs.push(told.concat(in_vain).flat_map(move |(_, placed)| match placed {
            Placed::Refused(case, reject) => {
                let (case, stage) = (case.map(|case| case.to_string()), stage.clone());
                Some(Conclusion::desired(Desired::Reject { case, stage, reject, attempts: 1 }))
            }
            Placed::In(..) => None,
        }));
        placed.flat_map(|(_, placed)| match placed {
            Placed::In(case, part) => Some((case, part)),
            Placed::Refused(..) => None,
        })
    }
}

/// The code of a split that its patients do not suffice for: a training goes on with what there is.
pub(in crate::engine) const SHORT: &str = "SPLIT_SHORT";

impl<'s> Built<'s, '_> {
    /// Says what of a split its cases do not suffice for, as long as they do not.
    pub(super) fn tell_short(&mut self, index: usize, cases: Rows<'s, ((), BoundCase)>, train: &Train) {
        let (split, stage) = (train.split.clone(), self.names[index].clone());
        let patients =
            cases.map(|(unit, case)| (unit, (case.series.key.clone(), case.series.patient.clone())));
        let short = patients.reduce(move |_, cases, output| {
            let subject = |((case, patient), _): &(&(Arc<str>, Arc<str>), isize)| -> (Arc<str>, Arc<str>) {
                (case.clone(), patient.clone())
            };
            let known: Vec<_> = cases.iter().map(subject).collect();
            let subjects: Vec<Subject> =
                known.iter().map(|(case, patient)| Subject { case, patient, stratum: "" }).collect();
            if let Some(short) = split.short(&subjects) {
                let message = format!("a split that cannot be had: {short}");
                let hint = "all scans with the same PatientID are one patient, even if an anonymiser gave \
                            every scan the same; without anybody to validate on the model is that of the \
                            last epoch";
                output.push((Reject::new(SHORT, message, hint), 1));
            }
        });
        self.outputs.push(short.map(move |(_, reject)| {
            Conclusion::desired(Desired::Reject { case: None, stage: stage.clone(), reject, attempts: 1 })
        }));
    }
}

/// The code of names in a split's file that are nobody's: a training goes on with those that are somebody's.
pub(in crate::engine) const UNKNOWN_NAME: &str = "SPLIT_NAME_UNKNOWN";

/// Names that a row shows.
const NAMES: usize = 8;

impl<'s> Built<'s, '_> {
    /// Says which names of a split's file are those of no case, with labels or without, as long as there is none.
    pub(super) fn tell_unknown(&mut self, index: usize, cases: Rows<'s, ((), BoundCase)>, train: &Train) {
        if train.split.named.is_none() {
            return;
        }
        let (split, stage) = (train.split.clone(), self.names[index].clone());
        let clear = self.plan.settings.identifiers == Identifiers::Clear;
        let patients =
            cases.map(|(unit, case)| (unit, (case.series.key.clone(), case.series.patient.clone())));
        let unknown = patients.reduce(move |_, cases, output| {
            let known = |((case, patient), _): &(&(Arc<str>, Arc<str>), isize)| -> (Arc<str>, Arc<str>) {
                (case.clone(), patient.clone())
            };
            let known: Vec<_> = cases.iter().map(known).collect();
            let subjects: Vec<Subject> =
                known.iter().map(|(case, patient)| Subject { case, patient, stratum: "" }).collect();
            let (names, all) = split.unknown(&subjects);
            if !names.is_empty() {
                output.push((unknown_names(&names, all, clear), 1));
            }
        });
        self.outputs.push(unknown.map(move |(_, reject)| {
            Conclusion::desired(Desired::Reject { case: None, stage: stage.clone(), reject, attempts: 0 })
        }));
    }
}

fn unknown_names(names: &[&str], all: usize, clear: bool) -> Reject {
    let mut message = format!(
        "names of cases expected in the file of the split, {} of {all} are those of none",
        names.len()
    );
    if clear {
        let shown: Vec<String> = names.iter().take(NAMES).map(|name| format!("`{name}`")).collect();
        let more = if names.len() > NAMES { ", …" } else { "" };
        message += &format!(": {}{more}", shown.join(", "));
    }
    let hint = "names are compared letter for letter; a case that nobody names stands in `test`";
    Reject::new(UNKNOWN_NAME, message, hint)
}

/// A case, its patient, and what it is stratified by.
type Placeable = (Arc<str>, Arc<str>, Arc<str>);

impl<'s> Built<'s, '_> {
    /// Cases by the volume of their labels, once all of them are measured: until then nobody stands anywhere.
    fn by_volume(&mut self, index: usize, cases: Rows<'s, (Arc<str>, BoundCase)>) -> Rows<'s, Placeable> {
        let stage = StageId::at(index);
        let wanted = cases.flat_map(move |(_, case)| {
            let key = keys::volume(case.labels.as_ref()?.digest);
            Some((Action { key, stage, work: Work::Volume(case) }, ()))
        });
        let awaited = wanted.clone().flat_map(|(action, ())| {
            let series = action.work.series()?;
            Some((action.key, (series.key.clone(), series.patient.clone())))
        });
        self.act(wanted);
        let measured = self.awaited(awaited).map(|((case, patient), outcome)| {
            let stratum = match outcome {
                Some(Outcome::Ok { figures, .. }) => Some(size_class(&figures)),
                // It is refused by name where it is prepared, too.
                Some(Outcome::Failed { lasting: true, .. }) => Some(Arc::default()),
                Some(Outcome::Failed { lasting: false, .. }) | None => None,
            };
            ((), (case, patient, stratum))
        });
        let complete = measured.reduce(|_, cases, output| {
            let mut known: Vec<Placeable> = Vec::with_capacity(cases.len());
            for ((case, patient, stratum), _) in cases {
                let Some(stratum) = stratum else { return };
                known.push((case.clone(), patient.clone(), stratum.clone()));
            }
            output.extend(known.into_iter().map(|case| (case, 1)));
        });
        complete.map(|(_, case)| case)
    }
}

/// The class of a volume in ml: the nearest power of two.
fn size_class(figures: &[FigureRow]) -> Arc<str> {
    let ml = figures.first().and_then(|figure| figure.value).map_or(0.0, |value| value.0);
    // `+ 0.0` makes −0 0.
    if ml > 0.0 { format!("{}", ml.log2().round() + 0.0).into() } else { "empty".into() }
}

fn nobody_named(cases: usize) -> Reject {
    let message = format!("{cases} labelled cases, none of which the file of the split names");
    let hint = "it names patients or series as the scans do, and not by the pseudonyms of tables";
    Reject::new("NOBODY_NAMED", message, hint)
}

fn torn(named: &str, stands: &str) -> Reject {
    let message = format!("named for `{named}`, but its patient stands in `{stands}` by another series");
    Reject::new("TORN_PATIENT", message, "name all series of a patient for one part")
}

/// Returns what a scan is alike to others in.
fn stratum(series: &SeriesRow, by: Stratify) -> Arc<str> {
    match by {
        // `SIEMENS`, `Siemens` and `Siemens Healthineers` are one.
        Stratify::Vendor => {
            let mut words = series.manufacturer.split(|letter: char| !letter.is_alphanumeric());
            words.find(|word| !word.is_empty()).unwrap_or_default().to_lowercase().into()
        }
        Stratify::Scanner => series.model_name.trim().to_lowercase().into(),
        Stratify::Modality => series.modality.clone(),
        // No scan says it: labels are measured.
        Stratify::Volume => Arc::default(),
        Stratify::Spacing => {
            let [between, _, _] = Geometry::from(&series.grid).spacing_mm();
            // `+ 0.0` makes −0 0.
            format!("{}", (2.0 * between.log2()).round() + 0.0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use tomoflow_connectors::Real;

    use super::*;
    use crate::metrics::State;

    fn series(manufacturer: &str, between_mm: f64) -> SeriesRow {
        SeriesRow {
            manufacturer: manufacturer.into(),
            model_name: " Aera ".into(),
            ..SeriesRow::sample("1.2", &Geometry::axis_aligned([4, 16, 16], [between_mm, 0.4, 0.4]))
        }
    }

    #[test]
    fn volumes_are_alike_when_they_differ_by_less_than_half() {
        let class = |ml: f64| {
            let text = |text: &str| Arc::from(text);
            let value = Some(Real::new(ml));
            let (label, metric, unit, state) = (text(""), text("volume"), text("ml"), State::OK);
            size_class(&[FigureRow { label, metric, value, unit, state }])
        };
        let classes = [0.0, 0.4, 0.6, 0.9, 1.4, 1.5, 3.0, 700.0].map(class);
        assert_eq!(classes.each_ref().map(|class| &**class), ["empty", "-1", "-1", "0", "0", "1", "2", "9"]);
        assert_eq!(&*size_class(&[]), "empty");
    }

    #[test]
    fn what_is_alike_is_of_one_stratum() {
        let of = |manufacturer: &str, between_mm: f64, by| stratum(&series(manufacturer, between_mm), by);
        for (manufacturer, vendor) in
            [("SIEMENS", "siemens"), ("Siemens Healthineers", "siemens"), ("GE_MEDICAL", "ge"), (" ", "")]
        {
            assert_eq!(&*of(manufacturer, 1.5, Stratify::Vendor), vendor);
        }
        assert_eq!(&*of("a", 1.5, Stratify::Scanner), "aera");
        assert_eq!(&*of("a", 1.5, Stratify::Modality), "MR");
        let classes = [0.9, 1.0, 1.1, 1.5, 5.0].map(|mm| of("a", mm, Stratify::Spacing));
        assert_eq!(classes.map(|class| class.to_string()), ["0", "0", "0", "1", "5"]);
    }
}
