//! Every example does what it is there for: it is run as cargo built it, and ends well.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `examples/NAME.rs` beside this crate, by name.
fn names() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources = paths.filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    let mut names: Vec<String> =
        sources.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Where `cargo test` puts an example: beside the folder of the tests' own executables.
fn executable(name: &str) -> PathBuf {
    let own = env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().join("examples").join(name)
}

#[test]
fn every_example_runs_to_a_good_end() {
    let names = names();
    let known = ["own_operator", "own_source", "own_network"];
    assert!(known.iter().all(|known| names.iter().any(|name| name == known)), "{names:?}");
    for name in names {
        let program = executable(&name);
        assert!(
            program.is_file(),
            "{} is not there: a plain `cargo test` builds it, before `--test pipeline` alone it takes `cargo build --release --examples`",
            program.display()
        );
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.current_dir(folder.path()).stdin(Stdio::null()).env_remove("TOMOFLOW_POINT");
        let ended = command.output().unwrap();
        assert!(
            ended.status.success(),
            "{name}: {}\n{}{}",
            ended.status,
            String::from_utf8_lossy(&ended.stdout),
            String::from_utf8_lossy(&ended.stderr)
        );
    }
}
