//! Numbers of the archive in place of a scan's own.

use std::sync::Arc;

use serde_json::json;

use super::super::tally::Counted;
use super::Zscore;
use crate::operators::cases::rule::{Measured, Rule, Settled};
use crate::operators::registry::{Stage, Transform};
use crate::operators::spec::Config;
use crate::operators::value::{Case, Failure};
use crate::voxels::values::Foreground;

/// A normalisation by numbers of the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfArchive {
    /// What is measured.
    pub measured: Measured,
    /// The limits as they were said; the percentiles of the archive in their place are settled.
    pub clip: Option<[f64; 2]>,
    /// The normalisation by the archive's numbers, once there are some.
    pub settled: Option<Zscore>,
}

impl OfArchive {
    /// Zeros stay 0 where they do not count.
    fn foreground(&self) -> Foreground {
        match self.measured.counted {
            Counted::By(Foreground::Nonzero) => Foreground::Nonzero,
            _ => Foreground::None,
        }
    }
}

impl Transform for OfArchive {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        self.settled.as_ref().ok_or_else(|| Rule::Intensities(self.measured).unsettled())?.apply(case)
    }

    fn rule(&self) -> Option<Rule> {
        self.settled.is_none().then_some(Rule::Intensities(self.measured))
    }

    fn measures(&self) -> Option<Measured> {
        Some(self.measured)
    }

    fn settled(&self, config: &Config, settled: &Settled) -> Option<(Config, Stage)> {
        let (Settled::Intensities { mean, std, clip }, true) = (*settled, self.settled.is_none()) else {
            return None;
        };
        let (foreground, clip) = (self.foreground(), clip.or(self.clip));
        let mut config = config.clone();
        let word = if foreground == Foreground::Nonzero { "nonzero" } else { "none" };
        config.insert("foreground".to_owned(), json!(word));
        config.insert("statistics".to_owned(), json!("scan"));
        config.insert("mean".to_owned(), json!(mean));
        config.insert("std".to_owned(), json!(std));
        config.insert("clip".to_owned(), json!(clip));
        let zscore = Zscore { foreground, mean: Some(mean), std: Some(std), clip };
        Some((config, Stage::Transform(Arc::new(Self { settled: Some(zscore), ..*self }))))
    }
}
