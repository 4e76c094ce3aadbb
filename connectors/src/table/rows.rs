//! The rows of every table as plain structs, and each table's name and schema, from one declaration.

mod declare;

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use self::declare::tables;
use super::TableError;
use super::cell::{Cell, Moment};

/// The column that every table has: it names the group of rows that were written together.
pub const ENTRY: &str = "entry";

/// A column of a batch as plain values.
fn column<T: Cell>(table: Table, batch: &RecordBatch, name: &'static str) -> Result<Vec<T>, TableError> {
    let array =
        batch.column_by_name(name).ok_or_else(|| TableError::Column { table: table.name(), column: name })?;
    T::values(array.as_ref()).map_err(|error| TableError::value(table.name(), name, error))
}

impl Table {
    /// The columns that an earlier version gave the table, where they were others.
    pub(super) fn earlier_schema(self) -> Option<SchemaRef> {
        (self == Self::Runs).then(|| {
            let schema = self.schema();
            let earlier = |field: &Arc<Field>| match field.name().as_str() {
                "started" => Arc::new(Field::new(field.name(), String::data_type(), true)),
                _ => field.clone(),
            };
            Arc::new(Schema::new(schema.fields().iter().map(earlier).collect::<Vec<_>>()))
        })
    }
}

impl Rows {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

tables! {
    /// A series that was accepted: one row for each case.
    Cases, "cases", CaseRow {
        /// The key that names the case in every table; a pseudonym unless `identifiers = "clear"`.
        case: String,
        /// The SeriesInstanceUID of the scan, or its case's name where it is not DICOM; shown as `case` is.
        series: String,
        /// The study that the series belongs to, shown as `case` is.
        study: String,
        /// The patient that the series belongs to, shown as `case` is.
        patient: String,
        /// The modality of the scan as DICOM names it: `CT`, `MR`, …
        modality: String,
        /// The manufacturer of the scanner.
        manufacturer: String,
        /// The name of the scanner's model.
        model_name: String,
        /// The description of the series (SeriesDescription); empty with `free_text = "drop"`.
        description: String,
        /// The number of slices of the volume.
        slices: i64,
        /// The number of rows of each slice.
        rows: i64,
        /// The number of columns of each slice.
        columns: i64,
        /// The distance between the centres of neighbouring slices, in mm.
        spacing_d_mm: f64,
        /// The distance between the centres of neighbouring rows, in mm.
        spacing_h_mm: f64,
        /// The distance between the centres of neighbouring columns, in mm.
        spacing_w_mm: f64,
        /// The 4 × 4 matrix that takes a voxel `[d, h, w, 1]` to a point in patient space (LPS), in mm;
        /// row-major.
        affine_lps: Vec<f64>,
        /// Whether the case has labels.
        labelled: bool,
        /// What was unusual about the series and was accepted all the same, a text for each finding.
        notes: Vec<String>,
    }

    /// What was refused or failed, and what a source lacks or has no use for. A row goes once its cause is
    /// mended.
    Rejects, "rejects", RejectRow {
        /// The key of the case that was refused, as in `cases`, or the stage's name where no case is meant.
        key: String,
        /// The name of the stage that refused it.
        stage: String,
        /// The name of the reason, in capitals, for example `MISSING_SLICE`.
        code: String,
        /// What was expected and what was found; it is left out with `free_text = "drop"`.
        message: String,
        /// What the user can do about it; empty with `free_text = "drop"`.
        hint: String,
        /// The number of times that it was tried; 0 for a note about a case that was not refused.
        attempts: i64,
    }

    /// One label on one slice of the original grid.
    Masks, "masks", MaskRow {
        /// The key of the case, as in `cases`.
        case: String,
        /// The SeriesInstanceUID of the scan, or its case's name where it is not DICOM; shown as `case` is.
        series: String,
        /// The SOPInstanceUID of the slice, shown as `case` is; empty on a plane between slices, and where
        /// one file holds all slices.
        sop_instance: String,
        /// The index of the slice along the volume's first axis, from 0 on.
        slice: i64,
        /// The number of the label, from 1 on.
        label: i64,
        /// The name of the label.
        label_name: String,
        /// The number of rows of the slice.
        rows: i64,
        /// The number of columns of the slice.
        columns: i64,
        /// The pixels of the label as runs `[start, length, start, length, …]`, counted row by row from 0 on.
        runs: Vec<u32>,
        /// The area of the label on this slice, in mm².
        area_mm2: f64,
        /// The first row that holds the label, from 0 on.
        row_min: i64,
        /// The first column that holds the label, from 0 on.
        column_min: i64,
        /// The last row that holds the label.
        row_max: i64,
        /// The last column that holds the label.
        column_max: i64,
        /// The name of the stage that made the mask.
        stage: String,
        /// The key of the action that made the mask, which `tomoflow explain` takes.
        action: String,
        /// The digest of the model that made the mask; empty where no model took part.
        model: String,
    }

    /// One figure about one label of one case.
    Metrics, "metrics", MetricRow {
        /// The key of the case, as in `cases`.
        case: String,
        /// The SeriesInstanceUID of the scan, or its case's name where it is not DICOM; shown as `case` is.
        series: String,
        /// The part of the split that the case is in for the judged model: `train`, `validation`, `test`,
        /// `unlabelled`, or `new` for a case that came after its training.
        split: String,
        /// The name of the label.
        label: String,
        /// The name of the metric, for example `dice`.
        metric: String,
        /// The value of the figure; null where its formula gives none.
        value: Option<f64>,
        /// The unit of the value, for example `mm`; `1` for shares and ratios.
        unit: String,
        /// Which masks hold the label: `ok` (both), `both_empty`, `empty_reference`, `empty_prediction`,
        /// `not_in_mask` or `not_in_truth`.
        state: String,
        /// The name of the stage that computed the figure.
        stage: String,
        /// The key of the action that computed the figure, which `tomoflow explain` takes.
        action: String,
        /// The digest of the model whose output was judged; empty where no model took part.
        model: String,
    }

    /// Statistics over the figures of a group of cases, kept up to date as cases come and go. Figures of
    /// different stages, models, labels, metrics or units are never in one group.
    Summary, "summary", SummaryRow {
        /// The name of the stage that computed the figures.
        stage: String,
        /// The digest of the model whose output was judged; empty where no model took part.
        model: String,
        /// The name of the label.
        label: String,
        /// The name of the metric.
        metric: String,
        /// The unit of the figures.
        unit: String,
        /// The property that the cases of the group share: `model`, `split` or `vendor`.
        grouped_by: String,
        /// The value of that property: the model, the part of the split, or the scanner's manufacturer; empty
        /// where a case has none.
        group: String,
        /// The number of figures in the group, with a value or without. Each row of `metrics` counts once;
        /// `evaluate` gives a case one row for each label and metric, so this is the number of cases.
        figures: i64,
        /// The number of figures that have a value, whatever their state; the statistics below are over these
        /// alone.
        count: i64,
        /// The mean of the values.
        mean: Option<f64>,
        /// The lower end of the confidence interval of the mean; null unless `interval` of `evaluate` asks
        /// for one.
        mean_low: Option<f64>,
        /// The upper end of the confidence interval of the mean; null unless `interval` of `evaluate` asks
        /// for one.
        mean_high: Option<f64>,
        /// The median of the values.
        median: Option<f64>,
        /// The sample standard deviation of the values (divided by n − 1); null for a single value.
        sd: Option<f64>,
        /// The smallest value.
        min: Option<f64>,
        /// The greatest value.
        max: Option<f64>,
        /// The number of figures in the state `both_empty`: neither mask holds the label.
        both_empty: i64,
        /// The number of figures in the state `empty_reference`: only the prediction holds the label.
        empty_reference: i64,
        /// The number of figures in the state `empty_prediction`: the prediction misses the structure.
        empty_prediction: i64,
        /// The number of figures in any other state except `ok`.
        other_states: i64,
    }

    /// One figure of a training, measured at one step.
    Training, "training", TrainingRow {
        /// The digest of the model that the training gave.
        model: String,
        /// The name of the stage that trained it.
        stage: String,
        /// The number of optimiser steps done so far.
        step: i64,
        /// The number of passes over the samples done so far.
        epoch: i64,
        /// The samples that the figure is about: `train` or `validation`.
        split: String,
        /// The name of the figure, for example `loss`.
        name: String,
        /// The value of the figure.
        value: f64,
    }

    /// One run of a pipeline.
    Runs, "runs", RunRow {
        /// The time at which the run started, in UTC. In tables of version 0.1.0 it is text, until a run
        /// writes to them.
        started: Moment,
        /// The time that the run took, in seconds.
        seconds: f64,
        /// The name of the pipeline.
        pipeline: String,
        /// The digest of all stages with the settings that their results depend on.
        plan_digest: String,
        /// The version of tomoflow that ran.
        version: String,
        /// The number of cases that the run wanted.
        cases: i64,
        /// The number of cases that the run processed.
        processed: i64,
        /// The number of cases for which nothing had to be done.
        unchanged: i64,
        /// The number of cases that were refused or failed.
        rejected: i64,
        /// The number of actions that the run carried out.
        actions_run: i64,
        /// The number of actions whose results were already stored.
        actions_cached: i64,
        /// Whether the run came to its end.
        finished: bool,
    }

    /// One box on one slice of the original grid.
    Detections, "detections", DetectionRow {
        /// The key of the case, as in `cases`.
        case: String,
        /// The SeriesInstanceUID of the scan, or its case's name where it is not DICOM; shown as `case` is.
        series: String,
        /// The SOPInstanceUID of the slice, shown as `case` is; empty on a plane between slices, and where
        /// one file holds all slices.
        sop_instance: String,
        /// The index of the slice along the volume's first axis, from 0 on.
        slice: i64,
        /// The number of the class, from 1 on.
        label: i64,
        /// The name of the class.
        label_name: String,
        /// The detector's confidence in the box, from 0 to 1.
        score: f64,
        /// The edge of the box towards the first column, in voxels: the first voxel begins at 0.
        x1: f64,
        /// The edge of the box towards the first row, in voxels: the first voxel begins at 0.
        y1: f64,
        /// The edge of the box towards the last column, in voxels.
        x2: f64,
        /// The edge of the box towards the last row, in voxels.
        y2: f64,
        /// The first coordinate of the corner `x1, y1` in patient space (LPS), in mm, in the middle of the
        /// slice's thickness.
        x1_mm: f64,
        /// The second coordinate of the corner `x1, y1` in patient space (LPS), in mm.
        y1_mm: f64,
        /// The third coordinate of the corner `x1, y1` in patient space (LPS), in mm.
        z1_mm: f64,
        /// The first coordinate of the corner `x2, y2` in patient space (LPS), in mm, in the middle of the
        /// slice's thickness.
        x2_mm: f64,
        /// The second coordinate of the corner `x2, y2` in patient space (LPS), in mm.
        y2_mm: f64,
        /// The third coordinate of the corner `x2, y2` in patient space (LPS), in mm.
        z2_mm: f64,
        /// The name of the stage that found the box.
        stage: String,
        /// The key of the action that found the box, which `tomoflow explain` takes.
        action: String,
        /// The digest of the model that found the box.
        model: String,
    }
}
