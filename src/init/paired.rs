//! Scans and labels by the names of their files: which patterns claim them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tomoflow_connectors::dicom::inspect::FoundImage;
use tomoflow_connectors::imagefile;

use super::channels::{Together, together, volumes};
use super::claims::Claims;
use super::described::Described;
use super::grids::same_places;
use super::naming::{self, Called, Pattern, Template};
use super::parts::{self, Apart};
use super::{Survey, below};

/// How scans and labels are found.
pub(super) struct Found {
    pub(super) scans: Claims,
    pub(super) labels: Option<Claims>,
    /// The patterns' stems, which known data sets are known by.
    pub(super) stems: [String; 2],
    pub(super) why: Option<String>,
    /// Scans of other channels, which a line names.
    pub(super) beside: BTreeSet<PathBuf>,
    /// The names of the channels of each scan; none of scans of one.
    pub(super) channels: Vec<String>,
    pub(super) told: Vec<String>,
}

/// Folders that have a pattern each, at most.
const FOLDERS: usize = 64;

/// Scan and labels that go together, by their places among the images.
struct Pair {
    scan: PathBuf,
    label: usize,
    called: Called,
}

/// Finds them by the names of label files and of their scans; by those of scans where there are no labels.
pub(super) fn by_names(survey: &Survey, described: Option<&Described>) -> Option<Found> {
    let mut pairs = Vec::new();
    for (label, image) in survey.images.iter().enumerate() {
        for scan in image.labels_of.iter().flatten() {
            let called = naming::common(below(scan, &survey.root), below(&image.file, &survey.root));
            pairs.extend(called.map(|called| Pair { scan: scan.clone(), label, called }));
        }
    }
    if pairs.is_empty() {
        return scans_alone(survey);
    }
    let mut told = Vec::new();
    let on_others = on_other_grids(survey, &mut pairs);
    told.extend(told_of_others(survey, &on_others));
    let apart = left_apart(survey, &mut pairs);
    told.extend(apart.told(survey));
    let template = |path: &Path, called: &Called| Template::of(below(path, &survey.root), called);
    let of_scans: Vec<_> = pairs
        .iter()
        .map(|pair| template(&pair.scan, &Called { structure: None, ..pair.called.clone() }))
        .collect();
    let of_labels: Vec<_> =
        pairs.iter().map(|pair| template(&survey.images[pair.label].file, &pair.called)).collect();
    let held = |place: usize| format!("{:?}", pairs[place].called);
    let (label, of_label) = naming::other_endings(naming::patterns(&of_labels), held);
    let label = label.into_iter().next()?;
    let mut label_texts = vec![label.text.clone()];
    label_texts.extend(of_label.get(&label.text).into_iter().flatten().cloned());
    let chosen: BTreeSet<usize> = label.members.iter().copied().collect();
    let of_scans: Vec<_> = of_scans
        .into_iter()
        .enumerate()
        .map(|(index, one)| one.filter(|_| chosen.contains(&index)))
        .collect();
    let case = |place: usize| pairs[place].called.case.clone();
    let (of_each, taken) = naming::other_endings(naming::patterns(&of_scans), case);
    let mut together = together(of_each, described, &mut told)?;
    together.endings = taken.get(&together.pattern.text).cloned().unwrap_or_default();
    let files: Vec<&Path> = together.pattern.members.iter().map(|&at| pairs[at].scan.as_path()).collect();
    volumes(survey, &files, described, &mut together, &mut told);
    let mut beside: BTreeSet<PathBuf> =
        together.others.iter().map(|&place| pairs[place].scan.clone()).collect();
    let of_labels_file: BTreeSet<PathBuf> = survey
        .images
        .iter()
        .filter(|image| image.labels_of.is_some() && !apart.files.contains(&image.file))
        .map(|image| image.file.clone())
        .collect();
    let of_scans_file: BTreeSet<PathBuf> = files.iter().map(|file| (*file).to_owned()).collect();
    let (scans, patterns) =
        scan_claims(survey, &of_scans, &together, &label_texts, [&of_scans_file, &of_labels_file], &apart)?;
    let scans = without_odd(survey, &together, scans, patterns, &of_scans_file, &mut told)?;
    let Together { pattern: scan, names: channels, .. } = together;
    let labels = label_claims(survey, &of_labels, (&label, label_texts), &of_scans_file, &apart)?;
    beside.extend(apart.files);
    beside.extend(on_others);
    let stems = [scan.stem, label.stem];
    Some(Found { scans, labels: Some(labels), stems, why: None, beside, channels, told })
}

