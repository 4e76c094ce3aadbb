//! Every pipeline that comes with the program is one that it takes.

use std::path::Path;

use tomoflow::operators::registry::Registry;
use tomoflow::pipeline;

use crate::support::declared::without_data;

#[test]
fn all_are_free_of_problems() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let place = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let plan = pipeline::load(&path, &without_data(&path, place.path()), &Registry::builtin());
            plan.unwrap_or_else(|problems| panic!("{}: {problems}", path.display()));
            checked += 1;
        }
    }
    assert!(checked > 3);
}
