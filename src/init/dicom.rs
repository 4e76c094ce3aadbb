//! DICOM archives: which series are the scans, and which structures or segments their labels.

use std::collections::{BTreeMap, BTreeSet};

use tomoflow_connectors::dicom::inspect::{FoundOutlines, FoundVolume};
use tomoflow_connectors::dicom::{Record, read_record};
use tomoflow_connectors::rtstruct::Form;

use super::archive::{Archive, Block, Seen};
use super::grids::axes;
use super::studies::{self, Channel, Joined};
use super::{Survey, Wishes, label_series, toml};

/// The order of modalities: of several that as many labels are of, the first one is taken.
const ORDER: [&str; 3] = ["CT", "MR", "PT"];
/// Descriptions that a filter lists, at most.
const DESCRIPTIONS: usize = 6;
/// Names that a line lists, at most.
const LISTED: usize = 8;
/// The reason for a stage of type `assemble`.
const ASSEMBLED: &str =
    "Slices are assembled into volumes by their positions; a series that cannot be is a row of `rejects`.";

/// Series that outlines or segments name.
pub fn labelled(survey: &Survey) -> usize {
    let named = drawn_on(survey);
    survey.volumes.iter().filter(|volume| named.contains(volume.series_uid.as_str())).count()
}

fn drawn_on(survey: &Survey) -> BTreeSet<&str> {
    survey.outlines.iter().flat_map(|outlines| &outlines.series).map(String::as_str).collect()
}

/// Recognises what the archive is.
pub fn recognise(survey: &Survey, wishes: &Wishes) -> Archive {
    let drawn = drawn_on(survey);
    let mut painted_told = Vec::new();
    let painted = label_series::find(survey, &mut painted_told);
    let place = |volume: &FoundVolume| (volume.series_uid.clone(), volume.part);
    let painted_on: BTreeSet<_> = painted
        .iter()
        .flat_map(|found| survey.volumes.iter().filter(|volume| found.lies_on(volume)))
        .map(place)
        .collect();
    let is_drawn = |volume: &FoundVolume| {
        drawn.contains(volume.series_uid.as_str()) || painted_on.contains(&place(volume))
    };
    let no_labels = |volume: &&FoundVolume| painted.as_ref().is_none_or(|found| !found.holds(volume));
    let volumes: Vec<&FoundVolume> = survey.volumes.iter().filter(no_labels).collect();
    let modality = modality(&volumes, &is_drawn);
    let of_modality: Vec<&FoundVolume> =
        volumes.iter().copied().filter(|volume| volume.modality == modality).collect();
    let mut archive = Archive {
        told: painted_told,
        modality: modality.clone(),
        modality_from: "as the series say".to_owned(),
        cases: "volume".to_owned(),
        ..Archive::default()
    };
    // Series that are labels are bound to one series each, which is then the case.
    let joined = match &painted {
        Some(_) => None,
        None => studies::channels(survey, &modality, &is_drawn, &mut archive.told),
    };
    if joined.is_none() {
        archive.told.extend(others(&volumes, &modality));
    }
    if !survey.images.is_empty() {
        let (count, first) = (survey.images.len(), survey.name(&survey.images[0].file));
        archive.told.push(format!("{count} volumes of other formats than DICOM are left out, {first} first"));
    }
    let apart = painted.as_ref().and_then(|found| found.apart_from(&modality));
    let scans: Vec<&FoundVolume> = match &joined {
        Some(joined) => {
            archive.blocks.extend(joined.channels.iter().map(|channel| source_of(channel, wishes)));
            joined.scans.clone()
        }
        None => {
            let (filter, of_series) = filter(&of_modality, &modality, &is_drawn, apart, &mut archive.told);
            let block = Block::new("sources.scans", "dicom");
            archive.blocks.push(block.with("path", toml::path(&wishes.path)).with("where", filter));
            of_modality.into_iter().filter(|volume| of_series(volume)).collect()
        }
    };
    archive.scans = scans.iter().map(|volume| seen(volume, is_drawn(volume))).collect();
    let label_blocks = match &painted {
        Some(found) => vec![("truth".to_owned(), found.block(wishes, &mut archive))],
        None => label_blocks(survey, &scans, wishes, &mut archive),
    };
    let labelled = !label_blocks.is_empty();
    let sources: Vec<String> = label_blocks.iter().map(|(name, _)| name.clone()).collect();
    archive.blocks.extend(label_blocks.into_iter().map(|(_, block)| block));
    match &joined {
        Some(joined) => join(joined, &mut archive),
        None => archive.blocks.push(assemble("volume", "scans").why(ASSEMBLED)),
    }
    if labelled {
        let inputs =
            std::iter::once(archive.cases.as_str()).chain(sources.iter().map(String::as_str)).map(toml::text);
        archive.blocks.push(Block::new("operators.case", "label").with("inputs", toml::list(inputs)));
        "case".clone_into(&mut archive.cases);
    }
    archive.layout = match labelled {
        true => format!(
            "DICOM with {}",
            match sources[0].as_str() {
                "outlines" => "outlines (RTSTRUCT)",
                "truth" => "label maps (series of images)",
                _ => "segmentations (SEG)",
            }
        ),
        false => "DICOM without labels".to_owned(),
    };
    archive
}

