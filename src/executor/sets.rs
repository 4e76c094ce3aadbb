//! The prepared cases of a training: in memory, or read by place.

use std::sync::Arc;

use tomoflow_connectors::{Digest, Reject};

use super::artifact::PreparedArtifact;
use super::filed::{Files, no_labels};
use super::load::Context;
use super::work::Member;
use crate::operators::models::train::Part;
use crate::operators::samples::dataset::{Dataset, PreparedCase};
use crate::operators::samples::view::View;

/// The prepared cases of a training.
pub(super) struct Sets<'a> {
    pub context: &'a Context,
    pub members: &'a [Member],
    /// Where they are read by place; none where all of them are held in memory.
    pub filed: Option<&'a Arc<Files>>,
}

impl Sets<'_> {
    /// Those of one part, and the names of their labels.
    pub fn of(&self, view: &View, part: Part) -> Result<(Dataset, Vec<String>), Reject> {
        let (mut cases, mut names) = (Vec::new(), Vec::new());
        for member in self.members.iter().filter(|member| member.part == part) {
            let Some(digest) = member.prepared else { continue };
            let (case, labels) = match self.filed {
                Some(files) => files.case(digest, part != Part::Unlabelled)?,
                None => self.held(digest, part)?,
            };
            names = labels;
            cases.push(Arc::new(case));
        }
        Ok((Dataset::new(view.clone(), cases), names))
    }

    /// A case in memory; it is named by content: identifiers stay out of messages.
    fn held(&self, digest: Digest, part: Part) -> Result<(PreparedCase, Vec<String>), Reject> {
        let prepared = PreparedArtifact::decode(&self.context.artifact(digest)?)?;
        let (size, spacing_mm) = (prepared.geometry.size, prepared.geometry.spacing_mm());
        let case = match prepared.labels {
            _ if part == Part::Unlabelled => {
                PreparedCase::undrawn(digest.short(), size, spacing_mm, prepared.scan)?
            }
            Some(labels) => PreparedCase::new(digest.short(), size, spacing_mm, prepared.scan, labels)?,
            None => return Err(no_labels()),
        };
        Ok((case, prepared.label_names))
    }
}
