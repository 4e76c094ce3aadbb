//! "Did you mean …?"

use super::elsewhere::{FIELDS, leads_on};

/// Candidates that a word is compared with; each of many mistakes would be compared with all of many names.
const COMPARED: usize = 1000;
/// Candidates that a remedy lists.
const LISTED: usize = 60;

/// The candidate that was probably meant: one that other programs call so, or that differs by few letters, or only in
/// case.
pub(super) fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let mut elsewhere = FIELDS.iter().filter(|(name, _)| *name == word);
    let known = |(_, here): &(&str, &str)| candidates.iter().copied().find(|candidate| candidate == here);
    if let Some(candidate) = elsewhere.find_map(known) {
        return Some(candidate);
    }
    // A word that is known to mean something else is no slip.
    if leads_on(&word).is_some() {
        return None;
    }
    candidates
        .into_iter()
        .take(COMPARED)
        // So many letters at least must be added or taken away.
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= 3 * 4)
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= word.len().max(candidate.len()).div_ceil(3).min(3))
        .filter(|(distance, candidate)| *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whether other programs call a half of a window so.
pub(super) fn of_window(name: &str) -> bool {
    ["center", "centre", "level", "width", "window_center", "window_width", "wl", "ww"].contains(&name)
}

/// The remedy for a word that is not among the candidates.
pub fn remedy<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>, none: &str) -> String {
    let candidates: Vec<_> = candidates.into_iter().collect();
    if let Some(meant) = closest(word, candidates.iter().copied()) {
        return format!("did you mean `{meant}`?");
    }
    let others = candidates.len().saturating_sub(LISTED);
    let mut all: Vec<_> =
        candidates.into_iter().take(LISTED).map(|candidate| format!("`{candidate}`")).collect();
    if others > 0 {
        all.push(format!("{others} others"));
    }
    match all.as_slice() {
        [] => none.to_owned(),
        [only] => format!("there is only {only}"),
        all => format!("known are {}", listed(all, "and")),
    }
}

/// `a`, `a and b`, `a, b and c`
pub(super) fn listed<T: AsRef<str>>(words: &[T], and: &str) -> String {
    match words {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(AsRef::as_ref).collect();
            format!("{} {and} {}", first.join(", "), last.as_ref())
        }
    }
}

/// A number below thirteen as a word, as one writes it in a sentence.
pub(super) fn count(number: usize) -> String {
    const WORDS: [&str; 13] = [
        "none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
        "twelve",
    ];
    WORDS.get(number).map_or_else(|| number.to_string(), |word| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let types = ["resample", "zscore", "window"];
        assert_eq!(closest("resmaple", types), Some("resample"));
        assert_eq!(closest("ZScore", types), Some("zscore"));
        assert_eq!(closest("patches", types), None);
        assert_eq!(closest("a", ["b"]), None);
    }

    #[test]
    fn words_of_other_programs_lead_on() {
        assert_eq!(closest("lr", ["epochs", "learning_rate"]), Some("learning_rate"));
        assert_eq!(closest("inference", ["zscore", "infer"]), Some("infer"));
        assert_eq!(closest("surface_dice", ["dice", "nsd"]), Some("nsd"));
        assert_eq!(closest("batch_size", ["epochs"]), None);
        assert_eq!(closest("pretrained", ["retrain", "start"]), Some("start"));
        assert_eq!(closest("val", ["train", "validation", "test"]), Some("validation"));
        assert_eq!(closest("tta", ["overlap", "flips"]), Some("flips"));
        assert_eq!(closest("a_min", ["low", "high"]), Some("low"));
        assert_eq!(closest("A_min", ["max", "min"]), Some("min"));
        assert_eq!(closest("num_workers", ["batch", "readers"]), Some("readers"));
        assert_eq!(closest("spatial_size", ["spacing_mm", "size_mm"]), Some("size_mm"));
        // It differs by few letters, and means something else.
        assert_eq!(closest("in_channels", ["channels"]), None);
    }

    #[test]
    fn words_are_listed_as_in_a_sentence() {
        assert_eq!(listed(&["a"], "or"), "a");
        assert_eq!(listed(&["a", "b", "c"], "or"), "a, b or c");
    }
}
