//! Scans to the cases whose channels they are.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Geometry, Reject};

use super::super::rows::{Conclusion, Desired};
use super::Built;
use crate::executor::work::{Beside, BoundCase, Other, ScanForm, SeriesRow};
use crate::operators::cases::channels::{Frames, JoinChannels, OnMissing, Pair, SAME_GRID_MM};
use crate::operators::cases::rule::Rule;
use crate::operators::registry::Stage;

/// Descriptions that are shown by name.
const NAMED: usize = 5;

/// What comes of the scans of a study, or of a patient.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Paired {
    /// A case.
    Case(BoundCase),
    /// A scan that makes none, by its key.
    Refused(Arc<str>, Reject),
}

impl<'s> Built<'s, '_> {
    /// Scans of one study, one of each input, are one case; only what is of that study is looked at again when one of
    /// them changes.
    pub(super) fn channels(&mut self, index: usize, join: &JoinChannels) {
        let names: Vec<Vec<String>> = self.plan.input_channels(index);
        let inputs = self.plan.stages[index].inputs.clone();
        let waits = inputs.iter().any(|&input| self.waits_for_intensities(input));
        let by = join.pair;
        let together = (0_u16..).zip(&inputs).map(|(place, input)| {
            let scans = self.cases[input].clone();
            scans.map(move |(_, case)| {
                let group = match by {
                    Pair::Study => case.series.study_uid.clone(),
                    Pair::Patient => case.series.patient.clone(),
                };
                (group, (place, case))
            })
        });
        let mut together: Vec<_> = together.collect();
        let Some(first) = together.pop() else { return };
        let pairing = Pairing { join: join.clone(), names, all: self.plan.channels(index).into() };
        let paired = first.concatenate(together).reduce(move |group, scans, output| {
            let scans: Vec<&(u16, BoundCase)> = scans.iter().map(|(scan, _)| *scan).collect();
            output.extend(pairing.pair(group, &scans).into_iter().map(|paired| (paired, 1)));
        });
        // A scan that waits for numbers of the archive is not a missing one.
        let paired = paired.filter(move |_| !waits);
        let stage = self.names[index].clone();
        self.outputs.push(paired.clone().flat_map(move |(_, paired)| match paired {
            Paired::Refused(key, reject) => {
                let (case, stage) = (Some(key.to_string()), stage.clone());
                Some(Conclusion::desired(Desired::Reject { case, stage, reject, attempts: 1 }))
            }
            Paired::Case(_) => None,
        }));
        let cases = paired.flat_map(|(_, paired)| match paired {
            Paired::Case(case) => Some((case.series.key.clone(), case)),
            Paired::Refused(..) => None,
        });
        self.forget_described(index);
        self.described.insert(index, cases.clone());
        if self.plan.stages[index].keep {
            self.keep(index, cases.clone());
        }
        self.cases.insert(index, cases);
    }

    /// Whether a stage gives nothing before the intensities of the archive are measured.
    fn waits_for_intensities(&self, stage: usize) -> bool {
        self.plan.transforms(stage).0.iter().any(|&at| match &self.plan.stages[at].stage {
            Stage::Transform(transform) => matches!(transform.rule(), Some(Rule::Intensities(_))),
            _ => false,
        })
    }

    /// Scans that are channels are no cases by themselves, unless something else takes them.
    fn forget_described(&mut self, index: usize) {
        let stages = &self.plan.stages;
        for &input in &stages[index].inputs {
            let mut at = input;
            while stages.iter().filter(|stage| stage.inputs.contains(&at)).count() == 1 {
                self.described.remove(&at);
                match (&stages[at].stage, stages[at].inputs.first()) {
                    (Stage::Transform(_) | Stage::Label { .. }, Some(&before)) => at = before,
                    _ => break,
                }
            }
        }
    }
}

/// How scans find each other.
struct Pairing {
    join: JoinChannels,
    /// The channels of each input.
    names: Vec<Vec<String>>,
    all: Arc<[String]>,
}

