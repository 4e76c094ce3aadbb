//! The way from the pixels of a frame to runs: packed bits, thresholded fractions, and labels.

use std::collections::BTreeMap;

use crate::RunLength;

/// The runs of set bits among `count` from bit `start` on, the lowest bit of each byte first.
pub(super) fn runs_of_bits(bytes: &[u8], start: usize, count: usize) -> RunLength {
    let end = start.saturating_add(count).min(bytes.len().saturating_mul(8));
    let mut runs = Vec::new();
    let mut at = next(bytes, start, end, true);
    while at < end {
        let stop = next(bytes, at, end, false);
        runs.extend([(at - start) as u32, (stop - at) as u32]);
        at = next(bytes, stop, end, true);
    }
    RunLength(runs)
}

/// The first bit from `at` on that is `set`, or `end`.
fn next(bytes: &[u8], mut at: usize, end: usize, set: bool) -> usize {
    while at < end {
        let mut word = [0u8; 8];
        let rest = bytes.get(at / 8..).unwrap_or_default();
        for (to, from) in word.iter_mut().zip(rest) {
            *to = *from;
        }
        let word = u64::from_le_bytes(word);
        let shift = at % 8;
        let ahead = (if set { word } else { !word } >> shift).trailing_zeros() as usize;
        if ahead < 64 - shift {
            return (at + ahead).min(end);
        }
        at += 64 - shift;
    }
    end
}

/// The runs of each value that `keep` keeps.
pub(super) fn runs_of_labels(
    values: impl IntoIterator<Item = u16>,
    keep: impl Fn(u16) -> bool,
) -> BTreeMap<u16, RunLength> {
    let mut found: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
    let mut run: Option<(u16, u32, u32)> = None;
    let mut close = |run: Option<(u16, u32, u32)>| {
        if let Some((value, start, length)) = run.filter(|(value, ..)| keep(*value)) {
            found.entry(value).or_default().extend([start, length]);
        }
    };
    for (index, value) in values.into_iter().enumerate() {
        match &mut run {
            Some((current, _, length)) if *current == value => *length += 1,
            _ => close(run.replace((value, index as u32, 1))),
        }
    }
    close(run);
    found.into_iter().map(|(value, runs)| (value, RunLength(runs))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_lowest_bit_comes_first_and_frames_share_bytes() {
        // The frames of three pixels are 1 0 1, 1 1 1 and 0 0 1.
        let bytes = [0b0011_1101, 0b0000_0001];
        let frame = |index: usize| runs_of_bits(&bytes, 3 * index, 3).0;
        assert_eq!((frame(0), frame(1), frame(2)), (vec![0, 1, 2, 1], vec![0, 3], vec![2, 1]));
    }

    proptest! {
        #[test]
        fn bits_are_what_they_are_one_by_one(
            bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(255u8), any::<u8>()], 0..64),
            start in 0usize..80,
            count in 0usize..500,
        ) {
            let total = bytes.len() * 8;
            let one = |index: usize| u16::from(index < total && bytes[index / 8] >> (index % 8) & 1 == 1);
            let slice: Vec<u16> = (start..start + count).map(one).collect();
            prop_assert_eq!(runs_of_bits(&bytes, start, count), RunLength::encode(&slice, 1));
        }

        #[test]
        fn labels_are_found_in_one_pass(slice in proptest::collection::vec(0u16..4, 0..100)) {
            let found = runs_of_labels(slice.iter().copied(), |label| label > 0);
            for label in 1..4 {
                let expected = RunLength::encode(&slice, label);
                prop_assert_eq!(found.get(&label).cloned().unwrap_or_default(), expected);
            }
            prop_assert!(!found.contains_key(&0));
        }
    }
}
