//! The intensities of one case, counted so that those of many can be put together: for numbers over an archive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::operators::value::{Case, Failure};
use crate::voxels::grid::nine_digits;
use crate::voxels::ignored::is_labelled;
use crate::voxels::values::{self, Foreground};

/// Bits of a number's fraction that tell two intensities apart: whole numbers up to 8192 are exact, all others within
/// an 8192nd of themselves, towards 0.
const KEPT_BITS: u32 = 12;
const DROPPED_BITS: u32 = 23 - KEPT_BITS;
/// The number of the last bin.
const LARGEST: i32 = (u32::MAX >> 1 >> DROPPED_BITS) as i32;
/// Voxels that are summed as one: fixed, so that the sum does not depend on the number of threads.
const CHUNK: usize = 1 << 16;

/// Which voxels of a case are counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counted {
    /// The voxels that have a label.
    Labelled,
    /// The voxels that a rule picks by their own intensity.
    #[serde(untagged)]
    By(Foreground),
}

/// The intensities of one case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// The number of voxels.
    pub count: u64,
    /// The sum of their intensities.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
    /// The number of voxels of each intensity, ascending.
    bins: Vec<(i32, u64)>,
}

impl Tally {
    /// Counts a case.
    ///
    /// # Errors
    /// `NOT_FINITE` for NaN or infinities; `NO_LABELS` where labelled voxels are asked for and there are no labels.
    pub fn of(case: &Case, counted: Counted) -> Result<Self, Failure> {
        if case.channel_count() > 1 {
            let message = format!("a scan of one channel expected, {} found", case.channel_count());
            let hint =
                "numbers of the archive are those of one channel: let the stage stand before `channels`";
            return Err(Failure::new("SEVERAL_CHANNELS", message, hint));
        }
        let voxels = case.scan.voxels();
        if !values::all_finite(voxels) {
            return Err(values::not_finite());
        }
        let (foreground, labels) = match counted {
            Counted::By(foreground) => (foreground, &[][..]),
            Counted::Labelled => {
                let labels = case.labels.as_ref().ok_or_else(|| {
                    Failure::new("NO_LABELS", "a case with labels expected, one without found", "")
                })?;
                crate::voxels::grid::check_same_size("labels", case.scan.size(), labels.size())?;
                (Foreground::None, labels.voxels())
            }
        };
        let padded = case.padding.as_ref().map_or(&[][..], |padding| padding.voxels());
        let (mut tally, mut bins) = (Self::default(), vec![0; 2 * LARGEST as usize + 1]);
        for (index, chunk) in voxels.chunks(CHUNK).enumerate() {
            let (labels, padded) = (labels.get(index * CHUNK..), padded.get(index * CHUNK..));
            let (mut sum, mut squares) = (0.0, 0.0);
            for (place, &value) in chunk.iter().enumerate() {
                let labelled = counted != Counted::Labelled
                    || labels.and_then(|labels| labels.get(place)).is_some_and(|label| is_labelled(*label));
                let pads = padded.and_then(|padded| padded.get(place)).is_some_and(|padded| *padded > 0);
                if labelled && !pads && foreground.holds(value) {
                    tally.count += 1;
                    sum += f64::from(value);
                    squares += f64::from(value) * f64::from(value);
                    bins[(bin(value) + LARGEST) as usize] += 1;
                }
            }
            tally.sum += sum;
            tally.squares += squares;
        }
        let numbered = (-LARGEST..=LARGEST).zip(bins);
        tally.bins = numbered.filter(|(_, count)| *count > 0).collect();
        Ok(tally)
    }
}

/// The number of an intensity's bin: in their order.
fn bin(value: f32) -> i32 {
    let magnitude = ((value.to_bits() & 0x7fff_ffff) >> DROPPED_BITS) as i32;
    if value < 0.0 { -magnitude } else { magnitude }
}

/// The intensity of a bin that is nearest to 0.
fn of_bin(bin: i32) -> f64 {
    let value = f64::from(f32::from_bits(bin.unsigned_abs() << DROPPED_BITS));
    if bin < 0 { -value } else { value }
}

/// The intensities of many cases, each case alike: how many voxels it has is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Together {
    /// Cases that have a voxel that counts.
    pub cases: u64,
    means: f64,
    squares: f64,
    bins: BTreeMap<i32, f64>,
}

impl Together {
    /// Takes in `times` cases with the same tally. Of one without a voxel nothing is known.
    pub fn add(&mut self, tally: &Tally, times: u64) {
        if tally.count == 0 || times == 0 {
            return;
        }
        let share = times as f64 / tally.count as f64;
        self.cases += times;
        self.means += tally.sum * share;
        self.squares += tally.squares * share;
        for (bin, count) in &tally.bins {
            *self.bins.entry(*bin).or_default() += *count as f64 * share;
        }
    }

    /// The mean, in nine digits; none of no case.
    pub fn mean(&self) -> Option<f64> {
        (self.cases > 0).then(|| nine_digits(self.means / self.cases as f64))
    }

    /// The standard deviation, divided by n, in nine digits; none of no case.
    pub fn deviation(&self) -> Option<f64> {
        let cases = self.cases as f64;
        let mean = self.means / cases;
        (self.cases > 0).then(|| nine_digits((self.squares / cases - mean * mean).max(0.0).sqrt()))
    }

