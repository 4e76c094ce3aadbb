//! What a stage type declares about itself: ports, fields, versions. The checker, the reference, the
//! schema and the action keys are all made from it.

pub use crate::fields::{Config, Default, Field, FieldKind, FieldProblem, Kind, Role, semantic};
pub(super) use crate::fields::{is_default, one_of};

/// The section of a pipeline file that a stage type belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// The section `[sources.*]`.
    Sources,
    /// The section `[operators.*]`.
    Operators,
    /// The section `[sinks.*]`.
    Sinks,
}

impl Section {
    /// All sections, in the order of a pipeline file.
    pub const ALL: [Self; 3] = [Self::Sources, Self::Operators, Self::Sinks];

    /// The table's name in TOML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Operators => "operators",
            Self::Sinks => "sinks",
        }
    }
}

/// One input of a stage.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// The purpose of the input, in messages.
    pub name: &'static str,
    /// The kinds of outputs that may be wired to the input.
    pub accepts: &'static [Kind],
    /// Whether more than one stage may be wired here (sinks).
    pub many: bool,
}

/// What a stage gives.
#[derive(Clone, Copy, Debug)]
pub enum Output {
    /// The stage always gives this.
    Is(Kind),
    /// The stage gives what its first input is (an intensity operator keeps labels).
    SameAsInput,
    /// The stage gives nothing (sinks).
    Nothing,
}

/// Which half of a case an operator changes; the other half's key stays as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspects {
    /// Intensities only: the label map and the grid stay.
    Scan,
    /// Labels only.
    Labels,
    /// Both: the grid changes.
    Both,
}

/// What a stage type is, as the registry, the checker and the reference see it.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The `type` in TOML.
    pub name: &'static str,
    /// The section of a pipeline file where the stage may stand.
    pub section: Section,
    /// A summary in one sentence.
    pub summary: &'static str,
    /// The documentation in several sentences: shapes, units, source; Markdown.
    pub doc: &'static str,
    /// The version, raised whenever the same input gives another output; a golden test holds it.
    pub version: u32,
    /// The inputs, in order.
    pub inputs: &'static [Port],
    /// The output.
    pub output: Output,
    /// The aspects of a case that the stage changes (operators from case to case).
    pub aspects: Aspects,
    /// The fields beside `type` and `inputs`.
    pub fields: &'static [Field],
}
