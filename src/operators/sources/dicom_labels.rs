//! The source `dicom_labels`: series of DICOM images whose values are labels.

use std::sync::Arc;

use serde_json::json;
use tomoflow_connectors::{Geometry, Reject, dicom};

use super::dicom::PATH;
use super::label_images::{LabelImages, declared};
use super::merged::{map_of, room};
use crate::operators::registry::{Entry, Stage};
use crate::operators::source::{
    Drawing, InstanceSource, LabelSource, LabelStack, LabelsAt, LabelsIn, Planes, vanished,
};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Role, Section, Spec,
};
use crate::voxels::within::Within;

/// The farthest that a label's value may lie from a whole number, after the rescaling that its file asks for.
const ROUNDED: f32 = 1e-3;

const VALUES: FieldKind = FieldKind::List { of: &FieldKind::Integer { min: 1, max: 65_535 }, len: None };

/// The declaration of the type `dicom_labels`.
pub static SPEC: Spec = Spec {
    name: "dicom_labels",
    section: Section::Sources,
    summary: "Series of DICOM images whose values are labels, as labels of the scans whose voxels are theirs.",
    doc: "For archives that keep a label map as an ordinary series of images (MR, CT, OT or another modality, in a file for \
          each slice or in one): 0 is background, 1 a liver. `where` says which series these are, and `labels` names \
          their values, as with `label_images`: a value that several labels have is of all of them, and values that \
          nobody declared are told of each case (`LABEL_VALUE`). RescaleSlope and RescaleIntercept are applied; values that are \
          no whole numbers from 0 to 65535 then are refused (`LABEL_NOT_WHOLE`).\n\n\
          A series is the labels of the scan in its frame of reference whose grid has all of its voxels: the same grid, or \
          some of its slices, rows and columns (`LABELS_IN_PART` tells what is beside them). Nothing is drawn onto another \
          grid: a scan at the same place is refused such labels (`LABEL_GRID`). Two scans that have all of its voxels \
          are refused both (`LABELS_AMBIGUOUS`), unless it names images or \
          a series that it was made from, and a series of no scan is a row `LABEL_OF_NO_SCAN`. The source of \
          the scans should leave these series out by its own `where`: one that it takes is a row `LABELS_AS_SCAN`.",
    version: 1,
    inputs: &[],
    output: Output::Is(Kind::Outlines),
    aspects: Aspects::Labels,
    fields: &[
        PATH,
        Field {
            name: "where",
            kind: FieldKind::Map(&FieldKind::Either(&[
                FieldKind::Text,
                FieldKind::List { of: &FieldKind::Text, len: None },
            ])),
            default: Default::Required,
            role: Role::Operational,
            doc: "The patterns that an instance must fit to be a slice of labels, as `where` of `dicom` has them: \
                  `{ SeriesDescription = \"*segmentation*\" }`.",
        },
        Field {
            name: "labels",
            kind: FieldKind::Map(&VALUES),
            default: Default::Required,
            role: Role::Semantic,
            doc: "The labels, each with its values: `{ liver = [1, 2], tumour = [2] }`.",
        },
        Field {
            name: "background",
            kind: VALUES,
            default: Default::Json("[]"),
            role: Role::Semantic,
            doc: "The values that count as background, so that no row tells of them: `[2, 3]`.",
        },
        Field {
            name: "ignore",
            kind: VALUES,
            default: Default::Json("[]"),
            role: Role::Semantic,
            doc: "The values of voxels that nobody labelled, as `ignore` of `label_images` has them: `[255]`.",
        },
        Field {
            name: "blank",
            kind: FieldKind::Choice(&["refuse", "empty"]),
            default: Default::Json("\"refuse\""),
            role: Role::Semantic,
            doc: "What a series means in which no voxel has a label: that somebody has still to draw it (`refuse`: a row \
                  `LABELS_BLANK`, and the scan is neither trained on nor scored), or that there is nothing to draw (`empty`).",
        },
        Field {
            name: "frames",
            kind: FieldKind::Choice(&["same", "trusted"]),
            default: Default::Json("\"same\""),
            role: Role::Semantic,
            doc: "Whether labels and scan must be of one frame of reference; or whether positions are believed throughout \
                  a study, for programs that give what they write a frame of its own.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// Series whose values are labels.
#[derive(Clone)]
pub struct DicomLabels {
    instances: Arc<dyn InstanceSource>,
    values: LabelImages,
    trusted: bool,
    blank_is_empty: bool,
}

impl LabelSource for DicomLabels {
    fn label_names(&self) -> Vec<String> {
        self.values.label_names()
    }

    fn lies_in(&self) -> LabelsIn<'_> {
        LabelsIn::Series { instances: &*self.instances, trusted: self.trusted }
    }

    fn nested(&self) -> Vec<Vec<u16>> {
        self.values.nested()
    }

    fn sets(&self) -> Vec<Vec<u16>> {
        self.values.sets()
    }

    fn draw(&self, labels: &LabelsAt<'_>, on: &Planes<'_>) -> Result<Drawing, Reject> {
        let stack = labels.stack.ok_or_else(|| vanished(labels.record))?;
        self.draw_values(&read(stack)?, stack.grid, on.grid)
    }
}

impl DicomLabels {
    /// The values of a series as labels on the grid of a scan.
    fn draw_values(&self, values: &[u16], own: &Geometry, grid: &Geometry) -> Result<Drawing, Reject> {
        let Some(within) = Within::of(own, grid) else { return Err(Within::misfit(own, grid)) };
        let mut voxels = room(grid)?;
        within.put(values, &mut voxels);
        let map = map_of(grid, voxels)?;
        let mut drawn = self.values.draw_map(&map, grid)?;
        if !self.blank_is_empty && drawn.labels.voxels().iter().all(|label| *label == 0) {
            return Err(blank(&drawn.notes));
        }
        if !within.is_whole() {
            let message = format!(
                "labels of all of the scan's {:?} voxels expected, of {:?} found",
                grid.size, own.size
            );
            let hint = "the rest of the scan counts as background; leave the series out with `where` if nobody looked there";
            drawn.notes.push(Reject::new("LABELS_IN_PART", message, hint));
        }
        Ok(drawn)
    }
}

fn blank(notes: &[Reject]) -> Reject {
    let undeclared = notes.iter().find(|note| note.code == "LABEL_VALUE");
    let found = undeclared.map_or_else(String::new, |note| format!(" ({})", note.message));
    let message = format!("voxels with a label expected, none found{found}");
    let hint = "the scan counts as unlabelled; `blank = \"empty\"` where such a series says that there is nothing to draw";
    Reject::new("LABELS_BLANK", message, hint)
}

/// The values of a series.
///
/// # Errors
/// Whatever refuses its slices, and `LABEL_NOT_WHOLE` for values that are no labels.
fn read(stack: LabelStack<'_>) -> Result<Vec<u16>, Reject> {
    let frames: Vec<_> = stack.slices.iter().map(|slice| (slice.path.clone(), slice.frame)).collect();
    whole(dicom::load_scan(stack.grid, &frames)?.voxels())
}

/// The label that a value stands for; `None` for a value that is none.
pub fn label_at(value: f32) -> Option<u16> {
    let near = value.round();
    let fits = (value - near).abs() <= ROUNDED && (0.0..=f32::from(u16::MAX)).contains(&near);
    fits.then_some(near as u16)
}

fn whole(values: &[f32]) -> Result<Vec<u16>, Reject> {
    let labels: Option<Vec<u16>> = values.iter().copied().map(label_at).collect();
    labels.ok_or_else(|| {
        let mut odd = values.iter().filter(|value| label_at(**value).is_none());
        let (first, more) = (odd.next().copied().unwrap_or_default(), odd.count());
        let message = format!(
            "whole numbers from 0 to 65535 expected, {} of {} voxels have others, {first} first",
            more + 1,
            values.len()
        );
        let hint = "values are taken after RescaleSlope and RescaleIntercept; leave out by `where` what holds no labels";
        Reject::new("LABEL_NOT_WHOLE", message, hint)
    })
}

/// The fields of a file of labels that the series stands for, once its values lie on the scan's own grid.
fn as_file(config: &Config) -> Config {
    let mut file = config.clone();
    file.insert("files".to_owned(), json!("{case}.dcm"));
    file.insert("grid".to_owned(), json!("index"));
    file
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let word = |field: &str| config.get(field).and_then(|word| word.as_str());
    let mut problems = Vec::new();
    if config.get("where").and_then(|table| table.as_object()).is_none_or(serde_json::Map::is_empty) {
        let hint = "`{ SeriesDescription = \"*segmentation*\" }`; without one every series would be taken for labels";
        problems.push(FieldProblem::new(
            "where",
            "a pattern that tells labels from scans expected, none found",
            hint,
        ));
    }
    let instances = match (super::dicom::ENTRY.build)(config) {
        Ok(Stage::Instances(instances)) => Some(instances),
        Ok(_) => None,
        Err(found) => {
            problems.extend(found);
            None
        }
    };
    match (declared(&as_file(config)), instances) {
        (Ok(values), Some(instances)) if problems.is_empty() => Ok(Stage::Labels(Arc::new(DicomLabels {
            instances,
            values,
            trusted: word("frames") == Some("trusted"),
            blank_is_empty: word("blank") == Some("empty"),
        }))),
        (values, _) => {
            problems.extend(values.err().into_iter().flatten());
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &serde_json::Value) -> serde_json::Value {
        let mut config = json!({
            "path": "a", "where": { "Modality": "OT" }, "labels": { "liver": [1, 2], "lesion": [2] },
        });
        let all = more.as_object().unwrap().iter().map(|(key, value)| (key.clone(), value.clone()));
        config.as_object_mut().unwrap().extend(all);
        config
    }

    fn source(more: &serde_json::Value) -> Arc<dyn LabelSource> {
        match build(config(more).as_object().unwrap()) {
            Ok(Stage::Labels(source)) => source,
            Ok(_) => panic!("a source of labels expected"),
            Err(problems) => panic!("{}", problems[0].message),
        }
    }

    fn labels(more: &serde_json::Value) -> DicomLabels {
        let config = config(more);
        let config = config.as_object().unwrap();
        let Ok(Stage::Instances(instances)) = (crate::operators::sources::dicom::ENTRY.build)(config) else {
            panic!("a source of instances expected");
        };
        let blank_is_empty = config.get("blank").is_some_and(|word| word == "empty");
        DicomLabels { instances, values: declared(&as_file(config)).unwrap(), trusted: false, blank_is_empty }
    }

    #[test]
    fn labels_are_named_and_nest_as_in_other_files() {
        let source = source(&json!({}));
        assert_eq!(source.label_names(), ["liver", "lesion"]);
        assert_eq!(source.nested(), [vec![2], Vec::new()]);
        assert!(matches!(source.lies_in(), LabelsIn::Series { trusted: false, .. }));
        let trusting = self::source(&json!({ "frames": "trusted" }));
        assert!(matches!(trusting.lies_in(), LabelsIn::Series { trusted: true, .. }));
    }

    #[test]
    fn labels_that_share_values_cross() {
        let crossing = json!({ "labels": { "tumour": [1, 2], "oedema": [2, 3] } });
        let source = source(&crossing);
        assert_eq!(source.sets(), [vec![1, 2]]);
        assert_eq!(source.value_names(), ["tumour", "oedema", "tumour & oedema"]);
        let grid = Geometry::axis_aligned([1, 1, 4], [1.0; 3]);
        let drawn = labels(&crossing).draw_values(&[0, 1, 2, 3], &grid, &grid).unwrap();
        assert_eq!(drawn.labels.voxels(), [0, 1, 3, 2]);
    }

    #[test]
    fn what_takes_every_series_for_labels_is_refused() {
        let wrong = |more: serde_json::Value| {
            let problems = build(config(&more).as_object().unwrap()).err().unwrap();
            problems.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
        };
        assert_eq!(wrong(json!({ "where": {} })), ["where"]);
        assert_eq!(wrong(json!({ "where": { "Modalty": "OT" } })), ["where.Modalty"]);
        assert_eq!(wrong(json!({ "labels": {} })), ["labels"]);
        assert_eq!(wrong(json!({ "ignore": [2] })), ["ignore"]);
    }

    #[test]
    fn slices_of_the_scan_are_drawn_where_they_lie() {
        let grid = Geometry::axis_aligned([3, 1, 2], [2.0, 1.0, 1.0]);
        let middle = Geometry { origin_mm: [0.0, 0.0, 2.0], size: [1, 1, 2], ..grid.clone() };
        let source = labels(&json!({}));
        let whole = source.draw_values(&[0, 1, 2, 2, 1, 0], &grid, &grid).unwrap();
        assert_eq!((whole.labels.voxels(), whole.notes.len()), (&[0, 1, 2, 2, 1, 0][..], 0));
        let part = source.draw_values(&[1, 3], &middle, &grid).unwrap();
        assert_eq!(part.labels.voxels(), [0, 0, 1, 0, 0, 0]);
        let codes: Vec<&str> = part.notes.iter().map(|note| note.code.as_str()).collect();
        assert_eq!(codes, ["LABEL_VALUE", "LABELS_IN_PART"]);
        let between = Geometry { origin_mm: [0.0, 0.0, 1.0], ..middle };
        assert_eq!(source.draw_values(&[1, 1], &between, &grid).unwrap_err().code, "LABEL_GRID");
    }

    #[test]
    fn a_blank_series_is_an_empty_truth_only_where_somebody_says_so() {
        let grid = Geometry::axis_aligned([1, 1, 3], [1.0; 3]);
        let drawn =
            |more: &serde_json::Value, values: [u16; 3]| labels(more).draw_values(&values, &grid, &grid);
        let refused = drawn(&json!({}), [0, 7, 0]).unwrap_err();
        assert_eq!(refused.code, "LABELS_BLANK");
        assert!(refused.message.contains("7 in 1 voxels"), "{refused}");
        let empty = drawn(&json!({ "blank": "empty" }), [0; 3]).unwrap();
        assert_eq!((empty.labels.voxels(), empty.notes.len()), (&[0; 3][..], 0));
    }

    #[test]
    fn values_that_are_no_labels_are_refused() {
        assert_eq!(whole(&[0.0, 1.000_000_1, 254.999_98, 65_535.0]).unwrap(), [0, 1, 255, 65_535]);
        for odd in [0.498, -1024.0, 65_536.0, f32::NAN, f32::INFINITY] {
            let refused = whole(&[0.0, odd, 1.0]).unwrap_err();
            assert_eq!(refused.code, "LABEL_NOT_WHOLE", "{odd}");
            assert!(refused.message.contains("1 of 3 voxels"), "{refused}");
        }
    }
}
