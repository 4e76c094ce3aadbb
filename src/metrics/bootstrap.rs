//! How sure a mean is: its interval, from cases drawn again and again.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tomoflow_connectors::{Digest, Real};

use super::Statistics;

/// A percentile bootstrap of the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bootstrap {
    /// The share of resampled means within the interval, above 0 and below 1.
    pub level: Real,
    /// How often as many figures are drawn as there are.
    pub resamples: u32,
    /// What the random numbers start from.
    pub seed: u64,
}

impl Bootstrap {
    /// The ends of the interval: as many resampled means lie below the lower one as above the upper one,
    /// interpolated between neighbours.
    ///
    /// Figures that are not finite take no part; `None` when none is left. Of one figure, and of figures that are all
    /// the same, both ends are their mean. The random numbers depend on `seed`, on `name` (what the figures are of)
    /// and on the figures, so that the order in which these come changes nothing.
    ///
    /// # Source
    /// Efron, Bootstrap methods: another look at the jackknife, 1979.
    pub fn interval(&self, name: &[u8], figures: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
        let figures = Statistics::of(figures)?;
        let off: Vec<f64> = figures.sorted.iter().map(|figure| figure - figures.mean).collect();
        let mut rng = self.random(name, &figures.sorted);
        let means = (0..self.resamples.max(1)).map(|_| {
            let drawn = (0..off.len()).map(|_| off[rng.random_range(0..off.len())]);
            figures.mean + drawn.sum::<f64>() / off.len() as f64
        });
        let means = Statistics::of(means)?;
        let beyond = (1.0 - self.level.0) / 2.0;
        Some([means.quantile(beyond), means.quantile(1.0 - beyond)])
    }

    fn random(&self, name: &[u8], sorted: &[f64]) -> ChaCha8Rng {
        let figures: Vec<u8> = sorted.iter().flat_map(|figure| (figure + 0.0).to_le_bytes()).collect();
        let parts = [b"bootstrap".as_slice(), &self.seed.to_le_bytes(), name, &figures];
        ChaCha8Rng::from_seed(Digest::of_parts(parts).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap(level: f64) -> Bootstrap {
        Bootstrap { level: Real(level), resamples: 1000, seed: 0 }
    }

    fn interval(level: f64, figures: &[f64]) -> Option<[f64; 2]> {
        bootstrap(level).interval(b"dice", figures.iter().copied())
    }

    #[test]
    fn one_figure_and_equal_ones_have_no_spread() {
        assert_eq!(interval(0.95, &[0.7]), Some([0.7, 0.7]));
        assert_eq!(interval(0.95, &[0.25; 9]), Some([0.25; 2]));
        assert_eq!(interval(0.95, &[]), None);
        assert_eq!(interval(0.95, &[f64::NAN, f64::INFINITY]), None);
        assert_eq!(interval(0.95, &[f64::NAN, 0.7]), Some([0.7, 0.7]));
    }

    #[test]
    fn two_figures_give_three_means() {
        // 0, 0.5 and 1 with chances of 1/4, 1/2 and 1/4: an interval of 95 % spans all, one of 20 % is the middle.
        assert_eq!(interval(0.95, &[0.0, 1.0]), Some([0.0, 1.0]));
        assert_eq!(interval(0.2, &[0.0, 1.0]), Some([0.5, 0.5]));
    }

    #[test]
    fn of_a_share_it_is_near_the_normal_one() {
        for (n, hits) in [(400, 280), (1000, 500), (2000, 1800)] {
            let figures: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i < hits))).collect();
            let share = f64::from(hits) / f64::from(n);
            let error = (share * (1.0 - share) / f64::from(n)).sqrt();
            for (level, z) in [(0.95, 1.959_964), (0.8, 1.281_552)] {
                let [low, high] = interval(level, &figures).unwrap();
                // The ends' own error with 1000 resamples is under a tenth of a standard error; four of these.
                assert!((low - (share - z * error)).abs() < 0.4 * error, "{n} {level}: {low}");
                assert!((high - (share + z * error)).abs() < 0.4 * error, "{n} {level}: {high}");
            }
        }
    }

    #[test]
    fn it_holds_the_truth_as_often_as_it_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let holds = |_: &usize| {
            let figures: Vec<f64> = (0..60).map(|_| f64::from(u8::from(rng.random_bool(0.4)))).collect();
            let [low, high] = interval(0.9, &figures).unwrap();
            (low..=high).contains(&0.4)
        };
        let held = (0..400).filter(holds).count();
        // 90 % of 400, give or take four standard deviations and what 60 cases lack.
        assert!((324..=392).contains(&held), "{held}");
    }

    #[test]
    fn order_takes_no_part_and_seed_and_name_do() {
        let figures: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 40)).collect();
        let found = interval(0.95, &figures);
        let back: Vec<f64> = figures.iter().rev().copied().collect();
        assert_eq!(interval(0.95, &back), found);
        let other = Bootstrap { seed: 1, ..bootstrap(0.95) };
        assert_ne!(other.interval(b"dice", figures.iter().copied()), found);
        assert_ne!(bootstrap(0.95).interval(b"iou", figures.iter().copied()), found);
    }
}
