//! Patients to folds of equal size, so that one who comes moves few of the others.

use super::Ranked;
use crate::connectors::Digest;

/// The fold of each patient, in their order.
///
/// Folds differ by one patient at most, within a stratum and in all. Each patient would like the folds in an
/// order that is its own (a hash), and takes, stratum by stratum and in the order of ranks, the first of them
/// that has room. One who comes takes a place that a later one would have had, who takes another's in turn: at
/// most one patient moves each time a fold of its stratum fills, where rank modulo folds would move all that
/// follow. A plain hash modulo folds would move none, but leave folds of few patients empty.
/// Source: bounded loads, Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018.
pub(super) fn deal(patients: &[Ranked], folds: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..patients.len()).collect();
    order.sort_unstable_by_key(|&place| patients[place]);
    let mut dealt = vec![0; patients.len()];
    // The next stratum goes on where the last one left a fold with one more than the others.
    let mut first = 0;
    for stratum in order.chunk_by(|&a, &b| patients[a].stratum == patients[b].stratum) {
        let (each, over) = (stratum.len() / folds, stratum.len() % folds);
        let mut room: Vec<usize> =
            (0..folds).map(|fold| each + usize::from((fold + folds - first) % folds < over)).collect();
        for &place in stratum {
            let likes = |fold: usize| {
                let number = (fold as u64).to_le_bytes();
                Digest::of_parts([&seed.to_le_bytes()[..], patients[place].patient.as_bytes(), &number])
            };
            // There is as much room as there are patients.
            let fold = (0..folds).filter(|&fold| room[fold] > 0).min_by_key(|&fold| likes(fold));
            let fold = fold.unwrap_or_default();
            room[fold] -= 1;
            dealt[place] = fold;
        }
        first = (first + over) % folds;
    }
    dealt
}
