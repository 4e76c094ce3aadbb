//! Labels that hold others: a liver is every voxel of it, its lesions included.

use std::sync::Arc;

use tomoflow_connectors::LabelMap;

use crate::metrics::State;
use crate::operators::registry::Evaluator;
use crate::operators::value::{Failure, Mask, Metric};
use crate::voxels::grid::check_same_size;
use crate::voxels::ignored::{self, IGNORED};

/// Figures of a mask against a truth in which labels may lie within others: `nested` has labels that hold others, each
/// with those that are a part of it. The region of a label is compared with the same region of the mask, whose
/// labels are matched by name, as nnU-Net's regions and the scoring of LiTS do.
///
/// # Errors
/// As the evaluator.
pub fn evaluate(
    evaluator: &dyn Evaluator,
    mask: &Mask,
    truth: &Mask,
    nested: &[(String, Vec<String>)],
) -> Result<Vec<Metric>, Failure> {
    let (mask, truth) = &counted(evaluator, mask, truth)?;
    let mut metrics = evaluator.evaluate(mask, truth)?;
    for (name, within) in nested {
        if !truth.label_names.contains(name) || !mask.label_names.contains(name) {
            continue;
        }
        let names: Vec<&String> = std::iter::once(name).chain(within).collect();
        let [found, wanted] = [region(mask, name, &names)?, region(truth, name, &names)?];
        let of_region = evaluator.evaluate(&found, &wanted)?;
        let place = metrics.iter().position(|metric| metric.label == *name).unwrap_or(metrics.len());
        metrics.retain(|metric| metric.label != *name);
        metrics.splice(place..place, of_region);
    }
    Ok(metrics)
}

/// A label of a mask by its name, where there is one: a mask that holds the voxels of this one alone.
pub type Layer<'a> = dyn Fn(&str) -> Result<Option<Mask>, Failure> + 'a;

