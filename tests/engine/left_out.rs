//! Runs that say what they did not do: links, folders that are suddenly empty, files changed in place, outputs
//! changed by hand, cases of one name.

use std::fs;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;

use crate::support::Workplace;
use tomoflow::connectors::{LabelMap, Scan, nifti};
use tomoflow::engine::{Options, Summary, verify};
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::vs;
use tomoflow::pipeline::{self, Plan};

/// Scans by name, and masks by a threshold in a folder and in tables.
const PIPELINE: &str = r#"
[pipeline]
name = "left_out"
out = "out"
identifiers = "clear"
allowed_rejects = 0.0

[sources.scans]
type = "images"
path = "data"
files = "**/{case}.nii"

[operators.bright]
type = "threshold"
inputs = ["scans"]
above = 0.5
label = "tumour"

[sinks.masks]
type = "files"
inputs = ["bright"]
path = "masks"

[sinks.rows]
type = "delta"
inputs = ["bright"]
"#;

fn write(place: &Workplace, index: usize, name: &str) {
    let (scan, _): (Scan, LabelMap) = vs::case(&place.phantom, index);
    let path = place.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    nifti::write_scan(&path, &scan).unwrap();
}

fn place(files: &[&str]) -> Workplace {
    let mut place = Workplace::new(0);
    place.text = PIPELINE.to_owned();
    files.iter().enumerate().for_each(|(index, name)| write(&place, index, name));
    place
}

fn link(place: &Workplace, name: &str, target: &str) {
    let path = place.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, path).unwrap();
}

