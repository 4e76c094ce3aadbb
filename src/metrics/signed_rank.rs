//! Whether one system is better than another on the same cases: Wilcoxon's signed-rank test.

/// So many differences that the distribution is still counted out; beyond, the normal one is as good.
const COUNTED: usize = 100;

/// The share of a figure that the rounding of its sums may come to.
const ROUNDING: f64 = 1e-12;

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
    /// The test of paired differences, each exact but for its own last bits; see [`of_pairs`](Self::of_pairs).
    pub fn of(differences: impl Iterator<Item = f64>) -> Option<Self> {
        Self::ranked(differences.map(|size| Difference { size, error: size.abs() * ROUNDING }).collect())
    }

    /// The test of pairs of figures, the second taken from the first. Pairs that differ by no more than the rounding of their
    /// figures, 1e-12 of the larger, and those that are not finite take no part; differences that are alike but for
    /// such a rounding share their ranks. `None` when none is left.
    ///
    /// Up to 100 differences the probability is exact, given the ranks that were found; beyond, it is the normal
    /// distribution's, with its variance corrected for ties.
    ///
    /// # Source
    /// Wilcoxon, Individual comparisons by ranking methods, 1945.
    pub fn of_pairs(pairs: impl Iterator<Item = (f64, f64)>) -> Option<Self> {
        let of = |(a, b)| Difference {
            size: difference(a, b),
            error: f64::max(f64::abs(a), f64::abs(b)) * ROUNDING,
        };
        Self::ranked(pairs.map(of).collect())
    }

    fn ranked(mut sizes: Vec<Difference>) -> Option<Self> {
        sizes.retain(|d| d.size.is_finite() && d.size != 0.0);
        if sizes.is_empty() {
            return None;
        }
        sizes.sort_by(|a, b| a.size.abs().total_cmp(&b.size.abs()));
        let (mut doubled, mut positive, mut ties) = (Vec::with_capacity(sizes.len()), 0, 0.0);
        for equal in sizes.chunk_by(Difference::is_like) {
            let (before, count) = (doubled.len(), equal.len());
            // Twice the mean of the ranks before + 1 to before + count: whole, whatever is shared.
            let rank = 2 * before + count + 1;
            positive += rank * equal.iter().filter(|difference| difference.size > 0.0).count();
            ties += (count as f64).powi(3) - count as f64;
            doubled.extend(std::iter::repeat_n(rank, count));
        }
        let p =
            if sizes.len() <= COUNTED { exact(&doubled, positive) } else { normal(&doubled, positive, ties) };
        Some(Self { n: sizes.len(), positive: positive as f64 / 2.0, p })
    }
}

/// The first figure less the second; 0 where they differ by no more than their rounding.
pub fn difference(a: f64, b: f64) -> f64 {
    let (size, larger) = (a - b, a.abs().max(b.abs()));
    if size.abs() <= larger * ROUNDING { 0.0 } else { size }
}

/// A difference, and how far it may be off by rounding.
#[derive(Clone, Copy)]
struct Difference {
    size: f64,
    error: f64,
}

impl Difference {
    fn is_like(&self, other: &Self) -> bool {
        (self.size.abs() - other.size.abs()).abs() <= self.error.max(other.error)
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

    /// 0.3 is not 0.1 + 0.2 to the last bit, and neither is one system better for it.
    #[test]
    fn rounding_is_no_difference_and_breaks_no_tie() {
        assert_ne!(0.1 + 0.2, 0.3);
        assert_eq!((difference(0.1 + 0.2, 0.3), difference(0.3, 0.1)), (0.0, 0.3 - 0.1));
        assert_eq!(SignedRank::of_pairs([(0.1 + 0.2, 0.3), (2.0, 2.0), (0.0, 0.0)].into_iter()), None);
        // 0.1 each, but for the last bits, on either side: nothing speaks for either.
        let pairs = [(0.9, 0.8), (0.4, 0.5), (0.3, 0.2), (0.1, 0.2)];
        let found = SignedRank::of_pairs(pairs.into_iter()).unwrap();
        assert_eq!((found.n, found.positive, found.p), (4, 5.0, 1.0));
        let odd = [(f64::NAN, 0.0), (f64::INFINITY, 1.0), (0.2, 0.1)];
        assert_eq!(SignedRank::of_pairs(odd.into_iter()).unwrap().n, 1);
        // Small is not rounding.
        assert_eq!(SignedRank::of_pairs([(1e-20, 3e-20), (0.0, 1e-300)].into_iter()).unwrap().n, 2);
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
