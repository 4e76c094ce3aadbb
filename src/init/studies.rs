//! Series of one study as channels of one case: which kinds of series recur, and which studies lack one.

use std::collections::{BTreeMap, BTreeSet};

use tomoflow_connectors::dicom::inspect::FoundVolume;
use tomoflow_connectors::dicom::{Record, read_record};

use super::Survey;
use super::grids::same_places;

/// Kinds of series that become channels, at most: of more nobody can say which are meant.
const MOST: usize = 6;
/// Files that a line names, at most.
const NAMED: usize = 3;
/// What a series is called that shows where others lie.
const PLANNING: [&str; 5] = ["localizer", "localiser", "scout", "topogram", "survey"];
/// Names that stages of a pipeline have already.
const TAKEN: [&str; 14] = [
    "scans",
    "case",
    "outlines",
    "segments",
    "turned",
    "volume_mm",
    "normal",
    "samples",
    "net",
    "segment",
    "scores",
    "results",
    "masks",
    "bright",
];

/// What series of one kind have in common: their modality, and their description where studies have several of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    modality: String,
    /// The description in small letters.
    description: Option<String>,
}

impl Kind {
    /// The kind in words.
    fn shown(&self) -> String {
        match self.description.as_deref() {
            None => self.modality.clone(),
            Some("") => format!("{} without a description", self.modality),
            Some(text) => format!("`{text}`"),
        }
    }

    fn plans(&self) -> bool {
        self.description.as_ref().is_some_and(|text| PLANNING.iter().any(|word| text.contains(word)))
    }
}

/// One channel: its name, and what its source keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The name of its source, and of the channel.
    pub name: String,
    /// The modality of its series.
    pub modality: String,
    /// The description of its series, where the modality alone does not tell them.
    pub description: Option<String>,
}

/// Channels that the studies of an archive have.
pub struct Joined<'s> {
    /// The channels; the first gives the grid and has the labels.
    pub channels: Vec<Channel>,
    /// The series of the first.
    pub scans: Vec<&'s FoundVolume>,
    /// Whether studies lack one of the others.
    pub lacking: bool,
    /// How many studies have each, in words.
    pub counted: String,
}

/// What of the studies is known of one kind beside the first one's.
#[derive(Debug, Default)]
struct Beside<'s> {
    /// Studies that have it.
    have: usize,
    /// Studies that have it more than once.
    twice: usize,
    /// The first one's series and this one's, of studies that have one of each.
    pairs: Vec<[&'s FoundVolume; 2]>,
    /// The first one's series in studies without it.
    without: Vec<&'s FoundVolume>,
}

/// A kind that recurs.
struct Recurring<'f, 's> {
    kind: &'f Kind,
    found: &'f Beside<'s>,
    /// Studies that have it in a space that is not the first one's.
    elsewhere: usize,
}

type Studies<'s> = BTreeMap<&'s str, Vec<&'s FoundVolume>>;

