//! A segmenter without a network: intensities between bounds.

use std::sync::Arc;

use rayon::prelude::*;
use serde::Deserialize;
use tomoflow_connectors::{LabelMap, Scan};

use crate::operators::registry::{Entry, Looks, Segmenter, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::operators::value::{Case, Failure, listed};

const BOUND: FieldKind = FieldKind::Number { min: -1e9, max: 1e9, unit: "" };

/// The declaration of the type `threshold`.
pub static SPEC: Spec = Spec {
    name: "threshold",
    section: Section::Operators,
    summary: "Makes a mask of the voxels between two intensities.",
    doc: "A voxel is foreground where its intensity is greater than `above` and less than `below`, in the \
          scale that the input has (HU for an untouched CT). At least one of the two is given. A NaN is \
          background. Nothing is trained, so this is a baseline, and a quick way to see a pipeline work. For \
          a scan with several channels `channel` names the one that is used; without it the scan is refused \
          as `SEVERAL_CHANNELS`.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Both,
    fields: &[
        Field {
            name: "above",
            kind: BOUND,
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The intensity that foreground voxels exceed; when it is left out, there is no lower bound.",
        },
        Field {
            name: "below",
            kind: BOUND,
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The intensity that foreground voxels stay below; when it is left out, there is no upper \
                  bound.",
        },
        Field {
            name: "label",
            kind: FieldKind::Text,
            default: Default::Json("\"foreground\""),
            role: Role::Semantic,
            doc: "The name of the label that the mask has; `evaluate` compares it with the truth of the same \
                  name.",
        },
        Field::absent(
            "channel",
            FieldKind::Text,
            Role::SemanticLater,
            "The name of the channel whose intensities are compared, for scans with several channels.",
        ),
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A threshold.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Threshold {
    /// The bound that foreground is greater than.
    pub above: Option<f32>,
    /// The bound that foreground is less than.
    pub below: Option<f32>,
    /// The label's name.
    pub label: String,
    /// The channel that is looked at, where scans have several.
    #[serde(default)]
    pub channel: Option<String>,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let threshold: Threshold = crate::operators::read_config(config)?;
    let mut problems = Vec::new();
    match (threshold.above, threshold.below) {
        (None, None) => problems.push(FieldProblem::new(
            "above",
            "`above`, `below` or both expected, neither found",
            "for bone in CT: above = 300",
        )),
        (Some(above), Some(below)) if above >= below => problems.push(FieldProblem::new(
            "below",
            format!("`below` greater than `above` expected, {below} and {above} found"),
            "no intensity lies between them",
        )),
        _ => {}
    }
    if threshold.label.trim().is_empty() {
        problems.push(FieldProblem::new("label", "a name expected, an empty text found", ""));
    }
    if problems.is_empty() { Ok(Stage::Segment(Arc::new(threshold))) } else { Err(problems) }
}

impl Threshold {
    /// The channel that is looked at.
    fn seen<'c>(&self, case: &'c Case) -> Result<&'c Scan, Failure> {
        let names = case.channel_names();
        let refuse = |code: &str, expected: &str, hint: &str| {
            Err(Failure::new(code, format!("{expected} expected, {} found", listed(names)), hint))
        };
        match &self.channel {
            None if names.is_empty() => Ok(&case.scan),
            None => {
                refuse("SEVERAL_CHANNELS", "a scan of one channel", "`channel` names the one that is meant")
            }
            Some(channel) => match case.scans().zip(names).find(|(_, name)| *name == channel) {
                Some((scan, _)) => Ok(scan),
                None => {
                    let hint = "`channels` names its channels as its inputs are called, or by `names`";
                    refuse("CHANNELS_DIFFER", &format!("a channel `{channel}`"), hint)
                }
            },
        }
    }
}

impl Segmenter for Threshold {
    fn label_names(&self) -> Vec<String> {
        vec![self.label.clone()]
    }

    fn looks(&self) -> Looks<'_> {
        Looks::AtOne(self.channel.as_deref())
    }

    fn segment(&self, case: &Case) -> Result<(LabelMap, Vec<String>), Failure> {
        let above = self.above.unwrap_or(f32::NEG_INFINITY);
        let below = self.below.unwrap_or(f32::INFINITY);
        let unbounded = (self.above.is_none(), self.below.is_none());
        let inside =
            |&value: &f32| u16::from((unbounded.0 || value > above) && (unbounded.1 || value < below));
        let scan = self.seen(case)?;
        let voxels = scan
            .voxels()
            .par_iter()
            .with_min_len(1 << 16)
            .map(|value| inside(value) * u16::from(!value.is_nan()))
            .collect();
        let labels = LabelMap::new(scan.geometry().clone(), voxels)
            .map_err(|error| Failure::new("GRID_MISMATCH", error.to_string(), ""))?;
        Ok((labels, vec![self.label.clone()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tomoflow_connectors::Geometry;

    fn segmented(above: Option<f32>, below: Option<f32>, voxels: &[f32]) -> Vec<u16> {
        let geometry = Geometry::axis_aligned([1, 1, voxels.len()], [1.0; 3]);
        let case = Case {
            channels: None,
            scan: Arc::new(Scan::new(geometry.clone(), voxels.to_vec()).unwrap()),
            labels: None,
            original: Arc::new(geometry),
            label_names: [].into(),
            padding: None,
        };
        let threshold = Threshold { above, below, label: "bone".to_owned(), channel: None };
        let (labels, names) = threshold.segment(&case).unwrap();
        assert_eq!(names, ["bone"]);
        // The channel that is named is taken, where there are several.
        let both =
            Case::of_channels(vec![case.clone(), case], ["a".to_owned(), "b".to_owned()].into()).unwrap();
        assert_eq!(threshold.segment(&both).unwrap_err().code, "SEVERAL_CHANNELS");
        let named = |channel: &str| Threshold { channel: Some(channel.to_owned()), ..threshold.clone() };
        assert_eq!(named("b").segment(&both).unwrap().0, labels);
        assert_eq!(named("c").segment(&both).unwrap_err().code, "CHANNELS_DIFFER");
        labels.into_voxels()
    }

    #[test]
    fn bounds_are_outside() {
        let scan = [-1.0, 0.0, 1.0, 2.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(segmented(Some(0.0), None, &scan), [0, 0, 1, 1, 0, 1, 0]);
        assert_eq!(segmented(None, Some(1.0), &scan), [1, 1, 0, 0, 0, 0, 1]);
        assert_eq!(segmented(Some(-1.0), Some(2.0), &scan), [0, 1, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn what_can_hold_nothing_is_a_problem() {
        let field =
            |config: serde_json::Value| build(config.as_object().unwrap()).err().unwrap().remove(0).field;
        assert_eq!(field(json!({ "above": null, "below": null, "label": "a" })), "above");
        assert_eq!(field(json!({ "above": 3, "below": 3, "label": "a" })), "below");
        assert_eq!(field(json!({ "above": 3, "below": null, "label": " " })), "label");
        let fine = json!({ "above": 3, "below": null, "label": "a" });
        assert!(matches!(build(fine.as_object().unwrap()), Ok(Stage::Segment(_))));
    }
}
