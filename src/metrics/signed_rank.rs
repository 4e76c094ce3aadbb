//! Whether one system is better than another on the same cases: Wilcoxon's signed-rank test.

/// So many differences that the distribution is still counted out; beyond, the normal one is as good.
const COUNTED: usize = 100;

/// What a signed-rank test found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignedRank {
    /// Differences other than zero.
    pub n: usize,
    /// The sum of the ranks of the positive ones.
    pub positive: f64,
    /// How probable a sum so far from its mean is if neither is better; two-sided.
    pub p: f64,
}

impl SignedRank {
    /// Of paired differences. Those that are zero or not finite take no part; equal ones share their ranks.
    /// `None` when none is left.
    ///
    /// Up to 100 differences the probability is exact, given the ranks that were found; beyond, it is the normal
    /// distribution's, with its variance corrected for ties.
    ///
    /// # Source
    /// Wilcoxon, Individual comparisons by ranking methods, 1945.
    pub fn of(differences: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sizes: Vec<f64> = differences.filter(|d| d.is_finite() && *d != 0.0).collect();
        if sizes.is_empty() {
            return None;
        }
        sizes.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        let (mut doubled, mut positive, mut ties) = (Vec::with_capacity(sizes.len()), 0, 0.0);
        for equal in sizes.chunk_by(|a, b| a.abs() == b.abs()) {
            let (before, count) = (doubled.len(), equal.len());
            // Twice the mean of the ranks before + 1 to before + count: whole, whatever is shared.
            let rank = 2 * before + count + 1;
            positive += rank * equal.iter().filter(|difference| **difference > 0.0).count();
            ties += (count as f64).powi(3) - count as f64;
            doubled.extend(std::iter::repeat_n(rank, count));
        }
        let p =
            if sizes.len() <= COUNTED { exact(&doubled, positive) } else { normal(&doubled, positive, ties) };
        Some(Self { n: sizes.len(), positive: positive as f64 / 2.0, p })
    }
}

/// Each rank stands on either side with the same chance: the share of all ways whose sum is as far out.
fn exact(ranks: &[usize], found: usize) -> f64 {
    let total: usize = ranks.iter().sum();
    let mut chance = vec![0.0; total + 1];
    chance[0] = 1.0;
    let mut reached = 0;
    for &rank in ranks {
        reached += rank;
        for sum in (0..=reached).rev() {
            let with = sum.checked_sub(rank).map_or(0.0, |before| chance[before]);
            chance[sum] = 0.5 * (chance[sum] + with);
        }
    }
    let below: f64 = chance[..=found].iter().sum();
    let above: f64 = chance[found..].iter().sum();
    (2.0 * below.min(above)).min(1.0)
}

/// The same for many ranks, whose sum is as good as normal.
fn normal(ranks: &[usize], found: usize, ties: f64) -> f64 {
    let n = ranks.len() as f64;
    let mean = n * (n + 1.0) / 4.0;
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
    let z = (found as f64 / 2.0 - mean).abs() / variance.sqrt();
    libm::erfc(z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(differences: &[f64]) -> f64 {
        SignedRank::of(differences.iter().copied()).unwrap().p
    }

    #[test]
    fn by_hand() {
        // All of five on one side: one way in 32 for either.
        let all = SignedRank::of([0.1, 0.4, 0.2, 0.5, 0.3].into_iter()).unwrap();
        assert_eq!((all.n, all.positive, all.p), (5, 15.0, 2.0 / 32.0));
        // Ranks 1, 2 and 3 of which only the first is positive: sums 0 and 1 are two ways in eight.
        assert_eq!(p(&[0.1, -0.2, -0.3]), 0.5);
        // Two that share rank 1.5, on either side: nothing speaks for either.
        assert_eq!(p(&[0.2, -0.2]), 1.0);
        assert_eq!(p(&[7.0]), 1.0);
    }

    #[test]
    fn what_does_not_differ_takes_no_part() {
        let with = SignedRank::of([0.0, 0.1, f64::NAN, -0.2, f64::INFINITY, -0.3].into_iter()).unwrap();
        assert_eq!((with.n, with.p), (3, 0.5));
        assert_eq!(SignedRank::of([0.0, 0.0].into_iter()), None);
        assert_eq!(SignedRank::of(std::iter::empty()), None);
    }

    /// Differences, the sum of positive ranks, the probability.
    const GOLDEN: [(u32, f64, f64); 6] = [
        (6, 12.0, 0.84375),
        (20, 132.0, 0.329_982_757_568_359_4),
        (50, 851.0, 0.039_015_525_521_861_605),
        (100, 3415.0, 0.002_008_025_402_470_581_3),
        (150, 7675.0, 0.000_159_410_510_810_999_3),
        (400, 56322.0, 2.363_038_978_590_385e-12),
    ];

    /// Figures of `scipy.stats.wilcoxon` 1.17.1 (`method="exact"` up to 100 differences, then `"asymptotic"`).
    #[test]
    fn as_scipy() {
        let jump = |n: u32| (0..n).map(|i| f64::from(i * 37 % 101) / 101.0 - 0.4 + f64::from(i) * 1e-4);
        for (n, positive, expected) in GOLDEN {
            let found = SignedRank::of(jump(n)).unwrap();
            assert_eq!(found.positive, positive, "{n}");
            assert!((found.p / expected - 1.0).abs() < 1e-9, "{n}: {} {expected}", found.p);
        }
    }
}
