//! Whether windows may reach beyond a scan: what a network is shown there is then part of its mask's key.

use tomoflow_connectors::{Digest, Geometry};

use super::work::Grid;
use crate::networks::InputView;
use crate::operators::models::origin::{ModelFile, ModelSource};
use crate::operators::registry::Stage;
use crate::operators::samples::view::Input;
use crate::pipeline::{Plan, PlannedStage};

/// Transforms that say exactly what grid they give ([`Transform::grid`](crate::operators::registry::Transform::grid)).
const EXACT: [&str; 8] =
    ["zscore", "percentiles", "window", "clip", "histogram_match", "resample", "pad", "reorient"];

/// The windows of an inference whose networks were trained here: these are shown a scan's lowest intensity around it.
#[derive(Clone, Debug, PartialEq)]
pub enum Windows {
    /// It has none: its networks see slices, or zeros around a scan.
    None,
    /// The windows have at most so many voxels.
    UpTo([usize; 3]),
    /// The windows have these lengths in mm: voxels follow from the spacing that all scans of a training have
    /// in common.
    Mm([f64; 3]),
    /// The windows may have any size.
    Any,
}

impl Windows {
    fn of(plan: &Plan, infer: usize) -> Self {
        let stage = &plan.stages[infer];
        let Stage::Infer(built) = &stage.stage else { return Self::None };
        match &built.model {
            ModelSource::Files(files) => {
                let ours = files.iter().any(|file| matches!(file, ModelFile::Safetensors { .. }));
                // The card says it, which is read with the model.
                if ours { Self::Any } else { Self::None }
            }
            ModelSource::Stages(_) => {
                stage.named().map(|train| Self::of_training(plan, train)).fold(Self::None, Self::or)
            }
        }
    }

    fn of_training(plan: &Plan, train: usize) -> Self {
        match &plan.stages[plan.samples(train).0].stage {
            Stage::View(view) => match &view.input {
                Input::Voxels(InputView::Patch { size }) => Self::UpTo(*size),
                Input::Voxels(_) => Self::None,
                Input::PatchMm(lengths) => Self::Mm(*lengths),
            },
            _ => Self::Any,
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, one) | (one, Self::None) => one,
            (Self::UpTo(a), Self::UpTo(b)) => Self::UpTo(std::array::from_fn(|axis| a[axis].max(b[axis]))),
            (one, other) if one == other => one,
            _ => Self::Any,
        }
    }
}

/// Tells whether an inference's windows may reach beyond a scan.
#[derive(Clone, Debug)]
pub struct Reach {
    windows: Windows,
    /// What stands between the assembled scan and the network.
    transforms: Vec<PlannedStage>,
}

impl Reach {
    /// Returns the reach of a stage of type `infer`.
    pub fn of(plan: &Plan, infer: usize) -> Self {
        let transforms = plan.regridded(plan.stages[infer].inputs[0]);
        let transforms = transforms.into_iter().map(|stage| plan.stages[stage].clone()).collect();
        Self { windows: Windows::of(plan, infer), transforms }
    }

    /// The inference's digest ([`keys::operator`](super::keys::operator)) for a scan as it was assembled: another one
    /// where a network may be shown what lies around the scan, which was zeros once.
    pub fn operator(&self, operator: Digest, grid: &Grid) -> Digest {
        if self.beyond(grid) { Digest::of_parts([operator.0.as_slice(), b"lowest around"]) } else { operator }
    }

    fn beyond(&self, grid: &Grid) -> bool {
        let mut geometry = Geometry::from(grid);
        for stage in &self.transforms {
            match &stage.stage {
                Stage::Transform(transform) if EXACT.contains(&stage.spec.name) => {
                    geometry = transform.grid(&geometry);
                }
                _ => return self.windows != Windows::None,
            }
        }
        let spacing_mm = geometry.spacing_mm();
        let windows: [f64; 3] = match self.windows {
            Windows::None => return false,
            Windows::Any => return true,
            Windows::UpTo(voxels) => voxels.map(|voxels| voxels as f64),
            Windows::Mm(lengths) => std::array::from_fn(|axis| (lengths[axis] / spacing_mm[axis]).round()),
        };
        // A length that is no number is none.
        let within = |(size, window): (usize, f64)| window <= size as f64;
        !geometry.size.into_iter().zip(windows).all(within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(windows: Windows) -> Reach {
        Reach { windows, transforms: Vec::new() }
    }

    #[test]
    fn only_where_a_window_may_be_larger_is_the_key_another() {
        let grid = Grid::from(&Geometry::axis_aligned([8, 32, 40], [3.0, 1.0, 1.0]));
        let operator = Digest::of(b"operator");
        for (windows, other) in [
            (Windows::None, false),
            (Windows::UpTo([8, 32, 40]), false),
            (Windows::UpTo([9, 1, 1]), true),
            (Windows::UpTo([1, 1, 41]), true),
            (Windows::Any, true),
        ] {
            assert_eq!(reach(windows.clone()).operator(operator, &grid) != operator, other, "{windows:?}");
        }
    }

    #[test]
    fn of_several_networks_the_largest_window_counts() {
        let small = || Windows::UpTo([1, 9, 1]);
        assert_eq!(small().or(Windows::UpTo([4, 2, 2])), Windows::UpTo([4, 9, 2]));
        assert_eq!(Windows::None.or(small()), small());
        assert_eq!(small().or(Windows::Any), Windows::Any);
        assert_eq!(Windows::None.or(Windows::None), Windows::None);
    }
}