/// The source of a channel's series.
fn source_of(channel: &Channel, wishes: &Wishes) -> Block {
    let by_modality = ("Modality", toml::text(&channel.modality));
    let by_description = channel.description.as_ref();
    let by_description = by_description.map(|text| ("SeriesDescription", toml::text(&pattern(text))));
    Block::new(&format!("sources.{}", channel.name), "dicom")
        .with("path", toml::path(&wishes.path))
        .with("where", toml::table(std::iter::once(by_modality).chain(by_description)))
}

fn assemble(name: &str, source: &str) -> Block {
    Block::new(&format!("operators.{name}"), "assemble").with("inputs", toml::list([toml::text(source)]))
}

/// Puts the channels of a study together; the first gives the grid, and its labels are the case's.
fn join(joined: &Joined<'_>, archive: &mut Archive) {
    let names = || joined.channels.iter().map(|channel| channel.name.as_str());
    let volume = |name: &str| format!("{name}_volume");
    let mut blocks: Vec<Block> = names().map(|name| assemble(&volume(name), name)).collect();
    if let Some(first) = blocks.first_mut() {
        first.why.push(ASSEMBLED.to_owned());
    }
    let block = Block::new("operators.scans", "channels")
        .why(format!(
            "Series of one study are channels of one case, on the grid of the first, where the labels were drawn; nothing \
             is registered. {}",
            joined.counted
        ))
        .with("inputs", toml::list(names().map(|name| toml::text(&volume(name)))))
        .with("names", toml::list(names().map(toml::text)));
    blocks.push(if joined.lacking { block.with("on_missing", toml::text("zero")) } else { block });
    archive.blocks.extend(blocks);
    archive.channels = names().map(str::to_owned).collect();
    if joined.channels.iter().any(|channel| channel.modality != archive.modality) {
        archive.modality.clear();
    }
    "scans".clone_into(&mut archive.cases);
}

fn seen(volume: &FoundVolume, labelled: bool) -> Seen {
    Seen {
        file: None,
        spacing_mm: volume.spacing_mm,
        size: volume.shape,
        axes: axes(&volume.affine_lps),
        labelled,
    }
}

/// The modality with most labelled series, or most series where none is labelled.
fn modality(volumes: &[&FoundVolume], is_drawn: &dyn Fn(&FoundVolume) -> bool) -> String {
    let count = |labelled: bool| {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for volume in volumes.iter().filter(|volume| !labelled || is_drawn(volume)) {
            *counts.entry(&volume.modality).or_default() += 1;
        }
        counts
    };
    let labelled = count(true);
    let counts = if labelled.is_empty() { count(false) } else { labelled };
    let rank = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    let best = counts.into_iter().max_by(|(a, of_a), (b, of_b)| of_a.cmp(of_b).then(rank(b).cmp(&rank(a))));
    best.map(|(name, _)| name.to_owned()).unwrap_or_default()
}

/// Lines on series of other modalities, which one network does not learn with.
fn others(volumes: &[&FoundVolume], modality: &str) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for volume in volumes.iter().filter(|volume| volume.modality != modality) {
        *counts.entry(&volume.modality).or_default() += 1;
    }
    if counts.is_empty() {
        return Vec::new();
    }
    let named: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    vec![format!(
        "series of other modalities are left out ({}): one network reads one modality; `where` of `scans` says which",
        named.join(", ")
    )]
}

type Keeps<'v> = Box<dyn Fn(&FoundVolume) -> bool + 'v>;

