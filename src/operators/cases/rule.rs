//! Rules over an archive: a spacing that follows from the grids of all its scans, the grid of one of them, or numbers
//! that follow from the intensities of all.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tomoflow_connectors::Geometry;

use super::declared_grid::DeclaredGrid;
use super::tally::{Counted, Together};
use crate::operators::value::Failure;
use crate::voxels::grid::nine_digits;

use crate::metrics::Statistics;

/// The factor by which an axis must be as coarse, and as short, before nnU-Net does not take its median.
const ANISOTROPIC: f64 = 3.0;

/// What stands where a stage's own setting belongs, until the archive says what that is.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// A spacing that follows from those of all scans.
    Spacing(SpacingRule),
    /// The grid of the scan with this key.
    Like(String),
    /// Numbers that follow from the intensities of all cases, which have to be measured first.
    Intensities(Measured),
}

/// What is measured of the intensities of each case, and what is made of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The voxels that are counted.
    pub counted: Counted,
    /// The percentiles of the archive, 0 to 100, beyond which nothing is.
    pub percentiles: Option<[f64; 2]>,
}

impl Measured {
    /// Returns what an archive comes to; none of an archive without a voxel that counts, or whose voxels are
    /// all alike.
    pub fn settled(self, all: &Together) -> Option<Settled> {
        let (mean, std) = (all.mean()?, all.deviation()?);
        let clip = match self.percentiles {
            Some([low, high]) => Some([all.percentile(low)?, all.percentile(high)?]),
            None => None,
        };
        let spread = std > 0.0 && clip.is_none_or(|[low, high]| low < high);
        spread.then_some(Settled::Intensities { mean, std, clip })
    }
}

impl Rule {
    /// Returns the rule as it stands in the name of what it is settled on.
    pub fn said(&self) -> Json {
        match self {
            Self::Spacing(rule) => json!(rule),
            Self::Like(key) => json!({ "like": key }),
            Self::Intensities(measured) => json!({ "intensities": measured }),
        }
    }

    /// Why nothing can be done with a case before it is settled.
    pub fn unsettled(&self) -> Failure {
        let (message, hint) = match self {
            Self::Spacing(_) => (
                format!("a spacing expected, the rule `{self}` found"),
                "a run settles rules over its archive; give `spacing_mm` where there is none",
            ),
            Self::Like(key) => (
                format!("the grid of `{key}` expected, no such scan found"),
                "`like` is the SeriesInstanceUID of an accepted scan (`tomoflow inspect` lists them), or what \
                 `{case}` stands for in the names of files; or give `grid`",
            ),
            Self::Intensities(_) => (
                "a mean and a deviation expected, statistics of the archive found".to_owned(),
                "a run measures its archive; give `mean` and `std` where there is none",
            ),
        };
        Failure::new("UNSETTLED", message, hint)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spacing(rule) => rule.fmt(f),
            Self::Like(key) => write!(f, "grid of `{key}`"),
            Self::Intensities(_) => f.write_str("statistics"),
        }
    }
}

/// What a rule was settled on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Settled {
    /// A spacing along `[D, H, W]`, in mm.
    SpacingMm([f64; 3]),
    /// A grid.
    Grid(DeclaredGrid),
    /// The numbers that intensities are normalised by.
    Intensities {
        /// The number that is taken away.
        mean: f64,
        /// The number that the rest is divided by.
        std: f64,
        /// The least and the largest intensity, before.
        clip: Option<[f64; 2]>,
    },
}

/// A spacing for all scans that follows from theirs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpacingRule {
    /// The median of each axis.
    Median,
    /// This percentile of each axis, 0 to 100, as numpy's `linear`.
    Percentile(f64),
    /// nnU-Net's: the median, and a finer one along an axis that is coarse and short.
    Nnunet,
}

impl fmt::Display for SpacingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Median => f.write_str("median"),
            Self::Percentile(percent) => write!(f, "percentile {percent}"),
            Self::Nnunet => f.write_str("nnU-Net spacing"),
        }
    }
}

