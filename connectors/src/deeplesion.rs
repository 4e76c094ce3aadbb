//! DeepLesion: PNG slices of 16 bits in a folder for each series, and `DL_info.csv` with boxes and spacings.
//!
//! Yan et al., J. Med. Imaging 5(3), 2018. HU = value − 32768; lines of the table are key slices.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::Parts;
use crate::geometry::is_spacing;
use crate::nearest::room;
use crate::{Digest, Geometry, LabelMap, Reject, Scan, imagefile, reading};

/// The number that is added to a PNG's values to give HU.
pub const OFFSET_HU: f32 = -32_768.0;

/// The content of the table, by series (the folder's name, `000001_01_01`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info {
    /// The series, by the names of their folders.
    pub series: BTreeMap<String, SeriesInfo>,
}

/// The content of the table about one series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesInfo {
    /// The distances between slices, rows and columns (`[D, H, W]`), mm.
    pub spacing_mm: [f64; 3],
    /// The series' lesions, those that the authors call noisy left out.
    pub lesions: Vec<Lesion>,
}

/// One lesion on its key slice.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesion {
    /// The key slice's number, as in its file's name.
    pub slice: u32,
    /// The first column and row of the lesion's box, and the last ones: voxel indices from 0 on, centres at
    /// whole numbers.
    pub corners: [f64; 4],
}

/// One line of the table, in the columns that matter.
#[derive(Deserialize)]
struct LesionLine {
    #[serde(rename = "File_name")]
    file_name: String,
    #[serde(rename = "Bounding_boxes")]
    boxes: String,
    #[serde(rename = "Spacing_mm_px_")]
    spacing: String,
    #[serde(rename = "Possibly_noisy")]
    noisy: u8,
}

/// Reads `DL_info.csv`.
///
/// # Errors
/// `UNREADABLE`, or `BAD_TABLE` with the line.
pub fn read_info(path: &Path) -> Result<Info, Reject> {
    let text = reading::table(path).map_err(|error| unreadable(error.into()))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(&*text);
    let mut info = Info::default();
    for (line, row) in (2..).zip(reader.deserialize::<LesionLine>()) {
        let row = row.map_err(unreadable)?;
        let bad = |what: &str, found: &str| {
            let message = format!("line {line}: {what} expected, `{found}` found");
            Reject::new("BAD_TABLE", message, "take `DL_info.csv` as it was published")
        };
        let (series, slice) = row
            .file_name
            .strip_suffix(".png")
            .and_then(|name| name.rsplit_once('_'))
            .and_then(|(series, slice)| Some((series, slice.parse().ok()?)))
            .ok_or_else(|| bad("`<series>_<slice>.png`", &row.file_name))?;
        let [x, y, z] = numbers(&row.spacing).ok_or_else(|| bad("three spacings", &row.spacing))?;
        let spacing_mm = [z, y, x];
        if !spacing_mm.iter().all(is_spacing) {
            return Err(bad("spacings from 1e-9 to 1e6 mm", &row.spacing));
        }
        let corners = numbers(&row.boxes).ok_or_else(|| bad("four corners", &row.boxes))?;
        let of = info.series.entry(series.to_owned()).or_default();
        of.spacing_mm = spacing_mm;
        if row.noisy == 0 {
            // The table counts pixels from 1 on.
            of.lesions.push(Lesion { slice, corners: corners.map(|corner: f64| corner - 1.0) });
        }
    }
    Ok(info)
}

/// Reads exactly so many finite numbers, with commas between them.
fn numbers<const N: usize>(text: &str) -> Option<[f64; N]> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|word| word.trim().parse().ok()).collect();
    <[f64; N]>::try_from(numbers?).ok().filter(|numbers| numbers.iter().all(|number| number.is_finite()))
}

fn unreadable(error: csv::Error) -> Reject {
    let code = if matches!(error.kind(), csv::ErrorKind::Io(_)) { "UNREADABLE" } else { "BAD_TABLE" };
    Reject::new(code, error.to_string(), "`DL_info.csv` of DeepLesion expected")
}

impl SeriesInfo {
    /// The grid of slices with consecutive numbers, of which `lowest` is the last one. Slices are numbered from
    /// the head down and go from the feet up here, so that the highest number comes first; slice 0 of the
    /// series would lie at 0 mm. Rows run to the back, columns to the left.
    pub fn geometry(&self, size: [usize; 3], lowest: u32) -> Geometry {
        let geometry = Geometry::axis_aligned(size, self.spacing_mm);
        let highest = f64::from(lowest) + size[0].saturating_sub(1) as f64;
        Geometry { origin_mm: [0.0, 0.0, -highest * self.spacing_mm[0]], ..geometry }
    }

    /// The digest of the series' lesions and spacing.
    pub fn digest(&self) -> Digest {
        let mut parts = Parts::default();
        parts.add(&self.spacing_mm.map(f64::to_le_bytes).concat());
        for lesion in &self.lesions {
            parts.add(&lesion.slice.to_le_bytes());
            parts.add(&lesion.corners.map(f64::to_le_bytes).concat());
        }
        parts.digest()
    }

