//! A training that begins with given weights takes those of its names and shapes, and leaves frozen ones as they are.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use tomoflow::networks::objectives::supervised::Supervised;
use tomoflow::networks::{Extensions, Loaded, Names, Sources, Start, train_from};

use super::*;

/// Looks on, and keeps what a training began with.
struct Begun(Option<Loaded>);

impl Observer for Begun {
    fn begun(&mut self, loaded: &Loaded) {
        self.0 = Some(loaded.clone());
    }

    fn figure(&mut self, _: &Figure) {}

    fn cancelled(&self) -> bool {
        false
    }
}

fn begun_with(start: &Start, settings: &TrainSettings) -> Result<(Trained, Loaded), NetworkError> {
    set_threads(1);
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint_every, device) = (Duration::from_secs(3600), Device::CPU);
    let running = Running { checkpoint: folder.path(), checkpoint_every, readers: 1, device };
    let objective = Supervised::new(settings, &task(), &Extensions::default())?;
    let sources = Sources { train: &Boxes(8), unlabelled: None, validation: &Boxes(3) };
    let mut watch = Begun(None);
    let trained = train_from(Some(start), &objective, settings, &task(), sources, &running, &mut watch)?;
    Ok((trained, watch.0.unwrap()))
}

fn trained(settings: &TrainSettings) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    run(settings, &Boxes(8), folder.path(), &mut Watch::new(u64::MAX)).unwrap().safetensors
}

/// By name the shape and numbers.
fn tensors(bytes: &[u8]) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let numbers = |view: &TensorView<'_>| {
        view.data().as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect()
    };
    file.tensors().into_iter().map(|(name, view)| (name, (view.shape().to_vec(), numbers(&view)))).collect()
}

fn written(tensors: &[(String, Vec<usize>, Dtype, Vec<u8>)]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, shape, dtype, bytes)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    serialize(views, None::<HashMap<String, String>>).unwrap()
}

/// One epoch without a step: what comes out is what went in, but for running statistics.
fn still() -> TrainSettings {
    TrainSettings { epochs: 1, learning_rate: 0.0, weight_decay: 0.0, weights: Keep::Last, ..settings() }
}

#[test]
fn all_weights_of_a_model_are_taken() {
    let first = trained(&TrainSettings { epochs: 2, ..settings() });
    let start = Start::read(&first, "`base`", &Names::Same).unwrap();
    let (model, loaded) = begun_with(&start, &TrainSettings { seed: 99, ..still() }).unwrap();
    assert!(loaded.is_whole() && loaded.missing.is_empty(), "{loaded}");
    assert_eq!(loaded.numbers[0], loaded.numbers[1]);
    let (before, after) = (tensors(&first), tensors(&model.safetensors));
    assert_eq!(before.len(), loaded.loaded.len());
    for (name, (shape, numbers)) in &before {
        if !(name.ends_with("mean") || name.ends_with("variance")) {
            assert_eq!((shape, numbers), (&after[name].0, &after[name].1), "{name}");
        }
    }
    let figure = |name: &str| model.figures.iter().find(|figure| figure.name == name).unwrap();
    assert_eq!(figure("start.loaded").value, before.len() as f64);
    assert_eq!((figure("start.unused").value, figure("start.unused").epoch), (0.0, 0));
    assert_ne!(tensors(&trained(&TrainSettings { seed: 99, ..still() })), after);
}

