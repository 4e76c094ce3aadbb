//! Cases of several channels: as series of a study, as files, as volumes of one file; what changes, and what is missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use dicom_core::{Tag, VR};

use crate::support::dicom::{SOP_UID, copied, put, text};
use crate::support::text::Rewrite as _;
use crate::support::{TRAINED, Workplace, assert_same, ran};
use tomoflow::connectors::{Geometry, LabelMap, Scan, nifti};
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::vs;

const HEAD: &str = r#"
[pipeline]
name = "test"
out = "out"
identifiers = "clear"
allowed_rejects = 1.0
"#;

/// Each channel is a source of its own.
const JOINED: &str = r#"
[sources.t1]
type = "images"
path = "images"
files = "{case}_0000.nii"

[sources.t2]
type = "images"
path = "images"
files = "{case}_0001.nii"

[operators.scans]
type = "channels"
inputs = ["t1", "t2"]
"#;

/// One source has a file for each channel.
const LISTED: &str = r#"
[sources.scans]
type = "images"
path = "images"
files = "{case}_{channel}.nii"
channels = ["t1", "t2"]
"#;

const TRUTH: &str = r#"
[sources.truth]
type = "label_images"
path = "labels"
files = "{case}.nii"
labels = { tumour = [1] }

[operators.case]
type = "label"
inputs = ["scans", "truth"]

[operators.normal]
type = "zscore"
inputs = ["case"]
"#;

const SEGMENTED: &str = r#"
[operators.bright]
type = "threshold"
inputs = ["normal"]
above = 0.5
label = "tumour"
channel = "t2"

[operators.scores]
type = "evaluate"
inputs = ["bright", "case"]
metrics = ["dice"]

[sinks.results]
type = "delta"
inputs = ["bright", "scores"]
"#;

fn with(parts: &[&str]) -> Workplace {
    let mut place = Workplace::new(0);
    place.text = [HEAD].into_iter().chain(parts.iter().copied()).collect();
    for folder in ["images", "labels"] {
        fs::create_dir_all(place.path().join(folder)).unwrap();
    }
    place
}

/// The second channel of a phantom: its intensities, the other way round.
fn inverted(scan: &Scan) -> Scan {
    let voxels = scan.voxels().iter().map(|value| 2000.0 - value).collect();
    Scan::new(scan.geometry().clone(), voxels).unwrap()
}

fn channel(place: &Workplace, index: usize, number: usize) -> std::path::PathBuf {
    place.path().join(format!("images/vs{index}_{number:04}.nii"))
}

fn write(place: &Workplace, index: usize) {
    let (scan, truth) = vs::case(&place.phantom, index);
    nifti::write_scan(&channel(place, index, 0), &scan).unwrap();
    nifti::write_scan(&channel(place, index, 1), &inverted(&scan)).unwrap();
    let labels = truth.voxels().iter().map(|label| u16::from(*label == 1)).collect();
    let labels = LabelMap::new(truth.geometry().clone(), labels).unwrap();
    nifti::write_labels(&place.path().join(format!("labels/vs{index}.nii")), &labels).unwrap();
}

/// Both channels as volumes of one file.
fn pack(place: &Workplace, index: usize) {
    let [mut first, second] = [0, 1].map(|number| fs::read(channel(place, index, number)).unwrap());
    assert_eq!(first[70..72], second[70..72], "one type of voxels");
    first[40..42].copy_from_slice(&4i16.to_le_bytes());
    first[48..50].copy_from_slice(&2i16.to_le_bytes());
    first.extend(&second[352..]);
    fs::write(place.path().join(format!("images/vs{index}.nii")), first).unwrap();
    for number in [0, 1] {
        fs::remove_file(channel(place, index, number)).unwrap();
    }
}