/// What rules see of a scan, along `[D, H, W]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// The scan's spacing, in mm.
    pub spacing_mm: [f64; 3],
    /// The number of the scan's voxels.
    pub size: [usize; 3],
}

impl From<&Geometry> for Sampled {
    fn from(geometry: &Geometry) -> Self {
        Self { spacing_mm: geometry.spacing_mm(), size: geometry.size }
    }
}

impl Sampled {
    /// Whether it counts: a scan without a spacing cannot be resampled either.
    pub fn counts(&self) -> bool {
        self.spacing_mm.iter().all(|mm| mm.is_finite() && *mm > 0.0)
    }
}

impl SpacingRule {
    /// The spacing that follows from scans, along `[D, H, W]` in mm, in nine digits: what lies beyond is the noise
    /// of positions. None of no scan; those without a spacing do not count.
    ///
    /// # Examples
    /// ```
    /// use tomoflow::operators::cases::rule::{Sampled, SpacingRule};
    /// let scan = |mm| Sampled { spacing_mm: [mm, 0.5, 0.5], size: [30, 256, 256] };
    /// let found = SpacingRule::Median.spacing_mm(&[scan(1.0), scan(3.0), scan(1.2)]);
    /// assert_eq!(found, Some([1.2, 0.5, 0.5]));
    /// ```
    ///
    /// # Source
    /// `nnunet`: `determine_fullres_target_spacing` of nnunetv2 2.8, with the sizes of whole scans.
    pub fn spacing_mm(self, scans: &[Sampled]) -> Option<[f64; 3]> {
        let counting: Vec<&Sampled> = scans.iter().filter(|scan| scan.counts()).collect();
        if counting.is_empty() {
            return None;
        }
        let along = |axis: usize| counting.iter().map(|scan| scan.spacing_mm[axis]).collect::<Vec<_>>();
        let spacings = [0, 1, 2].map(along);
        let found = match self {
            Self::Median => spacings.each_ref().map(|axis| percentile(axis, 50.0)),
            Self::Percentile(percent) => spacings.each_ref().map(|axis| percentile(axis, percent)),
            Self::Nnunet => {
                let sizes =
                    |axis: usize| counting.iter().map(|scan| scan.size[axis] as f64).collect::<Vec<_>>();
                nnunet(&spacings, [0, 1, 2].map(|axis| percentile(&sizes(axis), 50.0)))
            }
        };
        Some(found.map(nine_digits))
    }
}

fn nnunet(spacings: &[Vec<f64>; 3], size: [f64; 3]) -> [f64; 3] {
    let mut target = spacings.each_ref().map(|axis| percentile(axis, 50.0));
    // The first of equals.
    let worst = (1..3).fold(0, |worst, axis| if target[axis] > target[worst] { axis } else { worst });
    let others = [(worst + 1) % 3, (worst + 2) % 3];
    let coarsest_other = target[others[0]].max(target[others[1]]);
    let coarse = target[worst] > ANISOTROPIC * coarsest_other;
    let short = size[worst] * ANISOTROPIC < size[others[0]].min(size[others[1]]);
    if coarse && short {
        let fine = percentile(&spacings[worst], 10.0);
        // The axis stays the coarsest.
        target[worst] = if fine < coarsest_other { coarsest_other + 1e-5 } else { fine };
    }
    target
}

