//! Mean field of a random field over voxels: neighbours of like intensity take like labels.

use std::f64::consts::LOG2_E;
use std::ops::Range;

use rayon::prelude::*;

/// How much two voxels of unequal labels cost, by how far apart they lie and how unlike they are:
/// `appearance · exp(−|Δx|² / 2 appearance_mm² − |ΔI|² / 2 contrast²) + smoothness · exp(−|Δx|² / 2 smoothness_mm²)`,
/// with `|Δx|` in mm, of two voxels that are at most `reach` voxels apart along each axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pairwise {
    /// The weight of what depends on intensities.
    pub appearance: f64,
    /// Its length in mm.
    pub appearance_mm: f64,
    /// The difference of intensities that it minds.
    pub contrast: f64,
    /// The weight of what depends on places alone.
    pub smoothness: f64,
    /// Its length in mm.
    pub smoothness_mm: f64,
    /// Voxels, along each axis.
    pub reach: usize,
}

/// Voxels and what is said of them before their neighbours are asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// `[D, H, W]`
    pub size: [usize; 3],
    /// Of the three axes.
    pub spacing_mm: [f64; 3],
    /// The intensities of each channel, `[D, H, W]`.
    pub intensities: Vec<Vec<f64>>,
    /// The probability of each class, `[D, H, W]` each; above 0, and 1 together.
    pub probabilities: Vec<Vec<f64>>,
}

/// The voxels of a neighbourhood along `[D, H]`, and the weights along W.
struct Offset {
    d: isize,
    h: isize,
    /// For each step along W from `-reach` on: what multiplies the likeness of intensities, and what is added to it.
    along: Vec<[f64; 2]>,
}

impl Pairwise {
    /// The probabilities of classes after so many rounds of mean field. Those of voxels beyond `inner` stay as they are;
    /// they are neighbours all the same. In each round every voxel hears what its neighbours said in the round before:
    /// `q(l) ∝ p(l) · exp(Σ_j k_ij q_j(l))`. All neighbours within reach are asked, and none beyond it: sums are exact, of a
    /// neighbourhood that is cut off.
    ///
    /// # Source
    /// Krähenbühl and Koltun, NeurIPS 2011, arXiv 1210.5644, with labels that are alike or not (Potts) and kernels that are
    /// not normalised
    pub fn mean_field(&self, field: &Field, inner: &[Range<usize>; 3], rounds: usize) -> Vec<Vec<f64>> {
        let offsets = self.offsets(field.spacing_mm);
        let mut known = field.probabilities.clone();
        for _ in 0..rounds {
            known = self.round(field, &offsets, inner, &known);
        }
        known
    }

    fn offsets(&self, spacing_mm: [f64; 3]) -> Vec<Offset> {
        let reach = self.reach as isize;
        let square = |steps: isize, axis: usize| (steps as f64 * spacing_mm[axis]).powi(2);
        let weight = |weight: f64, mm: f64, square: f64| weight * (-square / (2.0 * mm * mm)).exp();
        let along = |d: isize, h: isize| {
            let of = |w: isize| {
                // No voxel is its own neighbour.
                if (d, h, w) == (0, 0, 0) {
                    return [0.0; 2];
                }
                let square = square(d, 0) + square(h, 1) + square(w, 2);
                [
                    weight(self.appearance, self.appearance_mm, square),
                    weight(self.smoothness, self.smoothness_mm, square),
                ]
            };
            Offset { d, h, along: (-reach..=reach).map(of).collect() }
        };
        (-reach..=reach)
            .flat_map(|d| (-reach..=reach).map(move |h| (d, h)))
            .map(|(d, h)| along(d, h))
            .collect()
    }

    /// What all voxels of `inner` say once they have heard their neighbours.
    fn round(
        &self,
        field: &Field,
        offsets: &[Offset],
        inner: &[Range<usize>; 3],
        known: &[Vec<f64>],
    ) -> Vec<Vec<f64>> {
        let [_, height, width] = field.size;
        let [depths, heights, widths] = inner;
        let rows: Vec<[usize; 2]> =
            depths.clone().flat_map(|d| heights.clone().map(move |h| [d, h])).collect();
        let said: Vec<Vec<f64>> = rows
            .par_iter()
            .map_init(
                || Row::new(known.len(), widths.len()),
                |row, place| {
                    self.row(field, offsets, *place, widths, known, row);
                    row.said.clone()
                },
            )
            .collect();
        let mut next = known.to_vec();
        for ([d, h], said) in rows.into_iter().zip(said) {
            let start = (d * height + h) * width + widths.start;
            for (class, said) in next.iter_mut().zip(said.chunks_exact(widths.len().max(1))) {
                class[start..][..widths.len()].copy_from_slice(said);
            }
        }
        next
    }

