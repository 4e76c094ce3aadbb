//! How much memory an action will hold.

use tomoflow_connectors::Geometry;

use super::library::OnDisk;
use super::load::Context;
use super::maps;
use super::room::Room;
use super::work::{Action, Work};
use crate::operators::registry::Stage;
use crate::pipeline::Plan;

/// Returns the bytes that an action holds at its peak: intensities, labels, a transformed copy, and the
/// pieces between.
pub fn bytes(context: &Context, action: &Action) -> u64 {
    let work = &action.work;
    let Some(series) = work.series() else {
        return Room::of(context, action.stage.place(), work.members().unwrap_or_default()).bytes;
    };
    let original = Geometry::from(&series.grid);
    let largest = largest(&context.plan, action, &original);
    // Two masks are in the count already.
    let more = work.artifacts().len().saturating_sub(2) as u64;
    // Packed maps on both grids, and one of them unpacked.
    let keeps_maps = !work.models().is_empty() && maps::wanted(&context.plan, action.stage.place()).any();
    let maps = if keeps_maps { 3 } else { 0 };
    // The marks of the voxels that pad the scan, and the values in their place.
    let padded = if series.is_padded() { 8 } else { 0 };
    let on_original = (14 + 2 * more + maps + padded).saturating_mul(voxels(&original));
    let one = on_original.saturating_add((14 + maps).saturating_mul(largest));
    one.saturating_add(others(&context.plan, action, largest))
        .saturating_add(refined(context, action, largest))
        .saturating_add(fusing(context, action, largest))
}

/// Returns the bytes that mending probabilities holds: of each class two numbers of 64 bits and a byte, and
/// such a number for each channel.
fn refined(context: &Context, action: &Action, largest: u64) -> u64 {
    let Work::Refine { case, maps: artifact } = &action.work else { return 0 };
    let classes = 1 + maps::count_in(&context.artifacts.path(*artifact)) as u64;
    let channels = case.beside.as_ref().map_or(1, |beside| beside.names.len() as u64);
    largest.saturating_mul(classes.saturating_mul(17).saturating_add(channels.saturating_mul(8)))
}

/// Returns the bytes that atlases hold that are brought to a scan of so many voxels.
fn fusing(context: &Context, action: &Action, voxels: u64) -> u64 {
    let Stage::Fuse(fuse) = &context.plan.stages[action.stage.place()].stage else { return 0 };
    let libraries = action.work.models().iter().filter_map(|library| OnDisk::open(context, *library).ok());
    fuse.bytes(voxels, libraries.map(|library| library.largest()).max().unwrap_or(0))
}

/// Returns the bytes that the channels beside the first hold: each on its own grid, on that of the first, and
/// once more after a transform.
fn others(plan: &Plan, action: &Action, largest: u64) -> u64 {
    let Some(case) = action.work.case().filter(|_| action.work.reads_scan()) else { return 0 };
    let beside = case.beside.iter().flat_map(|beside| &beside.others);
    let beside = beside.map(|other| {
        let own = other.series.as_ref().map_or(0, |series| voxels(&Geometry::from(&series.grid)));
        (u64::from(other.channels), own)
    });
    // Channels of one file have one grid.
    let within = plan.channels(plan.origin(action.stage.place())).len().saturating_sub(1) as u64;
    let within = (within > 0).then(|| (within, voxels(&Geometry::from(&case.series.grid))));
    let bytes = |(channels, own): (u64, u64)| {
        let each = own.saturating_mul(14).saturating_add(largest.saturating_mul(8));
        each.saturating_mul(channels)
    };
    beside.chain(within).map(bytes).fold(0, u64::saturating_add)
}

/// Returns the voxels of the largest grid on the way of a case to an action, by what each transform says of
/// itself.
fn largest(plan: &Plan, action: &Action, original: &Geometry) -> u64 {
    let stages = &plan.stages;
    let mut at = action.stage.place();
    // A transform that is kept runs itself; any other stage takes what stands before it.
    let mut chain = if action.work.prepares() { vec![&stages[at]] } else { Vec::new() };
    while let Some(&input) = stages[at].inputs.get(plan.takes_cases_from(at)) {
        at = input;
        chain.push(&stages[at]);
    }
    let (mut grid, mut largest) = (original.clone(), voxels(original));
    for stage in chain.into_iter().rev() {
        if let Stage::Transform(transform) = &stage.stage {
            grid = transform.grid(&grid);
            largest = largest.max(voxels(&grid));
        }
    }
    largest
}

fn voxels(grid: &Geometry) -> u64 {
    grid.size.iter().fold(1, |voxels, &n| voxels.saturating_mul(n as u64))
}
