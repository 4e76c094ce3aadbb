//! Samples are what their numbers say, of every view and of any case.

use super::super::view::Input;
use super::*;

/// Intensities are voxel numbers; foreground is voxel 5 of each slice but the first.
fn case(size: [usize; 3]) -> Arc<PreparedCase> {
    let area = size[1] * size[2];
    let voxels = size.iter().product::<usize>();
    let scan = (0..voxels).map(|i| i as f32 - 1.0).collect();
    let labels = (0..voxels).map(|i| u8::from(i >= area && i % area == 5)).collect();
    Arc::new(PreparedCase::new("a", size, [3.0, 1.0, 1.0], scan, labels).unwrap())
}

fn dataset(input: InputView, foreground: f64, flip: bool, sizes: &[[usize; 3]]) -> Dataset {
    let view = View {
        input: Input::Voxels(input),
        placement: Placement::Biased,
        per_case: 8,
        foreground,
        flip,
        things: None,
    };
    Dataset::new(view, sizes.iter().map(|size| case(*size)).collect())
}

#[test]
fn a_sample_depends_on_its_numbers_alone() {
    let data = dataset(InputView::Patch { size: [2, 3, 4] }, 0.5, true, &[[6, 8, 9], [5, 7, 7]]);
    assert_eq!(data.len(), 16);
    let all = |epoch, seed| -> Vec<Sample> {
        (0..16).map(|index| data.sample(index, epoch, seed).unwrap()).collect()
    };
    let there = std::thread::scope(|scope| scope.spawn(|| all(3, 7)).join().unwrap());
    assert_eq!(all(3, 7), there);
    assert_ne!(all(3, 7), all(4, 7));
    assert_ne!(all(3, 7), all(3, 8));
    assert!(data.sample(16, 0, 0).is_err());
    assert_eq!(data.name(3), "case a, sample 3");
    assert!(dataset(InputView::Patch { size: [1; 3] }, 0.5, true, &[]).sample(0, 0, 0).is_err());
}

#[test]
fn samples_of_what_nobody_drew_teach_nothing() {
    let data = dataset(InputView::Patch { size: [2, 3, 4] }, 1.0, true, &[[6, 8, 9]]);
    let drawn = &data.cases()[0];
    let undrawn =
        PreparedCase::undrawn("b", drawn.size(), drawn.spacing_mm(), drawn.scan().unwrap().into()).unwrap();
    let two: Arc<[f32]> = [&drawn.scan().unwrap()[..]; 2].concat().into();
    let of_two = PreparedCase::undrawn("c", drawn.size(), drawn.spacing_mm(), two.clone()).unwrap();
    assert_eq!((of_two.channels(), of_two.is_drawn()), (2, false));
    assert!(PreparedCase::undrawn("d", [usize::MAX; 3], drawn.spacing_mm(), two).is_err());
    let data = Dataset::new(data.view.clone(), vec![Arc::new(undrawn)]);
    let found: Vec<Sample> = (0..8).map(|index| data.sample(index, 0, 0).unwrap()).collect();
    assert!(found.iter().all(|sample| sample.target == Target::None && sample.shape == [1, 2, 3, 4]));
    // The samples lie anywhere.
    assert!(found.iter().any(|sample| sample.input != found[0].input));
}

#[test]
fn what_nobody_drew_may_have_several_channels() {
    let size = [3, 4, 5];
    let scan: Arc<[f32]> = (0..120).map(|voxel| voxel as f32).collect();
    let undrawn = PreparedCase::undrawn("b", size, [3.0, 1.0, 1.0], scan.clone()).unwrap();
    assert_eq!((undrawn.channels(), undrawn.labels().unwrap().len(), undrawn.is_drawn()), (2, 60, false));
    let view = dataset(InputView::Patch { size: [2, 3, 4] }, 1.0, true, &[size]).view;
    let data = Dataset::new(view, vec![Arc::new(undrawn)]);
    let sample = data.sample(0, 0, 0).unwrap();
    assert_eq!((sample.shape, sample.target), ([2, 2, 3, 4], Target::None));
    // A grid that it does not fit is refused as before, however many voxels it asks for.
    for size in [[3, 4, 7], [100, 100, 100], [usize::MAX, 2, 2]] {
        let refused = PreparedCase::undrawn("b", size, [3.0, 1.0, 1.0], scan.clone());
        assert_eq!(refused.unwrap_err().code, "GRID_MISMATCH", "{size:?}");
    }
}

