//! Brings a case to a size at least, with as much before as after.

use std::sync::Arc;

use serde::Deserialize;
use tomoflow_connectors::Geometry;

use super::cuboid::{Cuboid, LENGTHS_MM, SNAP};
use crate::operators::registry::{Axes, Entry, Stage, Transform};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec, one_of,
};
use crate::operators::value::{Case, Failure};
use crate::voxels::grid;

/// The declaration of the type `pad`.
pub static SPEC: Spec = Spec {
    name: "pad",
    section: Section::Operators,
    summary: "Pads scans and their labels to a least size.",
    doc: "Scans are padded along their own axes, by as many voxels before as after (an odd one comes after, \
          as in MONAI); an axis that is long enough stays as it is. Labels are padded with background. Masks \
          are brought back to the scan's original grid at the end.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Both,
    fields: &[
        Field {
            name: "size",
            kind: FieldKind::List { of: &FieldKind::Integer { min: 1, max: 4096 }, len: Some(3) },
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The least number of voxels along `[D, H, W]`; either this or `size_mm` is given.",
        },
        Field {
            name: "size_mm",
            kind: LENGTHS_MM,
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The least lengths along `[D, H, W]`, in mm, rounded up to the next whole voxel.",
        },
        Field {
            name: "value",
            kind: FieldKind::Number { min: -1e9, max: 1e9, unit: "" },
            default: Default::Json("0.0"),
            role: Role::Semantic,
            doc: "The intensity of added voxels, in the scale that the input has: -1024 is air in an \
                  untouched CT.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A padding.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Pad {
    /// The number of voxels along `[D, H, W]`; this or `size_mm`.
    #[serde(default)]
    pub size: Option<[usize; 3]>,
    /// The lengths along `[D, H, W]`, in mm.
    #[serde(default)]
    pub size_mm: Option<[f64; 3]>,
    /// The intensity around the scan.
    pub value: f32,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let pad: Pad = crate::operators::read_config(config)?;
    let given = [("size", pad.size.is_some()), ("size_mm", pad.size_mm.is_some())];
    one_of(given, "size = [32, 256, 256], or size_mm = [50, 100, 100]")?;
    Ok(Stage::Transform(Arc::new(pad)))
}

impl Pad {
    fn cuboid(&self, geometry: &Geometry) -> Result<Cuboid, Failure> {
        grid::check(geometry)?;
        let spacing = geometry.spacing_mm();
        let wanted = match (self.size, self.size_mm) {
            (Some(size), _) => size,
            (None, Some(mm)) => [0, 1, 2].map(|axis| (mm[axis] / spacing[axis] - SNAP).ceil() as usize),
            (None, None) => geometry.size,
        };
        let size = [0, 1, 2].map(|axis| wanted[axis].max(geometry.size[axis]));
        let start = [0, 1, 2].map(|axis| -(((size[axis] - geometry.size[axis]) / 2) as i64));
        Ok(Cuboid { start, size })
    }
}

impl Transform for Pad {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        self.cuboid(case.scan.geometry())?.cut(case, self.value)
    }

    fn grid(&self, grid: &Geometry) -> Geometry {
        self.cuboid(grid).map_or_else(|_| grid.clone(), |cuboid| cuboid.geometry(grid))
    }

    fn axes(&self) -> Axes {
        Axes::Kept
    }
}
