//! Dilation and erosion of bits by a ball in mm, exact: whole rows are made wider or narrower, and joined or cut.

use rayon::prelude::*;
use tomoflow_connectors::{Geometry, Reject};

use super::components::Run;
use super::grid;

/// Voxels in a word.
const WORD: usize = 64;
/// Voxels that a radius may span along an axis.
const MOST: usize = 127;
/// A voxel that is out of the radius by no more than this share of it is within: spacings are decimal fractions.
const ROUNDING: f64 = 1e-9;

/// The voxels whose centres lie no farther than a radius from one voxel's centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ball {
    /// Voxels that it reaches along `[D, H, W]`.
    pub reach: [usize; 3],
    /// The rows, `[D, H]` away, in which the ball reaches just as far along W, by the number of voxels that it reaches there.
    rows: Vec<Vec<[isize; 2]>>,
}

impl Ball {
    /// The ball of a radius in mm on a grid.
    ///
    /// # Errors
    /// `BAD_GRID`; `SHEARED_GRID` where axes have no right angles; `TOO_LARGE` when the radius spans more than
    /// 127 voxels.
    pub fn new(radius_mm: f64, geometry: &Geometry) -> Result<Self, Reject> {
        grid::check(geometry)?;
        let cosine = grid::largest_cosine(geometry);
        if cosine > grid::RIGHT_ANGLE {
            return Err(Reject::new(
                "SHEARED_GRID",
                format!("right angles between the axes expected, a cosine of {cosine:.3} found"),
                "a radius in mm is not measured on a tilted gantry's grid",
            ));
        }
        let spacing = geometry.spacing_mm();
        let radius = radius_mm * (1.0 + ROUNDING);
        let voxels = spacing.map(|mm| radius / mm);
        if voxels.iter().any(|voxels| *voxels >= (MOST + 1) as f64) {
            return Err(Reject::new(
                "TOO_LARGE",
                format!(
                    "a radius of at most {MOST} voxels expected, {radius_mm} mm on voxels of {spacing:?} mm found"
                ),
                "a spacing may be very fine, or `radius_mm` very large",
            ));
        }
        let reach = voxels.map(|voxels| voxels as usize);
        let mut rows = vec![Vec::new(); reach[2] + 1];
        let [far_d, far_h] = [reach[0] as isize, reach[1] as isize];
        for d in -far_d..=far_d {
            for h in -far_h..=far_h {
                let away = (d as f64 * spacing[0]).powi(2) + (h as f64 * spacing[1]).powi(2);
                let left = radius * radius - away;
                if left >= 0.0 {
                    let along = ((left.sqrt() / spacing[2]) as usize).min(reach[2]);
                    rows[along].push([d, h]);
                }
            }
        }
        Ok(Self { reach, rows })
    }
}

/// A box of voxels around one label, one bit each, with empty room on all sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The slice, row and column of its first voxel; below 0 beyond the volume's border.
    low: [isize; 3],
    /// Slices, rows, and words of a row.
    size: [usize; 3],
    words: Vec<u64>,
}

impl Room {
    /// Around runs of a volume, none of them empty, with `margin` voxels on each side.
    pub fn around(runs: &[Run], [_, height, width]: [usize; 3], margin: [usize; 3]) -> Self {
        let place = |start: usize| [start / width / height, start / width % height, start % width];
        let (mut low, mut high) = ([usize::MAX; 3], [0; 3]);
        for run in runs {
            let at = place(run.start);
            let end = [at[0] + 1, at[1] + 1, at[2] + run.length];
            low = [0, 1, 2].map(|axis| low[axis].min(at[axis]));
            high = [0, 1, 2].map(|axis| high[axis].max(end[axis]));
        }
        let voxels = [0, 1, 2].map(|axis| high[axis].saturating_sub(low[axis]) + 2 * margin[axis]);
        let size = [voxels[0], voxels[1], voxels[2].div_ceil(WORD)];
        let low = [0, 1, 2].map(|axis| low[axis] as isize - margin[axis] as isize);
        let mut room = Self { low, size, words: vec![0; size.iter().product()] };
        for run in runs {
            let at = place(run.start);
            let [d, h, w] = [0, 1, 2].map(|axis| (at[axis] as isize - low[axis]) as usize);
            let row = &mut room.words[(d * size[1] + h) * size[2]..][..size[2]];
            (w..w + run.length).for_each(|w| row[w / WORD] |= 1 << (w % WORD));
        }
        room
    }

    /// All voxels that a ball around a voxel of these reaches.
    pub fn dilated(&self, ball: &Ball) -> Self {
        self.changed(ball, false)
    }

