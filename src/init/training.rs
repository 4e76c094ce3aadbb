//! Samples, network and training of a pipeline, from the plan.

use super::Wishes;
use super::archive::{Archive, Block};
use super::budget::{budget, operations};
use super::grids::Grids;
use super::planning::{Configuration, FINEST, Planned, Topology};
use super::toml;

/// The divisor by which a network without a GPU has fewer features than nnU-Net's.
const SHARE_ON_CPU: usize = 4;
/// Levels that a network has at most.
const LEVELS: usize = 8;
/// Samples of each case in an epoch.
const PER_CASE: usize = 2;
/// The share of cases that are trained on.
const TRAINED: f64 = 0.7;

/// The network along `[D, H, W]`.
struct Network {
    patch: [usize; 3],
    kernels: Vec<[usize; 3]>,
    pools: Vec<[usize; 3]>,
    features: Vec<usize>,
    batch: usize,
    operations: f64,
}

/// The lengths of a plan's axes along `[D, H, W]`.
fn along(planned: &Planned, lengths: &[usize]) -> [usize; 3] {
    let mut found = [1; 3];
    // The first axis of a slice is left out.
    let axes = planned.transpose.iter().skip(3 - lengths.len().min(3));
    for (axis, length) in axes.zip(lengths) {
        found[*axis] = *length;
    }
    found
}

impl Network {
    fn of(planned: &Planned, gpu: bool) -> Self {
        let Configuration { topology, features, batch, patch, .. } =
            planned.volume.as_ref().unwrap_or(&planned.slice);
        let share = if gpu { 1 } else { SHARE_ON_CPU };
        let levels = topology.kernels.len().min(LEVELS);
        let features: Vec<usize> =
            features.iter().take(levels).map(|features| (features / share).max(1)).collect();
        let strides = topology.strides.iter().skip(1).take(levels - 1);
        let kept = Topology { strides: topology.strides[..levels].to_vec(), ..topology.clone() };
        Self {
            patch: along(planned, patch),
            kernels: topology.kernels.iter().take(levels).map(|kernel| along(planned, kernel)).collect(),
            pools: strides.map(|stride| along(planned, stride)).collect(),
            operations: operations(&kept, &features),
            features,
            batch: *batch,
        }
    }

    /// The network as `train` takes it.
    fn toml(&self) -> String {
        let all = |lengths: &[[usize; 3]], one: [usize; 3]| lengths.iter().all(|other| *other == one);
        if all(&self.kernels, [3; 3]) && all(&self.pools, [2; 3]) {
            let (levels, channels) = (self.features.len(), toml::list(&self.features));
            return format!("{{ type = \"unet\", dims = \"3d\", levels = {levels}, channels = {channels} }}");
        }
        let pools = self.pools.iter().copied().chain([[1; 3]]);
        let levels = self.features.iter().zip(&self.kernels).zip(pools).map(|((channels, kernel), pool)| {
            let (kernel, pool) = (toml::list(kernel), toml::list(pool));
            format!("{{ channels = {channels}, kernel = {kernel}, pool = {pool} }}")
        });
        let levels: Vec<String> = levels.collect();
        format!("{{ type = \"unet\", levels = [\n    {},\n] }}", levels.join(",\n    "))
    }
}

/// Whether labels name sides, which mirroring would exchange.
fn has_sides(labels: &[String]) -> bool {
    let word = |label: &String| {
        let small = label.to_ascii_lowercase();
        small
            .split(|letter: char| !letter.is_alphanumeric())
            .any(|word| ["left", "right", "l", "r"].contains(&word))
    };
    labels.iter().any(word)
}

/// The operators from samples to a model; `input` gives scans on one scale.
pub fn blocks(archive: &Archive, grids: &Grids, wishes: &Wishes, input: &str) -> Vec<Block> {
    let Some(planned) = &grids.planned else { return Vec::new() };
    let network = Network::of(planned, wishes.gpu);
    vec![samples(archive, grids, wishes, input, &network), net(archive, wishes, &network)]
}

