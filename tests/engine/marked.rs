//! DeepLesion from its files to figures: boxes as they were published, the official split, key slices alone.

use std::fs;
use std::path::Path;

use crate::support::text::Rewrite as _;
use crate::support::{Workplace, ran};
use tomoflow::connectors::table::{DetectionRow, Rows, Table, read_rows};
use tomoflow::engine::{self, ExportOptions};
use tomoflow::networks;
use tomoflow::operators::registry::Registry;
use tomoflow::operators::sinks::files::FileFormat;
use tomoflow::pipeline;

const PIPELINE: &str = r#"
[pipeline]
name = "lesions"
out = "out"
identifiers = "clear"

[sources.scans]
type = "deeplesion"
path = "Images_png"
info = "DL_info.csv"

[sources.marked]
type = "deeplesion_boxes"
info = "DL_info.csv"
drawn_as = "boxes"

[operators.case]
type = "label"
inputs = ["scans", "marked"]

[operators.shown]
type = "window"
inputs = ["case"]
low = -200
high = 200

[operators.samples]
type = "stack"
inputs = ["shown"]
slices = 3
per_case = 2
foreground = 1.0

[operators.net]
type = "train"
inputs = ["samples"]
epochs = 1
learning_rate = 2e-3
split = { file = "DL_info.csv" }

[operators.net.network]
type = "rcnn"
backbone = "resnet18"
width = 4
pyramid = 8
hidden = 16
anchors = [8, 16, 32, 64, 128]
anchor_samples = 64
region_samples = 32
proposals = [60, 40]

[operators.found]
type = "detect"
inputs = ["shown"]
model = "net"
score = 0
most = 0
slices = "marked"

[operators.froc]
type = "evaluate_boxes"
inputs = ["found", "case"]
slices = "marked"

[sinks.results]
type = "delta"
inputs = ["found", "froc"]
"#;

fn write_slice(path: &Path, value: impl Fn(u32, u32) -> i32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), 48, 64);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Sixteen);
    let samples = (0..64).flat_map(|row| (0..48).map(move |column| (row, column)));
    let bytes: Vec<u8> =
        samples.flat_map(|(row, column)| ((value(row, column) + 32_768) as u16).to_be_bytes()).collect();
    encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
}

fn write_table(place: &Workplace, last: &str) {
    let mut table =
        "File_name,Patient_index,Key_slice_index,Bounding_boxes,Spacing_mm_px_,Possibly_noisy,Train_Val_Test\n"
            .to_owned();
    for (patient, part) in [(1, 1), (2, 1), (3, 2)] {
        table += &format!(
            "00000{patient}_01_01_010.png,{patient},10,\"11.5, 21, 20.25, 30\",\"0.8, 0.8, 2\",0,{part}\n"
        );
    }
    table += &format!("000004_01_01_010.png,4,10,\"{last}\",\"0.8, 0.8, 2\",0,3\n");
    table += "000004_01_01_010.png,4,10,\"21.25, 21, 30, 30\",\"0.8, 0.8, 2\",0,3\n";
    fs::write(place.path().join("DL_info.csv"), table).unwrap();
}

/// Four patients with a slice that somebody looked at each; the last one's has two lesions that touch.
fn place() -> Workplace {
    networks::set_threads(1);
    let mut place = Workplace::new(0);
    place.text = PIPELINE.to_owned();
    write_table(&place, "11.5, 21, 20.25, 30");
    for patient in 1..=4 {
        for number in 8..=12u32 {
            let path = place.path().join(format!("Images_png/00000{patient}_01_01/{number:03}.png"));
            write_slice(&path, |row, column| {
                let inside = number == 10 && (20..30).contains(&row) && (11..20).contains(&column);
                if inside { 150 } else { ((row * 7 + column * 13 + patient) % 40) as i32 }
            });
        }
    }
    place
}

