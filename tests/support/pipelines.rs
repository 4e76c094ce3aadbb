//! Pipelines of the tests, as text; benchmarks measure variants of them.

/// Segments without a network, so that the control plane is what is tested.
pub const THRESHOLD: &str = r#"
[pipeline]
name = "test"
out = "out"
identifiers = "clear"
allowed_rejects = 1.0

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

[operators.bright]
type = "threshold"
inputs = ["normal"]
above = 0.5
label = "tumour"

[operators.largest]
type = "largest_component"
inputs = ["bright"]

[operators.scores]
type = "evaluate"
inputs = ["largest", "case"]
metrics = ["dice", "assd", "rve"]

[sinks.results]
type = "delta"
inputs = ["bright", "largest", "scores"]
"#;

/// Scans and label maps in files, of organs that hold lesions: what trainings on labels of all kinds begin with.
pub const OF_FILES: &str = r#"
[pipeline]
name = "files"
out = "out"
identifiers = "clear"
allowed_rejects = 1.0

[sources.scans]
type = "images"
path = "data"
files = "{case}/scan.nii"

[sources.truth]
type = "label_images"
path = "data"
files = "{case}/labels.nii"
labels = { organ = [1, 2], lesion = [2] }

[operators.case]
type = "label"
inputs = ["scans", "truth"]

[operators.normal]
type = "zscore"
inputs = ["case"]
"#;

/// A small training on [`OF_FILES`], its masks and their figures.
pub const LEARNED: &str = r#"
[operators.samples]
type = "patches"
inputs = ["normal"]
size = [4, 8, 8]
per_case = 4
foreground = 1.0

[operators.net]
type = "train"
inputs = ["samples"]
network = { type = "unet", dims = "2.5d", levels = 2, channels = 4 }
epochs = 12
learning_rate = 1e-2
validate = "cases"
split = { train = 3, validation = 1, test = 0, seed = 1 }

[operators.masks]
type = "infer"
inputs = ["normal"]
model = "net"

[operators.scores]
type = "evaluate"
inputs = ["masks", "case"]
metrics = ["dice"]

[sinks.results]
type = "delta"
inputs = ["masks", "scores"]
"#;

/// What makes masks of [`LEARNED`] files.
pub const MASK_FILES: &str = r#"
[sinks.files]
type = "files"
inputs = ["masks"]
path = "masks"
format = "nifti"
"#;

/// What is bright in a case, held against what was drawn.
pub const BRIGHT: &str = r#"
[operators.bright]
type = "threshold"
inputs = ["case"]
above = 50
label = "organ"

[operators.scores]
type = "evaluate"
inputs = ["bright", "case"]
metrics = ["dice", "volume_ref_ml"]

[sinks.results]
type = "delta"
inputs = ["scores"]
"#;

/// The smallest training that is one: the control plane is what is tested.
pub const TRAINED: &str = r#"
[operators.samples]
type = "patches"
inputs = ["normal"]
size = [4, 16, 16]
per_case = 2

[operators.net]
type = "train"
inputs = ["samples"]
network = { type = "unet", dims = "2.5d", levels = 2, channels = 2 }
epochs = 2
learning_rate = 1e-2
split = { train = 2, validation = 1, test = 1, seed = 3 }

[operators.segment]
type = "infer"
inputs = ["normal"]
model = "net"

[operators.judged]
type = "evaluate"
inputs = ["segment", "case"]
metrics = ["dice"]

[sinks.learned]
type = "delta"
inputs = ["segment", "judged"]
"#;
