//! `tomoflow init` on data sets as their authors lay them out: VerSe, ISLES, KiTS, ACDC, BraTS.

use super::init::{Place, has, phantom, valued};
use tomoflow::connectors::{Geometry, LabelMap, Scan};

/// The labels of a phantom, with these values in turn.
fn labels(index: usize, values: &[u16]) -> LabelMap {
    valued(&phantom(index).1, |at, label| label * values[at % values.len()])
}

#[test]
fn labels_of_vertebrae_lie_below_derivatives() {
    let place = Place::new();
    for index in 0..3 {
        let name = format!("sub-verse00{index}");
        place.scan(&format!("rawdata/{name}/{name}_ct.nii.gz"), &phantom(index).0);
        place.labels(&format!("derivatives/{name}/{name}_seg-vert_msk.nii.gz"), &labels(index, &[20, 21]));
    }
    let (written, said) = place.init();
    has(
        &written,
        &[
            "files = \"rawdata/{case}/{case}_ct.nii.gz\"",
            "files = \"derivatives/{case}/{case}_seg-vert_msk.nii.gz\"",
            "labels = { label_20 = [20], label_21 = [21] }",
        ],
    );
    has(&said, &["3 of them with labels", "labels have no names"]);
    place.learns(3, &["label_20", "label_21"]);
}

#[test]
fn labels_of_strokes_are_those_of_the_scans_on_their_grid() {
    let place = Place::new();
    for index in 0..3 {
        let (name, scan) = (format!("sub-s{index}_ses-0001"), phantom(index).0);
        let folder = format!("sub-s{index}/ses-0001");
        place.scan(&format!("{folder}/dwi/{name}_dwi.nii.gz"), &scan);
        place.scan(&format!("{folder}/dwi/{name}_adc.nii.gz"), &scan);
        let other = Geometry::axis_aligned([4, 8, 8], [2.0, 1.0, 1.0]);
        let values = (0..4 * 64).map(|at| (at % 7) as f32).collect();
        place.scan(&format!("{folder}/anat/{name}_FLAIR.nii.gz"), &Scan::new(other, values).unwrap());
        place.labels(&format!("derivatives/{folder}/{name}_msk.nii.gz"), &labels(index, &[1]));
    }
    let (written, said) = place.init();
    has(
        &written,
        &[
            "files = \"{patient}/ses-0001/dwi/{case}_{channel}.nii.gz\"",
            "channels = [\"adc\", \"dwi\"]",
            "files = \"derivatives/{patient}/ses-0001/{case}_msk.nii.gz\"",
        ],
    );
    has(&said, &["3 scans lie on another grid than the labels", "3 of them with labels"]);
    place.learns(3, &["structure"]);
}

#[test]
fn a_lesion_mask_of_a_session_is_of_that_session() {
    let place = Place::new();
    for index in 0..2 {
        for session in ["ses-01", "ses-02"] {
            let name = format!("sub-{index}_{session}");
            let at = 2 * index + usize::from(session == "ses-02");
            place.scan(&format!("sub-{index}/{session}/anat/{name}_T1w.nii.gz"), &phantom(at).0);
            let masks = format!("derivatives/manual/sub-{index}/{session}/anat/{name}_lesion-mask.nii.gz");
            place.labels(&masks, &labels(at, &[1]));
        }
    }
    let (written, said) = place.init();
    has(
        &written,
        &[
            "files = \"{patient}/*/anat/{case}_T1w.nii.gz\"",
            "files = \"derivatives/manual/{patient}/*/anat/{case}_lesion-mask.nii.gz\"",
        ],
    );
    has(&said, &["4 MR scans, 4 of them with labels"]);
}

#[test]
fn labels_of_known_sets_have_their_names() {
    let check =
        |file: &dyn Fn(usize, &str) -> String, scans: &[&str], seg: &str, values: &[u16], parts: &[&str]| {
            let place = Place::new();
            for index in 0..3 {
                scans.iter().for_each(|scan| place.scan(&file(index, scan), &phantom(index).0));
                place.labels(&file(index, seg), &labels(index, values));
            }
            let (written, said) = place.init();
            has(&written, parts);
            assert!(!said.contains("no names"), "{said}");
            place
        };
    let kits = |index: usize, name: &str| format!("data/case_0000{index}/{name}.nii.gz");
    let named = ["KiTS's layout", "labels = { kidney = [1], tumor = [2] }", "modality = \"CT\""];
    check(&kits, &["imaging"], "segmentation", &[1, 2], &named).learns(3, &["kidney", "tumor"]);
    let acdc = |index: usize, end: &str| format!("patient00{index}/patient00{index}_frame01{end}.nii.gz");
    let named = ["ACDC's layout", "labels = { RV = [1], MLV = [2], LVC = [3] }", "modality = \"MR\""];
    check(&acdc, &[""], "_gt", &[1, 2, 3], &named);
    let brats = |index: usize, end: &str| format!("BraTS2021_0000{index}/BraTS2021_0000{index}_{end}.nii.gz");
    let named = [
        "BraTS's layout",
        "labels = { necrosis = [1], edema = [2], enhancing = [4] }",
        "channels = [\"flair\", \"t1ce\"]",
    ];
    check(&brats, &["flair", "t1ce"], "seg", &[1, 2, 4], &named);
    let glioma =
        |index: usize, end: &str| format!("BraTS-GLI-0000{index}-000/BraTS-GLI-0000{index}-000-{end}.nii.gz");
    let named = [
        "BraTS's layout",
        "labels = { necrosis = [1], edema = [2], enhancing = [3] }",
        "channels = [\"t1c\", \"t2f\"]",
    ];
    check(&glioma, &["t1c", "t2f"], "seg", &[1, 2, 3], &named);
}
