//! From the phantom to a table, by the pipelines that come with the program: every row of ASDNet's trains and is scored.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::contents;
use tomoflow::engine::{self, Options, Summary};
use tomoflow::networks;
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::pelvis::{ORGANS, PelvisPhantom, write_pelves};
use tomoflow::pipeline;

const SMALL: PelvisPhantom =
    PelvisPhantom { labelled: 2, validation: 1, unlabelled: 2, test: 2, seed: 5, size: [14, 32, 32] };

/// Rows, how many channels theirs have, and whether they learn from what nobody drew.
const ROWS: [(&str, &str, bool); 9] = [
    ("asdnet", "[2, 3, 4, 4]", true),
    ("asdnet_semi", "[2, 3, 4, 4]", true),
    ("asdnet_fcn", "[2, 3, 4, 4]", true),
    ("asdnet_cnn", "[2, 3, 4, 4]", true),
    ("asdnet_att", "[2, 3, 4, 4]", false),
    ("asdnet_svnet", "[2, 3, 4, 4]", false),
    ("asdnet_vnet", "[2, 3, 4, 4, 4]", false),
    ("asdnet_unet", "[2, 3, 4, 4]", false),
    ("asdnet_dsresunet", "[2, 3, 4, 4]", false),
];

fn rows(out: &Path, table: &str) -> Vec<serde_json::Value> {
    contents(out)[table].iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Rows that learn from scans without outlines and have no critic, and the figure of what they learn from them.
const WITHOUT_CRITIC: [(&str, &str); 4] = [
    ("asdnet_semiembed", "embedding_loss"),
    ("asdnet_mean_teacher", "consistency_loss"),
    ("asdnet_bcp", "copy_paste_loss"),
    // Sure of nothing in four steps: what it would learn from is told all the same.
    ("asdnet_unimatch", "segmentation_loss"),
];

/// What makes a row small: of the trainings and samples of these names, `net` and `samples` among them.
fn smaller(folder: &Path, out: &Path, channels: &str, rounds: &[&str]) -> Vec<String> {
    let path = |below: &str| format!("{:?}", folder.join(below).to_str().unwrap());
    let mut overrides = vec![
        format!("pipeline.out={:?}", out.to_str().unwrap()),
        "pipeline.memory=\"1 GiB\"".to_owned(),
        format!("sources.scans.path={}", path("")),
        format!("sources.truth.path={}", path("")),
        "operators.volume.spacing_mm=[8.0, 5.0, 5.0]".to_owned(),
    ];
    for round in rounds {
        overrides.extend([
            format!("operators.samples{round}.size=[8, 16, 16]"),
            format!("operators.samples{round}.per_case=2"),
            format!("operators.net{round}.network.channels={channels}"),
            format!("operators.net{round}.steps=4"),
            format!("operators.net{round}.split={{ file = {} }}", path("split.csv")),
        ]);
    }
    overrides
}

fn run(row: &str, overrides: &[String]) -> Summary {
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let plan = pipeline::load(&pipelines.join(format!("{row}.toml")), overrides, &Registry::builtin());
    let plan = plan.unwrap_or_else(|problems| panic!("{row}: {problems}"));
    engine::run(plan, &Options { threads: 2, ..Options::default() }, &mut |_| {}).unwrap()
}

#[test]
fn every_row_goes_from_scans_to_figures() {
    networks::set_threads(1);
    let folder = tempfile::tempdir().unwrap();
    write_pelves(&SMALL, folder.path()).unwrap();
    for (row, channels, learns) in ROWS {
        let out = tempfile::tempdir().unwrap();
        let mut overrides = smaller(folder.path(), out.path(), channels, &[""]);
        if learns {
            let gate = ["critic_width=1", "start=0.0", "least_dice=0.0", "least_label_dice=0.0"];
            overrides.extend(gate.map(|field| format!("operators.net.strategy.{field}")));
        }
        let summary = run(row, &overrides);
        assert_eq!((summary.cases, summary.trained, summary.rejected), (7, 1, 0), "{row}: {summary}");
        let scored = rows(out.path(), "metrics");
        let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
        let tested: BTreeSet<(String, String)> = scored
            .iter()
            .filter(|row| row["split"] == "test" && row["metric"] == "dice")
            .map(|row| (text(row, "case"), text(row, "label")))
            .collect();
        assert_eq!(tested.len(), SMALL.test * ORGANS.len(), "{row}: {tested:?}");
        let figures: BTreeSet<String> =
            rows(out.path(), "training").iter().map(|row| text(row, "name")).collect();
        assert!(figures.contains("dice.rectum") || figures.contains("dice"), "{row}: {figures:?}");
        assert_eq!(figures.contains("loss.critic"), learns, "{row}: {figures:?}");
        let semi = matches!(row, "asdnet" | "asdnet_semi");
        assert_eq!(figures.contains("semi.share"), semi, "{row}: {figures:?}");
    }
}

#[test]
fn rows_without_a_critic_learn_from_what_nobody_drew() {
    networks::set_threads(1);
    let folder = tempfile::tempdir().unwrap();
    write_pelves(&SMALL, folder.path()).unwrap();
    for (row, term) in WITHOUT_CRITIC {
        let out = tempfile::tempdir().unwrap();
        let summary = run(row, &smaller(folder.path(), out.path(), "[2, 4, 4, 4]", &[""]));
        assert_eq!((summary.cases, summary.trained, summary.rejected), (7, 1, 0), "{row}: {summary}");
        let figures: Vec<f64> = rows(out.path(), "training")
            .iter()
            .filter(|figure| figure["name"] == term)
            .map(|figure| figure["value"].as_f64().unwrap())
            .collect();
        assert!(figures.iter().any(|value| *value > 0.0), "{row}: {figures:?}");
    }
}

#[test]
fn rounds_of_learning_from_its_own_masks() {
    networks::set_threads(1);
    let folder = tempfile::tempdir().unwrap();
    write_pelves(&SMALL, folder.path()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let rounds = ["", "_1", "_2", "_3"];
    let mut overrides = smaller(folder.path(), out.path(), "[2, 3, 4, 4]", &rounds);
    overrides.extend((1..4).map(|round| format!("operators.sharp_{round}.reach=1")));
    let summary = run("asdnet_semifcn", &overrides);
    assert_eq!((summary.cases, summary.trained, summary.rejected), (7, 4, 0), "{summary}");
    let models: BTreeSet<String> = rows(out.path(), "training")
        .iter()
        .map(|figure| figure["model"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(models.len(), 4, "each round is a training of its own");
    let tested = rows(out.path(), "metrics").iter().filter(|row| row["split"] == "test").count();
    assert!(tested >= SMALL.test * ORGANS.len(), "{tested}");
    assert_eq!(run("asdnet_semifcn", &overrides).actions_run, 0);
}
