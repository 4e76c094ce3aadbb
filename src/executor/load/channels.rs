//! Cases of several channels, each of which is a scan of its own.

use tomoflow_connectors::Reject;

use super::Context;
use crate::executor::work::{Beside, BoundCase, Other, ScanForm, SeriesRow};
use crate::operators::cases::channels::{self, JoinChannels};
use crate::operators::registry::Stage;
use crate::operators::value::Case;

impl Context {
    /// A case of several channels, each as it comes to the stage that puts them together.
    pub(super) fn joined(&self, stage: usize, join: &JoinChannels, row: &BoundCase) -> Result<Case, Reject> {
        let inputs = &self.plan.stages[stage].inputs;
        let (Some((&first, inputs)), Some(beside)) = (inputs.split_first(), &row.beside) else {
            return Err(Reject::new("CHANNELS_DIFFER", "a case of several channels expected, one found", ""));
        };
        let first = self.case(first, &row.first())?;
        let other = |(&input, other): (&usize, &Other)| match other.case() {
            Some(case) => self.case(input, &case).map(channels::Other::There),
            None => Ok(channels::Other::Missing(other.channels.into())),
        };
        let others = inputs.iter().zip(&beside.others).map(other).collect::<Result<_, _>>()?;
        join.join(&first, others, beside.names.clone())
    }

    /// A case with all of its channels as they were scanned, on the grid of the first, before any transform.
    ///
    /// # Errors
    /// As for [`Context::assembled`]; `NO_STAGE` where nothing in the pipeline puts these channels together.
    pub fn scanned(&self, row: &BoundCase) -> Result<Case, Reject> {
        let Some(beside) = &row.beside else {
            return Err(Reject::new("CHANNELS_DIFFER", "a case of several channels expected, one found", ""));
        };
        let of_these = |stage: usize| match &self.plan.stages[stage].stage {
            Stage::Channels(join) if self.puts_together(stage, row, beside) => Some((stage, join)),
            _ => None,
        };
        let mut last = Reject::new(
            "NO_STAGE",
            "a stage that puts these channels together expected",
            "run the pipeline again",
        );
        // The row does not say which stage made it: the first of those whose sources can read it is taken.
        for (stage, join) in (0..self.plan.stages.len()).filter_map(of_these) {
            match self.scanned_by(stage, join, row, beside) {
                Ok(case) => return Ok(case),
                Err(reject) => last = reject,
            }
        }
        Err(last)
    }

    /// Whether a stage puts such channels together, as many of each input and of sources of such a form.
    fn puts_together(&self, stage: usize, row: &BoundCase, beside: &Beside) -> bool {
        let counts: Vec<usize> = self.plan.input_channels(stage).iter().map(Vec::len).collect();
        let others: Vec<usize> = beside.others.iter().map(|other| usize::from(other.channels)).collect();
        let reads = |input: usize, series: &SeriesRow| match self.plan.stages[self.plan.origin(input)].stage {
            Stage::Scans(_) => series.form != ScanForm::Instances,
            _ => series.form == ScanForm::Instances,
        };
        let inputs = &self.plan.stages[stage].inputs;
        let scans = std::iter::once(Some(&row.series));
        let mut scans = scans.chain(beside.others.iter().map(|other| other.series.as_ref()));
        *self.plan.channels(stage) == *beside.names
            && counts.get(1..).is_some_and(|counts| *counts == *others)
            && inputs.iter().all(|&input| scans.next().flatten().is_none_or(|series| reads(input, series)))
    }

    fn scanned_by(
        &self,
        stage: usize,
        join: &JoinChannels,
        row: &BoundCase,
        beside: &Beside,
    ) -> Result<Case, Reject> {
        let origin = |place: usize| self.plan.origin(self.plan.stages[stage].inputs[place]);
        let first = self.assembled(origin(0), &row.first())?;
        let other = |(place, other): (usize, &Other)| match other.case() {
            Some(case) => self.assembled(origin(place), &case).map(channels::Other::There),
            None => Ok(channels::Other::Missing(other.channels.into())),
        };
        let others = (1..).zip(&beside.others).map(other).collect::<Result<_, _>>()?;
        join.join_scanned(&first, others, beside.names.clone())
    }
}
