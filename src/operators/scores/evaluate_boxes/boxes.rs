//! A comparison of boxes with things, and what it adds to figures over many cases.

use serde::{Deserialize, Serialize};

use crate::metrics::detection::{Bounds, Found, Scored, Steps};
use crate::metrics::{Emptiness, State};
use crate::operators::samples::things::{Kind as OfThings, Things};
use crate::operators::source::DrawnBox;
use crate::operators::value::{Detections, Failure, Mask, Metric};
use crate::voxels::parts::Part;

/// A figure of `metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Figure {
    Sensitivity,
    Ap50,
}

/// The slices that are images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Slices {
    All,
    Marked,
}

/// A comparison of boxes.
#[derive(Clone, Debug, Deserialize)]
pub struct EvaluateBoxes {
    pub(super) metrics: Vec<Figure>,
    pub(super) false_positives: Vec<f64>,
    pub(super) iou: f64,
    pub(super) slices: Slices,
}

impl EvaluateBoxes {
    /// Figures by class and metric. The truth lies on the grid of the boxes; of labels that nobody drew (`absent`) it
    /// knows nothing. Where things are `marked` by boxes, they are these.
    ///
    /// # Errors
    /// `GRID_MISMATCH` for boxes of another grid, `UNKNOWN_LABEL` for a class whose labels the truth does not have.
    pub fn evaluate(
        &self,
        found: &Detections,
        truth: &Mask,
        absent: &[String],
        marked: Option<&[DrawnBox]>,
    ) -> Result<Judged, Failure> {
        let size = truth.labels.size();
        if found.size != size {
            let message = format!("boxes on a grid of {size:?} expected, {:?} found", found.size);
            return Err(Failure::new("GRID_MISMATCH", message, "both must come from the same series"));
        }
        let unknown = |kind: &OfThings| kind.labels.iter().any(|label| absent.contains(label));
        let (drawn, undrawn): (Vec<OfThings>, Vec<OfThings>) =
            found.things.0.iter().cloned().partition(|kind| !unknown(kind));
        // Classes keep their numbers: a box says its own.
        let numbers: Vec<u8> =
            (1..).zip(&found.things.0).filter(|(_, kind)| !unknown(kind)).map(|(class, _)| class).collect();
        let kinds = Things(drawn.clone()).numbered(&truth.label_names)?;
        let mut images: Vec<Vec<Found<2>>> = drawn.iter().map(|_| Vec::new()).collect();
        for slice in 0..size[0] {
            let things = match marked {
                Some(marked) => kinds.marked_on(marked, slice),
                None => {
                    let (things, _) = kinds.of_slice(truth.labels.slice(slice), [size[1], size[2]]);
                    let edges = |edges: [usize; 2]| edges.map(|edge| edge as f64);
                    let bounds = |(class, part): (u8, Part)| {
                        (class, Bounds { low: edges(part.low), high: edges(part.high) })
                    };
                    things.into_iter().map(bounds).collect()
                }
            };
            if things.is_empty() && self.slices == Slices::Marked {
                continue;
            }
            let boxes: Vec<_> = found.boxes.iter().filter(|found| found.slice as usize == slice).collect();
            for ((place, class), images) in (1_u8..).zip(&numbers).zip(&mut images) {
                let own = things.iter().filter(|(of, _)| *of == place);
                let reference = own.map(|(_, bounds)| *bounds);
                let own = boxes.iter().filter(|found| found.class == *class);
                let predicted = own.map(|found| Scored {
                    bounds: Bounds { low: found.low, high: found.high },
                    score: found.score,
                });
                images.push(Found { predicted: predicted.collect(), reference: reference.collect() });
            }
        }
        let (mut metrics, mut pools) = (Vec::new(), Vec::new());
        for (kind, images) in drawn.iter().zip(&images) {
            let things = images.iter().any(|image| !image.reference.is_empty());
            let boxes = images.iter().any(|image| !image.predicted.is_empty());
            let state = match (things, boxes) {
                (true, true) => Emptiness::Ok,
                (true, false) => Emptiness::EmptyPrediction,
                (false, true) => Emptiness::EmptyReference,
                (false, false) => Emptiness::BothEmpty,
            };
            let steps = Steps::of(images, self.iou);
            metrics.extend(self.metrics(&kind.name, &steps, &state.into()));
            pools.push(Pool { label: kind.name.clone(), steps });
        }
        let nothing = Steps::default();
        let untold = undrawn.iter().flat_map(|kind| self.metrics(&kind.name, &nothing, &State::NOT_IN_TRUTH));
        metrics.extend(untold);
        Ok(Judged { metrics, pools })
    }

