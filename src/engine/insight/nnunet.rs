//! A data set as nnU-Net takes it, from what earlier runs left: scans, labels, and what they are called.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tomoflow_connectors::{Digest, LabelMap, Reject, Scan, nifti};

use super::destination::Destination;
use super::export::{ExportOptions, Exported};
use super::outlook::Outlook;
use crate::engine::error::RunError;
use crate::engine::outputs::identity::Identity;
use crate::engine::outputs::maskfile::{file_name, whole};
use crate::engine::rows::Desired;
use crate::executor::Context;
use crate::executor::work::{BoundCase, ScanForm};
use crate::operators::registry::Stage;
use crate::operators::value::{Case, Mask, listed};
use crate::pipeline::{Plan, PlannedStage};
use crate::voxels::ignored::{self, IGNORED};

/// Scans with labels, their labels, and scans without.
const FOLDERS: [&str; 3] = ["imagesTr", "labelsTr", "imagesTs"];

/// Writes `imagesTr`, `labelsTr`, `imagesTs` (scans without labels), `dataset.json`, and `cases.csv`, which says of which
/// case and patient each file is. Labels are the truth that was drawn, or the masks of a stage that is named.
///
/// # Errors
/// As for masks: the store is in use, sources cannot be read, the stage has no masks, or a file cannot be written. A case
/// that cannot be written is named in the answer.
pub fn export_nnunet(plan: Plan, options: &ExportOptions) -> Result<Exported, RunError> {
    let mut destination = Destination::of(&plan, &options.folder)?;
    let Outlook { plan, context, identity, driver, .. } = Outlook::to_show(plan)?;
    let identity = if options.deidentify { identity.hidden() } else { identity };
    // Scans of several sources may have one name.
    let (mut cases, mut masks): (Cases, BTreeMap<String, Digest>) = Default::default();
    for desired in driver.desired().keys() {
        match &**desired {
            Desired::Case(case) => {
                cases.insert(case.series.counted_as(), case.clone());
            }
            Desired::Masks { series, mask, from } if options.stage.as_deref() == Some(&*from.stage) => {
                masks.insert(series.counted_as(), *mask);
            }
            _ => {}
        }
    }
    if let Some(stage) = options.stage.clone().filter(|_| masks.is_empty()) {
        return Err(RunError::NoMasks { stage });
    }
    // Other files beside its own would be cases of the set.
    let described = ["dataset.json", "cases.csv"].map(str::to_owned);
    destination.claim(destination.files_in(&FOLDERS).into_iter().chain(described))?;
    let failed = |path: &Path, message: String| RunError::Unwritten { path: path.to_owned(), message };
    for folder in FOLDERS.map(|name| options.folder.join(name)) {
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, error.to_string()))?;
    }
    let notes = if options.stage.is_none() { several_readers(&plan) } else { Vec::new() };
    let names = names(&cases, &identity);
    let mut writing =
        Writing { plan: &plan, folder: &options.folder, labels: labels(&plan), ..Writing::new(&plan) };
    let mut exported = Exported {
        stage: options.stage.clone().unwrap_or_else(|| "nnunet".to_owned()),
        notes,
        ..Exported::default()
    };
    for (key, row) in &cases {
        let name = &names[key];
        let case = read(&plan, &context, row).and_then(|case| {
            let labels = match masks.get(key) {
                Some(mask) => Some(context.mask(&row.series, *mask)?),
                None if options.stage.is_some() => None,
                None => {
                    case.labels.clone().map(|labels| Mask { labels, label_names: case.label_names.clone() })
                }
            };
            writing.case(name, &case, labels, options.stage.is_none())
        });
        match case {
            Ok(files) => {
                destination.wrote(&files);
                exported.files.extend(files);
                writing.row(name, &shown(&identity, row), &identity.show(&row.series.patient));
            }
            Err(reject) => exported.left_out.push((shown(&identity, row), reject)),
        }
    }
    let modalities: BTreeSet<&str> =
        cases.values().map(|row| &*row.series.modality).filter(|name| !name.is_empty()).collect();
    let channel = if modalities.len() == 1 { modalities.into_iter().next() } else { None };
    for (name, text) in [
        ("dataset.json", writing.description(channel.unwrap_or("scan"))),
        ("cases.csv", writing.table.clone()),
    ] {
        let path = options.folder.join(name);
        whole(path.clone(), |path| fs::write(path, &text))
            .map_err(|reject| failed(&path, reject.to_string()))?;
        exported.files.push(path);
    }
    exported.files.sort();
    Ok(exported)
}

