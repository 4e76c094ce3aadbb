//! N stacks around a target stack, as a view.

use serde::Deserialize;

use super::things::{self, Things};
use super::view::{self, Input, Sampling, View};
use crate::networks::sample::InputView;
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

/// The declaration of the type `bag`.
pub static SPEC: Spec = Spec {
    name: "bag",
    section: Section::Operators,
    summary: "Makes samples of several stacks of slices around a target stack, for a network that attends to \
              the volume.",
    doc: "A sample is `[stacks * slices, 1, H, W]`, stack after stack from the lowest on, with the classes \
          `[1, H, W]` of the target slice, which is the centre of the centre stack. Beyond an end of the \
          volume the end slice is repeated. A sample of a scan with several channels is `[channels * stacks \
          * slices, 1, H, W]`: all slices of the first channel, then all of the second. Slices are copied \
          only when the network asks for the sample. Which slices are taken depends only on the seed, the \
          epoch and the number of the sample.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Case], many: false }],
    output: Output::Is(Kind::Samples),
    aspects: Aspects::Both,
    fields: &[
        Field {
            name: "stacks",
            kind: FieldKind::Integer { min: 1, max: 255 },
            default: Default::Json("3"),
            role: Role::Semantic,
            doc: "The number of stacks in the bag, an odd number.",
        },
        Field {
            name: "slices",
            kind: FieldKind::Integer { min: 1, max: 255 },
            default: Default::Json("3"),
            role: Role::Semantic,
            doc: "The number of slices in each stack, an odd number.",
        },
        Field {
            name: "gap",
            kind: FieldKind::Integer { min: 1, max: 4096 },
            default: Default::Json("3"),
            role: Role::Semantic,
            doc: "The number of slices from the centre of one stack to the centre of the next.",
        },
        view::PER_CASE,
        view::FOREGROUND,
        view::FLIP,
        things::INSTANCES,
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

#[derive(Deserialize)]
struct Declared {
    stacks: usize,
    slices: usize,
    gap: usize,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let Declared { stacks, slices, gap } = crate::operators::read_config(config)?;
    let sampling: Sampling = crate::operators::read_config(config)?;
    let odd = [view::odd("stacks", stacks), view::odd("slices", slices)];
    let (things, unfit) = match Things::declared(config) {
        Ok(things) => (things, None),
        Err(problem) => (None, Some(problem)),
    };
    let problems: Vec<FieldProblem> = odd.into_iter().flatten().chain(unfit).collect();
    if problems.is_empty() {
        let view = sampling.view(Input::Voxels(InputView::Bag { stacks, slices, gap }));
        Ok(Stage::View(View { things, ..view }))
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_numbers_are_odd() {
        let built = |stacks: usize, slices: usize| {
            let config = json!({
                "stacks": stacks, "slices": slices, "gap": 4,
                "per_case": 1, "foreground": 0.5, "flip": true,
            });
            build(config.as_object().unwrap())
        };
        assert_eq!(built(2, 4).err().unwrap().len(), 2);
        let Ok(Stage::View(view)) = built(3, 5) else { panic!("a view expected") };
        assert_eq!(view.input, Input::Voxels(InputView::Bag { stacks: 3, slices: 5, gap: 4 }));
    }
}
