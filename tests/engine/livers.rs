//! From the phantom to figures, by the pipelines that come with the program: masks of lesions by U-Nets and by a detector,
//! case by case and over all cases together.

use std::path::Path;

use crate::support::contents;
use serde_json::Value;
use tomoflow::engine::{self, Options};
use tomoflow::networks;
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::liver::{LiverPhantom, write_cases};
use tomoflow::pipeline;

const SMALL: LiverPhantom = LiverPhantom { cases: 4, first: 0, seed: 5, size: [12, 48, 48], hard: 1.0 };

/// Rows, and what makes each smaller still.
const ROWS: [(&str, &[&str]); 3] = [
    ("va_unet_small_3d", &["operators.samples.per_case=2", "operators.net.network.channels=[2, 3, 4]"]),
    ("va_unet_small_2d", &["operators.samples.per_case=2", "operators.net.network.channels=[2, 3, 4, 4]"]),
    (
        "va_mask_small_va",
        &[
            "operators.bags.per_case=2",
            "operators.net.network.width=4",
            "operators.net.network.mask_channels=8",
            "operators.net.network.scale={ shorter = 64, longer = 64 }",
        ],
    ),
];

fn rows(out: &Path, table: &str) -> Vec<Value> {
    contents(out)[table].iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_row_of_masks_goes_from_scans_to_figures_over_all_cases() {
    networks::set_threads(1);
    let folder = tempfile::tempdir().unwrap();
    write_cases(&SMALL, folder.path()).unwrap();
    for (row, smaller) in ROWS {
        let out = tempfile::tempdir().unwrap();
        let quoted = |path: &Path| format!("{:?}", path.to_str().unwrap());
        let mut overrides = vec![
            format!("pipeline.out={}", quoted(out.path())),
            format!("sources.scans.path={}", quoted(folder.path())),
            format!("sources.truth.path={}", quoted(folder.path())),
            "operators.net.epochs=1".to_owned(),
            "operators.net.split={ train = 2, validation = 1, test = 1, seed = 1 }".to_owned(),
        ];
        overrides.extend(smaller.iter().map(|change| (*change).to_owned()));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(format!("{row}.toml"));
        let plan = pipeline::load(&file, &overrides, &Registry::builtin())
            .unwrap_or_else(|problems| panic!("{row}: {problems}"));
        let summary = engine::run(plan, &Options { threads: 2, ..Options::default() }, &mut |_| {}).unwrap();
        assert_eq!((summary.cases, summary.trained), (4, 1), "{row}: {summary}");
        let (metrics, pooled) = (rows(out.path(), "metrics"), rows(out.path(), "summary"));
        let of = |metric: &str, label: &str| -> Vec<&Value> {
            metrics.iter().filter(|row| row["metric"] == metric && row["label"] == label).collect()
        };
        for label in ["liver", "lesion"] {
            assert_eq!(of("dice", label).len(), 4, "{row}: {label}");
            // One case is tested on: what it comes to alone is what all of them come to.
            for metric in ["dice", "lesion_recall", "lesion_dice", "lesion_dice_small", "lesion_dice_large"] {
                let tested: Vec<&Value> =
                    of(metric, label).into_iter().filter(|row| row["split"] == "test").collect();
                let name = format!("pooled_{metric}");
                let all = pooled.iter().find(|row| {
                    row["metric"] == name.as_str()
                        && row["label"] == label
                        && row["grouped_by"] == "split"
                        && row["group"] == "test"
                });
                assert_eq!(tested.len(), 1, "{row}: {metric} of {label}");
                assert_eq!(all.unwrap()["mean"], tested[0]["value"], "{row}: {metric} of {label}");
            }
        }
    }
}
