//! Archives of other formats than DICOM: files are told apart by their names, or by a table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tomoflow_connectors::dicom::inspect::FoundImage;

use super::archive::{Archive, Block, Seen};
use super::claims::Claims;
use super::described::Described;
use super::grids::axes;
use super::labels::{self, Known, Labels};
use super::paired::{Found, by_names};
use super::{InitError, Survey, Wishes, intensity, table, toml};
use crate::operators::registry::Registry;

/// Recognises what the archive is.
///
/// # Errors
/// When no pattern fits its files.
pub fn recognise(
    survey: &Survey,
    described: Option<Described>,
    wishes: &Wishes,
    registry: &Registry,
) -> Result<Archive, InitError> {
    let tabled = described.is_none().then(|| by_table(survey, wishes)).flatten();
    let found = tabled.or_else(|| by_names(survey, described.as_ref())).ok_or_else(|| survey.nothing())?;
    let mut archive = Archive {
        cases: "scans".to_owned(),
        channels: found.channels.clone(),
        told: found.told.clone(),
        ..Archive::default()
    };
    let label_files = label_files(survey, &found);
    let cases: BTreeSet<String> = label_files.iter().map(|(case, ..)| case.clone()).collect();
    seen(survey, &found, &cases, &mut archive);
    let known = Known::of(&found.stems[0], &found.stems[1], &cases);
    modality(&mut archive, described.as_ref(), known, &found);
    let mut labels = match &described {
        Some(description) if !label_files.is_empty() => labels::described(description),
        _ => by_their_files(&label_files, known),
    };
    archive.told.append(&mut labels.told);
    archive.layout = layout(&found, described.as_ref(), known, &label_files);
    archive.labels = labels.entries.iter().map(|(name, _)| name.clone()).collect();
    archive.blocks = blocks(survey, &found, &labels, wishes, registry, &mut archive);
    let (split, told) = described.map(|described| (described.split, described.told)).unwrap_or_default();
    archive.told.extend(told);
    if let Some((path, folds)) = split {
        let path = wishes.written(survey, &path);
        archive.split = Some(format!("{{ file = {}, fold = 0 }}", toml::path(&path)));
        archive.told.push(match folds {
            1 => "the one fold of splits_final.json is trained".to_owned(),
            _ => format!("fold 0 of {folds} is trained; `--set operators.net.split.fold=1` is the next one"),
        });
    }
    archive.told.extend(notes(survey, &found));
    Ok(archive)
}

impl Wishes {
    /// A path below the folder as the pipeline file names it.
    fn written(&self, survey: &Survey, path: &Path) -> String {
        match path.strip_prefix(&survey.root) {
            Ok(rest) if rest.as_os_str().is_empty() => self.path.clone(),
            Ok(rest) => format!("{}/{}", self.path.trim_end_matches('/'), rest.display()),
            Err(_) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string(),
        }
    }
}

fn by_table(survey: &Survey, wishes: &Wishes) -> Option<Found> {
    let tabled = table::find(survey)?;
    let written = wishes.written(survey, &tabled.path);
    let scans = Claims::by_table(&tabled.scans, &tabled.path, &written)?;
    let labels = tabled.labels.as_ref().and_then(|folder| Claims::by_table(folder, &tabled.path, &written));
    let name = tabled.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let told = tabled.both.then(|| {
        format!(
            "{name} names scans and labels, each in rows of its own: rows of the others are FILE_MISSING in `rejects`, until \
             scans and labels have a table each"
        )
    });
    let why = Some(format!("{name} says which file is of which case and patient."));
    Some(Found {
        scans,
        labels,
        stems: [String::new(), String::new()],
        why,
        beside: BTreeSet::new(),
        channels: Vec::new(),
        told: told.into_iter().collect(),
    })
}

/// Returns the label files that are claimed: case, structure and file.
fn label_files<'s>(survey: &'s Survey, found: &Found) -> Vec<(String, Option<String>, &'s FoundImage)> {
    let Some(claims) = &found.labels else { return Vec::new() };
    let labels = survey.images.iter().filter(|image| image.labels_of.is_some());
    let claimed = |image: &'s FoundImage| {
        let (case, _, structure) = claims.of(&image.file)?;
        Some((case, structure, image))
    };
    labels.filter_map(claimed).collect()
}

