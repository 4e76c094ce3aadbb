//! Channels of scans, by the names of their files or within them: which there are, and what they are called.

use std::collections::BTreeMap;
use std::path::Path;

use super::Survey;
use super::claims::Claims;
use super::described::{self, Described};
use super::naming::{self, Pattern};
use crate::operators::cases::channels::check_names;

/// Scans that go together by their names.
pub(super) struct Together {
    /// The pattern.
    pub(super) pattern: Pattern,
    /// The words that stand for `{channel}` in it, in the order of the channels; none where nothing does.
    words: Vec<String>,
    /// The names of the channels; none of scans of one.
    pub(super) names: Vec<String>,
    /// The members that it leaves out.
    pub(super) others: Vec<usize>,
    /// Patterns of the same name with other endings.
    pub(super) endings: Vec<String>,
}

impl Together {
    /// Takes scans of one channel.
    pub(super) fn of_one(pattern: Pattern, others: Vec<usize>) -> Self {
        Self { pattern, words: Vec::new(), names: Vec::new(), others, endings: Vec::new() }
    }

    /// The patterns of its files.
    pub(super) fn texts(&self) -> Vec<String> {
        std::iter::once(&self.pattern.text).chain(&self.endings).cloned().collect()
    }

    /// Whether the names of their files say no channel.
    pub(super) fn of_one_name(&self) -> bool {
        self.words.is_empty()
    }

    /// Returns what claims them; a source of channels takes as many as a file has, where no name tells them
    /// apart.
    pub(super) fn claims(&self, root: &Path, patterns: &[String]) -> Option<Claims> {
        match self.names.is_empty() {
            true => Claims::by_patterns(root, patterns, false),
            false => Claims::of_channels(root, patterns, &self.words, &self.names),
        }
    }
}

/// The channels that scans of the same cases have: all, where their names differ in one word.
pub(super) fn together(
    mut patterns: Vec<Pattern>,
    described: Option<&Described>,
    told: &mut Vec<String>,
) -> Option<Together> {
    let most = patterns.first()?.members.len();
    let of_most = |pattern: &&Pattern| 2 * pattern.members.len() > most;
    let mut own: Vec<Pattern> = patterns.iter().filter(of_most).cloned().collect();
    own.sort_by(|a, b| a.stem.cmp(&b.stem));
    let Some((text, words)) = naming::channels(&own) else {
        return channel(patterns, described, told).map(|(pattern, others)| Together::of_one(pattern, others));
    };
    let numbered = words.iter().enumerate().all(|(place, word)| *word == format!("{place:04}"));
    let named = numbered.then(|| named(described, words.len(), told)).flatten();
    let names = named.unwrap_or_else(|| words.clone());
    told.push(format!(
        "scans have {} channels, and all are read: {}; leave one out of `channels`, and its files are not asked for",
        names.len(),
        names.join(", ")
    ));
    let few = own.iter().map(|pattern| pattern.members.len()).min().unwrap_or(0);
    if few < most {
        told.push(format!(
            "{} cases lack one of the channels, and are refused as CHANNEL_MISSING",
            most - few
        ));
    }
    patterns.retain(|pattern| !own.contains(pattern));
    let others = patterns.into_iter().flat_map(|pattern| pattern.members).collect();
    let stem = own.first().map(|pattern| pattern.stem.clone()).unwrap_or_default();
    let members = own.into_iter().flat_map(|pattern| pattern.members).collect();
    let pattern = Pattern { text, stem, members };
    Some(Together { pattern, words, names, others, endings: Vec::new() })
}

/// The names of so many channels that a description gives, each another one; a line says why they are not taken.
fn named(described: Option<&Described>, count: usize, told: &mut Vec<String>) -> Option<Vec<String>> {
    let names = &described?.channels;
    let wrong = match check_names(names) {
        Err(wrong) => wrong,
        Ok(()) if names.len() == count => return Some(names.clone()),
        Ok(()) => format!("a name for each of {count} channels expected, {} found", names.len()),
    };
    if !names.is_empty() {
        told.push(format!("the names of channels in {} are not taken: {wrong}", described::NAME));
    }
    None
}