/// The filter of a source: the modality, and descriptions where labelled series are told from others by them; else what
/// the descriptions of labels are told `apart` by.
fn filter<'v>(
    volumes: &[&FoundVolume],
    modality: &str,
    is_drawn: &dyn Fn(&FoundVolume) -> bool,
    apart: Option<String>,
    told: &mut Vec<String>,
) -> (String, Keeps<'v>) {
    let description =
        |volume: &FoundVolume| volume.tags.get("SeriesDescription").cloned().unwrap_or_default();
    let of = |labelled: bool| -> BTreeSet<String> {
        volumes
            .iter()
            .filter(|volume| is_drawn(volume) == labelled)
            .map(|volume| description(volume))
            .collect()
    };
    let (labelled, others) = (of(true), of(false));
    let patterns: BTreeSet<String> = labelled.iter().map(|text| pattern(text)).collect();
    let told_apart = !others.is_empty()
        && labelled.is_disjoint(&others)
        && (1..=DESCRIPTIONS).contains(&labelled.len())
        && labelled.iter().all(|text| !text.is_empty());
    let by_modality = ("Modality", toml::text(modality));
    if !told_apart {
        let apart = apart.map(|pattern| ("SeriesDescription", toml::text(&pattern)));
        return (toml::table(std::iter::once(by_modality).chain(apart)), Box::new(|_| true));
    }
    let count = volumes.iter().filter(|volume| !is_drawn(volume)).count();
    told.push(format!(
        "{count} series of other descriptions, of which none is labelled, are left out: {}",
        listed(others.iter().map(String::as_str))
    ));
    let texts: Vec<String> = patterns.iter().map(|text| toml::text(text)).collect();
    let value = if texts.len() == 1 { texts[0].clone() } else { toml::list(texts) };
    let keep = move |volume: &FoundVolume| {
        labelled.contains(volume.tags.get("SeriesDescription").map_or("", String::as_str))
    };
    (toml::table([by_modality, ("SeriesDescription", value)]), Box::new(keep))
}

/// A text as a pattern that fits it: signs that mean something else become `?`.
fn pattern(text: &str) -> String {
    let plain = |letter: char| if "*?[]{}\\!".contains(letter) { '?' } else { letter };
    text.chars().map(plain).collect::<String>().replace("..", "??")
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > LISTED { format!("{shown} and {} more", names.len() - LISTED) } else { shown }
}

/// Returns the form of a file of outlines.
fn form(outlines: &FoundOutlines) -> Option<Form> {
    let path = std::path::absolute(&outlines.file).ok()?;
    match read_record(&path) {
        Ok(Record::Outlines(found)) => Some(found.form),
        _ => None,
    }
}

/// The sources of labels, by their names, for the form that most labels have.
fn label_blocks(
    survey: &Survey,
    scans: &[&FoundVolume],
    wishes: &Wishes,
    archive: &mut Archive,
) -> Vec<(String, Block)> {
    let series: BTreeSet<&str> = scans.iter().map(|scan| scan.series_uid.as_str()).collect();
    let here = |outlines: &&FoundOutlines| outlines.series.iter().any(|uid| series.contains(uid.as_str()));
    let mut files: Vec<&FoundOutlines> = survey.outlines.iter().filter(here).collect();
    let strangers = survey.outlines.len() - files.len();
    if files.is_empty() {
        // Outlines without a series belong to scans by their frame of reference.
        files = survey.outlines.iter().filter(|outlines| outlines.series.is_empty()).collect();
        archive.scans.iter_mut().for_each(|scan| scan.labelled = !files.is_empty());
    }
    if strangers > 0 {
        archive.told.push(format!("{strangers} files of outlines name none of these series"));
    }
    let forms: Vec<(Form, &FoundOutlines)> =
        files.drain(..).filter_map(|outlines| Some((form(outlines)?, outlines))).collect();
    let contours = forms.iter().filter(|(form, _)| *form == Form::Contours).count();
    let wanted = if 2 * contours >= forms.len() { Form::Contours } else { Form::Voxels };
    let (chosen, beside): (Vec<_>, Vec<_>) = forms.into_iter().partition(|(form, _)| *form == wanted);
    let (name, kind, field, word) = match wanted {
        Form::Contours => ("outlines", "rtstruct", "structures", "structure sets"),
        Form::Voxels => ("segments", "dicom_seg", "segments", "segmentations"),
    };
    if !beside.is_empty() {
        archive.told.push(format!(
            "{} files of the other kind of labels are left out (RTSTRUCT or SEG)",
            beside.len()
        ));
    }
    let files: Vec<&FoundOutlines> = chosen.into_iter().map(|(_, outlines)| outlines).collect();
    archive.told.extend(several(&files, &series, word));
    let structures = structures(&files, &mut archive.told);
    if structures.is_empty() {
        return Vec::new();
    }
    archive.labels = structures.iter().map(|(name, _)| name.clone()).collect();
    let entries = structures
        .iter()
        .map(|(name, patterns)| (name.as_str(), toml::list(patterns.iter().map(|text| toml::text(text)))));
    let block = Block::new(&format!("sources.{name}"), kind)
        .why(format!(
            "Names as {} {word} have them; `*` and `?` stand for any letters, and a list for several names.",
            files.len()
        ))
        .with("path", toml::path(&wishes.path))
        .with(field, toml::table(entries));
    vec![(name.to_owned(), block)]
}

