//! Written files in other people's software: nibabel, SimpleITK, pydicom and highdicom read what was meant.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::volumes::seg::header;
use serde_json::{Value, json};
use tomoflow_connectors::dicom_seg::{self, Algorithm, Encoding, SegmentText};
use tomoflow_connectors::{Geometry, LabelMap, Scan, metaimage, nifti, nrrd};

/// A Python with the packages, or `None` with a line that says so.
fn python() -> Option<PathBuf> {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python");
    let python = Some(std::env::var_os("TOMOFLOW_PYTHON").map_or_else(own, PathBuf::from));
    let imports = "import nibabel, SimpleITK, pydicom, highdicom";
    let has = |python: &PathBuf| {
        Command::new(python).args(["-c", imports]).output().is_ok_and(|output| output.status.success())
    };
    let found = python.filter(has);
    if found.is_none() {
        println!("skipped: no Python with nibabel, SimpleITK and highdicom (set TOMOFLOW_PYTHON)");
    }
    found
}

/// Grids by name, and whether their axes are at right angles.
fn grids() -> Vec<(&'static str, Geometry, bool)> {
    let size = [5, 7, 9];
    let straight =
        Geometry { origin_mm: [-12.5, 30.0, -400.25], ..Geometry::axis_aligned(size, [2.5, 0.5, 0.75]) };
    let flipped = Geometry {
        steps_mm: [[0.0, 0.0, -3.0], [0.0, -0.5, 0.0], [0.75, 0.0, 0.0]],
        origin_mm: [1.0, 2.0, 3.0],
        size,
    };
    // The grid is turned by 30° about the third axis, then by 20° about the first.
    let (s, c) = 30f64.to_radians().sin_cos();
    let (u, v) = 20f64.to_radians().sin_cos();
    let axes = [[s * u, -c * u, v], [-s * v, c * v, u], [c, s, 0.0]];
    let scaled = |lengths: [f64; 3]| [0, 1, 2].map(|axis: usize| axes[axis].map(|x| x * lengths[axis]));
    let oblique = Geometry { size, origin_mm: [10.0, -20.0, 33.3], steps_mm: scaled([1.5, 0.4, 0.6]) };
    let mut tilted = oblique.clone();
    tilted.steps_mm[0] = [0, 1, 2].map(|i| tilted.steps_mm[0][i] + 0.8 * tilted.steps_mm[1][i]);
    let one = Geometry { size: [1, 7, 9], ..oblique.clone() };
    vec![
        ("straight", straight, true),
        ("flipped", flipped, true),
        ("oblique", oblique, true),
        ("one", one, true),
        ("tilted", tilted, false),
    ]
}

fn labels(grid: &Geometry) -> LabelMap {
    let area = grid.size[1] * grid.size[2];
    // The second slice is empty; only the fourth has the label 3.
    let label = |index: usize| match (index / area, index * 7919 % 11) {
        (1, _) => 0,
        (3, 0) => 3,
        (_, 1..3) => 1,
        (_, 5) => 2,
        _ => 0,
    };
    LabelMap::new(grid.clone(), (0..grid.voxels()).map(label).collect()).unwrap()
}

/// Files with what they must hold.
struct Truth {
    folder: PathBuf,
    files: Vec<Value>,
}

impl Truth {
    fn add(
        &mut self,
        file: &str,
        format: &str,
        grid: &Geometry,
        right_angles: bool,
        bytes: &[u8],
        dtype: &str,
    ) {
        let voxels = format!("{file}.bin");
        std::fs::write(self.folder.join(&voxels), bytes).unwrap();
        self.files.push(json!({
            "file": file, "format": format, "right_angles": right_angles, "size": grid.size,
            "affine_lps": grid.affine_lps(), "voxels": voxels, "dtype": dtype,
            "segments": {"1": "tumour", "2": "Größe", "3": "cochlea"},
        }));
    }

    fn scans(&mut self, name: &str, grid: &Geometry, right_angles: bool) {
        for (kind, factor) in [("whole", 1.0), ("float", 0.37)] {
            let value = |index: usize| (index as f32 * 13.0 % 4000.0 - 1000.0) * factor;
            let scan = Scan::new(grid.clone(), (0..grid.voxels()).map(value).collect()).unwrap();
            let bytes: Vec<u8> = scan.voxels().iter().flat_map(|value| value.to_le_bytes()).collect();
            let mut put = |extension: &str, format: &str| {
                let file = format!("{name}_{kind}.{extension}");
                let path = self.folder.join(&file);
                match format {
                    "nifti" => nifti::write_scan(&path, &scan).unwrap(),
                    "metaimage" => metaimage::write_scan(&path, &scan).unwrap(),
                    _ => nrrd::write_scan(&path, &scan).unwrap(),
                }
                self.add(&file, format, grid, right_angles, &bytes, "<f4");
            };
            put("nii", "nifti");
            put("nii.gz", "nifti");
            put("mha", "metaimage");
            put("nrrd", "nrrd");
        }
    }

    fn label_maps(&mut self, name: &str, grid: &Geometry, right_angles: bool) {
        let map = labels(grid);
        let bytes: Vec<u8> = map.voxels().iter().flat_map(|label| label.to_le_bytes()).collect();
        let texts: Vec<_> = [(1, "tumour"), (2, "Größe"), (3, "cochlea")]
            .map(|(label, name)| {
                let algorithm = Algorithm::Automatic { name: "net".to_owned(), version: "1".to_owned() };
                SegmentText::new(label, name, algorithm)
            })
            .to_vec();
        let names: Vec<_> = texts.iter().map(|text| (text.label, text.name.clone())).collect();
        let header = header(grid.size[0]);
        let at = |file: &str| self.folder.join(file);
        let files =
            ["nii.gz", "mha", "seg.nrrd", "bits.dcm", "map.dcm"].map(|end| format!("{name}_labels.{end}"));
        nifti::write_labels(&at(&files[0]), &map).unwrap();
        metaimage::write_labels(&at(&files[1]), &map).unwrap();
        nrrd::write_labels(&at(&files[2]), &map, &names).unwrap();
        dicom_seg::write(&at(&files[3]), &header, &map, &texts, Encoding::Binary).unwrap();
        dicom_seg::write(&at(&files[4]), &header, &map, &texts, Encoding::LabelMap).unwrap();
        for (file, format) in files.iter().zip(["nifti", "metaimage", "nrrd", "seg", "seg"]) {
            self.add(file, format, grid, right_angles, &bytes, "<u2");
        }
    }
}

#[test]
fn others_read_what_was_written() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut truth = Truth { folder: folder.path().to_owned(), files: Vec::new() };
    for (name, grid, right_angles) in grids() {
        truth.scans(name, &grid, right_angles);
        truth.label_maps(name, &grid, right_angles);
    }
    let text = json!({ "files": truth.files }).to_string();
    std::fs::write(folder.path().join("truth.json"), text).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/check_formats.py");
    let output = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong: Vec<_> = said.lines().filter(|line| !line.ends_with(": the same")).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", wrong.join("\n"));
    assert!(said.lines().count() >= 13 * grids().len(), "{said}");
}
