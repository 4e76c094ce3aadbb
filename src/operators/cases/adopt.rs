//! Cases that nobody has drawn, with what a network found as if somebody had: for a training alone.

use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{Aspects, Kind, Output, Port, Section, Spec};

/// The declaration of the type `adopt`.
pub static SPEC: Spec = Spec {
    name: "adopt",
    section: Section::Operators,
    summary: "Gives cases without outlines the masks that a network made of them, as labels to train on.",
    doc: "A case that has outlines keeps them. A case without outlines adopts the mask that was made of it, \
          matched by the names of labels, and a training learns from it. Adopted labels serve for training \
          alone: such cases are in the part `unlabelled` of the split, and the shares and folds are dealt \
          without them, so that successive rounds share one split. Cases of patients who are validated or \
          tested on adopt no mask. `evaluate` and `labels_as_masks` refuse adopted labels, since a \
          prediction is no truth.\n\n\
          A training waits until every such case has its mask, or its mask has failed for good; a case whose \
          mask failed stays without labels. A label of which a mask has no voxel is noted as a row \
          `ADOPTED_WITHOUT` in `rejects`; the case is not refused, and teaches that the label is not there. \
          A case that later gets outlines of its own counts as a new labelled case.\n\n\
          One round of learning from predictions is this chain of stages: `infer` with `keep = \
          [\"probabilities\"]`, `crf`, `adopt`, samples (`patches`, `stack` or `bag`), and `train`.",
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
