//! Scans, segmented without labels and without a network.

/// The pipeline as text.
pub const PIPELINE: &str = r#"
[pipeline]
name = "segmented"
out = "out"

[sources.scans]
type = "dicom"
path = "archive"

[operators.volume]
type = "assemble"
inputs = ["scans"]

[operators.normal]
type = "zscore"
inputs = ["volume"]

[operators.bright]
type = "threshold"
inputs = ["normal"]
above = 0.5

[operators.largest]
type = "largest_component"
inputs = ["bright"]

[sinks.masks]
type = "delta"
inputs = ["largest"]
"#;
