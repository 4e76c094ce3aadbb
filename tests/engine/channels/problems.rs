//! Channels that do not go together, as the file of a pipeline declares them.

use tomoflow::operators::registry::Registry;

use super::{HEAD, JOINED, LISTED, SEGMENTED, TRUTH, with};
use crate::support::TRAINED;
use crate::support::text::Rewrite as _;

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