fn rows(place: &Workplace, table: &str) -> Vec<serde_json::Value> {
    place.tables()[table].iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn codes(place: &Workplace) -> BTreeSet<(String, String)> {
    let word = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
    rows(place, "rejects").iter().map(|row| (word(row, "key"), word(row, "code"))).collect()
}

fn code(key: &str, code: &str) -> BTreeSet<(String, String)> {
    BTreeSet::from([(key.to_owned(), code.to_owned())])
}

/// Case and runs of each row of `masks`.
fn masks(place: &Workplace) -> BTreeSet<String> {
    rows(place, "masks")
        .iter()
        .map(|row| format!("{} {} {}", row["case"], row["slice"], row["runs"]))
        .collect()
}

fn notes(place: &Workplace) -> Vec<String> {
    let notes = |row: &serde_json::Value| row["notes"].to_string();
    rows(place, "cases").iter().map(notes).collect()
}

#[test]
fn three_layouts_of_channels_give_the_same_masks() {
    let place = |parts: &[&str], packed: bool| {
        let place = with(parts);
        for index in 0..2 {
            write(&place, index);
            if packed {
                pack(&place, index);
            }
        }
        let summary = place.run();
        assert_eq!((summary.cases, summary.rejected), (2, 0), "{summary}");
        assert_eq!(place.run().actions_run, 0);
        place
    };
    let joined = place(&[JOINED, TRUTH, SEGMENTED], false);
    let listed = place(&[LISTED, TRUTH, SEGMENTED], false);
    let packed = place(&[&LISTED.rewrite("_{channel}", ""), TRUTH, SEGMENTED], true);
    assert!(!masks(&joined).is_empty());
    for other in [&listed, &packed] {
        assert_eq!(masks(&joined), masks(other));
        assert!(notes(other).iter().all(|notes| notes.contains("CHANNELS: t1, t2")));
    }
    assert!(notes(&joined).iter().all(|notes| notes == "[\"CHANNELS: t1, t2\"]"), "{:?}", notes(&joined));
    // What is bright in the second channel is dark in the first.
    let mut first = listed;
    first.text = first.text.rewrite("channel = \"t2\"", "channel = \"t1\"");
    first.run();
    assert_ne!(masks(&first), masks(&joined));
}

#[test]
fn a_change_of_one_channel_redoes_its_case_alone() {
    let place = with(&[JOINED, TRUTH, SEGMENTED]);
    (0..3).for_each(|index| write(&place, index));
    let summary = place.run();
    assert_eq!((summary.cases, ran(&summary, "bright")), (3, 3), "{summary}");
    let (scan, _) = vs::case(&place.phantom, 1);
    let other = Scan::new(scan.geometry().clone(), scan.voxels().iter().map(|v| v * 0.5).collect()).unwrap();
    nifti::write_scan(&channel(&place, 1, 1), &other).unwrap();
    let summary = place.run();
    assert_eq!((ran(&summary, "bright"), summary.processed), (1, 1), "{summary}");
    assert_same(&place.tables(), &place.anew(), "a channel changed");
    // A channel that goes takes its case alone, and one that comes brings it back.
    let kept = fs::read(channel(&place, 2, 1)).unwrap();
    fs::remove_file(channel(&place, 2, 1)).unwrap();
    let summary = place.run();
    assert_eq!((summary.actions_run, summary.accepted), (0, 2), "{summary}");
    assert_eq!(codes(&place), code("vs2", "CHANNEL_MISSING"));
    assert_same(&place.tables(), &place.anew(), "a channel went");
    fs::write(channel(&place, 2, 1), kept).unwrap();
    let summary = place.run();
    assert_eq!((summary.actions_run, summary.accepted), (0, 3), "{summary}");
    assert_same(&place.tables(), &place.anew(), "a channel came back");
    // Without the first there is no grid.
    fs::remove_file(channel(&place, 0, 0)).unwrap();
    place.run();
    assert!(codes(&place).is_superset(&code("vs0", "CHANNEL_ALONE")), "{:?}", codes(&place));
}

#[test]
fn a_missing_channel_may_be_zero() {
    let mut place = with(&[JOINED, TRUTH, SEGMENTED]);
    place.text =
        place.text.rewrite("inputs = [\"t1\", \"t2\"]", "inputs = [\"t1\", \"t2\"]\non_missing = \"zero\"");
    (0..2).for_each(|index| write(&place, index));
    fs::remove_file(channel(&place, 0, 1)).unwrap();
    let summary = place.run();
    assert_eq!((summary.accepted, summary.rejected, ran(&summary, "bright")), (2, 0, 2), "{summary}");
    assert!(notes(&place).iter().any(|notes| notes.contains("CHANNEL_MISSING: t2 is 0 everywhere")));
    assert!(masks(&place).iter().all(|mask| mask.starts_with("\"vs1\"")));
    nifti::write_scan(&channel(&place, 0, 1), &vs::case(&place.phantom, 0).0).unwrap();
    assert_eq!(ran(&place.run(), "bright"), 1);
    assert_same(&place.tables(), &place.anew(), "the channel came");
}

/// What waits for numbers of the archive is not missing: nothing is learned from zeros in its place.
#[test]
fn channels_that_wait_for_the_archive_are_not_missing() {
    tomoflow::networks::set_threads(1);
    let mut place = with(&[JOINED, TRUTH, TRAINED]);
    (0..4).for_each(|index| write(&place, index));
    let scaled = "\n[operators.scaled]\ntype = \"zscore\"\ninputs = [\"t2\"]\nstatistics = \"archive\"\n";
    let inputs = "inputs = [\"t1\", \"scaled\"]\non_missing = \"zero\"";
    place.text = place.text.rewrite("inputs = [\"t1\", \"t2\"]", inputs) + scaled;
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected, ran(&summary, "segment")), (1, 0, 4), "{summary}");
    assert!(notes(&place).iter().all(|notes| notes == "[\"CHANNELS: t1, scaled\"]"), "{:?}", notes(&place));
    assert_eq!(place.run().actions_run, 0);
}

