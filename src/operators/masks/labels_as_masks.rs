//! Labels of cases as masks: what another program found, or another reader drew.

use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{Aspects, Kind, Output, Port, Section, Spec};

/// The declaration of the type `labels_as_masks`.
pub static SPEC: Spec = Spec {
    name: "labels_as_masks",
    section: Section::Operators,
    summary: "Turns the labels of cases into masks, as if a network had made them.",
    doc: "Segmentations of another program, or of another reader, take the place of a network's masks: they \
          can be post-processed, evaluated against the labels of another `label` stage over the same scans, \
          compared, reported and exported. Any source of labels can be used: `label_images` (NIfTI, NRRD, \
          MetaImage), `dicom_seg`, `rtstruct`.\n\n\
          Masks are on the scan's original grid, whatever transforms come before. A case without labels has \
          no mask, and a row `NO_MASK_OF_LABELS` in `rejects`. A label for which a case has no file or \
          structure is left out of its mask: `evaluate` gives it the state `not_in_mask` and no figure, \
          since nobody looked for it. Labels are compared by name: if the other program names a structure \
          differently, give its source the names of the truth.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Case], many: false }],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build: |_| Ok(Stage::LabelsAsMasks) };
