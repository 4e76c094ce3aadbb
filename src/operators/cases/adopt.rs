//! Cases that nobody has drawn, with what a network found as if somebody had: for a training alone.

use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{Aspects, Kind, Output, Port, Section, Spec};

/// The declaration of the type `adopt`.
pub static SPEC: Spec = Spec {
    name: "adopt",
    section: Section::Operators,
    summary: "Gives cases without outlines the masks that a network made of them, as labels to train on.",
    doc: "A case that has outlines keeps them. One without takes the mask that was made of it, by the names of its labels; \
          they are what a training learns from, and nothing else: such cases stand in the part `unlabelled` of its split, \
          whose shares and folds are dealt without them, so that rounds of learning from one another's masks share a \
          split. Of a patient who is validated or tested on none is taken. `evaluate` and `labels_as_masks` refuse \
          adopted labels: no prediction is a truth.\n\n\
          A training waits until every such case has its mask, or has failed for good; one whose mask failed stays \
          without labels. A label of which a mask has no voxel is a row `ADOPTED_WITHOUT` of `rejects` beside the case, \
          which refuses nothing: the case then teaches that it is not there. A case that gets outlines of its own is a new \
          labelled one.\n\n\
          Between rounds stand `infer` with `keep = [\"probabilities\"]`, `crf`, this, samples, and `train`.",
    version: 1,
    inputs: &[
        Port { name: "cases", accepts: &[Kind::Case], many: false },
        Port { name: "masks", accepts: &[Kind::Masks], many: false },
    ],
    output: Output::Is(Kind::Case),
    aspects: Aspects::Labels,
    fields: &[],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build: |_| Ok(Stage::Adopt) };