fn samples(archive: &Archive, grids: &Grids, wishes: &Wishes, input: &str, network: &Network) -> Block {
    let memory = toml::number(wishes.gigabytes);
    let block = Block::new("operators.samples", "patches")
        .why(format!(
            "nnU-Net's rule: windows in the shape of the median scan ({}), as large as {memory} GB of memory for the \
             training allow. Half of them lie around a voxel with a label.",
            grids.fingerprint
        ))
        .with("inputs", toml::list([toml::text(input)]))
        .with("size", toml::list(network.patch))
        .with("per_case", PER_CASE.to_string());
    match has_sides(&archive.labels) {
        true => {
            block.why("Labels name sides of the body, so that nothing is mirrored.").with("flip", "false")
        }
        false => block,
    }
}

fn net(archive: &Archive, wishes: &Wishes, network: &Network) -> Block {
    let batch = if wishes.gpu { network.batch } else { 2 };
    let trained = ((archive.labelled() as f64 * TRAINED).round() as usize).max(1);
    let budget = budget(trained * PER_CASE, network.operations, wishes.gpu);
    let minutes = budget.minutes.ceil();
    let time = if minutes >= 120.0 {
        format!("{} hours", (minutes / 60.0).round())
    } else {
        format!("{minutes} minutes")
    };
    let size = match wishes.gpu {
        true => format!("channels begin with {FINEST} as there"),
        false => format!(
            "channels begin with {} and not {FINEST}, since there is no GPU here: a first result, not the best one",
            FINEST / SHARE_ON_CPU
        ),
    };
    let block = Block::new("operators.net", "train")
        .why(format!(
            "A U-Net by nnU-Net's rule: axes are halved until they have 4 voxels, and those that are coarser than the \
             others wait until the others are as coarse; {size}."
        ))
        .why(format!("{} epochs are roughly {time} here; more of them teach it more.", budget.epochs))
        .with("inputs", toml::list([toml::text("samples")]))
        .with("network", network.toml())
        .with("loss", "{ type = \"dice_ce\" }")
        .with("epochs", budget.epochs.to_string())
        .with("batch", batch.to_string())
        .with("learning_rate", "1e-3")
        .with("schedule", "{ type = \"polynomial\" }");
    match &archive.split {
        Some(split) => block
            .why(
                "nnU-Net's file of folds says who is trained on; patients whom it does not name are tested \
                  on.",
            )
            .with("split", split),
        None => block
            .why(
                "Patients are assigned by a hash of seed and name, and all cases of a patient are in one \
                  part.",
            )
            .with("split", "{ train = 0.7, validation = 0.1, test = 0.2, seed = 1 }"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::planning::Fingerprint;
    use super::*;

    fn network(spacing: [f64; 3], size: [usize; 3]) -> Network {
        let fingerprint = Fingerprint { spacings_mm: vec![spacing; 20], sizes: vec![size; 20], classes: 2 };
        Network::of(&fingerprint.plan(8.0).unwrap(), true)
    }

    #[test]
    fn levels_follow_the_axes_of_the_scan() {
        let found = network([1.0, 1.0, 5.0], [128, 128, 16]);
        assert_eq!(found.kernels[0], [3, 3, 1]);
        assert_eq!(found.pools[0], [2, 2, 1]);
        assert!(
            found
                .toml()
                .starts_with("{ type = \"unet\", levels = [\n    { channels = 32, kernel = [3, 3, 1]")
        );
        let even = network([1.0; 3], [64; 3]);
        assert_eq!(
            even.toml(),
            "{ type = \"unet\", dims = \"3d\", levels = 5, channels = [32, 64, 128, 256, 320] }"
        );
    }

    #[test]
    fn a_slice_has_a_flat_network() {
        let found = network([1.0; 3], [1, 256, 256]);
        assert_eq!(found.patch[0], 1);
        assert!(found.kernels.iter().all(|kernel| kernel[0] == 1));
        assert!(found.pools.iter().all(|pool| pool[0] == 1));
    }

    #[test]
    fn sides_are_words_of_a_label() {
        let sides = |label: &str| has_sides(&[label.to_owned()]);
        assert!(sides("kidney_left") && sides("Cochlea R") && !sides("liver") && !sides("brightest"));
    }
}
