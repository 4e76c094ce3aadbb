//! Cuts a case down to a box: of a size around its centre or a point, or around what is bright.

use std::sync::Arc;

use rayon::prelude::*;
use serde::Deserialize;
use tomoflow_connectors::{Geometry, PatientPoint, Scan};

use super::cuboid::{Cuboid, LENGTHS_MM, SNAP};
use super::grid;
use super::registry::{Axes, Entry, Stage, Transform};
use super::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec, one_of,
};
use super::value::{Case, Failure};

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "crop",
    section: Section::Operators,
    summary: "Scans and their labels within a box.",
    doc: "Along the scan's own axes, by whole voxels: none is made anew. Either `size_mm` around the centre of \
          the scan, or around the point `centre_mm`, or the smallest box of all voxels `above` an \
          intensity, with `margin_mm` around it as far as the scan goes. An axis that \
          is shorter than `size_mm` stays as it is. A box around a point is moved inwards where it would pass \
          the end of the scan, so that it keeps its size; a point that lies in no voxel of the scan is refused \
          as `POINT_OUTSIDE`. Masks return to the scan's original \
          grid by themselves; what was cut off is background there. Around a label `patches` cuts, which only \
          a training can ask for: a scan without labels must be treated alike.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Both,
    fields: &[
        Field {
            name: "size_mm",
            kind: LENGTHS_MM,
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The box's lengths along `[D, H, W]`, in mm, to the nearest voxel; this or `above`.",
        },
        Field {
            name: "centre_mm",
            kind: FieldKind::List {
                of: &FieldKind::Number { min: -100_000.0, max: 100_000.0, unit: "mm" },
                len: Some(3),
            },
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The middle of a box of `size_mm`, `[x, y, z]` in patient space (LPS), in mm; left out, the scan's own.",
        },
        Field {
            name: "above",
            kind: FieldKind::Number { min: -1e9, max: 1e9, unit: "" },
            default: Default::Absent,
            role: Role::Semantic,
            doc: "What is brighter is kept, in the scale that the input has (HU for an untouched CT).",
        },
        Field {
            name: "margin_mm",
            kind: FieldKind::Number { min: 0.0, max: 10_000.0, unit: "mm" },
            default: Default::Json("0.0"),
            role: Role::Semantic,
            doc: "What is kept around voxels `above`, in mm, up to the next whole voxel.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A crop.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Crop {
    /// Along `[D, H, W]`, around the centre; this or `above`.
    #[serde(default)]
    pub size_mm: Option<[f64; 3]>,
    /// Where the middle of `size_mm` lies in patient space; the scan's centre when absent.
    #[serde(default)]
    pub centre_mm: Option<[f64; 3]>,
    /// Voxels that are brighter are kept.
    #[serde(default)]
    pub above: Option<f32>,
    /// Around voxels `above`.
    #[serde(default)]
    pub margin_mm: f64,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let crop: Crop = super::read_config(config)?;
    let given = [("size_mm", crop.size_mm.is_some()), ("above", crop.above.is_some())];
    one_of(given, "size_mm = [50, 100, 100], or above = -500 for a body in CT")?;
    if crop.centre_mm.is_some() && crop.size_mm.is_none() {
        let hint = "what is `above` says itself where it is";
        return Err(vec![FieldProblem::new("centre_mm", "a point goes with `size_mm` alone", hint)]);
    }
    if crop.size_mm.is_some() && crop.margin_mm > 0.0 {
        let hint = "make `size_mm` larger";
        return Err(vec![FieldProblem::new("margin_mm", "a margin goes with `above` alone", hint)]);
    }
    Ok(Stage::Transform(Arc::new(crop)))
}

impl Crop {
    fn cuboid(&self, scan: &Scan) -> Result<Cuboid, Failure> {
        let geometry = scan.geometry();
        grid::check(geometry)?;
        let spacing = geometry.spacing_mm();
        if let Some(size_mm) = self.size_mm {
            let count = |axis: usize| (size_mm[axis] / spacing[axis]).round() as usize;
            let size = [0, 1, 2].map(|axis| count(axis).clamp(1, geometry.size[axis]));
            let start = match self.centre_mm {
                Some(point) => around(geometry, PatientPoint(point), size)?,
                None => [0, 1, 2].map(|axis| ((geometry.size[axis] - size[axis]) / 2) as i64),
            };
            return Ok(Cuboid { start, size });
        }
        let above = self.above.unwrap_or(f32::NEG_INFINITY);
        let Some(found) = bounding_box(scan, above) else {
            return Err(Failure::new(
                "NO_FOREGROUND",
                format!("voxels brighter than {above} expected, none found"),
                "`above` is in the scale that the input has: HU for an untouched CT",
            ));
        };
        let margin = spacing.map(|mm| (self.margin_mm / mm - SNAP).ceil().max(0.0) as usize);
        let first = [0, 1, 2].map(|axis| found[axis].0.saturating_sub(margin[axis]));
        let last =
            [0, 1, 2].map(|axis| found[axis].1.saturating_add(margin[axis]).min(geometry.size[axis] - 1));
        let size = [0, 1, 2].map(|axis| last[axis] - first[axis] + 1);
        Ok(Cuboid { start: first.map(|voxel| voxel as i64), size })
    }
}

/// Where a box of so many voxels begins whose middle is as near to a point as whole voxels go, within the grid.
fn around(geometry: &Geometry, point: PatientPoint, size: [usize; 3]) -> Result<[i64; 3], Failure> {
    let outside = || {
        let [x, y, z] = point.0;
        Failure::new(
            "POINT_OUTSIDE",
            format!("a point within the scan expected, ({x}, {y}, {z}) mm found"),
            "`centre_mm` is [x, y, z] in LPS; from RAS the signs of x and y are turned",
        )
    };
    let voxel = geometry.to_voxel(point).ok_or_else(outside)?.0;
    let within = |axis: usize| {
        let end = geometry.size[axis] as f64 - 0.5;
        (-0.5 - SNAP..=end + SNAP).contains(&voxel[axis])
    };
    if !(0..3).all(within) {
        return Err(outside());
    }
    Ok([0, 1, 2].map(|axis| {
        // Between two voxels the earlier one, as around the scan's centre.
        let start = (voxel[axis] - (size[axis] as f64 - 1.0) / 2.0 - 0.5 - SNAP).ceil();
        (start as i64).clamp(0, (geometry.size[axis] - size[axis]) as i64)
    }))
}

/// The first and the last voxel along each axis.
type Extent = [(usize, usize); 3];

/// The smallest box of voxels that are brighter.
fn bounding_box(scan: &Scan, above: f32) -> Option<Extent> {
    let [_, height, width] = scan.size();
    let in_slice = |(d, slice): (usize, &[f32])| {
        let mut found: Option<Extent> = None;
        for (h, row) in slice.chunks_exact(width).enumerate() {
            let Some(first) = row.iter().position(|value| *value > above) else { continue };
            let last = row.iter().rposition(|value| *value > above).unwrap_or(first);
            found = wider(found, Some([(d, d), (h, h), (first, last)]));
        }
        found
    };
    scan.voxels().par_chunks_exact(height * width).enumerate().map(in_slice).reduce(|| None, wider)
}

fn wider(a: Option<Extent>, b: Option<Extent>) -> Option<Extent> {
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    Some([0, 1, 2].map(|axis| (a[axis].0.min(b[axis].0), a[axis].1.max(b[axis].1))))
}

impl Transform for Crop {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        self.cuboid(&case.scan)?.cut(case, 0.0)
    }

    fn axes(&self) -> Axes {
        Axes::Kept
    }
}
