//! `tomoflow init`: archives as people have them, to a pipeline that checks and runs as it is.

mod known;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tomoflow::connectors::table::{MetricRow, Rows, Table, read_rows};
use tomoflow::connectors::{LabelMap, Scan, metaimage, nifti};
use tomoflow::engine::{Options, Summary, run};
use tomoflow::networks;
use tomoflow::operators::registry::Registry;
use tomoflow::phantom::vs::{self, VsPhantom};
use tomoflow::pipeline;

/// What makes a training one of seconds, and leaves all else as it was written.
const QUICK: [&str; 4] = [
    "operators.net.epochs=1",
    "operators.samples.per_case=1",
    "operators.net.network={ type = \"unet\", dims = \"2d\", levels = 2, channels = 2 }",
    "operators.samples.size=[4, 16, 16]",
];
const SIZE: [usize; 3] = [6, 20, 20];

pub(crate) fn tomoflow(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tomoflow")).current_dir(folder).args(args).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A phantom; its tumour has the value 1.
pub(crate) fn phantom(index: usize) -> (Scan, LabelMap) {
    let (scan, truth) =
        vs::case(&VsPhantom { series: 1, first: index, seed: 3, size: SIZE, ..VsPhantom::DEFAULT }, index);
    (scan, valued(&truth, |_, label| u16::from(label == 1)))
}

/// Labels with other values.
pub(crate) fn valued(labels: &LabelMap, value: impl Fn(usize, u16) -> u16) -> LabelMap {
    let voxels = labels.voxels().iter().enumerate().map(|(place, &label)| value(place, label)).collect();
    LabelMap::new(labels.geometry().clone(), voxels).unwrap()
}

/// An archive in a folder `data`, and what `init` makes of it.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        networks::set_threads(1);
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join("data").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn scan(&self, name: &str, scan: &Scan) {
        if name.ends_with(".mhd") {
            metaimage::write_scan(&self.path(name), scan).unwrap();
        } else {
            nifti::write_scan(&self.path(name), scan).unwrap();
        }
    }

    pub(crate) fn labels(&self, name: &str, labels: &LabelMap) {
        if name.ends_with(".mhd") {
            metaimage::write_labels(&self.path(name), labels).unwrap();
        } else {
            nifti::write_labels(&self.path(name), labels).unwrap();
        }
    }

    /// Runs `init`, and gives the pipeline's text and what was said.
    pub(crate) fn init(&self) -> (String, String) {
        let output = tomoflow(self.folder.path(), &["init", "data", "--out", "p.toml", "--force"]);
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
        let written = fs::read_to_string(self.folder.path().join("p.toml")).unwrap();
        let output_check = tomoflow(self.folder.path(), &["check", "p.toml"]);
        assert!(output_check.status.success(), "{}\n{written}", text(&output_check.stdout));
        assert!(
            text(&output_check.stdout).contains("no problems"),
            "{}\n{written}",
            text(&output_check.stdout)
        );
        (written, text(&output.stdout))
    }

    /// Runs the pipeline, as quickly as may be.
    pub(crate) fn run(&self, sets: &[&str]) -> Summary {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let file = self.folder.path().join("p.toml");
        let plan = pipeline::load(&file, &sets, &Registry::builtin()).unwrap_or_else(|p| panic!("{p}"));
        run(plan, &Options { threads: 2, ..Options::default() }, &mut |_| {}).unwrap()
    }

    fn metrics(&self) -> Vec<MetricRow> {
        match read_rows(&self.folder.path().join("results/data/tables/metrics"), Table::Metrics).unwrap() {
            Rows::Metrics(rows) => rows,
            other => panic!("{other:?}"),
        }
    }

    /// The pipeline trains, and every case has a figure for each of these labels.
    pub(crate) fn learns(&self, cases: usize, labels: &[&str]) {
        let summary = self.run(&QUICK);
        assert_eq!((summary.cases, summary.rejected), (cases, 0), "{summary}");
        let metrics = self.metrics();
        for label in labels {
            let dice = metrics.iter().filter(|row| row.metric == "dice" && row.label == *label);
            assert_eq!(dice.count(), cases, "{label}: {metrics:?}");
        }
    }
}