/// Puts down the scans that are claimed, and lines on those that are not.
fn seen(survey: &Survey, found: &Found, labelled: &BTreeSet<String>, archive: &mut Archive) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    // A case of several channels is seen once.
    let in_files = found.channels.len() > 1 && found.scans.say_channels();
    let mut grids: BTreeMap<String, ([usize; 3], [f64; 3])> = BTreeMap::new();
    let mut apart = BTreeSet::new();
    let (mut others, mut strangers) = (Vec::new(), Vec::new());
    for image in &survey.images {
        let claimed = found.scans.of(&image.file).filter(|_| image.labels_of.is_none());
        let Some((case, ..)) = claimed else {
            let of_labels = found.labels.as_ref().is_some_and(|labels| labels.of(&image.file).is_some());
            if !of_labels && !found.beside.contains(&image.file) {
                let list = if image.labels_of.is_some() { &mut strangers } else { &mut others };
                list.push(survey.name(&image.file));
            }
            continue;
        };
        let grid = (image.shape, image.spacing_mm);
        if in_files && let Some(first) = grids.insert(case.clone(), grid) {
            if first != grid {
                apart.insert(case);
            }
            continue;
        }
        archive.scans.push(Seen {
            file: Some(image.file.clone()),
            spacing_mm: image.spacing_mm,
            size: image.shape,
            axes: axes(&image.affine_lps),
            labelled: labelled.contains(&case),
        });
        *counts.entry(case).or_default() += 1;
    }
    if let Some(first) = apart.first() {
        archive.told.push(format!(
            "{} cases have channels on different grids and are refused as GRID_MISMATCH, `{first}` first: a source for each \
             channel and `type = \"channels\"` bring them onto one",
            apart.len()
        ));
    }
    let several: Vec<&String> =
        counts.iter().filter(|(_, count)| **count > 1).map(|(case, _)| case).collect();
    if let Some(first) = several.first() {
        archive.told.push(format!(
            "{} cases have several files and are refused as SEVERAL_FILES, `{first}` first: make the pattern narrower",
            several.len()
        ));
    }
    if let Some(first) = others.first() {
        archive.told.push(format!("{} volumes are no part of the pipeline, {first} first", others.len()));
    }
    if let Some(first) = strangers.first() {
        let line = "files are called as labels are, and are those of no scan that is read";
        archive.told.push(format!("{} {line}, {first} first", strangers.len()));
    }
    let unlabelled = archive.scans.len() - archive.labelled();
    if unlabelled > 0 && !labelled.is_empty() {
        archive.told.push(format!(
            "{unlabelled} scans have no labels: they are segmented, and nobody learns from them"
        ));
    }
    let scans: BTreeSet<&String> = counts.keys().collect();
    let lone: Vec<&String> = labelled.iter().filter(|case| !scans.contains(case)).collect();
    if let Some(first) = lone.first() {
        archive
            .told
            .push(format!("{} cases have labels and no scan that is read, `{first}` first", lone.len()));
    }
}

fn modality(archive: &mut Archive, described: Option<&Described>, known: Known, found: &Found) {
    let channel = described.and_then(|described| described.channels.first());
    let named = channel
        .and_then(|channel| Some((intensity::named([channel.as_str()])?.0, "by dataset.json".to_owned())));
    let of_set =
        known.modality().zip(known.name()).map(|(modality, name)| (modality, format!("as {name} has it")));
    let by_name = || {
        intensity::named([found.stems[0].as_str()])
            .map(|(modality, text)| (modality, format!("by the name `{text}`")))
    };
    let files: Vec<&Path> = archive.scans.iter().filter_map(|scan| scan.file.as_deref()).collect();
    let by_air = || {
        let (air, _) = intensity::looked_at(&files);
        air.then(|| ("CT", "as values go down to those of air".to_owned()))
    };
    if let Some((modality, from)) = named.or(of_set).or_else(by_name).or_else(by_air) {
        (archive.modality, archive.modality_from) = (modality.to_owned(), from);
    }
}

