//! Masks as files for other programs, from what earlier runs left; nothing is run.

use std::path::PathBuf;
use std::sync::Arc;

use tomoflow_connectors::{Digest, Reject};

use super::mapfile::{AskedMaps, KeptMaps};
use super::maskfile::{MaskWriter, file_name};
use super::outlook::Outlook;
use super::rows::Desired;
use super::run::RunError;
use crate::executor::work::SeriesRow;
use crate::operators::files::{FileFormat, Files};
use crate::operators::registry::Stage;
use crate::pipeline::Plan;

/// What is written, and where.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The folder, which is made.
    pub folder: PathBuf,
    /// What masks are written as.
    pub format: FileFormat,
    /// The stage whose masks they are; the last one that has any when left out.
    pub stage: Option<String>,
    /// Whether scans are written beside their masks (never as DICOM, which there is already).
    pub scans: bool,
}

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// The stage whose masks they are.
    pub stage: String,
    /// Files, in the order of cases.
    pub files: Vec<PathBuf>,
    /// Cases that could not be written, and why.
    pub left_out: Vec<(String, Reject)>,
}

/// Writes the masks of one stage, and beside them, always as NIfTI, the maps that `keep` asks for of the inferences
/// that they come from.
///
/// # Errors
/// When the store is in use, the sources cannot be read, or no stage of that name has masks. A case that
/// cannot be written is named in the answer.
pub fn export(plan: Plan, options: &ExportOptions) -> Result<Exported, RunError> {
    let asked = AskedMaps::of(&plan);
    let Outlook { plan, context, identity, driver, .. } = Outlook::to_show(plan)?;
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
    };
    let maps = KeptMaps::of(&asked, &plan, &driver, index);
    let mut exported = Exported { stage: stage.to_owned(), ..Exported::default() };
    for (series, mask, _) in masks.into_iter().filter(|(.., of)| *of == stage) {
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
    Ok(exported)
}
