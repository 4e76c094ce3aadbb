//! Model files, whose content actions are keyed by.

use tomoflow_connectors::reading::{self, Held};
use tomoflow_connectors::{Digest, Reject};

use crate::operators::models::origin::{ModelFile, ModelSource};

/// The bytes of model files, which must be those that the action's key was made from.
pub(super) fn unchanged(files: &[ModelFile], digest: Digest) -> Result<Vec<Held>, Reject> {
    let unread = |error: std::io::Error| match reading::is_over(&error) {
        true => reading::refused(&error),
        false => Reject::new("IO", format!("the model file: {error}"), ""),
    };
    let contents: Vec<_> =
        files.iter().map(|file| reading::whole(file.path()).map_err(unread)).collect::<Result<_, _>>()?;
    let digests: Vec<_> = contents.iter().map(|bytes: &Held| Digest::of(bytes)).collect();
    if ModelSource::content(&digests) == digest {
        return Ok(contents);
    }
    Err(Reject::new("CHANGED", "the model file was changed during the run", "run again"))
}
