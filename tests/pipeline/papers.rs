//! The bench for published papers: what it composes is a pipeline, and what it says of claims can be counted by hand.

use std::path::{Path, PathBuf};
use std::process::Command;

use tomoflow::operators::registry::{Registry, Stage};
use tomoflow::pipeline;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The workspace's own Python, or that of the environment, where it has what the bench needs.
fn python() -> Option<PathBuf> {
    let own = || Path::new(ROOT).join(".venv/bin/python");
    let python = std::env::var_os("TOMOFLOW_PYTHON").map_or_else(own, PathBuf::from);
    let modules = Command::new(&python).args(["-c", "import numpy, tomllib"]).output();
    modules.is_ok_and(|output| output.status.success()).then_some(python)
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn claims_are_judged_as_by_hand() {
    let Some(python) = python() else {
        println!("skipped: no Python 3.11 with numpy (set TOMOFLOW_PYTHON)");
        return;
    };
    said(Command::new(python).arg(Path::new(ROOT).join("tests/python/papers.py")));
}

#[test]
fn every_paper_is_one_sound_pipeline() {
    let Some(python) = python() else {
        println!("skipped: no Python 3.11 with numpy (set TOMOFLOW_PYTHON)");
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let mut papers = 0;
    for paper in std::fs::read_dir(Path::new(ROOT).join("papers")).unwrap() {
        let (paper, composed) = (paper.unwrap().path(), place.path().join("composed.toml"));
        // Splits are read when a pipeline is checked; the phantom writes them.
        std::fs::create_dir_all(place.path().join("archive")).unwrap();
        for split in ["archive/split.csv", "archive/split_all.csv"] {
            std::fs::write(place.path().join(split), "series,part\npelvis-000,train\npelvis-001,test\n")
                .unwrap();
        }
        let mut command = Command::new(&python);
        command.env("TOMOFLOW", env!("CARGO_BIN_EXE_tomoflow")).arg(Path::new(ROOT).join("scripts/papers"));
        said(command.arg(&paper).arg("--compose").arg(&composed));
        let plan = pipeline::load(&composed, &[], &Registry::builtin())
            .unwrap_or_else(|problems| panic!("{}: {problems}", paper.display()));
        let trainings = plan.stages.iter().filter(|stage| matches!(stage.stage, Stage::Train(_))).count();
        assert!(trainings >= 9, "{}: {trainings} trainings", paper.display());
        papers += 1;
    }
    assert!(papers > 0);
}