/// The channels that series of a study are, where the same kinds recur in most studies and labels were drawn on one kind
/// alone of this modality; what is left out of them is told.
pub fn channels<'s>(
    survey: &'s Survey,
    modality: &str,
    is_drawn: &dyn Fn(&FoundVolume) -> bool,
    told: &mut Vec<String>,
) -> Option<Joined<'s>> {
    let mut studies: Studies<'s> = BTreeMap::new();
    for volume in &survey.volumes {
        studies.entry(tag(volume, "StudyInstanceUID")).or_default().push(volume);
    }
    let homeless = studies.remove("").map_or(0, |volumes| volumes.len());
    let kinds = Kinds::of(&studies);
    let first = kinds.first(survey, modality, is_drawn)?;
    let of_first = |volume: &FoundVolume| kinds.kind(volume) == first;
    let (with, without): (Vec<_>, Vec<_>) =
        studies.values().partition(|volumes| volumes.iter().any(|volume| of_first(volume)));
    let beside = beside(&with, &kinds, &first);
    let (chosen, elsewhere) = recurring(&beside, with.len());
    told.extend(elsewhere.iter().map(|recurring| in_another_space(recurring, &first)));
    if chosen.len() > MOST {
        told.push(format!(
            "{} kinds of series recur in studies, and nobody can say which of them are channels of {}: `type = \
             \"channels\"` puts together those that you name",
            chosen.len() + 1,
            first.shown()
        ));
        return None;
    }
    let named = kinds.named(std::iter::once(&first).chain(chosen.iter().map(|chosen| chosen.kind)));
    if named.len() < 2 {
        return None;
    }
    let names: Vec<&str> = named.iter().map(|channel| channel.name.as_str()).collect();
    told.push(format!(
        "series of a study are the channels of a case, and all that recur are read: {}; one that is not meant is taken out \
         of `inputs` and `names` of `operators.scans`",
        names.join(", ")
    ));
    let scans: Vec<&FoundVolume> =
        with.iter().flat_map(|volumes| volumes.iter().copied()).filter(|volume| of_first(volume)).collect();
    let several =
        with.iter().filter(|volumes| volumes.iter().filter(|volume| of_first(volume)).count() > 1).count();
    told.extend((several > 0).then(|| twice(names[0], several)));
    tell(survey, &named, &chosen, told);
    told.extend(without_first(homeless, without.len(), &first));
    let kept: BTreeSet<&Kind> = chosen.iter().map(|chosen| chosen.kind).collect();
    told.extend(left_out(&beside, &kept));
    let counts = names.iter().skip(1).zip(&chosen);
    let counts: Vec<String> =
        counts.map(|(name, chosen)| format!("{} have {name}", chosen.found.have)).collect();
    let counted = format!("Of {} studies with {}, {}.", with.len(), names[0], counts.join(", "));
    let lacking = chosen.iter().any(|chosen| !chosen.found.without.is_empty());
    Some(Joined { channels: named, scans, lacking, counted })
}

/// Lines on series that no study, or no grid, is there for.
fn without_first(homeless: usize, studies: usize, first: &Kind) -> Vec<String> {
    let mut told = Vec::new();
    if homeless > 0 {
        told.push(format!(
            "{homeless} series name no study, and are refused as NO_STUDY where they are channels"
        ));
    }
    if studies > 0 {
        told.push(format!(
            "{studies} studies have no series of {}, which gives the grid: they make no case (CHANNEL_ALONE)",
            first.shown()
        ));
    }
    told
}

fn tag<'v>(volume: &'v FoundVolume, keyword: &str) -> &'v str {
    volume.tags.get(keyword).map_or("", |text| text.trim())
}

/// How kinds are told apart in an archive.
struct Kinds<'s> {
    /// Modalities of which studies have several series.
    described: BTreeSet<&'s str>,
    /// Descriptions as they are spelled, of several ways the first by the alphabet.
    spelled: BTreeMap<String, &'s str>,
}

impl<'s> Kinds<'s> {
    fn of(studies: &Studies<'s>) -> Self {
        let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let mut spelled = BTreeMap::new();
        for volumes in studies.values() {
            let mut own: BTreeMap<&str, usize> = BTreeMap::new();
            for volume in volumes {
                *own.entry(&volume.modality).or_default() += 1;
                let text = tag(volume, "SeriesDescription");
                let known = spelled.entry(text.to_lowercase()).or_insert(text);
                *known = text.min(*known);
            }
            for (modality, count) in own {
                let (have, several) = counts.entry(modality).or_default();
                *have += 1;
                *several += usize::from(count > 1);
            }
        }
        // A study in five may have a series twice, which is refused by name; of more the modality says too little.
        let described = counts.into_iter().filter(|(_, (have, several))| 5 * several > *have);
        Self { described: described.map(|(modality, _)| modality).collect(), spelled }
    }

    fn kind(&self, volume: &FoundVolume) -> Kind {
        let described = self.described.contains(volume.modality.as_str());
        let description = described.then(|| tag(volume, "SeriesDescription").to_lowercase());
        Kind { modality: volume.modality.clone(), description }
    }

