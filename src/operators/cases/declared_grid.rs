//! A grid as a pipeline file says it, or as a reference scan has it.

use serde::{Deserialize, Serialize};
use tomoflow_connectors::Geometry;
use tomoflow_connectors::geometry::norm;

use crate::operators::spec::{Default, Field, FieldKind, FieldProblem, Role};
use crate::voxels::grid;

/// The most that a direction's length may differ from 1.
const UNIT: f64 = 1e-4;

const DIRECTION: FieldKind =
    FieldKind::List { of: &FieldKind::Number { min: -1.0, max: 1.0, unit: "" }, len: Some(3) };

/// The field `grid`.
pub const GRID: Field = Field {
    name: "grid",
    kind: FieldKind::Table(&[
        Field::required(
            "size",
            FieldKind::List { of: &FieldKind::Integer { min: 1, max: 65_536 }, len: Some(3) },
            "The number of voxels along `[D, H, W]`.",
        ),
        Field::required(
            "spacing_mm",
            FieldKind::List { of: &FieldKind::Number { min: 1e-3, max: 1000.0, unit: "mm" }, len: Some(3) },
            "The distance from voxel to voxel along `[D, H, W]`, in mm.",
        ),
        Field::required(
            "origin_mm",
            FieldKind::List {
                of: &FieldKind::Number { min: -100_000.0, max: 100_000.0, unit: "mm" },
                len: Some(3),
            },
            "The centre of the first voxel, `[x, y, z]` in patient space (LPS), in mm.",
        ),
        Field {
            name: "direction",
            kind: FieldKind::List { of: &DIRECTION, len: Some(3) },
            default: Default::Json("[[0, 0, 1], [0, 1, 0], [1, 0, 0]]"),
            role: Role::Semantic,
            doc: "The directions in which `[D, H, W]` run, each a vector `[x, y, z]` of length 1 in patient \
                  space.",
        },
    ]),
    default: Default::Absent,
    role: Role::SemanticLater,
    doc: "The grid onto which all scans are brought: `{ size = [20, 256, 256], spacing_mm = [3, 1, 1], \
          origin_mm = [-128, -128, 0] }`, with a `direction` where its axes are not the patient's.",
};

/// A grid in numbers that a file can say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeclaredGrid {
    /// The number of voxels along `[D, H, W]`.
    pub size: [usize; 3],
    /// The distance from voxel to voxel along `[D, H, W]`, in mm.
    pub spacing_mm: [f64; 3],
    /// The centre of the first voxel in LPS, in mm.
    pub origin_mm: [f64; 3],
    /// The directions in which `[D, H, W]` run, in LPS.
    pub direction: [[f64; 3]; 3],
}

impl From<&Geometry> for DeclaredGrid {
    /// Rounds a grid to as many digits as tell anything, so that what is settled can be said: nine of a
    /// spacing, a millionth of a millimetre of a place, nine decimals of a direction.
    fn from(geometry: &Geometry) -> Self {
        // `+ 0.0` makes −0 0.
        let rounded = |value: f64, steps: f64| (value * steps).round() / steps + 0.0;
        let spacing = geometry.spacing_mm();
        Self {
            size: geometry.size,
            spacing_mm: spacing.map(grid::nine_digits),
            origin_mm: geometry.origin_mm.map(|mm| rounded(mm, 1e6)),
            direction: [0, 1, 2]
                .map(|axis| geometry.steps_mm[axis].map(|mm| rounded(mm / spacing[axis], 1e9))),
        }
    }
}

impl DeclaredGrid {
    /// The grid.
    pub fn geometry(&self) -> Geometry {
        let steps_mm = [0, 1, 2].map(|axis| self.direction[axis].map(|part| part * self.spacing_mm[axis]));
        Geometry { size: self.size, origin_mm: self.origin_mm, steps_mm }
    }

    /// Refuses a grid that no scan can be brought to.
    ///
    /// # Errors
    /// A problem of the field.
    pub fn check(&self) -> Result<(), FieldProblem> {
        let lengths = self.direction.map(norm);
        if let Some(length) = lengths.iter().find(|length| (*length - 1.0).abs() > UNIT) {
            let message = format!("three vectors of length 1 expected, one of length {length} found");
            let hint = "each is [x, y, z] in LPS: [[0, 0, 1], [0, 1, 0], [1, 0, 0]] for axial slices";
            return Err(FieldProblem::new("grid.direction", message, hint));
        }
        let sound = grid::check(&self.geometry()).and_then(|()| grid::check_voxels(self.size));
        sound.map_err(|failure| FieldProblem::new("grid", failure.message, failure.hint))
    }
}

impl std::fmt::Display for DeclaredGrid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([d, h, w], [a, b, c], [x, y, z]) = (self.size, self.spacing_mm, self.origin_mm);
        write!(f, "{d} x {h} x {w} voxels of {a} x {b} x {c} mm from ({x}, {y}, {z}) mm")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oblique() -> Geometry {
        let (c, s) = (0.3_f64.cos(), 0.3_f64.sin());
        Geometry {
            size: [3, 4, 5],
            origin_mm: [-120.123_456_789, 1e-12, 33.0],
            steps_mm: [
                [0.0, 0.0, 1.499_999_999_999_971_6],
                [-s * 0.8, c * 0.8, 0.0],
                [c * 0.7, s * 0.7, 0.0],
            ],
        }
    }

    #[test]
    fn what_a_scan_has_can_be_said() {
        let grid = DeclaredGrid::from(&oblique());
        assert_eq!(grid.spacing_mm, [1.5, 0.8, 0.7]);
        assert_eq!(grid.origin_mm, [-120.123_457, 0.0, 33.0]);
        assert_eq!(grid.direction[0], [0.0, 0.0, 1.0]);
        assert!(grid.geometry().same_grid(&oblique(), 1e-5));
        // Saying it again changes nothing.
        assert_eq!(DeclaredGrid::from(&grid.geometry()), grid);
        let shown = grid.to_string();
        assert_eq!(shown, "3 x 4 x 5 voxels of 1.5 x 0.8 x 0.7 mm from (-120.123457, 0, 33) mm");
    }

    #[test]
    fn no_grid_is_one_without_space() {
        let grid = DeclaredGrid::from(&oblique());
        assert!(grid.check().is_ok());
        let field = |grid: DeclaredGrid| grid.check().unwrap_err().field;
        let mut long = grid;
        long.direction[1] = [0.0, 1.0, 0.5];
        assert_eq!(field(long), "grid.direction");
        let mut flat = grid;
        flat.direction[1] = flat.direction[2];
        assert_eq!(field(flat), "grid");
        assert_eq!(field(DeclaredGrid { size: [65_536; 3], ..grid }), "grid");
        assert_eq!(field(DeclaredGrid { spacing_mm: [f64::NAN; 3], ..grid }), "grid");
    }
}
