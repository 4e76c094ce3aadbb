//! The sources `deeplesion` and `deeplesion_boxes`: the data set's slices, and its boxes as labels.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tomoflow_connectors::deeplesion::{self, Info, Lesion, SeriesInfo, read_info};
use tomoflow_connectors::rtstruct::Outlines;
use tomoflow_connectors::{Geometry, LabelMap, Reject, Scan};

use super::images::{PATH, text};
use crate::operators::registry::{Entry, Stage};
use crate::operators::source::{
    CaseFile, Claim, Drawing, DrawnBox, FileSlice, FileSource, FoundScan, Grid, LabelSource, LabelsAt,
    LabelsIn, Layout, Planes, ScanSource, SliceFile, labels_of, vanished,
};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Role, Section, Spec,
};

const INFO: Field = Field {
    name: "info",
    kind: FieldKind::Path,
    default: Default::Required,
    role: Role::Operational,
    doc: "The path of `DL_info.csv` as it was published; it is read when a run starts.",
};

/// The declaration of the type `deeplesion`.
pub static SCANS: Spec = Spec {
    name: "deeplesion",
    section: Section::Sources,
    summary: "Reads the scans of DeepLesion: a folder of PNG slices for each series, with spacings from \
              `DL_info.csv`.",
    doc: "Intensities in HU are the stored values minus 32768. Slices with consecutive numbers make one scan \
          `[D, H, W]`, from the feet up (the data set numbers them from the head down); a series with \
          several such runs gives several scans, `000001_01_01`, `000001_01_01#1`, …. The first number of \
          the folder's name is the patient. A folder that the table does not list is refused as \
          `NOT_IN_TABLE`.",
    version: 1,
    inputs: &[],
    output: Output::Is(Kind::Scan),
    aspects: Aspects::Both,
    fields: &[PATH, INFO],
};

/// The declaration of the type `deeplesion_boxes`.
pub static BOXES: Spec = Spec {
    name: "deeplesion_boxes",
    section: Section::Sources,
    summary: "Reads the lesions' boxes of `DL_info.csv`, as labels of the scans of `deeplesion`.",
    doc: "The box of each lesion on its key slice is label 1, `lesion`: voxels whose centres lie in it. The \
          table counts pixels from 1. Lesions that its authors mark as possibly noisy are left out.\n\n\
          With `drawn_as = \"boxes\"` a detector learns and is judged by the boxes as they were published: \
          their first and last pixels belong to them, their corners need not be whole numbers, and two that \
          touch are two. The labels are then all pixels that a box touches. A box that has no area on its \
          slice is reported as `BOX_WITHOUT_AREA` in `rejects`.",
    version: 1,
    inputs: &[],
    output: Output::Is(Kind::Outlines),
    aspects: Aspects::Labels,
    fields: &[
        INFO,
        Field {
            name: "drawn_as",
            kind: FieldKind::Choice(&["pixels", "boxes"]),
            default: Default::Json("\"pixels\""),
            role: Role::SemanticLater,
            doc: "The truth that a detector is trained and evaluated with: the connected parts of the drawn \
                  pixels (`pixels`), or the published boxes themselves (`boxes`).",
        },
    ],
};

/// The registry's entry of `deeplesion`.
pub const ENTRY: Entry = Entry { spec: &SCANS, build: build_scans };

/// The registry's entry of `deeplesion_boxes`.
pub const BOXES_ENTRY: Entry = Entry { spec: &BOXES, build: build_boxes };

/// A folder of series, a folder of slices each.
#[derive(Clone, Debug)]
struct Slices {
    path: PathBuf,
    info: Arc<Info>,
}

/// Boxes as labels.
#[derive(Clone, Debug)]
struct Boxes {
    /// The table.
    path: PathBuf,
    /// The content of the table of boxes.
    info: Arc<Info>,
    /// Whether they are boxes as they were published.
    published: bool,
}

/// The number of a slice: its name is nothing else.
fn slice_number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_suffix(".png")?.parse().ok()
}