#[test]
fn foreground_patches_hold_foreground_and_are_windows() {
    let size = [6, 8, 9];
    let data = dataset(InputView::Patch { size: [1, 2, 3] }, 1.0, false, &[size]);
    for index in 0..8 {
        let sample = data.sample(index, 0, 0).unwrap();
        assert_eq!(sample.shape, [1, 1, 2, 3]);
        assert!(sample.target.classes().unwrap().contains(&1));
        let first = sample.input[0];
        assert_eq!(sample.input, [0.0, 1.0, 2.0, 9.0, 10.0, 11.0].map(|off| first + off));
    }
}

#[test]
fn the_share_of_foreground_is_kept() {
    let data = dataset(InputView::Patch { size: [1, 1, 1] }, 0.25, false, &[[20, 30, 30]]);
    let hits = (0..2000)
        .filter(|i| data.sample(i % 8, *i as u64, 1).unwrap().target.classes().unwrap()[0] == 1)
        .count();
    assert!((430..580).contains(&hits), "{hits}");
}

#[test]
fn flipping_mirrors_input_and_label_together() {
    let data = dataset(InputView::Patch { size: [2, 2, 4] }, 0.0, true, &[[2, 2, 4]]);
    let plain: Vec<f32> = (0..16).map(|i| i as f32 - 1.0).collect();
    let mut mirrored = 0;
    for index in 0..8 {
        let sample = data.sample(index, 0, 0).unwrap();
        if sample.input != plain {
            mirrored += 1;
            assert_eq!(sample.input[..4], [2.0, 1.0, 0.0, -1.0]);
            assert_eq!(sample.target.classes().unwrap().iter().position(|&label| label == 1), Some(14));
        }
    }
    assert!((1..8).contains(&mirrored));
}

#[test]
fn small_cases_are_padded_with_their_lowest_and_background() {
    let data = dataset(InputView::Patch { size: [1, 4, 4] }, 1.0, false, &[[2, 3, 2]]);
    let sample = data.sample(0, 0, 0).unwrap();
    assert_eq!(sample.target.classes().unwrap()[10], 1);
    assert_eq!(sample.input[..4], [-1.0, 5.0, 6.0, -1.0]);
    assert_eq!(sample.input[12..], [-1.0; 4]);
    assert_eq!(sample.target.classes().unwrap().iter().filter(|&&label| label == 1).count(), 1);
}

#[test]
fn stacks_and_bags_predict_their_target() {
    let stack = InputView::Stack { slices: 3, stride: 1 };
    let data = dataset(stack, 1.0, false, &[[4, 2, 3]]);
    let sample = data.sample(0, 0, 0).unwrap();
    assert_eq!(sample.shape, [3, 1, 2, 3]);
    assert_eq!(sample.target.classes().unwrap(), [0, 0, 0, 0, 0, 1]);
    assert_eq!(sample.input[6] - sample.input[0], 6.0);
    let bag = InputView::Bag { stacks: 3, slices: 1, gap: 2 };
    let sample = dataset(bag, 0.0, false, &[[1, 2, 3]]).sample(0, 0, 0).unwrap();
    assert_eq!(sample.shape, [3, 1, 2, 3]);
    assert_eq!(sample.input[..6], sample.input[12..]);
}

