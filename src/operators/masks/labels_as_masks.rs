//! Labels of cases as masks: what another program found, or another reader drew.

use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{Aspects, Kind, Output, Port, Section, Spec};

/// The declaration of the type `labels_as_masks`.
pub static SPEC: Spec = Spec {
    name: "labels_as_masks",
    section: Section::Operators,
    summary: "Turns the labels of cases into masks, as if a network had made them.",
    doc: "What another program found, or another reader drew, stands where a network's masks would: it is mended, \
          evaluated against the labels of another `label` stage over the same scans, compared, reported and \
          exported. Any source of labels will do: `label_images` (NIfTI, NRRD, MetaImage), `dicom_seg`, \
          `rtstruct`.\n\n\
          Masks are on the scan's own grid, whatever transforms stand before. A case without labels has no mask, and a row \
          `NO_MASK_OF_LABELS` in `rejects`. A label that a case has no file or structure of is left out of its mask: `evaluate` gives it the state \
          `not_in_mask` and no figure, since nobody looked for it. Where others name a structure otherwise, give \
          their source the names of the truth: labels are compared by name.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Case], many: false }],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build: |_| Ok(Stage::LabelsAsMasks) };
