//! Brings a scan and its labels to another spacing, by the convention of a peer.

use std::sync::Arc;

use serde::Deserialize;
use tomoflow_connectors::{LabelMap, Scan};

use super::grid::{self, Convention, Order, Sampling};
use super::intensities;
use super::interpolate::{self, Taps};
use super::registry::{Entry, Stage, Transform};
pub use super::regrid::labels_to_grid;
use super::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use super::value::{Case, Failure};

/// What the type declares.
pub static SPEC: Spec = Spec {
    name: "resample",
    section: Section::Operators,
    summary: "Scans and their labels at another spacing.",
    doc: "Along the scan's own axes, oblique and sheared ones too; beyond the outermost voxel centres the \
          outermost voxel counts. Labels take the nearest voxel. Masks return to the scan's original grid \
          by themselves. Nothing is smoothed before, as in the peers.\n\n\
          `convention` says whose grid it is, for `n` voxels of `old` mm at `new` mm:\n\n\
          | convention | voxels | new voxel i lies at |\n\
          | --- | --- | --- |\n\
          | `monai` | round((n − 1)·old/new + 1) | i·new/old: first voxel centres coincide |\n\
          | `nnunet` | round(n·old/new) = m | (i + 0.5)·n/m − 0.5: extents coincide, the spacing is n·old/m |\n\
          | `torchio` | ceil(n·old/new) | (i + 0.5)·new/old − 0.5: extents begin together; a single slice stays as it is |\n\n\
          Halves round to even. `torchio` is TorchIO up to 0.19, but for a voxel past the far end, which is 0 \
          there. `nnunet` takes the nearest slice along an axis that is more than three \
          times as coarse as the finest one, before or after, unless two axes are the coarsest.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Both,
    fields: &[
        Field {
            name: "spacing_mm",
            kind: FieldKind::List {
                of: &FieldKind::Number { min: 0.01, max: 1000.0, unit: "mm" },
                len: Some(3),
            },
            default: Default::Required,
            role: Role::Semantic,
            doc: "The new spacing along `[D, H, W]`, in mm.",
        },
        Field {
            name: "convention",
            kind: FieldKind::Choice(&["monai", "nnunet", "torchio"]),
            default: Default::Json("\"monai\""),
            role: Role::Semantic,
            doc: "Whose output length and sampling positions are followed.",
        },
        Field {
            name: "order",
            kind: FieldKind::Choice(&["linear", "nearest"]),
            default: Default::Json("\"linear\""),
            role: Role::Semantic,
            doc: "How intensities between voxels are made; labels are always the nearest voxel's.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

/// A resampling.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Resample {
    /// Along `[D, H, W]`.
    pub spacing_mm: [f64; 3],
    /// Whose grid.
    pub convention: Convention,
    /// How intensities are made.
    pub order: Order,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let resample: Resample = super::read_config(config)?;
    Ok(Stage::Transform(Arc::new(resample)))
}

impl Resample {
    /// Where the new voxels of a scan lie among its old ones.
    fn samplings(&self, scan: &Scan) -> Result<[Sampling; 3], Failure> {
        let geometry = scan.geometry();
        grid::check(geometry)?;
        if let Some(mm) = self.spacing_mm.iter().find(|mm| !(mm.is_finite() && **mm > 0.0)) {
            let message = format!("a positive spacing expected, {mm} mm found");
            return Err(Failure::new("BAD_SPACING", message, "`spacing_mm` takes three lengths in mm"));
        }
        let old_mm = geometry.spacing_mm();
        let samplings = [0, 1, 2].map(|axis| {
            Sampling::new(self.convention, geometry.size[axis], old_mm[axis], self.spacing_mm[axis])
        });
        grid::check_size(&samplings)?;
        Ok(samplings)
    }

    fn scan(&self, scan: &Scan, samplings: &[Sampling; 3]) -> Result<Scan, Failure> {
        let mut orders = [self.order; 3];
        if self.convention == Convention::Nnunet
            && let Some(axis) = grid::separate_axis(scan.geometry().spacing_mm(), self.spacing_mm)
        {
            orders[axis] = Order::Nearest;
        }
        let axes = [0, 1, 2].map(|axis| grid::taps(&samplings[axis], orders[axis]));
        let voxels = if self.order == Order::Nearest {
            interpolate::nearest(scan.voxels(), scan.size(), &places(samplings))
        } else {
            interpolate::linear(scan.voxels(), scan.size(), &Taps::new(axes, scan.size()[2]))
        };
        if !intensities::all_finite(&voxels) {
            return Err(intensities::not_finite());
        }
        Scan::new(grid::resampled(scan.geometry(), samplings), voxels).map_err(misfit)
    }
}

fn places(samplings: &[Sampling; 3]) -> [Vec<u32>; 3] {
    [0, 1, 2].map(|axis| grid::taps(&samplings[axis], Order::Nearest).iter().map(|tap| tap.low).collect())
}

fn misfit(error: tomoflow_connectors::volume::SizeMismatch) -> Failure {
    Failure::new("GRID_MISMATCH", error.to_string(), "")
}

impl Transform for Resample {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        let samplings = self.samplings(&case.scan)?;
        if let Some(labels) = &case.labels {
            grid::check_same_size("labels", case.scan.size(), labels.size())?;
        }
        if samplings.iter().all(Sampling::is_identity) {
            return Ok(case.clone());
        }
        let scan = self.scan(&case.scan, &samplings)?;
        let labels = match &case.labels {
            Some(labels) => {
                let voxels = interpolate::nearest(labels.voxels(), labels.size(), &places(&samplings));
                Some(Arc::new(LabelMap::new(scan.geometry().clone(), voxels).map_err(misfit)?))
            }
            None => None,
        };
        Ok(Case { scan: Arc::new(scan), labels, ..case.clone() })
    }
}
