//! Detectors at work: what they are to find, and the boxes of a case.

use tomoflow_connectors::{Digest, Reject};

use super::artifact::encode_found;
use super::ending::{misplaced, network, put};
use super::found::{on_original, on_prepared};
use super::load::Context;
use super::work::{Action, BoundCase};
use crate::networks::{Detector, Volume};
use crate::operators::models::infer::Infer;
use crate::operators::models::origin::ModelSource;
use crate::operators::registry::Stage;
use crate::operators::samples::dataset::CaseBox;
use crate::operators::samples::things::{Kind, Things};
use crate::operators::samples::view::View;
use crate::operators::value::Case;
use crate::pipeline::StageId;
use crate::store::Outcome;

/// Whether an action gives boxes.
pub(super) fn gives(context: &Context, action: &Action) -> bool {
    let stage = &context.plan.stages[action.stage.place()].stage;
    matches!(stage, Stage::Infer(Infer { boxes: Some(_), .. }))
}

/// The detector that lies on a device, by its content and the stage that asks for it.
#[derive(Default)]
pub(super) struct Detectors {
    loaded: Option<((Digest, StageId), Detector)>,
}

impl Detectors {
    /// The boxes of a case, on its scan's original grid, by a model that is loaded unless it is there.
    pub fn detect(
        &mut self,
        context: &Context,
        action: &Action,
        case: &Case,
        load: impl FnOnce(&Infer, &[Digest]) -> Result<Detector, Reject>,
    ) -> Result<Outcome, Reject> {
        let Stage::Infer(infer) = &context.plan.stages[action.stage.place()].stage else {
            return Err(misplaced());
        };
        let options = infer.boxes.ok_or_else(misplaced)?;
        one_channel(case)?;
        let models = action.work.models();
        let wanted = (ModelSource::content(models), action.stage);
        if self.loaded.as_ref().is_none_or(|(known, _)| *known != wanted) {
            self.loaded = None;
            self.loaded = Some((wanted, load(infer, models)?));
        }
        let (_, detector) = self.loaded.as_ref().ok_or_else(misplaced)?;
        let volume = Volume { voxels: case.scan.voxels(), size: case.scan.size() };
        let batch = infer.options.batch;
        let found = match infer.marked {
            true => {
                let labels = case.labels.as_ref().ok_or_else(misplaced)?;
                let marked = |slice: usize| labels.slice(slice).iter().any(|label| *label > 0);
                detector.detect_on(&volume, &options, batch, marked)
            }
            false => detector.detect(&volume, &options, batch),
        };
        let found = found.map_err(network)?;
        let kinds = detector.label_names().iter().zip(detector.things());
        let kind =
            |(name, labels): (&String, &Vec<String>)| Kind { name: name.clone(), labels: labels.clone() };
        let things = Things(kinds.map(kind).collect());
        let masks = detector.gives_masks();
        let found = on_original(&found, case.scan.geometry(), &case.original, things, masks)?;
        put(context, &encode_found(&found)?)
    }
}

/// The boxes of things on the slices of a prepared case, where its labels' source marks things by boxes.
pub(super) fn marked(
    context: &Context,
    row: &BoundCase,
    case: &Case,
) -> Result<Option<Vec<CaseBox>>, Reject> {
    let Some(labels) = &row.labels else { return Ok(None) };
    let Stage::Labels(source) = &context.plan.stages[labels.source.place()].stage else { return Ok(None) };
    if !source.gives_boxes() {
        return Ok(None);
    }
    let Some(boxes) = context.partial_truth(&row.series, labels)?.boxes else { return Ok(None) };
    on_prepared(&boxes, &case.original, case.scan.geometry()).map(Some)
}

/// Refuses a case of several channels: a detector would look at the first alone.
fn one_channel(case: &Case) -> Result<(), Reject> {
    if case.channel_count() == 1 {
        return Ok(());
    }
    let names = case.channel_names().join(", ");
    let message = format!("a case of one channel expected, one of {names} found");
    let hint = "`rcnn` looks at one channel: let `detect` take the cases of one";
    Err(Reject::new("CHANNELS_DIFFER", message, hint))
}

/// Returns what a detector is to find: what its samples declare, or each label with those that it holds.
pub(super) fn kinds(context: &Context, view: &View, stage: usize, names: &[String]) -> Things {
    view.things.clone().unwrap_or_else(|| Things::of_labels(names, &held(context, stage)))
}

/// Labels that hold others, each with these, by name, of a stage's cases.
fn held(context: &Context, stage: usize) -> Vec<(String, Vec<String>)> {
    let source = context.plan.label_source(stage).map(|source| &context.plan.stages[source].stage);
    let Some(Stage::Labels(labels)) = source else { return Vec::new() };
    let names = labels.label_names();
    let name = |label: &u16| names.get(usize::from(*label).checked_sub(1)?).cloned();
    let held = names.iter().zip(labels.nested());
    held.map(|(outer, parts)| (outer.clone(), parts.iter().filter_map(name).collect())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tomoflow_connectors::{Geometry, Scan};

    use super::*;

    #[test]
    fn several_channels_are_refused_by_name() {
        let geometry = Geometry::axis_aligned([1, 2, 2], [3.0, 1.0, 1.0]);
        let one = Case {
            channels: None,
            scan: Arc::new(Scan::zeros(geometry.clone())),
            labels: None,
            original: Arc::new(geometry),
            label_names: [].into(),
            padding: None,
        };
        assert_eq!(one_channel(&one), Ok(()));
        let names: Arc<[String]> = ["ct", "pet"].map(str::to_owned).into();
        let two = Case::of_channels(vec![one.clone(), one], names).unwrap();
        let refused = one_channel(&two).unwrap_err();
        assert_eq!(refused.code, "CHANNELS_DIFFER");
        assert!(refused.message.contains("one of ct, pet found"), "{refused}");
    }
}