    /// One row of voxels.
    fn row(
        &self,
        field: &Field,
        offsets: &[Offset],
        [d, h]: [usize; 2],
        widths: &Range<usize>,
        known: &[Vec<f64>],
        row: &mut Row,
    ) {
        let [depth, height, width] = field.size;
        let length = widths.len();
        row.heard.fill(0.0);
        let own = (d * height + h) * width;
        for Offset { d: to_d, h: to_h, along } in offsets {
            let (Some(d), Some(h)) = (d.checked_add_signed(*to_d), h.checked_add_signed(*to_h)) else {
                continue;
            };
            if d >= depth || h >= height {
                continue;
            }
            let other = (d * height + h) * width;
            for (step, weights) in along.iter().enumerate() {
                let to_w = step as isize - self.reach as isize;
                // The voxels of the row that have a neighbour there.
                let first = widths.start.max(usize::try_from(-to_w).unwrap_or(0));
                let last = widths.end.min(width.saturating_add_signed(-to_w));
                if first >= last {
                    continue;
                }
                let (at, there) = (own + first, (other + first).saturating_add_signed(to_w));
                let within = first - widths.start..last - widths.start;
                let kernel = &mut row.kernel[within.clone()];
                self.kernel(field, at, there, *weights, kernel);
                for (heard, known) in row.heard.chunks_exact_mut(length).zip(known) {
                    let known = &known[there..][..kernel.len()];
                    let heard = &mut heard[within.clone()];
                    for ((heard, kernel), known) in heard.iter_mut().zip(&*kernel).zip(known) {
                        *heard += kernel * known;
                    }
                }
            }
        }
        row.say(field, own + widths.start);
    }

    /// How much voxels from `at` on and as many from `there` on cost one another.
    fn kernel(&self, field: &Field, at: usize, there: usize, [unlike, apart]: [f64; 2], kernel: &mut [f64]) {
        let scale = -0.5 / (self.contrast * self.contrast);
        kernel.fill(0.0);
        for channel in &field.intensities {
            let (own, other) = (&channel[at..][..kernel.len()], &channel[there..][..kernel.len()]);
            for ((kernel, own), other) in kernel.iter_mut().zip(own).zip(other) {
                *kernel += (own - other) * (own - other);
            }
        }
        for kernel in kernel {
            *kernel = unlike * exponential(*kernel * scale) + apart;
        }
    }
}

/// Room for a row of voxels, a part for each class.
struct Row {
    length: usize,
    heard: Vec<f64>,
    said: Vec<f64>,
    kernel: Vec<f64>,
}

impl Row {
    fn new(classes: usize, length: usize) -> Self {
        let all = vec![0.0; classes * length];
        Self { length, heard: all.clone(), said: all, kernel: vec![0.0; length] }
    }

    fn say(&mut self, field: &Field, start: usize) {
        let Self { length, heard, said, .. } = self;
        for voxel in 0..*length {
            let places = || (0..field.probabilities.len()).map(|class| class * *length + voxel);
            // The largest is taken away, so that nothing overflows.
            let most = places().map(|place| heard[place]).fold(f64::NEG_INFINITY, f64::max);
            let mut sum = 0.0;
            for (place, class) in places().zip(&field.probabilities) {
                said[place] = class[start + voxel] * (heard[place] - most).exp();
                sum += said[place];
            }
            places().for_each(|place| said[place] /= sum);
        }
    }
}

