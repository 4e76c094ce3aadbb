//! What a training begins with: the model of another stage, or a file.

use std::sync::Arc;

use tomoflow_connectors::Digest;

use super::super::rows::ModelRow;
use super::{Built, Rows};
use crate::operators::models::train::Train;
use crate::store::Pin;

/// A kept model, and the content of the one that its training began with.
pub(super) type Begun = (Pin, Option<Digest>);

impl<'s> Built<'s, '_> {
    /// The model that a training begins with, once it is there; none of one that begins with numbers of its own.
    pub(super) fn start(
        &self,
        index: usize,
        train: &Train,
        files: Rows<'s, Digest>,
    ) -> Option<Rows<'s, ((), ModelRow)>> {
        train.start.as_ref()?;
        Some(match self.plan.start(index) {
            Some(stage) => self.models[&stage].clone(),
            None => files.map(|model| ((), ModelRow { model, parts: Arc::default() })),
        })
    }
}

/// The kept models that hold: of those that began with another model only where it is the one that there is.
pub(super) fn in_force<'s>(
    pins: Rows<'s, Begun>,
    start: Option<&Rows<'s, ((), ModelRow)>>,
) -> Rows<'s, ((), Pin)> {
    let Some(start) = start else { return pins.map(|(pin, _)| ((), pin)) };
    let now = start.clone().map(|(_, row)| row.model).distinct();
    pins.flat_map(|(pin, began)| Some((began?, pin))).semijoin(now).map(|(_, pin)| ((), pin))
}
