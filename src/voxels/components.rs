//! Connected components of label maps, by runs along W and a union-find over them.

mod numbers;
mod rows;

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Connectivity; 3] = [Connectivity::Faces, Connectivity::Edges, Connectivity::Corners];

    fn voxels(labels: &[u16], size: [usize; 3], connectivity: Connectivity) -> Vec<u64> {
        components(labels, size, connectivity).components.iter().map(|found| found.voxels).collect()
    }

    #[test]
    fn faces_edges_and_corners() {
        let by_edge = [1, 0, 0, 1];
        assert_eq!(ALL.map(|c| voxels(&by_edge, [1, 2, 2], c).len()), [2, 1, 1]);
        let by_corner = [1, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(ALL.map(|c| voxels(&by_corner, [2, 2, 2], c).len()), [2, 2, 1]);
        let across_slices = [0, 1, 1, 0];
        assert_eq!(ALL.map(|c| voxels(&across_slices, [2, 1, 2], c).len()), [2, 1, 1]);
    }

    #[test]
    fn labels_do_not_join_and_abutting_runs_are_all_compared() {
        assert_eq!(voxels(&[1, 2, 1], [1, 1, 3], Connectivity::Corners), [1, 1, 1]);
        let crossed = [1, 1, 2, 2, 2, 2, 1, 1];
        assert_eq!(voxels(&crossed, [1, 2, 4], Connectivity::Corners), [4, 4]);
        assert_eq!(voxels(&crossed, [1, 2, 4], Connectivity::Faces), [2, 2, 2, 2]);
    }

    #[test]
    fn nothing_has_no_components() {
        assert!(voxels(&[], [0, 3, 3], Connectivity::Faces).is_empty());
        assert!(voxels(&[0; 8], [2, 2, 2], Connectivity::Corners).is_empty());
        assert_eq!(voxels(&[7; 8], [2, 2, 2], Connectivity::Faces), [8]);
    }

    /// Flood fill from each voxel in turn.
    fn oracle(labels: &[u16], size: [usize; 3], connectivity: Connectivity) -> Vec<(Component, Vec<usize>)> {
        let most = ALL.iter().position(|c| *c == connectivity).unwrap() + 1;
        let at = |i: usize| [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]];
        let offsets: Vec<[usize; 3]> = (0..27)
            .map(|i: usize| [i / 9, i / 3 % 3, i % 3])
            .filter(|offset| offset.iter().filter(|&&n| n != 1).count() <= most)
            .collect();
        let beside = |i: usize| {
            let next =
                |offset: &[usize; 3]| [0, 1, 2].map(|axis| (at(i)[axis] + offset[axis]).wrapping_sub(1));
            let inside = |next: &[usize; 3]| (0..3).all(|axis| next[axis] < size[axis]);
            let places: Vec<[usize; 3]> = offsets.iter().map(next).filter(inside).collect();
            places.into_iter().map(|[d, h, w]| (d * size[1] + h) * size[2] + w)
        };
        let mut seen = vec![false; labels.len()];
        let mut found = Vec::new();
        for first in 0..labels.len() {
            if labels[first] == 0 || seen[first] {
                continue;
            }
            seen[first] = true;
            let (mut stack, mut members) = (vec![first], Vec::new());
            while let Some(i) = stack.pop() {
                members.push(i);
                for j in beside(i) {
                    if !seen[j] && labels[j] == labels[first] {
                        seen[j] = true;
                        stack.push(j);
                    }
                }
            }
            members.sort_unstable();
            found.push((Component { label: labels[first], voxels: members.len() as u64 }, members));
        }
        found
    }

    /// Compares all that is known of the components with a flood fill.
    fn check(labels: &[u16], size: [usize; 3], connectivity: Connectivity) {
        let found = components(labels, size, connectivity);
        let mut members = vec![Vec::new(); found.components.len()];
        let mut end = 0;
        for (run, component) in found.runs() {
            assert!(run.start >= end && run.length > 0, "in order");
            end = run.start + run.length;
            assert_eq!(run.label, found.components[component].label);
            members[component].extend(run.start..end);
        }
        let all: Vec<_> = found.components.iter().copied().zip(members).collect();
        assert_eq!(all, oracle(labels, size, connectivity));
        // Numbers of either kind are the same.
        let long = joined::<usize>(labels, Rows::new(labels, size[2]), size[1], connectivity);
        assert_eq!(long.components, found.components);
        assert!(long.runs().eq(found.runs()));
        let mut painted = vec![0; labels.len()];
        found.paint(&mut painted, |component| Some(found.components[component].label));
        assert_eq!(painted, labels);
    }

    #[test]
    fn words_and_tasks_have_no_seams() {
        // Many rows, wider than a word: what tasks join, and what they leave to each other.
        let mut state = 7_u64;
        let mut random = |share: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            u16::from((state >> 33) % 100 < share) * (1 + (state >> 60) as u16 % 2)
        };
        for (size, share) in [([14, 40, 65], 30), ([3, 300, 64], 15), ([1, 600, 130], 50), ([700, 1, 63], 40)]
        {
            let labels: Vec<u16> = (0..size.iter().product()).map(|_| random(share)).collect();
            ALL.iter().for_each(|connectivity| check(&labels, size, *connectivity));
        }
    }

    #[test]
    fn one_snake_through_all_rows() {
        // Columns that are joined at alternate ends, so that all meet late.
        let size = [30, 40, 70];
        let place = |i: usize| [i / (40 * 70), i / 70 % 40, i % 70];
        let snake = |i: usize| match place(i) {
            [_, _, w] if w % 2 == 0 => true,
            [29, 39, w] => w % 4 == 1,
            [0, 1, w] => w % 4 == 3,
            _ => false,
        };
        let labels: Vec<u16> = (0..30 * 40 * 70).map(|i| u16::from(snake(i))).collect();
        assert_eq!(voxels(&labels, size, Connectivity::Faces).len(), 1);
        ALL.iter().for_each(|connectivity| check(&labels, size, *connectivity));
    }

    proptest! {
        #[test]
        fn runs_agree_with_a_flood_fill(
            size in [1..4usize, 1..5usize, 1..7usize],
            values in proptest::collection::vec(0..4u16, 72),
            which in 0..3usize,
        ) {
            let labels: Vec<u16> = values[..size.iter().product()].iter().map(|&v| v.saturating_sub(1)).collect();
            check(&labels, size, ALL[which]);
        }

        #[test]
        fn so_do_runs_across_words(
            height in 1..4usize,
            width in 60..135usize,
            edges in proptest::collection::vec((0..135usize, 0..4u16), 0..24),
            which in 0..3usize,
        ) {
            // Long runs, since single voxels nearly never cross from one word to the next.
            let mut labels = vec![0; 2 * height * width];
            for (number, (start, label)) in edges.into_iter().enumerate() {
                let row = number % (2 * height) * width;
                labels[row + start.min(width)..row + width].fill(label);
            }
            check(&labels, [2, height, width], ALL[which]);
        }
    }
}
