//! The rows themselves, made from what is desired.

use std::sync::Arc;

use tomoflow_connectors::geometry::VoxelIndex;
use tomoflow_connectors::table::{
    CaseRow, DetectionRow, MaskRow, MetricRow, RejectRow, Rows, SummaryRow, TrainingRow,
};
use tomoflow_connectors::{Digest, Geometry, Real, Reject};

use super::{ROWS, Tables};
use crate::engine::outputs::identity::Identity;
use crate::engine::rows::{Desired, Group, Provenance, Sums};
use crate::executor::artifact;
use crate::executor::work::{ScanForm, SeriesRow};
use crate::networks::Figure;
use crate::operators::value::DetectedBox;
use crate::store::FigureRow;

/// The text that stands in the place of a message that may quote what somebody typed.
const LEFT_OUT: &str = "left out (`free_text = \"drop\"`): `tomoflow rejects` shows it";

/// Names a group of rows by all that they are made from, and by how identifiers are shown: the column `entry`.
pub fn entry_of(identity: &Identity, desired: &Desired) -> Digest {
    let bytes = match desired {
        // The row says whether there are labels, not which.
        Desired::Case(case) if case.beside.is_none() => {
            postcard::to_stdvec(&(case.series.shown(), case.labels.is_some()))
        }
        Desired::Case(case) => {
            postcard::to_stdvec(&(case.series.shown(), case.labels.is_some(), case.channel_notes()))
        }
        // The tuples are encoded as the variants are: a row shows nothing of what else is known of its
        // series.
        Desired::Masks { series, mask, from } => postcard::to_stdvec(&(2u32, series.shown(), mask, from)),
        Desired::Metrics { series, figures, split, from } => {
            postcard::to_stdvec(&(3u32, series.shown(), figures, split, from))
        }
        Desired::Detections { series, found, from } => {
            postcard::to_stdvec(&(6u32, series.shown(), found, from))
        }
        desired => postcard::to_stdvec(desired),
    };
    let bytes = bytes.unwrap_or_default();
    Digest::of_parts([ROWS, identity.digest().as_slice(), &bytes])
}

impl Tables {
    pub(super) fn entry(&self, desired: &Desired) -> Digest {
        entry_of(&self.identity, desired)
    }

    pub(super) fn rows_or_log(&self, entry: &str, desired: &Desired) -> Option<Rows> {
        self.rows(entry, desired)
            .inspect_err(|reject| {
                tracing::error!(entry, "rows not written, tried again at the next run: {reject}")
            })
            .ok()
    }

    fn rows(&self, entry: &str, desired: &Desired) -> Result<Rows, Reject> {
        let entry = entry.to_owned();
        Ok(match desired {
            Desired::Case(case) => {
                let mut row = self.case_row(entry, &case.series, case.labels.is_some());
                row.notes.extend(case.channel_notes());
                Rows::Cases(vec![row])
            }
            Desired::Reject { case, stage, reject, attempts } => Rows::Rejects(vec![RejectRow {
                entry,
                key: case.as_ref().map_or_else(|| stage.to_string(), |case| self.identity.show(case)),
                stage: stage.to_string(),
                code: reject.code.clone(),
                message: if self.identity.shows_text() {
                    reject.message.clone()
                } else {
                    LEFT_OUT.to_owned()
                },
                hint: self.identity.text(&reject.hint).to_owned(),
                attempts: i64::from(*attempts),
            }]),
            Desired::Masks { series, mask, from } => {
                Rows::Masks(self.mask_rows(&entry, series, *mask, from)?)
            }
            Desired::Metrics { series, figures, split, from } => {
                let row = |figure: &FigureRow| MetricRow {
                    entry: entry.clone(),
                    case: self.identity.show(&series.key),
                    series: self.identity.show(series.series_uid()),
                    split: split.clone(),
                    label: figure.label.to_string(),
                    metric: figure.metric.to_string(),
                    value: figure.value.map(|value| value.0),
                    unit: figure.unit.to_string(),
                    state: figure.state.to_string(),
                    stage: from.stage.to_string(),
                    action: from.action.to_string(),
                    model: from.model.map(|model| model.to_string()).unwrap_or_default(),
                };
                Rows::Metrics(figures.iter().map(row).collect())
            }
            Desired::Training { figures, from } => {
                let figures: Vec<Figure> = artifact::decode("figures", &self.context.artifact(*figures)?)?;
                let row = |figure: Figure| TrainingRow {
                    entry: entry.clone(),
                    model: from.model.map(|model| model.to_string()).unwrap_or_default(),
                    stage: from.stage.to_string(),
                    step: figure.step as i64,
                    epoch: figure.epoch as i64,
                    split: figure.split,
                    name: figure.name,
                    value: figure.value,
                };
                Rows::Training(figures.into_iter().map(row).collect())
            }
            Desired::Pooled { group, pools, .. } => Rows::Summary(self.pooled_rows(&entry, group, pools)?),
            Desired::Detections { series, found, from } => {
                Rows::Detections(self.detection_rows(&entry, series, *found, from)?)
            }
            Desired::Summary { group, sums } => Rows::Summary(vec![summary_row(entry, group, sums)]),
        })
    }

    fn case_row(&self, entry: String, series: &SeriesRow, labelled: bool) -> CaseRow {
        let geometry = Geometry::from(&series.grid);
        let [spacing_d_mm, spacing_h_mm, spacing_w_mm] = geometry.spacing_mm();
        CaseRow {
            entry,
            case: self.identity.show(&series.key),
            series: self.identity.show(series.series_uid()),
            study: self.identity.show(&series.study_uid),
            patient: self.identity.show(&series.patient),
            modality: series.modality.to_string(),
            manufacturer: series.manufacturer.to_string(),
            model_name: series.model_name.to_string(),
            description: self.identity.text(&series.description).to_owned(),
            slices: geometry.size[0] as i64,
            rows: geometry.size[1] as i64,
            columns: geometry.size[2] as i64,
            spacing_d_mm,
            spacing_h_mm,
            spacing_w_mm,
            affine_lps: geometry.affine_lps().as_flattened().to_vec(),
            labelled,
            notes: series.notes.clone(),
        }
    }

