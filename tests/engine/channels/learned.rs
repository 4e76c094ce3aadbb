//! Networks of several channels: they learn from them, and take no others.

use std::fs;

use tomoflow::connectors::nifti;
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::vs;

use super::{JOINED, TRUTH, channel, codes, notes, with, write};
use crate::support::text::Rewrite as _;
use crate::support::{TRAINED, ran};

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