/// A line on scans that several files of labels belong to.
fn several(files: &[&FoundOutlines], series: &BTreeSet<&str>, word: &str) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for outlines in files {
        let own: BTreeSet<&str> = outlines.series.iter().map(String::as_str).collect();
        own.intersection(series).for_each(|uid| *counts.entry(*uid).or_default() += 1);
    }
    let count = counts.values().filter(|count| **count > 1).count();
    (count > 0).then(|| {
        format!(
            "{count} scans have several {word} each, and are refused as SEVERAL_LABELS: keep one reader's, or take the \
             newest with `on_several = \"newest\"` at `operators.case`"
        )
    })
}

/// Labels and the names that stand for them: those that at least half of the files have; else all spellings of the
/// one that most have.
fn structures(files: &[&FoundOutlines], told: &mut Vec<String>) -> Vec<(String, Vec<String>)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for outlines in files {
        let names: BTreeSet<&str> = outlines.structures.iter().map(String::as_str).collect();
        names
            .into_iter()
            .filter(|name| !name.trim().is_empty())
            .for_each(|name| *counts.entry(name).or_default() += 1);
    }
    let frequent: Vec<&str> =
        counts.iter().filter(|(_, count)| 2 * **count >= files.len()).map(|(name, _)| *name).collect();
    if !frequent.is_empty() {
        let rare = counts.keys().filter(|name| !frequent.contains(name)).copied().collect::<Vec<_>>();
        if !rare.is_empty() {
            told.push(format!(
                "structures that fewer than half of {} files have are left out: {}",
                files.len(),
                listed(rare.into_iter())
            ));
        }
        return frequent.into_iter().map(|name| (slug(name), vec![pattern(name)])).collect();
    }
    let mut spellings: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in counts.keys() {
        spellings.entry(core(name)).or_default().push(name);
    }
    let of = |names: &[&str]| {
        files.iter().filter(|file| file.structures.iter().any(|name| names.contains(&name.as_str()))).count()
    };
    let Some((core, names)) = spellings.into_iter().max_by_key(|(_, names)| of(names)) else {
        return Vec::new();
    };
    told.push(format!(
        "no structure has one name in half of {} files; {} of them have `{core}` by one of these: {}",
        files.len(),
        of(&names),
        listed(names.iter().copied())
    ));
    vec![(core, names.into_iter().map(pattern).collect())]
}

/// A name as a label: as it is where a key can have it.
fn slug(name: &str) -> String {
    let letter =
        |letter: char| if letter.is_alphanumeric() || letter == '_' || letter == '-' { letter } else { '_' };
    let text: String = name.trim().chars().map(letter).collect();
    if text.is_empty() { "structure".to_owned() } else { text }
}

/// A name without numbers and signs, in small letters: what spellings of one structure have in common.
fn core(name: &str) -> String {
    let text: String =
        name.chars().filter(|letter| letter.is_alphabetic()).collect::<String>().to_lowercase();
    if text.is_empty() { "structure".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(names: &[&str]) -> FoundOutlines {
        FoundOutlines {
            file: "a".into(),
            series: vec!["1".to_owned()],
            structures: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn chosen(files: &[FoundOutlines]) -> (Vec<(String, Vec<String>)>, usize) {
        let mut told = Vec::new();
        let found = structures(&files.iter().collect::<Vec<_>>(), &mut told);
        (found, told.len())
    }

    #[test]
    fn names_that_most_files_have_are_labels() {
        let (found, told) =
            chosen(&[file(&["TV", "Cochlea L"]), file(&["TV", "skin"]), file(&["TV", "Cochlea L"])]);
        assert_eq!(
            found,
            [
                ("Cochlea_L".to_owned(), vec!["Cochlea L".to_owned()]),
                ("TV".to_owned(), vec!["TV".to_owned()])
            ]
        );
        assert_eq!(told, 1);
    }

    #[test]
    fn scans_with_two_files_of_labels_are_counted() {
        let (one, two) = (file(&["TV"]), file(&["TV"]));
        let other = FoundOutlines { series: vec!["2".to_owned(), "2".to_owned()], ..file(&["TV"]) };
        let series = BTreeSet::from(["1", "2"]);
        assert_eq!(several(&[&one, &other], &series, "segmentations"), None);
        let told = several(&[&one, &two, &other], &series, "segmentations").unwrap();
        assert!(told.starts_with("1 scans have several segmentations"), "{told}");
    }

    #[test]
    fn spellings_of_one_name_are_one_label() {
        let (found, told) = chosen(&[file(&["GTV-1"]), file(&["gtv 2"]), file(&["GTV*"]), file(&["lung"])]);
        let names: Vec<String> = ["GTV?", "GTV-1", "gtv 2"].map(str::to_owned).into();
        assert_eq!((found, told), (vec![("gtv".to_owned(), names)], 1));
        assert_eq!(chosen(&[]), (Vec::new(), 0));
    }
}
