//! `tomoflow inspect` as people and programs run it: the table, the lines, the page, and the exit codes.

#[path = "../../connectors/tests/files/mod.rs"]
mod files;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::real_dicom::rows_of;
use expect_test::expect;
use files::SliceFile;
use serde_json::{Value, json};
use tomoflow::connectors::{Geometry, LabelMap, Scan, nifti};
use tomoflow::phantom::vs::{VsPhantom, Written, write_archive};

fn inspect(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    command.current_dir(folder).arg("inspect").args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Three phantoms in `archive`: the second without a slice, the third with one cut short; and what is no
/// image beside them.
fn world() -> (tempfile::TempDir, Vec<Written>) {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let settings = VsPhantom { series: 3, first: 0, seed: 5, size: [6, 16, 16], ..VsPhantom::DEFAULT };
    let mut written = write_archive(&settings, &archive).unwrap();
    written.sort_by_key(|series| series.index);
    std::fs::remove_file(&written[1].slices[2]).unwrap();
    let cut = std::fs::read(&written[2].slices[1]).unwrap();
    std::fs::write(&written[2].slices[1], &cut[..cut.len() - 9]).unwrap();
    std::fs::write(archive.join("readme.txt"), "an archive of phantoms").unwrap();
    std::fs::write(archive.join("empty.dcm"), "").unwrap();
    (folder, written)
}

/// A slice with a description that tries to leave its place.
fn hostile(number: u16, description: &str) -> SliceFile {
    let mut file = SliceFile::new(number);
    file.set((0x0008, 0x103E), b"LO", description.as_bytes().to_vec()).set(
        (0x0010, 0x0010),
        b"PN",
        b"Doe^Jane".to_vec(),
    );
    file
}

#[test]
fn the_table_fits_a_terminal_and_says_what_is_wrong() {
    let (folder, _) = world();
    let mut long = SliceFile::new(0);
    long.set(
        (0x0008, 0x103E),
        b"LO",
        "a description that goes on for sixty-four letters, as many as fit".into(),
    );
    for number in 0..2 {
        let mut slice = long.clone();
        slice.set((0x0008, 0x0018), b"UI", format!("1.2.3.{number}").into_bytes()).set(
            (0x0020, 0x0032),
            b"DS",
            format!("-1\\{}\\{}", number, 2 * number).into_bytes(),
        );
        slice.write(&folder.path().join("archive"), &format!("tilted{number}"));
    }
    let output = inspect(folder.path(), &["archive"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    // The last line tells how long it took, and the names of files are random.
    let (text, last) = text.trim_end().rsplit_once('\n').unwrap();
    assert!(last.ends_with(" files/s"), "{last}");
    let masked: Vec<String> = text
        .lines()
        .map(|line| {
            match line.find("archive/").filter(|_| line.ends_with(".dcm") && !line.contains("empty")) {
                Some(at) => format!("{}archive/…", &line[..at]),
                None => line.to_owned(),
            }
        })
        .collect();
    expect![[r#"
        mod  description                                     shape    mm              verdict  notes
        CT   a description that goes on for sixty-four let…  2×4×4    2.236×0.5×0.25  ok       GANTRY_TILT
        MR   Ax T2_FIESTA-C                                                           refused  MISSING_SLICE
        MR   Ax T2_FIESTA-C                                  6×16×16  1.5×0.4×0.4     ok
        MR   T2_DRIVE_IAC                                                             refused  MISSING_SLICE

        Refused
            2  MISSING_SLICE
               slices 1.500 mm apart expected, a gap of 3.000 mm found after slice 1
               hint: 1 instance(s) may be missing: look for them in the archive; `on_gap` can interpolate
               archive/…

        Skipped
            1  EMPTY_FILE  archive/empty.dcm
            1  NOT_DICOM   archive/readme.txt

        24 files, 48.16 KiB: 2 volumes, 2 refused, in 4 series of 19 instances; 3 outlines; 2 skipped"#]]
    .assert_eq(&masked.join("\n"));
}

#[test]
fn every_line_keeps_the_contract() {
    let (folder, written) = world();
    let output = inspect(folder.path(), &["archive", "--json", "--stats"]);
    assert_eq!(output.status.code(), Some(0));
    let lines = lines(&output);
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    let keys = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();

    let [volume] = of("volume")[..] else { panic!("one volume expected in {lines:?}") };
    let expected =
        ["kind", "series_uid", "part", "files", "shape", "spacing_mm", "affine_lps", "modality", "notes"];
    assert_eq!(keys(volume), [&expected[..], &["min", "max", "mean", "sha256_stored"]].concat());
    assert_eq!(volume["series_uid"], json!(written[0].series_uid));
    let files: Vec<PathBuf> = serde_json::from_value(volume["files"].clone()).unwrap();
    let files: Vec<PathBuf> = files.iter().map(|file| folder.path().join(file)).collect();
    assert_eq!(files, written[0].slices);
    assert_eq!(volume["sha256_stored"].as_str().unwrap().len(), 64);

    let rejects: BTreeMap<_, _> =
        of("reject").iter().map(|line| (line["series_uid"].as_str().unwrap(), &line["code"])).collect();
    assert_eq!(rejects[written[1].series_uid.as_str()], "MISSING_SLICE");
    // Without the slice that was cut short there is a gap.
    assert_eq!(rejects[written[2].series_uid.as_str()], "MISSING_SLICE");
    let cut = folder.path().join(
        of("reject").iter().find(|line| line["series_uid"] == written[2].series_uid).unwrap()["files"][0]
            .as_str()
            .unwrap(),
    );
    assert_eq!(cut, written[2].slices[1]);

    let outlines = of("outlines");
    assert_eq!(outlines.len(), 3);
    for line in outlines {
        assert_eq!(keys(line), ["kind", "file", "series", "structures"]);
        assert_eq!(line["structures"][0], "TV");
        assert!(written.iter().any(|series| line["series"] == json!([series.series_uid])));
    }
    let skips: Vec<_> = of("skip").iter().map(|line| line["code"].as_str().unwrap().to_owned()).collect();
    assert_eq!(skips, ["EMPTY_FILE", "NOT_DICOM"]);

    let mut total = lines.last().unwrap().clone();
    assert!(total["seconds"].take().as_f64().unwrap() > 0.0 && total["bytes"].take().as_u64().unwrap() > 0);
    let instances: usize = written.iter().map(|series| series.slices.len()).sum::<usize>() - 1;
    assert_eq!(
        total,
        json!({
            "kind": "total", "files": instances + 5, "bytes": null, "instances": instances, "series": 3,
            "volumes": 1, "outlines": 3, "rejects": { "MISSING_SLICE": 2 },
            "skipped": { "EMPTY_FILE": 1, "NOT_DICOM": 1 }, "seconds": null
        })
    );
}

#[test]
fn exit_codes_follow_what_was_found() {
    let (folder, written) = world();
    let code = |args: &[&str]| inspect(folder.path(), args).status.code();
    assert_eq!(code(&["archive", "--strict"]), Some(1));
    assert_eq!(code(&["archive/empty.dcm"]), Some(65));
    assert_eq!(code(&["archive", "archive/nowhere"]), Some(66));
    assert_eq!(code(&["archive", "--html", "archive/empty.dcm/page.html"]), Some(74));
    assert_eq!(code(&[]), Some(2));
    let sound: Vec<&str> = written[0].slices.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(code(&[&sound[..], &["--strict"]].concat()), Some(0));
}

#[test]
fn image_files_are_rows_of_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for name in ["images", "labels"] {
        std::fs::create_dir_all(data.join(name)).unwrap();
    }
    let grid = Geometry::axis_aligned([2, 3, 4], [2.5, 1.0, 1.0]);
    for case in ["a", "b", "c"] {
        let scan = Scan::new(grid.clone(), (0..24).map(|at| at as f32 + 0.5).collect()).unwrap();
        nifti::write_scan(&data.join(format!("images/{case}.nii.gz")), &scan).unwrap();
    }
    for case in ["a", "d"] {
        let labels = LabelMap::new(grid.clone(), (0..24).map(|at| at % 2).collect()).unwrap();
        nifti::write_labels(&data.join(format!("labels/{case}.nii.gz")), &labels).unwrap();
    }
    let output = inspect(folder.path(), &["data"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    let (text, _) = text.trim_end().rsplit_once('\n').unwrap();
    let (table, totals) = text.rsplit_once('\n').unwrap();
    expect![[r#"
        mod    description                        shape  mm       verdict  notes
        NIfTI  data/images/* float32              2×3×4  2.5×1×1  ok ×2    NO_LABELS_BESIDE
        NIfTI  data/images/a.nii.gz float32       2×3×4  2.5×1×1  ok
        NIfTI  data/labels/a.nii.gz uint8 labels  2×3×4  2.5×1×1  ok
        NIfTI  data/labels/d.nii.gz uint8 labels  2×3×4  2.5×1×1  ok       NO_SCAN_BESIDE
    "#]]
    .assert_eq(table);
    assert!(
        totals.starts_with("5 files, ") && totals.ends_with(": 5 image files; 0 refused; 0 skipped"),
        "{totals}"
    );
    let output = inspect(folder.path(), &["data", "--html", "page.html", "--json"]);
    assert_eq!(lines(&output).last().unwrap()["images"], 5);
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("NIfTI") && page.contains("image files"), "{page}");
}

#[test]
fn a_reader_that_has_enough_is_no_fault() {
    let (folder, _) = world();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
    let command = command.current_dir(folder.path()).args(["inspect", "archive", "--json", "--strict"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    assert_eq!((child.wait().unwrap().code(), complaint.as_str()), (Some(0), ""));
}

#[test]
fn the_page_holds_all_it_shows_and_names_nobody() {
    let (folder, written) = world();
    let archive = folder.path().join("archive");
    for number in 0..2 {
        hostile(number, "<script>alert(1)</script>").write(&archive, &format!("hostile{number}"));
    }
    let output = inspect(folder.path(), &["archive", "--html", "pages/archive.html", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(lines(&output).len() > 3);
    let page = std::fs::read_to_string(folder.path().join("pages/archive.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("prefers-color-scheme: dark"));
    for foreign in ["<script", "http://", "https://", "Doe", "Jane", "<img"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    for expected in
        ["&lt;script&gt;alert(1)", "MISSING_SLICE", "NOT_DICOM", &written[1].series_uid, "6 × 16 × 16"]
    {
        assert!(page.contains(expected), "{expected}");
    }
}

#[test]
fn a_terminal_is_not_commanded_by_a_file() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..2 {
        hostile(number, "a\u{1b}[2Jb").write(folder.path(), &number.to_string());
    }
    let text = stdout(&inspect(folder.path(), &["."]));
    assert!(text.contains("a\u{fffd}[2Jb") && !text.contains('\u{1b}'), "{text}");
}

/// Real archives: what `inspect` says is what a pipeline's tables hold.
#[test]
fn what_it_says_is_what_a_pipeline_gets() {
    let named = std::env::var_os("TOMOFLOW_DICOM_SAMPLES").map(PathBuf::from);
    let samples = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/dicom"));
    if !samples.join("expected.json").is_file() {
        println!("skipped: no DICOM samples (TOMOFLOW_DICOM_SAMPLES names their folder)");
        return;
    }
    // Both by one name: what stands in for an empty SeriesInstanceUID is made from it.
    let samples = samples.canonicalize().unwrap();
    let output = inspect(&samples, &[".", "--json", "--stats"]);
    let lines = lines(&output);
    let (cases, rejects) = through_a_pipeline(&samples);
    let key = |line: &Value| {
        let (uid, part) = (line["series_uid"].as_str().unwrap(), line["part"].as_u64().unwrap());
        if part == 0 { uid.to_owned() } else { format!("{uid}#{part}") }
    };
    let volumes: BTreeMap<String, &Value> =
        lines.iter().filter(|line| line["kind"] == "volume").map(|line| (key(line), line)).collect();
    assert!(volumes.len() > 20, "{} volumes", volumes.len());
    assert_eq!(volumes.keys().collect::<Vec<_>>(), cases.keys().collect::<Vec<_>>());
    for (key, volume) in volumes {
        let ((shape, spacing, affine, notes), case) = (grid_of(volume), &cases[&key]);
        assert_eq!((&shape, &notes), (&case.0, &case.3), "{key}");
        // Reading a number from JSON may cost its last bit.
        let near =
            |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(near(&spacing, &case.1) && near(&affine, &case.2), "{key}: {volume} and {case:?}");
    }
    let refused = lines.iter().filter(|line| line["kind"] == "reject");
    let mut refused: Vec<Refusal> = refused
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            (text("series_uid"), text("code"), text("message"))
        })
        .collect();
    refused.sort();
    // Files that are none are counted by their kinds here, and named one by one by a run.
    let of_scans: Vec<Refusal> = rejects.into_iter().filter(|(_, code, _)| code != "FILE_DAMAGED").collect();
    assert_eq!(refused, of_scans);
}

/// Series, code and message.
type Refusal = (String, String, String);

/// Shape, spacing and affine; of a lone slice without the way to a next one, which `inspect` gives as a
/// direction and a pipeline as a thickness.
type Grid = (Vec<i64>, Vec<f64>, Vec<f64>, Vec<String>);

fn grid(shape: Vec<i64>, spacing: Vec<f64>, mut affine: Vec<f64>, notes: Vec<String>) -> Grid {
    if shape[0] == 1 {
        (0..3).for_each(|row| affine[4 * row + 2] = 0.0);
    }
    (shape, spacing, affine, notes)
}

fn grid_of(volume: &Value) -> Grid {
    let affine: Vec<Vec<f64>> = serde_json::from_value(volume["affine_lps"].clone()).unwrap();
    grid(
        serde_json::from_value(volume["shape"].clone()).unwrap(),
        serde_json::from_value(volume["spacing_mm"].clone()).unwrap(),
        affine.concat(),
        serde_json::from_value(volume["notes"].clone()).unwrap(),
    )
}

/// The grids of `cases` by key, and series, code and message of `rejects`, sorted.
fn through_a_pipeline(samples: &Path) -> (BTreeMap<String, Grid>, Vec<Refusal>) {
    let (cases, rejects) = rows_of(samples);
    let series = |key: &str| key.split('#').next().unwrap_or_default().to_owned();
    let mut rejects: Vec<_> =
        rejects.into_iter().map(|row| (series(&row.key), row.code, row.message)).collect();
    rejects.sort();
    let cases = cases.into_iter().map(|row| {
        let spacing = vec![row.spacing_d_mm, row.spacing_h_mm, row.spacing_w_mm];
        (row.case, grid(vec![row.slices, row.rows, row.columns], spacing, row.affine_lps, row.notes))
    });
    (cases.collect(), rejects)
}
