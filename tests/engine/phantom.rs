//! Synthetic archives: the same on any number of threads, growing by one, and true to their outlines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use dicom_object::{DefaultDicomObject, InMemDicomObject, open_file};
use tomoflow::connectors::{Digest, Geometry, LabelMap, PatientPoint};
use tomoflow::phantom::vs::{
    PhantomError, STRUCTURES, VsPhantom, case, oracle, write_archive, write_rtstruct,
};

const SMALL: VsPhantom =
    VsPhantom { series: 3, first: 0, seed: 11, size: [12, 48, 56], ..VsPhantom::DEFAULT };

/// The digest of each file by its name.
fn contents(folder: &Path) -> BTreeMap<String, Digest> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), Digest::of(&std::fs::read(entry.path()).unwrap()))
        })
        .collect()
}

fn archive(settings: &VsPhantom, threads: usize) -> (tempfile::TempDir, BTreeMap<String, Digest>) {
    let folder = tempfile::tempdir().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| write_archive(settings, folder.path())).unwrap();
    let contents = contents(folder.path());
    (folder, contents)
}

#[test]
fn threads_change_nothing_and_the_seed_everything() {
    let (_one, alone) = archive(&SMALL, 1);
    let (_four, together) = archive(&SMALL, 4);
    assert_eq!(alone, together);
    let (_other, other) = archive(&VsPhantom { seed: 12, ..SMALL }, 2);
    assert!(alone.keys().all(|name| !other.contains_key(name)));
}

#[test]
fn an_archive_grows_by_the_next_series() {
    let (_whole, mut whole) = archive(&SMALL, 2);
    let (_last, last) = archive(&VsPhantom { series: 1, first: 2, ..SMALL }, 2);
    let (_before, before) = archive(&VsPhantom { series: 2, ..SMALL }, 2);
    for (name, digest) in before.into_iter().chain(last) {
        assert_eq!(whole.remove(&name), Some(digest));
    }
    assert!(whole.is_empty());
}

#[test]
fn every_case_has_a_tumour_that_no_border_cuts() {
    for size in [[24, 96, 96], [12, 48, 56]] {
        let settings = VsPhantom { size, ..SMALL };
        for index in 0..6 {
            let (scan, truth) = case(&settings, index);
            assert_eq!(scan.geometry(), truth.geometry());
            assert!(scan.voxels().iter().all(|value| value.fract() == 0.0 && (0.0..4096.0).contains(value)));
            let [depth, height, width] = truth.size();
            let inside: Vec<usize> = (0..truth.voxels().len()).filter(|&i| truth.voxels()[i] == 1).collect();
            assert!(inside.len() > 100, "{} voxels of {size:?} in case {index}", inside.len());
            let whole = inside.iter().all(|i| {
                let (slice, row, column) = (i / (height * width), i / width % height, i % width);
                slice > 0
                    && slice + 1 < depth
                    && row > 0
                    && row + 1 < height
                    && column > 0
                    && column + 1 < width
            });
            assert!(whole, "case {index} of {size:?}");
        }
    }
}

fn text(object: &InMemDicomObject, keyword: &str) -> String {
    object.element_by_name(keyword).unwrap().to_str().unwrap().trim_end_matches([' ', '\0']).to_owned()
}

fn items<'a>(object: &'a InMemDicomObject, keyword: &str) -> &'a [InMemDicomObject] {
    object.element_by_name(keyword).unwrap().items().unwrap()
}

/// The labels of a structure set on a grid, by even-odd at the voxels' centres.
fn drawn(outlines: &DefaultDicomObject, instances: &[String], geometry: &Geometry) -> LabelMap {
    let mut labels = LabelMap::zeros(geometry.clone());
    let [_, height, width] = geometry.size;
    for (label, roi) in (1..).zip(items(outlines, "ROIContourSequence")) {
        for contour in items(roi, "ContourSequence") {
            let instance = text(&items(contour, "ContourImageSequence")[0], "ReferencedSOPInstanceUID");
            let slice = instances.iter().position(|uid| *uid == instance).unwrap();
            let data = contour.element_by_name("ContourData").unwrap().to_multi_float64().unwrap();
            let corners: Vec<[f64; 3]> = data
                .chunks(3)
                .map(|p| geometry.to_voxel(PatientPoint([p[0], p[1], p[2]])).unwrap().0)
                .collect();
            assert!(corners.iter().all(|corner| (corner[0] - slice as f64).abs() < 1e-3));
            for pixel in 0..height * width {
                let (row, column) = ((pixel / width) as f64, (pixel % width) as f64);
                let crossings = (0..corners.len()).filter(|&i| {
                    let ([_, r0, c0], [_, r1, c1]) = (corners[i], corners[(i + 1) % corners.len()]);
                    (r0 > row) != (r1 > row) && column < c0 + (row - r0) / (r1 - r0) * (c1 - c0)
                });
                if crossings.count() % 2 == 1 {
                    labels.voxels_mut()[slice * height * width + pixel] ^= label;
                }
            }
        }
    }
    labels
}

