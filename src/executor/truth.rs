//! Labels of which some may be absent: nobody looked for them, which is no empty truth.

use std::sync::Arc;

use tomoflow_connectors::{Geometry, LabelMap, Reject};

use super::artifact::MaskArtifact;
use crate::metrics::State;
use crate::operators::registry::Evaluator;
use crate::operators::scores::regions;
use crate::operators::source::{Drawing, DrawnBox};
use crate::operators::value::{Mask, Metric};
use crate::voxels::ignored::IGNORED;

/// The code of a training none of whose cases has a voxel of a label.
pub const NEVER_DRAWN: &str = "LABEL_NEVER_DRAWN";

/// The code of a validation none of whose samples has a voxel of a label that its cases have.
pub const NEVER_JUDGED: &str = "LABEL_NEVER_JUDGED";

/// What was found of a case.
pub enum Found<'a> {
    /// A mask with one label a voxel.
    Mask(Mask),
    /// Labels that may overlap, on a grid.
    Overlapping(&'a MaskArtifact, &'a Geometry),
}

impl Found<'_> {
    fn label_names(&self) -> &[String] {
        match self {
            Self::Mask(mask) => &mask.label_names,
            Self::Overlapping(found, _) => &found.label_names,
        }
    }
}

/// What was drawn of a case.
#[derive(Clone, Debug)]
pub struct Truth {
    /// The labels that were drawn, numbered from 1 on.
    pub mask: Mask,
    /// The names of those that were not.
    pub absent: Vec<String>,
    /// The boxes of things, where these were marked by boxes.
    pub boxes: Option<Vec<DrawnBox>>,
    /// The names of the mask that stand for sets of labels that cross, and are no labels.
    pub sets: Vec<String>,
}

impl Truth {
    /// Takes what was drawn, of these labels.
    ///
    /// # Errors
    /// `BAD_GEOMETRY` when it is no label map.
    pub fn new(drawn: Drawing, names: Vec<String>) -> Result<Self, Reject> {
        if drawn.absent.is_empty() {
            let mask = Mask { labels: Arc::new(drawn.labels), label_names: names.into() };
            return Ok(Self { mask, absent: Vec::new(), boxes: drawn.boxes, sets: Vec::new() });
        }
        let (mut kept, mut absent, mut numbers) = (Vec::new(), Vec::new(), vec![0; names.len() + 1]);
        for (label, name) in (1..).zip(names) {
            if drawn.absent.contains(&label) {
                absent.push(name);
                continue;
            }
            kept.push(name);
            if let Some(number) = numbers.get_mut(usize::from(label)) {
                *number = kept.len() as u16;
            }
        }
        let number = |label: &u16| match *label {
            IGNORED => IGNORED,
            label => numbers.get(usize::from(label)).copied().unwrap_or(0),
        };
        let renumbered = |own: &DrawnBox| DrawnBox { label: number(&own.label), ..*own };
        let boxes =
            drawn.boxes.map(|boxes| boxes.iter().map(renumbered).filter(|own| own.label > 0).collect());
        let voxels = drawn.labels.voxels().iter().map(number).collect();
        let labels = LabelMap::new(drawn.labels.geometry().clone(), voxels)
            .map_err(|error| Reject::new("BAD_GEOMETRY", error.to_string(), ""))?;
        let mask = Mask { labels: Arc::new(labels), label_names: kept.into() };
        Ok(Self { mask, absent, boxes, sets: Vec::new() })
    }

    /// The same, where the last of the names are those of sets of labels that cross.
    #[must_use]
    pub fn sharing(self, sets: Vec<String>) -> Self {
        Self { sets, ..self }
    }

