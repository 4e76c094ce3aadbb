//! Pipelines of the tests, as text; benchmarks measure variants of them. And what the pipelines of the repository need
//! to be checked.

use std::fs;
use std::path::Path;

/// What is to be set of a pipeline of the repository so that it can be checked where its data are not: tables are read
/// then, and each is one of one row below `place`.
pub fn without_data(pipeline: &Path, place: &Path) -> Vec<String> {
    let name = pipeline.file_stem().and_then(|name| name.to_str()).unwrap();
    let given = |file: &str, text: &str| {
        let path = place.join(file);
        fs::write(&path, text).unwrap();
        format!("{:?}", path.display().to_string())
    };
    if name == "hippocampus" {
        let table = given("cases.csv", "file,case,patient\nhippocampus_001.nii.gz,001,S001\n");
        return vec![format!("sources.scans.table={table}")];
    }
    if name.starts_with("va_deeplesion") {
        let info = "File_name,Patient_index,Key_slice_index,Bounding_boxes,Spacing_mm_px_,Possibly_noisy\n\
                    000001_02_03_010.png,1,10,\"3, 4, 5, 7\",\"0.5, 0.5, 2\",0\n";
        let info = given("DL_info.csv", info);
        return ["scans", "marked"].iter().map(|source| format!("sources.{source}.info={info}")).collect();
    }
    Vec::new()
}

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