/// The channels of scans whose files hold several volumes each.
pub(super) fn volumes(
    survey: &Survey,
    files: &[&Path],
    described: Option<&Described>,
    together: &mut Together,
    told: &mut Vec<String>,
) {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for image in survey.images.iter().filter(|image| files.contains(&image.file.as_path())) {
        *counts.entry(image.volumes).or_default() += 1;
    }
    let Some((&volumes, &count)) = counts.iter().max_by_key(|(volumes, count)| (**count, **volumes)) else {
        return;
    };
    let whole = counts.values().sum::<usize>();
    if count < whole {
        told.push(format!(
            "{} of {whole} files hold another number of volumes than {volumes}, and are refused by name",
            whole - count
        ));
    }
    if volumes < 2 || !together.names.is_empty() {
        return;
    }
    let named = named(described, volumes, told);
    let guessed = named.is_none();
    together.names = named.unwrap_or_else(|| (0..volumes).map(|place| format!("channel_{place}")).collect());
    told.push(format!(
        "files hold {volumes} volumes each, which are read as channels: {}{}",
        together.names.join(", "),
        if guessed { "; nothing names them, call them as they are" } else { "" }
    ));
}

/// The pattern of the channel that is read, of those that scans of the same cases have, and the members of the others.
fn channel(
    patterns: Vec<Pattern>,
    described: Option<&Described>,
    told: &mut Vec<String>,
) -> Option<(Pattern, Vec<usize>)> {
    let most = patterns.first()?.members.len();
    let mut channels: Vec<Pattern> =
        patterns.into_iter().filter(|pattern| 2 * pattern.members.len() > most).collect();
    // The one that most cases have. nnU-Net counts its channels; of names the first by the alphabet is as good as any.
    channels.sort_by(|a, b| b.members.len().cmp(&a.members.len()).then_with(|| a.stem.cmp(&b.stem)));
    let chosen = channels.remove(0);
    if !channels.is_empty() {
        let number = |pattern: &Pattern| {
            pattern.stem.rsplit_once('_').and_then(|(_, number)| number.parse::<usize>().ok())
        };
        let name = |pattern: &Pattern| {
            let named =
                described.zip(number(pattern)).and_then(|(described, number)| described.channels.get(number));
            named.map_or_else(|| format!("`{}`", pattern.text), |name| format!("`{}` ({name})", pattern.text))
        };
        let others: Vec<String> = channels.iter().map(name).collect();
        told.push(format!(
            "scans have {} channels, and a pipeline reads one: {} is taken, and left out are {}",
            channels.len() + 1,
            name(&chosen),
            others.join(", ")
        ));
    }
    let others = channels.into_iter().flat_map(|pattern| pattern.members).collect();
    Some((chosen, others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tell_no_channels_apart_are_not_taken() {
        let of = |names: &[&str], count: usize| {
            let channels = names.iter().map(|name| (*name).to_owned()).collect();
            let (described, mut told) = (Described { channels, ..Described::default() }, Vec::new());
            (named(Some(&described), count, &mut told), told.join("; "))
        };
        assert_eq!(of(&["T1", "T2"], 2), (Some(vec!["T1".to_owned(), "T2".to_owned()]), String::new()));
        for (names, why) in [
            (&["MRI", "MRI"][..], "`MRI` comes twice"),
            (&["MRI", " "], "a name for each channel expected"),
            (&["MRI"], "each of 2 channels expected, 1 found"),
        ] {
            let (taken, told) = of(names, 2);
            assert!(taken.is_none() && told.starts_with("the names of channels in dataset.json"), "{told}");
            assert!(told.contains(why), "{told}");
        }
        assert_eq!(of(&[], 2), (None, String::new()));
    }
}