    /// Compares a mask with what was drawn; of the other labels it says that they were not. Labels that hold others
    /// (`nested`) are compared with these.
    ///
    /// # Errors
    /// `PARTLY_LABELLED` when the mask has none but these; else as the comparison.
    pub fn compare(
        &self,
        evaluator: &dyn Evaluator,
        mask: &Found<'_>,
        nested: &[(String, Vec<String>)],
    ) -> Result<Vec<Metric>, Reject> {
        let asked = |name: &&String| mask.label_names().contains(name);
        if !self.absent.is_empty() && !self.mask.label_names.iter().any(|name| asked(&name)) {
            let message =
                format!("labels of the mask drawn expected, none of {} found", self.absent.join(", "));
            return Err(Reject::new("PARTLY_LABELLED", message, "give the case a file for each label"));
        }
        let mut found = match mask {
            Found::Mask(mask) => regions::evaluate(evaluator, mask, &self.mask, nested)?,
            Found::Overlapping(found, grid) => {
                let layer = |name: &str| found.layer(name, grid);
                regions::evaluate_each(evaluator, (&found.label_names, &layer), &self.mask, nested)?
            }
        };
        found.retain(|metric| !self.sets.contains(&metric.label));
        let first = found.first().map(|metric| metric.label.clone());
        let figures: Vec<Metric> =
            found.iter().filter(|metric| Some(&metric.label) == first.as_ref()).cloned().collect();
        for label in &self.absent {
            let none = |figure: &Metric| Metric {
                label: label.clone(),
                value: None,
                state: State::NOT_IN_TRUTH,
                ..figure.clone()
            };
            found.extend(figures.iter().map(none));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::registry::Stage;

    fn drawn(voxels: [u16; 4], absent: &[u16]) -> Truth {
        let labels = LabelMap::new(Geometry::axis_aligned([1, 1, 4], [1.0; 3]), voxels.to_vec()).unwrap();
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        Truth::new(Drawing { absent: absent.to_vec(), ..Drawing::from(labels) }, names).unwrap()
    }

    #[test]
    fn labels_that_cross_are_compared_as_they_were_drawn() {
        let config = serde_json::json!({ "metrics": ["dice"], "empty": "nan", "tolerance_mm": 1.0, "lesion_iou": 0.5 });
        let entry = crate::operators::scores::evaluate::ENTRY;
        let Ok(Stage::Evaluate(evaluator)) = (entry.build)(config.as_object().unwrap()) else {
            panic!("an evaluator expected")
        };
        let names = ["a", "b", "a & b"].map(str::to_owned);
        let held = |name: &str| (name.to_owned(), vec![names[2].clone()]);
        let nested = [held("a"), held("b")];
        let grid = Geometry::axis_aligned([1, 1, 4], [1.0; 3]);
        let truth = |voxels: [u16; 4], absent: &[u16]| {
            let labels = LabelMap::new(grid.clone(), voxels.to_vec()).unwrap();
            let drawing = Drawing { absent: absent.to_vec(), ..Drawing::from(labels) };
            Truth::new(drawing, names.to_vec()).unwrap().sharing(names[2..].to_vec())
        };
        let dice = |truth: &Truth, found: &Found<'_>| -> Vec<(String, Option<f64>)> {
            let metrics = truth.compare(&*evaluator, found, &nested).unwrap();
            metrics.into_iter().map(|metric| (metric.label, metric.value)).collect()
        };
        let value = |label: &str, value| (label.to_owned(), value);
        // Voxel 1 is of both. A mask whose labels overlap has each where it was drawn, or `a` alone.
        let drawn = truth([1, 3, 2, 0], &[]);
        let bits = |bits: [u16; 4]| {
            MaskArtifact::of_bits(&LabelMap::new(grid.clone(), bits.to_vec()).unwrap(), &names[..2])
        };
        let (both, alone) = (bits([1, 3, 2, 0]), bits([1, 1, 0, 0]));
        let found = Found::Overlapping(&both, &grid);
        assert_eq!(dice(&drawn, &found), [value("a", Some(1.0)), value("b", Some(1.0))]);
        let found = Found::Overlapping(&alone, &grid);
        assert_eq!(dice(&drawn, &found), [value("a", Some(1.0)), value("b", Some(0.0))]);
        // Of a mask of one label a voxel, `b` lacks what `a` has.
        let labels = LabelMap::new(grid.clone(), vec![1, 1, 2, 0]).unwrap();
        let plain = Found::Mask(Mask { labels: Arc::new(labels), label_names: names[..2].into() });
        assert_eq!(dice(&drawn, &plain), [value("a", Some(1.0)), value("b", Some(2.0 / 3.0))]);
        // Where nobody looked for `a`, there is nothing that it shares.
        let partly = truth([0, 2, 2, 0], &[1]);
        let found = Found::Overlapping(&both, &grid);
        assert_eq!(dice(&partly, &found), [value("b", Some(1.0)), value("a", None)]);
    }

    #[test]
    fn labels_that_nobody_drew_have_no_number() {
        let whole = drawn([0, 1, 2, 3], &[]);
        assert_eq!((whole.mask.labels.voxels(), whole.absent.len()), (&[0, 1, 2, 3][..], 0));
        let partial = drawn([0, 1, 0, 3], &[2]);
        assert_eq!(partial.mask.labels.voxels(), [0, 1, 0, 2]);
        assert_eq!(*partial.mask.label_names, ["a", "c"].map(str::to_owned));
        assert_eq!(partial.absent, ["b"]);
    }
}