#[test]
fn grids_are_brought_together_where_positions_are_trusted() {
    let mut place = with(&[JOINED, TRUTH, SEGMENTED]);
    write(&place, 0);
    let (scan, _) = vs::case(&place.phantom, 0);
    // Half as many columns, twice as far apart, over the same space.
    let [depth, height, width] = scan.size();
    let mut geometry = scan.geometry().clone();
    geometry.size = [depth, height, width / 2];
    geometry.steps_mm[2] = geometry.steps_mm[2].map(|mm| mm * 2.0);
    let voxels = inverted(&scan).voxels().iter().copied().step_by(2).collect();
    nifti::write_scan(&channel(&place, 0, 1), &Scan::new(geometry, voxels).unwrap()).unwrap();
    place.run();
    assert_eq!(codes(&place), code("vs0", "FRAMES_DIFFER"));
    place.text =
        place.text.rewrite("inputs = [\"t1\", \"t2\"]", "inputs = [\"t1\", \"t2\"]\nframes = \"trusted\"");
    let summary = place.run();
    assert_eq!((summary.rejected, ran(&summary, "bright")), (0, 1), "{summary}");
    assert!(!masks(&place).is_empty());
    // A source that reads both has one grid.
    let listed = with(&[LISTED, TRUTH, SEGMENTED]);
    write(&listed, 0);
    fs::copy(channel(&place, 0, 1), channel(&listed, 0, 1)).unwrap();
    listed.run();
    assert_eq!(codes(&listed), code("vs0", "GRID_MISMATCH"));
}

#[test]
fn volumes_and_names_of_channels_are_as_many() {
    let mut place = with(&[&LISTED.rewrite("_{channel}", ""), TRUTH, SEGMENTED]);
    write(&place, 0);
    pack(&place, 0);
    place.text = place.text.rewrite("[\"t1\", \"t2\"]", "[\"t1\", \"t2\", \"flair\"]");
    place.run();
    assert_eq!(codes(&place), code("vs0", "CHANNELS_DIFFER"));
    place.text =
        place.text.rewrite("channels = [\"t1\", \"t2\", \"flair\"]\n", "").rewrite("channel = \"t2\"\n", "");
    place.run();
    assert_eq!(codes(&place), code("vs0", "SEVERAL_VOLUMES"));
}

