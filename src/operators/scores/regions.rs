//! Labels that hold others: a liver is every voxel of it, its lesions included.

use std::sync::Arc;

use tomoflow_connectors::LabelMap;

use crate::operators::registry::Evaluator;
use crate::operators::value::{Failure, Mask, Metric};

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

/// The voxels of labels with these names, as one label.
fn region(mask: &Mask, name: &str, names: &[&String]) -> Result<Mask, Failure> {
    let inside: Vec<bool> =
        std::iter::once(false).chain(mask.label_names.iter().map(|name| names.contains(&name))).collect();
    let within = |label: &u16| u16::from(inside.get(usize::from(*label)).copied().unwrap_or(false));
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
        // What was found as lesion is liver as well, in a mask whose labels are numbered otherwise.
        let turned = mask(&["lesion", "liver"], &[0, 2, 2, 1, 1, 0]);
        assert_eq!(dice(&turned, &truth, &nested), [value("liver", 1.0), value("lesion", 1.0)]);
        // A mask of the liver alone is compared with all of the liver.
        let alone = mask(&["liver"], &[0, 1, 1, 1, 1, 0]);
        assert_eq!(dice(&alone, &truth, &nested), [value("liver", 1.0), ("lesion".to_owned(), None)]);
    }
}
