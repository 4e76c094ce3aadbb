//! Resampling axis by axis with any weights: many lines at once, in the plane while a slice is in the cache, and
//! along D where that leaves the fewest voxels in between.

use rayon::prelude::*;

use super::kernel::{AxisKernel, Table};
use super::spline;

/// Lines along W that are worked on side by side.
const LANES: usize = 16;
/// Columns of a plane whose lines along H are worked on side by side.
const STRIP: usize = 64;
/// Values of a strip along D: a quarter of a megabyte.
const DEPTH_STRIP: usize = 1 << 16;

/// The least and the most of intensities.
pub type Bounds = (f32, f32);

/// What keeps a spline from going beyond the voxels it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clip {
    /// Nothing.
    Never,
    /// The least and the most voxel of the volume.
    Volume,
    /// Those of the slice along this axis that a new slice is taken from.
    Slices(usize),
}

/// The volume after each axis has had its line.
pub fn resample(voxels: &[f32], size: [usize; 3], lines: &[AxisKernel; 3], clip: Clip) -> Vec<f32> {
    let whole = (clip == Clip::Volume).then(|| bounds(voxels));
    let by_slice = clip == Clip::Slices(0);
    let [depth, plane] = [lines[0].table.is_some(), lines[1].table.is_some() || lines[2].table.is_some()];
    let shrinks = lines[0].new_len() < lines[0].old && !by_slice;
    let mut output = match (depth, plane) {
        (false, false) => return voxels.to_vec(),
        (true, false) => along_depth(voxels, size, &lines[0], whole),
        (false, true) => in_planes(voxels, size, lines, by_slice, whole),
        (true, true) if shrinks => {
            let between = along_depth(voxels, size, &lines[0], None);
            in_planes(&between, [lines[0].new_len(), size[1], size[2]], lines, false, whole)
        }
        (true, true) => {
            let between = in_planes(voxels, size, lines, by_slice, None);
            let size = [size[0], lines[1].new_len(), lines[2].new_len()];
            along_depth(&between, size, &lines[0], whole)
        }
    };
    if let Clip::Slices(axis @ (1 | 2)) = clip {
        clip_slices(voxels, size, lines, axis, &mut output);
    }
    output
}

/// Memory for new voxels, in large pages.
fn zeros(count: usize) -> Vec<f32> {
    let mut voxels = vec![0.0; count];
    tomoflow_connectors::pages::large(&mut voxels);
    voxels
}

/// The least and the most of a volume.
fn bounds(voxels: &[f32]) -> Bounds {
    voxels.par_chunks(1 << 16).map(slice_bounds).reduce(|| EMPTY, wider)
}

const EMPTY: Bounds = (f32::INFINITY, f32::NEG_INFINITY);

fn wider(a: Bounds, b: Bounds) -> Bounds {
    (if b.0 < a.0 { b.0 } else { a.0 }, if b.1 > a.1 { b.1 } else { a.1 })
}

fn slice_bounds(voxels: &[f32]) -> Bounds {
    let (chunks, rest) = voxels.as_chunks::<LANES>();
    let mut lanes = [EMPTY; LANES];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = wider(*lane, (value, value));
        }
    }
    let rest = rest.iter().map(|&value| (value, value));
    lanes.into_iter().chain(rest).fold(EMPTY, wider)
}

/// Keeps NaN, which is refused later, as it is.
fn clamp(values: &mut [f32], (least, most): Bounds) {
    for value in values {
        let raised = if *value < least { least } else { *value };
        *value = if raised > most { most } else { raised };
    }
}

/// For slices along H or W: a row, or a column, of the new volume within the bounds of the one it was taken from.
fn clip_slices(voxels: &[f32], size: [usize; 3], lines: &[AxisKernel; 3], axis: usize, output: &mut [f32]) {
    let mut found = vec![EMPTY; size[axis]];
    for (line, row) in voxels.chunks_exact(size[2]).enumerate() {
        if axis == 1 {
            let slice = &mut found[line % size[1]];
            *slice = wider(*slice, slice_bounds(row));
        } else {
            for (slice, &value) in found.iter_mut().zip(row) {
                *slice = wider(*slice, (value, value));
            }
        }
    }
    let from = |index: usize| match &lines[axis].table {
        Some(table) => table.picks(index).unwrap_or(index),
        None => index,
    };
    let bounds: Vec<Bounds> = (0..lines[axis].new_len()).map(|index| found[from(index)]).collect();
    let (rows, width) = (lines[1].new_len(), lines[2].new_len());
    output.par_chunks_exact_mut(width).enumerate().for_each(|(line, row)| {
        if axis == 1 {
            clamp(row, bounds[line % rows]);
        } else {
            row.iter_mut()
                .zip(&bounds)
                .for_each(|(value, bounds)| clamp(std::slice::from_mut(value), *bounds));
        }
    });
}

