//! Connected components of label maps, by runs along W and a union-find over them.

mod numbers;
mod rows;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;
use tomoflow_connectors::pages;

use numbers::{Number, Numbers};
use rows::Rows;

/// Rows that one task works on.
const ROWS: usize = 256;

/// Which voxels touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Those that share a face (6).
    Faces,
    /// Those that share a face or an edge (18).
    Edges,
    /// Those that share a face, an edge or a corner (26).
    Corners,
}

impl Connectivity {
    /// The connectivity that has so many neighbours: 6, 18 or 26.
    pub fn from_neighbours(neighbours: u64) -> Option<Self> {
        match neighbours {
            6 => Some(Self::Faces),
            18 => Some(Self::Edges),
            26 => Some(Self::Corners),
            _ => None,
        }
    }
}

/// Neighbouring voxels of one label in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The index of its first voxel in the volume.
    pub start: usize,
    /// Its length in voxels.
    pub length: usize,
    /// The label of its voxels, not 0.
    pub label: u16,
}

/// One component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its label.
    pub label: u16,
    /// Voxels.
    pub voxels: u64,
}

/// All components of a label map, each of one label.
#[derive(Clone, Debug, Default)]
pub struct Components {
    /// The components, in the order of their lowest voxel index.
    pub components: Vec<Component>,
    rows: Rows,
    /// The component of each run.
    of_run: Numbers,
}

impl Components {
    /// All runs, in the order of the voxels, each with the place of its component.
    pub fn runs(&self) -> impl Iterator<Item = (Run, usize)> {
        (0..self.rows.len()).flat_map(|row| self.numbered(row)).map(|(voxels, component)| {
            let label = self.components[component].label;
            (Run { start: voxels.start, length: voxels.len(), label }, component)
        })
    }

    /// The voxels of the runs of a row, each with the place of its component.
    fn numbered(&self, row: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
        let first = self.rows.runs_before(row);
        (first..).zip(self.rows.runs(row)).map(|(index, voxels)| (voxels, self.of_run.get(index)))
    }

    /// Gives a volume of the same size the value of each component, by its place; those without a value and
    /// the background stay as they are.
    pub fn paint<T: Copy + Send>(&self, voxels: &mut [T], value: impl Fn(usize) -> Option<T> + Sync) {
        let (all, width) = (self.rows.len(), self.rows.width());
        pages::large(voxels);
        voxels.par_chunks_mut((ROWS * width).max(1)).enumerate().for_each(|(task, voxels)| {
            let rows = task * ROWS..all.min((task + 1) * ROWS);
            let before = rows.start * width;
            for (run, component) in rows.flat_map(|row| self.numbered(row)) {
                let run = run.start - before..run.end - before;
                if let (Some(value), Some(voxels)) = (value(component), voxels.get_mut(run)) {
                    voxels.fill(value);
                }
            }
        });
    }
}

/// The components of `labels`, a volume of `[D, H, W]` voxels. Voxels of different labels never join.
pub fn components(labels: &[u16], size: [usize; 3], connectivity: Connectivity) -> Components {
    let [depth, height, width] = size;
    if labels.is_empty() || labels.len() != depth * height * width {
        return Components::default();
    }
    let rows = Rows::new(labels, width);
    if u32::try_from(rows.runs_before(rows.len())).is_ok() {
        joined::<u32>(labels, rows, height, connectivity)
    } else {
        joined::<usize>(labels, rows, height, connectivity)
    }
}

/// The components of these rows, each run with a number of this kind.
fn joined<N: Number>(labels: &[u16], rows: Rows, height: usize, connectivity: Connectivity) -> Components {
    let mut parents = vec![N::default(); rows.runs_before(rows.len())];
    pages::large(&mut parents);
    Joining { labels, rows: &rows, height, connectivity }.join(0..rows.len(), &mut parents);
    collect(labels, rows, parents)
}

/// All runs of a volume of `[D, H, W]` voxels, in the order of the voxels.
pub fn runs(labels: &[u16], [depth, height, width]: [usize; 3]) -> Vec<Run> {
    if labels.is_empty() || labels.len() != depth * height * width {
        return Vec::new();
    }
    let rows = Rows::new(labels, width);
    let labelled = |run: Range<usize>| Run { start: run.start, length: run.len(), label: labels[run.start] };
    (0..rows.len()).flat_map(|row| rows.runs(row)).map(labelled).collect()
}