impl Pairing {
    /// The case that scans of one study make, each with the place of its input; or why they make none.
    fn pair(&self, group: &str, scans: &[&(u16, BoundCase)]) -> Vec<Paired> {
        let of = |place: usize| -> Vec<&BoundCase> {
            scans.iter().filter(|(at, _)| usize::from(*at) == place).map(|(_, case)| case).collect()
        };
        let candidates: Vec<Vec<&BoundCase>> = (0..self.names.len()).map(of).collect();
        let refused = |case: &BoundCase, reject: Reject| Paired::Refused(case.series.key.clone(), reject);
        // Scans that name no study are not of one: they may be of anybody.
        if group.is_empty() {
            return scans.iter().map(|(_, case)| refused(case, self.of_no_study())).collect();
        }
        let Some(firsts) = candidates.first().filter(|firsts| !firsts.is_empty()) else {
            return scans.iter().map(|(_, case)| refused(case, self.alone())).collect();
        };
        let several = candidates.iter().position(|candidates| candidates.len() > 1);
        if let Some(place) = several {
            let reject = self.several(place, &candidates[place]);
            return firsts.iter().map(|first| refused(first, reject.clone())).collect();
        }
        let Some(&first) = firsts.first() else { return Vec::new() };
        match self.case(first, &candidates) {
            Ok(case) => vec![Paired::Case(case)],
            Err(reject) => vec![refused(first, reject)],
        }
    }

    fn case(&self, first: &BoundCase, candidates: &[Vec<&BoundCase>]) -> Result<BoundCase, Reject> {
        let (mut others, mut missing) = (Vec::new(), Vec::new());
        for (names, candidates) in self.names.iter().zip(candidates).skip(1) {
            let series = candidates.first().map(|case| case.series.clone());
            match &series {
                Some(series) => {
                    self.of_one_patient(&first.series, series, names)?;
                    self.comparable(&first.series, series, names)?;
                }
                None => missing.extend(names.iter().map(|name| format!("`{name}`"))),
            }
            others.push(Other { channels: names.len() as u16, series });
        }
        if !missing.is_empty() && self.join.on_missing == OnMissing::Reject {
            let message = format!(
                "a scan for each channel in one {} expected, none for {}",
                self.group(),
                missing.join(", ")
            );
            let hint = "with `on_missing = \"zero\"` a missing channel is 0 everywhere; a scan that its source refused \
                        counts as missing";
            return Err(Reject::new("CHANNEL_MISSING", message, hint));
        }
        Ok(BoundCase { beside: Some(Arc::new(Beside { names: self.all.clone(), others })), ..first.clone() })
    }

    /// Whether scans of one study are of one patient, as far as both say whose they are.
    fn of_one_patient(&self, first: &SeriesRow, other: &SeriesRow, names: &[String]) -> Result<(), Reject> {
        // The study stands where a scan does not say it.
        let says = |row: &SeriesRow| row.form == ScanForm::Instances && row.patient != row.study_uid;
        if !says(first) || !says(other) || first.patient == other.patient {
            return Ok(());
        }
        let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let message =
            format!("scans of one patient in a study expected, another PatientID for {names} found");
        let hint = "one of both has the StudyInstanceUID or the PatientID of another: mend it in the files";
        Err(Reject::new("PATIENTS_DIFFER", message, hint))
    }

    /// The refusal of a scan that does not say what it belongs to.
    fn of_no_study(&self) -> Reject {
        match self.join.pair {
            Pair::Study => Reject::new(
                "NO_STUDY",
                "a StudyInstanceUID expected, none found: nothing says which scans are of one case",
                "say `pair = \"patient\"`, or mend the UIDs",
            ),
            Pair::Patient => Reject::new(
                "NO_PATIENT",
                "a PatientID expected, neither it nor a StudyInstanceUID found: nothing says which scans are of one case",
                "mend them in the files",
            ),
        }
    }

