//! Windows of a case, as views.

use serde::Deserialize;

use super::view::{self, Input, Placement, Sampling, View};
use crate::networks::sample::InputView;
use crate::operators::cases::cuboid::LENGTHS_MM;
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
    is_default,
};

/// The declaration of the type `patches`.
pub static SPEC: Spec = Spec {
    name: "patches",
    section: Section::Operators,
    summary: "Cuts windows from each case, as samples for a network that sees volumes.",
    doc: "A sample is `[1, D, H, W]` with the classes `[D, H, W]`; a scan with several channels gives `[C, \
          D, H, W]`. Windows are copied only when the network asks for them. A case that is smaller than the \
          window is padded with its lowest intensity and with background, by as many voxels before as after \
          (an odd one comes after). `size_mm` is divided by the median spacing of the dataset to get the \
          window in voxels. Which windows are taken depends only on the seed, the epoch and the number of \
          the sample.\n\n\
          With `sampling = \"biased\"` the share `foreground` of the windows lies around a random foreground \
          voxel, and the others lie anywhere. With `\"balanced\"` a class is drawn first, each class of the \
          case with the same probability and the background among them, then a voxel of that class, around \
          which the window lies as far as the volume allows. This is MONAI's RandCropByLabelClassesd with \
          equal ratios: a small lesion is seen as often as the organ around it. With `\"grid\"` each epoch \
          holds every window of a grid once, placed as MONAI places the windows of inference: every `size * \
          (1 - overlap)` voxels, the last one shifted back into the volume; larger cases have more windows.",
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
            doc: "The size of a window in voxels, `[D, H, W]`.",
        },
        Field {
            name: "size_mm",
            kind: LENGTHS_MM,
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The lengths of a window along `[D, H, W]` in mm, in place of `size`.",
        },
        Field {
            name: "sampling",
            kind: FieldKind::Choice(&["biased", "balanced", "grid"]),
            default: Default::Json("\"biased\""),
            role: Role::SemanticLater,
            doc: "The way in which windows are chosen: by the share `foreground` (`biased`), around each \
                  class equally often (`balanced`), or all windows of a grid (`grid`), for which `per_case` \
                  has no effect.",
        },
        OVERLAP,
        view::PER_CASE,
        view::FOREGROUND,
        view::FLIP,
    ],
};

const OVERLAP: Field = Field {
    name: "overlap",
    kind: FieldKind::Number { min: 0.0, max: 0.95, unit: "" },
    default: Default::Json("0.0"),
    role: Role::SemanticLater,
    doc: "The share of a window that the next window of the grid covers as well, along each axis; it is used \
          with `sampling = \"grid\"`.",
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    Biased,
    Balanced,
    Grid,
}

#[derive(Deserialize)]
struct Declared {
    size: Option<[usize; 3]>,
    size_mm: Option<[f64; 3]>,
    #[serde(rename = "sampling")]
    way: Way,
    overlap: f64,
}

/// The fields that have no say, yet are given: as far as their values tell.
fn in_vain(way: Way, config: &Config) -> Vec<FieldProblem> {
    let (fields, takes, hint): (&[Field], _, _) = match way {
        Way::Biased => (&[OVERLAP], "windows are drawn", "with `sampling = \"grid\"` windows overlap"),
        Way::Balanced => (
            &[OVERLAP, view::FOREGROUND],
            "each class is as likely as any other",
            "`sampling = \"biased\"` takes `foreground`, `sampling = \"grid\"` takes `overlap`",
        ),
        Way::Grid => (
            &[view::PER_CASE, view::FOREGROUND],
            "each window of a grid is taken once",
            "`sampling = \"biased\"` takes `per_case` and `foreground`",
        ),
    };
    let given = fields.iter().filter_map(|field| {
        let value = config.get(field.name).filter(|value| !is_default(field, value))?;
        let message = format!("no `{}` expected where {takes}, {value} found", field.name);
        Some(FieldProblem::new(field.name, message, hint))
    });
    given.collect()
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let declared: Declared = crate::operators::read_config(config)?;
    let sampling: Sampling = crate::operators::read_config(config)?;
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
    let problems = in_vain(declared.way, config);
    if !problems.is_empty() {
        return Err(problems);
    }
    let placement = match declared.way {
        Way::Biased => Placement::Biased,
        Way::Balanced => Placement::Balanced,
        Way::Grid => Placement::Grid { overlap: declared.overlap },
    };
    Ok(Stage::View(View { placement, ..sampling.view(input) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::spec::semantic;
    use serde_json::{Value, json};

    fn built(size: Value, size_mm: Value) -> Result<Stage, Vec<FieldProblem>> {
        let config = json!({
            "size": size, "size_mm": size_mm, "sampling": "biased", "overlap": 0.0, "per_case": 4,
            "foreground": 0.25, "flip": false,
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

    /// A configuration with defaults, but for these fields.
    fn config(changes: Value) -> Config {
        let config = json!({
            "size": [8, 8, 8], "size_mm": null, "sampling": "biased", "overlap": 0.0, "per_case": 2,
            "foreground": 0.5, "flip": true,
        });
        let mut config = config.as_object().unwrap().clone();
        config.extend(changes.as_object().unwrap().clone());
        config
    }

    #[test]
    fn windows_are_placed_as_declared() {
        let placement = |changes: Value| match build(&config(changes)) {
            Ok(Stage::View(view)) => view.placement,
            _ => panic!("a view expected"),
        };
        assert_eq!(placement(json!({})), Placement::Biased);
        assert_eq!(placement(json!({ "sampling": "balanced", "per_case": 5 })), Placement::Balanced);
        let grid = json!({ "sampling": "grid", "overlap": 0.5 });
        assert_eq!(placement(grid), Placement::Grid { overlap: 0.5 });
    }

    #[test]
    fn what_has_no_say_is_named() {
        for (changes, fields) in [
            (json!({ "overlap": 0.5 }), &["overlap"][..]),
            (json!({ "sampling": "balanced", "foreground": 0.25 }), &["foreground"]),
            (
                json!({ "sampling": "balanced", "foreground": 0.0, "overlap": 0.1 }),
                &["overlap", "foreground"],
            ),
            (json!({ "sampling": "grid", "per_case": 4 }), &["per_case"]),
            (json!({ "sampling": "grid", "per_case": 4, "foreground": 1.0 }), &["per_case", "foreground"]),
        ] {
            let problems = build(&config(changes)).err().unwrap();
            assert_eq!(problems.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(), fields);
        }
    }

    #[test]
    fn what_was_kept_before_there_was_sampling_stays_valid() {
        let before = json!({
            "size": [8, 8, 8], "size_mm": null, "per_case": 2, "foreground": 0.5, "flip": true,
        });
        let kept = |changes: Value| Value::Object(semantic(SPEC.fields, &config(changes)));
        assert_eq!(kept(json!({})), before);
        assert_ne!(kept(json!({ "sampling": "balanced" })), before);
        let grid = kept(json!({ "sampling": "grid" }));
        assert_ne!(grid, before);
        assert_ne!(grid, kept(json!({ "sampling": "grid", "overlap": 0.5 })));
    }
}
