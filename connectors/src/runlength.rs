//! Run-length masks: how a label on a slice is kept in tables and artifacts.

use serde::{Deserialize, Serialize};

/// One label on one slice: `[start, length, start, length, …]` over the row-major pixels.
///
/// # Examples
/// ```
/// use tomoflow_connectors::RunLength;
/// let runs = RunLength::encode(&[0u16, 1, 1, 0, 0, 1], 1);
/// assert_eq!(runs.0, [1, 2, 5, 1]);
/// assert_eq!(runs.area(), 3);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunLength(pub Vec<u32>);

impl RunLength {
    /// The runs of `label` in a slice.
    pub fn encode(slice: &[u16], label: u16) -> Self {
        let mut runs = Vec::new();
        let mut start = None;
        for (index, &value) in slice.iter().enumerate() {
            match (value == label, start) {
                (true, None) => start = Some(index),
                (false, Some(first)) => {
                    runs.extend([first as u32, (index - first) as u32]);
                    start = None;
                }
                _ => {}
            }
        }
        if let Some(first) = start {
            runs.extend([first as u32, (slice.len() - first) as u32]);
        }
        Self(runs)
    }

    /// Writes `label` into a slice.
    ///
    /// # Errors
    /// `None` when a run leaves the slice: the file it came from is damaged.
    pub fn decode(&self, slice: &mut [u16], label: u16) -> Option<()> {
        self.each(slice, |run| run.fill(label))
    }

    /// Calls for each run with its part of a slice.
    ///
    /// # Errors
    /// The errors of [`decode`](Self::decode).
    pub fn each(&self, slice: &mut [u16], mut run_of: impl FnMut(&mut [u16])) -> Option<()> {
        for run in self.0.chunks(2) {
            let &[start, length] = run else { return None };
            let end = (start as usize).checked_add(length as usize)?;
            run_of(slice.get_mut(start as usize..end)?);
        }
        Some(())
    }

    /// The number of pixels in all.
    pub fn area(&self) -> u64 {
        self.0.chunks(2).filter_map(|run| run.get(1)).map(|&n| u64::from(n)).sum()
    }

    /// The bounding box `[row_min, column_min, row_max, column_max]`, ends included; `None` when empty.
    pub fn bounding_box(&self, width: usize) -> Option<[u32; 4]> {
        let width = u32::try_from(width).ok().filter(|&w| w > 0)?;
        let mut found: Option<[u32; 4]> = None;
        for run in self.0.chunks(2) {
            let &[start, length] = run else { continue };
            if length == 0 {
                continue;
            }
            let last = start + length - 1;
            let (top, bottom) = (start / width, last / width);
            let (left, right) = if top == bottom { (start % width, last % width) } else { (0, width - 1) };
            let b = found.get_or_insert([top, left, bottom, right]);
            *b = [b[0].min(top), b[1].min(left), b[2].max(bottom), b[3].max(right)];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_box_of_two_rows() {
        let slice = [0, 0, 0, 1, 1, 0, 0, 1, 0];
        assert_eq!(RunLength::encode(&slice, 1).bounding_box(3), Some([1, 0, 2, 1]));
        assert_eq!(RunLength::default().bounding_box(3), None);
    }

    #[test]
    fn damaged_runs_are_refused() {
        let mut slice = [0u16; 4];
        assert!(RunLength(vec![3, 2]).decode(&mut slice, 1).is_none());
        assert!(RunLength(vec![1]).decode(&mut slice, 1).is_none());
    }

    proptest! {
        #[test]
        fn encode_then_decode_is_the_slice(slice in proptest::collection::vec(0u16..3, 0..200)) {
            let mut back = vec![0u16; slice.len()];
            for label in 1..3 {
                RunLength::encode(&slice, label).decode(&mut back, label).unwrap();
            }
            prop_assert_eq!(back, slice);
        }
    }
}
