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
    /// A series that was accepted.
    Cases, "cases", CaseRow {
        /// The case's key.
        case: String,
        /// The scan's series.
        series: String,
        /// The study that the series belongs to.
        study: String,
        /// The patient.
        patient: String,
        /// `CT`, `MR`, …
        modality: String,
        /// The scanner's manufacturer.
        manufacturer: String,
        /// The scanner's model name.
        model_name: String,
        /// The series' description.
        description: String,
        /// Slices of the volume.
        slices: i64,
        /// Rows of a slice.
        rows: i64,
        /// Columns of a slice.
        columns: i64,
        /// Distance of neighbouring slices, mm.
        spacing_d_mm: f64,
        /// Distance of neighbouring rows, mm.
        spacing_h_mm: f64,
        /// Distance of neighbouring columns, mm.
        spacing_w_mm: f64,
        /// Voxel `[d, h, w, 1]` to patient LPS in mm: sixteen numbers, row-major.
        affine_lps: Vec<f64>,
        /// Whether the case has labels.
        labelled: bool,
        /// What was found odd and accepted.
        notes: Vec<String>,
    }

    /// What was refused or failed, and what sources lack or have no use for; gone again once it is mended.
    Rejects, "rejects", RejectRow {
        /// The key of what was refused; the stage where it is no case.
        key: String,
        /// The stage that refused it.
        stage: String,
        /// The hazard's name, in capitals.
        code: String,
        /// What was expected and what was found.
        message: String,
        /// What the user can do about it.
        hint: String,
        /// How often it was tried; 0 for what is told of a case that was not refused.
        attempts: i64,
    }

    /// One label on one slice of the original grid.
    Masks, "masks", MaskRow {
        /// The case's key.
        case: String,
        /// The scan's series.
        series: String,
        /// The slice's SOP instance; empty on a plane between slices.
        sop_instance: String,
        /// The slice's index along the volume's first axis.
        slice: i64,
        /// The label's number.
        label: i64,
        /// The label's name.
        label_name: String,
        /// Rows of the slice.
        rows: i64,
        /// Columns of the slice.
        columns: i64,
        /// The pixels: `[start, length, start, length, …]`, row-major.
        runs: Vec<u32>,
        /// Area, mm².
        area_mm2: f64,
        /// First row of the bounding box.
        row_min: i64,
        /// First column of the bounding box.
        column_min: i64,
        /// Last row of the bounding box.
        row_max: i64,
        /// Last column of the bounding box.
        column_max: i64,
        /// The stage that made the mask.
        stage: String,
        /// The action that made the mask.
        action: String,
        /// The model that made the mask; empty for labels drawn by hand.
        model: String,
    }

    /// One figure about one case.
    Metrics, "metrics", MetricRow {
        /// The case's key.
        case: String,
        /// The scan's series.
        series: String,
        /// `train`, `validation` or `test`.
        split: String,
        /// The label's name.
        label: String,
        /// The metric's name.
        metric: String,
        /// The figure, where there is one.
        value: Option<f64>,
        /// The figure's unit.
        unit: String,
        /// `ok`, `both_empty`, `empty_prediction`, …
        state: String,
        /// The stage that made the figure.
        stage: String,
        /// The action that made the figure.
        action: String,
        /// The model that was judged.
        model: String,
    }

    /// What the figures of a group of cases come to, kept current as cases come and go. Figures of
    /// different stages, models, labels, metrics or units are never in one group.
    Summary, "summary", SummaryRow {
        /// The stage that made the figures.
        stage: String,
        /// The model that was judged; empty where none was.
        model: String,
        /// The label's name.
        label: String,
        /// The metric's name.
        metric: String,
        /// The figures' unit.
        unit: String,
        /// What the cases of the group have in common: `model`, `split` or `vendor`.
        grouped_by: String,
        /// The model, the part of the split, or the scanner's manufacturer; empty where there is none.
        group: String,
        /// Figures of the group: rows of `metrics`, each counted by itself. `evaluate` gives a case one
        /// for each label and metric, so these are cases.
        figures: i64,
        /// Figures with a value: whatever their state, they and no others enter what follows.
        count: i64,
        /// Their mean.
        mean: Option<f64>,
        /// The lower end of the interval of their mean, where `evaluate` is asked for one (`interval`).
        mean_low: Option<f64>,
        /// The upper end of it.
        mean_high: Option<f64>,
        /// Their median.
        median: Option<f64>,
        /// Their sample standard deviation (n − 1); none of one value.
        sd: Option<f64>,
        /// The smallest of them.
        min: Option<f64>,
        /// The greatest of them.
        max: Option<f64>,
        /// Figures of the state `both_empty`: neither mask holds the label.
        both_empty: i64,
        /// Figures of the state `empty_reference`: only the prediction holds the label.
        empty_reference: i64,
        /// Figures of the state `empty_prediction`: a missed structure.
        empty_prediction: i64,
        /// Figures of any other state but `ok`.
        other_states: i64,
    }

    /// One figure of a training run.
    Training, "training", TrainingRow {
        /// The model that was trained.
        model: String,
        /// The stage that trained it.
        stage: String,
        /// Steps of the optimiser so far.
        step: i64,
        /// Passes over the samples so far.
        epoch: i64,
        /// `train` or `validation`.
        split: String,
        /// What was measured.
        name: String,
        /// The figure.
        value: f64,
    }

    /// A run of a pipeline.
    Runs, "runs", RunRow {
        /// When it started: a timestamp, UTC. Text in tables of 0.1.0, until a run writes to them.
        started: Moment,
        /// How long it took.
        seconds: f64,
        /// The pipeline's name.
        pipeline: String,
        /// The digest of the resolved plan.
        plan_digest: String,
        /// The version of tomoflow.
        version: String,
        /// Cases that were wanted.
        cases: i64,
        /// Cases that were processed.
        processed: i64,
        /// Cases that needed nothing.
        unchanged: i64,
        /// Cases that were refused or failed.
        rejected: i64,
        /// Actions that ran.
        actions_run: i64,
        /// Actions that were found done.
        actions_cached: i64,
        /// Whether the run came to its end.
        finished: bool,
    }

    /// One box on one slice of the original grid.
    Detections, "detections", DetectionRow {
        /// The case's key.
        case: String,
        /// The scan's series.
        series: String,
        /// The slice's SOP instance; empty on a plane between slices.
        sop_instance: String,
        /// The slice's index along the volume's first axis.
        slice: i64,
        /// The class's number.
        label: i64,
        /// The class's name.
        label_name: String,
        /// How sure the detector is, 0 to 1.
        score: f64,
        /// The edge towards the first column, in voxels: the first voxel begins at 0.
        x1: f64,
        /// The edge towards the first row.
        y1: f64,
        /// The edge towards the last column.
        x2: f64,
        /// The edge towards the last row.
        y2: f64,
        /// The corner `x1, y1` in the middle of the slice, patient LPS, mm.
        x1_mm: f64,
        /// The same corner.
        y1_mm: f64,
        /// The same corner.
        z1_mm: f64,
        /// The corner `x2, y2`, patient LPS, mm.
        x2_mm: f64,
        /// The same corner.
        y2_mm: f64,
        /// The same corner.
        z2_mm: f64,
        /// The stage that found the box.
        stage: String,
        /// The action that found the box.
        action: String,
        /// The model that found the box.
        model: String,
    }
}