impl FileSource for Slices {
    fn root(&self) -> &Path {
        &self.path
    }

    fn claim(&self, path: &Path) -> Option<Claim> {
        let below = path.strip_prefix(&self.path).ok()?;
        slice_number(below)?;
        let case = below.parent()?.file_name()?.to_str()?.to_owned();
        let patient = case.split('_').next().unwrap_or(&case).to_owned();
        Some(Claim::new(case, patient))
    }
}

impl ScanSource for Slices {
    /// Slices with consecutive numbers are a scan.
    fn judge(&self, case: &str, files: &[CaseFile<'_>]) -> Vec<Result<FoundScan, Reject>> {
        let Some(series) = self.info.series.get(case) else {
            let message = "a series of the table expected, none of this name found";
            return vec![Err(Reject::new("NOT_IN_TABLE", message, "is the table whole?"))];
        };
        let mut slices: BTreeMap<u32, usize> = BTreeMap::new();
        for (index, file) in files.iter().enumerate() {
            let Some(number) = slice_number(file.path) else { continue };
            if slices.insert(number, index).is_some() {
                let message = format!("one file for slice {number} expected, two found");
                return vec![Err(Reject::new("SEVERAL_FILES", message, "remove one of them"))];
            }
        }
        let mut runs: Vec<Vec<(u32, usize)>> = Vec::new();
        for slice in slices {
            match runs.last_mut() {
                Some(run) if run.last().is_some_and(|(last, _)| last + 1 == slice.0) => run.push(slice),
                _ => runs.push(vec![slice]),
            }
        }
        runs.into_iter().map(|run| scan(run, files, series)).collect()
    }

    fn load(&self, grid: &Geometry, slices: &[SliceFile]) -> Result<Scan, Reject> {
        let paths: Vec<PathBuf> = slices.iter().map(|slice| slice.path.clone()).collect();
        deeplesion::load_scan(grid, &paths)
    }
}

/// A run of slices without a gap as a scan.
fn scan(
    mut run: Vec<(u32, usize)>,
    files: &[CaseFile<'_>],
    series: &SeriesInfo,
) -> Result<FoundScan, Reject> {
    let lowest = run.first().map_or(0, |(number, _)| *number);
    // The run goes from the feet up.
    run.reverse();
    let mut size = None;
    for (_, file) in &run {
        let image = files[*file].header.as_ref().map_err(Clone::clone)?;
        let [_, height, width] = Geometry::from(&image.grid).size;
        if *size.get_or_insert([height, width]) != [height, width] {
            let message = format!("slices of {size:?} expected, one of {height}x{width} found");
            return Err(Reject::new("MIXED_MATRIX", message, "slices of a series have one size"));
        }
    }
    let Some([height, width]) = size else {
        return Err(Reject::new("NO_GEOMETRY", "a slice expected, none found", ""));
    };
    let grid = Grid::from(&series.geometry([run.len(), height, width], lowest));
    let slices = run.into_iter().map(|(_, file)| FileSlice { file, frame: 0 }).collect();
    Ok(FoundScan::new(grid, Layout::Slices, slices, "CT".into()))
}

impl LabelSource for Boxes {
    fn label_names(&self) -> Vec<String> {
        vec!["lesion".to_owned()]
    }

    fn lies_in(&self) -> LabelsIn<'_> {
        LabelsIn::Table(&self.path)
    }

    fn listed(&self) -> Vec<Outlines> {
        self.info.series.iter().map(|(series, info)| labels_of(series.clone(), info.digest())).collect()
    }

    fn draw(&self, labels: &LabelsAt<'_>, on: &Planes<'_>) -> Result<Drawing, Reject> {
        let info = self.info.series.get(labels.series).ok_or_else(|| vanished(labels.record))?;
        match self.published {
            true => as_published(info, on.grid),
            false => info.draw(on.grid).map(Drawing::from),
        }
    }

    fn gives_boxes(&self) -> bool {
        self.published
    }
}

/// The lesions on a grid of [`SeriesInfo::geometry`] as boxes, and all pixels that these touch as labels.
fn as_published(info: &SeriesInfo, grid: &Geometry) -> Result<Drawing, Reject> {
    let [depth, rows, columns] = grid.size;
    let highest = (-grid.origin_mm[2] / info.spacing_mm[0]).round();
    let (mut boxes, mut without) = (Vec::new(), 0);
    let mut labels = LabelMap::zeros(grid.clone());
    for Lesion { slice, corners } in &info.lesions {
        let place = highest - f64::from(*slice);
        if !(0.0..depth as f64).contains(&place) {
            continue;
        }
        // First and last pixels, both of the box: a pixel reaches from its number to the next.
        let [left, top, right, bottom] = *corners;
        let within = |edge: f64, length: usize| edge.clamp(0.0, length as f64);
        let low = [within(top, rows), within(left, columns)];
        let high = [within(bottom + 1.0, rows), within(right + 1.0, columns)];
        if low[0] >= high[0] || low[1] >= high[1] {
            without += 1;
            continue;
        }
        boxes.push(DrawnBox { label: 1, slice: place as u32, low, high });
        for row in low[0].floor() as usize..high[0].ceil() as usize {
            let line = (place as usize * rows + row) * columns;
            let across = line + low[1].floor() as usize..line + high[1].ceil() as usize;
            if let Some(pixels) = labels.voxels_mut().get_mut(across) {
                pixels.fill(1);
            }
        }
    }
    let message = || format!("boxes with an area on their slice expected, {without} without found");
    let hint = "they are neither trained on nor evaluated: compare the table with `DL_info.csv` as it was \
                published";
    let notes = (without > 0).then(|| Reject::new("BOX_WITHOUT_AREA", message(), hint)).into_iter().collect();
    Ok(Drawing { notes, boxes: Some(boxes), ..Drawing::from(labels) })
}

fn read(config: &Config) -> Result<Arc<Info>, Vec<FieldProblem>> {
    read_info(Path::new(text(config, "info")))
        .map(Arc::new)
        .map_err(|reject| vec![FieldProblem::new("info", reject.message, reject.hint)])
}

fn build_scans(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Scans(Arc::new(Slices { path: text(config, "path").into(), info: read(config)? })))
}

