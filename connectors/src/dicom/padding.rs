//! Voxels that stand for no value: those that PixelPaddingValue, or a range from it on, names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::pixels::with_image;
use crate::planes::{self, Plane, planes};
use crate::{LabelMap, Reject, Scan};

/// The note of scans whose files say which values pad them: the word, and mostly the values, `PADDING: -2000` or
/// `PADDING: -2000 to -1900`. Earlier versions kept the word alone.
pub const PADDED: &str = "PADDING";

/// The values that a note says pad a scan, empty where it does not say which; `None` of another note.
///
/// # Examples
/// ```
/// use tomoflow_connectors::dicom::padding_values;
/// assert_eq!(padding_values("PADDING: -2000"), Some("-2000"));
/// assert_eq!(padding_values("PADDING"), Some(""));
/// assert_eq!(padding_values("NO_PREAMBLE"), None);
/// ```
pub fn padding_values(note: &str) -> Option<&str> {
    let rest = note.strip_prefix(PADDED)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(": ") }
}

/// The lowest and the highest value of padding; none where a slice has none.
type Ends = Option<[f32; 2]>;

/// The voxels of a loaded scan that only pad it, as 1 on its grid; none where no voxel does. A plane between slices is
/// padded where the nearest slice on either side is.
///
/// # Errors
/// The errors of [`load_scan_between`](super::load_scan_between), of the same slices.
pub fn padding_of(
    scan: &Scan,
    slices: &[(PathBuf, u32)],
    heights: &[f64],
) -> Result<Option<LabelMap>, Reject> {
    let [depth, rows, columns] = scan.size();
    let ends = ends_of(slices, [rows, columns])?;
    let planes = planes(depth, heights).ok_or_else(|| planes::unfit(scan.geometry(), heights))?;
    let mut padding = LabelMap::zeros(scan.geometry().clone());
    let area = (rows * columns).max(1);
    let on_slices = padding.voxels_mut().par_chunks_exact_mut(area).zip(&planes).enumerate();
    on_slices.for_each(|(index, (padded, plane))| {
        if let Plane::Slice(slice) = plane {
            mark(padded, scan.slice(index), ends.get(*slice).copied().flatten());
        }
    });
    between(&mut padding, &planes);
    let any = padding.voxels().par_iter().any(|padded| *padded != 0);
    Ok(any.then_some(padding))
}

/// The ends of padding of each slice; a file is read once, whatever the number of its frames.
fn ends_of(slices: &[(PathBuf, u32)], size: [usize; 2]) -> Result<Vec<Ends>, Reject> {
    let mut files: BTreeMap<&Path, Vec<(usize, u32)>> = BTreeMap::new();
    for (slice, (path, frame)) in slices.iter().enumerate() {
        files.entry(path).or_default().push((slice, *frame));
    }
    let of_file = |(path, wanted): (&Path, Vec<(usize, u32)>)| {
        with_image(path, size, |image| {
            let ends = |frame: u32| image.padding(frame as usize).map(|ends| ends.map(|end| end as f32));
            Ok::<Vec<_>, Reject>(wanted.into_iter().map(|(slice, frame)| (slice, ends(frame))).collect())
        })
    };
    let found: Vec<Vec<(usize, Ends)>> = files.into_par_iter().map(of_file).collect::<Result<_, _>>()?;
    let mut ends = vec![None; slices.len()];
    for (slice, found) in found.into_iter().flatten() {
        if let Some(ends) = ends.get_mut(slice) {
            *ends = found;
        }
    }
    Ok(ends)
}

fn mark(padded: &mut [u16], values: &[f32], ends: Ends) {
    let Some([lowest, highest]) = ends else { return };
    for (padded, value) in padded.iter_mut().zip(values) {
        *padded = u16::from((lowest..=highest).contains(value));
    }
}

/// Marks padding on planes between slices, which hold values of both.
fn between(padding: &mut LabelMap, planes: &[Plane]) {
    let on_slice = |plane: &Plane| matches!(plane, Plane::Slice(_));
    for (index, _) in planes.iter().enumerate().filter(|(_, plane)| !on_slice(plane)) {
        let below = planes.iter().take(index).rposition(on_slice);
        let above = planes.iter().skip(index).position(on_slice).map(|further| index + further);
        for from in below.into_iter().chain(above) {
            let padded = padding.slice(from).to_vec();
            let area = padded.len();
            if let Some(voxels) = padding.voxels_mut().get_mut(index * area..(index + 1) * area) {
                voxels.iter_mut().zip(padded).for_each(|(voxel, padded)| *voxel |= padded);
            }
        }
    }
}
