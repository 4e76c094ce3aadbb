//! What was interrupted ends as if it had not been: bit for bit, wherever it was cut off.

use super::*;

#[test]
fn resumed_is_undisturbed_bit_for_bit() {
    let undisturbed = tempfile::tempdir().unwrap();
    let expected = run(&settings(), &Boxes(10), undisturbed.path(), &mut Watch::new(u64::MAX)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Within the second epoch, in the validation of a later one, and once more.
    for stop_after in [5, 6, 4] {
        let error = run(&settings(), &Boxes(10), folder.path(), &mut Watch::new(stop_after)).unwrap_err();
        assert!(matches!(error, NetworkError::Cancelled { .. }), "{error}");
    }
    let mut watch = Watch::new(u64::MAX);
    let resumed = run(&settings(), &Boxes(10), folder.path(), &mut watch).unwrap();
    assert!(watch.seen.len() < resumed.figures.len(), "it began anew");
    assert!(resumed == expected, "the resumed training ended elsewhere");
    // A finished training is only read back.
    let again = run(&settings(), &Boxes(10), folder.path(), &mut Watch::new(0)).unwrap();
    assert!(again == expected);
}

#[test]
fn dropout_resumes_bit_for_bit_beside_another_training() {
    let settings = vs_seg(Attention::Supervised, LossConfig::HardnessDice(HardnessDiceLoss { lambda: 0.6 }));
    let other = TrainSettings { seed: 4, ..settings.clone() };
    let undisturbed = tempfile::tempdir().unwrap();
    let expected = run(&settings, &Boxes(6), undisturbed.path(), &mut Watch::new(u64::MAX)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let folder = tempfile::tempdir().unwrap();
            run(&other, &Boxes(6), folder.path(), &mut Watch::new(u64::MAX)).unwrap()
        });
        assert!(run(&settings, &Boxes(6), folder.path(), &mut Watch::new(5)).is_err());
        let resumed = run(&settings, &Boxes(6), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
        assert!(resumed == expected, "the resumed training ended elsewhere");
        assert_ne!(beside.join().unwrap().safetensors, expected.safetensors);
    });
    // The masks are part of it: another share, another model.
    let NetworkSettings::Unet(unet) = settings.network.clone() else { panic!("a U-Net expected") };
    let whole = NetworkSettings::Unet(UnetSettings { dropout: Some(0.0), ..unet });
    let whole = TrainSettings { network: whole, ..settings };
    let folder = tempfile::tempdir().unwrap();
    let without = run(&whole, &Boxes(6), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    assert_ne!(without.safetensors, expected.safetensors);
    Model::from_safetensors(&without.safetensors, Device::CPU).unwrap();
}

/// Adam, two batches a step with a third left over, two epochs of five batches and validation.
fn small() -> TrainSettings {
    let schedule = Schedule::Cosine { warm_up: 2 };
    TrainSettings { epochs: 2, batch: 2, accumulate: 2, schedule, clip_norm: 0.5, ..settings() }
}

#[test]
fn stopped_after_any_batch_it_ends_alike() {
    let sgd = OptimizerConfig::Sgd { momentum: 0.9, nesterov: true };
    for settings in [small(), TrainSettings { optimizer: sgd, weights: Keep::Last, ..small() }] {
        let undisturbed = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(u64::MAX);
        let expected = run(&settings, &Boxes(9), undisturbed.path(), &mut watch).unwrap();
        let asked = watch.steps.into_inner();
        // Of each epoch five batches to train on and two to validate on.
        assert_eq!(asked, 2 * (5 + 2));
        for stop_after in 0..asked {
            let folder = tempfile::tempdir().unwrap();
            let error = run(&settings, &Boxes(9), folder.path(), &mut Watch::new(stop_after)).unwrap_err();
            assert!(matches!(error, NetworkError::Cancelled { .. }), "{error}");
            let mut rest = Watch::new(u64::MAX);
            let resumed = run(&settings, &Boxes(9), folder.path(), &mut rest).unwrap();
            assert!(resumed == expected, "stopped after {stop_after}, it ended elsewhere");
            // No batch is trained on twice; a validation begins anew.
            let (asked, again) = (asked - stop_after, rest.steps.into_inner());
            assert!((asked..asked + 2).contains(&again), "{again} batches after {stop_after}");
        }
        // And stopped after each single one.
        let folder = tempfile::tempdir().unwrap();
        let mut times = 0;
        let resumed = loop {
            match run(&settings, &Boxes(9), folder.path(), &mut Watch::new(1 + times % 3)) {
                Err(NetworkError::Cancelled { .. }) => times += 1,
                ended => break ended.unwrap(),
            }
        };
        assert!(times > 5 && resumed == expected);
    }
}

