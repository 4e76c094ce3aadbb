//! Components of label maps, against a search from voxel to voxel.

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
        let next = |offset: &[usize; 3]| [0, 1, 2].map(|axis| (at(i)[axis] + offset[axis]).wrapping_sub(1));
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
    for (size, share) in [([14, 40, 65], 30), ([3, 300, 64], 15), ([1, 600, 130], 50), ([700, 1, 63], 40)] {
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
