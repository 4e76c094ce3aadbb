//! How much memory an action will hold.

use tomoflow_connectors::Geometry;

use super::load::Context;
use super::maps;
use super::work::Action;
use crate::operators::cases::declared_grid::DeclaredGrid;
use crate::pipeline::Plan;

/// What an action holds at its peak: intensities, labels, a transformed copy, and the pieces between.
pub(super) fn bytes(context: &Context, action: &Action) -> u64 {
    let voxels = |size: [usize; 3]| size.iter().map(|&n| n as u64).product::<u64>();
    let work = &action.work;
    let Some(series) = work.series() else {
        let prepared = work.members().into_iter().flatten().filter_map(|member| member.prepared);
        let files = prepared.filter_map(|digest| std::fs::metadata(context.artifacts.path(digest)).ok());
        return files.map(|file| file.len()).sum();
    };
    let original = Geometry::from(&series.grid);
    let finest = finest(&context.plan, usize::from(action.stage), &original);
    // Two masks are in the count already.
    let more = work.artifacts().len().saturating_sub(2) as u64;
    // Packed maps on both grids, and one of them unpacked.
    let keeps_maps =
        !work.models().is_empty() && maps::wanted(&context.plan, usize::from(action.stage)).any();
    let maps = if keeps_maps { 3 } else { 0 };
    (14 + 2 * more + maps) * voxels(original.size) + (14 + maps) * finest
}

/// Voxels of the largest grid on the way to a stage.
fn finest(plan: &Plan, stage: usize, original: &Geometry) -> u64 {
    let stages = &plan.stages;
    let (mut at, mut chain) = (stage, Vec::new());
    while let Some(&input) = stages[at].inputs.first() {
        at = input;
        chain.push(&stages[at]);
    }
    let mut spacing_mm = original.spacing_mm();
    let mut size = original.size.map(|n| n as f64);
    let mut largest = size.iter().product::<f64>();
    for stage in chain.into_iter().rev() {
        let lengths = |field: &str| {
            serde_json::from_value::<[f64; 3]>(stage.config.get(field).cloned().unwrap_or_default()).ok()
        };
        match stage.spec.name {
            "resample" if stage.config.get("grid").is_some_and(serde_json::Value::is_object) => {
                let grid = stage.config.get("grid").cloned().unwrap_or_default();
                if let Ok(grid) = serde_json::from_value::<DeclaredGrid>(grid) {
                    (size, spacing_mm) = (grid.size.map(|n| n as f64), grid.spacing_mm);
                }
            }
            "resample" => {
                let smallest = spacing_mm.into_iter().fold(f64::INFINITY, f64::min);
                let new_mm = lengths("spacing_mm").unwrap_or([smallest; 3]);
                size = [0, 1, 2].map(|axis| size[axis] * spacing_mm[axis] / new_mm[axis]);
                spacing_mm = new_mm;
            }
            "pad" => {
                let voxels = |mm: [f64; 3]| [0, 1, 2].map(|axis| mm[axis] / spacing_mm[axis]);
                let wanted = lengths("size").or_else(|| lengths("size_mm").map(voxels)).unwrap_or(size);
                size = [0, 1, 2].map(|axis| size[axis].max(wanted[axis]));
            }
            _ => {}
        }
        // A grid without lengths is refused where it is resampled.
        let voxels: f64 = size.iter().product();
        largest = if voxels.is_finite() { largest.max(voxels) } else { largest };
    }
    largest.ceil() as u64
}
