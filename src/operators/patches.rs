//! Windows of a case, as views.

use serde::Deserialize;

use super::cuboid::LENGTHS_MM;
use super::registry::{Entry, Stage};
use super::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use super::view::{self, Input, Sampling};
use crate::networks::sample::InputView;

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "patches",
    section: Section::Operators,
    summary: "Windows of each case, for a network that sees volumes.",
    doc: "A sample is `[1, D, H, W]` with classes `[D, H, W]`. It is cut when the network asks for it: \
          nothing is copied before. Where a case is smaller than the window it is padded, as much before \
          as after (the odd one after), with its lowest intensity and background. `size_mm` is divided by \
          the median spacing of the dataset. Which windows are taken depends on the seed, the epoch and \
          the sample's number alone.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Case], many: false }],
    output: Output::Is(Kind::Samples),
    aspects: Aspects::Both,
    fields: &[
        Field {
            name: "size",
            kind: FieldKind::List { of: &FieldKind::Integer { min: 1, max: 4096 }, len: Some(3) },
            default: Default::Absent,
            role: Role::Semantic,
            doc: "Voxels along `[D, H, W]`.",
        },
        Field {
            name: "size_mm",
            kind: LENGTHS_MM,
            default: Default::Absent,
            role: Role::Semantic,
            doc: "Lengths along `[D, H, W]` in mm, instead of `size`.",
        },
        view::PER_CASE,
        view::FOREGROUND,
        view::FLIP,
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

#[derive(Deserialize)]
struct Declared {
    size: Option<[usize; 3]>,
    size_mm: Option<[f64; 3]>,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let declared: Declared = super::read_config(config)?;
    let sampling: Sampling = super::read_config(config)?;
    let input = match (declared.size, declared.size_mm) {
        (Some(size), None) => Input::Voxels(InputView::Patch { size }),
        (None, Some(lengths)) => Input::PatchMm(lengths),
        (size, _) => {
            let found = if size.is_some() { "both" } else { "neither" };
            return Err(vec![FieldProblem::new(
                if size.is_some() { "size_mm" } else { "size" },
                format!("either `size` or `size_mm` expected, {found} found"),
                "the order is [D, H, W], e.g. size_mm = [50, 50, 100]",
            )]);
        }
    };
    Ok(Stage::View(sampling.view(input)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn built(size: serde_json::Value, size_mm: serde_json::Value) -> Result<Stage, Vec<FieldProblem>> {
        let config = json!({
            "size": size, "size_mm": size_mm, "per_case": 4, "foreground": 0.25, "flip": false,
        });
        build(config.as_object().unwrap())
    }

    #[test]
    fn exactly_one_size_is_given() {
        let Ok(Stage::View(view)) = built(json!([8, 16, 32]), json!(null)) else {
            panic!("a view expected");
        };
        assert_eq!(view.input, Input::Voxels(InputView::Patch { size: [8, 16, 32] }));
        assert_eq!((view.per_case, view.foreground, view.flip), (4, 0.25, false));
        assert!(built(json!(null), json!([50, 50.0, 100])).is_ok());
        assert_eq!(built(json!(null), json!(null)).err().unwrap()[0].field, "size");
        assert_eq!(built(json!([8, 8, 8]), json!([8, 8, 8])).err().unwrap()[0].field, "size_mm");
    }
}
