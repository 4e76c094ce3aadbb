//! Real DICOM against what is known of it: verdicts, geometry, values and outlines, case by case.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tomoflow_connectors::dicom::{Assembled, Instance, Record, assemble, load_scan, read_record, walk};
use tomoflow_connectors::rtstruct::{StructureSet, rasterise, read_structures};
use tomoflow_connectors::{Geometry, Reject, Scan};

/// Cases whose volumes are refused although they could be read, each with its code.
const NOT_YET: &[(&str, &str)] = &[];

/// The folder of samples, or `None` with a line that says so.
fn samples() -> Option<PathBuf> {
    let folder = std::env::var_os("TOMOFLOW_DICOM_SAMPLES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/dicom"), PathBuf::from);
    if folder.join("expected.json").is_file() {
        return Some(folder);
    }
    println!("skipped: no samples at {}; set TOMOFLOW_DICOM_SAMPLES", folder.display());
    None
}

fn cases(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let Value::Array(cases) = serde_json::from_str::<Value>(&text).unwrap()["cases"].take() else {
        panic!("expected.json holds no cases")
    };
    cases
}

fn case_folder(folder: &Path, case: &Value) -> PathBuf {
    folder.join(case["dir"].as_str().unwrap_or(case["id"].as_str().unwrap()))
}

/// The findings in a folder: volumes with what decodes them, refusals, and codes of skipped files.
#[derive(Default)]
struct Found {
    volumes: Vec<(Assembled, Vec<(PathBuf, u32)>)>,
    rejects: Vec<Reject>,
    skips: Vec<String>,
}

fn find(folder: &Path) -> Found {
    let mut found = Found::default();
    let mut series: BTreeMap<String, Vec<(PathBuf, Instance)>> = BTreeMap::new();
    for file in walk(folder).unwrap() {
        match read_record(&file.path).unwrap() {
            Record::Instance(instance) => {
                series.entry(instance.series_uid.clone()).or_default().push((file.path, instance));
            }
            Record::Outlines(_) | Record::Image(_) | Record::Read { .. } => {}
            Record::Skip { code } => found.skips.push(code),
        }
    }
    for (uid, members) in series {
        let instances: Vec<&Instance> = members.iter().map(|(_, instance)| instance).collect();
        let parts = assemble(&instances);
        assert!(!parts.is_empty(), "series {uid} came to nothing");
        let mut reversed = instances.clone();
        reversed.reverse();
        let again = assemble(&reversed);
        assert_eq!(parts.len(), again.len(), "series {uid}: the order of instances matters");
        for (part, other) in parts.into_iter().zip(again) {
            match (part.verdict, other.verdict) {
                (Ok(assembled), Ok(other)) => {
                    assert_eq!(assembled.geometry, other.geometry);
                    let place = |slice: &tomoflow_connectors::dicom::SliceRef| {
                        (members[slice.instance].0.clone(), slice.frame)
                    };
                    let slices = assembled.slices.iter().map(place).collect();
                    found.volumes.push((assembled, slices));
                }
                (Err(reject), Err(other)) => {
                    assert_eq!(reject, other);
                    found.rejects.push(reject);
                }
                _ => panic!("series {uid}: the order of instances matters"),
            }
        }
    }
    found
}

fn size_kji(volume: &Value) -> Option<[usize; 3]> {
    let size: Vec<usize> =
        volume["size_ijk"].as_array()?.iter().map(|n| n.as_u64().unwrap() as usize).collect();
    Some([size[2], size[1], size[0]])
}

/// What differs between an expected volume and one that was found; `None` when nothing does.
fn difference(expected: &Value, geometry: &Geometry, scan: &Scan) -> Option<String> {
    if Some(geometry.size) != size_kji(expected) {
        return Some(format!("size {:?}, expected {}", geometry.size, expected["size_ijk"]));
    }
    let mut affine = geometry.affine_lps();
    if expected["slice_vector"].is_null() {
        // One slice has no gap: only the direction of the step is known, as a unit vector.
        let gap = geometry.spacing_mm()[0];
        affine.iter_mut().for_each(|row| row[2] /= gap);
    }
    for (row, line) in affine.iter().enumerate() {
        for (column, &value) in line.iter().enumerate() {
            let wanted = expected["affine_lps"][row][column].as_f64().unwrap();
            if (value - wanted).abs() > 1e-3 {
                return Some(format!("affine[{row}][{column}] {value}, expected {wanted}"));
            }
        }
    }
    let voxels = scan.voxels().iter().map(|&value| f64::from(value));
    let figures = [
        ("min", voxels.clone().fold(f64::INFINITY, f64::min)),
        ("max", voxels.clone().fold(f64::NEG_INFINITY, f64::max)),
        ("mean", voxels.sum::<f64>() / scan.voxels().len() as f64),
    ];
    for (name, value) in figures {
        if let Some(wanted) = expected["values"][name].as_f64()
            && (value - wanted).abs() > 1e-3 + 1e-5 * wanted.abs()
        {
            return Some(format!("{name} {value}, expected {wanted}"));
        }
    }
    for voxel in expected["voxels"].as_array().into_iter().flatten() {
        let [i, j, k] = [0, 1, 2].map(|axis| voxel["ijk"][axis].as_u64().unwrap() as usize);
        let value = f64::from(scan.slice(k)[j * geometry.size[2] + i]);
        let wanted = voxel["value"].as_f64().unwrap();
        if (value - wanted).abs() > 1e-3 + 1e-5 * wanted.abs() {
            return Some(format!("voxel {} is {value}, expected {wanted}", voxel["ijk"]));
        }
    }
    None
}

