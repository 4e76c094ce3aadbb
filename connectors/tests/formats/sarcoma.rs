//! Real outlines against masks that another program made of them, where the sarcoma set lies beside the repository.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tomoflow_connectors::dicom::{Instance, Record, Walk, assemble, read_record};
use tomoflow_connectors::rtstruct::{Outlines, Whose, rasterise, read_structures};
use tomoflow_connectors::{Geometry, nifti};

fn sarcoma() -> Option<PathBuf> {
    let folder = std::env::var_os("TOMOFLOW_SARCOMA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/sts"), PathBuf::from);
    if folder.join("nifti_masks").is_dir() && folder.join("dicom").is_dir() {
        return Some(folder);
    }
    println!("skipped: no sarcoma set at {}; set TOMOFLOW_SARCOMA", folder.display());
    None
}

type Series = BTreeMap<String, Vec<Instance>>;

/// What a patient's `.zip` holds: instances by series, and files of outlines.
fn held(zip: &Path) -> (Series, Vec<(PathBuf, Outlines)>) {
    let (mut series, mut outlines) = (Series::new(), Vec::new());
    for file in Walk::new(zip).unwrap() {
        let path = file.path;
        match read_record(&path).unwrap() {
            Record::Instance(instance) => {
                series.entry(instance.series_uid.clone()).or_default().push(instance)
            }
            Record::Outlines(found) => outlines.push((path, found)),
            _ => {}
        }
    }
    (series, outlines)
}

/// The scan's grid, the frame of reference of its slices, and their names.
fn scan(instances: &[Instance]) -> (Geometry, String, Vec<String>) {
    let mut parts = assemble(&instances.iter().collect::<Vec<_>>());
    assert_eq!(parts.len(), 1);
    let assembled = parts.remove(0).verdict.unwrap();
    let names = instances.iter().map(|instance| instance.sop_uid.clone()).collect();
    (assembled.geometry, instances[0].frame_of_reference.clone(), names)
}

#[test]
fn outlines_of_every_series_are_drawn_as_another_program_draws_them() {
    let Some(folder) = sarcoma() else { return };
    let mut zips: Vec<PathBuf> =
        std::fs::read_dir(folder.join("dicom")).unwrap().map(|entry| entry.unwrap().path()).collect();
    zips.sort();
    let (mut drawn, mut voxels) = (0, 0);
    for zip in &zips {
        let (series, outlines) = held(zip);
        for (path, named) in outlines {
            let [uid] = named.referenced_series.as_slice() else { panic!("{}: one series", path.display()) };
            let (grid, frame, images) = scan(&series[uid]);
            let mut structures = read_structures(&path).unwrap();
            let whose = |image: &str| match images.iter().any(|known| known == image) {
                true => Whose::Ours,
                false => Whose::Unknown,
            };
            let elsewhere = structures.keep_on(&frame, whose);
            assert_eq!((elsewhere.contours, elsewhere.structures.len()), (0, 0), "{}", path.display());
            let label = |name: &str| name.starts_with("GTV_Mass").then_some(1);
            let found = rasterise(&structures, &label, &grid).unwrap();
            // `…/STS_001/PET/mask/….dcm` is `STS_001_PET_mask.nii.gz`.
            let names: Vec<&str> =
                path.iter().rev().filter_map(|name| name.to_str()).skip(2).take(2).collect();
            let mask = folder.join("nifti_masks").join(format!("{}_{}_mask.nii.gz", names[1], names[0]));
            let mask = nifti::read_labels(&mask).unwrap().onto(|value| u16::from(value > 0), &grid).unwrap();
            assert_eq!(found.labels.voxels(), mask.voxels(), "{}", path.display());
            voxels += mask.voxels().iter().filter(|value| **value > 0).count();
            drawn += 1;
        }
    }
    assert!(zips.len() >= 39 && drawn >= 80 && voxels > 100_000, "{} {drawn} {voxels}", zips.len());
}
