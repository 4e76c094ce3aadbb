//! Values that a pipeline runs through: what depends on them is there once for each, all else once.

use std::path::Path;

use expect_test::{Expect, expect};
use tomoflow::operators::registry::Registry;
use tomoflow::pipeline::{Plan, Problems, parse};

const TEXT: &str = r##"[pipeline]
name = "sweep"
out = "results"

[sources.scans]
type = "dicom"
path = "archive"

[sources.outlines]
type = "rtstruct"
path = "archive"
structures = { tumour = ["#1"] }

[operators.volume]
type = "assemble"
inputs = ["scans"]

[operators.case]
type = "label"
inputs = ["volume", "outlines"]

[operators.normal]
type = "zscore"
inputs = ["case"]

[operators.samples]
type = "patches"
inputs = ["normal"]
size = [16, 64, 64]

[operators.net]
type = "train"
inputs = ["samples"]
network = { type = "unet", dims = "2.5d", levels = 3, channels = 8 }
loss = { type = "hardness_dice", lambda = 0.6 }
split = { train = 4, validation = 1, test = 1, seed = 1 }

[operators.segment]
type = "infer"
inputs = ["normal"]
model = "net"

[operators.scores]
type = "evaluate"
inputs = ["segment", "case"]
metrics = ["dice"]

[sinks.results]
type = "delta"
inputs = ["segment", "scores"]

[sweep]
"operators.net.loss.lambda" = [0.0, 0.2]
operators.net.seed = [1, 2]
"##;

fn read(text: &str) -> Result<Plan, Problems> {
    parse("a.toml", text, Path::new("/data"), &[], &Registry::builtin())
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.stages.iter().map(|stage| stage.name.as_str()).collect()
}

fn problems(text: &str, expected: Expect) {
    expected.assert_eq(&read(text).map_or_else(|problems| problems.to_string(), |_| String::new()));
}

#[test]
fn what_depends_on_a_value_is_there_for_each_and_all_else_once() {
    let plan = read(TEXT).unwrap_or_else(|problems| panic!("{problems}"));
    let of = |stage: &str| -> Vec<String> {
        let values = [("0", "1"), ("0", "2"), ("0_2", "1"), ("0_2", "2")];
        values.map(|(lambda, seed)| format!("{stage}_lambda_{lambda}_seed_{seed}")).to_vec()
    };
    let found = names(&plan);
    for once in ["scans", "outlines", "volume", "case", "normal", "samples", "results"] {
        assert_eq!(found.iter().filter(|name| **name == once).count(), 1, "{once}: {found:?}");
    }
    for stage in ["net", "segment", "scores"] {
        for name in of(stage) {
            assert!(found.contains(&name.as_str()), "{name}: {found:?}");
        }
        assert!(!found.contains(&stage), "{found:?}");
    }
    assert_eq!(plan.stages.len(), 7 + 3 * 4);
    // Each copy takes from its own.
    let at = |name: &str| plan.stages.iter().position(|stage| stage.name == name).unwrap();
    for (net, segment) in of("net").iter().zip(of("segment")) {
        assert_eq!(plan.stages[at(&segment)].references["model"], [at(net)]);
        assert_eq!(plan.stages[at(&segment)].inputs, [at("normal")]);
    }
    let one = &plan.stages[at("net_lambda_0_2_seed_2")].config;
    assert_eq!((one["loss"]["lambda"].as_f64(), one["seed"].as_u64()), (Some(0.2), Some(2)));
    assert_eq!(plan.stages[at("results")].inputs.len(), 8);
    // Seeds are one system.
    let systems: Vec<_> =
        plan.swept.iter().map(|swept| (swept.system.as_str(), swept.stages.clone())).collect();
    let scores = of("scores");
    assert_eq!(systems, [("lambda 0", scores[..2].to_vec()), ("lambda 0.2", scores[2..].to_vec())]);
}

