//! How samples are cut from a case without copying it: the shape that a network sees, and how often.

use serde::{Deserialize, Serialize};

use super::things::Things;
use crate::networks::sample::InputView;
use crate::operators::spec::{Default, Field, FieldKind, FieldProblem, Role};

/// The shape of a sample, as it was declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// A shape in voxels, whatever their spacing.
    Voxels(InputView),
    /// A patch by its lengths along `[D, H, W]` in mm; voxels follow from the dataset's spacing.
    PatchMm([f64; 3]),
}

/// How the windows of a case are chosen; stacks and bags are always [`Placement::Biased`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Placement {
    /// The share [`View::foreground`] of them around a foreground voxel, the others anywhere.
    #[default]
    Biased,
    /// Each around a voxel of a class, all classes of the case being as likely, background among them.
    Balanced,
    /// A fixed grid over the whole case, in which each window is covered again by `overlap` of its length, 0 to
    /// below 1.
    Grid {
        /// The share.
        overlap: f64,
    },
}

/// A view: the shape that the network sees, and how a case is sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The shape.
    pub input: Input,
    /// How the windows of a patch are chosen.
    pub placement: Placement,
    /// The number of samples of each case in an epoch, except in a grid.
    pub per_case: usize,
    /// The share of samples that hold foreground, 0 to 1, where they are biased.
    pub foreground: f64,
    /// Whether half of the samples are mirrored along W.
    pub flip: bool,
    /// The kinds of things that a network that gives boxes is to find, where they are declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub things: Option<Things>,
}

impl View {
    /// The shape in voxels, for scans of this spacing.
    pub fn resolve(&self, spacing_mm: [f64; 3]) -> InputView {
        match &self.input {
            Input::Voxels(view) => view.clone(),
            Input::PatchMm(lengths) => {
                let voxels = |axis: usize| (lengths[axis] / spacing_mm[axis]).round().max(1.0) as usize;
                InputView::Patch { size: [voxels(0), voxels(1), voxels(2)] }
            }
        }
    }
}

/// The fields that all views share.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Sampling {
    per_case: usize,
    foreground: f64,
    flip: bool,
}

impl Sampling {
    pub(super) fn view(self, input: Input) -> View {
        let Self { per_case, foreground, flip } = self;
        View { input, placement: Placement::Biased, per_case, foreground, flip, things: None }
    }
}

pub(super) const PER_CASE: Field = Field {
    name: "per_case",
    kind: FieldKind::Integer { min: 1, max: 100_000 },
    default: Default::Json("2"),
    role: Role::Semantic,
    doc: "The number of samples that each case gives in an epoch.",
};

pub(super) const FOREGROUND: Field = Field {
    name: "foreground",
    kind: FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
    default: Default::Json("0.5"),
    role: Role::Semantic,
    doc: "The share of samples that are placed around a random foreground voxel, or on a slice with \
          foreground; the others are placed anywhere.",
};

pub(super) const FLIP: Field = Field {
    name: "flip",
    kind: FieldKind::Bool,
    default: Default::Json("true"),
    role: Role::Semantic,
    doc: "Whether half of the samples are mirrored along W (left to right in axial slices).",
};

/// A problem unless a number of slices is odd.
pub(super) fn odd(field: &str, found: usize) -> Option<FieldProblem> {
    found.is_multiple_of(2).then(|| {
        FieldProblem::new(
            field,
            format!("an odd number expected, {found} found"),
            "the network predicts the centre slice, with as many slices on each side",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_become_voxels_of_the_dataset() {
        let sampling = Sampling { per_case: 1, foreground: 0.5, flip: true };
        let view = sampling.view(Input::PatchMm([50.0, 50.0, 100.0]));
        assert_eq!(view.resolve([1.5, 0.4, 0.4]), InputView::Patch { size: [33, 125, 250] });
        assert_eq!(view.resolve([500.0, 1.0, 1.0]), InputView::Patch { size: [1, 50, 100] });
    }
}