/// A line for each source whose scans several stages give labels of different sources: a set has one truth.
fn several_readers(plan: &Plan) -> Vec<String> {
    let mut readers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let stages = plan.stages.iter().enumerate();
    for (place, stage) in stages.filter(|(_, stage)| matches!(stage.stage, Stage::Label { .. })) {
        let known = readers.entry(plan.origin(place)).or_default();
        if known.iter().all(|&other| plan.stages[other].inputs.get(1..) != stage.inputs.get(1..)) {
            known.push(place);
        }
    }
    let several = readers.into_iter().filter(|(_, stages)| stages.len() > 1);
    let line = |(origin, stages): (usize, Vec<usize>)| {
        let name = |place: &usize| format!("`{}`", plan.stages[*place].name);
        format!(
            "{} label scans of {}: a scan that several of them label has the labels of one of them; make masks of those \
             that are meant (`labels_as_masks`), and name that stage by `--stage`",
            stages.iter().map(name).collect::<Vec<_>>().join(" and "),
            name(&origin)
        )
    };
    several.map(line).collect()
}

/// A case as it was scanned and drawn. Which source it came from its row does not say: the first that can read it.
fn read(plan: &Plan, context: &Context, row: &BoundCase) -> Result<Case, Reject> {
    if row.beside.is_some() {
        return context.scanned(row);
    }
    let apart = row.series.apart();
    let fits = |stage: &PlannedStage| match row.series.form {
        ScanForm::Instances => matches!(stage.stage, Stage::Instances(_)),
        _ => matches!(stage.stage, Stage::Scans(_)) && (apart.is_empty() || apart == stage.name),
    };
    let mut last =
        Reject::new("NO_STAGE", "a source of this scan expected, none found", "run the pipeline again");
    for place in (0..plan.stages.len()).filter(|&place| fits(&plan.stages[place])) {
        match context.assembled(place, row) {
            Ok(case) => return Ok(case),
            Err(reject) => last = reject,
        }
    }
    Err(last)
}

/// Cases by what tells them from all others.
type Cases = BTreeMap<String, BoundCase>;

/// A case for people: where others have its name, with its source.
fn shown(identity: &Identity, row: &BoundCase) -> String {
    match (identity.show(&row.series.key), row.series.apart()) {
        (name, "") => name,
        (name, source) => format!("{name} ({source})"),
    }
}

/// Returns what cases are called: as tables show them; where these show identifiers, DICOM's by their
/// patient.
fn names(cases: &Cases, identity: &Identity) -> BTreeMap<String, String> {
    let clear = identity.is_clear();
    let mut of_patient: BTreeMap<&str, usize> = BTreeMap::new();
    cases.values().for_each(|row| *of_patient.entry(&row.series.patient).or_default() += 1);
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let name = |(key, row): (&String, &BoundCase)| {
        let by_patient =
            clear && row.series.form == ScanForm::Instances && *row.series.patient != *row.series.study_uid;
        let shown = match by_patient {
            true if of_patient[&*row.series.patient] == 1 => row.series.patient.to_string(),
            true => format!("{}_{}", row.series.patient, plain(&row.series.description)),
            false => match (identity.show(&row.series.key), row.series.apart()) {
                (name, "") => name,
                (name, source) => format!("{name}_{source}"),
            },
        };
        let name = file_name(&shown);
        let count = taken.entry(name.clone()).or_default();
        *count += 1;
        // nnU-Net takes four digits at the end for a channel.
        let name = if *count == 1 { name } else { format!("{name}_n{count}") };
        (key.clone(), name)
    };
    cases.iter().map(name).collect()
}

fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}

/// Labels in the order of the sources, each with those that lie within it.
fn labels(plan: &Plan) -> Vec<(String, BTreeSet<String>)> {
    let mut labels: Vec<(String, BTreeSet<String>)> = Vec::new();
    for stage in &plan.stages {
        let Stage::Labels(source) = &stage.stage else { continue };
        // A set of labels that cross is a region of its own, which they hold.
        let names = source.value_names();
        let nested = source.nested();
        for (place, name) in names.iter().enumerate() {
            let within = nested.get(place).into_iter().flatten();
            let within = within.filter_map(|label| names.get(usize::from(*label).checked_sub(1)?).cloned());
            match labels.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => known.extend(within),
                None => labels.push((name.clone(), within.collect())),
            }
        }
    }
    // nnU-Net draws regions in order: what holds others stands before them.
    labels.sort_by_key(|(_, within)| std::cmp::Reverse(within.len()));
    labels
}

/// What is being written.
struct Writing<'a> {
    plan: &'a Plan,
    folder: &'a Path,
    labels: Vec<(String, BTreeSet<String>)>,
    training: usize,
    table: String,
    /// The names of the channels of all scans, once one was written; none of scans of one.
    channels: Option<Vec<String>>,
    /// Whether any case has voxels that nobody labelled.
    ignores: bool,
}

impl<'a> Writing<'a> {
    fn new(plan: &'a Plan) -> Self {
        let table = "name,case,patient\n".to_owned();
        Self {
            plan,
            folder: Path::new(""),
            labels: Vec::new(),
            training: 0,
            table,
            channels: None,
            ignores: false,
        }
    }

