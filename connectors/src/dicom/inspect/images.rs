//! Volumes of other formats than DICOM: the content of their headers, and whether labels and scans go
//! together.

use std::io;
use std::path::{Path, PathBuf};

use super::finding::{Finding, FoundImage, Refused};
use crate::imagefile::{ImageHead, Role, headers_of, is_image_file, pairs, read_image_head};
use crate::{Geometry, Reject};

/// The size in bytes up to which voxels are read for their figures whether these are asked for or not.
const CHEAP: u64 = 1 << 20;
/// The distance in voxels up to which corners of grids are taken for one.
const APART: f64 = 0.1;
/// The number of values that a note lists.
const VALUES: usize = 8;

/// What a file is to the formats that are not DICOM.
#[expect(
    clippy::large_enum_variant,
    reason = "where there are such files most are volumes, and few are held at once"
)]
pub(super) enum Seen {
    /// A volume, or the reason why it is none.
    Image(Result<ImageHead, Reject>),
    /// The voxels of a header that lies beside this file.
    Voxels,
}

/// Looks at a file; `None` for one that DICOM's reader has to look at.
pub(super) fn see(path: &Path, figures: bool) -> io::Result<Option<Seen>> {
    if !is_image_file(path) {
        return Ok(headers_of(path).next().is_some().then_some(Seen::Voxels));
    }
    let head = read_image_head(path, |bytes| figures || bytes <= CHEAP)?;
    Ok(head.map(Seen::Image))
}

/// The findings about the volumes, in the order of their paths.
pub(super) fn judge(mut seen: Vec<(PathBuf, Result<ImageHead, Reject>)>) -> Vec<Finding> {
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    let (paths, heads): (Vec<PathBuf>, Vec<_>) = seen.into_iter().unzip();
    let roles = pairs(&paths);
    // Labels must be one volume.
    let one = |(head, role): (Result<ImageHead, Reject>, &Role)| match role {
        Role::Labels { .. } => head.and_then(ImageHead::of_one_volume),
        Role::Scan { .. } => head,
    };
    let heads: Vec<_> = heads.into_iter().zip(&roles).map(one).collect();
    let grid = |index: &usize| heads.get(*index).and_then(|head| Some(&head.as_ref().ok()?.geometry));
    let notes = |head: &ImageHead, role: &Role| {
        let mut notes = head.notes.clone();
        match role {
            Role::Labels { of } => {
                if of.is_empty() {
                    notes.push(
                        "NO_SCAN_BESIDE: its name is of labels, and no scan of that name is there".into(),
                    );
                }
                notes.extend(of.iter().filter_map(grid).find_map(|scan| other_grid(&head.geometry, scan)));
                notes.extend(no_labels(head));
                notes.extend(empty(head));
            }
            Role::Scan { labelled } => {
                notes.extend(several(head));
                if *labelled == Some(false) {
                    notes.push("NO_LABELS_BESIDE: scans of its folder have labels, this one has none".into());
                }
                notes.extend(like_labels(head));
                notes.extend(unlike_scan(head));
            }
        }
        notes
    };
    let notes: Vec<Vec<String>> = heads
        .iter()
        .zip(&roles)
        .map(|(head, role)| head.as_ref().map_or_else(|_| Vec::new(), |head| notes(head, role)))
        .collect();
    let scan_of = |role: &Role| match role {
        Role::Labels { of } => Some(of.iter().filter_map(|&scan| paths.get(scan).cloned()).collect()),
        Role::Scan { .. } => None,
    };
    let scans: Vec<Option<Vec<PathBuf>>> = roles.iter().map(scan_of).collect();
    let found = paths.iter().zip(heads).zip(notes).zip(scans);
    found.map(|(((path, head), notes), of)| finding(path.clone(), head, notes, of)).collect()
}

fn finding(
    file: PathBuf,
    head: Result<ImageHead, Reject>,
    notes: Vec<String>,
    labels_of: Option<Vec<PathBuf>>,
) -> Finding {
    let ImageHead { format, voxel_type, geometry, volumes, figures, .. } = match head {
        Ok(head) => head,
        Err(reject) => {
            let (series_uid, files) = (String::new(), vec![file]);
            return Finding::Reject(Refused { series_uid, files, reject, tags: Default::default() });
        }
    };
    Finding::Image(Box::new(FoundImage {
        file,
        format: format.to_owned(),
        voxel_type: voxel_type.to_owned(),
        shape: geometry.size,
        volumes,
        spacing_mm: geometry.spacing_mm(),
        affine_lps: geometry.affine_lps(),
        labels_of,
        notes,
        figures,
    }))
}

/// A note on a file that holds several volumes.
fn several(head: &ImageHead) -> Option<String> {
    (head.volumes > 1).then(|| {
        format!(
            "VOLUMES: {} on one grid, channels where a source names them; figures are the first's",
            head.volumes
        )
    })
}

/// A note on labels that lie on another grid than their scan.
fn other_grid(labels: &Geometry, scan: &Geometry) -> Option<String> {
    let voxel = scan.spacing_mm().into_iter().fold(f64::INFINITY, f64::min);
    if labels.same_grid(scan, APART * voxel) {
        return None;
    }
    Some(match labels.size == scan.size {
        true => {
            "OTHER_GRID: labels lie elsewhere than their scan, by origin, spacing or orientation".to_owned()
        }
        false => {
            let [a, b] = [labels.size, scan.size].map(|size| size.map(|n| n.to_string()).join("×"));
            format!("OTHER_GRID: labels of {a} voxels beside a scan of {b}")
        }
    })
}

/// A note on labels whose values are none of a label map.
fn no_labels(head: &ImageHead) -> Option<String> {
    let figures = head.figures.as_ref()?;
    if figures.values.is_some() {
        return None;
    }
    let number = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
    let (min, max) = (number(figures.min), number(figures.max));
    Some(format!("NOT_LIKE_LABELS: few whole numbers from 0 on expected, values from {min} to {max} found"))
}

/// A note on labels of which no voxel is one.
fn empty(head: &ImageHead) -> Option<String> {
    let values = head.figures.as_ref()?.values.as_ref()?;
    let none = values.iter().all(|value| *value == 0);
    none.then(|| "EMPTY_LABELS: no voxel has a label".to_owned())
}

/// A note on a scan that has voxels without a number, or one value alone.
fn unlike_scan(head: &ImageHead) -> Option<String> {
    let figures = head.figures.as_ref()?;
    if figures.no_number > 0 {
        let count = figures.no_number;
        return Some(format!(
            "NOT_FINITE: {count} voxels are NaN or infinite, which `zscore` and `window` refuse"
        ));
    }
    let value = figures.min.filter(|min| figures.max == Some(*min))?;
    Some(format!("CONSTANT: all voxels are {value}"))
}

/// A note on a volume that is called like a scan and has the values of a label map.
fn like_labels(head: &ImageHead) -> Option<String> {
    let values = head.figures.as_ref()?.values.as_ref()?;
    // A scan may be a test image of few values; without 0 it has no background.
    if values.len() > VALUES || !values.contains(&0) {
        return None;
    }
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    Some(format!("LIKE_LABELS: its values are {}, as of a label map", values.join(", ")))
}