/// A network of two channels, in each view; its model says which they are.
#[test]
fn networks_learn_from_channels_and_take_no_others() {
    tomoflow::networks::set_threads(1);
    let mut place = with(&[JOINED, TRUTH, TRAINED]);
    (0..4).for_each(|index| write(&place, index));
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected, ran(&summary, "segment")), (1, 0, 4), "{summary}");
    assert_eq!(place.metrics().len(), 4);
    // Channels that change redo what they touch: the case of a test, and no model.
    let test = place.metrics().into_iter().find(|row| row.split == "test").unwrap().case;
    let index = test.strip_prefix("vs").unwrap().parse().unwrap();
    nifti::write_scan(&channel(&place, index, 1), &vs::case(&place.phantom, index).0).unwrap();
    let summary = place.run();
    assert_eq!((summary.trained, ran(&summary, "segment")), (0, 1), "{summary}");
    let artifacts = tomoflow::connectors::dicom::walk(&place.out().join("store/artifacts")).unwrap();
    let mut files = artifacts.iter().map(|file| fs::read(&file.path).unwrap());
    let model = files.find(|bytes| bytes.get(8..10) == Some(b"{\"")).unwrap();
    let card = tomoflow::networks::ModelCard::read(&model[..]).unwrap();
    assert_eq!(card.origin.channels, ["t1", "t2"]);
    assert_eq!(card.network.in_channels(), 2);
    fs::write(place.path().join("net.safetensors"), &model).unwrap();
    let (head, _) = place.text.split_once("[operators.samples]").unwrap();
    let infer = "[operators.segment]\ntype = \"infer\"\ninputs = [\"normal\"]\nmodel = { safetensors = \"net.safetensors\" }\n\
                 [sinks.learned]\ntype = \"delta\"\ninputs = [\"segment\"]\n";
    place.text = format!("{head}{infer}");
    let summary = place.run();
    assert_eq!((summary.rejected, ran(&summary, "segment")), (0, 4), "{summary}");
    let whole = place.text.clone();
    // It is told where channels are prepared otherwise, before they are put together or by that.
    let mut warned = |text: String| {
        place.text = text;
        let plan = tomoflow::pipeline::load(&place.pipeline(), &[], &Registry::builtin()).unwrap();
        plan.warnings.iter().map(|warning| warning.message.clone()).collect::<Vec<_>>().join("; ")
    };
    let found = warned(whole.clone());
    assert!(!found.contains("prepared otherwise"), "{found}");
    let wide = "inputs = [\"t1\", \"wide\"]\nnames = [\"t1\", \"t2\"]";
    let wide = whole.rewrite("inputs = [\"t1\", \"t2\"]", wide)
        + "\n[operators.wide]\ntype = \"zscore\"\ninputs = [\"t2\"]\n";
    let found = warned(wide);
    assert!(found.contains("input 2 of `channels` by nothing, here by `zscore`"), "{found}");
    let trusted = "inputs = [\"t1\", \"t2\"]\nframes = \"trusted\"";
    let found = warned(whole.rewrite("inputs = [\"t1\", \"t2\"]", trusted));
    assert!(found.contains("`frames` of `channels` was \"same\", here it is \"trusted\""), "{found}");
    // Its card says how they were prepared once they were put together.
    place.text =
        whole.rewrite("inputs = [\"normal\"]\nmodel", "inputs = [\"case\"]\nprepare = \"model\"\nmodel");
    let summary = place.run();
    assert_eq!((summary.rejected, ran(&summary, "segment")), (0, 0), "{summary}");
    place.text = place.text.rewrite("inputs = [\"scans\", \"truth\"]", "inputs = [\"t1\", \"truth\"]");
    let found =
        tomoflow::pipeline::load(&place.pipeline(), &[], &Registry::builtin()).unwrap_err().to_string();
    assert!(found.contains("the channels t1 and t2, this stage takes scans of one"), "{found}");
    // The same scans under other names, and one of them alone.
    place.text =
        whole.rewrite("inputs = [\"t1\", \"t2\"]", "inputs = [\"t1\", \"t2\"]\nnames = [\"t1\", \"adc\"]");
    place.run();
    let all = codes(&place);
    assert!(all.len() == 4 && all.iter().all(|(_, code)| code == "CHANNELS_DIFFER"), "{all:?}");
    place.text = whole.rewrite("inputs = [\"scans\", \"truth\"]", "inputs = [\"t1\", \"truth\"]");
    place.run();
    let all = codes(&place);
    assert!(all.len() == 4 && all.iter().all(|(_, code)| code == "CHANNELS_DIFFER"), "{all:?}");
    for view in ["type = \"stack\"\nslices = 3", "type = \"bag\"\nstacks = 3\nslices = 1\ngap = 1"] {
        let mut place = with(&[JOINED, TRUTH, TRAINED]);
        (0..4).for_each(|index| write(&place, index));
        place.text = place.text.rewrite("type = \"patches\"", view).rewrite("size = [4, 16, 16]\n", "");
        place.text = place.text.rewrite("dims = \"2.5d\"", "dims = \"2d\"");
        place.text = place.text.rewrite("model = \"net\"", "model = \"net\"\nflips = [\"d\", \"w\"]");
        let summary = place.run();
        assert_eq!((summary.trained, summary.rejected, ran(&summary, "segment")), (1, 0, 4), "{summary}");
    }
}

