//! Labels that hold others, learned as regions that overlap.

use tomoflow::networks::objectives::regions::Regions;
use tomoflow::networks::objectives::supervised::Supervised;
use tomoflow::networks::{Extensions, train_by};

use super::*;

/// Boxes with a brighter core: class 1 around class 2.
struct Cores(std::ops::Range<usize>);

fn core(index: usize) -> (Vec<f32>, Vec<u8>) {
    let (mut input, mut classes) = boxes(index);
    let (row, column) = (1 + index * 3 % 6, 1 + index * 5 % 6);
    for (at, (value, class)) in input.iter_mut().zip(&mut classes).enumerate() {
        let (h, w) = (at / SIZE[2] % SIZE[1], at % SIZE[2]);
        if (row + 1..row + 4).contains(&h) && (column + 1..column + 4).contains(&w) {
            (*value, *class) = (*value + 2.0, 2);
        }
    }
    (input, classes)
}

impl SampleSource for Cores {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn sample(&self, index: usize, _epoch: u64, _seed: u64) -> Result<Sample, String> {
        let (input, classes) = core(self.0.start + index);
        Ok(Sample { input, shape: [1, SIZE[0], SIZE[1], SIZE[2]], target: Target::Classes(classes) })
    }
}

const VALIDATION: std::ops::Range<usize> = 20..23;

fn trained(regions: bool, epochs: u64, folder: &Path, watch: &mut Watch) -> Result<Trained, NetworkError> {
    set_threads(1);
    let settings = TrainSettings { epochs, weights: Keep::Last, regions, ..settings() };
    let task = Task { label_names: vec!["box".to_owned(), "core".to_owned()], ..task() };
    let objective = Supervised::new(&settings, &task, &Extensions::default()).unwrap();
    let objective = match regions {
        true => objective.by_regions(Regions::new(&[vec![2], Vec::new()])),
        false => objective,
    };
    let running = Running {
        checkpoint: folder,
        checkpoint_every: Duration::from_secs(3600),
        readers: 1,
        device: Device::CPU,
    };
    train_by(&objective, &settings, &task, &Cores(0..12), &Cores(VALIDATION), &running, watch)
}

/// Dice of the box with its core, and of the core, over all samples to validate on.
fn dice(model: &[u8]) -> [f64; 2] {
    let model = Model::from_safetensors(model, Device::CPU).unwrap();
    let mut sums = [[0usize; 2]; 2];
    for index in VALIDATION {
        let (input, truth) = core(index);
        let found = model.segment(&input, SIZE, &InferOptions::default()).unwrap();
        for (sums, least) in sums.iter_mut().zip([1, 2]) {
            let inside = found.iter().zip(&truth).map(|(a, b)| (*a >= least, u16::from(*b) >= least));
            for (a, b) in inside {
                sums[0] += usize::from(a && b);
                sums[1] += usize::from(a) + usize::from(b);
            }
        }
    }
    sums.map(|[both, either]| 2.0 * both as f64 / either as f64)
}

#[test]
fn regions_are_learned_and_judged_as_they_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let found = trained(true, 14, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    let losses = values(&found.figures, "train", "loss");
    assert!(losses[13] < 0.8 * losses[0], "{losses:?}");
    let figure = |name: &str| *values(&found.figures, "validation", name).last().unwrap();
    let [whole, core] = dice(&found.safetensors);
    assert!(whole > 0.6, "{whole} {core}");
    for (name, wanted) in [("dice.box", whole), ("dice.core", core), ("dice", (whole + core) / 2.0)] {
        assert!((figure(name) - wanted).abs() < 1e-9, "{name}: {} for {wanted}", figure(name));
    }
    // It is another training than that of classes which exclude each other.
    let folder = tempfile::tempdir().unwrap();
    let classes = trained(false, 2, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let regions = trained(true, 2, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    assert_ne!(parameters(&classes.safetensors), parameters(&regions.safetensors));
}

#[test]
fn resumed_is_undisturbed_and_never_goes_on_from_the_other() {
    let undisturbed = tempfile::tempdir().unwrap();
    let expected = trained(true, 3, undisturbed.path(), &mut Watch::new(u64::MAX)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert!(trained(false, 3, folder.path(), &mut Watch::new(5)).is_err());
    assert!(trained(true, 3, folder.path(), &mut Watch::new(5)).is_err());
    assert!(trained(true, 3, folder.path(), &mut Watch::new(4)).is_err());
    assert!(trained(true, 3, folder.path(), &mut Watch::new(u64::MAX)).unwrap() == expected);
}