/// Returns a percentile, between neighbours by their distance; 0 of no figures.
fn percentile(figures: &[f64], percent: f64) -> f64 {
    Statistics::of(figures.iter().copied()).map_or(0.0, |figures| figures.quantile(percent / 100.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(spacing_mm: [f64; 3], size: [usize; 3]) -> Sampled {
        Sampled { spacing_mm, size }
    }

    #[test]
    fn each_axis_has_its_own_median() {
        let scans = [[1.0, 0.4, 0.9], [3.0, 0.6, 0.7], [2.0, 0.5, 0.8], [4.0, 0.7, 0.6]];
        let scans = scans.map(|spacing_mm| scan(spacing_mm, [10, 20, 20]));
        assert_eq!(SpacingRule::Median.spacing_mm(&scans), Some([2.5, 0.55, 0.75]));
        assert_eq!(SpacingRule::Percentile(0.0).spacing_mm(&scans), Some([1.0, 0.4, 0.6]));
        assert_eq!(SpacingRule::Percentile(10.0).spacing_mm(&scans), Some([1.3, 0.43, 0.63]));
        assert_eq!(SpacingRule::Percentile(100.0).spacing_mm(&scans), Some([4.0, 0.7, 0.9]));
    }

    #[test]
    fn scans_without_a_spacing_do_not_count() {
        let bad = [f64::NAN, 0.0, -1.0, f64::INFINITY].map(|mm| scan([mm, 1.0, 1.0], [1, 1, 1]));
        for rule in [SpacingRule::Median, SpacingRule::Percentile(10.0), SpacingRule::Nnunet] {
            assert_eq!(rule.spacing_mm(&[]), None);
            assert_eq!(rule.spacing_mm(&bad), None);
            let with_one: Vec<Sampled> = bad.into_iter().chain([scan([2.0, 1.0, 1.0], [1, 1, 1])]).collect();
            assert_eq!(rule.spacing_mm(&with_one), Some([2.0, 1.0, 1.0]));
        }
    }

    #[test]
    fn noise_of_positions_is_no_spacing() {
        let noisy = scan([1.4999999999999716, 0.8000000000000114, 0.797203], [9, 9, 9]);
        assert_eq!(SpacingRule::Median.spacing_mm(&[noisy]), Some([1.5, 0.8, 0.797203]));
    }

    #[test]
    fn nnunet_takes_a_finer_spacing_along_a_coarse_and_short_axis() {
        let with = |slices: [f64; 3], depth: usize| {
            let scans = slices.map(|mm| scan([mm, 1.5, 1.25], [depth, 256, 216]));
            SpacingRule::Nnunet.spacing_mm(&scans).unwrap()
        };
        // The 10th percentile of 5, 10, 10 is 6.
        assert_eq!(with([10.0, 10.0, 5.0], 10), [6.0, 1.5, 1.25]);
        // An axis is left alone where it is not more than three times as coarse, or not that short.
        assert_eq!(with([4.5, 4.5, 4.5], 10), [4.5, 1.5, 1.25]);
        assert_eq!(with([10.0, 10.0, 5.0], 72), [10.0, 1.5, 1.25]);
        assert_eq!(with([10.0, 10.0, 5.0], 71), [6.0, 1.5, 1.25]);
        // The axis never becomes finer than the others.
        assert_eq!(with([10.0, 10.0, 0.1], 10), [2.08, 1.5, 1.25]);
        assert_eq!(with([6.0, 0.5, 6.0], 10), [1.6, 1.5, 1.25]);
        assert_eq!(with([4.6, 0.5, 4.6], 10), [1.50001, 1.5, 1.25]);
    }

    proptest! {
        #[test]
        fn the_order_of_scans_is_nothing(
            mut spacings in prop::collection::vec([0.01f64..1000.0, 0.01f64..1000.0, 0.01f64..1000.0], 1..20),
            percent in 0.0f64..100.0,
        ) {
            let scans = |spacings: &[[f64; 3]]| -> Vec<Sampled> {
                spacings.iter().map(|mm| scan(*mm, [10, 200, 200])).collect()
            };
            for rule in [SpacingRule::Median, SpacingRule::Percentile(percent), SpacingRule::Nnunet] {
                let before = rule.spacing_mm(&scans(&spacings));
                spacings.reverse();
                prop_assert_eq!(before, rule.spacing_mm(&scans(&spacings)));
                prop_assert!(before.is_some_and(|mm| mm.iter().all(|mm| mm.is_finite() && *mm > 0.0)));
            }
        }
    }
}
