//! An evaluator that keeps what its comparisons of one case add to figures over several cases.

use std::sync::{Mutex, PoisonError};

use super::evaluate::pools::Pool;
use crate::operators::registry::Evaluator;
use crate::operators::value::{Failure, Mask, Metric};

/// Another evaluator, and what its comparisons so far add, label by label.
pub struct Pooling<'a> {
    evaluator: &'a dyn Evaluator,
    pools: Mutex<Vec<Pool>>,
}

impl<'a> Pooling<'a> {
    /// Nothing was compared so far.
    pub fn new(evaluator: &'a dyn Evaluator) -> Self {
        Self { evaluator, pools: Mutex::default() }
    }

    /// What the comparisons add.
    pub fn into_pools(self) -> Vec<Pool> {
        self.pools.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Evaluator for Pooling<'_> {
    fn evaluate(&self, mask: &Mask, truth: &Mask) -> Result<Vec<Metric>, Failure> {
        let (metrics, own) = self.evaluator.judge(mask, truth)?;
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        // A label that is compared again is compared with all that it holds, and that is what counts.
        pools.retain(|known| own.iter().all(|pool| pool.label != known.label));
        pools.extend(own);
        Ok(metrics)
    }

    fn leaves_out(&self) -> bool {
        self.evaluator.leaves_out()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tomoflow_connectors::{Geometry, LabelMap};

    use super::*;
    use crate::metrics::Confusion;
    use crate::operators::registry::Stage;
    use crate::operators::scores::evaluate::ENTRY;
    use crate::operators::scores::regions;

    fn mask(names: &[&str], voxels: &[u16]) -> Mask {
        let geometry = Geometry::axis_aligned([1, 1, voxels.len()], [1.0; 3]);
        let labels = Arc::new(LabelMap::new(geometry, voxels.to_vec()).unwrap());
        Mask { labels, label_names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn evaluator(metrics: &[&str]) -> Arc<dyn Evaluator> {
        let config = json!({
            "metrics": metrics, "empty": "nan", "tolerance_mm": 1.0, "lesion_iou": 0.5, "pooled": true,
        });
        let Ok(Stage::Evaluate(evaluator)) = (ENTRY.build)(config.as_object().unwrap()) else {
            panic!("an evaluator expected")
        };
        evaluator
    }

    #[test]
    fn a_liver_adds_what_its_region_comes_to() {
        let names = ["liver", "lesion"];
        let truth = mask(&names, &[0, 1, 1, 2, 2, 0]);
        let found = mask(&names, &[0, 1, 1, 1, 2, 2]);
        let nested = [("liver".to_owned(), vec!["lesion".to_owned()])];
        let evaluator = evaluator(&["dice", "lesion_recall"]);
        assert!(evaluator.pools());
        let pooling = Pooling::new(&*evaluator);
        let metrics = regions::evaluate(&pooling, &found, &truth, &nested).unwrap();
        assert_eq!(metrics, regions::evaluate(&*evaluator, &found, &truth, &nested).unwrap());
        let mut pools = pooling.into_pools();
        pools.sort_by(|a, b| a.label.cmp(&b.label));
        let counts: Vec<_> = pools.iter().map(|pool| (pool.label.as_str(), pool.counts)).collect();
        let lesion = Confusion { tp: 1, fp: 1, fn_: 1 };
        assert_eq!(counts, [("lesion", lesion), ("liver", Confusion { tp: 4, fp: 1, fn_: 0 })]);
        assert!(pools.iter().all(|pool| pool.lesions.as_ref().is_some_and(|own| own.each.len() == 1)));
    }

    #[test]
    fn a_label_that_the_mask_does_not_have_adds_nothing() {
        let truth = mask(&["liver", "lesion"], &[1, 2]);
        let evaluator = evaluator(&["dice"]);
        let pooling = Pooling::new(&*evaluator);
        pooling.evaluate(&mask(&["liver"], &[1, 0]), &truth).unwrap();
        let pools = pooling.into_pools();
        assert_eq!((pools.len(), pools[0].label.as_str(), &pools[0].lesions), (1, "liver", &None));
    }
}