/// `e^x` for `x` of 0 and below to 14 digits, in arithmetic that runs on several numbers at once.
#[inline(always)]
fn exponential(x: f64) -> f64 {
    /// 1.5 · 2⁵²: what is added to it has no fraction, and stands in the lowest bits.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    /// The upper bits of ln 2, so that a product with them is exact.
    const UPPER: f64 = 0.693_147_180_369_123_8;
    const LOWER: f64 = 1.908_214_929_270_587_7e-10;
    const FACTORS: [f64; 12] = [
        1.0,
        1.0,
        1.0 / 2.0,
        1.0 / 6.0,
        1.0 / 24.0,
        1.0 / 120.0,
        1.0 / 720.0,
        1.0 / 5_040.0,
        1.0 / 40_320.0,
        1.0 / 362_880.0,
        1.0 / 3_628_800.0,
        1.0 / 39_916_800.0,
    ];
    // e^−700 is 0 beside any weight.
    let x = x.max(-700.0);
    let shifted = x * LOG2_E + MAGIC;
    let whole = shifted - MAGIC;
    let rest = (x - whole * UPPER) - whole * LOWER;
    let mut sum = 0.0;
    for factor in FACTORS.iter().rev() {
        sum = sum * rest + factor;
    }
    let power = shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(1023) << 52;
    sum * f64::from_bits(power)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The specification's four voxels.
    fn four() -> (Pairwise, Field) {
        let pairwise = Pairwise {
            appearance: 1.0,
            appearance_mm: 3.0,
            contrast: 0.3,
            smoothness: 0.5,
            smoothness_mm: 1.0,
            reach: 5,
        };
        let foreground = vec![0.1, 0.4, 0.55, 0.9];
        let background = foreground.iter().map(|p| 1.0 - p).collect();
        let field = Field {
            size: [1, 1, 4],
            spacing_mm: [1.0; 3],
            intensities: vec![vec![0.0, 0.1, 1.0, 1.1]],
            probabilities: vec![background, foreground],
        };
        (pairwise, field)
    }

    #[test]
    fn the_specifications_numbers() {
        let (pairwise, field) = four();
        for (rounds, expected) in [
            (1, [0.081_305_390_407, 0.218_238_561_712, 0.738_809_297_607, 0.908_699_206_542]),
            (5, [0.055_909_227_942, 0.220_547_058_227, 0.733_455_334_013, 0.937_542_909_785]),
        ] {
            let found = pairwise.mean_field(&field, &[0..1, 0..1, 0..4], rounds);
            for (found, expected) in found[1].iter().zip(expected) {
                assert!((found - expected).abs() < 1e-10, "{rounds}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn what_lies_beyond_stays_and_is_heard_all_the_same() {
        let (pairwise, field) = four();
        let whole = pairwise.mean_field(&field, &[0..1, 0..1, 0..4], 1);
        let part = pairwise.mean_field(&field, &[0..1, 0..1, 1..3], 1);
        assert_eq!(part[1][1..3], whole[1][1..3]);
        assert_eq!([part[1][0], part[1][3]], [0.1, 0.9]);
        assert_eq!(pairwise.mean_field(&field, &[0..1, 0..1, 0..4], 0), field.probabilities);
    }

    /// The same, voxel by voxel and pair by pair.
    fn by_pairs(pairwise: &Pairwise, field: &Field, rounds: usize) -> Vec<Vec<f64>> {
        let [depth, height, width] = field.size;
        let place = |i: usize| [i / width / height, i / width % height, i % width];
        let voxels = depth * height * width;
        let kernel = |i: usize, j: usize| {
            let (a, b) = (place(i), place(j));
            let far = (0..3).any(|axis| a[axis].abs_diff(b[axis]) > pairwise.reach);
            if i == j || far {
                return 0.0;
            }
            let mm: f64 =
                (0..3).map(|axis| (a[axis].abs_diff(b[axis]) as f64 * field.spacing_mm[axis]).powi(2)).sum();
            let unlike: f64 = field.intensities.iter().map(|channel| (channel[i] - channel[j]).powi(2)).sum();
            let over = |square: f64, length: f64| square / (2.0 * length * length);
            let near = over(mm, pairwise.appearance_mm) + over(unlike, pairwise.contrast);
            pairwise.appearance * (-near).exp()
                + pairwise.smoothness * (-over(mm, pairwise.smoothness_mm)).exp()
        };
        let mut known = field.probabilities.clone();
        for _ in 0..rounds {
            let said = |class: usize, i: usize| {
                let heard: f64 = (0..voxels).map(|j| kernel(i, j) * known[class][j]).sum();
                field.probabilities[class][i] * heard.exp()
            };
            let all: Vec<Vec<f64>> =
                (0..known.len()).map(|class| (0..voxels).map(|i| said(class, i)).collect()).collect();
            let sum = |i: usize| all.iter().map(|class| class[i]).sum::<f64>();
            known = all.iter().map(|class| (0..voxels).map(|i| class[i] / sum(i)).collect()).collect();
        }
        known
    }

    proptest! {
        #[test]
        fn rows_come_to_what_pairs_come_to(
            size in [1usize..4, 1usize..5, 1usize..6],
            reach in 1usize..4,
            channels in 1usize..3,
            numbers in proptest::collection::vec(0.01..1.0f64, 5 * 60),
            spacing_mm in [0.5..3.0f64, 0.5..3.0f64, 0.5..3.0f64],
        ) {
            let voxels: usize = size.iter().product();
            let part = |from: usize| numbers[from * 60..][..voxels].to_vec();
            let parts = [part(0), part(1), part(2)];
            let sum = |i: usize| parts.iter().map(|part| part[i]).sum::<f64>();
            let probabilities =
                parts.iter().map(|part| (0..voxels).map(|i| part[i] / sum(i)).collect()).collect();
            let intensities = (0..channels).map(|channel| part(3 + channel)).collect();
            let field = Field { size, spacing_mm, intensities, probabilities };
            let pairwise = Pairwise { smoothness: 0.4, reach, ..four().0 };
            let whole = size.map(|length| 0..length);
            let found = pairwise.mean_field(&field, &whole, 3);
            for (found, expected) in found.iter().flatten().zip(by_pairs(&pairwise, &field, 3).iter().flatten()) {
                prop_assert!((found - expected).abs() < 1e-11, "{found} for {expected}");
            }
        }

        #[test]
        fn the_exponential_is_the_librarys(x in -699.0..0.0f64) {
            let expected = x.exp();
            prop_assert!((exponential(x) - expected).abs() <= 4e-14 * expected, "{x}");
        }
    }

    #[test]
    fn ends_of_the_exponential() {
        assert_eq!(exponential(0.0), 1.0);
        assert!(exponential(f64::NEG_INFINITY) < 1e-300 && exponential(f64::NAN) < 1e-300);
    }
}
