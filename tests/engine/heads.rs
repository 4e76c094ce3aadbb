//! Labels that overlap, from networks with a head for each: trained, kept, mended, scored and written one by one.

use std::fs;
use std::process::{Command, Output};

use tomoflow::connectors::{Geometry, LabelMap, Scan, nifti};
use tomoflow::networks;

use crate::support::pipelines::{LEARNED, MASK_FILES, OF_FILES};
use crate::support::text::Rewrite as _;
use crate::support::{Workplace, assert_same};

const MENDED: &str = r#"
[operators.mended]
type = "largest_component"
inputs = ["masks"]

[operators.mended_scores]
type = "evaluate"
inputs = ["mended", "case"]
metrics = ["dice"]
"#;

/// An organ with a lesion in it, a little elsewhere in each case.
fn archive() -> Workplace {
    networks::set_threads(1);
    let mut place = Workplace::new(0);
    let training = LEARNED
        .rewrite("epochs = 12", "loss = { type = \"dice_ce\" }\nactivation = \"sigmoid\"\nepochs = 12")
        .rewrite("[\"masks\", \"scores\"]", "[\"masks\", \"scores\", \"mended_scores\"]");
    place.text = format!("{OF_FILES}{training}{MENDED}{MASK_FILES}");
    let grid = Geometry::axis_aligned([4, 16, 16], [2.0, 1.0, 1.0]);
    for case in 0..4 {
        let class = |at: usize| {
            let (h, w) = (at / 16 % 16, at % 16);
            let within = |from: usize, to: usize| (from..to).contains(&h) && (from..to).contains(&w);
            u16::from(within(2 + case, 11 + case)) + u16::from(within(4 + case, 8 + case))
        };
        let value = |at: usize| f32::from(class(at)) * 100.0 + (at * 7 % 13) as f32;
        let folder = place.path().join(format!("data/s{case}"));
        fs::create_dir_all(&folder).unwrap();
        let scan = Scan::new(grid.clone(), (0..grid.voxels()).map(value).collect()).unwrap();
        nifti::write_scan(&folder.join("scan.nii"), &scan).unwrap();
        let labels = LabelMap::new(grid.clone(), (0..grid.voxels()).map(class).collect()).unwrap();
        nifti::write_labels(&folder.join("labels.nii"), &labels).unwrap();
    }
    place
}

/// A command on the pipeline, in its folder.
pub(crate) fn tomoflow(place: &Workplace, subcommand: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    command.arg(subcommand).arg(place.pipeline()).args(args).current_dir(place.path()).output().unwrap()
}