    /// Draws the series' lesions as label 1 on a grid of [`SeriesInfo::geometry`]: each box covers the voxels
    /// whose centres lie in it, on its key slice.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when there is no room.
    pub fn draw(&self, grid: &Geometry) -> Result<LabelMap, Reject> {
        let [depth, rows, columns] = grid.size;
        let highest = (-grid.origin_mm[2] / self.spacing_mm[0]).round();
        let mut voxels = room(grid)?;
        for Lesion { slice, corners } in &self.lesions {
            let place = highest - f64::from(*slice);
            if !(0.0..depth as f64).contains(&place) {
                continue;
            }
            let place = place as usize;
            let [left, top, right, bottom] = *corners;
            let within = |first: f64, last: f64, count: usize| {
                first.ceil().max(0.0) as usize..((last.floor() + 1.0).max(0.0) as usize).min(count)
            };
            for row in within(top, bottom, rows) {
                let line = (place * rows + row) * columns;
                let across = within(left, right, columns);
                if let Some(line) = voxels.get_mut(line + across.start..line + across.end.max(across.start)) {
                    line.fill(1);
                }
            }
        }
        LabelMap::new(grid.clone(), voxels)
            .map_err(|error| Reject::new("BAD_GEOMETRY", error.to_string(), "slices of one size expected"))
    }
}

/// Reads slices, in the grid's order, in HU.
///
/// # Errors
/// A [`Reject`] of a PNG, or `MIXED_MATRIX` for a slice of another size.
pub fn load_scan(grid: &Geometry, slices: &[PathBuf]) -> Result<Scan, Reject> {
    let [_, rows, columns] = grid.size;
    let mut voxels = Vec::new();
    for path in slices {
        let slice = imagefile::read_scan(path)?;
        if slice.size() != [1, rows, columns] {
            let message = format!("slices of {rows}x{columns} expected, {:?} found", slice.size());
            return Err(Reject::new("MIXED_MATRIX", message, "the file changed meanwhile: run again"));
        }
        voxels.extend(slice.voxels().iter().map(|value| value + OFFSET_HU));
    }
    Scan::new(grid.clone(), voxels)
        .map_err(|error| Reject::new("MISSING_SLICE", error.to_string(), "run again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "File_name,Patient_index,Key_slice_index,Bounding_boxes,Spacing_mm_px_,Possibly_noisy\n\
        000001_01_01_109.png,1,109,\"2, 3, 4.4, 3.2\",\"0.5, 0.5, 5\",0\n\
        000001_01_01_110.png,1,110,\"1, 1, 2, 2\",\"0.5, 0.5, 5\",1\n";

    fn info(table: &str) -> Result<Info, Reject> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), table).unwrap();
        read_info(file.path())
    }

    #[test]
    fn lesions_are_boxes_on_their_key_slice() {
        let info = info(TABLE).unwrap();
        let series = &info.series["000001_01_01"];
        assert_eq!(series.spacing_mm, [5.0, 0.5, 0.5]);
        assert_eq!(series.lesions.len(), 1, "noisy ones are left out");
        let drawn = series.draw(&series.geometry([3, 4, 5], 108)).unwrap();
        let found: Vec<usize> =
            drawn.voxels().iter().enumerate().filter_map(|(at, &v)| (v == 1).then_some(at)).collect();
        // The box covers columns 1 to 3.4 and rows 2 to 2.2 of the second slice.
        assert_eq!(found, [20 + 11, 20 + 12, 20 + 13]);
        assert!(!series.draw(&series.geometry([1, 4, 5], 1)).unwrap().voxels().contains(&1));
    }

    #[test]
    fn a_broken_table_names_its_line() {
        for (from, to) in [("0.5, 0.5, 5", "0.5, 5"), ("2, 3, 4.4, 3.2", "2, 3, x, 3"), ("_109.png", ".jpg")]
        {
            let reject = info(&TABLE.replace(from, to)).unwrap_err();
            assert_eq!(reject.code, "BAD_TABLE");
            assert!(reject.message.contains("line 2"), "{reject}");
        }
        assert_eq!(info("a,b\n1,2\n").unwrap_err().code, "BAD_TABLE");
        assert_eq!(read_info(Path::new("nowhere.csv")).unwrap_err().code, "UNREADABLE");
    }

    #[test]
    fn hostile_boxes_stay_on_the_slice() {
        let table = TABLE.replace("2, 3, 4.4, 3.2", "-1e300, 4, 1e300, 1e300");
        let series = info(&table).unwrap().series.remove("000001_01_01").unwrap();
        let drawn = series.draw(&series.geometry([1, 4, 5], 109)).unwrap();
        assert_eq!(drawn.voxels().iter().filter(|&&v| v == 1).count(), 5);
        let table = TABLE.replace("2, 3, 4.4, 3.2", "9, 9, 2, 2");
        let series = info(&table).unwrap().series.remove("000001_01_01").unwrap();
        assert!(!series.draw(&series.geometry([1, 4, 5], 109)).unwrap().voxels().contains(&1));
    }
}