fn by_their_files(files: &[(String, Option<String>, &FoundImage)], known: Known) -> Labels {
    let structures: Vec<(String, String, &FoundImage)> = files
        .iter()
        .filter_map(|(case, structure, file)| Some((case.clone(), structure.clone()?, *file)))
        .collect();
    if !structures.is_empty() {
        return labels::of_structures(&structures);
    }
    let files: Vec<&FoundImage> = files.iter().map(|(.., file)| *file).collect();
    if files.is_empty() { Labels::default() } else { labels::of_values(&files, known) }
}

fn layout(
    found: &Found,
    described: Option<&Described>,
    known: Known,
    labels: &[(String, Option<String>, &FoundImage)],
) -> String {
    if let Some(described) = described {
        return described.layout.to_owned();
    }
    let files =
        if found.why.is_some() { "files that a table names" } else { "files that their names tell apart" };
    match (known.name(), labels.first()) {
        (Some(name), _) => format!("{name}'s layout"),
        (_, Some((_, Some(_), _))) => {
            "a folder for each case, with a file for each structure (as TotalSegmentator's)".to_owned()
        }
        (_, Some(_)) => format!("scans and label maps in {files}"),
        (_, None) => format!("scans without labels, in {files}"),
    }
}

fn blocks(
    survey: &Survey,
    found: &Found,
    labels: &Labels,
    wishes: &Wishes,
    registry: &Registry,
    archive: &mut Archive,
) -> Vec<Block> {
    let source = |heading: &str, kind: &str, claims: &Claims| {
        let mut block = Block::new(heading, kind);
        block.why.extend(found.why.clone());
        block.fields.push(("path".to_owned(), toml::path(&wishes.written(survey, &claims.folder))));
        block.fields.extend(claims.fields.iter().cloned());
        block
    };
    let mut scans = source("sources.scans", "images", &found.scans);
    if !archive.modality.is_empty() {
        scans = scans.with("modality", toml::text(&archive.modality));
    }
    let by_pattern = found.scans.fields.iter().find(|(name, _)| name == "files");
    if by_pattern.is_some_and(|(_, text)| !text.contains("{patient}")) {
        scans = scans.why(
            "`{case}` is the case's name, and each case counts as a patient of its own: where several are of one patient, \
             a `table` with a column `patient` keeps them on one side of the split.",
        );
    }
    let mut blocks = vec![scans];
    let Some(claims) = found.labels.as_ref().filter(|_| !labels.entries.is_empty()) else { return blocks };
    let mut truth = source("sources.truth", "label_images", claims);
    truth.why.extend(labels.why.iter().cloned());
    let (fields, told) = labels.fields(registry);
    truth.fields.extend(fields);
    archive.told.extend(told);
    blocks.push(truth);
    let inputs = toml::list(["scans", "truth"].map(toml::text));
    blocks.push(Block::new("operators.case", "label").with("inputs", inputs));
    "case".clone_into(&mut archive.cases);
    blocks
}

/// Lines on what `inspect` notes of the files that are read, by the note's name with the first file.
fn notes(survey: &Survey, found: &Found) -> Vec<String> {
    let mut notes: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    let read = |image: &&FoundImage| {
        let labels = found.labels.as_ref().is_some_and(|labels| labels.of(&image.file).is_some());
        labels || found.scans.of(&image.file).is_some()
    };
    for image in survey.images.iter().filter(read) {
        for note in &image.notes {
            let code = note.split(':').next().unwrap_or(note);
            // These codes have a line already, or the values are known to be those of a scan.
            if ["NO_LABELS_BESIDE", "NO_SCAN_BESIDE"].contains(&code)
                || (code == "LIKE_LABELS" && found.labels.is_some())
            {
                continue;
            }
            let first = || format!("{note} ({})", survey.name(&image.file));
            notes.entry(code).or_insert_with(|| (0, first())).0 += 1;
        }
    }
    notes.into_values().map(|(count, first)| format!("{count} files are noted as {first}")).collect()
}