/// Takes scans out that lie on another grid than labels below `derivatives`, where others of the same labels lie on it: the
/// names of such labels say the patient and the session, and the grid whose they are.
fn on_other_grids(survey: &Survey, pairs: &mut Vec<Pair>) -> BTreeSet<PathBuf> {
    let grids: BTreeMap<&Path, &FoundImage> =
        survey.images.iter().map(|image| (image.file.as_path(), image)).collect();
    let on_it = |pair: &Pair| {
        let (labels, scan) = (&survey.images[pair.label], grids.get(pair.scan.as_path()));
        scan.is_some_and(|scan| same_grid(scan, labels))
    };
    let is_made = |pair: &Pair| imagefile::is_made(below(&survey.images[pair.label].file, &survey.root));
    let known: BTreeSet<usize> =
        pairs.iter().filter(|pair| is_made(pair) && on_it(pair)).map(|pair| pair.label).collect();
    let mut others = BTreeSet::new();
    pairs.retain(|pair| {
        let keeps = !known.contains(&pair.label) || on_it(pair);
        if !keeps {
            others.insert(pair.scan.clone());
        }
        keeps
    });
    others.retain(|file| pairs.iter().all(|pair| pair.scan != *file));
    others
}

fn same_grid(a: &FoundImage, b: &FoundImage) -> bool {
    a.shape == b.shape && same_places(&a.affine_lps, &b.affine_lps)
}

fn told_of_others(survey: &Survey, files: &BTreeSet<PathBuf>) -> Option<String> {
    let first = files.first()?;
    Some(format!(
        "{} scans lie on another grid than the labels of their patient and session, and are left out ({} first): a source \
         for each channel and `type = \"channels\"` bring them onto one",
        files.len(),
        survey.name(first)
    ))
}

/// Whether a source would claim one of these files.
fn fits_any(claims: &Claims, files: &BTreeSet<PathBuf>) -> bool {
    files.iter().any(|file| claims.of(file).is_some())
}

/// Returns what claims the scans, and none of the labels.
fn scan_claims(
    survey: &Survey,
    templates: &[Option<Template>],
    together: &Together,
    label_texts: &[String],
    [own, of_labels]: [&BTreeSet<PathBuf>; 2],
    apart: &Apart,
) -> Option<(Claims, Vec<String>)> {
    let mut patterns = together.texts();
    let mut scans = together.claims(&survey.root, &patterns)?;
    if fits_any(&scans, of_labels) {
        patterns.extend(label_texts.iter().map(|text| format!("!{}", naming::any_case(text))));
        scans = together.claims(&survey.root, &patterns)?;
        // A single pattern for folders of both kinds leaves out scans with the labels.
        let all = own.iter().all(|file| scans.of(file).is_some());
        let folders = naming::by_folder(templates, &together.pattern.members);
        if !all && together.of_one_name() && folders.len() <= FOLDERS {
            patterns = folders;
            scans = together.claims(&survey.root, &patterns)?;
        }
    }
    if fits_any(&scans, &apart.files) {
        patterns.extend(apart.patterns());
        scans = together.claims(&survey.root, &patterns)?;
    }
    Some((scans, patterns))
}

/// Returns what claims the scans but not those volumes of another number of channels that nobody labelled.
fn without_odd(
    survey: &Survey,
    together: &Together,
    scans: Claims,
    mut patterns: Vec<String>,
    own: &BTreeSet<PathBuf>,
    told: &mut Vec<String>,
) -> Option<Claims> {
    let volumes = if together.of_one_name() { together.names.len().max(1) } else { 1 };
    let odd: Vec<&Path> = survey
        .images
        .iter()
        .filter(|image| image.labels_of.is_none() && image.volumes != volumes && !own.contains(&image.file))
        .map(|image| image.file.as_path())
        .filter(|file| scans.of(file).is_some())
        .collect();
    let files: Vec<&Path> = own.iter().map(PathBuf::as_path).collect();
    let left_out = naming::by_end(odd.iter().copied(), &files);
    let (Some(first), false) = (odd.first(), left_out.is_empty()) else { return Some(scans) };
    told.push(format!(
        "{} files without labels hold another number of volumes than {volumes}, and are left out, {} first",
        odd.len(),
        survey.name(first)
    ));
    patterns.extend(left_out);
    together.claims(&survey.root, &patterns)
}

/// Returns what claims the labels, and none of the scans.
fn label_claims(
    survey: &Survey,
    templates: &[Option<Template>],
    (label, mut patterns): (&Pattern, Vec<String>),
    scans: &BTreeSet<PathBuf>,
    apart: &Apart,
) -> Option<Claims> {
    let mut labels = Claims::by_patterns(&survey.root, &patterns, true)?;
    let folders = naming::by_folder(templates, &label.members);
    if fits_any(&labels, scans) && folders.len() <= FOLDERS {
        patterns = folders;
        labels = Claims::by_patterns(&survey.root, &patterns, true)?;
    }
    if fits_any(&labels, &apart.files) {
        patterns.extend(apart.patterns());
        labels = Claims::by_patterns(&survey.root, &patterns, true)?;
    }
    Some(labels)
}

/// Takes pairs of test and validation sets out, where others are left to train on.
fn left_apart(survey: &Survey, pairs: &mut Vec<Pair>) -> Apart {
    let is_apart = |pair: &Pair| {
        let label = &survey.images[pair.label].file;
        [&pair.scan, label].into_iter().any(|file| parts::apart(&survey.root, file).is_some())
    };
    if pairs.iter().all(is_apart) {
        return Apart::default();
    }
    pairs.retain(|pair| !is_apart(pair));
    Apart::of(survey)
}