fn build_boxes(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let (path, published) = (text(config, "info").into(), text(config, "drawn_as") == "boxes");
    Ok(Stage::Labels(Arc::new(Boxes { path, info: read(config)?, published })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_stay_as_they_were_published() {
        let lesion = |slice, corners| Lesion { slice, corners };
        let lesions = vec![
            lesion(9, [1.25, 0.0, 2.5, 1.0]),
            // This lesion touches the first one.
            lesion(9, [3.5, 0.0, 4.0, 0.5]),
            lesion(8, [-3.0, 2.0, 99.0, 2.0]),
            lesion(8, [4.0, 2.0, 2.0, 2.0]),
            lesion(40, [0.0, 0.0, 1.0, 1.0]),
        ];
        let info = SeriesInfo { spacing_mm: [5.0, 0.5, 0.5], lesions };
        let drawn = as_published(&info, &info.geometry([2, 3, 6], 8)).unwrap();
        let bounds: Vec<(u32, [f64; 2], [f64; 2])> =
            drawn.boxes.unwrap().iter().map(|own| (own.slice, own.low, own.high)).collect();
        let expected =
            [(0, [0.0, 1.25], [2.0, 3.5]), (0, [0.0, 3.5], [1.5, 5.0]), (1, [2.0, 0.0], [3.0, 6.0])];
        assert_eq!(bounds, expected);
        #[rustfmt::skip]
        let labels = [
            0, 1, 1, 1, 1, 0,
            0, 1, 1, 1, 1, 0,
            0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0,
            1, 1, 1, 1, 1, 1,
        ];
        assert_eq!(drawn.labels.voxels(), labels);
        assert_eq!(drawn.notes[0].code, "BOX_WITHOUT_AREA");
        assert!(drawn.notes[0].message.contains("1 without found"), "{}", drawn.notes[0].message);
    }
}
