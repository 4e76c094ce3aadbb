//! Cases to a library of atlases.

use serde::Deserialize;

use super::train::{
    Learns, PartlyLabelled, RETRAIN_FIELD, Retrain, SPLIT_FIELD, Split, Train, retrain_problem,
};
use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{Aspects, Config, FieldProblem, Kind, Output, Port, Section, Spec};

/// The declaration of the type `atlases`.
pub static SPEC: Spec = Spec {
    name: "atlases",
    section: Section::Operators,
    summary: "Collects labelled cases into a library of atlases, for `fuse_atlases`.",
    doc: "The library holds the cases of the training part of `split`, as they reach this stage, with their \
          labels. It is for `fuse_atlases` what a model is for `infer`, and is pinned as a model is: more \
          cases change nothing until `retrain` says so, figures name the part of the split that a case is \
          in, and a case that came later is `new`. Validation and test cases are no atlases. A case that \
          lacks some of the labels, or could not be prepared, is no atlas either, and has a row in \
          `rejects`; a label that no atlas has is reported as `LABEL_NEVER_DRAWN`. If cases have several \
          channels, the first one is registered. The table `training` gives the number of atlases.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Case], many: false }],
    output: Output::Is(Kind::Atlases),
    aspects: Aspects::Both,
    fields: &[SPLIT_FIELD, RETRAIN_FIELD],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

#[derive(Deserialize)]
struct Declared {
    split: Split,
    retrain: Retrain,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let Declared { split, retrain } = crate::operators::read_config(config)?;
    let split = split.checked()?;
    match retrain_problem(false, retrain) {
        Some(problem) => Err(vec![problem]),
        None => Ok(Stage::Train(Train {
            learns: Learns::Atlases,
            split,
            retrain,
            start: None,
            partly_labelled: PartlyLabelled::default(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_library_is_a_training_without_a_network() {
        let split = json!({ "train": 4, "validation": 0, "test": 0.5, "seed": 0 });
        let with = |retrain| build(json!({ "split": split, "retrain": retrain }).as_object().unwrap());
        let Ok(Stage::Train(train)) = with(json!("always")) else { panic!("a training expected") };
        assert!(train.network().is_none() && !train.asks_for_unlabelled() && !train.gives_boxes());
        assert_eq!(train.retrain, Retrain::Always);
        let field = |retrain| with(retrain).err().unwrap()[0].field.clone();
        assert_eq!(field(json!({ "new_unlabelled": 3 })), "retrain.new_unlabelled");
        assert_eq!(field(json!({})), "retrain");
    }
}