pub(crate) fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` expected in\n{text}");
    }
}

/// A NIfTI of two volumes, made by hand: the header of one, with a fourth axis.
pub(crate) fn several_volumes(path: &Path, scan: &Scan) {
    nifti::write_scan(path, scan).unwrap();
    let mut bytes = fs::read(path).unwrap();
    // dim[0] and dim[4], of two bytes each, from byte 40 on.
    bytes[40..42].copy_from_slice(&4i16.to_le_bytes());
    bytes[48..50].copy_from_slice(&2i16.to_le_bytes());
    let voxels = bytes[352..].to_vec();
    bytes.extend(voxels);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_file_for_each_structure() {
    let place = Place::new();
    for index in 0..3 {
        let (scan, labels) = phantom(index);
        let hu: Vec<f32> = scan.voxels().iter().map(|value| value - 1000.0).collect();
        let ct = Scan::new(scan.geometry().clone(), hu).unwrap();
        place.scan(&format!("s{index:04}/ct.nii.gz"), &ct);
        place.labels(&format!("s{index:04}/segmentations/tumour.nii.gz"), &labels);
        let upper = valued(&labels, |at, _| u16::from(at < 400));
        place.labels(&format!("s{index:04}/segmentations/kidney_left.nii.gz"), &upper);
        if index == 0 {
            place.labels("s0000/segmentations/rare.nii.gz", &upper);
        }
    }
    let (written, said) = place.init();
    has(
        &written,
        &[
            "files = \"{case}/ct.nii.gz\"",
            "files = \"{case}/segmentations/{label}.nii.gz\"",
            "labels = { kidney_left = [1], tumour = [1] }",
            "modality = \"CT\"",
            "clip = { percentiles = [0.5, 99.5] }",
            "flip = false",
        ],
    );
    has(&said, &["rare (1 of 3)"]);
    place.learns(3, &["tumour", "kidney_left"]);
}

#[test]
fn a_folder_for_each_case_with_several_contrasts() {
    let place = Place::new();
    for index in 0..3 {
        let (scan, labels) = phantom(index);
        for contrast in ["flair", "t1", "t2"] {
            place.scan(&format!("BraTS_{index}/BraTS_{index}_{contrast}.nii.gz"), &scan);
        }
        let labels = valued(&labels, |at, label| label * [1, 2, 4][at % 3]);
        place.labels(&format!("BraTS_{index}/BraTS_{index}_seg.nii.gz"), &labels);
    }
    let (written, said) = place.init();
    has(
        &written,
        &[
            "{case}/{case}_{channel}.nii.gz",
            "channels = [\"flair\", \"t1\", \"t2\"]",
            "{case}/{case}_seg.nii.gz",
            "label_1 = [1]",
            "label_4 = [4]",
        ],
    );
    has(&said, &["3 channels, and all are read: flair, t1, t2", "labels have no names"]);
    place.learns(3, &["label_1", "label_2", "label_4"]);
}

#[test]
fn a_table_says_whose_files_are() {
    let place = Place::new();
    let mut table = "file,case,patient\n".to_owned();
    for index in 0..4 {
        let (scan, labels) = phantom(index);
        place.scan(&format!("images/x{index}.nii.gz"), &scan);
        place.labels(&format!("labels/x{index}.nii.gz"), &labels);
        table.push_str(&format!("x{index}.nii.gz,c{index},p{}\n", index / 2));
    }
    place.write("cases.csv", &table);
    place.scan("odd/images_x9.nii.gz", &phantom(9).0);
    let (written, said) = place.init();
    has(
        &written,
        &[
            "path = \"data/images\"",
            "path = \"data/labels\"",
            "table = \"data/cases.csv\"",
            "labels = { structure = [1] }",
        ],
    );
    has(&said, &["odd/images_x9.nii.gz"]);
    place.learns(4, &["structure"]);
}

#[test]
fn dicom_with_outlines_and_without() {
    let place = Place::new();
    let settings = VsPhantom { series: 3, first: 0, seed: 5, size: SIZE, ..VsPhantom::DEFAULT };
    vs::write_archive(&settings, &place.path("archive")).unwrap();
    let (written, said) = place.init();
    has(&written, &["type = \"rtstruct\"", "TV = [\"TV\"]", "Modality = \"MR\"", "[operators.volume]"]);
    has(&said, &["3 MR scans, 3 of them with labels"]);
    place.learns(3, &["TV"]);

    let alone = Place::new();
    let written = vs::write_archive(&settings, &alone.path("archive")).unwrap();
    written.iter().for_each(|series| fs::remove_file(&series.outlines).unwrap());
    let (_, said) = alone.init();
    has(&said, &["no labels were found"]);
    let summary = alone.run(&[]);
    assert_eq!((summary.cases, summary.rejected), (3, 0), "{summary}");
}

#[test]
fn scans_alone_are_looked_at() {
    let place = Place::new();
    for index in 0..2 {
        place.scan(&format!("p{index}/scan.nii.gz"), &phantom(index).0);
    }
    let (written, said) = place.init();
    has(&written, &["files = \"{case}/scan.nii.gz\"", "type = \"threshold\"", "scans = true"]);
    has(&said, &["nothing is trained"]);
    let summary = place.run(&[]);
    assert_eq!((summary.cases, summary.rejected), (2, 0), "{summary}");
    let masks = fs::read_dir(place.folder.path().join("results/data/masks")).unwrap().count();
    assert!(masks >= 4, "scans beside masks");
}

#[test]
fn what_cannot_be_is_said() {
    let place = Place::new();
    let init = |args: &[&str]| tomoflow(place.folder.path(), &[&["init"], args].concat());
    let output = init(&["data"]);
    assert_eq!(output.status.code(), Some(66), "{output:?}");
    place.write("notes.txt", "no scan");
    let output = init(&["data"]);
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    has(&text(&output.stderr), &["1 NOT_DICOM", "tomoflow inspect"]);
    for set in ["Dataset001_A", "Dataset002_B"] {
        place.write(&format!("{set}/dataset.json"), "{}");
    }
    let output = init(&["data"]);
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    has(&text(&output.stderr), &["Dataset001_A, Dataset002_B"]);
    let output = init(&["data/Dataset001_A"]);
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    has(&text(&output.stderr), &["`labels`"]);
    place.scan("Dataset003_C/a.nii.gz", &phantom(0).0);
    fs::write(place.folder.path().join("Dataset003_C.toml"), "# mine\n").unwrap();
    let file = ["data/Dataset003_C", "--out", "Dataset003_C.toml"];
    let output = init(&file);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(fs::read_to_string(place.folder.path().join("Dataset003_C.toml")).unwrap(), "# mine\n");
    // Printed, it is the pipeline and nothing else.
    for args in [&["data/Dataset003_C"][..], &["data/Dataset003_C", "--out", "-"]] {
        let output = init(args);
        assert!(output.status.success() && text(&output.stdout).contains("[pipeline]"), "{output:?}");
        fs::write(place.folder.path().join("printed.toml"), &output.stdout).unwrap();
        let check = tomoflow(place.folder.path(), &["check", "printed.toml"]);
        assert!(check.status.success(), "{}", text(&check.stdout));
    }
    assert_eq!(init(&[&file[..], &["--force"]].concat()).status.code(), Some(0));
    assert_eq!(init(&["data", "--gpu-memory", "0"]).status.code(), Some(2));
}

#[test]
fn a_pipeline_within_its_archive_writes_beside_it() {
    let place = Place::new();
    place.scan("a.nii.gz", &phantom(0).0);
    let output = tomoflow(&place.folder.path().join("data"), &["init", ".", "--out", "p.toml"]);
    assert!(output.status.success(), "{output:?}");
    let written = fs::read_to_string(place.folder.path().join("data/p.toml")).unwrap();
    has(&written, &["path = \".\"", "out = \"../data-results\""]);
    let output = tomoflow(&place.folder.path().join("data"), &["check", "p.toml"]);
    assert!(text(&output.stdout).contains("no problems"), "{output:?}");
}

#[test]
fn real_archives_have_pipelines() {
    for (set, labels) in [("hippocampus", vec!["label_1", "label_2"]), ("sts", vec!["GTV_Mass_MR_T1"])] {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(set);
        if !data.is_dir() {
            println!("skipped: {} is not there", data.display());
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let output = tomoflow(folder.path(), &["init", data.to_str().unwrap(), "--out", "p.toml"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let check = tomoflow(folder.path(), &["check", "p.toml"]);
        assert!(text(&check.stdout).contains("no problems"), "{}", text(&check.stdout));
        let written = fs::read_to_string(folder.path().join("p.toml")).unwrap();
        has(&written, &labels);
        let plan = tomoflow(folder.path(), &["plan", "p.toml"]);
        assert!(plan.status.success(), "{}", text(&plan.stderr));
    }
}
