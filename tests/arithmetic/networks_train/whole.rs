//! Validation on whole cases: what it says is what inference finds, and it decides which weights are kept.

use tomoflow::networks::WholeCase;

use super::*;

/// A case: its name, its intensities and its classes.
type Case = (String, Vec<f32>, Vec<u8>);

/// Cases larger than a sample: boxes below, and planes of noise above, all that samples show.
struct Cases(Vec<Case>);

const WHOLE: [usize; 3] = [2 * SIZE[0], SIZE[1], SIZE[2]];

impl Cases {
    fn new(numbers: std::ops::Range<usize>) -> Self {
        let case = |index: usize| {
            let (mut voxels, mut truth) = boxes(index);
            let planes = voxels.len();
            voxels.extend((0..planes).map(|at| (at * 31 % 17) as f32 / 17.0 - 0.5));
            truth.resize(2 * planes, 0);
            (format!("case {index}"), voxels, truth)
        };
        Self(numbers.map(case).collect())
    }
}

impl SampleSource for Cases {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn sample(&self, index: usize, _epoch: u64, _seed: u64) -> Result<Sample, String> {
        let (_, voxels, truth) = &self.0[index];
        let above = SIZE.iter().product();
        let (input, classes) = (voxels[above..].to_vec(), truth[above..].to_vec());
        Ok(Sample { input, shape: [1, SIZE[0], SIZE[1], SIZE[2]], target: Target::Classes(classes) })
    }

    fn cases(&self) -> Vec<WholeCase<'_>> {
        self.0
            .iter()
            .map(|(name, voxels, classes)| WholeCase { name, voxels, size: WHOLE, classes, unknown: &[] })
            .collect()
    }
}

fn train_on(
    settings: &TrainSettings,
    validation: &dyn SampleSource,
    folder: &Path,
    watch: &mut Watch,
) -> Result<Trained, NetworkError> {
    set_threads(1);
    let (checkpoint_every, device) = (Duration::from_secs(3600), Device::CPU);
    let running = Running { checkpoint: folder, checkpoint_every, readers: 1, device };
    train(settings, &task(), &Boxes(10), validation, &running, watch)
}

fn by_cases() -> TrainSettings {
    TrainSettings { epochs: 5, validate: Validate::Cases, ..settings() }
}

/// The mean Dice of a model's masks of whole cases.
fn dice(model: &[u8], cases: &Cases) -> f64 {
    let model = Model::from_safetensors(model, Device::CPU).unwrap();
    let of_case = |(_, voxels, truth): &Case| {
        let found = model.segment(voxels, WHOLE, &InferOptions::default()).unwrap();
        let both = found.iter().zip(truth).filter(|(a, b)| **a == 1 && **b == 1).count();
        let all = found.iter().filter(|a| **a == 1).count() + truth.iter().filter(|b| **b == 1).count();
        2.0 * both as f64 / all as f64
    };
    cases.0.iter().map(of_case).sum::<f64>() / cases.0.len() as f64
}

#[test]
fn the_figure_is_that_of_masks_of_whole_cases_and_decides() {
    let (folder, cases) = (tempfile::tempdir().unwrap(), Cases::new(20..23));
    let trained = train_on(&by_cases(), &cases, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    let figures = values(&trained.figures, "validation", "dice");
    assert_eq!(figures.len(), 5);
    let best = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    assert!(best > 0.3, "{figures:?}");
    assert!((dice(&trained.safetensors, &cases) - best).abs() < 1e-9, "{figures:?}");
    // Samples hold nothing to find: by them no epoch says anything, or that nothing is right.
    let folder = tempfile::tempdir().unwrap();
    let samples = TrainSettings { validate: Validate::Samples, ..by_cases() };
    let by_samples = train_on(&samples, &cases, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    assert_ne!(values(&by_samples.figures, "validation", "dice"), figures);
    // Training itself is the same.
    let losses = |trained: &Trained| values(&trained.figures, "train", "loss");
    assert_eq!(losses(&trained), losses(&by_samples));
}

#[test]
fn resumed_is_undisturbed_to_the_byte() {
    let (undisturbed, cases) = (tempfile::tempdir().unwrap(), Cases::new(20..23));
    let expected = train_on(&by_cases(), &cases, undisturbed.path(), &mut Watch::new(u64::MAX)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Within an epoch, within a validation, and once more.
    for stop_after in [2, 4, 9] {
        let error = train_on(&by_cases(), &cases, folder.path(), &mut Watch::new(stop_after)).unwrap_err();
        assert!(matches!(error, NetworkError::Cancelled { .. }), "{error}");
    }
    let mut watch = Watch::new(u64::MAX);
    let resumed = train_on(&by_cases(), &cases, folder.path(), &mut watch).unwrap();
    assert!(watch.seen.len() < resumed.figures.len(), "it began anew");
    assert!(resumed == expected, "the resumed training ended elsewhere");
}

#[test]
fn a_source_of_samples_alone_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let error = train_on(&by_cases(), &Boxes(2), folder.path(), &mut Watch::new(u64::MAX)).unwrap_err();
    assert!(matches!(&error, NetworkError::Config { field, .. } if field == "validate"), "{error}");
    // Without anybody to validate on the last weights are kept, as ever.
    let folder = tempfile::tempdir().unwrap();
    let none = train_on(&by_cases(), &Boxes(0), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    assert!(values(&none.figures, "validation", "dice").is_empty());
}
