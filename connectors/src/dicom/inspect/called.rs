//! Series that are called as label maps are: what their description says.

use crate::dicom::header::instance::Tags;

/// Words that descriptions of label maps have, the longer before those that they hold.
const WORDS: [&str; 9] = [
    "segmentation",
    "labelmap",
    "label map",
    "label_map",
    "labels",
    "ground truth",
    "ground_truth",
    "groundtruth",
    "mask",
];

/// Returns the words of label maps that a SeriesDescription has.
pub fn label_words(description: &str) -> impl Iterator<Item = &'static str> {
    let description = description.to_lowercase();
    WORDS.into_iter().filter(move |word| description.contains(word))
}

/// A note on a series that is called as a label map is.
pub(super) fn like_labels(tags: &Tags) -> Option<String> {
    let word = label_words(tags.get("SeriesDescription")?).next()?;
    Some(format!(
        "LIKE_LABELS: its description says `{word}`, as of a label map; it is read as a scan all the same"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_maps_are_known_by_their_words() {
        let words = |text: &str| label_words(text).collect::<Vec<_>>();
        assert_eq!(words("Liver SEGMENTATION mask"), ["segmentation", "mask"]);
        assert_eq!(words("ax t2 segmented k-space"), Vec::<&str>::new());
        let tags = |text: &str| Tags::from([("SeriesDescription".into(), text.to_owned())]);
        assert!(like_labels(&tags("LabelMap")).is_some_and(|note| note.contains("`labelmap`")));
        assert_eq!((like_labels(&tags("t1 vibe")), like_labels(&Tags::new())), (None, None));
    }
}