    fn detection_rows(
        &self,
        entry: &str,
        series: &Arc<SeriesRow>,
        found: Digest,
        from: &Provenance,
    ) -> Result<Vec<DetectionRow>, Reject> {
        let found = artifact::decode_found(&self.context.artifact(found)?)?;
        let list = self.context.lookup()?.slices(series.list)?;
        let slices = list.on_planes(found.size[0]);
        let geometry = Geometry::from(&series.grid);
        let names = found.things.names();
        let sop_uid = |index: usize| match series.form {
            // One file holds all slices.
            ScanForm::Volume => "",
            _ => slices.get(index).copied().flatten().map_or("", |slice| &slice.sop_uid),
        };
        let row = |found: &DetectedBox| {
            // An edge lies half a voxel before the middle of its voxel.
            let corner = |[y, x]: [f64; 2]| {
                geometry.to_patient(VoxelIndex([f64::from(found.slice), y - 0.5, x - 0.5])).0
            };
            let ([x1_mm, y1_mm, z1_mm], [x2_mm, y2_mm, z2_mm]) = (corner(found.low), corner(found.high));
            let name = usize::from(found.class).checked_sub(1).and_then(|class| names.get(class));
            DetectionRow {
                entry: entry.to_owned(),
                case: self.identity.show(&series.key),
                series: self.identity.show(series.series_uid()),
                sop_instance: self.identity.show(sop_uid(found.slice as usize)),
                slice: i64::from(found.slice),
                label: i64::from(found.class),
                label_name: name.cloned().unwrap_or_default(),
                score: found.score,
                x1: found.low[1],
                y1: found.low[0],
                x2: found.high[1],
                y2: found.high[0],
                x1_mm,
                y1_mm,
                z1_mm,
                x2_mm,
                y2_mm,
                z2_mm,
                stage: from.stage.to_string(),
                action: from.action.to_string(),
                model: from.model.map(|model| model.to_string()).unwrap_or_default(),
            }
        };
        Ok(found.boxes.iter().map(row).collect())
    }

    fn mask_rows(
        &self,
        entry: &str,
        series: &Arc<SeriesRow>,
        mask: Digest,
        from: &Provenance,
    ) -> Result<Vec<MaskRow>, Reject> {
        let mask = self.context.found(mask)?;
        let list = self.context.lookup()?.slices(series.list)?;
        let slices = list.on_planes(mask.slices.len());
        let geometry = Geometry::from(&series.grid);
        let [_, h, w] = geometry.steps_mm;
        let pixel_mm2 = tomoflow_connectors::geometry::norm(tomoflow_connectors::geometry::cross(h, w));
        let sop_uid = |index: usize| match series.form {
            // One file holds all slices.
            ScanForm::Volume => "",
            _ => slices.get(index).copied().flatten().map_or("", |slice| &slice.sop_uid),
        };
        let mut rows = Vec::new();
        for (index, labels) in mask.slices.iter().enumerate() {
            for (label, runs) in labels {
                let Some([row_min, column_min, row_max, column_max]) = runs.bounding_box(mask.size[2]) else {
                    continue;
                };
                let name = usize::from(*label).checked_sub(1).and_then(|label| mask.label_names.get(label));
                rows.push(MaskRow {
                    entry: entry.to_owned(),
                    case: self.identity.show(&series.key),
                    series: self.identity.show(series.series_uid()),
                    sop_instance: self.identity.show(sop_uid(index)),
                    slice: index as i64,
                    label: i64::from(*label),
                    label_name: name.cloned().unwrap_or_default(),
                    rows: mask.size[1] as i64,
                    columns: mask.size[2] as i64,
                    runs: runs.0.clone(),
                    area_mm2: runs.area() as f64 * pixel_mm2,
                    row_min: i64::from(row_min),
                    column_min: i64::from(column_min),
                    row_max: i64::from(row_max),
                    column_max: i64::from(column_max),
                    stage: from.stage.to_string(),
                    action: from.action.to_string(),
                    model: from.model.map(|model| model.to_string()).unwrap_or_default(),
                });
            }
        }
        Ok(rows)
    }
}

/// The row of what a group's figures come to.
pub(super) fn summary_row(entry: String, group: &Group, sums: &Sums) -> SummaryRow {
    let value = |real: Option<Real>| real.map(|real| real.0);
    let interval = sums.resampled.as_ref().and_then(|resampled| resampled.interval(group));
    SummaryRow {
        entry,
        stage: group.stage.to_string(),
        model: group.model.map(|model| model.to_string()).unwrap_or_default(),
        label: group.label.to_string(),
        metric: group.metric.to_string(),
        unit: group.unit.to_string(),
        grouped_by: group.grouped_by.name().to_owned(),
        group: group.name.to_string(),
        figures: sums.figures as i64,
        count: sums.count as i64,
        mean: value(sums.mean),
        mean_low: value(interval.map(|[low, _]| low)),
        mean_high: value(interval.map(|[_, high]| high)),
        median: value(sums.median),
        sd: value(sums.sd),
        min: value(sums.min),
        max: value(sums.max),
        both_empty: sums.both_empty as i64,
        empty_reference: sums.empty_reference as i64,
        empty_prediction: sums.empty_prediction as i64,
        other_states: sums.other_states as i64,
    }
}