/// Figures of a mask whose labels may overlap, each by itself against its region of the truth. A label that the mask does
/// not have gets rows of the state `not_in_mask`.
///
/// # Errors
/// As the evaluator; `LABEL_MISMATCH` where no label is in both.
pub fn evaluate_each(
    evaluator: &dyn Evaluator,
    (names, layer): (&[String], &Layer<'_>),
    truth: &Mask,
    nested: &[(String, Vec<String>)],
) -> Result<Vec<Metric>, Failure> {
    let (mut metrics, mut missing) = (Vec::new(), Vec::new());
    for name in truth.label_names.iter() {
        let Some(found) = layer(name)? else {
            missing.push((metrics.len(), name));
            continue;
        };
        let within = nested.iter().filter(|(outer, _)| outer == name).flat_map(|(_, within)| within);
        let of_region: Vec<&String> = std::iter::once(name).chain(within).collect();
        let [found, wanted] = [region(&found, name, &[name])?, region(truth, name, &of_region)?];
        let (found, wanted) = counted(evaluator, &found, &wanted)?;
        metrics.extend(evaluator.evaluate(&found, &wanted)?);
    }
    let Some(first) = metrics.first().map(|metric: &Metric| metric.label.clone()) else {
        let wanted = truth.label_names.join(", ");
        let message = format!("a mask with one of the labels {wanted} expected, {} found", names.join(", "));
        let hint = "labels are matched by name: a network's label must be called as in the truth";
        return Err(Failure::new("LABEL_MISMATCH", message, hint));
    };
    let figures: Vec<Metric> = metrics.iter().filter(|metric| metric.label == first).cloned().collect();
    // The missing rows are put in from behind, so that places stay what they were.
    for (place, name) in missing.into_iter().rev() {
        let none = |figure: &Metric| Metric {
            label: name.clone(),
            value: None,
            state: State::NOT_IN_MASK,
            ..figure.clone()
        };
        metrics.splice(place..place, figures.iter().map(none));
    }
    Ok(metrics)
}

/// Mask and truth as an evaluator is to see them where nobody labelled some voxels: the mask says so of the same ones, or,
/// where the evaluator does not know of such, both have nothing there.
fn counted(evaluator: &dyn Evaluator, mask: &Mask, truth: &Mask) -> Result<(Mask, Mask), Failure> {
    if !ignored::any(truth.labels.voxels()) {
        return Ok((mask.clone(), truth.clone()));
    }
    check_same_size("a mask", truth.labels.size(), mask.labels.size())?;
    let value = if evaluator.leaves_out() { IGNORED } else { 0 };
    let both = mask.labels.voxels().iter().zip(truth.labels.voxels());
    let found = both.map(|(found, truth)| if *truth == IGNORED { value } else { *found }).collect();
    let mask = of_voxels(mask, found)?;
    match evaluator.leaves_out() {
        true => Ok((mask, truth.clone())),
        false => Ok((mask, of_voxels(truth, ignored::as_background(truth.labels.voxels()))?)),
    }
}

fn of_voxels(mask: &Mask, voxels: Vec<u16>) -> Result<Mask, Failure> {
    let labels = LabelMap::new(mask.labels.geometry().clone(), voxels)
        .map_err(|error| Failure::new("GRID_MISMATCH", error.to_string(), ""))?;
    Ok(Mask { labels: Arc::new(labels), label_names: mask.label_names.clone() })
}

/// The voxels of labels with these names, as one label.
fn region(mask: &Mask, name: &str, names: &[&String]) -> Result<Mask, Failure> {
    let inside: Vec<bool> =
        std::iter::once(false).chain(mask.label_names.iter().map(|name| names.contains(&name))).collect();
    let within = |label: &u16| match *label {
        IGNORED => IGNORED,
        label => u16::from(inside.get(usize::from(label)).copied().unwrap_or(false)),
    };
    let voxels = mask.labels.voxels().iter().map(within).collect();
    let labels = LabelMap::new(mask.labels.geometry().clone(), voxels)
        .map_err(|error| Failure::new("GRID_MISMATCH", error.to_string(), ""))?;
    Ok(Mask { labels: Arc::new(labels), label_names: [name.to_owned()].into() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tomoflow_connectors::Geometry;

    use super::*;
    use crate::operators::registry::Stage;
    use crate::operators::scores::evaluate::ENTRY;

    fn mask(names: &[&str], voxels: &[u16]) -> Mask {
        let geometry = Geometry::axis_aligned([1, 1, voxels.len()], [1.0; 3]);
        let labels = Arc::new(LabelMap::new(geometry, voxels.to_vec()).unwrap());
        Mask { labels, label_names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn dice(mask: &Mask, truth: &Mask, nested: &[(String, Vec<String>)]) -> Vec<(String, Option<f64>)> {
        let config = json!({ "metrics": ["dice"], "empty": "nan", "tolerance_mm": 1.0, "lesion_iou": 0.5 });
        let Ok(Stage::Evaluate(evaluator)) = (ENTRY.build)(config.as_object().unwrap()) else {
            panic!("an evaluator expected")
        };
        let metrics = evaluate(&*evaluator, mask, truth, nested).unwrap();
        metrics.into_iter().map(|metric| (metric.label, metric.value)).collect()
    }

    #[test]
    fn a_liver_holds_its_lesion() {
        let names = ["liver", "lesion"];
        let truth = mask(&names, &[0, 1, 1, 2, 2, 0]);
        let value = |label: &str, value| (label.to_owned(), Some(value));
        // The whole liver was found, and no lesion in it.
        let found = mask(&names, &[0, 1, 1, 1, 1, 0]);
        let nested = [("liver".to_owned(), vec!["lesion".to_owned()])];
        assert_eq!(dice(&found, &truth, &nested), [value("liver", 1.0), value("lesion", 0.0)]);
        assert_eq!(dice(&found, &truth, &[])[0], value("liver", 2.0 * 2.0 / 6.0));
        // The voxel that was found as lesion is liver as well, in a mask whose labels are numbered otherwise.
        let turned = mask(&["lesion", "liver"], &[0, 2, 2, 1, 1, 0]);
        assert_eq!(dice(&turned, &truth, &nested), [value("liver", 1.0), value("lesion", 1.0)]);
        // A mask of the liver alone is compared with all of the liver.
        let alone = mask(&["liver"], &[0, 1, 1, 1, 1, 0]);
        assert_eq!(dice(&alone, &truth, &nested), [value("liver", 1.0), ("lesion".to_owned(), None)]);
    }

    #[test]
    fn labels_that_overlap_are_compared_one_by_one() {
        let names = ["liver", "lesion", "cyst"];
        let truth = mask(&names, &[0, 1, 1, 2, 2, 0]);
        let config = json!({ "metrics": ["dice"], "empty": "nan", "tolerance_mm": 1.0, "lesion_iou": 0.5 });
        let Ok(Stage::Evaluate(evaluator)) = (ENTRY.build)(config.as_object().unwrap()) else {
            panic!("an evaluator expected")
        };
        // The liver with one of its lesion's voxels, and a lesion that juts out of it.
        let layer = |name: &str| {
            Ok(match name {
                "liver" => Some(mask(&["liver", "lesion"], &[0, 1, 1, 1, 0, 0])),
                "lesion" => Some(mask(&["liver", "lesion"], &[0, 0, 0, 2, 2, 2])),
                _ => None,
            })
        };
        let nested = [("liver".to_owned(), vec!["lesion".to_owned()])];
        let has = ["liver", "lesion"].map(str::to_owned);
        let found = evaluate_each(&*evaluator, (&has, &layer), &truth, &nested).unwrap();
        let found: Vec<_> =
            found.iter().map(|metric| (metric.label.as_str(), metric.value, metric.state.name())).collect();
        let expected =
            [("liver", Some(6.0 / 7.0), "ok"), ("lesion", Some(0.8), "ok"), ("cyst", None, "not_in_mask")];
        assert_eq!(found, expected);
        let none = |_: &str| Ok(None);
        let error = evaluate_each(&*evaluator, (&has, &none), &truth, &nested).unwrap_err();
        assert_eq!(error.code, "LABEL_MISMATCH");
    }

    #[test]
    fn voxels_that_nobody_labelled_are_in_no_figure() {
        const NONE: u16 = IGNORED;
        let truth = mask(&["liver", "lesion"], &[0, 1, NONE, 2, NONE, 0]);
        let found = mask(&["liver", "lesion"], &[1, 1, 1, 2, 2, 0]);
        let value = |label: &str, value| (label.to_owned(), Some(value));
        assert_eq!(dice(&found, &truth, &[]), [value("liver", 2.0 / 3.0), value("lesion", 1.0)]);
        let nested = [("liver".to_owned(), vec!["lesion".to_owned()])];
        assert_eq!(dice(&found, &truth, &nested), [value("liver", 0.8), value("lesion", 1.0)]);
        // An evaluator that does not know of such voxels sees neither mask nor truth in them.
        struct Sizes;
        impl Evaluator for Sizes {
            fn evaluate(&self, mask: &Mask, truth: &Mask) -> Result<Vec<Metric>, Failure> {
                let count =
                    |mask: &Mask| mask.labels.voxels().iter().map(|label| u32::from(*label)).sum::<u32>();
                let value = f64::from(100 * count(mask) + count(truth));
                let (label, metric, unit) = ("liver".to_owned(), "sum".to_owned(), "1".to_owned());
                Ok(vec![Metric { label, metric, value: Some(value), unit, state: State::OK }])
            }
        }
        assert_eq!(evaluate(&Sizes, &found, &truth, &[]).unwrap()[0].value, Some(403.0));
    }
}
