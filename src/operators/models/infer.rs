//! Cases and a model to masks.

mod settings;

use serde::Deserialize;
use serde_json::Value as Json;

pub use self::settings::{Infer, Prepare};
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
    doc: "Who says how scans are prepared: the stages before this one, or the card of the model's file, whose \
          operators then run here on scans as they were assembled.",
};

/// The declaration of the type `infer`.
pub static SPEC: Spec = Spec {
    name: "infer",
    section: Section::Operators,
    summary: "Segments scans with a trained network, into masks on the scan's original grid.",
    doc: "A network of windows walks through the volume. By MONAI's convention windows lie every \
          `size * (1 - overlap)` voxels, the last shifted back, and logits are blended by a Gaussian of σ = 0.125 of \
          the window around its middle, at least 0.001. By nnU-Net's windows are evenly spread, no farther apart \
          than `size * (1 - overlap)` voxels, and the same Gaussian stands on the voxel `size / 2` without a least \
          weight. Where a volume is smaller than a window it is padded on either side: for a network that \
          `train` gave with the volume's lowest intensity, which it saw there in its training as well, and for a \
          TorchScript network with zeros, as both conventions have it. A network of stacks or bags takes the volume \
          slice by slice. A scan of which a logit is NaN or infinite has no mask, and is refused as `NOT_FINITE`.\n\n\
          With `flips` the network sees each window mirrored along every combination of these axes, and the logits, \
          mirrored back, are averaged before they are blended, as nnU-Net does. Several models are an ensemble: \
          their logits are averaged, as nnU-Net does with its folds. Of stages it waits until all of them have \
          given a model; the order in which they are named changes nothing.\n\n\
          With `out_of_fold` a case on which some of an ensemble's models chose their best epoch is segmented by \
          these alone, any other by those that were not trained on it: of the folds of a cross-validation each case \
          gets a mask from a network that did not learn from it, as nnU-Net's find_best_configuration compares \
          networks, and a new case one from all. A case that all models were trained on, which folds of one split \
          leave none of, is segmented by all, and its figures say `train`.\n\n\
          The card of a model that `train` wrote says how its scans were prepared. A pipeline that prepares them \
          otherwise is told so; with `prepare = \"model\"` the card's operators run, and the file alone is all that is \
          needed.\n\n\
          A case of other channels than a model's card names is refused as `CHANNELS_DIFFER`. \
          A TorchScript network takes `[N, C, D, H, W]` for windows, C being 1 or the scan's channels, and \
          `[N, channels, H, W]` for stacks and bags, and gives logits `[N, classes, …]` on the same grid; where it gives a tuple, the first is \
          taken. With `activation = \"sigmoid\"` it gives a logit for each label and none for the background, so that one \
          of one label has one channel. What does not fit is refused with both shapes.\n\n\
          A model whose labels have a head each (`activation = \"sigmoid\"` of `train`) gives masks that may overlap: each \
          label has what is above its `threshold`. Where its card says that a label holds others, and the labels of the \
          pipeline's cases say otherwise, the pipeline is refused.\n\n\
          With `keep` maps stand beside the mask, on the same grid, for `export` and the report. `probabilities`: for \
          each label its softmax p of the blended logits (averaged over networks and mirrored inputs before, as the \
          mask's are). `entropy`: −Σ p ln p / ln(classes) over all classes, 0 where the network is certain and 1 where \
          it holds all classes for equally likely. `attention`: the map of the finest level of a network with \
          `attention`, 0 to 1, averaged and blended as logits are. They go back to the scan's grid by linear \
          interpolation, and are 0 where the network saw nothing. A value is stored in a byte, in steps of 1/254. Maps are part of no key: asked for later, the network runs \
          again, the mask comes out as it was, and nothing after it is done again; not asked for any more, they stay \
          with their mask.",
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
            doc: "The stage that gives the model, or a file: `{ safetensors = \"net.safetensors\" }`; a list of stages \
                  or of files, with the same view and labels, is an ensemble.",
        },
        Field {
            name: "out_of_fold",
            kind: FieldKind::Bool,
            default: Default::Json("false"),
            role: Role::SemanticLater,
            doc: "Whether a case is segmented only by those of an ensemble's stages that were not trained on it.",
        },
        Field {
            name: "overlap",
            kind: FieldKind::Number { min: 0.0, max: 0.95, unit: "" },
            default: Default::Json("0.25"),
            role: Role::Semantic,
            doc: "The share of a window that its neighbour covers again.",
        },
        Field {
            name: "convention",
            kind: FieldKind::Choice(&["monai", "nnunet"]),
            default: Default::Json("\"monai\""),
            role: Role::SemanticLater,
            doc: "The program whose placement of windows and whose Gaussian are followed.",
        },
        Field {
            name: "blend",
            kind: FieldKind::Choice(&["gaussian", "constant"]),
            default: Default::Json("\"gaussian\""),
            role: Role::SemanticLater,
            doc: "The weights of windows that overlap: less towards their edges, or alike everywhere.",
        },
        Field {
            name: "flips",
            kind: FieldKind::List { of: &FieldKind::Choice(&["d", "h", "w"]), len: None },
            default: Default::Json("[]"),
            role: Role::SemanticLater,
            doc: "The axes that the input is mirrored along as well; with three of them a network runs eight times.",
        },
        Field {
            name: "precision",
            kind: FieldKind::Choice(&["float32", "bfloat16"]),
            default: Default::Json("\"float32\""),
            role: Role::SemanticLater,
            doc: "The precision of features and weights: with `bfloat16` a network takes half the time and memory \
                  where the processor multiplies such numbers, and voxels at borders may fall otherwise. Not for \
                  TorchScript, which runs as it was saved.",
        },
        Field {
            name: "threshold",
            kind: FieldKind::Either(&[
                FieldKind::Number { min: 0.0, max: 1.0, unit: "" },
                FieldKind::Map(&FieldKind::Number { min: 0.0, max: 1.0, unit: "" }),
            ]),
            default: Default::Json("0.5"),
            role: Role::SemanticLater,
            doc: "The probability above which a voxel is inside of a label that has a head of its own (`activation = \
                  \"sigmoid\"`): one for all, or by label, `{ lesion = 0.4 }`. A model with a class for each voxel has none, and \
                  is refused beside another one than 0.5.",
        },
        PREPARE,
        Field {
            name: "batch",
            kind: FieldKind::Integer { min: 1, max: 4096 },
            default: Default::Json("4"),
            role: Role::Operational,
            doc: "The number of windows or slices in one pass through the network.",
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
            doc: "The maps that are kept beside the mask; `true` keeps none, as masks are kept anyway.",
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