#[test]
fn what_does_not_go_together_is_a_problem_of_the_file() {
    let problems = |text: String| {
        let mut place = with(&[]);
        place.text = text;
        tomoflow::pipeline::load(&place.pipeline(), &[], &Registry::builtin()).unwrap_err().to_string()
    };
    let whole = [HEAD, JOINED, TRUTH, SEGMENTED].concat();
    let inputs = "inputs = [\"t1\", \"t2\"]";
    for (from, to, word) in [
        (inputs, "inputs = [\"t1\"]", "at least two inputs"),
        (inputs, "inputs = [\"t1\", \"t2\"]\nnames = [\"a\"]", "a name for each of 2 channels"),
        (inputs, "inputs = [\"t1\", \"t2\"]\nnames = [\"a\", \"a\"]", "comes twice"),
        (inputs, "inputs = [\"t1\", \"t2\"]\nfill = [0.0, 1.0]", "each of 1 other inputs"),
        ("type = \"zscore\"", "type = \"zscore\"\nstatistics = \"archive\"", "looks at one channel"),
    ] {
        let found = problems(whole.rewrite(from, to));
        assert!(found.contains(word), "{found}");
    }
    // What every case would be refused for is seen in the file alone.
    let named = "label = \"tumour\"\nchannel = \"t2\"";
    for (to, word) in [
        ("label = \"tumour\"", "`bright` looks at one channel, t1, t2 found"),
        ("label = \"tumour\"\nchannel = \"t3\"", "there is no channel called `t3`"),
        ("channel = \"t2\"", "`bright` gives foreground, the truth has tumour"),
    ] {
        let found = problems(whole.rewrite(named, to));
        assert!(found.contains(word) && found.contains("hint: "), "{found}");
    }
    let alone = whole.rewrite("inputs = [\"scans\", \"truth\"]", "inputs = [\"t1\", \"truth\"]");
    let found = problems(alone);
    assert!(
        found.contains("there is no channel called `t2`") && found.contains("leave `channel` out"),
        "{found}"
    );
    let mended = "[operators.mended]\ntype = \"fill_holes\"\ninputs = [\"bright\"]\n\n[operators.scores]";
    let mended = whole
        .rewrite("[operators.scores]", mended)
        .rewrite("inputs = [\"bright\", \"case\"]", "inputs = [\"mended\", \"case\"]");
    let found = problems(mended.rewrite(named, "label = \"Tumour\"\nchannel = \"t2\""));
    assert!(found.contains("`label = \"tumour\"` in `bright`"), "{found}");
    let twice = "\n[operators.more]\ntype = \"channels\"\ninputs = [\"scans\", \"t2\"]\n";
    assert!(problems(whole.clone() + twice).contains("put together already"));
    let trained = [HEAD, JOINED, TRUTH, TRAINED].concat();
    let other = "\n[operators.alone]\ntype = \"zscore\"\ninputs = [\"t1\"]\n";
    let found =
        problems(trained.rewrite("inputs = [\"normal\"]\nmodel", "inputs = [\"alone\"]\nmodel") + other);
    assert!(found.contains("was trained on channels t1, t2"), "{found}");
    // What finds boxes would look at the first channel alone, in training and afterwards.
    let boxes = "\n[operators.slices]\ntype = \"stack\"\ninputs = [\"normal\"]\nslices = 3\n\n\
                 [operators.boxes]\ntype = \"train\"\ninputs = [\"slices\"]\nepochs = 1\nlearning_rate = 2e-3\n\
                 split = { train = 2, validation = 1, test = 1, seed = 3 }\n\
                 network = { type = \"rcnn\", backbone = \"resnet18\", width = 4 }\n\n\
                 [operators.found]\ntype = \"detect\"\ninputs = [\"normal\"]\nmodel = \"boxes\"\n";
    let found = problems(whole.clone() + boxes);
    assert_eq!(found.matches("`rcnn` looks at one channel, t1, t2 found").count(), 2, "{found}");
    let listed = [HEAD, &LISTED.rewrite("[\"t1\", \"t2\"]", "[\"t1\"]"), TRUTH, SEGMENTED].concat();
    assert!(problems(listed).contains("at least two channels"));
}