/// The second channel is the first, a thousand higher: both are cut and moved alike.
#[test]
fn channels_are_cut_alike_and_stand_one_behind_the_other() {
    let size = [4, 5, 6];
    let first = case(size);
    let scan: Vec<f32> = first
        .scan()
        .unwrap()
        .iter()
        .copied()
        .chain(first.scan().unwrap().iter().map(|value| value + 1000.0))
        .collect();
    let both =
        PreparedCase::new("a", size, [3.0, 1.0, 1.0], scan.into(), first.labels().unwrap().into()).unwrap();
    assert_eq!((both.channels(), both.scan().unwrap().len()), (2, 240));
    let warped = built(serde_json::json!({ "rotate_deg": [20.0, 0.0, 0.0], "flip": ["h"] }));
    for (input, wide) in [
        (InputView::Patch { size: [2, 3, 7] }, [2, 2, 3, 7]),
        (InputView::Stack { slices: 3, stride: 1 }, [6, 1, 5, 6]),
        (InputView::Bag { stacks: 3, slices: 1, gap: 2 }, [6, 1, 5, 6]),
    ] {
        for augmentations in [vec![], vec![warped.clone()]] {
            let of = |case: Arc<PreparedCase>| {
                let view = View {
                    input: Input::Voxels(input.clone()),
                    placement: Placement::Biased,
                    per_case: 8,
                    foreground: 0.5,
                    flip: true,
                    things: None,
                };
                Dataset::new(view, vec![case]).augmented(augmentations.clone())
            };
            let (one, two) = (of(first.clone()), of(Arc::new(both.clone())));
            for index in 0..8 {
                let (one, two) = (one.sample(index, 1, 2).unwrap(), two.sample(index, 1, 2).unwrap());
                assert_eq!((two.shape, &two.target), (wide, &one.target));
                let (head, tail) = two.input.split_at(one.input.len());
                assert_eq!(head, one.input);
                let apart = head.iter().zip(tail).all(|(a, b)| (b - a - 1000.0).abs() < 1e-2);
                assert!(apart, "{input:?} {index}");
            }
        }
    }
}

fn built(config: serde_json::Value) -> Arc<Augment> {
    let mut config = config.as_object().unwrap().clone();
    config.insert("elastic_grid_mm".to_owned(), 8.0.into());
    config.insert("probability".to_owned(), 1.0.into());
    let stage = (super::super::augment::ENTRY.build)(&config);
    let Ok(crate::operators::registry::Stage::Augment(augment)) = stage else { panic!("an augmentation") };
    augment
}

#[test]
fn boxes_follow_their_labels_wherever_these_are_moved() {
    // Four pixels at the left of the second slice.
    let labels = (0..48).map(|i| u8::from([24, 25, 32, 33].contains(&i))).collect();
    let case = PreparedCase::new("a", [2, 3, 8], [1.0; 3], vec![0.0; 48].into(), labels).unwrap();
    let stack = Input::Voxels(InputView::Stack { slices: 1, stride: 1 });
    let view = View {
        input: stack,
        placement: Placement::Biased,
        per_case: 16,
        foreground: 1.0,
        flip: true,
        things: None,
    };
    let names = ["a".to_owned()];
    let things = super::super::things::Things::of_labels(&names, &[]).numbered(&names).unwrap();
    let data = Dataset::new(view, vec![Arc::new(case)]).teaching(things);
    let mut ends = std::collections::BTreeSet::new();
    for index in 0..16 {
        let Target::Instances(found) = data.sample(index, 0, 0).unwrap().target else { panic!() };
        assert_eq!((found.len(), found[0].class), (1, 1));
        assert_eq!([found[0].low[1], found[0].high[1]], [0.0, 2.0]);
        ends.insert((found[0].low[2] as u8, found[0].high[2] as u8));
    }
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [(0, 2), (6, 8)]);
}

#[test]
fn lengths_follow_the_median_spacing() {
    let view = View {
        input: Input::PatchMm([6.0, 2.0, 2.0]),
        placement: Placement::Biased,
        per_case: 1,
        foreground: 0.0,
        flip: false,
        things: None,
    };
    let data = Dataset::new(view, vec![case([4, 4, 4])]);
    assert_eq!(*data.input(), InputView::Patch { size: [2, 2, 2] });
}

#[test]
fn what_does_not_fit_is_named() {
    let new = |size, spacing, voxels: usize, labels: usize| {
        PreparedCase::new("a", size, spacing, vec![0.0; voxels].into(), vec![0; labels].into())
    };
    assert_eq!(new([1, 1, 2], [1.0; 3], 2, 1).unwrap_err().code, "GRID_MISMATCH");
    assert_eq!(new([0, 1, 2], [1.0; 3], 0, 0).unwrap_err().code, "GRID_MISMATCH");
    assert_eq!(new([usize::MAX; 3], [1.0; 3], 2, 2).unwrap_err().code, "GRID_MISMATCH");
    assert_eq!(new([1, 1, 1], [0.0, 1.0, 1.0], 1, 1).unwrap_err().code, "BAD_GRID");
    let huge = dataset(InputView::Patch { size: [4096; 3] }, 0.0, false, &[[1, 1, 1]]);
    assert!(huge.sample(0, 0, 0).unwrap_err().contains("case a"));
}