#[test]
fn a_pipeline_of_one_value_is_the_one_without() {
    let config = |plan: &Plan, name: &str| {
        let stage = plan.stages.iter().find(|stage| stage.name == name).unwrap();
        stage.config.clone()
    };
    let (swept, plain) = TEXT.split_once("\n[sweep]").map(|(plain, _)| (format!("{plain}\n[sweep]\n\"operators.net.loss\" = [{{ type = \"dice\" }}, {{ type = \"hardness_dice\", lambda = 0.6 }}]\n"), plain.to_owned())).unwrap();
    let (swept, plain) = (read(&swept).unwrap(), read(&plain).unwrap());
    assert_eq!(config(&swept, "net_loss_hardness_dice"), config(&plain, "net"));
    assert!(plain.swept.is_empty());
}

#[test]
fn a_value_early_on_takes_all_that_follows_with_it_and_fields_of_one_name_are_told_apart() {
    let text =
        TEXT.replace("\"operators.net.loss.lambda\" = [0.0, 0.2]", "\"operators.net.split.seed\" = [3, 4]");
    let plan = read(&text).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(names(&plan).contains(&"net_net_split_seed_3_net_seed_1"), "{:?}", names(&plan));
    let text = TEXT.replace("operators.net.seed = [1, 2]", "operators.normal.type = [\"zscore\"]");
    let plan = read(&text).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(names(&plan).contains(&"samples_type_zscore"), "{:?}", names(&plan));
}

#[test]
fn mistakes_are_located_in_the_sweep() {
    let with =
        |keys: &str| TEXT.split_once("\"operators.net").map(|(text, _)| format!("{text}{keys}\n")).unwrap();
    problems(
        &with("\"operators.nett.seed\" = [1]"),
        expect![[r#"
        error: there is no stage `nett` under `operators`
          --> a.toml:53:1
           |
        53 | "operators.nett.seed" = [1]
           | ^^^^^^^^^^^^^^^^^^^^^ unknown stage
        hint: did you mean `net`?
    "#]],
    );
    problems(
        &with("\"pipeline.memory\" = [\"1 GiB\"]"),
        expect![[r#"
        error: `pipeline.memory` is no field of a stage
          --> a.toml:53:1
           |
        53 | "pipeline.memory" = ["1 GiB"]
           | ^^^^^^^^^^^^^^^^^
        hint: write section, stage and field: `"operators.net.seed" = [1, 2, 3]`
    "#]],
    );
    problems(
        &with("\"operators.net\" = [1]"),
        expect![[r#"
        error: `operators.net` is no field of a stage
          --> a.toml:53:1
           |
        53 | "operators.net" = [1]
           | ^^^^^^^^^^^^^^^
        hint: write section, stage and field: `"operators.net.seed" = [1, 2, 3]`
    "#]],
    );
    problems(
        &with("\"operators.net.seed\" = 3"),
        expect![[r#"
        error: `operators.net.seed` takes a list of values
          --> a.toml:53:24
           |
        53 | "operators.net.seed" = 3
           |                        ^ 3 found
        hint: each value is a run of what depends on it
    "#]],
    );
    problems(
        &with("\"operators.net.loss.lamda\" = [0.1, 0.2]"),
        expect![[r#"
        error: `loss` of type `hardness_dice` has no field `lamda`
          --> a.toml:53:1
           |
        53 | "operators.net.loss.lamda" = [0.1, 0.2]
           | ^^^^^^^^^^^^^^^^^^^^^^^^^^ unknown field
        hint: did you mean `lambda`?
    "#]],
    );
    problems(
        &with("\"operators.net.loss.lambda\" = [0.1, \"much\"]"),
        expect![[r#"
        error: `loss.lambda` takes a number from 0 to 1
          --> a.toml:53:37
           |
        53 | "operators.net.loss.lambda" = [0.1, "much"]
           |                                     ^^^^^^ text found
        hint: the degree to which a wrong voxel counts more than a right one; 0 gives plain soft Dice
    "#]],
    );
    let many = (0..1001).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let refused = read(&with(&format!("\"operators.net.seed\" = [{many}]"))).unwrap_err().to_string();
    assert!(refused.contains("at most 1000 combinations expected"), "{refused}");
}
