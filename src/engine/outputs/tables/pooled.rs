//! Rows of figures over all cases of a group together.

use tomoflow_connectors::table::SummaryRow;
use tomoflow_connectors::{Digest, Real, Reject};

use super::Tables;
use super::made::summary_row;
use crate::engine::rows::{Group, Sums};
use crate::executor::artifact;
use crate::metrics::Emptiness;
use crate::metrics::detection::Steps;
use crate::operators::registry::{Evaluator, Stage};
use crate::operators::scores::evaluate::pools::Pool;
use crate::operators::scores::evaluate_boxes::{EvaluateBoxes, Pool as BoxPool};

impl Tables {
    /// The figures of a group over what all its cases hold together.
    pub(super) fn pooled_rows(
        &self,
        entry: &str,
        group: &Group,
        pools: &[Digest],
    ) -> Result<Vec<SummaryRow>, Reject> {
        let mut stages = self.context.plan.stages.iter().filter(|stage| *stage.name == *group.stage);
        let (figures, sums) = match stages.next().map(|stage| &stage.stage) {
            Some(Stage::EvaluateBoxes(evaluate)) => self.pooled_boxes(evaluate, &group.label, pools)?,
            Some(Stage::Evaluate(evaluate)) => self.pooled_masks(&**evaluate, &group.label, pools)?,
            _ => return Err(Reject::new("MISPLACED", "a stage that judges expected", "please report it")),
        };
        let row = |(metric, value): (String, Option<f64>)| {
            let group = Group { metric: format!("pooled_{metric}").into(), ..group.clone() };
            let count = if value.is_some() { sums.count } else { 0 };
            let sums = Sums { count, mean: value.map(Real::new), ..sums.clone() };
            summary_row(entry.to_owned(), &group, &sums)
        };
        Ok(figures.into_iter().map(row).collect())
    }

    /// Figures over the images of all cases.
    fn pooled_boxes(&self, evaluate: &EvaluateBoxes, label: &str, pools: &[Digest]) -> Result<Told, Reject> {
        let (mut all, mut known) = (Steps::default(), 0);
        for pool in pools {
            let pools: Vec<BoxPool> = artifact::decode("list of steps", &self.context.artifact(*pool)?)?;
            // A case whose truth does not know the label has none of it.
            let own: Vec<BoxPool> = pools.into_iter().filter(|pool| *pool.label == *label).collect();
            known += u64::from(!own.is_empty());
            own.into_iter().for_each(|pool| all.add(pool.steps));
        }
        Ok((evaluate.figures(&all), of_cases(pools.len() as u64, known)))
    }

    /// Figures over the voxels and lesions of all cases.
    fn pooled_masks(&self, evaluate: &dyn Evaluator, label: &str, pools: &[Digest]) -> Result<Told, Reject> {
        let mut all = Vec::new();
        for pool in pools {
            let pools: Vec<Pool> = artifact::decode("list of counts", &self.context.artifact(*pool)?)?;
            all.extend(pools.into_iter().filter(|pool| *pool.label == *label));
        }
        let of = |state| all.iter().filter(|pool| pool.counts.state() == state).count() as u64;
        let sums = Sums {
            both_empty: of(Emptiness::BothEmpty),
            empty_reference: of(Emptiness::EmptyReference),
            empty_prediction: of(Emptiness::EmptyPrediction),
            ..of_cases(pools.len() as u64, all.len() as u64)
        };
        Ok((evaluate.pooled(&all), sums))
    }
}

/// Figures by name, and what is said of the cases behind them.
type Told = (Vec<(String, Option<f64>)>, Sums);

/// So many cases, of which those that do not know the label enter nothing.
fn of_cases(cases: u64, known: u64) -> Sums {
    Sums { figures: cases, count: known, other_states: cases.saturating_sub(known), ..Sums::default() }
}
