//! The order of stages: each after what it depends on; what stands in circles is told.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::problem::Span;

/// A circle: stages, each with the place where it names the next.
pub(super) type Circle = Vec<(usize, Span)>;

/// Sorts nodes by their edges to what they depend on. Of those that are ready, the first in the file
/// comes first. Nodes in or behind a circle are left out of the order.
pub(super) fn sort(edges: &[Vec<(usize, Span)>]) -> (Vec<usize>, Vec<Circle>) {
    let mut waiting: Vec<usize> = edges.iter().map(Vec::len).collect();
    let mut followers = vec![Vec::new(); edges.len()];
    for (index, edges) in edges.iter().enumerate() {
        for (from, _) in edges {
            followers[*from].push(index);
        }
    }
    let mut ready: BinaryHeap<_> =
        (0..edges.len()).filter(|index| waiting[*index] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(edges.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &follower in &followers[index] {
            waiting[follower] -= 1;
            if waiting[follower] == 0 {
                ready.push(Reverse(follower));
            }
        }
    }
    let circles = circles(edges, &waiting);
    (order, circles)
}

/// Follows each node that never became ready to what it waits for, until a node comes again.
fn circles(edges: &[Vec<(usize, Span)>], waiting: &[usize]) -> Vec<Circle> {
    let mut seen = vec![false; edges.len()];
    let mut circles = Vec::new();
    for start in 0..edges.len() {
        let mut way: Circle = Vec::new();
        let mut at = start;
        while waiting[at] > 0 && !seen[at] {
            seen[at] = true;
            let Some((from, span)) = edges[at].iter().find(|(from, _)| waiting[*from] > 0) else { break };
            way.push((at, *span));
            at = *from;
        }
        if let Some(first) = way.iter().position(|(index, _)| *index == at) {
            circles.push(way.split_off(first));
        }
    }
    circles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(lists: &[&[usize]]) -> Vec<Vec<(usize, Span)>> {
        lists.iter().map(|list| list.iter().map(|from| (*from, Span::new(0, 0, 0))).collect()).collect()
    }

    #[test]
    fn the_order_of_the_file_stays_where_it_can() {
        assert_eq!(sort(&edges(&[&[2], &[], &[1], &[]])).0, [1, 2, 0, 3]);
    }

    #[test]
    fn each_circle_is_told_once_and_what_is_behind_it_is_not() {
        let (order, circles) = sort(&edges(&[&[1], &[2], &[1, 3], &[], &[0], &[6], &[5]]));
        assert_eq!(order, [3]);
        let members: Vec<Vec<_>> =
            circles.iter().map(|circle| circle.iter().map(|(index, _)| *index).collect()).collect();
        assert_eq!(members, [vec![1, 2], vec![5, 6]]);
    }
}