    /// The number of a label in the files; labels that no source declares come after those.
    fn number(&mut self, name: &str) -> u16 {
        let place = self.labels.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.labels.push((name.to_owned(), BTreeSet::new()));
            self.labels.len() - 1
        });
        place as u16 + 1
    }

    fn case(
        &mut self,
        name: &str,
        case: &Case,
        labels: Option<Mask>,
        drawn: bool,
    ) -> Result<Vec<PathBuf>, Reject> {
        let folder = if labels.is_some() { FOLDERS[0] } else { FOLDERS[2] };
        let known = self.channels.get_or_insert_with(|| case.channel_names().to_vec());
        if known != case.channel_names() {
            let message = format!(
                "a case of channels {} expected, as others are, one of {} found",
                listed(known),
                listed(case.channel_names())
            );
            return Err(Reject::new(
                "CHANNELS_DIFFER",
                message,
                "a data set of nnU-Net has the same channels in every case",
            ));
        }
        let image = |place: usize| self.folder.join(folder).join(format!("{name}_{place:04}.nii.gz"));
        let mut written: Vec<PathBuf> = (0..case.channel_count()).map(image).collect();
        let scans: Vec<(PathBuf, Arc<Scan>)> = written.iter().cloned().zip(case.scans().cloned()).collect();
        let write_scans = || {
            let one = |(path, scan): (PathBuf, Arc<Scan>)| whole(path, |path| nifti::write_scan(path, &scan));
            scans.into_iter().try_for_each(one)
        };
        let Some(mask) = labels else {
            write_scans()?;
            return Ok(written);
        };
        let absent =
            self.labels.iter().map(|(label, _)| label).filter(|label| !mask.label_names.contains(label));
        let absent: Vec<&str> = absent.map(String::as_str).collect();
        if drawn && !absent.is_empty() {
            let message = format!("all labels drawn expected, none of {} found", absent.join(", "));
            let hint = "nnU-Net would take them for background";
            return Err(Reject::new("PARTLY_LABELLED", message, hint));
        }
        let numbers: Vec<u16> = mask.label_names.iter().map(|name| self.number(name)).collect();
        let ignored = self.labels.len() as u16 + 1;
        self.ignores |= drawn && ignored::any(mask.labels.voxels());
        let number = |label: &u16| match label.checked_sub(1) {
            _ if *label == IGNORED => ignored,
            Some(place) => numbers.get(usize::from(place)).copied().unwrap_or(0),
            None => 0,
        };
        let voxels = mask.labels.voxels().iter().map(number).collect();
        let map = LabelMap::new(mask.labels.geometry().clone(), voxels)
            .map_err(|error| Reject::new("BAD_GEOMETRY", error.to_string(), ""))?;
        write_scans()?;
        let path = self.folder.join(FOLDERS[1]).join(format!("{name}.nii.gz"));
        whole(path.clone(), |path| nifti::write_labels(path, &map))?;
        self.training += 1;
        written.push(path);
        Ok(written)
    }

    fn row(&mut self, name: &str, case: &str, patient: &str) {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        self.table.push_str(&format!("{name},{},{}\n", quoted(case), quoted(patient)));
    }

    /// Writes `dataset.json`.
    fn description(&self, channel: &str) -> String {
        let number =
            |name: &str| self.labels.iter().position(|(known, _)| known == name).map(|place| place + 1);
        let mut labels = Map::new();
        labels.insert("background".to_owned(), json!(0));
        let regions = self.labels.iter().any(|(_, within)| !within.is_empty());
        for (name, within) in &self.labels {
            let own = number(name);
            let values: Vec<usize> =
                own.into_iter().chain(within.iter().filter_map(|within| number(within))).collect();
            labels.insert(name.clone(), if values.len() > 1 { json!(values) } else { json!(own) });
        }
        if self.ignores {
            // nnU-Net asks for the highest value.
            labels.insert("ignore".to_owned(), json!(self.labels.len() + 1));
        }
        let channels = self.channels.iter().flatten().map(String::as_str);
        let mut names: Map<String, Value> =
            channels.enumerate().map(|(place, name)| (place.to_string(), json!(name))).collect();
        if names.is_empty() {
            names.insert("0".to_owned(), json!(channel));
        }
        let mut description = json!({
            "channel_names": names,
            "labels": labels,
            "numTraining": self.training,
            "file_ending": ".nii.gz",
            "name": self.plan.settings.name,
        });
        if regions {
            let order: Vec<usize> = (1..=self.labels.len()).collect();
            description["regions_class_order"] = json!(order);
        }
        let text: Value = description;
        serde_json::to_string_pretty(&text).unwrap_or_default() + "\n"
    }
}