    /// Whether positions of two scans are those of one space.
    fn comparable(&self, first: &SeriesRow, other: &SeriesRow, names: &[String]) -> Result<(), Reject> {
        let frames = (&*first.frame_of_reference, &*other.frame_of_reference);
        let grids = || Geometry::from(&first.grid).same_grid(&Geometry::from(&other.grid), SAME_GRID_MM);
        let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let found = match frames {
            _ if self.join.frames == Frames::Trusted => return Ok(()),
            ("", "") if grids() => return Ok(()),
            ("", "") => "files that say none, on different grids, found",
            (a, b) if a == b => return Ok(()),
            ("", _) | (_, "") => "one that only one of both scans says found",
            _ => "different ones found",
        };
        let message = format!("one frame of reference for {names} and the first channel expected, {found}");
        let hint = "nothing is registered: where their positions are comparable all the same, say `frames = \
                    \"trusted\"`";
        Err(Reject::new("FRAMES_DIFFER", message, hint))
    }

    fn group(&self) -> &'static str {
        match self.join.pair {
            Pair::Study => "study",
            Pair::Patient => "patient",
        }
    }

    /// The refusal of a scan without the one that gives the grid.
    fn alone(&self) -> Reject {
        let names = self.names.first().map_or_else(String::new, |names| names.join(", "));
        let message = format!(
            "a scan for `{names}`, which gives the grid, expected in the scan's {}, none found",
            self.group()
        );
        let hint = "another input may come first where this one is missing; a scan that its source refused counts as \
                    missing";
        Reject::new("CHANNEL_ALONE", message, hint)
    }

    /// The refusal of a study with more than one scan of an input.
    fn several(&self, place: usize, candidates: &[&BoundCase]) -> Reject {
        let names = self.names.get(place).map_or_else(String::new, |names| names.join(", "));
        let mut described: Vec<String> =
            candidates.iter().map(|case| format!("{:?}", case.series.description)).collect();
        described.sort();
        let more = if described.len() > NAMED { ", …" } else { "" };
        described.truncate(NAMED);
        let message = format!(
            "one scan for `{names}` in one {} expected, {} found: {}{more}",
            self.group(),
            candidates.len(),
            described.join(", ")
        );
        let hint = "a `where` at its source keeps one: by SeriesDescription, ProtocolName, ImageType, …";
        Reject::new("SEVERAL_CANDIDATES", message, hint)
    }
}

#[cfg(test)]
mod tests {
    use tomoflow_connectors::Digest;

    use super::*;
    use crate::operators::cases::channels::Fill;

    fn scan(key: &str, frame: &str, spacing: f64) -> BoundCase {
        let grid = Geometry::axis_aligned([2, 2, 2], [spacing, 1.0, 1.0]);
        BoundCase::of(Arc::new(SeriesRow {
            description: key.into(),
            frame_of_reference: frame.into(),
            list: Digest::of(key.as_bytes()),
            digest: Digest::of(key.as_bytes()),
            ..SeriesRow::sample(key, &grid)
        }))
    }

    fn pairing(on_missing: OnMissing, frames: Frames) -> Pairing {
        let join = JoinChannels { names: None, on_missing, frames, pair: Pair::Study, fill: Fill::One(0.0) };
        let names = ["t1", "t2"].map(str::to_owned);
        Pairing { join, names: names.iter().map(|name| vec![name.clone()]).collect(), all: names.into() }
    }

    /// Returns `key:code`, or the keys of the channels of a case.
    fn words(pairing: &Pairing, scans: &[(u16, BoundCase)]) -> Vec<String> {
        let word = |paired| match paired {
            Paired::Case(case) => {
                let keys: Vec<&str> = case.scans().map(|series| &*series.key).collect();
                keys.join("+")
            }
            Paired::Refused(key, reject) => format!("{key}:{}", reject.code),
        };
        let group = scans.first().map(|(_, case)| match pairing.join.pair {
            Pair::Study => case.series.study_uid.clone(),
            Pair::Patient => case.series.patient.clone(),
        });
        let scans: Vec<_> = scans.iter().collect();
        pairing.pair(&group.unwrap_or_default(), &scans).into_iter().map(word).collect()
    }

