//! Sums of products of columns, and the least squares that they stand for.

/// Unknowns: a shift, a matrix, a gain and an offset of intensities.
pub(super) const UNKNOWNS: usize = 14;
/// Columns: those of the unknowns, and what they are to come to.
pub(super) const COLUMNS: usize = UNKNOWNS + 1;

/// Products of all columns with each other, over samples.
#[derive(Clone, Debug)]
pub(super) struct Products {
    pub(super) samples: u64,
    pub(super) looked_at: u64,
    sums: [[f64; COLUMNS]; COLUMNS],
}

impl Products {
    pub(super) fn new() -> Self {
        Self { samples: 0, looked_at: 0, sums: [[0.0; COLUMNS]; COLUMNS] }
    }

    /// Adds a sample.
    #[inline(always)]
    pub(super) fn add(&mut self, columns: &[f64; COLUMNS]) {
        self.samples += 1;
        for (row, &value) in columns.iter().enumerate() {
            for (sum, other) in self.sums[row][row..].iter_mut().zip(&columns[row..]) {
                *sum += value * other;
            }
        }
    }

    /// Adds what another has.
    pub(super) fn merge(&mut self, other: &Self) {
        self.samples += other.samples;
        self.looked_at += other.looked_at;
        for (sums, others) in self.sums.iter_mut().zip(&other.sums) {
            sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
        }
    }

    pub(super) fn of(&self, a: usize, b: usize) -> f64 {
        self.sums[a.min(b)][a.max(b)]
    }

    /// The share of samples that lie in both scans.
    pub(super) fn overlap(&self) -> f64 {
        if self.looked_at == 0 { 0.0 } else { self.samples as f64 / self.looked_at as f64 }
    }

    /// The moving scan's gain and offset that fit best, and the correlation of the two scans, 0 where either is flat.
    pub(super) fn intensities(&self) -> (f64, f64, f64) {
        let [moving, one, fixed] = [UNKNOWNS - 2, UNKNOWNS - 1, UNKNOWNS];
        let count = self.of(one, one).max(1.0);
        let spread = |a, b| self.of(a, b) - self.of(a, one) * self.of(b, one) / count;
        let (of_moving, of_fixed, both) =
            (spread(moving, moving), spread(fixed, fixed), spread(moving, fixed));
        if !(of_moving > 1e-9 * count && of_fixed > 1e-9 * count) {
            return (0.0, 0.0, 0.0);
        }
        let gain = both / of_moving;
        let offset = (self.of(fixed, one) - gain * self.of(moving, one)) / count;
        (gain, offset, both / (of_moving * of_fixed).sqrt())
    }

    /// The change of the first `free` unknowns, and of gain and offset, that least squares ask for, the diagonal raised by
    /// `damping`; none where they do not say. Columns of places count `gain` times.
    pub(super) fn step(&self, free: usize, damping: f64) -> Option<Vec<f64>> {
        let (gain, offset, _) = self.intensities();
        let [moving, one, fixed] = [UNKNOWNS - 2, UNKNOWNS - 1, UNKNOWNS];
        let columns: Vec<usize> = (0..free).chain([moving, one]).collect();
        let scale = |column: usize| if column < free { gain } else { 1.0 };
        let n = columns.len();
        let mut matrix = vec![vec![0.0; n + 1]; n];
        for (i, &a) in columns.iter().enumerate() {
            for (j, &b) in columns.iter().enumerate() {
                matrix[i][j] = scale(a) * scale(b) * self.of(a, b);
            }
            let left = self.of(a, fixed) - gain * self.of(a, moving) - offset * self.of(a, one);
            matrix[i][n] = scale(a) * left;
            if a < free {
                matrix[i][i] *= 1.0 + damping;
            }
        }
        solve(matrix).map(|mut step| {
            step.truncate(free);
            step
        })
    }
}

/// Gauss's elimination, each time by the largest number left of a column.
fn solve(mut matrix: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let n = matrix.len();
    for column in 0..n {
        let largest =
            (column..n).max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()))?;
        matrix.swap(column, largest);
        let pivot = matrix[column].clone();
        if pivot[column].is_nan() || pivot[column].abs() <= 1e-12 {
            return None;
        }
        for row in matrix.iter_mut().skip(column + 1) {
            let factor = row[column] / pivot[column];
            row.iter_mut().zip(&pivot).skip(column).for_each(|(value, pivot)| *value -= factor * pivot);
        }
    }
    let mut found = vec![0.0; n];
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|other| matrix[row][other] * found[other]).sum();
        found[row] = (matrix[row][n] - known) / matrix[row][row];
    }
    found.iter().all(|value| value.is_finite()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_solved_and_those_that_say_nothing_are_not() {
        let matrix = vec![vec![0.0, 2.0, 4.0], vec![3.0, 1.0, 5.0]];
        assert_eq!(solve(matrix), Some(vec![1.0, 2.0]));
        assert_eq!(solve(vec![vec![1.0, 2.0, 1.0], vec![2.0, 4.0, 2.0]]), None);
        assert_eq!(solve(vec![vec![f64::NAN, 1.0]]), None);
    }
}
