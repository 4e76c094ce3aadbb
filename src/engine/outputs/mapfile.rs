//! The maps beside masks: whose they are, and one case's as files for other programs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tomoflow_connectors::{Digest, Geometry, Reject, nifti};

use super::maskfile::{file_name, whole};
use crate::engine::driver::Driver;
use crate::executor::Context;
use crate::executor::maps::{MapKind, MapsArtifact};
use crate::executor::work::SeriesRow;
use crate::networks::MapKinds;
use crate::operators::registry::Stage;
use crate::pipeline::Plan;

/// The maps that stand behind the masks of one stage.
pub(in crate::engine) struct KeptMaps {
    /// The inferences whose masks these are made from: each with its name, what its `keep` asks for, and the
    /// artifact of each case.
    stages: Vec<(String, MapKinds, BTreeMap<Arc<str>, Digest>)>,
}

impl KeptMaps {
    /// Takes the maps behind the masks of `stage`. `declared` is the plan with what is asked for:
    /// who only shows works on one that asks for nothing.
    pub fn of(declared: &AskedMaps, plan: &Plan, driver: &Driver, stage: usize) -> Self {
        let stages = inferences(plan, stage).into_iter().filter_map(|index| {
            let name = &plan.stages[index].name;
            let kinds = declared.0.get(name).copied().filter(|kinds| kinds.any())?;
            Some((name.clone(), kinds, driver.maps(index)))
        });
        Self { stages: stages.collect() }
    }

    /// The maps of a case: the inference's name, and what it kept of what is asked for now.
    ///
    /// # Errors
    /// When an artifact is gone or damaged.
    pub fn read(&self, context: &Context, case: &str) -> Result<Vec<(&str, MapsArtifact)>, Reject> {
        let mut found = Vec::new();
        for (name, kinds, artifacts) in &self.stages {
            let Some(artifact) = artifacts.get(case) else { continue };
            let mut maps = MapsArtifact::decode(&context.artifact(*artifact)?)?;
            maps.maps.retain(|(kind, _)| match kind {
                MapKind::Probability(_) => kinds.probabilities,
                MapKind::Entropy => kinds.entropy,
                MapKind::Attention => kinds.attention,
            });
            found.push((name.as_str(), maps));
        }
        Ok(found)
    }

    /// The files that [`Self::write`] writes of a case.
    ///
    /// # Errors
    /// When an artifact is gone or damaged.
    pub fn names(&self, context: &Context, series: &SeriesRow, case: &str) -> Result<Vec<String>, Reject> {
        let of = |(stage, maps): (&str, MapsArtifact)| -> Vec<String> {
            maps.maps.iter().map(|(kind, _)| self.name(case, stage, &maps.name(*kind))).collect()
        };
        Ok(self.read(context, &series.key)?.into_iter().flat_map(of).collect())
    }

    fn name(&self, case: &str, stage: &str, map: &str) -> String {
        // A label's name is a user's or a file's: it must not choose where we write.
        let map = file_name(map);
        if self.stages.len() > 1 {
            format!("{case}.{stage}.{map}.nii.gz")
        } else {
            format!("{case}.{map}.nii.gz")
        }
    }

    /// Writes the maps of a case as `CASE.entropy.nii.gz` and so on, floats of shares from 0 to 1 and NaN where nothing
    /// is known; `CASE.STAGE.entropy.nii.gz` where there are several inferences. Names the files in the folder.
    ///
    /// # Errors
    /// When an artifact is gone or damaged, or a file cannot be written.
    pub fn write(
        &self,
        context: &Context,
        series: &SeriesRow,
        case: &str,
        folder: &Path,
    ) -> Result<Vec<String>, Reject> {
        let geometry = Geometry::from(&series.grid);
        let mut written = Vec::new();
        for (stage, maps) in self.read(context, &series.key)? {
            for (kind, planes) in &maps.maps {
                let name = self.name(case, stage, &maps.name(*kind));
                let volume = MapsArtifact::volume(planes, &geometry)?;
                whole(folder.join(&name), |path| nifti::write_scan(path, &volume))?;
                written.push(name);
            }
        }
        Ok(written)
    }
}

/// What `keep` asks for, by the names of inferences.
pub(in crate::engine) struct AskedMaps(BTreeMap<String, MapKinds>);

impl AskedMaps {
    /// Returns the maps that the inferences of a pipeline keep.
    pub fn of(plan: &Plan) -> Self {
        let kinds = plan.stages.iter().filter_map(|stage| match &stage.stage {
            Stage::Infer(infer) => Some((stage.name.clone(), infer.options.keep)),
            _ => None,
        });
        Self(kinds.collect())
    }
}

/// The inferences that the masks of a stage are made from, by their places in the plan.
fn inferences(plan: &Plan, stage: usize) -> Vec<usize> {
    let (mut open, mut found) = (vec![stage], Vec::new());
    while let Some(index) = open.pop() {
        match &plan.stages[index].stage {
            Stage::Infer(_) if !found.contains(&index) => found.push(index),
            Stage::Mask(_) | Stage::Paint(_) | Stage::Combine(_) | Stage::Crf(_) => {
                open.extend(&plan.stages[index].inputs)
            }
            _ => {}
        }
    }
    found.sort_unstable();
    found
}
