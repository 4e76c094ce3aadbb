//! The differences between outputs, each by its name.

use super::*;

fn part(version: u32, settings: Json) -> OperatorUsed {
    let Json::Object(settings) = settings else { panic!("a table expected") };
    OperatorUsed { stage: "bright".into(), operator: "threshold".into(), version, settings }
}

#[test]
fn settings_and_code_are_named() {
    let before = [part(1, serde_json::json!({ "above": 0.5, "split": { "train": 2 } }))];
    let now = [part(2, serde_json::json!({ "above": 0.8, "split": { "train": 3 } }))];
    let mut found = Vec::new();
    recipes(&before, &now, &mut found);
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "the code of `threshold`: version 1 -> 2",
            "bright: `above` 0.5 -> 0.8",
            "bright: `split.train` 2 -> 3"
        ]
    );
    assert_eq!(found[1].reason(), "`above` of bright changed");
}

#[test]
fn of_an_ensemble_the_model_that_changed_is_named() {
    let [a, b, c, d] = [b"a", b"b", b"c", b"d"].map(|bytes| Digest::of(bytes));
    let [old, new] = [b"1", b"2"].map(|bytes| Digest::of(bytes));
    let changed = |before: &[Digest], now: &[Digest]| changed_model((old, before), (new, now));
    let model =
        |before: Digest, now: Digest| Difference::Model { before: before.to_string(), now: now.to_string() };
    assert_eq!(changed(&[a, b, c], &[a, d, c]), model(b, d));
    assert_eq!(changed(&[a, b], &[c, d]), model(old, new));
    assert_eq!(changed(&[a, b], &[a, b, c]), model(old, new));
    assert_eq!(ensemble(old, None), [old]);
    assert_eq!(ensemble(old, Some(postcard::to_stdvec(&vec![a, b]).unwrap())), [a, b]);
}

#[test]
fn slices_are_compared_by_instance() {
    let slice = |sop: &str, content: &[u8]| SliceRow {
        record: Digest::default(),
        content: Digest::of(content),
        frame: 0,
        sop_uid: sop.into(),
    };
    let (before, now) = ([slice("a", b"1"), slice("b", b"1")], [slice("b", b"2"), slice("c", b"1")]);
    let mut found = Vec::new();
    scans(&before, &now, &mut found);
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["instance c added", "instance a removed", "instance b changed"]);
    found.clear();
    scans(&before, &before, &mut found);
    assert_eq!(found, [Difference::Geometry]);
}
