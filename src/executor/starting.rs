//! The weights that a training begins with, and what is told of them.

use tomoflow_connectors::{Digest, Reject};

use super::ending::{misplaced, network};
use super::load::Context;
use super::model_files::unchanged;
use crate::networks::{Loaded, Start};
use crate::operators::models::origin::ModelSource;
use crate::operators::models::train::Train;

/// The code of a training that began with a part of what it was to begin with.
pub const PARTLY: &str = "START_IN_PART";

/// The weights that a training begins with; none where with numbers of its own.
pub(super) fn weights(context: &Context, train: &Train, models: &[Digest]) -> Result<Option<Start>, Reject> {
    let Some(start) = &train.start else { return Ok(None) };
    let [model] = models else { return Err(misplaced()) };
    let read = |bytes: &[u8], what: &str| Start::read(bytes, what, &start.names).map_err(network);
    match &start.source {
        ModelSource::Stages(names) => {
            let what = names.iter().map(|name| format!("`{name}`")).collect::<String>();
            read(&context.artifact(*model)?, &what).map(Some)
        }
        ModelSource::Files(files) => {
            let contents = unchanged(files, *model)?;
            let (Some(file), Some(bytes)) = (files.first(), contents.first()) else {
                return Err(misplaced());
            };
            let name = file.path().file_name().map_or_else(Default::default, |name| name.to_string_lossy());
            read(bytes, &format!("`{name}`")).map(Some)
        }
    }
}

/// Returns the reject that says that a training began with a part of the weights.
pub(super) fn partly(loaded: &Loaded) -> Option<Reject> {
    let hint = "see `names` of `start`, or let the networks have the same fields; what was not loaded began as without `start`";
    (!loaded.is_whole()).then(|| Reject::new(PARTLY, loaded.to_string(), hint))
}