fn dice(place: &Workplace, stage: &str, label: &str) -> Vec<(String, f64)> {
    let rows = place.metrics().into_iter().filter(|row| row.label == label && row.stage == stage);
    let mut found: Vec<_> = rows.map(|row| (row.case.clone(), row.value.unwrap())).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// The voxels of a written mask that are not 0.
pub(crate) fn inside(place: &Workplace, name: &str) -> Vec<bool> {
    let labels =
        tomoflow::connectors::imagefile::read_labels(&place.path().join("masks").join(name)).unwrap();
    labels.voxels().iter().map(|label| *label != 0).collect()
}

#[test]
fn heads_are_trained_kept_mended_and_written_one_by_one() {
    let mut place = archive();
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected), (1, 0), "{summary}");
    let (organs, lesions) = (dice(&place, "scores", "organ"), dice(&place, "scores", "lesion"));
    assert_eq!((organs.len(), lesions.len()), (4, 4));
    assert!(organs.iter().chain(&lesions).all(|(_, dice)| *dice > 0.3), "{organs:?} {lesions:?}");
    assert_eq!(dice(&place, "mended_scores", "organ").len(), 4);

    // Masks overlap, in tables as in files, and figures are what the files say.
    for (case, expected) in &organs {
        let [organ, lesion] =
            ["organ", "lesion"].map(|label| inside(&place, &format!("{case}.{label}.nii.gz")));
        let both = organ.iter().zip(&lesion).filter(|(a, b)| **a && **b).count();
        assert!(both > 0, "{case}");
        let path = place.path().join(format!("data/{case}/labels.nii"));
        let truth = tomoflow::connectors::imagefile::read_labels(&path).unwrap();
        let pairs = organ.iter().zip(truth.voxels().iter().map(|label| *label != 0));
        let (shared, sum) = pairs.fold((0, 0), |(shared, sum), (found, wanted)| {
            (shared + usize::from(*found && wanted), sum + usize::from(*found) + usize::from(wanted))
        });
        assert!((2.0 * shared as f64 / sum as f64 - expected).abs() < 1e-12, "{case}");
    }
    let area = |label: &str| -> f64 {
        let rows = place.tables()["masks"].clone();
        let rows = rows.iter().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
        let own = rows.filter(|row| row["label_name"] == label && row["case"] == "s0");
        own.map(|row| row["area_mm2"].as_f64().unwrap()).sum()
    };
    let voxels = |place: &Workplace, label: &str| {
        inside(place, &format!("s0.{label}.nii.gz")).iter().filter(|own| **own).count()
    };
    assert_eq!(["organ", "lesion"].map(area), ["organ", "lesion"].map(|label| voxels(&place, label) as f64));
    // Files of another run would lie where these do.
    let live = place.tables();
    place.text = place.text.rewrite("path = \"masks\"", "path = \"masks_anew\"");
    assert_same(&live, &place.anew(), "heads");
    place.text = place.text.rewrite("path = \"masks_anew\"", "path = \"masks\"");

    // What chose the epoch is what `evaluate` finds of the case that it was chosen by.
    let split = place.metrics().into_iter().find(|row| row.split == "validation").unwrap().case;
    let judged = organs.iter().find(|(case, _)| *case == split).unwrap().1;
    let training = place.tables()["training"].clone();
    let rows = training.iter().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
    let mut figures = rows.filter(|row| row.to_string().contains("\"dice.organ\""));
    assert!(figures.any(|row| (row["value"].as_f64().unwrap() - judged).abs() < 1e-6), "{judged}");

    // A higher threshold leaves less, of the label that it is for.
    let before = ["organ", "lesion"].map(|label| voxels(&place, label));
    place.text = place.text.rewrite("model = \"net\"", "model = \"net\"\nthreshold = { organ = 0.95 }");
    let summary = place.run();
    assert_eq!((summary.trained, summary.rejected), (0, 0), "{summary}");
    let after = ["organ", "lesion"].map(|label| voxels(&place, label));
    assert!(after[0] < before[0] && after[1] == before[1], "{before:?} {after:?}");
    place.text = place.text.rewrite("threshold = { organ = 0.95 }\n", "");
    assert_eq!(place.run().actions_run, 0);

    // A page shows them, and the model's card says what they are.
    assert!(tomoflow(&place, "report", &[]).status.success());
    let exported = tomoflow(&place, "export", &["--stage", "net", "--to", "model"]);
    let text =
        String::from_utf8_lossy(&exported.stdout).into_owned() + &String::from_utf8_lossy(&exported.stderr);
    assert!(exported.status.success(), "{text}");
    let cards = fs::read_dir(place.path().join("model")).unwrap().map(|entry| entry.unwrap().path());
    let is_card = |path: &std::path::Path| {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        !hidden && path.extension().is_some_and(|ending| ending == "json")
    };
    let card = cards.filter(|path| is_card(path));
    let card = card.map(|path| fs::read_to_string(path).unwrap()).collect::<String>();
    let card: serde_json::Value = serde_json::from_str(&card).unwrap();
    assert_eq!(card["activation"], "sigmoid");
    assert_eq!(card["regions"], serde_json::json!({ "organ": ["lesion"] }));
}

#[test]
fn what_does_not_fit_heads_is_refused_by_name() {
    let mut place = archive();
    place.text = place.text.rewrite("epochs = 12", "epochs = 1");
    place.run();
    let exported = tomoflow(&place, "export", &["--stage", "net", "--to", "model"]);
    assert!(exported.status.success());
    let model = fs::read_dir(place.path().join("model")).unwrap().map(|entry| entry.unwrap().path());
    let model = model.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
    let model = model.unwrap().display().to_string();
    // The same weights where the labels are no regions any more.
    let by_file = place.text.rewrite("model = \"net\"", &format!("model = {{ safetensors = \"{model}\" }}"));
    let codes = |place: &Workplace| -> Vec<String> {
        let rows = place.tables()["rejects"].clone();
        let rows = rows.iter().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
        rows.map(|row| row["code"].as_str().unwrap().to_owned()).collect()
    };
    place.text = by_file.rewrite("{ organ = [1, 2], lesion = [2] }", "{ organ = [1], lesion = [2] }");
    let refused = tomoflow(&place, "check", &[]);
    let said =
        String::from_utf8_lossy(&refused.stdout).into_owned() + &String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("the model's `organ` holds `lesion`"), "{said}");
    place.text = by_file;
    let summary = place.run();
    assert_eq!(summary.rejected, 0, "{summary}");
    // Masks that overlap are not put together with others.
    place.text = place.text.rewrite(
        "[operators.mended_scores]\ntype = \"evaluate\"\ninputs = [\"mended\", \"case\"]",
        "[operators.both]\ntype = \"combine\"\ninputs = [\"masks\", \"mended\"]\nop = \"or\"\n\n\
         [operators.mended_scores]\ntype = \"evaluate\"\ninputs = [\"both\", \"case\"]",
    );
    place.run();
    assert!(codes(&place).iter().any(|code| code == "OVERLAPPING_MASKS"), "{:?}", codes(&place));
}