fn plan(place: &Workplace) -> Plan {
    pipeline::load(&place.pipeline(), &[], &Registry::builtin())
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn counts(summary: &Summary) -> (usize, usize, usize) {
    (summary.cases, summary.rejected, summary.actions_run)
}

fn said(summary: &Summary, words: &str) -> bool {
    summary.told.iter().any(|line| line.contains(words)) && summary.to_string().contains(words)
}

fn masks(place: &Workplace) -> Vec<String> {
    let names = fs::read_dir(place.path().join("masks")).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

/// Codes, cases and attempts of the table of rejects.
fn rejects(place: &Workplace) -> Vec<(String, String, i64)> {
    let rows = place.tables()["rejects"].clone();
    let rows = rows.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut rows: Vec<_> =
        rows.map(|row| (text(&row["code"]), text(&row["key"]), row["attempts"].as_i64().unwrap())).collect();
    rows.sort();
    rows
}

#[test]
fn what_cannot_be_looked_at_is_a_row_until_it_can() {
    let place = place(&["data/a.nii"]);
    fs::write(place.path().join("data/study.zip"), b"no archive").unwrap();
    fs::write(place.path().join("data/other.zip"), b"PK\x03\x04 cut off").unwrap();
    link(&place, "data/sub/lost.nii", "nothing");
    let row = |name: &str| ("UNREADABLE".to_owned(), name.to_owned(), 0);
    let all = [row("other.zip"), row("study.zip"), row("sub/lost.nii")];
    let summary = place.run();
    assert_eq!((counts(&summary), rejects(&place)), ((1, 0, 1), all.to_vec()), "{summary}");
    // It is told again as long as it holds, and no longer.
    assert_eq!((place.run().actions_run, rejects(&place)), (0, all.to_vec()));
    fs::remove_file(place.path().join("data/study.zip")).unwrap();
    write(&place, 3, "data/sub/nothing");
    assert_eq!((place.run().actions_run, rejects(&place)), (1, vec![row("other.zip")]));
    // A path may hold a name: it is a pseudonym unless identifiers are clear.
    let mut hidden = place;
    hidden.text = hidden.text.replace("identifiers = \"clear\"", "");
    hidden.run();
    let rows = rejects(&hidden);
    assert!(rows.len() == 1 && !rows[0].1.contains("other"), "{rows:?}");
}

#[test]
fn links_are_followed_and_what_they_lead_to_counts_once() {
    let place = place(&["data/a.nii", "store/1", "other/deep/c.nii", "data/sub/d.nii"]);
    link(&place, "data/b.nii", "../store/1");
    link(&place, "data/site", "../other");
    link(&place, "data/again.nii", "a.nii");
    link(&place, "data/sub/loop", "..");
    link(&place, "data/lost.nii", "../store/nothing");
    let summary = place.run();
    assert_eq!(counts(&summary), (4, 0, 4), "{summary}");
    assert!(said(&summary, "a link that leads nowhere") && said(&summary, "lost.nii"), "{summary}");
    assert!(said(&summary, "under another name") && said(&summary, ": again.nii"), "{summary}");
    assert!(said(&summary, "holds the whole source"), "{summary}");
    assert_eq!(masks(&place), ["a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz"]);
    assert_eq!(place.run().actions_run, 0);
    // Another target is another scan; a link that is gone is a case that is gone.
    write(&place, 7, "store/2");
    fs::remove_file(place.path().join("data/b.nii")).unwrap();
    link(&place, "data/b.nii", "../store/2");
    assert_eq!(counts(&place.run()), (4, 0, 1));
    fs::remove_file(place.path().join("data/site")).unwrap();
    assert_eq!(counts(&place.run()), (3, 0, 0));
    // What a link led to may only not be mounted: its case is kept, and the run says so.
    fs::rename(place.path().join("store"), place.path().join("away")).unwrap();
    let summary = place.run();
    assert_eq!(counts(&summary), (3, 0, 0), "{summary}");
    assert!(said(&summary, "b.nii"), "{summary}");
}

#[test]
fn outputs_that_a_link_leads_to_are_no_input() {
    let place = place(&["data/a.nii", "data/b.nii"]);
    link(&place, "data/results", "../out");
    link(&place, "data/all", "../masks");
    for round in 0..3 {
        let summary = place.run();
        assert_eq!((summary.cases, summary.rejected), (2, 0), "{summary}");
        assert_eq!(summary.actions_run > 0, round == 0, "{summary}");
    }
}

#[test]
fn a_folder_that_is_suddenly_empty_is_asked_about() {
    let place = place(&["data/A/a0.nii", "data/A/a1.nii", "data/B/b0.nii", "data/B/b1.nii"]);
    place.run();
    let before = place.tables();
    let (site, away) = (place.path().join("data/B"), place.path().join("away"));
    fs::rename(&site, &away).unwrap();
    for gone in [true, false] {
        if !gone {
            fs::create_dir(&site).unwrap();
        }
        let forecast = tomoflow::engine::forecast(plan(&place), &Options::default()).unwrap();
        assert!(forecast.to_string().contains("held 2 cases"), "{forecast}");
        let summary = place.run();
        assert_eq!(counts(&summary), (4, 0, 0), "{summary}");
        assert!(said(&summary, "data/B held 2 cases") && said(&summary, "--accept-empty="), "{summary}");
        assert_eq!((summary.emptied, summary.exit_code(0.0)), (1, 65));
        assert_eq!((place.tables(), masks(&place).len()), (before.clone(), 4));
    }
    // Another folder's word does not count.
    let emptied = |folder: &Path| Options { emptied: vec![folder.to_owned()], ..Options::default() };
    assert_eq!(place.run_with(&emptied(&place.path().join("data/A"))).cases, 4);
    let summary = place.run_with(&emptied(&site));
    assert_eq!((summary.cases, summary.emptied, masks(&place).len()), (2, 0, 2), "{summary}");
    assert_eq!((place.run().cases, place.run().emptied), (2, 0));
    fs::remove_dir(&site).unwrap();
    fs::rename(&away, &site).unwrap();
    assert_eq!(counts(&place.run()), (4, 0, 0));
}

#[test]
fn deletions_and_renamed_folders_are_no_question() {
    let files =
        ["data/A/a0.nii", "data/A/a1.nii", "data/B/b0.nii", "data/B/b1.nii", "data/c/c0.nii", "data/d.nii"];
    let place = place(&files);
    assert_eq!(place.run().cases, 6);
    for file in ["data/A/a0.nii", "data/B/b1.nii", "data/d.nii"] {
        fs::remove_file(place.path().join(file)).unwrap();
    }
    fs::remove_dir_all(place.path().join("data/c")).unwrap();
    let summary = place.run();
    assert_eq!((summary.cases, summary.emptied), (2, 0), "{summary}");
    assert!(
        said(&summary, "4 cases are gone since the last look") && said(&summary, "A/a0.nii"),
        "{summary}"
    );
    write(&place, 8, "data/A/a2.nii");
    assert_eq!(place.run().cases, 3);
    fs::rename(place.path().join("data/A"), place.path().join("data/renamed")).unwrap();
    let summary = place.run();
    assert_eq!((counts(&summary), summary.emptied), ((3, 0, 0), 0), "{summary}");
    assert!(!said(&summary, "gone since"), "{summary}");
    // Every other folder is empty as well, but for what is no scan.
    fs::write(place.path().join("data/Thumbs.db"), "nothing").unwrap();
    fs::remove_dir_all(place.path().join("data/renamed")).unwrap();
    let summary = place.run();
    assert_eq!((summary.cases, summary.emptied), (3, 1), "{summary}");
}

#[test]
fn a_change_whose_time_was_put_back_is_seen() {
    let place = place(&["data/a.nii", "data/b.nii"]);
    place.run();
    let path = place.path().join("data/a.nii");
    let times = fs::metadata(&path).unwrap();
    let put_back = |file: &fs::File| file.set_modified(times.modified().unwrap()).unwrap();
    // Other rights, or a time put back, are read again, and nothing is done.
    let mut rights = times.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o600);
    fs::set_permissions(&path, rights).unwrap();
    let summary = place.run();
    assert_eq!((summary.files_read, counts(&summary)), (1, (2, 0, 0)), "{summary}");
    assert_eq!(place.run().files_read, 0);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&1000_f32.to_le_bytes().repeat(400), times.len() - 1600).unwrap();
    put_back(&file);
    drop(file);
    let found = verify(plan(&place), false).unwrap();
    assert_eq!(found.altered, [path.canonicalize().unwrap()], "{found}");
    let summary = place.run();
    assert_eq!((summary.files_read, counts(&summary)), (1, (2, 0, 1)), "{summary}");
    assert!(verify(plan(&place), false).unwrap().sound());
}