    /// The same scan, of another study and patient.
    fn of(study: &str, patient: &str, (place, case): (u16, BoundCase)) -> (u16, BoundCase) {
        let row = SeriesRow { study_uid: study.into(), patient: patient.into(), ..(*case.series).clone() };
        (place, BoundCase::of(Arc::new(row)))
    }

    #[test]
    fn one_of_each_is_a_case() {
        let strict = pairing(OnMissing::Reject, Frames::Same);
        let (a, b) = (|| (0, scan("a", "f", 1.0)), || (1, scan("b", "f", 3.0)));
        assert_eq!(words(&strict, &[a(), b()]), ["a+b"]);
        assert_eq!(words(&strict, &[a()]), ["a:CHANNEL_MISSING"]);
        assert_eq!(words(&strict, &[b()]), ["b:CHANNEL_ALONE"]);
        let two = (1, scan("c", "f", 1.0));
        assert_eq!(words(&strict, &[a(), b(), two.clone()]), ["a:SEVERAL_CANDIDATES"]);
        let firsts = [(0, scan("c", "f", 1.0)), a(), b()];
        assert_eq!(words(&strict, &firsts), ["c:SEVERAL_CANDIDATES", "a:SEVERAL_CANDIDATES"]);
        let Some(Paired::Refused(_, reject)) = strict.pair("study", &[&a(), &b(), &two]).pop() else {
            panic!()
        };
        assert!(reject.message.contains("\"b\", \"c\"") && reject.hint.contains("`where`"), "{reject}");
        // A missing channel may be 0, but for the one that gives the grid.
        let zero = pairing(OnMissing::Zero, Frames::Same);
        assert_eq!(words(&zero, &[a()]), ["a"]);
        assert_eq!(words(&zero, &[b()]), ["b:CHANNEL_ALONE"]);
        let Some(Paired::Case(case)) = zero.pair("study", &[&a()]).pop() else { panic!() };
        assert_eq!(case.channel_notes(), ["CHANNELS: t1, t2", "CHANNEL_MISSING: t2 is 0 everywhere"]);
    }

    #[test]
    fn scans_of_no_study_are_of_nobody() {
        let (a, b) = (|| (0, scan("a", "f", 1.0)), || (1, scan("b", "f", 1.0)));
        let mut pairing = pairing(OnMissing::Zero, Frames::Trusted);
        // Two patients whose files lost their StudyInstanceUID are no case.
        assert_eq!(words(&pairing, &[of("", "p", a()), of("", "q", b())]), ["a:NO_STUDY", "b:NO_STUDY"]);
        assert_eq!(words(&pairing, &[of("s", "p", a()), of("s", "q", b())]), ["a:PATIENTS_DIFFER"]);
        // A scan that does not say whose it is has its study in the patient's place.
        assert_eq!(words(&pairing, &[of("s", "p", a()), of("s", "s", b())]), ["a+b"]);
        pairing.join.pair = Pair::Patient;
        assert_eq!(words(&pairing, &[of("", "p", a()), of("", "p", b())]), ["a+b"]);
        assert_eq!(words(&pairing, &[of("", "", a()), of("", "", b())]), ["a:NO_PATIENT", "b:NO_PATIENT"]);
    }

    #[test]
    fn frames_of_reference_say_what_is_comparable() {
        let strict = pairing(OnMissing::Reject, Frames::Same);
        let trusting = pairing(OnMissing::Reject, Frames::Trusted);
        for (one, other, spacing, fits) in [
            ("f", "f", 2.0, true),
            ("f", "g", 1.0, false),
            ("", "", 1.0, true),
            ("", "", 2.0, false),
            ("f", "", 1.0, false),
        ] {
            let scans = [(0, scan("a", one, 1.0)), (1, scan("b", other, spacing))];
            let expected = if fits { "a+b" } else { "a:FRAMES_DIFFER" };
            assert_eq!(words(&strict, &scans), [expected], "{one:?} {other:?}");
            assert_eq!(words(&trusting, &scans), ["a+b"]);
        }
    }
}
