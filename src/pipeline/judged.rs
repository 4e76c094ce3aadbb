//! Masks and the truths that they are compared with: labels of one name must be in both.

use super::declare::Declared;
use super::placement::{label_names, upstream};
use super::problem::Found;
use crate::operators::registry::Stage;
use crate::operators::value::listed;

/// Reports comparisons whose masks have no label of the truth, as far as the file says which labels there are.
pub(super) fn have_labels_in_common(
    stages: &[Declared],
    inputs: &[Vec<Option<usize>>],
    built: &[Option<Stage>],
    found: &mut Vec<Found>,
) {
    let all = All { inputs, built };
    for (index, stage) in stages.iter().enumerate() {
        let Some(Stage::Evaluate(_)) = &built[index] else { continue };
        let [Some(masks), Some(cases)] = [0, 1].map(|input| inputs[index].get(input).copied().flatten())
        else {
            continue;
        };
        let (Some((from, given)), Some(truth)) = (all.given(masks), all.truth(cases)) else { continue };
        if given.is_empty() || truth.is_empty() || given.iter().any(|name| truth.contains(name)) {
            continue;
        }
        let span = stage.table.key_at("inputs").map_or(stage.header, |key| key.span);
        let message = format!(
            "labels are compared by name: `{}` gives {}, the truth has {}",
            stages[from].name,
            listed(&given),
            listed(&truth)
        );
        let hint = format!("call it as in the truth: `label = \"{}\"` in `{}`", truth[0], stages[from].name);
        found.push(Found::new(span, message).label("every case would be refused").hint(hint));
    }
}

struct All<'a> {
    inputs: &'a [Vec<Option<usize>>],
    built: &'a [Option<Stage>],
}

impl All<'_> {
    /// The labels of masks, and the stage that gives them; `None` where the file alone does not say it.
    fn given(&self, masks: usize) -> Option<(usize, Vec<String>)> {
        for at in std::iter::once(masks).chain(upstream(self.inputs, masks)) {
            match self.built[at].as_ref()? {
                Stage::Segment(segmenter) => return Some((at, segmenter.label_names())),
                Stage::Mask(mask) if mask.keeps_names() => {}
                _ => return None,
            }
        }
        None
    }

    /// The labels that cases have; `None` where the file alone does not say it.
    fn truth(&self, cases: usize) -> Option<Vec<String>> {
        for at in std::iter::once(cases).chain(upstream(self.inputs, cases)) {
            match self.built[at].as_ref()? {
                Stage::Transform(_) | Stage::Channels(_) => {}
                Stage::Label { .. } => {
                    let source = self.inputs[at].get(1).copied().flatten()?;
                    return label_names(self.built[source].as_ref()?);
                }
                _ => return None,
            }
        }
        None
    }
}