/// What is wrong with a case that must give its volumes.
fn check_accepted(case: &Value, found: &Found) -> Option<String> {
    let mut left: Vec<_> = found.volumes.iter().collect();
    for expected in case["volumes"].as_array().into_iter().flatten() {
        if size_kji(expected).is_none() || expected["affine_lps"].is_null() {
            continue;
        }
        let mut why = "no such volume".to_owned();
        let index = left.iter().position(|(assembled, slices)| {
            if Some(assembled.geometry.size) != size_kji(expected) {
                return false;
            }
            let scan = load_scan(&assembled.geometry, slices).map_err(|reject| reject.to_string());
            let differs = match &scan {
                Ok(scan) => difference(expected, &assembled.geometry, scan),
                Err(reject) => Some(reject.clone()),
            };
            differs.inspect(|text| why.clone_from(text)).is_none()
        });
        match index {
            Some(index) => {
                left.remove(index);
            }
            None => {
                let codes: Vec<_> = found.rejects.iter().map(|reject| reject.code.as_str()).collect();
                return Some(format!("volume {}: {why}; rejects {codes:?}", expected["name"]));
            }
        }
    }
    None
}

/// What is wrong with a case that must be refused: by one of its codes, and never as a whole volume.
fn check_refused(case: &Value, reason: &str, found: &Found) -> Option<String> {
    let known = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let wanted: Vec<&str> = reason.split(|c| !known(c)).filter(|code| !code.is_empty()).collect();
    let mut codes =
        found.rejects.iter().map(|reject| reject.code.as_str()).chain(found.skips.iter().map(String::as_str));
    if !codes.clone().any(|code| wanted.contains(&code)) {
        return Some(format!("refused with {:?}, expected {wanted:?}", codes.by_ref().collect::<Vec<_>>()));
    }
    let sizes: Vec<_> = case["volumes"].as_array().into_iter().flatten().filter_map(size_kji).collect();
    let wrong = found.volumes.iter().find(|(assembled, _)| sizes.contains(&assembled.geometry.size));
    wrong.map(|(assembled, _)| format!("accepted as a volume of {:?}", assembled.geometry.size))
}

