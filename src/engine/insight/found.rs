//! Boxes as a table in the form of DeepLesion's, from what earlier runs left; nothing is run.

use std::sync::Arc;

use tomoflow_connectors::{Digest, Reject};

use super::destination::Destination;
use super::export::{ExportOptions, Exported};
use super::outlook::Outlook;
use crate::engine::error::RunError;
use crate::engine::outputs::identity::Identity;
use crate::engine::outputs::maskfile::whole;
use crate::engine::rows::Desired;
use crate::executor::work::{ScanForm, SeriesRow};
use crate::executor::{Context, artifact};
use crate::pipeline::Plan;

/// The columns: those of `DL_info.csv` that a box has, and what was found of it.
const COLUMNS: [&str; 5] = ["File_name", "Key_slice_index", "Bounding_boxes", "Class", "Score"];

/// Writes the boxes of one stage, the last one that has any when none is named, as `STAGE.csv`: a line for each box, its
/// slice's file as DeepLesion names it (`<series>_<slice>.png`), and its first and last pixels counted from 1.
///
/// # Errors
/// When the store is in use, the sources cannot be read, no stage of that name has boxes, or the file cannot be written.
/// A case that cannot be read is named in the answer.
pub fn export_boxes(plan: Plan, options: &ExportOptions) -> Result<Exported, RunError> {
    let mut destination = Destination::of(&plan, &options.folder)?;
    let Outlook { plan, context, identity, driver, .. } = Outlook::to_show(plan)?;
    let identity = if options.deidentify { identity.hidden() } else { identity };
    let all: Vec<(&Arc<SeriesRow>, Digest, &str)> = driver
        .desired()
        .keys()
        .filter_map(|desired| match &**desired {
            Desired::Detections { series, found, from } => Some((series, *found, &*from.stage)),
            _ => None,
        })
        .collect();
    let mut stages = plan.stages.iter().rev().map(|stage| stage.name.as_str());
    let asked = |name: &&str| options.stage.as_deref().is_none_or(|wanted| wanted == *name);
    let Some(stage) = stages.find(|name| asked(name) && all.iter().any(|(.., of)| of == name)) else {
        return Err(RunError::NoBoxes { stage: options.stage.clone().unwrap_or_default() });
    };
    let mut exported = Exported { stage: stage.to_owned(), ..Exported::default() };
    let mut writer = csv::Writer::from_writer(Vec::new());
    let path = options.folder.join(format!("{stage}.csv"));
    let failed = |message: String| RunError::Unwritten { path: path.clone(), message };
    writer.write_record(COLUMNS).map_err(|error| failed(error.to_string()))?;
    for (series, found, _) in all.into_iter().filter(|(.., of)| *of == stage) {
        match lines(&context, &identity, series, found) {
            Ok(lines) => {
                for line in lines {
                    writer.write_record(line).map_err(|error| failed(error.to_string()))?;
                }
            }
            Err(reject) => exported.left_out.push((identity.show(&series.key), reject)),
        }
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
    destination.claim([format!("{stage}.csv")])?;
    std::fs::create_dir_all(&options.folder).map_err(|error| failed(error.to_string()))?;
    whole(path.clone(), |path| std::fs::write(path, &bytes)).map_err(|reject| failed(reject.to_string()))?;
    exported.files.push(path);
    Ok(exported)
}

/// The lines of one case.
fn lines(
    context: &Context,
    identity: &Identity,
    series: &SeriesRow,
    found: Digest,
) -> Result<Vec<[String; COLUMNS.len()]>, Reject> {
    let found = artifact::decode_found(&context.artifact(found)?)?;
    let list = context.lookup()?.slices(series.list)?;
    let slices = list.on_planes(found.size[0]);
    let names = found.things.names();
    let line = |own: &crate::operators::value::DetectedBox| {
        let plane = own.slice as usize;
        let file = slices.get(plane).copied().flatten().map(|slice| slice.sop_uid.as_str());
        let number = match (series.form, file) {
            // Slices of DeepLesion have numbers of their own.
            (ScanForm::Slices, Some(file)) => number_of(file).unwrap_or(own.slice),
            _ => own.slice,
        };
        let ([y1, x1], [y2, x2]) = (own.low, own.high);
        let class = usize::from(own.class).checked_sub(1).and_then(|place| names.get(place));
        [
            format!("{}_{number:03}.png", identity.show(series.series_uid())),
            number.to_string(),
            // The first pixel is 1, and the last one belongs to the box.
            [x1 + 1.0, y1 + 1.0, x2, y2].map(|edge| edge.to_string()).join(", "),
            class.cloned().unwrap_or_default(),
            own.score.to_string(),
        ]
    };
    Ok(found.boxes.iter().map(line).collect())
}

/// The number of a slice's file.
fn number_of(file: &str) -> Option<u32> {
    let name = file.rsplit('/').next()?;
    name.strip_suffix(".png")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_has_the_number_of_its_file() {
        assert_eq!(number_of("000001_02_03/010.png"), Some(10));
        assert_eq!(number_of("110.png"), Some(110));
        assert_eq!(number_of("000001_02_03/scan.nii"), None);
    }
}