const STUDY: &str = r#"
[sources.t1]
type = "dicom"
path = "archive"
where = { SeriesDescription = "!second*" }

[sources.t2]
type = "dicom"
path = "archive"
where = { SeriesDescription = "second*" }

[sources.outlines]
type = "rtstruct"
path = "archive"
structures = { tumour = ["TV"] }

[operators.first]
type = "assemble"
inputs = ["t1"]

[operators.second]
type = "assemble"
inputs = ["t2"]

[operators.labelled]
type = "label"
inputs = ["first", "outlines"]

[operators.case]
type = "channels"
inputs = ["labelled", "second"]
names = ["t1", "t2"]

[operators.normal]
type = "zscore"
inputs = ["case"]
"#;

/// Copies a series into the same study.
fn beside(place: &Workplace, index: usize, number: usize, frame: Option<&str>) {
    let (slices, outlines) = {
        let mut files = place.files_of(index);
        let outlines = files.pop().unwrap();
        (files, outlines)
    };
    assert!(outlines.exists());
    for (at, from) in slices.iter().enumerate() {
        copied(from, &place.archive().join(format!("t2-{index}-{number}-{at}")), |object| {
            let sop = format!("{}.{number}", text(object, SOP_UID));
            put(object, SOP_UID, VR::UI, &sop);
            let series = format!("{}.{number}", text(object, Tag(0x0020, 0x000E)));
            put(object, Tag(0x0020, 0x000E), VR::UI, &series);
            put(object, Tag(0x0008, 0x103E), VR::LO, &format!("second {number}"));
            if let Some(frame) = frame {
                put(object, Tag(0x0020, 0x0052), VR::UI, frame);
            }
        });
    }
}

#[test]
fn series_of_a_study_are_channels() {
    let mut place = Workplace::new(3);
    place.text = [HEAD, STUDY, SEGMENTED].concat();
    (0..3).for_each(|index| beside(&place, index, 7, None));
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected, ran(&summary, "bright")), (3, 0, 3), "{summary}");
    assert_eq!(rows(&place, "metrics").len(), 3);
    assert_same(&place.tables(), &place.anew(), "series of a study");
    // A second candidate, another frame of reference, and none.
    beside(&place, 0, 8, None);
    beside(&place, 1, 7, Some("1.2.3.4"));
    for file in fs::read_dir(place.archive()).unwrap().map(|entry| entry.unwrap().path()) {
        if file.file_name().unwrap().to_string_lossy().starts_with("t2-2-") {
            fs::remove_file(file).unwrap();
        }
    }
    let summary = place.run();
    assert_eq!((summary.accepted, summary.actions_run), (0, 0), "{summary}");
    let expected: BTreeSet<(String, String)> = ["SEVERAL_CANDIDATES", "FRAMES_DIFFER", "CHANNEL_MISSING"]
        .into_iter()
        .enumerate()
        .map(|(index, code)| (place.phantom_series(index), code.to_owned()))
        .collect();
    assert_eq!(codes(&place), expected);
    assert_same(&place.tables(), &place.anew(), "what makes no case");
    let row = rows(&place, "rejects").into_iter().find(|row| row["code"] == "SEVERAL_CANDIDATES").unwrap();
    assert!(row["message"].as_str().unwrap().contains("\"second 7\", \"second 8\""), "{row}");
}

