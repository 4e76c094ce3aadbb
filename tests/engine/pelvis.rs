//! From the phantom to a table, by the pipelines that come with the program: every row of ASDNet's trains and is scored.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::contents;
use tomoflow::engine::{self, Options};
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

#[test]
fn every_row_goes_from_scans_to_figures() {
    networks::set_threads(1);
    let folder = tempfile::tempdir().unwrap();
    write_pelves(&SMALL, folder.path()).unwrap();
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let path = |below: &str| format!("{:?}", folder.path().join(below).to_str().unwrap());
    for (row, channels, learns) in ROWS {
        let out = tempfile::tempdir().unwrap();
        let mut overrides = vec![
            format!("pipeline.out={:?}", out.path().to_str().unwrap()),
            "pipeline.memory=\"1 GiB\"".to_owned(),
            format!("sources.scans.path={}", path("")),
            format!("sources.truth.path={}", path("")),
            "operators.volume.spacing_mm=[8.0, 5.0, 5.0]".to_owned(),
            "operators.samples.size=[8, 16, 16]".to_owned(),
            "operators.samples.per_case=2".to_owned(),
            format!("operators.net.network.channels={channels}"),
            "operators.net.steps=4".to_owned(),
            format!("operators.net.split={{ file = {} }}", path("split.csv")),
        ];
        if learns {
            let gate = ["critic_width=1", "start=0.0", "least_dice=0.0", "least_label_dice=0.0"];
            overrides.extend(gate.map(|field| format!("operators.net.strategy.{field}")));
        }
        let plan = pipeline::load(&pipelines.join(format!("{row}.toml")), &overrides, &Registry::builtin());
        let plan = plan.unwrap_or_else(|problems| panic!("{row}: {problems}"));
        let summary = engine::run(plan, &Options { threads: 2, ..Options::default() }, &mut |_| {}).unwrap();
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
