//! Tables of weights along one axis: cubic B-spline, Lanczos, linear, nearest, and the Gaussian before shrinking.

use std::f64::consts::PI;

use super::grid::{self, Order, Sampling};
use super::row::Row;
use super::spline;

/// Lobes of the Lanczos kernel on each side.
const LANCZOS: f64 = 3.0;
/// Where the Gaussian ends, in standard deviations, as in SciPy.
const GAUSSIAN_REACH: f64 = 4.0;

/// What is done along each line of voxels of one axis, in this order.
#[derive(Clone, Debug)]
pub struct AxisKernel {
    /// Voxels before.
    pub old: usize,
    /// Smooths before shrinking.
    pub smooth: Option<Table>,
    /// Whether the weights are for B-spline coefficients and not for voxels.
    pub prefilter: bool,
    /// One row of weights for each new voxel; `None` where the axis stays as it is.
    pub table: Option<Table>,
}

impl AxisKernel {
    /// The line of a sampling.
    pub fn new(sampling: &Sampling, order: Order, antialias: bool) -> Self {
        let old = sampling.old;
        if sampling.is_identity() {
            return Self { old, smooth: None, prefilter: false, table: None };
        }
        let sigma = if antialias { (sampling.step - 1.0) / 2.0 } else { 0.0 };
        let smooth = (sigma > 0.0 && old > 1).then(|| Table::gaussian(old, sigma));
        let position = |index: usize| sampling.start + sampling.step * index as f64;
        let rows: Vec<Row> = match order {
            Order::Nearest => grid::nearest(sampling).iter().map(|tap| Row::between(old, tap)).collect(),
            Order::Linear => grid::linear(sampling).iter().map(|tap| Row::between(old, tap)).collect(),
            Order::Cubic => (0..sampling.new).map(|index| spline::row(old, position(index))).collect(),
            Order::Lanczos => (0..sampling.new).map(|index| lanczos(old, position(index))).collect(),
        };
        let prefilter = order == Order::Cubic && old > 1;
        Self { old, smooth, prefilter, table: Some(Table::new(old, &rows)) }
    }

    /// The line of a Gaussian of `sigma` voxels, the outermost one repeated; nothing changes where it is 0.
    pub fn gaussian(voxels: usize, sigma: f64) -> Self {
        let table = (sigma > 0.0 && voxels > 0).then(|| Table::gaussian(voxels, sigma));
        Self { old: voxels, smooth: None, prefilter: false, table }
    }

    /// Voxels after.
    pub fn new_len(&self) -> usize {
        self.table.as_ref().map_or(self.old, Table::len)
    }
}

fn lanczos(voxels: usize, position: f64) -> Row {
    let sinc = |x: f64| if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) };
    let floor = position.floor() as i64;
    let taps = (floor - 2..=floor + 3).map(|place| {
        let x = position - place as f64;
        (place, if x.abs() < LANCZOS { sinc(x) * sinc(x / LANCZOS) } else { 0.0 })
    });
    let taps: Vec<_> = taps.collect();
    let sum: f64 = taps.iter().map(|(_, weight)| weight).sum();
    Row::edged(voxels, taps.into_iter().map(|(place, weight)| (place, weight / sum)))
}

/// Weights over neighbours, as many for each new voxel.
#[derive(Clone, Debug)]
pub struct Table {
    taps: usize,
    starts: Vec<u32>,
    weights: Vec<f32>,
}

impl Table {
    /// One row for each new voxel of a line that had so many.
    fn new(voxels: usize, rows: &[Row]) -> Self {
        let taps = rows.iter().map(|row| row.weights.len()).max().unwrap_or(1);
        let mut table = Self { taps, starts: Vec::with_capacity(rows.len()), weights: Vec::new() };
        for row in rows {
            let start = row.low.min(voxels - taps);
            table.starts.push(start as u32);
            let at = table.weights.len() + row.low - start;
            table.weights.resize(table.weights.len() + taps, 0.0);
            for (to, weight) in table.weights[at..].iter_mut().zip(&row.weights) {
                *to = *weight as f32;
            }
        }
        table
    }

    /// SciPy's `gaussian_filter1d`, the outermost voxel repeated.
    fn gaussian(voxels: usize, sigma: f64) -> Self {
        let radius = (GAUSSIAN_REACH * sigma + 0.5) as i64;
        let bell = |x: i64| (-0.5 * (x * x) as f64 / (sigma * sigma)).exp();
        let sum: f64 = (-radius..=radius).map(bell).sum();
        let row = |index: usize| {
            let taps = (-radius..=radius).map(|x| (index as i64 + x, bell(x) / sum));
            Row::edged(voxels, taps)
        };
        Self::new(voxels, &(0..voxels).map(row).collect::<Vec<_>>())
    }

    /// New voxels.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The voxel that makes a new one, in a table that only picks voxels.
    pub fn picks(&self, index: usize) -> Option<usize> {
        (self.taps == 1 && self.weights[index] == 1.0).then(|| self.starts[index] as usize)
    }

    /// Makes one new voxel of `lanes` lines at once, whose voxels lie side by side in `lines`.
    #[inline(always)]
    pub fn weigh(&self, index: usize, lines: &[f32], lanes: usize, out: &mut [f32]) {
        let start = self.starts[index] as usize;
        let weights = &self.weights[index * self.taps..][..self.taps];
        let rows = &lines[start * lanes..][..self.taps * lanes];
        match self.taps {
            1 => sum::<1>(rows, weights, lanes, out),
            2 => sum::<2>(rows, weights, lanes, out),
            4 => sum::<4>(rows, weights, lanes, out),
            6 => sum::<6>(rows, weights, lanes, out),
            _ => {
                let out = &mut out[..lanes];
                out.fill(0.0);
                for (row, weight) in rows.chunks_exact(lanes).zip(weights) {
                    for (out, value) in out.iter_mut().zip(row) {
                        *out += value * weight;
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn sum<const K: usize>(rows: &[f32], weights: &[f32], lanes: usize, out: &mut [f32]) {
    let row: [&[f32]; K] = std::array::from_fn(|k| &rows[k * lanes..][..lanes]);
    let weight: [f32; K] = std::array::from_fn(|k| weights[k]);
    let out = &mut out[..lanes];
    for lane in 0..lanes {
        let mut value = row[0][lane] * weight[0];
        for k in 1..K {
            value += row[k][lane] * weight[k];
        }
        out[lane] = value;
    }
}
