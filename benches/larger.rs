//! `cargo bench --bench larger`: steps of training a second on prepared cases that are read by place, beside the same on cases
//! that are in memory.
//!
//! Both train the same model on the same artifacts, in turns; what is measured is a whole run in which nothing but the
//! training is left to do: reading or checking the cases, steps, and validation.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on says so by its panic, and prints what it measured"
)]

use std::fs;
use std::path::Path;
use std::time::Instant;

use tomoflow::connectors::table::{Rows, Table, read_rows};
use tomoflow::engine::{Options, run};
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::vs::{self, VsPhantom};
use tomoflow::pipeline;

/// A case, `[D, H, W]`, and how many there are: 170 MB in all.
const CASE: [usize; 3] = [32, 256, 256];
const CASES: usize = 16;
/// Steps of a training.
const STEPS: u32 = 120;
/// Each way so often, in turns.
const TURNS: usize = 3;

const PIPELINE: &str = r#"
[pipeline]
name = "larger"
out = "out"
memory = "MEMORY"

[sources.scans]
type = "dicom"
path = "archive"
where = { Modality = "MR" }

[sources.outlines]
type = "rtstruct"
path = "archive"
structures = { tumour = ["TV"] }

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
per_case = 8

[operators.changed]
type = "augment"
inputs = ["samples"]
rotate_deg = [15, 0, 0]
scale = [0.9, 1.1]
flip = ["w"]

[operators.net]
type = "train"
inputs = ["INPUT"]
network = { type = "unet", dims = "2.5d", levels = 3, channels = 8 }
steps = STEPS
split = { train = 14, validation = 2, test = 0 }
keep = true
"#;

/// How long a run takes, and the model that it gives.
fn trained(folder: &Path, text: &str) -> (f64, String) {
    let file = folder.join("pipeline.toml");
    fs::write(&file, text).unwrap();
    let plan =
        pipeline::load(&file, &[], &Registry::builtin()).unwrap_or_else(|problems| panic!("{problems}"));
    let begun = Instant::now();
    run(plan, &Options::default(), &mut |_| {}).unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    match read_rows(&folder.join("out/tables/training"), Table::Training).unwrap() {
        Rows::Training(rows) => (seconds, rows[0].model.clone()),
        other => panic!("{other:?}"),
    }
}

fn main() {
    let place = tempfile::tempdir().unwrap();
    let archive = place.path().join("archive");
    fs::create_dir_all(&archive).unwrap();
    let phantom = VsPhantom { series: CASES, first: 0, seed: 3, size: CASE, ..VsPhantom::DEFAULT };
    vs::write_archive(&phantom, &archive).unwrap();
    for input in ["samples", "changed"] {
        let text = PIPELINE.replace("INPUT", input).replace("STEPS", &STEPS.to_string());
        let with = |memory: &str| text.replace("MEMORY", memory);
        let (_, model) = trained(place.path(), &with("4 GiB"));
        let mut best = [f64::INFINITY; 2];
        for _ in 0..TURNS {
            for (best, memory) in best.iter_mut().zip(["4 GiB", "20 MiB"]) {
                fs::remove_file(place.path().join("out/store/artifacts").join(&model[..2]).join(&model))
                    .unwrap();
                let (seconds, again) = trained(place.path(), &with(memory));
                assert_eq!(again, model);
                *best = best.min(seconds);
            }
        }
        let [held, apart] = best.map(|seconds| f64::from(STEPS) / seconds);
        println!(
            "{input}: {held:.1} steps/s in memory, {apart:.1} by place, ratio {:.2} (aim 0.9)",
            apart / held
        );
    }
}
