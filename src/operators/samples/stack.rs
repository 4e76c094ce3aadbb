//! k adjacent slices as channels, as a view.

use serde::Deserialize;

use super::things::{self, Things};
use super::view::{self, Input, Sampling, View};
use crate::networks::sample::InputView;
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

/// The declaration of the type `stack`.
pub static SPEC: Spec = Spec {
    name: "stack",
    section: Section::Operators,
    summary: "Makes samples of adjacent slices as channels, for a network that predicts the centre slice.",
    doc: "A sample is `[slices, 1, H, W]` with the classes `[1, H, W]` of the centre slice. Beyond an end of \
          the volume the end slice is repeated. A sample of a scan with several channels is `[channels * \
          slices, 1, H, W]`: all slices of the first channel, then all of the second. Slices are copied only \
          when the network asks for the sample. Which slices are taken depends only on the seed, the epoch \
          and the number of the sample.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Case], many: false }],
    output: Output::Is(Kind::Samples),
    aspects: Aspects::Both,
    fields: &[
        Field {
            name: "slices",
            kind: FieldKind::Integer { min: 1, max: 255 },
            default: Default::Json("3"),
            role: Role::Semantic,
            doc: "The number of slices in the stack, an odd number.",
        },
        Field {
            name: "stride",
            kind: FieldKind::Integer { min: 1, max: 255 },
            default: Default::Json("1"),
            role: Role::Semantic,
            doc: "The distance from one slice of the stack to the next, in slices of the volume.",
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
    slices: usize,
    stride: usize,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let Declared { slices, stride } = crate::operators::read_config(config)?;
    let sampling: Sampling = crate::operators::read_config(config)?;
    match view::odd("slices", slices) {
        Some(problem) => Err(vec![problem]),
        None => {
            let things = Things::declared(config).map_err(|problem| vec![problem])?;
            let view = sampling.view(Input::Voxels(InputView::Stack { slices, stride }));
            Ok(Stage::View(View { things, ..view }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_even_stack_has_no_centre() {
        let built = |slices: usize| {
            let config = json!({
                "slices": slices, "stride": 2, "per_case": 1, "foreground": 0, "flip": true,
            });
            build(config.as_object().unwrap())
        };
        assert_eq!(built(4).err().unwrap()[0].field, "slices");
        let Ok(Stage::View(view)) = built(5) else { panic!("a view expected") };
        assert_eq!(view.input, Input::Voxels(InputView::Stack { slices: 5, stride: 2 }));
    }
}