#[test]
fn other_names_types_and_shapes_are_told() {
    let first = trained(&TrainSettings { epochs: 1, ..settings() });
    let before = tensors(&first);
    let mut file = Vec::new();
    // Running statistics go on with a network that learns nothing.
    let statistic = |name: &str| name.ends_with("mean") || name.ends_with("variance");
    let plain: Vec<String> = before.keys().filter(|name| !statistic(name)).cloned().collect();
    for (name, (shape, numbers)) in &before {
        let place = plain.iter().position(|plain| plain == name).unwrap_or(usize::MAX);
        let name = format!("module.{name}");
        let wide = |numbers: &[f32]| numbers.iter().flat_map(|&n| f64::from(n).to_le_bytes()).collect();
        // The upper half of a number's bits is one of bfloat16.
        let brain = |numbers: &[f32]| numbers.iter().flat_map(|n| n.to_le_bytes()[2..].to_vec()).collect();
        let same = |numbers: &[f32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        file.push(match place {
            // Missing.
            0 => continue,
            1 => (name, shape.clone(), Dtype::F64, wide(numbers)),
            2 => (name, shape.clone(), Dtype::BF16, brain(numbers)),
            3 => (name, vec![shape.iter().product::<usize>(), 1], Dtype::F32, same(numbers)),
            // 1.0 in 16 bits.
            4 => (name, shape.clone(), Dtype::F16, [0x00, 0x3c].repeat(numbers.len())),
            _ => (name, shape.clone(), Dtype::F32, same(numbers)),
        });
    }
    file.push(("module.fc.weight".to_owned(), vec![1], Dtype::F32, 1f32.to_le_bytes().to_vec()));
    file.push(("module.batches".to_owned(), vec![], Dtype::I64, 7i64.to_le_bytes().to_vec()));
    let bytes = written(&file);
    let names: Names = serde_json::from_str(r#"{ "module.": "" }"#).unwrap();
    let start = Start::read(&bytes, "`file`", &names).unwrap();
    let (model, loaded) = begun_with(&start, &still()).unwrap();
    let name = |place: usize| plain[place].clone();
    assert_eq!(
        (loaded.missing.clone(), loaded.unused.clone()),
        (vec![name(0)], vec!["fc.weight".to_owned()])
    );
    assert_eq!(loaded.mismatched.len(), 1);
    assert_eq!(loaded.mismatched[0].0, name(3));
    assert_eq!(loaded.passed, ["module.batches"]);
    let kinds: Vec<(&str, usize)> =
        loaded.rounded.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(kinds, [("BF16", 1), ("F16", 1), ("F64", 1)]);
    let text = loaded.to_string();
    for word in ["1 missing", "1 of another shape", "1 unused: fc.weight", "1 of type F64, in 32 bits now"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let after = tensors(&model.safetensors);
    assert_eq!(after[&name(1)], before[&name(1)]);
    assert!(after[&name(4)].1.iter().all(|number| *number == 1.0));
    let brain: Vec<f32> =
        before[&name(2)].1.iter().map(|number| f32::from_bits(number.to_bits() & 0xffff_0000)).collect();
    assert_eq!(after[&name(2)].1, brain);

    // By the file's own names nothing is the same.
    let start = Start::read(&bytes, "`file`", &Names::Same).unwrap();
    let error = begun_with(&start, &still()).err().unwrap().to_string();
    assert!(error.contains("`file`") || error.starts_with("`file`"), "{error}");
    assert!(error.contains("module.") && error.contains("names"), "{error}");
}

#[test]
fn what_is_no_weights_is_refused_by_name() {
    let read = |bytes: &[u8], names: &str| {
        let names: Names = serde_json::from_str(names).unwrap();
        Start::read(bytes, "`file`", &names).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let number = |value: f32| value.to_le_bytes().to_vec();
    let one = |name: &str, value| written(&[(name.to_owned(), vec![1], Dtype::F32, number(value))]);
    assert_eq!(read(&one("a", 1.0), "null"), "");
    assert!(read(&one("a", f32::NAN), "null").contains("`a` holds some that are not finite"));
    assert!(read(&one("a", 1.0), r#"{ "b.": "" }"#).contains("begins with `b.`"));
    let two: Vec<_> =
        ["x.a", "y.a"].iter().map(|name| (String::from(*name), vec![1], Dtype::F32, number(1.0))).collect();
    assert!(read(&written(&two), r#"{ "x.": "", "y.": "" }"#).contains("two come to `a`"));
    for pickled in [Cow::Borrowed(&b"PK\x03\x04...."[..]), Cow::Borrowed(&[0x80, 2, b'}', b'q'][..])] {
        let error = read(&pickled, "null");
        assert!(error.contains("pickled weights") && error.contains("save_file"), "{error}");
    }
    let whole = one("a", 1.0);
    for end in [0, 4, 20, whole.len() - 1] {
        assert!(read(&whole[..end], "null").contains("not a safetensors file"), "{end}");
    }
}

#[test]
fn frozen_tensors_stay_to_the_byte_and_the_others_learn() {
    let first = trained(&TrainSettings { epochs: 2, ..settings() });
    let start = Start::read(&first, "`base`", &Names::Same).unwrap();
    let before = tensors(&first);
    let prefix = "encoder.";
    assert!(before.keys().any(|name| name.starts_with(prefix) && name.contains("norm.mean")));
    let sgd = OptimizerConfig::Sgd { momentum: 0.9, nesterov: true };
    for optimizer in [OptimizerConfig::default(), sgd] {
        let freeze = vec![prefix.to_owned()];
        let settings = TrainSettings {
            optimizer,
            freeze,
            epochs: 2,
            weight_decay: 1e-2,
            accumulate: 2,
            clip_norm: 0.5,
            ..settings()
        };
        let (model, loaded) = begun_with(&start, &settings).unwrap();
        let after = tensors(&model.safetensors);
        let frozen = before.keys().filter(|name| name.starts_with(prefix)).count();
        assert_eq!(loaded.frozen, frozen);
        assert!(loaded.to_string().contains("stay as they are"), "{loaded}");
        for (name, numbers) in &before {
            let bits = |numbers: &[f32]| numbers.iter().map(|n| n.to_bits()).collect::<Vec<_>>();
            let same = bits(&numbers.1) == bits(&after[name].1);
            assert!(same == name.starts_with(prefix) || name.ends_with("bias"), "{name} {same}");
        }
        assert!(after.iter().any(|(name, numbers)| !name.starts_with(prefix) && before[name] != *numbers));
    }
    let refused = |freeze: &[&str]| {
        let freeze = freeze.iter().map(|prefix| (*prefix).to_owned()).collect();
        begun_with(&start, &TrainSettings { freeze, ..still() }).err().unwrap().to_string()
    };
    assert!(refused(&["backbone."]).contains("`backbone.`"));
    assert!(refused(&[""]).contains("all stay as they are"));
    // What is to stay was not loaded.
    let part: Vec<_> = before
        .iter()
        .filter(|(name, _)| !name.contains("norm.mean"))
        .map(|(name, (shape, numbers))| {
            (name.clone(), shape.clone(), Dtype::F32, numbers.iter().flat_map(|n| n.to_le_bytes()).collect())
        })
        .collect();
    let start = Start::read(&written(&part), "`part`", &Names::Same).unwrap();
    let settings = TrainSettings { freeze: vec![prefix.to_owned()], ..still() };
    let error = begun_with(&start, &settings).err().unwrap().to_string();
    assert!(error.contains("weights of `part` expected"), "{error}");
    let alone = run(&settings, &Boxes(2), tempfile::tempdir().unwrap().path(), &mut Watch::new(u64::MAX));
    assert!(alone.err().unwrap().to_string().contains("freeze"));
}

#[test]
fn one_that_was_interrupted_ends_with_the_same_weights() {
    let first = trained(&TrainSettings { epochs: 1, ..settings() });
    let start = Start::read(&first, "`base`", &Names::Same).unwrap();
    let settings = TrainSettings { epochs: 3, freeze: vec!["encoder.".to_owned()], ..settings() };
    let (whole, _) = begun_with(&start, &settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint_every, device) = (Duration::from_secs(3600), Device::CPU);
    let running = Running { checkpoint: folder.path(), checkpoint_every, readers: 1, device };
    let objective = Supervised::new(&settings, &task(), &Extensions::default()).unwrap();
    let sources = Sources { train: &Boxes(8), unlabelled: None, validation: &Boxes(3) };
    let go = |start: &Start, stop_after| {
        let mut watch = Watch::new(stop_after);
        train_from(Some(start), &objective, &settings, &task(), sources, &running, &mut watch)
    };
    assert!(matches!(go(&start, 3), Err(NetworkError::Cancelled { .. })));
    assert_eq!(go(&start, u64::MAX).unwrap().safetensors, whole.safetensors);
    // The checkpoint of another beginning is not gone on with.
    let other = trained(&TrainSettings { epochs: 1, seed: 8, ..super::settings() });
    let other = Start::read(&other, "`other`", &Names::Same).unwrap();
    assert_ne!(go(&other, u64::MAX).unwrap().safetensors, whole.safetensors);
}
