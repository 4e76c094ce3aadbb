//! Slices whose geometry changes from one to the next by little: no stack is made of pieces of them.

use crate::files::SliceFile;
use tomoflow_connectors::dicom::{Instance, Record, assemble, read_record};

type Tag = (u16, u16);
const ORIENTATION: Tag = (0x0020, 0x0037);
const PIXEL_SPACING: Tag = (0x0028, 0x0030);
const POSITION: Tag = (0x0020, 0x0032);

/// What comes of so many slices, each with an element of its own: sizes and notes, or codes and messages.
fn outcomes(count: u16, tag: Tag, value: impl Fn(f64) -> String) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let one = |number: u16| {
        let mut file = SliceFile::new(number);
        file.set(tag, b"DS", value(f64::from(number)).into_bytes());
        match read_record(&file.write(folder.path(), &format!("{number}.dcm"))).unwrap() {
            Record::Instance(instance) => instance,
            other => panic!("{other:?}"),
        }
    };
    let instances: Vec<Instance> = (0..count).map(one).collect();
    let parts = assemble(&instances.iter().collect::<Vec<_>>());
    let outcome = |part: tomoflow_connectors::dicom::StackPart| match part.verdict {
        Ok(stack) => format!("{} {}", stack.geometry.size[0], stack.notes.join("; ")),
        Err(reject) => format!("{}: {}", reject.code, reject.message),
    };
    parts.into_iter().map(outcome).collect()
}

fn turned(by: f64) -> String {
    format!("1\\0\\0\\0\\{:.6}\\{:.6}", by.cos(), by.sin())
}

#[test]
fn slices_that_turn_or_grow_one_by_one_are_no_localizer() {
    let said = "8 slice(s) differ each from the others in pixel spacing or orientation";
    let expected = [format!("DRIFTING_GEOMETRY: {said}")];
    assert_eq!(outcomes(8, ORIENTATION, |k| turned(0.004 * k)), expected);
    assert_eq!(outcomes(8, PIXEL_SPACING, |k| format!("{:.5}\\0.25", 0.5 * (1.0 + 0.0005 * k))), expected);
    // Neighbours are alike, and the ends are not: pieces of three slices are no volumes.
    assert_eq!(outcomes(8, ORIENTATION, |k| turned(0.0005 * k)), expected);
    // Two slices across one another are a localizer, as they were.
    let across = outcomes(2, ORIENTATION, |k| turned(1.5 * k));
    assert!(across.len() == 1 && across[0].starts_with("LOCALIZER"), "{across:?}");
}

#[test]
fn slices_that_are_turned_alike_are_one_stack_and_two_ways_of_turning_two() {
    assert_eq!(outcomes(8, ORIENTATION, |k| turned(0.0001 * k)), ["8 ORIENTATION_JITTER"]);
    let two = outcomes(8, ORIENTATION, |k| turned(if k < 4.0 { 0.0 } else { 0.05 }));
    assert_eq!(two, ["4 MIXED_ORIENTATION", "4 MIXED_ORIENTATION; GANTRY_TILT"]);
}

#[test]
fn gaps_that_drift_are_told_by_name() {
    // The distance of slices grows from 2.98 to 3.02 mm.
    let at = |k: f64| format!("0\\0\\{:.4}", 2.98 * k + 0.04 * k * (k - 1.0) / 2.0 / 199.0);
    let noted = outcomes(200, POSITION, at);
    assert!(noted.len() == 1 && noted[0].starts_with("200 SPACING_DRIFT: a slice lies 0."), "{noted:?}");
}
