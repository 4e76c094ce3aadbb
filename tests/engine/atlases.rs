//! From the phantom to figures by atlases: registered ones find more than a vote where they lie, and a change of one redoes
//! what stands on it.

use std::path::Path;

use crate::support::contents;
use tomoflow::engine::{self, Options, Summary};
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::pelvis::{PelvisPhantom, write_pelves};
use tomoflow::pipeline;

const SMALL: PelvisPhantom =
    PelvisPhantom { labelled: 3, validation: 1, unlabelled: 1, test: 2, seed: 5, size: [14, 32, 32] };

fn run(row: &str, data: &Path, out: &Path, more: &[&str]) -> Summary {
    let path = |below: &str| format!("{:?}", data.join(below).to_str().unwrap());
    let mut overrides = vec![
        format!("pipeline.out={:?}", out.to_str().unwrap()),
        "pipeline.memory=\"1 GiB\"".to_owned(),
        format!("sources.scans.path={}", path("")),
        format!("sources.truth.path={}", path("")),
        "operators.volume.spacing_mm=[8.0, 5.0, 5.0]".to_owned(),
        format!("operators.library.split={{ file = {} }}", path("split.csv")),
    ];
    overrides.extend(more.iter().map(|&more| more.to_owned()));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(format!("{row}.toml"));
    let plan = pipeline::load(&file, &overrides, &Registry::builtin());
    let plan = plan.unwrap_or_else(|problems| panic!("{row}: {problems}"));
    engine::run(plan, &Options { threads: 2, ..Options::default() }, &mut |_| {}).unwrap()
}

fn rows(out: &Path, table: &str) -> Vec<serde_json::Value> {
    contents(out)[table].iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The mean Dice over labels and cases that are tested on.
fn tested(out: &Path) -> f64 {
    let figures: Vec<f64> = rows(out, "metrics")
        .iter()
        .filter(|row| row["split"] == "test" && row["metric"] == "dice")
        .map(|row| row["value"].as_f64().unwrap())
        .collect();
    assert_eq!(figures.len(), SMALL.test * 3);
    figures.iter().sum::<f64>() / figures.len() as f64
}

fn ran(summary: &Summary, stage: &str) -> usize {
    summary.stages.get(stage).map_or(0, |count| count.run)
}

#[test]
fn registered_atlases_find_more_than_a_vote_where_they_lie() {
    let data = tempfile::tempdir().unwrap();
    write_pelves(&SMALL, data.path()).unwrap();
    let outs: Vec<tempfile::TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let vote = ["operators.segment.registration=\"none\"", "operators.segment.fusion.type=\"majority\""];
    for ((row, more), out) in
        [("asdnet_malf", &vote[..]), ("asdnet_malf", &[]), ("asdnet_sparse", &[])].into_iter().zip(&outs)
    {
        let summary = run(row, data.path(), out.path(), more);
        assert_eq!((summary.cases, summary.trained, summary.rejected), (7, 1, 0), "{row}: {summary}");
        assert_eq!(ran(&summary, "segment"), 7, "{summary}");
        let library = rows(out.path(), "training");
        assert_eq!(library.len(), 1, "{library:?}");
        assert_eq!((&library[0]["name"], library[0]["value"].as_f64()), (&"atlases".into(), Some(3.0)));
    }
    let found: Vec<f64> = outs.iter().map(|out| tested(out.path())).collect();
    // Sparse matching follows an affine map alone, and deforms nothing: it need not be better than a vote.
    assert!(found[1] > found[0] + 0.03 && found[2] > 0.5, "vote, joint, sparse: {found:?}");
    // Nothing is done twice.
    let again = run("asdnet_malf", data.path(), outs[1].path(), &[]);
    assert_eq!((again.actions_run, again.trained), (0, 0), "{again}");
}

#[test]
fn a_changed_outline_of_an_atlas_redoes_what_stands_on_it() {
    let data = tempfile::tempdir().unwrap();
    write_pelves(&SMALL, data.path()).unwrap();
    let [kept, followed] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let always = ["operators.library.retrain=\"always\"", "operators.segment.registration=\"affine\""];
    run("asdnet_malf", data.path(), kept.path(), &always[1..]);
    run("asdnet_malf", data.path(), followed.path(), &always);
    let before = rows(followed.path(), "masks");
    // An atlas is drawn as another one is.
    let drawn = |case: &str| data.path().join("labels").join(format!("{case}.nii.gz"));
    std::fs::copy(drawn("pelvis-001"), drawn("pelvis-000")).unwrap();
    // The library is pinned: the case has other figures, and nothing else happens.
    let pinned = run("asdnet_malf", data.path(), kept.path(), &always[1..]);
    assert_eq!((pinned.trained, ran(&pinned, "segment"), ran(&pinned, "scores")), (0, 0, 1), "{pinned}");
    // One that follows its cases is made anew, and so is every mask.
    let summary = run("asdnet_malf", data.path(), followed.path(), &always);
    let count = ["normal", "library", "segment"].map(|stage| ran(&summary, stage));
    assert_eq!((count, summary.trained), ([1, 1, 7], 1), "{summary}");
    assert_ne!(rows(followed.path(), "masks"), before);
    // Whoever is tested on changes no atlas.
    std::fs::copy(drawn("pelvis-001"), drawn("pelvis-005")).unwrap();
    let summary = run("asdnet_malf", data.path(), followed.path(), &always);
    assert_eq!((summary.trained, summary.actions_run), (0, 1), "{summary}");
}