fn boxes(place: &Workplace) -> Vec<DetectionRow> {
    match read_rows(&place.out().join("tables/detections"), Table::Detections).unwrap() {
        Rows::Detections(rows) => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn key_slices_are_looked_at_and_judged_by_their_boxes() {
    let place = place();
    let first = place.run();
    assert_eq!((first.trained, ran(&first, "found"), ran(&first, "froc")), (1, 4, 4), "{first}");
    let found = boxes(&place);
    // From the feet up slice 10 is the middle one of 12 to 8.
    assert!(!found.is_empty() && found.iter().all(|row| row.slice == 2), "{found:?}");
    let metrics = place.metrics();
    let mut stands: Vec<(&str, &str)> =
        metrics.iter().map(|row| (row.case.as_str(), row.split.as_str())).collect();
    stands.dedup();
    stands.sort_unstable();
    stands.dedup();
    let case = |patient: u32| format!("00000{patient}_01_01");
    let names: Vec<String> = (1..=4).map(case).collect();
    let expected = names.iter().map(String::as_str).zip(["train", "train", "validation", "test"]);
    assert_eq!(stands, expected.collect::<Vec<_>>());
    let tables = place.tables();
    assert_eq!(tables, place.anew());
    assert_eq!(place.run().actions_run, 0);

    // Another box of the last patient: it is looked at again, and nothing is trained.
    write_table(&place, "12, 21, 20.25, 30");
    let second = place.run();
    assert_eq!((second.trained, ran(&second, "found"), ran(&second, "froc")), (0, 1, 1), "{second}");
}

#[test]
fn boxes_are_exported_and_shown() {
    let place = place();
    place.run();
    let options = ExportOptions {
        folder: place.path().join("for-others"),
        format: FileFormat::Nifti,
        stage: None,
        scans: false,
        deidentify: false,
    };
    let exported = engine::export_boxes(place.plan(&Registry::builtin()), &options).unwrap();
    assert_eq!((exported.stage.as_str(), exported.files.len()), ("found", 1));
    let text = fs::read_to_string(&exported.files[0]).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("File_name,Key_slice_index,Bounding_boxes,Class,Score"));
    let rows = boxes(&place);
    assert_eq!(lines.clone().count(), rows.len());
    assert!(lines.all(|line| line.contains("_01_01_010.png,10,") && line.contains(",lesion,")), "{text}");
    let row = &rows[0];
    let corners = format!("\"{}, {}, {}, {}\"", row.x1 + 1.0, row.y1 + 1.0, row.x2, row.y2);
    assert!(text.contains(&corners), "{corners} in {text}");
    let nobody = ExportOptions { stage: Some("net".to_owned()), ..options };
    let refused = engine::export_boxes(place.plan(&Registry::builtin()), &nobody).unwrap_err();
    assert!(refused.to_string().contains("boxes of a stage"), "{refused}");

    let pictures = engine::pictures(place.plan(&Registry::builtin()), 6).unwrap();
    assert_eq!(pictures.len(), 4);
    let last = pictures.iter().find(|picture| picture.case == "000004_01_01").unwrap();
    let truth: Vec<_> = last.boxes.iter().filter(|own| own.score.is_none()).collect();
    assert_eq!((last.slice, last.figure, truth.len()), (2, "AP50", 2));
    assert_eq!((truth[0].low, truth[0].high), ([20.0, 10.5], [30.0, 20.25]));
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_tomoflow"))
        .arg("report")
        .arg(place.pipeline())
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let page = fs::read_to_string(place.out().join("report.html")).unwrap();
    assert!(page.contains("<h2>Boxes</h2>") && page.contains("<rect class=truth"));
}

#[test]
fn boxes_teach_no_masks_and_all_slices_are_not_judged() {
    let mut place = place();
    let path = place.path().join("wrong.toml");
    fs::write(
        &path,
        PIPELINE.rewrite("[\"found\", \"case\"]\nslices = \"marked\"\n", "[\"found\", \"case\"]\n"),
    )
    .unwrap();
    let problems = pipeline::load(&path, &[], &Registry::builtin()).unwrap_err().to_string();
    assert!(problems.contains("the boxes are of marked slices alone"), "{problems}");
    place.text = PIPELINE.rewrite("width = 4\n", "width = 4\nmasks = true\n");
    let summary = place.run();
    assert_eq!((summary.trained, summary.trainings_failed), (0, 1));
    let rejects = &place.tables()["rejects"];
    assert!(rejects.iter().any(|row| row.contains("a mask for each of 1 things")), "{rejects:?}");
}
