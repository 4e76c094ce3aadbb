//! Masks as files for other programs, and models, from what earlier runs left; nothing is run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::{Digest, Reject};

use super::destination::Destination;
use super::outlook::Outlook;
use crate::engine::error::RunError;
use crate::engine::outputs::mapfile::{AskedMaps, KeptMaps};
use crate::engine::outputs::maskfile::{MaskWriter, file_name, whole};
use crate::engine::rows::Desired;
use crate::executor::Context;
use crate::executor::work::SeriesRow;
use crate::networks::ModelCard;
use crate::operators::registry::Stage;
use crate::operators::sinks::files::{FileFormat, Files};
use crate::pipeline::{Plan, PlannedStage};

/// What is written, and where.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The folder, which is made.
    pub folder: PathBuf,
    /// What masks are written as.
    pub format: FileFormat,
    /// The stage whose masks they are, or a training, whose model it is; the last one that has masks when left out.
    pub stage: Option<String>,
    /// Whether scans are written beside their masks (never as DICOM, which there is already).
    pub scans: bool,
    /// Whether nothing that is written names a patient: DICOM by the basic profile of PS3.15, and files of any format
    /// under pseudonyms.
    pub deidentify: bool,
}

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// The stage whose masks or model they are.
    pub stage: String,
    /// Files, in the order of cases.
    pub files: Vec<PathBuf>,
    /// Cases that could not be written, and why.
    pub left_out: Vec<(String, Reject)>,
    /// What else is to be said of it, in lines.
    pub notes: Vec<String>,
}

/// Writes the masks of one stage, and beside them, always as NIfTI, the maps that `keep` asks for of the inferences
/// that they come from; or the model of a training.
///
/// # Errors
/// When the store is in use, the sources cannot be read, no stage of that name has masks or a model, or a model cannot
/// be written. A case that cannot be written is named in the answer.
pub fn export(plan: Plan, options: &ExportOptions) -> Result<Exported, RunError> {
    let mut destination = Destination::of(&plan, &options.folder)?;
    let asked = AskedMaps::of(&plan);
    let Outlook { plan, context, identity, driver, .. } = Outlook::to_show(plan)?;
    let identity = if options.deidentify { identity.hidden() } else { identity };
    let trains =
        |stage: &&PlannedStage| matches!(&stage.stage, Stage::Train(train) if train.network().is_some());
    let wanted = |stage: &&PlannedStage| options.stage.as_ref() == Some(&stage.name);
    if let Some(training) = plan.stages.iter().filter(trains).find(wanted) {
        let model = driver.desired().keys().find_map(|desired| match &**desired {
            Desired::Training { from, .. } if *from.stage == *training.name => from.model,
            _ => None,
        });
        return model_file(&context, &training.name, model, destination, &options.folder);
    }
    let masks: Vec<(&Arc<SeriesRow>, Digest, &str)> = driver
        .desired()
        .keys()
        .filter_map(|desired| match &**desired {
            Desired::Masks { series, mask, from } => Some((series, *mask, &*from.stage)),
            _ => None,
        })
        .collect();
    let stages = plan.stages.iter().map(|stage| stage.name.as_str()).enumerate().rev();
    let mut stages = stages.filter(|(_, name)| options.stage.as_deref().is_none_or(|wanted| wanted == *name));
    let Some((index, stage)) = stages.find(|(_, name)| masks.iter().any(|(.., of)| of == name)) else {
        let stage = options.stage.clone().unwrap_or_default();
        return Err(RunError::NoMasks { stage });
    };
    let codes = plan.stages.iter().filter_map(|stage| match &stage.stage {
        Stage::Files(files) => Some(files.codes.clone()),
        _ => None,
    });
    let files = Files {
        path: options.folder.clone(),
        format: options.format,
        scans: options.scans,
        codes: codes.flatten().collect(),
    };
    let writer = MaskWriter {
        context: &context,
        identity: &identity,
        files: &files,
        stage: stage.to_owned(),
        several: false,
        deidentify: options.deidentify,
    };
    let maps = KeptMaps::of(&asked, &plan, &driver, index);
    let masks: Vec<_> = masks.into_iter().filter(|(.., of)| *of == stage).collect();
    for (series, mask, _) in &masks {
        destination.claim(writer.names(series, *mask))?;
        if !destination.is_new() {
            let case = file_name(&identity.show(&series.key));
            // Maps that cannot be read are told of below.
            destination.claim(maps.names(&context, series, &case).unwrap_or_default())?;
        }
    }
    let mut exported = Exported { stage: stage.to_owned(), ..Exported::default() };
    for (series, mask, _) in masks {
        let written = writer.case(series, mask).and_then(|mut names| {
            let case = file_name(&identity.show(&series.key));
            names.extend(maps.write(&context, series, &case, &options.folder)?);
            Ok(names)
        });
        match written {
            Ok(names) => exported.files.extend(names.into_iter().map(|name| options.folder.join(name))),
            Err(reject) => exported.left_out.push((identity.show(&series.key), reject)),
        }
    }
    exported.files.sort();
    destination.wrote(&exported.files);
    Ok(exported)
}

/// A model's file, and its card beside it to be read.
fn model_file(
    context: &Context,
    stage: &str,
    model: Option<Digest>,
    mut destination: Destination,
    folder: &Path,
) -> Result<Exported, RunError> {
    let model = model.ok_or_else(|| RunError::NoModel { stage: stage.to_owned() })?;
    let failed = |message: String| RunError::ModelFile { stage: stage.to_owned(), message };
    let bytes = context.artifact(model).map_err(|reject| failed(reject.to_string()))?;
    let card = ModelCard::read(bytes.as_slice()).map_err(|error| failed(error.to_string()))?;
    let card = serde_json::to_string_pretty(&card).map_err(|error| failed(error.to_string()))? + "\n";
    destination.claim([format!("{stage}.json"), format!("{stage}.safetensors")])?;
    std::fs::create_dir_all(folder).map_err(|error| failed(format!("{}: {error}", folder.display())))?;
    let mut exported = Exported { stage: stage.to_owned(), ..Exported::default() };
    for (ending, bytes) in [("json", card.as_bytes()), ("safetensors", &bytes)] {
        let path = folder.join(format!("{stage}.{ending}"));
        whole(path.clone(), |path| std::fs::write(path, bytes))
            .map_err(|reject| failed(reject.to_string()))?;
        exported.files.push(path);
    }
    Ok(exported)
}
