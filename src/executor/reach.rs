//! Whether windows may reach beyond a scan: what a network is shown there is then part of its mask's key.

use tomoflow_connectors::{Digest, Geometry};

use super::work::Grid;
use crate::networks::InputView;
use crate::operators::models::origin::{ModelFile, ModelSource};
use crate::operators::registry::Stage;
use crate::operators::samples::view::Input;
use crate::pipeline::{Plan, PlannedStage};

/// Lengths that are rounded on the way may be so many voxels less.
const SLACK: f64 = 2.0;

/// Transforms that leave a scan's grid as it is.
const SAME_GRID: [&str; 5] = ["zscore", "percentiles", "window", "clip", "histogram_match"];

/// The windows of an inference whose networks were trained here: these are shown a scan's lowest intensity around it.
#[derive(Clone, Debug, PartialEq)]
pub enum Windows {
    /// It has none: its networks see slices, or zeros around a scan.
    None,
    /// Of so many voxels at most.
    UpTo([usize; 3]),
    /// Of any size.
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
                Input::PatchMm(_) => Self::Any,
            },
            _ => Self::Any,
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, one) | (one, Self::None) => one,
            (Self::UpTo(a), Self::UpTo(b)) => Self::UpTo(std::array::from_fn(|axis| a[axis].max(b[axis]))),
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
    /// Of a stage of type `infer`.
    pub fn of(plan: &Plan, infer: usize) -> Self {
        let (transforms, _) = plan.transforms(plan.stages[infer].inputs[0]);
        let transforms = transforms.into_iter().map(|stage| plan.stages[stage].clone()).collect();
        Self { windows: Windows::of(plan, infer), transforms }
    }

    /// The inference's digest ([`keys::operator`](super::keys::operator)) for a scan as it was assembled: another one
    /// where a network may be shown what lies around the scan, which was zeros once.
    pub fn operator(&self, operator: Digest, grid: &Grid) -> Digest {
        if self.beyond(grid) { Digest::of_parts([operator.0.as_slice(), b"lowest around"]) } else { operator }
    }

    fn beyond(&self, grid: &Grid) -> bool {
        let windows = match &self.windows {
            Windows::None => return false,
            Windows::Any => return true,
            Windows::UpTo(windows) => windows,
        };
        let geometry = Geometry::from(grid);
        let (mut size, mut spacing_mm) = (geometry.size.map(|n| n as f64), geometry.spacing_mm());
        for stage in &self.transforms {
            let numbers = |field: &str| {
                let value = stage.config.get(field).cloned().unwrap_or_default();
                serde_json::from_value::<[f64; 3]>(value).ok()
            };
            let on_grid = stage.config.get("grid").is_some_and(serde_json::Value::is_object);
            match (stage.spec.name, numbers("spacing_mm")) {
                // It only adds.
                ("pad", _) => {}
                ("resample", Some(new_mm)) if !on_grid => {
                    size = std::array::from_fn(|i| size[i] * spacing_mm[i] / new_mm[i] - SLACK);
                    spacing_mm = new_mm;
                }
                (name, _) if SAME_GRID.contains(&name) => {}
                _ => return true,
            }
        }
        // A length that is no number is none.
        size.iter()
            .zip(windows)
            .any(|(length, window)| length.partial_cmp(&(*window as f64)).is_none_or(|o| o.is_lt()))
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
