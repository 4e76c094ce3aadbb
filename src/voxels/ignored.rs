//! Voxels that nobody labelled, though the map was drawn: they teach nothing, and no figure counts them.

/// The value of such a voxel in a label map. It goes through grids and crops as labels do.
pub const IGNORED: u16 = u16::MAX;

/// The same among the classes of samples, where there are fewer labels than this.
pub const IGNORED_CLASS: u8 = u8::MAX;

/// Whether any voxel does not count.
pub fn any(labels: &[u16]) -> bool {
    labels.chunks(1 << 10).any(|chunk| chunk.iter().fold(false, |any, label| any | (*label == IGNORED)))
}

/// The labels, and background where a voxel does not count.
pub fn as_background(labels: &[u16]) -> Vec<u16> {
    labels.iter().map(|label| if *label == IGNORED { 0 } else { *label }).collect()
}

/// Whether a voxel has a label.
pub fn is_labelled(label: u16) -> bool {
    label != 0 && label != IGNORED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_count_is_neither_label_nor_background() {
        assert!(any(&[0, 1, IGNORED]) && !any(&[0, 1, 2]) && !any(&[]));
        assert_eq!(as_background(&[0, 1, IGNORED]), [0, 1, 0]);
        assert_eq!([0, 1, IGNORED].map(is_labelled), [false, true, false]);
    }
}