    /// Whether slices that hold no thing are images as well.
    pub fn counts_all(&self) -> bool {
        self.slices == Slices::All
    }

    fn metrics(&self, label: &str, steps: &Steps, state: &State) -> Vec<Metric> {
        let metric = |(metric, value): (String, Option<f64>)| Metric {
            label: label.to_owned(),
            metric,
            value,
            unit: "1".to_owned(),
            state: state.clone(),
        };
        self.figures(steps).into_iter().map(metric).collect()
    }

    /// The figures of images, by name.
    pub fn figures(&self, steps: &Steps) -> Vec<(String, Option<f64>)> {
        let mut figures = Vec::new();
        for figure in &self.metrics {
            match figure {
                Figure::Sensitivity => {
                    let read = steps.sensitivities(&self.false_positives);
                    for (place, rate) in self.false_positives.iter().enumerate() {
                        let value = read.as_ref().and_then(|read| read.get(place).copied());
                        figures.push((format!("sensitivity_at_{rate}"), value));
                    }
                }
                Figure::Ap50 => figures.push(("ap50".to_owned(), steps.average_precision())),
            }
        }
        figures
    }
}

/// The result of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The case's own figures.
    pub metrics: Vec<Metric>,
    /// The case's part in figures over several cases.
    pub pools: Vec<Pool>,
}