    /// The kind that labels were drawn on; none where they were drawn on several of this modality.
    fn first(
        &self,
        survey: &Survey,
        modality: &str,
        is_drawn: &dyn Fn(&FoundVolume) -> bool,
    ) -> Option<Kind> {
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        for volume in survey.volumes.iter().filter(|volume| volume.modality == modality && is_drawn(volume)) {
            *counts.entry(self.kind(volume)).or_default() += 1;
        }
        let all: usize = counts.values().sum();
        let (kind, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let told = kind.description.as_ref().is_none_or(|text| !text.is_empty());
        (told && 10 * count >= 9 * all).then_some(kind)
    }

    /// Channels of these kinds, each with a name of its own.
    fn named<'k>(&self, kinds: impl Iterator<Item = &'k Kind>) -> Vec<Channel> {
        let mut taken: BTreeSet<String> = TAKEN.iter().map(|name| (*name).to_owned()).collect();
        let mut named = Vec::new();
        for kind in kinds {
            let plain = plain(kind.description.as_deref().unwrap_or(&kind.modality));
            let mut names =
                std::iter::once(plain.clone()).chain((2..).map(|number| format!("{plain}_{number}")));
            let free = |name: &String| !taken.contains(name) && !taken.contains(&format!("{name}_volume"));
            let Some(name) = names.find(free) else { continue };
            taken.extend([name.clone(), format!("{name}_volume")]);
            let spelled = |text: &String| {
                self.spelled.get(text).map_or_else(|| text.clone(), |text| (*text).to_owned())
            };
            let description = kind.description.as_ref().map(spelled);
            named.push(Channel { name, modality: kind.modality.clone(), description });
        }
        named
    }
}

/// What studies have of each kind beside the first one.
fn beside<'s>(
    studies: &[&Vec<&'s FoundVolume>],
    kinds: &Kinds<'s>,
    first: &Kind,
) -> BTreeMap<Kind, Beside<'s>> {
    let mut found: BTreeMap<Kind, Beside<'s>> = BTreeMap::new();
    let all: BTreeSet<Kind> =
        studies.iter().flat_map(|volumes| volumes.iter()).map(|volume| kinds.kind(volume)).collect();
    for volumes in studies {
        let mut of: BTreeMap<Kind, Vec<&'s FoundVolume>> = BTreeMap::new();
        for volume in volumes.iter().copied() {
            of.entry(kinds.kind(volume)).or_default().push(volume);
        }
        let Some(&grid) = of.get(first).and_then(|own| own.first()) else { continue };
        for kind in all.iter().filter(|kind| *kind != first) {
            let beside = found.entry(kind.clone()).or_default();
            match of.get(kind).map_or(&[][..], Vec::as_slice) {
                [] => beside.without.push(grid),
                [one] => {
                    beside.have += 1;
                    beside.pairs.push([grid, one]);
                }
                _ => {
                    beside.have += 1;
                    beside.twice += 1;
                }
            }
        }
    }
    found
}

/// The kinds that most studies have, those of most studies first; and those of them whose positions are of another space.
fn recurring<'f, 's>(
    beside: &'f BTreeMap<Kind, Beside<'s>>,
    studies: usize,
) -> (Vec<Recurring<'f, 's>>, Vec<Recurring<'f, 's>>) {
    let told = |kind: &Kind| kind.description.as_ref().is_none_or(|text| !text.is_empty());
    let recurs = |kind: &Kind, found: &Beside<'_>| {
        found.have >= 2 && 2 * found.have > studies && told(kind) && !kind.plans()
    };
    let mut frames = Frames::default();
    let all = beside.iter().filter(|(kind, found)| recurs(kind, found)).map(|(kind, found)| {
        let elsewhere =
            found.pairs.iter().filter(|[first, other]| !comparable(first, other, &mut frames)).count();
        Recurring { kind, found, elsewhere }
    });
    let (mut chosen, elsewhere): (Vec<_>, Vec<_>) =
        all.partition(|recurring| 2 * recurring.elsewhere < recurring.found.have);
    chosen.sort_by_key(|recurring| std::cmp::Reverse(recurring.found.have));
    (chosen, elsewhere)
}

/// A line on a kind that would be a channel if it lay in the first one's space.
fn in_another_space(recurring: &Recurring<'_, '_>, first: &Kind) -> String {
    format!(
        "series of {} are in another frame of reference than {} in {} of {} studies, and no channel: where positions are \
         comparable all the same, `type = \"channels\"` takes them with `frames = \"trusted\"`",
        recurring.kind.shown(),
        first.shown(),
        recurring.elsewhere,
        recurring.found.have
    )
}

