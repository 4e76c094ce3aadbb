//! The prepared cases of a training: in memory, or read by place.

use std::fs::File;
use std::sync::Arc;

use tomoflow_connectors::{Digest, Reject};

use super::artifact::PreparedArtifact;
use super::beside::known;
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
    /// The files from which cases are read by place; `None` where all of them are held in memory.
    pub filed: Option<&'a Arc<Files>>,
    /// Whether cases that nobody has drawn may have labels, by which they are trained on.
    pub adopts: bool,
}

impl Sets<'_> {
    /// Returns the cases of one part, and the names of their labels.
    pub fn of(&self, view: &View, part: Part) -> Result<(Dataset, Vec<String>), Reject> {
        let (mut cases, mut names) = (Vec::new(), Vec::new());
        for member in self.members {
            let Some(digest) = member.prepared else { continue };
            let stands = if self.is_adopted(member, digest) { Part::Train } else { member.part };
            if stands != part {
                continue;
            }
            let (case, labels) = match self.filed {
                Some(files) => files.case(digest, part != Part::Unlabelled)?,
                None => self.held(digest, part)?,
            };
            if part != Part::Unlabelled {
                names = labels;
            }
            cases.push(Arc::new(case));
        }
        Ok((Dataset::new(view.clone(), cases), names))
    }

    /// Whether a case that nobody has drawn has labels all the same. One that cannot be read is told of where it is read.
    fn is_adopted(&self, member: &Member, digest: Digest) -> bool {
        let heading = || {
            let file = File::open(self.context.artifacts.path(digest)).ok()?;
            PreparedArtifact::heading(&file).ok()
        };
        self.adopts && member.part == Part::Unlabelled && heading().is_some_and(|heading| heading.labelled)
    }

    /// A case in memory; it is named by content: identifiers stay out of messages.
    fn held(&self, digest: Digest, part: Part) -> Result<(PreparedCase, Vec<String>), Reject> {
        let prepared = PreparedArtifact::decode(&self.context.artifact(digest)?)?;
        let (size, spacing_mm) = (prepared.geometry.size, prepared.geometry.spacing_mm());
        let case = match prepared.labels {
            _ if part == Part::Unlabelled => {
                PreparedCase::undrawn(digest.short(), size, spacing_mm, prepared.scan)?
            }
            Some(labels) => {
                let case = PreparedCase::new(digest.short(), size, spacing_mm, prepared.scan, labels)?;
                known(case, prepared.boxes, prepared.unknown, &prepared.label_names)
            }
            None => return Err(no_labels()),
        };
        Ok((case, prepared.label_names))
    }
}