/// The lines along D: neighbouring columns of the plane side by side.
fn along_depth(voxels: &[f32], size: [usize; 3], line: &AxisKernel, clip: Option<Bounds>) -> Vec<f32> {
    let Some(table) = &line.table else { return voxels.to_vec() };
    let area = size[1] * size[2];
    let mut output = zeros(table.len() * area);
    let width = (DEPTH_STRIP / size[0] / LANES * LANES).clamp(LANES, 1024);
    let mut strips: Vec<Vec<&mut [f32]>> =
        (0..area.div_ceil(width)).map(|_| Vec::with_capacity(table.len())).collect();
    for slice in output.chunks_exact_mut(area) {
        for (strip, out) in strips.iter_mut().zip(slice.chunks_mut(width)) {
            strip.push(out);
        }
    }
    // Whole slices as they are: nearest, and a single slice.
    let picks = line.smooth.is_none() && (0..table.len()).all(|index| table.picks(index).is_some());
    let scratch = || Scratch::new(line, width);
    strips.into_par_iter().enumerate().for_each_init(scratch, |scratch, (strip, outs)| {
        let first = strip * width;
        let lanes = width.min(area - first);
        let source = |index: usize| &voxels[index * area + first..][..lanes];
        let lines = if picks {
            &[]
        } else {
            scratch.load(line, lanes, |index, row| row.copy_from_slice(source(index)))
        };
        for (index, out) in outs.into_iter().enumerate() {
            match table.picks(index) {
                Some(slice) if picks => out.copy_from_slice(source(slice)),
                _ => table.weigh(index, lines, lanes, out),
            }
            if let Some(bounds) = clip {
                clamp(out, bounds);
            }
        }
    });
    output
}

/// Lines side by side, smoothed and turned into coefficients where these are asked for.
struct Scratch {
    lines: Vec<f32>,
    smoothed: Vec<f32>,
}

impl Scratch {
    fn new(line: &AxisKernel, lanes: usize) -> Self {
        let count = line.old * lanes;
        Self { lines: vec![0.0; count], smoothed: vec![0.0; if line.smooth.is_some() { count } else { 0 }] }
    }

    #[inline(always)]
    fn load(&mut self, line: &AxisKernel, lanes: usize, mut load: impl FnMut(usize, &mut [f32])) -> &[f32] {
        let lines = &mut self.lines[..line.old * lanes];
        let Some(smooth) = &line.smooth else {
            if line.prefilter {
                spline::coefficients(lines, lanes, load);
            } else {
                lines.chunks_exact_mut(lanes).enumerate().for_each(|(index, row)| load(index, row));
            }
            return lines;
        };
        lines.chunks_exact_mut(lanes).enumerate().for_each(|(index, row)| load(index, row));
        let smoothed = &mut self.smoothed[..line.old * lanes];
        let smooth = |index: usize, row: &mut [f32]| smooth.weigh(index, lines, lanes, row);
        if line.prefilter {
            spline::coefficients(smoothed, lanes, smooth);
        } else {
            smoothed.chunks_exact_mut(lanes).enumerate().for_each(|(index, row)| smooth(index, row));
        }
        smoothed
    }
}

/// The lines along H and W, slice by slice; the one that shrinks more first.
fn in_planes(
    voxels: &[f32],
    size: [usize; 3],
    lines: &[AxisKernel; 3],
    by_slice: bool,
    whole: Option<Bounds>,
) -> Vec<f32> {
    let [_, rows, columns] = lines;
    let (height, width) = (rows.new_len(), columns.new_len());
    let mut output = zeros(size[0] * height * width);
    let rows_first = height <= size[1];
    let between = if rows_first { height * size[2] } else { size[1] * width };
    let scratch = || (Scratch::new(rows, STRIP), Scratch::new(columns, LANES), vec![0.0; between]);
    let slices = voxels.par_chunks_exact(size[1] * size[2]);
    output.par_chunks_exact_mut(height * width).zip(slices).for_each_init(
        scratch,
        |(for_rows, for_columns, between), (out, slice)| {
            let clip = if by_slice { Some(slice_bounds(slice)) } else { whole };
            match (&rows.table, &columns.table) {
                (Some(table), None) => along_rows(slice, size[2], rows, table, for_rows, out),
                (None, Some(table)) => along_columns(slice, columns, table, for_columns, out),
                (Some(down), Some(across)) if rows_first => {
                    along_rows(slice, size[2], rows, down, for_rows, between);
                    along_columns(between, columns, across, for_columns, out);
                }
                (Some(down), Some(across)) => {
                    along_columns(slice, columns, across, for_columns, between);
                    along_rows(between, width, rows, down, for_rows, out);
                }
                (None, None) => out.copy_from_slice(slice),
            }
            if let Some(bounds) = clip {
                clamp(out, bounds);
            }
        },
    );
    output
}

/// The lines of a plane along H: neighbouring columns side by side.
fn along_rows(
    plane: &[f32],
    width: usize,
    line: &AxisKernel,
    table: &Table,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    for first in (0..width).step_by(STRIP) {
        let lanes = STRIP.min(width - first);
        let load =
            |index: usize, row: &mut [f32]| row.copy_from_slice(&plane[index * width + first..][..lanes]);
        let lines = scratch.load(line, lanes, load);
        for index in 0..table.len() {
            table.weigh(index, lines, lanes, &mut out[index * width + first..][..lanes]);
        }
    }
}

/// The lines of a plane along W: neighbouring rows side by side, turned and turned back.
fn along_columns(plane: &[f32], line: &AxisKernel, table: &Table, scratch: &mut Scratch, out: &mut [f32]) {
    let (old, new) = (line.old, table.len());
    for (rows, outs) in plane.chunks(LANES * old).zip(out.chunks_mut(LANES * new)) {
        let count = rows.len() / old;
        // A group that is not full repeats its last row, whose results are dropped.
        let row: [&[f32]; LANES] = std::array::from_fn(|lane| &rows[lane.min(count - 1) * old..][..old]);
        let load = |index: usize, lanes: &mut [f32]| {
            for (value, row) in lanes.iter_mut().zip(row) {
                *value = row[index];
            }
        };
        let lines = scratch.load(line, LANES, load);
        let mut made = [0.0; LANES];
        for index in 0..new {
            table.weigh(index, lines, LANES, &mut made);
            for (lane, value) in made.iter().enumerate().take(count) {
                outs[lane * new + index] = *value;
            }
        }
    }
}
