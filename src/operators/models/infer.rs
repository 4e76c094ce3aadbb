//! Cases and a model to masks.

mod settings;

use serde::Deserialize;
use serde_json::Value as Json;

pub use self::settings::{Infer, Prepare, Side};
use super::origin::{self, DeclaredModel, FILE, ModelFile, ModelSource};
use crate::networks::{Blend, Convention, InferOptions, MapKinds, Precision, Thresholds};
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};

/// The field of `infer` and `detect` that says who prepares scans.
pub(super) const PREPARE: Field = Field {
    name: "prepare",
    kind: FieldKind::Choice(&["pipeline", "model"]),
    default: Default::Json("\"pipeline\""),
    // This is operational, since what is done to scans enters a result's key by itself.
    role: Role::Operational,
    doc: "The place that says how scans are prepared: the stages before this one (`pipeline`), or the card \
          of the model's file, whose operators then run here on scans as they were assembled (`model`).",
};

/// The field of `infer` and `detect` that says whose cases are looked at.
pub(super) const PARTS: Field = Field {
    name: "parts",
    kind: FieldKind::List { of: &FieldKind::Choice(Side::WORDS), len: None },
    default: Default::Json("[]"),
    // This is operational, since it says which cases are looked at, and changes nothing in what one of them gets.
    role: Role::Operational,
    doc: "The parts of the model's split whose cases are looked at, `new` being those that came after its training, e.g. \
          `[\"test\", \"new\"]`; with none named, all cases are. For several models a case stands where any of them has \
          seen most of it. The model must come from a stage, since a file does not say what it was trained on.",
};

/// Reads what `parts` names.
pub(super) fn sides(words: &[String], model: &ModelSource) -> Result<Vec<Side>, FieldProblem> {
    if !words.is_empty() && !matches!(model, ModelSource::Stages(_)) {
        let message = "the model of a stage expected, of which the split is known, a file found";
        return Err(FieldProblem::new(
            "parts",
            message,
            "leave `parts` out, or exclude cases by `where` of their source",
        ));
    }
    Ok(words.iter().filter_map(|word| Side::of_word(word)).collect())
}

