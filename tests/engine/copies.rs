//! Copies of a scan under other names: told where they stand in several parts of a split.

use std::collections::BTreeSet;
use std::fs;

use tomoflow::connectors::{Geometry, LabelMap, Scan, nifti};
use tomoflow::engine::{self, Options};
use tomoflow::networks;
use tomoflow::operators::registry::Registry;

use crate::support::pipelines::{LEARNED, OF_FILES};
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};

/// A training whose split stands in a file.
fn pipeline() -> String {
    let head = OF_FILES
        .rewrite(
            "allowed_rejects = 1.0
",
            "",
        )
        .rewrite("{ organ = [1, 2], lesion = [2] }", "{ organ = [1] }");
    let training = LEARNED
        .rewrite("per_case = 4", "per_case = 2")
        .rewrite(
            "epochs = 12
learning_rate = 1e-2
validate = \"cases\"
",
            "epochs = 1
",
        )
        .rewrite("{ train = 3, validation = 1, test = 0, seed = 1 }", "{ file = \"splits.csv\" }");
    format!("{head}{training}")
}

/// A bright box whose place hangs on `seed`; cases of one seed are copies.
fn write(place: &Workplace, case: &str, seed: usize) {
    let grid = Geometry::axis_aligned([4, 16, 16], [2.0, 1.0, 1.0]);
    let inside = |at: usize| (seed..seed + 7).contains(&(at / 16 % 16)) && (4..11).contains(&(at % 16));
    let value = |at: usize| f32::from(u8::from(inside(at))) * 100.0 + (at * 5 % 11) as f32;
    let folder = place.path().join("data").join(case);
    fs::create_dir_all(&folder).unwrap();
    let scan = Scan::new(grid.clone(), (0..grid.voxels()).map(value).collect()).unwrap();
    nifti::write_scan(&folder.join("scan.nii"), &scan).unwrap();
    let labels = LabelMap::new(grid.clone(), (0..grid.voxels()).map(|at| u16::from(inside(at))).collect());
    nifti::write_labels(&folder.join("labels.nii"), &labels.unwrap()).unwrap();
}

/// The case and message of each row that tells of copies.
fn told(place: &Workplace) -> BTreeSet<(String, String)> {
    let rows = place.tables()["rejects"].clone();
    let rows = rows.iter().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
    let copies = rows.filter(|row| row["code"] == "SPLIT_COPIES");
    let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
    copies.map(|row| (text(&row, "key"), text(&row, "message"))).collect()
}

#[test]
fn copies_in_several_parts_are_told_and_those_in_one_are_not() {
    networks::set_threads(1);
    let mut place = Workplace::new(0);
    place.text = pipeline();
    for (case, seed) in [("a", 1), ("b", 2), ("c", 3), ("d", 1), ("e", 2)] {
        write(&place, case, seed);
    }
    let file = place.path().join("splits.csv");
    let split = |parts: [&str; 5]| {
        let lines: Vec<String> = ["a", "b", "c", "d", "e"]
            .iter()
            .zip(parts)
            .map(|(case, part)| format!("{case},{part}"))
            .collect();
        fs::write(&file, format!("patient,part\n{}\n", lines.join("\n"))).unwrap();
    };
    // `d` is `a` under another name, and `e` is `b`: the latter two are both trained on.
    split(["train", "train", "validation", "test", "train"]);
    let row = |case: &str, message: &str| (case.to_owned(), message.to_owned());
    let expected = BTreeSet::from([
        row("a", "a scan of its own expected in `train`, 1 of the same voxels found in `test`: `d`"),
        row("d", "a scan of its own expected in `test`, 1 of the same voxels found in `train`: `a`"),
    ]);
    // It is foreseen, before anything is trained.
    let plan = place.plan(&Registry::builtin());
    let foreseen = engine::forecast(plan, &Options::default()).unwrap().to_string();
    assert!(foreseen.contains("told SPLIT_COPIES: 2"), "{foreseen}");
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected), (1, 0), "{summary}");
    assert_eq!(summary.remarked.get("SPLIT_COPIES"), Some(&2), "{summary}");
    assert_eq!(told(&place), expected);
    // A kept model tells it as well.
    let summary = place.run();
    assert_eq!((summary.trained, summary.actions_run), (0, 0), "{summary}");
    assert_eq!(told(&place), expected);
    assert_same(&place.tables(), &place.anew(), "copies");
    // Under pseudonyms no case is named.
    place.text = pipeline().rewrite("identifiers = \"clear\"\n", "");
    place.run();
    let found = told(&place);
    assert!(found.len() == 2 && found.iter().all(|(_, message)| !message.contains(": `")), "{found:?}");
    place.text = pipeline();
    // In one part nobody needs to know.
    split(["train", "train", "validation", "train", "train"]);
    let summary = place.run();
    assert_eq!((summary.trained, told(&place).len()), (1, 0), "{summary}");
}