/// What a case's images add to figures of a class over several cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// The class, by name.
    pub label: String,
    /// The boxes and things of the class.
    pub steps: Steps,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use tomoflow_connectors::{Geometry, LabelMap};

    use super::super::build;
    use super::*;
    use crate::operators::registry::Stage;
    use crate::operators::spec::FieldProblem;
    use crate::operators::value::DetectedBox;

    fn built(changes: Value) -> Result<EvaluateBoxes, Vec<FieldProblem>> {
        let mut config = json!({
            "metrics": ["sensitivity", "ap50"], "false_positives": [0.25, 1.0], "iou": 0.5, "slices": "all",
        });
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        match build(config.as_object().unwrap())? {
            Stage::EvaluateBoxes(evaluate) => Ok(evaluate),
            _ => panic!("an evaluation of boxes expected"),
        }
    }

    /// Two slices of 4x4: a square of `a` in the first, nothing in the second.
    fn truth() -> Mask {
        let voxels = (0..32).map(|i| u16::from([0, 1, 4, 5].contains(&i))).collect();
        let labels = LabelMap::new(Geometry::axis_aligned([2, 4, 4], [1.0; 3]), voxels).unwrap();
        Mask { labels: Arc::new(labels), label_names: ["a".to_owned(), "b".to_owned()].into() }
    }

    fn found(boxes: &[(u32, u8, f64, [f64; 2])]) -> Detections {
        let boxes = boxes.iter().map(|&(slice, class, score, low)| DetectedBox {
            slice,
            class,
            score,
            low,
            high: low.map(|edge| edge + 2.0),
        });
        let kind = |name: &str| OfThings { name: name.to_owned(), labels: vec![name.to_owned()] };
        let things = Things(vec![kind("b"), kind("a")]);
        Detections { size: [2, 4, 4], things, boxes: boxes.collect(), masks: None }
    }

    fn values(metrics: &[Metric], label: &str) -> Vec<Option<f64>> {
        metrics.iter().filter(|metric| metric.label == label).map(|metric| metric.value).collect()
    }

    #[test]
    fn figures_of_a_case_by_hand() {
        let boxes = found(&[(0, 2, 0.5, [0.0, 0.0]), (1, 2, 0.9, [2.0, 2.0]), (0, 1, 0.1, [0.0, 0.0])]);
        let metrics = built(json!({})).unwrap().evaluate(&boxes, &truth(), &[], None).unwrap().metrics;
        let names: Vec<&str> = metrics.iter().take(3).map(|metric| metric.metric.as_str()).collect();
        assert_eq!(names, ["sensitivity_at_0.25", "sensitivity_at_1", "ap50"]);
        // One false positive on two images is surer than the hit.
        assert_eq!(values(&metrics, "a"), [Some(0.0), Some(1.0), Some(0.5)]);
        assert_eq!(values(&metrics, "b"), [None; 3]);
        assert_eq!(metrics[0].state, Emptiness::EmptyReference.into());
        // On the slice that holds a thing there is no false positive.
        let marked = built(json!({ "slices": "marked" }))
            .unwrap()
            .evaluate(&boxes, &truth(), &[], None)
            .unwrap()
            .metrics;
        assert_eq!(values(&marked, "a"), [Some(1.0), Some(1.0), Some(1.0)]);
    }

    #[test]
    fn marked_boxes_that_touch_are_two_things() {
        let boxes = found(&[(0, 2, 0.5, [0.0, 0.0])]);
        let mark = |low: [f64; 2]| DrawnBox { label: 1, slice: 0, low, high: [low[0] + 2.0, low[1] + 2.0] };
        let marked = [mark([0.0, 0.0]), mark([0.0, 2.0])];
        let evaluate = built(json!({ "metrics": ["sensitivity"], "slices": "marked" })).unwrap();
        let metrics = evaluate.evaluate(&boxes, &truth(), &[], Some(&marked)).unwrap().metrics;
        assert_eq!(values(&metrics, "a"), [Some(0.5), Some(0.5)]);
        let none = evaluate.evaluate(&boxes, &truth(), &[], Some(&[])).unwrap().metrics;
        assert_eq!(values(&none, "a"), [None, None]);
    }

    #[test]
    fn what_nobody_drew_has_no_figure() {
        let evaluate = built(json!({ "metrics": ["ap50"] })).unwrap();
        let mask = Mask { label_names: ["a".to_owned()].into(), ..truth() };
        let Judged { metrics, pools } =
            evaluate.evaluate(&found(&[]), &mask, &["b".to_owned()], None).unwrap();
        // The case is not counted among those that have the label, over several cases.
        assert_eq!(pools.iter().map(|pool| pool.label.as_str()).collect::<Vec<_>>(), ["a"]);
        let states: Vec<_> =
            metrics.iter().map(|metric| (metric.label.as_str(), metric.state.clone())).collect();
        assert_eq!(states, [("a", Emptiness::EmptyPrediction.into()), ("b", State::NOT_IN_TRUTH)]);
        let unknown = evaluate.evaluate(&found(&[]), &mask, &[], None).unwrap_err();
        assert_eq!(unknown.code, "UNKNOWN_LABEL");
        let other = Detections { size: [1, 4, 4], ..found(&[]) };
        assert_eq!(evaluate.evaluate(&other, &truth(), &[], None).unwrap_err().code, "GRID_MISMATCH");
    }

    #[test]
    fn fields_that_do_not_go_together_are_named() {
        let field = |changes: Value| built(changes).err().unwrap()[0].field.clone();
        assert_eq!(field(json!({ "metrics": [] })), "metrics");
        assert_eq!(field(json!({ "metrics": ["ap50", "ap50"] })), "metrics");
        assert_eq!(field(json!({ "false_positives": [] })), "false_positives");
        assert_eq!(field(json!({ "false_positives": [0.5, 1.0, 0.5] })), "false_positives");
        assert!(built(json!({ "metrics": ["ap50"], "false_positives": [] })).is_ok());
    }
}
