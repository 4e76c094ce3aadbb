use std::sync::Arc;

use serde_json::json;

use super::super::augment;
use super::super::things::Things;
use super::super::view::Input;
use super::*;
use crate::operators::registry::Stage;
use crate::operators::spec::Config;

/// One slice in the middle of three with two boxes that touch; the first is of `a`, the second of `b`.
fn data(flip: bool) -> Dataset {
    let size = [3, 8, 12];
    let labels: Vec<u8> = (0..288).map(|i| u8::from((96..192).contains(&i) && i % 12 < 5)).collect();
    let boxes = vec![
        CaseBox { label: 1, slice: 1, low: [1.5, 2.0], high: [4.0, 5.25] },
        CaseBox { label: 2, slice: 1, low: [1.5, 5.25], high: [3.0, 7.0] },
        CaseBox { label: 2, slice: 2, low: [0.0, 0.0], high: [1.0, 1.0] },
    ];
    let case = PreparedCase::new("a", size, [1.0; 3], vec![0.0; 288].into(), labels.into()).unwrap();
    let view = View {
        input: Input::Voxels(InputView::Stack { slices: 1, stride: 1 }),
        placement: Placement::Biased,
        per_case: 8,
        foreground: 1.0,
        flip,
        things: None,
    };
    let names = ["a", "b"].map(str::to_owned);
    let things = Things::of_labels(&names, &[]).numbered(&names).unwrap();
    Dataset::new(view, vec![Arc::new(case.marked(Some(boxes)))]).teaching(things)
}

fn things(data: &Dataset, index: usize) -> Vec<Instance> {
    match data.sample(index, 0, 7).unwrap().target {
        Target::Instances(things) => things,
        other => panic!("{other:?}"),
    }
}

#[test]
fn boxes_are_taught_as_they_were_marked() {
    let plain = things(&data(false), 0);
    let bounds: Vec<_> = plain.iter().map(|thing| (thing.class, thing.low, thing.high)).collect();
    let first = (1, [0.0, 1.5, 2.0], [1.0, 4.0, 5.25]);
    assert_eq!(bounds, [first, (2, [0.0, 1.5, 5.25], [1.0, 3.0, 7.0])]);
    assert!(plain.iter().all(|thing| thing.mask.is_none()));
    let flipped = data(true);
    let mirrored = (0..8).map(|index| things(&flipped, index)[0].low[2]);
    let mirrored: Vec<f32> = mirrored.filter(|low| *low != 2.0).collect();
    assert!(!mirrored.is_empty() && mirrored.iter().all(|low| *low == 12.0 - 5.25), "{mirrored:?}");
}

#[test]
fn boxes_go_where_their_slice_goes() {
    let config = |changes: serde_json::Value| -> Config {
        let mut all = serde_json::Map::new();
        for field in augment::SPEC.fields {
            if let crate::operators::spec::Default::Json(text) = field.default {
                all.insert(field.name.to_owned(), serde_json::from_str(text).unwrap());
            }
        }
        all.extend(changes.as_object().unwrap().clone());
        all
    };
    let built = |changes| match (augment::ENTRY.build)(&config(changes)).ok().unwrap() {
        Stage::Augment(augment) => augment,
        _ => panic!("an augmentation expected"),
    };
    let larger = data(false).augmented(vec![built(json!({ "scale": [2.0, 2.0], "probability": 1.0 }))]);
    // The boxes are twice as large around the middle (4, 6), and cut at the slice's end.
    let found = things(&larger, 0);
    assert_eq!((found[0].low, found[0].high), ([0.0, 0.0, 0.0], [1.0, 4.0, 4.5]));
    assert_eq!((found[1].low, found[1].high), ([0.0, 0.0, 4.5], [1.0, 2.0, 8.0]));
}