/// Labels hold others, and are regions of a training, wherever they were bound.
#[test]
fn labels_are_found_before_channels_and_after() {
    for (text, source) in [([JOINED, TRUTH].concat(), "truth"), (STUDY.to_owned(), "outlines")] {
        let place = with(&[&text, SEGMENTED]);
        let plan = place.plan(&Registry::builtin());
        let at = |name: &str| plan.stages.iter().position(|stage| stage.name == name).unwrap();
        assert_eq!(plan.label_source(at("normal")), Some(at(source)));
        assert_eq!(plan.label_source(at("case")), Some(at(source)));
        let scans = if source == "truth" { "scans" } else { "second" };
        assert_eq!(plan.label_source(at(scans)), None);
    }
}

#[test]
fn an_output_is_explained_by_its_channels() {
    let place = with(&[JOINED, TRUTH, SEGMENTED]);
    write(&place, 0);
    place.run();
    let (scan, _) = vs::case(&place.phantom, 0);
    let other = Scan::new(scan.geometry().clone(), scan.voxels().iter().map(|v| v * 0.5).collect()).unwrap();
    nifti::write_scan(&channel(&place, 0, 1), &other).unwrap();
    place.run();
    let explanation = tomoflow::engine::explain(&place.plan(&Registry::builtin()), "bright").unwrap();
    let output = &explanation.outputs[0];
    assert_eq!(output.channels, ["t1 (8 slices)", "t2 (8 slices)"]);
    let operators: Vec<&str> = output.operators.iter().map(|part| part.stage.as_str()).collect();
    assert_eq!(operators, ["t1", "t2", "scans", "case", "normal", "bright"]);
    let before = output.before.as_ref().unwrap();
    let changed: Vec<String> = before.differences.iter().map(ToString::to_string).collect();
    assert_eq!(changed, ["instance vs0_0001.nii changed"]);
    assert_eq!(before.files, [channel(&place, 0, 1)]);
}

#[test]
fn a_kept_transform_of_channels_is_read_back() {
    let mut place = with(&[JOINED, TRUTH, SEGMENTED]);
    (0..2).for_each(|index| write(&place, index));
    place.run();
    let expected = masks(&place);
    place.text = place.text.rewrite("type = \"zscore\"\n", "type = \"zscore\"\nkeep = true\n");
    assert_eq!(ran(&place.run(), "normal"), 2);
    place.text = place.text.rewrite("above = 0.5", "above = 0.500000001");
    let summary = place.run();
    assert_eq!(ran(&summary, "bright"), 2);
    assert_eq!(masks(&place), expected);
}

/// Nothing of a geometry is lost on the way: a grid that is no axis-aligned one.
#[test]
fn oblique_channels_lie_on_one_grid() {
    let place = with(&[JOINED, TRUTH, SEGMENTED]);
    let geometry = Geometry {
        size: [3, 8, 9],
        origin_mm: [4.0, -2.0, 7.0],
        steps_mm: [[0.0, 0.3, 2.0], [0.0, 0.8, -0.6], [1.0, 0.0, 0.0]],
    };
    let scan = |from: usize| {
        let voxels = (0..geometry.voxels()).map(|at| ((at * from) % 97) as f32 * 10.0).collect();
        Scan::new(geometry.clone(), voxels).unwrap()
    };
    let path = |number: usize| channel(&place, 0, number);
    nifti::write_scan(&path(0), &scan(7)).unwrap();
    nifti::write_scan(&path(1), &scan(13)).unwrap();
    let labels = LabelMap::new(geometry.clone(), vec![1; geometry.voxels()]).unwrap();
    nifti::write_labels(&place.path().join("labels/vs0.nii"), &labels).unwrap();
    let summary = place.run();
    assert_eq!((summary.rejected, ran(&summary, "bright")), (0, 1), "{summary}");
    assert!(Path::new(&path(0)).exists() && !masks(&place).is_empty());
}