    /// The least intensity that at least this share of voxels, 0 to 100, does not exceed; none of no case.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        let total: f64 = self.bins.values().sum();
        let (mut below, mut found) = (0.0, None);
        for (bin, share) in &self.bins {
            below += share;
            found = Some(of_bin(*bin));
            // Sums of shares are not exact.
            if below >= total * (percent / 100.0 - 1e-12) && below > 0.0 {
                break;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tomoflow_connectors::{Geometry, LabelMap, Scan};

    use super::*;

    fn case(voxels: &[f32], labels: Option<&[u16]>) -> Case {
        let geometry = Geometry::axis_aligned([1, 1, voxels.len()], [1.0; 3]);
        let labels = labels.map(|labels| Arc::new(LabelMap::new(geometry.clone(), labels.to_vec()).unwrap()));
        Case {
            channels: None,
            scan: Arc::new(Scan::new(geometry.clone(), voxels.to_vec()).unwrap()),
            labels,
            original: Arc::new(geometry),
            label_names: ["a".to_owned()].into(),
            padding: None,
        }
    }

    fn together(tallies: &[Tally]) -> Together {
        let mut all = Together::default();
        tallies.iter().for_each(|tally| all.add(tally, 1));
        all
    }

    #[test]
    fn each_case_weighs_alike() {
        let all = |voxels: &[f32]| Tally::of(&case(voxels, None), Counted::By(Foreground::None)).unwrap();
        // One case has two voxels and one has four: means 2 and 6, mean squares 8 and 40.
        let found = together(&[all(&[0.0, 4.0]), all(&[4.0, 8.0, 4.0, 8.0])]);
        assert_eq!((found.cases, found.mean()), (2, Some(4.0)));
        assert_eq!(found.deviation(), Some(nine_digits(8.0_f64.sqrt())));
        // Shares: 0 a quarter, 4 a half, 8 a quarter.
        let percentiles =
            [0.0, 25.0, 25.1, 75.0, 75.1, 100.0].map(|percent| found.percentile(percent).unwrap());
        assert_eq!(percentiles, [0.0, 0.0, 4.0, 4.0, 8.0, 8.0]);
        let mut twice = Together::default();
        twice.add(&all(&[0.0, 4.0]), 2);
        assert_eq!(twice, together(&[all(&[0.0, 4.0]), all(&[0.0, 4.0])]));
    }

    #[test]
    fn voxels_count_by_label_or_by_intensity() {
        let given = case(&[-3.0, 0.0, 5.0, 7.0], Some(&[0, 1, 0, 2]));
        let count = |counted| {
            let tally = Tally::of(&given, counted).unwrap();
            (tally.count, tally.sum)
        };
        assert_eq!(count(Counted::Labelled), (2, 7.0));
        assert_eq!(count(Counted::By(Foreground::None)), (4, 9.0));
        assert_eq!(count(Counted::By(Foreground::Nonzero)), (3, 9.0));
        assert_eq!(count(Counted::By(Foreground::Above(4.0))), (2, 12.0));
    }

    #[test]
    fn what_has_nothing_to_count_says_nothing() {
        let empty = Tally::of(&case(&[1.0, 2.0], Some(&[0, 0])), Counted::Labelled).unwrap();
        let found = together(&[empty]);
        assert_eq!(
            (found.cases, found.mean(), found.deviation(), found.percentile(50.0)),
            (0, None, None, None)
        );
        let unlabelled = Tally::of(&case(&[1.0], None), Counted::Labelled).unwrap_err();
        assert_eq!(unlabelled.code, "NO_LABELS");
        let nan = Tally::of(&case(&[f32::NAN], None), Counted::By(Foreground::None)).unwrap_err();
        assert_eq!(nan.code, "NOT_FINITE");
        // A constant archive has no deviation.
        let constant = Tally::of(&case(&[7.5; 3], None), Counted::By(Foreground::None)).unwrap();
        assert_eq!(together(&[constant]).deviation(), Some(0.0));
    }

    #[test]
    fn bins_are_in_order_and_exact_for_whole_numbers() {
        for value in (-8192..=8192).map(|value| value as f32) {
            assert_eq!(of_bin(bin(value)), f64::from(value));
        }
        assert!([-1e30, -2.5, -0.1, -0.0, 0.0, 1e-9, 0.1, 3.0, 1e30].map(bin).is_sorted());
    }

    #[test]
    fn words_and_numbers_say_what_counts() {
        let read = |value: serde_json::Value| -> Counted { serde_json::from_value(value).unwrap() };
        assert_eq!(read("labelled".into()), Counted::Labelled);
        assert_eq!(read("nonzero".into()), Counted::By(Foreground::Nonzero));
        assert_eq!(read((-500).into()), Counted::By(Foreground::Above(-500.0)));
    }

    proptest! {
        #[test]
        fn a_percentile_is_one_of_the_voxels(
            voxels in proptest::collection::vec(-2000..4000i32, 1..200),
            percent in 0.0..100.0f64,
        ) {
            let values: Vec<f32> = voxels.iter().map(|value| *value as f32).collect();
            let tally = Tally::of(&case(&values, None), Counted::By(Foreground::None)).unwrap();
            let found = together(std::slice::from_ref(&tally)).percentile(percent).unwrap();
            let mut sorted = voxels;
            sorted.sort_unstable();
            let rank = (percent / 100.0 * sorted.len() as f64 - 1e-9).ceil().max(1.0) as usize;
            prop_assert_eq!(found, f64::from(sorted[rank - 1]));
        }
    }
}
