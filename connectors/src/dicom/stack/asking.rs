//! Asks the files of a series for what its records do not keep, where acquisitions may be mixed in a stack.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::assemble::{Assembled, StackPart, assemble_comparing};
use super::gaps::{Rules, says_between};
use super::passes::OVERLAP;
use crate::dicom::header::instance::Instance;
use crate::dicom::header::keywords::MoreTags;
use crate::dicom::header::record::{Record, read_record_with};
use crate::geometry::norm;
use crate::reading;

/// The tags that records do not keep, and that acquisitions of one series may differ in.
const MORE: [&str; 5] = ["FlipAngle", "InversionTime", "KVP", "ConvolutionKernel", "ContrastBolusAgent"];
/// The codes of stacks that acquisitions between one another may have made of two good ones.
const UNEVEN: [&str; 2] = ["MISSING_SLICE", "VARIABLE_SPACING"];
/// The notes on stacks that were told apart by InstanceNumber alone, which may mix acquisitions.
const BY_NUMBER: [&str; 2] =
    ["DUPLICATE_POSITION: split by InstanceNumber", "INTERLEAVED_ACQUISITIONS: split by InstanceNumber"];
/// The fewest slices of a stack that may be two passes.
const LEAST: usize = 6;
/// The number of places at which neighbours are compared.
const PLACES: usize = 5;

/// The stacks of one series as [`assemble_comparing`] gives them. Where acquisitions may be mixed in one, neighbours in
/// a few places are asked for tube voltage, kernel, contrast and the like, and where they differ all slices are; `file`
/// is the file of an instance.
pub fn assemble_asking<'p>(
    instances: &[&Instance],
    rules: Rules,
    file: impl Fn(usize) -> Option<&'p Path>,
    mut same: impl FnMut(usize, usize) -> bool,
) -> Vec<StackPart> {
    let parts = assemble_comparing(instances, rules, &mut same);
    let tags = MoreTags::new(MORE);
    // A file is asked once, whether as a neighbour or with all others.
    let asked = RefCell::new(BTreeMap::new());
    let ask = |index: usize| -> Option<Instance> {
        let mut asked = asked.borrow_mut();
        let answer = asked.entry(index);
        answer.or_insert_with(|| with_more_tags(file(index)?, instances.get(index)?, &tags)).clone()
    };
    if !parts.iter().any(|part| may_be_mixed(part, instances, &ask)) {
        return parts;
    }
    let more: Vec<Instance> = (0..instances.len()).map_while(ask).collect();
    if more.len() != instances.len() {
        return parts;
    }
    assemble_comparing(&more.iter().collect::<Vec<_>>(), rules, &mut same)
}

/// Whether a part may hold several acquisitions that what is known of them did not tell apart.
fn may_be_mixed(part: &StackPart, instances: &[&Instance], ask: &impl Fn(usize) -> Option<Instance>) -> bool {
    let single = |index: &usize| instances.get(*index).is_some_and(|instance| instance.frames.len() == 1);
    let asked = || {
        part.instances.len() >= LEAST
            && part.instances.iter().all(single)
            && neighbours_differ(&part.instances, ask)
    };
    match &part.verdict {
        Ok(stack) if stack.notes.iter().any(|note| BY_NUMBER.contains(&note.as_str())) => true,
        Ok(stack) => may_lie_between(stack, instances) && asked(),
        Err(reject) if reject.code == "DUPLICATE_POSITION_AMBIGUOUS" => true,
        Err(reject) => UNEVEN.contains(&reject.code.as_str()) && asked(),
    }
}

/// Whether slices of a stack may lie between those of another pass: they overlap, or may do, are not numbered in order,
/// or leave planes between them.
fn may_lie_between(stack: &Assembled, instances: &[&Instance]) -> bool {
    let frames = stack
        .slices
        .iter()
        .filter_map(|slice| instances.get(slice.instance)?.frames.get(slice.frame as usize));
    let thinnest = frames.clone().filter_map(|frame| frame.thickness_mm);
    let thinnest = thinnest.map(|length| length.0).fold(f64::INFINITY, f64::min);
    let numbers: Vec<f64> = frames
        .map(|frame| frame.order.get("InstanceNumber").and_then(|text| text.parse().ok()))
        .map(|number| number.unwrap_or(f64::NAN))
        .collect();
    let in_order = |up: bool| numbers.windows(2).all(|pair| (pair.first() < pair.last()) == up);
    let [step, ..] = stack.geometry.steps_mm;
    norm(step) * OVERLAP < thinnest
        || !(in_order(true) || in_order(false))
        || stack.notes.iter().any(|note| says_between(note))
}

/// Whether neighbours say different things, in a few places of a stack.
fn neighbours_differ(slices: &[usize], ask: &impl Fn(usize) -> Option<Instance>) -> bool {
    let said = |index: &usize| {
        let instance = ask(*index)?;
        Some(MORE.map(|keyword| instance.tags.get(keyword).cloned().unwrap_or_default()))
    };
    (1..=PLACES).any(|place| {
        let at = place * slices.len() / (PLACES + 1);
        let (Some(one), Some(next)) = (slices.get(at), slices.get(at + 1)) else { return false };
        matches!((said(one), said(next)), (Some(one), Some(next)) if one != next)
    })
}

/// An instance with the values of [`MORE`]; `None` where its file cannot be read, so that slices of which something is known
/// are never told apart from those of which nothing is.
fn with_more_tags(path: &Path, instance: &Instance, tags: &MoreTags) -> Option<Instance> {
    // This runs on a thread that may not wait.
    let Ok(Record::Instance(found)) = reading::urgently(|| read_record_with(path, tags)) else { return None };
    let mut more = (found.sop_uid == instance.sop_uid).then(|| instance.clone())?;
    let values = found.tags.iter().map(|(keyword, value)| (keyword.clone(), value.clone()));
    Arc::make_mut(&mut more.tags).extend(values);
    Some(more)
}
