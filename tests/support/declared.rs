//! The settings that the pipelines of the repository need to be checked.

use std::fs;
use std::path::Path;

/// The settings of a pipeline of the repository with which it can be checked where its data are not: tables
/// are read then, and each is one of one row below `place`.
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
        let info = "File_name,Patient_index,Key_slice_index,Bounding_boxes,Spacing_mm_px_,Possibly_noisy,Train_Val_Test\n\
                    000001_02_03_010.png,1,10,\"3, 4, 5, 7\",\"0.5, 0.5, 2\",0,1\n";
        let info = given("DL_info.csv", info);
        let read = ["sources.scans.info", "sources.marked.info", "operators.net.split.file"];
        return read.iter().map(|field| format!("{field}={info}")).collect();
    }
    Vec::new()
}