#[test]
fn outputs_changed_by_hand_are_named_and_put_back() {
    let mut place = place(&["data/a.nii", "data/b.nii", "data/c.nii", "data/d.nii"]);
    place.text.push_str("\n[sinks.flat]\ntype = \"parquet\"\ninputs = [\"bright\"]\n");
    place.run();
    let mask = |name: &str| place.path().join(format!("masks/{name}.nii.gz"));
    let flat = place.path().join("out/parquet/masks.parquet");
    let written =
        [mask("a"), mask("b"), mask("c"), mask("d"), flat.clone()].map(|path| fs::read(path).unwrap());
    assert!(verify(plan(&place), false).unwrap().sound());
    let modified = fs::metadata(mask("a")).unwrap().modified().unwrap();
    // As many bytes, at the same time; fewer; none; and the same bytes once more.
    let mut other = written[0].clone();
    other.iter_mut().for_each(|byte| *byte ^= 1);
    fs::write(mask("a"), other).unwrap();
    fs::File::options().write(true).open(mask("a")).unwrap().set_modified(modified).unwrap();
    fs::write(mask("b"), &written[1][..20]).unwrap();
    fs::remove_file(mask("c")).unwrap();
    fs::write(mask("d"), &written[3]).unwrap();
    fs::write(&flat, "no table").unwrap();
    let found = verify(plan(&place), false).unwrap();
    let expected = [mask("a"), mask("b"), mask("c"), flat.clone()];
    let named = |path: &Path| {
        found.edited.iter().any(|edited| edited.ends_with(path.strip_prefix(place.path()).unwrap()))
    };
    assert!(found.edited.len() == 4 && expected.iter().all(|path| named(path)) && !found.sound(), "{found}");
    assert!(found.to_string().contains("c.nii.gz (it is not there"), "{found}");
    let summary = place.run();
    assert_eq!(counts(&summary), (4, 0, 0), "{summary}");
    assert!(said(&summary, "3 files of sinks were changed or removed"), "{summary}");
    let now = [mask("a"), mask("b"), mask("c"), mask("d")].map(|path| fs::read(path).unwrap());
    assert_eq!(now[..], written[..4]);
    assert!(verify(plan(&place), false).unwrap().sound());
    assert!(!said(&place.run(), "changed or removed"));
}

#[test]
fn a_case_called_like_a_scan_has_files_of_its_own() {
    let mut place = place(&["data/x.nii", "data/x.scan.nii", "data/y.nii"]);
    place.text = place.text.replace("path = \"masks\"", "path = \"masks\"\nscans = true");
    let summary = place.run();
    assert_eq!((summary.cases, summary.unwritten), (3, 0), "{summary}");
    let files = masks(&place);
    assert_eq!(files.len(), 6, "a mask and a scan of each: {files:?}");
    let read = |name: &str| nifti::read_scan(&place.path().join(name)).unwrap();
    let same = |written: &str, original: &str| {
        let (written, original) = (read(written), read(original));
        assert_eq!(written.size(), original.size());
        let mut pairs = written.voxels().iter().zip(original.voxels());
        pairs.all(|(a, b)| (a - b).abs() < 1e-3)
    };
    assert!(same("masks/x.scan.nii.gz", "data/x.nii"), "the scan of `x` is under its name");
    assert!(!same("masks/x.scan.nii.gz", "data/x.scan.nii"), "scans that are alike show nothing");
    let other = files.iter().find(|name| name.starts_with("x.scan_") && name.ends_with(".scan.nii.gz"));
    assert!(same(&format!("masks/{}", other.unwrap()), "data/x.scan.nii"), "{files:?}");
}