/// Lines on studies that lack a channel, have it twice, or in another space.
fn tell(survey: &Survey, named: &[Channel], chosen: &[Recurring<'_, '_>], told: &mut Vec<String>) {
    for (Channel { name, .. }, Recurring { found, elsewhere, .. }) in named.iter().skip(1).zip(chosen) {
        let files = found.without.iter().filter_map(|volume| volume.files.first()).take(NAMED);
        let files: Vec<String> = files.map(|file| survey.name(file)).collect();
        if !files.is_empty() {
            told.push(format!(
                "{} studies lack `{name}` (those of {}{}): the channel is 0 there, as a note of each case says; \
                 `on_missing = \"reject\"` of `operators.scans` refuses them",
                found.without.len(),
                files.join(", "),
                if found.without.len() > NAMED { ", …" } else { "" }
            ));
        }
        if found.twice > 0 {
            told.push(twice(name, found.twice));
        }
        if *elsewhere > 0 {
            told.push(format!(
                "{elsewhere} studies have `{name}` in another frame of reference, and are refused as FRAMES_DIFFER"
            ));
        }
    }
}

fn twice(name: &str, count: usize) -> String {
    format!(
        "{count} studies have `{name}` more than once, and are refused as SEVERAL_CANDIDATES: `where` of \
         `sources.{name}` says which is meant"
    )
}

/// A line on series that are no channel.
fn left_out(beside: &BTreeMap<Kind, Beside<'_>>, chosen: &BTreeSet<&Kind>) -> Option<String> {
    let others = beside.iter().filter(|(kind, _)| !chosen.contains(kind));
    let others: Vec<String> =
        others.map(|(kind, found)| format!("{} (in {} studies)", kind.shown(), found.have)).collect();
    let more = if others.len() > 2 * MOST {
        format!(" and {} more", others.len() - 2 * MOST)
    } else {
        String::new()
    };
    let shown = others.iter().take(2 * MOST).cloned().collect::<Vec<_>>().join(", ");
    (!others.is_empty()).then(|| format!("series of other kinds are left out: {shown}{more}"))
}

/// Whether positions of two series are those of one space, as `channels` asks.
fn comparable<'s>(first: &'s FoundVolume, other: &'s FoundVolume, frames: &mut Frames<'s>) -> bool {
    match (frames.of(first), frames.of(other)) {
        (Some(a), Some(b)) if a.is_empty() && b.is_empty() => {
            first.shape == other.shape && same_places(&first.affine_lps, &other.affine_lps)
        }
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// FrameOfReferenceUIDs of series; the file of each is read once.
#[derive(Default)]
struct Frames<'s>(BTreeMap<(&'s str, u32), Option<String>>);

impl<'s> Frames<'s> {
    fn of(&mut self, volume: &'s FoundVolume) -> Option<String> {
        self.0.entry((&volume.series_uid, volume.part)).or_insert_with(|| frame(volume)).clone()
    }
}

/// The FrameOfReferenceUID of a series, which its first file says.
fn frame(volume: &FoundVolume) -> Option<String> {
    let path = std::path::absolute(volume.files.first()?).ok()?;
    match read_record(&path) {
        Ok(Record::Instance(instance)) => Some(instance.frame_of_reference),
        _ => None,
    }
}

/// A text as the name of a stage.
fn plain(text: &str) -> String {
    if text == "PT" {
        return "pet".to_owned();
    }
    let letter =
        |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { ' ' };
    let text: String = text.chars().map(letter).collect();
    let name = text.split_whitespace().collect::<Vec<_>>().join("_");
    if name.is_empty() { "channel".to_owned() } else { name.chars().take(32).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_a_name_of_its_own_that_a_stage_may_have() {
        let kind = |modality: &str, description: Option<&str>| Kind {
            modality: modality.to_owned(),
            description: description.map(str::to_owned),
        };
        let kinds = [
            kind("PT", None),
            kind("MR", Some("t1 (post)")),
            kind("MR", Some("t1_post")),
            kind("MR", Some("t1_post_volume")),
            kind("MR", Some("scans")),
            kind("MR", Some("é")),
        ];
        let spelled = BTreeMap::from([("t1 (post)".to_owned(), "T1 (post)")]);
        let named = Kinds { described: BTreeSet::new(), spelled }.named(kinds.iter());
        let names: Vec<&str> = named.iter().map(|channel| channel.name.as_str()).collect();
        assert_eq!(names, ["pet", "t1_post", "t1_post_2", "t1_post_volume_2", "scans_2", "channel"]);
        assert_eq!(named[1].description.as_deref(), Some("T1 (post)"));
        assert!(kind("MR", Some("3-plane localizer")).plans() && !kind("CT", None).plans());
    }
}
