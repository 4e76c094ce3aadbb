//! A slice with boxes, those of the truth beside those that were found.

use tomoflow_connectors::Digest;

use super::{Candidate, Picture, PictureBox, windowed};
use crate::engine::outputs::identity::Identity;
use crate::executor::{Context, artifact};
use crate::operators::value::{Case, DetectedBox};

/// Boxes that are less sure than this are not shown, but for the surest one.
const SURE: f64 = 0.5;

/// The most boxes that are shown.
const MOST: usize = 8;

/// The slice with the most things of a case, or with the surest box where there is nothing; none when its files are gone.
pub(super) fn draw(
    context: &Context,
    identity: &Identity,
    candidate: &Candidate,
    found: Digest,
    case: &Case,
) -> Option<Picture> {
    let found = artifact::decode_found(&context.artifact(found).ok()?).ok()?;
    let series = &candidate.case.series;
    let truth = context.partial_truth(series, candidate.case.labels.as_ref()?).ok()?;
    let kinds = found.things.numbered(&truth.mask.label_names).ok()?;
    let things = |slice: usize| -> Vec<PictureBox> {
        let of_truth = |low, high| PictureBox { low, high, score: None };
        match &truth.boxes {
            Some(boxes) => {
                let own = kinds.marked_on(boxes, slice);
                own.into_iter().map(|(_, bounds)| of_truth(bounds.low, bounds.high)).collect()
            }
            None => {
                let [_, height, width] = truth.mask.labels.size();
                let (parts, _) = kinds.of_slice(truth.mask.labels.slice(slice), [height, width]);
                let edges = |edges: [usize; 2]| edges.map(|edge| edge as f64);
                parts.into_iter().map(|(_, part)| of_truth(edges(part.low), edges(part.high))).collect()
            }
        }
    };
    let depth = case.scan.size()[0];
    let counts: Vec<usize> = (0..depth).map(|slice| things(slice).len()).collect();
    let sure = |a: &&DetectedBox, b: &&DetectedBox| a.score.total_cmp(&b.score);
    let slice = match counts.iter().enumerate().max_by_key(|(_, count)| **count)? {
        (slice, count) if *count > 0 => slice,
        _ => found.boxes.iter().max_by(sure).map_or(depth / 2, |own| own.slice as usize),
    };
    let mut own: Vec<&DetectedBox> = found.boxes.iter().filter(|own| own.slice as usize == slice).collect();
    own.sort_by(|a, b| b.score.total_cmp(&a.score));
    let shown =
        own.into_iter().enumerate().take_while(|(place, own)| *place == 0 || own.score >= SURE).take(MOST);
    let mut boxes: Vec<PictureBox> =
        shown.map(|(_, own)| PictureBox { low: own.low, high: own.high, score: Some(own.score) }).collect();
    boxes.extend(things(slice));
    if slice >= depth {
        return None;
    }
    Some(Picture {
        case: identity.show(&series.key),
        figure: "AP50",
        dice: candidate.dice,
        split: candidate.split.clone(),
        slice,
        geometry: case.scan.geometry().clone(),
        pixels: windowed(case.scan.slice(slice)),
        truth: None,
        prediction: None,
        heats: Vec::new(),
        boxes,
    })
}
