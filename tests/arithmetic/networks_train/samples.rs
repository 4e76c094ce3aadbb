//! Samples that do not fit: refused by name, or taken one after another.

use super::*;

fn drawn(sample: &mut Sample) -> &mut Vec<u8> {
    match &mut sample.target {
        Target::Classes(classes) => classes,
        other => panic!("classes expected, {other:?} found"),
    }
}

/// Samples that change a good one.
struct Changed(fn(usize, &mut Sample));

impl SampleSource for Changed {
    fn len(&self) -> usize {
        3
    }

    fn sample(&self, index: usize, epoch: u64, seed: u64) -> Result<Sample, String> {
        let mut sample = Boxes(3).sample(index, epoch, seed)?;
        (self.0)(index, &mut sample);
        if sample.input.is_empty() { Err("case 1.2.3: no voxels".to_owned()) } else { Ok(sample) }
    }
}

fn refusal(change: fn(usize, &mut Sample)) -> NetworkError {
    let folder = tempfile::tempdir().unwrap();
    run(&settings(), &Changed(change), folder.path(), &mut Watch::new(u64::MAX)).unwrap_err()
}

#[test]
fn samples_that_do_not_fit_are_refused_by_name() {
    let cases: BTreeMap<&str, fn(usize, &mut Sample)> = BTreeMap::from([
        ("case 1.2.3: no voxels", (|_, s| s.input.clear()) as fn(usize, &mut Sample)),
        ("labels: 0 to 1 expected, 7 found", |_, s| drawn(s)[0] = 7),
        ("input voxels", |_, s| s.input.truncate(5)),
        ("label voxels", |_, s| drawn(s).truncate(5)),
        ("target: classes expected, nothing found", |_, s| s.target = Target::None),
        ("target: classes expected, instances found", |_, s| s.target = Target::Instances(Vec::new())),
        ("[1, D, H, W]", |_, s| s.shape[0] = 2),
    ]);
    for (words, change) in cases {
        let error = refusal(change).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_loss_that_is_no_number_names_its_step_and_its_samples() {
    let error = refusal(|index, sample| sample.input[0] = if index == 2 { f32::NAN } else { 0.0 });
    assert!(matches!(error, NetworkError::NotFinite { step: 0, epoch: 0, .. }), "{error}");
    let words = error.to_string();
    let (samples, hint) = words.split_once('\n').unwrap();
    assert!(samples.ends_with(": sample 2 holds 1 intensities that are not finite"), "{words}");
    assert!(samples.contains("loss") && hint.contains("learning_rate"), "{words}");
    // Finite, and too great for the network: all samples of the batch are named.
    let error = refusal(|_, sample| sample.input.iter_mut().for_each(|value| *value *= 3e38));
    let words = error.to_string();
    assert!((0..3).all(|index| words.contains(&format!("sample {index}"))), "{words}");
}

#[test]
fn samples_of_unequal_shape_go_through_one_after_another() {
    let folder = tempfile::tempdir().unwrap();
    let uneven = Changed(|index, sample| {
        if index == 1 {
            sample.shape = [1, 2, 12, 12];
            sample.input.truncate(2 * 144);
            drawn(sample).truncate(2 * 144);
        }
    });
    let trained = run(&settings(), &uneven, folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    let losses = values(&trained.figures, "train", "loss");
    assert!(losses[5] < losses[0], "{losses:?}");
}

#[test]
fn nobody_to_train_on_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = run(&settings(), &Boxes(0), folder.path(), &mut Watch::new(u64::MAX)).unwrap_err();
    assert!(error.to_string().contains("training samples: at least one expected"), "{error}");
}
