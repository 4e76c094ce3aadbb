//! How an action ends: its bytes kept, its failure named, either of them reported.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crossbeam_channel::Sender;
use tomoflow_connectors::Reject;

use super::artifact::{self, MaskArtifact};
use super::job::Finished;
use super::load::Context;
use super::work::Action;
use crate::networks::NetworkError;
use crate::operators::cases::resample::labels_to_grid;
use crate::operators::value::{Case, Mask};
use crate::store::{FigureRow, Outcome, Recorded};

/// A mask on the case's grid goes back to the scan's original grid, and becomes runs.
pub(super) fn mask_bytes(
    case: &Case,
    labels: tomoflow_connectors::LabelMap,
    names: &[String],
) -> Result<Vec<u8>, Reject> {
    let labels =
        if labels.geometry() == &*case.original { labels } else { labels_to_grid(&labels, &case.original)? };
    let mask = Mask { labels: Arc::new(labels), label_names: names.to_vec().into() };
    artifact::encode(&MaskArtifact::of(&mask))
}

/// Does the same for labels with a bit each, which may overlap.
pub(super) fn bit_bytes(
    case: &Case,
    bits: tomoflow_connectors::LabelMap,
    names: &[String],
) -> Result<Vec<u8>, Reject> {
    let bits = if bits.geometry() == &*case.original { bits } else { labels_to_grid(&bits, &case.original)? };
    MaskArtifact::of_bits(&bits, names).encode()
}

/// Keeps an action's bytes, which are no figures.
pub(super) fn put(context: &Context, bytes: &[u8]) -> Result<Outcome, Reject> {
    keep(context, bytes, Arc::default())
}

/// Keeps an action's bytes, beside the figures in them.
pub(super) fn keep(context: &Context, bytes: &[u8], figures: Arc<[FigureRow]>) -> Result<Outcome, Reject> {
    let artifact = context.artifacts.put(bytes).map_err(|error| {
        Reject::new("STORE", error.to_string(), "free some space, or give the pipeline another `out`")
    })?;
    let mut told = std::mem::take(&mut *context.told.lock().unwrap_or_else(PoisonError::into_inner));
    // A case may be drawn twice in an action.
    let mut seen = BTreeSet::new();
    told.retain(|told| seen.insert(told.clone()));
    Ok(Outcome::Ok { artifact, detail: None, figures, notes: told.into() })
}

/// Runs one action; a panic in it is its failure, not the pool's.
pub(super) fn guarded<T>(action: &Action, run: impl FnOnce() -> Result<T, Reject>) -> Result<T, Reject> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!(action = %action.key.short(), "an operator panicked: {text}");
        let hint = "this is a fault of the operator: please report it";
        Err(Reject::new("PANIC", format!("the operator panicked: {text}"), hint))
    })
}

/// Reports an action's end. A failure is data.
pub(super) fn finish(
    report: &Sender<Finished>,
    action: Action,
    result: Result<Outcome, Reject>,
    started: Instant,
) {
    let outcome = result.unwrap_or_else(Outcome::failed);
    let recorded = Recorded { outcome, seconds: started.elapsed().as_secs_f64() };
    // Nobody listens any more once a run has been cancelled.
    let _ = report.send(Finished { action, recorded });
}

pub(super) fn cancelled() -> Reject {
    Reject::new("CANCELLED", "no longer wanted", "")
}

pub(super) fn misplaced() -> Reject {
    Reject::new("MISPLACED", "the stage does not do this kind of work", "this is a fault: please report it")
}

/// Turns a network's failure into a reject: of the action, or of the machine.
pub(super) fn network(error: NetworkError) -> Reject {
    match error {
        NetworkError::Cancelled { .. } => cancelled(),
        // Out of memory, a full disk, a lost device: none of it is the action's.
        error @ (NetworkError::Io { .. } | NetworkError::Device { .. }) => device_failed(&error),
        NetworkError::Torch { ref message, .. } if message.contains("memory") || message.contains("CUDA") => {
            device_failed(&error)
        }
        error => {
            let text = error.to_string();
            let (message, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
            let code = if matches!(error, NetworkError::Logits { .. }) { "NOT_FINITE" } else { "NETWORK" };
            Reject::new(code, message, hint)
        }
    }
}

fn device_failed(error: &NetworkError) -> Reject {
    let hint = "a smaller `batch` needs less memory; it is tried again at the next run";
    Reject::new("DEVICE", error.to_string(), hint)
}