/// What joins runs.
struct Joining<'a> {
    labels: &'a [u16],
    rows: &'a Rows,
    height: usize,
    connectivity: Connectivity,
}

impl Joining<'_> {
    /// Joins the runs within some rows; `parents` are those of these runs alone.
    fn join<N: Number>(&self, range: Range<usize>, parents: &mut [N]) {
        let (base, middle) = (self.rows.runs_before(range.start), (range.start + range.end) / 2);
        if range.len() <= ROWS {
            for (index, parent) in parents.iter_mut().enumerate() {
                *parent = N::from(base + index);
            }
            return self.join_with(range.clone(), range, &mut Sets { base, parents });
        }
        let (low, high) = parents.split_at_mut(self.rows.runs_before(middle) - base);
        rayon::join(|| self.join(range.start..middle, low), || self.join(middle..range.end, high));
        // The seam: rows that have a neighbour in the lower half.
        let seam = middle..range.end.min(middle + self.height + 1);
        self.join_with(seam, range.start..middle, &mut Sets { base, parents });
    }

    /// Joins each of the rows `here` with its earlier neighbours in `there`.
    fn join_with<N: Number>(&self, here: Range<usize>, there: Range<usize>, sets: &mut Sets<'_, N>) {
        // Whether runs touch that lie side by side in rows beside, and in rows diagonally beside.
        let (across, diagonal) = match self.connectivity {
            Connectivity::Faces => (false, None),
            Connectivity::Edges => (true, Some(false)),
            Connectivity::Corners => (true, Some(true)),
        };
        for row in here {
            let (d, h) = (row / self.height, row % self.height);
            let mut join = |before: usize, reach: bool| {
                if there.contains(&(row - before)) {
                    self.rows.touching(row, row - before, reach, |runs, voxels| {
                        if self.rows.has_one_label() || self.labels[voxels[0]] == self.labels[voxels[1]] {
                            sets.join(runs);
                        }
                    });
                }
            };
            if h > 0 {
                join(1, across);
            }
            if d > 0 {
                join(self.height, across);
            }
            if let Some(reach) = diagonal
                && d > 0
            {
                if h > 0 {
                    join(self.height + 1, reach);
                }
                if h + 1 < self.height {
                    join(self.height - 1, reach);
                }
            }
        }
    }
}

/// Disjoint sets of some runs; a parent comes before its children, so that a root is the lowest member.
///
/// # Source
/// Rem's algorithm in Dijkstra, A Discipline of Programming, 1976.
struct Sets<'a, N> {
    /// The first of these runs.
    base: usize,
    parents: &'a mut [N],
}

impl<N: Number> Sets<'_, N> {
    fn join(&mut self, runs: [usize; 2]) {
        let [mut a, mut b] = runs.map(|run| run - self.base);
        loop {
            let above = [self.parents[a], self.parents[b]];
            if above[0] == above[1] {
                return;
            }
            if above[0] < above[1] {
                (a, b) = (b, a);
            }
            // `a` has the later parent: it gets the other's, and its own one is to be joined instead.
            let own = std::mem::replace(&mut self.parents[a], above[0].min(above[1])).index() - self.base;
            if own == a {
                return;
            }
            a = own;
        }
    }
}

/// Numbers the components; a parent becomes its component's number.
fn collect<N: Number>(labels: &[u16], rows: Rows, mut parents: Vec<N>) -> Components {
    let is_root = |(index, parent): &(usize, &N)| *index == parent.index();
    let roots = parents.par_iter().enumerate().with_min_len(1 << 14).filter(is_root).count();
    let mut components: Vec<Component> = Vec::with_capacity(roots);
    pages::large(components.spare_capacity_mut());
    let runs = (0..rows.len()).flat_map(|row| rows.runs(row));
    for (index, run) in runs.enumerate() {
        let parent = parents[index].index();
        if parent == index {
            parents[index] = N::from(components.len());
            components.push(Component { label: labels[run.start], voxels: run.len() as u64 });
        } else {
            // A parent comes before, and is a number already.
            parents[index] = parents[parent];
            components[parents[parent].index()].voxels += run.len() as u64;
        }
    }
    Components { components, rows, of_run: N::all(parents) }
}
