//! The labels of a case, drawn on the grid of its scan.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tomoflow_connectors::dicom::FileStat;
use tomoflow_connectors::rtstruct::Form;
use tomoflow_connectors::{Digest, Geometry, LabelMap, Reject};

use super::Context;
use super::lookup::unchanged;
use crate::executor::truth::Truth;
use crate::executor::work::{LabelRow, ScanForm, SeriesRow, SliceRow};
use crate::operators::registry::Stage;
use crate::operators::source::{Drawing, DrawnOn, LabelPart, LabelSource, LabelsAt, LabelsIn, Planes};
use crate::operators::value::Mask;
use crate::pipeline::Plan;
use crate::voxels::ignored::IGNORED;

impl Context {
    /// The label map of a scan, drawn on its original grid.
    ///
    /// # Errors
    /// When the outlines cannot be read or drawn, and `PARTLY_LABELLED` when nobody drew some of the labels: nothing
    /// may take these for background.
    pub fn truth(&self, series: &SeriesRow, labels: &LabelRow) -> Result<Mask, Reject> {
        let Truth { mask, absent, .. } = self.partial_truth(series, labels)?;
        if absent.is_empty() {
            return Ok(mask);
        }
        let message = format!("all labels drawn expected, none of {} found", absent.join(", "));
        let hint = "give the case a file for each label, or ask for fewer labels";
        Err(Reject::new("PARTLY_LABELLED", message, hint))
    }

    /// Returns the same, with all labels and their numbers, where nobody need have drawn all of them: those
    /// that nobody did are put down.
    ///
    /// # Errors
    /// As [`Context::truth`], where nobody drew any of them or where they are more than a byte can number.
    pub(super) fn truth_in_part(
        &self,
        series: &SeriesRow,
        labels: &LabelRow,
        unknown: &Mutex<Vec<u8>>,
    ) -> Result<Mask, Reject> {
        let Truth { mask, absent, .. } = self.partial_truth(series, labels)?;
        if absent.is_empty() {
            return Ok(mask);
        }
        let Stage::Labels(source) = &self.plan.stages[labels.source.place()].stage else {
            return Err(Reject::new("NO_LABELS", "a stage that reads labels expected", ""));
        };
        let names = source.value_names();
        if absent.len() >= source.label_names().len() || names.len() > usize::from(u8::MAX) {
            let message = format!("a label drawn expected, none of {} found", absent.join(", "));
            return Err(Reject::new("PARTLY_LABELLED", message, "the case has nothing to learn from"));
        }
        let number = |name: &String| names.iter().position(|known| known == name).map(|place| place + 1);
        let numbers: Vec<u16> =
            mask.label_names.iter().map(|name| number(name).unwrap_or(0) as u16).collect();
        let all = |label: &u16| match label.checked_sub(1) {
            _ if *label == IGNORED => IGNORED,
            Some(place) => numbers.get(usize::from(place)).copied().unwrap_or(0),
            None => 0,
        };
        let voxels = mask.labels.voxels().iter().map(all).collect();
        let labels = LabelMap::new(mask.labels.geometry().clone(), voxels)
            .map_err(|error| Reject::new("BAD_GEOMETRY", error.to_string(), ""))?;
        let lacking = absent.iter().filter_map(number).map(|label| label as u8).collect();
        *unknown.lock().unwrap_or_else(PoisonError::into_inner) = lacking;
        Ok(Mask { labels: Arc::new(labels), label_names: names.into() })
    }