#[test]
fn a_rate_that_falls_at_named_steps_resumes_bit_for_bit() {
    let schedule = Schedule::Steps { at: vec![2.0, 0.75], factor: 0.1, warm_up: 2, warm_up_from: 1.0 / 3.0 };
    let settings = TrainSettings { schedule, ..small() };
    let trained = |settings: &TrainSettings| {
        let folder = tempfile::tempdir().unwrap();
        run(settings, &Boxes(9), folder.path(), &mut Watch::new(u64::MAX)).unwrap()
    };
    let expected = trained(&settings);
    // Within the warm-up, at the first fall, between the two, and behind the second.
    for stop_after in [1, 4, 8, 12] {
        let folder = tempfile::tempdir().unwrap();
        assert!(run(&settings, &Boxes(9), folder.path(), &mut Watch::new(stop_after)).is_err());
        let resumed = run(&settings, &Boxes(9), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
        assert!(resumed == expected, "stopped after {stop_after}, it ended elsewhere");
    }
    let constant = TrainSettings { schedule: Schedule::Constant { warm_up: 2 }, ..settings };
    assert_ne!(trained(&constant).safetensors, expected.safetensors);
}

/// Samples of which one, the last time it is asked for, ends the training without a word: a kill.
struct Killed {
    left: AtomicU64,
}

impl SampleSource for Killed {
    fn len(&self) -> usize {
        9
    }

    fn sample(&self, index: usize, epoch: u64, seed: u64) -> Result<Sample, String> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map_err(|_| "killed".to_owned())?;
        Boxes(9).sample(index, epoch, seed)
    }
}

#[test]
fn killed_anywhere_it_goes_on_from_its_last_checkpoint() {
    let every = Duration::ZERO;
    let undisturbed = tempfile::tempdir().unwrap();
    let expected = run(&small(), &Boxes(9), undisturbed.path(), &mut Watch::new(u64::MAX)).unwrap();
    for after in 0..18 {
        let folder = tempfile::tempdir().unwrap();
        let source = Killed { left: AtomicU64::new(after) };
        let mut watch = Watch::new(u64::MAX);
        let error = run_saving(&small(), &source, folder.path(), &mut watch, every, 1).unwrap_err();
        assert!(matches!(error, NetworkError::Sample { .. }), "{error}");
        // What was being written then is no checkpoint.
        std::fs::create_dir_all(folder.path()).unwrap();
        std::fs::write(folder.path().join("training.safetensors.partial"), b"cut").unwrap();
        let mut rest = Watch::new(u64::MAX);
        let resumed = run_saving(&small(), &Boxes(9), folder.path(), &mut rest, every, 3).unwrap();
        assert!(resumed == expected, "killed after {after} samples, it ended elsewhere");
        let whole = watch.steps.into_inner() + rest.steps.into_inner();
        assert!((14..=16).contains(&whole), "{whole} batches, 14 without a kill");
    }
}

#[test]
fn readers_change_nothing() {
    let trained = |readers| {
        let folder = tempfile::tempdir().unwrap();
        let (settings, every) = (small(), Duration::from_secs(60));
        run_saving(&settings, &Boxes(9), folder.path(), &mut Watch::new(u64::MAX), every, readers).unwrap()
    };
    let one = trained(1);
    assert!([2, 3, 8].into_iter().all(|readers| trained(readers) == one));
}

#[test]
fn a_checkpoint_that_does_not_fit_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let short = TrainSettings { epochs: 1, ..settings() };
    let first = run(&short, &Boxes(4), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    let other = TrainSettings { seed: 4, ..short.clone() };
    let second = run(&other, &Boxes(4), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    assert_ne!(first.safetensors, second.safetensors);
    let file = folder.path().join("training.safetensors");
    let whole = std::fs::read(&file).unwrap();
    // Cut off, one bit changed in the header and in the numbers, and not of this format at all.
    let mut flipped = [whole.clone(), whole.clone()];
    flipped[0][200] ^= 1;
    flipped[1][whole.len() - 7] ^= 1;
    let [header, numbers] = flipped;
    let damaged =
        [whole[..whole.len() / 2].to_vec(), header, numbers, b"cut off".to_vec(), second.safetensors];
    for bytes in damaged {
        std::fs::write(&file, bytes).unwrap();
        let third = run(&short, &Boxes(4), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
        assert!(third == first);
    }
}

/// Sound samples up to some epoch, then one that is none.
struct Spoilt;

impl SampleSource for Spoilt {
    fn len(&self) -> usize {
        6
    }

    fn name(&self, index: usize) -> String {
        format!("case {index}")
    }

    fn sample(&self, index: usize, epoch: u64, seed: u64) -> Result<Sample, String> {
        let mut sample = Boxes(6).sample(index, epoch, seed)?;
        if (epoch, index) == (2, 4) {
            sample.input[7] = f32::INFINITY;
        }
        Ok(sample)
    }
}

#[test]
fn a_spoilt_training_keeps_its_last_sound_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let settings = TrainSettings { batch: 2, ..settings() };
    let spoilt = || {
        let mut watch = Watch::new(u64::MAX);
        let every = Duration::ZERO;
        let error = run_saving(&settings, &Spoilt, folder.path(), &mut watch, every, 2).unwrap_err();
        (watch.steps.into_inner(), error.to_string())
    };
    let (steps, error) = spoilt();
    assert!(error.contains("case 4 holds 1 intensities") && !error.contains("case 3"), "{error}");
    // It stands before the batch that spoils it, and comes there at once.
    let (again, same) = spoilt();
    assert!(steps > 6 && again == 1 && same == error, "{steps} {again} {same}");
    // With sound samples in its place it goes on.
    let trained = run(&settings, &Boxes(6), folder.path(), &mut Watch::new(u64::MAX)).unwrap();
    assert!(trained.figures.iter().all(|figure| figure.value.is_finite()));
}
