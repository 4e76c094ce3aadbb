//! NIfTI, MetaImage and NRRD from any bytes, as scans and as label maps; the first byte says as which.

use std::path::Path;

use tempfile::TempDir;
use tomoflow_connectors::imagefile::read_image_head;
use tomoflow_connectors::{LabelMap, Reject, Scan, metaimage, nifti, nrrd};

/// The file that holds the voxels of headers that name one.
const BESIDE: &str = "v.raw";

/// Feeds the bytes of one file.
pub fn feed(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (scan, labels) = match kind % 3 {
        0 => both(&at(&folder, "i.nii", bytes), nifti::read_scan, nifti::read_labels),
        1 => both(&at(&folder, "i.mha", bytes), metaimage::read_scan, metaimage::read_labels),
        _ => {
            let path = at(&folder, "i.nrrd", bytes);
            // A refusal is as good as an answer here.
            drop(nrrd::read_names(&path));
            both(&path, nrrd::read_scan, nrrd::read_labels)
        }
    };
    // Labels are values that are whole: what has them is a scan too, of the same voxels.
    if let Ok(labels) = labels {
        let scan = scan.unwrap();
        assert_eq!(labels.geometry(), scan.geometry());
        let near = |(label, value): (&u16, &f32)| (f32::from(*label) - value).abs() < 0.01;
        assert!(labels.voxels().iter().zip(scan.voxels()).all(near));
        assert_eq!(labels.voxels().len(), scan.voxels().len());
    }
}

/// A file of these bytes, with some voxels beside it.
fn at(folder: &TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    std::fs::write(folder.path().join(BESIDE), [1; 64]).unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The file as a scan, and as a label map.
fn both(
    path: &Path,
    scan: impl Fn(&Path) -> Result<Scan, Reject>,
    labels: impl Fn(&Path) -> Result<LabelMap, Reject>,
) -> (Result<Scan, Reject>, Result<LabelMap, Reject>) {
    let scan = scan(path);
    // What a header says holds of the scan as well; a file of several volumes is no scan unless a source names them.
    let several = scan.as_ref().is_err_and(|reject| reject.code == "SEVERAL_VOLUMES");
    if let Ok(Some(Ok(head))) = read_image_head(path, |_| true).map(|head| head.filter(|_| !several)) {
        assert_eq!(&head.geometry, scan.as_ref().unwrap().geometry());
    }
    (scan, labels(path))
}
