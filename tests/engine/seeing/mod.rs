//! What would run and why, what made an output, whether all is sound, and what could go.

mod explained;
mod foreseen;
mod kept;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::support::Workplace;
use crate::support::text::Rewrite as _;
use tomoflow::engine::{self, Forecast, Options};
use tomoflow::operators::registry::Registry;

/// Everything below a folder, with sizes and times.
fn listing(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    let about = |path: &Path| {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.len(), metadata.modified().unwrap())
    };
    found.insert(folder.to_owned(), about(folder));
    for entry in entries {
        let path = entry.unwrap().path();
        found.insert(path.clone(), about(&path));
        if path.is_dir() {
            found.extend(listing(&path));
        }
    }
    found
}

/// Does something that must leave the output as it is.
fn looking_only<T>(place: &Workplace, look: impl FnOnce() -> T) -> T {
    let before = listing(&place.out());
    let seen = look();
    assert_eq!(listing(&place.out()), before, "something was written");
    seen
}

fn forecast(place: &Workplace) -> Forecast {
    forecast_in(place, &Registry::builtin(), &Options::default())
}

fn forecast_in(place: &Workplace, registry: &Registry, options: &Options) -> Forecast {
    let plan = place.plan(registry);
    looking_only(place, || engine::forecast(plan, options).unwrap_or_else(|error| panic!("{error}")))
}

/// To run, may follow, unchanged, and why.
fn stage(forecast: &Forecast, stage: &str) -> (usize, usize, usize, Vec<(String, usize)>) {
    let stage = forecast.stages.get(stage).unwrap_or_else(|| panic!("{stage}: {forecast}"));
    (stage.run, stage.may_follow, stage.unchanged, stage.reasons.clone().into_iter().collect())
}

fn why<const N: usize>(reasons: [(&str, usize); N]) -> Vec<(String, usize)> {
    reasons.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect()
}

/// Changes the last pixel of a slice.
fn repaint(slice: &Path) {
    let mut bytes = fs::read(slice).unwrap();
    let at = bytes.len() - 2;
    bytes[at] ^= 1;
    fs::write(slice, bytes).unwrap();
}

/// The time of an action is kept in whole seconds: what is done after this is younger.
fn a_second_later() {
    std::thread::sleep(Duration::from_millis(1100));
}

// plan

#[test]
fn commands_say_it_with_their_exit_codes_and_in_json() {
    let place = Workplace::new(1);
    let code = |subcommand: &str, arguments: &[&str]| {
        let ended = place.tomoflow(subcommand, arguments);
        if arguments.contains(&"--json") {
            assert!(serde_json::from_str::<serde_json::Value>(&ended.out).is_ok(), "{subcommand}: {ended:?}");
        }
        ended.code
    };
    assert_eq!(code("plan", &["--json"]), Some(0));
    assert!(!place.out().exists());
    assert_eq!(code("run", &["--json"]), Some(0));
    assert_eq!(code("plan", &[]), Some(0));
    assert_eq!(code("explain", &[&place.phantom_series(0), "--json"]), Some(0));
    assert_eq!(code("explain", &["nobody"]), Some(1));
    assert_eq!(code("verify", &["--json"]), Some(0));
    assert_eq!(code("gc", &["--json"]), Some(0));
    assert_eq!(code("gc", &["--older-than", "0s", "--delete"]), Some(0));
    assert_eq!(code("retry", &["--later"]), Some(0));
    assert_eq!(code("retry", &[]), Some(0));
    fs::write(&kept::artifacts(&place)[0], b"damaged").unwrap();
    assert_eq!(code("verify", &[]), Some(1));
    assert_eq!(code("verify", &["--mend", "--json"]), Some(1), "something was wrong");
    assert_eq!(code("run", &[]), Some(0));
    assert_eq!(code("verify", &[]), Some(0));
    assert_eq!(code("plan", &["--no-such-option"]), Some(2));
}

#[test]
fn rejects_are_shown_in_clear_with_their_files() {
    let mut place = Workplace::new(2);
    place.text = place.text.rewrite("identifiers = \"clear\"\n", "");
    let files = place.files_of(0);
    fs::remove_file(&files[3]).unwrap();
    place.run();
    let rejects = |arguments: &[&str]| place.tomoflow("rejects", arguments);
    let (all, series) = (rejects(&["--json"]), place.phantom_series(0));
    assert_eq!(all.code, Some(0), "{all:?}");
    let rows: Vec<serde_json::Value> =
        all.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["code"], &rows[0]["case"]), (&"MISSING_SLICE".into(), &series.clone().into()));
    // As the table shows it, which is not as the archive does.
    let shown = rows[0]["shown"].as_str().unwrap();
    assert!(shown != series && place.tables()["rejects"].iter().any(|row| row.contains(shown)));
    assert_eq!(rows[0]["folder"], place.archive().to_str().unwrap());
    assert_eq!(rows[0]["of_files"], files.len() - 1, "slices that are left, and outlines");
    let words = rejects(&["MISSING_SLICE"]);
    assert!(
        words.code == Some(0) && words.out.contains(&series) && words.out.contains("hint: "),
        "{words:?}"
    );
    let none = rejects(&["NO_SUCH"]);
    assert!(none.code == Some(1) && none.err.contains("MISSING_SLICE (1)"), "{none:?}");
}