#[test]
fn every_case_ends_as_it_should() {
    let Some(folder) = samples() else { return };
    let mut wrong = Vec::new();
    for case in cases(&folder) {
        let id = case["id"].as_str().unwrap();
        let found = find(&case_folder(&folder, &case));
        let policy = &case["recommended_policy"];
        let verdict = policy["verdict"].as_str().unwrap_or_default();
        let complaint = if verdict.starts_with("reject") {
            check_refused(&case, policy["reason"].as_str().unwrap_or_default(), &found)
        } else {
            check_accepted(&case, &found)
        };
        let excused = NOT_YET.iter().find(|(excused, _)| *excused == id);
        match (complaint, excused) {
            (Some(_), Some((_, code))) if found.rejects.iter().any(|reject| reject.code == *code) => {}
            (Some(complaint), _) => wrong.push(format!("{id}: {complaint}")),
            (None, Some(_)) => wrong.push(format!("{id}: is read now; take it off the list")),
            (None, None) => {}
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_encoding_gives_the_same_values() {
    let Some(folder) = samples() else { return };
    let mut checked = 0;
    for case in cases(&folder) {
        for (name, file) in case["files"].as_object().into_iter().flatten() {
            let path = case_folder(&folder, &case).join(name);
            let values = &file["decoded"]["values"];
            let Ok(Record::Instance(instance)) = read_record(&path) else { continue };
            // Files without a geometry of their own are decoded on a made-up grid of their size.
            let [rows, columns] = instance.pixels.frame_size.map(|n| n as usize);
            let mosaic = instance.pixels.frame_size != [instance.pixels.rows, instance.pixels.columns];
            if values.is_null() || mosaic {
                continue;
            }
            let frames = instance.frames.len();
            let geometry = Geometry::axis_aligned([frames, rows, columns], [1.0; 3]);
            let slices: Vec<_> = (0..frames as u32).map(|frame| (path.clone(), frame)).collect();
            let scan = match (load_scan(&geometry, &slices), &instance.refusal) {
                (Ok(scan), None) => scan,
                (Err(reject), Some(code)) if reject.code == *code => continue,
                (outcome, refusal) => panic!("{name}: {:?} although {refusal:?}", outcome.err()),
            };
            let [slope, intercept] = instance.frames[0].rescale.map(|number| number.0);
            if instance.frames.iter().any(|frame| frame.rescale != instance.frames[0].rescale) {
                continue;
            }
            let mean = scan.voxels().iter().map(|&v| f64::from(v)).sum::<f64>() / scan.voxels().len() as f64;
            let wanted = values["mean"].as_f64().unwrap() * slope + intercept;
            assert!((mean - wanted).abs() < 1e-3, "{name}: mean {mean}, expected {wanted}");
            checked += 1;
        }
    }
    assert!(checked >= 14, "only {checked} files were decoded");
}

/// What differs between a mosaic and nibabel's reading of it, whose first axis is the row index.
fn mosaic_difference(expected: &Value, geometry: &Geometry, scan: &Scan) -> Option<String> {
    let [depth, height, width] = geometry.steps_mm;
    for (column, ours) in [height, width, depth, geometry.origin_mm].iter().enumerate() {
        for (row, value) in ours.iter().enumerate() {
            let wanted = expected["affine_lps_nibabel"][row][column].as_f64().unwrap();
            if (value - wanted).abs() > 1e-3 {
                return Some(format!("affine[{row}][{column}] {value}, expected {wanted}"));
            }
        }
    }
    let mean = scan.voxels().iter().map(|&v| f64::from(v)).sum::<f64>() / scan.voxels().len() as f64;
    let wanted = expected["values"]["mean"].as_f64().unwrap();
    ((mean - wanted).abs() > 1e-3).then(|| format!("mean {mean}, expected {wanted}"))
}

#[test]
fn mosaics_are_taken_apart_in_every_encoding() {
    let Some(folder) = samples() else { return };
    let all = cases(&folder);
    let Some(case) = all.iter().find(|case| case["id"] == "ts_mosaic") else {
        panic!("expected.json has no mosaics")
    };
    let found = find(&case_folder(&folder, case));
    for (assembled, slices) in &found.volumes {
        assert_eq!(assembled.geometry.size, [35, 64, 64]);
        let scan = load_scan(&assembled.geometry, slices).unwrap();
        let name = slices[0].0.file_name().unwrap().to_str().unwrap();
        let expected = case["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == name);
        assert_eq!(mosaic_difference(expected.unwrap(), &assembled.geometry, &scan), None, "{name}");
    }
    assert_eq!((found.volumes.len(), &found.rejects[..]), (9, &[][..]));
}

#[test]
fn outlines_cover_as_many_voxels_as_they_should() {
    let Some(folder) = samples() else { return };
    let mut checked = 0;
    for case in cases(&folder) {
        for (file, expected) in case["rtstruct"].as_object().into_iter().flatten() {
            let path = find_file(&case_folder(&folder, &case), file);
            let set = read_structures(&path).unwrap();
            let geometry = grid(&expected["grid"]);
            for (name, roi) in expected["rois"].as_object().unwrap() {
                check_structure(&set, name, roi, &geometry);
                checked += 1;
            }
        }
    }
    assert!(checked > 0, "no outlines were checked");
}

fn find_file(folder: &Path, name: &str) -> PathBuf {
    walk(folder).unwrap().into_iter().map(|file| file.path).find(|path| path.ends_with(name)).unwrap()
}

fn grid(grid: &Value) -> Geometry {
    let column = |index: usize| [0, 1, 2].map(|row| grid["affine_lps"][row][index].as_f64().unwrap());
    Geometry {
        size: size_kji(grid).unwrap(),
        origin_mm: column(3),
        steps_mm: [column(2), column(1), column(0)],
    }
}

fn check_structure(set: &StructureSet, name: &str, roi: &Value, geometry: &Geometry) {
    let structure = set.structures.iter().find(|structure| structure.name == name);
    let contours = structure.map(|structure| structure.contours.len() as u64);
    assert_eq!(contours, roi["contours"].as_u64(), "{name}: contours");
    let drawn = rasterise(set, &|found| (found == name).then_some(1), geometry).unwrap();
    assert_eq!(drawn.off_slice as u64, roi["off_slice"].as_u64().unwrap(), "{name}: off slice");
    let area = |slice: &[u16]| slice.iter().filter(|&&label| label == 1).count() as u64;
    let wanted = roi["mask_voxels_evenodd_pixel_centre"].as_u64().unwrap();
    assert_eq!(area(drawn.labels.voxels()), wanted, "{name}: voxels");
    for (slice, wanted) in roi["mask_voxels_per_slice"].as_array().into_iter().flatten().enumerate() {
        assert_eq!(area(drawn.labels.slice(slice)), wanted.as_u64().unwrap(), "{name}: slice {slice}");
    }
}