    /// The voxels whose ball lies within these; nothing is beyond the room.
    pub fn eroded(&self, ball: &Ball) -> Self {
        self.changed(ball, true)
    }

    fn changed(&self, ball: &Ball, erode: bool) -> Self {
        let [_, height, of_row] = self.size;
        let start = if erode { u64::MAX } else { 0 };
        let mut words = vec![start; self.words.len()];
        let mut wide = self.words.clone();
        for (along, rows) in ball.rows.iter().enumerate() {
            if along > 0 {
                wide.par_chunks_exact_mut(of_row.max(1)).with_min_len(64).for_each(|row| widen(row, erode));
            }
            let all = wide.par_chunks_exact(of_row.max(1)).with_min_len(64);
            let filled: Vec<bool> = all.map(|row| row.iter().any(|word| *word != 0)).collect();
            let out = words.par_chunks_exact_mut(of_row.max(1)).with_min_len(16).enumerate();
            out.for_each(|(index, out)| {
                let at = [index / height, index % height];
                for away in rows {
                    let row = self.row_at(at, *away).filter(|row| filled[*row]);
                    match (row.map(|row| &wide[row * of_row..][..of_row]), erode) {
                        (Some(row), false) => out.iter_mut().zip(row).for_each(|(out, word)| *out |= word),
                        (Some(row), true) => out.iter_mut().zip(row).for_each(|(out, word)| *out &= word),
                        (None, false) => {}
                        (None, true) => return out.fill(0),
                    }
                }
            });
        }
        Self { low: self.low, size: self.size, words }
    }

    /// The row that lies `[D, H]` away, where the room holds it.
    fn row_at(&self, [d, h]: [usize; 2], away: [isize; 2]) -> Option<usize> {
        let d = d.checked_add_signed(away[0]).filter(|d| *d < self.size[0])?;
        let h = h.checked_add_signed(away[1]).filter(|h| *h < self.size[1])?;
        Some(d * self.size[1] + h)
    }

    /// The runs of voxels within a volume: the index of the first voxel, and how many.
    pub fn runs(&self, [depth, height, width]: [usize; 3]) -> impl Iterator<Item = (usize, usize)> {
        let rows = self.words.chunks_exact(self.size[2].max(1)).enumerate();
        rows.flat_map(move |(index, words)| {
            let d = self.low[0] + (index / self.size[1]) as isize;
            let h = self.low[1] + (index % self.size[1]) as isize;
            let inside = (0..depth as isize).contains(&d) && (0..height as isize).contains(&h);
            let words = if inside { words } else { &[] };
            let row = if inside { (d as usize * height + h as usize) * width } else { 0 };
            let column = move |place: usize| (place as isize + self.low[2]).clamp(0, width as isize) as usize;
            ranges(words).filter_map(move |(from, to)| {
                let (from, to) = (column(from), column(to));
                (from < to).then_some((row + from, to - from))
            })
        })
    }
}

/// Makes the runs of bits of a row, or the gaps between them, longer by one at both ends; beyond it are gaps.
fn widen(row: &mut [u64], gaps: bool) {
    let mut before = 0;
    for index in 0..row.len() {
        let (here, next) = (row[index], row.get(index + 1).copied().unwrap_or_default());
        let (left, right) = (here << 1 | before >> (WORD - 1), here >> 1 | next << (WORD - 1));
        row[index] = if gaps { here & left & right } else { here | left | right };
        before = here;
    }
}

/// The places at which runs of bits begin and end.
fn ranges(words: &[u64]) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let from = next(words, at, 0)?;
        at = next(words, from, u64::MAX).unwrap_or(words.len() * WORD);
        Some((from, at))
    })
}

