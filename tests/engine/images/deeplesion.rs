//! DeepLesion: slices of a folder each, with a table of boxes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{codes, dice, rows};
use crate::support::{Workplace, assert_same};

/// Writes slices of 16 bits, `HU + 32768`.
fn write_slice(path: &Path, size: [u32; 2], value: impl Fn(u32, u32) -> i32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), size[1], size[0]);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Sixteen);
    let samples = (0..size[0]).flat_map(|row| (0..size[1]).map(move |column| (row, column)));
    let bytes: Vec<u8> =
        samples.flat_map(|(row, column)| ((value(row, column) + 32_768) as u16).to_be_bytes()).collect();
    encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
}

const DEEPLESION: &str = r#"
[pipeline]
name = "lesions"
out = "out"
identifiers = "clear"
allowed_rejects = 1.0

[sources.scans]
type = "deeplesion"
path = "Images_png"
info = "DL_info.csv"

[sources.truth]
type = "deeplesion_boxes"
info = "DL_info.csv"

[operators.case]
type = "label"
inputs = ["scans", "truth"]

[operators.bright]
type = "threshold"
inputs = ["case"]
above = 100
label = "lesion"

[operators.scores]
type = "evaluate"
inputs = ["bright", "case"]
metrics = ["dice", "volume_ml"]

[sinks.results]
type = "delta"
inputs = ["bright", "scores"]
"#;

#[test]
fn deeplesion_is_read_as_it_was_published() {
    let mut place = Workplace::new(0);
    place.text = DEEPLESION.to_owned();
    let folder = place.path().join("Images_png/000001_02_03");
    // Two runs of slices; a lesion of 50 HU more than the rest in each, as its box says.
    let inside = |row: u32, column: u32| (3..=6).contains(&row) && (2..=4).contains(&column);
    for number in [9u32, 10, 11, 20, 21] {
        let key = number == 10 || number == 21;
        write_slice(&folder.join(format!("{number:03}.png")), [12, 10], |row, column| {
            if key && inside(row, column) { 150 } else { 40 }
        });
    }
    let table = "File_name,Patient_index,Key_slice_index,Bounding_boxes,Spacing_mm_px_,Possibly_noisy\n\
        000001_02_03_010.png,1,10,\"3, 4, 5, 7\",\"0.5, 0.5, 2\",0\n\
        000001_02_03_011.png,1,11,\"1, 1, 5, 7\",\"0.5, 0.5, 2\",1\n\
        000001_02_03_021.png,1,21,\"3, 4, 5, 7\",\"0.5, 0.5, 2\",0\n";
    fs::write(place.path().join("DL_info.csv"), table).unwrap();
    write_slice(&place.path().join("Images_png/000002_01_01/001.png"), [4, 4], |_, _| 0);
    let summary = place.run();
    assert_eq!((summary.cases, summary.rejected), (3, 1), "{summary}");
    assert_eq!(codes(&place), BTreeSet::from([("000002_01_01".to_owned(), "NOT_IN_TABLE".to_owned())]));
    let expected = [("000001_02_03".to_owned(), 1.0), ("000001_02_03#1".to_owned(), 1.0)];
    assert_eq!(dice(&place), expected);
    let cases = rows(&place, "cases");
    let slices: Vec<u64> = cases.iter().map(|row| row["slices"].as_u64().unwrap()).collect();
    assert_eq!(slices.iter().sum::<u64>(), 5);
    assert!(cases.iter().all(|row| row["patient"] == "000001" && row["modality"] == "CT"));
    // From the feet up: slice 10 is the middle of 11, 10, 9; slice 21 the first of 21, 20.
    let masks = rows(&place, "masks");
    let mut at: Vec<(&str, u64, &str)> = masks
        .iter()
        .map(|row| {
            let text = |field: &str| row[field].as_str().unwrap();
            (text("case"), row["slice"].as_u64().unwrap(), text("sop_instance"))
        })
        .collect();
    at.sort_unstable();
    let slice = |name| format!("000001_02_03/{name}.png");
    assert_eq!(at, [("000001_02_03", 1, &*slice("010")), ("000001_02_03#1", 0, &*slice("021"))]);
    assert_eq!(place.run().actions_run, 0);
    // A slice that was missing joins the runs: one scan.
    for number in 12..20 {
        write_slice(&folder.join(format!("{number:03}.png")), [12, 10], |_, _| 40);
    }
    let summary = place.run();
    assert_eq!((summary.cases, summary.accepted), (2, 1), "{summary}");
    assert_same(&place.tables(), &place.anew(), "one run of slices");
}
