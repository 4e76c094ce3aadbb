//! Every pipeline that comes with the program is one that it takes.

use std::path::Path;

use tomoflow::operators::registry::Registry;
use tomoflow::pipeline;

/// Tables that a pipeline reads lie beside the data, which is not here: each gets one with a row.
fn tables(pipeline: &Path, place: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(pipeline).unwrap();
    if !text.lines().any(|line| line.starts_with("table = ")) {
        return Vec::new();
    }
    let table = place.join("cases.csv");
    std::fs::write(&table, "file,case,patient\nhippocampus_001.nii.gz,001,S001\n").unwrap();
    vec![format!("sources.scans.table={:?}", table.display().to_string())]
}

#[test]
fn all_are_free_of_problems() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let place = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let plan = pipeline::load(&path, &tables(&path, place.path()), &Registry::builtin());
            plan.unwrap_or_else(|problems| panic!("{}: {problems}", path.display()));
            checked += 1;
        }
    }
    assert!(checked > 3);
}