/// Whether a volume's values are those of a label map.
fn is_like_labels(image: &FoundImage) -> bool {
    image.notes.iter().any(|note| note.starts_with("LIKE_LABELS"))
}

/// Whether the numbers behind names count channels, as nnU-Net's do from 0000 on. Behind one name alone any others count
/// cases: `PANCREAS_0001`, `PANCREAS_0002`.
fn count_channels(stems: &[String]) -> bool {
    let names: Option<BTreeSet<&str>> = stems.iter().map(|stem| naming::without_channel(stem)).collect();
    let from_nought = || stems.iter().any(|stem| stem.ends_with("_0000"));
    names.is_some_and(|names| names.len() > 1 || (names.len() == 1 && from_nought()))
}

/// Finds scans without labels.
fn scans_alone(survey: &Survey) -> Option<Found> {
    let unpaired = survey.images.iter().filter(|image| image.labels_of.is_none());
    let (mut maps, mut scans): (Vec<&FoundImage>, Vec<&FoundImage>) =
        unpaired.partition(|image| is_like_labels(image));
    if scans.is_empty() {
        std::mem::swap(&mut maps, &mut scans);
    }
    let stems: Vec<String> = scans.iter().map(|image| naming::split(&image.file).0).collect();
    let numbered = count_channels(&stems);
    let case = |stem: &str| match numbered {
        true => naming::without_channel(stem).unwrap_or(stem).to_owned(),
        false => stem.to_owned(),
    };
    let distinct: BTreeSet<&String> = stems.iter().collect();
    let called: Vec<Option<Called>> = scans
        .iter()
        .zip(&stems)
        .map(|(image, stem)| {
            let path = below(&image.file, &survey.root);
            // Scans that are all called alike are told apart by their folders.
            let alike = distinct.len() == 1 && stems.len() > 1;
            let folder =
                path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
            let case = if alike { folder? } else { case(stem) };
            Some(Called { case, structure: None })
        })
        .collect();
    let template = |(image, called): (&&FoundImage, &Option<Called>)| {
        Template::of(below(&image.file, &survey.root), called.as_ref()?)
    };
    let templates: Vec<_> = scans.iter().zip(&called).map(template).collect();
    let mut told = Vec::new();
    let case = |place: usize| called[place].as_ref().map_or_else(String::new, |called| called.case.clone());
    let (patterns, taken) = naming::other_endings(naming::patterns(&templates), case);
    let mut together = match numbered {
        true => together(patterns, None, &mut told)?,
        false => Together::of_one(patterns.into_iter().next()?, Vec::new()),
    };
    let files: Vec<&Path> = together.pattern.members.iter().map(|&at| scans[at].file.as_path()).collect();
    volumes(survey, &files, None, &mut together, &mut told);
    let mut beside: BTreeSet<PathBuf> =
        together.others.iter().map(|&place| scans[place].file.clone()).collect();
    together.endings = taken.get(&together.pattern.text).cloned().unwrap_or_default();
    let mut texts = together.texts();
    let mut claims = together.claims(&survey.root, &texts)?;
    let claimed = |claims: &Claims| maps.iter().filter(|map| claims.of(&map.file).is_some()).count();
    if claimed(&claims) > 0 {
        let read = maps.iter().map(|map| map.file.as_path()).filter(|file| claims.of(file).is_some());
        texts.extend(naming::by_end(read, &files));
        claims = together.claims(&survey.root, &texts)?;
    }
    if let Some(first) = maps.first() {
        let read = match claimed(&claims) {
            0 => "they are left out".to_owned(),
            count => format!("{count} of them are read as scans, since no pattern tells them from these"),
        };
        told.push(format!(
            "{} volumes have the values of label maps, and no name says whose labels they are ({}, first): {read}; call \
             them as their scans in a folder `labels`, or with `_seg` behind, and `init` pairs them",
            maps.len(),
            survey.name(&first.file)
        ));
    }
    beside.extend(maps.iter().map(|map| map.file.clone()));
    let Together { pattern, names: channels, .. } = together;
    let stems = [pattern.stem, String::new()];
    Some(Found { scans: claims, labels: None, stems, why: None, beside, channels, told })
}

#[cfg(test)]
mod tests {
    use super::count_channels;

    #[test]
    fn numbers_behind_one_name_count_cases_unless_they_begin_at_nought() {
        let of =
            |stems: &[&str]| count_channels(&stems.iter().map(|stem| (*stem).to_owned()).collect::<Vec<_>>());
        assert!(of(&["a_0000", "a_0001", "b_0000", "b_0001"]) && of(&["a_0000", "a_0001"]));
        assert!(!of(&["PANCREAS_0001", "PANCREAS_0002"]) && !of(&["a_0001", "b"]) && !of(&[]));
    }
}