/// The declaration of the type `infer`.
pub static SPEC: Spec = Spec {
    name: "infer",
    section: Section::Operators,
    summary: "Segments scans with a trained network, into masks on the scan's original grid.",
    doc: "A network of windows is applied to the volume window by window. In MONAI's convention windows lie \
          every `size * (1 - overlap)` voxels, the last one shifted back into the volume, and logits are \
          blended by a Gaussian around the window's middle, with σ = 0.125 of the window's size and a weight \
          of at least 0.001. In nnU-Net's convention windows are evenly spread, at most `size * (1 - \
          overlap)` voxels apart, and the same Gaussian is centred on the voxel `size / 2`, without a least \
          weight. A volume that is smaller than a window is padded on both sides: for a network of `train` \
          with the volume's lowest intensity, as in its training, and for a TorchScript network with zeros, \
          as in both conventions. A network of stacks or bags is applied slice by slice. A scan for which a \
          logit is NaN or infinite gets no mask, and is refused as `NOT_FINITE`.\n\n\
          With `flips` the network also sees each window mirrored along every combination of these axes; the \
          logits are mirrored back and averaged before they are blended, as in nnU-Net. Several models are \
          an ensemble, whose logits are averaged, as nnU-Net does with its folds. An ensemble of stages \
          waits until each of them has given a model; the order in which they are named does not matter.\n\n\
          With `out_of_fold` a case that was in the validation part of some of an ensemble's models is \
          segmented by these models alone, and any other case by the models that were not trained on it. In \
          a cross-validation each case then gets a mask from a network that did not learn from it, as when \
          nnU-Net's find_best_configuration compares networks, and a new case gets a mask from all networks. \
          A case that all models were trained on is segmented by all of them, and its figures say `train`; \
          with the folds of one split there is no such case.\n\n\
          The card of a model that `train` wrote says how its scans were prepared. If the pipeline prepares \
          them differently, the run says so; with `prepare = \"model\"` the operators of the card run, so \
          that the model's file is all that is needed.\n\n\
          A case whose channels differ from those that a model's card names is refused as `CHANNELS_DIFFER`. \
          A TorchScript network takes `[N, C, D, H, W]` for windows, where C is 1 or the number of the \
          scan's channels, and `[N, channels, H, W]` for stacks and bags. It gives logits `[N, classes, …]` \
          on the same grid; of a tuple the first element is taken. With `activation = \"sigmoid\"` it gives \
          a logit for each label and none for the background, so that a network with one label has one \
          output channel. An output of another shape is refused with both shapes.\n\n\
          A model with a head for each label (`activation = \"sigmoid\"` of `train`) gives masks that may \
          overlap: a label holds the voxels whose probability is above its `threshold`. If its card and the \
          labels of the pipeline's cases disagree on which labels hold others, the pipeline is refused.\n\n\
          With `keep` further maps are stored beside the mask, on the same grid, for `export` and the \
          report. `probabilities` is, for each label, the softmax p of the blended logits (which are \
          averaged over networks and mirrored inputs before, as for the mask). `entropy` is −Σ p ln p / \
          ln(classes) over all classes: 0 where the network is certain, and 1 where all classes are equally \
          likely. `attention` is the map of the finest level of a network with `attention`, from 0 to 1, \
          averaged and blended as logits are. Maps are brought back to the scan's grid by linear \
          interpolation, and are 0 where the network saw nothing. Values are stored in steps of 1/254. Maps \
          are part of no key: when they are asked for later, the network runs again and gives the same mask, \
          and no stage after it runs again; when they are no longer asked for, they stay with their mask.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[
        Field {
            name: "model",
            kind: FieldKind::Either(&[
                FieldKind::Stage(Kind::Model),
                FieldKind::Table(FILE),
                FieldKind::List { of: &FieldKind::Stage(Kind::Model), len: None },
                FieldKind::List { of: &FieldKind::Table(FILE), len: None },
            ]),
            default: Default::Required,
            role: Role::Semantic,
            doc: "The stage that gives the model, or a model file: `{ safetensors = \"net.safetensors\" }`. \
                  A list of stages, or of files, with the same view and labels is an ensemble.",
        },
        Field {
            name: "out_of_fold",
            kind: FieldKind::Bool,
            default: Default::Json("false"),
            role: Role::SemanticLater,
            doc: "Whether a case is segmented only by those models of an ensemble that were not trained on \
                  it.",
        },
        Field {
            name: "overlap",
            kind: FieldKind::Number { min: 0.0, max: 0.95, unit: "" },
            default: Default::Json("0.25"),
            role: Role::Semantic,
            doc: "The share of a window that the next window covers as well, along each axis.",
        },
        Field {
            name: "convention",
            kind: FieldKind::Choice(&["monai", "nnunet"]),
            default: Default::Json("\"monai\""),
            role: Role::SemanticLater,
            doc: "The program whose placement of windows and whose Gaussian weights are used.",
        },
        Field {
            name: "blend",
            kind: FieldKind::Choice(&["gaussian", "constant"]),
            default: Default::Json("\"gaussian\""),
            role: Role::SemanticLater,
            doc: "The weights by which overlapping windows are averaged: less towards their edges \
                  (`gaussian`), or the same everywhere (`constant`).",
        },
        Field {
            name: "flips",
            kind: FieldKind::List { of: &FieldKind::Choice(&["d", "h", "w"]), len: None },
            default: Default::Json("[]"),
            role: Role::SemanticLater,
            doc: "The axes along which the input is mirrored for test-time augmentation; with three axes a \
                  network runs eight times.",
        },
        Field {
            name: "precision",
            kind: FieldKind::Choice(&["float32", "bfloat16"]),
            default: Default::Json("\"float32\""),
            role: Role::SemanticLater,
            doc: "The precision of features and weights: `bfloat16` halves time and memory on a processor \
                  that multiplies such numbers, and may change the label of voxels at borders. It has no \
                  effect on TorchScript, which runs as it was saved.",
        },
        Field {
            name: "threshold",
            kind: FieldKind::Either(&[
                FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
                FieldKind::Map(&FieldKind::Number { min: 0.0, max: 1.0, unit: "" }),
            ]),
            default: Default::Json("0.5"),
            role: Role::SemanticLater,
            doc: "The probability above which a voxel belongs to a label that has a head of its own \
                  (`activation = \"sigmoid\"`): one number for all labels, or one by label, `{ lesion = 0.4 \
                  }`. A model with `softmax` has no threshold, and is refused with a value other than 0.5.",
        },
        PARTS,
        PREPARE,
        Field {
            name: "batch",
            kind: FieldKind::Integer { min: 1, max: 4096 },
            default: Default::Json("4"),
            role: Role::Operational,
            doc: "The number of windows or slices that go through the network together.",
        },
        Field {
            name: "keep",
            kind: FieldKind::Either(&[
                FieldKind::List {
                    of: &FieldKind::Choice(&["probabilities", "entropy", "attention"]),
                    len: None,
                },
                FieldKind::Bool,
            ]),
            default: Default::Json("[]"),
            role: Role::Operational,
            doc: "The maps that are kept beside the mask. `true`, as for other operators, adds none, since \
                  masks are kept anyway.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

#[derive(Deserialize)]
struct Declared {
    model: DeclaredModel,
    overlap: f64,
    batch: usize,
    convention: Convention,
    blend: Blend,
    flips: Vec<String>,
    precision: Precision,
    out_of_fold: bool,
    #[serde(default)]
    parts: Vec<String>,
    prepare: Prepare,
    keep: Json,
    #[serde(default)]
    threshold: Thresholds,
}

/// The maps of a list; `true` and `false` ask for none.
fn kinds(keep: &Json) -> Result<MapKinds, FieldProblem> {
    let names: Vec<&str> = keep.as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let has = |kind: &str| names.contains(&kind);
    let kinds = MapKinds {
        probabilities: has("probabilities"),
        entropy: has("entropy"),
        attention: has("attention"),
    };
    let different = [kinds.probabilities, kinds.entropy, kinds.attention].iter().filter(|has| **has).count();
    if different < names.len() {
        let message = format!("each map once expected, {names:?} found");
        return Err(FieldProblem::new("keep", message, "e.g. keep = [\"probabilities\", \"entropy\"]"));
    }
    Ok(kinds)
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let declared: Declared = crate::operators::read_config(config)?;
    let model = origin::source(declared.model).map_err(|problem| vec![problem])?;
    let flips = ["d", "h", "w"].map(|axis| declared.flips.iter().any(|flip| flip == axis));
    if flips.iter().filter(|flip| **flip).count() < declared.flips.len() {
        let message = format!("each axis once expected, {:?} found", declared.flips);
        return Err(vec![FieldProblem::new("flips", message, "e.g. flips = [\"h\", \"w\"]")]);
    }
    let keep = kinds(&declared.keep).map_err(|problem| vec![problem])?;
    let sides = sides(&declared.parts, &model).map_err(|problem| vec![problem])?;
    let Declared { overlap, batch, convention, blend, out_of_fold, precision, prepare, .. } = declared;
    if out_of_fold && !matches!(&model, ModelSource::Stages(names) if names.len() > 1) {
        let message = "`out_of_fold` chooses among the models of several stages, one source of a model found";
        let hint = "e.g. model = [\"net_0\", \"net_1\"], trained with `folds = 2`";
        return Err(vec![FieldProblem::new("out_of_fold", message, hint)]);
    }
    let scripts = |file: &ModelFile| matches!(file, ModelFile::Torchscript { .. });
    if precision == Precision::Bfloat16 && model.files().iter().any(scripts) {
        let message = "a TorchScript network runs in the precision that it was saved in";
        return Err(vec![FieldProblem::new("precision", message, "leave it out")]);
    }
    let carded = |file: &ModelFile| matches!(file, ModelFile::Safetensors { .. });
    if prepare == Prepare::Model && (model.files().is_empty() || !model.files().iter().all(carded)) {
        let message =
            "a safetensors file's card says how scans are prepared, another source of a model found";
        let hint = "leave `prepare` out, and prepare scans in stages before this one";
        return Err(vec![FieldProblem::new("prepare", message, hint)]);
    }
    if keep.attention && model.files().iter().any(scripts) {
        let message = "a TorchScript network gives logits, and no attention map";
        return Err(vec![FieldProblem::new("keep", message, "leave `attention` out")]);
    }
    let options = InferOptions { overlap, batch, convention, blend, flips, precision, keep };
    Ok(Stage::Infer(Infer {
        model,
        options,
        thresholds: declared.threshold,
        out_of_fold,
        sides,
        prepare,
        follows: None,
        boxes: None,
        marked: false,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tomoflow_connectors::Digest;

    use super::*;
    use crate::networks::InputView;

    fn stage(model: Value) -> Result<Infer, Vec<FieldProblem>> {
        stage_with(model, json!([]))
    }

    fn stage_with(model: Value, flips: Value) -> Result<Infer, Vec<FieldProblem>> {
        let config = json!({
            "model": model, "overlap": 0.25, "batch": 4, "convention": "nnunet", "blend": "constant",
            "flips": flips, "precision": "float32", "out_of_fold": false, "prepare": "pipeline", "keep": [],
        });
        match build(config.as_object().unwrap())? {
            Stage::Infer(infer) => Ok(infer),
            _ => panic!("expected an inference"),
        }
    }

    #[test]
    fn a_model_is_a_stage_or_a_file() {
        assert_eq!(stage(json!("net")).unwrap().model, ModelSource::Stages(vec!["net".to_owned()]));
        let safetensors =
            json!({ "torchscript": null, "safetensors": "n", "view": null, "classes": null, "labels": null });
        let expected = ModelSource::Files(vec![ModelFile::Safetensors { path: "n".into() }]);
        assert_eq!(stage(safetensors).unwrap().model, expected);
        let script = json!({ "torchscript": "n.pt", "view": { "type": "stack", "slices": 3, "stride": 1 }, "labels": ["a"] });
        let expected = ModelSource::Files(vec![ModelFile::Torchscript {
            path: "n.pt".into(),
            view: InputView::Stack { slices: 3, stride: 1 },
            classes: 2,
            activation: crate::networks::Activation::Softmax,
            label_names: vec!["a".to_owned()],
        }]);
        assert_eq!(stage(script).unwrap().model, expected);
    }

    #[test]
    fn a_list_of_files_is_an_ensemble() {
        let script = |label: &str| json!({ "torchscript": "n.pt", "view": { "type": "patch", "size": [8, 8, 8] }, "labels": [label] });
        let found = stage(json!([script("a"), { "safetensors": "n" }, script("a")])).unwrap().model;
        assert_eq!(found.files().len(), 3);
        for model in [json!([]), json!([script("a"), script("b")])] {
            assert_eq!(stage(model).err().unwrap()[0].field, "model");
        }
        let [a, b] = [b"a", b"b"].map(|bytes| Digest::of(bytes));
        assert_eq!(ModelSource::content(&[a]), a);
        assert_ne!(ModelSource::content(&[a, b]), ModelSource::content(&[b, a]));
    }

    #[test]
    fn a_list_of_stages_is_an_ensemble_in_no_order() {
        let names = ["net_0", "net_1"].map(str::to_owned);
        assert_eq!(stage(json!(names)).unwrap().model, ModelSource::Stages(names.to_vec()));
        let [a, b] = [b"a", b"b"].map(|bytes| Digest::of(bytes));
        assert_eq!(ModelSource::in_order([a, b, a]), ModelSource::in_order([a, a, b]));
        assert_eq!(ModelSource::in_order([a, b, a]).len(), 3);
        assert_eq!(ModelSource::in_order([a, a, a]), [a]);
        assert_eq!(ModelSource::in_order([]), []);
    }

    #[test]
    fn out_of_fold_needs_several_stages() {
        let folds = |model: Value| {
            let config = json!({
                "model": model, "overlap": 0.25, "batch": 4, "convention": "nnunet", "blend": "constant",
                "flips": [], "precision": "float32", "out_of_fold": true, "prepare": "pipeline", "keep": false,
            });
            build(config.as_object().unwrap()).map(drop)
        };
        assert!(folds(json!(["net_0", "net_1"])).is_ok());
        for model in [json!("net"), json!(["net"]), json!([{ "safetensors": "a" }, { "safetensors": "b" }])] {
            assert_eq!(folds(model).unwrap_err()[0].field, "out_of_fold");
        }
    }

    #[test]
    fn a_script_has_its_own_precision() {
        let script = json!({
            "torchscript": "n.pt", "view": { "type": "patch", "size": [8, 8, 8] }, "labels": ["a"],
        });
        for (model, good) in [(script, false), (json!({ "safetensors": "n" }), true), (json!("net"), true)] {
            let config = json!({
                "model": model, "overlap": 0.25, "batch": 4, "convention": "monai", "blend": "gaussian",
                "flips": [], "precision": "bfloat16", "out_of_fold": false, "prepare": "pipeline", "keep": [],
            });
            assert_eq!(build(config.as_object().unwrap()).is_ok(), good);
        }
    }

    #[test]
    fn maps_are_kept_by_name_and_a_script_has_no_attention() {
        let keeping = |model: Value, keep: Value| {
            let config = json!({
                "model": model, "overlap": 0.25, "batch": 4, "convention": "monai", "blend": "gaussian",
                "flips": [], "precision": "float32", "out_of_fold": false, "keep": keep, "prepare": "pipeline",
            });
            build(config.as_object().unwrap()).map(|stage| match stage {
                Stage::Infer(infer) => infer.options.keep,
                _ => panic!("expected an inference"),
            })
        };
        let all = MapKinds { probabilities: true, entropy: true, attention: true };
        let named = json!(["attention", "probabilities", "entropy"]);
        assert_eq!(keeping(json!("net"), named.clone()).unwrap(), all);
        for none in [json!([]), json!(true), json!(false)] {
            assert_eq!(keeping(json!("net"), none).unwrap(), MapKinds::default());
        }
        assert_eq!(keeping(json!("net"), json!(["entropy", "entropy"])).unwrap_err()[0].field, "keep");
        let script = json!({
            "torchscript": "n.pt", "view": { "type": "patch", "size": [8, 8, 8] }, "labels": ["a"],
        });
        assert_eq!(keeping(script.clone(), named).unwrap_err()[0].field, "keep");
        assert!(keeping(script, json!(["probabilities", "entropy"])).is_ok());
    }

    #[test]
    fn options_are_what_was_declared() {
        let options = stage_with(json!("net"), json!(["w", "d"])).unwrap().options;
        assert_eq!((options.convention, options.blend), (Convention::Nnunet, Blend::Constant));
        assert_eq!(options.flips, [true, false, true]);
        assert_eq!(stage_with(json!("net"), json!(["w", "w"])).err().unwrap()[0].field, "flips");
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let patch = json!({ "type": "patch", "size": [8, 8, 8] });
        for (model, field) in [
            (json!({}), "model"),
            (json!({ "torchscript": "a", "safetensors": "b" }), "model"),
            (json!({ "safetensors": "b", "classes": 2 }), "model.safetensors"),
            (json!({ "torchscript": "a", "labels": ["x"] }), "model.view"),
            (json!({ "torchscript": "a", "view": patch }), "model.labels"),
            (json!({ "torchscript": "a", "view": patch, "labels": ["x"], "classes": 3 }), "model.labels"),
            (
                json!({ "torchscript": "a", "labels": ["x"], "view": { "type": "stack", "slices": 2, "stride": 1 } }),
                "model.view.slices",
            ),
        ] {
            assert_eq!(stage(model).err().unwrap()[0].field, field);
        }
    }
}
