//! Connected components of label maps, by runs along W and a union-find over them.

use rayon::prelude::*;

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
    /// From the number of neighbours: 6, 18 or 26.
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
    /// Voxels.
    pub length: usize,
    /// Not 0.
    pub label: u16,
}

/// One component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its label.
    pub label: u16,
    /// Voxels.
    pub voxels: u64,
    /// Its lowest voxel index.
    pub first: usize,
}

/// All components of a label map, each of one label.
#[derive(Clone, Debug, Default)]
pub struct Components {
    /// In the order of their lowest voxel index.
    pub components: Vec<Component>,
    /// All runs, in the order of the voxels.
    pub runs: Vec<Run>,
    /// The component of each run.
    pub of_run: Vec<usize>,
}

/// The components of `labels`, a volume of `[D, H, W]` voxels. Voxels of different labels never join.
pub fn components(labels: &[u16], size: [usize; 3], connectivity: Connectivity) -> Components {
    let [depth, height, width] = size;
    if labels.is_empty() || labels.len() != depth * height * width {
        return Components::default();
    }
    let (runs, rows) = runs_by_row(labels, width);
    let mut sets = Sets { parent: (0..runs.len()).collect() };
    // How far the runs of a row beside, and of a row diagonally beside, may lie apart along W.
    let (across, diagonal) = match connectivity {
        Connectivity::Faces => (0, None),
        Connectivity::Edges => (1, Some(0)),
        Connectivity::Corners => (1, Some(1)),
    };
    for row in 0..depth * height {
        let (d, h) = (row / height, row % height);
        let here = rows[row]..rows[row + 1];
        if here.is_empty() {
            continue;
        }
        let mut join = |other: usize, reach: usize| {
            let there = &runs[rows[other]..rows[other + 1]];
            join_rows(&runs[here.clone()], there, (row - other) * width, reach, |a, b| {
                sets.join(here.start + a, rows[other] + b);
            });
        };
        if h > 0 {
            join(row - 1, across);
        }
        if d > 0 {
            join(row - height, across);
            if let Some(reach) = diagonal {
                if h > 0 {
                    join(row - height - 1, reach);
                }
                if h + 1 < height {
                    join(row - height + 1, reach);
                }
            }
        }
    }
    collect(runs, sets)
}

/// Runs in order, and where those of each row begin.
fn runs_by_row(labels: &[u16], width: usize) -> (Vec<Run>, Vec<usize>) {
    let parts: Vec<Vec<Run>> = labels
        .par_chunks(width)
        .with_min_len(64)
        .enumerate()
        .map(|(row, values)| runs_of(values, row * width))
        .collect();
    let mut rows = Vec::with_capacity(parts.len() + 1);
    let mut runs = Vec::with_capacity(parts.iter().map(Vec::len).sum());
    for part in parts {
        rows.push(runs.len());
        runs.extend(part);
    }
    rows.push(runs.len());
    (runs, rows)
}

fn runs_of(row: &[u16], offset: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    // Most rows of most masks are background.
    if row.iter().fold(0, |any, &label| any | label) == 0 {
        return runs;
    }
    let mut previous = 0;
    for (index, &label) in row.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if label != 0 && label == previous => run.length += 1,
            _ if label != 0 => runs.push(Run { start: offset + index, length: 1, label }),
            _ => {}
        }
        previous = label;
    }
    runs
}

/// Joins the runs of a row with those of an earlier one, `shift` voxels before, that overlap when made
/// longer by `reach` at both ends.
fn join_rows(here: &[Run], there: &[Run], shift: usize, reach: usize, mut join: impl FnMut(usize, usize)) {
    let mut first = 0;
    for (index, run) in here.iter().enumerate() {
        let (start, end) = (run.start, run.start + run.length);
        while there.get(first).is_some_and(|other| other.start + other.length + shift + reach <= start) {
            first += 1;
        }
        for (offset, other) in there[first..].iter().enumerate() {
            if other.start + shift >= end + reach {
                break;
            }
            if other.label == run.label {
                join(index, first + offset);
            }
        }
    }
}

/// Disjoint sets whose root is their lowest member.
struct Sets {
    parent: Vec<usize>,
}

impl Sets {
    fn root(&mut self, mut member: usize) -> usize {
        while self.parent[member] != member {
            let above = self.parent[self.parent[member]];
            self.parent[member] = above;
            member = above;
        }
        member
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
}

fn collect(runs: Vec<Run>, mut sets: Sets) -> Components {
    let mut found = Components { runs, ..Components::default() };
    for index in 0..found.runs.len() {
        let run = found.runs[index];
        let root = sets.root(index);
        let component = if root == index {
            found.components.push(Component { label: run.label, voxels: 0, first: run.start });
            found.components.len() - 1
        } else {
            found.of_run[root]
        };
        found.of_run.push(component);
        found.components[component].voxels += run.length as u64;
    }
    found
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
    fn oracle(labels: &[u16], size: [usize; 3], connectivity: Connectivity) -> Vec<Component> {
        let most = ALL.iter().position(|c| *c == connectivity).unwrap() + 1;
        let at = |i: usize| [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]];
        let touch = |i: usize, j: usize| {
            let off = [0, 1, 2].map(|axis| at(i)[axis].abs_diff(at(j)[axis]));
            off.iter().all(|&n| n < 2) && off.iter().sum::<usize>() <= most
        };
        let mut seen = vec![false; labels.len()];
        let mut found = Vec::new();
        for first in 0..labels.len() {
            if labels[first] == 0 || seen[first] {
                continue;
            }
            seen[first] = true;
            let (mut stack, mut voxels) = (vec![first], 0);
            while let Some(i) = stack.pop() {
                voxels += 1;
                for j in 0..labels.len() {
                    if !seen[j] && labels[j] == labels[first] && touch(i, j) {
                        seen[j] = true;
                        stack.push(j);
                    }
                }
            }
            found.push(Component { label: labels[first], voxels, first });
        }
        found
    }

    proptest! {
        #[test]
        fn runs_agree_with_a_flood_fill(
            size in [1..4usize, 1..5usize, 1..7usize],
            values in proptest::collection::vec(0..4u16, 72),
            which in 0..3usize,
        ) {
            let labels: Vec<u16> = values[..size.iter().product()].iter().map(|&v| v.saturating_sub(1)).collect();
            let found = components(&labels, size, ALL[which]).components;
            prop_assert_eq!(found, oracle(&labels, size, ALL[which]));
        }
    }
}