#[test]
fn cases_of_one_name_are_told_apart() {
    let mut place = place(&["data/c0.nii", "data/c1.nii", "dataB/c0.nii", "dataB/c2.nii"]);
    let sources = "[sources.others]\ntype = \"images\"\npath = \"dataB\"\nfiles = \"{case}.nii\"\n\n\
                   [operators.light]\ntype = \"threshold\"\ninputs = [\"others\"]\nabove = 0.5\n\n\
                   [sinks.more]\ntype = \"delta\"\ninputs = [\"light\"]\n";
    place.text = format!("{PIPELINE}\n{sources}");
    let summary = place.run();
    assert_eq!((summary.cases, summary.processed, summary.actions_run), (4, 4, 4), "{summary}");
    let notes = |case: &str| -> Vec<String> {
        let rows = place.tables()["cases"].clone();
        let rows = rows.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mut notes: Vec<_> =
            rows.filter(|row| row["case"] == case).map(|row| row["notes"].to_string()).collect();
        notes.sort();
        notes
    };
    let both = notes("c0");
    assert!(
        both[0].contains("of the source `others`") && both[1].contains("of the source `scans`"),
        "{both:?}"
    );
    assert_eq!((notes("c1"), notes("c2")), (vec!["[]".to_owned()], vec!["[]".to_owned()]));
    // One of them that changes is one case.
    write(&place, 9, "dataB/c0.nii");
    let summary = place.run();
    assert_eq!((summary.cases, summary.processed, summary.unchanged), (4, 1, 3), "{summary}");
    fs::write(place.path().join("dataB/c0.nii"), "no image").unwrap();
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected, summary.accepted), (4, 1, 3), "{summary}");
    fs::remove_file(place.path().join("dataB/c0.nii")).unwrap();
    let summary = place.run();
    assert_eq!((summary.cases, summary.actions_run), (3, 0), "{summary}");
    assert_eq!(notes("c0"), ["[]"]);
}

#[test]
fn what_is_passed_over_is_counted_and_named() {
    let place = place(&["data/a.nii", "data/__MACOSX/b.nii", "data/._a.nii", "data/.git/objects/1"]);
    write(&place, 4, "data/other.nii.gz");
    fs::write(place.path().join("data/notes.txt"), "nothing of an image").unwrap();
    let forecast = tomoflow::engine::forecast(plan(&place), &Options::default()).unwrap().to_string();
    let summary = place.run();
    assert_eq!(counts(&summary), (1, 0, 1), "{summary}");
    for text in [forecast, summary.to_string()] {
        assert!(text.contains("2 files or folders that macOS leaves"), "{text}");
        assert!(text.contains("._a.nii") && text.contains(": .git"), "{text}");
    }
    assert!(summary.to_string().contains("hold nothing for this pipeline: NOT_DICOM 2"), "{summary}");
    let mut place = place;
    place.text = place.text.replace("identifiers = \"clear\"", "identifiers = \"pseudonymous\"");
    let text = place.run().to_string();
    assert!(text.contains("macOS") && !text.contains("._a"), "{text}");
}

#[test]
fn inspect_follows_links_and_says_what_it_passed_over() {
    let place = Workplace::new(2);
    let archive = place.archive();
    fs::rename(&archive, place.path().join("store")).unwrap();
    fs::create_dir(&archive).unwrap();
    symlink("../store", archive.join("all")).unwrap();
    symlink("../archive", archive.join("loop")).unwrap();
    symlink("nothing", archive.join("lost")).unwrap();
    fs::write(archive.join("._1.dcm"), "macOS").unwrap();
    let inspect = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tomoflow"));
        let output = command.arg("inspect").args(args).arg(&archive).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        (text, String::from_utf8(output.stderr).unwrap())
    };
    let (text, errors) = inspect(&[]);
    assert!(text.contains("macOS leaves beside others was passed over: ._1.dcm"), "{text}");
    assert!(text.contains("holds the whole source") && text.contains(": loop"), "{text}");
    assert!(errors.contains("lost: a link that leads nowhere"), "{errors}");
    let (text, _) = inspect(&["--json"]);
    let total: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&total["volumes"], &total["skipped"]["UNREADABLE"]), (&2.into(), &1.into()), "{total}");
    assert_eq!(total["passed_over"].as_array().unwrap().len(), 2, "{total}");
}