#[test]
fn files_hold_the_scan_and_outlines_give_the_mask_back() {
    let folder = tempfile::tempdir().unwrap();
    for written in write_archive(&SMALL, folder.path()).unwrap() {
        let (scan, truth) = case(&SMALL, written.index);
        let outlines = open_file(&written.outlines).unwrap();
        assert_eq!(text(&outlines, "Modality"), "RTSTRUCT");
        assert_eq!(text(&items(&outlines, "StructureSetROISequence")[0], "ROIName"), STRUCTURES[0]);
        let frame = &items(&outlines, "ReferencedFrameOfReferenceSequence")[0];
        let series = &items(&items(frame, "RTReferencedStudySequence")[0], "RTReferencedSeriesSequence")[0];
        assert_eq!(text(series, "SeriesInstanceUID"), written.series_uid);
        assert_eq!(drawn(&outlines, &written.instance_uids, scan.geometry()), truth);
        for (place, path) in written.slices.iter().enumerate() {
            let file = open_file(path).unwrap();
            assert_eq!(text(&file, "SOPInstanceUID"), written.instance_uids[place]);
            let bytes = file.element_by_name("PixelData").unwrap().to_bytes().unwrap().into_owned();
            let stored: Vec<f32> =
                bytes.chunks(2).map(|pair| f32::from(u16::from_le_bytes([pair[0], pair[1]]))).collect();
            assert_eq!(stored, scan.slice(place));
            let position = file.element_by_name("ImagePositionPatient").unwrap().to_multi_float64().unwrap();
            let steps = scan.geometry().steps_mm[0];
            for axis in 0..3 {
                let expected = scan.geometry().origin_mm[axis] + place as f64 * steps[axis];
                assert!((position[axis] - expected).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn a_corrected_mask_replaces_its_outlines_alone() {
    let (folder, before) = archive(&SMALL, 2);
    let (_, mut truth) = case(&SMALL, 1);
    let area = truth.size()[1] * truth.size()[2];
    let slice = truth.voxels().iter().position(|&label| label == 1).unwrap() / area;
    truth.voxels_mut()[slice * area..(slice + 1) * area].fill(0);
    let path = write_rtstruct(&SMALL, 1, &truth, &["TV"], folder.path()).unwrap();
    let after = contents(folder.path());
    let changed: Vec<_> = after.iter().filter(|(name, digest)| before[*name] != **digest).collect();
    assert_eq!(after.len(), before.len());
    assert_eq!(changed.len(), 1);
    assert_eq!(Some(changed[0].0.as_str()), path.file_name().and_then(|name| name.to_str()));
}

#[test]
fn hard_patients_leave_room_for_whoever_sees_the_neighbouring_slices() {
    let settings = VsPhantom { size: [28, 48, 64], pixel_mm: 0.8, hard: 1.0, ..SMALL };
    let found: Vec<_> = (0..24).map(|index| oracle(&settings, index)).collect();
    let mean = |of: fn(&tomoflow::phantom::vs::Oracle) -> f64| found.iter().map(of).sum::<f64>() / 24.0;
    let (with, without) = (mean(|one| one.with_context), mean(|one| one.without_context));
    assert!(with > 0.8 && with < 1.0, "an observer errs by a third of a millimetre: {with}");
    assert!(without < with - 0.2, "decoys are taken for the tumour: {without} beside {with}");
    assert!(found.iter().all(|one| one.diameter_mm < 17.0), "{found:?}");
    assert!(mean(|one| one.decoys as f64) > 1.5);

    // Of an easy one the outline is exact, and nothing else looks like the tumour.
    let easy = oracle(&VsPhantom { hard: 0.0, ..settings.clone() }, 0);
    assert_eq!((easy.with_context, easy.without_context, easy.decoys), (1.0, 1.0, 0));

    let folder = tempfile::tempdir().unwrap();
    for (hard, pixel_mm) in [(1.5, 0.8), (f64::NAN, 0.8), (0.5, 0.0)] {
        let error =
            write_archive(&VsPhantom { hard, pixel_mm, ..settings.clone() }, folder.path()).unwrap_err();
        assert!(matches!(error, PhantomError::Setting { .. }), "{error}");
    }
}

#[test]
fn sizes_out_of_range_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for size in [[0, 96, 96], [24, 8, 96], [24, 96, 1 << 40]] {
        let error = write_archive(&VsPhantom { size, ..SMALL }, folder.path()).unwrap_err();
        assert!(matches!(error, PhantomError::Size { found } if found == size));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(case(&VsPhantom { size: [0, 0, 0], ..SMALL }, 0).0.voxels().is_empty());
}

/// The interpreter of the environment, or the one that `make setup` made.
fn python() -> Option<PathBuf> {
    let asked = std::env::var_os("TOMOFLOW_PYTHON").map(PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    asked.or_else(|| own.exists().then_some(own))
}

#[test]
fn pydicom_and_simpleitk_open_it() {
    let Some(python) = python() else {
        println!("skipped: no Python; `make setup` makes one, or TOMOFLOW_PYTHON names one");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let written = write_archive(&SMALL, folder.path()).unwrap();
    let expected: Vec<_> = written
        .iter()
        .map(|series| {
            let (scan, truth) = case(&SMALL, series.index);
            serde_json::json!({
                "series": series.series_uid,
                "outlines": series.outlines,
                "slices": series.slices,
                "size": scan.size(),
                "origin": scan.geometry().origin_mm,
                "steps": scan.geometry().steps_mm,
                "sum": scan.voxels().iter().map(|&value| f64::from(value)).sum::<f64>(),
                "structures": STRUCTURES[..usize::from(truth.voxels().iter().copied().max().unwrap())],
            })
        })
        .collect();
    let truth = folder.path().join("expected.json");
    std::fs::write(&truth, serde_json::to_vec(&expected).unwrap()).unwrap();
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/phantom_opens.py"))
        .args([folder.path(), &truth])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("3 series open"), "{said}");
}