    /// Returns the same, where it is enough to know which labels nobody drew.
    ///
    /// # Errors
    /// When the outlines cannot be read or drawn.
    pub fn partial_truth(&self, series: &SeriesRow, labels: &LabelRow) -> Result<Truth, Reject> {
        let geometry = Geometry::from(&series.grid);
        if let Stage::Adopt = &self.plan.stages[labels.source.place()].stage {
            return self.adopted(series, labels);
        }
        let Stage::Labels(source) = &self.plan.stages[labels.source.place()].stage else {
            return Err(Reject::new("NO_LABELS", "a stage that reads labels expected", ""));
        };
        if let LabelsIn::Series { .. } = source.lies_in() {
            return self.of_label_series(&**source, series, labels);
        }
        let lookup = self.lookup()?;
        // Labels that have a file each are a list of files.
        let list = match source.lies_in() {
            LabelsIn::Files(_) => lookup.slices(labels.record).ok(),
            _ => None,
        };
        let files = match (&list, source.lies_in()) {
            (_, LabelsIn::Table(_)) => Vec::new(),
            (None, _) => lookup.places("", &[labels.record])?,
            (Some(list), _) => {
                let records: Vec<Digest> = list.slices.iter().map(|slice| slice.record).collect();
                lookup.places("", &records)?
            }
        };
        let heights = match series.has_planes_between() {
            true => lookup.slices(series.list)?.heights(),
            false => Vec::new(),
        };
        let of = list.iter().flat_map(|list| &list.slices).zip(&files);
        let part = |(slice, file): (&SliceRow, &'_ FileStat)| (slice.frame as u16, file.path.clone());
        let parts: Vec<(u16, PathBuf)> = of.map(part).collect();
        let parts: Vec<LabelPart<'_>> =
            parts.iter().map(|(label, file)| LabelPart { label: *label, file }).collect();
        let file = files.first().map(|file| file.path.as_path()).filter(|_| parts.is_empty());
        let (record, scan) = (labels.record, self.drawn_on(series, labels)?);
        let at =
            LabelsAt { file, parts: &parts, stack: None, series: series.series_uid(), record, scan: &scan };
        let mut drawn = source.draw(&at, &Planes { grid: &geometry, heights: &heights })?;
        unchanged(&files)?;
        drawn.absent.extend(labels.absent.iter());
        self.truth_of(&**source, drawn, &geometry)
    }

    /// Tells what was noticed while labels were drawn, and gives them their names.
    ///
    /// # Errors
    /// `GRID_MISMATCH` for labels on another grid than the scan's.
    pub(super) fn truth_of(
        &self,
        source: &dyn LabelSource,
        mut drawn: Drawing,
        grid: &Geometry,
    ) -> Result<Truth, Reject> {
        let notes = std::mem::take(&mut drawn.notes);
        self.told.lock().unwrap_or_else(PoisonError::into_inner).extend(notes);
        if drawn.labels.geometry() != grid {
            let message = "labels on the scan's own grid expected, another found";
            return Err(Reject::new("GRID_MISMATCH", message, "the source of the labels is at fault"));
        }
        let names = source.value_names();
        let sets = names.get(source.label_names().len()..).unwrap_or_default().to_vec();
        Ok(Truth::new(drawn, names)?.sharing(sets))
    }

    /// Returns labels of a truth that hold others, each with these, by name.
    pub fn nested(&self, labels: &LabelRow) -> Vec<(String, Vec<String>)> {
        let Stage::Labels(source) = &self.plan.stages[labels.source.place()].stage else {
            return Vec::new();
        };
        // Labels come first; what lies within them may stand for a set of some.
        let names = source.value_names();
        let name = |label: &u16| names.get(usize::from(*label).checked_sub(1)?).cloned();
        let named = |(name_of, within): (&String, Vec<u16>)| {
            (name_of.clone(), within.iter().filter_map(name).collect::<Vec<_>>())
        };
        let nested = names.iter().zip(source.nested()).map(named);
        nested.filter(|(_, within)| !within.is_empty()).collect()
    }

    /// Returns what tells the scan from others that its labels name as well.
    pub(super) fn drawn_on(&self, series: &SeriesRow, labels: &LabelRow) -> Result<DrawnOn, Reject> {
        let images = match by_images(&self.plan, series, labels) {
            true => {
                self.lookup()?.slices(series.list)?.slices.into_iter().map(|slice| slice.sop_uid).collect()
            }
            false => BTreeSet::new(),
        };
        Ok(DrawnOn {
            frame_of_reference: series.frame_of_reference.to_string(),
            images,
            apart: labels.apart,
            absent: labels.absent.to_vec(),
        })
    }
}

/// Whether labels are drawn by the images that they name.
pub fn by_images(plan: &Plan, series: &SeriesRow, labels: &LabelRow) -> bool {
    let Stage::Labels(source) = &plan.stages[labels.source.place()].stage else { return false };
    let contours = matches!(source.lies_in(), LabelsIn::Objects { form: Form::Contours, .. });
    contours && series.form == ScanForm::Instances
}
