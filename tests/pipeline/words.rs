//! Words of other programs lead on: to the field that does it here, or to the word that nothing is needed.

use std::path::Path;

use tomoflow::operators::registry::Registry;
use tomoflow::pipeline;

use crate::support::text::Rewrite as _;

const PIPELINE: &str = r#"
[pipeline]
name = "words"
out = "out"

[sources.scans]
type = "images"
path = "images"
files = "{case}.nii"

[sources.truth]
type = "label_images"
path = "labels"
files = "{case}.nii"
labels = { organ = [1] }

[operators.case]
type = "label"
inputs = ["scans", "truth"]

[operators.even]
type = "resample"
inputs = ["case"]
spacing_mm = [2, 1, 1]

[operators.normal]
type = "window"
inputs = ["even"]
low = -160
high = 240

[operators.samples]
type = "patches"
inputs = ["normal"]
size = [8, 32, 32]

[operators.net]
type = "train"
inputs = ["samples"]
epochs = 2
batch = 2
learning_rate = 1e-3

[operators.segment]
type = "infer"
inputs = ["normal"]
model = "net"
overlap = 0.5

[sinks.results]
type = "delta"
inputs = ["segment"]
"#;

fn check(text: &str) -> Result<(), String> {
    let registry = Registry::builtin();
    pipeline::parse("words.toml", text, Path::new("/data/words"), &[], &registry)
        .map(|_| ())
        .map_err(|problems| problems.to_string())
}

#[test]
fn each_word_leads_on() {
    assert_eq!(check(PIPELINE), Ok(()));
    for (from, to, word) in [
        ("low = -160", "a_min = -160", "did you mean `low`?"),
        ("high = 240", "a_max = 240", "did you mean `high`?"),
        ("high = 240", "high = 240\nb_min = 0", "`window` gives 0 to 1"),
        ("spacing_mm = [2, 1, 1]", "pixdim = [2, 1, 1]", "did you mean `spacing_mm`?"),
        ("spacing_mm = [2, 1, 1]", "spacing_mm = [2, 1, 1]\nmode = \"bilinear\"", "did you mean `order`?"),
        ("size = [8, 32, 32]", "roi_size = [8, 32, 32]", "did you mean `size`?"),
        ("size = [8, 32, 32]", "spatial_size = [8, 32, 32]", "did you mean `size`?"),
        ("epochs = 2", "max_epochs = 2", "did you mean `epochs`?"),
        ("batch = 2", "batch = 2\nnum_workers = 8", "did you mean `readers`?"),
        ("batch = 2", "batch = 2\namp = true", "did you mean `precision`?"),
        ("batch = 2", "batch = 2\npin_memory = true", "nothing is needed: samples are cut ahead"),
        ("batch = 2", "batch = 2\nin_channels = 1", "nothing is needed: it follows from the labels"),
        ("batch = 2", "batch = 2\noverlap = 0.5", "`overlap` of `infer` says"),
        ("overlap = 0.5", "sw_batch_size = 4", "did you mean `batch`?"),
        ("overlap = 0.5", "roi_size = [8, 32, 32]", "`infer` takes those of its model"),
        ("out = \"out\"", "out = \"out\"\nnum_workers = 8", "`tomoflow run --threads`"),
    ] {
        let found = check(&PIPELINE.rewrite(from, to)).unwrap_err();
        assert!(found.contains("has no field") && found.contains(word), "{to}: {found}");
    }
}