/// The first place from `at` on whose bit is set; with `flip` all ones, whose bit is not.
fn next(words: &[u64], at: usize, flip: u64) -> Option<usize> {
    let mut index = at / WORD;
    let mut word = (words.get(index)? ^ flip) >> (at % WORD) << (at % WORD);
    while word == 0 {
        index += 1;
        word = words.get(index)? ^ flip;
    }
    Some(index * WORD + word.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::super::components::runs;
    use super::*;
    use proptest::prelude::*;

    const SIZE: [usize; 3] = [4, 7, 71];

    fn ball(radius_mm: f64, spacing_mm: [f64; 3]) -> Ball {
        Ball::new(radius_mm, &Geometry::axis_aligned(SIZE, spacing_mm)).unwrap()
    }

    #[test]
    fn a_ball_reaches_its_radius_and_no_farther() {
        let found = ball(0.3, [0.1, 0.2, 0.3]);
        assert_eq!(found.reach, [3, 1, 1]);
        assert_eq!(found.rows[1], [[0, 0]]);
        assert_eq!(found.rows[0].len(), 16);
        assert_eq!(ball(0.5, [1.0; 3]).rows, [[[0, 0]]]);
        assert_eq!(ball(0.0, [1.0; 3]).rows, [[[0, 0]]]);
    }

    #[test]
    fn grids_that_no_ball_fits_are_refused() {
        let code = |radius, geometry: &Geometry| Ball::new(radius, geometry).unwrap_err().code;
        assert_eq!(code(128.0, &Geometry::axis_aligned([1; 3], [1.0; 3])), "TOO_LARGE");
        let mut sheared = Geometry::axis_aligned([2; 3], [1.0; 3]);
        sheared.steps_mm[0] = [0.0, 0.3, 1.0];
        assert_eq!(code(1.0, &sheared), "SHEARED_GRID");
        assert_eq!(code(1.0, &Geometry::axis_aligned([2; 3], [1.0, 0.0, 1.0])), "BAD_GRID");
    }

    /// The definition, voxel by voxel: outside the volume is nothing, and what is there is not seen.
    fn oracle(mask: &[bool], radius_mm: f64, spacing: [f64; 3], closes: bool) -> Vec<bool> {
        let reach = spacing.map(|mm| (radius_mm / mm) as isize + 1);
        let pad = reach.map(|n| 2 * n as usize);
        let size = [0, 1, 2].map(|axis| SIZE[axis] + 2 * pad[axis]);
        let at = |i: usize| [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]].map(|n| n as isize);
        let index = |at: [isize; 3]| (at[0] as usize * size[1] + at[1] as usize) * size[2] + at[2] as usize;
        let mut offsets = Vec::new();
        for d in -reach[0]..=reach[0] {
            for h in -reach[1]..=reach[1] {
                for w in -reach[2]..=reach[2] {
                    let mm = [d as f64 * spacing[0], h as f64 * spacing[1], w as f64 * spacing[2]];
                    if mm.iter().map(|mm| mm * mm).sum::<f64>() <= radius_mm * radius_mm * (1.0 + 1e-9) {
                        offsets.push([d, h, w]);
                    }
                }
            }
        }
        let inside = |at: [isize; 3]| (0..3).all(|axis| (0..size[axis] as isize).contains(&at[axis]));
        let step = |mask: &[bool], erode: bool| -> Vec<bool> {
            let value = |i: usize, by: &[isize; 3]| {
                let to = [0, 1, 2].map(|axis| at(i)[axis] + by[axis]);
                inside(to) && mask[index(to)]
            };
            (0..mask.len())
                .map(|i| match erode {
                    true => offsets.iter().all(|by| value(i, by)),
                    false => offsets.iter().any(|by| value(i, by)),
                })
                .collect()
        };
        let mut padded = vec![false; size.iter().product()];
        let place = |i: usize| {
            let at = [i / (SIZE[1] * SIZE[2]), i / SIZE[2] % SIZE[1], i % SIZE[2]];
            index([0, 1, 2].map(|axis| (at[axis] + pad[axis]) as isize))
        };
        mask.iter().enumerate().for_each(|(i, is_set)| padded[place(i)] = *is_set);
        let changed = step(&step(&padded, !closes), closes);
        (0..mask.len()).map(|i| changed[place(i)]).collect()
    }

    fn set(room: &Room) -> Vec<bool> {
        let mut mask = vec![false; SIZE.iter().product()];
        room.runs(SIZE).for_each(|(start, length)| mask[start..start + length].fill(true));
        mask
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn balls_agree_with_the_definition(
            parts in proptest::collection::vec((0..4 * 7 * 71usize, 1..60usize), 1..14),
            radius in 0.0..3.2f64,
            spacing in [0.9..2.0f64, 0.7..2.0f64, 0.6..2.0f64],
        ) {
            let mut labels = vec![0_u16; SIZE.iter().product()];
            for (start, length) in parts {
                let end = labels.len().min(start + length);
                labels[start..end].fill(1);
            }
            let mask: Vec<bool> = labels.iter().map(|label| *label == 1).collect();
            let (ball, runs) = (ball(radius, spacing), runs(&labels, SIZE));
            let tight = Room::around(&runs, SIZE, [0; 3]);
            let wide = Room::around(&runs, SIZE, ball.reach);
            prop_assert_eq!(&set(&tight), &mask);
            prop_assert_eq!(set(&tight.eroded(&ball).dilated(&ball)), oracle(&mask, radius, spacing, false));
            prop_assert_eq!(set(&wide.dilated(&ball).eroded(&ball)), oracle(&mask, radius, spacing, true));
        }
    }
}
