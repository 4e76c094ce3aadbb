//! What is known of a prepared case beside its voxels.

use crate::operators::samples::dataset::{CaseBox, PreparedCase};
use crate::voxels::ignored::IGNORED_CLASS;

/// A drawn case with what is known of it beside its voxels: boxes, labels that nobody looked for, voxels that nobody
/// labelled.
pub(super) fn known(
    case: PreparedCase,
    boxes: Option<Vec<CaseBox>>,
    unknown: Vec<u8>,
    names: &[String],
) -> PreparedCase {
    let case = case.marked(boxes).without(unknown.into());
    // Where there are as many labels as a byte has values, the greatest is one of them.
    if names.len() < usize::from(IGNORED_CLASS) { case.ignoring() } else { case }
}
